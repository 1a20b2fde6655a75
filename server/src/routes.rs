//! Which path of the public port leads where.
//!
//! A look-up is two searches in sorted lists, and allocates nothing: the whole path, and what
//! stands before its last segment. They are made anew by a reload, and never changed.

use std::time::Duration;

use tidegate_engine::{CompressionTier, Profile};

use crate::config::Configuration;
use crate::config::pattern::Pattern;
use crate::config::values::Values;
use crate::names::NameRules;
use crate::origin::OriginPolicy;
use crate::settings;
use crate::topic_pattern::TopicPattern;

/// The endpoints by their paths.
#[derive(Debug)]
pub(crate) struct Routes {
    page: bool,
    /// How long whoever connects has for its request.
    pub(crate) handshake_timeout: Duration,
    /// What the names of topics may be.
    pub(crate) name_rules: NameRules,
    /// How many topics a shard may have; 0 is no limit.
    pub(crate) topics_max: usize,
    /// Which pages may read what is not an endpoint's.
    pub(crate) origins: OriginPolicy,
    /// By the whole path; sorted.
    exact: Box<[(Box<str>, Route)]>,
    /// By what stands before the topic, with its slash; sorted.
    topics: Box<[(Box<str>, Route)]>,
}

/// One endpoint as it is configured.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) kind: EndpointKind,
    pub(crate) origins: OriginPolicy,
    pub(crate) message_size_max: usize,
    /// Those that there are here.
    pub(crate) topics: Box<[TopicPattern]>,
    /// How many of them a feed may hear.
    pub(crate) topics_per_connection: usize,
    pub(crate) profile: Profile,
    pub(crate) compression: CompressionTier,
    pub(crate) demand: Demand,
}

/// Whether a client needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// No.
    None,
    /// Yes, with its request.
    Required,
    /// No, but if there is one it must be good.
    Optional,
    /// Yes, with its first message.
    AfterConnect,
}

/// What an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    /// A client hears what it says.
    Echo,
    /// Everybody there hears what anybody there says.
    Topic,
    /// A client hears the topic, or how many are there.
    Feed,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Found<'a, 'p> {
    Page,
    /// An endpoint, and the last segment if that is to be a topic.
    Route(&'a Route, Option<&'p str>),
    Nothing,
}

impl Routes {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let (mut exact, mut topics) = (Vec::new(), Vec::new());
        let origins = configuration.values.origins("server.origins");
        for values in &configuration.endpoints {
            let route = Route::of(values, configuration);
            match values.path("path") {
                Some(Pattern::Exact(path)) => exact.push((path.as_str().into(), route)),
                Some(Pattern::Topic(prefix)) => topics.push((prefix.as_str().into(), route)),
                None => {}
            }
        }
        let values = &configuration.values;
        Self {
            page: values.switch("server.page"),
            handshake_timeout: values.span("timeouts.handshake"),
            name_rules: settings::name_rules(values),
            topics_max: values.count("limits.topics-max").unwrap_or_default(),
            origins: OriginPolicy::new(origins.unwrap_or_default()),
            exact: sorted(exact),
            topics: sorted(topics),
        }
    }

    /// Where a path leads; an exact one goes before a pattern.
    pub(crate) fn find<'p>(&self, path: &'p str) -> Found<'_, 'p> {
        if let Some(route) = look_up(&self.exact, path) {
            return Found::Route(route, None);
        }
        if path == "/" && self.page {
            return Found::Page;
        }
        let start = path.rfind('/').map_or(0, |slash| slash + 1);
        let (prefix, segment) = path.split_at(start);
        match look_up(&self.topics, prefix) {
            // Nothing can be where a name is missing.
            Some(route) if !segment.is_empty() => Found::Route(route, Some(segment)),
            _ => Found::Nothing,
        }
    }
}

impl Route {
    fn of(values: &Values, configuration: &Configuration) -> Self {
        let here = configuration.values.overridden_by(values);
        let origins = here.origins("server.origins").unwrap_or_default();
        let topics_per_connection = here.count("limits.topics-per-connection");
        Self {
            kind: match values.choice("kind") {
                "topic" => EndpointKind::Topic,
                "feed" => EndpointKind::Feed,
                _ => EndpointKind::Echo,
            },
            origins: OriginPolicy::new(origins),
            message_size_max: settings::message_size_max(&here),
            topics: values.topics("topics").into(),
            topics_per_connection: topics_per_connection.unwrap_or(1),
            profile: settings::profile(&here, configuration.outbox_size),
            compression: settings::tier(&here),
            demand: match values.choice("auth") {
                "required" => Demand::Required,
                "optional" => Demand::Optional,
                "after-connect" => Demand::AfterConnect,
                _ => Demand::None,
            },
        }
    }
}

fn sorted(mut list: Vec<(Box<str>, Route)>) -> Box<[(Box<str>, Route)]> {
    list.sort_by(|(a, _), (b, _)| a.cmp(b));
    list.into()
}

fn look_up<'a>(list: &'a [(Box<str>, Route)], path: &str) -> Option<&'a Route> {
    let found = list.binary_search_by(|(known, _)| (**known).cmp(path));
    found.ok().map(|index| &list[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inputs;

    /// What a path finds: the largest message tells which endpoint it is.
    fn find(routes: &Routes, path: &str) -> Option<(usize, Option<String>)> {
        match routes.find(path) {
            Found::Page => Some((0, None)),
            Found::Nothing => None,
            Found::Route(route, segment) => {
                Some((route.message_size_max, segment.map(str::to_owned)))
            }
        }
    }

    #[test]
    fn exact_paths_go_before_patterns() {
        let text = [
            ("/{topic}", "topic", 1),
            ("/ws/{topic}", "topic", 2),
            ("/ws/echo", "echo", 3),
            ("/ws/", "echo", 4),
            ("/a/b/{topic}", "feed", 5),
        ]
        .map(|(path, kind, size)| {
            format!("[[endpoint]]\npath = '{path}'\nkind = '{kind}'\nmax-message = {size}\n")
        });
        let folder = std::env::temp_dir().join(format!("tidegate-routes-{}", std::process::id()));
        std::fs::write(&folder, text.concat()).unwrap();
        let file = Some(folder.clone());
        let configuration = Inputs {
            file,
            ..Inputs::default()
        }
        .load(None);
        std::fs::remove_file(folder).unwrap();
        let routes = Routes::of(&configuration.unwrap());
        let topic = |size, name: &str| Some((size, Some(name.to_owned())));
        assert_eq!(find(&routes, "/"), Some((0, None)), "the page");
        assert_eq!(find(&routes, "/a"), topic(1, "a"));
        assert_eq!(find(&routes, "/ws"), topic(1, "ws"));
        assert_eq!(find(&routes, "/ws/a"), topic(2, "a"));
        assert_eq!(find(&routes, "/ws/echo"), Some((3, None)));
        assert_eq!(find(&routes, "/ws/"), Some((4, None)));
        assert_eq!(find(&routes, "/a/b/c"), topic(5, "c"));
        for path in [
            "",
            "a",
            "//",
            "/a/",
            "/a/b/",
            "/a/c",
            "/ws/a/b",
            "/ws/echo/",
            "/a/b/c/d",
            "*",
        ] {
            assert_eq!(find(&routes, path), None, "{path}");
        }
    }
}
