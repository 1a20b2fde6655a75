//! A channel beside rustls as the client, and beside a peer who seals whatever it likes.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ContentType, RootCertStore, ServerConfig,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use tidegate_engine::{Channel, ChannelFailure, ChannelPhase};

use super::channel::TlsChannel;
use super::keys::{Opening, Sealing};
use super::records::record_size;

mod judged;

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Each suite that is spoken here.
fn suites() -> Vec<SupportedCipherSuite> {
    default_provider().cipher_suites
}

fn version_of(suite: SupportedCipherSuite) -> &'static SupportedProtocolVersion {
    if suite.tls13().is_some() {
        &TLS13
    } else {
        &TLS12
    }
}

/// A certificate for `localhost` that vouches for itself, and its key. Making one of RSA takes long.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    /// The suites of TLS 1.2 name what kind of key they are for.
    fn fitting(suite: SupportedCipherSuite) -> &'static Self {
        static RSA: LazyLock<Identity> = LazyLock::new(|| Identity::new(&rcgen::PKCS_RSA_SHA256));
        static ECDSA: LazyLock<Identity> =
            LazyLock::new(|| Identity::new(&rcgen::PKCS_ECDSA_P256_SHA256));
        if format!("{:?}", suite.suite()).contains("_RSA_") {
            &RSA
        } else {
            &ECDSA
        }
    }

    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }
}

/// A client and a channel that have not spoken, both with this suite alone.
fn strangers(suite: SupportedCipherSuite) -> (ClientConnection, TlsChannel) {
    let identity = Identity::fitting(suite);
    let certificate = &identity.certificate;
    let mut provider = default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version_of(suite)])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::try_from(identity.key.clone()).unwrap(),
        )
        .unwrap();
    config.enable_secret_extraction = true;
    let channel = TlsChannel::new(UnbufferedServerConnection::new(Arc::new(config)).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version_of(suite)])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    (client, channel)
}

/// What the channel has to say is heard by the client.
fn hear(client: &mut ClientConnection, mut wire: &[u8]) {
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        client.process_new_packets().unwrap();
    }
}

/// All that the client has to say.
fn said_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A client and a channel after the handshake.
fn acquainted(suite: SupportedCipherSuite) -> (ClientConnection, TlsChannel) {
    let (mut client, mut channel) = strangers(suite);
    while client.is_handshaking() || channel.phase() != ChannelPhase::Open {
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        let mut bytes = said_by(&mut client);
        channel.receive(&mut bytes, &mut plain, &mut wire).unwrap();
        assert!(plain.is_empty());
        hear(&mut client, &wire);
    }
    (client, channel)
}

/// Takes these bytes in, cut into pieces of this size, and returns what they say and what is said to
/// them.
fn take_in(channel: &mut TlsChannel, bytes: &mut [u8], size: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    for piece in bytes.chunks_mut(size) {
        channel.receive(piece, &mut plain, &mut wire).unwrap();
    }
    (plain, wire)
}

fn heard_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut plain = Vec::new();
    // It would block where the peer has not said goodbye.
    let _ = client.reader().read_to_end(&mut plain);
    plain
}

/// A peer with the keys of a handshake, who keeps to no rule.
struct Peer {
    sealing: Sealing,
    opening: Opening,
}

impl Peer {
    fn meets(suite: SupportedCipherSuite) -> (Self, TlsChannel) {
        let (client, channel) = acquainted(suite);
        let secrets = client.dangerous_extract_secrets().unwrap();
        let peer = Self {
            sealing: Sealing::new(suite, secrets.tx).unwrap(),
            opening: Opening::new(suite, secrets.rx).unwrap(),
        };
        (peer, channel)
    }

    fn seal(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.sealing.seal(kind, content, &mut wire).unwrap();
        wire
    }

    /// The records of the other side.
    fn opened(&mut self, mut wire: Vec<u8>) -> Vec<(ContentType, Vec<u8>)> {
        let mut records = Vec::new();
        while let Some(size) = record_size(&wire) {
            let mut rest = wire.split_off(size);
            let (kind, content) = self.opening.open(&mut wire).unwrap();
            records.push((kind, content.to_vec()));
            std::mem::swap(&mut wire, &mut rest);
        }
        records
    }
}

