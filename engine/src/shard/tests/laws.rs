//! What holds whatever the kernel does.

use super::*;

fn payload(seed: u64, number: usize) -> Vec<u8> {
    let sizes = [0, 1, 5, 125, 126, 1000, 65_535, 20_000, 3];
    let size = sizes[(number + usize::try_from(seed).unwrap()) % sizes.len()];
    (0..size)
        .map(|i| u8::try_from((i * 7 + number) % 251).unwrap())
        .collect()
}

#[test]
fn every_echo_comes_back_once_in_order_and_unchanged() {
    for seed in 0..30 {
        let mut stand = Stand::new(seed, Faults::without_resets(), 2, &patient());
        let mut peers = stand.connect_open(8, "/echo");
        let said: Vec<Vec<u8>> = (0..12).map(|number| payload(seed, number)).collect();
        for peer in &mut peers {
            said.iter()
                .for_each(|bytes| peer.say(Message::Binary(bytes)));
        }
        stand.until(&mut peers, "all echoes", |_, peers| {
            peers.iter().all(|p| p.heard.len() >= said.len())
        });
        for peer in &mut peers {
            assert_eq!(peer.heard, said, "seed {seed}");
            peer.close();
        }
        stand.until(&mut peers, "all are gone", |stand, _| {
            stand.connections() == 0
        });
        stand.assert_empty();
        assert_eq!(stand.ends(), [EndReason::ClosedByPeer; 8], "seed {seed}");
    }
}

#[test]
fn everybody_in_a_room_hears_everything_on_every_shard_in_each_speakers_order() {
    for seed in 0..20 {
        let mut stand = Stand::new(seed, Faults::without_resets(), 3, &patient());
        let mut peers = stand.connect_open(9, "/room");
        let used = stand
            .shards
            .iter()
            .filter(|shard| !shard.core.connections.is_empty());
        assert!(used.count() > 1, "seed {seed}: all on one shard");
        for number in 0..10_u8 {
            for speaker in 0..3_u8 {
                let size = if number == 4 { 30_000 } else { 2 };
                let mut text = vec![speaker, number];
                text.resize(size, 0);
                peers[usize::from(speaker)].say(Message::Binary(&text));
            }
        }
        stand.until(&mut peers, "all is heard", |_, peers| {
            peers.iter().all(|p| p.heard.len() >= 30)
        });
        for peer in &peers {
            assert_eq!(peer.heard.len(), 30, "seed {seed}");
            for speaker in 0..3 {
                let numbers: Vec<u8> = peer
                    .heard
                    .iter()
                    .filter(|h| h[0] == speaker)
                    .map(|h| h[1])
                    .collect();
                assert_eq!(numbers, (0..10).collect::<Vec<u8>>(), "seed {seed}");
            }
        }
        peers.iter_mut().for_each(Peer::close);
        stand.until(&mut peers, "all are gone", |stand, _| {
            stand.connections() == 0
        });
        stand.assert_empty();
    }
}

#[test]
fn whatever_breaks_everything_is_given_back() {
    for seed in 0..60 {
        let mut stand = Stand::new(seed, Faults::default(), 2, &patient());
        let mut peers = stand.connect(20, "/room");
        for turn in 0..300 {
            if let Some(peer) = peers.get_mut(turn % 20)
                && peer.is_open()
                && !peer.client.is_ended()
            {
                peer.say(Message::Text("words"));
            }
            stand.turn(&mut peers);
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            match number % 3 {
                0 => peer.reset(),
                1 => peer.finish(),
                _ => peer.close(),
            }
            peer.client.start_reading();
        }
        // Those whose connect was refused or not yet accepted never reach the slab.
        for _ in 0..2_000 {
            stand.turn(&mut peers);
        }
        peers.iter().for_each(|peer| peer.client.reset());
        stand.until(&mut [], "all are gone", |stand, _| {
            stand.connections() == 0 && stand.world.open_links() == 0
        });
        stand.assert_empty();
    }
}

#[test]
fn a_pong_and_a_close_that_follow_a_large_echo_in_one_read_are_sent() {
    let mut stand = Stand::new(1, Faults::none(), 1, &patient());
    let mut peers = stand.connect_open(2, "/echo");
    for peer in &mut peers {
        peer.say(Message::Binary(&[7; 20_000]));
    }
    peers[0].ping(b"still there?");
    peers[1].close();
    stand.until(&mut peers, "the pong and the close", |_, peers| {
        peers[0].pongs == [b"still there?"] && peers[1].close_code.is_some()
    });
    assert_eq!(peers[0].heard.len(), 1);
}

#[test]
fn one_who_does_not_read_is_ended_and_the_others_hear_everything() {
    let mut stand = Stand::new(1, Faults::none(), 1, &patient());
    let mut peers = stand.connect_open(4, "/room");
    peers[3].client.stop_reading();
    let text = vec![b'x'; 8_000];
    for number in 0..200 {
        peers[0].say(Message::Binary(&text));
        stand.until(&mut peers, "the three hear it", |_, peers| {
            peers[..3].iter().all(|peer| peer.heard.len() == number + 1)
        });
    }
    assert_eq!(stand.ends(), [EndReason::SlowConsumer]);
    assert!(peers[3].client.is_reset());
}

