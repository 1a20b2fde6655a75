//! `tidegate top` and `GET /status`: what they show is what the server does.

mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::client::Client;
use support::clock;
use support::crowd;
use support::lines::Lines;
use support::server::{self, Server};
use support::wire;

fn top(server: &Server, words: &[&str]) -> Command {
    let mut command = server::program();
    command.args([
        "top",
        "--interval",
        "100ms",
        "--admin",
        &server.admin.to_string(),
    ]);
    command.args(words);
    command
}

#[test]
fn one_look_is_a_table_for_people() {
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/lobby", 6);
    members[0].text("hello");
    members[1].hears("hello");
    drop(server.open("/echo"));
    server.until_metric("tidegate_closes_total", &[("reason", "ended")], 1);
    let count = members.len();
    // No terminal is the same as --once.
    for words in [&["--once"] as &[&str], &[]] {
        let ended = server::run(&mut top(&server, words));
        assert_eq!((ended.code, ended.errors.len()), (Some(0), 0), "{ended:?}");
        let text = ended.output.join("\n");
        assert!(
            text.starts_with(&format!(
                "tidegate {}  ready  up ",
                env!("CARGO_PKG_VERSION")
            )),
            "{text}"
        );
        for part in [
            &format!("{count} connections"),
            "shards\n  shard  core  busy  connections",
            "lobby",
            "closed  ended",
            "last ends\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn each_object_of_json_has_the_documented_names() {
    let server = Server::start();
    let mut members = crowd::on_every_shard(&server, "/ws/lobby", 4);
    let mut child = top(&server, &["--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = Lines::of(child.stdout.take().expect("piped"));
    for round in 0..3 {
        members[0].text("hello");
        members.iter_mut().for_each(|member| member.hears("hello"));
        let line = output.next().expect("a line");
        let view: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(view["total"]["connections"], members.len(), "{view}");
        assert_eq!(view["shards"].as_array().map(Vec::len), Some(2));
        assert_eq!(view["topics"][0]["name"], "lobby");
        assert_eq!(view["topics"][0]["subscribers"], members.len());
        assert!(
            view["server"]["seconds"].as_f64() > Some(0.0),
            "round {round}: {view}"
        );
        if round == 0 {
            names_are_documented(&view);
        }
    }
    // When nobody reads any more, it ends.
    drop(output);
    let _ = child.kill();
    let _ = child.wait();
    let ended = server::run(&mut top(&server, &["--json", "--once"]));
    assert_eq!((ended.code, ended.output.len()), (Some(0), 1), "{ended:?}");
}

/// Every name stands in docs/operations.md.
#[track_caller]
fn names_are_documented(view: &Value) {
    let page = support::counterpart::root().join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let section = page.split("## tidegate top").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("a section");
    let mut open = vec![view];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(pairs) => {
                for (name, value) in pairs {
                    assert!(
                        section.contains(&format!("`{name}`")),
                        "{name} is not documented"
                    );
                    open.push(value);
                }
            }
            Value::Array(values) => open.extend(values.first()),
            _ => {}
        }
    }
}

#[test]
fn a_server_that_is_gone_is_one_clear_line() {
    let address = {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        taken.local_addr().expect("an address").to_string()
    };
    for words in [&["--once"] as &[&str], &["--json"], &[]] {
        let mut command = server::program();
        command.args(["top", "--admin", &address]).args(words);
        let ended = server::run(&mut command);
        assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
        assert!(ended.errors[0].contains(&address), "{ended:?}");
        assert!(ended.output.is_empty(), "{ended:?}");
    }
    // Something else that listens there is no server of ours.
    let server = Server::start();
    let mut command = server::program();
    command.args(["top", "--once", "--admin", &server.public.to_string()]);
    let ended = server::run(&mut command);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    for (option, value) in [
        ("--admin", "https://127.0.0.1:9090"),
        ("--admin", "nowhere"),
        ("--interval", "1ms"),
        ("--sort", "size"),
    ] {
        let ended = server::run(server::program().args(["top", option, value]));
        assert_eq!((ended.code, ended.errors.len()), (Some(2), 1), "{ended:?}");
    }
}

#[test]
fn a_server_that_goes_away_meanwhile_ends_the_lines() {
    let mut server = Server::start();
    let mut child = top(&server, &["--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = Lines::of(child.stdout.take().expect("piped"));
    let errors = Lines::of(child.stderr.take().expect("piped"));
    output.next().expect("a line");
    server.signal(rustix::process::Signal::INT);
    server.ended();
    output.rest();
    let errors = errors.rest();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("cannot ask the server"), "{errors:?}");
    assert_eq!(child.wait().expect("a child").code(), Some(1));
}

#[test]
fn the_place_is_found_in_the_configuration() {
    let folder = support::folder::Folder::new();
    let server = Server::start();
    let file = folder.write(
        "tidegate.toml",
        &format!("[admin]\nlisten = \"{}\"\n", server.admin),
    );
    let mut command = server::program();
    command.args(["top", "--once", "--interval", "100ms", "-c", &file]);
    let ended = server::run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.output[0].contains(&server.admin.to_string()),
        "{ended:?}"
    );
}

#[test]
fn those_who_do_not_read_are_ranked_first() {
    let server = Server::with(&["--slow", "drop-newest", "--send-timeout", "60s"]);
    let _others: Vec<Client> = (0..20).map(|_| server.open("/feed/news")).collect();
    // It reads nothing: its buffers fill, then its outbox, then messages are dropped.
    let mut slow = Client::connect_narrow(server.public, 4096);
    slow.send(wire::upgrade("/feed/news", &[]).as_bytes());
    assert_eq!(slow.head().status, 101);
    let message = vec![b'a'; 60_000];
    clock::until("somebody misses something", || {
        for _ in 0..20 {
            assert!([202, 503].contains(&server.publish("news", &message)));
        }
        let metrics = server.metrics();
        (metrics.sum("tidegate_dropped_messages_total", &[]) > Some(0)).then_some(())
    });
    let ranked = |query: &str| -> Vec<Value> {
        let page = server.look_json(&format!("/connections?{query}"));
        assert_eq!(page["complete"], true);
        page["connections"].as_array().expect("a list").clone()
    };
    let dropped = ranked("sort=dropped&count=3");
    assert!((1..=3).contains(&dropped.len()), "{dropped:?}");
    let numbers: Vec<u64> = dropped
        .iter()
        .map(|one| one["dropped_messages"].as_u64().expect("a number"))
        .collect();
    assert!(
        numbers.is_sorted_by(|a, b| a >= b) && numbers[0] > 0,
        "{numbers:?}"
    );
    let first = &ranked("sort=outbox&count=1")[0];
    assert!(first["outbox_bytes"].as_u64() > Some(60_000), "{first}");
    assert!(ranked("sort=outbox&endpoint=echo").is_empty());
    for bad in ["sort=size", "sort=outbox&after=0000000000000001"] {
        assert_eq!(
            server.look(&format!("/connections?{bad}")).status,
            400,
            "{bad}"
        );
    }
    let behind = server.metrics().sum("tidegate_behind", &[]);
    assert!(behind >= Some(1), "{behind:?}");
    let ended = server::run(&mut top(&server, &["--once", "--sort", "dropped"]));
    let text = ended.output.join("\n");
    assert!(
        text.contains("slow connections, by dropped\n   outbox  dropped")
            || text.contains("feed/news"),
        "{text}"
    );
}

#[test]
fn topics_are_listed_by_those_who_hear_them() {
    let server = Server::start();
    let _small = server.open("/feed/a");
    let _large: Vec<Client> = (0..3).map(|_| server.open("/feed/b")).collect();
    server.until_metric("tidegate_sessions", &[], 4);
    let names = |query: &str| -> Vec<String> {
        let topics = server.look_json(&format!("/topics{query}"));
        let topics = topics.as_array().expect("a list").iter();
        topics
            .map(|topic| topic["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(""), ["a", "b"]);
    assert_eq!(names("?count=5"), ["b", "a"]);
    assert_eq!(names("?count=1"), ["b"]);
    assert_eq!(server.look("/topics?count=0").status, 400);
}

#[test]
fn the_status_is_what_the_metrics_say() {
    let server = Server::start();
    let mut client = server.open("/echo");
    client.echoes("a");
    drop(server.open("/echo"));
    server.until_metric("tidegate_closes_total", &[], 1);
    let status = server.look_json("/status");
    assert_eq!(status["phase"], "ready");
    assert_eq!(status["closes"]["ended"], 1);
    let shards = status["shards"].as_array().expect("shards");
    let sum = |name: &str| -> u64 { shards.iter().filter_map(|shard| shard[name].as_u64()).sum() };
    assert_eq!(
        (sum("connections"), sum("opens"), sum("messages_in")),
        (1, 2, 1)
    );
    assert!(
        shards
            .iter()
            .all(|shard| shard["cpu_seconds"].as_f64() > Some(0.0)),
        "{status}"
    );
    assert_eq!(status["process"]["id"], server.process().id);
    assert!(status["uptime_seconds"].as_f64() > Some(0.0));
}

#[test]
fn completions_and_manual_pages_are_printed() {
    for (words, part) in [
        (&["completions", "bash"] as &[&str], "complete -F _tidegate"),
        (&["man"], ".TH tidegate 1"),
        (&["man", "serve"], "drain"),
        (&["version", "--json"], "\"version\":\"0.1.0\""),
    ] {
        let ended = server::run(server::program().args(words));
        assert_eq!((ended.code, ended.errors.len()), (Some(0), 0), "{ended:?}");
        let text = ended.output.join("\n");
        assert!(text.contains(part), "{words:?}: no {part} in\n{text}");
    }
    for words in [&["completions", "tcsh"] as &[&str], &["man", "swim"]] {
        let ended = server::run(server::program().args(words));
        assert_eq!((ended.code, ended.errors.len()), (Some(2), 1), "{ended:?}");
    }
}
