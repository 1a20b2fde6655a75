//! Endpoints that ask for tokens: who is let in, what the token allows, and how requests without a good
//! one are refused.

mod support;

use serde_json::Value;
use support::client::Client;
use support::http::{self, Response};
use support::tokens::{Guarded, check, endpoint, endpoints, generate, key};
use support::wire;

/// What a request with these header lines is answered; the client is open after a 101.
#[track_caller]
fn ask(guarded: &Guarded, path: &str, lines: &[&str]) -> (Client, Response) {
    let mut client = guarded.server.connect();
    client.send(wire::upgrade(path, lines).as_bytes());
    let response = client.head();
    (client, response)
}

#[track_caller]
fn status(guarded: &Guarded, path: &str, lines: &[&str]) -> u16 {
    ask(guarded, path, lines).1.status
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[track_caller]
fn open(guarded: &Guarded, path: &str, token: &str) -> Client {
    let (client, response) = ask(guarded, path, &[&bearer(token)]);
    assert_eq!(response.status, 101, "{response:?}");
    client
}

/// Expects a close frame with this code and reason next.
#[track_caller]
fn expects_close(client: &mut Client, code: u16, reason: &str) {
    let frame = client.frame();
    let told = frame.payload.get(2..).unwrap_or_default();
    assert_eq!(frame.close_code(), Some(code), "{frame:?}");
    assert_eq!(told, reason.as_bytes(), "{frame:?}");
}

#[track_caller]
fn shows(client: &mut Client, token: &str) {
    client.text(&format!("{{\"auth\":\"{token}\"}}"));
}

/// Shows a token, and expects that it is taken.
#[track_caller]
fn is_taken(client: &mut Client, token: &str, user: &str) {
    shows(client, token);
    let frame = client.frame();
    let said: Value = serde_json::from_slice(&frame.payload).expect("JSON");
    assert_eq!((&said["auth"], &said["user"]), (&"ok".into(), &user.into()));
    assert!(said["expires"].is_u64(), "{said}");
}

#[test]
fn without_a_good_token_a_request_is_refused_as_rfc_6750_wants() {
    let guarded = Guarded::new(
        "audience = [\"chat\"]\nissuer = \"me\"",
        &endpoints("required"),
    );
    let good = guarded.token("alice", &[]);
    open(&guarded, "/echo", &good).echoes("here");
    let challenge = |lines: &[&str]| {
        let (_, response) = ask(&guarded, "/echo", lines);
        let header = response.header("www-authenticate").map(str::to_owned);
        (response.status, header.unwrap_or_default())
    };
    let missing = (401, "Bearer".to_owned());
    let invalid = (401, "Bearer error=\"invalid_token\"".to_owned());
    assert_eq!(challenge(&[]), missing);
    assert_eq!(challenge(&["Authorization: Basic YTpi"]), missing);
    // In another place than those that are configured.
    assert_eq!(challenge(&[&format!("Cookie: token={good}")]), missing);
    let expired = guarded.token("alice", &["--expires", "0s"]);
    let unsigned = good.rsplit_once('.').expect("a signature").0.to_owned() + ".";
    let other = guarded.folder.write("other", &"x".repeat(64));
    let forged = guarded.token("alice", &["--secret-file", &other]);
    let foreign = guarded.folder.write("plain.toml", "");
    let foreign = generate(
        &foreign,
        "alice",
        &[
            "--secret-file",
            &guarded.folder.write("s", support::tokens::SECRET),
        ],
    );
    for bad in [&expired, &unsigned, &forged, &foreign, "x", "a.b.c"] {
        assert_eq!(challenge(&[&bearer(bad)]), invalid, "{bad}");
    }
    let elsewhere = key("p256.pem");
    let elsewhere = guarded.token("alice", &["--key-file", &elsewhere]);
    assert_eq!(challenge(&[&bearer(&elsewhere)]), invalid);
    let two = [bearer(&good), bearer(&expired)];
    assert_eq!(challenge(&[&two[0], &two[1]]).0, 400);
    assert_eq!(challenge(&[&two[0], &two[0]]).0, 101, "it is the same");
    for (cause, count) in [
        ("token_missing", 3),
        ("token_expired", 1),
        ("token_signature", 2),
        ("token_issuer", 1),
        ("token_malformed", 2),
        ("token_key", 1),
        ("token_ambiguous", 1),
    ] {
        let labels = [("cause", cause)];
        let name = "tidegate_handshake_refusals_total";
        guarded.server.until_metric(name, &labels, count);
        let name = "tidegate_auth_denials_total";
        guarded.server.until_metric(name, &labels, count);
    }
    guarded
        .server
        .until_metric("tidegate_auth_grants_total", &[], 2);
}

#[test]
fn who_asks_for_no_websocket_is_told_so_and_head_has_no_body() {
    let guarded = Guarded::new("", &endpoints("required"));
    assert_eq!(
        http::request(guarded.server.public, "GET", "/echo", b"").status,
        426
    );
    assert_eq!(
        http::request(guarded.server.public, "HEAD", "/echo", b"").status,
        405
    );
    let mut client = guarded.server.connect();
    let request = wire::upgrade("/echo", &[]).replacen("GET", "HEAD", 1);
    client.send(request.as_bytes());
    let answer = String::from_utf8(client.all()).expect("text");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    // The origin is looked at first, and the name of the topic.
    let foreign = ["Origin: https://evil.example"];
    assert_eq!(status(&guarded, "/echo", &foreign), 403);
    assert_eq!(status(&guarded, "/ws/@reserved", &[]), 403);
    assert_eq!(status(&guarded, "/nowhere", &[]), 404);
}

#[test]
fn a_token_may_stand_in_four_places_and_is_never_echoed() {
    let from = "from = [\"header\", \"cookie:session\", \"query:token\", \"subprotocol\"]";
    let guarded = Guarded::new(from, &endpoints("required"));
    let token = guarded.token("alice", &[]);
    let other = guarded.token("bob", &[]);
    let path = format!("/echo?a=1&token={token}");
    assert_eq!(status(&guarded, &path, &[]), 101);
    let cookie = format!("Cookie: theme=dark; session={token}");
    assert_eq!(status(&guarded, "/echo", &[&cookie]), 101);
    let two = format!("Cookie: session={other}");
    assert_eq!(status(&guarded, &path, &[&two]), 400);
    assert_eq!(status(&guarded, &path, &[&cookie]), 101, "the same twice");
    for (offer, answer) in [
        (format!("tidegate, bearer.{token}"), Some("tidegate")),
        (format!("chat, bearer.{token}, tidegate"), Some("tidegate")),
        (format!("bearer.{token}, chat"), Some("chat")),
        (format!("access_token, {token}"), Some("access_token")),
        (format!("bearer.{token}"), None),
    ] {
        let line = format!("Sec-WebSocket-Protocol: {offer}");
        let (_, response) = ask(&guarded, "/echo", &[&line]);
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.header("sec-websocket-protocol"), answer);
        assert!(!response.head.contains(&token), "it was echoed");
    }
    let here = open(&guarded, &path, &token);
    for look in ["/connections", "/closed", "/config", "/metrics", "/shards"] {
        let shown = guarded.server.look_text(look);
        assert!(!shown.contains(&token[..40]), "{look} shows a token");
    }
    drop(here);
}

