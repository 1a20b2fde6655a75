//! Heartbeats, and what happens to the quiet: who is pinged when, and who is taken for dead.
//!
//! ```text
//!  connection.heard   any bytes from the peer            ─▶ read-idle, and life since the last ping
//!  open.sent          any bytes to the peer              ─▶ write-idle: a ping
//!  open.used          a message, to or from              ─▶ idle
//!  generation, pinged spread over the interval, the last ─▶ the next ping
//!                     the least of these ─▶ connection.deadline, unless something else comes first
//! ```
//!
//! What happens is noted as a tick, which costs a store; when something is due is reckoned when a
//! deadline comes up, and a deadline that comes too soon finds nothing to be done. While a batch is
//! under way nobody is pinged, since a peer that does not read cannot be asked anything: what is due
//! meanwhile is looked at again after a second.

use std::time::Duration;

use tidegate_proto::CloseCode;

use super::{Core, WireKind};
use crate::connection::{Flags, RoundTrip, Stage};
use crate::timers::{Tick, span_of, ticks_of};
use crate::{EndReason, Handler};

/// A connection whose deadline came up while a batch was under way is looked at again after about
/// a second.
const LOOK_AGAIN: Tick = 8;

/// From so many ticks on, half an hour, 32 bits of microseconds may not tell when the last ping was.
const PINGS_APART_MAX: Tick = 14_000;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Ping,
    End(CloseCode, &'static str, EndReason),
}

/// Whole ticks from one moment to another, both in microseconds of the shard's clock.
fn ticks_since(now: u32, then: u32) -> Tick {
    let span = Duration::from_micros(now.wrapping_sub(then).into());
    if span < span_of(1) { 0 } else { ticks_of(span) }
}

impl<H: Handler> Core<H> {
    /// Sees to it that the deadline is no later than whatever its profile has next.
    pub(crate) fn keep_watch(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let watch = self.profiles.get(connection.profile);
        if watch.is_off() {
            return;
        }
        let (heard, generation) = (connection.heard, connection.generation);
        let pinged = connection.pinged;
        let Some(open) = connection.talking() else {
            return;
        };
        let mut next = Tick::MAX;
        if watch.ping_interval != 0 && watch.ping_number(self.tick, generation) == pinged {
            next = watch.next_ping(self.tick, generation);
        } else if watch.ping_interval != 0 {
            next = self.tick;
        }
        for (since, span) in [
            (heard, watch.read_idle),
            (open.sent, watch.write_idle),
            (open.used, watch.idle),
        ] {
            if span != 0 {
                // One more: the tick in which it happened had begun before.
                next = next.min(since.saturating_add(span + 1));
            }
        }
        let next = next.max(self.tick + 1);
        if connection.deadline == 0 || next < connection.deadline {
            self.set_deadline_at(slot, next);
        }
    }

    /// The conversation waits for nothing but a message that has begun and what its profile has.
    pub(crate) fn watch_again(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.talking().is_some() && !connection.flags.has(Flags::SENDING) {
            connection.deadline = 0;
            self.keep_message_due(slot);
            self.keep_throttle(slot);
            #[cfg(test)]
            if crate::planted::Bug::ForgottenWatch.is_planted() {
                return;
            }
            self.keep_watch(slot);
        }
    }

    /// A deadline has come up and was dealt with: the next one.
    pub(crate) fn arm_again(&mut self, slot: u32) {
        if self.connections[slot as usize].flags.has(Flags::SENDING) {
            self.watch_send(slot);
        } else {
            self.watch_again(slot);
        }
    }

    /// A batch is under way: it has to go in time. What was due sooner stays so: of a connection
    /// that is sent to all the time, a batch may be under way whenever somebody looks.
    pub(crate) fn watch_send(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let watch = self.profiles.get(connection.profile);
        let (span, is_off) = (watch.send_timeout, watch.is_off());
        let message_due = connection.message_due;
        let Some(open) = connection.talking() else {
            return;
        };
        let mut next = open.sent.saturating_add(span + 1);
        if connection.deadline == 0 {
            // It has just come up, and something else may be due as soon as the batch has gone.
            if !is_off {
                next = next.min(self.tick + LOOK_AGAIN);
            }
            if message_due != 0 {
                next = next.min(message_due);
            }
        }
        if connection.deadline == 0 || next < connection.deadline {
            self.set_deadline_at(slot, next);
        }
        self.keep_throttle(slot);
    }

