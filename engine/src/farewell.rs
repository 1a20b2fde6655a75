//! How a server takes leave of those who are connected.

use std::time::Duration;

/// How a server takes leave of those who are connected.
///
/// ```text
///  drain ─▶ grace              ─▶ spread                        ─▶ within
///           who has connected     each gets its 1001 at a          whoever is left
///           is still let in       moment of its own, and when      is reset
///                                 to come back; 503 for requests
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// What becomes of the listeners.
    pub listeners: Parting,
    /// So long requests are answered as before, so that nobody who has connected before others
    /// took over is refused. Zero, the default: not at all.
    pub grace: Duration,
    /// Over so long the closes are spread, evenly and in no order that clients would know. Zero,
    /// the default: as fast as it goes.
    pub spread: Duration,
    /// From the beginning, then whoever has not left is reset.
    pub within: Duration,
    /// Each is told to come back after a span of its own, between this and twice this, as
    /// `retry-after=…ms` in the reason of the close and as Retry-After of a 503. Zero, the default:
    /// nothing is said of it.
    pub retry_after: Duration,
}

/// What becomes of a listener when its server takes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parting {
    /// Whoever waits in its queue is taken, and it is closed.
    #[default]
    Close,
    /// No further connects begin, and those under way are completed and taken, for half the grace;
    /// then it is closed. For those who share the port with others: a connect that came now is
    /// sent once more by its client's system, a second later, and reaches one of them.
    Hush,
    /// It is let go of: others hold the same socket, and whoever waits in its queue is taken here or
    /// left to them.
    HandOn,
}

impl Farewell {
    /// Everybody is told at once, and has so long to answer.
    #[must_use]
    pub fn within(within: Duration) -> Self {
        Self {
            listeners: Parting::default(),
            grace: Duration::ZERO,
            spread: Duration::ZERO,
            within,
            retry_after: Duration::ZERO,
        }
    }

    /// When this connection is told to come back, in milliseconds; `None`: nothing is said of it.
    /// Those who came one after another are told spans that lie far apart.
    pub(crate) fn retry_after_of(&self, generation: u32) -> Option<u64> {
        // By the golden ratio, neighbours land far apart, and any number of them evenly.
        const GOLDEN: u32 = 0x9E37_79B9;
        if self.retry_after.is_zero() {
            return None;
        }
        let span = u64::try_from(self.retry_after.as_millis()).unwrap_or(u64::MAX);
        let share = u64::from(generation.wrapping_mul(GOLDEN) >> 16);
        Some(span.saturating_add(span.saturating_mul(share) >> 16))
    }

    /// The reason of a connection's close frame.
    pub(crate) fn reason_for(&self, generation: u32) -> String {
        match self.retry_after_of(generation) {
            None => "the server is going away".to_owned(),
            Some(span) => format!("the server is going away; retry-after={span}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell(retry_after: Duration) -> Farewell {
        Farewell {
            retry_after,
            ..Farewell::within(Duration::from_secs(10))
        }
    }

    #[test]
    fn each_is_told_a_span_of_its_own_between_once_and_twice() {
        let farewell = farewell(Duration::from_secs(2));
        let mut spans: Vec<u64> = (1..=1_000)
            .filter_map(|generation| farewell.retry_after_of(generation))
            .collect();
        assert!(spans.iter().all(|span| (2_000..4_000).contains(span)));
        // Evenly: no tenth of the time has more than a tenth of them, and a few.
        for from in (2_000..4_000).step_by(200) {
            let count = spans.iter().filter(|s| (from..from + 200).contains(*s));
            assert!((90..=110).contains(&count.count()), "{from}");
        }
        spans.dedup();
        assert_eq!(spans.len(), 1_000, "neighbours are told different spans");
    }

    #[test]
    fn a_reason_fits_into_a_close_frame_and_can_be_read_by_programs() {
        // RFC 6455, 5.5: a control frame carries at most 125 bytes, two of them the code.
        for span in [
            Duration::from_millis(1),
            Duration::from_secs(2),
            Duration::MAX,
        ] {
            for generation in [0, 1, u32::MAX] {
                let reason = farewell(span).reason_for(generation);
                assert!(reason.len() <= 123, "{reason}");
                let (_, rest) = reason.split_once("retry-after=").unwrap();
                assert!(rest.strip_suffix("ms").unwrap().parse::<u64>().is_ok());
            }
        }
        let silent = farewell(Duration::ZERO).reason_for(7);
        assert_eq!(silent, "the server is going away");
    }
}
