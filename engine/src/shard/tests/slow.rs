//! Subscribers that do not read as fast as they are told, under each policy.

use super::*;

/// How many are said while nobody reads: far more than links and outboxes hold.
const COUNT: usize = 3_000;

/// What a publication is, beside its number.
const FILL: usize = 1_000;

/// How much may wait.
const OUTBOX_MAX: usize = 50_000;

/// With more than this waiting that cannot be dropped, a peer is not received from.
const PAUSE_SIZE: usize = 20_000;

const DROPPING: [SlowPolicy; 3] = [
    SlowPolicy::DropOldest,
    SlowPolicy::DropNewest,
    SlowPolicy::Latest,
];

fn limits_with(slow: SlowPolicy) -> Limits {
    let patient = patient();
    Limits {
        profile: Profile {
            slow,
            outbox_bytes_max: OUTBOX_MAX,
            outbox_pause_size: PAUSE_SIZE,
            ..patient.profile
        },
        ..patient
    }
}

fn stand_with(slow: SlowPolicy) -> Stand {
    Stand::new(11, Faults::none(), 2, &limits_with(slow))
}

/// A narrow link never takes all that waits at once.
fn links_of(capacity: usize) -> Faults {
    Faults {
        capacity_min: capacity,
        capacity_max: capacity,
        ..Faults::none()
    }
}

/// Says it on the first shard, without a speaker.
fn publish(stand: &mut Stand, number: usize) {
    let key = 1 + number as u64 % 40;
    let text = numbered(number, 0);
    let core = &mut stand.shards[0].core;
    core.publish("room", key, Message::Text(&text))
        .expect("there is no other shard");
}

/// What is under way to the peers of the first shard, and what waits behind it.
fn outbox_bytes(stand: &Stand) -> (usize, usize) {
    let outboxes = stand.shards[0].core.outboxes.iter();
    outboxes.fold((0, 0), |(under_way, waiting), (_, outbox)| {
        (
            under_way + outbox.bytes_used() - outbox.bytes_waiting(),
            waiting + outbox.bytes_waiting(),
        )
    })
}

/// One who does not read, behind a batch of one turn that is larger than what may wait.
fn behind_a_large_turn(slow: SlowPolicy) -> (Stand, Vec<Peer>) {
    let mut stand = Stand::new(11, Faults::none(), 1, &limits_with(slow));
    let mut peers = stand.connect_open(1, "/feed");
    peers[0].client.stop_reading();
    for number in 0..1_000 {
        publish(&mut stand, number);
        if number % 100 == 99 {
            stand.turn(&mut peers);
        }
    }
    let (under_way, _) = outbox_bytes(&stand);
    assert!(under_way > OUTBOX_MAX, "{under_way} bytes are under way");
    (stand, peers)
}

fn numbered(number: usize, keys: usize) -> String {
    let key = if keys == 0 {
        "no key".to_owned()
    } else {
        let key = b'a' + u8::try_from(number % keys).expect("a letter");
        format!("key {}", char::from(key))
    };
    format!("{key} {number:06} {}", "x".repeat(FILL))
}

fn number_of(message: &[u8]) -> usize {
    let text = std::str::from_utf8(message).expect("it was text");
    let mut words = text.split(' ').skip(2);
    words.next().expect("a number").parse().expect("a number")
}

fn dropped(stand: &Stand) -> (u64, u64, u64) {
    let counted = stand.shards.iter().map(|shard| &shard.core.counted);
    counted.fold((0, 0, 0), |sum, c| {
        (
            sum.0 + c.dropped_oldest,
            sum.1 + c.dropped_newest,
            sum.2 + c.dropped_latest,
        )
    })
}

