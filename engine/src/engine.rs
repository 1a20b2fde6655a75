//! Starts the shards, and speaks to them from other threads.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tidegate_io::host;
use tidegate_io::uring::UringDriver;
use tidegate_io::{Doorbell, Reservation};
use tidegate_proto::Message;

use crate::compression::Budget;
use crate::counters::Shared;
use crate::id::SHARD_COUNT_MAX;
use crate::mailbox::{Address, Letter};
use crate::{Busy, Handler, Host, Io, Settings, Snapshot};

mod threads;

use threads::start_shards;

/// A shard that is alive takes a letter within this; it is never waited for by a shard.
const LETTER_TIMEOUT: Duration = Duration::from_secs(5);

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

/// How many hear a topic, over all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCount {
    /// The topic.
    pub name: String,
    /// Connections that hear it.
    pub subscribers: usize,
}

/// Speaks to a running server from any thread.
#[derive(Clone)]
pub struct Handle {
    doors: Arc<[Box<dyn Door>]>,
    counters: Arc<[Arc<Shared>]>,
    budget: Arc<Budget>,
}

/// A shard's address, whatever its handlers tell each other.
trait Door: Send + Sync {
    fn publish(&self, topic: &str, message: Message<'_>) -> Result<(), Busy>;
    fn ask_topics(&self, answer: Sender<Vec<(String, usize)>>) -> bool;
    fn drain(&self, within: Duration);
    fn stop(&self);
}

/// The same shard for the same topic, whoever asks.
pub(crate) fn home_of(topic: &str, shard_count: usize) -> usize {
    // FNV-1a: any fixed hash will do, since nothing is looked up by it.
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % shard_count as u64).unwrap_or(0)
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

impl<N: Send> Door for Address<N> {
    fn publish(&self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        let kind = message.kind();
        let payload = message.as_bytes().to_vec();
        self.try_send(Letter::Publish {
            topic: topic.into(),
            kind,
            payload,
        })
        .map_err(|_| Busy)
    }

    fn ask_topics(&self, answer: Sender<Vec<(String, usize)>>) -> bool {
        self.send(Letter::Topics(answer), LETTER_TIMEOUT)
    }

    fn drain(&self, within: Duration) {
        self.send(Letter::Drain(within), LETTER_TIMEOUT);
    }

    fn stop(&self) {
        self.send(Letter::Stop, LETTER_TIMEOUT);
    }
}

impl Handle {
    /// Says a message to all who have subscribed to the topic. Messages that one thread
    /// publishes to one topic arrive in order.
    ///
    /// # Errors
    /// [`Busy`] when the shard that is to publish it has a full mailbox; nobody hears it.
    pub fn publish(&self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        self.doors[home_of(topic, self.doors.len())].publish(topic, message)
    }

    /// What each shard has counted, as it showed at the end of its last turn.
    #[must_use]
    pub fn counters(&self) -> Vec<Snapshot> {
        self.counters.iter().map(|shared| shared.load()).collect()
    }

    /// How much of the memory for compression contexts is taken, in bytes; 0 unless the
    /// takeover tier was chosen.
    #[must_use]
    pub fn compression_bytes_used(&self) -> usize {
        self.budget.bytes_used()
    }

    /// All topics that somebody hears, sorted by name. A shard that does not answer within
    /// `timeout` is left out.
    #[must_use]
    pub fn topics(&self, timeout: Duration) -> Vec<TopicCount> {
        let (answer, answers) = bounded(self.doors.len());
        let asked = self
            .doors
            .iter()
            .filter(|door| door.ask_topics(answer.clone()))
            .count();
        drop(answer);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..asked {
            let Ok(list) = answers.recv_timeout(timeout) else {
                break;
            };
            for (name, subscribers) in list {
                *counts.entry(name).or_insert(0) += subscribers;
            }
        }
        counts
            .into_iter()
            .map(|(name, subscribers)| TopicCount { name, subscribers })
            .collect()
    }

    /// Accepts no more, closes every WebSocket with 1001, and ends when all have answered or
    /// `within` has passed.
    pub fn drain(&self, within: Duration) {
        self.doors.iter().for_each(|door| door.drain(within));
    }

    /// Ends without waiting for anybody.
    pub fn stop(&self) {
        self.doors.iter().for_each(|door| door.stop());
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("shards", &self.doors.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
