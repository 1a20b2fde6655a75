//! Who says more than its rates allow: tokens, and those who wait for them.
//!
//! ```text
//!  bytes come   ─▶ tokens of bytes ───┐
//!  a frame ends ─▶ tokens of messages ┤ close: not there ─▶ 1008
//!                                     └ slow:  used up   ─▶ THROTTLED, PAUSED, a deadline ─▶ let go
//! ```
//!
//! While a connection waits for tokens nobody can say that it is silent, nor that its message takes too
//! long: it is us who do not listen. So a message goes on from where its time stood, and whatever looks
//! for signs of life takes the wait for one.

use std::time::Duration;

use super::{Core, Operation};
use crate::connection::{Flags, Stage};
use crate::meters::Moment;
use crate::rates::{What, nanos};
use crate::{Handler, RateLimit, RatePolicy};

impl<H: Handler> Core<H> {
    /// A connection whose tokens are counted has said this much. What it is over, if it is to be closed.
    pub(crate) fn meter(&mut self, slot: u32, what: What, count: u64) -> Result<(), RateLimit> {
        #[cfg(test)]
        if crate::planted::Bug::FreeFrames.is_planted() && what == What::Messages {
            return Ok(());
        }
        let now = self.moment();
        let connection = &mut self.connections[slot as usize];
        let profile = connection.profile;
        // Whoever has been told to go is not told again.
        if connection.talking().is_none() {
            return Ok(());
        }
        let paces = &self.profiles.get(profile).paces;
        self.meters.take(slot, paces, now, what, count)
    }

    /// Receives no more from a metered connection whose tokens are used up. `true`: so it is.
    pub(crate) fn throttle_if_spent(&mut self, slot: u32) -> bool {
        let Some((limit, wait)) = self.wait_for_tokens(slot) else {
            return false;
        };
        let span = Duration::from_nanos(wait);
        let until = self.timers.tick_after(self.now, span);
        if let Some(throttled) = self.meters.throttled(slot) {
            throttled.until = until;
            self.keep_throttle(slot);
            return true;
        }
        self.count_limited(limit, RatePolicy::Slow);
        let connection = &mut self.connections[slot as usize];
        connection.flags.set(Flags::THROTTLED);
        let message_left = match std::mem::take(&mut connection.message_due) {
            0 => 0,
            due => due.saturating_sub(self.tick).max(1),
        };
        if !connection.flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED);
            self.operations.push(Operation::Pause { slot });
        }
        self.meters.throttle(slot, until, message_left);
        self.keep_throttle(slot);
        true
    }

    /// Has this connection used up its tokens, and is it to wait for more?
    pub(crate) fn is_spent(&mut self, slot: u32) -> bool {
        self.wait_for_tokens(slot).is_some()
    }

    fn wait_for_tokens(&mut self, slot: u32) -> Option<(RateLimit, u64)> {
        let now = self.moment();
        let connection = &mut self.connections[slot as usize];
        let profile = connection.profile;
        connection.talking()?;
        let paces = &self.profiles.get(profile).paces;
        self.meters.wait(slot, paces, now)
    }

    /// Sees to it that the deadline is no later than the moment at which it may go on.
    pub(crate) fn keep_throttle(&mut self, slot: u32) {
        #[cfg(test)]
        if crate::planted::Bug::ForgottenTokens.is_planted() {
            return;
        }
        let connection = &self.connections[slot as usize];
        if !connection.flags.has(Flags::THROTTLED) {
            return;
        }
        let deadline = connection.deadline;
        if let Some(until) = self.meters.waits_until(slot)
            && (deadline == 0 || until < deadline)
        {
            self.set_deadline_at(slot, until);
        }
    }

    /// May a connection that waits for tokens go on by this tick? There may be none all the same, if
    /// others have taken them.
    pub(crate) fn is_throttle_over(&self, slot: u32, tick: crate::timers::Tick) -> bool {
        let until = self.meters.waits_until(slot);
        until.is_some_and(|until| until <= tick)
    }

    /// It waits no longer. Returns what was received before, and is to be looked at now.
    pub(crate) fn let_go(&mut self, slot: u32) -> Vec<u8> {
        let Some(throttled) = self.meters.let_go(slot) else {
            return Vec::new();
        };
        let connection = &mut self.connections[slot as usize];
        connection.flags.clear(Flags::THROTTLED);
        self.listened(slot);
        let connection = &mut self.connections[slot as usize];
        if throttled.message_left != 0 {
            connection.message_due = self.tick + throttled.message_left;
        }
        // What waits for it may be a reason of its own; then the end of the batch is waited for.
        let behind = connection.flags.has(Flags::SENDING) && self.is_behind(slot);
        let connection = &mut self.connections[slot as usize];
        if !behind && connection.flags.has(Flags::PAUSED) {
            connection.flags.clear(Flags::PAUSED);
            self.operations.push(Operation::Resume { slot });
        }
        #[cfg(test)]
        if crate::planted::Bug::LostHeld.is_planted() {
            return Vec::new();
        }
        throttled.held
    }

    /// While we do not listen, whatever it says counts as said.
    pub(crate) fn listened(&mut self, slot: u32) {
        let tick = self.tick;
        let connection = &mut self.connections[slot as usize];
        connection.heard = tick;
        if let Stage::Open(open) = &mut connection.stage {
            open.used = tick;
        }
    }

    /// Whatever it waited for, it will say no more that is looked at.
    pub(crate) fn forget_throttle(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.flags.has(Flags::THROTTLED) {
            connection.flags.clear(Flags::THROTTLED);
            self.meters.let_go(slot);
        }
    }

    /// We have said that it is to go: from now on it is listened to, so that its answer is found.
    pub(crate) fn hurry(&mut self, slot: u32) {
        let connection = &self.connections[slot as usize];
        if connection.flags.has(Flags::THROTTLED) {
            self.hurried.push((slot, connection.generation));
        }
    }

    /// Has to be sent no more than what is under way, and may say more: receives again from a peer that
    /// was paused. `false`: it goes on to wait, for tokens or for what waits for it.
    pub(crate) fn resume(&mut self, slot: u32) -> bool {
        let connection = &mut self.connections[slot as usize];
        if !connection.flags.has(Flags::PAUSED) || connection.flags.has(Flags::THROTTLED) {
            return false;
        }
        connection.flags.clear(Flags::PAUSED);
        self.operations.push(Operation::Resume { slot });
        true
    }

    pub(crate) fn count_limited(&mut self, limit: RateLimit, policy: RatePolicy) {
        self.counted.limited[limit as usize][policy as usize] += 1;
        self.rare_changed = true;
    }

    /// Gives back what was kept of a connection's rates and of its profile.
    pub(super) fn release_meter(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        self.profiles
            .release(std::mem::take(&mut connection.profile));
        if connection.flags.has(Flags::METERED) {
            connection.flags.clear(Flags::METERED);
            connection.flags.clear(Flags::THROTTLED);
            self.meters.close(slot);
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            nanos: nanos(self.timers.since_start(self.now)),
            instant: self.now,
        }
    }
}
