//! TLS as operators configure it: who gets in, with which certificate, who is refused and for which
//! cause, and what changes while the server runs.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rcgen::date_time_ymd;
use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use support::clock::PATIENCE;
use support::http;
use support::server::{self, Server};
use support::tls::{Authority, Manner, Pair, TlsClient, der_of, flags, until_failure};
use support::wire::{self, BINARY, CLOSE};

/// A server for `localhost`, and who trusts it.
fn start(more: &[&str]) -> (Server, Authority, Manner) {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::with(&flags(&pair, more));
    let manner = Manner::new(&authority);
    (server, authority, manner)
}

#[test]
fn messages_of_every_size_come_back_in_both_versions_and_the_plain_port_stays() {
    let (server, authority, _) = start(&["--max-message", "4MiB"]);
    let secure = server.secure.expect("a secure port");
    assert_ne!(secure, server.public);
    for version in [&TLS12, &TLS13] {
        let manner = Manner::with(&authority, None, &[version]);
        let mut client = TlsClient::open(secure, &manner, "/echo");
        for size in [0, 1, 125, 126, 16_383, 16_384, 16_385, 65_536, 1_000_000] {
            let payload: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[0]).collect();
            client.send(&wire::frame(BINARY, &payload));
            let frame = client.frame().expect("an echo");
            assert!(frame.payload == payload, "{size} bytes in {version:?}");
        }
        client.send(&wire::close(1000, b""));
        let frame = client.frame().expect("a close");
        assert_eq!((frame.first, frame.close_code()), (CLOSE, Some(1000)));
        assert!(client.ends(), "without the goodbye of TLS");
    }
    server.open("/echo").echoes("in the clear");
    server.until_empty();
    assert_eq!(
        server.metrics().sum("tidegate_tls_failures_total", &[]),
        None
    );
}

#[test]
fn a_room_is_one_room_through_both_ports() {
    let (server, _authority, manner) = start(&[]);
    let mut secure = TlsClient::open(server.secure.unwrap(), &manner, "/ws/a");
    let mut plain = server.open("/ws/a");
    plain.text("from the plain port");
    assert_eq!(secure.frame().unwrap().payload, b"from the plain port");
    assert_eq!(plain.frame().payload, b"from the plain port");
    assert_eq!(server.publish("a", b"from the operator"), 202);
    assert_eq!(secure.frame().unwrap().payload, b"from the operator");
}

#[test]
fn tls_can_be_the_only_way_in() {
    let (server, _authority, manner) = start(&["--tls-only"]);
    let plain = server
        .greeting
        .iter()
        .any(|line| line.contains("on http://") && line.starts_with("listening"));
    assert!(!plain, "{:?}", server.greeting);
    TlsClient::open(server.secure.unwrap(), &manner, "/echo").echoes("sealed");
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let authority = Authority::new("the authority");
    let first = authority.issue("first", &["localhost"]);
    let second = authority.issue("second", &["b.example", "*.wild.example"]);
    let server = Server::with(&[
        "--tls-listen",
        "127.0.0.1:0",
        "--tls-certificate",
        &first.certificate,
        "--tls-certificate",
        &second.certificate,
        "--tls-key",
        &first.key,
        "--tls-key",
        &second.key,
    ]);
    let shown = |name| {
        let manner = Manner::new(&authority).calling(name);
        TlsClient::connect(server.secure.unwrap(), &manner).map(|client| client.certificate())
    };
    let (first, second) = (der_of(&first.certificate), der_of(&second.certificate));
    assert_eq!(shown("localhost"), Ok(first));
    assert_eq!(shown("b.example"), Ok(second.clone()));
    assert_eq!(shown("x.wild.example"), Ok(second.clone()));
    assert_eq!(shown("X.WILD.example"), Ok(second));
    // The first one is for all others, who then do not believe it.
    let stranger = shown("y.x.wild.example").expect_err("another name");
    assert!(stranger.contains("certificate"), "{stranger}");
    until_failure(&server, "peer_certificate_bad", 1);
}

