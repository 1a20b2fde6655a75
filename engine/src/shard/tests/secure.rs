//! Encrypted connections on the simulated kernel, through a made-up encryption that sees whatever is
//! lost, cut, doubled or out of order.

use super::filter::{CAUSE, DATA, GOODBYE, HELLO, MadeUp, UPDATE};
use super::*;

/// Shards with a plain and a secure listener each.
fn stand(seed: u64, faults: Faults, shard_count: usize, limits: &Limits) -> Stand {
    let budget = Arc::new(Budget::new(Compression::Shared));
    let world = World::with_faults(seed, faults);
    let drivers = (0..shard_count).map(|_| world.driver_with_listeners(2));
    let drivers: Vec<SimDriver> = drivers.collect();
    let (mut shards, addresses) = shards_on(drivers, seed, limits, Compression::Shared, &budget);
    for shard in &mut shards {
        shard.secure(1, Arc::new(MadeUp));
    }
    Stand {
        seed,
        world,
        shards,
        addresses,
        budget,
    }
}

impl Stand {
    fn connect_secure(&self, count: usize, path: &str) -> Vec<Peer> {
        let peer = |number| {
            let client = self
                .world
                .connect_to_listener(number % self.shards.len(), 1);
            Peer::sealed(client.expect("a shard listens"), path)
        };
        (0..count).map(peer).collect()
    }

    fn open_secure(&mut self, count: usize, path: &str) -> Vec<Peer> {
        let mut peers = self.connect_secure(count, path);
        self.until(&mut peers, "all are open", |_, peers| {
            peers.iter().all(Peer::is_open)
        });
        peers
    }

    fn causes(&self) -> Vec<(&'static str, u64)> {
        let shards = self.shards.iter();
        let causes = shards.flat_map(|shard| shard.core.shared.load().refusals);
        causes.collect()
    }

    #[track_caller]
    fn until_gone(&mut self, peers: &mut [Peer]) {
        self.until(peers, "all are gone", |stand, _| stand.connections() == 0);
        self.assert_empty();
        for shard in &self.shards {
            let secure = shard.core.secure.as_ref().expect("there is a secure port");
            assert!(secure.is_empty(), "seed {}", self.seed);
        }
    }
}

fn payload(number: usize) -> Vec<u8> {
    let sizes = [0, 1, 125, 126, 1000, 20_000, 65_000, 3];
    let size = sizes[number % sizes.len()];
    let byte = |i: usize| u8::try_from((i * 7 + number) % 251).unwrap();
    (0..size).map(byte).collect()
}

#[test]
fn every_echo_comes_back_through_a_channel_once_in_order_and_unchanged() {
    for seed in 0..40 {
        let mut stand = stand(seed, Faults::without_resets(), 2, &patient());
        let mut peers = stand.open_secure(6, "/echo");
        let said: Vec<Vec<u8>> = (0..12).map(payload).collect();
        for peer in &mut peers {
            for (number, bytes) in said.iter().enumerate() {
                peer.say(Message::Binary(bytes));
                // What the channel says by itself comes between, also while a batch is under way.
                peer.send_record(UPDATE, &[u8::try_from(number).unwrap()]);
            }
        }
        stand.until(&mut peers, "all echoes", |_, peers| {
            let all = |p: &Peer| {
                let updated = p.filter.as_ref().map_or(0, |filter| filter.updated.len());
                p.heard.len() >= said.len() && updated >= said.len()
            };
            peers.iter().all(all)
        });
        let numbers: Vec<u8> = (0..12).collect();
        for peer in &mut peers {
            assert_eq!(peer.heard, said, "seed {seed}");
            let filter = peer.filter.as_ref().unwrap();
            assert_eq!(filter.updated, numbers, "seed {seed}");
            peer.close();
        }
        stand.until(&mut peers, "all are told goodbye", |_, peers| {
            peers.iter().all(|p| p.filter.as_ref().unwrap().goodbye)
        });
        stand.until_gone(&mut peers);
        assert_eq!(stand.ends(), [EndReason::ClosedByPeer; 6], "seed {seed}");
        assert_eq!(stand.causes(), [], "seed {seed}");
    }
}

