//! The counters tell what was done, and in the format that Prometheus reads.

mod support;

use support::client::Client;
use support::crowd;
use support::exposition::Exposition;
use support::server::Server;
use support::wire::{self, BINARY, CONTINUATION, FIN, TEXT};

#[test]
fn a_scrape_is_in_the_format_of_prometheus() {
    let server = Server::start();
    let _member = server.open("/ws/room");
    let response = server.look("/metrics");
    assert_eq!(response.status, 200);
    let content_type = response.header("content-type").expect("a type").to_owned();
    let text = response.text();
    let scrape = Exposition::parse(&text).expect("the format");
    for name in scrape.names() {
        let known = name.starts_with("tidegate_") || name.starts_with("process_");
        assert!(known, "{name}");
    }
    assert_eq!(
        scrape.values_of("tidegate_connections", "shard"),
        ["0", "1"]
    );
    if content_type.starts_with("application/openmetrics-text") {
        assert!(text.ends_with("# EOF\n"), "this format ends with # EOF");
    } else {
        assert!(content_type.starts_with("text/plain"), "{content_type}");
    }
}

#[test]
fn opens_and_connections_are_counted_on_their_shard() {
    let server = Server::start();
    let mut clients = crowd::on_every_shard(&server, "/echo", 6);
    let count = clients.len() as u64;
    server.until_metric("tidegate_opens_total", &[], count);
    let scrape = server.metrics();
    for (shard, connections) in crowd::connections_per_shard(&server)
        .into_iter()
        .enumerate()
    {
        let label = [("shard", shard.to_string())];
        let label = [(label[0].0, label[0].1.as_str())];
        for name in [
            "tidegate_connections",
            "tidegate_sessions",
            "tidegate_opens_total",
        ] {
            assert_eq!(
                scrape.sum(name, &label),
                Some(connections),
                "{name} {label:?}"
            );
        }
    }
    clients.pop().unwrap().closes();
    server.until_metric("tidegate_connections", &[], count - 1);
    server.until_metric("tidegate_sessions", &[], count - 1);
    assert_eq!(
        server.metrics().sum("tidegate_opens_total", &[]),
        Some(count)
    );
}

#[test]
fn a_close_is_counted_by_its_reason() {
    let server = Server::start();
    let end = |bytes: &[u8]| {
        let mut client = server.open("/echo");
        client.send(bytes);
        client.all();
    };
    end(&wire::close(1000, b""));
    end(&wire::close(1001, b""));
    end(&wire::unmasked(TEXT, b"a"));
    end(&wire::frame(CONTINUATION, b"a"));
    end(&wire::frame(FIN | 0x3, b"a"));
    end(&wire::frame(TEXT, &[0xFF]));
    end(&wire::frame(BINARY, &[0; 65_537]));
    drop(server.open("/echo"));
    server.open("/echo").reset();
    let mut refused = server.open("/feed/room");
    refused.text("no");
    assert_eq!(refused.close_code(), 1008);
    refused.send(&wire::close(1008, b""));
    refused.is_ended();
    drop(refused);
    for (reason, count) in [
        ("closed_by_peer", 2),
        ("protocol_error", 3),
        ("invalid_utf8", 1),
        ("too_big", 1),
        ("ended", 1),
        ("reset", 1),
        ("closed_by_application", 1),
        ("drained", 0),
        ("slow_consumer", 0),
    ] {
        server.until_metric("tidegate_closes_total", &[("reason", reason)], count);
    }
    let scrape = server.metrics();
    assert_eq!(scrape.sum("tidegate_opens_total", &[]), Some(10));
    assert_eq!(scrape.sum("tidegate_closes_total", &[]), Some(10));
    server.until_empty();
}

#[test]
fn messages_and_bytes_are_counted_as_they_are_on_the_wire() {
    const COUNT: u64 = 100;
    let server = Server::with(&["--shards", "1"]);
    let mut client = server.open("/echo");
    server.until_metric("tidegate_opens_total", &[], 1);
    let before = Traffic::of(&server);
    let message = [b'a'; 200];
    for _ in 0..COUNT {
        client.send(&wire::frame(TEXT, &message));
        client.hears(std::str::from_utf8(&message).unwrap());
    }
    // In fragments, it is one message but three frames.
    client.send(&wire::frame(TEXT & !FIN, b"a"));
    client.send(&wire::frame(CONTINUATION, b"b"));
    client.send(&wire::frame(CONTINUATION | FIN, b"c"));
    client.hears("abc");
    let expected = Traffic {
        messages_in: before.messages_in + COUNT + 1,
        messages_out: before.messages_out + COUNT + 1,
        bytes_in: before.bytes_in + COUNT * (2 + 2 + 4 + 200) + 3 * (2 + 4 + 1),
        bytes_out: before.bytes_out + COUNT * (2 + 2 + 200) + 2 + 3,
    };
    support::clock::until_equal("traffic", &expected, || Traffic::of(&server));
}

/// What a server has counted of its traffic.
#[derive(Debug, PartialEq, Eq)]
struct Traffic {
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Traffic {
    #[track_caller]
    fn of(server: &Server) -> Self {
        let scrape = server.metrics();
        let sum = |name| scrape.sum(name, &[]).expect(name);
        Self {
            messages_in: sum("tidegate_received_messages_total"),
            messages_out: sum("tidegate_sent_messages_total"),
            bytes_in: sum("tidegate_received_bytes_total"),
            bytes_out: sum("tidegate_sent_bytes_total"),
        }
    }
}

#[test]
fn a_publication_counts_once_and_once_for_each_who_hears_it() {
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/room", 6);
    let before = Traffic::of(&server);
    members[0].text("to all");
    members.iter_mut().for_each(|member| member.hears("to all"));
    let heard = before.messages_out + members.len() as u64;
    server.until_metric("tidegate_sent_messages_total", &[], heard);
    server.until_metric(
        "tidegate_received_messages_total",
        &[],
        before.messages_in + 1,
    );
}

#[test]
fn refusals_are_counted_by_cause_and_requests_apart() {
    let server = Server::with(&["--origin", "https://good.example"]);
    let refused = |line: &[&str], path: &str| {
        let mut client: Client = server.connect();
        client.send(wire::upgrade(path, line).as_bytes());
        assert_ne!(client.head().status, 101);
        client.all();
    };
    refused(&["Origin: https://evil.example"], "/echo");
    refused(&["Sec-WebSocket-Version: 13"], "/echo");
    refused(&["Host: another"], "/echo");
    refused(&[], "/nowhere");
    server.until_metric("tidegate_handshake_refusals_total", &[], 4);
    server.until_metric("tidegate_opens_total", &[], 0);
    let causes = server
        .metrics()
        .values_of("tidegate_handshake_refusals_total", "cause");
    assert!(causes.len() >= 3, "{causes:?}");
}
