//! RFC 7692, sections 6 and 7.2: each rule of compressed messages, quoted, and what comes of it.

mod common;

use common::*;
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};
use tidegate_proto::frame::Header;
use tidegate_proto::{Message, MessageKind, Session, Settings, Violation};

const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const KIND: MessageKind = MessageKind::Text;

fn server() -> Session {
    Session::server(Settings::default()).with_deflate()
}

fn deflated(bytes: &[u8]) -> Seen {
    Seen::Deflated(KIND, bytes.to_vec())
}

/// The texts of messages that one inflater gets one after the other.
fn inflated(messages: &[&[u8]], takeover: bool) -> Result<Vec<String>, Violation> {
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let inflate = |compressed: &&[u8]| {
        let message = inflater.inflate(KIND, compressed, takeover, 1024, &mut out)?;
        Ok(String::from_utf8_lossy(message.as_bytes()).into_owned())
    };
    messages.iter().map(inflate).collect()
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
    let mut compressed = Vec::new();
    Deflater::new(DeflaterSettings::SHARED).deflate(b"Hello", false, &mut compressed);
    assert_eq!(compressed, HELLO);
}

// RFC 7692, 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the
// message."
#[test]
fn what_is_inflated_gets_the_end_of_its_last_block_back() {
    for takeover in [false, true] {
        assert_eq!(inflated(&[&HELLO], takeover), Ok(vec!["Hello".to_owned()]));
        for size in 0..HELLO.len() {
            let cut = inflated(&[&HELLO[..size]], takeover);
            assert_eq!(cut, Err(Violation::DeflateInvalid), "{size} {takeover}");
        }
        for surplus in [0x01, 0x02, 0xff] {
            let longer = [&HELLO[..], &[surplus]].concat();
            assert_eq!(
                inflated(&[&longer], takeover),
                Err(Violation::DeflateInvalid)
            );
        }
    }
}

// RFC 7692, 7.2.2: "Otherwise, the server MUST decompress each new message using the LZ77 sliding window
// used to process the last compressed message."
#[test]
fn a_message_may_refer_to_the_one_before_it() {
    // RFC 7692, 7.2.3.2: the second "Hello" when the window is shared.
    let again: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    let both = inflated(&[&HELLO, again, again], true).unwrap();
    assert_eq!(both, ["Hello"; 3]);
    let without = inflated(&[&HELLO, again], false);
    assert_eq!(without, Err(Violation::DeflateInvalid));
    let mut deflater = Deflater::new(DeflaterSettings::TAKEOVER);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let payload = b"the same and the same and something else";
    deflater.deflate(payload, true, &mut first);
    deflater.deflate(payload, true, &mut second);
    assert!(second.len() * 2 < first.len(), "{first:x?} {second:x?}");
}

// RFC 7692, 7.2.1: "An endpoint MAY use both DEFLATE blocks with the "BFINAL" bit set to 0 and DEFLATE
// blocks with the "BFINAL" bit set to 1."
#[test]
fn a_final_block_ends_no_message() {
    // RFC 7692, 7.2.3.4: the one byte after it is an empty stored block.
    let last: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    for takeover in [false, true] {
        let three = inflated(&[last, last, &HELLO], takeover);
        assert_eq!(three.unwrap(), ["Hello"; 3]);
        let several = [&last[..7], &last[..7], &HELLO].concat();
        assert_eq!(
            inflated(&[&several], takeover).unwrap(),
            ["HelloHelloHello"]
        );
        assert_eq!(
            inflated(&[&last[..7]], takeover),
            Err(Violation::DeflateInvalid)
        );
    }
}

// RFC 7692, 7.2.1: "An endpoint MAY use DEFLATE blocks of any type."
#[test]
fn blocks_of_any_type_are_inflated() {
    let stored: &[u8] = &[
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    for takeover in [false, true] {
        assert_eq!(inflated(&[stored, &HELLO], takeover).unwrap(), ["Hello"; 2]);
    }
}

// RFC 7692, 7.2.1: "An endpoint MAY use multiple DEFLATE blocks to compress one message."
#[test]
fn a_message_may_have_several_blocks() {
    // RFC 7692, 7.2.3.5.
    let two: &[u8] = &[
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    for takeover in [false, true] {
        assert_eq!(inflated(&[two, two], takeover).unwrap(), ["Hello"; 2]);
    }
}

// RFC 7692, 7.2.3.6: "The single octet 0x00 contains the header bits with "BFINAL" set to 0 and "BTYPE"
// set to 00"
#[test]
fn an_empty_message_is_one_byte() {
    for takeover in [false, true] {
        assert_eq!(
            inflated(&[&[0x00], &HELLO, &[0x00]], takeover).unwrap(),
            ["", "Hello", ""]
        );
        // Nothing at all is no deflate data: the four bytes appended to it are none either.
        assert_eq!(inflated(&[&[]], takeover), Err(Violation::DeflateInvalid));
        let (mut deflater, mut out) = (Deflater::new(DeflaterSettings::TAKEOVER), vec![9; 9]);
        for _ in 0..3 {
            deflater.deflate(b"", takeover, &mut out);
            assert_eq!(out, [0x00]);
            deflater.deflate(b"something", takeover, &mut out);
        }
    }
}

// RFC 6455, 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream
// is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
#[test]
fn an_inflated_text_is_validated() {
    let (mut inflater, mut deflater) = (Inflater::new(), Deflater::new(DeflaterSettings::SHARED));
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    deflater.deflate(b"no \xff text", false, &mut compressed);
    let text = inflater.inflate(KIND, &compressed, false, 100, &mut out);
    assert_eq!(text, Err(Violation::TextInvalid));
    let binary = inflater.inflate(MessageKind::Binary, &compressed, false, 100, &mut out);
    assert_eq!(binary, Ok(Message::Binary(b"no \xff text")));
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
