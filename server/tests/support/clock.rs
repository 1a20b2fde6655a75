//! Deadlines, and waiting for a condition without sleeping blindly.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Long enough for anything that a healthy server does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The moment at which a wait fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub(crate) fn after(span: Duration) -> Self {
        Self(now() + span)
    }

    /// What is left, or `None` once it has passed.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0
            .checked_duration_since(now())
            .filter(|left| !left.is_zero())
    }
}

/// What the clock says.
#[expect(
    clippy::disallowed_methods,
    reason = "a test measures the server from outside"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets a span pass in which something is measured.
pub(crate) fn let_pass(span: Duration) {
    let (_kept, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(span);
}

/// Looks until `look` finds something.
///
/// Panics with `what` when nothing was found in time.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(PATIENCE);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(deadline.left().is_some(), "not within {PATIENCE:?}: {what}");
        let_pass(LOOK_EVERY);
    }
}

/// Looks until `look` shows `wanted`, and says what it showed last if it never does.
#[track_caller]
pub(crate) fn until_equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: &T,
    mut look: impl FnMut() -> T,
) {
    let deadline = Deadline::after(PATIENCE);
    loop {
        let seen = look();
        if seen == *wanted {
            return;
        }
        assert!(
            deadline.left().is_some(),
            "{what}: wanted {wanted:?}, and after {PATIENCE:?} it is {seen:?}"
        );
        let_pass(LOOK_EVERY);
    }
}
