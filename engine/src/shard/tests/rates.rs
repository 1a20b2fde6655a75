//! Who says more than its rates allow: closed or slowed down, and nobody else notices.

use std::sync::Arc;

use tidegate_io::Timeout;

use super::peer::Ponging;
use super::*;
use crate::connection::Flags;
use crate::{RateLimit, SharedMeter};

const SECOND: Duration = Duration::from_secs(1);

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second, burst }
}

fn profile(messages: Rate, bytes: Rate, policy: RatePolicy) -> Profile {
    Profile {
        rates: Rates {
            messages,
            bytes,
            policy,
        },
        ..patient().profile
    }
}

fn stand_with(profile: Profile) -> Stand {
    let limits = Limits {
        profile,
        ..patient()
    };
    Stand::new(17, Faults::none(), 1, &limits)
}

/// How often this limit was exceeded under this policy.
fn limited(stand: &Stand, limit: RateLimit, policy: RatePolicy) -> u64 {
    let shown = stand.shards[0].core.shared.load();
    let mut all = shown.rate_limits();
    let found = all.find(|(l, p, _)| (*l, *p) == (limit, policy));
    found.expect("all are there").2
}

/// Turns for so long on the virtual clock, whatever happens.
fn pass<H: Handler>(
    world: &World,
    shards: &mut [Shard<SimDriver, H>],
    peers: &mut [Peer],
    span: Duration,
) {
    let until = world.now() + span;
    while world.now() < until {
        for shard in shards.iter_mut() {
            shard.fall_asleep();
            let waited = shard.driver.wait(Timeout::Now);
            waited.expect("a simulation can always wait");
            shard.wake_up();
        }
        peers.iter_mut().for_each(Peer::look);
        world.advance(Duration::from_millis(20));
    }
}

/// Texts of one letter each, as they are sent in one piece.
fn texts(count: usize) -> Vec<u8> {
    b"\x81\x81\0\0\0\0x".repeat(count)
}

fn pings(count: usize) -> Vec<u8> {
    b"\x89\x80\0\0\0\0".repeat(count)
}

/// A message of so many fragments that hold nothing, and a last one of a letter.
fn fragments(count: usize) -> Vec<u8> {
    let mut bytes = b"\x02\x80\0\0\0\0".to_vec();
    bytes.extend(b"\x00\x80\0\0\0\0".repeat(count - 1));
    bytes.extend(b"\x80\x81\0\0\0\0x");
    bytes
}

#[test]
fn what_is_over_the_rate_is_not_delivered_and_closes_with_1008() {
    for flood in [texts(1_000), pings(1_000), fragments(1_000)] {
        let mut stand = stand_with(profile(rate(10, 20), Rate::default(), RatePolicy::Close));
        let mut peers = stand.connect_open(2, "/echo");
        peers[0].client.send(&flood);
        stand.until(&mut peers, "it is closed", |stand, _| {
            stand.connections() == 1
        });
        assert_eq!(peers[0].close_code, Some(Some(CloseCode::POLICY)));
        assert_eq!(stand.ends(), [EndReason::RateLimited]);
        assert!(peers[0].heard.len() <= 20, "{}", peers[0].heard.len());
        // A ping is answered as it is read, before it is counted.
        assert!(peers[0].pongs.len() <= 21, "{}", peers[0].pongs.len());
        let messages = RateLimit::Messages;
        assert_eq!(limited(&stand, messages, RatePolicy::Close), 1);
        assert_eq!(limited(&stand, messages, RatePolicy::Slow), 0);
        peers[1].say(Message::Text("and I"));
        stand.until(&mut peers, "the other is served", |_, peers| {
            peers[1].heard.len() == 1
        });
    }
}

