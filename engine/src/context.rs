//! What a handler may do.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_proto::{CloseCode, Message};

use crate::connection::{Connection, Flags};
use crate::core::Core;
use crate::{
    Answer, ConnectionId, EndReason, Handler, Key, ShardHandle, SharedMeter, TooManyTasks,
};

/// One connection, as its handler sees it during a callback.
#[derive(Debug)]
pub struct Context<'a, H: Handler> {
    shard: ShardContext<'a, H>,
    slot: u32,
}

/// A peer that is no WebSocket, or not yet, as its handler sees it: when it connects, when its
/// request has come, when nothing is left of it.
#[derive(Debug)]
pub struct RequestContext<'a, H: Handler> {
    shard: ShardContext<'a, H>,
    slot: u32,
}

/// The shard, as its handler sees it during a callback.
pub struct ShardContext<'a, H: Handler> {
    pub(crate) core: &'a mut Core<H>,
}

/// Too much waits for another shard: nothing was published. Try later, or drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another shard does not keep up: nothing was published")]
pub struct Busy;

/// Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The conversation is over, or we have said that it is.
    #[error("the connection is closed")]
    Closed,
    /// The peer does not read, and its outbox is full.
    #[error("the outbox is full")]
    Full,
}

impl<'a, H: Handler> Context<'a, H> {
    pub(crate) fn new(core: &'a mut Core<H>, slot: u32) -> Self {
        Self {
            shard: ShardContext { core },
            slot,
        }
    }

    /// The connection's name, which no other will ever have.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.shard.core.id_of(self.slot)
    }

    /// Sends a message to this connection, before all publications of this turn.
    ///
    /// # Errors
    /// [`SendError`]; nothing has been queued then.
    pub fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        self.shard.core.send(self.slot, message)
    }

    /// Says a message to all who have subscribed to the topic, on whichever core they are;
    /// see [`ShardContext::publish`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn publish(&mut self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        self.shard.publish(topic, message)
    }

    /// The same for what replaces whatever was said under this key before; see
    /// [`ShardContext::publish_latest`].
    ///
    /// # Errors
    /// [`Busy`].
    pub fn publish_latest(
        &mut self,
        topic: &str,
        key: Key,
        message: Message<'_>,
    ) -> Result<(), Busy> {
        self.shard.publish_latest(topic, key, message)
    }

    /// How long the last ping took to be answered; `None` before the first pong.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let connection = &self.shard.core.connections[self.slot as usize];
        connection.as_open().and_then(|open| open.round_trip.span())
    }

    /// How many publications this connection has missed because it does not read fast enough; see
    /// [`crate::SlowPolicy`].
    #[must_use]
    pub fn dropped(&self) -> u32 {
        let connection = &self.shard.core.connections[self.slot as usize];
        connection.as_open().map_or(0, |open| open.dropped)
    }

    /// From now on this connection hears the topic. Doing so twice is the same as once.
    pub fn subscribe(&mut self, topic: &str) {
        self.shard.core.subscribe(self.slot, topic);
    }

    /// From now on this connection no longer hears the topic.
    pub fn unsubscribe(&mut self, topic: &str) {
        self.shard.core.unsubscribe(self.slot, topic);
    }

    /// From now on what this connection says counts against this meter too, which others may share:
    /// the next read does. It takes the place of one that it had before ([`crate::Upgrade::meter`]).
    pub fn share_meter(&mut self, meter: Arc<SharedMeter>) {
        self.shard.core.share_meter(self.slot, meter);
    }

    /// Starts the close handshake, behind what has been sent so far. Reasons beyond 123
    /// bytes are cut. Closing twice is the same as once.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        let why = EndReason::ClosedByApplication;
        self.shard.core.close(self.slot, code, reason, why);
    }

    /// The same for somebody who has not shown who it is, or may not be here any more, which is
    /// counted and told as [`EndReason::Unauthorized`].
    pub fn turn_away(&mut self, code: CloseCode, reason: &str) {
        let why = EndReason::Unauthorized;
        self.shard.core.close(self.slot, code, reason, why);
    }

    /// Where it calls from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shard.core.addresses.get(self.slot)
    }

    /// What the application keeps for this connection.
    #[must_use]
    pub fn state(&self) -> &H::State {
        match &self.shard.core.connections[self.slot as usize].stage {
            crate::connection::Stage::Open(open) => &open.state,
            _ => unreachable!("a callback has a context only while the connection is open"),
        }
    }

    /// What the application keeps for this connection.
    pub fn state_mut(&mut self) -> &mut H::State {
        let connection = &mut self.shard.core.connections[self.slot as usize];
        let open = Connection::open(connection);
        &mut open
            .expect("a callback has a context only while the connection is open")
            .state
    }

    /// Begins a task on this shard; see [`ShardContext::spawn`].
    ///
    /// # Errors
    /// [`TooManyTasks`].
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        self.shard.spawn(task)
    }

    /// When this turn began to receive, by the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shard.now()
    }

    /// The shard that the connection lives on.
    pub fn shard(&mut self) -> &mut ShardContext<'a, H> {
        &mut self.shard
    }
}

