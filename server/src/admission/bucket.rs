//! How often something may happen: a bucket that is refilled at a rate, kept as one number.
//!
//! The number is the moment at which the bucket will be full again (the generic cell rate algorithm).
//! Taking one moves it by one interval; when it would lie further ahead than a whole bucket takes to
//! be refilled, there is nothing to be had.
//!
//! ```text
//!        now            full at                    now + burst × interval
//!  ───────┼────────────────┼────▶ + interval ──────────────┼────────────▶ time
//!                          └ each who is let in            └ no further
//! ```

use std::hash::Hash;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::stripes::{STRIPES, Stripes};

/// Nobody is told to come back later than this. Where more have been turned away than the rate lets in
/// until then, the next ones are told the same moments once more.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(60);

/// So many addresses have a bucket at once. One that finds no room has none of its own: the rate for
/// all holds for it all the same.
pub(crate) const BUCKETS_MAX: usize = 64 * 1024;

/// The share of a stripe.
const KEYS_MAX: usize = BUCKETS_MAX / STRIPES;

/// One stripe that is full is looked through so often, in nanoseconds: some microseconds each time.
const SWEEP_INTERVAL: u64 = 1_000_000;

/// How often, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In nanoseconds.
    interval: u64,
    burst: u64,
}

/// Nothing is to be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    /// So long until there is.
    pub(crate) wait: Duration,
}

/// A moment as a number, which several threads can share.
#[derive(Debug, Default)]
pub(crate) struct Clock(OnceLock<Instant>);

impl Clock {
    /// In nanoseconds since somebody first asked, and a day: whatever is due at 0 has been for long.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let start = self.0.get_or_init(|| now);
        nanos(now.saturating_duration_since(*start) + DAY)
    }
}

/// 584 years are enough.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Rate {
    /// `None` where there is no limit. `burst` is at least one.
    pub(crate) fn new(per_second: usize, burst: usize) -> Option<Self> {
        let per_second = u64::try_from(per_second).ok().filter(|rate| *rate > 0)?;
        Some(Self {
            interval: (1_000_000_000 / per_second).max(1),
            burst: burst.max(1) as u64,
        })
    }

    /// When it will be full after one more has been taken.
    fn take(self, full_at: u64, now: u64) -> Result<u64, Over> {
        let next = full_at.max(now) + self.interval;
        match next.saturating_sub(now + self.burst * self.interval) {
            0 => Ok(next),
            wait => Err(Over {
                wait: Duration::from_nanos(wait),
            }),
        }
    }
}

/// A bucket that all shards share.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
    /// When the last of those who were turned away has been told to come back.
    promised: AtomicU64,
}

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// [`Over`]; its wait is the time at which there will be room for this one, if all who were turned
    /// away before come back when they were told to.
    pub(crate) fn take(&self, now: u64, rate: Rate) -> Result<(), Over> {
        let order = Ordering::Relaxed;
        let mut over = None;
        let take = |full_at| match rate.take(full_at, now) {
            Ok(next) => Some(next),
            Err(fault) => {
                over = Some(fault);
                None
            }
        };
        match (self.full_at.fetch_update(order, order, take), over) {
            (Err(_), Some(over)) => Err(self.promise(now, rate, over)),
            _ => Ok(()),
        }
    }

    /// One after another, as far apart as the rate lets them in: so they do not all come back together.
    fn promise(&self, now: u64, rate: Rate, over: Over) -> Over {
        let earliest = now + nanos(over.wait);
        let latest = now + nanos(RETRY_MAX);
        let next = |promised: u64| match promised.max(earliest) + rate.interval {
            next if next > latest => earliest,
            next => next,
        };
        let order = Ordering::Relaxed;
        let before = self
            .promised
            .fetch_update(order, order, |promised| Some(next(promised)));
        let promised = next(before.unwrap_or_else(|same| same));
        Over {
            wait: Duration::from_nanos(promised - now),
        }
    }
}

