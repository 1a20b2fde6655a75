//! The program as its operator meets it: lines, exit codes, signals.

mod support;

use std::net::TcpListener;
use std::process::{self, Command};
use std::time::Duration;
use std::{env, fs};

use rustix::process::Signal;

use support::clock;
use support::http;
use support::server::{self, Ended, Server};
use support::skip;
use support::wire;

/// A failure must name its cause in one line, and not as a crash.
#[track_caller]
fn assert_fails(command: &mut Command, code: i32) -> Ended {
    let ended = server::run(command);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.errors.len(), 1, "{ended:?}");
    let line = &ended.errors[0];
    assert!(
        !line.trim().is_empty() && !line.contains("panicked"),
        "{line}"
    );
    assert!(!line.contains("RUST_BACKTRACE"), "{line}");
    assert!(
        !ended.output.iter().any(|line| line == "ready"),
        "{ended:?}"
    );
    ended
}

#[test]
fn what_is_not_understood_is_a_fault_of_usage() {
    let words: [&[&str]; 14] = [
        &["swim"],
        &["serve", "--no-such-flag"],
        &["serve", "--max-message", "big"],
        &["serve", "--max-message", "64XB"],
        &["serve", "--max-message", "-1"],
        &["serve", "--shards", "many"],
        &["serve", "-c", "/dev/null", "--listen", "nowhere"],
        &["serve", "-c", "/dev/null", "--listen", "127.0.0.1:99999"],
        &["serve", "--drain-timeout", "soon"],
        &["serve", "--outbox-max"],
        &["serve", "--handshake-timeout", "0s"],
        &["serve", "--message-timeout", "10"],
        &["serve", "--send-timeout", "2h"],
        &["serve", "--close-timeout", "-1s"],
    ];
    for words in words {
        assert_fails(server::program().args(words), 2);
    }
}

#[test]
fn help_and_version_are_no_faults() {
    for words in [&["--help"] as &[&str], &["serve", "--help"], &["--version"]] {
        let ended = server::run(server::program().args(words));
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        assert!(
            !ended.output.is_empty() && ended.errors.is_empty(),
            "{words:?}: {ended:?}"
        );
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let mut words = server::SERVE.to_vec();
        let place = words.iter().position(|word| *word == flag).unwrap();
        words[place + 1] = &address;
        let ended = assert_fails(server::program().args(&words), 1);
        assert!(
            ended.errors[0].contains(&address),
            "{flag}: {}",
            ended.errors[0]
        );
    }
}

#[test]
fn a_port_that_another_tidegate_has_is_taken() {
    let server = Server::start();
    let address = server.public.to_string();
    let mut command = server::program();
    command.args([
        "serve",
        "-c",
        "/dev/null",
        "--listen",
        &address,
        "--admin",
        "127.0.0.1:0",
    ]);
    let ended = assert_fails(&mut command, 1);
    assert!(ended.errors[0].contains(&address), "{}", ended.errors[0]);
    // Trying has not hurt the one that serves.
    server.open("/echo").echoes("still here");
}

#[test]
fn a_port_can_be_shared_by_those_who_all_say_so() {
    let first = Server::with(&["--share-port"]);
    let address = first.public.to_string();
    let second = Server::with(&["--share-port", "--listen", &address]);
    assert_eq!(second.public, first.public);
}

#[test]
fn a_privileged_port_needs_permission() {
    const ADDRESS: &str = "127.0.0.1:81";
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first_free = first_free
        .ok()
        .and_then(|port| port.trim().parse::<u16>().ok());
    if first_free.is_none_or(|port| port <= 81) {
        return skip::note("skipped: a_privileged_port_needs_permission: here no port does");
    }
    let copy = env::temp_dir().join(format!("tidegate-{}", process::id()));
    if let Some(mut command) = server::without_rights(&copy) {
        command.args([
            "serve",
            "-c",
            "/dev/null",
            "--listen",
            ADDRESS,
            "--admin",
            "127.0.0.1:0",
        ]);
        let ended = assert_fails(&mut command, 77);
        assert!(ended.errors[0].contains(ADDRESS), "{}", ended.errors[0]);
    } else {
        skip::note("skipped: a_privileged_port_needs_permission: setpriv cannot take the rights");
    }
    let _ = fs::remove_file(copy);
}

