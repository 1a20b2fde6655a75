//! Operators see who is there and how the last ones ended, and can disconnect them.

mod support;

use serde_json::Value;
use support::client::Client;
use support::server::Server;
use support::wire::{self, TEXT};
use support::{clock, http};

#[track_caller]
fn list(server: &Server, query: &str) -> Vec<Value> {
    let page = server.look_json(&format!("/connections{query}"));
    page["connections"].as_array().expect("a list").clone()
}

#[track_caller]
fn post(server: &Server, path: &str) -> (u16, Value) {
    let response = http::request(server.admin, "POST", path, b"");
    let body = serde_json::from_str(&response.text()).unwrap_or(Value::Null);
    (response.status, body)
}

#[test]
fn connections_are_listed_by_page_and_by_what_they_are() {
    let server = Server::start();
    let mut rooms: Vec<Client> = (0..7).map(|_| server.open("/ws/lobby")).collect();
    let mut echo = server.open("/echo");
    echo.echoes("here");
    rooms[0].text("hello");
    rooms[6].hears("hello");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.look_json(&format!("/connections?count=3{after}"));
        let part = page["connections"].as_array().expect("a list");
        assert!(part.len() <= 3);
        assert_eq!(page["complete"], true);
        seen.extend(part.iter().map(|one| one["id"].to_string()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    seen.dedup();
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert_eq!(list(&server, "?topic=lobby").len(), 7);
    assert_eq!(list(&server, "?endpoint=topic/").len(), 7);
    assert_eq!(list(&server, "?topic=nobody").len(), 0);
    assert_eq!(list(&server, "?address=127.0.0.1").len(), 8);
    assert_eq!(list(&server, "?address=192.0.2.1").len(), 0);
    let found = list(&server, "?endpoint=echo");
    assert_eq!(found.len(), 1);
    let id = found[0]["id"].as_str().expect("an id");
    let one = server.look_json(&format!("/connections/{id}"));
    assert_eq!(
        (&one["endpoint"], &one["phase"]),
        (&"echo".into(), &"open".into())
    );
    assert_eq!(server.look("/connections/0000000000000000").status, 404);
    for bad in [
        "/connections/x",
        "/connections?count=0",
        "/connections?usr=me",
        "/closed?count=-1",
    ] {
        assert_eq!(server.look(bad).status, 400, "{bad}");
    }
}

#[test]
fn one_or_all_of_a_topic_are_disconnected_with_a_code_and_a_reason() {
    let server = Server::start();
    let mut rooms: Vec<Client> = (0..9).map(|_| server.open("/ws/lobby")).collect();
    let mut other = server.open("/ws/hall");
    let mut echo = server.open("/echo");
    let id = list(&server, "?endpoint=echo")[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/disconnect?id={id}&code=4001&reason=token+revoked");
    assert_eq!(
        post(&server, &path),
        (
            200,
            serde_json::json!({"disconnected": 1, "complete": true})
        )
    );
    let frame = echo.frame();
    assert_eq!(frame.close_code(), Some(4001));
    assert_eq!(&frame.payload[2..], b"token revoked");
    echo.send(&wire::frame(wire::CLOSE, &frame.payload));
    echo.is_ended();
    let all = post(&server, "/disconnect?topic=lobby");
    assert_eq!(
        all,
        (
            200,
            serde_json::json!({"disconnected": 9, "complete": true})
        )
    );
    for client in &mut rooms {
        client.expects_close(1001);
    }
    drop(rooms);
    server.until_metric("tidegate_closes_total", &[("reason", "disconnected")], 10);
    other.text("still here");
    other.hears("still here");
    for bad in ["", "?id=1", "?topic=a&code=1006", "?topci=a"] {
        assert_eq!(post(&server, &format!("/disconnect{bad}")).0, 400, "{bad}");
    }
    assert_eq!(server.look("/disconnect?topic=hall").status, 405);
}

#[test]
fn each_end_is_told_with_who_and_why() {
    let server = Server::with(&["--shards", "1"]);
    server.open("/echo").closes();
    server.until_empty();
    server.open("/echo").reset();
    server.until_empty();
    let mut wrong = server.open("/echo");
    wrong.send(&[0x83, 0x80, 0, 0, 0, 0]);
    wrong.expects_close(1002);
    drop(wrong);
    server.until_empty();
    let mut refused = server.connect();
    refused.send(b"nonsense\r\n\r\n");
    assert!(!refused.all().is_empty());
    drop(refused);
    server.until_empty();
    let closed = server.look_json("/closed");
    let told: Vec<String> = (closed.as_array().expect("a list").iter())
        .map(|one| {
            format!(
                "{} {} {} {}",
                one["reason"], one["side"], one["phase"], one["code"]
            )
        })
        .collect();
    assert!(
        told[0].ends_with(r#""server" "handshake" null"#),
        "{told:?}"
    );
    assert_eq!(told[1], r#""protocol_error" "server" "open" 1002"#);
    assert_eq!(told[2], r#""reset" "peer" "open" null"#);
    assert_eq!(told[3], r#""closed_by_peer" "peer" "open" 1000"#);
    assert_eq!(closed[2]["errno"], 104, "ECONNRESET");
    assert!(
        closed[2]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}

#[test]
fn what_each_has_said_and_heard_is_told_while_it_is_here_and_at_its_end() {
    let server = Server::with(&["--shards", "1", "--ping-interval", "0s"]);
    let mut quiet = server.open("/ws/lobby");
    let mut hot = server.open("/ws/lobby");
    for round in 0..5 {
        let text = format!("{round}");
        hot.text(&text);
        hot.hears(&text);
        quiet.hears(&text);
    }
    let request = wire::upgrade("/ws/lobby", &[]).len() as u64;
    let said = request + 5 * wire::frame(TEXT, b"x").len() as u64;
    // Its kernel may acknowledge a moment later.
    let ranked = clock::until("all is acknowledged", || {
        let ranked = list(&server, "?sort=rate");
        let heard = 5 * wire::unmasked(TEXT, b"x").len() as u64;
        let is_told = |one: &Value| one["bytes_acknowledged"].as_u64() > Some(heard);
        (ranked.len() == 2 && ranked.iter().all(is_told)).then_some(ranked)
    });
    let numbers = |one: &Value| {
        let names = ["messages_received", "messages_sent", "bytes_received"];
        names.map(|name| one[name].as_u64().expect("a number"))
    };
    assert_eq!(numbers(&ranked[0]), [5, 5, said], "{ranked:?}");
    assert_eq!(numbers(&ranked[1]), [0, 5, request], "{ranked:?}");
    // Rates are told from the last time that they were asked for.
    assert!(list(&server, "?sort=rate").is_empty());
    hot.text("again");
    hot.hears("again");
    quiet.hears("again");
    let ranked = list(&server, "?sort=rate");
    let rates: Vec<Option<f64>> =
        (ranked.iter().map(|one| one["messages_per_second"].as_f64())).collect();
    assert!(
        rates.len() == 2 && rates[0] > rates[1] && rates[1] > Some(0.0),
        "{rates:?}"
    );
    hot.closes();
    drop(quiet);
    server.until_empty();
    let mut closed = server
        .look_json("/closed")
        .as_array()
        .expect("a list")
        .clone();
    closed.sort_by_key(|one| one["messages_received"].as_u64());
    assert_eq!(numbers(&closed[0])[..2], [0, 6], "{closed:?}");
    assert_eq!(numbers(&closed[1])[..2], [6, 6], "{closed:?}");
    let goodbye = wire::close(1000, b"").len() as u64;
    let again = wire::frame(TEXT, b"again").len() as u64;
    // The end of a stream is a byte to its kernel.
    for (one, bytes) in closed.iter().zip([request, said + again + goodbye]) {
        let told = one["bytes_received"].as_u64().expect("a number");
        assert!((bytes..=bytes + 1).contains(&told), "{bytes}: {one}");
    }
}

#[test]
fn a_page_with_a_name_of_its_own_reads_nothing_here() {
    let server = Server::start();
    let ask = |host: &str| {
        let mut page = Client::connect(server.admin);
        let request = format!("GET /config HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        page.send(request.as_bytes());
        page.head().status
    };
    let port = server.admin.port();
    assert_eq!(ask(&format!("Host: rebound.example:{port}\r\n")), 421);
    assert_eq!(ask(&format!("Host: localhost:{port}\r\n")), 200);
    assert_eq!(ask(&format!("Host: 127.0.0.1:{port}\r\n")), 200);
    assert_eq!(
        ask("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"),
        403
    );
    let mut probe = Client::connect(server.admin);
    probe.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(probe.all().starts_with(b"HTTP/1.0 200"));
    // Paths that are not there are no way around.
    let mut page = Client::connect(server.admin);
    page.send(b"GET /nowhere HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
    assert_eq!(page.head().status, 421);
}
