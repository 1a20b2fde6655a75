//! Laws of the bytes: all of them, once, in order.

use std::time::Duration;

use tidegate_io::{Driver, Op, Parcel, Piece, Socket, Submitted};

use crate::rig::{Remote, Rig};
use crate::stand::{Stand, assert_same, pattern};

/// One byte, the sizes around a buffer's, and more than any buffer holds.
const SIZES: [usize; 7] = [1, 2, 4_095, 65_535, 65_536, 65_537, 1 << 20];

pub(crate) fn bytes_from_the_peer_arrive_unchanged_and_in_order<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let mut wanted = Vec::new();
    for (salt, size) in (1..).zip(SIZES) {
        let bytes = pattern(size, salt);
        wanted.extend_from_slice(&bytes);
        stand.remotes[remote].send(&bytes);
        stand.until("all came", |s| s.logs[&socket].bytes.len() >= wanted.len());
        assert_same(&stand.logs[&socket].bytes, &wanted);
    }
    stand.finish();
}

pub(crate) fn bytes_to_the_peer_arrive_unchanged_and_in_order<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    for (salt, size) in (1..).zip(SIZES) {
        let bytes = pattern(size, salt);
        let parcel = Parcel::copy_of(&bytes);
        let piece = if salt % 2 == 0 {
            Piece::Shared(&parcel)
        } else {
            Piece::Lent(&bytes)
        };
        let _ = stand.send(socket, &[piece]);
        stand.until("the batch is sent", |s| !s.is_sending(socket));
        assert_arrives(&mut stand, remote, &bytes);
    }
    stand.finish();
}

/// Waits for so many bytes at the remote, and no more.
pub(crate) fn assert_arrives<R: Rig>(stand: &mut Stand<R>, remote: usize, wanted: &[u8]) {
    let mut found = Vec::new();
    stand.until("all arrived", |stand| {
        found.extend(stand.remotes[remote].receive());
        found.len() >= wanted.len()
    });
    assert_same(&found, wanted);
}

pub(crate) fn many_sockets_at_once_keep_their_bytes_apart<R: Rig>(rig: R) {
    const COUNT: usize = 40;
    let mut stand = Stand::new(rig);
    let opened = stand.open(COUNT);
    let sizes = [1, 77, 3_000, 30_000];
    let wanted: Vec<_> = (1..=COUNT)
        .map(|i| pattern(sizes[i % 4], i as u64))
        .collect();
    for (&(_, remote), bytes) in opened.iter().zip(&wanted) {
        stand.remotes[remote].send(bytes);
    }
    let mut echoed = [0; COUNT];
    stand.until("all were echoed", |stand| {
        for (&(socket, _), echoed) in opened.iter().zip(&mut echoed) {
            let bytes = stand.logs[&socket].bytes[*echoed..].to_vec();
            if !bytes.is_empty() && !stand.is_sending(socket) {
                *echoed += bytes.len();
                let _ = stand.send(socket, &[Piece::Lent(&bytes)]);
            }
        }
        echoed
            .iter()
            .zip(&wanted)
            .all(|(&echoed, wanted)| echoed == wanted.len())
    });
    for (&(_, remote), bytes) in opened.iter().zip(&wanted) {
        assert_arrives(&mut stand, remote, bytes);
    }
    stand.finish();
}

/// Pieces of every kind: lent, shared, empty, and the bytes that they make up.
fn pieces(count: usize, bytes: &[u8]) -> Vec<Parcel> {
    let each = bytes.len().div_ceil(count);
    let mut rest = bytes;
    let mut parcels = Vec::new();
    for index in 0..count {
        // Every fifth is empty, and what it lacks comes with the last.
        let size = if index % 5 == 4 {
            0
        } else {
            each.min(rest.len())
        };
        let size = if index + 1 == count { rest.len() } else { size };
        let (piece, others) = rest.split_at(size);
        parcels.push(Parcel::copy_of(piece));
        rest = others;
    }
    parcels
}

