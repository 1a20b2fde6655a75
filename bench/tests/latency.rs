//! What latency means: the open loop against the closed one, the verdict on the client itself,
//! requirements, and the files that plotters read.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::server::{Habits, Server};
use common::{BareEcho, bench, measure};

/// A stall of the server, in which an open loop at the rate below owes 200 messages.
const STALL: Duration = Duration::from_millis(400);
const RATE: &str = "500";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// How many latencies of an HDR text are above the limit, in milliseconds.
fn count_above(text: &str, limit: f64) -> u64 {
    let rows = text.lines().skip(2).take_while(|row| !row.starts_with('#'));
    let rows: Vec<(f64, u64)> = rows
        .map(|row| {
            let words: Vec<_> = row.split_whitespace().collect();
            (words[0].parse().unwrap(), words[2].parse().unwrap())
        })
        .collect();
    let all = rows.last().unwrap().1;
    let below = rows.iter().rev().find(|(value, _)| *value <= limit);
    all - below.map_or(0, |(_, count)| *count)
}

/// Messages that a stall of the server delays by more than a quarter of it.
fn delayed(name: &str, arguments: &[&str]) -> u64 {
    let server = Server::start(Habits {
        stall: Some((100, STALL)),
        ..Habits::default()
    });
    let file = file(name);
    let mut all = vec!["-c", "1", "--hdr", file.to_str().unwrap()];
    all.extend(arguments);
    measure("echo", server.address, &all).good();
    count_above(&fs::read_to_string(&file).unwrap(), 100.0)
}

#[test]
fn a_stall_is_charged_to_every_message_that_should_have_been_sent_during_it() {
    let open = delayed("open.hdr", &["-n", "500", "-r", RATE]);
    // Those due in the first 300 ms of the stall wait for more than 100 ms, whatever else the
    // machine does; some percentile steps hold several messages.
    assert!(open >= 100, "only {open} messages were charged");
    let closed = delayed("closed.hdr", &["-n", "500", "--closed"]);
    assert!(
        (1..=open / 10).contains(&closed),
        "{closed} in a closed loop, {open} in an open one"
    );
}

#[test]
fn a_client_that_is_late_says_so_and_tells_no_latency() {
    let server = BareEcho::start();
    let url = format!("ws://{}/", server.address);
    // Every send is later than nothing.
    let late = [
        "echo",
        &url,
        "-c",
        "2",
        "-n",
        "50",
        "-r",
        "1000",
        "--late-max",
        "0ms",
    ];
    let ran = bench(&[&late[..], &["--json"]].concat());
    let report = ran.good();
    assert!(report["latency_us"].is_null());
    let reason = report["client_bottleneck"].as_str().unwrap();
    assert!(reason.contains("late"), "{reason}");
    assert_eq!(report["messages"], 50);

    let ran = bench(&late);
    assert!(ran.stdout.contains("bottleneck"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("\nlatency "), "{}", ran.stdout);

    let ran = bench(&[&late[..], &["--require", "p50<1h"]].concat());
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "error: p50<1h is not met: the client was the bottleneck\n"
    );
    let hdr = file("late.hdr");
    let ran = bench(&[&late[..], &["--hdr", hdr.to_str().unwrap()]].concat());
    assert_eq!((ran.code, hdr.exists()), (1, false));
}

#[test]
fn a_busy_client_says_so() {
    let server = BareEcho::start();
    let url = format!("ws://{}/", server.address);
    let busy = [
        "echo", &url, "-c", "50", "--closed", "-d", "300ms", "--warmup", "0s", "--json",
    ];
    // A closed loop of fifty connections keeps a thread busy for more than a hundredth.
    let report = bench(&[&busy[..], &["--busy-max", "1"]].concat()).good();
    assert!(report["latency_us"].is_null());
    let reason = report["client_bottleneck"].as_str().unwrap();
    assert!(reason.contains("of a core"), "{reason}");
    let report = bench(&[&busy[..], &["--busy-max", "100"]].concat()).good();
    assert!(report["latency_us"]["p50"].is_number());
}

#[test]
fn requirements_decide_the_exit_code() {
    let server = BareEcho::start();
    let arguments = |claims: &[&'static str]| {
        let mut all = vec!["-c", "2", "-n", "100"];
        all.extend(claims.iter().flat_map(|claim| ["--require", claim]));
        all
    };
    let met = arguments(&[
        "p99<1h",
        "errors=0",
        "missing<1",
        "opened>=2",
        "rate>0",
        "max>0us",
    ]);
    measure("echo", server.address, &met).good();
    let missed = arguments(&["p99<1h", "p99.99<1us", "errors>5"]);
    let ran = measure("echo", server.address, &missed);
    let report = ran.bad();
    assert_eq!(report["missed_requirements"].as_array().unwrap().len(), 2);
    assert_eq!(report["ok"], false);
    assert!(
        ran.stderr.contains("p99.99<1us is not met"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("errors>5 is not met: it is 0"));
    let ran = measure(
        "idle",
        server.address,
        &["-d", "1ms", "--require", "p99<1s"],
    );
    assert!(ran.bad()["ok"] == false && ran.stderr.contains("nothing was timed"));
}

#[test]
fn without_a_rate_an_open_loop_is_the_default_and_a_pipeline_is_closed() {
    let server = BareEcho::start();
    let short = ["-c", "2", "-d", "100ms", "--warmup", "0s"];
    let kind = |more: &[&str]| {
        let report = measure("echo", server.address, &[&short[..], more].concat()).good();
        (report["loop"].clone(), report["rate"].clone())
    };
    assert_eq!(kind(&[]), ("open".into(), 20.into()));
    assert_eq!(kind(&["-r", "100"]), ("open".into(), 100.into()));
    assert_eq!(kind(&["-p", "2", "-r", "100"]), ("open".into(), 100.into()));
    assert_eq!(kind(&["-p", "1"]).0, "closed");
    assert_eq!(kind(&["--closed"]).0, "closed");
}

#[test]
fn the_picture_shows_latency_and_throughput() {
    let server = BareEcho::start();
    let picture = file("echo.svg");
    let plot = ["-c", "2", "--plot", picture.to_str().unwrap()];
    let run = |more: &[&str]| {
        measure("echo", server.address, &[&plot[..], more].concat()).good();
        fs::read_to_string(&picture).unwrap()
    };
    let svg = run(&["-d", "600ms", "--warmup", "0s", "-r", "500"]);
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for words in [
        "Latency by percentile",
        "Latency over time",
        "Throughput",
        "2 connections",
        "p99",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    // A number of messages has no slices of time.
    let svg = run(&["-n", "100"]);
    assert!(svg.contains("Latency by percentile") && !svg.contains("Throughput"));
}
