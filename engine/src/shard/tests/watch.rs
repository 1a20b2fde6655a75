//! Heartbeats, and what becomes of the quiet.

use tidegate_io::Timeout;

use super::peer::Ponging;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn pinging() -> Profile {
    Profile {
        ping_interval: SECOND,
        ..Profile::default()
    }
}

fn stand_with(profile: Profile) -> Stand {
    let limits = Limits {
        profile,
        ..Limits::default()
    };
    Stand::new(9, Faults::none(), 1, &limits)
}

/// Turns for so long on the virtual clock, whatever happens.
fn pass(stand: &mut Stand, peers: &mut [Peer], span: Duration) {
    let until = stand.world.now() + span;
    while stand.world.now() < until {
        for shard in &mut stand.shards {
            shard.fall_asleep();
            shard
                .driver
                .wait(Timeout::Now)
                .expect("a simulation can always wait");
            shard.wake_up();
        }
        peers.iter_mut().for_each(Peer::look);
        stand.world.advance(Duration::from_millis(20));
    }
}

#[test]
fn who_answers_is_pinged_once_an_interval_and_stays() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(20, "/echo");
    pass(&mut stand, &mut peers, 30 * SECOND);
    assert_eq!(stand.connections(), 20);
    for peer in &peers {
        // An interval is 7 ticks of 128 ms.
        assert!((32..=34).contains(&peer.pings), "{} pings", peer.pings);
    }
    let counted = &stand.shards[0].core.counted;
    let heard: usize = peers.iter().map(|peer| peer.pings).sum();
    assert!((heard as u64..=heard as u64 + 20).contains(&counted.pings));
    assert!(counted.pongs + 20 >= counted.pings);
    for (_, connection) in &stand.shards[0].core.connections {
        let open = connection.as_open().expect("it stays");
        let round_trip = open.round_trip.span().expect("a pong came");
        assert!(round_trip <= Duration::from_millis(41), "{round_trip:?}");
        assert_eq!(connection.pings_missed, 0);
    }
}

#[test]
fn who_came_together_is_not_pinged_together() {
    let mut stand = stand_with(Profile::default());
    let mut peers = stand.connect_open(350, "/echo");
    let mut most = 0;
    let mut before = 0;
    let until = stand.world.now() + 46 * SECOND;
    while stand.world.now() < until {
        stand.turn(&mut peers);
        let pings = stand.shards[0].core.counted.pings;
        most = most.max(pings - before);
        before = pings;
        stand.world.advance(Duration::from_millis(50));
    }
    assert!(before >= 350, "{before} pings");
    assert!(most <= 5, "{most} in one turn");
}

#[test]
fn who_never_answers_is_told_and_ended_for_that_reason() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(4, "/echo");
    for peer in &mut peers[1..] {
        peer.ponging = Ponging::Never;
    }
    // One does not even answer the close, one is half-open: it does not read either.
    peers[2].polite = false;
    peers[3].client.stop_reading();
    stand.until(&mut peers, "three are gone", |stand, _| {
        stand.connections() == 1
    });
    assert_eq!(stand.ends(), [EndReason::HeartbeatTimeout; 3]);
    assert_eq!(peers[1].pings, 2, "two missed");
    assert_eq!(peers[1].close_code, Some(Some(CloseCode::POLICY)));
    assert_eq!(peers[0].close_code, None);
}

#[test]
fn whatever_comes_is_a_sign_of_life_but_no_pong() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(3, "/echo");
    peers[0].ponging = Ponging::Other;
    peers[1].ponging = Ponging::Never;
    for _ in 0..40 {
        peers[1].say(Message::Text("I am here"));
        pass(&mut stand, &mut peers, Duration::from_millis(500));
    }
    assert_eq!(stand.connections(), 3);
    let spans = stand.shards[0].core.connections.iter();
    let known = spans.filter(|(_, c)| c.as_open().is_some_and(|o| o.round_trip.span().is_some()));
    assert_eq!(known.count(), 1, "only one has answered");
    assert!(peers[0].pings > 15 && peers[1].pings > 15);
}

/// A ring answers that a batch is under way, and soon after that it has gone.
#[test]
fn who_is_sent_to_all_the_time_is_pinged_as_often_as_others() {
    let faults = Faults {
        late_send: 1.0,
        ..Faults::none()
    };
    let limits = Limits {
        profile: pinging(),
        ..Limits::default()
    };
    let mut stand = Stand::new(9, faults, 1, &limits);
    let mut peers = stand.connect_open(5, "/room");
    for _ in 0..200 {
        peers[0].say(Message::Text("news"));
        pass(&mut stand, &mut peers, Duration::from_millis(100));
    }
    assert_eq!(stand.connections(), 5);
    for peer in &peers {
        assert!((20..=23).contains(&peer.pings), "{} pings", peer.pings);
        assert!(peer.heard.len() > 190, "{} heard", peer.heard.len());
    }
}

