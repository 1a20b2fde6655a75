//! Warns where the pages of one endpoint hear what another endpoint keeps from them: all endpoints
//! share their topics.

use std::path::Path;

use crate::config::Configuration;
use crate::config::source::Source;
use crate::config::values::Values;
use crate::origin::OriginRule;
use crate::token;

/// An endpoint of topics, and who may connect there.
#[derive(Debug, Clone, Copy)]
struct Door<'a> {
    endpoint: &'a Values,
    origins: &'a [OriginRule],
}

impl Configuration {
    /// What is allowed, and may not be meant: a line for each list of origins that another
    /// endpoint makes void.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let usual = self.values.origins("server.origins").unwrap_or_default();
        // One of each list is enough: those that are alike are open to the same pages.
        let mut doors: Vec<Door<'_>> = Vec::new();
        for endpoint in &self.endpoints {
            let origins = endpoint.origins("origins").unwrap_or(usual);
            let is_known = doors.iter().any(|door| door.origins == origins);
            if endpoint.choice("kind") != "echo" && !is_known {
                doors.push(Door { endpoint, origins });
            }
        }
        let line = |narrow: &Door<'_>| {
            let wide = doors.iter().find(|door| door.is_wider_than(narrow))?;
            Some(format!(
                "{}{} is open to web pages to which {} is not, and all endpoints share their \
                 topics: those pages hear what is said there",
                wide.place(),
                wide.path(),
                narrow.path(),
            ))
        };
        let mut lines: Vec<String> = doors.iter().filter_map(line).collect();
        lines.extend(self.token_warning());
        lines.extend(self.auth.warnings.iter().cloned());
        let tls = self.tls.iter().flat_map(|material| material.warnings());
        lines.extend(tls.cloned());
        lines
    }

    /// A secret that is none on this host.
    fn token_warning(&self) -> Option<String> {
        let file = self.values.text("admin.token-file");
        let is_open = self.admin_tokens.is_some() && token::is_open_to_all(Path::new(file));
        is_open.then(|| {
            format!("everybody on this host can read the tokens of operators in {file}: chmod o-r")
        })
    }
}

impl Door<'_> {
    /// Whether a page may connect here that may not connect there.
    fn is_wider_than(&self, other: &Self) -> bool {
        !other.origins.contains(&OriginRule::Any)
            && self
                .origins
                .iter()
                .any(|rule| !other.origins.contains(rule))
    }

    fn path(&self) -> String {
        let path = self.endpoint.path("path");
        path.map(ToString::to_string).unwrap_or_default()
    }

    /// Where its origins are written, or else the endpoint itself.
    fn place(&self) -> String {
        let sources = ["origins", "path"].map(|key| self.endpoint.source(key));
        let mut written = sources
            .into_iter()
            .filter(|source| **source != Source::Default);
        written
            .next()
            .map(|source| format!("{source}: "))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Inputs;
    use crate::config::file;

    fn warnings(text: &str) -> Vec<String> {
        let content = file::parse("t.toml", text).unwrap();
        let inputs = Inputs {
            file: Some("/dev/null".into()),
            flags: content.values,
            ..Inputs::default()
        };
        let mut configuration = inputs.load(None).unwrap();
        if let Some(endpoints) = content.endpoints {
            configuration.endpoints = endpoints;
        }
        configuration.warnings()
    }

    fn endpoint(path: &str, kind: &str, origins: &str) -> String {
        format!("[[endpoint]]\npath = \"{path}\"\nkind = \"{kind}\"\n{origins}\n")
    }

    #[test]
    fn an_endpoint_that_opens_the_topics_of_another_is_named() {
        let room = endpoint("/chat/{topic}", "topic", "");
        let feed = |origins| endpoint("/prices/{topic}", "feed", origins);
        for (text, count) in [
            (String::new(), 0),
            (room.clone() + &feed(""), 0),
            (room.clone() + &feed("origins = [\"*\"]"), 1),
            (room.clone() + &feed("origins = [\"https://a.example\"]"), 1),
            // Those of an echo hear themselves only.
            (
                room.clone() + &endpoint("/e", "echo", "origins = [\"*\"]"),
                0,
            ),
            (
                format!("[server]\norigins = [\"*\"]\n{room}") + &feed("origins = [\"*\"]"),
                0,
            ),
            (
                format!("[server]\norigins = [\"*\"]\n{room}") + &feed("origins = []"),
                1,
            ),
            (
                format!("[server]\norigins = [\"https://a.example\"]\n{room}")
                    + &feed("origins = [\"https://b.example\"]"),
                2,
            ),
        ] {
            let found = warnings(&text);
            assert_eq!(found.len(), count, "{text}: {found:?}");
        }
        let found = warnings(&(room + &feed("origins = [\"*\"]")));
        let start = "t.toml:8: /prices/{topic} is open to web pages to which /chat/{topic} is not";
        assert!(found[0].starts_with(start), "{found:?}");
    }
}
