//! Starts the shards, and waits for their end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tidegate_io::host;
use tidegate_io::uring::UringDriver;
use tidegate_io::{Doorbell, Reservation};

use crate::handle::Handle;
use crate::id::SHARD_COUNT_MAX;
use crate::{Handler, Host, Io, Settings};

mod threads;

use threads::start_shards;

/// A running server.
pub struct Engine {
    address: SocketAddr,
    host: HostInfo,
    shards: Vec<ShardInfo>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    handle: Handle,
}

/// Where a shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its number, from 0.
    pub index: usize,
    /// The core that it was meant for.
    pub core: Option<usize>,
    /// Whether the system has pinned it there.
    pub pinned: bool,
}

/// What runs the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Which host.
    pub host: host::Host,
    /// Why it is not glommio's, if [`crate::Host::Auto`] would have chosen that.
    pub reason: Option<String>,
}

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// [`Io::Uring`] was chosen, and this process may not have it.
    #[error("cannot use io_uring: {source}")]
    Uring {
        /// Why.
        source: io::Error,
    },
    /// [`Host::Glommio`] was chosen, and this process may not have it.
    #[error("cannot use glommio: {source}")]
    Glommio {
        /// Why.
        source: io::Error,
    },
    /// The system has no thread or no descriptor for a shard.
    #[error("cannot start a shard: {source}")]
    Start {
        /// Why.
        source: io::Error,
    },
}

/// A shard has ended by itself, which it must not.
#[derive(Debug, thiserror::Error)]
#[error("shard {index} failed: {reason}")]
pub struct ShardFailure {
    /// Which one.
    pub index: usize,
    /// Why.
    pub reason: String,
}

impl Engine {
    /// Binds the address and starts the shards, each with a handler made by `make` from its
    /// index, on its own thread.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    ///
    /// # Panics
    /// When more than 1,024 shards are asked for.
    pub fn start<H: Handler>(
        settings: Settings,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let cores = host::cores();
        let count = if settings.shards == 0 {
            cores.len().max(1)
        } else {
            settings.shards
        };
        assert!(
            count <= SHARD_COUNT_MAX,
            "{count} shards are more than {SHARD_COUNT_MAX}"
        );
        let reservation =
            Reservation::new(settings.listen, settings.share_port).map_err(|source| {
                StartError::Listen {
                    address: settings.listen,
                    source,
                }
            })?;
        if settings.io.chosen() == Io::Uring {
            UringDriver::probe().map_err(|source| StartError::Uring { source })?;
        }
        let chosen = settings.host.choose();
        let (host, reason) = chosen.map_err(|source| StartError::Glommio { source })?;
        let bells: io::Result<Arc<[_]>> = (0..count).map(|_| Doorbell::new()).collect();
        let bells = bells.map_err(|source| StartError::Start { source })?;
        let (reservation, make) = (Arc::new(reservation), Arc::new(make));
        let start = |host, reason| {
            let (host, bells) = (HostInfo { host, reason }, Arc::clone(&bells));
            start_shards(&settings, host, &cores, &reservation, bells, make.clone())
        };
        let started = match start(host, reason) {
            // There was enough for one of them, and there is not for all.
            Err(error) if settings.host == Host::Auto && host == host::Host::Glommio => {
                start(host::Host::Thread, Some(error.to_string()))
            }
            outcome => outcome,
        };
        started.map_err(|source| StartError::Start { source })
    }

    /// The address that is listened on, with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the shards run.
    #[must_use]
    pub fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    /// What runs the shards.
    #[must_use]
    pub fn host(&self) -> &HostInfo {
        &self.host
    }

    /// Speaks to the server from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until all shards have ended, after [`Handle::drain`] or [`Handle::stop`].
    ///
    /// # Errors
    /// When a shard has ended by itself.
    pub fn join(self) -> Result<(), ShardFailure> {
        let mut outcome = Ok(());
        for (index, thread) in self.threads.into_iter().enumerate() {
            let reason = match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            outcome = outcome.and(Err(ShardFailure { index, reason }));
        }
        outcome
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
