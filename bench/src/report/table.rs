//! The result of a run for people: one line for each question.

use std::fmt::Write as _;

use super::{
    ChurnReport, IdleReport, Report, ServerReport, SlowReport, StormReport, TrafficReport,
};
use crate::latency::Percentiles;
use crate::tally::{Causes, Errors};

impl Report {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::default();
        self.fill_head(&mut table);
        self.fill_connections(&mut table);
        if let Some(idle) = &self.idle {
            idle.fill(&mut table);
        }
        if let Some(traffic) = &self.traffic {
            traffic.fill(&mut table);
        }
        if let Some(churn) = &self.churn {
            churn.fill(&mut table);
        }
        if let Some(slow) = &self.slow {
            slow.fill(&mut table);
        }
        if let Some(storm) = &self.storm {
            storm.fill(&mut table);
        }
        if let Some(reason) = &self.client_bottleneck {
            table.row("bottleneck", format!("this client: {reason}"));
            table.row(
                "",
                "no latency is shown; take a lower rate, more --threads or --processes, or cores",
            );
        }
        if self.pings > 0 {
            table.row("pings", format!("{} of the server's answered", self.pings));
        }
        self.fill_errors(&mut table);
        if let Some(server) = &self.server {
            let thing = if self.command == "churn" {
                "turn"
            } else {
                "message"
            };
            server.fill(&mut table, thing);
        }
        for missed in &self.missed_requirements {
            table.row("required", missed);
        }
        table.0
    }

    fn fill_head(&self, table: &mut Table) {
        let host = &self.host;
        table.row("command", &self.command_line);
        table.row("version", format!("tidegate-bench {}", self.version));
        table.row(
            "host",
            format!(
                "{}, Linux {}, {}, {} cores",
                host.name, host.kernel, host.machine, host.cores
            ),
        );
        table.row("target", &self.url);
    }

    fn fill_connections(&self, table: &mut Table) {
        let (opened, failed, lost) = (
            self.connections_opened,
            self.connections_failed,
            self.connections_lost,
        );
        table.row(
            "connections",
            format!("{opened} ok, {failed} failed, {lost} lost"),
        );
        table.causes(&self.connect_failures);
        table.causes(&self.connection_losses);
        let rate = self.connects_per_second;
        table.row(
            "connecting",
            format!("{:.3} s, {rate:.0} per second", self.connect_seconds),
        );
        table.latency("connect", &self.connect_latency_us);
        table.row("counted", format!("{:.3} s", self.seconds));
    }

    fn fill_errors(&self, table: &mut Table) {
        let Errors {
            mismatched,
            lost,
            doubled,
            reordered,
            unanswered_closes,
            unfinished_turns,
        } = self.errors;
        if unfinished_turns > 0 {
            table.row(
                "",
                format!("{unfinished_turns} closes led to no new connection"),
            );
        }
        table.row(
            "errors",
            format!("{mismatched} different, {lost} lost, {doubled} doubled, {reordered} out of order, {unanswered_closes} closes unanswered"),
        );
    }
}

impl TrafficReport {
    fn fill(&self, table: &mut Table) {
        let pace = match self.rate {
            Some(rate) => format!("open loop, {rate} messages per second by the clock"),
            None => "closed loop, each message when the last one is back".to_owned(),
        };
        let (size, kind) = (self.message_size_bytes, self.message_kind);
        table.row("traffic", format!("{pace}; {size} bytes of {kind}"));
        table.row(
            "messages",
            format!(
                "{} ({:.0} per second)",
                self.messages, self.messages_per_second
            ),
        );
        table.row(
            "bytes",
            format!("{} ({:.0} per second)", self.bytes, self.bytes_per_second),
        );
        let (sent, expected, received) = (
            self.messages_sent,
            self.messages_expected,
            self.messages_received,
        );
        table.row(
            "whole run",
            format!("{sent} sent, {expected} expected, {received} received"),
        );
        if let Some(latency) = &self.latency_us {
            table.latency("latency", latency);
        }
        if let Some(lateness) = &self.send_lateness_us {
            table.latency("sent late by", lateness);
        }
        table.row(
            "client CPU",
            format!("{:.3} us per message", self.client_cpu_us_per_message),
        );
    }
}

