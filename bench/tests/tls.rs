//! `wss://` against a TLS server made here, with a certificate made here.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use common::bench;
use common::server::{State, converse};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server for clients that call it by this name.
fn start(name: &str) -> (SocketAddr, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    fs::write(&file, cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let state = Arc::new(State::default());
        for client in listener.incoming() {
            let (client, config) = (client.unwrap(), Arc::clone(&config));
            let state = Arc::clone(&state);
            client.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(connection, client);
                let _ = converse(&mut stream, &state, None);
                stream.conn.send_close_notify();
                let _ = std::io::Write::flush(&mut stream);
            });
        }
    });
    (address, file)
}

fn url(address: SocketAddr) -> String {
    format!("wss://localhost:{}/", address.port())
}

const CALM: [&str; 5] = ["--json", "--late-max", "1h", "--busy-max", "100"];

#[test]
fn messages_of_every_size_come_back_through_tls() {
    let (address, file) = start("localhost");
    let (url, ca) = (url(address), file.to_str().unwrap());
    for size in ["0", "20", "16KiB", "70000"] {
        let arguments = [
            "echo", &url, "--ca", ca, "-c", "5", "-n", "200", "-s", size, "-p", "4",
        ];
        let report = bench(&[&arguments[..], &CALM].concat()).good();
        assert_eq!(report["messages"], 200, "{size}");
        assert_eq!(report["connections_opened"], 5);
        assert_eq!(report["url"], url);
    }
}

#[test]
fn other_modes_speak_tls_too() {
    let (address, _) = start("modes.test");
    let url = url(address);
    let idle = [
        "idle",
        &url,
        "--insecure",
        "-c",
        "6",
        "-t",
        "2",
        "-d",
        "1ms",
        "--verify",
    ];
    let report = bench(&[&idle[..], &CALM].concat()).good();
    assert_eq!(
        (&report["idle"]["ponged"], &report["idle"]["echoed"]),
        (&6.into(), &6.into())
    );
    let churn = [
        "churn",
        &url,
        "--insecure",
        "-c",
        "3",
        "-d",
        "300ms",
        "--warmup",
        "0s",
    ];
    let report = bench(&[&churn[..], &CALM].concat()).good();
    assert!(report["churn"]["turns"].as_u64().unwrap() > 0);
}

#[test]
fn only_a_trusted_certificate_with_the_right_name_is_believed() {
    let (address, file) = start("right.test");
    let (url, ca) = (url(address), file.to_str().unwrap());
    let run = |more: &[&str]| {
        let arguments = ["idle", &url, "-c", "2", "-d", "1ms"];
        bench(&[&arguments[..], more, &CALM].concat())
    };
    run(&["--ca", ca, "--sni", "right.test"]).good();
    run(&["--insecure"]).good();
    let (_, other) = start("other.test");
    let other = other.to_str().unwrap();
    for more in [&["--ca", ca][..], &["--ca", other, "--sni", "right.test"]] {
        let ran = run(more);
        let report = ran.bad();
        assert_eq!(report["connections_failed"], 2, "{more:?}");
        assert!(
            ran.stderr.contains("TLS: invalid peer certificate"),
            "{}",
            ran.stderr
        );
    }
    let missing = run(&["--ca", "/nowhere/ca.pem"]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("/nowhere/ca.pem"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_server_without_tls_is_no_tls_server() {
    let server = common::BareEcho::start();
    let url = format!("wss://{}/", server.address);
    let arguments = ["idle", &url, "--insecure", "-c", "1", "-d", "1ms"];
    let ran = bench(&[&arguments[..], &CALM, &["--connect-timeout", "500ms"]].concat());
    assert_eq!(ran.bad()["connections_failed"], 1);
}