#[test]
fn every_kind_of_key_opens_and_nothing_behind_the_request_is_lost() {
    let folder = support::folder::Folder::new();
    let names = ["rsa", "p256", "p384", "ed25519"];
    let public: String = names
        .map(|name| std::fs::read_to_string(key(&format!("{name}.pub.pem"))).expect("a key"))
        .concat();
    let public = folder.write("public.pem", &public);
    let auth = format!("public-key-file = \"{public}\"");
    let guarded = Guarded::with(folder, &auth, &endpoints("required"));
    for (name, algorithm) in [
        ("rsa", "RS256"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
        ("rsa", "PS384"),
        ("p256", "ES256"),
        ("p384", "ES384"),
        ("ed25519", "EdDSA"),
    ] {
        let private = key(&format!("{name}.pem"));
        let token = guarded.token("alice", &["--key-file", &private, "--algorithm", algorithm]);
        let mut client = guarded.server.connect();
        let mut request = wire::upgrade("/echo", &[&bearer(&token)]).into_bytes();
        request.extend(wire::frame(wire::TEXT, b"early"));
        client.send(&request);
        assert_eq!(client.head().status, 101, "{algorithm}");
        client.hears("early");
        client.echoes("late");
    }
    let other = key("other.pem");
    let forged = guarded.token("alice", &["--key-file", &other]);
    assert_eq!(status(&guarded, "/echo", &[&bearer(&forged)]), 401);
    let labels = [("cause", "token_signature")];
    guarded
        .server
        .until_metric("tidegate_auth_denials_total", &labels, 1);
}

#[test]
fn a_token_allows_the_topics_that_it_names() {
    let guarded = Guarded::new("", &endpoints("required"));
    let options = ["--hear", "room-*", "--hear", "news", "--say", "room-7"];
    let token = guarded.token("alice", &options);
    let mut both = open(&guarded, "/ws/room-7", &token);
    let mut listener = open(&guarded, "/ws/room-8", &token);
    let mut feed = open(&guarded, "/feed/room-7", &token);
    let mut count = open(&guarded, "/feed/@room-7", &token);
    count.hears("1");
    both.text("hello");
    both.hears("hello");
    feed.hears("hello");
    assert_eq!(guarded.server.publish("room-8", b"heard"), 202);
    listener.hears("heard");
    listener.text("may I?");
    expects_close(&mut listener, 3003, "token_rights");
    for path in [
        "/ws/lobby",
        "/feed/lobby",
        "/feed/@lobby",
        "/ws/room",
        "/ws/newsroom",
    ] {
        let (_, response) = ask(&guarded, path, &[&bearer(&token)]);
        assert_eq!(response.status, 403, "{path}");
        let told = response.header("www-authenticate");
        assert_eq!(told, Some("Bearer error=\"insufficient_scope\""));
    }
    let speaker = guarded.token("carol", &["--say", "room-7"]);
    let mut speaker = open(&guarded, "/ws/room-7", &speaker);
    speaker.text("from outside");
    both.hears("from outside");
    speaker.hears_nothing_more();
    // Whoever hears nothing is not there.
    count.hears_nothing_more();
}

#[test]
fn where_a_token_is_optional_a_bad_one_is_refused_and_one_can_come_later() {
    let guarded = Guarded::new("", &endpoints("optional"));
    let expired = guarded.token("alice", &["--expires", "0s"]);
    assert_eq!(status(&guarded, "/ws/lobby", &[&bearer(&expired)]), 401);
    let mut reader = guarded.server.open("/ws/lobby");
    let mut member = guarded.server.open("/ws/lobby");
    let token = guarded.token("alice", &[]);
    is_taken(&mut member, &token, "alice");
    member.text("hello");
    member.hears("hello");
    reader.hears("hello");
    reader.text("may I?");
    expects_close(&mut reader, 3003, "token_rights");
}

#[test]
fn a_token_after_the_connect_comes_first_and_in_time() {
    let guarded = Guarded::new("deadline = \"1s\"", &endpoints("after-connect"));
    let token = guarded.token("alice", &[]);
    let mut late = guarded.server.open("/ws/lobby");
    let mut early = guarded.server.open("/ws/lobby");
    early.text("hello");
    expects_close(&mut early, 3000, "token_expected");
    let mut binary = guarded.server.open("/ws/lobby");
    binary.binary(format!("{{\"auth\":\"{token}\"}}").as_bytes());
    expects_close(&mut binary, 3000, "token_expected");
    let mut member = guarded.server.open("/ws/lobby");
    // Nothing is heard before.
    assert_eq!(guarded.server.publish("lobby", b"too early"), 202);
    member.hears_nothing_more();
    is_taken(&mut member, &token, "alice");
    assert_eq!(guarded.server.publish("lobby", b"in time"), 202);
    member.hears("in time");
    member.text("hello");
    member.hears("hello");
    for (bad, reason) in [
        (
            guarded.token("alice", &["--expires", "0s"]),
            "token_expired",
        ),
        ("a.b.c".to_owned(), "token_malformed"),
        ("A".repeat(9_000), "token_malformed"),
    ] {
        let mut client = guarded.server.open("/ws/lobby");
        shows(&mut client, &bad);
        expects_close(&mut client, 3000, reason);
    }
    for odd in [
        "{\"auth\":7}",
        "{\"auth\":\"a\",\"b\":1}",
        "{\"auth\":",
        "{\"auth\":\"a\"}{}",
    ] {
        let mut client = guarded.server.open("/ws/lobby");
        client.text(odd);
        expects_close(&mut client, 3000, "token_malformed");
    }
    let mut stranger = guarded.server.open("/ws/lobby");
    let elsewhere = guarded.token("alice", &["--hear", "news"]);
    shows(&mut stranger, &elsewhere);
    expects_close(&mut stranger, 3003, "token_rights");
    expects_close(&mut late, 3008, "token_late");
}

#[test]
fn a_connection_is_closed_when_its_token_expires_unless_it_shows_another() {
    let guarded = Guarded::new("", &endpoints("required"));
    let long = guarded.token("alice", &["--hear", "lobby"]);
    let short = guarded.token("alice", &["--expires", "3s"]);
    let (mut ends, mut stays) = (
        open(&guarded, "/ws/lobby", &short),
        open(&guarded, "/ws/lobby", &short),
    );
    is_taken(&mut stays, &long, "alice");
    expects_close(&mut ends, 3000, "token_expired");
    stays.hears_nothing_more();
    // The other one allows less.
    stays.text("may I?");
    expects_close(&mut stays, 3003, "token_rights");
    let mut other = open(&guarded, "/ws/lobby", &long);
    shows(&mut other, &guarded.token("bob", &[]));
    expects_close(&mut other, 3003, "token_other_user");
    let mut shut_out = open(&guarded, "/ws/lobby", &long);
    shows(&mut shut_out, &guarded.token("alice", &["--hear", "news"]));
    expects_close(&mut shut_out, 3003, "token_rights");
    drop((ends, stays, other, shut_out));
    guarded.server.until_empty();
    let closed = guarded.server.look_json("/closed?count=1");
    assert!(closed[0]["user"] == "alice", "{closed}");
    let labels = [("cause", "token_expired")];
    guarded
        .server
        .until_metric("tidegate_auth_denials_total", &labels, 1);
}

#[test]
fn what_a_token_says_anew_is_heard_and_counted_anew() {
    let guarded = Guarded::new("", &endpoints("required"));
    let all = guarded.token("alice", &[]);
    let mute = guarded.token("alice", &["--say", "lobby"]);
    let mut count = open(&guarded, "/feed/@lobby", &all);
    count.hears("0");
    let mut member = open(&guarded, "/ws/lobby", &mute);
    count.hears_nothing_more();
    is_taken(&mut member, &all, "alice");
    count.hears("1");
    member.text("one");
    member.hears("one");
    is_taken(&mut member, &mute, "alice");
    count.hears("0");
    member.text("two");
    member.hears_nothing_more();
    is_taken(&mut member, &all, "alice");
    count.hears("1");
    member.closes();
    count.hears("0");
}

#[test]
fn a_user_has_no_more_connections_than_it_may_and_gets_them_back() {
    let rest = format!(
        "[limits]\nconnections-per-user = 3\n{}{}",
        endpoints("required"),
        endpoint("/later", "echo", "after-connect")
    );
    let guarded = Guarded::new("", &rest);
    let token = guarded.token("alice", &[]);
    let mut held: Vec<Client> = (0..3).map(|_| open(&guarded, "/echo", &token)).collect();
    let (_, refused) = ask(&guarded, "/echo", &[&bearer(&token)]);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let mut later = guarded.server.open("/later");
    shows(&mut later, &token);
    expects_close(&mut later, 1013, "user_connections");
    open(&guarded, "/echo", &guarded.token("bob", &[])).echoes("others may");
    held.pop().expect("three").closes();
    support::clock::until("there is room again", || {
        (status(&guarded, "/echo", &[&bearer(&token)]) == 101).then_some(())
    });
    // A request that opens nothing takes no seat.
    held.clear();
    guarded.server.until_empty();
    for _ in 0..5 {
        let mut client = guarded.server.connect();
        let request = wire::upgrade("/echo", &[&bearer(&token)]).replace("13\r\n", "12\r\n");
        client.send(request.as_bytes());
        assert_eq!(client.head().status, 426);
    }
    let again: Vec<Client> = (0..3).map(|_| open(&guarded, "/echo", &token)).collect();
    drop(again);
}

#[test]
fn a_user_is_found_and_disconnected_on_every_shard() {
    let guarded = Guarded::new("", &endpoints("required"));
    let alice = guarded.token("alice", &[]);
    let mut hers: Vec<Client> = (0..8).map(|_| open(&guarded, "/echo", &alice)).collect();
    let mut other = open(&guarded, "/echo", &guarded.token("alice2", &[]));
    let server = &guarded.server;
    let list = |query: &str| {
        let page = server.look_json(&format!("/connections?{query}"));
        page["connections"].as_array().expect("a list").clone()
    };
    let found = list("user=alice");
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|one| one["user"] == "alice"));
    assert_eq!(list("user=bob").len(), 0);
    let path = "/disconnect?user=alice&code=3000&reason=revoked";
    let done = http::request(server.admin, "POST", path, b"");
    let done: Value = serde_json::from_str(&done.text()).expect("JSON");
    assert_eq!(
        done,
        serde_json::json!({"disconnected": 8, "complete": true})
    );
    for client in &mut hers {
        expects_close(client, 3000, "revoked");
    }
    drop(hers);
    server.until_metric("tidegate_closes_total", &[("reason", "disconnected")], 8);
    other.echoes("still here");
    let closed = server.look_json("/closed?count=8");
    let closed = closed.as_array().expect("a list");
    assert!(
        closed.iter().all(|one| one["user"] == "alice"),
        "{closed:?}"
    );
    for bad in ["user=a&id=0000000000000001", "user=a&topic=b"] {
        let path = format!("/disconnect?{bad}");
        assert_eq!(http::request(server.admin, "POST", &path, b"").status, 400);
    }
}

