//! Doors for the engine's own benches to what is private: they decide nothing, and nobody else may use them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_io::epoll::EpollDriver;
use tidegate_io::host::Executor;
use tidegate_io::waker::Ring;
use tidegate_io::{Completion, Driver, Op, Parcel, Socket, Submitted, Timeout, Traffic, Waker};
use tidegate_proto::{Message, Session, Settings};

use super::{Parts, Shard};

mod echo;

pub use echo::Echo;

use crate::compression::{Budget, Compressor};
use crate::connection::{Open, Stage};
use crate::mailbox::{Address, Frame, Letter, Mailbox, Post, mailbox};
use crate::timers::{Entry, Timers};
use crate::{Answer, Compression, Context, Handler, Limits, Request, RequestContext, Upgrade};

/// A kernel that takes everything at once and never has anything to say.
#[derive(Debug)]
struct Sink(Instant);

impl Driver for Sink {
    fn submit(&mut self, _op: Op<'_>) -> Submitted {
        Submitted::Done
    }

    fn wait(&mut self, _timeout: Timeout) -> io::Result<()> {
        Ok(())
    }

    fn reap(&mut self) -> Option<Completion<'_>> {
        None
    }

    fn now(&self) -> Instant {
        self.0
    }

    fn traffic(&self, _socket: Socket) -> Option<Traffic> {
        None
    }

    fn memory(&self) -> usize {
        0
    }

    fn waker(&self) -> Waker {
        Waker::new(Nobody)
    }
}

struct Nobody;

impl Ring for Nobody {
    fn ring(&self) {}
}

#[derive(Debug)]
struct Silent;

impl Handler for Silent {
    type State = ();
    type Note = u32;

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_message(&mut self, _context: &mut Context<'_, Self>, _message: Message<'_>) {}
}

/// A shard on a kernel that costs nothing, with open connections.
pub struct Room {
    shard: Shard<Sink, Silent>,
    other: Mailbox<u32>,
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Room")
    }
}

impl Room {
    /// A shard, one of two, with so many open connections, numbered from 0.
    #[must_use]
    pub fn new(now: Instant, connections: u32) -> Self {
        let driver = Sink(now);
        let limits = Limits::default();
        let (own, _) = mailbox(limits.mailbox_letters_max, driver.waker());
        let (other, address) = mailbox(limits.mailbox_letters_max, driver.waker());
        let budget = Arc::new(Budget::new(Compression::Off));
        let parts = Parts {
            index: 0,
            compressor: Compressor::new(Compression::Off, budget),
            mailbox: own,
            post: Post::new(vec![None, Some(address)], limits.mail_bytes_max),
            shared: Arc::default(),
            seed: 1,
            limits,
            executor: Executor::here(),
        };
        let mut room = Self {
            shard: Shard::new(driver, Silent, parts),
            other,
        };
        for _ in 0..connections {
            room.insert();
        }
        room
    }

    /// One more open connection; its number.
    pub fn insert(&mut self) -> u32 {
        let slot = self
            .shard
            .core
            .insert(SocketAddr::from(([127, 0, 0, 1], 1)));
        self.shard.core.connection(slot).stage = {
            let session = Session::server(Settings::default());
            Stage::Open(Open::new(session, None, (), 1))
        };
        slot
    }

    /// Forgets a connection.
    pub fn remove(&mut self, slot: u32) {
        self.shard.core.remove(slot);
    }

    /// Subscribes a connection.
    pub fn subscribe(&mut self, slot: u32, topic: &str) {
        self.shard.core.subscribe(slot, topic);
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, slot: u32, topic: &str) {
        self.shard.core.unsubscribe(slot, topic);
    }

    /// Forgets the topics without subscribers, as the end of a turn does.
    pub fn sweep(&mut self) {
        self.shard.core.topics.sweep();
    }

    /// Publishes, to this shard and to the other one.
    pub fn publish(&mut self, topic: &str, text: &str) {
        let published = self.shard.core.publish(topic, 0, Message::Text(text));
        assert!(published.is_ok(), "the other shard's mail is read");
    }

