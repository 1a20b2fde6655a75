//! RFC 6455, section 4.1: what a client sends first, and what it must find in the response.

mod common;

use common::heads::*;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{Accepted, ClientKey, ClientRefusal};

/// The bytes whose base64 is the key in RFC 6455, 1.3.
const NONCE: [u8; 16] = *b"the sample nonce";

const GOOD_RESPONSE: [&str; 3] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
];

fn request() -> Vec<u8> {
    let mut wire = Vec::new();
    let offer = [("Sec-WebSocket-Protocol", "chat")];
    ClientKey::new(NONCE).write_request("example.com:8080", "/chat?a", &offer, &mut wire);
    wire
}

fn response(lines: &[&str]) -> Vec<u8> {
    head("HTTP/1.1 101 Switching Protocols", lines)
}

fn response_but(name: &str, line: Option<&str>) -> Vec<u8> {
    let keep = |good: &&str| !good.starts_with(&format!("{name}:"));
    let mut lines: Vec<&str> = GOOD_RESPONSE.into_iter().filter(keep).collect();
    lines.extend(line);
    response(&lines)
}

fn read_response(bytes: &[u8]) -> Result<Option<(Accepted<'_>, usize)>, ClientRefusal> {
    ClientKey::new(NONCE).read_response(bytes, &HeadLimits::default())
}

fn reason(bytes: &[u8]) -> (u16, &'static str) {
    let refusal = read_response(bytes).expect_err("the response is refused");
    (refusal.status, refusal.reason)
}

// RFC 6455, 4.1: "The handshake MUST be a valid HTTP request as specified by [RFC2616]."
// RFC 6455, 4.1: "The method of the request MUST be GET, and the HTTP version MUST be at least 1.1."
// RFC 6455, 4.1: "The request MUST contain a |Host| header field"
// RFC 6455, 4.1: "The request MUST contain an |Upgrade| header field whose value MUST include the
// "websocket" keyword."
// RFC 6455, 4.1: "The request MUST contain a |Connection| header field whose value MUST include the
// "Upgrade" token."
// RFC 6455, 4.1: "The value of this header field MUST be 13."
#[test]
fn the_request_has_every_part() {
    let expected = "GET /chat?a HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(String::from_utf8(request()).unwrap(), expected);
}

// RFC 6455, 4.1: "The value of this header field MUST be a nonce consisting of a randomly selected
// 16-byte value that has been base64-encoded (see Section 4 of [RFC4648])."
#[test]
fn the_key_is_the_nonce_in_base64() {
    assert_eq!(ClientKey::new(NONCE).as_str(), SAMPLE_KEY);
    let mut nonce = [0; 16];
    nonce
        .iter_mut()
        .zip(1..)
        .for_each(|(byte, value)| *byte = value);
    // The RFC prints the last digit as C, whose lower bits are lost when it is decoded.
    assert_eq!(ClientKey::new(nonce).as_str(), "AQIDBAUGBwgJCgsMDQ4PEA==");
}

// RFC 6455, 4.1: "the value of the header field would be "AQIDBAUGBwgJCgsMDQ4PEC=="
#[test]
fn the_example_key_as_printed_is_taken_by_the_server() {
    let line = "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==";
    assert!(accept(&good_but("Sec-WebSocket-Key", Some(line))).is_ok());
}

#[test]
fn both_halves_understand_each_other() {
    let request = request();
    let upgrade = accept(&request).unwrap();
    let mut wire = Vec::new();
    upgrade.write_response(Some("chat"), &[("X-Extra", "1")], &mut wire);
    let (accepted, size) = read_response(&wire).unwrap().unwrap();
    assert_eq!((accepted.protocol, size), (Some("chat"), wire.len()));
    assert_eq!(accepted.check(&["chat"], &[]), Ok(()));
}

#[test]
fn a_response_is_partial_until_its_empty_line() {
    let bytes = response(&GOOD_RESPONSE);
    for size in 0..bytes.len() {
        assert_eq!(read_response(&bytes[..size]), Ok(None), "{size}");
    }
    // What follows belongs to the session.
    let with_frame = [&bytes[..], &[0x81, 0]].concat();
    let (_, size) = read_response(&with_frame).unwrap().unwrap();
    assert_eq!(size, bytes.len());
}

// RFC 6455, 4.1: "If the status code received from the server is not 101, the client handles the response
// per HTTP [RFC2616] procedures."
#[test]
fn another_status_is_told_to_the_caller() {
    for status in [200, 301, 401, 503] {
        let bytes = head(&format!("HTTP/1.1 {status} No"), &GOOD_RESPONSE);
        assert_eq!(
            reason(&bytes),
            (status, "the server did not switch protocols")
        );
    }
}

// RFC 7231, 6.2: HTTP/1.0 has no 1xx, so such a server has not understood what it was asked.
#[test]
fn the_response_is_of_http_1_1() {
    let bytes = head("HTTP/1.0 101 Switching Protocols", &GOOD_RESPONSE);
    let expected = (101, "the response is older than HTTP/1.1");
    assert_eq!(reason(&bytes), expected);
    // What else it says is told as it is.
    let bytes = head("HTTP/1.0 503 No", &GOOD_RESPONSE);
    let expected = (503, "the server did not switch protocols");
    assert_eq!(reason(&bytes), expected);
}

