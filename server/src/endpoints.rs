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
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use tidegate_engine::{
    Admission, Answer, CloseCode, Context, End, Handler, Message, ProxyHeader, Refusal, Reply,
    Request, RequestContext, ShardContext, Upgrade,
};

use crate::admission::Doorkeeper;
use crate::census::{Census, Change, Next, Note, Step};
use crate::cors;
use crate::live::View;
use crate::names::{NameError, Names, count_topic};
use crate::purpose::{Fault, Feeds, Hearing, Room};
use crate::routes::{Found, Route};

/// The page: one file, which loads nothing else.
const PAGE: &str = include_str!("page.html");

/// What the page may do: run its own script, and open WebSockets.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self' ws: wss:; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The application of one shard.
#[derive(Debug)]
pub(crate) struct Endpoints {
    doorkeeper: Doorkeeper,
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
    /// It hears all of these.
    Feeds(Box<Feeds>),
}

const _: () = assert!(size_of::<Endpoint>() <= 16, "there are a million");

impl Endpoints {
    pub(crate) fn new(view: View) -> Self {
        Self {
            doorkeeper: Doorkeeper::new(Arc::clone(view.counts())),
            view,
            names: Names::default(),
            census: Census::default(),
        }
    }

    fn answer(&mut self, request: &Request<'_>, secure: bool) -> Answer<Endpoint> {
        let routes = self.view.routes();
        let room = Room {
            names: &self.names,
            rules: routes.name_rules,
            topics_max: routes.topics_max,
        };
        let found = routes.find(request.path());
        let (origins, methods) = match &found {
            Found::Page => (&routes.origins, "GET, HEAD"),
            Found::Nothing => (&routes.origins, "GET"),
            Found::Route(route, _) => (&route.origins, "GET"),
        };
        if let Some(answer) = cors::preflight(request, origins, methods, secure) {
            return answer.map_or_else(Answer::Refuse, Answer::Respond);
        }
        let answer = match found {
            Found::Page => Answer::Respond(page(request.method())),
            Found::Nothing => nothing_here(request),
            Found::Route(route, segment) => match room.purpose(route, segment, request.query()) {
                Ok(endpoint) => open(request, route, endpoint, secure),
                // Nothing can be where a name is missing.
                Err(Fault::Name(NameError::Empty)) => nothing_here(request),
                Err(fault) => Answer::Refuse(fault.refusal()),
            },
        };
        match answer {
            Answer::Respond(reply) => Answer::Respond(cors::let_read(reply, request, origins)),
            other @ (Answer::Upgrade(_) | Answer::Refuse(_)) => other,
        }
    }

    /// A connection hears this from now on.
    fn begin(context: &mut Context<'_, Self>, what: &Hearing) {
        match what {
            Hearing::Topic(topic) => context.subscribe(topic),
            Hearing::Count(topic) => {
                context.subscribe(&count_topic(topic));
                Self::tell_home(context.shard(), topic, Change::Watched(Step::Up));
            }
        }
    }