    /// Queues what was published for each subscriber, and mails it to the other shard.
    pub fn deliver(&mut self) {
        self.shard.deliver();
    }

    /// Sends what is queued, to a kernel that takes it for nothing.
    pub fn flush(&mut self) {
        self.shard.flush();
    }

    /// Puts a frame that is encoded already into the letter to the other shard.
    pub fn enqueue(&mut self, topic: &str, frame: &[u8]) {
        self.shard.core.post.publish(topic, Frame::Small(frame), 0);
    }

    /// Puts that letter into the other shard's mailbox, and rings.
    pub fn dispatch(&mut self) {
        assert_eq!(self.shard.core.post.dispatch(), 1, "there is something");
    }

    /// Drops the mail of the other shard.
    pub fn forget_mail(&mut self) {
        while self.other.take().is_some() {}
    }

    /// Sets a connection's deadline.
    pub fn arm(&mut self, slot: u32, after: Duration) {
        self.shard.core.set_deadline(slot, after);
    }

    /// Takes a connection's deadline back.
    pub fn cancel(&mut self, slot: u32) {
        self.shard.core.connection(slot).deadline = 0;
    }
}

/// The wheel of deadlines by itself.
#[derive(Debug)]
pub struct Wheel(Timers);

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Timers::new(now))
    }

    /// Puts an entry in.
    pub fn insert(&mut self, now: Instant, after: Duration, slot: u32) {
        let tick = self.0.tick_after(now, after);
        let generation = 0;
        self.0.insert(tick, Entry { slot, generation });
    }

    /// Takes out what is due; how many that were.
    pub fn take_due(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some((_, entries)) = self.0.take_due(now) {
            count += entries.len();
        }
        count
    }
}

/// What waits for one peer that does not read.
#[derive(Debug)]
pub struct Outbox(crate::outbox::Outbox);

impl Outbox {
    /// An outbox behind a batch of one byte.
    #[must_use]
    pub fn new() -> Self {
        Self(crate::outbox::Outbox::behind(
            1,
            crate::SlowPolicy::Disconnect,
        ))
    }

    /// Queues a parcel.
    pub fn push(&mut self, parcel: Parcel) {
        self.0.push(parcel);
    }

    /// Queues a copy of these bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.0.append(bytes);
    }

    /// Takes everything out; how many parcels that were.
    #[must_use]
    pub fn take(self) -> usize {
        self.0.take_batch().count()
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

/// One thread that sleeps as a shard does, on epoll, until it is sent a letter.
#[derive(Debug)]
pub struct Sleeper {
    driver: EpollDriver,
    mailbox: Mailbox<u32>,
}

/// Where letters to a sleeper go.
#[derive(Debug, Clone)]
pub struct Letters(Address<u32>);

impl Sleeper {
    /// A sleeper and its address.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<(Self, Letters)> {
        let driver = EpollDriver::new(None)?;
        let (mailbox, address) = mailbox(16, driver.waker());
        Ok((Self { driver, mailbox }, Letters(address)))
    }

    /// Sleeps until there is a letter. `false`: it was the last.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn sleep(&mut self) -> io::Result<bool> {
        loop {
            if self.mailbox.fall_asleep() {
                self.driver.wait(Timeout::Never)?;
                while self.driver.reap().is_some() {}
            }
            self.mailbox.wake_up();
            match self.mailbox.take() {
                Some(letter) => return Ok(!matches!(letter, Letter::Stop)),
                None => continue,
            }
        }
    }
}

impl Letters {
    /// Sends a letter, and rings if its owner sleeps. `false`: the mailbox is full.
    #[must_use]
    pub fn send(&self) -> bool {
        self.0.try_send(Letter::Note(1)).is_ok()
    }

    /// Sends the last letter. `false`: the mailbox is full.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.0.try_send(Letter::Stop).is_ok()
    }
}
