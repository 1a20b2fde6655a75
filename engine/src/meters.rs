//! What is kept of connections whose rates are limited, by slot, beside the slab: nothing at all where
//! no profile has a rate.
//!
//! ```text
//!  connection.flags METERED   ─▶ own[slot]     16 bytes: its two buckets
//!                             ─▶ shared[slot]   8 bytes, if anybody has such a meter
//!  connection.flags THROTTLED ─▶ throttled      those that wait for tokens now, with what was received
//!                                               of each and has not been looked at
//! ```

use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::rates::{Buckets, Paces, What};
use crate::timers::Tick;
use crate::{RateLimit, RatePolicy, SharedMeter};

/// All of one shard.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    own: Vec<Buckets>,
    shared: Vec<Option<Arc<SharedMeter>>>,
    throttled: HashMap<u32, Throttled, FixedState>,
    /// How many connections are metered. With the last one, all memory is given back.
    count: usize,
}

/// A connection that waits for tokens.
#[derive(Debug)]
pub(crate) struct Throttled {
    /// When it may go on.
    pub(crate) until: Tick,
    /// How long the message that was arriving may still take; 0 if none was.
    pub(crate) message_left: Tick,
    /// What was received, and not looked at.
    pub(crate) held: Vec<u8>,
}

/// A moment as a shard and as everybody knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since the shard began.
    pub(crate) nanos: u64,
    pub(crate) instant: Instant,
}

impl Meters {
    /// A connection is metered from now on, with full buckets.
    pub(crate) fn open(&mut self, slot: u32, shared: Option<Arc<SharedMeter>>) {
        let slot = slot as usize;
        self.count += 1;
        if slot >= self.own.len() {
            self.own.resize(slot + 1, Buckets::default());
        }
        self.own[slot] = Buckets::default();
        if shared.is_some() && slot >= self.shared.len() {
            self.shared.resize(slot + 1, None);
        }
        if let Some(place) = self.shared.get_mut(slot) {
            *place = shared;
        }
    }

    /// It has gone.
    pub(crate) fn close(&mut self, slot: u32) {
        self.throttled.remove(&slot);
        if let Some(place) = self.shared.get_mut(slot as usize) {
            *place = None;
        }
        self.count -= 1;
        if self.count == 0 {
            *self = Self::default();
        }
    }

    /// Takes tokens of its own and of the meter that it shares. What is over is to be closed for it.
    pub(crate) fn take(
        &mut self,
        slot: u32,
        paces: &Paces,
        now: Moment,
        what: What,
        count: u64,
    ) -> Result<(), RateLimit> {
        if !self.own[slot as usize].take(paces, now.nanos, what, count) {
            return Err(limit_of(what, false));
        }
        if let Some(shared) = self.shared_of(slot)
            && !shared.take(now.instant, what, count)
        {
            return Err(limit_of(what, true));
        }
        Ok(())
    }

    /// How many nanoseconds until it may say more, and for which limit; `None` if it may now, or if
    /// nothing that it is over slows it down.
    pub(crate) fn wait(&self, slot: u32, paces: &Paces, now: Moment) -> Option<(RateLimit, u64)> {
        let own = match paces.policy {
            RatePolicy::Slow => self.own[slot as usize].wait(paces, now.nanos),
            RatePolicy::Close => None,
        };
        let shared = match self.shared_of(slot) {
            Some(shared) if shared.policy() == RatePolicy::Slow => shared.wait(now.instant),
            Some(_) | None => None,
        };
        let waits = [
            own.map(|wait| (wait, false)),
            shared.map(|wait| (wait, true)),
        ];
        let waits = waits.into_iter().flatten();
        let longest = waits.max_by_key(|((_, wait), _)| *wait);
        longest.map(|((what, wait), shared)| (limit_of(what, shared), wait))
    }

    fn shared_of(&self, slot: u32) -> Option<&SharedMeter> {
        self.shared.get(slot as usize)?.as_deref()
    }

    /// It waits from now on; what it said before and was held already stays.
    pub(crate) fn throttle(&mut self, slot: u32, until: Tick, message_left: Tick) {
        let throttled = Throttled {
            until,
            message_left,
            held: Vec::new(),
        };
        self.throttled.insert(slot, throttled);
    }

    /// What waits, if it does.
    pub(crate) fn throttled(&mut self, slot: u32) -> Option<&mut Throttled> {
        self.throttled.get_mut(&slot)
    }

    /// When it may go on, if it waits.
    pub(crate) fn waits_until(&self, slot: u32) -> Option<Tick> {
        self.throttled.get(&slot).map(|throttled| throttled.until)
    }

    /// It waits no longer.
    pub(crate) fn let_go(&mut self, slot: u32) -> Option<Throttled> {
        self.throttled.remove(&slot)
    }

    /// How many connections are metered.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let held = self.throttled.values().map(|one| one.held.capacity());
        self.own.capacity() * size_of::<Buckets>()
            + self.shared.capacity() * size_of::<Option<Arc<SharedMeter>>>()
            + self.throttled.allocation_size()
            + held.sum::<usize>()
    }

    /// How many wait for tokens.
    #[cfg(test)]
    pub(crate) fn throttled_count(&self) -> usize {
        self.throttled.len()
    }
}

const fn limit_of(what: What, shared: bool) -> RateLimit {
    match (what, shared) {
        (What::Messages, false) => RateLimit::Messages,
        (What::Bytes, false) => RateLimit::Bytes,
        (What::Messages, true) => RateLimit::SharedMessages,
        (What::Bytes, true) => RateLimit::SharedBytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rate, Rates};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn with_the_last_metered_connection_all_memory_is_given_back() {
        let rates = Rates {
            messages: Rate {
                per_second: 1,
                burst: 1,
            },
            ..Rates::default()
        };
        let now = Instant::now();
        let shared = Arc::new(SharedMeter::new(&rates, now));
        let mut meters = Meters::default();
        assert_eq!(meters.memory(), 0);
        for slot in [1_000, 7] {
            meters.open(slot, Some(Arc::clone(&shared)));
        }
        assert!(meters.memory() >= 1_001 * 24);
        let moment = Moment {
            nanos: 0,
            instant: now,
        };
        let paces = Paces::new(&Rates::default());
        assert_eq!(meters.take(7, &paces, moment, What::Messages, 1), Ok(()));
        // They share what there is.
        let over = meters.take(1_000, &paces, moment, What::Messages, 1);
        assert_eq!(over, Err(RateLimit::SharedMessages));
        meters.throttle(7, 1, 0);
        meters.close(1_000);
        assert_eq!(Arc::strong_count(&shared), 2);
        meters.close(7);
        assert_eq!((meters.memory(), meters.throttled_count()), (0, 0));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
