//! Phase 4, while the server goes away: each connection is told at a moment of its own.
//!
//! ```text
//!  begun ─▶ deaf at ─▶ grace is over ──────────▶ told all ─▶ until
//!           no more      503, slot by slot 1001              the rest is reset
//!           accepts      rank r of n at r/n of the spread
//! ```
//!
//! The order of the slots is that of steps of the golden ratio, so that whoever connected together
//! is not told together, and any part of the table is told evenly over the whole time, however
//! much of it is used. Nothing is kept for a connection.

use std::time::{Duration, Instant};

use tidegate_io::Driver;
use tidegate_proto::CloseCode;

use super::{EndReason, Handler, Op, Shard, Stage};
use crate::{Farewell, Parting};

/// How many slots one turn of a drain looks at, so that it delays nobody for long.
const DRAIN_STEP: usize = 4096;

/// Closes that are spread leave in batches, one in each of these: a wake-up for each of a million
/// would cost more than the closes.
const DRAIN_PACE: Duration = Duration::from_millis(10);

/// Whoever has not sent its whole request by then, while the server goes away, is no longer waited
/// for. It may come back.
pub(super) const LAST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Closing politely.
#[derive(Debug)]
pub(super) struct Drain {
    farewell: Farewell,
    begun: Instant,
    /// The listener has been given up.
    is_deaf: bool,
    /// Whoever was taken with that has been seen: nobody comes any more.
    pub(super) is_settled: bool,
    /// `None` during the grace.
    round: Option<Round>,
}

impl Drain {
    fn new(farewell: Farewell, now: Instant) -> Self {
        Self {
            farewell,
            begun: now,
            is_deaf: false,
            is_settled: false,
            round: None,
        }
    }

    /// Then whoever is left is reset.
    fn until(&self) -> Instant {
        self.begun + self.farewell.within
    }

    fn grace_end(&self) -> Instant {
        self.begun + self.farewell.grace.min(self.farewell.within)
    }

    fn deaf_at(&self) -> Instant {
        match self.farewell.listeners {
            Parting::Close | Parting::HandOn => self.begun,
            Parting::Hush => self.begun + self.farewell.grace.min(self.farewell.within) / 2,
        }
    }

    /// When it has something to do; it may be past already.
    pub(super) fn next_due(&self, now: Instant) -> Instant {
        let mut next = self.until();
        if !self.is_deaf {
            next = next.min(self.deaf_at());
        }
        match &self.round {
            None => next.min(self.grace_end()),
            Some(_) if self.is_deaf && !self.is_settled => now,
            Some(round) if round.is_over() => next,
            Some(round) if round.due_at(now) > round.told => now,
            Some(round) => next.min(round.moment_of(round.told).max(now + DRAIN_PACE)),
        }
    }
}

/// All slots, each once.
#[derive(Debug)]
pub(super) struct Round {
    begun: Instant,
    spread: Duration,
    slot_count: usize,
    /// So many have had their turn.
    told: usize,
    next: usize,
    /// Invariant: it has no divisor in common with `slot_count`, so each slot comes once.
    step: usize,
}

impl Round {
    pub(super) fn new(slot_count: usize, begun: Instant, spread: Duration) -> Self {
        let mut step = (slot_count * 618 / 1000).max(1);
        while slot_count > 1 && greatest_divisor(step, slot_count) != 1 {
            step += 1;
        }
        Self {
            begun,
            spread,
            slot_count,
            told: 0,
            next: 0,
            step,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.told == self.slot_count
    }

    /// When the slot of this rank has its turn.
    pub(super) fn moment_of(&self, rank: usize) -> Instant {
        let share = self.spread.as_nanos() * rank as u128 / self.slot_count.max(1) as u128;
        self.begun + Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// How many should have had their turn by now.
    fn due_at(&self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.begun);
        if passed >= self.spread {
            return self.slot_count;
        }
        let share = passed.as_nanos() * self.slot_count as u128 / self.spread.as_nanos();
        // The moment of rank 0 is the beginning.
        usize::try_from(share).map_or(self.slot_count, |share| self.slot_count.min(share + 1))
    }

    pub(super) fn next_slot(&mut self) -> usize {
        let slot = self.next;
        self.told += 1;
        self.next = (slot + self.step) % self.slot_count;
        slot
    }
}

fn greatest_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// Begins to take leave. Once that has begun, another farewell changes its end only.
    pub(super) fn start_drain(&mut self, farewell: Farewell) {
        let now = self.core.now;
        if let Some(drain) = &mut self.drain {
            drain.farewell.within = now - drain.begun + farewell.within;
            return;
        }
        self.listen_at = None;
        if farewell.listeners == Parting::Hush {
            let _ = self.driver.submit(Op::Hush);
        }
        self.drain = Some(Drain::new(farewell, now));
    }

