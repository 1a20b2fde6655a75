//! What a configuration means to the server: plain values, each of its own type.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tidegate_engine::{
    Compression, CompressionTier, Descriptors, Host, Io, Profile, Rate, RatePolicy, Rates,
    SlowPolicy, SocketOptions,
};

use crate::choices::{DriverChoice, HostChoice, Table, Tier};
use crate::config::Configuration;
use crate::config::values::Values;
use crate::log::{Filter, Format, LogSettings, Target};
use crate::names::{Characters, NameRules};

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
    /// What contexts of connections' own may take, where any endpoint has them.
    pub(crate) compression: Compression,
    pub(crate) handshake_timeout: Duration,
    pub(crate) profile: Profile,
    pub(crate) sockets: SocketOptions,
    pub(crate) share_port: bool,
    /// Where clients connect with TLS, if they do.
    pub(crate) tls_listen: Option<SocketAddr>,
    /// They cannot connect without.
    pub(crate) tls_only: bool,
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
            compression: Compression::Takeover {
                bytes_max: values.size("compression.memory").unwrap_or_default(),
            },
            handshake_timeout: values.span("timeouts.handshake"),
            profile: profile(values, configuration.outbox_size),
            sockets: sockets(values),
            share_port: values.switch("server.share-port"),
            tls_listen: values.address_or_off("tls.listen"),
            tls_only: values.switch("tls.only"),
        }
    }
}

/// A frame of the largest message has a header of so many bytes.
const HEADER_SIZE: usize = 14;

/// How connections are watched, what each may take, and what happens to slow ones, by what holds at an
/// endpoint. `outbox_size` is what `limits.outbox-max` is, also when it is `auto`.
pub(crate) fn profile(values: &Values, outbox_size: usize) -> Profile {
    let missed = values.count("heartbeat.pings-missed").unwrap_or_default();
    let outbox_bytes_max = values.size("limits.outbox-max").unwrap_or(outbox_size);
    let usual = Profile::default();
    Profile {
        ping_interval: values.span("heartbeat.ping-interval"),
        pings_missed_max: u8::try_from(missed).expect("the schema allows no more than 100"),
        read_idle_timeout: values.span("heartbeat.read-idle-timeout"),
        write_idle_timeout: values.span("heartbeat.write-idle-timeout"),
        idle_timeout: values.span("heartbeat.idle-timeout"),
        message_timeout: values.span("timeouts.message"),
        send_timeout: values.span("timeouts.send"),
        close_timeout: values.span("timeouts.close"),
        slow: slow(values.choice("limits.slow")),
        outbox_bytes_max,
        // A peer must be paused well before it is cut off.
        outbox_pause_size: usual.outbox_pause_size.min(outbox_bytes_max / 3),
        rates: rates(values),
    }
}

/// How much a connection may say. A burst that nobody has written is as much as in a second, and no less
/// than one largest message.
fn rates(values: &Values) -> Rates {
    Rates {
        messages: message_rate(
            values.count("limits.message-rate"),
            values.count("limits.message-burst"),
        ),
        bytes: byte_rate(
            values,
            values.size("limits.byte-rate"),
            values.size("limits.byte-burst"),
        ),
        policy: rate_policy(values.choice("limits.rate-policy")),
    }
}

/// The same for all connections of one user together, whose burst is what nobody has written.
pub(crate) fn user_rates(values: &Values) -> Rates {
    Rates {
        messages: message_rate(values.count("limits.message-rate-per-user"), None),
        bytes: byte_rate(values, values.size("limits.byte-rate-per-user"), None),
        policy: rate_policy(values.choice("limits.rate-policy")),
    }
}

fn message_rate(per_second: Option<usize>, burst: Option<usize>) -> Rate {
    rate(narrow(per_second), narrow(burst))
}

fn byte_rate(values: &Values, per_second: Option<usize>, burst: Option<usize>) -> Rate {
    let per_second = narrow(per_second);
    let largest = narrow(Some(message_size_max(values) + HEADER_SIZE));
    let burst = burst.map(|size| narrow(Some(size)));
    rate(per_second, burst.unwrap_or(per_second.max(largest)))
}

/// Where there is no rate, nothing is different for a burst.
fn rate(per_second: u32, burst: u32) -> Rate {
    match per_second {
        0 => Rate::default(),
        _ => Rate { per_second, burst },
    }
}

fn narrow(count: Option<usize>) -> u32 {
    u32::try_from(count.unwrap_or_default()).expect("the schema allows no more than 1 GiB")
}

fn rate_policy(word: &str) -> RatePolicy {
    let policy = RatePolicy::ALL.into_iter().find(|p| p.name() == word);
    policy.expect("a test has read each word of the schema")
}

/// Whether no largest message could ever come, since it is more than may be said at once: both sizes.
pub(crate) fn burst_below_message(values: &Values) -> Option<(usize, usize)> {
    let burst = values.size("limits.byte-burst")?;
    let largest = message_size_max(values);
    let rated = values.size("limits.byte-rate").is_some_and(|rate| rate > 0);
    let closes = values.choice("limits.rate-policy") == "close";
    (rated && closes && burst < largest + HEADER_SIZE).then_some((burst, largest))
}

/// How messages are compressed.
pub(crate) fn tier(values: &Values) -> CompressionTier {
    match chosen::<Tier>(values, "compression.tier") {
        Tier::Off => CompressionTier::Off,
        Tier::Shared => CompressionTier::Shared,
        Tier::Takeover => CompressionTier::Takeover,
    }
}

/// What the names of topics may be.
pub(crate) fn name_rules(values: &Values) -> NameRules {
    let size_max = values.count("limits.topic-name-max");
    NameRules {
        size_max: size_max.expect("it has a default, and is never auto"),
        characters: chosen::<Characters>(values, "limits.topic-names"),
    }
}

/// The largest message.
pub(crate) fn message_size_max(values: &Values) -> usize {
    let size = values.size("limits.max-message");
    size.expect("it has a default, and is never auto")
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
        message_size_max(&self.values)
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

    /// What is written down, how and where.
    pub(crate) fn log(&self) -> LogSettings {
        let filter: Result<Filter, _> = self.values.text("log.level").parse();
        let target: Result<Target, _> = self.values.text("log.to").parse();
        LogSettings {
            filter: filter.expect("the schema has read it"),
            format: chosen::<Format>(&self.values, "log.format"),
            target: target.expect("the schema has read it"),
        }
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
                    "limits.rate-policy" => rate_policy(word).name() == *word,
                    "limits.topic-names" => Characters::from_str(word, false).is_ok(),
                    "log.format" => Format::from_str(word, false).is_ok(),
                    "log.closes" => crate::log::Closes::from_str(word, false).is_ok(),
                    // The words of admission are read in its rules; what is no other is the default.
                    "limits.denied" => ["refuse", "drop"].contains(word),
                    "server.proxy-protocol" => ["off", "v1", "v2", "any"].contains(word),
                    "server.forwarded" => ["x-forwarded-for", "forwarded", "none"].contains(word),
                    "sandbox.landlock" | "sandbox.seccomp" => true,
                    "tls.client-auth" => matches!(*word, "none" | "optional" | "required"),
                    "tls.min-version" => matches!(*word, "1.2" | "1.3"),
                    // What they mean, a test of the rights holds.
                    "auth.default-rights" | "auth.anonymous-rights" => {
                        ["all", "hear", "none"].contains(word)
                    }
                    other => panic!("{other} is read by nobody"),
                };
                assert!(known, "{} = {word}", key.name);
                held += 1;
            }
        }
        assert_eq!(held, 51, "a word came or went");
    }
}
