//! Starts the shards, and waits for their end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::host::{self, Core as ProcessorCore};
use tidegate_io::uring::UringDriver;
use tidegate_io::{Doorbell, Driver, Reservation, files};

use crate::compression::{Budget, Compressor};
use crate::counters::Shared;
use crate::handle::{Door, Handle, LETTER_TIMEOUT};
use crate::id::SHARD_COUNT_MAX;
use crate::mailbox::{Address, Letter, Post, mailbox};
use crate::shard::{Parts, Shard};
use crate::{Descriptors, Handler, Io, Settings};

/// A running server.
pub struct Engine {
    address: SocketAddr,
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
        let bells: io::Result<Vec<_>> = (0..count).map(|_| Doorbell::new()).collect();
        bells
            .and_then(|bells| {
                start_shards(
                    &settings,
                    &cores,
                    &Arc::new(reservation),
                    bells.into(),
                    Arc::new(make),
                )
            })
            .map_err(|source| StartError::Start { source })
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

/// What a shard's thread says first.
struct Started<N> {
    index: usize,
    pinned: bool,
    address: Address<N>,
}

/// What a shard's thread is given.
struct Start<H: Handler> {
    index: usize,
    reservation: Arc<Reservation>,
    /// Of all shards: each of them rings the others'.
    bells: Arc<[Doorbell]>,
    settings: Settings,
    make: Arc<dyn Fn(usize) -> H + Send + Sync>,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    started: Sender<Started<H::Note>>,
    /// All addresses; nothing comes when another shard could not be started.
    addresses: Receiver<Vec<Address<H::Note>>>,
}

/// Stops all shards when one ends before its time: the others cannot do its work.
struct Fuse<N>(Vec<Address<N>>);

impl<N> Drop for Fuse<N> {
    fn drop(&mut self) {
        for address in &self.0 {
            address.send(Letter::Stop, LETTER_TIMEOUT);
        }
    }
}

/// The life of a shard's thread.
fn run_shard<H: Handler>(start: Start<H>, pinned: bool) -> io::Result<()> {
    let settings = &start.settings;
    if settings.descriptors == Descriptors::PerShard {
        let kept: Vec<_> = start.bells.iter().map(AsFd::as_fd).collect();
        files::own_table(&kept)?;
    }
    let listener = Some(start.reservation.listener()?);
    let bell = start.bells[start.index].clone();
    let expected = settings.limits.connections_expected;
    match settings.io.chosen() {
        Io::Auto | Io::Epoll => {
            let mut driver = EpollDriver::with_bell(listener, bell)?;
            driver.reserve(expected);
            run_on(driver, start, pinned)
        }
        Io::Uring => {
            let mut driver = UringDriver::with_bell(listener, bell)?;
            driver.reserve(expected);
            run_on(driver, start, pinned)
        }
    }
}

fn run_on<H: Handler>(driver: impl Driver, start: Start<H>, pinned: bool) -> io::Result<()> {
    let Start {
        index,
        reservation,
        bells: _,
        settings,
        make,
        shared,
        budget,
        started,
        addresses,
    } = start;
    let limits = settings.limits;
    // Its socket belongs to the thread that made it.
    drop(reservation);
    let (mailbox, address) = mailbox(limits.mailbox_letters_max, driver.waker());
    // Whoever starts the shards waits for this.
    let _ = started.send(Started {
        index,
        pinned,
        address,
    });
    drop(started);
    let Ok(addresses) = addresses.recv() else {
        return Ok(());
    };
    let mut fuse = Fuse(addresses.clone());
    let others = addresses.into_iter().enumerate();
    let targets = others
        .map(|(other, address)| (other != index).then_some(address))
        .collect();
    let post = Post::new(targets, limits.mail_bytes_max);
    let compressor = Compressor::new(settings.compression, budget);
    let parts = Parts {
        index,
        limits,
        compressor,
        mailbox,
        post,
        shared,
        seed: topic_seed(),
    };
    Shard::new(driver, make(index), parts).run()?;
    fuse.0.clear();
    Ok(())
}

fn start_shards<H: Handler>(
    settings: &Settings,
    cores: &[ProcessorCore],
    reservation: &Arc<Reservation>,
    bells: Arc<[Doorbell]>,
    make: Arc<dyn Fn(usize) -> H + Send + Sync>,
) -> io::Result<Engine> {
    let count = bells.len();
    let counters: Vec<Arc<Shared>> = (0..count).map(|_| Arc::default()).collect();
    let budget = Arc::new(Budget::new(settings.compression));
    let (started, all_started) = bounded::<Started<H::Note>>(count);
    let mut threads = Vec::with_capacity(count);
    let mut go = Vec::with_capacity(count);
    let mut shards = Vec::with_capacity(count);
    for (index, counters) in counters.iter().enumerate() {
        let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
        shards.push(ShardInfo {
            index,
            core: core.map(|core| core.0),
            pinned: false,
        });
        let (go_on, addresses) = bounded(1);
        go.push(go_on);
        let (settings, make) = (settings.clone(), Arc::clone(&make));
        let (started, shared) = (started.clone(), Arc::clone(counters));
        let start = Start {
            index,
            reservation: Arc::clone(reservation),
            bells: Arc::clone(&bells),
            settings,
            make,
            shared,
            budget: Arc::clone(&budget),
            started,
            addresses,
        };
        let name = format!("tidegate-{index}");
        threads.push(host::spawn(name, core, move |pinned| {
            run_shard(start, pinned)
        })?);
    }
    drop(started);
    let mut addresses: Vec<Option<Address<H::Note>>> = vec![None; count];
    while let Ok(started) = all_started.recv() {
        shards[started.index].pinned = started.pinned;
        addresses[started.index] = Some(started.address);
    }
    let all: Option<Vec<Address<H::Note>>> = addresses.into_iter().collect();
    let Some(all) = all else {
        drop(go);
        return Err(first_error(threads));
    };
    for go_on in &go {
        let _ = go_on.send(all.clone());
    }
    let doors = all
        .into_iter()
        .map(|address| Box::new(address) as Box<dyn Door>)
        .collect();
    let handle = Handle {
        doors,
        counters: counters.into(),
        budget,
    };
    Ok(Engine {
        address: reservation.address(),
        shards,
        threads,
        handle,
    })
}

/// The seed of the topic table: unknown to clients, and not worth more than that.
fn topic_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn first_error(threads: Vec<JoinHandle<io::Result<()>>>) -> io::Error {
    let outcomes = threads.into_iter().map(JoinHandle::join);
    let mut errors = outcomes.filter_map(|outcome| outcome.ok()?.err());
    errors
        .next()
        .unwrap_or_else(|| io::Error::other("a shard ended while it was starting"))
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
