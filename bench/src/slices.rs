//! What was counted, one time after the other: for pictures, and to compare halves of a run.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::tally::Window;

/// Slices of a window, all of the same length; none if nobody asks for them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Slices {
    /// Nanoseconds.
    length: u64,
    slices: Vec<Slice>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slice {
    /// Messages that came in it.
    pub messages: u64,
    /// Latencies of those that were sent in it.
    pub latency: Latency,
}

impl Slices {
    /// `count` slices of the window; none of a window without an end.
    #[must_use]
    pub fn new(window: Window, count: u32) -> Self {
        let whole = window.until.map(|until| until - window.from);
        let length = whole.map_or(0, |whole| {
            u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX) / u64::from(count.max(1))
        });
        let count = if length == 0 { 0 } else { count };
        let empty = || Slice {
            messages: 0,
            latency: Latency::new(),
        };
        Self {
            length,
            slices: (0..count).map(|_| empty()).collect(),
        }
    }

    /// Counts messages that came now.
    pub fn count(&mut self, window: Window, now: Instant, messages: u64) {
        if let Some(slice) = self.slice(window, now) {
            slice.messages += messages;
        }
    }

    /// Counts latencies of messages that were sent, or should have been, at `meant`.
    pub fn record(&mut self, window: Window, meant: Instant, latency: Duration, count: u64) {
        if let Some(slice) = self.slice(window, meant) {
            slice.latency.record_many(latency, count);
        }
    }

    /// How long each of them is.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.length)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Slice] {
        &self.slices
    }

    /// Takes over what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        if self.slices.is_empty() {
            self.clone_from(other);
            return;
        }
        for (slice, other) in self.slices.iter_mut().zip(&other.slices) {
            slice.messages += other.messages;
            slice.latency.add(&other.latency);
        }
    }

    /// The latencies of the first and of the second half; the one in the middle of an odd number
    /// is in neither.
    #[must_use]
    pub fn halves(&self) -> [Latency; 2] {
        let half = self.slices.len() / 2;
        let sum = |slices: &[Slice]| {
            let mut sum = Latency::new();
            for slice in slices {
                sum.add(&slice.latency);
            }
            sum
        };
        [
            sum(&self.slices[..half]),
            sum(&self.slices[self.slices.len() - half..]),
        ]
    }

    fn slice(&mut self, window: Window, at: Instant) -> Option<&mut Slice> {
        if self.length == 0 || !window.counts(at) {
            return None;
        }
        let since = u64::try_from((at - window.from).as_nanos()).ok()?;
        self.slices
            .get_mut(usize::try_from(since / self.length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_io::Driver;
    use tidegate_io::epoll::EpollDriver;

    use super::*;

    #[test]
    fn each_message_is_counted_in_its_slice_and_none_outside() {
        let start = EpollDriver::new(None).unwrap().now();
        let at = |ms| start + Duration::from_millis(ms);
        let window = Window {
            start,
            from: at(100),
            until: Some(at(500)),
        };
        let mut slices = Slices::new(window, 4);
        for ms in [0, 99, 100, 199, 200, 499, 500] {
            slices.count(window, at(ms), 1);
            slices.record(window, at(ms), Duration::from_millis(ms), 1);
        }
        let messages: Vec<_> = slices.all().iter().map(|slice| slice.messages).collect();
        assert_eq!(messages, [2, 1, 0, 1]);
        let [first, second] = slices.halves();
        assert_eq!((first.count(), second.count()), (3, 1));
        let mut sum = Slices::default();
        sum.add(&slices);
        sum.add(&slices);
        assert_eq!(sum.all()[0].messages, 4);
    }
}
