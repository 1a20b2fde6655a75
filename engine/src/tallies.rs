//! How many messages each connection has said and has been told, by slot.
//!
//! 8 bytes beside the slab, whose 128 are full: eight connections share a cache line. What was
//! received is added once for each read, what is sent once for each message or batch. Bytes are not
//! counted here: the kernel does ([`tidegate_io::Traffic`]).

use std::time::{Duration, Instant};

use crate::timers::TICK;

/// The messages of one connection, modulo 2^32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) received: u32,
    pub(crate) sent: u32,
}

const _: () = assert!(size_of::<Tally>() == 8, "there are a million");

impl Tally {
    fn sum(self) -> u32 {
        self.received.wrapping_add(self.sent)
    }
}

/// Those of a shard.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    list: Vec<Tally>,
    /// What rates are told from.
    before: Mark,
}

/// What the sums were at a moment, by slot.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    at: Option<Instant>,
    sums: Vec<u32>,
}

impl Tallies {
    pub(crate) fn with_capacity(expected: usize) -> Self {
        Self {
            list: Vec::with_capacity(expected),
            before: Mark::default(),
        }
    }

    /// A new connection has this slot.
    pub(crate) fn begin(&mut self, slot: u32) {
        let slot = slot as usize;
        if slot >= self.list.len() {
            self.list.resize(slot + 1, Tally::default());
        }
        self.list[slot] = Tally::default();
        if let Some(sum) = self.before.sums.get_mut(slot) {
            *sum = 0;
        }
    }

    #[inline]
    pub(crate) fn receive(&mut self, slot: u32, count: u32) {
        let received = &mut self.list[slot as usize].received;
        *received = received.wrapping_add(count);
    }

    #[inline]
    pub(crate) fn send(&mut self, slot: u32, count: u32) {
        let sent = &mut self.list[slot as usize].sent;
        *sent = sent.wrapping_add(count);
    }

    pub(crate) fn get(&self, slot: u32) -> Tally {
        self.list.get(slot as usize).copied().unwrap_or_default()
    }

    /// How many messages went both ways in 1,000 seconds: since the last mark, or since the
    /// connection was opened, `age` ago, if that was later.
    pub(crate) fn rate(&self, slot: u32, age: Duration, now: Instant) -> u64 {
        let before = self.before.sums.get(slot as usize).copied();
        let sum = self.get(slot).sum();
        // Less than before is a count that began anew, or another connection that came while the
        // mark was made.
        let count = sum.checked_sub(before.unwrap_or_default()).unwrap_or(sum);
        let since = self.before.at.map(|at| now.saturating_duration_since(at));
        let span = age.min(since.unwrap_or(age));
        // Ages are known to a tick.
        let millis = span.max(TICK).as_millis();
        u64::try_from(u128::from(count) * 1_000_000 / millis).unwrap_or(u64::MAX)
    }

    /// From now on rates are told from this.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.before = mark;
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.list.capacity() * size_of::<Tally>() + self.before.sums.capacity() * size_of::<u32>()
    }
}

impl Mark {
    /// Notes the sum of the next slot.
    pub(crate) fn note(&mut self, tallies: &Tallies, slot: u32, now: Instant) {
        self.at.get_or_insert(now);
        self.sums.push(tallies.get(slot).sum());
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_from_the_last_mark_or_from_the_beginning_of_the_connection() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let mut tallies = Tallies::default();
        for slot in [0, 1] {
            tallies.begin(slot);
            tallies.receive(slot, 300);
            tallies.send(slot, 700);
        }
        assert_eq!(tallies.rate(0, seconds(10), now + seconds(10)), 100_000);
        let mut mark = Mark::default();
        for slot in [0, 1] {
            mark.note(&tallies, slot, now + seconds(10));
        }
        tallies.mark(mark);
        tallies.send(0, 4);
        let later = now + seconds(12);
        assert_eq!(tallies.rate(0, seconds(12), later), 2_000);
        assert_eq!(tallies.rate(1, seconds(12), later), 0);
        // Another one in its place has begun since.
        tallies.begin(1);
        tallies.receive(1, 5);
        assert_eq!(tallies.rate(1, seconds(1), later), 5_000);
        assert_eq!(tallies.rate(1, Duration::ZERO, later), 39_062);
    }

    #[test]
    fn a_count_that_begins_anew_is_told_from_there() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut tallies = Tallies::default();
        tallies.begin(0);
        tallies.receive(0, u32::MAX);
        let mut mark = Mark::default();
        mark.note(&tallies, 0, now);
        tallies.mark(mark);
        tallies.receive(0, 2);
        tallies.send(0, 3);
        let tally = Tally {
            received: 1,
            sent: 3,
        };
        assert_eq!(tallies.get(0), tally);
        assert_eq!(tallies.rate(0, second, now + second), 4_000);
    }
}