#[test]
fn an_echo_to_one_who_does_not_read_stops_reading_from_it_and_loses_nothing() {
    for seed in 0..10 {
        let mut stand = Stand::new(seed, Faults::without_resets(), 1, &patient());
        let mut peers = stand.connect_open(1, "/echo");
        peers[0].client.stop_reading();
        let count = 400_u32;
        for number in 0..count {
            let mut text = number.to_be_bytes().to_vec();
            text.resize(4_000, 0);
            peers[0].say(Message::Binary(&text));
        }
        for _ in 0..3_000 {
            stand.turn(&mut peers);
        }
        let waiting: usize = stand.shards[0]
            .core
            .outboxes
            .iter()
            .map(|(_, outbox)| outbox.bytes_used())
            .sum();
        assert!(waiting < 200 * 1024, "seed {seed}: {waiting} bytes wait");
        assert!(
            peers[0].client.unsent_size() > 0,
            "seed {seed}: all of it was taken in"
        );
        peers[0].client.start_reading();
        stand.until(&mut peers, "all echoes", |_, peers| {
            peers[0].heard.len() == count as usize
        });
        let numbers = peers[0]
            .heard
            .iter()
            .map(|h| u32::from_be_bytes(h[..4].try_into().unwrap()));
        assert!(numbers.eq(0..count), "seed {seed}");
    }
}

#[test]
fn a_flood_of_pings_to_one_who_does_not_read_keeps_one_pong() {
    let mut stand = Stand::new(3, Faults::none(), 1, &patient());
    let mut peers = stand.connect_open(2, "/room");
    peers[1].client.stop_reading();
    // Something is under way, and the link is full.
    let text = vec![b'x'; 30_000];
    while stand.shards[0].core.outboxes.is_empty() {
        peers[0].say(Message::Binary(&text));
        stand.turn(&mut peers);
    }
    let heard = peers[0].heard.len();
    let before: usize = stand.shards[0]
        .core
        .outboxes
        .iter()
        .map(|(_, o)| o.bytes_used())
        .sum();
    for number in 0..5_000_u32 {
        peers[1].ping(&number.to_be_bytes());
    }
    for _ in 0..2_000 {
        stand.turn(&mut peers);
    }
    let after: usize = stand.shards[0]
        .core
        .outboxes
        .iter()
        .map(|(_, o)| o.bytes_used())
        .sum();
    assert!(
        after <= before + 6 + 40_000 * (peers[0].heard.len() - heard),
        "{before}, {after}"
    );
    peers[1].client.start_reading();
    stand.until(&mut peers, "the last pong", |_, peers| {
        peers[1]
            .pongs
            .last()
            .is_some_and(|pong| *pong == 4_999_u32.to_be_bytes())
    });
}

#[test]
fn a_reused_slot_gets_nothing_of_its_former_tenant() {
    for seed in 0..20 {
        let mut stand = Stand::new(seed, Faults::without_resets(), 1, &patient());
        for round in 0..5_u8 {
            let mut peers = stand.connect_open(3, "/echo");
            for peer in &mut peers {
                peer.say(Message::Binary(&[round]));
            }
            stand.until(&mut peers, "echoes", |_, peers| {
                peers.iter().all(|p| !p.heard.is_empty())
            });
            assert!(
                peers.iter().all(|peer| peer.heard == [[round]]),
                "seed {seed}"
            );
            peers.iter().for_each(|peer| peer.client.reset());
            stand.until(&mut peers, "all are gone", |stand, _| {
                stand.connections() == 0
            });
        }
    }
}

#[test]
fn notes_and_publications_from_outside_arrive_in_order() {
    let mut stand = Stand::new(5, Faults::none(), 2, &patient());
    let mut peers = stand.connect_open(4, "/feed");
    for number in 0..50 {
        assert!(stand.addresses[1].try_send(Letter::Note(number)).is_ok());
        let payload = number.to_string().into_bytes();
        let kind = crate::MessageKind::Text;
        let letter = Letter::Publish {
            topic: "room".into(),
            kind,
            payload,
            key: 0,
        };
        assert!(stand.addresses[0].try_send(letter).is_ok());
    }
    stand.until(&mut peers, "all is heard", |_, peers| {
        peers.iter().all(|p| p.heard.len() == 50)
    });
    let said: Vec<Vec<u8>> = (0..50)
        .map(|number| number.to_string().into_bytes())
        .collect();
    assert!(peers.iter().all(|peer| peer.heard == said));
    assert_eq!(stand.shards[1].handler.notes, (0..50).collect::<Vec<u32>>());
}

#[test]
fn a_full_mailbox_refuses_new_publications_and_loses_none_that_were_accepted() {
    let limits = Limits {
        mailbox_letters_max: 2,
        mail_bytes_max: 20_000,
        ..patient()
    };
    let mut stand = Stand::new(6, Faults::none(), 2, &limits);
    let mut peers = stand.connect_open(8, "/room");
    let other = usize::from(stand.shards[0].core.connections.is_empty());
    assert!(
        stand
            .shards
            .iter()
            .all(|shard| !shard.core.connections.is_empty())
    );
    // Only one shard turns: the other's mailbox fills up.
    let speaker = (0..8).find(|&i| {
        let before = stand.shards[other].core.counted.messages_in;
        peers[i].say(Message::Binary(&[0; 1000]));
        for _ in 0..50 {
            stand.shards[other].turn().unwrap();
        }
        stand.shards[other].core.counted.messages_in > before
    });
    let speaker = speaker.expect("somebody is on that shard");
    for _ in 0..200 {
        peers[speaker].say(Message::Binary(&[1; 1000]));
        for _ in 0..3 {
            stand.shards[other].turn().unwrap();
        }
    }
    let busy = stand.shards[other].handler.busy;
    assert!(busy > 100, "{busy} were refused");
    let accepted = stand.shards[other].core.counted.publications;
    stand.until(&mut peers, "what was accepted is heard", |stand, peers| {
        let total: u64 = stand
            .shards
            .iter()
            .map(|s| s.core.counted.publications)
            .sum();
        total >= accepted && peers.iter().all(|peer| peer.heard.len() as u64 == total)
    });
}
