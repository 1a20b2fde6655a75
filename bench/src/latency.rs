//! Latencies: a histogram of bounded size, and the percentiles read from it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Nanoseconds from one to an hour, with three digits.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

/// What is worth telling about a histogram, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many values there are.
    pub count: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The smallest value.
    pub min: f64,
    /// Half of all values are not larger.
    pub p50: f64,
    /// Three quarters.
    pub p75: f64,
    /// Nine in ten.
    pub p90: f64,
    /// 99 in a hundred.
    pub p99: f64,
    /// 999 in a thousand.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// 9,999 in ten thousand.
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    /// The largest value.
    pub max: f64,
}

const LARGEST_NS: u64 = 3_600_000_000_000;

impl Latency {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LARGEST_NS, 3).expect("the bounds are in order"))
    }

    /// Counts one value.
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Counts one value several times.
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LARGEST_NS);
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// Takes over what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The summary; all zero if nothing was counted.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| microseconds(self.0.value_at_quantile(quantile));
        Percentiles {
            count: self.0.len(),
            mean: round(self.0.mean() / 1000.0),
            min: microseconds(self.0.min()),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: microseconds(self.0.max()),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
fn microseconds(nanoseconds: u64) -> f64 {
    round(nanoseconds as f64 / 1000.0)
}

/// To three digits behind the point.
#[must_use]
pub fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_order_and_within_a_thousandth() {
        let mut latency = Latency::new();
        for microsecond in 1..=10_000 {
            latency.record(Duration::from_micros(microsecond));
        }
        let p = latency.percentiles();
        assert_eq!(p.count, 10_000);
        for (found, expected) in [
            (p.p50, 5e3),
            (p.p75, 7.5e3),
            (p.p90, 9e3),
            (p.p99, 9.9e3),
            (p.p99_9, 9.99e3),
            (p.max, 1e4),
        ] {
            assert!(
                (found - expected).abs() <= expected / 1000.0,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn nothing_counted_is_all_zero_and_a_huge_value_is_kept() {
        assert_eq!(Latency::new().percentiles(), Percentiles::default());
        let mut latency = Latency::new();
        latency.record(Duration::MAX);
        assert!(latency.percentiles().max > 3.5e9);
    }

    #[test]
    fn threads_add_up() {
        let (mut first, mut second) = (Latency::new(), Latency::new());
        first.record(Duration::from_micros(1));
        second.record_many(Duration::from_micros(3), 2);
        first.add(&second);
        assert_eq!(first.percentiles().count, 3);
        assert!((first.percentiles().max - 3.0).abs() < 0.01);
    }
}
