//! How much a connection may say in how much time, and what happens to whoever says more.
//!
//! A bucket of tokens is kept as one moment: when it will be full again (the generic cell rate
//! algorithm). What costs a token moves that moment on by the time in which a token comes:
//!
//! ```text
//!            now                full_at                     now + depth
//!  ───────────┼───────────────────┼──────────────────────────────┼──────▶ time, in nanoseconds
//!             └── tokens gone ────┴──────── tokens left ─────────┘
//! ```
//!
//! So a bucket takes 8 bytes, nothing has to be refilled, and no clock is asked: the time is that
//! of the turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The finest that deadlines are kept to is two ticks of 128 ms: who is slowed down may be let go
/// on so much too late, and must not lose what it might have said meanwhile.
const SLOW_DEPTH_MIN: Duration = Duration::from_millis(256);

/// Nobody is paid back for longer than this. One read may overdraw a bucket by 64 KiB, or by as many
/// fragments as it holds.
const DEBT_MAX: Duration = Duration::from_secs(60);

const SECOND: u64 = 1_000_000_000;

/// How much a connection may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Messages. A ping, a pong and each further fragment of a message count as one, too: whoever
    /// floods with those makes as much work.
    pub messages: Rate,
    /// Bytes as they arrive: compressed, with the headers of their frames, without TLS.
    pub bytes: Rate,
    /// What happens to whoever says more.
    pub policy: RatePolicy,
}

/// So much in a second, and so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// In a second, on the long run; 0 is no limit. At most a thousand million.
    pub per_second: u32,
    /// At once, after a while of silence; 0 is as much as in a second. With [`RatePolicy::Slow`] it
    /// is a quarter of a second's at least, since deadlines are no finer.
    pub burst: u32,
}

/// What happens to whoever says more than its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RatePolicy {
    /// What is too much is not looked at, and the connection is closed with 1008.
    #[default]
    Close,
    /// It is not received from until it may say more: TCP slows it down.
    Slow,
}

/// Which rate was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimit {
    /// [`Rates::messages`] of the connection.
    Messages,
    /// [`Rates::bytes`] of the connection.
    Bytes,
    /// [`Rates::messages`] of a [`SharedMeter`].
    SharedMessages,
    /// [`Rates::bytes`] of a [`SharedMeter`].
    SharedBytes,
}

impl Rates {
    /// Is there no limit?
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.messages.per_second == 0 && self.bytes.per_second == 0
    }
}

impl RatePolicy {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::Close, Self::Slow];

    /// A short name for options and metrics, such as `close`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Slow => "slow",
        }
    }
}

impl RateLimit {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [
        Self::Messages,
        Self::Bytes,
        Self::SharedMessages,
        Self::SharedBytes,
    ];

    /// A short name for metrics, such as `messages`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::SharedMessages => "shared_messages",
            Self::SharedBytes => "shared_bytes",
        }
    }

    /// What a peer is told that is closed for it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Messages => "too many messages in too short a time",
            Self::Bytes => "too many bytes in too short a time",
            Self::SharedMessages => "too many messages of all your connections in too short a time",
            Self::SharedBytes => "too many bytes of all your connections in too short a time",
        }
    }
}

/// A rate as it is reckoned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// 0 is no limit.
    per_second: u64,
    /// The time in which an empty bucket becomes full.
    depth: u64,
}

impl Pace {
    pub(crate) fn new(rate: Rate, policy: RatePolicy) -> Self {
        let per_second = u64::from(rate.per_second);
        let burst = match rate.burst {
            0 => per_second,
            burst => burst.into(),
        };
        let mut pace = Self {
            per_second,
            depth: 0,
        };
        if per_second != 0 {
            // One at a time may be so many: the sum of their costs is rounded, too.
            pace.depth = (pace.cost(1) * burst).max(pace.cost(burst));
        }
        if policy == RatePolicy::Slow {
            pace.depth = pace.depth.max(nanos(SLOW_DEPTH_MIN));
        }
        pace
    }

    pub(crate) const fn is_off(self) -> bool {
        self.per_second == 0
    }

    /// The time in which so many tokens come. Rounded down: a millionth is given away, none is owed.
    const fn cost(self, count: u64) -> u64 {
        count.saturating_mul(SECOND) / self.per_second
    }

    /// Takes so many tokens, if they are there.
    fn take(self, full_at: u64, now: u64, count: u64) -> Option<u64> {
        let next = full_at.max(now).saturating_add(self.cost(count));
        (next <= now + self.depth).then_some(next)
    }

