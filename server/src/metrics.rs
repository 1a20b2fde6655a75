//! The counters of the shards, as Prometheus reads them.
//!
//! Nothing is counted here: what the shards have counted is read when somebody asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tidegate_engine::{Handle, RateLimit, Snapshot};

use crate::admin::Admin;
use crate::admin::pass::Pass;
use crate::admission::Door;
use crate::status;

mod operators;
mod plain;
mod system;

use operators::{Operators, Tokens};

/// In which of Prometheus' formats they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The text format, version 0.0.4: for whoever does not say otherwise.
    Plain,
    /// OpenMetrics, for whoever asks for it, as Prometheus does.
    OpenMetrics,
}

impl Form {
    /// What an `Accept` header asks for.
    pub(crate) fn wanted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(admin: &Admin, pass: Arc<Pass>) -> Self {
        let mut registry = Registry::default();
        let handle = admin.handle.clone();
        let reloader = Arc::clone(&admin.reloader);
        registry.register_collector(Box::new(Server { handle }));
        registry.register_collector(Box::new(Door {
            reloader: Arc::clone(&reloader),
        }));
        let gate = Arc::clone(reloader.live().gate());
        registry.register_collector(Box::new(Tokens { gate }));
        registry.register_collector(Box::new(Operators {
            reloader,
            phase: Arc::clone(&admin.phase),
            log: admin.log.clone(),
            pass,
        }));
        system::register(&mut registry, admin);
        Self { registry }
    }

    /// The text that a scrape gets. Reads files of the system, and once a minute asks the shards.
    ///
    /// # Errors
    /// None that is known: the text is written into memory.
    pub(crate) fn encode(&self, form: Form) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(match form {
            Form::Plain => plain::of(&text),
            Form::OpenMetrics => text,
        })
    }
}

/// Writes what the shards have counted.
#[derive(Debug)]
struct Server {
    handle: Handle,
}

/// One number of each shard.
struct Metric {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    read: fn(&Snapshot) -> u64,
}

impl Metric {
    const fn counter(name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) -> Self {
        Self {
            name,
            help,
            unit: None,
            kind: MetricType::Counter,
            read,
        }
    }

    const fn bytes(name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) -> Self {
        Self {
            name,
            help,
            unit: Some(Unit::Bytes),
            kind: MetricType::Counter,
            read,
        }
    }

    const fn gauge(name: &'static str, help: &'static str, read: fn(&Snapshot) -> u64) -> Self {
        Self {
            name,
            help,
            unit: None,
            kind: MetricType::Gauge,
            read,
        }
    }
}

/// The names end as the encoder ends them: counters with `_total`, bytes with `_bytes`.
const METRICS: [Metric; 20] = [
    Metric::gauge(
        "tidegate_connections",
        "Connections now, whatever they speak",
        |s| s.connections,
    ),
    Metric::gauge("tidegate_sessions", "Open WebSockets now", |s| s.sessions),
    Metric::gauge(
        "tidegate_topics",
        "Topics that somebody hears now, counted on each shard",
        |s| s.topics,
    ),
    Metric::gauge(
        "tidegate_behind",
        "Connections now for which something waits, since they have not read what was sent before",
        |s| s.behind,
    ),
    Metric::counter("tidegate_accepted", "Connections accepted", |s| s.accepted),
    Metric::counter(
        "tidegate_opens",
        "Handshakes that ended in an open WebSocket",
        |s| s.opens,
    ),
    Metric::counter("tidegate_requests", "Plain HTTP requests answered", |s| {
        s.requests
    }),
    Metric::counter("tidegate_received_messages", "Messages received", |s| {
        s.messages_in
    }),
    Metric::counter(
        "tidegate_sent_messages",
        "Messages sent, one for each receiver",
        |s| s.messages_out,
    ),
    Metric::bytes("tidegate_received", "Bytes received, of every kind", |s| {
        s.bytes_in
    }),
    Metric::bytes("tidegate_sent", "Bytes sent, of every kind", |s| {
        s.bytes_out
    }),
    Metric::counter("tidegate_publications", "Messages published", |s| {
        s.publications
    }),
    Metric::counter(
        "tidegate_mail_letters",
        "Letters sent to other shards",
        |s| s.mail_sent,
    ),
    Metric::counter(
        "tidegate_mail_refusals",
        "Publications refused because another shard did not keep up",
        |s| s.mail_refused,
    ),
    Metric::counter(
        "tidegate_accept_failures",
        "Times that the kernel could not accept, such as for lack of descriptors",
        |s| s.accept_failures,
    ),
    Metric::counter("tidegate_pings", "Pings sent", |s| s.pings),
    Metric::counter(
        "tidegate_pongs",
        "Pongs received that answer the last ping",
        |s| s.pongs,
    ),
    Metric::counter(
        "tidegate_late_closes",
        "Ends that took more than 10 s from the close frame on",
        |s| s.late_closes,
    ),
    Metric::counter(
        "tidegate_tls_truncations",
        "TLS connections whose stream ended without the goodbye of TLS",
        |s| s.tls_truncations,
    ),
    Metric::counter("tidegate_turns", "Turns of the shards' loops", |s| s.turns),
];

