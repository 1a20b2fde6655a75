//! Hostile TLS: garbage, halves, floods, and bytes that were changed on the way. After any of it the
//! server is alive, others have not noticed, and the cause is counted.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;

use support::clock::{self, PATIENCE};
use support::server::Server;
use support::tls::{Authority, Manner, TlsClient, flags};
use support::wire::{self, TEXT};

fn start(more: &[&str]) -> (Server, Authority, Manner) {
    let authority = Authority::new("the authority");
    let pair = authority.issue("server", &["localhost"]);
    let server = Server::with(&flags(&pair, more));
    let manner = Manner::new(&authority);
    (server, authority, manner)
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads to the end, be it a reset.
fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut scratch = [0; 4096];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return all,
            Ok(size) => all.extend_from_slice(&scratch[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("it is not given up: {error}"),
        }
    }
}

/// The first flight of a client.
fn hello() -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn whatever_is_no_tls_is_given_up_with_a_cause_and_others_go_on() {
    let (server, _authority, manner) = start(&[]);
    let secure = server.secure.unwrap();
    let mut other = TlsClient::open(secure, &manner, "/echo");
    let mut state = 7_u32;
    let mut garbage = |size: usize| -> Vec<u8> {
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..size).map(byte).collect()
    };
    let record = |kind: u8, body: &[u8]| {
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3, high, low], body].concat()
    };
    let hello = hello();
    let mut bent = hello.clone();
    let middle = bent.len() / 2;
    bent.truncate(middle);
    bent.resize(hello.len(), 0xFF);
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("a few bytes", garbage(5)),
        ("more bytes", garbage(300)),
        ("very many", garbage(70_000)),
        ("a record that is too large", vec![22, 3, 3, 0xFF, 0xFF, 1]),
        ("empty records", record(22, b"").repeat(100)),
        ("data before the handshake", record(23, &[0; 100])),
        ("warnings", record(21, &[1, 90]).repeat(100)),
        (
            "a message without an end",
            record(22, &[1, 2, 0, 0]).repeat(10_000),
        ),
        ("a change of ciphers", record(20, &[1]).repeat(100)),
        ("a hello that is bent", bent),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        (
            "a proxy's line",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
        ),
    ];
    let count = inputs.len() as u64;
    for (what, input) in inputs {
        let mut stream = connect(secure);
        // It may be given up before all is sent.
        let _ = stream.write_all(&input);
        let _ = stream.shutdown(Shutdown::Write);
        let answer = rest_of(stream);
        // An alert, if anything.
        assert!(answer.is_empty() || answer[0] == 21, "{what}: {answer:?}");
        other.echoes("still here");
    }
    let failures = || server.metrics().sum("tidegate_tls_failures_total", &[]);
    clock::until_equal("each is counted", &Some(count), failures);
    drop(other);
    server.until_empty();
}

#[test]
fn a_handshake_that_is_cut_everywhere_succeeds_in_time() {
    let (server, _authority, manner) = start(&["--handshake-timeout", "60s"]);
    let socket = connect(server.secure.unwrap());
    let mut client = TlsClient::unshaken(socket, &manner);
    // Each byte is a segment of its own.
    client.shake_byte_by_byte();
    client.send_byte_by_byte(wire::upgrade("/echo", &[]).as_bytes());
    client.send_byte_by_byte(&wire::frame(TEXT, b"cut"));
    let head = client.until_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.frame().unwrap().payload, b"cut");
}

#[test]
fn who_stops_in_the_handshake_is_reset_and_counted() {
    let (server, _authority, manner) = start(&["--handshake-timeout", "500ms"]);
    let secure = server.secure.unwrap();
    let hello = hello();
    let halves: Vec<TcpStream> = [0, 1, 3, 5, 100]
        .into_iter()
        .map(|size| {
            let mut stream = connect(secure);
            stream.write_all(&hello[..size]).unwrap();
            stream
        })
        .collect();
    TlsClient::open(secure, &manner, "/echo").echoes("meanwhile");
    for half in halves {
        rest_of(half);
    }
    let labels = [("cause", "timeout")];
    server.until_metric("tidegate_tls_failures_total", &labels, 5);
    // Who leaves in the midst of it is another case, and who has said nothing is none.
    for size in [0, 4, 100] {
        let mut stream = connect(secure);
        stream.write_all(&hello[..size]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        rest_of(stream);
    }
    let labels = [("cause", "truncated")];
    server.until_metric("tidegate_tls_failures_total", &labels, 2);
    server.until_empty();
}

#[test]
fn a_byte_that_was_changed_ends_the_connection_and_no_other() {
    let (server, _authority, manner) = start(&[]);
    let secure = server.secure.unwrap();
    let mut other = TlsClient::open(secure, &manner, "/echo");
    let mut client = TlsClient::open(secure, &manner, "/echo");
    let (tls, socket) = client.parts();
    tls.writer()
        .write_all(&wire::frame(TEXT, b"forged"))
        .unwrap();
    let mut sealed = Vec::new();
    tls.write_tls(&mut sealed).unwrap();
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    socket.write_all(&sealed).unwrap();
    assert!(!client.ends(), "it is told by an alert");
    server.until_metric("tidegate_closes_total", &[("reason", "tls_failure")], 1);
    other.echoes("still here");
}

#[test]
fn updates_of_keys_are_answered_and_a_flood_of_them_is_not() {
    let (server, authority, _) = start(&[]);
    let secure = server.secure.unwrap();
    let manner = Manner::with(&authority, None, &[&TLS13]);
    let mut client = TlsClient::open(secure, &manner, "/echo");
    for round in 0..20 {
        client.parts().0.refresh_traffic_keys().unwrap();
        client.echoes(&format!("with new keys {round}"));
    }
    let (tls, socket) = client.parts();
    let mut sealed = Vec::new();
    for _ in 0..1000 {
        tls.refresh_traffic_keys().unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut sealed).unwrap();
        }
    }
    let _ = socket.write_all(&sealed);
    client.ends();
    server.until_metric("tidegate_closes_total", &[("reason", "tls_failure")], 1);
    TlsClient::open(secure, &manner, "/echo").echoes("still here");
}

#[test]
fn who_does_not_read_the_handshake_holds_up_nobody() {
    let (server, _authority, manner) = start(&["--handshake-timeout", "2s"]);
    let secure = server.secure.unwrap();
    let hello = hello();
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(secure);
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    let mut client = TlsClient::open(secure, &manner, "/echo");
    client.echoes("meanwhile");
    let labels = [("cause", "timeout")];
    server.until_metric("tidegate_tls_failures_total", &labels, 100);
    client.echoes("afterwards");
    drop(silent);
    drop(client);
    server.until_empty();
}

#[test]
fn an_end_without_the_goodbye_of_tls_is_counted() {
    let (server, _authority, manner) = start(&[]);
    let secure = server.secure.unwrap();
    let mut client = TlsClient::open(secure, &manner, "/echo");
    client.echoes("here");
    client.parts().1.shutdown(Shutdown::Write).unwrap();
    client.ends();
    server.until_metric("tidegate_tls_truncations_total", &[], 1);
    // Who says it is not counted.
    let mut client = TlsClient::open(secure, &manner, "/echo");
    let (tls, socket) = client.parts();
    tls.send_close_notify();
    let mut goodbye = Vec::new();
    tls.write_tls(&mut goodbye).unwrap();
    socket.write_all(&goodbye).unwrap();
    assert!(client.ends(), "the goodbye is answered");
    server.until_empty();
    let truncated = server.metrics().sum("tidegate_tls_truncations_total", &[]);
    assert_eq!(truncated, Some(1));
}