#[test]
fn a_burst_is_heard_and_one_more_is_not() {
    let mut stand = stand_with(profile(rate(1, 20), Rate::default(), RatePolicy::Close));
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.send(&texts(20));
    stand.until(&mut peers, "the burst is heard", |_, peers| {
        peers[0].heard.len() == 20
    });
    // One comes in a second; with that one more may be said.
    stand.world.advance(SECOND);
    peers[0].client.send(&texts(1));
    stand.until(&mut peers, "one more", |_, peers| {
        peers[0].heard.len() == 21
    });
    peers[0].client.send(&texts(1));
    stand.until(&mut peers, "it is closed", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(peers[0].heard.len(), 21);
    stand.assert_empty();
    assert_eq!(stand.shards[0].core.meters.memory(), 0);
}

#[test]
fn bytes_are_counted_as_they_arrive() {
    // A frame of a letter is 7 bytes.
    let mut stand = stand_with(profile(Rate::default(), rate(100, 700), RatePolicy::Close));
    let mut peers = stand.connect_open(2, "/echo");
    peers[0].client.send(&texts(100));
    stand.until(&mut peers, "the burst is heard", |_, peers| {
        peers[0].heard.len() == 100
    });
    peers[0].client.send(b"\x81");
    stand.until(&mut peers, "it is closed", |stand, _| {
        stand.connections() == 1
    });
    assert_eq!(limited(&stand, RateLimit::Bytes, RatePolicy::Close), 1);
    // Of what is too much at once nothing is heard.
    peers[1].client.send(&texts(101));
    stand.until(&mut peers, "it is closed", |stand, _| {
        stand.connections() == 0
    });
    assert_eq!(peers[1].heard.len(), 0);
    assert_eq!(peers[1].close_code, Some(Some(CloseCode::POLICY)));
}

#[test]
fn who_is_slowed_down_is_heard_to_the_last_message_at_its_rate() {
    for flood in [texts(200), fragments(200)] {
        let mut stand = stand_with(profile(rate(10, 20), Rate::default(), RatePolicy::Slow));
        let mut peers = stand.connect_open(2, "/echo");
        let start = stand.world.now();
        peers[0].client.send(&flood);
        peers[0].say(Message::Text("the last"));
        stand.until(&mut peers, "all is heard", |_, peers| {
            peers[0]
                .heard
                .last()
                .is_some_and(|last| last == b"the last")
        });
        // 201 less 20 at 10 a second, and no more than two ticks late.
        let took = stand.world.now() - start;
        let span = Duration::from_millis(17_900)..Duration::from_millis(18_800);
        assert!(span.contains(&took), "{took:?}");
        assert!(limited(&stand, RateLimit::Messages, RatePolicy::Slow) > 0);
        assert_eq!(limited(&stand, RateLimit::Messages, RatePolicy::Close), 0);
        assert_eq!(stand.connections(), 2);
        stand.until(&mut peers, "it waits no longer", |stand, _| {
            stand.shards[0].core.meters.throttled_count() == 0
        });
    }
}

#[test]
fn bytes_that_are_too_many_come_later() {
    for size in [1_000, 300_000] {
        let mut limits = patient();
        limits.message_size_max = 1 << 20;
        limits.profile = profile(Rate::default(), rate(20_000, 20_000), RatePolicy::Slow);
        limits.profile.outbox_bytes_max = 1 << 22;
        let mut stand = Stand::new(17, Faults::none(), 1, &limits);
        let mut peers = stand.connect_open(1, "/echo");
        let start = stand.world.now();
        let count = 600_000 / size;
        for _ in 0..count {
            peers[0].say(Message::Binary(&vec![b'x'; size]));
        }
        stand.until(&mut peers, "all is heard", |_, peers| {
            peers[0].heard.len() == count
        });
        // 600,000 and some bytes for headers less 20,000, at 20,000 a second; the last read, of 64 KiB
        // at most, is paid for afterwards.
        let took = (stand.world.now() - start).as_secs_f64();
        assert!((25.0..=30.5).contains(&took), "{took} s");
    }
}

#[test]
fn nobody_is_ended_for_what_it_says_while_nobody_listens() {
    let profile = Profile {
        ping_interval: SECOND,
        read_idle_timeout: 3 * SECOND,
        idle_timeout: 3 * SECOND,
        message_timeout: 2 * SECOND,
        ..profile(rate(1, 1), Rate::default(), RatePolicy::Slow)
    };
    let mut stand = stand_with(profile);
    let mut peers = stand.connect_open(1, "/echo");
    // The last fragments of a message wait behind others for half a minute.
    peers[0].client.send(&texts(30));
    peers[0].client.send(b"\x02\x81\0\0\0\0a");
    peers[0].client.send(&texts(0));
    peers[0].client.send(b"\x80\x81\0\0\0\0b");
    stand.until(&mut peers, "all is heard", |_, peers| {
        peers[0].heard.last().is_some_and(|last| last == b"ab")
    });
    assert_eq!(stand.connections(), 1);
    assert!(peers[0].pings > 20, "{} pings", peers[0].pings);
    // From then on it is watched as others are.
    peers[0].ponging = Ponging::Never;
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 0
    });
    let ends = stand.ends();
    let silent = [
        EndReason::HeartbeatTimeout,
        EndReason::ReadIdle,
        EndReason::Idle,
    ];
    assert!(silent.contains(&ends[0]), "{ends:?}");
}