/// What each of two heard, on two shards, who read when all has been said; and what was dropped.
fn play(slow: SlowPolicy, keys: usize) -> (Vec<Vec<usize>>, (u64, u64, u64)) {
    let mut stand = stand_with(slow);
    let mut slow_ones = stand.connect_open(4, "/feed");
    for peer in &slow_ones {
        peer.client.stop_reading();
    }
    let mut speaker = stand.connect_open(1, "/room");
    for number in 0..COUNT {
        speaker[0].say(Message::Text(&numbered(number, keys)));
        stand.turn(&mut speaker);
    }
    stand.until(
        &mut speaker,
        "the speaker has heard itself",
        |_, speaker| speaker[0].heard.len() == COUNT,
    );
    stand.turn(&mut slow_ones);
    for peer in &slow_ones {
        peer.client.start_reading();
    }
    for _ in 0..20_000 {
        stand.turn(&mut slow_ones);
    }
    let (oldest, newest, latest) = dropped(&stand);
    let by_peer: u64 = stand
        .shards
        .iter()
        .flat_map(|shard| shard.core.connections.iter())
        .filter_map(|(_, connection)| connection.as_open())
        .map(|open| u64::from(open.dropped))
        .sum();
    assert_eq!(by_peer, oldest + newest + latest, "each knows its own");
    let heard = |peer: &Peer| {
        peer.heard
            .iter()
            .map(|message| number_of(message))
            .collect()
    };
    let heard: Vec<Vec<usize>> = slow_ones.iter().map(heard).collect();
    let missing: usize = heard.iter().map(|heard| COUNT - heard.len()).sum();
    assert_eq!(
        missing as u64, by_peer,
        "what is missing is what was dropped"
    );
    for heard in &heard {
        assert!(heard.is_sorted(), "out of order: {heard:?}");
    }
    // Who has caught up hears everything again.
    speaker[0].say(Message::Text(&numbered(COUNT, keys)));
    stand.until(&mut speaker, "it is said", |_, speaker| {
        speaker[0].heard.len() == COUNT + 1
    });
    stand.until(&mut slow_ones, "all hear it", |_, peers| {
        peers
            .iter()
            .all(|peer| number_of(peer.heard.last().expect("much")) == COUNT)
    });
    assert_eq!(stand.ends(), [], "nobody was disconnected");
    (heard, (oldest, newest, latest))
}

#[test]
fn the_oldest_make_room_for_the_newest() {
    let (heard, (oldest, newest, latest)) = play(SlowPolicy::DropOldest, 0);
    assert!(oldest > 0 && newest == 0 && latest == 0);
    for heard in heard {
        assert_eq!(heard.last(), Some(&(COUNT - 1)), "the newest is heard");
        let gaps = heard
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count();
        assert_eq!(gaps, 1, "what was under way, and the newest");
    }
}

#[test]
fn the_newest_are_dropped_while_the_outbox_is_full() {
    let (heard, (oldest, newest, latest)) = play(SlowPolicy::DropNewest, 0);
    assert!(newest > 0 && oldest == 0 && latest == 0);
    for heard in heard {
        assert!(
            heard.iter().copied().eq(0..heard.len()),
            "the first are heard"
        );
    }
}

#[test]
fn the_last_of_each_key_is_heard() {
    let (heard, (oldest, newest, latest)) = play(SlowPolicy::Latest, 10);
    assert!(latest > 0 && oldest == 0 && newest == 0);
    for heard in heard {
        let last: Vec<usize> = (COUNT - 10..COUNT).collect();
        assert!(heard.ends_with(&last), "{heard:?}");
    }
}

#[test]
fn who_gets_no_keys_under_the_latest_keeps_the_newest_that_fit() {
    let (heard, (_, _, latest)) = play(SlowPolicy::Latest, 0);
    assert!(latest > 0);
    for heard in heard {
        assert_eq!(heard.last(), Some(&(COUNT - 1)));
    }
}

