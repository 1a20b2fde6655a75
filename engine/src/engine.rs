//! Starts the shards, and waits for their end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tidegate_io::Doorbell;
use tidegate_io::host;

use crate::handle::Handle;
use crate::id::SHARD_COUNT_MAX;
use crate::{Handler, Host, Io, Ports, Settings};

mod threads;

use threads::start_shards;

/// A running server.
pub struct Engine {
    address: SocketAddr,
    secure_address: Option<SocketAddr>,
    footing: Footing,
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
    /// The number of its thread, by which the system tells what it costs.
    pub thread_id: u32,
}

/// By what the shards speak to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// Which driver; never [`Io::Auto`].
    pub io: Io,
    /// Why it is not `io_uring`, if [`Io::Auto`] would have chosen that.
    pub reason: Option<String>,
}

/// What runs the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Which host.
    pub host: host::Host,
    /// Why it is not glommio's, if [`crate::Host::Auto`] would have chosen that.
    pub reason: Option<String>,
}

/// What the shards stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Footing {
    driver: DriverInfo,
    host: HostInfo,
}

impl Footing {
    /// What the settings mean here.
    fn choose(settings: &Settings) -> Result<Self, StartError> {
        let chosen = settings.io.choose();
        let (io, reason) = chosen.map_err(|source| StartError::Uring { source })?;
        let driver = DriverInfo { io, reason };
        let chosen = settings.host.choose();
        let (host, reason) = chosen.map_err(|source| StartError::Glommio { source })?;
        let host = HostInfo { host, reason };
        Ok(Self { driver, host })
    }

    /// What to try next, if the settings leave a choice. What a probe was given may not be there
    /// for every shard: first glommio is done without, then `io_uring`.
    fn without(self, error: &io::Error, settings: &Settings, wished: &Self) -> Option<Self> {
        let reason = Some(error.to_string());
        if settings.host == Host::Auto && self.host.host == host::Host::Glommio {
            let host = HostInfo {
                host: host::Host::Thread,
                reason,
            };
            return Some(Self { host, ..self });
        }
        (settings.io == Io::Auto && self.driver.io == Io::Uring).then(|| Self {
            driver: DriverInfo {
                io: Io::Epoll,
                reason,
            },
            host: wished.host.clone(),
        })
    }
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
        let ports = Ports::of(&settings, count)?;
        let wished = Footing::choose(&settings)?;
        let bells: io::Result<Arc<[_]>> = (0..count).map(|_| Doorbell::new()).collect();
        let bells = bells.map_err(|source| StartError::Start { source })?;
        let make = Arc::new(make);
        let mut footing = wished.clone();
        loop {
            let bells = Arc::clone(&bells);
            let started = start_shards(
                &settings,
                footing.clone(),
                &cores,
                &ports,
                bells,
                make.clone(),
            );
            match started {
                Ok(engine) => return Ok(engine),
                Err(source) => {
                    footing = footing
                        .without(&source, &settings, &wished)
                        .ok_or(StartError::Start { source })?;
                }
            }
        }
    }

    /// The address that is listened on, with the port that the kernel chose: the plain one unless
    /// there is only the secure one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where encrypted connections are accepted, if they are.
    #[must_use]
    pub fn secure_address(&self) -> Option<SocketAddr> {
        self.secure_address
    }

    /// Where the shards run.
    #[must_use]
    pub fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    /// By what the shards speak to the kernel.
    #[must_use]
    pub fn driver(&self) -> &DriverInfo {
        &self.footing.driver
    }

    /// What runs the shards.
    #[must_use]
    pub fn host(&self) -> &HostInfo {
        &self.footing.host
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
            .field("secure_address", &self.secure_address)
            .finish_non_exhaustive()
    }
}
