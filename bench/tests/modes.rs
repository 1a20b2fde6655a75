//! `churn`, `storm`, `slow`, `mixed`, what `idle` can ask for, and several processes.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::server::{Habits, Server};
use common::{BareEcho, measure};

#[test]
fn churn_closes_and_comes_back() {
    let server = Server::start(Habits::default());
    for more in [
        &[][..],
        &["--reset"],
        &["-r", "200"],
        &["-t", "2", "-r", "200", "--reset"],
    ] {
        let arguments = [&["-c", "4", "-d", "300ms", "--warmup", "0s"], more].concat();
        let report = measure("churn", server.address, &arguments).good();
        assert_eq!(report["connections_opened"], 4);
        let turns = report["churn"]["turns"].as_u64().unwrap();
        assert!(turns > 0, "{more:?}");
        assert_eq!(report["churn"]["reset"], more.contains(&"--reset"));
        assert!(report["churn"]["latency_us"]["p99"].is_number());
    }
}

#[test]
fn churn_is_what_the_server_sees() {
    let server = Server::start(Habits::default());
    // 50 turns are due in the window; none before it, and those of the end are waited for.
    let arguments = ["-c", "5", "-d", "500ms", "--warmup", "0s", "-r", "100"];
    let report = measure("churn", server.address, &arguments).good();
    let accepted = server
        .state
        .accepted
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(accepted, 5 + 50);
    assert!(report["churn"]["turns"].as_u64().unwrap() <= 50);
    assert_eq!(report["churn"]["latency_us"]["count"], 50);
}

#[test]
fn a_connection_that_cannot_come_back_is_a_fault_of_churn() {
    let server = Server::start(Habits {
        refused: (4, 5),
        ..Habits::default()
    });
    let arguments = ["-c", "4", "-d", "200ms", "--warmup", "0s", "-r", "100"];
    let report = measure("churn", server.address, &arguments).bad();
    assert_eq!(report["connections_failed"], 1);
}

#[test]
fn a_storm_is_over_when_all_are_back() {
    let server = Server::start(Habits::default());
    let arguments = ["-c", "20", "-t", "2", "-d", "1h", "--backoff", "20ms"];
    let report = measure("storm", server.address, &arguments).good();
    assert_eq!(report["storm"]["dropped"], 20);
    assert_eq!(report["storm"]["returned"], 20);
    assert_eq!(report["storm"]["tries"]["1"], 20);
    for part in ["50", "90", "99", "100"] {
        assert!(report["storm"]["back_ms"][part].is_number());
    }
    assert_eq!(report["connections_lost"], 0);
}

#[test]
fn tries_that_fail_are_tried_again() {
    let server = Server::start(Habits {
        refused: (10, 13),
        ..Habits::default()
    });
    let arguments = ["-c", "10", "-d", "1h", "--backoff", "10ms"];
    let report = measure("storm", server.address, &arguments).good();
    assert_eq!(report["storm"]["returned"], 10);
    let tries = report["storm"]["tries"].as_object().unwrap();
    let sum: u64 = tries
        .iter()
        .map(|(tries, count)| tries.parse::<u64>().unwrap() * count.as_u64().unwrap())
        .sum();
    assert_eq!(sum, 13, "{tries:?}");
    let failed = report["storm"]["failed_tries"].as_object().unwrap();
    let failed: u64 = failed.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(failed, 3);
}