fn mixed<'a>(parcels: &'a [Parcel]) -> Vec<Piece<'a>> {
    let piece = |(index, parcel): (usize, &'a Parcel)| {
        if index % 3 == 0 {
            Piece::Lent(parcel)
        } else {
            Piece::Shared(parcel)
        }
    };
    parcels.iter().enumerate().map(piece).collect()
}

/// More pieces than one system call takes (1,024) are among them.
const PIECE_COUNTS: [usize; 9] = [1, 2, 3, 63, 64, 65, 100, 1_025, 2_500];

pub(crate) fn a_batch_arrives_in_order_however_many_pieces_it_has<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    for (salt, count) in (1..).zip(PIECE_COUNTS) {
        let bytes = pattern(50_000, salt);
        let parcels = pieces(count, &bytes);
        let _ = stand.send(socket, &mixed(&parcels));
        drop(parcels);
        stand.until("the batch is sent", |s| !s.is_sending(socket));
        assert_arrives(&mut stand, remote, &bytes);
    }
    stand.finish();
}

pub(crate) fn a_batch_without_bytes_is_done<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let empty = Parcel::copy_of(&[]);
    for pieces in [&[][..], &[Piece::Lent(&[])], &[Piece::Shared(&empty); 100]] {
        let _ = stand.send(socket, pieces);
        stand.until("the batch is sent", |s| !s.is_sending(socket));
    }
    assert_eq!(stand.remotes[remote].receive(), []);
    let _ = stand.send(socket, &[Piece::Lent(b"after")]);
    assert_arrives(&mut stand, remote, b"after");
    stand.finish();
}

pub(crate) fn a_peer_that_does_not_read_delays_a_batch_and_loses_nothing<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    for round in 0..2 {
        stand.remotes[remote].set_reading(false);
        let wanted = stand.send_until_pending(socket);
        let sent_count = stand.logs[&socket].sent_count;
        stand.settle();
        assert!(stand.is_sending(socket), "nobody reads in round {round}");
        stand.remotes[remote].set_reading(true);
        assert_arrives(&mut stand, remote, &wanted);
        stand.until("the batch is sent", |s| !s.is_sending(socket));
        assert_eq!(stand.logs[&socket].sent_count, sent_count + 1);
    }
    stand.finish();
}

/// A driver may gather small batches; what the kernel has no room for is still not lost.
pub(crate) fn small_batches_to_peers_that_do_not_read_are_delayed_and_not_lost<R: Rig>(rig: R) {
    const COUNT: usize = 3;
    const SIZE: usize = 1_000;
    let mut stand = Stand::new(rig);
    let opened = stand.open(COUNT);
    let mut wanted = vec![Vec::new(); COUNT];
    for &(_, remote) in &opened {
        stand.remotes[remote].set_reading(false);
    }
    let mut stuck = 0;
    while stuck < 100 {
        stuck += 1;
        for (&(socket, _), wanted) in opened.iter().zip(&mut wanted) {
            if !stand.is_sending(socket) {
                let bytes = pattern(SIZE, (wanted.len() * COUNT) as u64 + u64::from(socket.0));
                let _ = stand.send(socket, &[Piece::Lent(&bytes)]);
                wanted.extend(bytes);
                stuck = 0;
            }
            assert!(wanted.len() < 1 << 27, "it takes all without reading");
        }
        stand.wait(Duration::from_millis(u64::from(stuck > 0)));
        while stand.reap() {}
    }
    for (&(socket, remote), wanted) in opened.iter().zip(&wanted) {
        assert!(stand.is_sending(socket), "nobody reads");
        let sent_count = stand.logs[&socket].sent_count;
        stand.remotes[remote].set_reading(true);
        assert_arrives(&mut stand, remote, wanted);
        stand.until("the batch is sent", |s| !s.is_sending(socket));
        assert_eq!(stand.logs[&socket].sent_count, sent_count + 1);
    }
    stand.finish();
}

