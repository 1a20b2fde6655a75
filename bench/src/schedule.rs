//! The clock of an open loop: when each batch should leave, and from which connection.

use std::time::{Duration, Instant};

/// Batches at even intervals, dealt out to `width` places in turn.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    /// Between two batches, in parts of a nanosecond (2^-20), so that the error of a high
    /// rate does not add up.
    interval: u128,
    width: u32,
    /// The number of the batch that is next.
    next: u64,
}

const FRACTION_BITS: u32 = 20;

impl Schedule {
    /// From `start` on, `rate` batches a second, over `width` places (at least one).
    #[must_use]
    pub fn new(start: Instant, rate: f64, width: u32) -> Self {
        let interval = Duration::try_from_secs_f64(f64::from(1 << FRACTION_BITS) / rate);
        let interval = interval.unwrap_or(Duration::MAX).as_nanos().max(1);
        Self {
            start,
            interval,
            width: width.max(1),
            next: 0,
        }
    }

    /// When the batch number `batch` of the place should leave.
    #[must_use]
    pub fn time_of(&self, place: u32, batch: u32) -> Instant {
        self.time(u64::from(batch) * u64::from(self.width) + u64::from(place))
    }

    /// When the next batch should leave.
    #[must_use]
    pub fn next_time(&self) -> Instant {
        self.time(self.next)
    }

    /// The place whose batch is due before `end`, in turn.
    pub fn next_before(&mut self, end: Instant) -> Option<u32> {
        if self.next_time() >= end {
            return None;
        }
        let place = u32::try_from(self.next % u64::from(self.width)).expect("less than the width");
        self.next += 1;
        Some(place)
    }

    fn time(&self, number: u64) -> Instant {
        let nanoseconds = u128::from(number).saturating_mul(self.interval) >> FRACTION_BITS;
        let since = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        self.start + Duration::from_nanos(since.min(FOREVER))
    }
}

/// A century, which every clock can add.
const FOREVER: u64 = 100 * 365 * 86_400 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use tidegate_io::Driver;
    use tidegate_io::epoll::EpollDriver;

    use super::*;

    fn any_time() -> Instant {
        EpollDriver::new(None).unwrap().now()
    }

    #[test]
    fn batches_are_dealt_in_turn_at_the_rate() {
        let start = any_time();
        let mut schedule = Schedule::new(start, 3_000_000.0, 3);
        let second = start + Duration::from_secs(1);
        let mut dealt = [0_u32; 3];
        while let Some(place) = schedule.next_before(second) {
            dealt[place as usize] += 1;
        }
        assert!(
            dealt
                .iter()
                .all(|count| (999_999..=1_000_001).contains(count)),
            "{dealt:?}"
        );
    }

    #[test]
    fn the_time_of_a_batch_follows_from_its_number() {
        let start = any_time();
        let mut schedule = Schedule::new(start, 10.0, 4);
        for batch in 0..3 {
            for place in 0..4 {
                assert_eq!(schedule.time_of(place, batch), schedule.next_time());
                assert_eq!(
                    schedule.next_before(start + Duration::from_secs(9)),
                    Some(place)
                );
            }
        }
        assert_eq!(schedule.next_time(), start + Duration::from_millis(1200));
    }

    #[test]
    fn a_rate_of_next_to_nothing_is_far_away_but_not_an_overflow() {
        let start = any_time();
        let schedule = Schedule::new(start, 1e-12, 1);
        assert!(schedule.time_of(0, u32::MAX) > start);
    }
}