    /// Takes so many tokens, and owes what is not there.
    fn owe(self, full_at: u64, now: u64, count: u64) -> u64 {
        let next = full_at.max(now).saturating_add(self.cost(count));
        next.min(now + self.depth + nanos(DEBT_MAX))
    }

    /// How long until there is a token; 0 when there is one.
    fn wait(self, full_at: u64, now: u64) -> u64 {
        let due = full_at.saturating_add(self.cost(1));
        due.saturating_sub(now + self.depth)
    }
}

/// The rates of a connection, or of some together, as they are reckoned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paces {
    pub(crate) messages: Pace,
    pub(crate) bytes: Pace,
    pub(crate) policy: RatePolicy,
}

impl Paces {
    pub(crate) fn new(rates: &Rates) -> Self {
        Self {
            messages: Pace::new(rates.messages, rates.policy),
            bytes: Pace::new(rates.bytes, rates.policy),
            policy: rates.policy,
        }
    }

    pub(crate) const fn is_off(&self) -> bool {
        self.messages.is_off() && self.bytes.is_off()
    }
}

/// When the buckets of one connection will be full, in nanoseconds since its shard began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buckets {
    messages: u64,
    bytes: u64,
}

const _: () = assert!(size_of::<Buckets>() <= 16, "there may be a million");

impl Buckets {
    /// Takes tokens. `false`: they are not there, and who is over is to be closed.
    pub(crate) fn take(&mut self, paces: &Paces, now: u64, what: What, count: u64) -> bool {
        let (full_at, pace) = match what {
            What::Messages => (&mut self.messages, paces.messages),
            What::Bytes => (&mut self.bytes, paces.bytes),
        };
        if pace.is_off() {
            return true;
        }
        let next = match paces.policy {
            RatePolicy::Close => pace.take(*full_at, now, count),
            RatePolicy::Slow => Some(pace.owe(*full_at, now, count)),
        };
        *full_at = next.unwrap_or(*full_at);
        next.is_some()
    }

    /// How long until it may say more, and which of the two makes it wait; `None` if it may now.
    pub(crate) fn wait(&self, paces: &Paces, now: u64) -> Option<(What, u64)> {
        longest(
            [
                (What::Messages, paces.messages, self.messages),
                (What::Bytes, paces.bytes, self.bytes),
            ]
            .map(|(what, pace, full_at)| (what, pace, full_at, now)),
        )
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Messages,
    Bytes,
}

fn longest(both: [(What, Pace, u64, u64); 2]) -> Option<(What, u64)> {
    let waits = both.into_iter().map(|(what, pace, full_at, now)| {
        let off = pace.is_off();
        (what, if off { 0 } else { pace.wait(full_at, now) })
    });
    waits
        .max_by_key(|(_, wait)| *wait)
        .filter(|(_, wait)| *wait > 0)
}

/// Rates that some connections have together, such as all of one user, on whichever shard they are:
/// given to each as [`crate::Upgrade::meter`]. Nobody waits for anybody: each bucket is one number.
#[derive(Debug)]
pub struct SharedMeter {
    paces: Paces,
    start: Instant,
    /// When they will be full, in nanoseconds since the start.
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl SharedMeter {
    /// Full buckets. `now` is any moment that is not after the first use.
    #[must_use]
    pub fn new(rates: &Rates, now: Instant) -> Self {
        Self {
            paces: Paces::new(rates),
            start: now,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn policy(&self) -> RatePolicy {
        self.paces.policy
    }

    /// Takes tokens. `false`: they are not there, and who is over is to be closed.
    pub(crate) fn take(&self, now: Instant, what: What, count: u64) -> bool {
        let now = self.nanos_at(now);
        let (full_at, pace) = match what {
            What::Messages => (&self.messages, self.paces.messages),
            What::Bytes => (&self.bytes, self.paces.bytes),
        };
        if pace.is_off() {
            return true;
        }
        let taken =
            full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                match self.paces.policy {
                    RatePolicy::Close => pace.take(full_at, now, count),
                    RatePolicy::Slow => Some(pace.owe(full_at, now, count)),
                }
            });
        taken.is_ok()
    }

    /// How long until there are tokens, and which make it wait; `None` if there are.
    pub(crate) fn wait(&self, now: Instant) -> Option<(What, u64)> {
        let now = self.nanos_at(now);
        let (messages, bytes) = (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        );
        longest([
            (What::Messages, self.paces.messages, messages, now),
            (What::Bytes, self.paces.bytes, bytes, now),
        ])
    }

    fn nanos_at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}

/// 584 years fit.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
