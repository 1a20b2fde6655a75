//! Every key that can be configured, in one table.
//!
//! From it come the flags of `tidegate serve`, the variables of the environment, what is accepted
//! in a file, `gen-config`, `check-config` and docs/configuration.md. A new key is a row here and a
//! line in [`crate::settings`].

use std::time::Duration;

use crate::config::value::{Kind, Value};

mod admission;
mod auth;
mod lifecycle;
mod limits;
mod operators;
mod tls;
mod watch;

/// The largest message that can be allowed; far below 4 GiB, where 32 bits would end.
const MESSAGE_SIZE_CEILING: usize = 1 << 30;

/// Below this a peer would be cut off for a moment's delay.
const OUTBOX_SIZE_FLOOR: usize = 4 << 10;
const OUTBOX_SIZE_CEILING: usize = 1 << 30;

/// A few contexts at least, and at most more than a host has.
const CONTEXT_SIZE_FLOOR: usize = 1 << 20;
const CONTEXT_SIZE_CEILING: usize = 1 << 40;

/// More cores than that has no machine on which this has been tried.
pub(crate) const SHARDS_CEILING: usize = 256;

/// Nobody waits longer for a server to end.
const DRAIN_CEILING: Duration = Duration::from_secs(24 * 3600);

/// A tick of the shards' timers is 128 ms: anything shorter would be one tick.
const TIMEOUT_FLOOR: Duration = Duration::from_millis(100);

/// What takes longer than that is not a slow peer, but none.
const TIMEOUT_CEILING: Duration = Duration::from_secs(3600);

/// Who may be quiet for longer is not watched.
const WATCH_CEILING: Duration = Duration::from_secs(24 * 3600);

/// Whoever misses more pings than this is not watched.
const PINGS_MISSED_CEILING: usize = 100;

/// Less than a segment would be sent in crumbs.
const UNSENT_SIZE_FLOOR: usize = 4 << 10;
const UNSENT_SIZE_CEILING: usize = 1 << 30;

/// More endpoints are written by a program, which has made a mistake.
pub(crate) const ENDPOINTS_MAX: usize = 1000;

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its section and its name, such as `limits.max-message`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Default,
    /// What it is for: one sentence without a full stop.
    pub(crate) about: &'static str,
    /// Its long flag, without the dashes.
    pub(crate) flag: Option<&'static str>,
    pub(crate) short: Option<char>,
    /// Whether a reload takes it. If not, it takes a restart.
    pub(crate) reloads: bool,
}