#[test]
fn an_endpoint_has_a_profile_of_its_own() {
    let mut stand = stand_with(Profile::quiet());
    let mut quiet = stand.connect_open(1, "/echo");
    let mut pinged = stand.connect_open(1, "/pinged");
    pinged[0].ponging = Ponging::Never;
    stand.until(&mut pinged, "it is gone", |stand, _| {
        stand.connections() == 1
    });
    quiet[0].look();
    assert_eq!((quiet[0].pings, pinged[0].pings), (0, 2));
    assert_eq!(stand.ends(), [EndReason::HeartbeatTimeout]);
}

#[test]
fn who_was_slow_once_is_watched_again_when_it_has_read() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.stop_reading();
    let text = vec![b'x'; 60_000];
    for _ in 0..8 {
        peers[0].say(Message::Binary(&text));
    }
    stand.until(&mut peers, "a batch is under way", |stand, _| {
        let mut all = stand.shards[0].core.connections.iter();
        all.all(|(_, c)| c.flags.has(crate::connection::Flags::SENDING))
    });
    peers[0].client.start_reading();
    stand.until(&mut peers, "all is read", |_, peers| {
        peers[0].heard.len() == 8
    });
    peers[0].ponging = Ponging::Never;
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(stand.ends(), [EndReason::HeartbeatTimeout]);
}

#[test]
fn a_message_that_came_in_pieces_leaves_the_watch_as_it_was() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.send(&[0x02, 0x81, 0, 0, 0, 0, b'a']);
    pass(&mut stand, &mut peers, Duration::from_millis(300));
    peers[0].client.send(&[0x80, 0x81, 0, 0, 0, 0, b'b']);
    stand.until(&mut peers, "the echo", |_, peers| peers[0].heard == [b"ab"]);
    peers[0].ponging = Ponging::Never;
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(stand.ends(), [EndReason::HeartbeatTimeout]);
}

#[test]
fn who_says_nothing_for_too_long_is_ended_and_who_speaks_is_not() {
    let mut stand = stand_with(Profile {
        read_idle_timeout: 2 * SECOND,
        ..Profile::quiet()
    });
    let mut peers = stand.connect_open(2, "/echo");
    for _ in 0..10 {
        peers[0].say(Message::Text("here"));
        pass(&mut stand, &mut peers, SECOND);
    }
    assert_eq!(stand.ends(), [EndReason::ReadIdle]);
    assert_eq!(peers[1].close_code, Some(Some(CloseCode::POLICY)));
    assert_eq!(peers[0].close_code, None);
}

#[test]
fn who_is_sent_nothing_for_too_long_gets_a_ping_and_stays() {
    let mut stand = stand_with(Profile {
        write_idle_timeout: 2 * SECOND,
        ..Profile::quiet()
    });
    let mut peers = stand.connect_open(2, "/echo");
    peers[1].ponging = Ponging::Never;
    for _ in 0..20 {
        peers[0].say(Message::Text("here"));
        pass(&mut stand, &mut peers, SECOND);
    }
    assert_eq!(stand.connections(), 2);
    assert_eq!(peers[0].pings, 0, "it was sent something all the time");
    assert!((8..=10).contains(&peers[1].pings), "{}", peers[1].pings);
}

#[test]
fn a_connection_that_nobody_uses_is_closed_though_its_pongs_come() {
    let mut stand = stand_with(Profile {
        idle_timeout: 5 * SECOND,
        ..pinging()
    });
    let mut peers = stand.connect_open(3, "/feed");
    let mut speaker = stand.connect_open(1, "/echo");
    for _ in 0..10 {
        speaker[0].say(Message::Text("here"));
        pass(&mut stand, &mut speaker, SECOND / 2);
        pass(&mut stand, &mut peers, SECOND / 2);
    }
    assert_eq!(stand.ends(), [EndReason::Idle; 3]);
    assert_eq!(peers[0].close_code, Some(Some(CloseCode::NORMAL)));
    assert_eq!(speaker[0].close_code, None);
}

#[test]
fn a_leap_in_time_kills_nobody_who_answers() {
    let mut stand = stand_with(pinging());
    let mut peers = stand.connect_open(50, "/echo");
    for _ in 0..20 {
        stand.world.advance(100 * SECOND);
        pass(&mut stand, &mut peers, Duration::from_millis(300));
    }
    assert_eq!(stand.connections(), 50);
}
