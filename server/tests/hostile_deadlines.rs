//! Every wait for a client ends: for its request, for its message, for its reading, for its close.

mod support;

use std::time::Duration;

use support::client::Client;
use support::clock::{self, Deadline, PATIENCE};
use support::deflate::{self, RSV1};
use support::http::Response;
use support::server::Server;
use support::stage::Stage;
use support::wire::{self, BINARY, CONTINUATION, FIN, Length, PING, TEXT};

/// A deadline that a test can wait for.
const SHORT: &str = "500ms";

/// How long between two drops of something that drips: far less than the deadline.
const DRIP: Duration = Duration::from_millis(40);

/// A server with one short deadline, and no other that could be met instead.
#[track_caller]
fn stage(option: &str) -> Stage {
    let all = [
        "--handshake-timeout",
        "--message-timeout",
        "--send-timeout",
        "--close-timeout",
    ];
    let mut options = Vec::new();
    for name in all {
        options.extend([name, if name == option { SHORT } else { "1h" }]);
    }
    Stage::around(Server::with(&options))
}

#[track_caller]
fn closes(stage: &Stage, reason: &str) -> u64 {
    let metrics = stage.server.metrics();
    let labels = [("reason", reason)];
    metrics.sum("tidegate_closes_total", &labels).unwrap_or(0)
}

/// A client, and what it says again and again.
struct Dripping {
    what: &'static str,
    client: Client,
    drop: Vec<u8>,
}

/// Lets each say its drop again and again, until `is_over` says that the server has ended it.
#[track_caller]
fn drip_until(dripping: &mut [Dripping], is_over: impl Fn(&mut Client) -> bool) {
    let mut over = vec![false; dripping.len()];
    let deadline = Deadline::after(PATIENCE);
    while over.contains(&false) {
        for (Dripping { what, client, drop }, over) in dripping.iter_mut().zip(&mut over) {
            *over = *over || is_over(client);
            assert!(
                *over || deadline.left().is_some(),
                "{what}: the server still waits"
            );
            // It reads on for a while after its answer.
            let _ = client.try_send(drop);
        }
        clock::let_pass(DRIP);
    }
}

#[test]
fn a_request_ends_by_its_deadline_however_it_drips() {
    let mut stage = stage("--handshake-timeout");
    let head = wire::upgrade("/echo", &[]).into_bytes();
    let all_but_the_end = &head[..head.len() - 1];
    let drips: [(&str, &[u8], &[u8]); 8] = [
        ("nothing", b"", b""),
        ("half a method", b"GE", b""),
        ("half a line", b"GET /echo HT", b""),
        ("a path by bytes", b"GET /", b"a"),
        ("a value by bytes", b"GET /echo HTTP/1.1\r\nX: ", b"a"),
        ("header lines", b"GET /echo HTTP/1.1\r\n", b"X: a\r\n"),
        ("all but the last byte", all_but_the_end, b""),
        ("HEAD by bytes", b"HEAD /", b"a"),
    ];
    let mut dripping: Vec<Dripping> = drips
        .iter()
        .map(|&(what, first, drop)| {
            let mut client = stage.server.connect();
            client.send(first);
            Dripping {
                what,
                client,
                drop: drop.to_vec(),
            }
        })
        .collect();
    drip_until(&mut dripping, |client| {
        client.ends_within(Duration::from_millis(1))
    });
    let count = dripping.len() as u64;
    for Dripping {
        what, mut client, ..
    } in dripping
    {
        let answer = client.all();
        let status = Response::parse(&answer).map(|response| response.status);
        let shown = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || status == Some(408),
            "{what}: {shown:?}"
        );
    }
    let timeouts = [("cause", "timeout")];
    let counted = stage
        .server
        .metrics()
        .sum("tidegate_handshake_refusals_total", &timeouts);
    assert_eq!(counted, Some(count));
    stage.is_unharmed();
}

// RFC 7230, 6.6: after its last response a server reads on for a while, so that a reset does not
// destroy the response under way; it must not do so for ever.
#[test]
fn a_refused_client_that_goes_on_sending_is_cut_off() {
    let mut stage = stage("--message-timeout");
    let mut client = stage.server.connect();
    client.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status, 404);
    clock::until("it is cut off", || {
        let _ = client.try_send(&[b'a'; 1000]);
        let connections = stage.server.metrics().sum("tidegate_connections", &[]);
        (connections == Some(Stage::BYSTANDERS)).then_some(())
    });
    // The client is still there, and nothing of it on the other side.
    stage.is_unharmed();
    drop(client);
}

#[test]
fn a_closed_client_that_never_ends_its_stream_is_cut_off() {
    let mut stage = stage("--message-timeout");
    let mut client = stage.server.open("/echo");
    client.send(&wire::close(1000, b""));
    assert_eq!(client.close_code(), 1000);
    stage.is_unharmed();
    drop(client);
}

