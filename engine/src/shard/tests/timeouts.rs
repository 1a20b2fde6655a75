//! Deadlines, and the drain.

use super::*;

fn stand(shard_count: usize) -> Stand {
    Stand::new(9, Faults::none(), shard_count, &Limits::default())
}

#[test]
fn a_head_that_drips_gets_a_408_within_its_deadline() {
    let mut stand = stand(1);
    let client = stand.world.connect().unwrap();
    let start = stand.world.now();
    let mut heard = Vec::new();
    for byte in std::iter::repeat_n(b'x', 1_000) {
        if client.is_ended() {
            break;
        }
        client.send(&[byte]);
        stand.world.advance(Duration::from_millis(300));
        stand.turn(&mut []);
        heard.extend(client.receive());
    }
    assert!(
        heard.starts_with(b"HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&heard)
    );
    assert!(stand.world.now() - start < Duration::from_secs(12));
    client.finish();
    stand.until(&mut [], "it is gone", |stand, _| stand.connections() == 0);
    stand.assert_empty();
}

#[test]
fn who_is_lost_before_the_request_is_counted_as_a_handshake_that_failed() {
    let mut stand = stand(1);
    let lost = stand.world.connect().unwrap();
    lost.send(b"GET / HT");
    stand.turn(&mut []);
    lost.reset();
    // Whoever only looks whether the port is open has not failed.
    let probe = stand.world.connect().unwrap();
    probe.finish();
    stand.until(&mut [], "they are gone", |stand, _| {
        let counted = &stand.shards[0].core.counted;
        counted.accepted == 2 && stand.connections() == 0
    });
    let shown = stand.shards[0].core.shared.load();
    assert_eq!(shown.refusals().collect::<Vec<_>>(), [("gone", 1)]);
    stand.assert_empty();
}

#[test]
fn a_message_held_open_is_ended_with_1008() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(1, "/echo");
    // A first fragment, and nothing after it.
    peers[0].client.send(&[0x01, 0x81, 0, 0, 0, 0, b'a']);
    stand.until(&mut peers, "it is closed", |_, peers| {
        peers[0].close_code.is_some()
    });
    assert_eq!(peers[0].close_code, Some(Some(CloseCode::POLICY)));
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(stand.ends(), [EndReason::MessageTimeout]);
}

#[test]
fn a_violation_after_our_close_does_not_change_why_it_ended() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(2, "/echo");
    for peer in &mut peers {
        peer.polite = false;
        peer.client.send(&[0x01, 0x81, 0, 0, 0, 0, b'a']);
    }
    // Of one only the opcode is wrong, the other masks nothing.
    stand.until(&mut peers, "both are told", |_, peers| {
        peers.iter().all(|peer| peer.close_code.is_some())
    });
    peers[0].client.send(&[0x83, 0x80, 0, 0, 0, 0]);
    peers[1].client.send(&[0x81, 0x00]);
    stand.until(&mut peers, "they are gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(stand.ends(), [EndReason::MessageTimeout; 2]);
}

#[test]
fn a_message_that_ends_in_time_is_not_ended() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(1, "/echo");
    for _ in 0..10 {
        peers[0].client.send(&[0x02, 0x81, 0, 0, 0, 0, b'a']);
        stand.world.advance(Duration::from_secs(40));
        stand.until(&mut peers, "the fragment is in", |stand, _| {
            stand.shards[0]
                .core
                .connections
                .iter()
                .any(|(_, c)| c.deadline != 0)
        });
        peers[0].client.send(&[0x80, 0x81, 0, 0, 0, 0, b'b']);
        let before = peers[0].heard.len();
        stand.until(&mut peers, "the echo", |_, peers| {
            peers[0].heard.len() > before
        });
    }
    assert!(peers[0].close_code.is_none());
}

#[test]
fn one_who_never_answers_the_close_is_reset() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(1, "/feed");
    peers[0].polite = false;
    peers[0].say(Message::Text("I may not"));
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(peers[0].close_code, Some(Some(CloseCode::POLICY)));
    assert_eq!(stand.ends(), [EndReason::CloseTimeout]);
    stand.turn(&mut peers);
    stand.assert_empty();
}

#[test]
fn one_who_never_reads_is_reset_after_the_send_timeout() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.stop_reading();
    let text = vec![b'x'; 60_000];
    for _ in 0..20 {
        peers[0].say(Message::Binary(&text));
    }
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(stand.ends(), [EndReason::SendTimeout]);
}

#[test]
fn an_idle_connection_without_pings_has_no_deadline() {
    let limits = Limits {
        profile: Profile::quiet(),
        ..Limits::default()
    };
    let mut stand = Stand::new(9, Faults::none(), 1, &limits);
    let mut peers = stand.connect_open(3, "/echo");
    stand.world.advance(Duration::from_secs(100_000));
    for _ in 0..100 {
        stand.turn(&mut peers);
    }
    assert_eq!(stand.connections(), 3);
    peers[0].say(Message::Text("still here"));
    stand.until(&mut peers, "the echo", |_, peers| {
        peers[0].heard == [b"still here"]
    });
}

#[test]
fn a_drain_tells_everybody_1001_and_ends_when_all_have_answered() {
    let mut stand = stand(2);
    let mut peers = stand.connect_open(20, "/room");
    for address in &stand.addresses {
        assert!(
            address
                .try_send(leave(Farewell::within(Duration::from_secs(10))))
                .is_ok()
        );
    }
    stand.until(&mut peers, "the shards are done", |stand, _| {
        stand.shards.iter().all(Shard::is_over)
    });
    for peer in &peers {
        assert_eq!(peer.close_code, Some(Some(CloseCode::GOING_AWAY)));
    }
    assert_eq!(stand.ends(), [EndReason::Drained; 20]);
    stand.assert_empty();
}

#[test]
fn a_drain_ends_in_time_although_one_does_not_answer() {
    let mut stand = stand(1);
    let mut peers = stand.connect_open(2, "/room");
    peers[0].polite = false;
    let start = stand.world.now();
    assert!(
        stand.addresses[0]
            .try_send(leave(Farewell::within(Duration::from_secs(3))))
            .is_ok()
    );
    stand.until(&mut peers, "the shard is done", |stand, _| {
        stand.shards[0].is_over()
    });
    assert!(stand.world.now() - start <= Duration::from_secs(4));
    assert!(stand.world.connect().is_none(), "nobody listens any more");
}

#[test]
fn accepting_goes_on_after_the_file_table_was_full() {
    let faults = Faults {
        refused: 0.5,
        ..Faults::none()
    };
    let mut stand = Stand::new(4, faults, 1, &Limits::default());
    let peers = stand.connect_open(30, "/echo");
    assert_eq!(peers.len(), 30);
    assert!(stand.shards[0].core.counted.accept_failures > 0);
}

#[test]
fn an_end_that_takes_longer_than_ten_seconds_is_counted() {
    for (seconds, late) in [(5, 0), (20, 1)] {
        let limits = Limits {
            profile: Profile {
                close_timeout: Duration::from_secs(seconds),
                ..Profile::default()
            },
            ..Limits::default()
        };
        let mut stand = Stand::new(9, Faults::none(), 1, &limits);
        let mut peers = stand.connect_open(2, "/feed");
        peers[0].polite = false;
        for peer in &mut peers {
            peer.say(Message::Text("I may not"));
        }
        stand.until(&mut peers, "they are gone", |stand, _| {
            stand.connections() == 0
        });
        assert_eq!(stand.shards[0].core.counted.late_closes, late);
    }
}
