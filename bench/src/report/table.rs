//! The result of a run for people: one line for each question.

use std::fmt::Write as _;

use super::{Report, ServerReport, TrafficReport};
use crate::latency::Percentiles;
use crate::tally::Errors;

impl Report {
    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::default();
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
        let (opened, failed, lost) = (
            self.connections_opened,
            self.connections_failed,
            self.connections_lost,
        );
        table.row(
            "connections",
            format!("{opened} ok, {failed} failed, {lost} lost"),
        );
        for (cause, count) in self.connect_failures.iter().chain(&self.connection_losses) {
            table.row("", format!("{count} x {cause}"));
        }
        let rate = self.connects_per_second;
        table.row(
            "connecting",
            format!("{:.3} s, {rate:.0} per second", self.connect_seconds),
        );
        table.row("counted", format!("{:.3} s", self.seconds));
        if let Some(traffic) = &self.traffic {
            traffic.fill(&mut table);
        }
        if self.pings > 0 {
            table.row("pings", self.pings.to_string());
        }
        let Errors {
            mismatched,
            lost,
            doubled,
            reordered,
            unanswered_closes,
        } = self.errors;
        table.row(
            "errors",
            format!("{mismatched} different, {lost} lost, {doubled} doubled, {reordered} out of order, {unanswered_closes} closes unanswered"),
        );
        if let Some(server) = &self.server {
            server.fill(&mut table);
        }
        table.0
    }
}

impl TrafficReport {
    fn fill(&self, table: &mut Table) {
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
        table.latency("latency", &self.latency_us);
        if let Some(lateness) = &self.send_lateness_us {
            table.latency("sent late by", lateness);
        }
        table.row(
            "client CPU",
            format!("{:.3} us per message", self.client_cpu_us_per_message),
        );
    }
}

impl ServerReport {
    fn fill(&self, table: &mut Table) {
        let per_message = self
            .cpu_us_per_message
            .map_or_else(String::new, |cpu| format!(", {cpu:.3} us per message"));
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
        let _ = writeln!(self.0, "{name:<14}{}", value.as_ref());
    }

    fn latency(&mut self, name: &str, p: &Percentiles) {
        let us = |us: f64| {
            if us < 10_000.0 {
                format!("{us:.1}us")
            } else {
                format!("{:.1}ms", us / 1000.0)
            }
        };
        self.row(
            name,
            format!(
                "p50 {}  p75 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}",
                us(p.p50),
                us(p.p75),
                us(p.p90),
                us(p.p99),
                us(p.p99_9),
                us(p.p99_99),
                us(p.max)
            ),
        );
    }
}
