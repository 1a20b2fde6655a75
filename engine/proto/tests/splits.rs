//! The law of the core: for every split of the same bytes, the same events and the same wire.

mod common;
mod laws;

use common::*;
use laws::cuts::{Half, cut, every_cut_gives_the_same};
use proptest::prelude::*;
use tidegate_proto::{Session, Violation};

fn server() -> Session {
    Half::server(4096).session()
}

/// Every kind of thing a client can say, right and wrong, in a few bytes each.
fn conversations() -> Vec<Vec<u8>> {
    let frames = [
        masked(FIN | TEXT, "grüße €𝄞".as_bytes()),
        masked(FIN | BINARY, &[0; 130]),
        masked(FIN | TEXT, b""),
        [
            masked(TEXT, b""),
            masked(CONTINUATION, b""),
            masked(FIN, b""),
        ]
        .concat(),
        [
            masked(TEXT, &[0xf0, 0x9d]),
            masked(CONTINUATION, &[0x84]),
            masked(FIN, &[0x9e]),
        ]
        .concat(),
        [
            masked(BINARY, b"a"),
            masked(FIN | PING, b"b"),
            masked(FIN, b"c"),
        ]
        .concat(),
        [
            masked(FIN | PONG, b""),
            masked(FIN | PING, b""),
            masked(FIN | TEXT, b"x"),
        ]
        .concat(),
        masked(FIN | CLOSE, &close_body(1001, "тихо".as_bytes())),
        [masked(FIN | CLOSE, b""), masked(FIN | TEXT, b"after")].concat(),
        [
            masked(TEXT, b"left open"),
            masked(FIN | CLOSE, &close_body(4321, b"")),
        ]
        .concat(),
        // From here on each breaks a rule.
        masked(FIN | TEXT, &[b'o', b'k', 0xff, b'x']),
        [masked(TEXT, &[0xe2, 0x82]), masked(FIN, b"")].concat(),
        [masked(TEXT, &[0xed]), masked(FIN, &[0xa0, 0x80])].concat(),
        masked(FIN | CLOSE, &[3]),
        masked(FIN | CLOSE, &close_body(1005, b"")),
        masked(FIN | CLOSE, &close_body(1000, &[0xc0])),
        masked(FIN, b"stray"),
        [masked(TEXT, b"one"), masked(FIN | TEXT, b"two")].concat(),
        masked(PING, b"fragmented"),
        masked(FIN | PING, &[b'x'; 126]),
        unmasked(FIN | TEXT, b"plain"),
        masked(FIN | 0x40 | TEXT, b"rsv1"),
        masked(FIN | 0x0b, b"reserved"),
        vec![0x82, 0xfe, 0x00, 0x7d, 1, 2, 3, 4],
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4],
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        vec![0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        [
            masked(BINARY, &[7; 60]),
            vec![0x80, 0xfe, 0x10, 0x00, 1, 2, 3, 4],
        ]
        .concat(),
    ];
    frames.to_vec()
}

/// What follows a conversation must come out the same as well.
fn with_a_neighbour(frames: &[u8]) -> Vec<u8> {
    let (before, after) = (masked(FIN | TEXT, b"before"), masked(FIN | TEXT, b"after"));
    [&before, frames, &after].concat()
}

#[test]
fn every_two_way_split_gives_the_same_events_and_wire() {
    for frames in conversations() {
        let bytes = with_a_neighbour(&frames);
        for cut in 0..=bytes.len() {
            every_cut_gives_the_same(Half::server(4096), &bytes, &[cut, usize::MAX]);
        }
    }
}

#[test]
fn every_three_way_split_of_short_conversations_gives_the_same() {
    for frames in conversations() {
        if frames.len() > 40 {
            continue;
        }
        let whole = converse(server(), &[&frames]);
        for first in 0..=frames.len() {
            for second in first..=frames.len() {
                let chunks = [&frames[..first], &frames[first..second], &frames[second..]];
                assert_eq!(
                    converse(server(), &chunks),
                    whole,
                    "{frames:x?} {first} {second}"
                );
            }
        }
    }
}

#[test]
fn byte_by_byte_gives_the_same() {
    for frames in conversations() {
        let bytes = with_a_neighbour(&frames);
        let chunks: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(
            converse(server(), &chunks),
            converse(server(), &[&bytes]),
            "{bytes:x?}"
        );
    }
}

