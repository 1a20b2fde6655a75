//! Clients that other people wrote, npm's ws and Python's websockets, understand the server.

mod support;

use std::process::Command;

use support::counterpart::{self, Counterpart};
use support::server::Server;
use support::skip;

/// What each of them must report, after the line on how it opened.
const REPORT: [&str; 10] = [
    "echoed 0",
    "echoed 1",
    "echoed 125",
    "echoed 126",
    "echoed 65535",
    "echoed 65536",
    "echoed 1048576",
    "ponged ping",
    "joined one two three",
    "closed 1000",
];

/// Runs a counterpart, whose last argument is the URL, in each tier of compression, which both
/// of them offer, and reads its reports.
#[track_caller]
fn assert_understands(command: impl Fn() -> Command) {
    for tier in ["off", "shared", "takeover"] {
        let compressed = tier != "off";
        assert_understands_in(tier, compressed, &mut command());
    }
}

#[track_caller]
fn assert_understands_in(tier: &str, compressed: bool, command: &mut Command) {
    let server = Server::with(&["--max-message", "16MiB", "--compression", tier]);
    let peer = Counterpart::start(command.arg(format!("ws://{}/echo", server.public)));
    let opened = peer.next().unwrap_or_default().to_lowercase();
    assert!(
        opened.starts_with("opened with extensions '"),
        "{tier}: {opened}"
    );
    assert_eq!(opened.contains("deflate"), compressed, "{tier}: {opened}");
    for line in REPORT {
        peer.answers(line);
    }
    peer.ends_well();
    server.until_metric("tidegate_closes_total", &[("reason", "closed_by_peer")], 1);
    server.until_empty();
}

#[test]
fn npm_ws_understands_the_server() {
    let modules = counterpart::folder().join("node_modules");
    if !modules.join("ws").is_dir() {
        return skip::skipped(
            "npm_ws_understands_the_server",
            "scripts/counterparts has no ws",
        );
    }
    assert_understands(|| {
        let mut node = Command::new("node");
        node.arg(counterpart::peer("ws.mjs")).arg(&modules);
        node
    });
}

#[test]
fn python_websockets_understands_the_server() {
    let python = counterpart::folder().join("venv/bin/python");
    if !python.exists() {
        let name = "python_websockets_understands_the_server";
        return skip::skipped(name, "scripts/counterparts has no websockets");
    }
    assert_understands(|| {
        let mut program = Command::new(&python);
        program
            .arg("-u")
            .arg(counterpart::peer("websockets_peer.py"));
        program
    });
}