impl<'a, H: Handler> RequestContext<'a, H> {
    pub(crate) fn new(core: &'a mut Core<H>, slot: u32) -> Self {
        Self {
            shard: ShardContext { core },
            slot,
        }
    }

    /// The name that the connection has, and will have if it is opened.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.shard.core.id_of(self.slot)
    }

    /// Where it calls from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.shard.core.addresses.get(self.slot)
    }

    /// From now on it is known under this address: what a proxy says of whom it speaks for.
    pub fn set_peer(&mut self, address: SocketAddr) {
        self.shard.core.addresses.set(self.slot, address);
    }

    /// Whether the connection is encrypted from the client to this process.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        let connection = &self.shard.core.connections[self.slot as usize];
        connection.flags.has(Flags::SECURE)
    }

    /// Who the client is by its certificate, if it has shown one that is trusted.
    #[must_use]
    pub fn tls_user(&self) -> Option<&str> {
        self.shard.core.secure.as_ref()?.user(self.slot)
    }

    /// When this turn began to receive, by the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shard.now()
    }

    /// The shard that it has called.
    pub fn shard(&mut self) -> &mut ShardContext<'a, H> {
        &mut self.shard
    }
}

impl<H: Handler> ShardContext<'_, H> {
    /// This shard's number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.core.shard
    }

    /// How many shards there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.post.shard_count()
    }

    /// Says a message to all who have subscribed to the topic, on whichever core they are.
    ///
    /// It is encoded once. The messages that one shard publishes to one topic arrive in the
    /// order of publishing; between topics there is no order.
    ///
    /// # Errors
    /// [`Busy`] when another shard does not keep up. Nobody hears it then; whatever was
    /// accepted is heard by all who still listen and read.
    pub fn publish(&mut self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        self.core.publish(topic, 0, message)
    }

    /// The same for what replaces whatever was said under this key before, such as the price of
    /// one thing: a subscriber that is behind, and whose policy is [`crate::SlowPolicy::Latest`],
    /// hears only the last of each key. All others hear everything, as far as they keep up.
    ///
    /// A key that changes all the time is heard now and then all the same: after it has been
    /// replaced 16 times, a value keeps its place.
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    pub fn publish_latest(
        &mut self,
        topic: &str,
        key: Key,
        message: Message<'_>,
    ) -> Result<(), Busy> {
        self.core.publish(topic, Key::number(Some(key)), message)
    }

    /// How many connections of this shard hear the topic.
    #[must_use]
    pub fn subscriber_count(&self, topic: &str) -> usize {
        self.core.subscriber_count(topic)
    }

    /// Tells the handler of a shard something: its [`Handler::on_note`] is called with it.
    /// Notes to one shard arrive in order, and none is lost while that shard lives. A note to
    /// oneself arrives later in this turn or in the next one.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn tell(&mut self, shard: usize, note: H::Note) {
        if shard == self.core.shard {
            self.core.notes.push_back(note);
        } else {
            self.core.post.tell(shard, note);
        }
    }

    /// Begins a task: a future that runs beside the loop, on this shard's thread, until it is
    /// over or the shard ends. It shares the thread: between two turns of the loop some tasks
    /// are polled, for about half a millisecond at most, and whatever one poll takes delays
    /// every connection of the shard. What may wait belongs into [`ShardHandle::blocking`], and
    /// what takes long has to [`ShardHandle::yield_now`] now and then.
    ///
    /// A task waits by what [`Self::handle`] gives, or by anything that wakes it from any
    /// thread, such as a channel; not by what needs an executor of its own kind (tokio's, or
    /// glommio's). If it panics, the shard fails, and the server with it.
    ///
    /// # Errors
    /// [`TooManyTasks`], by [`crate::Limits::tasks_max`].
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        self.core.tasks.spawn(task)
    }

    /// By what a task speaks to this shard, and tells the time.
    #[must_use]
    pub fn handle(&self) -> ShardHandle<H> {
        ShardHandle::new(self.core.tasks.clone(), Rc::clone(&self.core.requests))
    }

    /// What becomes of a request that was answered with [`Answer::Later`]: as if the handler had
    /// said it at once. It is done later in this turn or in the next one; if the peer has gone,
    /// or the handshake's deadline has passed, nothing is done.
    pub fn decide(&mut self, id: ConnectionId, answer: Answer<H::State>) {
        self.core.decisions.push_back((id, answer));
    }

    /// Has [`Handler::on_wake`] called at this moment, or as soon after as the loop comes to it. A
    /// shard has one such moment, the first of those that were asked for since the last call.
    pub fn wake_at(&mut self, at: Instant) {
        if self.core.wake_at.is_none_or(|earlier| at < earlier) {
            self.core.wake_at = Some(at);
        }
    }

    /// A connection of this shard, if it is open.
    pub fn connection(&mut self, id: ConnectionId) -> Option<Context<'_, H>> {
        let slot = self.core.slot_of(id)?;
        Some(Context::new(self.core, slot))
    }

    /// A shard for each topic: the same one, whichever shard asks.
    #[must_use]
    pub fn home_of(&self, topic: &str) -> usize {
        crate::handle::home_of(topic, self.count())
    }

    /// When this turn began to receive, by the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.now
    }
}

impl<H: Handler> std::fmt::Debug for ShardContext<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardContext")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}