fn fatal(alert: AlertDescription) -> Vec<(ContentType, Vec<u8>)> {
    vec![(ContentType::Alert, vec![2, u8::from(alert)])]
}

#[test]
fn both_sides_understand_each_other_in_every_suite_however_the_bytes_are_cut() {
    let suites = suites();
    assert!(
        BOTH.iter()
            .all(|&version| suites.iter().any(|&suite| version_of(suite) == version))
    );
    for suite in suites {
        let (mut client, mut channel) = acquainted(suite);
        for (round, size) in [1, 5, 6, 100, 4096, usize::MAX].into_iter().enumerate() {
            let length = [1, 16_383, 16_384, 16_385, 100_000, 0][round];
            let text: Vec<u8> = (0..length).map(|i: u32| i.to_le_bytes()[0]).collect();
            let mut sealed = Vec::new();
            for part in text.chunks(16_000) {
                client.writer().write_all(part).unwrap();
                sealed.extend(said_by(&mut client));
            }
            let (plain, wire) = take_in(&mut channel, &mut sealed, size);
            assert!(
                plain == text,
                "{suite:?}, {length} bytes in pieces of {size}"
            );
            assert!(wire.is_empty());
            let mut wire = Vec::new();
            channel.send(&text, &mut wire).unwrap();
            // The reader of rustls holds back what it has not given.
            let mut heard = Vec::new();
            let mut rest = &wire[..];
            while let Some(size) = record_size(rest) {
                let (record, others) = rest.split_at(size);
                hear(&mut client, record);
                heard.extend(heard_by(&mut client));
                rest = others;
            }
            assert!(heard == text, "{suite:?}, {length} bytes the other way");
        }
        let mut wire = Vec::new();
        channel.end(&mut wire);
        client.read_tls(&mut &wire[..]).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        client.send_close_notify();
        take_in(&mut channel, &mut said_by(&mut client), 1);
        assert_eq!(channel.phase(), ChannelPhase::Ended);
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_heard() {
    for suite in suites() {
        for size in [1, 7, usize::MAX] {
            let (mut client, mut channel) = strangers(suite);
            // What is written before the end of the handshake leaves with it.
            client.writer().write_all(b"at once").unwrap();
            let mut plain = Vec::new();
            while client.is_handshaking() || channel.phase() != ChannelPhase::Open {
                let mut bytes = said_by(&mut client);
                let (more, wire) = take_in(&mut channel, &mut bytes, size);
                plain.extend(more);
                hear(&mut client, &wire);
            }
            plain.extend(take_in(&mut channel, &mut said_by(&mut client), size).0);
            assert_eq!(plain, b"at once", "{suite:?}");
            let mut wire = Vec::new();
            channel.send(b"heard", &mut wire).unwrap();
            hear(&mut client, &wire);
            assert_eq!(heard_by(&mut client), b"heard");
        }
    }
}

#[test]
fn new_keys_are_taken_and_given_when_they_are_asked_for() {
    for suite in suites().into_iter().filter(|suite| suite.tls13().is_some()) {
        let (mut client, mut channel) = acquainted(suite);
        for _ in 0..100 {
            client.refresh_traffic_keys().unwrap();
            client.writer().write_all(b"with new keys").unwrap();
            let mut bytes = said_by(&mut client);
            let (plain, wire) = take_in(&mut channel, &mut bytes, 3);
            assert_eq!(plain, b"with new keys");
            assert!(!wire.is_empty(), "its own new key is announced");
            hear(&mut client, &wire);
            let mut wire = Vec::new();
            channel.send(b"the same here", &mut wire).unwrap();
            hear(&mut client, &wire);
            assert_eq!(heard_by(&mut client), b"the same here");
        }
    }
}

#[test]
fn a_key_that_has_sealed_all_it_may_is_changed_or_the_connection_ends() {
    for suite in suites() {
        let common = match suite {
            SupportedCipherSuite::Tls13(suite) => &suite.common,
            SupportedCipherSuite::Tls12(suite) => &suite.common,
        };
        let (mut peer, mut channel) = Peer::meets(suite);
        let mut wire = Vec::new();
        // Numbers do not wrap, however much a cipher bears.
        let limit = common.confidentiality_limit.min(u64::MAX - 0xFFFF);
        for number in [limit - 1, limit] {
            wire.clear();
            channel.records().sealing.number = number;
            peer.opening.number = number;
            let outcome = channel.send(b"said", &mut wire);
            if number < limit {
                outcome.unwrap();
                let said = (ContentType::ApplicationData, b"said".to_vec());
                assert_eq!(peer.opened(wire.clone()), [said], "{suite:?}");
            } else if suite.tls13().is_some() {
                outcome.unwrap();
                let rest = wire.split_off(record_size(&wire).unwrap());
                let update = (ContentType::Handshake, vec![24, 0, 0, 1, 0]);
                assert_eq!(peer.opened(wire.clone()), [update], "{suite:?}");
                assert!(!rest.is_empty(), "what was to be said is behind it");
                assert_eq!(channel.records().sealing.number, 1);
            } else {
                let cause = "tls_keys_used_up";
                assert_eq!(outcome, Err(ChannelFailure { cause }), "{suite:?}");
                assert!(wire.is_empty());
            }
        }
    }
}

#[test]
fn a_record_that_is_too_large_or_changed_is_refused_with_its_alert() {
    for suite in suites() {
        let (mut peer, mut channel) = Peer::meets(suite);
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        // The header is enough.
        let outcome = channel.receive(&mut [23, 3, 3, 0x48, 0x01], &mut plain, &mut wire);
        assert_eq!(
            outcome,
            Err(ChannelFailure {
                cause: "tls_too_large"
            })
        );
        assert_eq!(peer.opened(wire), fatal(AlertDescription::RecordOverflow));

        let (mut peer, mut channel) = Peer::meets(suite);
        let mut wire = Vec::new();
        let mut bytes = peer.seal(ContentType::ApplicationData, &[7; 16_385]);
        let outcome = channel.receive(&mut bytes, &mut plain, &mut wire);
        assert_eq!(
            outcome,
            Err(ChannelFailure {
                cause: "tls_too_large"
            })
        );
        assert_eq!(peer.opened(wire), fatal(AlertDescription::RecordOverflow));
        assert!(plain.is_empty());

        let size = 5 + 2 + 16;
        for index in 0..size {
            let (mut peer, mut channel) = Peer::meets(suite);
            let mut wire = Vec::new();
            let mut bytes = peer.seal(ContentType::ApplicationData, b"ab");
            bytes.extend(peer.seal(ContentType::ApplicationData, b"cd"));
            bytes[index] ^= 1;
            let outcome = channel.receive(&mut bytes, &mut plain, &mut wire);
            // The legacy version is ignored by TLS 1.3, as its RFC wants.
            let ignored = suite.tls13().is_some() && (1..3).contains(&index);
            // With a longer one its end is waited for.
            let waits = index == 3;
            assert_eq!(outcome.is_ok(), ignored || waits, "byte {index}, {suite:?}");
            assert_eq!(plain.is_empty(), !ignored, "byte {index}, {suite:?}");
            if outcome.is_err() {
                let alerts = peer.opened(wire);
                assert_eq!((alerts.len(), alerts[0].0), (1, ContentType::Alert));
            }
            plain.clear();
        }
    }
}

#[test]
fn a_flood_of_key_updates_ends_the_connection_and_their_answers_are_few() {
    let suite = suites().into_iter().find(|suite| suite.tls13().is_some());
    let (mut client, mut channel) = acquainted(suite.unwrap());
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    for round in 0..33 {
        client.refresh_traffic_keys().unwrap();
        let outcome = channel.receive(&mut said_by(&mut client), &mut plain, &mut wire);
        assert_eq!(outcome.is_ok(), round < 32, "{round}");
    }
    assert!(wire.len() < 33 * 32, "{} bytes", wire.len());
}
