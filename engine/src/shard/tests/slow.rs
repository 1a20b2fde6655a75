//! Subscribers that do not read as fast as they are told, under each policy.

use super::*;

/// How many are said while nobody reads: far more than links and outboxes hold.
const COUNT: usize = 3_000;

/// What a publication is, beside its number.
const FILL: usize = 1_000;

fn stand_with(slow: SlowPolicy) -> Stand {
    let limits = Limits {
        outbox_bytes_max: 50_000,
        outbox_pause_size: 20_000,
        profile: Profile {
            slow,
            ..Profile::quiet()
        },
        ..patient()
    };
    Stand::new(11, Faults::none(), 2, &limits)
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
