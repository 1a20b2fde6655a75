//! The keys of how long a client may take for what, and how quiet it may be.

use super::{
    Default, Key, Kind, PINGS_MISSED_CEILING, TIMEOUT_CEILING, TIMEOUT_FLOOR, WATCH_CEILING,
};

/// A part of [`super::KEYS`].
pub(super) const KEYS: &[Key] = &[
    timeout(
        "timeouts.handshake",
        "10s",
        "How long a client may take to connect and send its whole request",
    )
    .flag("handshake-timeout")
    .reloads(),
    timeout(
        "timeouts.message",
        "60s",
        "How long a message may take from its first byte to its last; then 1008",
    )
    .flag("message-timeout")
    .reloads(),
    timeout(
        "timeouts.send",
        "30s",
        "How long what was sent may wait for a client that does not read; then a reset",
    )
    .flag("send-timeout")
    .reloads(),
    timeout(
        "timeouts.close",
        "5s",
        "How long a client may take to answer a close; then a reset",
    )
    .flag("close-timeout")
    .reloads(),
    watch(
        "heartbeat.ping-interval",
        "45s",
        "How often each client is pinged, spread over the clients; 0s: never",
    )
    .flag("ping-interval")
    .reloads(),
    Key::new(
        "heartbeat.pings-missed",
        Kind::Count {
            min: 1,
            max: PINGS_MISSED_CEILING,
        },
        Default::Text("2"),
        "After how many pings without a sign of life a client is closed with 1008",
    )
    .flag("pings-missed")
    .reloads(),
    watch(
        "heartbeat.read-idle-timeout",
        "0s",
        "How long a client may say nothing at all, not even a pong; then 1008; 0s: for ever",
    )
    .flag("read-idle-timeout")
    .reloads(),
    watch(
        "heartbeat.write-idle-timeout",
        "0s",
        "How long a client may be sent nothing; then it is pinged; 0s: for ever",
    )
    .flag("write-idle-timeout")
    .reloads(),
    watch(
        "heartbeat.idle-timeout",
        "0s",
        "How long no message may go either way, pings aside; then 1000; 0s: for ever",
    )
    .flag("idle-timeout")
    .reloads(),
    watch(
        "heartbeat.tcp-user-timeout",
        "0s",
        "How long the kernel waits for a client to acknowledge what was sent; 0s: some 15 minutes",
    )
    .flag("tcp-user-timeout"),
];

const fn timeout(name: &'static str, default: &'static str, about: &'static str) -> Key {
    let kind = Kind::Span {
        min: TIMEOUT_FLOOR,
        max: TIMEOUT_CEILING,
    };
    Key::new(name, kind, Default::Text(default), about)
}

const fn watch(name: &'static str, default: &'static str, about: &'static str) -> Key {
    let kind = Kind::SpanOrNone {
        min: TIMEOUT_FLOOR,
        max: WATCH_CEILING,
    };
    Key::new(name, kind, Default::Text(default), about)
}
