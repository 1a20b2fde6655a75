//! A configuration that changes while the server runs: good and bad ones, what is taken, what is
//! kept, and connections that do not notice.

mod support;

use std::fs;
use std::io::Read;

use rustix::process::Signal;

use support::clock;
use support::crowd;
use support::folder::Folder;
use support::http;
use support::server::{self, Server};
use support::wire;

/// A server with a file that can be written anew.
struct Stage {
    folder: Folder,
    file: String,
    server: Server,
}

impl Stage {
    #[track_caller]
    fn with(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("tidegate.toml", text);
        let server = Server::with(&["-c", &file]);
        Self {
            folder,
            file,
            server,
        }
    }

    /// Writes the file, sends the signal, and waits until that had this result once more.
    #[track_caller]
    fn reload(&self, text: &str, result: &str) {
        let labels = [("result", result)];
        let count = || {
            let metrics = self.server.metrics();
            metrics.sum("tidegate_config_reload_total", &labels)
        };
        let before = count().expect("a metric");
        self.folder.write("tidegate.toml", text);
        self.server.signal(Signal::HUP);
        clock::until_equal("a reload", &Some(before + 1), count);
    }

    /// The status that a request to open a WebSocket gets.
    #[track_caller]
    fn status(&self, path: &str, lines: &[&str]) -> u16 {
        let mut client = self.server.connect();
        client.send(wire::upgrade(path, lines).as_bytes());
        client.head().status
    }

    /// All that the server said to its end.
    #[track_caller]
    fn end(mut self) -> (Vec<String>, Vec<String>) {
        self.server.signal(Signal::INT);
        let (status, output, errors) = self.server.ended();
        assert_eq!(status.code(), Some(0), "{errors:?}");
        (output, errors)
    }
}

fn endpoint(path: &str, kind: &str) -> String {
    format!("[[endpoint]]\npath = \"{path}\"\nkind = \"{kind}\"\n")
}

