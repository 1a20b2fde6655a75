//! Lets a storm of equal events be some lines and a number.

use std::time::{Duration, Instant};

/// So many lines are written for one cause in a second; the others are counted.
pub(crate) const LINES_MAX: u64 = 10;

const WINDOW: Duration = Duration::from_secs(1);

/// So many causes are told apart; all further ones are one.
const CAUSES_MAX: usize = 64;

/// Counts events by their cause.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    causes: Vec<Cause>,
}

#[derive(Debug)]
struct Cause {
    name: &'static str,
    since: Instant,
    count: u64,
}

impl Sampler {
    /// Whether this one is to be written.
    pub(crate) fn admits(&mut self, name: &'static str, now: Instant) -> bool {
        let found = self.causes.iter().position(|cause| cause.name == name);
        let index = found.unwrap_or(self.causes.len()).min(CAUSES_MAX - 1);
        if index == self.causes.len() {
            self.causes.push(Cause {
                name,
                since: now,
                count: 0,
            });
        }
        let cause = &mut self.causes[index];
        cause.count += 1;
        cause.count <= LINES_MAX
    }

    /// Of each cause whose second has passed: how many were not written, if any. To be asked before
    /// new ones are admitted.
    pub(crate) fn unwritten(&mut self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut all = Vec::new();
        self.causes.retain(|cause| {
            if now.saturating_duration_since(cause.since) < WINDOW {
                return true;
            }
            if let Some(count) = cause
                .count
                .checked_sub(LINES_MAX)
                .filter(|count| *count > 0)
            {
                all.push((cause.name, count));
            }
            false
        });
        all
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_some_lines_and_a_number() {
        let start = Instant::now();
        let mut sampler = Sampler::default();
        let written = (0..1_000)
            .filter(|_| sampler.admits("origin", start))
            .count();
        assert_eq!(written as u64, LINES_MAX);
        assert!(sampler.admits("timeout", start), "another cause");
        assert_eq!(sampler.unwritten(start), []);
        let later = start + WINDOW;
        assert_eq!(sampler.unwritten(later), [("origin", 990)]);
        assert_eq!(sampler.unwritten(later), []);
        assert!(sampler.admits("origin", later));
    }
}
