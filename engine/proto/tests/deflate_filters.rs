//! The filters around a session: what goes in comes out, whatever the windows, cuts and fragments, and
//! whatever a peer sends.

#[path = "deflate_laws/mod.rs"]
#[allow(dead_code, reason = "each test file tries its own part of this")]
mod codecs;
mod common;
mod laws;

use codecs::{HELLO, Pair as _, Rust, payloads};
use common::*;
use laws::cuts::{Half, every_cut_gives_the_same};
use laws::deflates;
use proptest::prelude::*;
use tidegate_proto::deflate::{DeflaterSettings, Inflater};
use tidegate_proto::{MessageKind, Session, Settings, Violation};

const KIND: MessageKind = MessageKind::Binary;

/// The compressed messages of a session as frames, each cut into fragments of this size.
fn frames(compressed: &[Vec<u8>], fragment_size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in compressed {
        let count = message.len().div_ceil(fragment_size);
        for (index, fragment) in message.chunks(fragment_size).enumerate() {
            let first = if index == 0 {
                RSV1 | BINARY
            } else {
                CONTINUATION
            };
            let fin = if index + 1 == count { FIN } else { 0 };
            bytes.extend(masked(fin | first, fragment));
        }
    }
    bytes
}

fn server(message_size_max: usize) -> Session {
    Session::server(Settings { message_size_max }).with_deflate()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_deflated_is_inflated(
        payloads in payloads(),
        level in 1u8..=9,
        window_bits in 9u8..=15,
        mem_level in 1u8..=9,
        takeover: bool,
        forgets in prop::collection::vec(any::<bool>(), 8),
    ) {
        let settings = DeflaterSettings { level, window_bits, mem_level };
        deflates::what_is_deflated_is_inflated(&payloads, settings, takeover, &forgets);
    }

    #[test]
    fn compressed_conversations_come_out_the_same_for_random_splits(
        payloads in payloads(),
        fragment_size in 1usize..2000,
        sizes in prop::collection::vec(0usize..3000, 0..60),
        takeover: bool,
    ) {
        let mut deflater = Rust::deflater(1, 12, 4);
        let compress = |payload: &Vec<u8>| {
            let mut compressed = Vec::new();
            deflater.deflate(payload, takeover, &mut compressed);
            compressed
        };
        let compressed: Vec<Vec<u8>> = payloads.iter().map(compress).collect();
        let bytes = frames(&compressed, fragment_size);
        let half = Half { deflate: true, ..Half::server(200_000) };
        every_cut_gives_the_same(half, &bytes, &sizes);
        let whole = converse(half.session(), &[&bytes]);
        let expected = compressed.into_iter().map(|bytes| Seen::Deflated(KIND, bytes));
        prop_assert_eq!(whole.0, expected.collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_are_inflated_or_refused(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        takeover: bool,
        text: bool,
        size_max in 0usize..5000,
    ) {
        let kind = if text { MessageKind::Text } else { KIND };
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        deflates::bytes_are_inflated_or_refused(&messages, kind, takeover, size_max);
    }
}

#[test]
fn changed_messages_are_inflated_or_refused() {
    codecs::series::changed_messages_are_inflated_or_refused::<Rust>();
}

#[test]
fn every_split_of_a_compressed_message_gives_the_same() {
    let conversations = [
        masked(FIN | RSV1 | TEXT, &HELLO),
        frames(&[HELLO.to_vec(), vec![0x00]], 3),
        [
            masked(RSV1 | TEXT, &[0xff]),
            masked(FIN | PING, b"p"),
            masked(FIN, b""),
        ]
        .concat(),
        [masked(RSV1 | TEXT, b""), masked(FIN | RSV1, b"")].concat(),
        masked(FIN | RSV1 | BINARY, &[7; 100]),
        [masked(RSV1 | BINARY, &[7; 70]), masked(FIN, &[7; 30])].concat(),
        [masked(RSV1 | TEXT, b"a"), masked(FIN | RSV1 | TEXT, b"b")].concat(),
    ];
    for frames in conversations {
        let before = masked(FIN | TEXT, b"before");
        let bytes = [&before, &frames[..], &before].concat();
        for closing in [false, true] {
            let server = || {
                let mut session = server(30);
                if closing {
                    session.close(None, "", &mut Vec::new());
                }
                session
            };
            let whole = converse(server(), &[&bytes]);
            let discards = |seen: &Seen| !matches!(seen, Seen::Deflated(..) | Seen::Text(_));
            assert!(!closing || whole.0.iter().all(discards), "{whole:?}");
            for first in 0..=bytes.len() {
                let (left, right) = bytes.split_at(first);
                assert_eq!(
                    converse(server(), &[left, right]),
                    whole,
                    "{bytes:x?} at {first}"
                );
            }
            let (mut session, mut seen, mut wire) = (server(), Vec::new(), Vec::new());
            feed_directly(&mut session, &bytes, &mut wire, &mut seen);
            assert_eq!((seen, wire), whole, "{bytes:x?} directly");
        }
    }
}

#[test]
fn a_compressed_message_may_be_a_little_larger_than_what_it_means() {
    // 30 bytes, an eighth, and 64 for blocks.
    let most = masked(FIN | RSV1 | BINARY, &[0; 30 + 3 + 64]);
    assert_eq!(
        converse(server(30), &[&most]).0,
        [Seen::Deflated(KIND, vec![0; 97])]
    );
    let beyond = masked(FIN | RSV1 | BINARY, &[0; 98]);
    let refused = [Seen::Violation(Violation::MessageTooBig)];
    assert_eq!(converse(server(30), &[&beyond]).0, refused);
    let plain = masked(FIN | BINARY, &[0; 31]);
    assert_eq!(converse(server(30), &[&plain]).0, refused);
    let fragments = [masked(RSV1 | BINARY, &[0; 60]), masked(FIN, &[0; 38])].concat();
    assert_eq!(converse(server(30), &[&fragments]).0, refused);
    assert_eq!(converse(server(usize::MAX), &[&most]).0.len(), 1);
}

#[test]
fn every_setting_is_understood() {
    codecs::series::every_setting_is_understood::<Rust>();
}

#[test]
fn a_message_sent_as_it_is_leaves_the_windows_alone() {
    codecs::series::a_message_sent_as_it_is_leaves_the_windows_alone::<Rust>();
}

#[test]
fn a_message_that_was_fed_and_not_sent_must_be_forgotten() {
    codecs::series::a_message_that_was_fed_and_not_sent_must_be_forgotten::<Rust>();
}

#[test]
fn one_pair_serves_many_connections_without_takeover() {
    codecs::series::one_pair_serves_many_connections_without_takeover::<Rust>();
}

#[test]
fn a_small_window_is_kept() {
    codecs::series::a_small_window_is_kept::<Rust>();
}

#[test]
fn many_tiny_blocks_take_linear_time() {
    codecs::series::many_tiny_blocks_take_linear_time::<Rust>();
}

/// RFC 7692, 7.2.1 cuts off the end of "an empty DEFLATE block with no compression", and lets any block
/// be a final one.
#[test]
fn the_block_that_was_cut_off_may_be_a_final_one() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x04];
    for takeover in [false, true] {
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        for _ in 0..3 {
            let message = inflater.inflate(KIND, &hello, takeover, 5, &mut out);
            assert_eq!(message.map(|message| message.as_bytes()), Ok(&b"Hello"[..]));
            let message = inflater.inflate(KIND, &[0x01], takeover, 5, &mut out);
            assert!(message.unwrap().is_empty(), "takeover: {takeover}");
        }
        // Not the end of a block at all: a stored one that announces more than the tail.
        let message = inflater.inflate(KIND, &[0x00, 0x01], takeover, 5, &mut out);
        assert_eq!(message, Err(Violation::DeflateInvalid));
    }
}
