//! RFC 6455, sections 6, 8.1 and 10: messages sent and received, text, limits and hostile data.

mod common;

use common::*;
use tidegate_proto::{Event, Input, Message, Session, Settings, Violation};

fn server(message_size_max: usize) -> Session {
    Session::server(Settings { message_size_max })
}

// RFC 6455, 6.1: "If the data is being sent by the client, the frame(s) MUST be masked as defined in
// Section 5.3."
#[test]
fn a_client_half_can_send_only_masked() {
    let mut wire = Vec::new();
    let mut client = Session::client(Settings::default());
    assert!(client.send_masked(Message::Text("x"), KEY, &mut wire));
    assert_eq!(wire, masked(FIN | TEXT, b"x"));
    let unmasked = std::panic::catch_unwind(|| {
        Session::client(Settings::default()).send(Message::Text("x"), &mut Vec::new())
    });
    assert!(unmasked.is_err());
}

// RFC 6455, 6.1: "The opcode (frame-opcode) of the first frame containing the data MUST be set to the
// appropriate value from Section 5.2 for data that is to be interpreted by the recipient as text or
// binary data."
// RFC 6455, 6.1: "The FIN bit (frame-fin) of the last frame containing the data MUST be set to 1 as
// defined in Section 5.2."
#[test]
fn a_sent_message_is_one_final_frame_of_its_kind() {
    let mut wire = Vec::new();
    server(100).send(Message::Text("x"), &mut wire);
    assert_eq!(wire, [0x81, 1, b'x']);
    wire.clear();
    server(100).send(Message::Binary(&[]), &mut wire);
    assert_eq!(wire, [0x82, 0]);
}

// RFC 6455, 6.1: "The endpoint MUST ensure the WebSocket connection is in the OPEN state"
#[test]
fn nothing_is_sent_once_the_session_is_over() {
    let mut session = server(100);
    let mut wire = Vec::new();
    feed(
        &mut session,
        &masked(FIN | CLOSE, b""),
        &mut wire,
        &mut Vec::new(),
    );
    wire.clear();
    assert!(!session.send(Message::Text("late"), &mut wire));
    assert!(!session.ping(b"", &mut wire));
    assert!(!session.close(None, "", &mut wire));
    assert!(wire.is_empty());
}

// RFC 6455, 6.2: "Upon receiving a data frame (Section 5.6), the endpoint MUST note the /type/ of the
// data as defined by the opcode (frame-opcode) from Section 5.2."
// RFC 6455, 6.2: "Subsequent data frames MUST be interpreted as belonging to a new WebSocket message."
#[test]
fn each_message_keeps_its_own_kind() {
    let bytes = [
        masked(FIN | TEXT, b"1"),
        masked(BINARY, b"2"),
        masked(FIN, b"3"),
        masked(FIN | TEXT, b"4"),
        masked(TEXT, b"5"),
        masked(FIN, b""),
    ];
    let expected = [
        text("1"),
        Seen::Binary(b"23".to_vec()),
        text("4"),
        text("5"),
    ];
    assert_eq!(served(&bytes.concat()).0, expected);
}

// RFC 6455, 6.2: "A server MUST remove masking for data frames received from a client as described in
// Section 5.3."
#[test]
fn masking_is_removed_across_any_cut() {
    let payload: Vec<u8> = (0..200).collect();
    let frame = masked(FIN | BINARY, &payload);
    for cut in 1..frame.len() {
        let (left, right) = frame.split_at(cut);
        let (seen, _) = converse(server(1000), &[left, right]);
        assert_eq!(seen, [Seen::Binary(payload.clone())], "{cut}");
    }
}

// RFC 6455, 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream
// is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
#[test]
fn text_that_is_not_utf8_is_refused() {
    for bad in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"ok\xc3",
        b"\x80",
    ] {
        assert_refused(&masked(FIN | TEXT, bad), Violation::TextInvalid);
        let fragments = [masked(TEXT, bad), masked(FIN, b"")].concat();
        assert_refused(&fragments, Violation::TextInvalid);
    }
}

// RFC 6455, 8.1: "that endpoint MUST _Fail the WebSocket Connection_"
#[test]
fn invalid_text_is_refused_with_the_byte_that_shows_it() {
    // The frame declares 1000 bytes; the second of these can never be part of a text.
    let mut frame = masked(FIN | TEXT, &[&[b'o', 0xed, 0xa0][..], &[0; 997]].concat());
    frame.truncate(8 + 3);
    assert_refused_at_last_byte(&frame, Violation::TextInvalid);
    let fragments = [masked(TEXT, &[0xf4]), masked(CONTINUATION, &[0x90])].concat();
    assert_refused_at_last_byte(&fragments, Violation::TextInvalid);
}

