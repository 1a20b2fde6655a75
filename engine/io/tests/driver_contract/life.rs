//! Laws of a socket's life: how it ends, is lost, is closed, and how its number is used again.

use std::io::ErrorKind;

use tidegate_io::{Driver, Op, Piece, Socket, Submitted, Traffic};

use crate::bytes::assert_arrives;
use crate::rig::{Remote, Rig};
use crate::stand::{Stand, assert_same, pattern};

pub(crate) fn the_end_comes_once_and_after_all_bytes<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for (salt, size) in [0, 1, 65_535, 65_536, 131_072, 300_000]
        .into_iter()
        .enumerate()
    {
        let (socket, remote) = stand.open_one();
        let bytes = pattern(size, salt as u64);
        stand.remotes[remote].send(&bytes);
        stand.remotes[remote].finish();
        stand.until("it has ended", |s| s.logs[&socket].ended);
        assert_same(&stand.logs[&socket].bytes, &bytes);
        // That nothing follows is asserted by the stand.
        stand.settle();
        assert_eq!(stand.logs[&socket].gone, None);
        stand.close(socket, false);
    }
    stand.finish();
}

pub(crate) fn traffic_is_what_has_gone_over<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let told = |received, acknowledged| {
        Some(Traffic {
            received,
            acknowledged,
        })
    };
    assert_eq!(stand.driver.traffic(socket), told(0, 0));
    stand.remotes[remote].send(&pattern(70_000, 1));
    stand.until("it came", |s| s.logs[&socket].bytes.len() == 70_000);
    let bytes = pattern(30_000, 2);
    let _ = stand.send(socket, &[Piece::Lent(&bytes)]);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    assert_arrives(&mut stand, remote, &bytes);
    stand.until("it is acknowledged", |s| {
        s.driver.traffic(socket) == told(70_000, 30_000)
    });
    // What was told by a peer that is lost is still known.
    stand.remotes[remote].reset();
    stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
    assert_eq!(stand.driver.traffic(socket), told(70_000, 30_000));
    stand.close(socket, false);
    stand.settle();
    assert_eq!(stand.driver.traffic(socket), None);
    assert_eq!(stand.driver.traffic(Socket(1_000_000)), None);
    stand.finish();
}

pub(crate) fn the_end_waits_for_the_resume<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.pause(socket);
    stand.remotes[remote].send(b"last words");
    stand.remotes[remote].finish();
    stand.settle();
    assert!(!stand.logs[&socket].ended);
    stand.resume(socket);
    stand.until("it has ended", |s| s.logs[&socket].ended);
    assert_eq!(stand.logs[&socket].bytes, b"last words");
    stand.finish();
}

pub(crate) fn a_peer_that_has_ended_can_be_sent_to<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].finish();
    stand.until("it has ended", |s| s.logs[&socket].ended);
    stand.remotes[remote].set_reading(false);
    let wanted = stand.send_until_pending(socket);
    stand.remotes[remote].set_reading(true);
    assert_arrives(&mut stand, remote, &wanted);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    assert_eq!(stand.logs[&socket].gone, None);
    stand.finish();
}

pub(crate) fn shutdown_shows_the_peer_the_end_after_all_bytes<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let bytes = pattern(10_000, 1);
    let _ = stand.send(socket, &[Piece::Lent(&bytes)]);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    assert_eq!(
        stand.driver.submit(Op::Shutdown { socket }),
        Submitted::Done
    );
    assert_arrives(&mut stand, remote, &bytes);
    stand.until("the remote saw the end", |s| s.remotes[remote].is_ended());
    // The other direction is still open.
    stand.remotes[remote].send(b"and you?");
    stand.until("it came", |s| s.logs[&socket].bytes == b"and you?");
    stand.finish();
}

pub(crate) fn shutdown_waits_for_the_batch_under_way<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].set_reading(false);
    let wanted = stand.send_until_pending(socket);
    assert_eq!(
        stand.driver.submit(Op::Shutdown { socket }),
        Submitted::Done
    );
    stand.settle();
    stand.remotes[remote].set_reading(true);
    assert_arrives(&mut stand, remote, &wanted);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    stand.until("the remote saw the end", |s| s.remotes[remote].is_ended());
    assert_eq!(stand.logs[&socket].gone, None);
    stand.finish();
}

fn assert_gone<R: Rig>(stand: &mut Stand<R>, socket: Socket) {
    stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
    let kind = stand.logs[&socket].gone.unwrap();
    let kinds = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::TimedOut,
    ];
    assert!(kinds.contains(&kind), "{kind:?}");
    // That it comes once is asserted by the stand.
    stand.settle();
    stand.close(socket, false);
}

