//! What is written down of a connection's end.

use std::sync::Arc;

use tidegate_proto::CloseCode;
use tidegate_proto::handshake::Refusal;

use super::Core;
use crate::closed::{Closed, Phase, Side};
use crate::connection::{NONE, Stage};
use crate::timers::span_of;
use crate::{EndReason, Handler};

impl<H: Handler> Core<H> {
    /// What waits for this peer, in bytes.
    pub(crate) fn outbox_bytes(&self, slot: u32) -> usize {
        match self.connections[slot as usize].outbox {
            NONE => 0,
            outbox => self.outboxes[outbox as usize].bytes_used(),
        }
    }

    /// Writes down that a conversation is over.
    pub(crate) fn record_end(
        &mut self,
        slot: u32,
        phase: Phase,
        reason: EndReason,
        code: Option<CloseCode>,
        errno: Option<i32>,
        user: Option<Arc<str>>,
    ) {
        let side = Side::of(reason, errno);
        self.record(slot, phase, side, reason.name(), code, errno, user);
    }

    /// Writes down that a handshake is not accepted.
    pub(super) fn record_refusal(&mut self, slot: u32, refusal: &Refusal) {
        let side = Side::Server;
        let cause = refusal.cause();
        self.record(slot, Phase::Handshake, side, cause, None, None, None);
    }

    /// Writes down that an encrypted connection failed before its request could be heard.
    pub(crate) fn record_failure(&mut self, slot: u32, cause: &'static str) {
        let side = Side::Server;
        self.record(slot, Phase::Handshake, side, cause, None, None, None);
    }

    /// Writes down that a peer was lost before its request was answered.
    pub(crate) fn record_lost(&mut self, slot: u32, errno: Option<i32>) {
        let side = Side::of(EndReason::Reset, errno);
        self.record(slot, Phase::Handshake, side, "gone", None, errno, None);
    }

    /// Writes down that a peer is reset, by our choice, before its request was answered.
    pub(crate) fn record_dropped(&mut self, slot: u32, cause: &'static str) {
        self.record_failure(slot, cause);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one for each column of the record"
    )]
    fn record(
        &mut self,
        slot: u32,
        phase: Phase,
        side: Side,
        reason: &'static str,
        code: Option<CloseCode>,
        errno: Option<i32>,
        user: Option<Arc<str>>,
    ) {
        let connection = &self.connections[slot as usize];
        let open = connection.as_open();
        let since = match (&connection.stage, open) {
            (_, Some(open)) => open.opened,
            (Stage::Handshake { .. } | Stage::Undecided { .. }, _) => connection.heard,
            _ => self.tick,
        };
        let record = Closed {
            id: self.id_of(slot),
            peer: self.addresses.get(slot),
            at: self.now,
            side,
            phase,
            reason,
            code,
            errno,
            age: span_of(self.tick.saturating_sub(since)),
            round_trip: open.and_then(|open| open.round_trip.span()),
            outbox_bytes: self.outbox_bytes(slot),
            dropped: open.map_or(0, |open| open.dropped),
            user,
        };
        self.closed.push(record);
    }
}
