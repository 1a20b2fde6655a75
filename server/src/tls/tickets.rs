//! Session tickets, by which a client that comes back is spared the certificate and the signature.

use std::sync::Arc;
use std::time::Duration;

use rustls::Error;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;

use super::Material;

/// The keys of tickets: shared by all shards, and kept over reloads as long as whoever could come
/// back would be let in anew.
#[derive(Debug, Clone)]
pub(super) struct Tickets(Option<Arc<dyn ProducesTickets>>);

impl Tickets {
    pub(super) fn new(material: &Material) -> Result<Self, String> {
        let rotation = material.ticket_rotation;
        if rotation.is_zero() {
            return Ok(Self(None));
        }
        let made = rotator(rotation).map_err(|error| format!("no keys for tickets: {error}"))?;
        Ok(Self(Some(made)))
    }

    /// Those for what comes after. A ticket says who the client was; so where clients are asked
    /// for certificates, or were, none outlives a change of whom is trusted.
    pub(super) fn for_next(&self, before: &Material, after: &Material) -> Result<Self, String> {
        if before.ticket_rotation == after.ticket_rotation && before.trusts_like(after) {
            return Ok(self.clone());
        }
        Self::new(after)
    }

    pub(super) fn producer(&self) -> Option<Arc<dyn ProducesTickets>> {
        self.0.clone()
    }
}

fn rotator(rotation: Duration) -> Result<Arc<dyn ProducesTickets>, Error> {
    // The schema allows whole hours, not years.
    let seconds = u32::try_from(rotation.as_secs()).unwrap_or(u32::MAX).max(1);
    let rotator = TicketRotator::new(seconds, || {
        let keys = Ticketer::new().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Keys(keys)))
    })?;
    Ok(Arc::new(rotator))
}

/// One set of keys. rustls makes them with a rotation of their own, of 6 hours, which ours, being
/// no longer, comes before.
#[derive(Debug)]
struct Keys(Arc<dyn ProducesTickets>);

impl ProducesTickets for Keys {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}
