//! What events, refusals and settings show of themselves to whoever uses the crate.

mod common;

use common::*;
use tidegate_proto::deflate::{
    DeflatePolicy, Deflater, DeflaterSettings, EXTENSION_NAME, Inflater, RustInflate, negotiate,
};
use tidegate_proto::handshake::{ClientKey, Refusal, Response};
use tidegate_proto::{HeadLimits, Input, MESSAGE_SIZE_MAX_DEFAULT, Session, Settings};

/// What a session shows of the first event in these bytes, whole or cut at each byte.
fn shown(bytes: &[u8], cut: bool) -> String {
    let mut session = Session::server(Settings::default()).with_deflate();
    let mut bytes = bytes.to_vec();
    let size = if cut { 1 } else { bytes.len() };
    for chunk in bytes.chunks_mut(size) {
        let event = session.receive(&mut Input::new(chunk), &mut Vec::new());
        if let Some(event) = event.expect("no rule is broken") {
            return format!("{event:?}");
        }
    }
    panic!("no event");
}

#[test]
fn an_event_shows_what_it_says_wherever_its_bytes_lie() {
    let cases = [
        (masked(FIN | PING, &[1, 2]), "Ping([1, 2])"),
        (masked(FIN | PONG, &[3]), "Pong([3])"),
        (
            masked(FIN | CLOSE, &close_body(1000, b"bye")),
            "Close { code: Some(CloseCode(1000)), reason: \"bye\" }",
        ),
        (
            masked(FIN | RSV1 | TEXT, &[0x00]),
            "Deflated(DeflatedMessage { kind: Text, bytes: [0] })",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(shown(&bytes, false), expected);
        assert_eq!(shown(&bytes, true), expected);
    }
}

#[test]
fn compressed_messages_are_equal_when_kind_and_bytes_are() {
    let mut session = Session::server(Settings::default()).with_deflate();
    let mut chunk = [
        masked(FIN | RSV1 | TEXT, &[0]),
        masked(FIN | RSV1 | TEXT, &[0]),
        masked(FIN | RSV1 | BINARY, &[0]),
        masked(FIN | RSV1 | BINARY, &[1]),
    ]
    .concat();
    let mut input = Input::new(&mut chunk);
    let mut next = || session.receive(&mut input, &mut Vec::new()).unwrap();
    let (first, same, other_kind, other_bytes) = (next(), next(), next(), next());
    assert_eq!(first, same);
    assert_ne!(first, other_kind);
    assert_ne!(other_kind, other_bytes);
}

#[test]
fn what_compresses_shows_its_settings_and_not_its_window() {
    let text = format!("{:?}", Deflater::new(DeflaterSettings::default()));
    assert!(
        text.contains("settings: DeflaterSettings { level: 1"),
        "{text}"
    );
    assert!(text.len() < 200, "{text}");
    let text = format!("{:?}", Inflater::<RustInflate>::default());
    assert!(text.starts_with("Inflater {") && text.len() < 100, "{text}");
}

#[test]
fn what_nobody_chose_is_shared_and_bounded() {
    assert_eq!(DeflaterSettings::default(), DeflaterSettings::SHARED);
    assert_eq!(DeflatePolicy::default(), DeflatePolicy::SHARED);
    assert_eq!(negotiate([], DeflatePolicy::default()), None);
    let mut offer = String::new();
    DeflatePolicy::default().write_offer(&mut offer);
    assert!(offer.starts_with(EXTENSION_NAME), "{offer}");
    let session = Session::server(Settings::default());
    assert_eq!(session.message_size_max(), MESSAGE_SIZE_MAX_DEFAULT);
}

#[test]
fn a_status_has_its_phrase_and_reads_back_as_itself() {
    let cases = [
        (200, "OK"),
        (204, "No Content"),
        (401, "Unauthorized"),
        (408, "Request Timeout"),
        (429, "Too Many Requests"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
        (599, "Response"),
    ];
    for (status, phrase) in cases {
        let response = Response {
            status,
            content_type: "text/plain",
            headers: &[],
            body: b"",
        };
        let mut wire = Vec::new();
        response.write(false, &mut wire);
        let start = format!("HTTP/1.1 {status} {phrase}\r\n");
        assert!(wire.starts_with(start.as_bytes()), "{status}");
        let refused = ClientKey::new([7; 16]).read_response(&wire, &HeadLimits::default());
        assert_eq!(refused.err().map(|refused| refused.status), Some(status));
    }
}

#[test]
fn a_late_head_is_told_so_and_adds_no_header() {
    let refusal = Refusal::timeout();
    assert_eq!((refusal.status, refusal.cause()), (408, "timeout"));
    assert!(refusal.headers().is_empty());
    assert_eq!(Refusal::method_not_allowed().headers(), [("Allow", "GET")]);
}
