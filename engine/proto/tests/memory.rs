//! What a session holds: nothing when quiet, and never more than what has arrived allows.

mod common;

use common::*;
use proptest::prelude::*;
use tidegate_proto::{GROWTH_SIZE, Session, Settings, Violation};

const MIB: usize = 1024 * 1024;

/// What the bookkeeping of an unfinished frame may cost beside its payload.
const BOOKKEEPING_MAX: usize = 512;

fn server(message_size_max: usize) -> Session {
    Session::server(Settings { message_size_max })
}

fn push(session: &mut Session, chunk: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    feed(session, chunk, &mut Vec::new(), &mut seen);
    seen
}

#[test]
fn a_quiet_session_holds_no_heap() {
    let mut session = server(MIB);
    assert_eq!(session.memory(), 0);
    let frame = masked(FIN | TEXT, b"cut somewhere");
    for cut in 0..=frame.len() {
        push(&mut session, &frame[..cut]);
        assert_eq!(session.message_open(), cut % frame.len() != 0, "{cut}");
        push(&mut session, &frame[cut..]);
        assert!(!session.message_open());
        assert_eq!(session.memory(), 0, "cut at {cut}");
    }
}

#[test]
fn a_cut_control_frame_gives_its_memory_back() {
    let mut session = server(MIB);
    let ping = masked(FIN | PING, &[1; 125]);
    push(&mut session, &ping[..50]);
    assert!(session.memory() > 0 && session.memory() <= BOOKKEEPING_MAX + 125);
    assert_eq!(push(&mut session, &ping[50..]), [Seen::Ping(vec![1; 125])]);
    assert_eq!(session.memory(), 0);
}