#[test]
fn a_removed_endpoint_is_gone_for_newcomers_and_lives_for_those_who_are_there() {
    let stage = Stage::with(&(endpoint("/old", "echo") + &endpoint("/room/{topic}", "topic")));
    // On every shard, so that each has to learn it.
    let mut members = crowd::on_every_shard(&stage.server, "/room/a", 5);
    let mut echo = stage.server.open("/old");
    echo.echoes("before");
    stage.reload(&endpoint("/new", "echo"), "success");
    for _ in 0..20 {
        assert_eq!(stage.status("/old", &[]), 404);
        assert_eq!(stage.status("/room/a", &[]), 404);
        stage.server.open("/new").echoes("new");
    }
    echo.echoes("after");
    members[0].text("still here");
    for member in &mut members {
        member.hears("still here");
    }
    let closes = stage.server.metrics().sum("tidegate_closes_total", &[]);
    let (output, errors) = stage.end();
    // 20 newcomers came and went.
    assert!(closes <= Some(20), "somebody was closed: {closes:?}");
    for part in ["endpoint /old: gone: echo", "endpoint /new: new: echo"] {
        assert!(output.iter().any(|line| line.contains(part)), "{output:?}");
    }
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_where() {
    let stage = Stage::with(&endpoint("/a", "echo"));
    let mut client = stage.server.open("/a");
    let gauge = |name| stage.server.metrics().sum(name, &[]);
    assert_eq!(gauge("tidegate_config_last_reload_successful"), Some(1));
    let taken_at = gauge("tidegate_config_last_reload_timestamp_seconds");
    assert!(taken_at > Some(1_600_000_000), "{taken_at:?}");
    stage.reload("[limits]\nmax-mesage = 1\nio = 3\n", "failure");
    assert_eq!(gauge("tidegate_config_last_reload_successful"), Some(0));
    assert_eq!(
        gauge("tidegate_config_last_reload_timestamp_seconds"),
        taken_at
    );
    client.echoes("after");
    stage.server.open("/a").echoes("new");
    fs::remove_file(&stage.file).unwrap();
    let before = gauge("tidegate_config_reload_total");
    stage.server.signal(Signal::HUP);
    let count = || gauge("tidegate_config_reload_total");
    clock::until_equal("a reload", &before.map(|count| count + 1), count);
    stage.server.open("/a").echoes("without a file");
    // It recovers, and says so.
    stage.reload(&endpoint("/b", "echo"), "success");
    assert_eq!(gauge("tidegate_config_last_reload_successful"), Some(1));
    assert_eq!(stage.status("/a", &[]), 404);
    client.echoes("at last");
    let file = stage.file.clone();
    let (_, errors) = stage.end();
    let not = "tidegate: the configuration is not reloaded: ";
    let wanted = [
        format!("{not}{file}:2:1: unknown key max-mesage in [limits]; did you mean max-message?"),
        format!("{not}{file}:3:1: unknown key io in [limits]; it belongs in [server]"),
        format!("{not}there is no configuration {file}"),
    ];
    assert_eq!(errors, wanted);
}

#[test]
fn origins_and_sizes_change_for_newcomers() {
    let origin = "Origin: https://app.example";
    let stage = Stage::with("");
    assert_eq!(stage.status("/echo", &[origin]), 403);
    let mut client = stage.server.open("/echo");
    let text = "[server]\norigins = [\"https://app.example\"]\n[limits]\nmax-message = 10\n";
    stage.reload(text, "success");
    for _ in 0..10 {
        assert_eq!(stage.status("/echo", &[origin]), 101);
        let mut newcomer = stage.server.open("/echo");
        newcomer.echoes("0123456789");
        newcomer.text("0123456789a");
        assert_eq!(newcomer.close_code(), 1009);
    }
    client.echoes("0123456789a");
    assert_eq!(stage.server.publish("a", b"0123456789a"), 413);
    assert_eq!(stage.server.publish("a", b"0123456789"), 202);
    // An endpoint's own values go before those of all.
    let own = endpoint("/echo", "echo") + "origins = []\nmax-message = 20\n";
    stage.reload(&format!("{text}{own}"), "success");
    assert_eq!(stage.status("/echo", &[origin]), 403);
    stage.server.open("/echo").echoes("0123456789a");
}

#[test]
fn the_page_comes_and_goes() {
    let stage = Stage::with("[server]\npage = false\n");
    let page = || http::request(stage.server.public, "GET", "/", b"").status;
    assert_eq!(page(), 404);
    stage.reload("", "success");
    assert_eq!(page(), 200);
}

#[test]
fn what_needs_a_restart_is_kept_and_named() {
    let stage = Stage::with("[heartbeat]\ntcp-user-timeout = \"9s\"\n");
    let text = "[server]\nshards = 3\nio = \"auto\"\npage = false\n[heartbeat]\n\
                tcp-user-timeout = \"8s\"\n[limits]\nnotsent-lowat = \"16KiB\"\n\
                max-message = \"1MiB\"\n";
    stage.reload(text, "success");
    let config = stage.server.look_json("/config");
    let value = |key: &str| {
        let values = config["values"].as_array().unwrap();
        let entry = values.iter().find(|entry| entry["key"] == key).unwrap();
        (entry["value"].clone(), entry["place"].clone())
    };
    let file = &stage.file;
    // A flag goes before the file, and is no difference.
    assert_eq!(value("server.shards"), (2.into(), "--shards".into()));
    assert_eq!(
        value("heartbeat.tcp-user-timeout"),
        ("9s".into(), format!("{file}:2").into())
    );
    let unsent = value("limits.notsent-lowat");
    assert_eq!(unsent, ("0B".into(), "default".into()));
    assert_eq!(
        value("server.page"),
        (false.into(), format!("{file}:4").into())
    );
    assert_eq!(value("limits.max-message").0, "1MiB");
    let file = file.clone();
    let (output, errors) = stage.end();
    let wanted = [
        format!("limits.notsent-lowat: 0B -> 16KiB ({file}:8)"),
        format!("heartbeat.tcp-user-timeout: 9s -> 8s ({file}:6)"),
    ];
    let mut errors = errors;
    let mut wanted = wanted.map(|line| format!("tidegate: kept until a restart: {line}"));
    errors.sort();
    wanted.sort();
    assert_eq!(errors, wanted);
    assert!(
        output
            .iter()
            .any(|line| line.contains("server.page: true -> false")),
        "{output:?}"
    );
    let outbox = "limits.outbox-max: auto (192KiB) -> auto (1152KiB) (default)";
    assert!(
        output.iter().any(|line| line.contains(outbox)),
        "{output:?}"
    );
}

#[test]
fn a_reload_over_http_says_what_it_did() {
    let stage = Stage::with("");
    let admin = stage.server.admin;
    let reload = || http::request(admin, "POST", "/reload", b"");
    assert_eq!(reload().text(), "nothing has changed\n");
    stage.folder.write(
        "tidegate.toml",
        "[server]\npage = false\nshards = \"auto\"\n",
    );
    let answer = reload();
    assert_eq!(answer.status, 200);
    let wanted = format!("reloaded: server.page: true -> false ({}:2)\n", stage.file);
    assert_eq!(answer.text(), wanted);
    stage.folder.write("tidegate.toml", "page = false\n");
    let answer = reload();
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains(":1:1: unknown key page"),
        "{answer:?}"
    );
    // A web page cannot do that.
    let mut page = support::client::Client::connect(admin);
    page.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n");
    assert_eq!(page.head().status, 403);
    let labels = [("result", "success")];
    let metrics = stage.server.metrics();
    assert_eq!(
        metrics.sum("tidegate_config_reload_total", &labels),
        Some(2)
    );
}

