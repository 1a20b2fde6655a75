//! RFC 6455, section 5: each rule of framing, quoted, and what a session makes of it.

mod common;

use common::*;
use tidegate_proto::frame::{Header, Opcode, encode_message, header_size};
use tidegate_proto::{Message, Session, Settings, Violation};

fn sent(message: Message<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    assert!(Session::server(Settings::default()).send(message, &mut wire));
    wire
}

// RFC 6455, 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
// RFC 6455, 5.1: "a server MAY send a Close frame with a status code of 1002 (protocol error)"
#[test]
fn an_unmasked_frame_from_a_client_is_refused() {
    assert_refused(&unmasked(FIN | TEXT, b"plain"), Violation::Unmasked);
    assert_refused_at_last_byte(&[FIN | BINARY, 0], Violation::Unmasked);
    assert_refused(&unmasked(FIN | PING, b""), Violation::Unmasked);
    assert_eq!(Violation::Unmasked.code().value(), 1002);
}

// RFC 6455, 5.1: "A server MUST NOT mask any frames that it sends to the client."
#[test]
fn a_server_masks_no_frame() {
    let mut session = Session::server(Settings::default());
    let mut wire = Vec::new();
    session.send(Message::Text("hi"), &mut wire);
    session.ping(b"!", &mut wire);
    feed(
        &mut session,
        &masked(FIN | PING, b"?"),
        &mut wire,
        &mut Vec::new(),
    );
    session.close(None, "", &mut wire);
    let mut rest = &wire[..];
    let mut count = 0;
    while let Some((header, size)) = Header::parse(rest).unwrap() {
        assert_eq!(header.mask, None);
        rest = &rest[size + usize::try_from(header.payload_size).unwrap()..];
        count += 1;
    }
    assert_eq!(count, 4);
}

// RFC 6455, 5.1: "A client MUST close a connection if it detects a masked frame."
#[test]
fn a_client_refuses_a_masked_frame() {
    let session = Session::client(Settings::default());
    let (seen, wire) = converse(session, &[&masked(FIN | TEXT, b"x")]);
    assert_eq!(seen, [Seen::Violation(Violation::Masked)]);
    assert!(wire.is_empty(), "its close frame needs a key");
}

// RFC 6455, 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero
// values. If a nonzero value is received and none of the negotiated extensions defines the meaning of
// such a nonzero value, the receiving endpoint MUST _Fail the WebSocket Connection_."
#[test]
fn a_reserved_bit_is_refused_with_the_first_byte() {
    for bits in 1..8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let first = FIN | bits << 4 | opcode;
            assert_refused_at_last_byte(&[first], Violation::ReservedBit);
            assert_refused(&masked(first, b""), Violation::ReservedBit);
        }
    }
}

// RFC 6455, 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
// Connection_."
// RFC 6455, 5.5: "Opcodes 0xB-0xF are reserved for further control frames yet to be defined."
#[test]
fn a_reserved_opcode_is_refused_with_the_first_byte() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_refused_at_last_byte(&[FIN | opcode], Violation::ReservedOpcode);
        assert_refused_at_last_byte(&[opcode], Violation::ReservedOpcode);
        assert_eq!(Opcode::new(opcode), None);
    }
}

// RFC 6455, 5.2: "if 0-125, that is the payload length. If 126, the following 2 bytes interpreted as a
// 16-bit unsigned integer are the payload length. If 127, the following 8 bytes interpreted as a 64-bit
// unsigned integer (the most significant bit MUST be 0) are the payload length."
#[test]
fn each_form_of_the_length_is_read_and_written() {
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537] {
        let payload = vec![0xa5; size];
        let mut session = Session::server(Settings {
            message_size_max: 70_000,
        });
        let (mut seen, mut wire) = (Vec::new(), Vec::new());
        feed(
            &mut session,
            &masked(FIN | BINARY, &payload),
            &mut wire,
            &mut seen,
        );
        assert_eq!(seen, [Seen::Binary(payload.clone())], "{size}");
        encode_message(Message::Binary(&payload), &mut wire);
        assert_eq!(wire, unmasked(FIN | BINARY, &payload), "{size}");
        assert_eq!(wire.len(), header_size(size) + size);
    }
}

// RFC 6455, 5.2: "the most significant bit MUST be 0"
#[test]
fn a_length_with_its_top_bit_set_is_refused_with_that_byte() {
    assert_refused_at_last_byte(&[FIN | BINARY, 0xff, 0x80], Violation::LengthTopBit);
    assert_refused(
        &[FIN | BINARY, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0],
        Violation::LengthTopBit,
    );
}

// RFC 6455, 5.2: "Multibyte length quantities are expressed in network byte order."
#[test]
fn lengths_are_in_network_byte_order() {
    assert_eq!(
        sent(Message::Binary(&[0; 0x0102]))[..4],
        [0x82, 126, 0x01, 0x02]
    );
    let large = sent(Message::Binary(&[0; 0x01_0203]));
    assert_eq!(large[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 2, 3]);
}

