//! The keys of those who run the server: who may ask, and what is written down.

use super::{Default, Key, any_text};
use crate::config::value::Kind;
use crate::log::{Filter, Target};

pub(super) const TOKEN_FILE: Key = Key::new(
    "admin.token-file",
    Kind::Text {
        name: "FILE",
        about: "the path of a file, or nothing",
        check: any_text,
    },
    Default::Text(""),
    "A file of secrets, one in each line: who asks at the operators' port must have one of them \
     (Authorization: Bearer), but for /healthz and /readyz; needed unless the port is on loopback",
)
.flag("admin-token-file")
.reloads();

pub(super) const METRICS_OPEN: Key = Key::new(
    "admin.metrics-open",
    Kind::Switch,
    Default::Text("false"),
    "Whether /metrics is answered without a token",
)
.reloads();

pub(super) const OPEN: Key = Key::new(
    "admin.open",
    Kind::Switch,
    Default::Text("false"),
    "Whether operators need no token although the port is not on loopback: only the network keeps \
     others away then",
);

pub(super) const LOG_LEVEL: Key = Key::new(
    "log.level",
    Kind::Text {
        name: "LEVEL",
        about: "`\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"`, `\"trace\"` or `\"off\"`, and others for parts of the \
                server: `\"warn,close=debug\"`",
        check: |text| text.parse::<Filter>().map(|_| ()),
    },
    Default::Text("info"),
    "What is written down; parts are server, config, close, handshake, shard, admin, log",
)
.flag("log-level")
.reloads();

pub(super) const LOG_FORMAT: Key = Key::new(
    "log.format",
    Kind::Choice {
        name: "FORMAT",
        words: &["human", "json"],
    },
    Default::Text("human"),
    "Lines for people, or an object of JSON in each line",
)
.flag("log-format")
.reloads();

pub(super) const LOG_TO: Key = Key::new(
    "log.to",
    Kind::Text {
        name: "PLACE",
        about: "`\"auto\"`, `\"stdout\"`, `\"stderr\"`, `\"journald\"`, or the path of a file",
        check: |text| text.parse::<Target>().map(|_| ()),
    },
    Default::Text("auto"),
    "Where it is written; auto: the journal under systemd, else news on stdout and what is wrong on \
     stderr, without the hour, and JSON on stderr; USR1 opens a file again",
)
.flag("log-to")
.reloads();

pub(super) const LOG_CLOSES: Key = Key::new(
    "log.closes",
    Kind::Choice {
        name: "WHICH",
        words: &["none", "anomalies", "all"],
    },
    Default::Text("anomalies"),
    "Which ends of open WebSockets are written down: anomalies are broken rules, slow consumers and \
     timeouts of sending, of a message and of a close",
)
.flag("log-closes")
.reloads();