#[test]
fn a_client_that_cannot_come_back_fails_for_good() {
    let server = Server::start(Habits {
        refused: (3, u64::MAX),
        ..Habits::default()
    });
    let arguments = ["-c", "3", "-d", "1h", "--backoff", "1ms", "--tries", "4"];
    let ran = measure("storm", server.address, &arguments);
    let report = ran.bad();
    assert_eq!(report["storm"]["failed"], 3);
    assert!(report["storm"]["back_ms"]["50"].is_null());
    assert!(
        ran.stderr.contains("3 clients did not come back"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_slow_ones_are_compared_with_nobody_being_slow() {
    let server = BareEcho::start();
    let arguments = [
        "-c", "10", "--slow", "3", "-t", "2", "-d", "400ms", "--warmup", "0s", "-r", "500",
    ];
    let report = measure("slow", server.address, &arguments).good();
    assert_eq!(report["slow"]["slow"], 3);
    let count = |key: &str| report["slow"][key]["count"].as_u64().unwrap();
    let (before, during) = (count("latency_us_before"), count("latency_us_during"));
    assert!(before > 0 && during > 0);
    assert_eq!(report["latency_us"]["count"], before + during);
}

#[test]
fn mixed_does_each_thing() {
    let server = BareEcho::start();
    let arguments = [
        "-c",
        "20",
        "--idle",
        "50",
        "--echo",
        "30",
        "--churn",
        "20",
        "-d",
        "400ms",
        "--warmup",
        "0s",
        "-r",
        "200",
        "--churn-rate",
        "50",
        "-t",
        "2",
    ];
    let report = measure("mixed", server.address, &arguments).good();
    assert_eq!(report["connections_opened"], 20);
    assert!(report["messages"].as_u64().unwrap() > 0);
    assert!(report["churn"]["turns"].as_u64().unwrap() > 0);
}

#[test]
fn every_idle_connection_proves_that_it_lives() {
    let server = Server::start(Habits::default());
    let arguments = ["-c", "30", "-t", "2", "-d", "1ms", "--verify"];
    let report = measure("idle", server.address, &arguments).good();
    for key in ["verified", "ponged", "echoed"] {
        assert_eq!(report["idle"][key], 30, "{key}");
    }
}

#[test]
fn a_connection_without_pong_or_echo_is_found() {
    let server = Server::start(Habits {
        no_pongs: true,
        forget: Some(7),
        ..Habits::default()
    });
    let short = ["-c", "10", "-d", "1ms", "--drain", "300ms"];
    let run = |proof| measure("idle", server.address, &[&short[..], &[proof]].concat()).bad();
    let report = run("--echo");
    assert_eq!(
        (&report["idle"]["echoed"], &report["errors"]["lost"]),
        (&9.into(), &1.into())
    );
    let report = run("--ping");
    assert_eq!(
        (&report["idle"]["ponged"], &report["errors"]["lost"]),
        (&0.into(), &10.into())
    );
}

/// Publishes once when the client says that it is ready.
fn broadcast(expected: &str) -> (Option<i32>, serde_json::Value) {
    let server = Server::start(Habits::default());
    let url = format!("ws://{}/feed/news", server.address);
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args([
            "idle",
            &url,
            "-c",
            "10",
            "--processes",
            "2",
            "-d",
            "200ms",
            "--json",
        ])
        .args(["--drain", "1s", "--expect-broadcast", expected])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "ready: 10 connections are open\n");
    server.publish("it is time");
    let mut json = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut json)
        .unwrap();
    let report = serde_json::from_str(&json).unwrap();
    (child.wait().unwrap().code(), report)
}

#[test]
fn everybody_who_hears_a_publication_is_counted() {
    let (code, report) = broadcast("1");
    assert_eq!(
        (code, &report["idle"]["heard"]),
        (Some(0), &10.into()),
        "{report}"
    );
    let (code, report) = broadcast("2");
    assert_eq!(
        (code, &report["idle"]["heard"]),
        (Some(1), &0.into()),
        "{report}"
    );
    assert_eq!(report["errors"]["lost"], 10);
}

#[test]
fn processes_share_the_work_and_their_figures_are_merged() {
    let server = Server::start(Habits::default());
    let arguments = [
        "-c",
        "10",
        "--processes",
        "3",
        "-t",
        "2",
        "-n",
        "1000",
        "-r",
        "20000",
    ];
    let report = measure("echo", server.address, &arguments).good();
    assert_eq!(
        (&report["processes"], &report["threads"]),
        (&3.into(), &2.into())
    );
    assert_eq!(report["connections_opened"], 10);
    assert_eq!(report["messages"], 1000);
    assert_eq!(report["latency_us"]["count"], 1000);
    let report = measure(
        "idle",
        server.address,
        &["-c", "4", "--processes", "2", "-d", "1ms"],
    );
    assert_eq!(report.good()["connections_opened"], 4);
}

/// The client's ends of open connections to a server, as the kernel sees them: the local address,
/// and the bytes that nobody has read.
fn ends(server: SocketAddr) -> Vec<(String, u64)> {
    // 127.0.0.1, as the kernel writes it: others may have the same port on other addresses.
    let remote = format!("0100007F:{:04X}", server.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = rows.filter(|words| words[2] == remote && words[3] == "01");
    open.map(|words| {
        let (address, _) = words[1].split_once(':').unwrap();
        let (_, unread) = words[4].split_once(':').unwrap();
        (address.to_owned(), u64::from_str_radix(unread, 16).unwrap())
    })
    .collect()
}

/// Looks at the client's ends while it runs, until the look finds something, and ends it.
fn look<T>(
    server: SocketAddr,
    arguments: &[&str],
    mut find: impl FnMut(Vec<(String, u64)>) -> Option<T>,
) -> T {
    let (mode, more) = arguments.split_first().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args([mode, &format!("ws://{server}/")[..]])
        .args(more)
        .arg("--json")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Nobody sends, so a receive with a timeout is a wait and nothing else.
    let (_sender, pause) = mpsc::channel::<()>();
    let found = (0..3000).find_map(|_| {
        let _ = pause.recv_timeout(Duration::from_millis(10));
        find(ends(server))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    found.unwrap()
}

#[test]
fn each_process_has_sources_of_its_own() {
    let server = BareEcho::start();
    let arguments = ["idle", "-c", "4", "--processes", "2", "-d", "1m"];
    let sources = look(server.address, &arguments, |ends| {
        let mut sources: Vec<_> = ends.into_iter().map(|(address, _)| address).collect();
        sources.sort();
        (sources.len() == 4).then_some(sources)
    });
    // 127.1.0.1 and 127.1.0.2.
    let expected = ["0100017F", "0100017F", "0200017F", "0200017F"];
    assert_eq!(sources, expected);
}

#[test]
fn slow_clients_leave_unread_what_is_sent_to_them() {
    let server = BareEcho::start();
    let (mode, size) = (
        ["slow", "-c", "10", "--slow", "3"],
        ["--slow-size", "16KiB"],
    );
    let rate = ["--slow-rate", "200", "-d", "10s", "--warmup", "0s"];
    let arguments = [&mode[..], &size, &rate].concat();
    // Their kernel takes what comes until it is full, and then nobody takes anything away.
    let (mut before, mut looks) = (Vec::new(), 0);
    let deaf = look(server.address, &arguments, |ends| {
        let unread = ends.into_iter().map(|(_, unread)| unread);
        let now: Vec<_> = unread.filter(|unread| *unread > 50_000).collect();
        looks = if now.len() >= 3 && now == before {
            looks + 1
        } else {
            0
        };
        before = now;
        (looks >= 20).then_some(before.len())
    });
    assert_eq!(deaf, 3);
}
