//! What operators do with tokens: they configure keys, change them, make tokens and look at them, and find
//! and disconnect users.

mod support;

use serde_json::Value;
use support::client::Client;
use support::http;
use support::tokens::{Guarded, bearer, check, endpoints, expects_close, key, open, status};

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
