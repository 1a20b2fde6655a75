//! The result of a run: one JSON object, or a table for people.
//!
//! The keys are a promise to scripts: they are only ever added to.

use std::time::Duration;

use serde::Serialize;

use crate::latency::{Percentiles, round};
use crate::options::{Command, Traffic};
use crate::run::{Outcome, Server};
use crate::tally::{Causes, Errors};

mod table;

/// The result of a run. What does not apply to the command is absent.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Nothing went wrong.
    pub ok: bool,
    /// `echo`, `idle` or `fanout`.
    pub command: &'static str,
    /// As the user wrote it.
    pub command_line: String,
    /// Of this program.
    pub version: &'static str,
    /// Where it ran.
    pub host: Host,
    /// The address that was measured, with its path.
    pub url: String,
    /// How many threads this client had.
    pub threads: u32,
    /// How many connections were asked for.
    pub connections_requested: u32,
    /// How many got their 101.
    pub connections_opened: u64,
    /// How many did not.
    pub connections_failed: u64,
    /// Why not.
    pub connect_failures: Causes,
    /// How many ended before their time.
    pub connections_lost: u64,
    /// Why.
    pub connection_losses: Causes,
    /// From the first connect to the last 101.
    pub connect_seconds: f64,
    /// Connections per second during that time.
    pub connects_per_second: f64,
    /// From each connect to its 101.
    pub connect_latency_us: Percentiles,
    /// Pings of the server's that were answered.
    pub pings: u64,
    /// How long was counted.
    pub seconds: f64,
    /// What went wrong with messages.
    pub errors: Errors,
    /// Of the commands that send.
    #[serde(flatten)]
    pub traffic: Option<TrafficReport>,
    /// CPU time of this client while it was counted.
    pub client_cpu_seconds: f64,
    /// Of the server's process, with `--pid`.
    #[serde(flatten)]
    pub server: Option<ServerReport>,
}

/// Where the client ran.
#[derive(Debug, Serialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The release of the kernel.
    pub kernel: String,
    /// Of the processor.
    pub machine: String,
    /// Processors that this process may use.
    pub cores: usize,
}

/// What was found about messages.
#[derive(Debug, Serialize)]
pub struct TrafficReport {
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub kind: &'static str,
    /// What an open loop was asked for.
    pub rate: Option<u64>,
    /// Bytes of each payload.
    pub message_size_bytes: usize,
    /// `text` or `binary`.
    pub message_kind: &'static str,
    /// Messages in one send: the pipeline of echo, the burst of fanout.
    pub batch: u32,
    /// Topics of fanout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<u32>,
    /// Publishers of each topic of fanout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishers: Option<u32>,
    /// Received while it was counted: replies of echo, deliveries of fanout.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// Their payloads.
    pub bytes: u64,
    /// The same per second.
    pub bytes_per_second: f64,
    /// Sent during the whole run, with the warm-up.
    pub messages_sent: u64,
    /// Should have come during the whole run.
    pub messages_expected: u64,
    /// Came during the whole run.
    pub messages_received: u64,
    /// From the time at which a message was sent (closed loop) or should have been (open loop).
    pub latency_us: Percentiles,
    /// How late this client itself was to send (open loop): if this is not small, neither
    /// rate nor latency is the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lateness_us: Option<Percentiles>,
    /// CPU time of this client.
    pub client_cpu_us_per_message: f64,
}

/// What was found about the server's process.
#[derive(Debug, Serialize)]
pub struct ServerReport {
    /// User and system time while it was counted.
    pub cpu_seconds: f64,
    /// The same by wall-clock time: 1 is one core.
    pub cpu_cores: f64,
    /// User and system time per counted message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_message: Option<f64>,
    /// Resident memory before the first connect.
    pub rss_bytes_before: u64,
    /// With all connections open.
    pub rss_bytes_open: u64,
    /// At the end of what was counted.
    pub rss_bytes_end: u64,
    /// After the connections were closed; 0 if the server has ended.
    pub rss_bytes_closed: u64,
    /// What all connections have added, for each.
    pub rss_bytes_per_connection: f64,
    /// What the connections beyond the first tenth have added, for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_slope_bytes_per_connection: Option<f64>,
}

