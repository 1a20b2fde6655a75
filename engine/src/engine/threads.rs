//! The threads of the shards: how each begins, and how all end when one does.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::host::{self, Core as ProcessorCore, Place, Seat};
use tidegate_io::uring::UringDriver;
use tidegate_io::{Doorbell, Driver, Port, files};

use super::{Engine, Footing, ShardInfo};
use crate::compression::{Budget, Compressor};
use crate::counters::Shared;
use crate::handle::{Door, Handle, LETTER_TIMEOUT};
use crate::mailbox::{Address, Letter, Post, mailbox};
use crate::shard::{Parts, Shard};
use crate::{Descriptors, Handler, Io, Ports, Settings};

/// What a shard's thread says first.
struct Started<N> {
    index: usize,
    pinned: bool,
    thread_id: u32,
    address: Address<N>,
}

/// What a shard's thread is given.
struct Start<H: Handler> {
    index: usize,
    ports: Ports,
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
async fn run_shard<H: Handler>(start: Start<H>, seat: Seat) -> io::Result<()> {
    let settings = &start.settings;
    let shard_count = start.bells.len();
    let ports = &start.ports;
    let listeners = ports.listeners(start.index, shard_count, settings.sockets)?;
    let bell = start.bells[start.index].clone();
    let expected = settings.limits.connections_expected;
    match settings.io {
        Io::Epoll | Io::Auto => {
            let mut driver = EpollDriver::with_bell(listeners, bell)?;
            driver.reserve(expected);
            run_on(driver, start, seat).await
        }
        Io::Uring => {
            let mut driver = UringDriver::with_bell(listeners, bell)?;
            driver.reserve(expected);
            run_on(driver, start, seat).await
        }
    }
}

async fn run_on<H: Handler>(driver: impl Driver, start: Start<H>, seat: Seat) -> io::Result<()> {
    let Start {
        index,
        ports,
        bells: _,
        settings,
        make,
        shared,
        budget,
        started,
        addresses,
    } = start;
    let limits = settings.limits;
    let secure = settings.secure;
    let secure = secure.map(|secure| (ports.iter().count() - 1, secure.acceptor));
    // Where shards have tables of their own, their sockets belong to the thread that made them.
    drop(ports);
    let (mailbox, address) = mailbox(limits.mailbox_letters_max, driver.waker());
    // Whoever starts the shards waits for this.
    let _ = started.send(Started {
        index,
        pinned: seat.pinned,
        thread_id: seat.thread_id,
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
        executor: seat.executor,
        mailbox,
        post,
        shared,
        seed: topic_seed(),
    };
    let mut shard = Shard::new(driver, make(index), parts);
    if let Some((listener, acceptor)) = secure {
        shard.secure(listener, acceptor);
    }
    shard.run().await?;
    fuse.0.clear();
    Ok(())
}

pub(super) fn start_shards<H: Handler>(
    settings: &Settings,
    footing: Footing,
    cores: &[ProcessorCore],
    ports: &Ports,
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
            thread_id: 0,
        });
        let (go_on, addresses) = bounded(1);
        go.push(go_on);
        let make = Arc::clone(&make);
        let settings = Settings {
            io: footing.driver.io,
            // Whoever keeps it keeps the sockets open.
            port: None,
            ..settings.clone()
        };
        let (started, shared) = (started.clone(), Arc::clone(counters));
        let start = Start {
            index,
            ports: ports.clone(),
            bells: Arc::clone(&bells),
            settings,
            make,
            shared,
            budget: Arc::clone(&budget),
            started,
            addresses,
        };
        match launch(footing.host.host, core, start) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                // Without addresses they end, and with them what they hold.
                drop(go);
                let _ = first_error(threads);
                return Err(error);
            }
        }
    }
    drop(started);
    let Some(all) = all_addresses(&all_started, &mut shards) else {
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
        ports: Arc::new(Mutex::new(ports.clone())),
    };
    Ok(Engine {
        address: ports.address(),
        secure_address: ports.secure.as_ref().map(Port::address),
        footing,
        shards,
        threads,
        handle,
    })
}

/// Waits until each shard has begun or failed; `None` if one has failed.
fn all_addresses<N>(
    all_started: &Receiver<Started<N>>,
    shards: &mut [ShardInfo],
) -> Option<Vec<Address<N>>> {
    let mut addresses: Vec<Option<Address<N>>> = shards.iter().map(|_| None).collect();
    while let Ok(started) = all_started.recv() {
        shards[started.index].pinned = started.pinned;
        shards[started.index].thread_id = started.thread_id;
        addresses[started.index] = Some(started.address);
    }
    addresses.into_iter().collect()
}

/// Puts a shard on a thread of its own.
fn launch<H: Handler>(
    host: host::Host,
    core: Option<ProcessorCore>,
    start: Start<H>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let name = format!("tidegate-{}", start.index);
    let own_table = start.settings.descriptors == Descriptors::PerShard;
    let (bells, ports, index) = (Arc::clone(&start.bells), start.ports.clone(), start.index);
    // Whatever the host opens belongs into the shard's table.
    let prepare = move || {
        if own_table {
            let kept: Vec<_> = bells.iter().map(AsFd::as_fd).collect();
            let given: Vec<_> = ports.iter().map(|port| port.socket(index)).collect();
            files::own_table(&kept, &given)?;
        }
        Ok(())
    };
    let body = |seat| run_shard(start, seat);
    host::launch(host, Place { name, core }, prepare, body)
}

/// The seed of the topic table: unknown to clients, and not worth more than that.
fn topic_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn first_error(threads: Vec<JoinHandle<io::Result<()>>>) -> io::Error {
    // All of them: each holds a listener, and rings, for as long as it runs.
    let outcomes: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
    let mut errors = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.ok()?.err());
    errors
        .next()
        .unwrap_or_else(|| io::Error::other("a shard ended while it was starting"))
}
