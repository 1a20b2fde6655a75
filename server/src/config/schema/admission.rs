//! The keys that say who is let in; see [`crate::admission`].

use super::{Default, Key, Kind};

/// 24 bits of a connection's id say where it lies, and there may be 256 shards.
const SLOTS_CEILING: usize = 1 << 32;

/// What an address or a network may have; a million connections are what a host has.
const CONNECTIONS_CEILING: usize = 1_000_000;

/// So many connections are let in each second at most: more than any host accepts.
const RATE_CEILING: usize = 1_000_000;

/// A part of [`super::KEYS`].
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "server.trusted-proxies",
        Kind::Networks,
        Default::Text(""),
        "From which addresses proxies connect that say for whom they speak",
    )
    .flag("trusted-proxy")
    .reloads(),
    Key::new(
        "server.proxy-protocol",
        Kind::Choice {
            name: "VERSION",
            words: &["off", "v1", "v2", "any"],
        },
        Default::Text("off"),
        "Which version of the PROXY header trusted proxies begin each connection with; from all \
         others one is refused",
    )
    .flag("proxy-protocol")
    .reloads(),
    Key::new(
        "server.forwarded",
        Kind::Choice {
            name: "HEADER",
            words: &["x-forwarded-for", "forwarded", "none"],
        },
        Default::Text("x-forwarded-for"),
        "In which header of a request trusted proxies say for whom they speak",
    )
    .flag("forwarded")
    .reloads(),
    Key::new(
        "limits.allow",
        Kind::Networks,
        Default::Text(""),
        "From which addresses clients may connect; none: from all",
    )
    .flag("allow")
    .reloads(),
    Key::new(
        "limits.deny",
        Kind::Networks,
        Default::Text(""),
        "From which addresses clients may not connect, whatever is allowed",
    )
    .flag("deny")
    .reloads(),
    Key::new(
        "limits.denied",
        Kind::Choice {
            name: "ANSWER",
            words: &["refuse", "drop"],
        },
        Default::Text("refuse"),
        "What a client hears whose address is not allowed: 403, or nothing but a reset",
    )
    .flag("denied")
    .reloads(),
    Key::new(
        "limits.connections-max",
        Kind::Count {
            min: 0,
            max: SLOTS_CEILING,
        },
        Default::Auto("as many as there are descriptors for"),
        "How many connections there may be at once; one more gets 503 with Retry-After; 0: as for auto",
    )
    .flag("connections-max")
    .reloads(),
    Key::new(
        "limits.connections-per-address",
        Kind::Count {
            min: 0,
            max: CONNECTIONS_CEILING,
        },
        Default::Text("0"),
        "How many connections one IPv4 address, or 64 bits of an IPv6 one, may have at once; one \
         more gets 429 with Retry-After; 0: any number",
    )
    .flag("connections-per-address")
    .reloads(),
    Key::new(
        "limits.connections-per-network",
        Kind::Count {
            min: 0,
            max: CONNECTIONS_CEILING,
        },
        Default::Text("0"),
        "The same for all addresses with the same first 24 bits (IPv4) or 48 bits (IPv6)",
    )
    .flag("connections-per-network")
    .reloads(),
    Key::new(
        "limits.handshake-rate",
        Kind::Count {
            min: 0,
            max: RATE_CEILING,
        },
        Default::Text("0"),
        "How many connections are let in each second, whatever they ask for; one more gets 503 with \
         Retry-After; 0: any number",
    )
    .flag("handshake-rate")
    .reloads(),
    Key::new(
        "limits.handshake-burst",
        Kind::Count {
            min: 1,
            max: RATE_CEILING,
        },
        Default::Auto("as many as in one second"),
        "How many of them may come at once",
    )
    .flag("handshake-burst")
    .reloads(),
    Key::new(
        "limits.handshake-rate-per-address",
        Kind::Count {
            min: 0,
            max: RATE_CEILING,
        },
        Default::Text("0"),
        "The same for one IPv4 address, or 64 bits of an IPv6 one, whose next connection gets 429; \
         0: any number",
    )
    .flag("handshake-rate-per-address")
    .reloads(),
    Key::new(
        "limits.handshake-burst-per-address",
        Kind::Count {
            min: 1,
            max: RATE_CEILING,
        },
        Default::Auto("as many as in ten seconds"),
        "How many of them may come at once",
    )
    .flag("handshake-burst-per-address")
    .reloads(),
];
