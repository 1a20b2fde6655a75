//! What is written down of a connection's end.

use std::sync::Arc;

use tidegate_io::Traffic;
use tidegate_proto::CloseCode;
use tidegate_proto::handshake::Refusal;

use super::Core;
use crate::closed::{Closed, Phase, Side};
use crate::connection::{NONE, Stage};
use crate::timers::span_of;
use crate::{EndReason, Handler};

/// What the connection itself does not know of its end.
#[derive(Debug)]
pub(crate) struct Ending {
    phase: Phase,
    side: Side,
    reason: &'static str,
    code: Option<CloseCode>,
    errno: Option<i32>,
    /// What went over it.
    pub(crate) traffic: Option<Traffic>,
    /// Whose it was.
    pub(crate) user: Option<Arc<str>>,
}

impl Ending {
    /// A conversation is over.
    pub(crate) fn new(
        phase: Phase,
        reason: EndReason,
        code: Option<CloseCode>,
        errno: Option<i32>,
    ) -> Self {
        Self {
            phase,
            side: Side::of(reason, errno),
            reason: reason.name(),
            code,
            errno,
            traffic: None,
            user: None,
        }
    }

    /// It has not come to a conversation.
    fn early(side: Side, cause: &'static str, errno: Option<i32>) -> Self {
        Self {
            phase: Phase::Handshake,
            side,
            reason: cause,
            code: None,
            errno,
            traffic: None,
            user: None,
        }
    }
}

impl<H: Handler> Core<H> {
    /// What waits for this peer, in bytes.
    pub(crate) fn outbox_bytes(&self, slot: u32) -> usize {
        match self.connections[slot as usize].outbox {
            NONE => 0,
            outbox => self.outboxes[outbox as usize].bytes_used(),
        }
    }

    /// Writes down that a handshake is not accepted.
    pub(super) fn record_refusal(&mut self, slot: u32, refusal: &Refusal) {
        self.record(slot, Ending::early(Side::Server, refusal.cause(), None));
    }

    /// Writes down that a peer is given up, by our choice, before its request was answered.
    pub(crate) fn record_failure(&mut self, slot: u32, cause: &'static str) {
        self.record(slot, Ending::early(Side::Server, cause, None));
    }

    /// Writes down that a peer was lost before its request was answered.
    pub(crate) fn record_lost(&mut self, slot: u32, errno: Option<i32>) {
        let side = Side::of(EndReason::Reset, errno);
        self.record(slot, Ending::early(side, "gone", errno));
    }

    /// Writes down how a connection ends.
    pub(crate) fn record(&mut self, slot: u32, ending: Ending) {
        let connection = &self.connections[slot as usize];
        let open = connection.as_open();
        let since = match (&connection.stage, open) {
            (_, Some(open)) => open.opened,
            (Stage::Handshake { .. } | Stage::Undecided { .. }, _) => connection.heard,
            _ => self.tick,
        };
        let tally = self.tallies.get(slot);
        let record = Closed {
            id: self.id_of(slot),
            peer: self.addresses.get(slot),
            at: self.now,
            side: ending.side,
            phase: ending.phase,
            reason: ending.reason,
            code: ending.code,
            errno: ending.errno,
            age: span_of(self.tick.saturating_sub(since)),
            round_trip: open.and_then(|open| open.round_trip.span()),
            messages_received: tally.received,
            messages_sent: tally.sent,
            traffic: ending.traffic,
            outbox_bytes: self.outbox_bytes(slot),
            dropped: open.map_or(0, |open| open.dropped),
            user: ending.user,
        };
        self.closed.push(record);
    }
}
