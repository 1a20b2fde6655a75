//! A publication to a crowd is sent on the way, so that the turn's lists do not grow with it.

use allocation_counter::measure;

use super::*;
use crate::connection::NONE;
use crate::turn::{Bytes, Turn};

/// More than twice as many as are sent to at once, and not a multiple of them.
const LISTENERS: usize = 2_500;

fn crowd_on(path: &str) -> (Stand, Vec<Peer>) {
    let mut stand = Stand::new(1, Faults::none(), 1, &Limits::default());
    let peers = stand.connect_open(LISTENERS, path);
    (stand, peers)
}

#[test]
fn a_crowd_hears_everything_once_and_leaves_small_lists() {
    let (mut stand, mut peers) = crowd_on("/room");
    for round in 1..=3 {
        peers[round].say(Message::Text("to all"));
        stand.until(&mut peers, "all hear it", |_, peers| {
            peers.iter().all(|peer| peer.heard.len() >= round)
        });
        assert!(peers.iter().all(|peer| peer.heard.len() == round));
    }
    // Lists of 2,500 would be 60,000 bytes.
    let memory = stand.shards[0].core.turn.memory();
    assert!(memory < 32 * 1024, "{memory}");
}

#[test]
fn a_crowd_that_does_not_read_leaves_a_small_list() {
    let narrow = Faults {
        capacity_min: 2_000,
        capacity_max: 2_000,
        ..Faults::none()
    };
    let mut stand = Stand::new(1, narrow, 1, &patient());
    let mut peers = stand.connect_open(LISTENERS, "/feed");
    for peer in &peers {
        peer.client.stop_reading();
    }
    let text = "x".repeat(5_000);
    for round in 0..2 {
        let core = &mut stand.shards[0].core;
        let said = core.publish("room", 0, Message::Text(&text));
        said.expect("there is no other shard");
        stand.until(&mut peers, "all are behind", |stand, _| {
            stand.shards[0].core.outboxes.len() == LISTENERS
        });
        stand.turn(&mut peers);
        let outboxes = stand.shards[0].core.outboxes.iter();
        let behind = outboxes.filter(|(_, outbox)| outbox.bytes_waiting() > 0);
        assert_eq!(behind.count(), LISTENERS * round);
    }
    // A list of 2,500 would be 20,000 bytes.
    let count = stand.shards[0].behind.capacity();
    assert!(count <= 1_024, "room for {count}");
    for peer in &peers {
        peer.client.start_reading();
    }
    stand.until(&mut peers, "all hear both", |_, peers| {
        peers.iter().all(|peer| peer.heard.len() == 2)
    });
}

fn queue(turn: &mut Turn, count: u32) {
    let run = turn.add_run(Bytes::Post(0, 0), 1);
    turn.reserve(count as usize);
    for slot in 0..count {
        let mut pending = NONE;
        turn.enqueue(&mut pending, slot, run, 0);
    }
}

#[test]
fn lists_of_a_crowd_are_made_once_and_given_back_after_the_turn() {
    let mut turn = Turn::default();
    let made = measure(|| queue(&mut turn, 18_000));
    // 24 bytes for each, and a run.
    assert!(made.bytes_total < 18_000 * 24 + 1024, "{made:?}");
    turn.clear();
    assert!(turn.memory() < 1024, "{}", turn.memory());
    // A small crowd finds its lists where it left them.
    queue(&mut turn, 2_500);
    turn.clear();
    let made = measure(|| queue(&mut turn, 2_500));
    assert_eq!(made.count_total, 0);
}
