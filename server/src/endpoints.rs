//! What the public port offers: the page, the echoes, the topics and the feeds, under the paths
//! that are configured. Unless others are:
//!
//! | path | what it is |
//! |---|---|
//! | `/` | the page, a small chat |
//! | `/echo` | a WebSocket that hears what it says |
//! | `/ws/{topic}` | a room: everybody there hears what anybody there says |
//! | `/feed/{topic}` | hears the topic, and says nothing |
//! | `/feed/@{topic}` | hears how many are in the room, now and on each change |

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use compact_str::CompactString;
use tidegate_engine::{
    Answer, CloseCode, ConnectionId, Context, End, Handler, Message, Refusal, Reply, Request,
    RequestContext, ShardContext, Upgrade,
};

use crate::auth::Verdict;
use crate::auth::expiries::Expiries;
use crate::auth::member::Member;
use crate::census::{Census, Change, Next, Note, Step};
use crate::live::View;
use crate::names::{Name, NameError, Names, count_topic};
use crate::routes::{Demand, EndpointKind, Found, Route};

mod members;

use members::Pending;

/// The page: one file, which loads nothing else.
const PAGE: &str = include_str!("page.html");

/// What the page may do: run its own script, and open WebSockets.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self' ws: wss:; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The application of one shard.
#[derive(Debug)]
pub(crate) struct Endpoints {
    view: View,
    names: Names,
    census: Census,
    /// Requests whose tokens are being checked on other threads.
    pending: HashMap<ConnectionId, Pending>,
    /// When members have to go.
    expiries: Expiries,
}

/// What is kept of a connection.
#[derive(Debug)]
pub(crate) enum Guest {
    /// At an endpoint for everybody.
    Plain(Endpoint),
    /// At one that asks for tokens.
    Member(Box<Member>),
}

/// What the shards tell each other, and other threads a shard.
#[derive(Debug, Clone)]
pub(crate) enum Word {
    Census(Note),
    /// What has become of the token of a request or a connection.
    Verdict(ConnectionId, Verdict),
}

/// What a connection is here for.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// It hears what it says.
    Echo,
    /// It is a member of this topic.
    Room(Rc<CompactString>),
    /// It hears this topic.
    Feed(Rc<CompactString>),
    /// It hears how many members this topic has.
    Count(Rc<CompactString>),
}

const _: () = assert!(size_of::<Guest>() <= 16, "there are a million");

impl Guest {
    /// What it is here for.
    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Plain(endpoint) => endpoint,
            Self::Member(member) => &member.endpoint,
        }
    }

    fn endpoint_mut(&mut self) -> &mut Endpoint {
        match self {
            Self::Plain(endpoint) => endpoint,
            Self::Member(member) => &mut member.endpoint,
        }
    }
}

impl Endpoints {
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            names: Names::default(),
            census: Census::default(),
            pending: HashMap::new(),
            expiries: Expiries::default(),
        }
    }

    fn answer(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Guest> {
        let (endpoint, demand, message_size_max) = match self.view.routes().find(request.path()) {
            Found::Page => return Answer::Respond(page(request.method())),
            Found::Nothing => return nothing_here(request),
            Found::Route(route, segment) => match purpose(&self.names, route.kind, segment) {
                Ok(endpoint) => {
                    if let Some(refusal) = refuse_origin(request, route) {
                        return Answer::Refuse(refusal);
                    }
                    (endpoint, route.demand, route.message_size_max)
                }
                // Nothing can be where a name is missing.
                Err(NameError::Empty) => return nothing_here(request),
                Err(fault) => return Answer::Refuse(refuse_name(fault)),
            },
        };
        // What asks for no WebSocket is told so, whoever it is.
        if demand == Demand::None || request.header("Upgrade").is_none() {
            return Answer::Upgrade(Upgrade {
                message_size_max: Some(message_size_max),
                ..Upgrade::new(Guest::Plain(endpoint))
            });
        }
        self.admit(context, request, endpoint, demand, message_size_max)
    }

    fn tell_home(shard: &mut ShardContext<'_, Self>, topic: &CompactString, what: Change) {
        let home = shard.home_of(topic);
        shard.tell(
            home,
            Word::Census(Note {
                topic: topic.clone(),
                what,
            }),
        );
    }

    /// From now on it hears its topic, and is counted there.
    fn enter(context: &mut Context<'_, Self>) {
        match context.state().endpoint().clone() {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) => context.subscribe(&topic),
            Endpoint::Room(topic) => {
                context.subscribe(&topic);
                Self::tell_home(context.shard(), &topic, Change::Moved(Step::Up));
            }
            Endpoint::Count(topic) => {
                context.subscribe(&count_topic(&topic));
                Self::tell_home(context.shard(), &topic, Change::Watched(Step::Up));
            }
        }
    }

    /// It is no longer counted in its topic. Its subscriptions end with it.
    fn leave(context: &mut Context<'_, Self>, endpoint: &Endpoint) {
        match endpoint {
            Endpoint::Echo | Endpoint::Feed(_) => {}
            Endpoint::Room(topic) => {
                Self::tell_home(context.shard(), topic, Change::Moved(Step::Down));
            }
            Endpoint::Count(topic) => {
                Self::tell_home(context.shard(), topic, Change::Watched(Step::Down));
            }
        }
    }

    /// Does with a message what the endpoint is for.
    #[inline]
    fn speak(context: &mut Context<'_, Self>, message: Message<'_>) {
        match context.state().endpoint() {
            Endpoint::Echo => {
                // Only a peer that does not read is refused; it must not miss a message
                // without being told.
                if context.send(message).is_err() {
                    context.close(CloseCode::POLICY, "the echoes were not read");
                }
            }
            Endpoint::Room(topic) => {
                let topic = Rc::clone(topic);
                if context.publish(&topic, message).is_err() {
                    let reason = "too busy: the last message was not heard";
                    context.close(CloseCode::TRY_AGAIN_LATER, reason);
                }
            }
            Endpoint::Feed(_) | Endpoint::Count(_) => {
                context.close(CloseCode::POLICY, "a feed only listens");
            }
        }
    }

    /// Counts, and shows what has changed.
    fn on_census(&mut self, shard: &mut ShardContext<'_, Self>, note: Note) {
        let show = match self.census.take(&note) {
            Next::Nothing => false,
            Next::ShowLater => true,
            Next::Publish(total) => {
                let text = total.to_string();
                let refused = shard
                    .publish(&count_topic(&note.topic), Message::Text(&text))
                    .is_err();
                if refused {
                    self.census.was_refused(&note.topic);
                }
                refused
            }
        };
        if show {
            let myself = shard.index();
            shard.tell(
                myself,
                Word::Census(Note {
                    topic: note.topic,
                    what: Change::Show,
                }),
            );
        }
    }
}

