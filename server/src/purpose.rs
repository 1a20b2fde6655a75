//! What a connection is here for: the topics that its request names, and whether it may have them.
//!
//! ```text
//!  /feed/a?topic=b&topic=@c ─▶ names: rules ─▶ the endpoint's topics ─▶ how many ─▶ room on the shard
//!                                400               403                    400            503
//! ```

use std::borrow::Cow;
use std::rc::Rc;

use compact_str::CompactString;
use tidegate_engine::Refusal;

use crate::endpoints::Endpoint;
use crate::names::{Name, NameError, NameRules, Names};
use crate::routes::{EndpointKind, Route};

/// A feed of more than one topic.
#[derive(Debug, Clone)]
pub(crate) struct Feeds(pub(crate) Vec<Hearing>);

/// One of those that a feed hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// This topic.
    Topic(Rc<CompactString>),
    /// How many members this topic has.
    Count(Rc<CompactString>),
}

/// Why a request gets no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The path has no name of a topic.
    Name(NameError),
    /// Nor has the query.
    Further(NameError),
    /// There is no such topic at this endpoint.
    NotHere,
    /// More topics than one connection may hear.
    TooMany,
    /// Several topics, and this is no feed.
    NoFeed,
    /// The shard has as many topics as it may.
    Full,
}

/// What in a query names a further topic.
const PARAMETER: &str = "topic";

/// After so many seconds there may be room again.
const FULL_HEADERS: &[(&str, &str)] = &[("Retry-After", "5")];

impl Fault {
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Name(fault) | Self::Further(fault) => {
                let status = match fault {
                    NameError::Reserved => 403,
                    _ => 400,
                };
                Refusal::new(status, "topic", fault.reason())
            }
            Self::NotHere => Refusal::new(403, "topic", "There is no such topic at this path."),
            Self::TooMany => {
                let reason = "These are more topics than one connection may hear.";
                Refusal::new(400, "topics", reason)
            }
            Self::NoFeed => {
                let reason = "Only a feed can have further topics.";
                Refusal::new(400, "topics", reason)
            }
            Self::Full => {
                let reason = "There are as many topics as there may be.";
                Refusal::new(503, "topics_full", reason).with_headers(FULL_HEADERS)
            }
        }
    }
}

/// What is known of a shard's topics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) names: &'a Names,
    pub(crate) rules: NameRules,
    /// 0 is no limit.
    pub(crate) topics_max: usize,
}

impl Room<'_> {
    /// What a connection is here for, by the endpoint, the last segment of its path and its query.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) fn purpose(
        &self,
        route: &Route,
        segment: Option<&str>,
        query: Option<&str>,
    ) -> Result<Endpoint, Fault> {
        if route.kind == EndpointKind::Echo {
            return Ok(Endpoint::Echo);
        }
        let name = Name::read(segment.unwrap_or_default(), &self.rules).map_err(Fault::Name)?;
        let first = self.hearing(route, name)?;
        let mut further = further_topics(query).peekable();
        if route.kind == EndpointKind::Topic {
            let Hearing::Topic(topic) = first else {
                return Err(Fault::Name(NameError::Reserved));
            };
            if further.peek().is_some() {
                return Err(Fault::NoFeed);
            }
            self.has_room_for(&[Hearing::Topic(Rc::clone(&topic))])?;
            return Ok(Endpoint::Room(topic));
        }
        let mut all = vec![first];
        for segment in further {
            let name = Name::read(&segment, &self.rules).map_err(Fault::Further)?;
            let hearing = self.hearing(route, name)?;
            if all.contains(&hearing) {
                continue;
            }
            if all.len() == route.topics_per_connection {
                return Err(Fault::TooMany);
            }
            all.push(hearing);
        }
        self.has_room_for(&all)?;
        Ok(match <[Hearing; 1]>::try_from(all) {
            Ok([Hearing::Topic(topic)]) => Endpoint::Feed(topic),
            Ok([Hearing::Count(topic)]) => Endpoint::Count(topic),
            Err(all) => Endpoint::Feeds(Box::new(Feeds(all))),
        })
    }

    fn hearing(&self, route: &Route, name: Name) -> Result<Hearing, Fault> {
        let (Name::Topic(topic) | Name::CountOf(topic)) = &name;
        if !route.topics.iter().any(|pattern| pattern.matches(topic)) {
            return Err(Fault::NotHere);
        }
        Ok(match name {
            Name::Topic(topic) => Hearing::Topic(self.names.spelling(topic)),
            Name::CountOf(topic) => Hearing::Count(self.names.spelling(topic)),
        })
    }

    /// Is there room for those of these topics that nobody here has yet?
    fn has_room_for(&self, all: &[Hearing]) -> Result<(), Fault> {
        if self.topics_max == 0 {
            return Ok(());
        }
        let (known, mut new) = (self.names.count(), Vec::new());
        for Hearing::Topic(name) | Hearing::Count(name) in all {
            if !self.names.knows(name) && !new.contains(&name) {
                new.push(name);
            }
        }
        match new.is_empty() || known + new.len() <= self.topics_max {
            true => Ok(()),
            false => Err(Fault::Full),
        }
    }
}

