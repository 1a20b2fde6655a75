//! Heads of requests and responses, put together line by line.

use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{HeadStatus, Refusal, Request, Upgrade, read_request, upgrade};

/// RFC 6455, 1.3: the key of the example, and what answers it.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The header lines of a good request.
pub(crate) const GOOD: [&str; 5] = [
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// A head out of its first line and its header lines.
pub(crate) fn head(first: &str, lines: &[&str]) -> Vec<u8> {
    format!("{first}\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// A good request with these lines added.
pub(crate) fn good_with(lines: &[&str]) -> Vec<u8> {
    head("GET /chat HTTP/1.1", &[&GOOD[..], lines].concat())
}

/// A good request in which the line of this name stands as given, or not at all.
pub(crate) fn good_but(name: &str, line: Option<&str>) -> Vec<u8> {
    let keep = |good: &&str| !good.starts_with(&format!("{name}:"));
    let mut lines: Vec<&str> = GOOD.into_iter().filter(keep).collect();
    assert_eq!(
        lines.len(),
        GOOD.len() - 1,
        "{name} is a line of a good request"
    );
    lines.extend(line);
    head("GET /chat HTTP/1.1", &lines)
}

/// A complete request.
pub(crate) fn read(bytes: &[u8]) -> Result<Request<'_>, Refusal> {
    match read_request(bytes, &HeadLimits::default())? {
        HeadStatus::Complete { request, size } => {
            assert_eq!(size, bytes.len());
            Ok(request)
        }
        HeadStatus::Partial => panic!("partial: {}", bytes.escape_ascii()),
    }
}

/// What becomes of a complete request for an upgrade.
pub(crate) fn accept(bytes: &[u8]) -> Result<Upgrade<'_>, Refusal> {
    upgrade(&read(bytes)?)
}

/// The status and the cause with which a request is refused.
pub(crate) fn refused(bytes: &[u8]) -> (u16, &'static str) {
    match accept(bytes) {
        Ok(_) => panic!("accepted: {}", bytes.escape_ascii()),
        Err(refusal) => (refusal.status, refusal.cause()),
    }
}

/// The 101 for a request.
pub(crate) fn response_to(bytes: &[u8], protocol: Option<&str>) -> String {
    let mut wire = Vec::new();
    accept(bytes)
        .unwrap()
        .write_response(protocol, &[], &mut wire);
    String::from_utf8(wire).unwrap()
}

/// The response that refuses a request.
pub(crate) fn refusal_of(bytes: &[u8]) -> String {
    let mut wire = Vec::new();
    accept(bytes).err().unwrap().write(&mut wire);
    String::from_utf8(wire).unwrap()
}
