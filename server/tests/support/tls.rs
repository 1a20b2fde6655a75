//! Certificates that are made here, and a TLS client on rustls.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::clock::{self, PATIENCE};
use super::folder::Folder;
use super::server::Server;
use super::wire::{self, Frame, TEXT};

/// The serial number of the next certificate.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority, and where its files lie.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
    /// Its certificate, as a file.
    pub(crate) file: String,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    serial: u64,
}

impl Authority {
    /// One of this name, which is trusted by whoever is told to.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = Folder::new();
        let file = folder.write("ca.pem", &issuer.pem());
        Self {
            issuer,
            folder,
            file,
        }
    }

    /// Issues a certificate for these names, into files of this name.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.issue_with(file, names, |_| {})
    }

    /// The same, changed before it is signed.
    pub(crate) fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(2100, 1, 1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(serial.into());
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate: self
                .folder
                .write(&format!("{file}.pem"), &certificate.pem()),
            key: self
                .folder
                .write(&format!("{file}.key"), &key.serialize_pem()),
            serial,
        }
    }

    /// A certificate by which a client says who it is.
    pub(crate) fn issue_client(&self, file: &str, common_name: Option<&str>, uri: &str) -> Pair {
        self.issue_with(file, &[], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            if let Some(name) = common_name {
                params.distinguished_name.push(DnType::CommonName, name);
            }
            let uri = uri.try_into().expect("ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        })
    }

    /// Writes its list of these, which were revoked in 2000, into a file; it holds until the year
    /// `until`. Returns the path.
    pub(crate) fn revoke(&self, file: &str, revoked: &[&Pair], until: i32) -> String {
        let then = date_time_ymd(2000, 1, 1);
        let entry = |pair: &&Pair| RevokedCertParams {
            serial_number: pair.serial.into(),
            revocation_time: then,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: then,
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        self.folder.write(file, &list.pem().expect("PEM"))
    }

    /// A file beside the certificates.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text)
    }

    /// Where its files lie.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }
}

/// The flags of a server with this certificate, and further ones.
pub(crate) fn flags<'a>(pair: &'a Pair, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "--tls-listen",
        "127.0.0.1:0",
        "--tls-certificate",
        &pair.certificate,
        "--tls-key",
        &pair.key,
    ];
    all.extend(more);
    all
}

/// How a client speaks TLS. A clone remembers the same sessions.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Manner {
    /// One that trusts this authority and calls the server `localhost`.
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::with(authority, None, rustls::ALL_VERSIONS)
    }

    /// The same, with a certificate of its own, or other versions.
    pub(crate) fn with(
        authority: &Authority,
        client: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&authority.file) {
            roots.add(certificate).expect("a certificate");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
                let chain = certificates(&pair.certificate);
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        Self {
            config: Arc::new(config),
            name: ServerName::try_from("localhost").expect("a name"),
        }
    }

    /// The same, which calls the server by another name.
    pub(crate) fn calling(mut self, name: &'static str) -> Self {
        self.name = ServerName::try_from(name).expect("a name");
        self
    }

    /// The same, which offers other protocols.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self.config = Arc::new(config);
        self
    }
}

fn certificates(file: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(file).expect("a file");
    all.map(|one| one.expect("a certificate")).collect()
}

