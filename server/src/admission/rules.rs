//! What the configuration says of who is let in.

use super::bucket::Rate;
use super::forwarded::ForwardedBy;
use super::network::Networks;
use crate::config::Configuration;
use crate::config::values::Values;

/// An address may reconnect for so many seconds at its rate before it has to wait, unless a burst of
/// its own is written.
const HOST_BURST_SECONDS: usize = 10;

/// The rules in force. A reload makes new ones.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Nothing is asked of anybody.
    pub(super) is_open: bool,
    /// Empty: everybody.
    pub(super) allow: Networks,
    pub(super) deny: Networks,
    /// Who is denied is reset, not answered.
    pub(super) drops_denied: bool,
    pub(super) trusted: Networks,
    pub(super) proxy: ProxyVersions,
    pub(super) forwarded: ForwardedBy,
    /// `None`: as many as there are descriptors for.
    pub(super) connections_max: Option<usize>,
    /// `None`: no limit.
    pub(super) host_max: Option<u32>,
    pub(super) network_max: Option<u32>,
    pub(super) rate: Option<Rate>,
    pub(super) host_rate: Option<Rate>,
}

/// Which PROXY headers trusted proxies send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyVersions {
    Off,
    One,
    Two,
    Any,
}

impl Rules {
    /// # Panics
    /// When the schema and this list do not agree; a test would have seen it.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let values = &configuration.values;
        let rate = values.count("limits.handshake-rate").unwrap_or(0);
        let burst = values.count("limits.handshake-burst").unwrap_or(rate);
        let host_rate = values.count("limits.handshake-rate-per-address");
        let host_rate = host_rate.unwrap_or(0);
        let host_burst = values.count("limits.handshake-burst-per-address");
        let host_burst = host_burst.unwrap_or(host_rate * HOST_BURST_SECONDS);
        let mut rules = Self {
            is_open: false,
            allow: networks(values, "limits.allow"),
            deny: networks(values, "limits.deny"),
            drops_denied: values.choice("limits.denied") == "drop",
            trusted: networks(values, "server.trusted-proxies"),
            proxy: match values.choice("server.proxy-protocol") {
                "v1" => ProxyVersions::One,
                "v2" => ProxyVersions::Two,
                "any" => ProxyVersions::Any,
                _ => ProxyVersions::Off,
            },
            forwarded: match values.choice("server.forwarded") {
                "forwarded" => ForwardedBy::Forwarded,
                "none" => ForwardedBy::Nothing,
                _ => ForwardedBy::XForwardedFor,
            },
            connections_max: values
                .count("limits.connections-max")
                .filter(|count| *count > 0),
            host_max: most(values, "limits.connections-per-address"),
            network_max: most(values, "limits.connections-per-network"),
            rate: Rate::new(rate, burst),
            host_rate: Rate::new(host_rate, host_burst),
        };
        rules.is_open = rules.allow.is_empty()
            && rules.deny.is_empty()
            && rules.trusted.is_empty()
            && rules.connections_max.is_none()
            && (rules.host_max, rules.network_max) == (None, None)
            && (rules.rate, rules.host_rate) == (None, None);
        rules
    }
}

fn networks(values: &Values, name: &str) -> Networks {
    Networks::new(values.networks(name))
}

/// 0 is no limit.
fn most(values: &Values, name: &str) -> Option<u32> {
    let count = values.count(name).unwrap_or(0);
    u32::try_from(count).ok().filter(|count| *count > 0)
}
