//! The one timeout of an io_uring driver: set once for a moment, however often that is waited
//! for (see the alarm of the epoll driver for why), and moved when the moment changes.

use std::time::{Duration, Instant};

use super::ring::{Ring, Wait};

/// A wait that is shorter does not come twice: it is cheaper left to `io_uring_enter`.
const SHORT: Duration = Duration::from_millis(10);

/// What is known of the timeout in the ring.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// When it will ring, unless that is to be changed.
    at: Option<Instant>,
    /// There is one in the ring.
    stands: bool,
}

impl Alarm {
    /// Sees to it that a wait ends at `at`, and says what else that takes.
    pub(super) fn set(&mut self, at: Instant, now: Instant, ring: &mut Ring) -> Wait {
        if self.at == Some(at) {
            return Wait::Forever;
        }
        let rest = at.saturating_duration_since(now);
        if rest < SHORT {
            return Wait::AtMost(rest);
        }
        ring.set_alarm(rest, self.stands);
        self.at = Some(at);
        self.stands = true;
        Wait::Forever
    }

    /// It has rung.
    pub(super) fn rang(&mut self) {
        *self = Self::default();
    }

    /// It could not be moved, since it was about to ring.
    pub(super) fn not_moved(&mut self) {
        self.at = None;
    }
}
