//! Fetches a JWK set over HTTP.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// So long one fetch may take.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// No set is larger: some hundred keys with their certificates.
pub(crate) const SET_SIZE_MAX: u64 = 1 << 20;

/// The body that is there, with a status of 200. Nothing is followed elsewhere.
///
/// # Errors
/// Why there is none, in half a sentence.
pub(crate) fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(0)
        .max_idle_connections(0)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("https:") {
        config = config.tls_config(tls());
    }
    let agent = Agent::new_with_config(config.build());
    let request = agent.get(url).header("Accept", "application/json");
    let mut response = request.call().map_err(|error| error.to_string())?;
    if response.status().as_u16() != 200 {
        return Err(format!("the answer is {}", response.status().as_u16()));
    }
    let body = response.body_mut().with_config().limit(SET_SIZE_MAX);
    body.read_to_vec().map_err(|error| error.to_string())
}

/// What the system trusts, looked up anew each time: that changes, and a fetch is seldom.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let trusted: Vec<Certificate<'static>> = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&trusted))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}
