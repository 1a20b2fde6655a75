//! What an application writes: the decisions.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_proto::Message;
use tidegate_proto::handshake::{Refusal, Request};

use crate::{Context, End, Profile, Reply, RequestContext, ShardContext};

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
    /// How it is kept alive and what happens if it does not read, if that is not as usual
    /// ([`crate::Limits::profile`]). A shard knows 256 different ones at most.
    pub profile: Option<Profile>,
}

impl<S> Upgrade<S> {
    /// An upgrade with this state, without a subprotocol, with the usual limits.
    pub fn new(state: S) -> Self {
        Self {
            state,
            protocol: None,
            message_size_max: None,
            profile: None,
        }
    }
}