impl Handler for Endpoints {
    type State = Guest;
    type Note = Word;

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Guest> {
        match request.method() {
            // The target of CONNECT is a host to be connected with, whatever it looks like.
            "CONNECT" => Answer::Refuse(Refusal::method_not_allowed()),
            _ => self.answer(context, request),
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        if let Endpoint::Room(name) | Endpoint::Feed(name) | Endpoint::Count(name) =
            context.state_mut().endpoint_mut()
        {
            // A name that was not known when it was requested becomes the shared one.
            *name = self.names.intern(Rc::clone(name));
        }
        match context.state() {
            Guest::Plain(_) => Self::enter(context),
            Guest::Member(_) => self.on_open_member(context),
        }
    }

    #[inline]
    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        match context.state() {
            Guest::Plain(_) => Self::speak(context, message),
            Guest::Member(_) => self.on_message_of_member(context, message),
        }
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, _end: End) {
        let guest = std::mem::replace(context.state_mut(), Guest::Plain(Endpoint::Echo));
        let endpoint = match guest {
            Guest::Plain(endpoint) => {
                Self::leave(context, &endpoint);
                endpoint
            }
            Guest::Member(member) => self.on_close_member(context, *member),
        };
        match endpoint {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) | Endpoint::Room(topic) | Endpoint::Count(topic) => {
                self.names.release(topic);
            }
        }
    }

    fn label<'s>(&self, guest: &'s Guest) -> Cow<'s, str> {
        match guest.endpoint() {
            Endpoint::Echo => Cow::Borrowed("echo"),
            Endpoint::Room(topic) => Cow::Owned(format!("topic/{topic}")),
            Endpoint::Feed(topic) => Cow::Owned(format!("feed/{topic}")),
            Endpoint::Count(topic) => Cow::Owned(format!("feed/@{topic}")),
        }
    }

    fn user<'s>(&self, guest: &'s Guest) -> Option<&'s Arc<str>> {
        match guest {
            Guest::Plain(_) => None,
            Guest::Member(member) => member.user.as_ref(),
        }
    }

    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, word: Word) {
        match word {
            Word::Census(note) => self.on_census(shard, note),
            Word::Verdict(id, verdict) => self.on_verdict(shard, id, verdict),
        }
    }

    fn on_wake(&mut self, shard: &mut ShardContext<'_, Self>) {
        self.expire(shard);
    }
}

/// What a connection is here for, by the endpoint's kind and the topic in the path.
fn purpose(
    names: &Names,
    kind: EndpointKind,
    segment: Option<&str>,
) -> Result<Endpoint, NameError> {
    let segment = segment.unwrap_or_default();
    Ok(match kind {
        EndpointKind::Echo => Endpoint::Echo,
        EndpointKind::Topic => Endpoint::Room(names.spelling(Name::read_topic(segment)?)),
        EndpointKind::Feed => match Name::read(segment)? {
            Name::Topic(topic) => Endpoint::Feed(names.spelling(topic)),
            Name::CountOf(topic) => Endpoint::Count(names.spelling(topic)),
        },
    })
}

