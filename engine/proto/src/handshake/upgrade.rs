//! Whether a request opens a WebSocket, and the 101 that accepts it (RFC 6455, 4.2).

use super::head::{Only, write_header};
use super::key::{ACCEPT_SIZE, accept, is_key};
use super::list::{Elements, Extension, Extensions, Protocols, contains_token, token};
use super::refusal::Refusal;
use super::request::Request;
use super::response::write_status_line;

/// How many subprotocols one request may offer. Their names are compared with each other.
pub const PROTOCOL_COUNT_MAX: usize = 64;

/// A request that opens a WebSocket and breaks no rule; whether it is welcome is the caller's question.
#[derive(Debug, Clone)]
pub struct Upgrade<'a> {
    request: Request<'a>,
    accept: [u8; ACCEPT_SIZE],
}

/// Holds a request against RFC 6455, 4.2.1.
///
/// # Errors
/// The [`Refusal`] to answer with: 405 for another method than GET; 426 when no WebSocket of version 13
/// is asked for; 400 for whatever else is missing, doubled or malformed.
pub fn upgrade<'a>(request: &Request<'a>) -> Result<Upgrade<'a>, Refusal> {
    if request.method() != "GET" {
        return Err(Refusal::method_not_allowed().answering(request.method()));
    }
    check_upgrade(request)?;
    if request.has_body() {
        let reason = "A request for an upgrade has no body.";
        return Err(Refusal::bad_request("body", reason));
    }
    check_version(request)?;
    let key = read_key(request)?;
    check_protocols(request)?;
    check_extensions(request)?;
    Ok(Upgrade {
        request: request.clone(),
        accept: accept(key),
    })
}

/// RFC 6455, 4.2.1, 3 and 4: Upgrade holds "websocket", Connection holds "Upgrade".
fn check_upgrade(request: &Request<'_>) -> Result<(), Refusal> {
    let mut upgrades = request.headers_named("Upgrade");
    if !upgrades.any(|list| contains_token(list, "websocket")) {
        let reason = "This path is for WebSocket: the request needs `Upgrade: websocket`.";
        return Err(Refusal::upgrade_required("upgrade", reason));
    }
    let mut connections = request.headers_named("Connection");
    if !connections.any(|list| contains_token(list, "upgrade")) {
        let reason = "The request needs `Connection: Upgrade`.";
        return Err(Refusal::bad_request("connection", reason));
    }
    Ok(())
}

/// RFC 6455, 4.2.1, 6 and 4.4: version 13, once; for any other a 426 names ours.
fn check_version(request: &Request<'_>) -> Result<(), Refusal> {
    let reason = match request.head().only("Sec-WebSocket-Version") {
        Only::One(b"13") => return Ok(()),
        Only::One(_) => {
            let reason = "Only version 13 of WebSocket is spoken here.";
            return Err(Refusal::upgrade_required("version", reason));
        }
        Only::Absent => "The request has no Sec-WebSocket-Version.",
        Only::Many => "The request has more than one Sec-WebSocket-Version.",
    };
    Err(Refusal::bad_request("version", reason))
}

/// RFC 6455, 4.2.1, 5: the key is base64 of 16 bytes; 11.3.1: it stands there once.
fn read_key<'a>(request: &Request<'a>) -> Result<&'a [u8], Refusal> {
    let reason = match request.head().only("Sec-WebSocket-Key") {
        Only::One(key) if is_key(key) => return Ok(key),
        Only::One(_) => "The Sec-WebSocket-Key is not base64 of 16 bytes.",
        Only::Absent => "The request has no Sec-WebSocket-Key.",
        Only::Many => "The request has more than one Sec-WebSocket-Key.",
    };
    Err(Refusal::bad_request("key", reason))
}

/// RFC 6455, 4.1, 10: the names are tokens and differ from each other.
fn check_protocols(request: &Request<'_>) -> Result<(), Refusal> {
    let refuse = |reason| Err(Refusal::bad_request("protocol", reason));
    let mut names = [""; PROTOCOL_COUNT_MAX];
    for (index, element) in protocol_elements(request).enumerate() {
        let Some(name) = token(element) else {
            return refuse("A name in Sec-WebSocket-Protocol is malformed.");
        };
        if index >= PROTOCOL_COUNT_MAX {
            return refuse("Sec-WebSocket-Protocol offers too many names.");
        }
        if names[..index].contains(&name) {
            return refuse("A name stands twice in Sec-WebSocket-Protocol.");
        }
        names[index] = name;
    }
    Ok(())
}

/// RFC 6455, 9.1: a list that does not follow the grammar fails the connection.
fn check_extensions(request: &Request<'_>) -> Result<(), Refusal> {
    let mut elements = extension_elements(request);
    if elements.all(|element| Extension::parse(element).is_some()) {
        return Ok(());
    }
    let reason = "The Sec-WebSocket-Extensions are malformed.";
    Err(Refusal::bad_request("extension", reason))
}

fn protocol_elements<'r, 'a>(request: &'r Request<'a>) -> Elements<'r, 'a> {
    Elements::new(request.head().named("Sec-WebSocket-Protocol"))
}

fn extension_elements<'r, 'a>(request: &'r Request<'a>) -> Elements<'r, 'a> {
    Elements::new(request.head().named("Sec-WebSocket-Extensions"))
}

impl<'a> Upgrade<'a> {
    /// The value of Sec-WebSocket-Accept.
    #[must_use]
    pub fn accept(&self) -> &str {
        std::str::from_utf8(&self.accept).expect("base64 is ASCII")
    }

    /// The subprotocols the client offers, in its order of preference.
    #[must_use]
    pub fn protocols(&self) -> Protocols<'_, 'a> {
        Protocols(protocol_elements(&self.request))
    }

    /// The extensions the client offers, in its order of preference. None of them is taken yet.
    #[must_use]
    pub fn extensions(&self) -> Extensions<'_, 'a> {
        Extensions(extension_elements(&self.request))
    }

    /// Appends the 101 response (RFC 6455, 4.2.2, 5).
    ///
    /// # Panics
    /// When `protocol` is not one of those offered, or a header of the caller's is not one line: what a
    /// client sent is echoed only where it was checked.
    pub fn write_response(
        &self,
        protocol: Option<&str>,
        headers: &[(&str, &str)],
        wire: &mut Vec<u8>,
    ) {
        write_status_line(101, wire);
        write_header("Upgrade", "websocket", wire);
        write_header("Connection", "Upgrade", wire);
        write_header("Sec-WebSocket-Accept", self.accept(), wire);
        if let Some(protocol) = protocol {
            let offered = self.protocols().any(|offer| offer == protocol);
            assert!(offered, "the chosen protocol was not offered");
            write_header("Sec-WebSocket-Protocol", protocol, wire);
        }
        for (name, value) in headers {
            write_header(name, value, wire);
        }
        wire.extend_from_slice(b"\r\n");
    }
}
