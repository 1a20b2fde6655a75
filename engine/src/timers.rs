//! A coarse wheel for a million deadlines, nearly all of which never come due.
//!
//! A tick is 128 ms and the wheel has 512 buckets, so it turns once in 65 s. A bucket is a
//! list of entries of 8 bytes; a connection stands in the wheel at most a few times, and
//! changing its deadline touches the connection only. An entry that comes up and finds that
//! its connection's deadline has moved goes to the bucket of the new one.
//!
//! ```text
//!  connection.deadline = 9 ──┐            buckets: … 6 [ ]  7 [a b]  8 [ ]  9 [ ] …
//!  the entry stands at 7  ───┴─ at 7: not due yet ─▶ moves to 9 ─▶ at 9: due
//! ```

use std::time::{Duration, Instant};

pub(crate) const TICK: Duration = Duration::from_millis(128);
const BUCKET_COUNT: usize = 512;
/// How far ahead of now an entry may stand.
const AHEAD_MAX: Tick = 511;
const WORD_BITS: usize = 64;

/// A moment, counted in ticks since the shard began; 0 is never.
pub(crate) type Tick = u32;

/// The connection that an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The wheel of one shard.
#[derive(Debug)]
pub(crate) struct Timers {
    start: Instant,
    /// All buckets before this tick have been emptied.
    now: Tick,
    /// When `now` will have passed. Nothing comes up before.
    now_ends: Instant,
    buckets: Vec<Vec<Entry>>,
    /// When the next bucket comes up.
    ///
    /// Invariant: the end of the first tick from `now` on whose bucket is occupied.
    next_due: Option<Instant>,
    /// A bit for each bucket that holds something.
    occupied: [u64; BUCKET_COUNT / WORD_BITS],
}

/// How many ticks these are: none for zero, and at least one for anything else.
pub(crate) fn ticks_of(span: Duration) -> Tick {
    let ticks = span.as_millis() / TICK.as_millis();
    // A tenth of all there are: added to a moment, it stays one.
    let ticks = u32::try_from(ticks).map_or(Tick::MAX / 10, |ticks| ticks.min(Tick::MAX / 10));
    if span.is_zero() { 0 } else { ticks.max(1) }
}

/// As long as so many ticks take.
pub(crate) fn span_of(ticks: Tick) -> Duration {
    TICK * ticks
}

