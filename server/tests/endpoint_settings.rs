//! What an endpoint says for itself goes before what the server says; and a reload of either holds for
//! newcomers, and leaves alone who is there.

mod support;

use std::fmt::Write as _;

use support::client::Client;
use support::clock;
use support::deflate;
use support::folder::Folder;
use support::http;
use support::server::Server;
use support::wire::{self, FIN, PING, TEXT};

/// A server with a file that can be written anew.
struct Stage {
    folder: Folder,
    server: Server,
}

impl Stage {
    #[track_caller]
    fn with(text: &str, options: &[&str]) -> Self {
        let folder = Folder::new();
        let file = folder.write("tidegate.toml", text);
        let server = Server::with(&[&["-c", &file], options].concat());
        Self { folder, server }
    }

    /// Returns what the server says that it did.
    #[track_caller]
    fn reload(&self, text: &str) -> String {
        self.folder.write("tidegate.toml", text);
        let answer = http::request(self.server.admin, "POST", "/reload", b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    #[track_caller]
    fn status(&self, path: &str) -> u16 {
        let mut client = self.server.connect();
        client.send(wire::upgrade(path, &[]).as_bytes());
        client.head().status
    }
}

fn echo(path: &str, lines: &str) -> String {
    format!("[[endpoint]]\npath = \"{path}\"\nkind = \"echo\"\n{lines}\n")
}

/// Begins a message, and says no more.
fn half() -> Vec<u8> {
    wire::frame(TEXT & !FIN, b"half")
}

#[test]
fn endpoints_have_heartbeats_timeouts_and_compression_of_their_own() {
    let text = echo("/plain", "compression = \"off\"")
        + &echo("/pinged", "ping-interval = \"200ms\"")
        + &echo("/hasty", "message-timeout = \"200ms\"")
        + &echo("/brief", "idle-timeout = \"300ms\"")
        + &echo("/usual", "");
    let stage = Stage::with(&text, &[]);
    let offer = [deflate::OFFER];
    let plain = Client::connect(stage.server.public).upgraded_with("/plain", &offer);
    assert_eq!(plain.extension, None);
    let usual = Client::connect(stage.server.public).upgraded_with("/usual", &offer);
    assert!(usual.extension.is_some());
    let mut quiet = stage.server.open("/usual");
    quiet.send(&half());
    let mut pinged = stage.server.open("/pinged");
    assert_eq!(pinged.frame().first, PING);
    let mut hasty = stage.server.open("/hasty");
    hasty.send(&half());
    assert_eq!(hasty.close_code(), 1008);
    assert_eq!(stage.server.open("/brief").close_code(), 1000);
    // Whoever is at an endpoint that says nothing has seen none of that.
    quiet.send(&wire::frame(FIN, b" and half"));
    quiet.hears("half and half");
}

#[test]
fn an_outbox_of_an_endpoint_holds_what_it_says() {
    let feed = |path: &str, lines: &str| {
        format!("[[endpoint]]\npath = \"{path}/{{topic}}\"\nkind = \"feed\"\n{lines}\n")
    };
    let text = feed("/small", "outbox-max = \"8KiB\"")
        + &feed("/dropping", "outbox-max = \"8KiB\"\nslow = \"drop-oldest\"")
        + &feed("/large", "outbox-max = \"256MiB\"");
    let stage = Stage::with(&text, &[]);
    let server = &stage.server;
    let clients = ["/small/a", "/dropping/a", "/large/a"]
        .map(|path| Client::connect_narrow(server.public, 4096).upgraded(path));
    let body = vec![b'x'; 60_000];
    let slow = [("reason", "slow_consumer")];
    clock::until("the first one is disconnected", || {
        assert_eq!(server.publish("a", &body), 202);
        let metrics = server.metrics();
        let dropped = metrics.sum("tidegate_dropped_messages_total", &[]);
        let closed = metrics.sum("tidegate_closes_total", &slow);
        (closed == Some(1) && dropped > Some(0)).then_some(())
    });
    let listed = server.look_json("/connections?topic=a");
    assert_eq!(
        listed["connections"].as_array().unwrap().len(),
        2,
        "{listed}"
    );
    drop(clients);
}

#[test]
fn timeouts_heartbeats_outbox_compression_and_rates_are_reloaded_for_newcomers() {
    let stage = Stage::with("", &[]);
    let server = &stage.server;
    let mut old = server.open("/echo");
    old.send(&half());
    let text = "[timeouts]\nmessage = \"300ms\"\nsend = \"7s\"\nclose = \"2s\"\n\
                [limits]\noutbox-max = \"1MiB\"\nslow = \"pause\"\nmessage-rate = 1\nmessage-burst = 5\n\
                [compression]\ntier = \"off\"\n[heartbeat]\nidle-timeout = \"1h\"\npings-missed = 3\n";
    let said = stage.reload(text);
    assert!(!said.contains("restart"), "{said}");
    for part in [
        "timeouts.message: 1m -> 300ms",
        "limits.message-rate: 0 -> 1",
    ] {
        assert!(said.contains(part), "{said}");
    }
    for _ in 0..4 {
        let mut late = server.open("/echo");
        late.send(&half());
        assert_eq!(late.close_code(), 1008);
    }
    let mut many = Client::connect(server.public).upgraded_with("/echo", &[deflate::OFFER]);
    assert_eq!(many.extension, None, "compression is off now");
    many.send(&wire::frame(TEXT, b"x").repeat(100));
    assert_eq!(many.close_code(), 1008);
    // Who was there has more time than that, and no rate.
    old.send(&wire::frame(FIN, b" and half"));
    old.hears("half and half");
    old.send(&wire::frame(TEXT, b"x").repeat(100));
    for _ in 0..100 {
        old.hears("x");
    }
    let said = stage.reload("");
    assert!(said.contains("timeouts.message: 300ms -> 1m"), "{said}");
    let mut again = Client::connect(server.public).upgraded_with("/echo", &[deflate::OFFER]);
    assert!(again.extension.is_some());
    again.send(&wire::frame(TEXT, b"x").repeat(100));
    for _ in 0..100 {
        again.hears("x");
    }
}

#[test]
fn the_time_for_a_request_is_reloaded() {
    let stage = Stage::with("", &[]);
    stage.reload("[timeouts]\nhandshake = \"200ms\"\n");
    for _ in 0..4 {
        let mut silent = stage.server.connect();
        silent.send(b"GET / HT");
        assert_eq!(silent.head().status, 408);
    }
}

#[test]
fn any_number_of_reloads_is_taken_and_only_what_is_in_use_is_counted() {
    let stage = Stage::with("", &["--shards", "1"]);
    let server = &stage.server;
    let text = |number: u64| format!("[timeouts]\nsend = \"{}ms\"\n", 1_000 + number);
    // Nobody stays: each new profile takes the place of one before.
    for number in 0..300 {
        stage.reload(&text(number));
        server.open("/echo").echoes("hello");
    }
    // Everybody stays: 255 beside the first, and no more.
    let mut clients = Vec::new();
    for number in 1_000..1_255 {
        stage.reload(&text(number));
        clients.push(server.open("/echo"));
    }
    stage.reload(&text(2_000));
    clock::until("those who came before have gone", || {
        let metrics = server.metrics();
        (metrics.sum("tidegate_sessions", &[]) == Some(255)).then_some(())
    });
    assert_eq!(stage.status("/echo"), 503);
    let cause = [("cause", "profiles")];
    server.until_metric("tidegate_handshake_refusals_total", &cause, 1);
    clients.pop().expect("many").closes();
    clock::until("there is room again", || {
        (stage.status("/echo") == 101).then_some(())
    });
    for client in &mut clients {
        client.echoes("still here");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let folder = Folder::new();
    let text = echo("/a", "byte-rate = \"1MiB\"\nbyte-burst = \"2KiB\"")
        + &echo("/b", "message-rate = -1")
        + &echo("/c", "slow = \"never\"")
        + &echo("/d", "topics = []")
        + &echo("/e", "topics = [\"a/b\"]");
    let file = folder.write("tidegate.toml", &text);
    let check = |file: &str| {
        let mut command = support::server::program();
        support::server::run(command.args(["check-config", "-c", file]))
    };
    let ended = check(&file);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let wanted = [
        ":9:16: message-rate = -1: write a number from 0 to 1000000",
        ":13:8: slow = \"never\": write one of disconnect",
        ":17:10: write a list of topics",
        ":21:11: topics: \"a/b\": a topic here cannot hold '/'",
    ];
    let mut all = String::new();
    for line in &ended.errors {
        let _ = writeln!(all, "{line}");
    }
    for part in wanted {
        let (place, text) = part.split_at(part[1..].find(": ").unwrap() + 1);
        let found = ended
            .errors
            .iter()
            .any(|line| line.contains(place) && line.contains(&text[2..]));
        assert!(found, "no {part} in {all}");
    }
    // Once each value is right by itself, they are held against each other.
    let file = folder.write(
        "b.toml",
        &echo("/a", "byte-rate = \"1MiB\"\nbyte-burst = \"2KiB\""),
    );
    let ended = check(&file);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(
        ended.errors[0].contains(":5:14: a byte-burst of 2KiB"),
        "{ended:?}"
    );
}