// RFC 6455, 10.3: "Clients MUST choose a new masking key for each frame"
#[test]
fn the_key_is_an_argument_of_each_masked_frame() {
    let mut client = Session::client(Settings::default());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    client.send_masked(Message::Text("same"), [1, 2, 3, 4], &mut first);
    client.send_masked(Message::Text("same"), [5, 6, 7, 8], &mut second);
    assert_eq!(
        (&first[2..6], &second[2..6]),
        (&[1, 2, 3, 4][..], &[5, 6, 7, 8][..])
    );
    assert_ne!(first[6..], second[6..]);
}

// RFC 6455, 10.4: "MUST protect themselves against exceeding those limits"
// RFC 6455, 7.4.1: "1009 indicates that an endpoint is terminating the connection because it has
// received a message that is too big for it to process."
#[test]
fn a_frame_over_the_limit_is_refused_at_its_header() {
    let exact = masked(FIN | BINARY, &[1; 100]);
    assert_eq!(
        converse(server(100), &[&exact]).0,
        [Seen::Binary(vec![1; 100])]
    );
    let whole = masked(FIN | BINARY, &[1; 101]);
    let too_big = [Seen::Violation(Violation::MessageTooBig)];
    assert_eq!(converse(server(100), &[&whole]).0, too_big);
    let over = &whole[..6];
    let (seen, wire) = converse(server(100), &[over]);
    assert_eq!(seen, [Seen::Violation(Violation::MessageTooBig)]);
    assert_eq!(wire, failure(Violation::MessageTooBig));
    assert_eq!(wire[2..4], 1009u16.to_be_bytes());
}