#[test]
fn who_must_not_miss_anything_is_disconnected() {
    for policy in [SlowPolicy::Disconnect, SlowPolicy::Pause] {
        let mut stand = stand_with(policy);
        let slow = stand.connect_open(1, "/feed");
        slow[0].client.stop_reading();
        let mut speaker = stand.connect_open(1, "/room");
        for number in 0..COUNT {
            speaker[0].say(Message::Text(&numbered(number, 0)));
            stand.turn(&mut speaker);
        }
        stand.until(&mut speaker, "it is disconnected", |stand, _| {
            stand.ends() == [EndReason::SlowConsumer]
        });
        assert_eq!(dropped(&stand), (0, 0, 0));
        drop(slow);
    }
}

#[test]
fn who_is_paused_is_received_from_only_when_it_has_read() {
    let mut stand = stand_with(SlowPolicy::Pause);
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.stop_reading();
    for number in 0..COUNT {
        peers[0].say(Message::Text(&numbered(number, 0)));
    }
    for _ in 0..1_000 {
        stand.turn(&mut []);
    }
    let held: usize = (stand.shards.iter())
        .flat_map(|shard| shard.core.outboxes.iter())
        .map(|(_, outbox)| outbox.bytes_waiting())
        .sum();
    assert!(held <= 2 * FILL, "{held} bytes of answers wait");
    peers[0].client.start_reading();
    stand.until(&mut peers, "all is answered", |_, peers| {
        peers[0].heard.len() == COUNT
    });
}

#[test]
fn a_reply_a_ping_and_a_close_go_through_where_publications_are_dropped() {
    let mut stand = stand_with(SlowPolicy::DropOldest);
    let mut slow = stand.connect_open(1, "/feed");
    slow[0].client.stop_reading();
    let mut speaker = stand.connect_open(1, "/room");
    for number in 0..COUNT {
        speaker[0].say(Message::Text(&numbered(number, 0)));
        stand.turn(&mut speaker);
    }
    slow[0].ping(b"are you there");
    slow[0].say(Message::Text("I may not"));
    for _ in 0..100 {
        stand.turn(&mut speaker);
    }
    slow[0].client.start_reading();
    stand.until(&mut slow, "it is closed", |_, slow| {
        slow[0].close_code.is_some()
    });
    assert_eq!(slow[0].pongs, [b"are you there"]);
    assert_eq!(slow[0].close_code, Some(Some(CloseCode::POLICY)));
}

#[test]
fn who_never_catches_up_is_heard_all_the_same() {
    for policy in DROPPING {
        let mut stand = Stand::new(11, links_of(8_000), 1, &limits_with(policy));
        let mut peers = stand.connect_open(1, "/feed");
        let mut number = 0;
        let mut turn_until =
            |stand: &mut Stand, peers: &mut [Peer], so: fn(&Stand, &Peer) -> bool| {
                for _ in 0..5_000 {
                    if so(stand, &peers[0]) {
                        return true;
                    }
                    for _ in 0..25 {
                        publish(stand, number);
                        number += 1;
                    }
                    stand.turn(peers);
                }
                false
            };
        let is_full = |stand: &Stand, _: &Peer| outbox_bytes(stand).1 > OUTBOX_MAX / 2;
        assert!(turn_until(&mut stand, &mut peers, is_full), "{policy:?}");
        peers[0].ping(b"hear me");
        let heard = peers[0].heard.len();
        let ponged = |_: &Stand, peer: &Peer| !peer.pongs.is_empty();
        assert!(turn_until(&mut stand, &mut peers, ponged), "{policy:?}");
        assert!(peers[0].heard.len() > heard, "{policy:?}: it reads");
        assert!(outbox_bytes(&stand).1 > 0, "{policy:?}: it is behind");
        peers[0].say(Message::Text("I may not"));
        let closed = |_: &Stand, peer: &Peer| peer.close_code.is_some();
        assert!(turn_until(&mut stand, &mut peers, closed), "{policy:?}");
        assert_eq!(peers[0].close_code, Some(Some(CloseCode::POLICY)));
        let ended = |stand: &Stand, _: &Peer| stand.connections() == 0;
        assert!(turn_until(&mut stand, &mut peers, ended), "{policy:?}");
        assert_eq!(stand.ends(), [EndReason::ClosedByApplication]);
    }
}

