//! What an application writes: the decisions.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::Message;
use tidegate_proto::handshake::{Refusal, Request};

use crate::{
    Admission, CompressionTier, Context, End, Profile, ProxyHeader, Reply, RequestContext,
    ShardContext, SharedMeter,
};

/// The application's side of a shard. Every shard has one of its own, so nothing in it needs
/// a lock, and nothing in it may wait.
///
/// A handler can only queue: whatever it sends, publishes or closes takes effect in a later
/// phase of the turn, so no callback finds the ground moved beneath it.
pub trait Handler: Sized + 'static {
    /// What the application keeps for each connection. There may be a million: keep it small.
    type State: 'static;

    /// What the handlers of different shards tell each other; `()` if they do not.
    type Note: Send + 'static;

    /// The shard is about to begin; a good moment to spawn tasks.
    fn on_start(&mut self, shard: &mut ShardContext<'_, Self>) {
        let _ = shard;
    }

    /// How long whoever is accepted now has until its request has arrived, if that is not as usual
    /// ([`crate::Limits::handshake_timeout`]).
    fn handshake_timeout(&mut self) -> Option<Duration> {
        None
    }

    /// Somebody has connected, and nothing has been read yet: the cheapest moment to say no.
    fn on_accept(&mut self, context: &mut RequestContext<'_, Self>) -> Admission {
        let _ = context;
        Admission::Take
    }

    /// A peer that was taken by [`Admission::TakeProxied`] has said for whom it speaks, which is
    /// [`RequestContext::peer`] from now on, if it has named somebody. [`Admission::TakeProxied`]
    /// is the same as [`Admission::Take`] here.
    fn on_proxied(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        header: &ProxyHeader,
    ) -> Admission {
        let _ = (context, header);
        Admission::Take
    }

    /// Nothing is left of a peer, whatever has become of it. Called once for each `on_accept`
    /// that has not dropped the peer, after its `on_close`, if it had one; its id and its address
    /// are what they were.
    fn on_gone(&mut self, context: &mut RequestContext<'_, Self>) {
        let _ = context;
    }

    /// A request has arrived. Nothing has been checked yet but that it is sound HTTP/1.1
    /// without a body.
    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Self::State>;

    /// The handshake is done; a good moment to subscribe.
    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        let _ = context;
    }

    /// A whole message has arrived.
    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>);

    /// The conversation is over, for the reason given; its subscriptions are still there.
    /// Called once for each `on_open`. Sending to this connection no longer succeeds.
    fn on_close(&mut self, context: &mut Context<'_, Self>, end: End) {
        let _ = (context, end);
    }

    /// What operators are to see of a connection, such as its path; see
    /// [`crate::Handle::connections`].
    fn label<'s>(&self, state: &'s Self::State) -> Cow<'s, str> {
        let _ = state;
        Cow::Borrowed("")
    }

    /// Who the connection belongs to, if the application knows: operators see it, and can
    /// disconnect all of a user; see [`crate::ConnectionFilter::user`].
    fn user<'s>(&self, state: &'s Self::State) -> Option<&'s Arc<str>> {
        let _ = state;
        None
    }

    /// The moment has come that [`ShardContext::wake_at`] asked for. There is no other one now.
    fn on_wake(&mut self, shard: &mut ShardContext<'_, Self>) {
        let _ = shard;
    }

    /// The handler of a shard (or this one itself) has told this one something.
    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, note: Self::Note) {
        let _ = (shard, note);
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Answer<S> {
    /// Open a WebSocket, if the request asks for one by the rules of RFC 6455, section 4.2;
    /// if not, the engine refuses it with the status that belongs to the fault.
    Upgrade(Upgrade<S>),
    /// Answer as a web server does, and close.
    Respond(Reply),
    /// Say no, and close.
    Refuse(Refusal),
    /// It takes longer: the engine keeps the request, and receives no more from this peer, until
    /// [`ShardContext::decide`] says what to do. The handshake's deadline goes on meanwhile.
    Later,
}

/// How to open a WebSocket.
#[derive(Debug)]
pub struct Upgrade<S> {
    /// The state that the connection starts with.
    pub state: S,
    /// The subprotocol chosen, out of those that the client offered; any other is left out.
    pub protocol: Option<String>,
    /// The largest message in bytes, if it is not the server's usual limit.
    pub message_size_max: Option<usize>,
    /// How it is kept alive, what it may say and what happens if it does not read, if that is not as
    /// usual ([`crate::Limits::profile`]). With 256 different ones in use on a shard, a request that
    /// wants another is refused with 503.
    pub profile: Option<Profile>,
    /// How its messages may be compressed, if not as usual ([`crate::Settings::compression`]).
    pub compression: Option<CompressionTier>,
    /// Rates that it shares with others, such as all connections of one user; beside its own.
    pub meter: Option<Arc<SharedMeter>>,
}

impl<S> Upgrade<S> {
    /// An upgrade with this state, without a subprotocol, with the usual limits.
    pub fn new(state: S) -> Self {
        Self {
            state,
            protocol: None,
            message_size_max: None,
            profile: None,
            compression: None,
            meter: None,
        }
    }
}