#[test]
fn plain_and_secure_members_of_a_room_hear_the_same() {
    for seed in 0..20 {
        let mut stand = stand(seed, Faults::without_resets(), 2, &patient());
        let mut peers = stand.open_secure(4, "/room");
        peers.append(&mut stand.connect_open(4, "/room"));
        for number in 0..10_u8 {
            for speaker in [0_u8, 7] {
                let size = if number == 4 { 30_000 } else { 40 };
                let mut text = vec![speaker, number];
                text.resize(size, 0);
                peers[usize::from(speaker)].say(Message::Binary(&text));
            }
        }
        stand.until(&mut peers, "all is heard", |_, peers| {
            peers.iter().all(|p| p.heard.len() >= 20)
        });
        for peer in &peers {
            for speaker in [0, 7] {
                let of = peer.heard.iter().filter(|h| h[0] == speaker);
                let numbers: Vec<u8> = of.map(|h| h[1]).collect();
                assert_eq!(numbers, (0..10).collect::<Vec<u8>>(), "seed {seed}");
            }
        }
        peers.iter_mut().for_each(Peer::close);
        stand.until_gone(&mut peers);
    }
}

#[test]
fn whatever_breaks_every_channel_is_given_back() {
    for seed in 0..60 {
        let faults = Faults {
            reset: 0.002,
            ..Faults::default()
        };
        let limits = Limits {
            handshake_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(5),
            ..patient()
        };
        let mut stand = stand(seed, faults, 2, &limits);
        let mut peers = stand.connect_secure(12, "/echo");
        for _ in 0..200 {
            stand.turn(&mut peers);
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            if peer.is_open() {
                peer.say(Message::Binary(&payload(number)));
            }
        }
        for _ in 0..200 {
            stand.turn(&mut peers);
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            match number % 3 {
                0 => peer.reset(),
                1 => peer.finish(),
                _ => peer.close(),
            }
        }
        // Those who were in the middle of something are waited for by their deadlines only.
        stand.until_gone(&mut peers);
    }
}

#[test]
fn what_is_not_authentic_ends_its_connection_with_an_alert_and_no_other() {
    for seed in 0..20 {
        let mut stand = stand(seed, Faults::without_resets(), 1, &patient());
        let mut peers = stand.open_secure(2, "/echo");
        peers[0].client.send(b"\x05\x00\x01\x63!");
        stand.until(&mut peers, "it is told", |_, peers| {
            peers[0].filter.as_ref().unwrap().alert && peers[0].client.is_ended()
        });
        peers[0].finish();
        peers[1].say(Message::Text("still here"));
        stand.until(&mut peers, "the other is heard", |_, peers| {
            peers[1].heard == [b"still here"]
        });
        assert_eq!(stand.ends(), [EndReason::TlsFailure], "seed {seed}");
        assert_eq!(stand.causes(), [(CAUSE, 1)], "seed {seed}");
        peers[1].close();
        stand.until_gone(&mut peers);
    }
}

#[test]
fn a_handshake_that_fails_is_counted_by_its_cause() {
    for seed in 0..20 {
        let limits = Limits {
            handshake_timeout: Duration::from_secs(10),
            ..patient()
        };
        let mut stand = stand(seed, Faults::without_resets(), 1, &limits);
        let connect = |stand: &Stand| stand.world.connect_to_listener(0, 1).unwrap();
        let wrong = connect(&stand);
        wrong.send(b"GET / HTTP/1.1\r\n\r\n");
        let cut = connect(&stand);
        cut.send(&[HELLO, 2]);
        cut.finish();
        let gone = connect(&stand);
        gone.finish();
        let slow = connect(&stand);
        slow.send(&[HELLO]);
        let silent = connect(&stand);
        stand.until(&mut [], "the silent are reset", |_, _| {
            slow.is_reset() && silent.is_reset()
        });
        wrong.finish();
        stand.until_gone(&mut []);
        let mut causes = stand.causes();
        causes.sort_unstable();
        // Who says nothing and leaves has not failed.
        let expected = [(CAUSE, 1), ("tls_timeout", 2), ("tls_truncated", 1)];
        assert_eq!(causes, expected, "seed {seed}");
        let recorded = &stand.shards[0].core.closed;
        assert_eq!(recorded.end(), 4, "each is written down");
    }
}