#[test]
fn a_dry_run_shows_what_a_reload_would_do_and_does_not_do_it() {
    let stage = Stage::with("");
    let text = "[server]\npage = false\nshards = 1\n[heartbeat]\ntcp-user-timeout = \"1s\"\n";
    stage.folder.write("tidegate.toml", text);
    let at = stage.server.admin.to_string();
    let mut command = server::program();
    // Its own environment is not that of the server.
    command.env("TIDEGATE__TIMEOUTS__CLOSE", "1s");
    command.args(["check-config", "--dry-run", "--at", &at]);
    let ended = server::run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let squeeze = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = ended.output.iter().map(squeeze).collect();
    let wanted = [
        format!("reload server.page true -> false ({}:2)", stage.file),
        format!(
            "restart heartbeat.tcp-user-timeout 0s -> 1s ({}:5)",
            stage.file
        ),
    ];
    assert_eq!(lines, wanted);
    let page = http::request(stage.server.public, "GET", "/", b"");
    assert_eq!(page.status, 200, "nothing was done");
    stage.folder.write("tidegate.toml", "nonsense");
    assert_eq!(server::run(&mut command).code, Some(78));
    let mut nobody = server::program();
    nobody.args([
        "check-config",
        "--dry-run",
        "--at",
        &stage.server.public.to_string(),
    ]);
    let ended = server::run(&mut nobody);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.errors.len(), 1, "{ended:?}");
}

#[test]
fn a_file_that_came_later_is_found_by_a_reload() {
    let folder = Folder::new();
    let mut command = server::program();
    command
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME");
    let server = Server::that_looks_for_a_file(command, &[]);
    folder.write("tidegate.toml", &endpoint("/late", "echo"));
    server.signal(Signal::HUP);
    let labels = [("result", "success")];
    server.until_metric("tidegate_config_reload_total", &labels, 1);
    server.open("/late").echoes("found");
    // From then on it is this file: when it is gone, nothing is taken in its place.
    fs::remove_file(folder.path().join("tidegate.toml")).unwrap();
    server.signal(Signal::HUP);
    let labels = [("result", "failure")];
    server.until_metric("tidegate_config_reload_total", &labels, 1);
    server.open("/late").echoes("still there");
}

#[test]
fn without_a_file_a_dry_run_does_not_look_for_one_here() {
    let (there, here) = (Folder::new(), Folder::new());
    let mut command = server::program();
    command
        .current_dir(there.path())
        .env("HOME", there.path())
        .env_remove("XDG_CONFIG_HOME");
    let server = Server::that_looks_for_a_file(command, &[]);
    let file = here.write("tidegate.toml", "[server]\npage = false\n");
    let at = server.admin.to_string();
    let dry_run = || {
        let mut command = server::program();
        command.current_dir(here.path());
        command.args(["check-config", "--dry-run", "--at", &at]);
        command
    };
    let ended = server::run(&mut dry_run());
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert!(ended.errors[0].contains("-c"), "{ended:?}");
    let ended = server::run(dry_run().args(["-c", &file]));
    assert_eq!((ended.code, ended.output.len()), (Some(0), 1), "{ended:?}");
}

