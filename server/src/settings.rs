//! What a configuration means to the server: plain values, each of its own type.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tidegate_engine::{Compression, Descriptors, Host, Io, Profile, SlowPolicy, SocketOptions};

use crate::choices::{DriverChoice, HostChoice, Table, Tier};
use crate::config::Configuration;
use crate::config::values::Values;

/// How the server is to run, but for what a reload changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// `None`: one for each core.
    pub(crate) shards: Option<usize>,
    pub(crate) io: Io,
    pub(crate) host: Host,
    pub(crate) descriptors: Descriptors,
    pub(crate) message_size_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) compression: Compression,
    pub(crate) timeouts: Timeouts,
    pub(crate) profile: Profile,
    pub(crate) sockets: SocketOptions,
    pub(crate) share_port: bool,
    /// Where clients connect with TLS, if they do.
    pub(crate) tls_listen: Option<SocketAddr>,
    /// They cannot connect without.
    pub(crate) tls_only: bool,
}

/// The deadlines of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Duration,
    pub(crate) message: Duration,
    pub(crate) send: Duration,
    pub(crate) close: Duration,
}

impl ServeSettings {
    /// # Panics
    /// When the schema and this list do not agree; a test would have seen it.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let values = &configuration.values;
        Self {
            listen: values.address("server.listen"),
            admin: values.address("admin.listen"),
            shards: values.count("server.shards"),
            io: chosen::<DriverChoice>(values, "server.io").into(),
            host: chosen::<HostChoice>(values, "server.host").into(),
            descriptors: chosen::<Table>(values, "server.descriptors").into(),
            message_size_max: configuration.message_size_max(),
            outbox_bytes_max: configuration.outbox_size,
            compression: chosen::<Tier>(values, "compression.tier")
                .with_memory(values.size("compression.memory").unwrap_or_default()),
            timeouts: Timeouts {
                handshake: values.span("timeouts.handshake"),
                message: values.span("timeouts.message"),
                send: values.span("timeouts.send"),
                close: values.span("timeouts.close"),
            },
            profile: profile(values),
            sockets: sockets(values),
            share_port: values.switch("server.share-port"),
            tls_listen: values.address_or_off("tls.listen"),
            tls_only: values.switch("tls.only"),
        }
    }
}

/// How connections are watched, and what happens to slow ones.
fn profile(values: &Values) -> Profile {
    let missed = values.count("heartbeat.pings-missed").unwrap_or_default();
    Profile {
        ping_interval: values.span("heartbeat.ping-interval"),
        pings_missed_max: u8::try_from(missed).expect("the schema allows no more than 100"),
        read_idle_timeout: values.span("heartbeat.read-idle-timeout"),
        write_idle_timeout: values.span("heartbeat.write-idle-timeout"),
        idle_timeout: values.span("heartbeat.idle-timeout"),
        slow: slow(values.choice("limits.slow")),
    }
}

fn sockets(values: &Values) -> SocketOptions {
    let user_timeout = values.span("heartbeat.tcp-user-timeout");
    let unsent = values.size("limits.notsent-lowat").unwrap_or_default();
    let unsent = u32::try_from(unsent).expect("the schema allows no more than 1 GiB");
    SocketOptions {
        user_timeout: (!user_timeout.is_zero()).then_some(user_timeout),
        unsent_size_max: (unsent != 0).then_some(unsent),
    }
}

fn slow(word: &str) -> SlowPolicy {
    let policy = SlowPolicy::ALL.into_iter().find(|p| p.name() == word);
    policy.expect("a test has read each word of the schema")
}

/// What a reload may have changed is asked for when it is needed.
impl Configuration {
    /// The largest message where an endpoint does not say otherwise.
    pub(crate) fn message_size_max(&self) -> usize {
        let size = self.values.size("limits.max-message");
        size.expect("it has a default, and is never auto")
    }

    /// How long the server is not ready, and still accepts, before it drains.
    pub(crate) fn drain_delay(&self) -> Duration {
        self.values.span("server.drain-delay")
    }

    /// Over how long the closes are spread, if that is written.
    pub(crate) fn drain_spread(&self) -> Option<Duration> {
        self.values.span_or_auto("server.drain-spread")
    }

    /// When clients are told to come back.
    pub(crate) fn retry_after(&self) -> Duration {
        self.values.span("server.retry-after")
    }

    /// How long connections get to close politely.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.values.span("server.drain-timeout")
    }
}

/// What a word of the schema means.
fn chosen<C: ValueEnum>(values: &Values, name: &str) -> C {
    let word = values.choice(name);
    C::from_str(word, false).expect("a test has read each word of the schema")
}

#[cfg(test)]
mod tests {
    use crate::config::schema::KEYS;
    use crate::config::value::Kind;

    use super::*;

    #[test]
    fn every_word_of_the_schema_means_something() {
        let mut held = 0;
        for key in KEYS {
            let Kind::Choice { words, .. } = key.kind else {
                continue;
            };
            for word in words {
                let known = match key.name {
                    "server.io" => DriverChoice::from_str(word, false).is_ok(),
                    "server.host" => HostChoice::from_str(word, false).is_ok(),
                    "server.descriptors" => Table::from_str(word, false).is_ok(),
                    "compression.tier" => Tier::from_str(word, false).is_ok(),
                    "limits.slow" => slow(word).name() == *word,
                    "sandbox.landlock" | "sandbox.seccomp" => true,
                    "tls.client-auth" => matches!(*word, "none" | "optional" | "required"),
                    "tls.min-version" => matches!(*word, "1.2" | "1.3"),
                    other => panic!("{other} is read by nobody"),
                };
                assert!(known, "{} = {word}", key.name);
                held += 1;
            }
        }
        assert_eq!(held, 27, "a word came or went");
    }
}
