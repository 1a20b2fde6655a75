//! What is counted: by a worker of its connections, by a load of its messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::slices::Slices;

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
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Connections {
    /// Got their 101.
    pub opened: u64,
    /// Did not, and why.
    pub failures: Causes,
    /// Ended before their time, and why.
    pub losses: Causes,
    /// Connects that failed and are tried again (`storm`), and why.
    pub failed_tries: Causes,
    /// Ended as was to be expected of the load, and why.
    pub expected_losses: Causes,
    /// Close frames of ours that got no answer.
    pub unanswered_closes: u64,
    /// CPU time of the busiest thread while it was counted, by wall-clock time: 1 is one core.
    pub busiest: f64,
    /// Pings of the server's, each answered.
    pub pings: u64,
    /// From the connect to the 101.
    pub latency: Latency,
}

/// Of a load's messages.
#[derive(Debug, Default, Serialize, Deserialize)]
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
    /// How far behind its time this client began each send of an open loop. What the server
    /// delays, by not reading, is not in it.
    pub lateness: Latency,
    /// The latencies and messages, one time after the other.
    pub slices: Slices,
    /// Of `idle`.
    pub idle: IdleTally,
    /// Of `storm`.
    pub storm: StormTally,
    /// Of `churn`, and of that part of `mixed`.
    pub churn: ChurnTally,
    /// Of `slow`: how many stopped reading.
    pub slow: u64,
    /// How long counting took, where a number of messages decides.
    pub taken: Duration,
    /// What went wrong.
    pub errors: Errors,
}

/// What `idle` has found out about its connections.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct IdleTally {
    /// Connections that had to prove that they live.
    pub proving: u64,
    /// Pings sent once all were open.
    pub pinged: u64,
    /// Those that got their pong.
    pub ponged: u64,
    /// Messages sent once all were open.
    pub said: u64,
    /// Those that came back as they were.
    pub echoed: u64,
    /// Connections that had to hear what was published.
    pub hearing: u64,
    /// Connections that have heard as many messages as were to be expected.
    pub heard: u64,
    /// When the first and the last of those messages came, since the hold began, in
    /// nanoseconds.
    pub first_and_last: Option<(u64, u64)>,
}

impl IdleTally {
    fn add(&mut self, other: &Self) {
        self.proving += other.proving;
        self.hearing += other.hearing;
        self.pinged += other.pinged;
        self.ponged += other.ponged;
        self.said += other.said;
        self.echoed += other.echoed;
        self.heard += other.heard;
        self.first_and_last = match (self.first_and_last, other.first_and_last) {
            (Some((first, last)), Some((one, other))) => Some((first.min(one), last.max(other))),
            (one, other) => one.or(other),
        };
    }
}

/// What became of the clients of a storm.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StormTally {
    /// Lost their connection.
    pub dropped: u64,
    /// From the beginning of the storm to the 101, of those that came back.
    pub back: Latency,
    /// How many tries those needed.
    pub tries: BTreeMap<u32, u64>,
    /// Gave up.
    pub failed: u64,
    /// Had neither come back nor given up at the end.
    pub underway: u64,
}

impl StormTally {
    fn add(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.back.add(&other.back);
        for (tries, count) in &other.tries {
            *self.tries.entry(*tries).or_default() += count;
        }
        self.failed += other.failed;
        self.underway += other.underway;
    }
}

/// What `churn` has done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChurnTally {
    /// Closes with the connect that followed, within the window.
    pub turns: u64,
    /// From the time of the close to the 101.
    pub latency: Latency,
    /// How far behind its time this client began each close.
    pub lateness: Latency,
    /// Turns in the whole run.
    pub turns_in_all: u64,
    /// Begun and not ended when the run was.
    pub unfinished: u64,
}

impl ChurnTally {
    fn add(&mut self, other: &Self) {
        self.turns += other.turns;
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        self.turns_in_all += other.turns_in_all;
        self.unfinished += other.unfinished;
    }
}

/// What must not happen to a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Closes of `churn` that led to no new connection.
    pub unfinished_turns: u64,
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
            unfinished_turns,
        } = *self;
        mismatched + lost + doubled + reordered + unanswered_closes + unfinished_turns
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
        self.busiest = self.busiest.max(other.busiest);
        add_causes(&mut self.failures, other.failures);
        add_causes(&mut self.losses, other.losses);
        add_causes(&mut self.failed_tries, other.failed_tries);
        add_causes(&mut self.expected_losses, other.expected_losses);
    }
}

impl Messages {
    /// Counts messages that came now.
    pub fn count(&mut self, window: Window, now: Instant, messages: u64, size: usize) {
        if window.counts(now) {
            self.counted += messages;
            self.counted_bytes += messages * size as u64;
            self.slices.count(window, now, messages);
        }
    }

    /// Counts the latency of messages that were sent, or should have been, at `meant`.
    pub fn time(&mut self, window: Window, meant: Instant, now: Instant, messages: u64) {
        if window.counts(meant) {
            let latency = now.saturating_duration_since(meant);
            self.latency.record_many(latency, messages);
            self.slices.record(window, meant, latency, messages);
        }
    }

    /// Counts how late this client is with a send.
    pub fn note_lateness(&mut self, window: Window, meant: Instant, now: Instant) {
        if window.counts(meant) {
            self.lateness.record(now.saturating_duration_since(meant));
        }
    }

    /// Takes over what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.expected += other.expected;
        self.counted += other.counted;
        self.counted_bytes += other.counted_bytes;
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        self.slices.add(&other.slices);
        self.idle.add(&other.idle);
        self.storm.add(&other.storm);
        self.churn.add(&other.churn);
        self.slow += other.slow;
        self.taken = self.taken.max(other.taken);
        self.errors.mismatched += other.errors.mismatched;
        self.errors.lost += other.errors.lost;
        self.errors.doubled += other.errors.doubled;
        self.errors.reordered += other.errors.reordered;
        self.errors.unanswered_closes += other.errors.unanswered_closes;
        self.errors.unfinished_turns += other.errors.unfinished_turns;
    }
}