/// What a page is refused with that may not connect here.
fn refuse_origin(request: &Request<'_>, route: &Route) -> Option<Refusal> {
    let origins = request.headers_named("Origin");
    let fault = route.origins.check(origins, request.host()).err()?;
    Some(Refusal::new(403, "origin", fault.reason()))
}

fn refuse_name(fault: NameError) -> Refusal {
    let status = if fault == NameError::Reserved {
        403
    } else {
        400
    };
    Refusal::new(status, "topic", fault.reason())
}

/// Only who wanted a WebSocket is counted as a handshake that failed; a browser that looks
/// for an icon is not.
fn nothing_here(request: &Request<'_>) -> Answer<Guest> {
    if request.header("Upgrade").is_some() {
        return Answer::Refuse(Refusal::not_found());
    }
    Answer::Respond(Reply {
        status: 404,
        content_type: "text/plain; charset=utf-8",
        headers: Vec::new(),
        body: Cow::Borrowed(b"There is nothing under this path.\n"),
    })
}

fn page(method: &str) -> Reply {
    if !matches!(method, "GET" | "HEAD") {
        return Reply {
            status: 405,
            content_type: "text/plain; charset=utf-8",
            headers: vec![("Allow", "GET, HEAD".to_owned())],
            body: Cow::Borrowed(b"This page can only be read.\n"),
        };
    }
    Reply {
        status: 200,
        content_type: "text/html; charset=utf-8",
        headers: [
            ("Content-Security-Policy", PAGE_POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        body: Cow::Borrowed(PAGE.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::config::Inputs;
    use crate::live::Live;

    use super::*;

    /// Where a path leads, in words.
    fn route(path: &str) -> String {
        let file = Some("/dev/null".into());
        let configuration = Inputs {
            file,
            ..Inputs::default()
        }
        .load(None)
        .unwrap();
        let mut view = View::of(Arc::new(Live::new(configuration)));
        match view.routes().find(path) {
            Found::Page => "the page".to_owned(),
            Found::Nothing => "nowhere".to_owned(),
            Found::Route(route, segment) => match purpose(&Names::default(), route.kind, segment) {
                Ok(Endpoint::Echo) => "the echo".to_owned(),
                Ok(Endpoint::Room(topic)) => format!("the room {topic}"),
                Ok(Endpoint::Feed(topic)) => format!("the feed {topic}"),
                Ok(Endpoint::Count(topic)) => format!("the count {topic}"),
                Err(NameError::Empty) => "nowhere".to_owned(),
                Err(fault) => format!("{fault:?}"),
            },
        }
    }

    #[test]
    fn each_path_leads_somewhere() {
        assert_eq!(route("/"), "the page");
        assert_eq!(route("/echo"), "the echo");
        assert_eq!(route("/ws/lobby"), "the room lobby");
        assert_eq!(route("/ws/caf%C3%A9"), "the room café");
        assert_eq!(route("/feed/lobby"), "the feed lobby");
        assert_eq!(route("/feed/@lobby"), "the count lobby");
        assert_eq!(route("/feed/%40lobby"), "the count lobby");
    }

    #[test]
    fn paths_that_are_nearly_right_lead_nowhere() {
        for path in [
            "",
            "//",
            "/echo/",
            "/echo/x",
            "/Echo",
            "/ws",
            "/ws/",
            "/ws/a/b",
            "/ws/a/",
            "/ws//a",
            "/feed",
            "/feed/",
            "/feed/a/b",
            "/feed/@",
            "/ws/@",
            "/wss/a",
            "/index.html",
        ] {
            assert_eq!(route(path), "nowhere", "{path}");
        }
    }

    #[test]
    fn bad_names_are_told_apart_from_missing_pages() {
        assert_eq!(route("/ws/@lobby"), "Reserved");
        assert_eq!(route("/feed/@@lobby"), "Reserved");
        assert_eq!(route("/ws/%zz"), "Encoding");
        assert_eq!(route("/ws/%ff"), "Utf8");
        assert_eq!(route("/ws/a%2Fb"), "Slash");
        assert_eq!(route("/ws/a%0D%0A"), "Control");
        let long = format!("/feed/{}", "a".repeat(129));
        assert_eq!(route(&long), "TooLong");
    }

    #[test]
    fn the_page_is_read_only_and_loads_nothing_from_elsewhere() {
        assert_eq!(page("GET").status, 200);
        assert_eq!(page("HEAD").status, 200);
        assert_eq!(page("POST").status, 405);
        assert!(
            page("POST")
                .headers
                .contains(&("Allow", "GET, HEAD".to_owned()))
        );
        for outside in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            "innerHTML",
            "eval(",
        ] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
