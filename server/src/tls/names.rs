//! Which certificate a client gets: by the name that it asks for, and by what it can verify.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates by the names that they are for. The first one is for all other names, and for
/// clients that name none.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    /// Lower case; `*.example.com` stands as it is written. In the order of the configuration.
    by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Of pairs of a certificate and its names.
    pub(super) fn new(pairs: impl IntoIterator<Item = (Arc<CertifiedKey>, Vec<String>)>) -> Self {
        let mut all = Vec::new();
        let mut by_name: HashMap<Box<str>, Vec<_>> = HashMap::new();
        for (key, names) in pairs {
            for name in names {
                let name = name.to_ascii_lowercase().into_boxed_str();
                by_name.entry(name).or_default().push(Arc::clone(&key));
            }
            all.push(key);
        }
        Self { all, by_name }
    }

    /// Those for this name.
    fn find(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        if let Some(found) = self.by_name.get(name.as_str()) {
            return found;
        }
        // RFC 6125, 6.4.3: a wildcard stands for one label, the first.
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let found = wildcard.and_then(|wildcard| self.by_name.get(wildcard.as_str()));
        found.map_or(&self.all, |found| found)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello
            .server_name()
            .map_or(&*self.all, |name| self.find(name));
        // One name may have an ECDSA and an RSA certificate.
        let schemes = hello.signature_schemes();
        let fit = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        found.iter().find(fit).or(found.first()).cloned()
    }
}
