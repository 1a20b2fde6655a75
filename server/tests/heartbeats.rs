//! Who is quiet is pinged, and who does not answer is ended, each for a reason of its own.

mod support;

use std::time::Duration;

use support::client::Client;
use support::clock;
use support::server::Server;
use support::wire::{self, CLOSE, PING, PONG};

/// A server on which only what these options say can end a connection.
#[track_caller]
fn server(options: &[&str]) -> Server {
    let mut all = vec!["--close-timeout", "200ms"];
    all.extend(options);
    Server::with(&all)
}

/// Answers pings with `answer`, or with their payload, until `is_over`.
#[track_caller]
fn pong_until(client: &mut Client, answer: Option<&[u8]>, is_over: impl Fn() -> bool) {
    clock::until("it is over", || {
        if let Some(frame) = client.frame_within(Duration::from_millis(20)) {
            assert_eq!(frame.first, PING, "{frame:?}");
            let payload = answer.unwrap_or(&frame.payload);
            client.send(&wire::frame(PONG, payload));
        }
        is_over().then_some(())
    });
}

#[track_caller]
fn count(server: &Server, name: &str) -> u64 {
    server.metrics().sum(name, &[]).unwrap_or(0)
}

#[test]
fn a_peer_that_stops_ponging_is_ended_for_that_reason_and_one_that_pongs_stays() {
    let server = server(&["--ping-interval", "300ms"]);
    let mut alive = server.open("/echo");
    let mut dead = server.open("/feed/news");
    let reason = [("reason", "heartbeat_timeout")];
    let ended = || server.metrics().sum("tidegate_closes_total", &reason) == Some(1);
    pong_until(&mut alive, None, ended);
    let mut pings = 0;
    let code = loop {
        let frame = dead.next_frame().expect("a close frame");
        match frame.first {
            PING => pings += 1,
            CLOSE => break frame.close_code(),
            _ => panic!("{frame:?}"),
        }
    };
    assert_eq!((pings, code), (2, Some(1008)));
    let pongs = count(&server, "tidegate_pongs_total");
    pong_until(&mut alive, None, || {
        count(&server, "tidegate_pongs_total") > pongs + 2
    });
    let connections = server.look_json("/connections?endpoint=echo");
    let one = &connections["connections"][0];
    assert!(one["round_trip_seconds"].as_f64().is_some(), "{one}");
    let closed = server.look_json("/closed");
    assert_eq!(closed[0]["reason"], "heartbeat_timeout", "{closed}");
    assert_eq!(closed[0]["side"], "server");
}

#[test]
fn pongs_to_something_else_show_life_and_no_round_trip() {
    let server = server(&["--ping-interval", "200ms"]);
    let mut client = server.open("/echo");
    pong_until(&mut client, Some(b"something else"), || {
        count(&server, "tidegate_pings_total") > 8
    });
    assert_eq!(count(&server, "tidegate_pongs_total"), 0);
    let connections = server.look_json("/connections");
    let one = &connections["connections"][0];
    assert!(one["round_trip_seconds"].is_null(), "{one}");
    assert_eq!(count(&server, "tidegate_sessions"), 1);
}

#[test]
fn who_says_nothing_at_all_and_who_is_not_used_are_told_apart() {
    for (option, reason, code) in [
        ("--read-idle-timeout", "read_idle", 1008),
        ("--idle-timeout", "idle", 1000),
    ] {
        let server = server(&["--ping-interval", "0s", option, "400ms"]);
        let mut client = server.open("/echo");
        client.echoes("in use");
        client.expects_close(code);
        server.until_metric("tidegate_closes_total", &[("reason", reason)], 1);
        assert_eq!(count(&server, "tidegate_pings_total"), 0);
    }
}

#[test]
fn who_is_sent_nothing_gets_a_ping() {
    let server = server(&["--ping-interval", "0s", "--write-idle-timeout", "300ms"]);
    let mut client = server.open("/feed/news");
    for _ in 0..3 {
        assert_eq!(client.frame().first, PING);
    }
    assert_eq!(count(&server, "tidegate_sessions"), 1);
}

#[test]
fn without_pings_nobody_is_disturbed() {
    let server = server(&["--ping-interval", "0s"]);
    let mut client = server.open("/echo");
    clock::let_pass(Duration::from_millis(600));
    client.hears_nothing_more();
    assert_eq!(count(&server, "tidegate_pings_total"), 0);
}
