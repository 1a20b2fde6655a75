//! Phase 4: deadlines that passed, connections that were lost, the drain.

use std::time::Duration;

use tidegate_io::Driver;
use tidegate_proto::CloseCode;
use tidegate_proto::handshake::Refusal;

use super::decide::method_of;
use super::{EndReason, Flags, Handler, Op, Shard, ShardContext, Stage};
use crate::timers::Tick;

/// A deflater of its own that a connection has not used for one to two of these is dropped.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

impl<D: Driver, H: Handler> Shard<D, H> {
    pub(super) fn expire(&mut self) {
        while let Some((tick, entries)) = self.core.timers.take_due(self.core.now) {
            for entry in entries {
                if !self.is_current(entry.slot, entry.generation) {
                    continue;
                }
                let connection = self.core.connection(entry.slot);
                // Another entry of this connection stands further ahead.
                if connection.armed != tick {
                    continue;
                }
                connection.armed = 0;
                let deadline = connection.deadline;
                if deadline > tick {
                    let armed = self.core.timers.insert(deadline, entry);
                    self.core.connection(entry.slot).armed = armed;
                } else if deadline != 0 {
                    connection.deadline = 0;
                    self.on_deadline(entry.slot, tick);
                }
            }
            // After a leap in time, everybody may be due at once.
            if self.core.is_full() {
                self.relieve();
            }
        }
        self.take_lost();
        if self.listen_at.is_some_and(|at| at <= self.core.now) {
            self.listen_at = None;
            let _ = self.driver.submit(Op::Listen);
        }
        if self.core.wake_at.is_some_and(|at| at <= self.core.now) {
            self.core.wake_at = None;
            self.handler.on_wake(&mut ShardContext {
                core: &mut self.core,
            });
        }
        self.sweep_contexts();
        self.go_on_draining();
        if !self.surveys.is_empty() {
            self.go_on_surveying();
        }
        self.take_hurried();
        if !self.listings.is_empty() {
            self.go_on_listing();
        }
        self.run_operations();
    }

    pub(super) fn take_lost(&mut self) {
        while let Some((slot, generation, reason)) = self.core.lost.pop() {
            if self.is_current(slot, generation) {
                self.abandon(slot, reason, true);
            }
        }
    }

    /// Drops the deflaters that have not been used since the last time.
    fn sweep_contexts(&mut self) {
        if self.core.now < self.sweep_at || self.core.with_contexts.is_empty() {
            return;
        }
        self.sweep_at = self.core.now + SWEEP_INTERVAL;
        let connections = &mut self.core.connections;
        self.core.with_contexts.retain(|(slot, generation)| {
            let connection = connections.get_mut(*slot as usize);
            let Some(connection) = connection.filter(|c| c.generation == *generation) else {
                return false;
            };
            match connection.open().and_then(|open| open.deflate.as_mut()) {
                Some(agreed) => agreed.sweep(),
                None => return false,
            }
            true
        });
    }

    /// `tick` is the one that came up. The deadline was set for whatever is next: what it is
    /// shows now.
    fn on_deadline(&mut self, slot: u32, tick: Tick) {
        let may_go_on = self.core.is_throttle_over(slot, tick);
        let connection = self.core.connection(slot);
        let in_handshake = matches!(connection.stage, Stage::Handshake { .. });
        let secure = connection.flags.has(Flags::SECURE);
        if secure && in_handshake && self.is_handshake_late(slot) {
            return;
        }
        let connection = self.core.connection(slot);
        let (flags, message_due) = (connection.flags, connection.message_due);
        match &connection.stage {
            Stage::Handshake { .. } => {
                let refusal =
                    Refusal::new(408, "timeout", "the request head did not arrive in time");
                self.core.refuse(slot, &refusal);
            }
            Stage::Undecided { head } => {
                let reason = "The request could not be judged in time.";
                let refusal = Refusal::new(503, "undecided", reason).answering(method_of(head));
                self.core.refuse(slot, &refusal);
            }
            Stage::Open(open) if open.closing.is_some() || open.session.close_sent() => {
                let reason = match open.closing {
                    Some(reason) if reason.is_timeout() => reason,
                    _ => EndReason::CloseTimeout,
                };
                self.abandon(slot, reason, true);
            }
            Stage::Open(_) if may_go_on => self.on_tokens(slot),
            Stage::Open(_) if message_due != 0 && message_due <= tick => {
                let why = EndReason::MessageTimeout;
                self.core
                    .close(slot, CloseCode::POLICY, "the message took too long", why);
            }
            Stage::Open(_) if flags.has(Flags::SENDING) => {
                if self.core.is_send_late(slot) {
                    self.abandon(slot, EndReason::SendTimeout, true);
                } else {
                    self.core.watch_send(slot);
                }
            }
            Stage::Open(_) => self.core.on_watch(slot),
            Stage::Released => {}
            Stage::Lingering => self.core.release(slot, true),
        }
    }
}