#[test]
fn a_message_ends_by_its_deadline_however_it_is_held_open() {
    let mut stage = stage("--message-timeout");
    let begun = wire::frame(BINARY & !FIN, b"begun");
    let mut inside = wire::head(BINARY, Length::Sixteen, 60_000);
    inside.extend(b"begun");
    let mut with_half_a_ping = begun.clone();
    with_half_a_ping.extend(&wire::frame(PING, b"half")[..7]);
    let deflated_begun = wire::frame((BINARY & !FIN) | RSV1, &deflate::noise(1, 100));
    let continuation = wire::frame(CONTINUATION, b"a");
    let nothing = wire::frame(CONTINUATION, b"");
    let ping = wire::frame(PING, b"");
    let drips: [(&str, &[u8], &[u8]); 12] = [
        ("a first fragment", &begun, b""),
        ("half a frame", &inside, b""),
        ("a frame by bytes", &inside, b"a"),
        ("fragments of a byte", &begun, &continuation),
        ("empty fragments", &begun, &nothing),
        ("pings inside a message", &begun, &ping),
        ("a byte of a header", &begun[..1], b""),
        ("a header without its key", &begun[..3], b""),
        ("half a ping", &wire::frame(PING, b"half")[..7], b""),
        ("half a ping in a message", &with_half_a_ping, b""),
        ("half a close", &wire::close(1000, b"")[..7], b""),
        ("a compressed fragment", &deflated_begun, &continuation),
    ];
    let mut dripping: Vec<Dripping> = drips
        .iter()
        .map(|&(what, first, drop)| {
            let mut client = Client::open_deflated(stage.server.public, "/echo");
            client.send(first);
            Dripping {
                what,
                client,
                drop: drop.to_vec(),
            }
        })
        .collect();
    drip_until(&mut dripping, |client| {
        let frame = client.frame_within(Duration::from_millis(1));
        frame.is_some_and(|frame| frame.close_code() == Some(1008))
    });
    let count = dripping.len() as u64;
    for Dripping { mut client, .. } in dripping {
        client.half_close();
        client.all();
    }
    stage.is_unharmed();
    assert_eq!(closes(&stage, "message_timeout"), count);
}

#[test]
fn messages_that_end_in_time_are_not_ended_wherever_the_reads_cut_them() {
    let mut stage = Stage::around(Server::with(&["--message-timeout", "3s"]));
    let mut client = stage.server.open("/echo");
    let frame = wire::frame(TEXT, &[b'a'; 1000]);
    let (start, end) = frame.split_at(500);
    client.send(start);
    let deadline = Deadline::after(Duration::from_secs(6));
    while deadline.left().is_some() {
        // Each is whole a moment later; only the stream never pauses between two of them.
        client.send(&[end, start].concat());
        client.expects(TEXT, &[b'a'; 1000]);
        clock::let_pass(DRIP);
    }
    client.send(end);
    client.expects(TEXT, &[b'a'; 1000]);
    client.closes();
    stage.is_unharmed();
}

#[test]
fn one_that_never_reads_its_echoes_is_reset_by_its_deadline() {
    let mut stage = stage("--send-timeout");
    let piece = wire::frame(BINARY, &[7; 60_000]);
    let mut crowd: Vec<Client> = (0..4)
        .map(|_| Client::connect_narrow(stage.server.public, 4096).upgraded("/echo"))
        .collect();
    for client in &mut crowd {
        client.flood(&piece, 1 << 28, Duration::from_millis(100));
    }
    let count = crowd.len() as u64;
    let timeouts = [("reason", "send_timeout")];
    stage
        .server
        .until_metric("tidegate_closes_total", &timeouts, count);
    // They are still there, and nothing of them on the other side.
    stage.is_unharmed();
    for client in &mut crowd {
        assert!(client.drains_to_the_end());
    }
}

#[test]
fn one_that_never_answers_a_close_is_reset_by_its_deadline() {
    let mut stage = stage("--close-timeout");
    let pings = wire::frame(PING, b"still here");
    let messages = wire::frame(TEXT, b"still talking");
    let drips: [(&str, &[u8]); 3] = [("silence", b""), ("pings", &pings), ("messages", &messages)];
    let mut dripping: Vec<Dripping> = drips
        .iter()
        .map(|&(what, drop)| {
            let mut client = stage.server.open("/feed/silent");
            // A feed only listens, so this is answered with a close.
            client.text("something");
            client.expects_close(1008);
            Dripping {
                what,
                client,
                drop: drop.to_vec(),
            }
        })
        .collect();
    drip_until(&mut dripping, |client| {
        client.ends_within(Duration::from_millis(1))
    });
    let count = dripping.len() as u64;
    stage.is_unharmed();
    assert_eq!(closes(&stage, "close_timeout"), count);
    drop(dripping);
}