impl Timers {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            now: 1,
            now_ends: start + TICK,
            next_due: None,
            buckets: (0..BUCKET_COUNT).map(|_| Vec::new()).collect(),
            occupied: [0; BUCKET_COUNT / WORD_BITS],
        }
    }

    /// The first tick that is not before `after` from now.
    pub(crate) fn tick_after(&self, now: Instant, after: Duration) -> Tick {
        self.tick_of(now + after) + 1
    }

    /// The tick in which `now` lies: free while the wheel stands in it.
    #[inline]
    pub(crate) fn tick_at(&self, now: Instant) -> Tick {
        if now < self.now_ends {
            self.now
        } else {
            self.tick_of(now)
        }
    }

    /// Microseconds since the shard began, as far as 32 bits hold them.
    pub(crate) fn micros_at(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start).as_micros();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it goes round in 71 minutes"
        )]
        let micros = elapsed as u32;
        micros
    }

    /// How long this shard has been there.
    pub(crate) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    /// The tick in which `moment` lies; the first is 1.
    fn tick_of(&self, moment: Instant) -> Tick {
        let elapsed = moment.saturating_duration_since(self.start);
        let ticks = elapsed.as_millis() / TICK.as_millis();
        // 17 years of 128 ms fit.
        u32::try_from(ticks + 1).unwrap_or(u32::MAX - 1)
    }

    /// Puts an entry where it will come up at `tick`, or one turn of the wheel from now if
    /// that is sooner. Returns the tick at which it comes up.
    pub(crate) fn insert(&mut self, tick: Tick, entry: Entry) -> Tick {
        let tick = tick.clamp(self.now, self.now + AHEAD_MAX);
        let bucket = tick as usize % BUCKET_COUNT;
        self.buckets[bucket].push(entry);
        self.occupied[bucket / WORD_BITS] |= 1 << (bucket % WORD_BITS);
        let due = self.end_of(tick);
        if self.next_due.is_none_or(|next| due < next) {
            self.next_due = Some(due);
        }
        tick
    }

    /// Takes the entries of the next bucket that has come up; `None` when all have been.
    /// With them comes the tick of the bucket.
    #[inline]
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Tick, Vec<Entry>)> {
        if now < self.now_ends {
            return None;
        }
        self.take_due_until(now)
    }

    fn take_due_until(&mut self, now: Instant) -> Option<(Tick, Vec<Entry>)> {
        let until = self.tick_of(now);
        match self.next_occupied() {
            Some(next) if next < until => {
                self.move_on(next + 1);
                let bucket = next as usize % BUCKET_COUNT;
                self.occupied[bucket / WORD_BITS] &= !(1 << (bucket % WORD_BITS));
                // A bucket is taken once its tick has passed.
                self.next_due = self.next_occupied().map(|tick| self.end_of(tick));
                Some((next, std::mem::take(&mut self.buckets[bucket])))
            }
            Some(_) | None => {
                self.move_on(self.now.max(until));
                None
            }
        }
    }

    fn move_on(&mut self, now: Tick) {
        self.now = now;
        self.now_ends = self.end_of(now);
    }

    fn end_of(&self, tick: Tick) -> Instant {
        self.start + TICK * tick
    }

    /// How many entries stand in the wheel.
    pub(crate) fn entry_count(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let entries: usize = self.buckets.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry>() + self.buckets.capacity() * size_of::<Vec<Entry>>()
    }

    /// When the next bucket comes up; `None` when the wheel is empty.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// Does the invariant of `next_due` hold?
    #[cfg(test)]
    pub(crate) fn is_next_due_right(&self) -> bool {
        self.next_due == self.next_occupied().map(|tick| self.end_of(tick))
    }

    /// The first tick from `self.now` on whose bucket holds something.
    fn next_occupied(&self) -> Option<Tick> {
        let first = self.now as usize % BUCKET_COUNT;
        let word_count = self.occupied.len();
        for step in 0..=word_count {
            let word_index = (first / WORD_BITS + step) % word_count;
            let mut word = self.occupied[word_index];
            if step == 0 {
                word &= u64::MAX << (first % WORD_BITS);
            } else if step == word_count {
                word &= !(u64::MAX << (first % WORD_BITS));
            }
            if word != 0 {
                let bucket = word_index * WORD_BITS + word.trailing_zeros() as usize;
                let ahead = (bucket + BUCKET_COUNT - first) % BUCKET_COUNT;
                return Some(self.now + Tick::try_from(ahead).unwrap_or(AHEAD_MAX));
            }
        }
        None
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
mod tests {
    use super::*;

    fn entry(slot: u32) -> Entry {
        Entry {
            slot,
            generation: 0,
        }
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn an_entry_comes_up_after_its_deadline_and_within_two_ticks() {
        let start = Instant::now();
        for after in [0, 1, 127, 128, 129, 5_000, 10_000, 60_000] {
            let mut timers = Timers::new(start);
            let tick = timers.tick_after(start, Duration::from_millis(after));
            timers.insert(tick, entry(7));
            let mut elapsed = 0;
            let due = loop {
                if let Some(due) = timers.take_due(at(start, elapsed)) {
                    break due;
                }
                elapsed += 1;
            };
            assert_eq!(due.1, vec![entry(7)]);
            assert!(
                elapsed > after && elapsed <= after + 256,
                "{after} came at {elapsed}"
            );
        }
    }

    #[test]
    fn the_wheel_tells_when_to_look_again() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        assert_eq!(timers.next_due(), None);
        let tick = timers.tick_after(start, Duration::from_secs(10));
        timers.insert(tick, entry(1));
        let due = timers.next_due().unwrap();
        assert!(timers.take_due(due - Duration::from_millis(1)).is_none());
        assert!(timers.take_due(due).is_some());
        assert_eq!(timers.next_due(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_up_early_and_can_be_put_back() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let tick = timers.tick_after(start, Duration::from_secs(600));
        let came_up = timers.insert(tick, entry(1));
        assert!(came_up < tick);
        assert!(timers.take_due(at(start, 70_000)).is_some());
    }

    #[test]
    fn each_entry_comes_up_once_over_many_turns_of_the_wheel() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let mut inserted = 0_u32;
        let mut taken = 0;
        for step in 0..3_000_u64 {
            let now = at(start, step * 100);
            let tick = timers.tick_after(now, Duration::from_millis(step * 37 % 60_000));
            timers.insert(tick, entry(inserted));
            inserted += 1;
            while let Some((_, entries)) = timers.take_due(now) {
                taken += entries.len();
            }
        }
        while let Some((_, entries)) = timers.take_due(at(start, 400_000)) {
            taken += entries.len();
        }
        assert_eq!(taken, inserted as usize);
    }

    #[test]
    fn a_jump_ahead_of_several_turns_takes_everything_that_was_due() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for slot in 0..100 {
            let tick = timers.tick_after(start, Duration::from_millis(u64::from(slot) * 500));
            timers.insert(tick, entry(slot));
        }
        let mut taken = 0;
        while let Some((_, entries)) = timers.take_due(at(start, 1_000_000)) {
            taken += entries.len();
        }
        assert_eq!(taken, 100);
    }
}
