//! What `idle`, `churn`, `storm` and `slow` tell beside what every command tells.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{each, per, seconds};
use crate::latency::{Percentiles, round};
use crate::options::Command;
use crate::run::Outcome;
use crate::tally::Causes;

/// What idle connections were asked for.
#[derive(Debug, Serialize)]
pub struct IdleReport {
    /// Connections that had to prove that they live.
    pub verified: u64,
    /// Those that got a pong to their ping.
    pub ponged: u64,
    /// Those whose message was echoed.
    pub echoed: u64,
    /// How long that took.
    pub verify_seconds: f64,
    /// Connections that had to hear what was published.
    pub hearing: u64,
    /// Those that did, in full.
    pub heard: u64,
    /// Between the first of those messages and the last, over all connections.
    pub hear_seconds: f64,
}

/// Turns of connections: a close, and the connect that follows.
#[derive(Debug, Serialize)]
pub struct ChurnReport {
    /// While it was counted.
    pub turns: u64,
    /// The same per second.
    pub turns_per_second: f64,
    /// What an open loop was asked for.
    pub rate: Option<u64>,
    /// By a reset instead of the close handshake.
    pub reset: bool,
    /// From the time of the close to the 101; null where this client was the bottleneck.
    pub latency_us: Option<Percentiles>,
    /// How far behind its time this client began its closes (open loop).
    pub lateness_us: Percentiles,
    /// CPU time of the server for each, with `--pid`, of `churn` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_turn: Option<f64>,
}

/// What became of the clients of a storm.
#[derive(Debug, Serialize)]
pub struct StormReport {
    /// Lost their connection.
    pub dropped: u64,
    /// Came back.
    pub returned: u64,
    /// Gave up.
    pub failed: u64,
    /// Had neither come back nor given up at the end.
    pub underway: u64,
    /// When so many percent of those dropped were back, in milliseconds; null if never, and where
    /// this client was the bottleneck.
    pub back_ms: BTreeMap<&'static str, Option<f64>>,
    /// How many came back at which try.
    pub tries: BTreeMap<u32, u64>,
    /// Why tries failed.
    pub failed_tries: Causes,
}

/// What slow clients did to the others.
#[derive(Debug, Serialize)]
pub struct SlowReport {
    /// How many stopped reading, in the second half.
    pub slow: u64,
    /// How many of those the server cut off, and how.
    pub cut_off: Causes,
    /// Of the others, in the first half; null where this client was the bottleneck.
    pub latency_us_before: Option<Percentiles>,
    /// Of the others, in the second half.
    pub latency_us_during: Option<Percentiles>,
}

impl IdleReport {
    pub(super) fn new(command: &Command, outcome: &Outcome) -> Option<Self> {
        let Command::Idle(options) = command else {
            return None;
        };
        let tally = &outcome.messages.idle;
        let asked = options.pings() || options.echoes() || options.expect_broadcast.is_some();
        let (first, last) = tally.first_and_last.unwrap_or_default();
        let span = std::time::Duration::from_nanos(last - first);
        asked.then(|| Self {
            verified: tally.proving,
            ponged: tally.ponged,
            echoed: tally.echoed,
            verify_seconds: seconds(outcome.preparing),
            hearing: tally.hearing,
            heard: tally.heard,
            hear_seconds: seconds(span),
        })
    }
}

impl ChurnReport {
    pub(super) fn new(command: &Command, outcome: &Outcome) -> Option<Self> {
        let (rate, reset, alone) = match command {
            Command::Churn(options) => (options.rate, options.reset, true),
            Command::Mixed(options) => {
                let usual = u64::from(crate::plan::churning(options));
                let rate = options.churn_rate.unwrap_or(usual);
                (Some(rate), options.reset, false)
            }
            _ => return None,
        };
        let tally = &outcome.messages.churn;
        let server = outcome.server.filter(|_| alone);
        Some(Self {
            turns: tally.turns,
            turns_per_second: per(tally.turns, outcome.counted.as_secs_f64()),
            rate,
            reset,
            latency_us: Some(tally.latency.percentiles()),
            lateness_us: tally.lateness.percentiles(),
            cpu_us_per_turn: server.map(|server| each(server.cpu.as_secs_f64() * 1e6, tally.turns)),
        })
    }

    pub(super) fn told(mut self, told: bool) -> Self {
        self.latency_us = self.latency_us.filter(|_| told);
        self
    }
}

/// Which parts of the clients being back are told.
const BACK: [(&str, f64); 4] = [("50", 0.5), ("90", 0.9), ("99", 0.99), ("100", 1.0)];

impl StormReport {
    pub(super) fn new(command: &Command, outcome: &Outcome, told: bool) -> Option<Self> {
        let Command::Storm(_) = command else {
            return None;
        };
        let tally = &outcome.messages.storm;
        let returned = tally.back.count();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let back = |part: f64| {
            // So many of all that were dropped, not only of those that came back.
            let wanted = (part * tally.dropped as f64).ceil();
            let percent = wanted * 100.0 / returned as f64;
            (told && returned > 0 && percent <= 100.0)
                .then(|| round(tally.back.percentile(percent).as_secs_f64() * 1e3))
        };
        Some(Self {
            dropped: tally.dropped,
            returned,
            failed: tally.failed,
            underway: tally.underway,
            back_ms: BACK
                .into_iter()
                .map(|(name, part)| (name, back(part)))
                .collect(),
            tries: tally.tries.clone(),
            failed_tries: outcome.connections.failed_tries.clone(),
        })
    }
}

impl SlowReport {
    pub(super) fn new(command: &Command, outcome: &Outcome, told: bool) -> Option<Self> {
        let Command::Slow(_) = command else {
            return None;
        };
        let [before, during] = outcome.messages.slices.halves();
        Some(Self {
            slow: outcome.messages.slow,
            cut_off: outcome.connections.expected_losses.clone(),
            latency_us_before: told.then(|| before.percentiles()),
            latency_us_during: told.then(|| during.percentiles()),
        })
    }
}
