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
use std::time::Duration;

use compact_str::CompactString;
use tidegate_engine::{
    Admission, Answer, CloseCode, CompressionTier, ConnectionId, Context, End, Handler, Message,
    Profile, ProxyHeader, Refusal, Reply, Request, RequestContext, ShardContext, Upgrade,
};

use crate::admission::Doorkeeper;
use crate::auth::Verdict;
use crate::auth::expiries::Expiries;
use crate::auth::member::Member;
use crate::census::{Census, Change, Next, Note, Step};
use crate::cors;
use crate::live::View;
use crate::names::{NameError, Names, count_topic};
use crate::purpose::{Fault, Feeds, Hearing, Room};
use crate::routes::{Demand, Found, Route};

mod members;
mod page;

use members::Pending;
use page::page;

/// The application of one shard.
#[derive(Debug)]
pub(crate) struct Endpoints {
    doorkeeper: Doorkeeper,
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
    /// It hears all of these.
    Feeds(Box<Feeds>),
}

/// What an endpoint says of its connections.
#[derive(Debug)]
struct Terms {
    message_size_max: usize,
    profile: Profile,
    compression: CompressionTier,
}

impl Terms {
    fn of(route: &Route) -> Self {
        Self {
            message_size_max: route.message_size_max,
            profile: route.profile.clone(),
            compression: route.compression,
        }
    }

    fn upgrade(self, guest: Guest) -> Upgrade<Guest> {
        Upgrade {
            message_size_max: Some(self.message_size_max),
            profile: Some(self.profile),
            compression: Some(self.compression),
            ..Upgrade::new(guest)
        }
    }
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
            doorkeeper: Doorkeeper::new(Arc::clone(view.counts())),
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
        let secure = context.is_secure();
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
        let readable = |answer| match answer {
            Answer::Respond(reply) => Answer::Respond(cors::let_read(reply, request, origins)),
            other => other,
        };
        let (endpoint, demand, terms) = match found {
            Found::Page => return readable(Answer::Respond(page(request.method()))),
            Found::Nothing => return readable(nothing_here(request)),
            Found::Route(route, segment) => match room.purpose(route, segment, request.query()) {
                Ok(endpoint) => {
                    if let Some(refusal) = refuse_origin(request, route, secure) {
                        return Answer::Refuse(refusal);
                    }
                    (endpoint, route.demand, Terms::of(route))
                }
                // Nothing can be where a name is missing.
                Err(Fault::Name(NameError::Empty)) => return readable(nothing_here(request)),
                Err(fault) => return Answer::Refuse(fault.refusal()),
            },
        };
        // What asks for no WebSocket is told so, whoever it is.
        if demand == Demand::None || request.header("Upgrade").is_none() {
            return Answer::Upgrade(terms.upgrade(Guest::Plain(endpoint)));
        }
        self.admit(context, request, (endpoint, terms), demand)
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

    /// From now on it hears its topics, and is counted there.
    fn enter(context: &mut Context<'_, Self>) {
        match context.state().endpoint().clone() {
            Endpoint::Echo => {}
            Endpoint::Feed(topic) => context.subscribe(&topic),
            Endpoint::Room(topic) => {
                context.subscribe(&topic);
                Self::tell_home(context.shard(), &topic, Change::Moved(Step::Up));
            }
            Endpoint::Count(topic) => Self::watch(context, &topic),
            Endpoint::Feeds(feeds) => {
                for what in &feeds.0 {
                    match what {
                        Hearing::Topic(topic) => context.subscribe(topic),
                        Hearing::Count(topic) => Self::watch(context, topic),
                    }
                }
            }
        }
    }

    /// It hears how many are in a topic.
    fn watch(context: &mut Context<'_, Self>, topic: &CompactString) {
        context.subscribe(&count_topic(topic));
        Self::tell_home(context.shard(), topic, Change::Watched(Step::Up));
    }

    /// It is no longer counted in its topics. Its subscriptions end with it.
    fn leave(context: &mut Context<'_, Self>, endpoint: &Endpoint) {
        let shard = context.shard();
        match endpoint {
            Endpoint::Echo | Endpoint::Feed(_) => {}
            Endpoint::Room(topic) => Self::tell_home(shard, topic, Change::Moved(Step::Down)),
            Endpoint::Count(topic) => Self::tell_home(shard, topic, Change::Watched(Step::Down)),
            Endpoint::Feeds(feeds) => {
                for what in &feeds.0 {
                    if let Hearing::Count(topic) = what {
                        Self::tell_home(shard, topic, Change::Watched(Step::Down));
                    }
                }
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
            Endpoint::Feed(_) | Endpoint::Count(_) | Endpoint::Feeds(_) => {
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
    ) -> Answer<Guest> {
        let rules = self.view.rules();
        let admitted = self.doorkeeper.on_request(rules, context, request);
        let answer = match (admitted, request.method()) {
            (Err(refusal), _) => Answer::Refuse(refusal),
            // The target of CONNECT is a host to be connected with, whatever it looks like.
            (Ok(()), "CONNECT") => Answer::Refuse(Refusal::method_not_allowed()),
            (Ok(()), _) => self.answer(context, request),
        };
        match answer {
            Answer::Refuse(refusal) => Answer::Refuse(refusal.answering(request.method())),
            answer @ (Answer::Upgrade(_) | Answer::Respond(_) | Answer::Later) => answer,
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        // A name that was not known when it was requested becomes the shared one.
        match context.state_mut().endpoint_mut() {
            Endpoint::Echo => {}
            Endpoint::Room(name) | Endpoint::Feed(name) | Endpoint::Count(name) => {
                *name = self.names.intern(Rc::clone(name));
            }
            Endpoint::Feeds(feeds) => {
                for Hearing::Topic(name) | Hearing::Count(name) in &mut feeds.0 {
                    *name = self.names.intern(Rc::clone(name));
                }
            }
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
            Endpoint::Feeds(feeds) => {
                for Hearing::Topic(topic) | Hearing::Count(topic) in feeds.0 {
                    self.names.release(topic);
                }
            }
        }
    }

    fn label<'s>(&self, guest: &'s Guest) -> Cow<'s, str> {
        match guest.endpoint() {
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

/// What a page is refused with that may not connect here.
fn refuse_origin(request: &Request<'_>, route: &Route, secure: bool) -> Option<Refusal> {
    let origins = request.headers_named("Origin");
    let fault = route.origins.check(origins, request.host(), secure).err()?;
    Some(Refusal::new(403, "origin", fault.reason()))
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

#[cfg(test)]
mod tests;
