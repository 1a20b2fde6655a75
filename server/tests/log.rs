//! The log of the real program: whole lines, all fields, nothing that a client can forge, and nobody who
//! waits for whoever reads it.

mod support;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::clock;
use support::folder::Folder;
use support::http;
use support::server::{self, Server};
use support::wire::{self, CONTINUATION, FIN};

/// The lines of a file as JSON, each of which must be whole.
#[track_caller]
fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The first line of a file whose message begins so, once it is there.
#[track_caller]
fn line(path: &str, message: &str) -> Value {
    clock::until(&format!("a line {message}"), || {
        let says = |line: &&Value| {
            line["msg"]
                .as_str()
                .is_some_and(|msg| msg.starts_with(message))
        };
        lines(path).iter().find(says).cloned()
    })
}

/// A server whose log is a file of JSON.
#[track_caller]
fn logging(options: &[&str]) -> (Server, Folder, String) {
    let folder = Folder::new();
    let path = folder
        .path()
        .join("log")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let mut all = vec!["--log-to", &path, "--log-format", "json"];
    all.extend(options);
    let server = Server::with(&all);
    (server, folder, path)
}

fn break_a_rule(server: &Server) {
    let mut client = server.open("/echo");
    client.send(&wire::frame(FIN | CONTINUATION, b"a"));
    client.all();
}

