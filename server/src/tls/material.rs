//! Certificates, keys and whom to trust, read from files and checked before they are used.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::key_log::KeyLogFile;
use super::names::Certificates;
use super::tickets::Tickets;
use super::x509;
use crate::config::source::{Fault, Faults, Source};
use crate::config::values::Values;

/// A certificate that expires sooner is worth a line at the start: those of Let's Encrypt are
/// renewed 30 days before.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// RFC 7301: all that is spoken here, be it upgraded or not.
const PROTOCOL: &[u8] = b"http/1.1";

/// A client keeps one connection, and gets a ticket with each.
const TICKETS_SENT: usize = 1;

static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// All that connections are made of, but for tickets.
#[derive(Debug)]
pub(crate) struct Material {
    certificates: Arc<Certificates>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    versions: &'static [&'static SupportedProtocolVersion],
    provider: Arc<CryptoProvider>,
    pub(super) ticket_rotation: Duration,
    trust: Trust,
    /// When the first certificate expires, in seconds since 1970.
    expires_at: i64,
    warnings: Vec<String>,
}

/// Whom it trusts, and whether it asks: what tickets depend on.
#[derive(Debug, PartialEq, Eq)]
struct Trust {
    auth: &'static str,
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// Why a file is no good.
struct Flaw {
    text: String,
    forbidden: bool,
}

type Checked<T> = Result<T, Flaw>;

impl Material {
    /// When the first of the certificates expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// What is allowed, and may not be meant.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn trusts_like(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    /// What connections are made with.
    pub(super) fn config(
        &self,
        tickets: &Tickets,
        key_log: Option<&Arc<KeyLogFile>>,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)
            .expect("the provider has suites for both versions");
        let builder = match &self.verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.certificates) as Arc<_>);
        // Records are not sealed and opened by rustls' connection, but on its keys.
        config.enable_secret_extraction = true;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // RFC 7627: without it, a session of TLS 1.2 can be mistaken for another.
        config.require_ems = true;
        // Sessions are kept by clients, in tickets, and nowhere here. Early data stays off: it could
        // be replayed, and a WebSocket has nothing to say before its 101.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS_SENT;
        match tickets.producer() {
            Some(producer) => config.ticketer = producer,
            None => config.send_tls13_tickets = 0,
        }
        if let Some(key_log) = key_log {
            config.key_log = Arc::clone(key_log) as Arc<_>;
        }
        Arc::new(config)
    }
}

/// Reads what the configuration names. `None`: there is no TLS.
///
/// # Errors
/// Everything that is wrong with the files, where it is written.
pub(crate) fn read(values: &Values) -> Result<Option<Arc<Material>>, Faults> {
    if values.address_or_off("tls.listen").is_none() {
        return Ok(None);
    }
    let mut reader = Reader {
        values,
        faults: Vec::new(),
        forbidden: false,
        warnings: Vec::new(),
        provider: Arc::new(aws_lc_rs::default_provider()),
        now: now(),
    };
    let pairs = reader.pairs();
    let trust = reader.trust();
    let verifier = reader.verifier(&trust);
    let Reader {
        faults,
        forbidden,
        warnings,
        provider,
        ..
    } = reader;
    if !faults.is_empty() {
        let all = faults;
        return Err(Faults { all, forbidden });
    }
    let expires_at = pairs.iter().map(|(_, about)| about.not_after).min();
    let named = pairs.into_iter().map(|(key, about)| (key, about.names));
    Ok(Some(Arc::new(Material {
        certificates: Arc::new(Certificates::new(named)),
        verifier,
        versions: match values.choice("tls.min-version") {
            "1.3" => &NEWEST,
            _ => &BOTH,
        },
        provider,
        ticket_rotation: values.span("tls.ticket-rotation"),
        trust,
        expires_at: expires_at.unwrap_or_default(),
        warnings,
    })))
}

struct Reader<'a> {
    values: &'a Values,
    faults: Vec<Fault>,
    forbidden: bool,
    warnings: Vec<String>,
    provider: Arc<CryptoProvider>,
    /// In seconds since 1970.
    now: i64,
}