// RFC 6455, 4.1: "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains
// a value that is not an ASCII case-insensitive match for the value "websocket", the client MUST _Fail the
// WebSocket Connection_."
#[test]
fn the_response_upgrades_to_websocket() {
    let expected = (101, "the response lacks `Upgrade: websocket`");
    assert_eq!(reason(&response_but("Upgrade", None)), expected);
    assert_eq!(
        reason(&response_but("Upgrade", Some("Upgrade: h2c"))),
        expected
    );
    assert!(read_response(&response_but("Upgrade", Some("upgrade: WEBSOCKET"))).is_ok());
}

// RFC 6455, 4.1: "If the response lacks a |Connection| header field or the |Connection| header field
// doesn't contain a token that is an ASCII case-insensitive match for the value "Upgrade", the client
// MUST _Fail the WebSocket Connection_."
#[test]
fn the_response_has_the_upgrade_token() {
    let expected = (101, "the response lacks `Connection: Upgrade`");
    assert_eq!(reason(&response_but("Connection", None)), expected);
    assert_eq!(
        reason(&response_but("Connection", Some("Connection: close"))),
        expected
    );
    let listed = response_but("Connection", Some("Connection: x, upgrade"));
    assert!(read_response(&listed).is_ok());
}

// RFC 6455, 4.1: "If the response lacks a |Sec-WebSocket-Accept| header field or the
// |Sec-WebSocket-Accept| contains a value other than the base64-encoded SHA-1 of the concatenation of the
// |Sec-WebSocket-Key| (as a string, not base64-decoded) with the string
// "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" but ignoring any leading and trailing whitespace, the client MUST
// _Fail the WebSocket Connection_."
#[test]
fn the_response_answers_the_key() {
    let name = "Sec-WebSocket-Accept";
    let expected = (101, "the Sec-WebSocket-Accept does not answer the key");
    assert_eq!(reason(&response_but(name, None)), expected);
    let wrong = "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    assert_eq!(reason(&response_but(name, Some(wrong))), expected);
    let spaced = format!("Sec-WebSocket-Accept:  \t{SAMPLE_ACCEPT}  ");
    assert!(read_response(&response_but(name, Some(&spaced))).is_ok());
    let doubled = [&GOOD_RESPONSE[..], &GOOD_RESPONSE[2..]].concat();
    assert_eq!(reason(&response(&doubled)), expected);
}

// RFC 6455, 4.1: "If the response includes a |Sec-WebSocket-Extensions| header field and this header field
// indicates the use of an extension that was not present in the client's handshake (the server has
// indicated an extension not requested by the client), the client MUST _Fail the WebSocket Connection_."
#[test]
fn an_extension_that_was_not_offered_is_refused() {
    let lines = [&GOOD_RESPONSE[..], &["Sec-WebSocket-Extensions: a; b=1, c"]].concat();
    let bytes = response(&lines);
    let (accepted, _) = read_response(&bytes).unwrap().unwrap();
    assert_eq!(accepted.check(&[], &["a", "c"]), Ok(()));
    assert!(accepted.check(&[], &["a"]).is_err());
    let malformed = Accepted {
        protocol: None,
        extensions: Some("a;;"),
    };
    assert!(malformed.check(&[], &["a"]).is_err());
}

// RFC 6455, 4.1: "If the response includes a |Sec-WebSocket-Protocol| header field and this header field
// indicates the use of a subprotocol that was not present in the client's handshake (the server has
// indicated a subprotocol not requested by the client), the client MUST _Fail the WebSocket Connection_."
#[test]
fn a_protocol_that_was_not_offered_is_refused() {
    let lines = [&GOOD_RESPONSE[..], &["Sec-WebSocket-Protocol: chat"]].concat();
    let bytes = response(&lines);
    let (accepted, _) = read_response(&bytes).unwrap().unwrap();
    assert_eq!(accepted.check(&["x", "chat"], &[]), Ok(()));
    assert!(accepted.check(&["x"], &[]).is_err());
    assert!(accepted.check(&[], &[]).is_err());
}

// RFC 6455, 11.3.2: "the |Sec-WebSocket-Extensions| header field MUST NOT appear more than once in an HTTP
// response."
// RFC 6455, 11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in an HTTP
// response."
#[test]
fn a_doubled_line_in_the_response_is_refused() {
    for line in ["Sec-WebSocket-Extensions: a", "Sec-WebSocket-Protocol: a"] {
        let lines = [&GOOD_RESPONSE[..], &[line, line]].concat();
        assert_eq!(
            reason(&response(&lines)),
            (101, "a header line stands twice")
        );
    }
}

// RFC 6455, 4.1: "If the server's response does not conform to the requirements for the server's handshake
// as defined in this section and in Section 4.2.2, the client MUST _Fail the WebSocket Connection_."
#[test]
fn a_response_that_is_none_is_refused() {
    for bytes in [
        &b"\x81\x05hello"[..],
        b"HTTP/2 101\r\n\r\n",
        b"HTTP/1.1 101 ok\r\nA : b\r\n\r\n",
        b"HTTP/1.1 101 ok\nA: b\n\n",
    ] {
        assert_eq!(reason(bytes).0, 0, "{}", bytes.escape_ascii());
    }
    let endless = [b"HTTP/1.1 101 ok\r\nA: ".to_vec(), vec![b'x'; 9000]].concat();
    assert_eq!(
        reason(&endless),
        (0, "the head of the response is too large")
    );
}