/// What holds where nothing is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Default {
    /// This, as a file or a flag would say it.
    Text(&'static str),
    /// `auto`, which means this.
    Auto(&'static str),
    /// What another key says; it is taken by writing nothing.
    Inherit(&'static str),
    /// Nothing: it must be written.
    Required,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, default: Default, about: &'static str) -> Self {
        Self {
            name,
            kind,
            default,
            about,
            flag: None,
            short: None,
            reloads: false,
        }
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    /// The section, and the name within it.
    pub(crate) fn split(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// The variable of the environment: `TIDEGATE__LIMITS__MAX_MESSAGE`.
    pub(crate) fn variable(&self) -> String {
        let name = self.name.replace('.', "__").replace('-', "_");
        format!("{VARIABLE_PREFIX}{}", name.to_ascii_uppercase())
    }

    /// Reads what a flag or a variable says.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        match self.default {
            Default::Auto(_) if text == "auto" => Ok(Value::Auto),
            Default::Auto(_) => self
                .kind
                .parse(text)
                .map_err(|advice| format!("{advice}, or auto")),
            Default::Text(_) | Default::Inherit(_) | Default::Required => self.kind.parse(text),
        }
    }

    /// The value that holds where nothing is written.
    ///
    /// # Panics
    /// When the table has a default that the key itself refuses; a test looks at each.
    pub(crate) fn default_value(&self) -> Value {
        match self.default {
            Default::Text(text) => self.kind.parse(text).expect("a test has read each default"),
            Default::Auto(_) | Default::Inherit(_) | Default::Required => Value::Auto,
        }
    }
}

/// How variables that configure the server begin.
pub(crate) const VARIABLE_PREFIX: &str = "TIDEGATE__";

/// The sections, in the order in which they are shown.
pub(crate) const SECTIONS: [(&str, &str); 10] = [
    ("server", "Where clients connect, and what runs the server"),
    ("admin", "The operators' port: keep it away from clients"),
    (
        "tls",
        "Encrypted connections (https, wss), on a port of their own; there is none unless listen is written",
    ),
    ("log", "What is written down, how and where"),
    ("limits", "How much one client may take"),
    ("timeouts", "How long a client may take for what"),
    (
        "heartbeat",
        "How quiet a client may be, and how the dead are found",
    ),
    (
        "auth",
        "Who may connect where endpoints ask for a token (JWT), and what the token allows",
    ),
    (
        "compression",
        "Messages compressed for those who can (permessage-deflate)",
    ),
    (
        "sandbox",
        "What the kernel keeps the server from, whoever has taken it over",
    ),
];

/// What stands above the endpoints.
pub(crate) const ENDPOINT_ABOUT: &str = "What clients find on the public port";

/// All keys but those of endpoints; of a section, in the order in which they are shown.
pub(crate) static KEYS: &[Key] = &joined::<
    { SERVER_KEYS.len() + watch::KEYS.len() + limits::KEYS.len() + admission::KEYS.len() },
>(&[SERVER_KEYS, watch::KEYS, limits::KEYS, admission::KEYS]);

/// The keys of an endpoint. A reload takes them all.
pub(crate) static ENDPOINT_KEYS: &[Key] = &joined::<
    { PLACE_KEYS.len() + limits::ENDPOINT_KEYS.len() },
>(&[PLACE_KEYS, limits::ENDPOINT_KEYS]);

/// The keys of these tables, one table after another.
const fn joined<const COUNT: usize>(tables: &[&[Key]]) -> [Key; COUNT] {
    let mut all = [tables[0][0]; COUNT];
    let (mut table, mut count) = (0, 0);
    while table < tables.len() {
        let mut index = 0;
        while index < tables[table].len() {
            all[count] = tables[table][index];
            index += 1;
            count += 1;
        }
        table += 1;
    }
    assert!(count == COUNT, "no table has been left out");
    all
}

const SERVER_KEYS: &[Key] = &[
    Key::new(
        "server.listen",
        Kind::Address,
        Default::Text("127.0.0.1:8080"),
        "Where clients connect; port 0 lets the system choose",
    )
    .flag("listen")
    .short('l'),
    Key::new(
        "admin.listen",
        Kind::Address,
        Default::Text("127.0.0.1:9090"),
        "Where operators connect: health, metrics, publish; keep it away from clients",
    )
    .flag("admin"),
    operators::TOKEN_FILE,
    operators::METRICS_OPEN,
    operators::OPEN,
    operators::LOG_LEVEL,
    operators::LOG_FORMAT,
    operators::LOG_TO,
    operators::LOG_CLOSES,
    Key::new(
        "server.shards",
        Kind::Count {
            min: 1,
            max: SHARDS_CEILING,
        },
        Default::Auto("one for each core"),
        "How many shards, each a thread on a core of its own",
    )
    .flag("shards"),
    Key::new(
        "server.io",
        Kind::Choice {
            name: "DRIVER",
            words: &["auto", "epoll", "uring"],
        },
        Default::Text("auto"),
        "How the shards speak to the kernel: with epoll, with io_uring (Linux 5.19 or newer), or \
         with io_uring where it can be had and else with epoll",
    )
    .flag("io"),
    Key::new(
        "server.host",
        Kind::Choice {
            name: "HOST",
            words: &["auto", "glommio", "thread"],
        },
        Default::Text("auto"),
        "What runs each shard: a glommio executor, which needs io_uring, a plain thread, or \
         glommio where it can be had and else a thread",
    )
    .flag("host"),
    Key::new(
        "server.descriptors",
        Kind::Choice {
            name: "SCOPE",
            words: &["shard", "process"],
        },
        Default::Text("process"),
        "What the limit of open files holds for: the whole process, or each shard alone, which \
         then has a table of descriptors of its own (most tools see that of the process only)",
    )
    .flag("descriptors"),
    tls::LISTEN,
    tls::ONLY,
    tls::CERTIFICATE,
    tls::KEY,
    tls::CLIENT_AUTH,
    tls::CLIENT_CA,
    tls::CLIENT_CRL,
    tls::MIN_VERSION,
    tls::TICKET_ROTATION,
    Key::new(
        "limits.max-message",
        Kind::Size {
            min: 1,
            max: MESSAGE_SIZE_CEILING,
        },
        Default::Text("64KiB"),
        "The largest message; a larger one closes its connection with 1009",
    )
    .flag("max-message")
    .reloads(),
    Key::new(
        "limits.outbox-max",
        Kind::Size {
            min: OUTBOX_SIZE_FLOOR,
            max: OUTBOX_SIZE_CEILING,
        },
        Default::Auto("one largest message and 128KiB"),
        "How much may wait for a client that does not read, before it is disconnected",
    )
    .flag("outbox-max")
    .reloads(),
    Key::new(
        "limits.slow",
        limits::SLOW,
        Default::Text("disconnect"),
        "What happens to what is published for a client that does not read: it is disconnected when \
         its outbox is full, or the oldest or the newest is dropped, or only the latest of each key is \
         kept, or (pause) it is also not listened to while anything waits for it",
    )
    .flag("slow")
    .reloads(),
    Key::new(
        "limits.notsent-lowat",
        Kind::SizeOrNone {
            min: UNSENT_SIZE_FLOOR,
            max: UNSENT_SIZE_CEILING,
        },
        Default::Text("0B"),
        "With so much that it has not sent yet, the kernel takes no more for a client, so that stale \
         data does not pile up in it; 0B: as much as its buffer holds",
    )
    .flag("notsent-lowat"),
    auth::CONNECTIONS_PER_USER,
    auth::SECRET_FILE,
    auth::PUBLIC_KEY_FILE,
    auth::JWKS_FILE,
    auth::JWKS_URL,
    auth::JWKS_REFRESH,
    auth::JWKS_COOLDOWN,
    auth::ALGORITHMS,
    auth::ISSUER,
    auth::AUDIENCE,
    auth::LEEWAY,
    auth::REQUIRE_EXPIRY,
    auth::FROM,
    auth::USER_CLAIM,
    auth::TOPICS_CLAIM,
    auth::DEFAULT_RIGHTS,
    auth::ANONYMOUS_RIGHTS,
    auth::DEADLINE,
    Key::new(
        "compression.tier",
        limits::TIER,
        Default::Text("shared"),
        "How messages are compressed for those who can: not at all, with contexts shared by all \
         (no memory per connection), or with contexts of their own, which compress better",
    )
    .flag("compression")
    .reloads(),
    Key::new(
        "compression.memory",
        Kind::Size {
            min: CONTEXT_SIZE_FLOOR,
            max: CONTEXT_SIZE_CEILING,
        },
        Default::Text("256MiB"),
        "What all contexts of the takeover tier may take together",
    )
    .flag("compression-memory"),
    Key::new(
        "server.origins",
        Kind::Origins,
        Default::Text(""),
        "Which web pages may connect beside the server's own: https://app.example.com, for one, \
         or * for any",
    )
    .flag("origin")
    .reloads(),
    Key::new(
        "server.page",
        Kind::Switch,
        Default::Text("true"),
        "Whether there is a page with a small chat at /, to try the server; it speaks at /ws/{topic}",
    )
    .reloads(),
    Key::new(
        "server.drain-timeout",
        Kind::Span {
            min: Duration::ZERO,
            max: DRAIN_CEILING,
        },
        Default::Text("10s"),
        "How long connections get to close politely after TERM",
    )
    .flag("drain-timeout")
    .reloads(),
    lifecycle::DRAIN_DELAY,
    lifecycle::DRAIN_SPREAD,
    lifecycle::RETRY_AFTER,
    lifecycle::USER,
    lifecycle::GROUP,
    lifecycle::LANDLOCK,
    lifecycle::SECCOMP,
    Key::new(
        "server.share-port",
        Kind::Switch,
        Default::Text("false"),
        "Share the port with other processes of the same user, such as the next version; each \
         needs an admin port of its own",
    )
    .flag("share-port"),
];

const PLACE_KEYS: &[Key] = &[
    Key::new(
        "path",
        Kind::Path,
        Default::Required,
        "Where it is found; an exact path goes before a pattern",
    )
    .reloads(),
    Key::new(
        "kind",
        Kind::Choice {
            name: "KIND",
            words: &["echo", "topic", "feed"],
        },
        Default::Required,
        "echo: a client hears what it says; topic: everybody there hears what anybody there says; \
         feed: hears the topic and says nothing, or with @ before the topic hears how many are there",
    )
    .reloads(),
    Key::new(
        "origins",
        Kind::Origins,
        Default::Inherit("server.origins"),
        "Which web pages may connect beside the server's own, instead of those of the server; all \
         endpoints share their topics, so a topic is kept from a page only if every topic and feed \
         endpoint is",
    )
    .reloads(),
    Key::new(
        "max-message",
        Kind::Size {
            min: 1,
            max: MESSAGE_SIZE_CEILING,
        },
        Default::Inherit("limits.max-message"),
        "The largest message here",
    )
    .reloads(),
    auth::ENDPOINT,
];

/// The endpoints that there are where none is configured: path and kind.
pub(crate) const DEFAULT_ENDPOINTS: [(&str, &str); 3] = [
    ("/echo", "echo"),
    ("/ws/{topic}", "topic"),
    ("/feed/{topic}", "feed"),
];

/// The check of a text that may be any.
fn any_text(_: &str) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests;