pub(crate) fn a_reset_by_the_peer_is_told_once<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].reset();
    assert_gone(&mut stand, socket);
    stand.finish();
}

pub(crate) fn a_reset_is_told_while_paused<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for bytes in [&b""[..], b"bytes that nobody has received"] {
        let (socket, remote) = stand.open_one();
        stand.pause(socket);
        stand.remotes[remote].send(bytes);
        stand.settle();
        stand.remotes[remote].reset();
        assert_gone(&mut stand, socket);
    }
    stand.finish();
}

pub(crate) fn a_reset_ends_a_batch_under_way<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].set_reading(false);
    stand.send_until_pending(socket);
    stand.remotes[remote].reset();
    stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
    assert!(!stand.is_sending(socket));
    assert_gone(&mut stand, socket);
    stand.finish();
}

pub(crate) fn a_reset_ends_a_receive_into<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.receive_into(socket, Vec::with_capacity(10), 10);
    stand.remotes[remote].reset();
    assert_gone(&mut stand, socket);
    stand.finish();
}

pub(crate) fn sends_to_a_lost_peer_do_no_harm<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].reset();
    // Before the loss is told, and after.
    for _ in 0..200 {
        if !stand.is_sending(socket) && stand.logs[&socket].gone.is_none() {
            let _ = stand.send(socket, &[Piece::Lent(b"hello?")]);
        }
        stand.turn();
    }
    assert_gone(&mut stand, socket);
    stand.finish();
}

pub(crate) fn a_close_frees_the_number_for_the_next_peer<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for round in 0..20_u8 {
        let (socket, remote) = stand.open_one();
        assert_eq!(socket, Socket(0), "the number is used again");
        // What is still to come of the old peer must not reach the new one.
        stand.remotes[remote].send(&[round; 100]);
        stand.until("some came", |s| !s.logs[&socket].bytes.is_empty());
        let bytes = &stand.logs[&socket].bytes;
        assert!(
            bytes.iter().all(|&byte| byte == round),
            "in round {round}: {bytes:?}"
        );
        let _ = stand.send(socket, &[Piece::Lent(&[round])]);
        match round % 4 {
            0 => stand.remotes[remote].finish(),
            1 => stand.remotes[remote].reset(),
            2 => stand.remotes[remote].send(&[round; 5000]),
            _ => {}
        }
        stand.close(socket, round % 3 == 0);
    }
    stand.finish();
}

/// Both have completions in one turn; as the first is reaped, the second is closed, and its
/// number goes to a peer that has said nothing.
pub(crate) fn a_number_used_again_within_a_turn_starts_anew<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for round in 0..10 {
        let opened = stand.open(2);
        stand.settle();
        let quiet = stand
            .rig
            .connect(stand.address)
            .expect("the driver listens");
        stand.remotes.push(quiet);
        stand.until("it is accepted", |s| s.peers.len() == 1);
        for &(_, remote) in &opened {
            stand.remotes[remote].send(b"from an old peer");
            if round % 2 == 0 {
                stand.remotes[remote].finish();
            }
        }
        let came = |s: &Stand<R>, (socket, _): (Socket, usize)| !s.logs[&socket].bytes.is_empty();
        stand.reap_until("one of them came", |s| {
            opened.iter().any(|&each| came(s, each))
        });
        let (victim, _) = opened[usize::from(came(&stand, opened[0]))];
        if stand.begin_close(victim, false) == Submitted::Done {
            let peer = stand.peers.pop_front().unwrap();
            let socket = stand.open_peer(peer);
            assert_eq!(socket, victim);
            stand.settle();
            let log = &stand.logs[&socket];
            assert!(
                log.bytes.is_empty() && !log.ended && log.gone.is_none(),
                "{log:?}"
            );
        }
        stand.until("it is closed", |s| {
            s.logs.get(&victim).is_none_or(|log| !log.is_closing())
        });
        stand.peers.clear();
        let sockets: Vec<_> = stand.logs.keys().copied().collect();
        for socket in sockets {
            stand.close(socket, true);
        }
    }
    stand.finish();
}

pub(crate) fn a_close_shows_the_peer_the_end_after_all_bytes<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let bytes = pattern(10_000, 9);
    let _ = stand.send(socket, &[Piece::Lent(&bytes)]);
    stand.until("the batch is sent", |s| !s.is_sending(socket));
    stand.close(socket, false);
    assert_arrives(&mut stand, remote, &bytes);
    stand.until("the remote saw the end", |s| s.remotes[remote].is_ended());
    assert!(!stand.remotes[remote].is_reset());
    stand.finish();
}