#[test]
fn a_reload_takes_other_keys_and_other_endpoints() {
    let guarded = Guarded::new("", &endpoints("none"));
    let before = guarded.token("alice", &[]);
    let mut open_before = guarded.server.open("/echo");
    let secret = guarded.folder.write("second", &"y".repeat(64));
    let text = format!(
        "[auth]\nsecret-file = \"{secret}\"\n{}",
        endpoints("required")
    );
    guarded.folder.write("tidegate.toml", &text);
    let reloaded = http::request(guarded.server.admin, "POST", "/reload", b"");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    open_before.echoes("it stays");
    assert_eq!(status(&guarded, "/echo", &[]), 401);
    assert_eq!(status(&guarded, "/echo", &[&bearer(&before)]), 401);
    open(&guarded, "/echo", &guarded.token("alice", &[])).echoes("the new key");
    // The content of the file alone, too.
    guarded.folder.write("second", &"z".repeat(64));
    let reloaded = http::request(guarded.server.admin, "POST", "/reload", b"");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    open(&guarded, "/echo", &guarded.token("alice", &[])).echoes("the newest key");
    guarded.folder.write("second", "short");
    let refused = http::request(guarded.server.admin, "POST", "/reload", b"");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("32 at least"), "{}", refused.text());
    assert_eq!(status(&guarded, "/echo", &[]), 401);
}

