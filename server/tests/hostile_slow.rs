//! Clients that are slow on purpose, to read or to write: each pins a little memory, and only
//! for a while, and nobody else waits for it.

mod support;

use std::time::Duration;

use support::client::Client;
use support::clock::{self, Deadline};
use support::http::Response;
use support::server::Server;
use support::skip;
use support::stage::Stage;
use support::wire::{self, BINARY, PING, TEXT};

/// What one client may pin: its message limit and 256 KiB.
const PINNED_MAX: usize = 64 * 1024 + 256 * 1024;

/// How long a write waits before the server counts as not reading.
const STUCK: Duration = Duration::from_millis(150);

/// Expects that no flooding client pins more than it may.
///
/// A first crowd floods and stays, so that what the shard keeps for itself, once and for all,
/// is there before memory is looked at, and nothing is free that a second crowd could use.
#[track_caller]
fn assert_pins_little(path: &str, flood: impl Fn(&mut Client)) {
    const CROWD: usize = 4;
    let mut stage = Stage::around(Server::with(&["--shards", "1"]));
    let crowd = || -> Vec<Client> {
        let narrow = |_| Client::connect_narrow(stage.server.public, 4096).upgraded(path);
        let mut crowd: Vec<Client> = (0..CROWD).map(narrow).collect();
        crowd.iter_mut().for_each(&flood);
        crowd
    };
    let first = crowd();
    let before = stage.server.process().resident();
    let second = crowd();
    let grown = stage.server.process().resident().saturating_sub(before);
    skip::note(&format!(
        "{path}: {} KiB pinned by each client that does not read",
        grown / CROWD / 1024
    ));
    assert!(
        grown <= CROWD * PINNED_MAX,
        "{grown} bytes of memory for {CROWD} clients"
    );
    drop((first, second));
    stage.is_unharmed();
}

#[test]
fn a_head_that_drips_in_is_cut_off_after_ten_seconds() {
    const LIMIT: Duration = Duration::from_secs(14);
    let mut stage = Stage::set();
    let began = clock::now();
    let head = wire::upgrade("/echo", &[&format!("X-Slow: {}", "a".repeat(2_000))]);
    let mut dripping: Vec<_> = (0..20).map(|_| stage.server.connect()).collect();
    let mut silent: Vec<_> = (0..20).map(|_| stage.server.connect()).collect();
    let mut bytes = head.bytes();
    let mut ended = vec![false; dripping.len()];
    let deadline = Deadline::after(LIMIT);
    while ended.contains(&false) && deadline.left().is_some() {
        let byte = bytes.next().expect("the head is longer than the wait");
        for (client, ended) in dripping.iter_mut().zip(&mut ended) {
            *ended = *ended || client.ends_within(Duration::from_millis(1));
            // The server reads on for a while after its answer, so as not to reset it.
            let _ = client.try_send(&[byte]);
        }
        clock::let_pass(Duration::from_millis(30));
    }
    assert!(
        !ended.contains(&false),
        "still reading after {:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() > Duration::from_secs(8),
        "cut off after {:?}",
        began.elapsed()
    );
    for client in dripping.iter_mut().chain(&mut silent) {
        let answer = client.all();
        let status = Response::parse(&answer).map(|response| response.status);
        assert!(
            answer.is_empty() || status == Some(408),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    drop((dripping, silent));
    stage.is_unharmed();
}

#[test]
fn an_echo_flood_without_reading_is_slowed_and_not_stored() {
    let piece = wire::frame(BINARY, &[7; 60_000]);
    assert_pins_little("/echo", |client| {
        let sent = client.flood(&piece, 1 << 28, STUCK);
        assert!(
            sent < 1 << 28,
            "the server read everything and must have kept it"
        );
    });
}

#[test]
fn an_echo_flood_that_is_read_after_all_has_lost_nothing() {
    const COUNT: usize = 400;
    let mut stage = Stage::set();
    let mut client = stage.server.open("/echo");
    let mut writer = client.second_hand();
    let writing = std::thread::spawn(move || {
        for number in 0..COUNT {
            let mut message = vec![7; 60_000];
            message[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
            writer.send(&wire::frame(BINARY, &message));
        }
    });
    // Nothing is read until the server stops reading too.
    clock::let_pass(STUCK);
    for number in 0..COUNT {
        let frame = client.frame();
        assert_eq!(
            frame.payload[..2],
            u16::try_from(number).unwrap().to_be_bytes()
        );
        assert_eq!(frame.payload.len(), 60_000);
    }
    writing.join().unwrap();
    client.closes();
    stage.is_unharmed();
}

#[test]
fn a_ping_flood_without_reading_keeps_no_queue_of_pongs() {
    let piece = wire::frame(PING, &[b'p'; 125]).repeat(500);
    assert_pins_little("/echo", |client| {
        client.flood(&piece, 16 << 20, STUCK);
    });
}

#[test]
fn a_flood_of_tiny_messages_without_reading_is_slowed_too() {
    let piece = wire::frame(TEXT, b"").repeat(10_000);
    assert_pins_little("/echo", |client| {
        client.flood(&piece, 16 << 20, STUCK);
    });
}

#[test]
fn a_subscriber_that_never_reads_is_dropped_and_the_others_hear_everything() {
    let mut stage = Stage::around(Server::with(&["--outbox-max", "64KiB"]));
    let mut deaf: Vec<_> = (0..4)
        .map(|_| Client::connect_narrow(stage.server.public, 4096).upgraded("/ws/storm"))
        .collect();
    let mut listeners: Vec<_> = (0..4).map(|_| stage.server.open("/feed/storm")).collect();
    let mut speaker = stage.server.open("/ws/storm");
    let mut number = 0_u64;
    let dropped = [("reason", "slow_consumer")];
    clock::until("all who are deaf are dropped", || {
        for _ in 0..50 {
            number += 1;
            let said = format!("{number} {}", "x".repeat(10_000));
            speaker.text(&said);
            speaker.hears(&said);
            for listener in &mut listeners {
                listener.hears(&said);
            }
        }
        let closes = stage
            .server
            .metrics()
            .sum("tidegate_closes_total", &dropped);
        (closes == Some(deaf.len() as u64)).then_some(())
    });
    for client in &mut deaf {
        assert!(
            client.drains_to_the_end(),
            "a dropped client is told so by its socket"
        );
    }
    drop((deaf, listeners, speaker));
    stage.is_unharmed();
}

#[test]
fn one_that_does_not_read_for_a_moment_hears_everything_in_order() {
    const COUNT: usize = 100;
    let mut stage = Stage::set();
    let mut slow = stage.server.open("/feed/calm");
    let mut speaker = stage.server.open("/ws/calm");
    for number in 0..COUNT {
        let said = format!("{number} {}", "y".repeat(1_000));
        speaker.text(&said);
        speaker.hears(&said);
    }
    for number in 0..COUNT {
        slow.hears(&format!("{number} {}", "y".repeat(1_000)));
    }
    slow.hears_nothing_more();
    drop((slow, speaker));
    stage.is_unharmed();
}

#[test]
fn a_speaker_that_never_reads_its_own_room_harms_only_itself() {
    let piece = wire::frame(TEXT, &[b'z'; 30_000]);
    // It is dropped as a slow consumer, or slowed down: either way it does not get through.
    assert_pins_little("/ws/echoing", |client| {
        let sent = client.flood(&piece, 1 << 28, STUCK);
        assert!(sent < 1 << 28);
    });
}
