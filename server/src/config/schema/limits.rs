//! The keys of what a connection may say and hear, and those by which an endpoint says so for itself.

use super::{
    Default, Key, OUTBOX_SIZE_CEILING, OUTBOX_SIZE_FLOOR, PINGS_MISSED_CEILING, TIMEOUT_CEILING,
    TIMEOUT_FLOOR, WATCH_CEILING,
};
use crate::config::value::Kind;

/// More a second than that says nobody.
const MESSAGE_RATE_CEILING: usize = 1_000_000;

/// Less a second would hold a single read back for minutes.
const BYTE_RATE_FLOOR: usize = 1 << 10;
const BYTE_RATE_CEILING: usize = 1 << 30;

/// Whoever hears more is a program that should have a topic for all of them.
const TOPICS_PER_CONNECTION_CEILING: usize = 100;

/// More topics than that on one shard are no limit.
const TOPICS_CEILING: usize = 100_000_000;

/// The largest that any name may be.
const TOPIC_NAME_CEILING: usize = crate::names::NAME_SIZE_MAX;

const MESSAGE_RATE: Kind = Kind::Count {
    min: 0,
    max: MESSAGE_RATE_CEILING,
};

const MESSAGE_BURST: Kind = Kind::Count {
    min: 1,
    max: MESSAGE_RATE_CEILING,
};

const BYTE_RATE: Kind = Kind::SizeOrNone {
    min: BYTE_RATE_FLOOR,
    max: BYTE_RATE_CEILING,
};

const BYTE_BURST: Kind = Kind::Size {
    min: BYTE_RATE_FLOOR,
    max: BYTE_RATE_CEILING,
};

const RATE_POLICY: Kind = Kind::Choice {
    name: "POLICY",
    words: &["close", "slow"],
};

const TOPICS_PER_CONNECTION: Kind = Kind::Count {
    min: 1,
    max: TOPICS_PER_CONNECTION_CEILING,
};

pub(super) const SLOW: Kind = Kind::Choice {
    name: "POLICY",
    words: &[
        "disconnect",
        "drop-oldest",
        "drop-newest",
        "latest",
        "pause",
    ],
};

pub(super) const TIER: Kind = Kind::Choice {
    name: "TIER",
    words: &["off", "shared", "takeover"],
};

const TIMEOUT: Kind = Kind::Span {
    min: TIMEOUT_FLOOR,
    max: TIMEOUT_CEILING,
};

const WATCH: Kind = Kind::SpanOrNone {
    min: TIMEOUT_FLOOR,
    max: WATCH_CEILING,
};

/// Those of the server, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "limits.message-rate",
        MESSAGE_RATE,
        Default::Text("0"),
        "How many messages a client may send in a second, on the long run; a ping, a pong that was \
         not asked for and each further fragment of a message count as one, too; 0: as many as it likes",
    )
    .flag("message-rate")
    .reloads(),
    Key::new(
        "limits.message-burst",
        MESSAGE_BURST,
        Default::Auto("as many as in a second"),
        "How many messages a client may send at once after a while of silence",
    )
    .flag("message-burst")
    .reloads(),
    Key::new(
        "limits.byte-rate",
        BYTE_RATE,
        Default::Text("0B"),
        "How many bytes a client may send in a second, on the long run, as they arrive: compressed, \
         and with the headers of frames; 0B: as many as it likes",
    )
    .flag("byte-rate")
    .reloads(),
    Key::new(
        "limits.byte-burst",
        BYTE_BURST,
        Default::Auto("as many as in a second, or one largest message if that is more"),
        "How many bytes a client may send at once after a while of silence",
    )
    .flag("byte-burst")
    .reloads(),
    Key::new(
        "limits.rate-policy",
        RATE_POLICY,
        Default::Text("close"),
        "What happens to a client that sends more than that: it is closed with 1008, and what is too \
         much is not delivered, or it is slowed down: not received from until it may go on",
    )
    .flag("rate-policy")
    .reloads(),
    Key::new(
        "limits.topics-per-connection",
        TOPICS_PER_CONNECTION,
        Default::Text("16"),
        "How many topics one feed may hear (/feed/a?topic=b&topic=c); more are refused with 400",
    )
    .flag("topics-per-connection")
    .reloads(),
    Key::new(
        "limits.topics-max",
        Kind::Count {
            min: 0,
            max: TOPICS_CEILING,
        },
        Default::Text("0"),
        "How many topics a shard may have, those included of which only the count is heard; whoever \
         asks for one more is refused with 503; 0: as many as are asked for",
    )
    .flag("topics-max")
    .reloads(),
    Key::new(
        "limits.topic-name-max",
        Kind::Count {
            min: 1,
            max: TOPIC_NAME_CEILING,
        },
        Default::Text("128"),
        "How many bytes of UTF-8 the name of a topic may have; a longer one is refused with 400",
    )
    .flag("topic-name-max")
    .reloads(),
    Key::new(
        "limits.topic-names",
        Kind::Choice {
            name: "CHARACTERS",
            words: &["any", "ascii", "plain"],
        },
        Default::Text("any"),
        "Of what the names of topics may be made: of any characters but controls and slashes, of those \
         of ASCII, or of letters, digits and -._~ alone, which no URL has to encode; others are refused \
         with 400",
    )
    .flag("topic-names")
    .reloads(),
];

