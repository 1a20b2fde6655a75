//! Clients that say more than their rates allow: closed or slowed down, told why, counted, and nobody
//! else notices.

mod support;

use std::time::Duration;

use rustix::process::Signal;

use support::client::Client;
use support::clock;
use support::deflate::{self, Contexts};
use support::folder::Folder;
use support::server::Server;
use support::wire::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};

/// How many may come at once; and one in a second, so that hardly any is added while a test looks.
const BURST: usize = 20;

fn rated(policy: &str, more: &[&str]) -> Server {
    let mut options = vec!["--message-rate", "1", "--message-burst", "20"];
    options.extend(["--rate-policy", policy]);
    options.extend(more);
    Server::with(&options)
}

#[track_caller]
fn limited(server: &Server, limit: &str, policy: &str) -> u64 {
    let labels = [("limit", limit), ("policy", policy)];
    let sum = server.metrics().sum("tidegate_rate_limited_total", &labels);
    sum.expect("it is counted from the start")
}

/// A message in so many fragments of nothing, and a last one.
fn fragments(count: usize) -> Vec<u8> {
    let mut bytes = wire::frame(BINARY & !FIN, b"");
    for _ in 1..count {
        bytes.extend(wire::frame(CONTINUATION, b""));
    }
    bytes.extend(wire::frame(CONTINUATION | FIN, b"x"));
    bytes
}

/// What comes until a close frame: how many frames of each first byte, and the close's payload.
#[track_caller]
fn until_closed(client: &mut Client) -> (Vec<u8>, Vec<u8>) {
    let mut firsts = Vec::new();
    loop {
        let frame = client.next_frame().expect("it is told before the end");
        if frame.first == CLOSE {
            return (firsts, frame.payload);
        }
        firsts.push(frame.first);
    }
}

#[test]
fn floods_of_every_kind_are_closed_with_1008_and_others_go_on() {
    let server = rated("close", &[]);
    let compressed = deflate::frame(TEXT, &b"compressed ".repeat(50));
    let floods = [
        ("messages", wire::frame(TEXT, b"x").repeat(3_000)),
        ("compressed", compressed.repeat(3_000)),
        ("pings", wire::frame(PING, b"").repeat(3_000)),
        ("pongs", wire::frame(PONG, b"").repeat(3_000)),
        ("fragments", fragments(3_000)),
        ("an unfinished message", {
            let mut bytes = wire::frame(TEXT & !FIN, b"");
            bytes.extend(wire::frame(CONTINUATION, b"").repeat(3_000));
            bytes
        }),
    ];
    let mut other = server.open("/echo");
    let count = floods.len() as u64;
    for (index, (kind, flood)) in floods.into_iter().enumerate() {
        let mut client = match kind {
            "compressed" => Client::open_deflated(server.public, "/echo"),
            _ => server.open("/echo"),
        };
        let start = clock::now();
        client.try_send(&flood);
        let (heard, close) = until_closed(&mut client);
        let added = usize::try_from(start.elapsed().as_secs()).expect("few") + 1;
        assert!(
            heard.len() <= BURST + added,
            "{kind}: {} answers",
            heard.len()
        );
        assert_eq!(close[..2], 1008_u16.to_be_bytes(), "{kind}");
        let reason = "too many messages in too short a time";
        assert_eq!(close[2..], *reason.as_bytes(), "{kind}");
        if index < BURST - 1 {
            other.echoes(kind);
        }
    }
    assert_eq!(limited(&server, "messages", "close"), count);
    assert_eq!(limited(&server, "messages", "slow"), 0);
    assert_eq!(limited(&server, "bytes", "close"), 0);
    server.until_metric(
        "tidegate_closes_total",
        &[("reason", "rate_limited")],
        count,
    );
    let closed = server.look_json("/closed?count=1");
    assert_eq!(closed[0]["reason"], "rate_limited", "{closed}");
    assert_eq!(closed[0]["code"], 1008, "{closed}");
    assert_eq!(closed[0]["side"], "server", "{closed}");
}

