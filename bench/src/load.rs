//! What a worker's connections are for: the part in which the commands differ.

use std::borrow::Cow;
use std::time::Instant;

use tidegate_proto::{Message, MessageKind, Session};

use crate::random::Random;
use crate::tally::{Messages, Window};

/// The traffic of one worker. Connections are known by their index in the worker.
///
/// ```text
///   begin ─▶ tick ─▶ ready ─▶ write ─▶ ... receive, receive ─▶ settle ─▶ write ...
///            each turn        into one send    out of one recv
/// ```
pub trait Load: Send {
    /// The path that the connection asks for.
    fn path<'a>(&self, _index: usize, path: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(path)
    }

    /// The connection has got its 101.
    fn opened(&mut self, _index: usize) {}

    /// The connection, which was open, is no more.
    fn lost(&mut self, _index: usize) {}

    /// Every connection that could be opened is open.
    fn begin(&mut self, window: Window, open: &[u32]);

    /// A message has come.
    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]);

    /// All that came to the connection at once has been received; this is when.
    fn settle(&mut self, index: usize, now: Instant);

    /// Writes what the connection has to send now, all of which goes into one send.
    fn write(&mut self, index: usize, now: Instant, out: &mut Outgoing<'_>);

    /// Names the connections that have something to send since the clock says so, and tells
    /// when to be asked again, if that can be told.
    fn tick(&mut self, now: Instant, ready: &mut Vec<u32>) -> Option<Instant>;

    /// How many messages are still to be sent or received before the load has ended; asked
    /// only when the window has passed, or if it has no end.
    fn outstanding(&self) -> u64;

    /// How many messages have come, for whoever watches.
    fn received(&self) -> u64;

    /// What was counted.
    fn into_messages(self) -> Messages;
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

    /// Has so much been written that the rest should wait for the next send?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.wire.len() >= WIRE_SIZE_MAX
    }
}

/// How much one send carries at most, unless a single batch is larger.
const WIRE_SIZE_MAX: usize = 256 * 1024;