impl Collector for Server {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let info = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor(
                "tidegate_build",
                "Which server this is",
                None,
                MetricType::Info,
            )?
            .encode_info(&info)?;
        let shards = self.handle.counters();
        for metric in &METRICS {
            let Metric {
                name,
                help,
                unit,
                kind,
                read,
            } = metric;
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
            for (index, shard) in shards.iter().enumerate() {
                let labels = [("shard", index)];
                write_number(family.encode_family(&labels)?, *kind, read(shard))?;
            }
        }
        let help = "Memory that contexts of connections' own take of --compression-memory";
        let bytes_used = self.handle.compression_bytes_used() as u64;
        let name = "tidegate_compression_contexts";
        encoder
            .encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?
            .encode_gauge(&bytes_used)?;
        write_round_trips(&mut encoder, &shards)?;
        let help = "WebSockets that ended, by reason";
        write_causes(
            &mut encoder,
            "tidegate_closes",
            help,
            "reason",
            &shards,
            |shard| {
                shard
                    .closes()
                    .map(|(reason, count)| (reason.name(), count))
                    .collect()
            },
        )?;
        let help = "Publications dropped for clients that do not read, by policy";
        write_causes(
            &mut encoder,
            "tidegate_dropped_messages",
            help,
            "policy",
            &shards,
            |shard| {
                shard
                    .drops()
                    .map(|(policy, count)| (policy.name(), count))
                    .collect()
            },
        )?;
        write_rate_limits(&mut encoder, &shards)?;
        write_refusals(&mut encoder, &shards)
    }
}

/// Handshakes that failed, and connections that TLS failed for.
fn write_refusals(encoder: &mut DescriptorEncoder<'_>, shards: &[Snapshot]) -> fmt::Result {
    let help = "Handshakes that were refused or failed, by cause";
    write_causes(
        encoder,
        "tidegate_handshake_refusals",
        help,
        "cause",
        shards,
        |shard| {
            let causes = shard.refusals();
            causes.filter(|(cause, _)| !is_of_tls(cause)).collect()
        },
    )?;
    let help =
        "Connections that TLS failed for, by cause; peer_ is what the client said in its alert";
    write_causes(
        encoder,
        "tidegate_tls_failures",
        help,
        "cause",
        shards,
        |shard| {
            let causes = shard.refusals();
            let causes = causes.filter(|(cause, _)| is_of_tls(cause));
            causes
                .map(|(cause, count)| (&cause[TLS.len()..], count))
                .collect()
        },
    )
}

fn write_round_trips(encoder: &mut DescriptorEncoder<'_>, shards: &[Snapshot]) -> fmt::Result {
    let trips = status::round_trips(shards);
    let help = "How long answers to pings took";
    let steps = status::round_trip_steps().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = steps.zip(trips.counts).collect();
    encoder
        .encode_descriptor(
            "tidegate_round_trip",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?
        .encode_histogram::<NoLabelSet>(
            status::seconds(trips.micros),
            trips.counts.iter().sum(),
            &buckets,
            None,
        )
}

/// How the causes begin for which TLS fails.
const TLS: &str = "tls_";

fn is_of_tls(cause: &str) -> bool {
    cause.starts_with(TLS)
}

fn write_number(mut metric: MetricEncoder<'_>, kind: MetricType, number: u64) -> fmt::Result {
    if matches!(kind, MetricType::Gauge) {
        metric.encode_gauge(&number)
    } else {
        metric.encode_counter::<NoLabelSet, _, u64>(&number, None)
    }
}

/// A counter for each shard and each cause.
fn write_causes(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    shards: &[Snapshot],
    causes: impl Fn(&Snapshot) -> Vec<(&'static str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (index, shard) in shards.iter().enumerate() {
        for (cause, count) in causes(shard) {
            let labels = [("shard", index.to_string()), (label, cause.to_owned())];
            write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
        }
    }
    Ok(())
}

/// How often clients said more than their rates allow, for each shard, limit and policy.
fn write_rate_limits(encoder: &mut DescriptorEncoder<'_>, shards: &[Snapshot]) -> fmt::Result {
    let help = "Clients that were closed or slowed down for what they said, by limit and policy";
    let name = "tidegate_rate_limited";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (index, shard) in shards.iter().enumerate() {
        for (limit, policy, count) in shard.rate_limits() {
            let limit = match limit {
                RateLimit::SharedMessages => "user_messages",
                RateLimit::SharedBytes => "user_bytes",
                own @ (RateLimit::Messages | RateLimit::Bytes) => own.name(),
            };
            let index = index.to_string();
            let labels = [
                ("shard", index.as_str()),
                ("limit", limit),
                ("policy", policy.name()),
            ];
            write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_habits_of_prometheus() {
        for metric in &METRICS {
            assert!(metric.name.starts_with("tidegate_"), "{}", metric.name);
            let ending = ["_total", "_bytes"]
                .into_iter()
                .find(|end| metric.name.ends_with(end));
            assert_eq!(ending, None, "the encoder ends the name: {}", metric.name);
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
    }
}
