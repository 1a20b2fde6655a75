//! Claims about a run that decide its exit code: `p99<5ms`, `errors=0`, `rate>10000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::options::units;

/// A claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// As the user wrote it.
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In seconds for times.
    bound: f64,
}

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// The percentile of the latency, in percent.
    Percentile(f64),
    /// The largest latency.
    Max,
    /// The mean latency.
    Mean,
    /// Everything that went wrong, with connections that failed or were lost.
    Errors,
    /// Messages that never came.
    Missing,
    /// Messages that came more than once.
    Doubled,
    /// Messages that came out of order.
    Reordered,
    /// Messages that came changed.
    Mismatched,
    /// Connections that never opened.
    Failed,
    /// Connections that ended before their time.
    Lost,
    /// Connections that opened.
    Opened,
    /// Counted messages (of `churn`: turns) per second.
    Rate,
    /// Connects per second while they were opened.
    Connects,
    /// CPU time of the server per message (of `churn`: turn), in seconds.
    Cpu,
    /// Resident memory of the server that each connection has added, in bytes.
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// Longer signs first, so that none is cut.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("=", Comparison::Equal),
];

const NAMES: [(&str, Metric); 14] = [
    ("max", Metric::Max),
    ("mean", Metric::Mean),
    ("errors", Metric::Errors),
    ("missing", Metric::Missing),
    ("doubled", Metric::Doubled),
    ("reordered", Metric::Reordered),
    ("mismatched", Metric::Mismatched),
    ("failed", Metric::Failed),
    ("lost", Metric::Lost),
    ("opened", Metric::Opened),
    ("rate", Metric::Rate),
    ("connects", Metric::Connects),
    ("cpu", Metric::Cpu),
    ("memory", Metric::Memory),
];

/// What was measured instead of what was claimed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured {
    /// The figure; seconds for times.
    Value(f64),
    /// There is none.
    Unknown(&'static str),
}

impl Metric {
    fn is_time(self) -> bool {
        matches!(
            self,
            Self::Percentile(_) | Self::Max | Self::Mean | Self::Cpu
        )
    }
}

impl Requirement {
    /// What it is about.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Why it does not hold; `None` if it does.
    #[must_use]
    pub fn miss(&self, measured: Measured) -> Option<String> {
        let value = match measured {
            Measured::Value(value) => value,
            Measured::Unknown(why) => return Some(format!("{self} is not met: {why}")),
        };
        let holds = match self.comparison {
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Equal => (value - self.bound).abs() < f64::EPSILON,
        };
        let found = if self.metric.is_time() {
            format!("{:?}", Duration::from_secs_f64(value.max(0.0)))
        } else {
            format!("{value}")
        };
        (!holds).then(|| format!("{self} is not met: it is {found}"))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(['<', '>', '='])
            .ok_or("a claim compares: p99<5ms, errors=0, rate>10000")?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (sign, comparison) = COMPARISONS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or("a claim compares with <, <=, >, >= or =")?;
        let bound = rest[sign.len()..].trim();
        let metric = metric(name)?;
        let bound = if metric.is_time() {
            if bound.ends_with(|c: char| c.is_ascii_digit()) {
                return Err(format!(
                    "'{bound}' has no unit; write {name}{sign}{bound}ms"
                ));
            }
            units::duration(bound)?.as_secs_f64()
        } else {
            let number: f64 = bound
                .parse()
                .map_err(|_| format!("'{bound}' is no number"))?;
            if !number.is_finite() {
                return Err(format!("'{bound}' is no number"));
            }
            number
        };
        Ok(Self {
            text: text.to_owned(),
            metric,
            comparison,
            bound,
        })
    }
}

fn metric(name: &str) -> Result<Metric, String> {
    if let Some((_, metric)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*metric);
    }
    let percent = name
        .strip_prefix('p')
        .and_then(|digits| digits.parse().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Metric::Percentile(percent)),
        _ => {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            Err(format!("'{name}' is not measured; p0 to p100, {names} are"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, value: f64) -> bool {
        let requirement: Requirement = text.parse().unwrap();
        requirement.miss(Measured::Value(value)).is_none()
    }

    #[test]
    fn each_sign_compares() {
        for (text, below, at, above) in [
            ("p99<5ms", true, false, false),
            ("p99<=5ms", true, true, false),
            ("p99 > 5ms", false, false, true),
            ("p99>=5ms", false, true, true),
            ("p99=5ms", false, true, false),
            ("p99==5ms", false, true, false),
        ] {
            assert_eq!(holds(text, 0.004), below, "{text}");
            assert_eq!(holds(text, 0.005), at, "{text}");
            assert_eq!(holds(text, 0.006), above, "{text}");
        }
    }

    #[test]
    fn every_metric_is_known_by_its_name() {
        for (name, metric) in NAMES {
            let bound = if metric.is_time() { "1s" } else { "1" };
            let requirement: Requirement = format!("{name}<{bound}").parse().unwrap();
            assert_eq!(requirement.metric(), metric);
        }
        let requirement: Requirement = "p99.99<1s".parse().unwrap();
        assert_eq!(requirement.metric(), Metric::Percentile(99.99));
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        for text in [
            "",
            "p99",
            "p99<",
            "p99<5",
            "p101<1s",
            "px<1s",
            "p<1s",
            "speed>1",
            "errors<1ms",
            "rate>inf",
            "<5ms",
            "rate!5",
            "p-1<1s",
        ] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_miss_names_the_claim_and_the_figure() {
        let requirement: Requirement = "p99<5ms".parse().unwrap();
        assert_eq!(
            requirement.miss(Measured::Value(0.0075)).unwrap(),
            "p99<5ms is not met: it is 7.5ms"
        );
        let miss = requirement.miss(Measured::Unknown("nothing was timed"));
        assert_eq!(miss.unwrap(), "p99<5ms is not met: nothing was timed");
    }
}