/// The further topics that a query names, as segments of a path would spell them. A plus stands for a
/// space there, as browsers write it.
fn further_topics<'q>(query: Option<&'q str>) -> impl Iterator<Item = Cow<'q, str>> {
    let parameters = query.unwrap_or_default().split('&');
    parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        if name != PARAMETER {
            return None;
        }
        Some(match value.contains('+') {
            true => Cow::Owned(value.replace('+', "%20")),
            false => Cow::Borrowed(value),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Inputs;
    use crate::config::source::Source;
    use crate::config::values::Setting;
    use crate::names::Characters;
    use crate::routes::{Found, Routes};

    use super::*;

    const ANY: NameRules = NameRules {
        size_max: 128,
        characters: Characters::Any,
    };

    /// What a path with a query leads to, at endpoints with these topics, in words.
    fn ask(topics: &str, at_most: &str, room: &Room<'_>, target: &str) -> Result<String, Fault> {
        let file = Some("/dev/null".into());
        let inputs = Inputs {
            file,
            ..Inputs::default()
        };
        let mut configuration = inputs.load(None).unwrap();
        for endpoint in &mut configuration.endpoints {
            for (name, text) in [("topics", topics), ("topics-per-connection", at_most)] {
                let (index, (key, _)) = endpoint
                    .iter()
                    .enumerate()
                    .find(|(_, (key, _))| key.name == name)
                    .unwrap();
                let setting = Setting {
                    value: key.parse(text).unwrap(),
                    source: Source::Default,
                };
                endpoint.set(index, setting);
            }
        }
        let routes = Routes::of(&configuration);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let Found::Route(route, segment) = routes.find(path) else {
            panic!("{target} leads nowhere");
        };
        let endpoint = room.purpose(route, segment, query)?;
        Ok(match endpoint {
            Endpoint::Echo => "echo".to_owned(),
            Endpoint::Room(topic) => format!("in {topic}"),
            Endpoint::Feed(topic) => topic.to_string(),
            Endpoint::Count(topic) => format!("@{topic}"),
            Endpoint::Feeds(feeds) => {
                let words = feeds.0.iter().map(|what| match what {
                    Hearing::Topic(topic) => topic.to_string(),
                    Hearing::Count(topic) => format!("@{topic}"),
                });
                words.collect::<Vec<_>>().join(" + ")
            }
        })
    }

    fn ask_any(target: &str) -> Result<String, Fault> {
        let names = Names::default();
        let room = Room {
            names: &names,
            rules: ANY,
            topics_max: 0,
        };
        ask("*", "3", &room, target)
    }

    #[test]
    fn a_feed_hears_as_many_topics_as_it_names() {
        for (target, wanted) in [
            ("/feed/a", "a"),
            ("/feed/a?", "a"),
            ("/feed/a?token=x&topics=b&topic", "a"),
            ("/feed/a?topic=b", "a + b"),
            ("/feed/a?topic=b&x=y&topic=@c", "a + b + @c"),
            ("/feed/@a?topic=a", "@a + a"),
            ("/feed/a?topic=a&topic=a", "a"),
            ("/feed/a?topic=b&topic=b&topic=c&topic=a", "a + b + c"),
            ("/feed/a?topic=b+c%2Bd%20e", "a + b c+d e"),
            ("/feed/a?topic=a=b", "a + a=b"),
        ] {
            assert_eq!(ask_any(target).as_deref(), Ok(wanted), "{target}");
        }
    }

    #[test]
    fn what_cannot_be_heard_together_is_refused() {
        for (target, wanted) in [
            ("/feed/a?topic=b&topic=c&topic=d", Fault::TooMany),
            ("/feed/a?topic=", Fault::Further(NameError::Empty)),
            (
                "/feed/a?topic=b&topic=%zz",
                Fault::Further(NameError::Encoding),
            ),
            ("/feed/a?topic=b%2Fc", Fault::Further(NameError::Slash)),
            ("/feed/a?topic=@@c", Fault::Further(NameError::Reserved)),
            ("/ws/a?topic=b", Fault::NoFeed),
            ("/ws/@a", Fault::Name(NameError::Reserved)),
        ] {
            assert_eq!(ask_any(target), Err(wanted), "{target}");
        }
        let statuses = [Fault::TooMany, Fault::NoFeed, Fault::NotHere, Fault::Full];
        let statuses = statuses.map(|fault| fault.refusal().status);
        assert_eq!(statuses, [400, 400, 403, 503]);
        assert_eq!(ask_any("/ws/a?x=b").as_deref(), Ok("in a"));
        assert_eq!(ask_any("/echo?topic=b").as_deref(), Ok("echo"));
    }

    #[test]
    fn an_endpoint_has_the_topics_that_it_says() {
        let names = Names::default();
        let room = Room {
            names: &names,
            rules: ANY,
            topics_max: 0,
        };
        for (target, is_here) in [
            ("/ws/news", true),
            ("/ws/room-1", true),
            ("/feed/@room-1", true),
            ("/feed/news?topic=room-2", true),
            ("/feed/news?topic=other", false),
            ("/feed/@other", false),
            ("/ws/newsy", false),
            ("/ws/room", false),
        ] {
            let found = ask("news, room-*", "3", &room, target);
            assert_eq!(found.is_ok(), is_here, "{target}: {found:?}");
            assert!(found.is_ok() || found == Err(Fault::NotHere), "{target}");
        }
    }

    #[test]
    fn a_shard_has_no_more_topics_than_it_may() {
        let mut names = Names::default();
        let one = names.intern(Rc::new("one".into()));
        let two = names.intern(Rc::new("two".into()));
        let ask = |names: &Names, target| {
            let room = Room {
                names,
                rules: ANY,
                topics_max: 3,
            };
            ask("*", "3", &room, target).map(|_| ())
        };
        assert_eq!(ask(&names, "/feed/one?topic=two&topic=three"), Ok(()));
        assert_eq!(ask(&names, "/feed/@three?topic=three"), Ok(()));
        assert_eq!(ask(&names, "/feed/three?topic=four"), Err(Fault::Full));
        let three = names.intern(Rc::new("three".into()));
        assert_eq!(ask(&names, "/ws/four"), Err(Fault::Full));
        assert_eq!(ask(&names, "/ws/three"), Ok(()));
        names.release(one);
        assert_eq!(ask(&names, "/ws/four"), Ok(()));
        drop((two, three));
    }
}
