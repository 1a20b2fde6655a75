//! Keys that are fetched: found, turned over, kept while the issuer is away, and asked for no oftener
//! than is allowed. And many bad tokens, which hold nobody up.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::client::Client;
use support::clock;
use support::counterpart::Counterpart;
use support::folder::Folder;
use support::issuer::{Answer, Issuer};
use support::server::Server;
use support::tokens::{Guarded, endpoints, key};
use support::wire;

/// The public half of a key of the tests as a JWK: two of Ed25519, whose public key is the last 32
/// bytes of its PEM.
fn jwk(kid: &str, public: &str) -> Value {
    let text = fs::read_to_string(key(public)).expect("a key");
    let inner: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    // 12 bytes of DER stand before the key, which are 16 characters; base64url knows no + and /.
    let x = inner[16..]
        .replace('+', "-")
        .replace('/', "_")
        .replace('=', "");
    serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x})
}

fn set(keys: &[Value]) -> Answer {
    Answer::Set(serde_json::json!({ "keys": keys }).to_string())
}

/// A server that fetches keys from there, and waits for them no longer than the cooldown.
#[track_caller]
fn guarded(issuer: &Issuer, further: &str) -> Guarded {
    let auth = format!("jwks-url = \"{}\"\n{further}", issuer.url());
    Guarded::with(Folder::new(), &auth, &endpoints("required"))
}

#[track_caller]
fn status(guarded: &Guarded, token: &str) -> u16 {
    let mut client = guarded.server.connect();
    let line = format!("Authorization: Bearer {token}");
    client.send(wire::upgrade("/echo", &[&line]).as_bytes());
    client.head().status
}

#[track_caller]
fn token(guarded: &Guarded, kid: &str, private: &str) -> String {
    guarded.token("alice", &["--key-file", &key(private), "--kid", kid])
}

#[test]
fn a_new_key_is_fetched_with_its_first_token_and_an_old_one_goes() {
    let issuer = Issuer::start(set(&[jwk("old", "ed25519.pub.pem")]));
    let guarded = guarded(&issuer, "jwks-cooldown = \"100ms\"");
    let old = token(&guarded, "old", "ed25519.pem");
    let new = token(&guarded, "new", "second.pem");
    assert_eq!(status(&guarded, &old), 101);
    issuer.answers(set(&[
        jwk("old", "ed25519.pub.pem"),
        jwk("new", "second.pub.pem"),
    ]));
    // The cooldown of the first fetch may still last.
    clock::until("the new key is fetched", || {
        (status(&guarded, &new) == 101).then_some(())
    });
    assert_eq!(status(&guarded, &old), 101);
    // The kid of one with the signature of the other.
    let crossed = token(&guarded, "new", "ed25519.pem");
    assert_eq!(status(&guarded, &crossed), 401);
    issuer.answers(set(&[jwk("new", "second.pub.pem")]));
    let unknown = token(&guarded, "never", "ed25519.pem");
    clock::until("the old key is gone", || {
        assert_eq!(status(&guarded, &unknown), 401);
        (status(&guarded, &old) == 401).then_some(())
    });
    assert_eq!(status(&guarded, &new), 101);
}

#[test]
fn keys_are_kept_while_the_issuer_is_away() {
    let issuer = Issuer::start(set(&[jwk("a", "ed25519.pub.pem")]));
    let guarded = guarded(&issuer, "jwks-refresh = \"100ms\"");
    let good = token(&guarded, "a", "ed25519.pem");
    assert_eq!(status(&guarded, &good), 101);
    for answer in [
        Answer::Status("500 Internal Server Error"),
        Answer::Status("302 Found"),
        Answer::Set("<html>".to_owned()),
        Answer::Set("{\"keys\":[]}".to_owned()),
        Answer::Set(" ".repeat(2 << 20)),
    ] {
        issuer.answers(answer.clone());
        let failed = || {
            let metrics = guarded.server.metrics();
            metrics.sum("tidegate_auth_key_fetches_total", &[("result", "failure")])
        };
        let before = failed();
        clock::until("a fetch has failed", || (failed() > before).then_some(()));
        assert_eq!(status(&guarded, &good), 101, "{answer:?}");
    }
    issuer.answers(set(&[jwk("b", "second.pub.pem")]));
    let other = token(&guarded, "b", "second.pem");
    clock::until("it is back", || {
        (status(&guarded, &other) == 101).then_some(())
    });
    assert_eq!(status(&guarded, &good), 401);
    guarded
        .server
        .until_metric("tidegate_auth_fetched_keys", &[], 1);
}

