//! What holds for every command: usage, failing connects, idle connections, the report.

mod common;

use std::net::TcpListener;

use common::{BareEcho, bench, measure};

#[test]
fn usage_errors_exit_with_2_and_one_line() {
    let wrong: [&[&str]; 18] = [
        &[],
        &["echo"],
        &["sing", "ws://127.0.0.1:1/"],
        &["echo", "http://127.0.0.1:1/"],
        &["echo", "ws://127.0.0.1:1/", "--insecure"],
        &["echo", "ws://127.0.0.1:1/", "-c", "0"],
        &["echo", "ws://127.0.0.1:1/", "-s", "lots"],
        &["echo", "ws://127.0.0.1:1/", "-n", "5", "-d", "5s"],
        &["echo", "ws://127.0.0.1:1/", "--text", "--binary"],
        &["echo", "ws://127.0.0.1:1/", "-c", "1", "-t", "2"],
        &["echo", "ws://10.0.0.1:1/", "--sources", "2"],
        &["fanout", "ws://127.0.0.1:1/", "-s", "19"],
        &["fanout", "ws://127.0.0.1:1/", "--processes", "2"],
        &["echo", "ws://127.0.0.1:1/", "--require", "speed<5ms"],
        &["echo", "ws://127.0.0.1:1/", "--closed", "-r", "5"],
        &[
            "idle",
            "ws://127.0.0.1:1/",
            "-c",
            "5",
            "--processes",
            "2",
            "-t",
            "3",
        ],
        &["slow", "ws://127.0.0.1:1/", "-c", "5", "--slow", "5"],
        &[
            "mixed",
            "ws://127.0.0.1:1/",
            "--idle",
            "0",
            "--echo",
            "0",
            "--churn",
            "0",
        ],
    ];
    for arguments in wrong {
        let ran = bench(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(
            ran.stderr.lines().count(),
            1,
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["echo", "--help"], &["--version"]] {
        let ran = bench(arguments);
        assert_eq!(ran.code, 0);
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty());
    }
}

#[test]
fn a_refused_connect_is_told_and_nothing_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // The default duration is 10 s, the default time for connecting 30 s.
    let ran = measure("echo", address, &["-c", "5"]);
    let report = ran.bad();
    assert_eq!(report["connections_failed"], 5);
    assert_eq!(report["connect_failures"]["connection refused"], 5);
    assert_eq!(report["messages_sent"], 0);
    assert!(
        ran.stderr
            .contains("5 of 5 connections failed (5 x connection refused)")
    );
}

#[test]
fn a_server_that_never_answers_the_handshake_is_not_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let arguments = [
        "-c",
        "3",
        "--outstanding",
        "2",
        "--connect-timeout",
        "200ms",
        "-d",
        "1h",
    ];
    let report = measure("idle", address, &arguments).bad();
    assert_eq!(report["connections_opened"], 0);
    assert_eq!(report["connect_failures"]["no answer to the handshake"], 2);
    assert_eq!(report["connect_failures"]["not tried in time"], 1);
}

#[test]
fn idle_connections_are_held_and_closed() {
    let server = BareEcho::start();
    let (pid, short) = (server.pid(), ["-c", "50", "-d", "20ms", "--pid"]);
    for more in [&[][..], &["--abort"], &["--ramp", "5000", "-t", "2"]] {
        let arguments = [&short[..], &[pid.as_str()], more].concat();
        let report = measure("idle", server.address, &arguments).good();
        assert_eq!(report["connections_opened"], 50);
        assert_eq!(report["connections_lost"], 0);
        for key in ["rss_bytes_before", "rss_bytes_open", "rss_bytes_closed"] {
            assert!(report[key].as_u64().unwrap() > 0, "{key}");
        }
        assert!(report["rss_slope_bytes_per_connection"].is_number());
        assert!(report["rss_bytes_per_connection"].is_number());
    }
}

#[test]
fn the_report_keeps_its_keys() {
    let server = BareEcho::start();
    let arguments = ["-c", "2", "-n", "100", "--pid", &server.pid()];
    let report = measure("echo", server.address, &arguments).good();
    for key in [
        "ok",
        "command",
        "command_line",
        "version",
        "host",
        "url",
        "threads",
        "connections_requested",
        "connections_opened",
        "connections_failed",
        "connect_failures",
        "connections_lost",
        "connection_losses",
        "connect_seconds",
        "connects_per_second",
        "connect_latency_us",
        "pings",
        "seconds",
        "errors",
        "loop",
        "rate",
        "message_size_bytes",
        "message_kind",
        "batch",
        "messages",
        "messages_per_second",
        "bytes",
        "bytes_per_second",
        "messages_sent",
        "messages_expected",
        "messages_received",
        "latency_us",
        "client_cpu_us_per_message",
        "client_cpu_seconds",
        "cpu_seconds",
        "cpu_cores",
        "cpu_us_per_message",
        "rss_bytes_before",
        "rss_bytes_open",
        "rss_bytes_end",
        "rss_bytes_closed",
        "rss_bytes_per_connection",
    ] {
        assert!(report.get(key).is_some(), "{key}");
    }
    for key in [
        "count", "mean", "min", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max",
    ] {
        assert!(report["latency_us"][key].is_number(), "{key}");
    }
    for key in [
        "mismatched",
        "lost",
        "doubled",
        "reordered",
        "unanswered_closes",
    ] {
        assert_eq!(report["errors"][key], 0, "{key}");
    }
}

#[test]
fn the_table_shows_what_people_look_for() {
    let server = BareEcho::start();
    let url = format!("ws://{}/", server.address);
    let ran = bench(&["echo", &url, "-c", "2", "-n", "100", "--pid", &server.pid()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for word in [
        "2 ok, 0 failed",
        "p99.99",
        "server CPU",
        "per second",
        "Linux",
        "tidegate-bench",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_missing_process_and_too_many_connections_are_refused_before_anything_is_opened() {
    let ran = bench(&["idle", "ws://127.0.0.1:1/", "--pid", "4294967295"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1));
    assert!(
        ran.stderr.contains("there is no process 4294967295"),
        "{}",
        ran.stderr
    );
    let ran = bench(&["idle", "ws://127.0.0.1:1/", "-c", "10000000"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1));
    assert!(
        ran.stderr.contains("need 10000032 open files"),
        "{}",
        ran.stderr
    );
}