/// A bucket for each key, shared by all shards. A full one takes no memory for long.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    full_at: Stripes<K, u64>,
    /// When one of the stripes that are full was looked through last.
    swept_at: AtomicU64,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self {
            full_at: Stripes::default(),
            swept_at: AtomicU64::default(),
        }
    }
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Takes one from the bucket of this key.
    ///
    /// # Errors
    /// [`Over`].
    pub(crate) fn take(&self, key: &K, now: u64, rate: Rate) -> Result<(), Over> {
        let mut buckets = self.full_at.of(key);
        if let Some(full_at) = buckets.get_mut(key) {
            *full_at = rate.take(*full_at, now)?;
            return Ok(());
        }
        let sweeps = match buckets.len() {
            KEYS_MAX.. => self.may_sweep(now),
            // Before the table grows.
            count => count == buckets.capacity(),
        };
        if sweeps {
            // Whoever has a full bucket needs none.
            buckets.retain(|_, full_at| *full_at > now);
        }
        if buckets.len() < KEYS_MAX {
            buckets.insert(key.clone(), rate.take(0, now)?);
        }
        Ok(())
    }

    /// While more come than there may be, looking through a stripe for each of them would be what an
    /// attacker wants.
    fn may_sweep(&self, now: u64) -> bool {
        let order = Ordering::Relaxed;
        let due = |swept_at: u64| (now >= swept_at + SWEEP_INTERVAL).then_some(now);
        self.swept_at.fetch_update(order, order, due).is_ok()
    }

    /// How many have a bucket.
    pub(crate) fn key_count(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 86_400 * SECOND;

    fn rate(per_second: usize, burst: usize) -> Rate {
        Rate::new(per_second, burst).unwrap()
    }

    fn seconds(over: Over) -> f64 {
        over.wait.as_secs_f64()
    }

    #[test]
    fn a_burst_goes_through_and_then_as_many_as_the_rate_says() {
        let bucket = Bucket::default();
        let rate = rate(100, 20);
        let at_once = (0..50).filter(|_| bucket.take(START, rate).is_ok()).count();
        assert_eq!(at_once, 20);
        // Asked each millisecond for ten seconds.
        let later = (1..=10_000)
            .filter(|ms| bucket.take(START + ms * SECOND / 1000, rate).is_ok())
            .count();
        assert_eq!(later, 1000);
        // After a pause there is a burst again, and no more.
        let pause = START + 100 * SECOND;
        let at_once = (0..50).filter(|_| bucket.take(pause, rate).is_ok()).count();
        assert_eq!(at_once, 20);
    }

    #[test]
    fn no_rate_is_no_limit_and_a_burst_is_at_least_one() {
        assert_eq!(Rate::new(0, 5), None);
        let bucket = Bucket::default();
        assert!(bucket.take(START, rate(1, 0)).is_ok());
        assert!(bucket.take(START, rate(1, 0)).is_err());
        // The fastest rate that there is.
        let fast = rate(usize::MAX, 1);
        assert!(bucket.take(START + 2 * SECOND, fast).is_ok());
    }

    #[test]
    fn a_moment_of_another_shard_that_lies_a_little_back_does_no_harm() {
        let bucket = Bucket::default();
        let rate = rate(10, 1);
        assert!(bucket.take(START + SECOND, rate).is_ok());
        let over = bucket.take(START, rate).unwrap_err();
        assert!(seconds(over) >= 1.1, "{over:?}");
    }

    #[test]
    fn those_who_are_turned_away_together_come_back_one_after_another() {
        let bucket = Bucket::default();
        let rate = rate(1000, 1000);
        let waits: Vec<_> = (0..10_000)
            .filter_map(|_| bucket.take(START, rate).err())
            .map(|over| over.wait.as_secs_f64().ceil())
            .collect();
        assert_eq!(waits.len(), 9_000);
        for second in 1..=9 {
            let told = waits
                .iter()
                .filter(|wait| **wait == f64::from(second))
                .count();
            assert!(
                (990..=1010).contains(&told),
                "{told} come back after {second} s"
            );
        }
        // When they do, all are let in.
        for second in 1..=9 {
            let at = START + second * SECOND;
            let in_now = (0..1000).filter(|_| bucket.take(at, rate).is_ok()).count();
            assert_eq!(in_now, 1000, "after {second} s");
        }
    }

    #[test]
    fn nobody_is_told_to_come_back_later_than_the_most() {
        let bucket = Bucket::default();
        let rate = rate(10, 1);
        for _ in 0..100_000 {
            if let Err(over) = bucket.take(START, rate) {
                assert!(over.wait <= RETRY_MAX && !over.wait.is_zero(), "{over:?}");
            }
        }
    }

    #[test]
    fn each_key_has_a_bucket_of_its_own() {
        let buckets = Buckets::default();
        let rate = rate(1, 2);
        for key in ["a", "b"] {
            assert_eq!(buckets.take(&key, START, rate), Ok(()));
            assert_eq!(buckets.take(&key, START, rate), Ok(()));
            let over = buckets.take(&key, START, rate).unwrap_err();
            assert_eq!(over.wait, Duration::from_secs(1));
        }
        assert_eq!(buckets.take(&"a", START + SECOND, rate), Ok(()));
    }

    #[test]
    fn there_are_no_more_buckets_than_the_most_and_full_ones_make_room() {
        let buckets = Buckets::default();
        let rate = rate(1, 1);
        for key in 0..3 * BUCKETS_MAX {
            assert_eq!(
                buckets.take(&key, START, rate),
                Ok(()),
                "nobody is let down"
            );
        }
        let most = buckets.key_count();
        assert!(most <= BUCKETS_MAX, "{most}");
        assert!(
            buckets.take(&0, START, rate).is_err(),
            "who came first is known"
        );
        for key in 0..BUCKETS_MAX / 4 {
            // Two milliseconds later each.
            let now = START + 2 * SECOND + 2_000_000 * key as u64;
            assert_eq!(buckets.take(&(key + 1_000_000), now, rate), Ok(()));
        }
        let left = buckets.key_count();
        assert!(left <= BUCKETS_MAX / 4, "the old ones are gone: {left}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_clock_never_goes_back_and_begins_late_enough() {
        let clock = Clock::default();
        let now = Instant::now();
        let first = clock.at(now);
        assert!(first >= 3600 * SECOND);
        assert_eq!(clock.at(now + Duration::from_secs(1)), first + SECOND);
        assert_eq!(clock.at(now - Duration::from_secs(1)), first);
    }
}
