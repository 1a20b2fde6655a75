//! Watches what the shards count, and writes down how connections ended: on a thread of its own, which
//! asks a shard only when its numbers say that there is something to be told.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tidegate_engine::{CloseCode, Closed, Handle, Phase, Snapshot};
use tracing::Level;

use super::sampler::Sampler;
use super::{Closes, Log, Record};
use crate::live::Live;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A shard that has not answered within this is asked again at the next look.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What goes on being wrong is told so often.
const REPEAT_EVERY: Duration = Duration::from_secs(10);

/// The reasons of [`tidegate_engine::EndReason`] for which somebody should look: the peer broke a
/// rule, or did not keep up, or did not say goodbye when it was told to go.
const ANOMALIES: [&str; 8] = [
    "protocol_error",
    "invalid_utf8",
    "invalid_deflate",
    "too_big",
    "slow_consumer",
    "send_timeout",
    "message_timeout",
    "close_timeout",
];

/// A number of the shards that should not grow.
struct Trouble {
    line: &'static str,
    count: fn(&Snapshot) -> u64,
}

const TROUBLES: [Trouble; 3] = [
    Trouble {
        line: "the kernel could not accept: mostly for lack of open files",
        count: |counted| counted.accept_failures,
    },
    Trouble {
        line: "connections took more than 10 s to end",
        count: |counted| counted.late_closes,
    },
    Trouble {
        line: "publications were refused, since another shard did not keep up",
        count: |counted| counted.mail_refused,
    },
];

/// What the thread knows.
struct News {
    handle: Handle,
    live: Arc<Live>,
    log: Log,
    /// Of each shard: how many ends it had counted, and which one is next.
    seen: Vec<u64>,
    next: Vec<u64>,
    sampler: Sampler,
    /// Of each trouble: what has been told, and when.
    told: HashMap<&'static str, (u64, Instant)>,
}

/// Watches until the process ends.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn watch(handle: Handle, live: Arc<Live>, log: Log) -> io::Result<()> {
    let shards = handle.counters().len();
    let mut news = News {
        handle,
        live,
        log,
        seen: vec![0; shards],
        next: vec![0; shards],
        sampler: Sampler::default(),
        told: HashMap::new(),
    };
    let body = move || {
        let (_kept, nothing) = channel::<()>();
        loop {
            let _ = nothing.recv_timeout(LOOK_EVERY);
            news.look(now());
        }
    };
    Builder::new()
        .name("tidegate-news".to_owned())
        .spawn(body)?;
    Ok(())
}

impl News {
    fn look(&mut self, now: Instant) {
        let counters = self.handle.counters();
        for trouble in &TROUBLES {
            self.tell_trouble(trouble, counters.iter().map(trouble.count).sum(), now);
        }
        for (name, count) in self.sampler.unwritten(now) {
            let record = Record::new(
                Level::INFO,
                "log",
                "further lines of this kind were left out",
            )
            .with("reason", name)
            .with("lines", count);
            self.log.write(vec![record]);
        }
        let ended = |counted: &Snapshot| -> u64 {
            let closes = counted.closes().map(|(_, count)| count);
            closes
                .chain(counted.refusals().map(|(_, count)| count))
                .sum()
        };
        let ended: Vec<u64> = counters.iter().map(ended).collect();
        if ended != self.seen {
            self.tell_ends(now);
            self.seen = ended;
        }
    }

    fn tell_trouble(&mut self, trouble: &Trouble, count: u64, now: Instant) {
        let known = self.told.get(trouble.line).copied();
        let (before, is_due) = match known {
            None => (0, true),
            Some((before, at)) => (before, now.saturating_duration_since(at) >= REPEAT_EVERY),
        };
        if count > before && is_due {
            self.told.insert(trouble.line, (count, now));
            let record = Record::new(Level::WARN, "shard", trouble.line);
            self.log.write(vec![record.with("times", count - before)]);
        }
    }

    fn tell_ends(&mut self, now: Instant) {
        let closes = closes(&self.live);
        for (shard, ends) in self
            .handle
            .ends(&self.next, ASK_TIMEOUT)
            .into_iter()
            .enumerate()
        {
            // One that has not answered is asked for the same again.
            let Some(ends) = ends else { continue };
            self.next[shard] = ends.next;
            self.log.count_dropped(ends.missed);
            let records = ends.records.iter().filter_map(|closed| {
                let wanted = match (closed.phase, closes) {
                    (Phase::Handshake, _) => self.sampler.admits(closed.reason, now),
                    (_, Closes::None) => false,
                    (_, Closes::All) => true,
                    (_, Closes::Anomalies) => {
                        ANOMALIES.contains(&closed.reason)
                            && self.sampler.admits(closed.reason, now)
                    }
                };
                wanted.then(|| record(shard, closed))
            });
            let records: Vec<Record> = records.collect();
            for some in records.chunks(RECORDS_TOGETHER) {
                self.log.write(some.to_vec());
            }
        }
    }
}

/// So many ends are one piece of news for the queue.
const RECORDS_TOGETHER: usize = 64;

fn closes(live: &Live) -> Closes {
    let configuration = live.configuration();
    let word = configuration.values.choice("log.closes");
    Closes::from_str(word, false).expect("a test has read each word of the schema")
}

fn record(shard: usize, closed: &Closed) -> Record {
    let (level, target, what) = match (closed.phase, closed.reason) {
        // A probe of a load balancer that only connects, mostly.
        (Phase::Handshake, "gone") => (Level::DEBUG, "handshake", "handshake not begun"),
        (Phase::Handshake, _) => (Level::INFO, "handshake", "handshake refused"),
        _ => (Level::INFO, "close", "closed"),
    };
    let error = closed
        .errno
        .map(|errno| io::Error::from_raw_os_error(errno).to_string());
    let mut record = Record::new(level, target, &format!("{what}: {}", closed.reason))
        .with("core", shard)
        .with("conn_id", closed.id.to_string())
        .with("remote_addr", closed.peer.to_string())
        .with("reason", closed.reason)
        .with("side", closed.side.name())
        .with_some("close_code", closed.code.map(CloseCode::value))
        .with("duration_s", closed.age.as_secs_f64())
        .with_some(
            "round_trip_s",
            closed.round_trip.map(|span| span.as_secs_f64()),
        )
        .with("messages_in", u64::from(closed.messages_received))
        .with("messages_out", u64::from(closed.messages_sent))
        .with_some("bytes_in", closed.traffic.map(|traffic| traffic.received))
        .with_some(
            "bytes_out",
            closed.traffic.map(|traffic| traffic.acknowledged),
        )
        .with_some(
            "size_b",
            (closed.outbox_bytes > 0).then_some(closed.outbox_bytes),
        )
        .with_some(
            "dropped",
            (closed.dropped > 0).then_some(u64::from(closed.dropped)),
        )
        .with_some("error", error);
    // It is told a moment later.
    record.at -= closed.at.elapsed();
    record
}

#[expect(
    clippy::disallowed_methods,
    reason = "how often a line is repeated; nothing of a connection is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use tidegate_engine::EndReason;

    use super::*;

    #[test]
    fn every_anomaly_is_a_reason() {
        for name in ANOMALIES {
            assert!(
                EndReason::ALL.iter().any(|reason| reason.name() == name),
                "{name}"
            );
        }
    }
}