#[test]
fn a_pong_that_was_asked_for_is_free() {
    let profile = Profile {
        ping_interval: SECOND,
        ..profile(rate(1, 1), Rate::default(), RatePolicy::Close)
    };
    let mut stand = stand_with(profile);
    let mut peers = stand.connect_open(1, "/echo");
    for _ in 0..50 {
        peers[0].say(Message::Text("once a second"));
        pass(
            &stand.world,
            &mut stand.shards,
            &mut peers,
            Duration::from_millis(1_100),
        );
    }
    assert_eq!(peers[0].heard.len(), 50);
    assert!(peers[0].pings > 40, "{} pings", peers[0].pings);
    assert_eq!(stand.connections(), 1);
}

#[test]
fn who_waits_for_tokens_is_told_to_go_and_its_answer_is_found() {
    for held in [texts(50), Vec::new()] {
        let mut stand = stand_with(profile(rate(1, 5), Rate::default(), RatePolicy::Slow));
        let mut peers = stand.connect_open(1, "/echo");
        peers[0].client.send(&texts(5));
        peers[0].client.send(&held);
        stand.until(&mut peers, "it waits", |stand, _| {
            stand.shards[0].core.meters.throttled_count() == 1
        });
        let start = stand.world.now();
        let drain = Letter::Drain(Duration::from_secs(3_600));
        assert!(stand.addresses[0].try_send(drain).is_ok());
        stand.until(&mut peers, "it is gone", |stand, _| {
            stand.connections() == 0
        });
        assert_eq!(stand.ends(), [EndReason::Drained]);
        assert_eq!(peers[0].close_code, Some(Some(CloseCode::GOING_AWAY)));
        assert!(stand.world.now() - start < SECOND, "it has waited");
    }
}

#[test]
fn who_waits_for_tokens_and_does_not_read_is_received_from_when_both_are_over() {
    let mut limits = patient();
    limits.profile = profile(rate(10, 30), Rate::default(), RatePolicy::Slow);
    limits.profile.outbox_pause_size = 5_000;
    let faults = Faults {
        capacity_min: 4_000,
        capacity_max: 4_000,
        ..Faults::none()
    };
    let mut stand = Stand::new(17, faults, 1, &limits);
    let mut peers = stand.connect_open(1, "/echo");
    peers[0].client.stop_reading();
    let text = "x".repeat(1_000);
    for _ in 0..100 {
        peers[0].say(Message::Text(&text));
    }
    let both = |stand: &Stand| {
        let mut all = stand.shards[0].core.connections.iter();
        all.any(|(_, c)| c.flags.has(Flags::SENDING) && c.flags.has(Flags::PAUSED))
    };
    stand.until(&mut peers, "it is paused", |stand, _| both(stand));
    pass(&stand.world, &mut stand.shards, &mut [], 10 * SECOND);
    peers[0].client.start_reading();
    stand.until(&mut peers, "all is heard", |_, peers| {
        peers[0].heard.len() == 100
    });
    assert_eq!(stand.connections(), 1);
}

