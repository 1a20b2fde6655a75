//! `idle`: connections that are held. Pings are answered by the protocol itself.

use std::time::Instant;

use tidegate_proto::MessageKind;

use crate::load::{Load, Outgoing};
use crate::tally::{Messages, Window};

/// Nothing to do for one worker, until the window ends.
#[derive(Debug, Default)]
pub struct Idle {
    messages: Messages,
}

impl Load for Idle {
    fn begin(&mut self, _window: Window, _open: &[u32]) {}

    /// A server may greet; that is counted and is no fault.
    fn receive(&mut self, _index: usize, _kind: MessageKind, _bytes: &[u8]) {
        self.messages.received += 1;
    }

    fn settle(&mut self, _index: usize, _now: Instant) {}

    fn write(&mut self, _index: usize, _now: Instant, _out: &mut Outgoing<'_>) {}

    fn tick(&mut self, _now: Instant, _ready: &mut Vec<u32>) -> Option<Instant> {
        None
    }

    fn outstanding(&self) -> u64 {
        0
    }

    fn received(&self) -> u64 {
        self.messages.received
    }

    fn into_messages(self) -> Messages {
        self.messages
    }
}