impl IdleReport {
    fn fill(&self, table: &mut Table) {
        if self.verified > 0 {
            let Self {
                verified,
                ponged,
                echoed,
                ..
            } = self;
            let seconds = self.verify_seconds;
            table.row(
                "verified",
                format!("of {verified}: {ponged} pongs, {echoed} echoes, in {seconds:.3} s"),
            );
        }
        if self.hearing > 0 {
            table.row(
                "broadcast",
                format!(
                    "heard by {} of {}, the last {:.3} s after the first",
                    self.heard, self.hearing, self.hear_seconds
                ),
            );
        }
    }
}

impl ChurnReport {
    fn fill(&self, table: &mut Table) {
        let how = if self.reset {
            "a reset"
        } else {
            "a close handshake"
        };
        let (turns, rate) = (self.turns, self.turns_per_second);
        table.row(
            "churn",
            format!("{turns} times {how} and a connect ({rate:.0} per second)"),
        );
        if let Some(latency) = &self.latency_us {
            table.latency("turn", latency);
        }
        if self.lateness_us.count > 0 {
            table.latency("begun late by", &self.lateness_us);
        }
    }
}

impl SlowReport {
    fn fill(&self, table: &mut Table) {
        table.row("slow", format!("{} stop reading at half time", self.slow));
        table.causes(&self.cut_off);
        let halves = [
            ("others before", &self.latency_us_before),
            ("others then", &self.latency_us_during),
        ];
        for (name, latency) in halves {
            if let Some(latency) = latency {
                table.latency(name, latency);
            }
        }
    }
}

impl StormReport {
    fn fill(&self, table: &mut Table) {
        let Self {
            dropped,
            returned,
            failed,
            underway,
            ..
        } = self;
        table.row(
            "storm",
            format!("{dropped} dropped, {returned} back, {failed} gave up, {underway} under way"),
        );
        let part = |name: &str| {
            let back = self.back_ms.get(name).copied().flatten();
            back.map_or_else(
                || format!("{name} % never"),
                |ms| format!("{name} % {ms:.1}ms"),
            )
        };
        if self.back_ms.values().any(Option::is_some) || self.returned == 0 {
            let parts = ["50", "90", "99", "100"].map(part);
            table.row("back after", parts.join("  "));
        }
        let tries = self.tries.iter();
        let tries: Vec<_> = tries
            .map(|(tries, count)| format!("{count} at try {tries}"))
            .collect();
        if !tries.is_empty() {
            table.row("", tries.join(", "));
        }
        table.causes(&self.failed_tries);
    }
}

impl ServerReport {
    fn fill(&self, table: &mut Table, thing: &str) {
        let per_message = self
            .cpu_us_per_message
            .map_or_else(String::new, |cpu| format!(", {cpu:.3} us per {thing}"));
        table.row(
            "server CPU",
            format!(
                "{:.2} s, {:.2} cores{per_message}",
                self.cpu_seconds, self.cpu_cores
            ),
        );
        let kib = |bytes: u64| bytes / 1024;
        table.row(
            "server memory",
            format!(
                "{} KiB before, {} KiB open, {} KiB at the end, {} KiB closed",
                kib(self.rss_bytes_before),
                kib(self.rss_bytes_open),
                kib(self.rss_bytes_end),
                kib(self.rss_bytes_closed)
            ),
        );
        let slope = self
            .rss_slope_bytes_per_connection
            .map_or_else(String::new, |slope| {
                format!(", slope {slope:.0} B from 10 % to 100 %")
            });
        table.row(
            "",
            format!(
                "{:.0} B per connection{slope}",
                self.rss_bytes_per_connection
            ),
        );
    }
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: impl AsRef<str>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<15}{}", value.as_ref());
    }

    fn causes(&mut self, causes: &Causes) {
        for (cause, count) in causes {
            self.row("", format!("{count} x {cause}"));
        }
    }

    fn latency(&mut self, name: &str, p: &Percentiles) {
        self.row(
            name,
            format!(
                "p50 {}  p75 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}",
                time(p.p50),
                time(p.p75),
                time(p.p90),
                time(p.p99),
                time(p.p99_9),
                time(p.p99_99),
                time(p.max)
            ),
        );
    }
}

/// Microseconds in the unit that suits them.
pub(super) fn time(us: f64) -> String {
    if us < 10_000.0 {
        format!("{us:.1}us")
    } else if us < 10_000_000.0 {
        format!("{:.1}ms", us / 1000.0)
    } else {
        format!("{:.2}s", us / 1e6)
    }
}
