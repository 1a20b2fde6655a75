//! What concerns those who run the server, rather than its shards: tokens of clients, the phase, the
//! configuration, the log, the admin port, certificates.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::write_number;
use crate::admin::pass::Pass;
use crate::auth::gate::Gate;
use crate::log::{LEVELS, Log, level_name};
use crate::phase::{Phase, PhaseCell};
use crate::reload::Reloader;
use crate::tls::TlsStatus;

/// Writes what has become of tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) gate: Arc<Gate>,
}

impl Collector for Tokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Tokens that were taken, at a request or on an open connection";
        encoder
            .encode_descriptor("tidegate_auth_grants", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.gate.tally.grants(), None)?;
        let help = "Clients that were not let in or not let stay, by cause";
        let name = "tidegate_auth_denials";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (cause, count) in self.gate.tally.denials() {
            let labels = [("cause", cause)];
            write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
        }
        let help = "Fetches of the JWK set, by result";
        let name = "tidegate_auth_key_fetches";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let (successes, failures) = self.gate.remote.fetches();
        for (result, count) in [("success", successes), ("failure", failures)] {
            let labels = [("result", result)];
            write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
        }
        let help = "Users whose connections are counted, where there is a cap";
        let users = self.gate.users.count() as u64;
        encoder
            .encode_descriptor("tidegate_auth_users", help, None, MetricType::Gauge)?
            .encode_gauge(&users)?;
        let help = "Keys of the JWK set that was fetched last";
        let keys = self.gate.remote.keys().len() as u64;
        encoder
            .encode_descriptor("tidegate_auth_fetched_keys", help, None, MetricType::Gauge)?
            .encode_gauge(&keys)
    }
}

/// Writes what concerns those who run the server: its phase, its configuration, its log, its admin
/// port.
#[derive(Debug)]
pub(super) struct Operators {
    pub(super) reloader: Arc<Reloader>,
    pub(super) phase: Arc<PhaseCell>,
    pub(super) log: Log,
    pub(super) pass: Arc<Pass>,
}

impl Collector for Operators {
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
        let help = "Whether the server takes connections: 0 while it starts or drains";
        encoder
            .encode_descriptor("tidegate_ready", help, None, MetricType::Gauge)?
            .encode_gauge(&u64::from(self.phase.now() == Phase::Ready))?;
        let counts = self.log.counts();
        let help = "Lines of the log that were written, by level";
        let levels = LEVELS.into_iter().map(level_name).zip(counts.written);
        write_labelled(&mut encoder, "tidegate_log_lines", help, "level", levels)?;
        let help =
            "Lines of the log that were dropped, since they came faster than they could be written";
        encoder
            .encode_descriptor(
                "tidegate_log_lines_dropped",
                help,
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&counts.dropped, None)?;
        let help = "Requests at the admin port that were refused, by cause";
        let refused = self.pass.refused();
        write_labelled(
            &mut encoder,
            "tidegate_admin_refusals",
            help,
            "cause",
            refused,
        )?;
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

/// A counter for each value of a label.
fn write_labelled(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counts: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        let labels = [(label, value)];
        write_number(family.encode_family(&labels)?, MetricType::Counter, count)?;
    }
    Ok(())
}