    /// Does what is due, and tells those whose moment has come.
    pub(super) fn go_on_draining(&mut self) {
        let Some(mut drain) = self.drain.take() else {
            return;
        };
        let now = self.core.now;
        if drain.until() <= now {
            self.reset_all();
            self.stopped = true;
        } else {
            let in_grace = now < drain.grace_end();
            drain.is_settled = drain.is_deaf && !in_grace;
            if !drain.is_deaf && drain.deaf_at() <= now {
                drain.is_deaf = true;
                let _ = self.driver.submit(match drain.farewell.listeners {
                    Parting::Close | Parting::Hush => Op::Deafen,
                    Parting::HandOn => Op::HandOn,
                });
            }
            if !in_grace {
                self.tell_some(&mut drain);
            }
        }
        self.drain = Some(drain);
    }

    /// Tells the next few connections that the server is going away.
    fn tell_some(&mut self, drain: &mut Drain) {
        let farewell = drain.farewell;
        self.core.draining = Some(farewell);
        let now = self.core.now;
        let slot_count = self.core.connections.capacity();
        // From its end on no WebSocket opens any more, so the round meets all there are.
        let round = drain
            .round
            .get_or_insert_with(|| Round::new(slot_count, now, farewell.spread));
        let due = round.due_at(now).min(round.told + DRAIN_STEP);
        while round.told < due {
            let slot = round.next_slot();
            let Some(connection) = self.core.connections.get(slot) else {
                continue;
            };
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            match connection.stage {
                Stage::Open(_) => {
                    let reason = farewell.reason_for(connection.generation);
                    let (code, why) = (CloseCode::GOING_AWAY, EndReason::Drained);
                    self.core.close(slot, code, &reason, why);
                }
                Stage::Handshake { .. } | Stage::Undecided { .. } => {
                    self.core.set_deadline(slot, LAST_REQUEST_TIMEOUT)
                }
                Stage::Lingering | Stage::Released => {}
            }
        }
    }

    /// Time is up: whoever is left has not answered.
    fn reset_all(&mut self) {
        let slots: Vec<usize> = self.core.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            let told = self.core.connection(slot).open().map(|open| open.closing);
            let reason = match told {
                Some(None) => EndReason::Stopped,
                Some(Some(reason)) if reason.is_timeout() => reason,
                _ => EndReason::CloseTimeout,
            };
            self.abandon(slot, reason, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_io::sim::{Faults, World};

    use super::*;

    #[test]
    fn every_slot_has_one_turn() {
        let now = World::with_faults(1, Faults::none()).now();
        for slot_count in (0..300).chain([1_000, 4_096, 10_007]) {
            let mut round = Round::new(slot_count, now, Duration::from_secs(1));
            let mut slots: Vec<usize> = Vec::new();
            while !round.is_over() {
                slots.push(round.next_slot());
            }
            slots.sort_unstable();
            assert!(slots.into_iter().eq(0..slot_count), "{slot_count}");
        }
    }

    #[test]
    fn any_part_of_the_table_is_told_evenly() {
        let now = World::with_faults(1, Faults::none()).now();
        let mut round = Round::new(10_000, now, Duration::from_secs(10));
        // A hundredth of the table is in use: a tenth of those in each tenth of the time.
        for _ in 0..10 {
            let used = (0..1_000).map(|_| round.next_slot()).filter(|s| *s < 100);
            let count = used.count();
            assert!((8..=12).contains(&count), "{count}");
        }
    }

    #[test]
    fn what_is_due_and_when_agree() {
        let now = World::with_faults(1, Faults::none()).now();
        for spread in [0, 1, 999, 1_000_003] {
            let spread = Duration::from_nanos(spread);
            for slot_count in [1, 2, 7, 1_000] {
                let round = Round::new(slot_count, now, spread);
                for rank in 0..slot_count {
                    let moment = round.moment_of(rank);
                    assert!(moment <= now + spread);
                    // A moment is kept to the nanosecond.
                    let nanosecond = Duration::from_nanos(1);
                    assert!(
                        round.due_at(moment + nanosecond) > rank,
                        "{rank} of {slot_count}"
                    );
                }
                assert_eq!(round.due_at(now + spread), slot_count);
            }
        }
    }
}
