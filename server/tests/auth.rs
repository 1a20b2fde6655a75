//! Endpoints that ask for tokens: who is let in, what the token allows, and how requests without a good
//! one are refused.

mod support;

use support::client::Client;
use support::http;
use support::tokens::{
    Guarded, ask, bearer, endpoint, endpoints, expects_close, generate, is_taken, key, open, shows,
    status,
};
use support::wire;

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
    let ends = [("reason", "unauthorized")];
    guarded
        .server
        .until_metric("tidegate_closes_total", &ends, 4);
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
fn the_connections_of_a_user_have_one_rate_together() {
    for demand in ["required", "after-connect"] {
        let rest = format!(
            "[limits]\nmessage-rate-per-user = 10\n{}",
            endpoints(demand)
        );
        let guarded = Guarded::new("", &rest);
        let open_as = |user| {
            let token = guarded.token(user, &[]);
            if demand == "required" {
                return open(&guarded, "/echo", &token);
            }
            let mut client = guarded.server.open("/echo");
            shows(&mut client, &token);
            let said = client.frame();
            assert!(said.payload.starts_with(b"{\"auth\":\"ok\""), "{said:?}");
            client
        };
        let mut hers: Vec<Client> = (0..8).map(|_| open_as("alice")).collect();
        let mut other = open_as("bob");
        // None of them says more than it may alone.
        for client in &mut hers {
            for _ in 0..5 {
                client.text("again and again");
            }
        }
        let labels = [("limit", "user_messages"), ("policy", "close")];
        support::clock::until("somebody is closed for what all have said", || {
            let sum = guarded
                .server
                .metrics()
                .sum("tidegate_rate_limited_total", &labels);
            sum.is_some_and(|count| count >= 1).then_some(())
        });
        other.echoes("still here");
    }
}
