//! Which offer of permessage-deflate a server takes, and with what (RFC 7692, 5.1 and 7.1).

use std::fmt::Write as _;

use super::parameters::{ClientWindowBits, Parameters};
use super::{EXTENSION_NAME, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::handshake::Extension;

/// What this side wants of the compression: a server of each connection, a client of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Whether windows may be kept from message to message, at a cost in memory for each connection.
    pub takeover: bool,
    /// The largest window of what the server compresses: 9 to 15.
    pub server_window_bits: u8,
    /// The largest window of what the client compresses: 9 to 15. A client that cannot be bound to it, for
    /// it did not offer to be, may use any, but then takes over no context.
    pub client_window_bits: u8,
}

impl DeflatePolicy {
    /// One context for all connections: nothing is kept, windows are as large as they come.
    pub const SHARED: Self = Self {
        takeover: false,
        server_window_bits: WINDOW_BITS_MAX,
        client_window_bits: WINDOW_BITS_MAX,
    };

    /// # Panics
    /// When a window is none that zlib can keep.
    pub(super) fn check(&self) {
        for bits in [self.server_window_bits, self.client_window_bits] {
            let possible = (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits);
            assert!(possible, "a window has 9 to 15 bits, not {bits}");
        }
    }
}

impl Default for DeflatePolicy {
    /// [`DeflatePolicy::SHARED`].
    fn default() -> Self {
        Self::SHARED
    }
}

/// What both sides of one connection keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateAgreement {
    /// The bits `*_TAKEOVER` and `TELLS_*`.
    flags: u8,
    /// Invariant: 9 to 15 at a server; 8 to 15 at a client, whose server may know how to keep 8.
    server_window_bits: u8,
    /// Invariant: 9 to 15.
    client_window_bits: u8,
}

const _: () = assert!(size_of::<DeflateAgreement>() <= 4, "there are a million");

const SERVER_TAKEOVER: u8 = 1;
const CLIENT_TAKEOVER: u8 = 2;
/// The response names the server's window.
const TELLS_SERVER_WINDOW: u8 = 4;
/// The response names the client's window.
const TELLS_CLIENT_WINDOW: u8 = 8;

/// Takes the first offer of permessage-deflate that can be kept, in the client's order of preference.
///
/// An offer that is malformed in any of its parameters, or asks for what cannot be kept, is passed over:
/// RFC 7692, 5.1 and 7 decline such an offer, they do not fail the connection.
///
/// ```
/// use tidegate_proto::deflate::{DeflatePolicy, negotiate};
/// use tidegate_proto::handshake::Upgrade;
///
/// fn extension_line(upgrade: &Upgrade<'_>) -> Option<String> {
///     let agreement = negotiate(upgrade.extensions(), DeflatePolicy::SHARED)?;
///     let mut value = String::new();
///     agreement.write_response(&mut value);
///     Some(value) // `("Sec-WebSocket-Extensions", value)` among the headers of the 101
/// }
/// ```
///
/// # Panics
/// When a window of `policy` is not 9 to 15 bits.
pub fn negotiate<'a>(
    extensions: impl IntoIterator<Item = Extension<'a>>,
    policy: DeflatePolicy,
) -> Option<DeflateAgreement> {
    policy.check();
    let mut offers = extensions.into_iter();
    offers.find_map(|offer| {
        if offer.name != EXTENSION_NAME {
            return None;
        }
        accept(&Parameters::read(&offer)?, policy)
    })
}

/// What to answer to one well-formed offer; `None` declines it.
fn accept(offer: &Parameters, policy: DeflatePolicy) -> Option<DeflateAgreement> {
    let mut flags = 0;
    // RFC 7692, 7.1.1.1: the server accepts it by including it in the response.
    if policy.takeover && !offer.server_no_context_takeover {
        flags |= SERVER_TAKEOVER;
    }
    let server_window_bits = match offer.server_window_bits {
        None => policy.server_window_bits,
        // zlib widens a window of 8 bits to 9: a smaller promise would be broken.
        Some(bits) if bits < WINDOW_BITS_MIN => return None,
        Some(bits) => bits.min(policy.server_window_bits),
    };
    // RFC 7692, 7.1.2.1: accepted by a value that is the same or smaller; allowed without an offer.
    if offer.server_window_bits.is_some() || server_window_bits < WINDOW_BITS_MAX {
        flags |= TELLS_SERVER_WINDOW;
    }
    // RFC 7692, 7.1.2.2: without an offer there must be no answer; what is offered is a hint, which only
    // the answer makes binding. 8 bits are named to nobody: many a client's zlib would keep 9.
    let told = match offer.client_window_bits {
        None => None,
        Some(ClientWindowBits::Any) => Some(policy.client_window_bits),
        Some(ClientWindowBits::AtMost(bits)) => Some(bits.min(policy.client_window_bits)),
    };
    let told = told.filter(|bits| (WINDOW_BITS_MIN..WINDOW_BITS_MAX).contains(bits));
    if told.is_some() {
        flags |= TELLS_CLIENT_WINDOW;
    }
    let client_window_bits = told.unwrap_or(WINDOW_BITS_MAX);
    // RFC 7692, 7.1.1.2: a server may ask for it whether it was offered or not. A client that is not
    // bound to the window may not take it over either, for the largest would have to be held.
    let within = client_window_bits <= policy.client_window_bits;
    if policy.takeover && within && !offer.client_no_context_takeover {
        flags |= CLIENT_TAKEOVER;
    }
    Some(DeflateAgreement {
        flags,
        server_window_bits,
        client_window_bits,
    })
}

