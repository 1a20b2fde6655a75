//! A publication to a crowd is sent on the way, so that the turn's lists do not grow with it.

use super::*;

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
