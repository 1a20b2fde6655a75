//! Latencies: a histogram of bounded size, and the percentiles read from it.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Nanoseconds from one to an hour, with three digits.
///
/// It travels between processes as pairs of a value and how often it stands there, which
/// loses nothing, since all histograms of this kind have the same bounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latency(Histogram<u64>);

impl From<Vec<(u64, u64)>> for Latency {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latency = Self::new();
        for (nanoseconds, count) in pairs {
            latency.0.saturating_record_n(nanoseconds, count);
        }
        latency
    }
}

impl From<Latency> for Vec<(u64, u64)> {
    fn from(latency: Latency) -> Self {
        let recorded = latency.0.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect()
    }
}

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

/// As HdrHistogram's own tools print them.
const TICKS_PER_HALF: u32 = 5;
/// Of a histogram with three digits.
const SUB_BUCKETS: u32 = 2048;

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

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// How many values are larger than this.
    #[must_use]
    pub fn count_above(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(LARGEST_NS);
        if limit >= LARGEST_NS {
            return 0;
        }
        self.0.len() - self.0.count_between(0, limit)
    }

    /// So many percent of all values are not larger than this; 0 if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        if self.0.is_empty() {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.0.value_at_quantile((percent / 100.0).clamp(0.0, 1.0)))
    }

    /// The arithmetic mean; 0 if there is nothing.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.0.mean() / 1e9).unwrap_or_default()
    }

    /// The text that the plotters of HdrHistogram read: percentiles, five steps to each halving
    /// of what lies above, values in milliseconds.
    #[must_use]
    pub fn percentile_text(&self) -> String {
        let ms = |ns: f64| ns / 1e6;
        #[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
        let value = |ns: u64| ms(ns as f64);
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut total = 0;
        for step in self.0.iter_quantiles(TICKS_PER_HALF) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{:12.6} {quantile:14.12} {total:10}",
                value(step.value_iterated_to())
            );
            if quantile < 1.0 {
                let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n\
             #[Max     = {:12.6}, Total count    = {:12}]\n\
             #[Buckets = {:12}, SubBuckets     = {:12}]",
            ms(self.0.mean()),
            ms(self.0.stdev()),
            value(self.0.max()),
            self.0.len(),
            self.0.buckets(),
            SUB_BUCKETS,
        );
        text
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
    fn a_histogram_survives_its_journey() {
        let mut latency = Latency::new();
        for microsecond in [1, 7, 7, 300, 999_999] {
            latency.record(Duration::from_micros(microsecond));
        }
        let text = serde_json::to_string(&latency).unwrap();
        let arrived: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(arrived.0, latency.0);
    }

    #[test]
    fn what_lies_above_a_limit_is_counted() {
        let mut latency = Latency::new();
        for millisecond in 1..=10 {
            latency.record(Duration::from_millis(millisecond));
        }
        assert_eq!(latency.count_above(Duration::from_micros(7_500)), 3);
        assert_eq!(latency.count_above(Duration::ZERO), 10);
        assert_eq!(latency.count_above(Duration::MAX), 0);
    }

    #[test]
    fn the_percentile_text_ends_with_everything() {
        let mut latency = Latency::new();
        for millisecond in 1..=1000 {
            latency.record(Duration::from_millis(millisecond));
        }
        let text = latency.percentile_text();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.parse().unwrap())
                    .collect()
            })
            .collect();
        let last = rows.last().unwrap();
        assert!((last[0] - 1000.0).abs() < 1.0, "{last:?}");
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(rows.is_sorted_by(|one, next| one[0] <= next[0] && one[2] <= next[2]));
        let half = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!(
            (half[0] - 500.0).abs() < 5.0 && (half[3] - 2.0).abs() < 0.1,
            "{half:?}"
        );
        assert!(text.contains("#[Max     =") && text.contains("#[Buckets ="));
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
