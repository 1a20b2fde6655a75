//! What the clocks say, asked in one place: tokens speak of the hour, deadlines are kept by the
//! monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The hour, since 1970. It may jump: nothing that has begun depends on it any more.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens say by the hour when they expire; nobody else does"
)]
pub(crate) fn hour() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO)
}

/// The monotonic clock, for the threads beside the shards.
#[expect(
    clippy::disallowed_methods,
    reason = "only when to fetch keys again depends on it"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
