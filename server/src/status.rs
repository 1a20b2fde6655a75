//! Everything about a running server that is cheap to know, in one piece: what `GET /status` says and
//! `tidegate top` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_engine::{ROUND_TRIP_STEPS, RoundTrips, ShardInfo, Snapshot};

use crate::admin::Admin;
use crate::config::Configuration;
use crate::phase::Phase;
use crate::process::{self, Process};

/// The server as it is now. Numbers without another unit in their names are counts; those that are
/// not said to be of now only grow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    /// `starting`, `ready` or `draining`.
    pub(crate) phase: String,
    /// By a clock that never leaps: the difference of two is the time between two answers.
    pub(crate) uptime_seconds: f64,
    pub(crate) config: ConfigStatus,
    pub(crate) process: ProcessStatus,
    pub(crate) shards: Vec<ShardStatus>,
    /// WebSockets that ended, by reason.
    pub(crate) closes: BTreeMap<String, u64>,
    /// Handshakes that were refused or failed, by cause.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Publications that were dropped, by policy.
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) round_trips: RoundTripStatus,
    pub(crate) log_lines_dropped: u64,
}

/// What holds, and since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    pub(crate) file: Option<String>,
    /// In seconds since 1970.
    pub(crate) taken_at_seconds: u64,
    pub(crate) last_reload_successful: bool,
}

/// What the system knows of the process; `null` where it does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessStatus {
    pub(crate) id: u32,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) max_files: Option<u64>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardStatus {
    pub(crate) shard: usize,
    /// The core that it is pinned to.
    pub(crate) core: Option<usize>,
    /// Now.
    pub(crate) connections: u64,
    /// Now.
    pub(crate) sessions: u64,
    /// Now.
    pub(crate) topics: u64,
    /// Now: for whom something waits.
    pub(crate) behind: u64,
    pub(crate) accepted: u64,
    pub(crate) opens: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) publications: u64,
    pub(crate) mail_sent: u64,
    pub(crate) mail_refused: u64,
    pub(crate) accept_failures: u64,
    pub(crate) turns: u64,
    /// Processor time of its thread.
    pub(crate) cpu_seconds: Option<f64>,
}

/// How long answers to pings took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoundTripStatus {
    /// Up to how many seconds those of each step took; the last step has no end.
    pub(crate) steps_seconds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
    pub(crate) sum_seconds: f64,
}

impl Status {
    pub(crate) fn of(admin: &Admin) -> Self {
        let counters = admin.handle.counters();
        let outcomes = admin.reloader.outcomes();
        let configuration = admin.reloader.live().configuration();
        let phase = match admin.phase.now() {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: phase.to_owned(),
            uptime_seconds: admin.started.elapsed().as_secs_f64(),
            config: ConfigStatus {
                file: configuration
                    .file
                    .as_ref()
                    .map(|path| path.display().to_string()),
                taken_at_seconds: outcomes.taken_at,
                last_reload_successful: outcomes.last_succeeded,
            },
            process: ProcessStatus::of(admin, &configuration),
            shards: admin
                .shards
                .iter()
                .zip(&counters)
                .map(ShardStatus::of)
                .collect(),
            closes: sum(&counters, |one| {
                one.closes()
                    .map(|(reason, count)| (reason.name(), count))
                    .collect()
            }),
            refusals: sum(&counters, |one| one.refusals().collect()),
            dropped: sum(&counters, |one| {
                one.drops()
                    .map(|(policy, count)| (policy.name(), count))
                    .collect()
            }),
            round_trips: RoundTripStatus::of(&counters),
            log_lines_dropped: admin.log.counts().dropped,
        }
    }
}

/// Of all shards together, by name.
fn sum(
    counters: &[Snapshot],
    of: impl Fn(&Snapshot) -> Vec<(&'static str, u64)>,
) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, count) in counters.iter().flat_map(of) {
        *sums.entry(name.to_owned()).or_insert(0) += count;
    }
    sums
}

impl ProcessStatus {
    fn of(admin: &Admin, configuration: &Configuration) -> Self {
        let process = Process::read();
        Self {
            id: std::process::id(),
            cpu_seconds: process.map(|process| process.cpu_seconds),
            resident_bytes: process.map(|process| process.resident_bytes),
            open_files: process::open_files(&tables(&admin.shards, configuration)),
            max_files: (admin.files_max != u64::MAX).then_some(admin.files_max),
        }
    }
}

/// Where the system lists the open files: of the process, or of each shard that has a table of its own.
pub(crate) fn tables(shards: &[ShardInfo], configuration: &Configuration) -> Vec<String> {
    if configuration.values.choice("server.descriptors") == "shard" {
        let own = |shard: &ShardInfo| format!("/proc/self/task/{}/fd", shard.thread_id);
        return shards.iter().map(own).collect();
    }
    vec!["/proc/self/fd".to_owned()]
}

impl ShardStatus {
    fn of((info, counted): (&ShardInfo, &Snapshot)) -> Self {
        Self {
            shard: info.index,
            core: info.core.filter(|_| info.pinned),
            connections: counted.connections,
            sessions: counted.sessions,
            topics: counted.topics,
            behind: counted.behind,
            accepted: counted.accepted,
            opens: counted.opens,
            messages_in: counted.messages_in,
            messages_out: counted.messages_out,
            bytes_in: counted.bytes_in,
            bytes_out: counted.bytes_out,
            publications: counted.publications,
            mail_sent: counted.mail_sent,
            mail_refused: counted.mail_refused,
            accept_failures: counted.accept_failures,
            turns: counted.turns,
            cpu_seconds: process::thread_seconds(info.thread_id),
        }
    }
}

/// Of all shards together.
pub(crate) fn round_trips(counters: &[Snapshot]) -> RoundTrips {
    let mut sum = RoundTrips::default();
    for RoundTrips { counts, micros } in counters.iter().map(|one| one.round_trips) {
        sum.counts
            .iter_mut()
            .zip(counts)
            .for_each(|(to, count)| *to += count);
        sum.micros += micros;
    }
    sum
}

/// Up to how many seconds the round trips of each step took.
pub(crate) fn round_trip_steps() -> impl Iterator<Item = f64> {
    ROUND_TRIP_STEPS
        .iter()
        .map(|micros| f64::from(*micros) / 1e6)
}

impl RoundTripStatus {
    fn of(counters: &[Snapshot]) -> Self {
        let RoundTrips { counts, micros } = round_trips(counters);
        Self {
            steps_seconds: round_trip_steps().collect(),
            counts: counts.to_vec(),
            sum_seconds: seconds(micros),
        }
    }
}

/// Microseconds in seconds.
pub(crate) fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