#[test]
fn receiving_straight_into_the_buffer_gives_the_same() {
    for frames in conversations() {
        let bytes = with_a_neighbour(&frames);
        let (mut session, mut seen, mut wire) = (server(), Vec::new(), Vec::new());
        feed_directly(&mut session, &bytes, &mut wire, &mut seen);
        assert_eq!((seen, wire), converse(server(), &[&bytes]), "{bytes:x?}");
    }
}

#[test]
fn a_client_half_sees_the_same_for_every_split() {
    let frames = [
        unmasked(FIN | TEXT, "grüße".as_bytes()),
        [
            unmasked(BINARY, b"a"),
            unmasked(FIN | PING, b"b"),
            unmasked(FIN, b"c"),
        ]
        .concat(),
        unmasked(FIN | CLOSE, &close_body(1000, b"bye")),
        masked(FIN | TEXT, b"masked"),
    ];
    for bytes in frames {
        for cut in 0..=bytes.len() {
            every_cut_gives_the_same(Half::client(65_536), &bytes, &[cut, usize::MAX]);
        }
    }
}

#[test]
fn after_our_close_frame_every_split_gives_the_same() {
    let half = Half {
        closing: true,
        ..Half::server(4096)
    };
    for frames in conversations() {
        for cut in 0..=frames.len() {
            every_cut_gives_the_same(half, &frames, &[cut, usize::MAX]);
        }
    }
}

/// Frames of random sizes, kinds and fragments; now and then one that breaks a rule.
fn random_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 120..700),
    ];
    prop_oneof![
        6 => ".{0,30}".prop_map(|text| masked(FIN | TEXT, text.as_bytes())),
        3 => payload.clone().prop_map(|payload| masked(FIN | BINARY, &payload)),
        3 => (prop::collection::vec(".{0,8}", 1..5)).prop_map(|parts| fragments(&parts)),
        2 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|p| masked(FIN | PING, &p)),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|p| masked(FIN | PONG, &p)),
        1 => any::<u16>().prop_map(|code| masked(FIN | CLOSE, &close_body(code, b"x"))),
        1 => (any::<u8>(), payload).prop_map(|(first, payload)| masked(first, &payload)),
    ]
}

fn fragments(parts: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        let fin = if index + 1 == parts.len() { FIN } else { 0 };
        bytes.extend(masked(fin | opcode, part.as_bytes()));
    }
    bytes
}

proptest! {
    #[test]
    fn random_conversations_come_out_the_same_for_random_splits(
        frames in prop::collection::vec(random_frame(), 1..8),
        sizes in prop::collection::vec(0usize..60, 0..40),
        closing: bool,
    ) {
        let half = Half { closing, ..Half::server(4096) };
        every_cut_gives_the_same(half, &frames.concat(), &sizes);
    }

    #[test]
    fn random_bytes_never_panic_and_come_out_the_same_for_random_splits(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(0usize..20, 0..30),
    ) {
        every_cut_gives_the_same(Half::server(4096), &bytes, &sizes);
        every_cut_gives_the_same(Half::client(65_536), &bytes, &sizes);
    }

    #[test]
    fn legal_messages_all_arrive_in_their_order(
        texts in prop::collection::vec(prop::collection::vec(".{0,20}", 1..4), 1..6),
        sizes in prop::collection::vec(0usize..60, 0..40),
    ) {
        let bytes: Vec<u8> = texts.iter().flat_map(|parts| fragments(parts)).collect();
        let expected: Vec<_> = texts.iter().map(|parts| text(&parts.concat())).collect();
        let (seen, wire) = converse(server(), &cut(&bytes, &sizes));
        prop_assert_eq!(seen, expected);
        prop_assert!(wire.is_empty());
    }
}

#[test]
fn the_conversations_hold_right_and_wrong_ones() {
    let broken = |bytes: &Vec<u8>| {
        let (seen, _) = converse(server(), &[bytes]);
        matches!(seen.last(), Some(Seen::Violation(_)))
    };
    let count = conversations().iter().filter(|bytes| broken(bytes)).count();
    assert_eq!((conversations().len(), count), (28, 18));
    let too_big = conversations().pop().unwrap();
    let (seen, _) = converse(server(), &[&too_big]);
    assert_eq!(seen, [Seen::Violation(Violation::MessageTooBig)]);
}
