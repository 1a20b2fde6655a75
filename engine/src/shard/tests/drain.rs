//! How a server takes leave, in virtual time.

use std::collections::HashMap;

use super::super::drain::Round;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn farewell() -> Farewell {
    Farewell {
        spread: 10 * SECOND,
        retry_after: 2 * SECOND,
        ..Farewell::within(20 * SECOND)
    }
}

fn stand() -> Stand {
    let limits = Limits {
        profile: Profile::quiet(),
        ..Limits::default()
    };
    Stand::new(9, Faults::none(), 1, &limits)
}

impl Stand {
    fn begin(&mut self, farewell: Farewell) {
        assert!(self.addresses[0].try_send(leave(farewell)).is_ok());
    }

    fn is_over(&self) -> bool {
        self.shards.iter().all(Shard::is_over)
    }
}

#[test]
fn nobody_is_told_before_its_moment_and_all_are_by_the_end() {
    let mut stand = stand();
    let mut peers = stand.connect_open(300, "/echo");
    // Some leave by themselves meanwhile, some have left before.
    for peer in &mut peers[..40] {
        peer.close();
    }
    stand.until(&mut peers, "some have left", |stand, _| {
        stand.connections() == 260
    });
    stand.begin(farewell());
    let start = stand.world.now();
    let shard = &mut stand.shards[0];
    let mut round = Round::new(shard.core.connections.capacity(), start, 10 * SECOND);
    let mut moments = HashMap::new();
    for rank in 0..shard.core.connections.capacity() {
        moments.insert(round.next_slot(), round.moment_of(rank));
    }
    let mut told = Vec::new();
    let mut closed = 0;
    while !stand.is_over() {
        stand.turn(&mut peers);
        let now = stand.world.now();
        let core = &mut stand.shards[0].core;
        let slots: Vec<usize> = core.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(open) = core.connections[slot].as_open() else {
                continue;
            };
            if open.closing.is_some() && !told.contains(&slot) {
                told.push(slot);
                assert!(moments[&slot] <= now, "slot {slot} was told too soon");
            } else if open.closing.is_none() {
                // A batch, and a turn that another one delays.
                let late = now.saturating_duration_since(moments[&slot]);
                assert!(late < SECOND / 10, "slot {slot} was forgotten for {late:?}");
            }
        }
        if now > start + 5 * SECOND && closed == 0 {
            closed = 1;
            for peer in peers
                .iter_mut()
                .filter(|peer| peer.close_code.is_none())
                .take(9)
            {
                peer.close();
            }
        }
    }
    let lasted = stand.world.now() - start;
    assert!((9 * SECOND..11 * SECOND).contains(&lasted), "{lasted:?}");
    let drained = stand
        .ends()
        .iter()
        .filter(|end| **end == EndReason::Drained)
        .count();
    assert_eq!((drained, stand.ends().len()), (251, 300));
    for peer in peers.iter().filter(|peer| peer.close_code.is_some()) {
        assert!([1000, 1001].contains(&peer.close_code.flatten().map_or(0, CloseCode::value)));
    }
    stand.assert_empty();
}

#[test]
fn no_turn_tells_more_than_its_share_although_all_are_due() {
    let mut stand = stand();
    let mut peers = stand.connect_open(5_000, "/echo");
    stand.begin(Farewell {
        spread: Duration::ZERO,
        ..farewell()
    });
    let mut last = 0;
    while !stand.is_over() {
        stand.turn(&mut peers);
        let ended = stand.ends().len();
        let core = &stand.shards[0].core;
        let closing = core.connections.iter().filter(|(_, connection)| {
            connection
                .as_open()
                .is_some_and(|open| open.closing.is_some())
        });
        let told = ended + closing.count();
        assert!(told - last <= 4096, "{} in one turn", told - last);
        last = told;
    }
    assert_eq!(stand.ends(), [EndReason::Drained; 5_000]);
}