// RFC 6455, 5.2: "in all cases, the minimal number of bytes MUST be used to encode the length, for
// example, the length of a 124-byte-long string can't be encoded as the sequence 126, 0, 124."
#[test]
fn a_length_that_is_not_minimal_is_refused_as_early_as_it_shows() {
    assert_refused_at_last_byte(&[FIN | TEXT, 0xfe, 0, 124], Violation::LengthNotMinimal);
    assert_refused_at_last_byte(&[FIN | TEXT, 0xfe, 0, 125], Violation::LengthNotMinimal);
    let zeros = [FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0];
    assert_refused_at_last_byte(&zeros, Violation::LengthNotMinimal);
    let whole = [FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_refused(&whole, Violation::LengthNotMinimal);
}

#[test]
fn a_length_that_is_not_minimal_is_refused_though_its_frame_is_whole() {
    for size in [0, 1, 124, 125] {
        for opcode in [TEXT, BINARY] {
            let minimal = masked(FIN | opcode, &vec![b'x'; usize::from(size)]);
            let mut frame = vec![FIN | opcode, 0xfe, 0, size];
            frame.extend_from_slice(&minimal[2..]);
            assert_refused(&frame, Violation::LengthNotMinimal);
        }
    }
}

// RFC 6455, 5.3: "The masking key is contained completely within the frame"
// RFC 6455, 5.3: "Octet i of the transformed data ("transformed-octet-i") is the XOR of octet i of the
// original data ("original-octet-i") with octet at index i modulo 4 of the masking key"
#[test]
fn a_payload_is_unmasked_octet_by_octet() {
    // RFC 6455, 5.7, the single-frame masked text message "Hello".
    let frame = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(served(&frame).0, [text("Hello")]);
    assert_eq!(masked(FIN | TEXT, b"Hello"), frame);
}

// RFC 6455, 5.3: "The masking does not affect the length of the "Payload data"."
#[test]
fn a_client_masks_what_it_sends_and_keeps_its_length() {
    let mut session = Session::client(Settings::default());
    let mut wire = Vec::new();
    assert!(session.send_masked(Message::Text("Hello"), KEY, &mut wire));
    assert_eq!(wire, masked(FIN | TEXT, b"Hello"));
    wire.clear();
    assert!(session.send_masked(Message::Binary(&[1; 300]), KEY, &mut wire));
    assert_eq!(wire, masked(FIN | BINARY, &[1; 300]));
    wire.clear();
    assert!(session.ping_masked(b"ping", KEY, &mut wire));
    assert_eq!(wire, masked(FIN | PING, b"ping"));
}

// RFC 6455, 5.4: "An unfragmented message consists of a single frame with the FIN bit set (Section 5.2)
// and an opcode other than 0."
#[test]
fn one_frame_with_fin_is_a_message() {
    assert_eq!(served(&masked(FIN | TEXT, b"one")).0, [text("one")]);
    assert_eq!(served(&masked(FIN | BINARY, b"")).0, [Seen::Binary(vec![])]);
}

// RFC 6455, 5.4: "A fragmented message consists of a single frame with the FIN bit clear and an opcode
// other than 0, followed by zero or more frames with the FIN bit clear and the opcode set to 0, and
// terminated by a single frame with the FIN bit set and an opcode of 0."
#[test]
fn fragments_are_put_together_in_their_order() {
    let fragments = [
        masked(TEXT, b"one "),
        masked(CONTINUATION, b"two "),
        masked(CONTINUATION, b""),
        masked(FIN | CONTINUATION, b"three"),
    ];
    assert_eq!(served(&fragments.concat()).0, [text("one two three")]);
    let two = [masked(BINARY, b""), masked(FIN, b"")].concat();
    assert_eq!(served(&two).0, [Seen::Binary(vec![])]);
}

// RFC 6455, 5.4: "A fragmented message consists of a single frame with the FIN bit clear and an opcode
// other than 0"
#[test]
fn a_continuation_of_nothing_is_refused_with_the_first_byte() {
    assert_refused_at_last_byte(&[FIN | CONTINUATION], Violation::ContinuationUnexpected);
    assert_refused_at_last_byte(&[CONTINUATION], Violation::ContinuationUnexpected);
    let stray = [masked(BINARY, b"a"), masked(FIN, b"b"), masked(FIN, b"c")].concat();
    let last = served(&stray).0.pop();
    assert_eq!(
        last,
        Some(Seen::Violation(Violation::ContinuationUnexpected))
    );
}

// RFC 6455, 5.4: "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented
// message."
// RFC 6455, 5.4: "An endpoint MUST be capable of handling control frames in the middle of a fragmented
// message."
#[test]
fn control_frames_may_stand_between_fragments() {
    let bytes = [
        masked(TEXT, b"a"),
        masked(FIN | PING, b"1"),
        masked(CONTINUATION, b"b"),
        masked(FIN | PONG, b"2"),
        masked(FIN, b"c"),
    ];
    let (seen, wire) = served(&bytes.concat());
    assert_eq!(
        seen,
        [
            Seen::Ping(b"1".to_vec()),
            Seen::Pong(b"2".to_vec()),
            text("abc")
        ]
    );
    assert_eq!(wire, unmasked(FIN | PONG, b"1"));
}

// RFC 6455, 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another
// message unless an extension has been negotiated that can interpret the interleaving."
#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    let begun = masked(TEXT, b"a");
    for first in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        let bytes = [&begun[..], &[first]].concat();
        assert_refused_at_last_byte(&bytes, Violation::MessageInterrupted);
    }
}