impl Report {
    pub(crate) fn new(command: &Command, command_line: String, outcome: Outcome) -> Self {
        let common = command.common();
        let Outcome {
            connections,
            messages,
            connecting,
            counted,
            client_cpu,
            server,
        } = &outcome;
        let unanswered_closes = connections.unanswered_closes;
        let errors = Errors {
            unanswered_closes,
            ..messages.errors
        };
        let (failed, lost) = (connections.failed(), connections.lost());
        let messages_counted = messages.counted;
        Self {
            ok: failed == 0 && lost == 0 && errors.sum() == 0,
            command: command.name(),
            command_line,
            version: env!("CARGO_PKG_VERSION"),
            host: Host::here(),
            url: format!("ws://{}{}", common.target.host, common.target.path),
            threads: common.threads,
            connections_requested: common.connections,
            connections_opened: connections.opened,
            connections_failed: failed,
            connect_failures: connections.failures.clone(),
            connections_lost: lost,
            connection_losses: connections.losses.clone(),
            connect_seconds: seconds(*connecting),
            connects_per_second: per(connections.opened, connecting.as_secs_f64()),
            connect_latency_us: connections.latency.percentiles(),
            pings: connections.pings,
            seconds: seconds(*counted),
            errors,
            traffic: TrafficReport::new(command, &outcome),
            client_cpu_seconds: seconds(*client_cpu),
            server: server
                .as_ref()
                .map(|server| ServerReport::new(server, messages_counted, *counted)),
        }
    }

    /// What went wrong, in one line; `None` if nothing did.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let mut parts = Vec::new();
        let requested = self.connections_requested;
        if self.connections_failed > 0 {
            let causes = list(&self.connect_failures);
            parts.push(format!(
                "{} of {requested} connections failed ({causes})",
                self.connections_failed
            ));
        }
        if self.connections_lost > 0 {
            let causes = list(&self.connection_losses);
            parts.push(format!(
                "{} connections were lost ({causes})",
                self.connections_lost
            ));
        }
        let Errors {
            mismatched,
            lost,
            doubled,
            reordered,
            unanswered_closes,
        } = self.errors;
        for (count, what) in [
            (mismatched, "messages came back different"),
            (lost, "messages were lost"),
            (doubled, "messages came twice or were never sent"),
            (reordered, "messages came out of order"),
            (unanswered_closes, "close frames got no answer"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        (!self.ok).then(|| parts.join("; "))
    }
}

impl TrafficReport {
    fn new(command: &Command, outcome: &Outcome) -> Option<Self> {
        let (traffic, size, batch): (&Traffic, _, _) = match command {
            Command::Echo(options) => (&options.traffic, options.size, options.pipeline),
            Command::Fanout(options) => (&options.traffic, options.size, options.burst),
            Command::Idle(_) => return None,
        };
        let (topics, publishers) = match command {
            Command::Fanout(options) => (Some(options.topics), Some(options.publishers)),
            Command::Echo(_) | Command::Idle(_) => (None, None),
        };
        let messages = &outcome.messages;
        let counted = outcome.counted.as_secs_f64();
        Some(Self {
            kind: if traffic.rate.is_some() {
                "open"
            } else {
                "closed"
            },
            rate: traffic.rate,
            message_size_bytes: size,
            message_kind: if traffic.binary { "binary" } else { "text" },
            batch,
            topics,
            publishers,
            messages: messages.counted,
            messages_per_second: per(messages.counted, counted),
            bytes: messages.counted_bytes,
            bytes_per_second: per(messages.counted_bytes, counted),
            messages_sent: messages.sent,
            messages_expected: messages.expected,
            messages_received: messages.received,
            latency_us: messages.latency.percentiles(),
            send_lateness_us: traffic.rate.map(|_| messages.lateness.percentiles()),
            client_cpu_us_per_message: each(
                outcome.client_cpu.as_secs_f64() * 1e6,
                messages.counted,
            ),
        })
    }
}

impl ServerReport {
    fn new(server: &Server, messages: u64, counted: Duration) -> Self {
        let Server {
            rss_before,
            rss_tenth,
            rss_open,
            rss_end,
            rss_closed,
            open,
            ..
        } = *server;
        let cpu = server.cpu.as_secs_f64();
        let slope = rss_tenth
            .filter(|(tenth, _)| *tenth < open)
            .map(|(tenth, rss)| each(difference(rss_open, rss), u64::from(open - tenth)));
        Self {
            cpu_seconds: seconds(server.cpu),
            cpu_cores: if counted.is_zero() {
                0.0
            } else {
                round(cpu / counted.as_secs_f64())
            },
            cpu_us_per_message: (messages > 0).then(|| each(cpu * 1e6, messages)),
            rss_bytes_before: rss_before,
            rss_bytes_open: rss_open,
            rss_bytes_end: rss_end,
            rss_bytes_closed: rss_closed,
            rss_bytes_per_connection: each(difference(rss_open, rss_before), u64::from(open)),
            rss_slope_bytes_per_connection: slope,
        }
    }
}

impl Host {
    fn here() -> Self {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            name: text(uname.nodename()),
            kernel: text(uname.release()),
            machine: text(uname.machine()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

fn list(causes: &Causes) -> String {
    let parts: Vec<_> = causes
        .iter()
        .map(|(cause, count)| format!("{count} x {cause}"))
        .collect();
    parts.join(", ")
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        round(count as f64 / seconds)
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn each(total: f64, count: u64) -> f64 {
    if count > 0 {
        round(total / count as f64)
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53")]
fn difference(after: u64, before: u64) -> f64 {
    after as f64 - before as f64
}
