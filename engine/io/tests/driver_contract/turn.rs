//! Laws of the driver itself: listening, connecting, waiting, waking, and fairness.

use std::io::ErrorKind;
use std::time::Duration;

use tidegate_io::{Driver, Op, Piece, Socket, Submitted, Timeout};

use crate::bytes::assert_arrives;
use crate::rig::{Remote, Rig};
use crate::stand::{Stand, pattern};

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn deafen_takes_those_who_wait_and_refuses_the_others<R: Rig>(mut rig: R) {
    let (driver, address) = rig.driver();
    let mut stand = Stand::with_driver(rig, driver, address);
    // They wait in the queue, since nobody asked to accept them.
    for _ in 0..5 {
        let remote = stand.rig.connect(address).expect("the queue is open");
        stand.remotes.push(remote);
    }
    stand.settle();
    assert_eq!(stand.peers.len(), 0, "nobody listens yet");
    assert_eq!(stand.driver.submit(Op::Deafen), Submitted::Done);
    // Accepting may fail here too, and then the others are refused.
    stand.until("all are accepted", |s| {
        s.peers.len() == 5 || s.refusal_count > 0
    });
    stand.settle();
    let peers: Vec<_> = stand.peers.drain(..).collect();
    for peer in peers {
        let address = peer.address;
        let remote = stand
            .remotes
            .iter()
            .position(|r| r.address() == address)
            .unwrap();
        let socket = stand.open_peer(peer);
        let _ = stand.send(socket, &[Piece::Lent(b"welcome")]);
        assert_arrives(&mut stand, remote, b"welcome");
    }
    if let Some(late) = stand.rig.connect(address) {
        stand.remotes.push(late);
        stand.until("it is refused", |s| s.remotes.last().unwrap().is_refused());
    }
    stand.finish();
}

pub(crate) fn listening_starts_with_the_op<R: Rig>(mut rig: R) {
    let (driver, address) = rig.driver();
    let mut stand = Stand::with_driver(rig, driver, address);
    let remote = stand.rig.connect(address).expect("the queue is open");
    stand.remotes.push(remote);
    stand.settle();
    assert_eq!(stand.peers.len(), 0);
    for _ in 0..2 {
        // Twice is as good as once.
        assert_eq!(stand.driver.submit(Op::Listen), Submitted::Done);
    }
    stand.until("it is accepted", |s| s.peers.len() == 1);
    stand.finish();
}

pub(crate) fn a_peer_says_which_listener_it_has_called<R: Rig>(mut rig: R) {
    let (mut driver, addresses) = rig.driver_with_listeners(3);
    assert_eq!(driver.submit(Op::Listen), Submitted::Done);
    let mut stand = Stand::with_driver(rig, driver, addresses[0]);
    for round in 0..20 {
        let called = round * 7 % 3;
        let remote = stand.rig.connect(addresses[called]).expect("it listens");
        stand.remotes.push(remote);
        if round % 4 != 3 {
            continue;
        }
        let first = stand.remotes.len() - 4;
        stand.until("all are accepted", |s| s.peers.len() == 4);
        while let Some(peer) = stand.peers.pop_front() {
            let called_from = |r: &R::Remote| r.address() == peer.address;
            let remote = stand.remotes[first..].iter().position(called_from);
            let round = first + remote.expect("the address is a remote's");
            assert_eq!(peer.listener, round * 7 % 3, "remote {round}");
            let socket = stand.open_peer(peer);
            let _ = stand.send(socket, &[Piece::Lent(b"welcome")]);
            assert_arrives(&mut stand, round, b"welcome");
        }
    }
    stand.finish();
}

pub(crate) fn deafen_closes_every_listener<R: Rig>(mut rig: R) {
    let (driver, addresses) = rig.driver_with_listeners(2);
    let mut stand = Stand::with_driver(rig, driver, addresses[0]);
    for address in [addresses[0], addresses[1], addresses[1]] {
        let remote = stand.rig.connect(address).expect("the queue is open");
        stand.remotes.push(remote);
    }
    stand.settle();
    assert_eq!(stand.driver.submit(Op::Deafen), Submitted::Done);
    // Accepting may fail here too, and then the others are refused.
    stand.until("all are accepted", |s| {
        s.peers.len() == 3 || s.refusal_count > 0
    });
    stand.settle();
    for address in addresses {
        if let Some(late) = stand.rig.connect(address) {
            stand.remotes.push(late);
            stand.until("it is refused", |s| s.remotes.last().unwrap().is_refused());
        }
    }
    stand.finish();
}

pub(crate) fn a_storm_of_connects_is_accepted_to_the_last<R: Rig>(rig: R) {
    const COUNT: usize = 300;
    let mut stand = Stand::new(rig);
    let opened = stand.open(COUNT);
    let mut sockets: Vec<_> = opened.iter().map(|&(socket, _)| socket).collect();
    sockets.sort_unstable();
    sockets.dedup();
    assert_eq!(sockets.len(), COUNT);
    stand.finish();
}

