//! How the server takes leave: not ready, then no more accepts, then one close after another.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Signal;

use support::client::Client;
use support::clock;
use support::http;
use support::server::Server;
use support::wire;

/// The span in milliseconds that a client is told to stay away; then it leaves.
#[track_caller]
fn told(mut client: Client) -> u64 {
    let frame = client.frame();
    let payload = &frame.payload;
    assert_eq!(payload.get(..2), Some(&1001_u16.to_be_bytes()[..]));
    assert!(payload.len() <= 125);
    let reason = String::from_utf8(payload[2..].to_vec()).expect("UTF-8");
    let (_, rest) = reason
        .split_once("retry-after=")
        .expect("when to come back");
    let span = rest.strip_suffix("ms").and_then(|span| span.parse().ok());
    client.send(&wire::close(1001, b""));
    client.is_ended();
    span.unwrap_or_else(|| panic!("{reason}"))
}

#[test]
fn the_closes_are_spread_and_each_says_when_to_come_back() {
    for io in ["epoll", "uring"] {
        let mut server = Server::with(&["--io", io, "--drain-spread", "2s", "--retry-after", "1s"]);
        let clients: Vec<_> = (0..24).map(|_| server.open("/echo")).collect();
        server.until_metric("tidegate_connections", &[], 24);
        let start = clock::now();
        server.signal(Signal::TERM);
        let spans: HashSet<u64> = clients.into_iter().map(told).collect();
        // The last of twelve on a shard has its moment in the last tenths of the spread.
        let lasted = clock::now() - start;
        assert!(lasted > Duration::from_secs(1), "{lasted:?}");
        assert!(spans.iter().all(|span| (1_000..2_000).contains(span)));
        assert!(spans.len() > 8, "{spans:?}");
        let (status, output, errors) = server.ended();
        assert_eq!(status.code(), Some(0), "{errors:?}");
        let line = output.iter().find(|line| line.starts_with("draining: "));
        assert_eq!(
            line.unwrap(),
            "draining: 24 connections, told over 2s, at most 10s"
        );
        assert_eq!(output.last().unwrap(), "stopped");
    }
}

#[test]
fn few_clients_are_not_kept_waiting_by_default() {
    let mut server = Server::start();
    let clients: Vec<_> = (0..4).map(|_| server.open("/echo")).collect();
    server.until_metric("tidegate_connections", &[], 4);
    let start = clock::now();
    server.signal(Signal::TERM);
    clients.into_iter().for_each(|client| _ = told(client));
    assert_eq!(server.ended().0.code(), Some(0));
    // Half of the drain timeout would be 5 s.
    assert!(clock::now() - start < Duration::from_secs(4));
}

#[test]
fn during_the_delay_it_is_not_ready_and_serves() {
    let mut server = Server::with(&["--drain-delay", "2s"]);
    let mut early = server.open("/echo");
    assert_eq!(server.look("/readyz").status, 200);
    server.signal(Signal::TERM);
    clock::until("it is not ready", || {
        (server.look("/readyz").status == 503).then_some(())
    });
    let mut late = server.open("/echo");
    late.echoes("still here");
    early.echoes("so am I");
    told(early);
    told(late);
    let (status, output, _) = server.ended();
    assert_eq!(status.code(), Some(0));
    let line = "not ready any more, and still accepting for 2s";
    assert!(output.iter().any(|said| said == line), "{output:?}");
}

#[test]
fn a_second_signal_ends_the_delay_too() {
    let mut server = Server::with(&["--drain-delay", "60s"]);
    let _client = server.open("/echo");
    server.signal(Signal::TERM);
    clock::until("it is not ready", || {
        (server.look("/readyz").status == 503).then_some(())
    });
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_request_that_comes_too_late_is_told_when_to_come_back() {
    for io in ["epoll", "uring"] {
        let mut server = Server::with(&["--io", io, "--drain-spread", "4s", "--retry-after", "9s"]);
        let kept = server.open("/echo");
        let mut waiting: Vec<_> = (0..8).map(|_| server.connect()).collect();
        server.until_metric("tidegate_connections", &[], 9);
        server.signal(Signal::TERM);
        // As soon as the port is closed, all shards drain.
        clock::until("nobody listens", || {
            std::net::TcpStream::connect(server.public)
                .is_err()
                .then_some(())
        });
        let mut sent_away = 0;
        for client in &mut waiting {
            // Whose moment has come a second ago is no longer waited for.
            if !client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") {
                continue;
            }
            let Some(answer) = http::Response::parse(&client.all()) else {
                continue;
            };
            assert!([408, 503].contains(&answer.status), "{answer:?}");
            if answer.status == 503 {
                let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((9..=18).contains(&seconds), "{seconds}");
                sent_away += 1;
            }
        }
        assert!(sent_away > 0, "{io}");
        drop(waiting);
        told(kept);
        assert_eq!(server.ended().0.code(), Some(0));
    }
}

#[test]
fn an_operator_can_ask_for_it_and_a_page_cannot() {
    let mut server = Server::start();
    let mut client = server.open("/echo");
    let page = "POST /drain HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n";
    let mut asking = Client::connect(server.admin);
    asking.send(page.as_bytes());
    let refused = http::Response::parse(&asking.all()).expect("an answer");
    assert_eq!(refused.status, 403);
    client.echoes("nothing has happened");
    let accepted = http::request(server.admin, "POST", "/drain", b"");
    assert_eq!(accepted.status, 202);
    told(client);
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn who_does_not_answer_is_reset_at_the_end() {
    for io in ["epoll", "uring"] {
        let mut server = Server::with(&["--io", io, "--drain-timeout", "2s"]);
        let mut silent = server.open("/echo");
        server.signal(Signal::TERM);
        assert_eq!(silent.close_code(), 1001);
        let (status, output, _) = server.ended();
        assert_eq!(status.code(), Some(0));
        assert!(
            output
                .iter()
                .any(|line| line == "draining: 1 connection left"),
            "{output:?}"
        );
        assert!(silent.ends_within(Duration::from_secs(5)));
    }
}

#[test]
fn a_spread_that_is_longer_than_the_drain_is_a_fault() {
    let mut command = support::server::program();
    let options = ["--drain-timeout", "5s", "--drain-spread", "6s"];
    let ended = support::server::run(command.args(support::server::SERVE).args(options));
    assert_eq!((ended.code, ended.errors.len()), (Some(2), 1), "{ended:?}");
    assert!(ended.errors[0].contains("--drain-spread"), "{ended:?}");
}