/// A client with TLS, and a WebSocket in it if it has asked for one.
#[derive(Debug)]
pub(crate) struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl TlsClient {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    /// What is wrong, by rustls.
    pub(crate) fn connect(to: SocketAddr, manner: &Manner) -> Result<Self, String> {
        let socket = TcpStream::connect_timeout(&to, PATIENCE).expect("the server listens");
        socket.set_nodelay(true).expect("TCP");
        socket.set_read_timeout(Some(PATIENCE)).expect("a span");
        socket.set_write_timeout(Some(PATIENCE)).expect("a span");
        let mut client = Self::unshaken(socket, manner);
        let stream = &mut client.stream;
        while stream.conn.is_handshaking() {
            let done = stream.conn.complete_io(&mut stream.sock);
            done.map_err(|error| error.to_string())?;
        }
        Ok(client)
    }

    /// On this connection, before the handshake.
    pub(crate) fn unshaken(socket: TcpStream, manner: &Manner) -> Self {
        let connection = ClientConnection::new(Arc::clone(&manner.config), manner.name.clone());
        Self {
            stream: StreamOwned::new(connection.expect("a configuration"), socket),
            received: Vec::new(),
        }
    }

    /// Shakes hands, each byte for itself.
    #[track_caller]
    pub(crate) fn shake_byte_by_byte(&mut self) {
        while self.stream.conn.is_handshaking() {
            self.write_byte_by_byte();
            if self.stream.conn.wants_read() && self.stream.conn.is_handshaking() {
                let size = self.stream.conn.read_tls(&mut self.stream.sock);
                assert_ne!(size.expect("the server answers"), 0, "it has ended");
                self.stream.conn.process_new_packets().expect("TLS");
            }
        }
        self.write_byte_by_byte();
    }

    /// Sends this, each byte of the wire for itself.
    #[track_caller]
    pub(crate) fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        self.stream.conn.writer().write_all(bytes).expect("memory");
        self.write_byte_by_byte();
    }

    fn write_byte_by_byte(&mut self) {
        let mut wire = Vec::new();
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut wire).expect("memory");
        }
        for byte in wire {
            self.stream
                .sock
                .write_all(&[byte])
                .expect("the server reads");
        }
    }

    /// A WebSocket.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, manner: &Manner, path: &str) -> Self {
        let mut client = Self::connect(to, manner).expect("a handshake");
        assert_eq!(client.asks(&wire::upgrade(path, &[])), 101);
        client
    }

    /// Sends a request, and returns the status of the answer.
    #[track_caller]
    pub(crate) fn asks(&mut self, request: &str) -> u16 {
        self.send(request.as_bytes());
        let text = self.until_head();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.expect("a status")
    }

    /// The head of the answer.
    #[track_caller]
    pub(crate) fn until_head(&mut self) -> String {
        loop {
            let end = self.received.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.receive(), "it ended before its answer");
        }
    }

    /// Sends bytes, whatever they mean.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
        self.stream.flush().expect("the server reads");
    }

    /// Receives some bytes. `false`: the end.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> bool {
        let mut scratch = [0; 16 * 1024];
        match self.stream.read(&mut scratch) {
            Ok(0) => false,
            Ok(size) => {
                self.received.extend_from_slice(&scratch[..size]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame; `None` at the end.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, size)) = Frame::parse(&self.received) {
                self.received.drain(..size);
                return Some(frame);
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// Says something, and hears it.
    #[track_caller]
    pub(crate) fn echoes(&mut self, text: &str) {
        self.send(&wire::frame(TEXT, text.as_bytes()));
        let frame = self.frame().expect("an echo");
        assert_eq!((frame.first, &*frame.payload), (TEXT, text.as_bytes()));
    }

    /// Waits for the end of the stream: whether the server said goodbye by TLS.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> bool {
        let mut scratch = [0; 1024];
        let deadline = clock::Deadline::after(PATIENCE);
        while deadline.left().is_some() {
            match self.stream.read(&mut scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        panic!("it does not end");
    }

    /// What kind of handshake it was.
    pub(crate) fn kind(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let all = self.stream.conn.peer_certificates().expect("it has one");
        all[0].to_vec()
    }

    /// The protocol that was agreed on.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }

    /// What is under it, and the TLS of it.
    pub(crate) fn parts(&mut self) -> (&mut ClientConnection, &mut TcpStream) {
        (&mut self.stream.conn, &mut self.stream.sock)
    }
}

/// The first certificate of a file, in DER.
pub(crate) fn der_of(file: &str) -> Vec<u8> {
    certificates(file).remove(0).to_vec()
}

/// Waits until so many have failed for this cause.
#[track_caller]
pub(crate) fn until_failure(server: &Server, cause: &str, count: u64) {
    let labels = [("cause", cause)];
    server.until_metric("tidegate_tls_failures_total", &labels, count);
}
