//! What a worker's connections are for: the part in which the commands differ.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Instant;

use tidegate_proto::{Message, MessageKind, Session};

use crate::random::Random;
use crate::tally::{Messages, Window};

/// The traffic of one worker. Connections are known by their index in the worker.
///
/// ```text
///   begin ─▶ tick ─▶ orders ─▶ write ─▶ ... receive, receive ─▶ settle ─▶ write ...
///            each turn         into one send    out of one recv
/// ```
pub trait Load: Send + Debug {
    /// The path that the connection asks for.
    fn path<'a>(&self, _index: usize, path: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(path)
    }

    /// The connection has got its 101.
    fn opened(&mut self, _index: usize, _now: Instant) {}

    /// A connect has failed, or was given up. `true` if that is a fault.
    fn failed(&mut self, _index: usize, _now: Instant) -> bool {
        true
    }

    /// The connection, which was open, is no more. `true` if that is a fault.
    fn lost(&mut self, _index: usize, _now: Instant) -> bool {
        true
    }

    /// The connection has ended, as the load has ordered; it may be dialled again.
    fn left(&mut self, _index: usize, _now: Instant) {}

    /// Every connection that could be opened is open; what has to be done once, before the
    /// traffic, begins.
    fn prepare(&mut self, _start: Instant, _open: &[u32]) {}

    /// The traffic begins.
    fn begin(&mut self, window: Window, open: &[u32]);

    /// A message has come.
    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]);

    /// A pong has come.
    fn pong(&mut self, _index: usize, _payload: &[u8]) {}

    /// All that came to the connection at once has been received; this is when.
    fn settle(&mut self, index: usize, now: Instant);

    /// Writes what the connection has to send now, all of which goes into one send.
    fn write(&mut self, index: usize, now: Instant, out: &mut Outgoing<'_>);

    /// Says what has to happen since the clock says so, and tells when to be asked again, if
    /// that can be told.
    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant>;

    /// How many messages are still to be sent or received before the load has ended; asked
    /// only when the window has passed, or if it has no end.
    fn outstanding(&self) -> u64;

    /// Is there nothing more to be done with so many connections open?
    fn is_over(&self, open: u32) -> bool {
        open == 0
    }

    /// The traffic is over; the connections will be closed.
    fn end(&mut self) {}

    /// How many messages have come, for whoever watches.
    fn received(&self) -> u64;

    /// What was counted.
    fn into_messages(self: Box<Self>) -> Messages;
}

/// What a load wants to be done with its connections in this turn.
#[derive(Debug, Default)]
pub struct Orders {
    /// These have something to send.
    pub ready: Vec<u32>,
    /// These are to connect; they must have [left](Load::left), failed or been lost.
    pub dial: Vec<u32>,
    /// These are to be closed with a close frame.
    pub close: Vec<u32>,
    /// These are to be dropped with a reset.
    pub reset: Vec<u32>,
    /// From these nothing more is to be received.
    pub pause: Vec<u32>,
}

impl Orders {
    /// Shifts all indices that stand behind these counts: a part's indices become the whole's.
    pub(crate) fn shift(&mut self, marks: [usize; 5], by: u32) {
        let lists = [
            &mut self.ready,
            &mut self.dial,
            &mut self.close,
            &mut self.reset,
            &mut self.pause,
        ];
        for (list, mark) in lists.into_iter().zip(marks) {
            for index in &mut list[mark..] {
                *index += by;
            }
        }
    }

    /// How long each list is.
    pub(crate) fn marks(&self) -> [usize; 5] {
        [
            self.ready.len(),
            self.dial.len(),
            self.close.len(),
            self.reset.len(),
            self.pause.len(),
        ]
    }
}

/// Where a load writes its messages.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) random: &'a mut Random,
    pub(crate) wire: &'a mut Vec<u8>,
}

impl Outgoing<'_> {
    /// Appends a message.
    pub fn send(&mut self, message: Message<'_>) {
        self.session
            .send_masked(message, self.random.next_mask(), self.wire);
    }

    /// Appends a ping.
    pub fn ping(&mut self, payload: &[u8]) {
        self.session
            .ping_masked(payload, self.random.next_mask(), self.wire);
    }

    /// Has so much been written that the rest should wait for the next send?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.wire.len() >= WIRE_SIZE_MAX
    }
}

/// How much one send carries at most, unless a single batch is larger.
const WIRE_SIZE_MAX: usize = 256 * 1024;