    /// Has the batch under way been waiting for longer than it may?
    pub(crate) fn is_send_late(&mut self, slot: u32) -> bool {
        let now = self.tick;
        let connection = &mut self.connections[slot as usize];
        let span = self.profiles.get(connection.profile).send_timeout;
        let open = connection.talking();
        open.is_some_and(|open| open.sent.saturating_add(span) < now)
    }

    /// The batch under way has gone. A deadline that comes too soon finds nothing to be done.
    pub(crate) fn after_sent(&mut self, slot: u32) {
        let connection = &self.connections[slot as usize];
        if connection.deadline == 0 || self.profiles.get(connection.profile).is_off() {
            self.watch_again(slot);
        }
    }

    /// A deadline has come up for a connection with which nothing else is wrong.
    pub(crate) fn on_watch(&mut self, slot: u32) {
        match self.judge(slot) {
            Due::Nothing => {}
            Due::Ping => self.ping(slot),
            Due::End(code, reason, why) => return self.close(slot, code, reason, why),
        }
        self.watch_again(slot);
    }

    fn judge(&mut self, slot: u32) -> Due {
        if self.connections[slot as usize].flags.has(Flags::THROTTLED) {
            self.listened(slot);
        }
        let now = self.tick;
        let micros = self.timers.micros_at(self.now);
        let connection = &mut self.connections[slot as usize];
        let watch = self.profiles.get(connection.profile);
        let (heard, generation) = (connection.heard, connection.generation);
        let pinged = connection.pinged;
        let Some(open) = connection.talking() else {
            return Due::Nothing;
        };
        let passed = |since: Tick, span: Tick| span != 0 && since.saturating_add(span) < now;
        let (idle, quiet) = (
            passed(open.used, watch.idle),
            passed(open.sent, watch.write_idle),
        );
        let ping = open.ping;
        let waits = ping != 0;
        let interval = watch.ping_interval;
        // The deadline may have been one of the others.
        let number = watch.ping_number(now, generation);
        let ping_due = interval != 0 && number != pinged;
        if ping_due {
            connection.pinged = number;
            // Whatever has come since the last ping is a sign of life.
            let asked = if interval < PINGS_APART_MAX {
                now.saturating_sub(ticks_since(micros, ping) + 1)
            } else {
                let due = watch.next_ping(now, generation).saturating_sub(interval);
                due.saturating_sub(interval)
            };
            let missed = waits && heard < asked;
            #[cfg(test)]
            let missed = missed || crate::planted::Bug::DeafHeart.is_planted();
            let before = connection.pings_missed;
            connection.pings_missed = if missed { before.saturating_add(1) } else { 0 };
            if connection.pings_missed >= watch.pings_missed_max {
                let why = EndReason::HeartbeatTimeout;
                return Due::End(CloseCode::POLICY, "pings were not answered", why);
            }
        }
        if passed(heard, watch.read_idle) {
            let why = EndReason::ReadIdle;
            return Due::End(CloseCode::POLICY, "nothing was received", why);
        }
        if idle {
            return Due::End(CloseCode::NORMAL, "idle", EndReason::Idle);
        }
        if ping_due || quiet {
            return Due::Ping;
        }
        Due::Nothing
    }

    /// Sends a ping that says when it was sent, which no pong says that answers another one.
    fn ping(&mut self, slot: u32) {
        let micros = self.timers.micros_at(self.now) | 1;
        let tick = self.tick;
        self.reply_to(slot);
        let start = self.turn.wire.len();
        let Some(open) = self.connections[slot as usize].talking() else {
            return;
        };
        if open
            .session
            .ping(&micros.to_be_bytes(), &mut self.turn.wire)
        {
            open.ping = micros;
            open.sent = tick;
            self.counted.pings += 1;
        }
        self.hold_back(slot, start, WireKind::Other);
    }

    /// The peer has sent a pong: to our last ping, or unasked (RFC 6455, 5.5.3).
    pub(crate) fn on_pong(&mut self, slot: u32, payload: &[u8]) {
        #[cfg(test)]
        if crate::planted::Bug::DeafHeart.is_planted() {
            return;
        }
        let now = self.timers.micros_at(self.now) | 1;
        let connection = &mut self.connections[slot as usize];
        let Stage::Open(open) = &mut connection.stage else {
            return;
        };
        if !open.answers_ping(payload) {
            return;
        }
        let micros = now.wrapping_sub(open.ping);
        open.round_trip = RoundTrip::from_micros(micros);
        open.ping = 0;
        connection.pings_missed = 0;
        self.counted.pongs += 1;
        self.counted.round_trips.add(micros);
        self.rare_changed = true;
    }
}
