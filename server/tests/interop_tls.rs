//! TLS spoken by others: OpenSSL for versions, ciphers, names and sessions; npm's ws and Python's
//! websockets for WebSockets in it.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod support;

use std::process::{Command, Stdio};

use support::counterpart::{self, Counterpart};
use support::server::Server;
use support::skip;
use support::tls::{Authority, Pair, flags};

/// What `openssl s_client` says of a connection; `None` if there is no openssl here.
fn s_client(server: &Server, authority: &Authority, words: &[&str]) -> Option<(bool, String)> {
    let address = server.secure.expect("a secure port").to_string();
    let done = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-CAfile", &authority.file])
        .args(["-verify_return_error", "-servername", "localhost"])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    Some((done.status.success(), text + &errors))
}

fn has_openssl(test: &str) -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        skip::skipped(test, "openssl is not installed");
    }
    found
}

fn start(more: &[&str]) -> (Server, Authority, Pair) {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::with(&flags(&pair, more));
    (server, authority, pair)
}

#[test]
fn openssl_gets_modern_ciphers_in_two_versions_and_no_others() {
    let test = "openssl_gets_modern_ciphers_in_two_versions_and_no_others";
    if !has_openssl(test) {
        return;
    }
    let (server, authority, _) = start(&[]);
    let tries = |words: &[&str]| s_client(&server, &authority, words).expect("openssl");
    for words in [
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"][..],
        &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
    ] {
        let (good, said) = tries(words);
        assert!(good, "{words:?}: {said}");
        assert!(said.contains(words[2]), "{words:?}: {said}");
        assert!(said.contains("Verify return code: 0"), "{words:?}: {said}");
        if words[0] == "-tls1_2" {
            assert!(said.contains("Extended master secret: yes"), "{said}");
            let none = "Secure Renegotiation IS supported";
            assert!(said.contains(none), "RFC 5746 is spoken: {said}");
        }
    }
    for words in [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
        &["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "DHE"],
        &["-tls1_3", "-alpn", "h2"],
    ] {
        let (good, said) = tries(words);
        assert!(!good, "{words:?}: {said}");
    }
    let metrics = server.metrics();
    for cause in ["version", "cipher", "alpn"] {
        let count = metrics.sum("tidegate_tls_failures_total", &[("cause", cause)]);
        assert!(count.is_some(), "{cause} is not counted");
    }
}

#[test]
fn openssl_resumes_and_may_not_renegotiate() {
    let test = "openssl_resumes_and_may_not_renegotiate";
    if !has_openssl(test) {
        return;
    }
    let (server, authority, _) = start(&[]);
    let tries = |words: &[&str]| s_client(&server, &authority, words).expect("openssl");
    let (_, said) = tries(&["-tls1_2", "-reconnect"]);
    let resumed = said.matches("Reused, TLSv1.2").count();
    assert_eq!(resumed, 5, "{said}");
    let session = authority.folder().path().join("session");
    let session = session.to_str().unwrap();
    let mut openssl = Command::new("sh");
    // It reads the tickets, which come behind the handshake, until the server closes.
    openssl.arg("-c").arg(format!(
        "(printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n') | openssl s_client -tls1_3 \
         -connect {} -CAfile {} -servername localhost -ign_eof -sess_out {session}",
        server.secure.unwrap(),
        authority.file
    ));
    let done = openssl.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("HTTP/1.1 200"), "{said}");
    let (_, said) = tries(&["-tls1_3", "-sess_in", session]);
    assert!(said.contains("Reused, TLSv1.3"), "{said}");
}

/// Runs a counterpart of the plain port on the secure one.
#[track_caller]
fn assert_understands(command: impl Fn(&Authority) -> Command) {
    let (server, authority, _) = start(&["--max-message", "16MiB"]);
    let port = server.secure.unwrap().port();
    let mut command = command(&authority);
    let peer = Counterpart::start(command.arg(format!("wss://localhost:{port}/echo")));
    let opened = peer.next().unwrap_or_default().to_lowercase();
    assert!(opened.starts_with("opened"), "{opened}");
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_048_576] {
        peer.answers(&format!("echoed {size}"));
    }
    peer.answers("ponged ping");
    peer.answers("joined one two three");
    peer.answers("closed 1000");
    peer.ends_well();
    server.until_metric("tidegate_closes_total", &[("reason", "closed_by_peer")], 1);
    server.until_empty();
}

#[test]
fn npm_ws_understands_the_secure_port() {
    let modules = counterpart::folder().join("node_modules");
    if !modules.join("ws").is_dir() {
        let why = "scripts/counterparts has no ws";
        return skip::skipped("npm_ws_understands_the_secure_port", why);
    }
    assert_understands(|authority| {
        let mut node = Command::new("node");
        node.arg(counterpart::peer("ws.mjs")).arg(&modules);
        node.env("NODE_EXTRA_CA_CERTS", &authority.file);
        node
    });
}

#[test]
fn python_websockets_understands_the_secure_port() {
    let python = counterpart::folder().join("venv/bin/python");
    if !python.exists() {
        let why = "scripts/counterparts has no websockets";
        return skip::skipped("python_websockets_understands_the_secure_port", why);
    }
    assert_understands(|authority| {
        let mut program = Command::new(&python);
        program
            .arg("-u")
            .arg(counterpart::peer("websockets_peer.py"))
            .env("SSL_CERT_FILE", &authority.file);
        program
    });
}
