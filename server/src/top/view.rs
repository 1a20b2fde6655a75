//! What has happened between two samples, as it is shown; as JSON its names are the documented ones.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sample::{Connection, Ended, Sample, Sort, Topic};
use crate::ask::AdminPlace;
use crate::status::{RoundTripStatus, ShardStatus};

/// Everything that is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct View {
    pub(super) server: ServerView,
    pub(super) total: Load,
    pub(super) shards: Vec<Load>,
    pub(super) topics: Vec<Topic>,
    /// By what the connections are ranked.
    pub(super) sort: Sort,
    pub(super) slow: Vec<Connection>,
    /// Those with the most messages both ways.
    pub(super) hot: Vec<Connection>,
    /// Why WebSockets ended, those with the most first.
    pub(super) closes: Vec<Count>,
    /// Why handshakes were refused.
    pub(super) refusals: Vec<Count>,
    /// What was dropped, by policy.
    pub(super) dropped: Vec<Count>,
    pub(super) last_ends: Vec<Ended>,
}

/// The server as a whole.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ServerView {
    pub(super) admin: String,
    pub(super) version: String,
    pub(super) phase: String,
    pub(super) uptime_seconds: f64,
    pub(super) config_file: Option<String>,
    pub(super) config_taken_at_seconds: u64,
    pub(super) config_last_reload_successful: bool,
    pub(super) cpu_cores: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) max_files: Option<u64>,
    /// Of the round trips since the sample before, or of all where there were none.
    pub(super) round_trip_p50_seconds: Option<f64>,
    pub(super) round_trip_p99_seconds: Option<f64>,
    pub(super) log_lines_dropped: u64,
    /// What the rates are taken over.
    pub(super) seconds: f64,
}

/// What a shard does, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Load {
    /// `null` for all.
    pub(super) shard: Option<usize>,
    pub(super) core: Option<usize>,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    pub(super) topics: u64,
    pub(super) behind: u64,
    pub(super) opens_per_second: f64,
    pub(super) messages_in_per_second: f64,
    pub(super) messages_out_per_second: f64,
    pub(super) bytes_in_per_second: f64,
    pub(super) bytes_out_per_second: f64,
    pub(super) mail_per_second: f64,
    pub(super) mail_refused: u64,
    pub(super) accept_failures: u64,
    pub(super) turns_per_second: f64,
    /// How much of a core; of all shards together, of their number of cores.
    pub(super) busy_ratio: Option<f64>,
}

/// How often something has happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Count {
    pub(super) name: String,
    pub(super) total: u64,
    pub(super) per_second: f64,
}

impl View {
    pub(super) fn of(now: &Sample, before: &Sample, place: &AdminPlace) -> Self {
        let (new, old) = (&now.status, &before.status);
        let seconds = new.uptime_seconds - old.uptime_seconds;
        // A server that was started anew counts from nothing.
        let restarted = seconds < 0.0;
        let seconds = if restarted {
            new.uptime_seconds
        } else {
            seconds
        };
        let rate = Rate { seconds, restarted };
        let shards: Vec<Load> = (new.shards.iter())
            .map(|shard| {
                let old = old.shards.iter().find(|old| old.shard == shard.shard);
                Load::of(shard, old, rate)
            })
            .collect();
        let cpu = new.process.cpu_seconds.zip(old.process.cpu_seconds);
        let trips = trips(&new.round_trips, &old.round_trips, restarted);
        Self {
            server: ServerView {
                admin: place.to_string(),
                version: new.version.clone(),
                phase: new.phase.clone(),
                uptime_seconds: new.uptime_seconds,
                config_file: new.config.file.clone(),
                config_taken_at_seconds: new.config.taken_at_seconds,
                config_last_reload_successful: new.config.last_reload_successful,
                cpu_cores: cpu.map(|(new, old)| rate.of_seconds(new, old)),
                resident_bytes: new.process.resident_bytes,
                open_files: new.process.open_files,
                max_files: new.process.max_files,
                round_trip_p50_seconds: quantile(&trips, 0.5),
                round_trip_p99_seconds: quantile(&trips, 0.99),
                log_lines_dropped: new.log_lines_dropped,
                seconds,
            },
            total: Load::sum(&shards),
            shards,
            topics: now.topics.clone(),
            sort: now.sort,
            slow: now.slow.clone(),
            hot: now.hot.clone(),
            closes: counts(&new.closes, &old.closes, rate),
            refusals: counts(&new.refusals, &old.refusals, rate),
            dropped: counts(&new.dropped, &old.dropped, rate),
            last_ends: now.ends.clone(),
        }
    }
}

/// What makes a number by the second of two counts.
#[derive(Debug, Clone, Copy)]
struct Rate {
    seconds: f64,
    restarted: bool,
}