#[test]
fn who_leaves_while_it_waits_takes_all_that_was_kept_of_it() {
    let mut stand = stand_with(profile(rate(1, 5), Rate::default(), RatePolicy::Slow));
    let mut peers = stand.connect_open(3, "/echo");
    for peer in &mut peers {
        peer.client.send(&texts(50));
    }
    stand.until(&mut peers, "all wait", |stand, _| {
        stand.shards[0].core.meters.throttled_count() == 3
    });
    peers[0].reset();
    peers[1].close();
    peers[2].finish();
    stand.until(&mut peers, "they are gone", |stand, _| {
        stand.connections() == 0
    });
    stand.assert_empty();
    let core = &stand.shards[0].core;
    assert_eq!((core.meters.memory(), core.profiles.user_count()), (0, 0));
    assert!(
        stand.ends().contains(&EndReason::ClosedByPeer),
        "it was heard out"
    );
    assert_eq!(peers[1].close_code, Some(Some(CloseCode::NORMAL)));
}

/// All who call have one meter together.
struct Together(Arc<SharedMeter>);

impl Handler for Together {
    type State = ();
    type Note = u32;

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade {
            meter: Some(Arc::clone(&self.0)),
            ..Upgrade::new(())
        })
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        context.send(message).expect("it reads");
    }
}

#[test]
fn those_who_share_a_meter_may_say_as_much_together_as_one_alone() {
    for policy in RatePolicy::ALL {
        let world = World::with_faults(5, Faults::none());
        let drivers = (0..2).map(|_| world.driver()).collect();
        let rates = Rates {
            messages: rate(10, 40),
            bytes: Rate::default(),
            policy,
        };
        let meter = Arc::new(SharedMeter::new(&rates, world.now()));
        let budget = Arc::new(Budget::new(Compression::Off));
        let handler = || Together(Arc::clone(&meter));
        let (mut shards, _) =
            shards_with(drivers, 5, &patient(), Compression::Off, &budget, handler);
        let peer = |_| Peer::new(world.connect().expect("a shard listens"), "/");
        let mut peers: Vec<Peer> = (0..8).map(peer).collect();
        while !peers.iter().all(Peer::is_open) {
            turn_all(&mut shards, &mut peers);
        }
        let start = world.now();
        for peer in &mut peers {
            peer.client.send(&texts(20));
        }
        let heard = |peers: &[Peer]| peers.iter().map(|peer| peer.heard.len()).sum::<usize>();
        let over = |peers: &[Peer], shards: &[Shard<SimDriver, Together>]| match policy {
            RatePolicy::Slow => heard(peers) == 160,
            RatePolicy::Close => {
                shards
                    .iter()
                    .map(|s| s.core.connections.len())
                    .sum::<usize>()
                    <= 2
            }
        };
        for _ in 0..1_000 {
            if over(&peers, &shards) {
                break;
            }
            pass(&world, &mut shards, &mut peers, Duration::from_millis(20));
        }
        let took = (world.now() - start).as_secs_f64();
        match policy {
            RatePolicy::Slow => {
                assert_eq!(heard(&peers), 160);
                assert!((11.9..=13.0).contains(&took), "{took} s");
            }
            RatePolicy::Close => assert_eq!(heard(&peers), 40),
        }
        let limited: u64 = shards
            .iter()
            .flat_map(|shard| shard.core.shared.load().rate_limits().collect::<Vec<_>>())
            .filter(|(limit, p, _)| (*limit, *p) == (RateLimit::SharedMessages, policy))
            .map(|(_, _, count)| count)
            .sum();
        assert!(limited > 0, "{policy:?}");
        drop(peers);
        drop(shards);
        assert_eq!(Arc::strong_count(&meter), 1);
    }
}

#[test]
fn profiles_come_and_go_with_their_connections() {
    let mut stand = stand_with(Profile::quiet());
    for _ in 0..10 {
        let mut peers = stand.connect_open(3, "/pinged");
        assert_eq!(stand.shards[0].core.profiles.user_count(), 3);
        peers[0].close();
        peers[1].reset();
        peers[2].finish();
        stand.until(&mut peers, "they are gone", |stand, _| {
            stand.connections() == 0
        });
        assert_eq!(stand.shards[0].core.profiles.user_count(), 0);
    }
}
