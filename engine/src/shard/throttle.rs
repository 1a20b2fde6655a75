//! Rates: what a metered connection has said is counted before anybody looks at it, and who waits for
//! tokens is let go on.

use tidegate_io::Driver;
use tidegate_proto::{CloseCode, Event, Violation};

use super::receive::{Half, Next};
use super::{EndReason, Handler, Shard, Stage};
use crate::core::WireKind;
use crate::rates::What;
use crate::{RateLimit, RatePolicy};

impl<D: Driver, H: Handler> Shard<D, H> {
    /// The moment has come at which a connection that waits for tokens may go on; whoever shares them
    /// may have taken them meanwhile.
    pub(super) fn on_tokens(&mut self, slot: u32) {
        if self.core.throttle_if_spent(slot) {
            self.core.arm_again(slot);
            return;
        }
        let held = self.core.let_go(slot);
        self.core.arm_again(slot);
        if !held.is_empty() {
            self.read_on(slot, held);
        }
    }

    /// Listens again to those that have been told to go while they waited for tokens.
    pub(super) fn take_hurried(&mut self) {
        while let Some((slot, generation)) = self.core.hurried.pop() {
            if !self.is_current(slot, generation) {
                continue;
            }
            let held = self.core.let_go(slot);
            if !held.is_empty() {
                self.read_on(slot, held);
            }
        }
    }

    /// Puts aside what was received of a connection that waits for tokens from now on; the first bytes
    /// of it have been read. `false`: it does not wait.
    pub(super) fn hold_if_spent(&mut self, slot: u32, unread: &mut Vec<u8>, read: usize) -> bool {
        if !self.core.throttle_if_spent(slot) {
            return false;
        }
        if let Some(throttled) = self.core.meters.throttled(slot) {
            debug_assert!(throttled.held.is_empty(), "what came first is read first");
            throttled.held = std::mem::take(unread);
            throttled.held.drain(..read);
        }
        self.run_operations();
        true
    }
}

impl<H: Handler> Half<'_, H> {
    /// Bytes of an open WebSocket that is metered, which are lent.
    #[inline(never)]
    pub(super) fn on_metered_chunk(&mut self, slot: u32, bytes: &mut [u8]) -> Next {
        let start = self.core.turn.wire.len();
        match self.core.meter(slot, What::Bytes, bytes.len() as u64) {
            Ok(()) => self.on_chunk(slot, bytes),
            Err(limit) => {
                self.core.reply_to(slot);
                self.end_over(slot, start, limit)
            }
        }
    }

    /// Counts the frames that an event, or none, has brought to an end, before anybody hears of it.
    /// Some: they are too many, and the conversation is over.
    pub(super) fn meter_event(
        &mut self,
        slot: u32,
        start: usize,
        event: &Result<Option<Event<'_>>, Violation>,
    ) -> Option<Next> {
        let open = self.core.connection(slot).open()?;
        let fragments = open.session.take_fragment_count();
        let frames = match event {
            Ok(Some(Event::Message(message))) => message.frame_count(),
            Ok(Some(Event::Deflated(message))) => message.frame_count(),
            // Whoever is asked may answer.
            Ok(Some(Event::Pong(payload))) if open.answers_ping(payload.as_slice()) => 0,
            Ok(Some(Event::Ping(_) | Event::Pong(_))) => 1,
            Ok(Some(Event::Close { .. }) | None) | Err(_) => 0,
        };
        let count = u64::from(fragments) + u64::from(frames);
        if count == 0 {
            return None;
        }
        let over = self.core.meter(slot, What::Messages, count).err()?;
        Some(self.end_over(slot, start, over))
    }

    /// Ends the conversation with whoever is over its rates. What lies on the wire from `start` on is
    /// for it, too.
    pub(super) fn end_over(&mut self, slot: u32, start: usize, limit: RateLimit) -> Next {
        let Some(open) = self.core.connections[slot as usize].open() else {
            return Next::Nothing;
        };
        let code = CloseCode::POLICY;
        let wire = &mut self.core.turn.wire;
        open.session.close(Some(code), limit.reason(), wire);
        self.core.hold_back(slot, start, WireKind::Other);
        self.core.count_limited(limit, RatePolicy::Close);
        Next::End(slot, EndReason::RateLimited, Some(code))
    }

    /// A metered connection has taken in all that it was sent.
    pub(super) fn after_metered(&mut self, slot: u32) {
        if matches!(self.core.connection(slot).stage, Stage::Open(_)) {
            self.core.throttle_if_spent(slot);
        }
    }
}
