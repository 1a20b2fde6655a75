//! The result of a run: one JSON object, or a table for people.
//!
//! The keys are a promise to scripts: they are only ever added to.

use std::time::Duration;

use serde::Serialize;

use crate::latency::{Latency, Percentiles, round};
use crate::options::Command;
use crate::run::{Outcome, Server};
use crate::slices::Slices;
use crate::tally::{Causes, Errors};

mod modes;
mod table;
mod traffic;
mod verdict;

pub use modes::{ChurnReport, IdleReport, SlowReport, StormReport};
pub use traffic::TrafficReport;

/// The result of a run. What does not apply to the command is absent.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Nothing went wrong.
    pub ok: bool,
    /// `echo`, `idle`, `fanout`, `churn`, `storm`, `slow` or `mixed`.
    pub command: &'static str,
    /// As the user wrote it.
    pub command_line: String,
    /// Of this program.
    pub version: &'static str,
    /// Where it ran.
    pub host: Host,
    /// The address that was measured, with its path.
    pub url: String,
    /// How many threads each process of this client had.
    pub threads: u32,
    /// How many processes this client had.
    pub processes: u32,
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
    /// Why no latency is told: this client itself could not keep up.
    pub client_bottleneck: Option<String>,
    /// Claims of the user's that do not hold, and why.
    pub missed_requirements: Vec<String>,
    /// Of the commands that send.
    #[serde(flatten)]
    pub traffic: Option<TrafficReport>,
    /// What idle connections were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleReport>,
    /// Of `churn` and `mixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<ChurnReport>,
    /// Of `storm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<StormReport>,
    /// Of `slow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<SlowReport>,
    /// CPU time of the client's busiest thread while it was counted: 1 is one core.
    pub client_busiest_thread: f64,
    /// CPU time of this client while it was counted.
    pub client_cpu_seconds: f64,
    /// Of the server's process, with `--pid`.
    #[serde(flatten)]
    pub server: Option<ServerReport>,
    /// The latencies that the command is about.
    #[serde(skip)]
    pub latency: Latency,
    /// The same, and the messages, one time after the other.
    #[serde(skip)]
    pub slices: Slices,
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
            ..
        } = &outcome;
        let unanswered_closes = connections.unanswered_closes;
        let errors = Errors {
            unanswered_closes,
            ..messages.errors
        };
        let (failed, lost) = (connections.failed(), connections.lost());
        let churn = ChurnReport::new(command, &outcome);
        let things = match (command, &churn) {
            (Command::Churn(_), Some(churn)) => churn.turns,
            _ => messages.counted,
        };
        let bottleneck = verdict::bottleneck(common, &outcome);
        let mut report = Self {
            ok: failed == 0 && lost == 0 && errors.sum() == 0,
            command: command.name(),
            command_line,
            version: env!("CARGO_PKG_VERSION"),
            host: Host::here(),
            url: common.target.to_string(),
            threads: common.threads,
            processes: common.processes,
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
            traffic: TrafficReport::new(command, &outcome, bottleneck.is_none()),
            idle: IdleReport::new(command, &outcome),
            churn: churn.map(|churn| churn.told(bottleneck.is_none())),
            storm: StormReport::new(command, &outcome, bottleneck.is_none()),
            slow: SlowReport::new(command, &outcome, bottleneck.is_none()),
            client_bottleneck: bottleneck,
            missed_requirements: Vec::new(),
            client_busiest_thread: round(connections.busiest),
            client_cpu_seconds: seconds(*client_cpu),
            server: server
                .as_ref()
                .map(|server| ServerReport::new(server, things, *counted)),
            latency: verdict::latency(command, &outcome),
            slices: outcome.messages.slices,
        };
        let missed = common.require.iter();
        report.missed_requirements = missed
            .filter_map(|requirement| requirement.miss(report.measured(requirement.metric())))
            .collect();
        report.ok &= report.missed_requirements.is_empty() && report.failed_clients() == 0;
        report
    }

    /// Clients of a storm that never came back.
    fn failed_clients(&self) -> u64 {
        self.storm
            .as_ref()
            .map_or(0, |storm| storm.failed + storm.underway)
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
            unfinished_turns,
        } = self.errors;
        for (count, what) in [
            (mismatched, "messages came back different"),
            (lost, "messages were lost"),
            (doubled, "messages came twice or were never sent"),
            (reordered, "messages came out of order"),
            (unanswered_closes, "close frames got no answer"),
            (unfinished_turns, "closes led to no new connection"),
            (self.failed_clients(), "clients did not come back"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.extend(self.missed_requirements.iter().cloned());
        (!self.ok).then(|| parts.join("; "))
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
