//! Tokens that another implementation has made (`PyJWT`), and clients of other people that bring them:
//! Python's websockets and npm's ws.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::counterpart::{self, Counterpart};
use support::folder::Folder;
use support::skip;
use support::tokens::{Guarded, SECRET, endpoint, endpoints, key};

/// When the tokens of the tests expire: in 2096.
const EXP: u64 = 4_000_000_000;

/// A server that takes tokens of all kinds from all places, and the file of its secret.
#[track_caller]
fn guarded() -> (Guarded, String) {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    let public: String = ["rsa", "p256", "p384", "ed25519"]
        .map(|name| fs::read_to_string(key(&format!("{name}.pub.pem"))).expect("a key"))
        .concat();
    let public = folder.write("public.pem", &public);
    let auth = format!(
        "secret-file = \"{secret}\"\npublic-key-file = \"{public}\"\nissuer = \"https://id.example\"\n\
         audience = [\"chat\"]\nfrom = [\"header\", \"cookie:session\", \"query:token\", \"subprotocol\"]"
    );
    let rest = endpoints("required") + &endpoint("/later", "echo", "after-connect");
    (Guarded::with(folder, &auth, &rest), secret)
}

#[track_caller]
fn python(guarded: &Guarded) -> Option<Counterpart> {
    let python = counterpart::folder().join("venv/bin/python");
    let looked = Command::new(&python)
        .args(["-c", "import jwt, cryptography, websockets"])
        .stderr(Stdio::null())
        .status();
    if !looked.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new(&python);
    command.arg("-u").arg(counterpart::peer("tokens.py"));
    command.arg(format!("ws://{}", guarded.server.public));
    Some(Counterpart::start(&mut command))
}

fn claims(further: &str) -> String {
    // Without a space: a line is cut at spaces.
    format!(
        "{{\"sub\":\"alice\",\"iss\":\"https://id.example\",\"exp\":{EXP},\"aud\":\"chat\"{further}}}"
    )
}

/// What a counterpart says next.
#[track_caller]
fn tell(peer: &mut Counterpart, line: &str) -> String {
    peer.tell(line);
    peer.next().expect("an answer")
}

#[test]
fn tokens_of_another_implementation_are_taken() {
    let (guarded, secret) = guarded();
    let Some(mut peer) = python(&guarded) else {
        let name = "tokens_of_another_implementation_are_taken";
        return skip::skipped(name, "scripts/counterparts has no PyJWT");
    };
    let keys = [
        ("HS256", secret.clone()),
        ("HS384", secret.clone()),
        ("HS512", secret),
        ("RS256", key("rsa.pem")),
        ("RS384", key("rsa.pem")),
        ("RS512", key("rsa.pem")),
        ("PS256", key("rsa.pem")),
        ("PS384", key("rsa.pem")),
        ("PS512", key("rsa.pem")),
        ("ES256", key("p256.pem")),
        ("ES384", key("p384.pem")),
        ("EdDSA", key("ed25519.pem")),
    ];
    for (algorithm, file) in &keys {
        let mut open = |claims: &str, kid: &str| {
            let token = tell(
                &mut peer,
                &format!("make {algorithm} {file} {kid} {claims}"),
            );
            assert_eq!(token.split('.').count(), 3, "{token}");
            tell(&mut peer, &format!("open /echo {token}"))
        };
        assert_eq!(open(&claims(""), "-"), "heard hello", "{algorithm}");
        // Keys of files have no name, and do for any.
        assert_eq!(open(&claims(""), "2026-11"), "heard hello", "{algorithm}");
        let others = claims(",\"aud\":[\"x\",\"chat\"]").replacen("\"aud\":\"chat\",", "", 1);
        assert_eq!(open(&others, "-"), "heard hello", "{algorithm}");
        let future = claims(&format!(",\"nbf\":{EXP}"));
        assert_eq!(open(&future, "-"), "refused 401", "{algorithm}");
        let old = claims("").replace(&EXP.to_string(), "1700000000");
        assert_eq!(open(&old, "-"), "refused 401", "{algorithm}");
        let elsewhere = claims("").replace("id.example", "evil.example");
        assert_eq!(open(&elsewhere, "-"), "refused 401", "{algorithm}");
    }
    let token = tell(
        &mut peer,
        &format!("make ES256 {} - {}", key("other.pem"), claims("")),
    );
    assert_eq!(
        tell(&mut peer, &format!("open /echo {token}")),
        "refused 401"
    );
    let feed = claims(",\"tidegate\":{\"hear\":[\"news\"]}");
    let token = tell(
        &mut peer,
        &format!("make ES256 {} - {feed}", key("p256.pem")),
    );
    assert_eq!(
        tell(&mut peer, &format!("open /feed/other {token}")),
        "refused 403"
    );
    // And what we make is what they take apart: it is the same key.
    let ours = guarded.token("alice", &["--key-file", &key("ed25519.pem")]);
    assert_eq!(
        tell(&mut peer, &format!("open /echo {ours}")),
        "heard hello"
    );
}

#[test]
fn npm_ws_brings_tokens_in_every_place() {
    let modules = counterpart::folder().join("node_modules");
    if !modules.join("ws").is_dir() {
        let name = "npm_ws_brings_tokens_in_every_place";
        return skip::skipped(name, "scripts/counterparts has no ws");
    }
    let (guarded, _) = guarded();
    let mut command = Command::new("node");
    command.arg(counterpart::peer("tokens.mjs")).arg(&modules);
    command.arg(format!("ws://{}", guarded.server.public));
    let mut peer = Counterpart::start(&mut command);
    for options in [vec![], vec!["--key-file", "p256.pem"]] {
        let mut options: Vec<String> = options.into_iter().map(str::to_owned).collect();
        if let Some(file) = options.get_mut(1) {
            *file = key(file);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let token = guarded.token("alice", &options);
        for how in ["header", "cookie", "query"] {
            let said = tell(&mut peer, &format!("{how} /echo {token}"));
            assert_eq!(said, "- hello 1000", "{how}");
        }
        let said = tell(&mut peer, &format!("subprotocol /echo {token}"));
        assert_eq!(said, "tidegate hello 1000");
        let said = tell(&mut peer, &format!("message /later {token}"));
        assert_eq!(said, "- ok hello 1000");
    }
    let said = tell(&mut peer, "header /echo a.b.c");
    assert_eq!(said, "refused 401");
    let said = tell(&mut peer, "message /later a.b.c");
    assert_eq!(said, "-  3000 token_malformed");
}