/// A driver may send small batches later than it is asked to, but in the order of what it is asked.
pub(crate) fn an_end_right_behind_small_batches_comes_after_their_bytes<R: Rig>(rig: R) {
    const COUNT: usize = 5;
    let mut stand = Stand::new(rig);
    for shut in [true, false] {
        let opened = stand.open(COUNT);
        let mut submitted = Vec::new();
        for &(socket, _) in &opened {
            submitted.push(stand.send(socket, &[Piece::Lent(b"goodbye")]));
            if shut {
                let shut = stand.driver.submit(Op::Shutdown { socket });
                assert_eq!(shut, Submitted::Done);
            }
        }
        if !shut {
            // Who closes during a batch gives it up.
            for &(socket, _) in &opened {
                stand.until("the batch is sent", |s| !s.is_sending(socket));
                let _ = stand.begin_close(socket, false);
            }
        }
        for &(_, remote) in &opened {
            assert_arrives(&mut stand, remote, b"goodbye");
            stand.until("the remote saw the end", |s| s.remotes[remote].is_ended());
        }
        stand.until("all are closed", |s| shut || s.logs.is_empty());
        let sockets: Vec<_> = stand.logs.keys().copied().collect();
        for (socket, submitted) in sockets.into_iter().zip(submitted) {
            let told = usize::from(submitted == Submitted::Pending);
            assert_eq!(stand.logs[&socket].sent_count, told);
            stand.close(socket, false);
        }
    }
    stand.finish();
}

/// What was given up, or lost, with a small batch under way is told of as usual.
pub(crate) fn a_small_batch_outlives_nobody<R: Rig>(rig: R) {
    const COUNT: usize = 8;
    let mut stand = Stand::new(rig);
    for round in 0..20 {
        let opened = stand.open(COUNT);
        for &(_, remote) in opened.iter().skip(COUNT / 2) {
            stand.remotes[remote].reset();
        }
        for &(socket, _) in &opened {
            let _ = stand.send(socket, &[Piece::Lent(b"are you there?")]);
        }
        for &(socket, _) in opened.iter().take(COUNT / 2) {
            let _ = stand.begin_close(socket, round % 2 == 0);
        }
        for &(socket, _) in opened.iter().skip(COUNT / 2) {
            stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
            stand.close(socket, false);
        }
        stand.until("all are closed", |s| s.logs.is_empty());
    }
    stand.finish();
}

pub(crate) fn a_close_with_reset_shows_the_peer_a_reset<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for under_way in [false, true] {
        let (socket, remote) = stand.open_one();
        if under_way {
            stand.remotes[remote].set_reading(false);
            stand.send_until_pending(socket);
        }
        stand.close(socket, true);
        stand.remotes[remote].set_reading(true);
        stand.until("the remote saw the reset", |s| s.remotes[remote].is_reset());
    }
    stand.finish();
}

pub(crate) fn a_close_gives_back_what_is_under_way<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    stand.remotes[remote].set_reading(false);
    stand.receive_into(socket, Vec::with_capacity(100), 100);
    stand.send_until_pending(socket);
    stand.pause(socket);
    stand.close(socket, false);
    stand.finish();
}

pub(crate) fn a_close_is_possible_after_the_peer_is_gone<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for reset in [false, true] {
        let (socket, remote) = stand.open_one();
        stand.remotes[remote].reset();
        stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
        stand.close(socket, reset);
    }
    stand.finish();
}

pub(crate) fn an_accepted_peer_that_is_dropped_is_closed<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let remote = stand
        .rig
        .connect(stand.address)
        .expect("the driver listens");
    stand.remotes.push(remote);
    stand.until("it is accepted", |s| !s.peers.is_empty());
    assert!(!stand.remotes[0].is_ended());
    stand.peers.clear();
    stand.until("it saw the end", |s| s.remotes[0].is_ended());
    stand.finish();
}

pub(crate) fn an_accepted_peer_that_is_reset_sees_a_reset<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let remote = stand
        .rig
        .connect(stand.address)
        .expect("the driver listens");
    stand.remotes.push(remote);
    stand.until("it is accepted", |s| !s.peers.is_empty());
    assert!(!stand.remotes[0].is_reset());
    stand.peers.pop_front().unwrap().reset();
    stand.until("it saw the reset", |s| s.remotes[0].is_reset());
    stand.finish();
}

pub(crate) fn a_peer_that_is_gone_before_it_is_opened_is_told_of<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let remote = stand
        .rig
        .connect(stand.address)
        .expect("the driver listens");
    stand.remotes.push(remote);
    stand.until("it is accepted", |s| !s.peers.is_empty());
    stand.remotes[0].reset();
    stand.settle();
    let peer = stand.peers.pop_front().unwrap();
    let socket = stand.open_peer(peer);
    assert_gone(&mut stand, socket);
    stand.finish();
}