impl Rate {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown to three digits"
    )]
    fn of(self, new: u64, old: u64) -> f64 {
        let old = if self.restarted { 0 } else { old };
        self.of_seconds(new.saturating_sub(old) as f64, 0.0)
    }

    fn of_seconds(self, new: f64, old: f64) -> f64 {
        let old = if self.restarted { 0.0 } else { old };
        if self.seconds > 0.0 {
            (new - old).max(0.0) / self.seconds
        } else {
            0.0
        }
    }
}

impl Load {
    fn of(new: &ShardStatus, old: Option<&ShardStatus>, rate: Rate) -> Self {
        let rate_of = |of: fn(&ShardStatus) -> u64| rate.of(of(new), old.map_or(0, of));
        let cpu = new.cpu_seconds.zip(old.and_then(|old| old.cpu_seconds));
        Self {
            shard: Some(new.shard),
            core: new.core,
            connections: new.connections,
            sessions: new.sessions,
            topics: new.topics,
            behind: new.behind,
            opens_per_second: rate_of(|shard| shard.opens),
            messages_in_per_second: rate_of(|shard| shard.messages_in),
            messages_out_per_second: rate_of(|shard| shard.messages_out),
            bytes_in_per_second: rate_of(|shard| shard.bytes_in),
            bytes_out_per_second: rate_of(|shard| shard.bytes_out),
            mail_per_second: rate_of(|shard| shard.mail_sent),
            mail_refused: new.mail_refused,
            accept_failures: new.accept_failures,
            turns_per_second: rate_of(|shard| shard.turns),
            busy_ratio: cpu.map(|(new, old)| rate.of_seconds(new, old)),
        }
    }

    fn sum(shards: &[Self]) -> Self {
        let mut sum = Self::default();
        for one in shards {
            sum.connections += one.connections;
            sum.sessions += one.sessions;
            sum.topics += one.topics;
            sum.behind += one.behind;
            sum.opens_per_second += one.opens_per_second;
            sum.messages_in_per_second += one.messages_in_per_second;
            sum.messages_out_per_second += one.messages_out_per_second;
            sum.bytes_in_per_second += one.bytes_in_per_second;
            sum.bytes_out_per_second += one.bytes_out_per_second;
            sum.mail_per_second += one.mail_per_second;
            sum.mail_refused += one.mail_refused;
            sum.accept_failures += one.accept_failures;
            sum.turns_per_second += one.turns_per_second;
            let busy = one.busy_ratio.unwrap_or_default();
            sum.busy_ratio = Some(sum.busy_ratio.unwrap_or_default() + busy);
        }
        sum
    }
}

fn counts(new: &BTreeMap<String, u64>, old: &BTreeMap<String, u64>, rate: Rate) -> Vec<Count> {
    let mut counts: Vec<Count> = (new.iter())
        .filter(|(_, total)| **total > 0)
        .map(|(name, total)| Count {
            name: name.clone(),
            total: *total,
            per_second: rate.of(*total, old.get(name).copied().unwrap_or_default()),
        })
        .collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.total));
    counts
}

/// Those since the sample before, or all of them where there were none since.
fn trips(new: &RoundTripStatus, old: &RoundTripStatus, restarted: bool) -> RoundTripStatus {
    let pairs = new.counts.iter().zip(&old.counts);
    let since: Vec<u64> = pairs.map(|(new, old)| new.saturating_sub(*old)).collect();
    let counts = if restarted || since.iter().sum::<u64>() == 0 {
        new.counts.clone()
    } else {
        since
    };
    RoundTripStatus {
        counts,
        ..new.clone()
    }
}