#[test]
fn too_few_descriptors_are_found_out_at_the_start() {
    let mut command = server::limited(16);
    command.args(server::SERVE);
    let ended = assert_fails(&mut command, 77);
    assert!(ended.errors[0].contains("16"), "{}", ended.errors[0]);
}

#[test]
fn the_server_says_where_it_is_and_when_it_is_ready() {
    let server = Server::start();
    assert!(
        server
            .greeting
            .iter()
            .any(|line| line.starts_with("listening on http://127.0.0.1:"))
    );
    assert!(
        server
            .greeting
            .iter()
            .any(|line| line.starts_with("admin on http://127.0.0.1:"))
    );
    assert_eq!(server.greeting.last().unwrap(), "ready");
    assert_eq!(server.look("/healthz").status, 200);
    assert_eq!(server.look("/readyz").status, 200);
    let page = http::request(server.public, "GET", "/", b"");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html"),
        "{}",
        page.head
    );
    for path in ["/no-such-page", "/ws", "/healthz", "/metrics"] {
        assert_eq!(
            http::request(server.public, "GET", path, b"").status,
            404,
            "{path}"
        );
    }
}

#[test]
fn a_terminated_server_says_goodbye_and_ends_well() {
    let mut server = Server::start();
    let mut clients: Vec<_> = ["/echo", "/ws/room", "/feed/room", "/ws/room"]
        .map(|path| server.open(path))
        .into();
    clients[0].echoes("before");
    server.signal(Signal::TERM);
    for mut client in clients {
        assert_eq!(client.close_code(), 1001);
        client.send(&wire::close(1001, b""));
        client.is_ended();
    }
    let (status, _, errors) = server.ended();
    assert_eq!(status.code(), Some(0), "{errors:?}");
}

#[test]
fn a_client_that_never_answers_does_not_stop_the_drain() {
    let mut server = Server::with(&["--drain-timeout", "2s"]);
    let mut silent = server.open("/ws/room");
    let waiting = server.connect();
    server.signal(Signal::TERM);
    assert_eq!(silent.close_code(), 1001);
    let (status, _, errors) = server.ended();
    assert_eq!(status.code(), Some(0), "{errors:?}");
    drop((silent, waiting));
}

#[test]
fn a_draining_server_is_not_ready_but_healthy() {
    let mut server = Server::with(&["--drain-timeout", "5s"]);
    let mut silent = server.open("/ws/room");
    server.signal(Signal::TERM);
    assert_eq!(silent.close_code(), 1001);
    assert_eq!(server.look("/readyz").status, 503);
    assert_eq!(server.look("/healthz").status, 200);
    silent.send(&wire::close(1001, b""));
    silent.is_ended();
    drop(silent);
    let (status, _, _) = server.ended();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_drain() {
    let mut server = Server::with(&["--drain-timeout", "60s"]);
    let mut silent = server.open("/ws/room");
    server.signal(Signal::TERM);
    assert_eq!(silent.close_code(), 1001);
    server.signal(Signal::TERM);
    // `ended` has a deadline of its own, far below the 60 s of the drain.
    assert!(server.ended().0.code().is_some());
}

#[test]
fn an_interrupted_server_stops_at_once() {
    let mut server = Server::with(&["--drain-timeout", "60s"]);
    let mut silent = server.open("/ws/room");
    server.signal(Signal::INT);
    let (status, _, errors) = server.ended();
    assert_eq!(status.code(), Some(0), "{errors:?}");
    assert!(silent.ends_within(Duration::from_secs(5)));
}

#[test]
fn a_server_that_nobody_uses_sleeps() {
    let server = Server::start();
    let _idle: Vec<_> = (0..50).map(|_| server.open("/ws/room")).collect();
    let before = server.process().cpu_ticks();
    clock::let_pass(Duration::from_secs(1));
    let ticks = server.process().cpu_ticks() - before;
    // A count of ticks of 10 ms of CPU, not a time: 2 of 100 are 2 % of a core.
    assert!(ticks <= 2, "{ticks} ticks of CPU in a second of silence");
}