/// Those by which an endpoint says otherwise for itself, in the order in which they are shown.
pub(super) const ENDPOINT_KEYS: &[Key] = &[
    Key::new(
        "topics",
        Kind::Topics,
        Default::Text("*"),
        "Which topics there are here: names, in which * stands for any characters; others are refused \
         with 403",
    )
    .reloads(),
    own(
        "topics-per-connection",
        TOPICS_PER_CONNECTION,
        "limits.topics-per-connection",
        "How many topics one feed may hear here",
    ),
    own(
        "message-rate",
        MESSAGE_RATE,
        "limits.message-rate",
        "How many messages a client may send in a second here; 0: as many as it likes",
    ),
    own(
        "message-burst",
        MESSAGE_BURST,
        "limits.message-burst",
        "How many messages at once",
    ),
    own(
        "byte-rate",
        BYTE_RATE,
        "limits.byte-rate",
        "How many bytes a client may send in a second here; 0B: as many as it likes",
    ),
    own(
        "byte-burst",
        BYTE_BURST,
        "limits.byte-burst",
        "How many bytes at once",
    ),
    own(
        "rate-policy",
        RATE_POLICY,
        "limits.rate-policy",
        "What happens to a client that sends more than that",
    ),
    own(
        "outbox-max",
        Kind::Size {
            min: OUTBOX_SIZE_FLOOR,
            max: OUTBOX_SIZE_CEILING,
        },
        "limits.outbox-max",
        "How much may wait here for a client that does not read",
    ),
    own(
        "slow",
        SLOW,
        "limits.slow",
        "What happens here to what is published for a client that does not read",
    ),
    own(
        "compression",
        TIER,
        "compression.tier",
        "How messages are compressed here",
    ),
    own(
        "message-timeout",
        TIMEOUT,
        "timeouts.message",
        "How long a message may take here",
    ),
    own(
        "send-timeout",
        TIMEOUT,
        "timeouts.send",
        "How long what was sent may wait here for a client that does not read",
    ),
    own(
        "close-timeout",
        TIMEOUT,
        "timeouts.close",
        "How long a client may take here to answer a close",
    ),
    own(
        "ping-interval",
        WATCH,
        "heartbeat.ping-interval",
        "How often each client is pinged here; 0s: never",
    ),
    own(
        "pings-missed",
        Kind::Count {
            min: 1,
            max: PINGS_MISSED_CEILING,
        },
        "heartbeat.pings-missed",
        "After how many pings without a sign of life a client is closed here",
    ),
    own(
        "read-idle-timeout",
        WATCH,
        "heartbeat.read-idle-timeout",
        "How long a client may say nothing at all here; 0s: for ever",
    ),
    own(
        "write-idle-timeout",
        WATCH,
        "heartbeat.write-idle-timeout",
        "How long a client may be sent nothing here before it is pinged; 0s: for ever",
    ),
    own(
        "idle-timeout",
        WATCH,
        "heartbeat.idle-timeout",
        "How long no message may go either way here; 0s: for ever",
    ),
];

/// A key by which an endpoint says otherwise than the server.
const fn own(name: &'static str, kind: Kind, usual: &'static str, about: &'static str) -> Key {
    Key::new(name, kind, Default::Inherit(usual), about).reloads()
}