/// The end of the step in which this part of all has come; of the last step, its beginning.
fn quantile(trips: &RoundTripStatus, part: f64) -> Option<f64> {
    let all: u64 = trips.counts.iter().sum();
    if all == 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of pings are far below 2^52"
    )]
    let wanted = all as f64 * part;
    let mut so_far = 0;
    for (count, end) in trips.counts.iter().zip(&trips.steps_seconds) {
        so_far += count;
        #[expect(clippy::cast_precision_loss, reason = "the same")]
        if so_far as f64 >= wanted {
            return Some(*end);
        }
    }
    trips.steps_seconds.last().copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::status::{ConfigStatus, ProcessStatus, Status};

    /// A server that has been up for so long and has done everything so often.
    pub(crate) fn sample(uptime_seconds: f64, count: u64) -> Sample {
        let name = "caf\u{e9}\u{1b}[31m".to_owned();
        Sample {
            status: status(uptime_seconds, count),
            topics: vec![Topic {
                name: name.clone(),
                subscribers: 9,
            }],
            sort: Sort::Outbox,
            slow: vec![connection(&name)],
            hot: vec![connection(&name)],
            ends: vec![Ended {
                id: "0000000000000002".to_owned(),
                peer: "127.0.0.1:4712".to_owned(),
                seconds_ago: 2.5,
                side: "peer".to_owned(),
                phase: "open".to_owned(),
                reason: "reset".to_owned(),
                code: None,
                age_seconds: 10.0,
            }],
        }
    }

    fn connection(topic: &str) -> Connection {
        Connection {
            id: "0000000000000001".to_owned(),
            peer: "127.0.0.1:4711".to_owned(),
            endpoint: format!("topic/{topic}"),
            phase: "open".to_owned(),
            age_seconds: 75.0,
            quiet_seconds: 1.0,
            round_trip_seconds: Some(0.0123),
            messages_per_second: 1234.5,
            bytes_received: Some(5_000),
            bytes_acknowledged: None,
            outbox_bytes: 70_000,
            dropped_messages: 3,
        }
    }

    fn status(uptime_seconds: f64, count: u64) -> Status {
        let shard = |shard| ShardStatus {
            shard,
            core: Some(shard),
            connections: 7,
            sessions: 6,
            topics: 5,
            behind: 1,
            accepted: count,
            opens: count,
            messages_in: count,
            messages_out: 2 * count,
            bytes_in: 10 * count,
            bytes_out: 20 * count,
            publications: count,
            mail_sent: count,
            mail_refused: 3,
            accept_failures: 4,
            turns: count,
            cpu_seconds: Some(uptime_seconds / 4.0),
        };
        Status {
            version: "0.1.0".to_owned(),
            phase: "ready".to_owned(),
            uptime_seconds,
            config: ConfigStatus {
                file: None,
                taken_at_seconds: 1,
                last_reload_successful: true,
            },
            process: ProcessStatus {
                id: 1,
                cpu_seconds: Some(uptime_seconds / 2.0),
                resident_bytes: Some(1 << 20),
                open_files: Some(30),
                max_files: None,
            },
            shards: vec![shard(0), shard(1)],
            closes: [("reset".to_owned(), count), ("idle".to_owned(), 2 * count)].into(),
            refusals: BTreeMap::new(),
            dropped: [("latest".to_owned(), 0)].into(),
            round_trips: RoundTripStatus {
                steps_seconds: vec![0.001, 0.01],
                counts: vec![99 * count, count, 0],
                sum_seconds: 1.0,
            },
            log_lines_dropped: 0,
        }
    }

    pub(crate) fn view(now: &Sample, before: &Sample) -> View {
        View::of(now, before, &"127.0.0.1:9090".parse().unwrap())
    }

    fn is(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() < 1e-9
    }

    #[test]
    fn rates_are_taken_over_the_servers_own_time() {
        let view = view(&sample(12.0, 300), &sample(10.0, 100));
        assert!(is(view.server.seconds, 2.0));
        assert!(is(view.shards[1].messages_in_per_second, 100.0));
        assert!(is(view.total.messages_out_per_second, 400.0));
        assert!(is(view.total.busy_ratio.unwrap(), 0.5));
        assert!(is(view.server.cpu_cores.unwrap(), 0.5));
        assert_eq!((view.total.connections, view.total.mail_refused), (14, 6));
        let names: Vec<_> = view
            .closes
            .iter()
            .map(|count| count.name.as_str())
            .collect();
        assert_eq!(names, ["idle", "reset"], "the most first");
        assert!(is(view.closes[0].per_second, 200.0));
        assert!(view.dropped.is_empty());
    }

    #[test]
    fn a_server_that_was_started_anew_counts_from_nothing() {
        let later = view(&sample(4.0, 8), &sample(1_000.0, 5_000));
        assert!(is(later.server.seconds, 4.0));
        assert!(is(later.shards[0].messages_in_per_second, 2.0));
        assert!(is(later.total.busy_ratio.unwrap(), 0.5));
        let same = view(&sample(4.0, 8), &sample(4.0, 8));
        assert!(
            is(same.total.messages_in_per_second, 0.0),
            "no division by nothing"
        );
    }

    #[test]
    fn round_trips_are_told_by_the_ends_of_their_steps() {
        let view = view(&sample(12.0, 300), &sample(10.0, 100));
        assert_eq!(view.server.round_trip_p50_seconds, Some(0.001));
        assert_eq!(view.server.round_trip_p99_seconds, Some(0.001));
        let trips = |counts: Vec<u64>| RoundTripStatus {
            counts,
            ..sample(1.0, 1).status.round_trips
        };
        assert_eq!(quantile(&trips(vec![0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&trips(vec![0, 0, 1]), 0.5), Some(0.01));
        assert_eq!(quantile(&trips(vec![1, 99, 0]), 0.99), Some(0.01));
    }
}