#[test]
fn what_is_within_the_burst_is_all_heard() {
    let server = rated("close", &[]);
    let mut client = server.open("/echo");
    client.send(&wire::frame(TEXT, b"x").repeat(BURST - 1));
    for _ in 1..BURST {
        client.hears("x");
    }
    client.echoes("the last one");
    assert_eq!(limited(&server, "messages", "close"), 0);
}

#[test]
fn floods_that_are_slowed_down_are_heard_to_the_end_in_order() {
    const COUNT: usize = 150;
    let options = ["--message-rate", "100", "--message-burst", "30"];
    let server = Server::with(&[&options[..], &["--rate-policy", "slow"]].concat());
    let mut other = server.open("/echo");
    let mut client = server.open("/echo");
    let start = clock::now();
    let flood: Vec<u8> = (0..COUNT)
        .flat_map(|number| wire::frame(TEXT, format!("{number}").as_bytes()))
        .collect();
    client.send(&flood);
    for number in 0..COUNT {
        client.hears(&number.to_string());
        if number % 20 == 0 {
            other.echoes("me too");
        }
    }
    // 120 beyond the burst, 100 a second.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_150), "{took:?}");
    assert!(limited(&server, "messages", "slow") > 0);
    assert_eq!(limited(&server, "messages", "close"), 0);
    assert_eq!(server.metrics().sum("tidegate_closes_total", &[]), Some(0));
    // It may go on as anybody else.
    client.closes();
}

#[test]
fn pings_that_are_slowed_down_are_answered_and_others_do_not_wait() {
    let server = rated("slow", &["--message-timeout", "1s"]);
    let mut flooders: Vec<Client> = (0..20).map(|_| server.open("/echo")).collect();
    let flood = wire::frame(PING, b"hello").repeat(2_000);
    for flooder in &mut flooders {
        flooder.send(&flood);
    }
    let labels = [("limit", "messages"), ("policy", "slow")];
    server.until_metric("tidegate_rate_limited_total", &labels, 20);
    let listed = server.look_json("/connections?endpoint=echo");
    let paused = listed["connections"].as_array().expect("a list").iter();
    assert_eq!(paused.filter(|one| one["paused"] == true).count(), 20);
    let received = || server.metrics().sum("tidegate_received_bytes_total", &[]);
    let before = received().expect("a counter");
    for number in 0..5 {
        let mut other = server.open("/echo");
        other.echoes(&format!("other {number}"));
    }
    for flooder in &mut flooders {
        flooder.expects(PONG, b"hello");
        // What it sends now stays in the kernel.
        flooder.send(&flood);
    }
    // Beyond what was read before there came the five others, and a read of each at most.
    let grown = received().expect("a counter") - before;
    let read = 64 * 1024 * 20;
    assert!(
        grown <= read + 5_000,
        "{grown} bytes were received meanwhile"
    );
    assert_eq!(
        server
            .metrics()
            .sum("tidegate_closes_total", &[("reason", "message_timeout")]),
        Some(0)
    );
}

#[test]
fn bytes_are_counted_as_they_arrive_whatever_they_inflate_to() {
    let options = [
        "--byte-rate",
        "1KiB",
        "--byte-burst",
        "4KiB",
        "--max-message",
        "2KiB",
    ];
    let server = Server::with(&options);
    // A message of 2,000 bytes that takes some tens: many fit.
    let small = deflate::frame(TEXT, &[b'x'; 2_000]);
    let mut squeezed = Client::open_deflated(server.public, "/echo");
    let mut contexts = Contexts::new();
    for _ in 0..20 {
        squeezed.send(&small);
        squeezed.expects_inflated(&mut contexts, TEXT, &[b'x'; 2_000]);
        contexts = Contexts::new();
    }
    let mut plain = server.open("/echo");
    plain.try_send(&wire::frame(TEXT, &[b'x'; 1_000]).repeat(20));
    let (heard, close) = until_closed(&mut plain);
    assert!(heard.len() <= 4, "{}", heard.len());
    assert_eq!(close[..2], 1008_u16.to_be_bytes());
    assert_eq!(limited(&server, "bytes", "close"), 1);
    assert_eq!(limited(&server, "messages", "close"), 0);
}