#[test]
fn a_token_is_made_and_looked_at_by_hand() {
    let auth = "audience = [\"chat\", \"news\"]\nissuer = \"me\"";
    let guarded = Guarded::new(auth, &endpoints("required"));
    let options = ["--hear", "room-*", "--say", "room-7", "--expires", "10m"];
    let good = guarded.token("alice", &options);
    let (code, said) = check(&guarded.config, &good, &[]);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "HS256",
        "\"alice\"",
        ", in 59",
        "may hear     room-*",
        "may say      room-7",
        "verdict      good",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    let (code, said) = check(&guarded.config, &good, &["--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &said["good"]), (Some(0), &true.into()));
    assert_eq!(said["claims"]["aud"], serde_json::json!(["chat", "news"]));
    let expired = guarded.token("alice", &["--expires", "0s"]);
    let (code, said) = check(&guarded.config, &expired, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("refused: token_expired"), "{said}");
    let (code, said) = check(&guarded.config, "nonsense\u{1b}[2J", &[]);
    assert_eq!(code, Some(1));
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let plain = guarded.folder.write("plain.toml", "");
    assert_eq!(check(&plain, &good, &[]).0, Some(78));
    let file = guarded.folder.write("token", &format!("{good}\n"));
    assert_eq!(check(&guarded.config, "", &[&file]).0, Some(0));
    let json = support::server::run(support::server::program().args([
        "gen-token",
        "-c",
        &guarded.config,
        "--user",
        "alice",
        "--json",
    ]));
    let made: Value = serde_json::from_str(&json.output.join("\n")).expect("JSON");
    assert_eq!(made["claims"]["sub"], "alice");
    for (arguments, code) in [
        (vec!["--user", ""], 2),
        (vec!["--user", "a", "--hear", "a*b"], 2),
        (vec!["--user", "a", "--algorithm", "none"], 2),
        (vec!["--user", "a", "--algorithm", "RS256"], 1),
        (vec!["--user", "a", "--key-file", "/dev/null"], 1),
        (vec!["--user", "a", "-c", &plain], 78),
    ] {
        let mut command = support::server::program();
        command.arg("gen-token");
        if !arguments.contains(&"-c") {
            command.args(["-c", &guarded.config]);
        }
        let ended = support::server::run(command.args(&arguments));
        assert_eq!(ended.code, Some(code), "{arguments:?}: {:?}", ended.errors);
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_with_its_place() {
    let folder = support::folder::Folder::new();
    let fault = |auth: &str, rest: &str| {
        let config = folder.write("tidegate.toml", &format!("[auth]\n{auth}\n{rest}"));
        let mut command = support::server::program();
        let ended = support::server::run(command.args(["check-config", "-c", &config]));
        (ended.code, ended.errors.join("\n"))
    };
    let required = endpoints("required");
    let secret = folder.write("secret", support::tokens::SECRET);
    let short = folder.write("short", "short");
    let with = |line: &str| format!("secret-file = \"{secret}\"\n{line}");
    let private = key("rsa.pem");
    for (auth, rest, part) in [
        (String::new(), &required, "needs a key"),
        (
            format!("secret-file = \"{short}\""),
            &required,
            "5 bytes, and 32",
        ),
        (
            "secret-file = \"/nowhere/at/all\"".to_owned(),
            &required,
            "cannot read",
        ),
        (
            format!("public-key-file = \"{private}\""),
            &required,
            "private key",
        ),
        (
            format!("jwks-file = \"{private}\""),
            &required,
            "no JWK set",
        ),
        (
            "jwks-url = \"ftp://id.example/\"".to_owned(),
            &required,
            "http or https",
        ),
        (with("algorithms = [\"none\"]"), &required, "none is none"),
        (
            with("algorithms = [\"RS256\"]"),
            &required,
            "no key that it fits",
        ),
        (with("from = [\"body\"]"), &required, "no place"),
        (with("from = []"), &required, "needs a place"),
        (with("user-claim = \"\""), &required, "some claim"),
    ] {
        let (code, said) = fault(&auth, rest);
        assert_eq!(code, Some(78), "{auth}: {said}");
        assert!(
            said.contains(part) && said.contains("tidegate.toml:"),
            "{said}"
        );
    }
    let (code, said) = fault(&with(""), &required);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("chmod 600"), "{said}");
}
