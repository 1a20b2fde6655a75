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
use std::rc::Rc;

use compact_str::CompactString;
use tidegate_engine::{
    Answer, CloseCode, Context, End, Handler, Message, Refusal, Reply, Request, RequestContext,
    ShardContext, Upgrade,
};

use crate::census::{Census, Change, Next, Note, Step};
use crate::live::View;
use crate::names::{Name, NameError, Names, count_topic};
use crate::routes::{EndpointKind, Found, Route};

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

const _: () = assert!(size_of::<Endpoint>() <= 16, "there are a million");

impl Endpoints {
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            names: Names::default(),
            census: Census::default(),
        }
    }

    fn answer(&mut self, request: &Request<'_>, secure: bool) -> Answer<Endpoint> {
        match self.view.routes().find(request.path()) {
            Found::Page => Answer::Respond(page(request.method())),
            Found::Nothing => nothing_here(request),
            Found::Route(route, segment) => match purpose(&self.names, route.kind, segment) {
                Ok(endpoint) => open(request, route, endpoint, secure),
                // Nothing can be where a name is missing.
                Err(NameError::Empty) => nothing_here(request),
                Err(fault) => Answer::Refuse(refuse_name(fault)),
            },
        }
    }

    fn tell_home(shard: &mut ShardContext<'_, Self>, topic: &CompactString, what: Change) {
        let home = shard.home_of(topic);
        shard.tell(
            home,
            Note {
                topic: topic.clone(),
                what,
            },
        );
    }
}

impl Handler for Endpoints {
    type State = Endpoint;
    type Note = Note;

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Endpoint> {
        let answer = match request.method() {
            // The target of CONNECT is a host to be connected with, whatever it looks like.
            "CONNECT" => Answer::Refuse(Refusal::method_not_allowed()),
            _ => self.answer(request, context.is_secure()),
        };
        match answer {
            Answer::Refuse(refusal) => Answer::Refuse(refusal.answering(request.method())),
            answer @ (Answer::Upgrade(_) | Answer::Respond(_)) => answer,
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        let (Endpoint::Room(name) | Endpoint::Feed(name) | Endpoint::Count(name)) =
            context.state_mut()
        else {
            return;
        };
        // A name that was not known when it was requested becomes the shared one.
        *name = self.names.intern(Rc::clone(name));
        match context.state().clone() {
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

    #[inline]
    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        match context.state() {
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

    fn on_close(&mut self, context: &mut Context<'_, Self>, _end: End) {
        let endpoint = std::mem::replace(context.state_mut(), Endpoint::Echo);
        match endpoint {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) => self.names.release(topic),
            Endpoint::Room(topic) => {
                Self::tell_home(context.shard(), &topic, Change::Moved(Step::Down));
                self.names.release(topic);
            }
            Endpoint::Count(topic) => {
                Self::tell_home(context.shard(), &topic, Change::Watched(Step::Down));
                self.names.release(topic);
            }
        }
    }

    fn label<'s>(&self, endpoint: &'s Endpoint) -> Cow<'s, str> {
        match endpoint {
            Endpoint::Echo => Cow::Borrowed("echo"),
            Endpoint::Room(topic) => Cow::Owned(format!("topic/{topic}")),
            Endpoint::Feed(topic) => Cow::Owned(format!("feed/{topic}")),
            Endpoint::Count(topic) => Cow::Owned(format!("feed/@{topic}")),
        }
    }

    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, note: Note) {
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
                Note {
                    topic: note.topic,
                    what: Change::Show,
                },
            );
        }
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

/// Opens a WebSocket, unless the page that asks for it may not.
fn open(
    request: &Request<'_>,
    route: &Route,
    endpoint: Endpoint,
    secure: bool,
) -> Answer<Endpoint> {
    let origins = request.headers_named("Origin");
    match route.origins.check(origins, request.host(), secure) {
        Ok(()) => Answer::Upgrade(Upgrade {
            message_size_max: Some(route.message_size_max),
            ..Upgrade::new(endpoint)
        }),
        Err(fault) => Answer::Refuse(Refusal::new(403, "origin", fault.reason())),
    }
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
fn nothing_here(request: &Request<'_>) -> Answer<Endpoint> {
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
