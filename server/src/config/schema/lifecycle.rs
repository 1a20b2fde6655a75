//! The keys of how the server ends, is followed, and is fenced in, each as a row of the table.

use std::time::Duration;

use super::{DRAIN_CEILING, Default, Key, Kind, TIMEOUT_CEILING, any_text};

pub(super) const DRAIN_DELAY: Key = Key::new(
    "server.drain-delay",
    Kind::Span {
        min: Duration::ZERO,
        max: TIMEOUT_CEILING,
    },
    Default::Text("0s"),
    "How long the server is not ready and still accepts after TERM, so that load balancers notice \
     before clients do",
)
.flag("drain-delay")
.reloads();

pub(super) const DRAIN_SPREAD: Key = Key::new(
    "server.drain-spread",
    Kind::Span {
        min: Duration::ZERO,
        max: DRAIN_CEILING,
    },
    Default::Auto("1ms for each connection, at most half of the drain timeout"),
    "Over how long the closes are spread after TERM, so that not all clients come back at once",
)
.flag("drain-spread")
.reloads();

pub(super) const RETRY_AFTER: Key = Key::new(
    "server.retry-after",
    Kind::Span {
        min: Duration::ZERO,
        max: TIMEOUT_CEILING,
    },
    Default::Text("2s"),
    "When clients are told to come back after TERM: each a span of its own, from this to twice this; \
     0s: they are told nothing",
)
.flag("retry-after")
.reloads();

pub(super) const USER: Key = Key::new(
    "server.user",
    Kind::Text {
        name: "USER",
        about: "the name or the number of a user, or nothing",
        check: any_text,
    },
    Default::Text(""),
    "As whom the server runs when it has its ports, if it was started as root: a name or a number; \
     none: as whoever has started it",
)
.flag("user");

pub(super) const GROUP: Key = Key::new(
    "server.group",
    Kind::Text {
        name: "GROUP",
        about: "the name or the number of a group, or nothing",
        check: any_text,
    },
    Default::Text(""),
    "In which group it then is, and in no other; none: in that of the user",
)
.flag("group");

pub(super) const LANDLOCK: Key = Key::new(
    "sandbox.landlock",
    FENCE,
    Default::Text("auto"),
    "Whether the kernel keeps the server from files that it does not need (Landlock): auto where \
     the kernel can, on or not at all, off",
)
.flag("landlock");

pub(super) const SECCOMP: Key = Key::new(
    "sandbox.seccomp",
    FENCE,
    Default::Text("auto"),
    "Whether the kernel refuses system calls that the server does not need (seccomp): auto where \
     the kernel can, on or not at all, off",
)
.flag("seccomp");

const FENCE: Kind = Kind::Choice {
    name: "WHEN",
    words: &["auto", "on", "off"],
};