pub(crate) fn a_connect_reaches_a_listener<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for from in [None, Some(stand.address.ip())] {
        let calling = stand.free_number();
        let from = from.map(|ip| (ip, 0).into());
        let to = stand.address;
        let submitted = stand.driver.submit(Op::Connect {
            socket: calling,
            to,
            from,
        });
        assert_eq!(submitted, Submitted::Pending);
        stand.until("it has connected", |s| s.logs[&calling].connected);
        stand.until("it is accepted", |s| s.peers.len() == 1);
        let peer = stand.peers.pop_front().unwrap();
        assert!(
            from.is_none_or(|from| peer.address.ip() == from.ip()),
            "{}",
            peer.address
        );
        let called = stand.open_peer(peer);

        let bytes = pattern(200_000, 1);
        let _ = stand.send(calling, &[Piece::Lent(&bytes)]);
        stand.until("all came", |s| s.logs[&called].bytes == bytes);
        let _ = stand.send(called, &[Piece::Lent(b"an answer")]);
        stand.until("it came", |s| s.logs[&calling].bytes == b"an answer");
        stand.until("all is sent", |s| {
            !s.is_sending(calling) && !s.is_sending(called)
        });
        stand.close(calling, false);
        stand.until("it has ended", |s| s.logs[&called].ended);
        stand.close(called, false);
    }
    stand.finish();
}

pub(crate) fn a_connect_to_nobody_is_told_as_gone<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for _ in 0..3 {
        let to = stand.rig.unused_address();
        let socket = stand.free_number();
        let submitted = stand.driver.submit(Op::Connect {
            socket,
            to,
            from: None,
        });
        assert_eq!(submitted, Submitted::Pending);
        stand.until("it is gone", |s| s.logs[&socket].gone.is_some());
        assert_eq!(stand.logs[&socket].gone, Some(ErrorKind::ConnectionRefused));
        stand.settle();
        assert!(!stand.logs[&socket].connected);
        stand.close(socket, false);
    }
    stand.finish();
}

pub(crate) fn a_connect_can_be_closed_at_once<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for reset in [false, true] {
        let socket = stand.free_number();
        let to = stand.address;
        let _ = stand.driver.submit(Op::Connect {
            socket,
            to,
            from: None,
        });
        stand.close(socket, reset);
        stand.settle();
        assert!(stand.logs.is_empty());
    }
    stand.finish();
}

/// The rule itself is asserted by the stand, in every test.
pub(crate) fn a_flood_from_one_peer_delays_nobody<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let opened = stand.open(2);
    let (flooded, flood) = opened[0];
    let (other, quiet) = opened[1];
    let bytes = pattern(1 << 20, 1);
    let mut words = 0;
    for _ in 0..5_000 {
        if stand.remotes[flood].unsent_size() < bytes.len() {
            stand.remotes[flood].send(&bytes);
        }
        if stand.logs[&other].bytes.len() == words && stand.logs[&flooded].received_count > 3 {
            words += 1;
            stand.remotes[quiet].send(b"!");
        }
        // The peer's bytes also come in the middle of a turn.
        stand.wait(Duration::from_millis(1));
        while stand.reap() {
            stand.remotes[flood].poll();
        }
        stand.logs.get_mut(&flooded).unwrap().bytes.clear();
        if words > 20 {
            break;
        }
    }
    assert!(words > 20, "{words} words came through");
    stand.close(flooded, true);
    stand.finish();
}

/// A kernel may tell of one socket several times before a turn, and bytes may come between.
/// The rule itself is asserted by the stand.
pub(crate) fn bytes_that_come_within_a_turn_wait_for_the_next<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let (socket, remote) = stand.open_one();
    let mut wanted = Vec::new();
    for round in 0..30_u8 {
        for _ in 0..3 {
            stand.remotes[remote].send(&[round]);
            stand.remotes[remote].poll();
            wanted.push(round);
        }
        let before = stand.logs[&socket].bytes.len();
        stand.reap_until("some came", |s| s.logs[&socket].bytes.len() > before);
        stand.remotes[remote].send(&[round]);
        stand.remotes[remote].poll();
        wanted.push(round);
        while stand.reap() {}
    }
    stand.until("all came", |s| s.logs[&socket].bytes.len() >= wanted.len());
    assert_eq!(stand.logs[&socket].bytes, wanted);
    stand.finish();
}

pub(crate) fn a_wait_keeps_its_timeout<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    stand.settle();
    for millis in [0, 1, 50] {
        let timeout = Duration::from_millis(millis);
        let start = stand.driver.now();
        stand
            .driver
            .wait(Timeout::At(stand.driver.now() + timeout))
            .unwrap();
        let waited = stand.driver.now().duration_since(start);
        assert!(stand.driver.reap().is_none());
        assert!(waited >= timeout, "{waited:?} is less than {timeout:?}");
        assert!(
            waited < timeout + LONG,
            "{waited:?} is more than {timeout:?}"
        );
    }
    stand.finish();
}