    /// It heard this.
    fn cease(&mut self, context: &mut Context<'_, Self>, what: Hearing) {
        match what {
            Hearing::Topic(topic) => self.names.release(topic),
            Hearing::Count(topic) => {
                Self::tell_home(context.shard(), &topic, Change::Watched(Step::Down));
                self.names.release(topic);
            }
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

    fn handshake_timeout(&mut self) -> Option<Duration> {
        Some(self.view.routes().handshake_timeout)
    }

    fn on_accept(&mut self, context: &mut RequestContext<'_, Self>) -> Admission {
        self.doorkeeper.on_accept(self.view.rules(), context)
    }

    fn on_proxied(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        header: &ProxyHeader,
    ) -> Admission {
        let rules = self.view.rules();
        self.doorkeeper.on_proxied(rules, context, header)
    }

    fn on_gone(&mut self, context: &mut RequestContext<'_, Self>) {
        self.doorkeeper.on_gone(context);
    }

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Endpoint> {
        let rules = self.view.rules();
        let admitted = self.doorkeeper.on_request(rules, context, request);
        let answer = match (admitted, request.method()) {
            (Err(refusal), _) => Answer::Refuse(refusal),
            // The target of CONNECT is a host to be connected with, whatever it looks like.
            (Ok(()), "CONNECT") => Answer::Refuse(Refusal::method_not_allowed()),
            (Ok(()), _) => self.answer(request, context.is_secure()),
        };
        match answer {
            Answer::Refuse(refusal) => Answer::Refuse(refusal.answering(request.method())),
            answer @ (Answer::Upgrade(_) | Answer::Respond(_)) => answer,
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        // A name that was not known when it was requested becomes the shared one.
        match context.state_mut() {
            Endpoint::Echo => return,
            Endpoint::Room(name) | Endpoint::Feed(name) | Endpoint::Count(name) => {
                *name = self.names.intern(Rc::clone(name));
            }
            Endpoint::Feeds(feeds) => {
                for Hearing::Topic(name) | Hearing::Count(name) in &mut feeds.0 {
                    *name = self.names.intern(Rc::clone(name));
                }
            }
        }
        match context.state().clone() {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) => Self::begin(context, &Hearing::Topic(topic)),
            Endpoint::Room(topic) => {
                context.subscribe(&topic);
                Self::tell_home(context.shard(), &topic, Change::Moved(Step::Up));
            }
            Endpoint::Count(topic) => Self::begin(context, &Hearing::Count(topic)),
            Endpoint::Feeds(feeds) => {
                for what in &feeds.0 {
                    Self::begin(context, what);
                }
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
            Endpoint::Feed(_) | Endpoint::Count(_) | Endpoint::Feeds(_) => {
                context.close(CloseCode::POLICY, "a feed only listens");
            }
        }
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, _end: End) {
        let endpoint = std::mem::replace(context.state_mut(), Endpoint::Echo);
        match endpoint {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) => self.cease(context, Hearing::Topic(topic)),
            Endpoint::Room(topic) => {
                Self::tell_home(context.shard(), &topic, Change::Moved(Step::Down));
                self.names.release(topic);
            }
            Endpoint::Count(topic) => self.cease(context, Hearing::Count(topic)),
            Endpoint::Feeds(feeds) => {
                for what in feeds.0 {
                    self.cease(context, what);
                }
            }
        }
    }

    fn label<'s>(&self, endpoint: &'s Endpoint) -> Cow<'s, str> {
        match endpoint {
            Endpoint::Echo => Cow::Borrowed("echo"),
            Endpoint::Room(topic) => Cow::Owned(format!("topic/{topic}")),
            Endpoint::Feed(topic) => Cow::Owned(format!("feed/{topic}")),
            Endpoint::Count(topic) => Cow::Owned(format!("feed/@{topic}")),
            Endpoint::Feeds(feeds) => {
                let names = feeds.0.iter().map(|what| match what {
                    Hearing::Topic(topic) => topic.to_string(),
                    Hearing::Count(topic) => format!("@{topic}"),
                });
                Cow::Owned(format!("feed/{}", names.collect::<Vec<_>>().join(",")))
            }
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
            profile: Some(route.profile.clone()),
            compression: Some(route.compression),
            ..Upgrade::new(endpoint)
        }),
        Err(fault) => Answer::Refuse(Refusal::new(403, "origin", fault.reason())),
    }
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
        let routes = view.routes();
        let room = Room {
            names: &Names::default(),
            rules: routes.name_rules,
            topics_max: 0,
        };
        match routes.find(path) {
            Found::Page => "the page".to_owned(),
            Found::Nothing => "nowhere".to_owned(),
            Found::Route(route, segment) => match room.purpose(route, segment, None) {
                Ok(Endpoint::Echo) => "the echo".to_owned(),
                Ok(Endpoint::Room(topic)) => format!("the room {topic}"),
                Ok(Endpoint::Feed(topic)) => format!("the feed {topic}"),
                Ok(Endpoint::Count(topic)) => format!("the count {topic}"),
                Ok(Endpoint::Feeds(_)) => unreachable!("nothing asks for several"),
                Err(Fault::Name(NameError::Empty)) => "nowhere".to_owned(),
                Err(Fault::Name(fault)) => format!("{fault:?}"),
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