impl Reader<'_> {
    fn fault(&mut self, key: &str, flaw: &Flaw) {
        self.forbidden |= flaw.forbidden;
        // What is missing stands nowhere; that TLS is wanted does.
        let sources = [key, "tls.listen"].map(|key| self.values.source(key));
        let written = sources.into_iter().find(|s| **s != Source::Default);
        let source = written.cloned().unwrap_or(Source::Default);
        self.faults.push(Fault::new(source, &flaw.text));
    }

    /// Takes what is good, and notes what is not.
    fn good<T>(&mut self, key: &str, outcome: Checked<T>) -> Option<T> {
        outcome.map_err(|flaw| self.fault(key, &flaw)).ok()
    }

    /// Each certificate with its key.
    fn pairs(&mut self) -> Vec<(Arc<CertifiedKey>, x509::About)> {
        let values = self.values;
        let (certificates, keys) = (values.files("tls.certificate"), values.files("tls.key"));
        if certificates.is_empty() {
            let text = "tls.listen needs a certificate: write tls.certificate and tls.key, \
                        the paths of PEM files";
            self.fault("tls.listen", &flaw(text.to_owned()));
        } else if certificates.len() != keys.len() {
            let several = |count, noun| match count {
                1 => format!("1 {noun}"),
                _ => format!("{count} {noun}s"),
            };
            let text = format!(
                "there is not one key for each certificate ({}, {}): write them in the same order",
                several(certificates.len(), "certificate"),
                several(keys.len(), "key"),
            );
            self.fault("tls.key", &flaw(text));
        }
        let mut pairs = Vec::new();
        for (certificate, key) in certificates.iter().zip(keys) {
            let outcome = self.chain(Path::new(certificate));
            let chain = self.good("tls.certificate", outcome);
            let outcome = self.key(Path::new(key));
            let signing_key = self.good("tls.key", outcome);
            let (Some((chain, about)), Some(signing_key)) = (chain, signing_key) else {
                continue;
            };
            let pair = CertifiedKey::new(chain, signing_key);
            if let Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = pair.keys_match() {
                let text = format!("{key} is not the key of {certificate}");
                self.fault("tls.key", &flaw(text));
                continue;
            }
            pairs.push((Arc::new(pair), about));
        }
        pairs
    }

    fn chain(&mut self, path: &Path) -> Checked<(Vec<CertificateDer<'static>>, x509::About)> {
        let chain = certificates(path)?;
        let shown = path.display();
        let about = chain.first().and_then(x509::read);
        let about = about.ok_or_else(|| flaw(format!("{shown}: its first certificate is none")))?;
        if about.not_after < self.now {
            let days = (self.now - about.not_after) / 86_400;
            let text = format!("{shown} has expired {days} days ago: renew the certificate");
            return Err(flaw(text));
        }
        if about.not_before > self.now {
            let text = format!("{shown} is not valid yet: is the clock of this host right?");
            return Err(flaw(text));
        }
        let rest = about.not_after - self.now;
        if rest < i64::try_from(EXPIRES_SOON.as_secs()).unwrap_or(i64::MAX) {
            let days = rest / 86_400;
            self.warnings
                .push(format!("the certificate {shown} expires in {days} days"));
        }
        Ok((chain, about))
    }

    fn key(&mut self, path: &Path) -> Checked<Arc<dyn rustls::sign::SigningKey>> {
        let pem = read_file(path)?;
        let shown = path.display();
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            let text = String::from_utf8_lossy(&pem);
            flaw(if text.contains("ENCRYPTED") {
                format!("the key {shown} is encrypted: take the passphrase off (`openssl pkey`)")
            } else {
                format!("{shown} holds no private key in PEM")
            })
        })?;
        if is_open_to_all(path) {
            self.warnings.push(format!(
                "the key {shown} can be read by everybody: `chmod 600 {shown}`"
            ));
        }
        let loaded = self.provider.key_provider.load_private_key(key);
        loaded.map_err(|error| flaw(format!("the key {shown} cannot be used: {error}")))
    }

    fn trust(&mut self) -> Trust {
        let auth = self.values.choice("tls.client-auth");
        let authorities = self.values.files("tls.client-ca");
        let revoked = self.values.files("tls.client-crl");
        if auth != "none" && authorities.is_empty() {
            let text = format!(
                "client-auth = {auth} needs tls.client-ca: the certificates of those who may \
                 vouch for clients"
            );
            self.fault("tls.client-auth", &flaw(text));
        }
        if auth == "none" && !revoked.is_empty() {
            let text = "tls.client-crl is of no use where no client is asked for a certificate: \
                        write client-auth = \"required\", or \"optional\"";
            self.fault("tls.client-crl", &flaw(text.to_owned()));
        }
        Trust {
            auth,
            authorities: self.all_of("tls.client-ca", authorities, |_, path| certificates(path)),
            revoked: self.all_of("tls.client-crl", revoked, Self::revocation_lists),
        }
    }

    /// What all files of this key hold.
    fn all_of<T>(
        &mut self,
        key: &str,
        files: &[String],
        read: fn(&mut Self, &Path) -> Checked<Vec<T>>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for path in files {
            let outcome = read(self, Path::new(path));
            all.extend(self.good(key, outcome).unwrap_or_default());
        }
        all
    }

    /// All lists of revoked certificates of a file, at least one.
    fn revocation_lists(
        &mut self,
        path: &Path,
    ) -> Checked<Vec<CertificateRevocationListDer<'static>>> {
        let what = "list of revoked certificates in PEM (`openssl crl` writes one in DER so)";
        let lists = sections(path, what)?;
        let over = |list| x509::next_update(list).is_some_and(|until| until < self.now);
        if lists.iter().any(over) {
            let shown = path.display();
            self.warnings.push(format!(
                "{shown} is over its time: clients with certificates of its authority are refused"
            ));
        }
        Ok(lists)
    }

    /// Who verifies the certificates of clients, if they are asked for any.
    ///
    /// With lists of revoked certificates, each certificate from a client up to an authority needs
    /// a list of its issuer on which it does not stand and which is not over its time (RFC 5280,
    /// 6.3): as with OpenSSL and those who are built on it.
    fn verifier(&mut self, trust: &Trust) -> Option<Arc<dyn ClientCertVerifier>> {
        if trust.auth == "none" || trust.authorities.is_empty() {
            return None;
        }
        let mut roots = RootCertStore::empty();
        for certificate in &trust.authorities {
            if let Err(error) = roots.add(certificate.clone()) {
                let text = format!("a certificate of tls.client-ca cannot be used: {error}");
                self.fault("tls.client-ca", &flaw(text));
                return None;
            }
        }
        let provider = Arc::clone(&self.provider);
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(trust.revoked.iter().cloned())
            .enforce_revocation_expiration();
        let builder = match trust.auth {
            "optional" => builder.allow_unauthenticated(),
            _ => builder,
        };
        let built = builder.build();
        built
            .map_err(|error| {
                let key = match error {
                    VerifierBuilderError::InvalidCrl(_) => "tls.client-crl",
                    _ => "tls.client-ca",
                };
                self.fault(key, &flaw(format!("{key} cannot be used: {error}")));
            })
            .ok()
    }
}

fn flaw(text: String) -> Flaw {
    let forbidden = false;
    Flaw { text, forbidden }
}

/// All certificates of a file, at least one.
fn certificates(path: &Path) -> Checked<Vec<CertificateDer<'static>>> {
    sections(path, "certificate in PEM")
}

/// All sections of a PEM file that are of this kind, at least one.
fn sections<T: PemObject>(path: &Path, what: &str) -> Checked<Vec<T>> {
    let pem = read_file(path)?;
    let shown = path.display();
    let all: Result<Vec<_>, _> = T::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| flaw(format!("{shown} is no PEM file: {error}")))?;
    if all.is_empty() {
        return Err(flaw(format!("{shown} holds no {what}")));
    }
    Ok(all)
}

/// The content of a small file.
fn read_file(path: &Path) -> Checked<Vec<u8>> {
    fs::read(path).map_err(|error| {
        let shown = path.display();
        let text = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no file {shown}"),
            io::ErrorKind::PermissionDenied => format!(
                "{shown} may not be read by this user: give it to a group that the server is in"
            ),
            _ => format!("cannot read {shown}: {error}"),
        };
        let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        Flaw { text, forbidden }
    })
}

fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are valid by the calendar"
)]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