/// A timer that stands already is not set again, and one that stands wrong is.
pub(crate) fn a_wait_goes_on_to_its_moment<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    stand.settle();
    for (first, second) in [(60, 60), (60, 120), (120, 60), (60, 5)] {
        let start = stand.driver.now();
        let [first, second] = [first, second].map(|millis| start + Duration::from_millis(millis));
        stand.driver.waker().wake();
        stand.driver.wait(Timeout::At(first)).unwrap();
        assert!(stand.driver.reap().is_none());
        assert!(stand.driver.now() < first, "the ring did not end the wait");
        stand.driver.wait(Timeout::At(second)).unwrap();
        assert!(stand.driver.reap().is_none());
        assert!(stand.driver.now() >= second, "the wait has ended early");
        assert!(stand.driver.now() < second + LONG, "the wait did not end");
        // A moment that has passed is not waited for.
        stand.driver.wait(Timeout::At(second)).unwrap();
        assert!(stand.driver.reap().is_none());
        assert!(
            stand.driver.now() < second + LONG,
            "the past was waited for"
        );
    }
    stand.finish();
}

pub(crate) fn a_ring_before_the_wait_ends_it<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    stand.settle();
    for rings in [1, 1, 5, 1] {
        let waker = stand.driver.waker();
        let ring = move || (0..rings).for_each(|_| waker.wake());
        std::thread::spawn(ring).join().unwrap();
        let start = stand.driver.now();
        stand
            .driver
            .wait(Timeout::At(stand.driver.now() + LONG))
            .unwrap();
        assert!(stand.driver.reap().is_none());
        assert!(stand.driver.now().duration_since(start) < LONG);
    }
    // Rings do not add up: of the five, at most one is told of again, by a kernel that was slow to.
    let end = stand.driver.now() + Duration::from_millis(20);
    let mut waits = 0;
    while stand.driver.now() < end {
        stand.driver.wait(Timeout::At(end)).unwrap();
        assert!(stand.driver.reap().is_none());
        waits += 1;
    }
    assert!(waits <= 2, "{waits} waits were ended");
    stand.finish();
}

/// Whoever calls `wait` too early gets the rest of the turn, not the next one without it.
pub(crate) fn a_wait_within_a_turn_loses_nothing<R: Rig>(rig: R) {
    const COUNT: usize = 20;
    let mut stand = Stand::new(rig);
    let opened = stand.open(COUNT);
    stand.settle();
    for &(_, remote) in &opened {
        stand.remotes[remote].send(b"once");
        stand.remotes[remote].finish();
    }
    stand.until("all have ended", |s| {
        // One completion, then a wait.
        s.wait(Duration::from_millis(1));
        s.reap();
        let mut logs = opened.iter().map(|(socket, _)| &s.logs[socket]);
        logs.all(|log| log.ended && log.bytes == b"once")
    });
    stand.finish();
}

/// The kernel hands out events in the order in which they came, and thousands may leave at once.
pub(crate) fn who_stays_is_heard_before_a_crowd_that_leaves<R: Rig>(rig: R) {
    const CROWD: usize = 600;
    /// Three turns of 256 events, with 8 ends in each, and one that came too early to be crowded.
    const ENDS_MAX: usize = 40;
    let mut stand = Stand::new(rig);
    let mut opened = Vec::new();
    while opened.len() <= CROWD {
        // As many as fit into a short queue.
        opened.extend(stand.open(100));
    }
    stand.settle();
    let (who_stays, remote) = opened.pop().unwrap();
    for &(_, remote) in &opened {
        stand.remotes[remote].finish();
        stand.remotes[remote].poll();
    }
    stand.remotes[remote].send(b"here");
    stand.remotes[remote].poll();
    let ended = |s: &Stand<R>| s.logs.values().filter(|log| log.ended).count();
    stand.reap_until("it was heard", |s| s.logs[&who_stays].bytes == b"here");
    let before = ended(&stand);
    assert!(before <= ENDS_MAX, "{before} had left before it was heard");
    stand.until("nobody is forgotten", |s| ended(s) == opened.len());
    stand.finish();
}

pub(crate) fn a_driver_that_is_dropped_closes_its_peers<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    let opened = stand.open(3);
    let (other, _) = stand.rig.driver();
    drop(std::mem::replace(&mut stand.driver, other));
    stand.logs.clear();
    for (_, remote) in opened {
        stand.until("it saw the end", |s| {
            let remote = &s.remotes[remote];
            remote.is_ended() || remote.is_reset()
        });
    }
    stand.finish();
}

/// The caller's numbers need not be dense, and need not begin at 0.
pub(crate) fn numbers_may_be_chosen_freely<R: Rig>(rig: R) {
    let mut stand = Stand::new(rig);
    for number in [70_000, 3, 100_000] {
        let remote = stand
            .rig
            .connect(stand.address)
            .expect("the driver listens");
        stand.remotes.push(remote);
        stand.until("it is accepted", |s| s.peers.len() == 1);
        let peer = stand.peers.pop_front().unwrap();
        let socket = Socket(number);
        assert_eq!(
            stand.driver.submit(Op::Open { socket, peer }),
            Submitted::Done
        );
        stand.logs.insert(socket, crate::stand::Log::default());
        stand.remotes.last_mut().unwrap().send(b"hello");
        stand.until("it came", |s| s.logs[&socket].bytes == b"hello");
    }
    stand.finish();
}