#[test]
fn an_empty_file_is_reloaded_and_a_pipe_is_not_waited_for() {
    let server = Server::start();
    let reload = |server: &Server| http::request(server.admin, "POST", "/reload", b"");
    assert_eq!(reload(&server).text(), "nothing has changed\n");
    let stage = Stage::with("");
    fs::remove_file(&stage.file).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&stage.file)
        .status();
    assert!(made.expect("mkfifo").success());
    let answer = reload(&stage.server);
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("no file that can be read again"),
        "{answer:?}"
    );
}

/// A child that does not outlive its test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn whoever_does_not_read_what_is_said_holds_nobody_up() {
    let folder = Folder::new();
    let file = folder.write("tidegate.toml", "");
    let (mut unread, stdout) = std::io::pipe().expect("a pipe");
    let mut command = server::program();
    command.args(["serve", "-c", &file, "--listen", "127.0.0.1:0"]);
    command
        .args(["--admin", "127.0.0.1:0", "--shards", "1"])
        .stdout(stdout);
    let mut child = Killed(command.spawn().expect("the program starts"));
    drop(command);
    let mut greeting = String::new();
    while !greeting.ends_with("ready\n") {
        let mut piece = [0; 4096];
        let count = unread.read(&mut piece).expect("a pipe");
        assert!(count > 0, "it ended: {greeting}");
        greeting += std::str::from_utf8(&piece[..count]).expect("UTF-8");
    }
    let line = greeting
        .lines()
        .find_map(|line| line.strip_prefix("admin on http://"));
    let admin = line.expect("an address").parse().expect("an address");
    // A line for each endpoint: more than a pipe holds.
    let long = "x".repeat(200);
    let many: String = (0..900)
        .map(|index| endpoint(&format!("/{long}{index}"), "echo"))
        .collect();
    folder.write("tidegate.toml", &many);
    let answer = http::request(admin, "POST", "/reload", b"");
    assert_eq!(answer.status, 200);
    folder.write("tidegate.toml", "");
    let id = rustix::process::Pid::from_child(&child.0);
    let send = |signal| rustix::process::kill_process(id, signal).expect("it runs");
    send(Signal::HUP);
    clock::until_equal("a second reload", &true, || {
        let metrics = http::request(admin, "GET", "/metrics", b"").text();
        metrics.contains("tidegate_config_reload_total{result=\"success\"} 2")
    });
    send(Signal::TERM);
    let status = clock::until("the server ends", || child.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_drain_takes_the_time_that_was_reloaded() {
    let stage = Stage::with("[server]\ndrain-timeout = \"60s\"\n");
    let mut silent = stage.server.open("/ws/a");
    stage.reload("[server]\ndrain-timeout = \"1s\"\n", "success");
    stage.server.signal(Signal::TERM);
    assert_eq!(silent.close_code(), 1001);
    let Stage { mut server, .. } = stage;
    // `ended` has a deadline of its own, far below the 60 s of before.
    let (status, output, errors) = server.ended();
    assert_eq!(status.code(), Some(0), "{errors:?}");
    assert!(
        output.iter().any(|line| line.contains("at most 1s")),
        "{output:?}"
    );
}

#[test]
fn reloads_in_a_storm_lose_nobody() {
    let stage = Stage::with("");
    let mut clients = crowd::on_every_shard(&stage.server, "/echo", 5);
    for round in 0..50 {
        let text = ["", "nonsense", "[server]\npage = false\n"][round % 3];
        stage.folder.write("tidegate.toml", text);
        stage.server.signal(Signal::HUP);
        let spoken = format!("round {round}");
        for client in &mut clients {
            client.echoes(&spoken);
        }
        stage.server.open("/echo").echoes("new");
    }
    stage.reload("", "success");
    let metrics = stage.server.metrics();
    assert_eq!(
        metrics.sum("tidegate_closes_total", &[("reason", "protocol_error")]),
        Some(0)
    );
    for client in &mut clients {
        client.echoes("at the end");
        client.hears_nothing_more();
    }
}