#[test]
fn unknown_keys_do_not_make_the_server_ask_again_and_again() {
    let issuer = Issuer::start(set(&[jwk("a", "ed25519.pub.pem")]));
    let guarded = guarded(&issuer, "jwks-cooldown = \"1h\"");
    let good = token(&guarded, "a", "ed25519.pem");
    assert_eq!(status(&guarded, &good), 101);
    for number in 0..50 {
        let unknown = token(&guarded, &format!("unknown-{number}"), "second.pem");
        assert_eq!(status(&guarded, &unknown), 401);
    }
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn an_issuer_that_was_never_there_makes_nobody_wait_for_ever() {
    let issuer = Issuer::start(Answer::Status("503 Service Unavailable"));
    let guarded = guarded(&issuer, "jwks-cooldown = \"100ms\"");
    let good = token(&guarded, "a", "ed25519.pem");
    // Nobody can say whether it is good: it may be tried again.
    assert_eq!(status(&guarded, &good), 503);
    issuer.answers(set(&[jwk("a", "ed25519.pub.pem")]));
    clock::until("the keys are there", || {
        (status(&guarded, &good) == 101).then_some(())
    });
    // A secret of the set's would be one that everybody knows who can fetch it.
    let public = serde_json::json!({"kty": "oct", "kid": "s", "k": "A".repeat(86)});
    issuer.answers(set(&[public]));
    let secret = guarded.folder.write("known", &"\0".repeat(64));
    let forged = guarded.token("alice", &["--secret-file", &secret, "--kid", "s"]);
    assert_eq!(status(&guarded, &forged), 401);
}

#[test]
fn keys_come_over_https_from_whom_the_system_trusts_and_from_nobody_else() {
    let folder = Folder::new();
    let made = Command::new("openssl")
        .current_dir(folder.path())
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=issuer"
                .split(' '),
        )
        .args("-keyout key.pem -out certificate.pem -addext subjectAltName=IP:127.0.0.1".split(' '))
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        let name = "keys_come_over_https_from_whom_the_system_trusts_and_from_nobody_else";
        return support::skip::skipped(name, "there is no openssl");
    }
    let Answer::Set(body) = set(&[jwk("a", "ed25519.pub.pem")]) else {
        unreachable!("it is a set");
    };
    folder.write("jwks.json", &body);
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder.path());
    openssl.args("s_server -accept 127.0.0.1:0 -cert certificate.pem -key key.pem -WWW".split(' '));
    let issuer = Counterpart::start(openssl.stderr(Stdio::null()));
    let address = clock::until("it listens", || {
        let line = issuer.next().expect("it says where");
        line.strip_prefix("ACCEPT ").map(str::to_owned)
    });
    let auth = format!("[auth]\njwks-url = \"https://{address}/jwks.json\"\n");
    let config = folder.write("tidegate.toml", &(auth + &endpoints("required")));
    let trusted = folder.path().join("certificate.pem");
    let other = folder.write("other.pem", "");
    for (file, expected) in [(trusted.to_str().expect("UTF-8"), 101), (&other, 503)] {
        let mut command = support::server::program();
        command
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR");
        let guarded = Guarded {
            server: Server::from(command, &["-c", &config]),
            folder: Folder::new(),
            config: config.clone(),
        };
        let good = token(&guarded, "a", "ed25519.pem");
        assert_eq!(status(&guarded, &good), expected, "{file}");
    }
}

#[test]
fn thousands_of_bad_tokens_hold_nobody_up() {
    const CLIENTS: usize = 5_000;
    /// So many at a time, in this process and in the server.
    const WAVE: usize = 500;
    let folder = Folder::new();
    let public = fs::read_to_string(key("rsa.pub.pem")).expect("a key");
    let public = folder.write("public.pem", &public);
    let rest = endpoints("required") + "[[endpoint]]\npath = \"/open\"\nkind = \"echo\"\n";
    let guarded = Guarded::with(folder, &format!("public-key-file = \"{public}\""), &rest);
    let good = guarded.token("alice", &["--key-file", &key("rsa.pem")]);
    let (signed, _) = good.rsplit_once('.').expect("a signature");
    let bad = format!("Authorization: Bearer {signed}.{}", "A".repeat(342));
    let request = wire::upgrade("/echo", &[&bad]);
    let mut others: Vec<Client> = (0..4).map(|_| guarded.server.open("/open")).collect();
    let (mut refused, mut busy) = (0, 0);
    for _ in 0..CLIENTS / WAVE {
        let mut crowd: Vec<Client> = (0..WAVE).map(|_| guarded.server.connect()).collect();
        for client in &mut crowd {
            client.send(request.as_bytes());
        }
        for (number, other) in others.iter_mut().enumerate() {
            other.echoes(&format!("still here {number}"));
        }
        for client in &mut crowd {
            match client.head().status {
                401 => refused += 1,
                503 => busy += 1,
                other => panic!("answered {other}"),
            }
        }
    }
    support::skip::note(&format!("{refused} refused, {busy} told to come back"));
    assert_eq!(refused + busy, CLIENTS);
    assert!(refused > 0);
    clock::until("a good one is let in", || {
        (status(&guarded, &good) == 101).then_some(())
    });
    drop(others);
    guarded.server.until_empty();
}
