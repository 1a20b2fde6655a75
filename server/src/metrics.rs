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
use tidegate_engine::{Handle, Snapshot};

use crate::process::Process;
use crate::reload::Reloader;
use crate::tls::TlsStatus;

/// What [`Metrics::encode`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(handle: Handle, files_max: u64, reloader: Arc<Reloader>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Server { handle }));
        registry.register_collector(Box::new(Reloads { reloader }));
        registry.register_collector(Box::new(ThisProcess { files_max }));
        Self { registry }
    }

    /// The text that a scrape gets.
    ///
    /// # Errors
    /// None that is known: the text is written into memory.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
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
const METRICS: [Metric; 19] = [
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

/// Writes what has become of the configuration.
#[derive(Debug)]
struct Reloads {
    reloader: Arc<Reloader>,
}

impl Collector for Reloads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let outcomes = self.reloader.outcomes();
        let help = "Reloads of the configuration, by result";
        let name = "tidegate_config_reload";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (result, count) in [
            ("success", outcomes.successes),
            ("failure", outcomes.failures),
        ] {
            let labels = [("result", result)];
            write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
        }
        let help = "Whether the last reload was good; 1 before the first";
        encoder
            .encode_descriptor(
                "tidegate_config_last_reload_successful",
                help,
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&u64::from(outcomes.last_succeeded))?;
        let help = "When the configuration in force was taken, in seconds since 1970";
        encoder
            .encode_descriptor(
                "tidegate_config_last_reload_timestamp",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&outcomes.taken_at)?;
        match self.reloader.tls() {
            Some(acceptor) => write_tls(&mut encoder, acceptor.status()),
            None => Ok(()),
        }
    }
}

/// Writes what is known of the certificates.
fn write_tls(encoder: &mut DescriptorEncoder<'_>, status: TlsStatus) -> fmt::Result {
    let help = "When the first of the certificates in force expires, in seconds since 1970";
    let name = "tidegate_tls_certificate_expiry_timestamp";
    encoder
        .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?
        .encode_gauge(&status.expires_at)?;
    let help = "Changes of the files of certificates, by what became of them";
    let name = "tidegate_tls_certificate_reload";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (result, count) in [("success", status.successes), ("failure", status.failures)] {
        let labels = [("result", result)];
        write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
    }
    Ok(())
}

/// Writes what the system knows of this process, under the names that everybody uses.
#[derive(Debug)]
struct ThisProcess {
    files_max: u64,
}

impl Collector for ThisProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.files_max != u64::MAX {
            let help = "The limit of open files";
            encoder
                .encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?
                .encode_gauge(&self.files_max)?;
        }
        let Some(process) = Process::read() else {
            return Ok(());
        };
        let help = "Memory of the process that is in RAM";
        encoder
            .encode_descriptor(
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.resident_bytes)?;
        let help = "Memory of the process, in RAM or not";
        encoder
            .encode_descriptor(
                "process_virtual_memory",
                help,
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.virtual_bytes)?;
        let help = "Processor time spent by the process and, on its behalf, by the kernel";
        encoder
            .encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&process.cpu_seconds, None)?;
        let help = "When the process started, in seconds since 1970";
        encoder
            .encode_descriptor(
                "process_start_time",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.start_seconds)
    }
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

    #[test]
    fn the_process_is_described_in_open_metrics() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ThisProcess { files_max: 1024 }));
        let metrics = Metrics { registry };
        let text = metrics.encode().unwrap();
        assert!(text.contains("\nprocess_max_fds 1024\n"), "{text}");
        assert!(
            text.contains("# TYPE process_resident_memory_bytes gauge\n"),
            "{text}"
        );
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
