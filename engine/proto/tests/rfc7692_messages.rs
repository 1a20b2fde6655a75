//! RFC 7692, sections 6 and 7.2: each rule of compressed messages, quoted, and what comes of it.

mod common;
#[path = "deflate_laws/mod.rs"]
#[allow(dead_code, reason = "each test file tries its own part of this")]
mod laws;

use common::*;
use laws::{HELLO, Rust};
use tidegate_proto::frame::Header;
use tidegate_proto::{MessageKind, Session, Settings, Violation};

const KIND: MessageKind = MessageKind::Text;

fn server() -> Session {
    Session::server(Settings::default()).with_deflate()
}

fn deflated(bytes: &[u8]) -> Seen {
    Seen::Deflated(KIND, bytes.to_vec())
}

fn assert_refused_with_deflate(bytes: &[u8], violation: Violation) {
    let expected = (vec![Seen::Violation(violation)], failure(violation));
    assert_eq!(converse(server(), &[bytes]), expected);
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(converse(server(), &bytewise), expected);
}

// RFC 7692, 6: "On a WebSocket connection where a PMCE is in use, this bit indicates whether a message is
// compressed or not."
#[test]
fn rsv1_on_the_first_frame_marks_a_compressed_message() {
    let whole = masked(FIN | RSV1 | TEXT, &HELLO);
    assert_eq!(converse(server(), &[&whole]).0, [deflated(&HELLO)]);
    let fragments = [
        masked(RSV1 | TEXT, &HELLO[..3]),
        masked(FIN | PING, b""),
        masked(CONTINUATION, &[]),
        masked(FIN | CONTINUATION, &HELLO[3..]),
    ];
    let seen = converse(server(), &[&fragments.concat()]).0;
    assert_eq!(seen, [Seen::Ping(vec![]), deflated(&HELLO)]);
    let plain = masked(FIN | TEXT, b"Hello");
    let both = [whole, plain].concat();
    assert_eq!(
        converse(server(), &[&both]).0,
        [deflated(&HELLO), text("Hello")]
    );
}

// RFC 7692, 6: "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and
// non-first fragments of a data message. An endpoint receiving such a frame MUST _Fail the WebSocket
// Connection_."
#[test]
fn rsv1_on_any_other_frame_is_refused() {
    let violation = Violation::ReservedBit;
    assert_refused_with_deflate(&masked(FIN | RSV1 | PING, b""), violation);
    assert_refused_with_deflate(&masked(FIN | RSV1 | PONG, b""), violation);
    assert_refused_with_deflate(&masked(FIN | RSV1 | CLOSE, b""), violation);
    assert_refused_with_deflate(&masked(FIN | RSV1 | CONTINUATION, b""), violation);
    for first in [TEXT, RSV1 | TEXT, BINARY] {
        let start = masked(first, b"a");
        let twice = [&start[..], &masked(RSV1 | CONTINUATION, b"b")].concat();
        assert_refused_with_deflate(&twice, violation);
    }
    assert_refused_with_deflate(&masked(FIN | RSV1 | 0x20 | TEXT, b""), violation);
    assert_refused_with_deflate(&masked(FIN | 0x10 | TEXT, b""), violation);
    assert_refused(&masked(FIN | RSV1 | TEXT, &HELLO), violation);
}

// RFC 7692, 6: "PMCEs do not change the opcode field. The opcode of the first frame of a compressed
// message indicates the opcode of the original message."
#[test]
fn a_sent_compressed_message_has_rsv1() {
    let mut wire = Vec::new();
    assert!(server().send_deflated(KIND, &HELLO, &mut wire));
    assert_eq!(wire, unmasked(FIN | RSV1 | TEXT, &HELLO));
    let mut client = Session::client(Settings::default()).with_deflate();
    wire.clear();
    assert!(client.send_deflated_masked(MessageKind::Binary, &HELLO, KEY, &mut wire));
    assert_eq!(wire, masked(FIN | RSV1 | BINARY, &HELLO));
    let parsed = Header::parse_extended(&wire).unwrap().unwrap();
    assert!(parsed.0.rsv1);
    client.close_masked(None, "", KEY, &mut wire);
    wire.clear();
    assert!(!client.send_deflated_masked(KIND, &HELLO, KEY, &mut wire));
    let mut closed = server();
    closed.close(None, "", &mut Vec::new());
    assert!(!closed.send_deflated(KIND, &HELLO, &mut wire));
    assert!(wire.is_empty());
}