#[test]
fn bytes_that_are_slowed_down_all_come() {
    let options = ["--byte-rate", "100KiB", "--byte-burst", "100KiB"];
    let server = Server::with(&[&options[..], &["--rate-policy", "slow"]].concat());
    let start = clock::now();
    let mut client = server.open("/echo");
    let mut writer = client.second_hand();
    let payload = vec![b'x'; 50_000];
    let wire = wire::frame(BINARY, &payload);
    let writing = std::thread::spawn(move || {
        for _ in 0..8 {
            writer.send(&wire);
        }
    });
    for _ in 0..8 {
        client.hears_binary(&payload);
    }
    writing.join().expect("all was taken");
    // 400,000 less 102,400 at once, and 65,536 that the last read may owe.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(2_200), "{took:?}");
    assert!(limited(&server, "bytes", "slow") > 0);
    client.closes();
}

#[test]
fn who_waits_is_told_of_a_drain_at_once() {
    let mut server = rated("slow", &["--drain-timeout", "60s"]);
    let mut client = server.open("/echo");
    client.send(&wire::frame(TEXT, b"x").repeat(5_000));
    let labels = [("limit", "messages"), ("policy", "slow")];
    server.until_metric("tidegate_rate_limited_total", &labels, 1);
    server.signal(Signal::TERM);
    assert_eq!(client.close_code(), 1001);
    client.send(&wire::close(1001, b""));
    client.is_ended();
    // `ended` has a deadline of its own, far below the 60 s.
    let (status, _, errors) = server.ended();
    assert_eq!(status.code(), Some(0), "{errors:?}");
}

#[test]
fn memory_is_as_before_when_those_who_waited_have_gone() {
    let server = rated("slow", &[]);
    let uses = || {
        let memory = server.look_json("/debug/memory");
        let shards = memory["shards"].as_array().expect("a list").clone();
        let uses = shards.iter().flat_map(|shard| {
            let uses = shard["uses"].as_array().expect("it has answered").clone();
            uses.into_iter().filter(|one| one["name"] == "rates")
        });
        let both = uses.map(|one| {
            (
                one["count"].as_u64().unwrap(),
                one["bytes"].as_u64().unwrap(),
            )
        });
        both.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    assert_eq!(uses(), (0, 0), "nothing is kept for nobody");
    let mut clients: Vec<Client> = (0..20).map(|_| server.open("/echo")).collect();
    for client in &mut clients {
        client.send(&wire::frame(TEXT, b"x").repeat(2_000));
    }
    let labels = [("limit", "messages"), ("policy", "slow")];
    server.until_metric("tidegate_rate_limited_total", &labels, 20);
    let (count, bytes) = uses();
    assert_eq!(count, 20);
    assert!(
        (20 * 10_000..20 * 70_000).contains(&bytes),
        "{bytes} bytes are held"
    );
    for client in clients {
        client.reset();
    }
    server.until_empty();
    assert_eq!(uses(), (0, 0));
}

#[test]
fn an_endpoint_has_rates_of_its_own() {
    let folder = Folder::new();
    let file = folder.write(
        "tidegate.toml",
        "[limits]\nmessage-rate = 1\nmessage-burst = 1\n\
         [[endpoint]]\npath = \"/strict\"\nkind = \"echo\"\n\
         [[endpoint]]\npath = \"/free\"\nkind = \"echo\"\nmessage-rate = 0\n\
         [[endpoint]]\npath = \"/wide\"\nkind = \"echo\"\nmessage-burst = 50\n\
         [[endpoint]]\npath = \"/slow\"\nkind = \"echo\"\nmessage-rate = 1000\nrate-policy = \"slow\"\n",
    );
    let server = Server::with(&["-c", &file]);
    let flood = |count: usize| wire::frame(TEXT, b"x").repeat(count);
    let mut strict = server.open("/strict");
    strict.send(&flood(10));
    let (heard, _) = until_closed(&mut strict);
    assert!((1..10).contains(&heard.len()), "{}", heard.len());
    for (path, count) in [("/free", 500), ("/wide", 50), ("/slow", 300)] {
        let mut client = server.open(path);
        client.send(&flood(count));
        for _ in 0..count {
            client.hears("x");
        }
    }
    assert_eq!(limited(&server, "messages", "close"), 1);
}
