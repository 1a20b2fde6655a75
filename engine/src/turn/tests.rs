//! What one turn sends, by itself.

use super::*;

fn sent(turn: &Turn, pending: u32) -> Vec<u8> {
    let pieces = turn.pieces(turn.pending(pending as usize));
    pieces
        .iter()
        .flat_map(|piece| piece.bytes().to_vec())
        .collect()
}

fn reply(turn: &mut Turn, pending: &mut u32, slot: u32, bytes: &[u8]) {
    turn.replied = slot;
    turn.wire.extend_from_slice(bytes);
    turn.claim(pending);
}

#[test]
fn the_replies_to_one_connection_need_no_list() {
    let mut turn = Turn {
        replied: 5,
        ..Turn::default()
    };
    turn.wire.extend_from_slice(b"ab");
    turn.wire.extend_from_slice(b"cd");
    assert!(turn.has_pending());
    assert_eq!(turn.only_replies(), Some((5, b"abcd".as_slice())));
    let mut pending = NONE;
    turn.claim(&mut pending);
    assert_eq!(turn.only_replies(), None);
    assert_eq!(turn.pending_count(), 1);
    assert_eq!(turn.pieces(turn.pending(0)).len(), 1);
    assert_eq!(sent(&turn, pending), b"abcd");
    assert_eq!(turn.pending(0).byte_count, 4);
}

#[test]
fn what_is_unsaid_leaves_what_was_claimed_before() {
    let mut turn = Turn::default();
    let mut pending = NONE;
    reply(&mut turn, &mut pending, 5, b"ab");
    turn.replied = 6;
    turn.wire.extend_from_slice(b"cd");
    turn.unsay();
    assert_eq!(turn.replied, NONE);
    assert_eq!(turn.wire, b"ab");
    assert_eq!(sent(&turn, pending), b"ab");
}

#[test]
fn interleaved_replies_keep_their_order_for_each_connection() {
    let mut turn = Turn::default();
    let (mut one, mut two) = (NONE, NONE);
    reply(&mut turn, &mut one, 1, b"a");
    reply(&mut turn, &mut two, 2, b"x");
    reply(&mut turn, &mut one, 1, b"b");
    assert_eq!(sent(&turn, one), b"ab");
    assert_eq!(sent(&turn, two), b"x");
}

#[test]
fn a_kept_run_is_copied_once_and_shared() {
    let mut turn = Turn::default();
    turn.post.extend_from_slice(b"hello");
    let run = turn.add_run(Bytes::Post(0, 5), 1);
    let first = turn.keep(run);
    let second = turn.keep(run);
    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_eq!(&*first, b"hello");
}

#[test]
fn a_cancelled_connection_is_not_sent_to() {
    let mut turn = Turn::default();
    let mut pending = NONE;
    reply(&mut turn, &mut pending, 5, b"ab");
    turn.cancel(&mut pending);
    assert_eq!(pending, NONE);
    assert_eq!(turn.pending(0).slot, NONE);
}