#[test]
fn nothing_is_allocated_from_a_declared_length() {
    let mut session = server(usize::MAX);
    // 2^62 bytes are declared, none has come.
    push(
        &mut session,
        &[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
    );
    assert!(session.memory() <= BOOKKEEPING_MAX, "{}", session.memory());
    push(&mut session, &[0]);
    assert!(session.memory() <= BOOKKEEPING_MAX + GROWTH_SIZE + 2);
}

#[test]
fn the_buffer_given_out_follows_what_has_arrived() {
    let mut session = server(16 * MIB);
    push(
        &mut session,
        &[0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0, 1, 2, 3, 4],
    );
    let mut arrived = 0;
    while let Some(mut direct) = session.take_buffer(1) {
        assert_eq!(direct.buffer.len(), arrived);
        assert!(direct.wanted >= 1 && direct.wanted <= arrived.max(GROWTH_SIZE));
        assert!(direct.buffer.capacity() <= 2 * arrived + GROWTH_SIZE);
        arrived += direct.wanted;
        direct.buffer.resize(arrived, 0);
        session.give_buffer(direct.buffer, &mut Vec::new()).unwrap();
    }
    assert_eq!(arrived, 0xff_0000);
    assert_eq!(session.memory(), 0);
}

#[test]
fn only_a_large_remainder_is_worth_a_buffer() {
    let mut session = server(MIB);
    assert!(session.take_buffer(0).is_none(), "nothing is under way");
    let frame = masked(FIN | BINARY, &[5; 1000]);
    push(&mut session, &frame[..508]);
    assert!(session.take_buffer(501).is_none());
    let direct = session.take_buffer(500).unwrap();
    assert_eq!((direct.buffer.len(), direct.wanted), (500, 500));
    // Nothing was received after all.
    assert_eq!(
        session.give_buffer(direct.buffer, &mut Vec::new()),
        Ok(None)
    );
    assert_eq!(
        push(&mut session, &frame[508..]),
        [Seen::Binary(vec![5; 1000])]
    );
}

#[test]
fn a_close_while_the_buffer_is_out_drops_the_message() {
    let mut session = server(MIB);
    let frame = masked(FIN | TEXT, &[b'x'; 1000]);
    push(&mut session, &frame[..100]);
    let mut direct = session.take_buffer(1).unwrap();
    assert!(session.close(None, "", &mut Vec::new()));
    direct.buffer.extend_from_slice(&frame[100..]);
    assert_eq!(
        session.give_buffer(direct.buffer, &mut Vec::new()),
        Ok(None)
    );
    assert_eq!(session.memory(), 0);
    assert!(session.take_buffer(0).is_none());
    assert_eq!(
        push(&mut session, &masked(FIN | CLOSE, b"")),
        [Seen::Close(None, String::new())]
    );
    assert!(session.is_closed());
}

#[test]
fn a_close_drops_what_had_arrived_of_a_message() {
    let mut session = server(MIB);
    push(&mut session, &masked(TEXT, &[b'x'; 100_000]));
    assert!(session.memory() >= 100_000);
    session.close(None, "", &mut Vec::new());
    assert!(session.memory() <= BOOKKEEPING_MAX);
    // What still comes of it is followed and not kept.
    assert_eq!(
        push(&mut session, &masked(CONTINUATION, &[b'x'; 100_000])),
        []
    );
    assert!(session.memory() <= BOOKKEEPING_MAX);
    assert_eq!(push(&mut session, &masked(FIN, b"x")), []);
    assert_eq!(session.memory(), 0);
}

#[test]
fn a_failed_session_holds_nothing() {
    let mut session = server(MIB);
    push(&mut session, &masked(TEXT, &[b'x'; 100_000]));
    let seen = push(&mut session, &masked(FIN | TEXT, b"interrupts"));
    assert_eq!(seen, [Seen::Violation(Violation::MessageInterrupted)]);
    assert_eq!(session.memory(), 0);
}

#[test]
fn the_memory_of_tiny_fragments_follows_their_bytes() {
    let mut session = server(MIB);
    push(&mut session, &masked(BINARY, b"x"));
    let fragment = masked(CONTINUATION, b"x");
    let (mut growths, mut memory) = (0, session.memory());
    for count in 2..=65_536 {
        push(&mut session, &fragment);
        assert!(session.memory() <= BOOKKEEPING_MAX + 2 * count);
        growths += usize::from(session.memory() != memory);
        memory = session.memory();
    }
    // Doubling, not one copy of everything for each fragment.
    assert!(growths <= 17, "{growths}");
    assert_eq!(
        push(&mut session, &masked(FIN, b"")),
        [Seen::Binary(vec![b'x'; 65_536])]
    );
}

#[test]
fn a_buffer_given_out_for_small_receives_grows_by_doubling() {
    let size = 8 * MIB;
    let mut session = server(size);
    let frame = masked(FIN | BINARY, &vec![b'x'; size]);
    push(&mut session, &frame[..100]);
    let (mut rest, mut growths, mut capacity) = (&frame[100..], 0, 0);
    while let Some(mut direct) = session.take_buffer(1) {
        growths += usize::from(direct.buffer.capacity() != capacity);
        capacity = direct.buffer.capacity();
        let (chunk, later) = rest.split_at(direct.wanted.min(1000));
        direct.buffer.extend_from_slice(chunk);
        rest = later;
        let event = session.give_buffer(direct.buffer, &mut Vec::new());
        assert_eq!(event.unwrap().is_some(), rest.is_empty());
    }
    assert!(rest.is_empty());
    // From one receive's room to all: 2^7. Not one copy of everything for each receive.
    assert!(growths <= 9, "{growths}");
}

#[test]
fn empty_fragments_hold_no_payload() {
    let mut session = server(MIB);
    push(&mut session, &masked(TEXT, b""));
    let fragment = masked(CONTINUATION, b"");
    for _ in 0..65_536 {
        push(&mut session, &fragment);
    }
    assert!(session.memory() <= BOOKKEEPING_MAX);
    assert_eq!(push(&mut session, &masked(FIN, b"")), [text("")]);
}

proptest! {
    #[test]
    fn capacity_stays_under_twice_what_arrived_and_one_receive(
        sizes in prop::collection::vec((0usize..200_000, any::<bool>()), 1..6),
        cut in 1usize..70_000,
    ) {
        let size_max = 300_000;
        let mut session = server(size_max);
        let (mut arrived, mut opcode) = (0, BINARY);
        for (size, fin) in sizes {
            let frame = masked(if fin { FIN | opcode } else { opcode }, &vec![0; size]);
            for chunk in frame.chunks(cut) {
                push(&mut session, chunk);
                arrived += chunk.len();
                let bound = (2 * arrived + GROWTH_SIZE).min(size_max) + BOOKKEEPING_MAX;
                prop_assert!(session.memory() <= bound, "{} > {bound}", session.memory());
            }
            if !session.is_open() {
                break;
            }
            opcode = if fin { BINARY } else { CONTINUATION };
            arrived = if fin { 0 } else { arrived };
        }
    }
}