#[test]
fn an_end_without_a_goodbye_is_counted_as_a_truncation() {
    for seed in 0..20 {
        let mut stand = stand(seed, Faults::without_resets(), 1, &patient());
        let mut peers = stand.open_secure(2, "/echo");
        peers[0].finish();
        peers[1].send_record(GOODBYE, b"");
        // It waits for ours, and leaves its stream open.
        stand.until(&mut peers, "both have ended", |_, peers| {
            let told = |p: &Peer| p.filter.as_ref().unwrap().goodbye;
            peers.iter().all(told)
        });
        peers[1].finish();
        stand.until_gone(&mut peers);
        assert_eq!(stand.ends(), [EndReason::Ended; 2], "seed {seed}");
        let counted = &stand.shards[0].core.counted;
        assert_eq!(counted.tls_truncations, 1, "seed {seed}");
    }
}

#[test]
fn who_makes_a_channel_speak_and_does_not_read_is_let_go() {
    let mut stand = stand(1, Faults::none(), 1, &patient());
    let mut peers = stand.open_secure(2, "/echo");
    peers[0].client.stop_reading();
    for _ in 0..3000 {
        peers[0].send_record(UPDATE, &[7; 500]);
        stand.turn(&mut peers);
    }
    stand.until(&mut peers, "it is reset", |_, peers| {
        peers[0].client.is_reset()
    });
    assert_eq!(stand.ends(), [EndReason::SlowConsumer]);
    peers[1].say(Message::Text("still here"));
    stand.until(&mut peers, "the other is heard", |_, peers| {
        peers[1].heard == [b"still here"]
    });
    peers[1].close();
    stand.until_gone(&mut peers);
}

#[test]
fn a_drain_closes_secure_connections_politely() {
    for seed in 0..10 {
        let mut stand = stand(seed, Faults::without_resets(), 2, &patient());
        let mut peers = stand.open_secure(4, "/echo");
        for address in &stand.addresses {
            address.send(
                Letter::Drain(Duration::from_secs(50_000_000)),
                Duration::from_secs(1),
            );
        }
        stand.until(&mut peers, "all are told", |_, peers| {
            peers.iter().all(|p| p.filter.as_ref().unwrap().goodbye)
        });
        for peer in &peers {
            assert_eq!(peer.close_code, Some(Some(CloseCode::GOING_AWAY)));
        }
        stand.until_gone(&mut peers);
        assert_eq!(stand.ends(), [EndReason::Drained; 4], "seed {seed}");
    }
}

#[test]
fn data_behind_the_handshake_in_one_segment_is_heard() {
    // A client may say everything in one breath, which the kernel then cuts anywhere.
    for seed in 0..20 {
        let mut stand = stand(seed, Faults::without_resets(), 1, &patient());
        let mut peers = stand.connect_secure(1, "/echo");
        stand.until(&mut peers, "it is open", |_, peers| peers[0].is_open());
        peers[0].say(Message::Text("one"));
        peers[0].send_record(DATA, b"");
        peers[0].say(Message::Text("two"));
        stand.until(&mut peers, "both are heard", |_, peers| {
            peers[0].heard == [b"one", b"two"]
        });
        peers[0].close();
        stand.until_gone(&mut peers);
    }
}