// RFC 6455, 10.4: "by sending either a single big frame (e.g., of size 2**60) or by sending a long
// stream of small frames that are a part of a fragmented message."
#[test]
fn a_huge_frame_and_a_long_stream_of_fragments_are_refused() {
    let huge = [FIN | BINARY, 0xff, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_refused(&huge, Violation::MessageTooBig);
    let largest = [
        FIN | BINARY,
        0xff,
        0x7f,
        255,
        255,
        255,
        255,
        255,
        255,
        255,
        1,
        2,
        3,
        4,
    ];
    let (seen, _) = converse(server(usize::MAX), &[&masked(BINARY, b"x")]);
    assert!(seen.is_empty());
    // The sum would overflow: one byte is here, 2^63 - 1 are declared.
    assert_refused(&largest, Violation::MessageTooBig);
    let mut session = server(1000);
    let mut seen = Vec::new();
    feed(
        &mut session,
        &masked(BINARY, &[1; 10]),
        &mut Vec::new(),
        &mut seen,
    );
    for _ in 0..99 {
        feed(
            &mut session,
            &masked(CONTINUATION, &[1; 10]),
            &mut Vec::new(),
            &mut seen,
        );
    }
    assert!(seen.is_empty() && session.is_open());
    feed(
        &mut session,
        &masked(CONTINUATION, b"1"),
        &mut Vec::new(),
        &mut seen,
    );
    assert_eq!(seen, [Seen::Violation(Violation::MessageTooBig)]);
}

// RFC 6455, 10.4: "SHOULD impose a limit on frame sizes and the total message size after reassembly from
// multiple frames."
#[test]
fn the_number_of_fragments_is_no_reason_to_refuse() {
    let mut session = server(65_536);
    let mut seen = Vec::new();
    feed(
        &mut session,
        &masked(BINARY, b""),
        &mut Vec::new(),
        &mut seen,
    );
    for _ in 0..65_536 {
        feed(
            &mut session,
            &masked(CONTINUATION, b"x"),
            &mut Vec::new(),
            &mut seen,
        );
    }
    feed(&mut session, &masked(FIN, b""), &mut Vec::new(), &mut seen);
    assert_eq!(seen, [Seen::Binary(vec![b'x'; 65_536])]);
}

// RFC 6455, 10.7: "Incoming data MUST always be validated by both clients and servers."
// RFC 6455, 10.7: "the endpoint SHOULD send a Close frame with an appropriate status code (Section 7.4)
// before proceeding to _Close the WebSocket Connection_."
#[test]
fn every_violation_tells_its_code_and_reason() {
    for violation in Violation::ALL {
        let frame = failure(violation);
        let (header, size) = tidegate_proto::frame::Header::parse(&frame)
            .unwrap()
            .unwrap();
        assert!(header.payload_size <= 125, "{violation}");
        let code = u16::from_be_bytes([frame[size], frame[size + 1]]);
        assert!(matches!(code, 1002 | 1007 | 1009), "{violation}");
        assert_eq!(&frame[size + 2..], violation.to_string().as_bytes());
    }
}

// RFC 6455, 10.7: "Incoming data MUST always be validated by both clients and servers."
#[test]
fn a_client_half_validates_as_well() {
    let client = || Session::client(Settings::default());
    let refused = |bytes: &[u8], violation| {
        let expected = vec![Seen::Violation(violation)];
        assert_eq!(converse(client(), &[bytes]).0, expected, "{bytes:x?}");
    };
    refused(&unmasked(FIN | TEXT, &[0xff]), Violation::TextInvalid);
    refused(&unmasked(FIN, b""), Violation::ContinuationUnexpected);
    refused(&unmasked(PING, b""), Violation::ControlFragmented);
    refused(&unmasked(FIN | CLOSE, b"x"), Violation::CloseBodyCut);
    refused(
        &unmasked(FIN | BINARY, &[0; 70_000]),
        Violation::MessageTooBig,
    );
}

#[test]
fn a_character_may_be_cut_wherever_a_large_message_is_taken_apart() {
    // Larger than what is unmasked and validated at a time, in one frame and in two, of which the chunk cuts one.
    const SIZE: usize = 70_000;
    let whole = |at: usize| {
        [
            &[b'x'; SIZE][..at],
            "\u{1f30a}".as_bytes(),
            &[b'y'; SIZE][at..],
        ]
        .concat()
    };
    for at in [
        1, 16_381, 16_382, 16_383, 16_384, 32_766, 49_151, 65_535, SIZE,
    ] {
        let good = whole(at);
        for cut in [1, at, at + 1, at + 3, good.len() - 1] {
            let mut bad = good.clone();
            bad.remove(at + 3);
            for (payload, valid) in [(&good, true), (&bad, false)] {
                let (first, last) = payload.split_at(cut.min(payload.len()));
                let frames = [masked(TEXT, first), masked(FIN, last)].concat();
                let (start, rest) = frames.split_at(cut);
                let (seen, _) = converse(server(100_000), &[start, rest]);
                let expected = if valid {
                    text(std::str::from_utf8(payload).unwrap())
                } else {
                    Seen::Violation(Violation::TextInvalid)
                };
                assert_eq!(seen, [expected], "at {at} cut {cut}");
            }
        }
    }
}

#[test]
fn ascii_within_a_character_is_found_whatever_it_is_cut_by() {
    let (start, end) = "\u{1f30a}".as_bytes().split_at(3);
    let fragments = [masked(TEXT, start), masked(0, b"x"), masked(FIN, end)].concat();
    // As much as is unmasked and validated at a time, between the two parts of the character.
    let block = 16 * 1024;
    let (before, between) = (vec![b'x'; block - 3], vec![b'y'; block]);
    let large = [&before, start, &between, end].concat();
    let large = masked(FIN | TEXT, &large);
    for bytes in [fragments, large] {
        for cut in [0, bytes.len() - 1] {
            let (first, last) = bytes.split_at(cut);
            let (seen, _) = converse(server(100_000), &[first, last]);
            assert_eq!(seen, [Seen::Violation(Violation::TextInvalid)], "{cut}");
        }
    }
}

/// All frames but close frames that a session has seen come to an end, asked after each chunk.
fn frames_counted(wire: &[u8], cut: usize, asking: bool) -> u32 {
    let mut session = Session::server(Settings::default()).with_deflate();
    let mut answers = Vec::new();
    let (mut count, mut wire) = (0, wire.to_vec());
    for chunk in wire.chunks_mut(cut) {
        let mut input = Input::new(chunk);
        loop {
            let event = session.receive(&mut input, &mut answers);
            let event = event.expect("it is sound");
            count += match &event {
                Some(Event::Message(message)) => message.frame_count(),
                Some(Event::Deflated(message)) => message.frame_count(),
                Some(_) => 1,
                None => 0,
            };
            if event.is_none() {
                break;
            }
        }
        if asking {
            count += session.take_fragment_count();
        }
    }
    count + session.take_fragment_count()
}

#[test]
fn every_frame_is_counted_once_however_the_input_is_cut_and_whenever_somebody_asks() {
    let wire = [
        masked(FIN | TEXT, b"whole"),
        masked(BINARY, b""),
        masked(CONTINUATION, b""),
        masked(FIN | PING, b"between"),
        masked(CONTINUATION, b"ab"),
        masked(FIN, b"c"),
        masked(RSV1 | TEXT, b"\x00"),
        masked(FIN, b""),
        masked(FIN | PONG, b""),
        masked(TEXT, b"unfinished"),
        masked(CONTINUATION, b""),
    ]
    .concat();
    for cut in 1..=wire.len() {
        for asking in [false, true] {
            assert_eq!(frames_counted(&wire, cut, asking), 11, "{cut} {asking}");
        }
    }
}