impl DeflateAgreement {
    pub(super) fn of_response(
        response: &Parameters,
        client_takeover: bool,
        client_bits: u8,
    ) -> Self {
        let server_takeover = !response.server_no_context_takeover;
        let server = u8::from(server_takeover) * SERVER_TAKEOVER;
        let client = u8::from(client_takeover) * CLIENT_TAKEOVER;
        let tells_server = u8::from(response.server_window_bits.is_some()) * TELLS_SERVER_WINDOW;
        let tells_client = u8::from(response.client_window_bits.is_some()) * TELLS_CLIENT_WINDOW;
        Self {
            flags: server | client | tells_server | tells_client,
            server_window_bits: response.server_window_bits.unwrap_or(WINDOW_BITS_MAX),
            client_window_bits: client_bits,
        }
    }

    /// Whether what the server compresses may refer to its earlier messages.
    #[must_use]
    pub const fn server_takeover(&self) -> bool {
        self.flags & SERVER_TAKEOVER != 0
    }

    /// Whether what the client compresses may refer to its earlier messages.
    #[must_use]
    pub const fn client_takeover(&self) -> bool {
        self.flags & CLIENT_TAKEOVER != 0
    }

    /// How far back, as a power of two, what the server compresses may refer.
    ///
    /// A server that compresses with a larger window sends this connection its messages uncompressed.
    #[must_use]
    pub const fn server_window_bits(&self) -> u8 {
        self.server_window_bits
    }

    /// How far back, as a power of two, what the client compresses may refer.
    #[must_use]
    pub const fn client_window_bits(&self) -> u8 {
        self.client_window_bits
    }

    /// Appends the value of Sec-WebSocket-Extensions for the 101. Nothing a client sent is echoed.
    pub fn write_response(&self, value: &mut String) {
        value.push_str(EXTENSION_NAME);
        if !self.server_takeover() {
            value.push_str("; server_no_context_takeover");
        }
        if !self.client_takeover() {
            value.push_str("; client_no_context_takeover");
        }
        let tells = |flag| self.flags & flag != 0;
        if tells(TELLS_SERVER_WINDOW) {
            write_bits("server_max_window_bits", self.server_window_bits, value);
        }
        if tells(TELLS_CLIENT_WINDOW) {
            write_bits("client_max_window_bits", self.client_window_bits, value);
        }
    }
}

pub(super) fn write_bits(name: &str, bits: u8, value: &mut String) {
    write!(value, "; {name}={bits}").expect("a String takes every write");
}

/// Whether this User-Agent is Safari 15.0 to 15.3, whose connections break when it is told
/// `client_no_context_takeover`: such a client is better off without compression.
#[must_use]
pub fn is_safari_15_0_to_3(user_agent: &str) -> bool {
    let others = [
        "Chrome/",
        "Chromium/",
        "CriOS/",
        "FxiOS/",
        "Edg/",
        "EdgiOS/",
        "OPR/",
    ];
    if !user_agent.contains("Safari/") || others.iter().any(|name| user_agent.contains(name)) {
        return false;
    }
    let version = user_agent
        .split_once("Version/15.")
        .map(|(_, minor)| minor.as_bytes());
    match version {
        Some([b'0'..=b'3', rest @ ..]) => !rest.first().is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safari_15_0_to_15_3_is_recognised() {
        let agent = |version: &str, rest: &str| {
            format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) {version} {rest}"
            )
        };
        for version in ["15.0", "15.1", "15.2", "15.3", "15.3.1", "15.0.2"] {
            assert!(is_safari_15_0_to_3(&agent(
                &format!("Version/{version}"),
                "Safari/605.1.15"
            )));
            let mobile = agent(&format!("Version/{version}"), "Mobile/15E148 Safari/604.1");
            assert!(is_safari_15_0_to_3(&mobile));
        }
        for version in [
            "14.1", "15", "15.4", "15.10", "15.30", "16.0", "115.0", "5.15.1",
        ] {
            let agent = agent(&format!("Version/{version}"), "Safari/605.1.15");
            assert!(!is_safari_15_0_to_3(&agent), "{agent}");
        }
        for rest in [
            "Chrome/97.0 Safari/537.36",
            "Safari/605.1 Edg/97",
            "CriOS/97 Safari/604",
            "",
        ] {
            assert!(!is_safari_15_0_to_3(&agent("Version/15.2", rest)), "{rest}");
        }
        assert!(!is_safari_15_0_to_3(""));
    }
}
