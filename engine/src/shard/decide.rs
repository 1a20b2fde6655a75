//! Requests that the handler leaves undecided for a while, such as until a signature has been checked.
//!
//! ```text
//!  on_request ─ Answer::Later ─▶ Undecided: head kept, peer paused, handshake deadline goes on
//!                                   │
//!  decide(id, answer) ─ phase 3 ────┤─▶ as if it had been said at once
//!  deadline ────────────────────────┤─▶ 503          (a decision that comes later finds nobody)
//!  reset, end of the stream, stop ──┘─▶ gone
//! ```

use tidegate_io::Driver;
use tidegate_proto::handshake::{HeadStatus, read_request};

use super::receive::{Half, Next};
use super::request::Outcome;
use super::{Flags, Handler, Shard, Stage};
use crate::core::{Core, Operation};
#[cfg(test)]
use crate::planted::Bug;
use crate::{Answer, ConnectionId};

/// The method of a request head, as far as it matters to an answer.
pub(super) fn method_of(head: &[u8]) -> &'static str {
    if head.starts_with(b"HEAD ") {
        "HEAD"
    } else {
        ""
    }
}

impl<H: Handler> Half<'_, H> {
    /// The request waits for its decision, and what came behind it waits too.
    pub(super) fn wait(&mut self, slot: u32, head: Vec<u8>) -> Next {
        let connection = self.core.connection(slot);
        connection.stage = Stage::Undecided { head };
        if !connection.flags.has(Flags::PAUSED) {
            connection.flags.set(Flags::PAUSED);
            self.core.operations.push(Operation::Pause { slot });
        }
        Next::Nothing
    }
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// Carries out what has been decided. What that brings forth waits for the next turn.
    #[inline(never)]
    pub(super) fn take_decisions(&mut self) {
        for _ in 0..self.core.decisions.len() {
            let Some((id, answer)) = self.core.decisions.pop_front() else {
                break;
            };
            #[cfg(test)]
            if Bug::LostDecision.is_planted() {
                continue;
            }
            self.take_decision(id, answer);
        }
    }

    fn take_decision(&mut self, id: ConnectionId, answer: Answer<H::State>) {
        let Some((slot, mut head)) = self.core.take_undecided(id) else {
            return;
        };
        let limits = self.core.limits.head;
        let Ok(HeadStatus::Complete { request, size }) = read_request(&head, &limits) else {
            unreachable!("it was complete when the handler was asked");
        };
        let mut half = Half {
            core: &mut self.core,
            handler: &mut self.handler,
        };
        let outcome = half.carry_out(slot, &request, answer);
        if outcome == Outcome::Undecided {
            half.wait(slot, head);
            return;
        }
        #[cfg(test)]
        if Bug::ForgottenRest.is_planted() {
            head.truncate(size);
        }
        let next = match outcome {
            Outcome::Opened => half.after_head(slot, &mut head[size..]),
            Outcome::Answered | Outcome::Undecided => Next::Nothing,
        };
        self.core.receive_again(slot);
        if !matches!(next, Next::Nothing) {
            self.go_on(next);
        }
        self.run_operations();
    }
}

impl<H: Handler> Core<H> {
    /// The slot of a request that waits for its decision, and its head.
    fn take_undecided(&mut self, id: ConnectionId) -> Option<(u32, Vec<u8>)> {
        let slot = id.slot();
        let exists = self.connections.contains(slot as usize);
        if !exists || self.id_of(slot) != id {
            return None;
        }
        let connection = self.connection(slot);
        match &mut connection.stage {
            Stage::Undecided { head } => {
                let head = std::mem::take(head);
                connection.stage = Stage::Handshake { head: Vec::new() };
                Some((slot, head))
            }
            Stage::Handshake { .. } | Stage::Open(_) | Stage::Lingering | Stage::Released => None,
        }
    }

    /// The peer was paused for its decision only, unless it has been found meanwhile that it does
    /// not read.
    fn receive_again(&mut self, slot: u32) {
        let connection = self.connection(slot);
        if connection.flags.has(Flags::PAUSED) && !self.is_behind(slot) {
            self.connection(slot).flags.clear(Flags::PAUSED);
            self.operations.push(Operation::Resume { slot });
        }
    }
}
