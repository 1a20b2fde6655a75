//! How fast a connection may go: what waits for it, and by when something must have happened.

use std::time::Duration;

use super::{Core, Operation};
use crate::connection::{Flags, NONE};
use crate::timers::{Entry, Tick};
use crate::{Handler, SlowPolicy};

/// With more bytes than this queued, the rest of a read waits until they have been sent.
const QUEUED_SIZE_MAX: usize = 128 * 1024;

impl<H: Handler> Core<H> {
    /// Has so much been queued that it must be sent before more is looked at?
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.turn.wire.len() + self.bytes_queued > QUEUED_SIZE_MAX
    }

    /// Does more wait for this peer than it may while it is received from? What may be dropped
    /// does not count, nor what is under way before it: of both there is always some for a peer
    /// that is told more than it reads, which would not be received from again.
    #[inline]
    pub(crate) fn is_behind(&self, slot: u32) -> bool {
        let connection = &self.connections[slot as usize];
        connection.outbox != NONE && self.may_not_wait(connection.outbox, connection.profile)
    }

    fn may_not_wait(&self, outbox: u32, profile: u8) -> bool {
        let kept = self.outboxes[outbox as usize].bytes_kept();
        kept > self.pause_size(profile)
    }

    /// With more bytes than this waiting for it, a peer is not received from.
    fn pause_size(&self, profile: u8) -> usize {
        let watch = self.profiles.get(profile);
        match watch.slow {
            SlowPolicy::Pause => 0,
            SlowPolicy::Disconnect
            | SlowPolicy::DropOldest
            | SlowPolicy::DropNewest
            | SlowPolicy::Latest => watch.outbox_pause_size,
        }
    }

    /// Receives no more from a peer for whom much waits.
    pub(crate) fn pause_if_full(&mut self, slot: u32) {
        if self.is_behind(slot) && !self.connections[slot as usize].flags.has(Flags::PAUSED) {
            self.connections[slot as usize].flags.set(Flags::PAUSED);
            self.operations.push(Operation::Pause { slot });
        }
    }

    /// Its request has to arrive within this time.
    pub(crate) fn set_handshake_deadline(&mut self, slot: u32, after: Duration) {
        #[cfg(test)]
        if crate::planted::Bug::ForgottenDeadline.is_planted() {
            return;
        }
        self.set_deadline(slot, after);
    }

    /// Something will happen to this connection after this time, instead of at whatever
    /// moment was set before.
    pub(crate) fn set_deadline(&mut self, slot: u32, after: Duration) {
        let tick = self.timers.tick_after(self.now, after);
        self.set_deadline_at(slot, tick);
    }

    pub(super) fn set_deadline_at(&mut self, slot: u32, tick: Tick) {
        let connection = &mut self.connections[slot as usize];
        connection.deadline = tick;
        if connection.armed == 0 || connection.armed > tick {
            let entry = Entry {
                slot,
                generation: connection.generation,
            };
            connection.armed = self.timers.insert(tick, entry);
        }
    }

    /// A message has begun to arrive, and has to end in time.
    pub(crate) fn begin_message(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let span = self.profiles.get(connection.profile).message_timeout;
        connection.message_due = self.timers.tick_after(self.now, span);
        self.keep_message_due(slot);
        self.watch_again(slot);
    }

    /// The message that was arriving has ended.
    pub(crate) fn end_message(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.message_due = 0;
        self.watch_again(slot);
    }

    /// Sees to it that the deadline is no later than that of the message that is arriving.
    pub(crate) fn keep_message_due(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let due = connection.message_due;
        if due == 0 || connection.talking().is_none() {
            return;
        }
        if connection.deadline == 0 || due < connection.deadline {
            self.set_deadline_at(slot, due);
        }
    }
}