// RFC 7692, 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end."
#[test]
fn what_is_compressed_lacks_the_end_of_its_last_block() {
    laws::codes::what_is_compressed_lacks_the_end_of_its_last_block::<Rust>();
}

// RFC 7692, 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the
// message."
#[test]
fn what_is_inflated_gets_the_end_of_its_last_block_back() {
    laws::codes::what_is_inflated_gets_the_end_of_its_last_block_back::<Rust>();
}

// RFC 7692, 7.2.2: "Otherwise, the server MUST decompress each new message using the LZ77 sliding window
// used to process the last compressed message."
#[test]
fn a_message_may_refer_to_the_one_before_it() {
    laws::codes::a_message_may_refer_to_the_one_before_it::<Rust>();
}

// RFC 7692, 7.2.1: "An endpoint MAY use both DEFLATE blocks with the "BFINAL" bit set to 0 and DEFLATE
// blocks with the "BFINAL" bit set to 1."
#[test]
fn a_final_block_ends_no_message() {
    laws::codes::a_final_block_ends_no_message::<Rust>();
}

// RFC 7692, 7.2.1: "An endpoint MAY use DEFLATE blocks of any type."
#[test]
fn blocks_of_any_type_are_inflated() {
    laws::codes::blocks_of_any_type_are_inflated::<Rust>();
}

// RFC 7692, 7.2.1: "An endpoint MAY use multiple DEFLATE blocks to compress one message."
#[test]
fn a_message_may_have_several_blocks() {
    laws::codes::a_message_may_have_several_blocks::<Rust>();
}

// RFC 7692, 7.2.3.6: "The single octet 0x00 contains the header bits with "BFINAL" set to 0 and "BTYPE"
// set to 00"
#[test]
fn an_empty_message_is_one_byte() {
    laws::codes::an_empty_message_is_one_byte::<Rust>();
}

// RFC 6455, 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream
// is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
#[test]
fn an_inflated_text_is_validated() {
    laws::codes::an_inflated_text_is_validated::<Rust>();
    // The compressed bytes themselves are not text, and need not be.
    let frame = masked(FIN | RSV1 | TEXT, &[0xff, 0xfe]);
    assert_eq!(converse(server(), &[&frame]).0, [deflated(&[0xff, 0xfe])]);
}

// RFC 6455, 7.1.7: "the endpoint SHOULD send a Close frame with an appropriate status code (Section 7.4)"
#[test]
fn a_violation_found_while_inflating_ends_the_session() {
    let (mut session, mut wire, mut seen) = (server(), Vec::new(), Vec::new());
    session.fail_with(Violation::DeflateInvalid, &mut wire);
    assert_eq!(wire, failure(Violation::DeflateInvalid));
    assert!(session.is_closed() && session.close_sent());
    session.fail_with(Violation::MessageTooBig, &mut wire);
    feed(
        &mut session,
        &masked(FIN | TEXT, b"x"),
        &mut wire,
        &mut seen,
    );
    assert_eq!((wire, seen), (failure(Violation::DeflateInvalid), vec![]));
    assert_eq!(Violation::DeflateInvalid.code().value(), 1007);
    let mut closing = server();
    let mut wire = Vec::new();
    closing.close(None, "", &mut wire);
    let sent = wire.clone();
    closing.fail_with(Violation::DeflateInvalid, &mut wire);
    assert!(closing.is_closed());
    assert_eq!(wire, sent, "one close frame is enough");
}
