//! The client's half of the opening handshake (RFC 6455, 4.1), as much as a load client needs.

use httparse::{EMPTY_HEADER, Status};

use super::head::{Head, Only, bare_line_feed, write_header};
use super::key::{KEY_SIZE, accept, encode_key};
use super::list::{Extension, contains_token};
use crate::limits::{HEADER_COUNT_CEILING, HeadLimits};

/// The key of one opening handshake, from which the server's proof follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientKey {
    key: [u8; KEY_SIZE],
}

/// What the server has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted<'a> {
    /// The subprotocol it chose.
    pub protocol: Option<&'a str>,
    /// The extensions it chose, as it wrote them.
    pub extensions: Option<&'a str>,
}

/// Why a server's response opens no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (status {status})")]
pub struct ClientRefusal {
    /// The HTTP status; 0 when the response is malformed.
    pub status: u16,
    /// What is wrong.
    pub reason: &'static str,
}

impl ClientRefusal {
    const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

impl ClientKey {
    /// The key for 16 bytes of chance, fresh for each connection (RFC 6455, 4.1).
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        Self {
            key: encode_key(nonce),
        }
    }

    /// The value of Sec-WebSocket-Key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.key).expect("base64 is ASCII")
    }

    /// Appends the request that opens the connection.
    ///
    /// # Panics
    /// When host, target or a header is not fit to stand in its line.
    pub fn write_request(
        &self,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
        wire: &mut Vec<u8>,
    ) {
        let valid = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(valid, "a target is a path without spaces");
        wire.extend_from_slice(b"GET ");
        wire.extend_from_slice(target.as_bytes());
        wire.extend_from_slice(b" HTTP/1.1\r\n");
        write_header("Host", host, wire);
        write_header("Upgrade", "websocket", wire);
        write_header("Connection", "Upgrade", wire);
        write_header("Sec-WebSocket-Key", self.as_str(), wire);
        write_header("Sec-WebSocket-Version", "13", wire);
        for (name, value) in headers {
            write_header(name, value, wire);
        }
        wire.extend_from_slice(b"\r\n");
    }

    /// Reads the server's response from the front of `bytes` and holds it against RFC 6455, 4.1.
    ///
    /// `None` while it is not complete; otherwise also how many bytes it took. What the server chose is
    /// to be held against what was offered with [`Accepted::check`].
    ///
    /// # Errors
    /// A [`ClientRefusal`] with the status, which is 0 if the response is malformed.
    pub fn read_response<'a>(
        &self,
        bytes: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Accepted<'a>, usize)>, ClientRefusal> {
        let window = &bytes[..bytes.len().min(limits.size())];
        let malformed = |reason| ClientRefusal::new(0, reason);
        let mut headers = [EMPTY_HEADER; HEADER_COUNT_CEILING];
        let mut parsed = httparse::Response::new(&mut headers[..limits.header_count()]);
        let status = parsed.parse(window);
        match status.map_err(|_| malformed("the response is malformed"))? {
            Status::Partial if window.len() >= limits.size() => {
                Err(malformed("the head of the response is too large"))
            }
            Status::Partial => Ok(None),
            Status::Complete(size) => {
                if bare_line_feed(&window[..size]).is_some() {
                    return Err(malformed("a line does not end in CR LF"));
                }
                let status = parsed.code.unwrap_or_default();
                // RFC 7231, 6.2: HTTP/1.0 has no 1xx; nor has it connections that change their protocol.
                if status == 101 && parsed.version != Some(1) {
                    let reason = "the response is older than HTTP/1.1";
                    return Err(ClientRefusal::new(status, reason));
                }
                let head = Head::new(window, parsed.headers);
                Ok(Some((self.check_response(status, &head)?, size)))
            }
        }
    }

    /// RFC 6455, 4.1: what a client must find in the response.
    fn check_response<'a>(
        &self,
        status: u16,
        head: &Head<'a>,
    ) -> Result<Accepted<'a>, ClientRefusal> {
        let refuse = |reason| Err(ClientRefusal::new(status, reason));
        if status != 101 {
            return refuse("the server did not switch protocols");
        }
        let upgrade = head.only("Upgrade");
        if !matches!(upgrade, Only::One(value) if value.eq_ignore_ascii_case(b"websocket")) {
            return refuse("the response lacks `Upgrade: websocket`");
        }
        if !head
            .named("Connection")
            .any(|list| contains_token(list, "upgrade"))
        {
            return refuse("the response lacks `Connection: Upgrade`");
        }
        if head.only("Sec-WebSocket-Accept") != Only::One(&accept(&self.key)) {
            return refuse("the Sec-WebSocket-Accept does not answer the key");
        }
        Ok(Accepted {
            protocol: read_text(status, head.only("Sec-WebSocket-Protocol"))?,
            extensions: read_text(status, head.only("Sec-WebSocket-Extensions"))?,
        })
    }
}

fn read_text<'a>(status: u16, value: Only<'a>) -> Result<Option<&'a str>, ClientRefusal> {
    match value {
        Only::Absent => Ok(None),
        Only::One(value) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ClientRefusal::new(status, "a header line is not text")),
        },
        Only::Many => Err(ClientRefusal::new(status, "a header line stands twice")),
    }
}

impl Accepted<'_> {
    /// Holds what the server chose against what was offered: names of subprotocols and of extensions.
    ///
    /// # Errors
    /// A [`ClientRefusal`] when it chose what was not offered, or wrote its extensions malformed
    /// (RFC 6455, 4.1, steps 5 and 6 of what the client must validate).
    pub fn check(&self, protocols: &[&str], extensions: &[&str]) -> Result<(), ClientRefusal> {
        let refuse = |reason| Err(ClientRefusal::new(101, reason));
        if self
            .protocol
            .is_some_and(|chosen| !protocols.contains(&chosen))
        {
            return refuse("the server chose a subprotocol that was not offered");
        }
        let list = self.extensions.map(str::as_bytes);
        for element in list
            .into_iter()
            .flat_map(|list| list.split(|byte| *byte == b','))
        {
            match Extension::parse(element) {
                None => return refuse("the server's extensions are malformed"),
                Some(chosen) if !extensions.contains(&chosen.name) => {
                    return refuse("the server chose an extension that was not offered");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
