//! TLS for clients: rustls behind the channels of the engine.
//!
//! ```text
//!  files ─▶ Material ─▶ ServerConfig ─▶ TlsAcceptor ─▶ TlsChannel, one for each connection
//!           checked at     with tickets     replaced by       keeps the ServerConfig that
//!           the start      and key log      reload and watch  it began with
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tidegate_engine::{Acceptor, Channel};

use crate::config::Configuration;
use crate::live::Live;

mod causes;
mod channel;
mod handshake;
mod key_log;
mod keys;
pub(crate) mod material;
mod names;
mod records;
#[cfg(test)]
mod tests;
mod tickets;
pub(crate) mod watch;
mod x509;

use channel::TlsChannel;
use key_log::KeyLogFile;
pub(crate) use material::Material;
use tickets::Tickets;

/// Makes the channels of all shards. What they are made with can be replaced at any time.
#[derive(Debug)]
pub(crate) struct TlsAcceptor {
    current: Mutex<Current>,
    key_log: Option<Arc<KeyLogFile>>,
    outcomes: Outcomes,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    material: Arc<Material>,
    tickets: Tickets,
}

/// How often certificates were read again because their files had changed.
#[derive(Debug, Default)]
struct Outcomes {
    successes: AtomicU64,
    failures: AtomicU64,
}

/// What operators see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TlsStatus {
    /// When the first of the certificates expires, in seconds since 1970.
    pub(crate) expires_at: i64,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
}

impl TlsAcceptor {
    /// One that begins with this material, and writes the secrets of all connections to a file if
    /// it is told to.
    ///
    /// # Errors
    /// Why the file cannot be written, or there are no random numbers.
    pub(crate) fn new(
        material: &Arc<Material>,
        key_log: Option<PathBuf>,
    ) -> Result<Arc<Self>, String> {
        let key_log = key_log.map(KeyLogFile::create).transpose()?.map(Arc::new);
        let tickets = Tickets::new(material)?;
        let config = material.config(&tickets, key_log.as_ref());
        Ok(Arc::new(Self {
            current: Mutex::new(Current {
                config,
                material: Arc::clone(material),
                tickets,
            }),
            key_log,
            outcomes: Outcomes::default(),
        }))
    }

    /// From now on connections are made with this. Those that are there keep what they have.
    ///
    /// # Errors
    /// When there are no random numbers for new ticket keys; nothing has changed then.
    pub(crate) fn replace(&self, material: &Arc<Material>) -> Result<(), String> {
        self.replace_in(&mut self.lock(), material)
    }

    /// The same, if this is still the configuration in force that the material was read for.
    pub(crate) fn replace_for(
        &self,
        material: &Arc<Material>,
        configuration: &Arc<Configuration>,
        live: &Live,
    ) -> Result<(), String> {
        // A reload replaces the configuration first and this afterwards, so it comes last.
        let mut current = self.lock();
        if Arc::ptr_eq(&live.configuration(), configuration) {
            self.replace_in(&mut current, material)?;
        }
        Ok(())
    }

    fn replace_in(&self, current: &mut Current, material: &Arc<Material>) -> Result<(), String> {
        let tickets = current.tickets.for_next(&current.material, material)?;
        *current = Current {
            config: material.config(&tickets, self.key_log.as_ref()),
            material: Arc::clone(material),
            tickets,
        };
        Ok(())
    }

    /// Counts that files have changed, and what became of that.
    pub(crate) fn count(&self, succeeded: bool) {
        let counter = if succeeded {
            &self.outcomes.successes
        } else {
            &self.outcomes.failures
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> TlsStatus {
        TlsStatus {
            expires_at: self.lock().material.expires_at(),
            successes: self.outcomes.successes.load(Ordering::Relaxed),
            failures: self.outcomes.failures.load(Ordering::Relaxed),
        }
    }

    /// Nothing is ever half written in there.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acceptor for TlsAcceptor {
    fn accept(&self) -> Box<dyn Channel> {
        let config = Arc::clone(&self.lock().config);
        let connection = UnbufferedServerConnection::new(config);
        // It fails only for a size of fragments that nobody sets.
        let connection = connection.expect("the configuration is sound");
        Box::new(TlsChannel::new(connection))
    }
}
