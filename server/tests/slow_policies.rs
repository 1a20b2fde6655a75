//! A client that does not read, under each policy: what it misses is counted, what it hears is in order,
//! and nobody else waits.

mod support;

use std::time::Duration;

use support::client::Client;
use support::clock;
use support::http;
use support::server::Server;
use support::wire::TEXT;

/// How many are published while one does not read: far more than its outbox and the kernel hold.
const COUNT: usize = 800;

const FILL: usize = 2_000;

struct Heard {
    numbers: Vec<usize>,
    dropped: u64,
}

#[track_caller]
fn publish(server: &Server, number: usize, key: Option<usize>) {
    let path = match key {
        Some(key) => format!("/publish/news?key=k{key}"),
        None => "/publish/news".to_owned(),
    };
    let body = format!("{number:08}{}", "x".repeat(FILL));
    let status = http::request(server.admin, "POST", &path, body.as_bytes()).status;
    assert_eq!(status, 202);
}

fn number_of(payload: &[u8]) -> usize {
    std::str::from_utf8(&payload[..8])
        .expect("text")
        .parse()
        .expect("a number")
}

#[track_caller]
fn hear(client: &mut Client) -> usize {
    let frame = client.frame();
    assert_eq!(frame.first, TEXT, "{:?}", frame.first);
    number_of(&frame.payload)
}

/// One reads all the time, and one only when all has been said.
#[track_caller]
fn play(policy: &str, keys: usize) -> Heard {
    let server = Server::with(&[
        "--slow",
        policy,
        "--outbox-max",
        "64KiB",
        "--notsent-lowat",
        "16KiB",
        "--compression",
        "off",
    ]);
    let mut quick = server.open("/feed/news");
    let mut slow = Client::connect_narrow(server.public, 4096).upgraded("/feed/news");
    let labels = [("policy", policy)];
    for number in 0..COUNT {
        publish(&server, number, (keys > 0).then_some(number % keys.max(1)));
        assert_eq!(hear(&mut quick), number, "nobody waits for the other");
    }
    let dropped = || {
        server
            .metrics()
            .sum("tidegate_dropped_messages_total", &labels)
    };
    let mut numbers = Vec::new();
    while numbers.last() != Some(&COUNT) {
        // One more is said when it has read all the others: that one it must hear.
        match slow.frame_within(Duration::from_secs(2)) {
            Some(frame) => numbers.push(number_of(&frame.payload)),
            None => publish(&server, COUNT, None),
        }
    }
    let dropped = dropped().expect("the policy is counted");
    let closed = server.metrics().sum("tidegate_closes_total", &[]);
    assert_eq!(closed, Some(0), "nobody was disconnected");
    let listed = server.look_json("/connections?topic=news");
    let by_connection: u64 = (listed["connections"].as_array().expect("a list"))
        .iter()
        .map(|one| one["dropped_messages"].as_u64().expect("a number"))
        .sum();
    assert_eq!(by_connection, dropped);
    numbers.pop();
    assert!(
        numbers.is_sorted_by(|one, next| one < next),
        "out of order: {numbers:?}"
    );
    assert_eq!(
        numbers.len() as u64 + dropped,
        COUNT as u64,
        "missing, or counted twice"
    );
    assert!(dropped > 0, "everything went: the test shows nothing");
    Heard { numbers, dropped }
}

#[test]
fn the_oldest_are_dropped_and_the_newest_heard() {
    let heard = play("drop-oldest", 0);
    assert_eq!(heard.numbers.last(), Some(&(COUNT - 1)));
}

#[test]
fn the_newest_are_dropped_and_the_oldest_heard() {
    let heard = play("drop-newest", 0);
    assert!(
        heard
            .numbers
            .iter()
            .copied()
            .eq(0..COUNT - usize::try_from(heard.dropped).unwrap())
    );
}

#[test]
fn the_latest_of_each_key_is_heard() {
    let heard = play("latest", 7);
    let last: Vec<usize> = (COUNT - 7..COUNT).collect();
    assert!(heard.numbers.ends_with(&last), "{:?}", heard.numbers);
}

#[test]
fn who_must_not_miss_anything_is_disconnected_and_that_is_counted() {
    for policy in ["disconnect", "pause"] {
        let server = Server::with(&["--slow", policy, "--outbox-max", "64KiB"]);
        let slow = Client::connect_narrow(server.public, 4096).upgraded("/feed/news");
        let reason = [("reason", "slow_consumer")];
        let mut number = 0;
        clock::until("it is disconnected", || {
            for _ in 0..200 {
                publish(&server, number, None);
                number += 1;
            }
            let closed = server.metrics().sum("tidegate_closes_total", &reason);
            (closed == Some(1)).then_some(())
        });
        let closed = server.look_json("/closed?count=1");
        assert_eq!(closed[0]["reason"], "slow_consumer", "{closed}");
        assert!(closed[0]["outbox_bytes"].as_u64().unwrap() > 0, "{closed}");
        assert_eq!(
            server.metrics().sum("tidegate_dropped_messages_total", &[]),
            Some(0)
        );
        drop(slow);
    }
}