#[test]
fn each_line_is_an_object_with_the_same_first_fields() {
    let (mut server, _folder, path) = logging(&["--log-closes", "all"]);
    server.open("/echo").closes();
    break_a_rule(&server);
    let closed = line(&path, "closed: protocol_error");
    assert_eq!(closed["target"], "close");
    assert_eq!(closed["level"], "info");
    assert_eq!(closed["close_code"], 1002);
    assert_eq!(closed["side"], "server");
    let address = closed["remote_addr"].as_str().expect("an address");
    assert!(address.parse::<SocketAddr>().is_ok(), "{address}");
    assert_eq!(closed["conn_id"].as_str().map(str::len), Some(16));
    assert!(
        closed["core"].is_u64() && closed["duration_s"].is_f64(),
        "{closed}"
    );
    assert_eq!(line(&path, "closed: closed_by_peer")["close_code"], 1000);
    server.signal(Signal::TERM);
    let (status, output, errors) = server.ended();
    assert_eq!(
        (status.code(), output.len(), errors.len()),
        (Some(0), 0, 0),
        "{output:?} {errors:?}"
    );
    assert_eq!(
        server.greeting.last().map(String::as_str),
        Some("ready"),
        "for whoever started it"
    );
    let all = lines(&path);
    for line in &all {
        let ts = line["ts"].as_str().expect("an hour");
        assert!(
            ts.len() == 24 && ts.ends_with('Z') && ts.as_bytes()[10] == b'T',
            "{ts}"
        );
        for field in ["level", "target", "msg"] {
            assert!(
                line[field].as_str().is_some_and(|text| !text.is_empty()),
                "{line}"
            );
        }
    }
    let messages: Vec<&str> = all.iter().filter_map(|line| line["msg"].as_str()).collect();
    for message in ["ready", "draining: 0 connections, at most 10s", "stopped"] {
        assert!(messages.contains(&message), "{messages:?}");
    }
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn nothing_that_a_client_says_forges_a_line() {
    let folder = Folder::new();
    let path = folder
        .path()
        .join("log")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let server = Server::with(&[
        "--log-to",
        &path,
        "--log-level",
        "trace",
        "--log-closes",
        "all",
    ]);
    // Where paths and tokens could end up in a line.
    for target in [
        "/ws/a%0AFORGED",
        "/ws/%1b%5b31mFORGED",
        "/FORGED?token=SECRET",
    ] {
        let mut client = server.connect();
        client.send(wire::upgrade(target, &["X-Odd: \x1b[31mFORGED", "Cookie: SECRET"]).as_bytes());
        client.all();
    }
    let mut client = server.open("/ws/room");
    client.text("SECRET\nFORGED");
    client.send(&wire::close(1000, b"SECRET\nFORGED"));
    client.all();
    // An operator's own words are told, in one line.
    let answer = http::request(
        server.admin,
        "POST",
        "/disconnect?topic=a%0A%1b%5b31mb",
        b"",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = clock::until("a line of the operator", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.lines()
            .find(|line| line.contains("an operator disconnects"))
            .map(str::to_owned)
    });
    assert!(line.contains(r#"channel="a\n\u{1b}[31mb""#), "{line}");
    clock::until("the ends are told", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (text.matches("handshake refused").count() >= 3 && text.contains("closed: closed_by_peer"))
            .then_some(())
    });
    let text = fs::read_to_string(&path).expect("a file");
    assert!(
        !text.contains("SECRET") && !text.contains('\u{1b}'),
        "{text}"
    );
    for line in text.lines() {
        assert!(
            line.starts_with("20") && line.contains("Z "),
            "not whole: {line:?}"
        );
    }
}

#[test]
fn what_is_written_is_chosen_by_level_part_and_kind_of_end() {
    let (mut server, _folder, path) =
        logging(&["--log-closes", "none", "--log-level", "warn,handshake=info"]);
    break_a_rule(&server);
    let mut refused = server.connect();
    refused.send(wire::upgrade("/nowhere", &[]).as_bytes());
    refused.all();
    assert_eq!(line(&path, "handshake refused: ")["target"], "handshake");
    server.signal(Signal::INT);
    server.ended();
    let all = lines(&path);
    assert!(
        all.iter().all(|line| line["target"] == "handshake"),
        "{all:?}"
    );
    for (option, value, part) in [
        ("--log-level", "loud", "write error, warn"),
        (
            "--log-level",
            "clsoe=info",
            "there are server, config, close",
        ),
        ("--log-to", "syslog", "journald"),
        ("--log-format", "xml", "--log-format"),
    ] {
        let mut command = server::program();
        command.args(server::SERVE).args([option, value]);
        let ended = server::run(&mut command);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.errors[0].contains(part), "{ended:?}");
    }
}

#[test]
fn a_storm_of_refusals_is_some_lines_and_a_number() {
    const COUNT: u64 = 200;
    let (server, _folder, path) = logging(&[]);
    for _ in 0..COUNT {
        let mut refused = server.connect();
        refused.send(wire::upgrade("/nowhere", &[]).as_bytes());
        refused.all();
    }
    // Each is written, or counted in a line that says so.
    let told = || -> u64 {
        let all = lines(&path);
        let written = all
            .iter()
            .filter(|line| line["target"] == "handshake")
            .count() as u64;
        let left_out = all.iter().filter(|line| line["target"] == "log");
        written
            + left_out
                .filter_map(|line| line["lines"].as_u64())
                .sum::<u64>()
    };
    clock::until_equal("refusals told", &COUNT, told);
    let metrics = server.metrics();
    assert_eq!(
        metrics.sum("tidegate_log_lines_dropped_total", &[]),
        Some(0)
    );
    let written = metrics.sum("tidegate_log_lines_total", &[("level", "info")]);
    assert!(written < Some(COUNT), "{written:?}");
}

#[test]
fn the_file_is_opened_again_and_a_moved_one_is_let_go() {
    let (server, folder, path) = logging(&[]);
    line(&path, "ready");
    let moved = folder
        .path()
        .join("log.1")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    fs::rename(&path, &moved).expect("a rename");
    server.signal(Signal::USR1);
    line(&path, "the log is open again");
    break_a_rule(&server);
    line(&path, "closed: protocol_error");
    assert!(lines(&moved).iter().all(|line| line["target"] == "server"));
    // Where it cannot be opened, it goes on where it was.
    fs::rename(&path, &moved).expect("a rename");
    fs::create_dir(&path).expect("a folder");
    server.signal(Signal::USR1);
    let failed = line(&moved, "the log cannot be opened again");
    assert_eq!(failed["level"], "error");
    server.open("/echo").echoes("still there");
}

#[test]
fn the_log_changes_with_a_reload_and_a_bad_place_changes_nothing() {
    let folder = Folder::new();
    let place = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (first, second) = (place("first"), place("second"));
    let config = |to: &str, level: &str| {
        let text = format!("[log]\nformat = \"json\"\nto = \"{to}\"\nlevel = \"{level}\"\n");
        folder.write("tidegate.toml", &text)
    };
    let file = config(&first, "info");
    let server = Server::with(&["-c", &file]);
    let reload = || http::request(server.admin, "POST", "/reload", b"");
    config(&second, "info,close=warn");
    assert_eq!(reload().status, 200);
    line(
        &second,
        "the configuration is reloaded: log.level: info -> info,close=warn",
    );
    break_a_rule(&server);
    config("/nowhere/log", "info");
    let answer = reload();
    assert_eq!(answer.status, 422);
    assert!(
        answer
            .text()
            .contains("cannot write the log to /nowhere/log"),
        "{answer:?}"
    );
    line(&second, "the configuration is not reloaded: ");
    assert!(!lines(&second).iter().any(|line| line["target"] == "close"));
    assert!(!lines(&first).iter().any(|line| line["target"] == "config"));
}

#[test]
fn a_log_that_cannot_be_written_is_found_out_at_the_start() {
    let mut command = server::program();
    command
        .args(server::SERVE)
        .args(["--log-to", "/nowhere/log"]);
    let ended = server::run(&mut command);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert!(
        ended.errors[0].contains("/nowhere/log") && ended.errors[0].contains("--log-to"),
        "{ended:?}"
    );
}

#[test]
fn a_failure_is_told_in_the_log_and_to_whoever_has_started_the_program() {
    let folder = Folder::new();
    let path = folder
        .path()
        .join("log")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
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
    command.args(["--log-to", &path, "--log-format", "json"]);
    let ended = server::run(&mut command);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert_eq!(line(&path, "cannot listen on ")["level"], "error");
    // Where both are the same stream, it is told once.
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
    command.args(["--log-to", "stderr", "--log-format", "json"]);
    let ended = server::run(&mut command);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert!(
        serde_json::from_str::<Value>(&ended.errors[0]).is_ok(),
        "{ended:?}"
    );
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_who_is_stuck_holds_nobody_up_and_what_is_lost_is_counted() {
    let (mut unread, stderr) = std::io::pipe().expect("a pipe");
    let mut command: Command = server::program();
    command.args(server::SERVE).args([
        "--log-to",
        "stderr",
        "--log-closes",
        "all",
        "--shards",
        "1",
    ]);
    command.stdout(Stdio::piped()).stderr(stderr);
    let mut child = Killed(command.spawn().expect("the program starts"));
    drop(command);
    let output = support::lines::Lines::of(child.0.stdout.take().expect("piped"));
    let mut greeting = Vec::new();
    while greeting.last().is_none_or(|line: &String| line != "ready") {
        greeting.push(output.next().expect("it becomes ready"));
    }
    let address = |prefix: &str| -> SocketAddr {
        let line = greeting.iter().find_map(|line| line.strip_prefix(prefix));
        let line = line.expect("an address");
        line.split([' ', '/'])
            .next()
            .and_then(|a| a.parse().ok())
            .expect("an address")
    };
    let (public, admin) = (address("listening on http://"), address("admin on http://"));
    let mut bystander = support::client::Client::open(public, "/echo");
    let dropped = || -> u64 {
        let text = http::request(admin, "GET", "/metrics", b"").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("tidegate_log_lines_dropped_total "));
        line.expect("a metric").parse().expect("a number")
    };
    // A pipe holds 64 KiB, the queue some thousand pieces: more come than both.
    clock::until("lines are dropped", || {
        for _ in 0..50 {
            let answer = http::request(admin, "POST", "/disconnect?topic=nobody", b"");
            assert_eq!(answer.status, 200);
        }
        bystander.echoes("not held up");
        (dropped() > 0).then_some(())
    });
    // When it is read again, the log says what was lost.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = unread.read_to_string(&mut text);
        text
    });
    clock::until("it is told", || {
        let _ = http::request(admin, "POST", "/disconnect?topic=nobody", b"");
        let text = http::request(admin, "GET", "/metrics", b"").text();
        text.lines()
            .find_map(|line| line.strip_prefix("tidegate_log_lines_total{level=\"warn\"} "))
            .is_some_and(|count| count != "0")
            .then_some(())
    });
    kill_process(Pid::from_child(&child.0), Signal::TERM).expect("it runs");
    bystander.close_code();
    drop(bystander);
    let status = clock::until("the server ends", || child.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
    let text = reader.join().expect("it ends");
    assert!(text.contains("lines were dropped"), "{}", text.len());
    assert!(
        text.lines().all(|line| line.starts_with("20")),
        "whole lines"
    );
}