// RFC 6455, 5.4: "all fragments of a message are of the same type, as set by the first fragment's
// opcode."
#[test]
fn the_first_fragment_says_the_kind() {
    let not_text = [masked(BINARY, b"\xff"), masked(FIN, b"\xfe")].concat();
    assert_eq!(served(&not_text).0, [Seen::Binary(vec![0xff, 0xfe])]);
}

// RFC 6455, 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be
// fragmented."
#[test]
fn a_control_frame_is_short_and_whole() {
    for opcode in [CLOSE, PING, PONG] {
        assert_refused_at_last_byte(&[opcode], Violation::ControlFragmented);
        assert_refused_at_last_byte(&[FIN | opcode, 0xfe], Violation::ControlTooLong);
        assert_refused_at_last_byte(&[FIN | opcode, 0xff], Violation::ControlTooLong);
        assert_refused(
            &masked(FIN | opcode, &[b'x'; 126]),
            Violation::ControlTooLong,
        );
    }
    assert_eq!(
        served(&masked(FIN | PING, &[7; 125])).0,
        [Seen::Ping(vec![7; 125])]
    );
}

// RFC 6455, 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless
// it already received a Close frame."
// RFC 6455, 5.5.3: "A Pong frame sent in response to a Ping frame must have identical "Application data"
// as found in the message body of the Ping frame being replied to."
#[test]
fn each_ping_is_answered_with_its_payload() {
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        let (seen, wire) = served(&masked(FIN | PING, payload));
        assert_eq!(seen, [Seen::Ping(payload.to_vec())]);
        assert_eq!(wire, unmasked(FIN | PONG, payload));
    }
    let pings = [masked(FIN | PING, b"1"), masked(FIN | PING, b"2")].concat();
    let pongs = [unmasked(FIN | PONG, b"1"), unmasked(FIN | PONG, b"2")].concat();
    assert_eq!(served(&pings).1, pongs);
}

// RFC 6455, 5.5.2: "unless it already received a Close frame"
#[test]
fn a_ping_after_the_close_frame_is_not_answered() {
    let bytes = [masked(FIN | CLOSE, b""), masked(FIN | PING, b"x")].concat();
    let (seen, wire) = served(&bytes);
    assert_eq!(seen, [Seen::Close(None, String::new())]);
    assert_eq!(wire, unmasked(FIN | CLOSE, b""));
}

// RFC 6455, 5.5.2: "an endpoint MUST send a Pong frame in response"
#[test]
fn a_client_answers_a_ping_with_a_key_of_its_own() {
    let mut session = Session::client(Settings::default());
    let (mut seen, mut wire) = (Vec::new(), Vec::new());
    feed(
        &mut session,
        &unmasked(FIN | PING, b"x"),
        &mut wire,
        &mut seen,
    );
    assert_eq!(
        (&seen[..], wire.len()),
        (&[Seen::Ping(b"x".to_vec())][..], 0)
    );
    assert!(session.pong_masked(b"x", KEY, &mut wire));
    assert_eq!(wire, masked(FIN | PONG, b"x"));
    feed(
        &mut session,
        &unmasked(FIN | CLOSE, b""),
        &mut wire,
        &mut seen,
    );
    assert!(
        !session.pong_masked(b"x", KEY, &mut wire),
        "the close frame is here"
    );
}

// RFC 6455, 5.5.3: "A Pong frame MAY be sent unsolicited. This serves as a unidirectional heartbeat. A
// response to an unsolicited Pong frame is not expected."
#[test]
fn an_unsolicited_pong_is_reported_and_not_answered() {
    let (seen, wire) = served(&masked(FIN | PONG, b"beat"));
    assert_eq!(seen, [Seen::Pong(b"beat".to_vec())]);
    assert!(wire.is_empty());
}

// RFC 6455, 5.6: "The "Payload data" is text data encoded as UTF-8. Note that a particular text frame
// might include a partial UTF-8 sequence; however, the whole message MUST contain valid UTF-8."
#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let fragments = [
        masked(TEXT, &[0xe2]),
        masked(CONTINUATION, &[0x82]),
        masked(FIN, &[0xac]),
    ];
    assert_eq!(served(&fragments.concat()).0, [text("€")]);
    let cut = [masked(TEXT, &[0xe2]), masked(FIN, &[0x82])].concat();
    assert_refused(&cut, Violation::TextInvalid);
}

// RFC 6455, 5.6: "The "Payload data" is arbitrary binary data whose interpretation is solely up to the
// application layer."
#[test]
fn binary_payloads_may_be_any_bytes() {
    let payload: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(
        served(&masked(FIN | BINARY, &payload)).0,
        [Seen::Binary(payload)]
    );
}
