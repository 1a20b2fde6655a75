//! Clients that say who they are by a certificate: who gets in, who is refused and for which cause,
//! and what happens when whom the server trusts changes.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not all marked as such"
)]

mod support;

use std::fs;

use rcgen::date_time_ymd;
use rustix::process::Signal;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use support::server::Server;
use support::tls::{Authority, Manner, Pair, TlsClient, flags, until_failure};

/// A server that asks clients for certificates of a second authority.
fn start_mutual(auth: &str) -> (Server, Authority, Authority) {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = authority.issue("server", &["localhost"]);
    let more = ["--tls-client-auth", auth, "--tls-client-ca", &clients.file];
    let server = Server::with(&flags(&pair, &more));
    (server, authority, clients)
}

#[test]
fn only_clients_with_a_trusted_certificate_get_in_where_one_is_required() {
    let (server, authority, clients) = start_mutual("required");
    let secure = server.secure.unwrap();
    // With TLS 1.3, a client has shaken hands before it hears that it is refused.
    let refused = |pair: Option<&Pair>| {
        let manner = Manner::with(&authority, pair, &[&TLS12]);
        assert!(TlsClient::connect(secure, &manner).is_err());
    };
    let good = clients.issue_client("alice", Some("alice"), "spiffe://here/alice");
    for version in [&TLS12, &TLS13] {
        let manner = Manner::with(&authority, Some(&good), &[version]);
        TlsClient::open(secure, &manner, "/echo").echoes("it is me");
    }
    refused(None);
    until_failure(&server, "client_certificate_missing", 1);
    let others = Authority::new("others");
    let unknown = others.issue_client("eve", Some("eve"), "spiffe://here/eve");
    refused(Some(&unknown));
    until_failure(&server, "client_certificate_unknown_ca", 1);
    let expired = clients.issue_with("old", &[], |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    });
    refused(Some(&expired));
    until_failure(&server, "client_certificate_expired", 1);
}

#[test]
fn a_revoked_certificate_is_refused_and_lists_are_taken_when_they_change() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = authority.issue("server", &["localhost"]);
    let [alice, bob] = ["alice", "bob"]
        .map(|name| clients.issue_client(name, Some(name), &format!("spiffe://here/{name}")));
    let list = clients.revoke("revoked.pem", &[&bob], 2100);
    let more = [
        "--tls-client-auth",
        "required",
        "--tls-client-ca",
        &clients.file,
        "--tls-client-crl",
        &list,
    ];
    let server = Server::with(&flags(&pair, &more));
    let enters = |client: &Pair| {
        let manner = Manner::with(&authority, Some(client), &[&TLS12]);
        TlsClient::connect(server.secure.unwrap(), &manner).is_ok()
    };
    assert!(enters(&alice));
    assert!(!enters(&bob));
    until_failure(&server, "client_certificate_revoked", 1);
    // A session of alice's that was begun before is not resumed after, either.
    let manner = Manner::with(&authority, Some(&alice), &[&TLS12]);
    let kind = || {
        Some(
            TlsClient::connect(server.secure.unwrap(), &manner)
                .ok()?
                .kind(),
        )
    };
    assert_eq!(kind(), Some(Some(HandshakeKind::Full)));
    assert_eq!(kind(), Some(Some(HandshakeKind::Resumed)));
    let taken = |count| {
        let result = [("result", "success")];
        server.until_metric("tidegate_tls_certificate_reload_total", &result, count);
    };
    clients.revoke("revoked.pem", &[&alice], 2100);
    taken(1);
    assert_eq!(kind(), None);
    assert!(enters(&bob));
    until_failure(&server, "client_certificate_revoked", 2);
    // A list that is over its time says nothing of anybody.
    clients.revoke("revoked.pem", &[], 2001);
    taken(2);
    assert!(!enters(&bob));
    until_failure(&server, "client_certificate_revocation_unknown", 1);
    // Neither does one of another authority.
    let others = Authority::new("others");
    fs::copy(others.revoke("revoked.pem", &[], 2100), &list).unwrap();
    taken(3);
    assert!(!enters(&bob));
    until_failure(&server, "client_certificate_revocation_unknown", 2);
}

#[test]
fn a_certificate_is_optional_where_it_is() {
    let (server, authority, clients) = start_mutual("optional");
    let secure = server.secure.unwrap();
    TlsClient::open(secure, &Manner::new(&authority), "/echo").echoes("nobody");
    let good = clients.issue_client("bob", None, "spiffe://here/bob");
    let manner = Manner::with(&authority, Some(&good), rustls::ALL_VERSIONS);
    TlsClient::open(secure, &manner, "/echo").echoes("bob");
}

#[test]
fn tickets_do_not_outlive_a_change_of_whom_is_trusted() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = authority.issue("server", &["localhost"]);
    let trusted = authority.write("trusted.pem", &fs::read_to_string(&clients.file).unwrap());
    let more = ["--tls-client-auth", "required", "--tls-client-ca", &trusted];
    let server = Server::with(&flags(&pair, &more));
    let alice = clients.issue_client("alice", Some("alice"), "spiffe://here/alice");
    let manner = Manner::with(&authority, Some(&alice), &[&TLS12]);
    let kind = || {
        let client = TlsClient::connect(server.secure.unwrap(), &manner)?;
        Ok::<_, String>(client.kind())
    };
    assert_eq!(kind(), Ok(Some(HandshakeKind::Full)));
    assert_eq!(kind(), Ok(Some(HandshakeKind::Resumed)));
    let others = Authority::new("other clients");
    fs::copy(&others.file, &trusted).unwrap();
    server.signal(Signal::HUP);
    server.until_metric("tidegate_config_reload_total", &[("result", "success")], 1);
    assert!(kind().is_err(), "alice is not trusted any more");
}