/// More than any driver gathers.
pub(crate) fn many_small_batches_in_one_turn_all_arrive<R: Rig>(rig: R) {
    const COUNT: usize = 300;
    let mut stand = Stand::new(rig);
    let opened = stand.open(COUNT);
    for round in 0..3 {
        let bytes = |socket: Socket| pattern(1_000, (round << 32) + u64::from(socket.0));
        for &(socket, _) in &opened {
            let _ = stand.send(socket, &[Piece::Lent(&bytes(socket))]);
        }
        for &(socket, remote) in &opened {
            assert_arrives(&mut stand, remote, &bytes(socket));
            stand.until("the batch is sent", |s| !s.is_sending(socket));
        }
    }
    stand.finish();
}

pub(crate) fn a_batch_of_many_pieces_outlives_a_peer_that_does_not_read<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].set_reading(false);
    let mut wanted = Vec::new();
    while !stand.is_sending(socket) && wanted.len() < 1 << 27 {
        let bytes = pattern(400_000, wanted.len() as u64);
        let parcels = pieces(1_500, &bytes);
        let _ = stand.send(socket, &mixed(&parcels));
        wanted.extend(bytes);
    }
    assert!(stand.is_sending(socket));
    stand.settle();
    stand.remotes[remote].set_reading(true);
    assert_arrives(&mut stand, remote, &wanted);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    stand.finish();
}

pub(crate) fn pause_stops_receiving_and_resume_goes_on<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let bytes = pattern(300_000, 7);
    stand.remotes[remote].send(&bytes[..100_000]);
    stand.until("some came", |s| !s.logs[&socket].bytes.is_empty());
    stand.pause(socket);
    let before = stand.logs[&socket].bytes.len();
    stand.remotes[remote].send(&bytes[100_000..]);
    stand.settle();
    assert_eq!(stand.logs[&socket].bytes.len(), before);
    stand.resume(socket);
    stand.until("all came", |s| s.logs[&socket].bytes.len() >= bytes.len());
    assert_same(&stand.logs[&socket].bytes, &bytes);
    stand.finish();
}

pub(crate) fn many_that_were_paused_all_go_on<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let opened = stand.open(30);
    stand.settle();
    for word in [&b"one"[..], b"two", b"three"] {
        for &(socket, _) in &opened {
            stand.pause(socket);
        }
        for &(_, remote) in &opened {
            stand.remotes[remote].send(word);
        }
        stand.settle();
        for &(socket, _) in &opened {
            stand.resume(socket);
        }
        for &(_, remote) in &opened {
            stand.remotes[remote].send(b".");
        }
        stand.until("all came", |s| {
            let mut logs = opened.iter().map(|(socket, _)| &s.logs[socket]);
            logs.all(|log| log.bytes.ends_with(&[word, b"."].concat()))
        });
    }
    stand.finish();
}

/// They are in the kernel's hands, and no edge will tell of them again.
pub(crate) fn bytes_that_came_before_the_pause_come_after_the_resume<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.settle();
    stand.pause(socket);
    stand.remotes[remote].send(b"early");
    stand.settle();
    assert_eq!(stand.logs[&socket].bytes, b"");
    stand.resume(socket);
    stand.until("they came", |s| s.logs[&socket].bytes.len() == 5);
    // Twice in a row is as good as once, and nothing is received twice.
    stand.pause(socket);
    stand.resume(socket);
    stand.remotes[remote].send(b" late");
    stand.until("they came", |s| s.logs[&socket].bytes.len() == 10);
    assert_eq!(stand.logs[&socket].bytes, b"early late");
    stand.finish();
}

