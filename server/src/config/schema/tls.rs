//! The keys of TLS.

use std::time::Duration;

use super::{Default, Key};
use crate::config::value::Kind;

/// Sessions that are resumed for less are hardly resumed.
const TICKET_ROTATION_FLOOR: Duration = Duration::from_secs(1);

/// Whoever gets the keys reads the tickets of as long a time. The library's own keys change as often.
const TICKET_ROTATION_CEILING: Duration = Duration::from_secs(6 * 3600);

pub(super) const LISTEN: Key = Key::new(
    "tls.listen",
    Kind::AddressOrOff,
    Default::Text("off"),
    "Where clients connect with TLS, such as 0.0.0.0:8443; port 0 lets the system choose",
)
.flag("tls-listen");

pub(super) const ONLY: Key = Key::new(
    "tls.only",
    Kind::Switch,
    Default::Text("false"),
    "Whether TLS is the only way in: then nobody listens at server.listen",
)
.flag("tls-only");

pub(super) const CERTIFICATE: Key = Key::new(
    "tls.certificate",
    Kind::Files,
    Default::Text(""),
    "The certificate and those between it and the authority, in PEM; with several files, a client \
         gets the one for the name that it asks for, and the first if there is none",
)
.flag("tls-certificate")
.reloads();

pub(super) const KEY: Key = Key::new(
    "tls.key",
    Kind::Files,
    Default::Text(""),
    "The private key of each certificate, in PEM, in the same order",
)
.flag("tls-key")
.reloads();

pub(super) const CLIENT_AUTH: Key = Key::new(
    "tls.client-auth",
    Kind::Choice {
        name: "WHO",
        words: &["none", "optional", "required"],
    },
    Default::Text("none"),
    "Whether clients are asked for a certificate, and whether they need one",
)
.flag("tls-client-auth")
.reloads();

pub(super) const CLIENT_CA: Key = Key::new(
    "tls.client-ca",
    Kind::Files,
    Default::Text(""),
    "The certificates of those who may vouch for clients, in PEM",
)
.flag("tls-client-ca")
.reloads();

pub(super) const CLIENT_CRL: Key = Key::new(
    "tls.client-crl",
    Kind::Files,
    Default::Text(""),
    "Lists of the certificates of clients that were revoked, in PEM; with any, each authority needs \
         one that is not over its time",
)
.flag("tls-client-crl")
.reloads();

pub(super) const MIN_VERSION: Key = Key::new(
    "tls.min-version",
    Kind::Choice {
        name: "VERSION",
        words: &["1.2", "1.3"],
    },
    Default::Text("1.2"),
    "The oldest version of TLS that is spoken; the newest is 1.3",
)
.flag("tls-min-version")
.reloads();

pub(super) const TICKET_ROTATION: Key = Key::new(
    "tls.ticket-rotation",
    Kind::SpanOrNone {
        min: TICKET_ROTATION_FLOOR,
        max: TICKET_ROTATION_CEILING,
    },
    Default::Text("6h"),
    "How often the keys of session tickets change; a session is resumed until twice as long after; \
         0s: none is",
)
.flag("tls-ticket-rotation")
.reloads();
