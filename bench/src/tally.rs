//! What is counted: by a worker of its connections, by a load of its messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::latency::Latency;

/// How often something happened, by its cause.
pub type Causes = BTreeMap<String, u64>;

/// The time in which messages count.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Traffic begins.
    pub start: Instant,
    /// Counting begins.
    pub from: Instant,
    /// Counting and sending end; `None` where a number of messages decides.
    pub until: Option<Instant>,
}

impl Window {
    /// Does what happens now count?
    #[must_use]
    pub fn counts(&self, now: Instant) -> bool {
        now >= self.from && !self.is_past(now)
    }

    /// Has sending ended?
    #[must_use]
    pub fn is_past(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// Of a worker's connections.
#[derive(Debug, Default)]
pub struct Connections {
    /// Got their 101.
    pub opened: u64,
    /// Did not, and why.
    pub failures: Causes,
    /// Ended before their time, and why.
    pub losses: Causes,
    /// Close frames of ours that got no answer.
    pub unanswered_closes: u64,
    /// Pings of the server's, each answered.
    pub pings: u64,
    /// From the connect to the 101.
    pub latency: Latency,
}

/// Of a load's messages.
#[derive(Debug, Default)]
pub struct Messages {
    /// Sent during the whole run.
    pub sent: u64,
    /// Received during the whole run.
    pub received: u64,
    /// Should have been received during the whole run.
    pub expected: u64,
    /// Received within the window.
    pub counted: u64,
    /// Payload bytes of those.
    pub counted_bytes: u64,
    /// Of those sent within the window.
    pub latency: Latency,
    /// How far the sends of an open loop lay behind their time.
    pub lateness: Latency,
    /// How long counting took, where a number of messages decides.
    pub taken: Duration,
    /// What went wrong.
    pub errors: Errors,
}

/// What must not happen to a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Came with other bytes, another length or another kind than it was sent with.
    pub mismatched: u64,
    /// Never came.
    pub lost: u64,
    /// Came more than once, or was never sent.
    pub doubled: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
    /// Close frames that got no answer.
    pub unanswered_closes: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let Self {
            mismatched,
            lost,
            doubled,
            reordered,
            unanswered_closes,
        } = *self;
        mismatched + lost + doubled + reordered + unanswered_closes
    }
}

/// Counts one more of this cause.
pub(crate) fn count_cause(causes: &mut Causes, cause: impl Into<String>) {
    *causes.entry(cause.into()).or_default() += 1;
}

fn add_causes(causes: &mut Causes, other: Causes) {
    for (cause, count) in other {
        *causes.entry(cause).or_default() += count;
    }
}

impl Connections {
    /// How many ended before their time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }

    /// How many were never open.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Takes over what another thread has counted.
    pub fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.unanswered_closes += other.unanswered_closes;
        self.pings += other.pings;
        self.latency.add(&other.latency);
        add_causes(&mut self.failures, other.failures);
        add_causes(&mut self.losses, other.losses);
    }
}

impl Messages {
    /// Takes over what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.expected += other.expected;
        self.counted += other.counted;
        self.counted_bytes += other.counted_bytes;
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        self.taken = self.taken.max(other.taken);
        self.errors.mismatched += other.errors.mismatched;
        self.errors.lost += other.errors.lost;
        self.errors.doubled += other.errors.doubled;
        self.errors.reordered += other.errors.reordered;
        self.errors.unanswered_closes += other.errors.unanswered_closes;
    }
}
