//! Is what was measured the server's doing, and does it keep what the user requires?

use std::time::Duration;

use anyhow::bail;

use super::Report;
use crate::latency::Latency;
use crate::options::{Command, Common};
use crate::require::{Measured, Metric};
use crate::run::Outcome;

/// With more than this part of its sends late, the client is the bottleneck.
const LATE_SHARE_MAX: f64 = 0.01;

/// Why this client could not keep up; `None` if it could.
pub(super) fn bottleneck(common: &Common, outcome: &Outcome) -> Option<String> {
    let mut reasons = Vec::new();
    let mut lateness = outcome.messages.lateness.clone();
    lateness.add(&outcome.messages.churn.lateness);
    let late = lateness.count_above(common.late_max);
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let share = late as f64 / lateness.count().max(1) as f64;
    if share > LATE_SHARE_MAX {
        reasons.push(format!(
            "{:.1} % of its sends began more than {:?} late",
            share * 100.0,
            common.late_max
        ));
    }
    let busiest = outcome.connections.busiest * 100.0;
    if common.busy_max < 100 && busiest > f64::from(common.busy_max) {
        reasons.push(format!("a thread of it used {busiest:.0} % of a core"));
    }
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// The latencies that the command is about.
pub(super) fn latency(command: &Command, outcome: &Outcome) -> Latency {
    let messages = &outcome.messages;
    match command {
        Command::Churn(_) => messages.churn.latency.clone(),
        Command::Storm(_) => messages.storm.back.clone(),
        Command::Echo(_)
        | Command::Idle(_)
        | Command::Fanout(_)
        | Command::Slow(_)
        | Command::Mixed(_) => messages.latency.clone(),
    }
}

impl Report {
    /// The figure that a claim is about.
    #[must_use]
    pub fn measured(&self, metric: Metric) -> Measured {
        let errors = &self.errors;
        match metric {
            Metric::Percentile(percent) => self.timed(|latency| latency.percentile(percent)),
            Metric::Max => self.timed(|latency| latency.percentile(100.0)),
            Metric::Mean => self.timed(Latency::mean),
            Metric::Errors => count(errors.sum() + self.connections_failed + self.connections_lost),
            Metric::Missing => count(errors.lost),
            Metric::Doubled => count(errors.doubled),
            Metric::Reordered => count(errors.reordered),
            Metric::Mismatched => count(errors.mismatched),
            Metric::Failed => count(self.connections_failed + self.failed_clients()),
            Metric::Lost => count(self.connections_lost),
            Metric::Opened => count(self.connections_opened),
            Metric::Connects => Measured::Value(self.connects_per_second),
            Metric::Rate => match (&self.traffic, &self.churn) {
                (Some(traffic), _) => Measured::Value(traffic.messages_per_second),
                (None, Some(churn)) => Measured::Value(churn.turns_per_second),
                (None, None) => Measured::Unknown("this command has no rate"),
            },
            Metric::Cpu => {
                let server = self.server.as_ref();
                let cpu = server.and_then(|server| server.cpu_us_per_message);
                known(cpu.map(|us| us / 1e6), "there is none without --pid")
            }
            Metric::Memory => {
                let server = self.server.as_ref();
                let memory = server.map(|server| server.rss_bytes_per_connection);
                known(memory, "there is none without --pid")
            }
        }
    }

    /// The latencies as the text that the plotters of HdrHistogram read.
    ///
    /// # Errors
    /// When there are none to be told.
    pub fn percentile_text(&self) -> anyhow::Result<String> {
        if let Some(reason) = &self.client_bottleneck {
            bail!("there is no latency to be written: the client was the bottleneck ({reason})");
        }
        if self.latency.count() == 0 {
            bail!("there is no latency to be written: nothing was timed");
        }
        Ok(self.latency.percentile_text())
    }

    fn timed(&self, figure: impl Fn(&Latency) -> Duration) -> Measured {
        if self.client_bottleneck.is_some() {
            return Measured::Unknown("the client was the bottleneck");
        }
        if self.latency.count() == 0 {
            return Measured::Unknown("nothing was timed");
        }
        Measured::Value(figure(&self.latency).as_secs_f64())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn count(count: u64) -> Measured {
    Measured::Value(count as f64)
}

fn known(value: Option<f64>, why: &'static str) -> Measured {
    value.map_or(Measured::Unknown(why), Measured::Value)
}