#[test]
fn the_newest_is_heard_behind_a_turn_larger_than_the_limit() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Latest] {
        let (mut stand, mut peers) = behind_a_large_turn(policy);
        publish(&mut stand, 1_000);
        stand.turn(&mut peers);
        let (_, waiting) = outbox_bytes(&stand);
        assert!(waiting <= OUTBOX_MAX, "{policy:?}: {waiting} bytes wait");
        peers[0].client.start_reading();
        for _ in 0..2_000 {
            stand.turn(&mut peers);
        }
        let heard: Vec<usize> = peers[0].heard.iter().map(|m| number_of(m)).collect();
        assert!(heard.is_sorted(), "{policy:?}: {heard:?}");
        let last: Vec<usize> = (961..=1_000).collect();
        assert!(heard.ends_with(&last), "{policy:?}: {heard:?}");
    }
}

#[test]
fn a_reply_finds_room_among_what_may_be_dropped() {
    for policy in DROPPING {
        let (mut stand, mut peers) = behind_a_large_turn(policy);
        let slot = stand.shards[0].core.connections.iter().next();
        let slot = u32::try_from(slot.expect("one").0).expect("small");
        let fill = "y".repeat(FILL);
        let mut sent = 0;
        while sent < 100 {
            let core = &mut stand.shards[0].core;
            let reply = format!("a reply {sent:06} {fill}");
            if core.send(slot, Message::Text(&reply)) == Err(crate::SendError::Full) {
                break;
            }
            sent += 1;
            let (_, waiting) = outbox_bytes(&stand);
            assert!(waiting < OUTBOX_MAX + 2 * FILL, "{policy:?}: {waiting}");
        }
        // Each is kept as its frame and 64 bytes.
        assert!((40..=50).contains(&sent), "{policy:?}: {sent} replies");
        stand.turn(&mut peers);
        let dropped_before = dropped(&stand);
        publish(&mut stand, 1_000);
        stand.turn(&mut peers);
        let (before, after) = (dropped_before, dropped(&stand));
        let more = (after.0 + after.1 + after.2) - (before.0 + before.1 + before.2);
        assert_eq!(more, 1, "{policy:?}: replies are not dropped");
        peers[0].client.start_reading();
        for _ in 0..2_000 {
            stand.turn(&mut peers);
        }
        let replies = peers[0].heard.iter().filter(|m| m.starts_with(b"a reply"));
        let numbers: Vec<usize> = replies.map(|m| number_of(m)).collect();
        assert!(
            numbers.iter().copied().eq(0..sent),
            "{policy:?}: {numbers:?}"
        );
    }
}

#[test]
fn who_is_owed_too_many_replies_is_paused_where_publications_are_dropped() {
    let widths = [8_000, 256 * 1024].into_iter();
    for (policy, width) in widths.flat_map(|width| DROPPING.map(|policy| (policy, width))) {
        let mut stand = Stand::new(11, links_of(width), 1, &limits_with(policy));
        let mut peers = stand.connect_open(1, "/echo");
        peers[0].client.stop_reading();
        for number in 0..COUNT {
            peers[0].say(Message::Text(&numbered(number, 0)));
        }
        for _ in 0..1_000 {
            stand.turn(&mut []);
        }
        let (under_way, waiting) = outbox_bytes(&stand);
        assert!(under_way > 0, "{policy:?}");
        assert!(waiting <= PAUSE_SIZE + 2 * FILL, "{policy:?}: {waiting}");
        peers[0].client.start_reading();
        stand.until(&mut peers, "all is answered", |_, peers| {
            peers[0].heard.len() == COUNT
        });
        let numbers = peers[0].heard.iter().map(|m| number_of(m));
        assert!(numbers.eq(0..COUNT), "{policy:?}");
    }
}
