//! What was found, as a table for people or as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;
use tidegate_engine::Descriptors;

use super::DoctorSettings;
use super::count::show;
use super::finding::{Finding, Level};
use super::host::Host;
use super::profile::Knob;

/// Everything that is said.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    connections_wanted: u64,
    /// How many the host holds; `None` if no ceiling is known.
    connections_expected: Option<u64>,
    reachable: bool,
    first_limit: Option<String>,
    io: String,
    shards: u64,
    descriptors: &'static str,
    verdict: String,
    /// The worst first.
    checks: Vec<Finding>,
    /// As `tuning/check` sees them.
    knobs: Vec<Knob>,
}

impl Report {
    /// `findings` are sorted.
    pub(super) fn new(
        settings: &DoctorSettings,
        host: &Host,
        knobs: &[Knob],
        findings: Vec<Finding>,
    ) -> Self {
        let wanted = settings.connections.get();
        let first = findings
            .iter()
            .filter(|finding| finding.is_ceiling)
            .min_by_key(|finding| finding.at);
        let expected = first.and_then(|finding| finding.at);
        let reachable = expected.is_none_or(|count| count >= wanted);
        Self {
            connections_wanted: wanted,
            connections_expected: expected,
            reachable,
            first_limit: first.map(|finding| finding.name.clone()),
            io: settings.io.to_string(),
            shards: host.shards,
            descriptors: match settings.descriptors {
                Descriptors::Shared => "process",
                Descriptors::PerShard => "shard",
            },
            verdict: verdict(first, wanted),
            checks: findings,
            knobs: knobs.to_vec(),
        }
    }

    pub(super) fn reachable(&self) -> bool {
        self.reachable
    }

    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("it holds only strings and numbers");
        text + "\n"
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let shards = if self.shards == 1 { "shard" } else { "shards" };
        let _ = writeln!(
            text,
            "{} connections wanted, on {} {shards} with {}, a table of descriptors for each {}\n",
            show(self.connections_wanted),
            self.shards,
            self.io,
            self.descriptors,
        );
        let _ = writeln!(text, "{:>13}  {:<6} {:<32} is", "at", "", "what");
        for finding in &self.checks {
            write_finding(&mut text, finding);
        }
        let _ = writeln!(text, "\n{}", self.verdict);
        text
    }
}

fn write_finding(text: &mut String, finding: &Finding) {
    let at = finding.at.map(show).unwrap_or_default();
    let level = match finding.level {
        Level::Stops => "STOPS",
        Level::Slows => "slows",
        Level::Unknown => "?",
        Level::Note => "note",
        Level::Fine => "ok",
    };
    let (name, now) = (plain(&finding.name), plain(&finding.now));
    let _ = writeln!(text, "{at:>13}  {level:<6} {name:<32} {now}");
    if finding.level != Level::Fine {
        let _ = writeln!(text, "{:22}then: {}", "", plain(&finding.symptom));
    }
    if let Some(mend) = &finding.mend {
        let _ = writeln!(text, "{:22}mend: {}", "", plain(mend));
    }
}

/// What a file said must neither break the line nor steer a terminal.
fn plain(text: &str) -> String {
    let one = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(one).collect()
}

fn verdict(first: Option<&Finding>, wanted: u64) -> String {
    let Some((first, at)) = first.and_then(|first| Some((first, first.at?))) else {
        return "nothing here says how many connections this host holds".to_owned();
    };
    let enough = if at >= wanted {
        ", which is enough"
    } else {
        ""
    };
    format!(
        "this host holds about {} connections{enough}: first limit is {}",
        show(at),
        first.name
    )
}