#[test]
fn a_request_that_comes_too_late_is_told_when_to_come_back() {
    let mut stand = stand();
    let mut peers = stand.connect_open(1, "/echo");
    // It has connected, and says what it wants when all have been told.
    let late = stand.world.connect().unwrap();
    stand.turn(&mut peers);
    stand.begin(Farewell {
        spread: SECOND,
        ..farewell()
    });
    for _ in 0..3 {
        stand.turn(&mut peers);
    }
    late.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut heard = Vec::new();
    while !stand.is_over() {
        stand.turn(&mut peers);
        heard.extend(late.receive());
        if late.is_ended() {
            late.finish();
        }
    }
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    let after = heard.split("Retry-After: ").nth(1).expect("it says when");
    assert!(["3", "4"].iter().any(|s| after.starts_with(s)), "{heard}");
    let refusals = stand.shards[0].core.shared.load();
    assert_eq!(refusals.refusals().collect::<Vec<_>>(), [("draining", 1)]);
}

#[test]
fn in_the_grace_requests_are_answered_as_before_and_then_told() {
    for listeners in [Parting::Close, Parting::Hush] {
        let mut stand = stand();
        let waiting = stand.connect(3, "/echo");
        let mut peers = waiting;
        stand.begin(Farewell {
            listeners,
            grace: 2 * SECOND,
            spread: SECOND,
            ..farewell()
        });
        let start = stand.world.now();
        stand.until(&mut peers, "they are in", |_, peers| {
            peers.iter().all(Peer::is_open)
        });
        assert!(stand.world.now() < start + SECOND);
        assert!(stand.world.connect().is_none(), "nobody else gets in");
        peers[0].say(Message::Text("heard"));
        stand.until(&mut peers, "it is over", |stand, _| stand.is_over());
        assert_eq!(peers[0].heard, [b"heard"], "{listeners:?}");
        let going = Some(Some(CloseCode::GOING_AWAY));
        assert!(peers.iter().all(|peer| peer.close_code == going));
        assert!(stand.world.now() >= start + 2 * SECOND, "{listeners:?}");
        stand.assert_empty();
    }
}

#[test]
fn whoever_waits_in_the_queue_is_taken_although_nobody_else_is_there() {
    let mut stand = stand();
    stand.turn(&mut []);
    let mut peers = Vec::new();
    stand.begin(Farewell::within(5 * SECOND));
    peers.extend(stand.connect(1, "/echo"));
    stand.until(&mut peers, "it is over", |stand, _| stand.is_over());
    let refused = String::from_utf8_lossy(&peers[0].refused).into_owned();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused:?}");
}

#[test]
fn who_does_not_answer_is_reset_when_time_is_up() {
    let mut stand = stand();
    let mut peers = stand.connect_open(2, "/echo");
    peers[0].polite = false;
    let silent = stand.world.connect().unwrap();
    stand.turn(&mut peers);
    stand.begin(Farewell {
        spread: Duration::ZERO,
        ..Farewell::within(3 * SECOND)
    });
    let start = stand.world.now();
    stand.until(&mut peers, "it is over", |stand, _| stand.is_over());
    let lasted = stand.world.now() - start;
    assert!((3 * SECOND..4 * SECOND).contains(&lasted), "{lasted:?}");
    for _ in 0..50 {
        stand.world.advance(SECOND / 10);
        peers.iter_mut().for_each(Peer::look);
    }
    assert!(peers[0].client.is_reset());
    drop(silent);
    let mut ends = stand.ends();
    ends.sort_by_key(|end| end.name());
    assert_eq!(ends, [EndReason::CloseTimeout, EndReason::Drained]);
}

#[test]
fn another_farewell_changes_only_when_time_is_up() {
    let mut stand = stand();
    let mut peers = stand.connect_open(2, "/echo");
    for peer in &mut peers {
        peer.polite = false;
    }
    stand.begin(farewell());
    let start = stand.world.now();
    stand.until(&mut peers, "one is told", |_, peers| {
        peers.iter().any(|peer| peer.close_code.is_some())
    });
    stand.begin(Farewell::within(SECOND));
    stand.until(&mut peers, "it is over", |stand, _| stand.is_over());
    let lasted = stand.world.now() - start;
    assert!(lasted < 3 * SECOND, "{lasted:?}");
}