#[test]
fn sessions_are_resumed_in_both_versions_by_every_shard() {
    let (server, authority, _) = start(&["--shards", "2"]);
    for version in [&TLS12, &TLS13] {
        let manner = Manner::with(&authority, None, &[version]);
        let mut kinds = Vec::new();
        for _ in 0..8 {
            let mut client = TlsClient::open(server.secure.unwrap(), &manner, "/echo");
            client.echoes("a ticket has come with this");
            kinds.push(client.kind());
        }
        assert_eq!(kinds[0], Some(HandshakeKind::Full), "{version:?}");
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(kinds[1..], [resumed; 7], "{version:?}");
    }
    let (server, authority, _) = start(&["--tls-ticket-rotation", "0s"]);
    let manner = Manner::with(&authority, None, &[&TLS13]);
    for _ in 0..2 {
        let mut client = TlsClient::open(server.secure.unwrap(), &manner, "/echo");
        client.echoes("no ticket");
        assert_eq!(client.kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn who_offers_nothing_that_is_spoken_here_is_refused_with_a_cause() {
    let (server, authority, manner) = start(&["--tls-min-version", "1.3"]);
    let secure = server.secure.unwrap();
    let old = Manner::with(&authority, None, &[&TLS12]);
    assert!(TlsClient::connect(secure, &old).is_err());
    until_failure(&server, "version", 1);
    let other = manner.clone().offering(&["h2"]);
    assert!(TlsClient::connect(secure, &other).is_err());
    until_failure(&server, "alpn", 1);
    let both = manner.offering(&["h2", "http/1.1"]);
    let client = TlsClient::connect(secure, &both).expect("a handshake");
    assert_eq!(client.protocol(), Some(&b"http/1.1"[..]));
    // Who does not trust the server says so.
    let stranger = Manner::new(&Authority::new("another authority"));
    assert!(TlsClient::connect(secure, &stranger).is_err());
    until_failure(&server, "peer_unknown_ca", 1);
    let ends = server.look_json("/closed");
    let reasons: Vec<&str> = ends
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["reason"].as_str())
        .collect();
    for reason in ["tls_version", "tls_alpn", "tls_peer_unknown_ca"] {
        assert!(reasons.contains(&reason), "{reason} in {reasons:?}");
    }
}

#[test]
fn who_speaks_http_without_tls_is_told_what_is_spoken_here() {
    let (server, _authority, _) = start(&[]);
    let mut stream = TcpStream::connect(server.secure.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(wire::upgrade("/echo", &[]).as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{answer}"
    );
    assert!(body.contains("wss://"), "{answer}");
    until_failure(&server, "plain_http", 1);
}

#[test]
fn pages_of_the_plain_port_may_not_connect_to_the_secure_one() {
    let (server, _authority, manner) = start(&[]);
    let status = |origin: &str| {
        let mut client = TlsClient::connect(server.secure.unwrap(), &manner).unwrap();
        client.asks(&wire::upgrade("/echo", &[&format!("Origin: {origin}")]))
    };
    assert_eq!(status("https://127.0.0.1"), 101);
    assert_eq!(status("http://127.0.0.1"), 403);
    assert_eq!(status("https://elsewhere.example"), 403);
}

/// Overwrites a pair as tools do that renew certificates: a new file in the place of the old one.
fn replace(pair: &Pair, with: &Pair) {
    for (to, from) in [
        (&pair.key, &with.key),
        (&pair.certificate, &with.certificate),
    ] {
        let next = format!("{to}.next");
        fs::copy(from, &next).unwrap();
        fs::rename(&next, to).unwrap();
    }
}

#[test]
fn a_certificate_that_changes_is_taken_for_newcomers_and_closes_nobody() {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::with(&flags(&pair, &[]));
    let secure = server.secure.unwrap();
    let shown = || {
        let manner = Manner::new(&authority);
        TlsClient::connect(secure, &manner)
            .expect("a handshake")
            .certificate()
    };
    let mut old = TlsClient::open(secure, &Manner::new(&authority), "/echo");
    assert_eq!(shown(), der_of(&pair.certificate));
    // By the change of the files.
    let second = authority.issue("second", &["localhost"]);
    replace(&pair, &second);
    server.until_metric(
        "tidegate_tls_certificate_reload_total",
        &[("result", "success")],
        1,
    );
    assert_eq!(shown(), der_of(&second.certificate));
    // By the signal, at once.
    let third = authority.issue("third", &["localhost"]);
    replace(&pair, &third);
    server.signal(Signal::HUP);
    server.until_metric("tidegate_config_reload_total", &[("result", "success")], 1);
    assert_eq!(shown(), der_of(&third.certificate));
    old.echoes("still here");
}

#[test]
fn a_bad_certificate_is_not_taken_and_the_former_one_stays() {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let mut server = Server::with(&flags(&pair, &[]));
    let before = der_of(&pair.certificate);
    fs::write(&pair.certificate, "rubbish").unwrap();
    server.until_metric(
        "tidegate_tls_certificate_reload_total",
        &[("result", "failure")],
        1,
    );
    let reply = http::request(server.admin, "POST", "/reload", b"");
    assert_eq!(reply.status, 422, "{reply:?}");
    let manner = Manner::new(&authority);
    let mut client = TlsClient::open(server.secure.unwrap(), &manner, "/echo");
    client.echoes("as before");
    assert_eq!(client.certificate(), before);
    server.signal(Signal::INT);
    let (_, _, errors) = server.ended();
    let said = errors
        .iter()
        .any(|line| line.contains("the former ones are kept"));
    assert!(said, "{errors:?}");
}

#[test]
fn what_is_wrong_with_the_files_is_told_before_the_start() {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let other = authority.issue("other", &["localhost"]);
    let expired = authority.issue_with("expired", &["localhost"], |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    let empty = authority.write("empty.pem", "");
    let list = authority.revoke("list.pem", &[], 2100);
    let check = |section: &str| {
        let text = format!("[tls]\nlisten = \"127.0.0.1:0\"\n{section}");
        let file = authority.write("tidegate.toml", &text);
        let ended = server::run(server::program().args(["check-config", "-c", &file]));
        (ended.code, ended.errors.join("\n"))
    };
    let both = |certificate: &str, key: &str| {
        check(&format!(
            "certificate = \"{certificate}\"\nkey = \"{key}\"\n"
        ))
    };
    assert_eq!(both(&pair.certificate, &pair.key).0, Some(0));
    for ((code, said), advice) in [
        (both(&pair.certificate, &other.key), "is not the key of"),
        (both(&expired.certificate, &expired.key), "has expired"),
        (both(&empty, &pair.key), "holds no certificate"),
        (both(&pair.certificate, &empty), "holds no private key"),
        (both("/nowhere.pem", &pair.key), "there is no file"),
        (check(""), "write tls.certificate"),
        (
            check(&format!("certificate = \"{}\"\n", pair.certificate)),
            "1 certificate, 0 keys",
        ),
        (
            check(&format!(
                "certificate = \"{}\"\nkey = \"{}\"\nclient-auth = \"required\"\n",
                pair.certificate, pair.key
            )),
            "tls.client-ca",
        ),
        (
            check(&format!(
                "certificate = \"{0}\"\nkey = \"{1}\"\nclient-auth = \"required\"\n\
                 client-ca = \"{0}\"\nclient-crl = \"{0}\"\n",
                pair.certificate, pair.key
            )),
            "holds no list of revoked certificates",
        ),
        (
            check(&format!(
                "certificate = \"{0}\"\nkey = \"{1}\"\nclient-crl = \"{2}\"\n",
                pair.certificate, pair.key, list
            )),
            "no client is asked for a certificate",
        ),
    ] {
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(advice), "no {advice:?} in {said}");
        assert!(said.contains("tidegate.toml:"), "no line in {said}");
    }
    let late = authority.revoke("late.pem", &[], 2001);
    let (code, said) = check(&format!(
        "certificate = \"{}\"\nkey = \"{}\"\nclient-auth = \"required\"\n\
         client-ca = \"{}\"\nclient-crl = [\"{list}\", \"{late}\"]\n",
        pair.certificate, pair.key, authority.file
    ));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("late.pem is over its time"), "{said}");
    assert!(!said.contains("list.pem"), "{said}");
}

#[test]
fn the_secrets_are_written_only_by_the_flag() {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let file = authority.folder().path().join("secrets");
    let file = file.to_str().unwrap();
    let manner = Manner::new(&authority);
    let mut command = server::program();
    command.env("SSLKEYLOGFILE", file);
    let server = Server::from(command, &flags(&pair, &[]));
    TlsClient::open(server.secure.unwrap(), &manner, "/echo").echoes("secret");
    assert!(
        fs::metadata(file).is_err(),
        "the environment alone does nothing"
    );
    for descriptors in ["process", "shard"] {
        let more = ["--tls-key-log", file, "--descriptors", descriptors];
        let mut server = Server::with(&flags(&pair, &more));
        TlsClient::open(server.secure.unwrap(), &manner, "/echo").echoes("not secret");
        let written = fs::read_to_string(file).unwrap();
        assert!(written.contains("CLIENT_TRAFFIC_SECRET_0 "), "{written}");
        server.signal(Signal::INT);
        let (_, _, errors) = server.ended();
        assert!(
            errors.iter().any(|line| line.contains("secrets")),
            "{errors:?}"
        );
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_drain_closes_secure_connections_with_both_goodbyes() {
    let (mut server, _authority, manner) = start(&[]);
    let mut client = TlsClient::open(server.secure.unwrap(), &manner, "/echo");
    client.echoes("here");
    server.signal(Signal::TERM);
    let frame = client.frame().expect("a close");
    assert_eq!(frame.close_code(), Some(1001));
    client.send(&wire::close(1001, b""));
    assert!(client.ends(), "without the goodbye of TLS");
    let (status, _, _) = server.ended();
    assert_eq!(status.code(), Some(0));
}
