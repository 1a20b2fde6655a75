//! The keys of authentication, each as a row of the table.

use super::{Default, Key, Kind, TIMEOUT_CEILING, TIMEOUT_FLOOR, WATCH_CEILING, any_text};

/// Whoever has more connections than this is no user.
const USER_CONNECTIONS_CEILING: usize = 1_000_000;

pub(super) const CONNECTIONS_PER_USER: Key = Key::new(
    "limits.connections-per-user",
    Kind::Count {
        min: 0,
        max: USER_CONNECTIONS_CEILING,
    },
    Default::Text("0"),
    "How many connections one user may have, over all shards; a further one is refused with 429; \
     0: as many as it likes",
)
.flag("connections-per-user")
.reloads();

pub(super) const SECRET_FILE: Key = text(
    "auth.secret-file",
    "FILE",
    "The secret of HS256, HS384 and HS512: the text of this file without white space around it, \
     32, 48 or 64 bytes at least",
);

pub(super) const PUBLIC_KEY_FILE: Key = text(
    "auth.public-key-file",
    "FILE",
    "Public keys as PEM (RSA, P-256, P-384, Ed25519), one after another",
);

pub(super) const JWKS_FILE: Key = text("auth.jwks-file", "FILE", "Keys as a JWK set (RFC 7517)");

pub(super) const JWKS_URL: Key = text(
    "auth.jwks-url",
    "URL",
    "Where public keys are fetched as a JWK set, over http or https",
);

pub(super) const JWKS_REFRESH: Key = Key::new(
    "auth.jwks-refresh",
    Kind::Span {
        min: TIMEOUT_FLOOR,
        max: WATCH_CEILING,
    },
    Default::Text("10m"),
    "How often the JWK set is fetched anew; the last good one is kept where that fails",
)
.reloads();

pub(super) const JWKS_COOLDOWN: Key = Key::new(
    "auth.jwks-cooldown",
    Kind::Span {
        min: TIMEOUT_FLOOR,
        max: TIMEOUT_CEILING,
    },
    Default::Text("10s"),
    "How long after a fetch a token with an unknown key has the JWK set fetched again",
)
.reloads();

pub(super) const ALGORITHMS: Key = texts(
    "auth.algorithms",
    "NAME",
    "",
    "Which algorithms are taken, of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
     ES256, ES384, EdDSA; none written: whatever fits the keys",
);

pub(super) const ISSUER: Key = text(
    "auth.issuer",
    "NAME",
    "What the claim iss must be; none: it is not looked at",
);

pub(super) const AUDIENCE: Key = texts(
    "auth.audience",
    "NAME",
    "",
    "Of which the claim aud must name one; none: a token for any audience is refused",
);

pub(super) const LEEWAY: Key = Key::new(
    "auth.leeway",
    Kind::SpanOrNone {
        min: TIMEOUT_FLOOR,
        max: TIMEOUT_CEILING,
    },
    Default::Text("30s"),
    "How far clocks may be apart: a token is good so much longer, and so much earlier",
)
.reloads();

pub(super) const REQUIRE_EXPIRY: Key = Key::new(
    "auth.require-expiry",
    Kind::Switch,
    Default::Text("true"),
    "Whether a token must say when it expires (exp)",
)
.reloads();

pub(super) const FROM: Key = texts(
    "auth.from",
    "PLACE",
    "header, subprotocol",
    "Where tokens are looked for: header (Authorization: Bearer), cookie:NAME, query:NAME, \
     subprotocol",
);

pub(super) const USER_CLAIM: Key = Key::new(
    "auth.user-claim",
    Kind::Text {
        name: "CLAIM",
        about: "the name of a claim",
        check: any_text,
    },
    Default::Text("sub"),
    "Which claim names the user",
)
.reloads();

pub(super) const TOPICS_CLAIM: Key = Key::new(
    "auth.topics-claim",
    Kind::Text {
        name: "CLAIM",
        about: "the name of a claim",
        check: any_text,
    },
    Default::Text("tidegate"),
    "Which claim holds the lists hear and say; where a token has none, its own claims hear and \
     say are taken",
)
.reloads();

pub(super) const DEFAULT_RIGHTS: Key = Key::new(
    "auth.default-rights",
    Kind::Choice {
        name: "RIGHTS",
        words: &["all", "hear", "none"],
    },
    Default::Text("all"),
    "What a token allows that names no topics",
)
.reloads();

pub(super) const ANONYMOUS_RIGHTS: Key = Key::new(
    "auth.anonymous-rights",
    Kind::Choice {
        name: "RIGHTS",
        words: &["all", "hear"],
    },
    Default::Text("hear"),
    "What a client without a token may do where one is optional",
)
.reloads();

pub(super) const DEADLINE: Key = Key::new(
    "auth.deadline",
    Kind::Span {
        min: TIMEOUT_FLOOR,
        max: TIMEOUT_CEILING,
    },
    Default::Text("10s"),
    "How long a client may take for its token where it comes after the connect; then 3008",
)
.reloads();

/// Of an endpoint.
pub(super) const ENDPOINT: Key = Key::new(
    "auth",
    Kind::Choice {
        name: "WHEN",
        words: &["none", "required", "optional", "after-connect"],
    },
    Default::Text("none"),
    "Whether a client needs a token: none; required; optional: one is checked if there is one; \
     after-connect: it comes as the first message",
)
.reloads();

const fn text(name: &'static str, placeholder: &'static str, about: &'static str) -> Key {
    let kind = Kind::Text {
        name: placeholder,
        about: "a text, or nothing",
        check: any_text,
    };
    Key::new(name, kind, Default::Text(""), about).reloads()
}

const fn texts(
    name: &'static str,
    placeholder: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    let kind = Kind::Texts { name: placeholder };
    Key::new(name, kind, Default::Text(default), about).reloads()
}
