//! TLS for `wss://`: rustls between the WebSocket and the socket.
//!
//! Every connect is a whole handshake, as that of a new user is: nothing is resumed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::options::Common;

/// What all TLS connections of a process have in common.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Where Debian and most others keep the certificates that everybody trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Tls {
    /// For a target that wants it.
    pub(crate) fn new(common: &Common) -> anyhow::Result<Option<Self>> {
        if !common.target.tls {
            return Ok(None);
        }
        let name = common.sni.as_deref().unwrap_or(common.target.name());
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("'{name}' is no name of a server"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if common.insecure {
            let verifier = Arc::new(Anybody(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            let file = common.ca.as_deref();
            builder.with_root_certificates(roots(file.unwrap_or(Path::new(SYSTEM_CERTIFICATES)))?)
        };
        let mut config = builder.with_no_client_auth();
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        Ok(Some(Self { config, name }))
    }

    /// The client's side of a new connection.
    pub(crate) fn connection(&self) -> Box<Sealed> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        // It fails only for a configuration without any version or suite.
        let mut connection = connection.expect("the configuration has been built");
        // What may wait is for the load to limit.
        connection.set_buffer_limit(None);
        Box::new(Sealed(connection))
    }
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let shown = file.display();
    let pem = fs::read(file)
        .with_context(|| format!("cannot read certificates from {shown} (see --ca, --insecure)"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| anyhow!("{shown}: {error}"))?;
        // Some systems list certificates that nobody can use any more.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        bail!("{shown} holds no certificate");
    }
    Ok(roots)
}

/// One TLS connection.
#[derive(Debug)]
pub(crate) struct Sealed(ClientConnection);

impl Sealed {
    /// Turns what is to be sent into what goes on the wire, with what TLS itself has to say.
    pub(crate) fn seal(&mut self, wire: &mut Vec<u8>) {
        // Writing to memory cannot fail, and the buffer has no limit.
        let _ = self.0.writer().write_all(wire);
        wire.clear();
        while self.0.wants_write() {
            if self.0.write_tls(wire).is_err() {
                return;
            }
        }
    }

    /// Turns what came from the wire into what the server said.
    ///
    /// # Errors
    /// What is wrong with it, in few words.
    pub(crate) fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        while !bytes.is_empty() {
            let size = self
                .0
                .read_tls(&mut bytes)
                .map_err(|error| error.to_string())?;
            let state = self
                .0
                .process_new_packets()
                .map_err(|error| error.to_string())?;
            let before = plain.len();
            plain.resize(before + state.plaintext_bytes_to_read(), 0);
            let read = self.0.reader().read_exact(&mut plain[before..]);
            read.map_err(|error| error.to_string())?;
            if size == 0 {
                // Behind its last word, nothing counts.
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Believes that everybody is who they say; what they sign has still to be signed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