pub(crate) fn a_peer_of_a_paused_socket_feels_a_closed_window<R: Rig>(rig: R) {
    const PART: usize = 1 << 20;
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.pause(socket);
    let mut wanted = Vec::new();
    for salt in 0..64 {
        if stand.remotes[remote].unsent_size() > PART {
            break;
        }
        let bytes = pattern(PART, salt);
        stand.remotes[remote].send(&bytes);
        wanted.extend(bytes);
        for _ in 0..5 {
            stand.turn();
        }
    }
    stand.settle();
    assert!(
        stand.remotes[remote].unsent_size() > 0,
        "64 MiB went somewhere"
    );
    stand.resume(socket);
    stand.until("all came", |s| s.logs[&socket].bytes.len() >= wanted.len());
    assert_same(&stand.logs[&socket].bytes, &wanted);
    stand.finish();
}

pub(crate) fn receive_into_fills_behind_what_the_buffer_holds<R: Rig>(rig: R) {
    const SIZE: usize = 100_000;
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let bytes = pattern(SIZE + 3, 3);
    let mut buffer = Vec::with_capacity(4 + SIZE);
    buffer.extend_from_slice(b"head");
    stand.remotes[remote].send(&bytes);
    // Each time, the buffer is asked for again, until it is full.
    while buffer.len() < 4 + SIZE {
        let before = buffer.len();
        buffer = receive_into(&mut stand, socket, buffer, 4 + SIZE - before);
        assert!(
            buffer.len() > before && buffer.len() <= 4 + SIZE,
            "at least one, at most all"
        );
    }
    assert_same(&buffer[4..], &bytes[..SIZE]);
    assert_eq!(&buffer[..4], b"head");
    assert_eq!(
        stand.logs[&socket].bytes,
        [],
        "nothing went past the buffer"
    );
    stand.until("the rest came", |s| s.logs[&socket].bytes.len() >= 3);
    assert_same(&stand.logs[&socket].bytes, &bytes[SIZE..]);
    stand.finish();
}

fn receive_into<R: Rig>(
    stand: &mut Stand<R>,
    socket: Socket,
    buffer: Vec<u8>,
    size: usize,
) -> Vec<u8> {
    stand.receive_into(socket, buffer, size);
    stand.reap_until("the buffer came back", |s| {
        !s.logs[&socket].filled.is_empty()
    });
    stand.logs.get_mut(&socket).unwrap().filled.remove(0)
}

pub(crate) fn receive_into_keeps_to_its_size<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let bytes = pattern(64, 5);
    stand.remotes[remote].send(&bytes);
    for byte in &bytes[..16] {
        // More room than is asked for is left alone.
        let buffer = receive_into(&mut stand, socket, Vec::with_capacity(1_000), 1);
        assert_eq!(buffer, [*byte]);
    }
    stand.until("the rest came", |s| s.logs[&socket].bytes.len() >= 48);
    assert_same(&stand.logs[&socket].bytes, &bytes[16..]);
    stand.finish();
}

pub(crate) fn receive_into_waits_for_the_resume<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.pause(socket);
    stand.receive_into(socket, Vec::with_capacity(10), 10);
    stand.remotes[remote].send(b"ten bytes!");
    stand.settle();
    assert!(stand.logs[&socket].filled.is_empty());
    stand.resume(socket);
    stand.until("some came", |s| !s.logs[&socket].filled.is_empty());
    let filled = stand.logs[&socket].filled[0].len();
    stand.until("all came", |s| s.logs[&socket].bytes.len() + filled == 10);
    stand.finish();
}

/// The buffer is given back to nobody: the end, or the loss, is the answer.
pub(crate) fn the_end_answers_receive_into<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.receive_into(socket, Vec::with_capacity(10), 10);
    stand.remotes[remote].finish();
    stand.until("it has ended", |s| s.logs[&socket].ended);
    let submitted = stand.driver.submit(Op::Shutdown { socket });
    assert_eq!(submitted, Submitted::Done);
    stand.finish();
}
