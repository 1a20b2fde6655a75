//! Whole shards on a simulated kernel: short, late, reordered, refused, reset.

use std::sync::Arc;
use std::time::Duration;

use tidegate_io::Driver;
use tidegate_io::host::{Executor, run_here};
use tidegate_io::sim::{Faults, SimDriver, World};

use super::{Parts, Shard};
use crate::compression::{Budget, Compressor};
use crate::mailbox::{Address, Letter, Post, mailbox};
use crate::{
    Admission, Answer, CloseCode, Compression, Context, End, EndReason, Farewell, Handler, Key,
    Limits, Message, Parting, Profile, ProxyHeader, Rate, RatePolicy, Rates, Refusal, Request,
    RequestContext, ShardContext, SlowPolicy, Upgrade,
};

mod admission;
mod allocations;
mod compression;
mod crowd;
mod decide;
mod drain;
mod farewell;
mod filter;
mod laws;
mod listing;
mod peer;
mod presence;
mod rates;
mod secure;
mod simulation;
mod slow;
mod tasks;
mod timeouts;
mod watch;

use peer::Peer;

/// Turns after which a test that waits for something has failed.
const TURNS_MAX: usize = 200_000;

/// `/echo` echoes, `/room` is a room, `/feed` listens to it; what ended is remembered.
#[derive(Debug, Default)]
struct Bench {
    ends: Vec<EndReason>,
    opens: usize,
    notes: Vec<u32>,
    busy: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Echo,
    Room,
    Feed,
}

impl Handler for Bench {
    type State = Kind;
    type Note = u32;

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Kind> {
        let mut upgrade = Upgrade::new(match request.path() {
            "/room" => Kind::Room,
            "/feed" => Kind::Feed,
            _ => Kind::Echo,
        });
        if request.path() == "/pinged" {
            upgrade.profile = Some(Profile {
                ping_interval: Duration::from_secs(1),
                ..Profile::default()
            });
        }
        Answer::Upgrade(upgrade)
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        self.opens += 1;
        if *context.state() != Kind::Echo {
            context.subscribe("room");
        }
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        match *context.state() {
            Kind::Echo => context
                .send(message)
                .expect("reading stops before the outbox is full"),
            Kind::Room => {
                let key = message
                    .as_bytes()
                    .strip_prefix(b"key ")
                    .and_then(<[u8]>::first);
                let published = match key {
                    Some(&key) => context.publish_latest("room", Key::new(key.into()), message),
                    None => context.publish("room", message),
                };
                self.busy += usize::from(published.is_err());
            }
            Kind::Feed => context.close(CloseCode::POLICY, "listen only"),
        }
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, end: End) {
        assert!(context.send(Message::Text("too late")).is_err());
        self.ends.push(end.reason);
    }

    fn on_note(&mut self, _shard: &mut ShardContext<'_, Self>, note: u32) {
        self.notes.push(note);
    }
}

/// Deadlines that no test reaches: a lively world may be slower than any sensible one.
fn patient() -> Limits {
    let long = Duration::from_secs(50_000_000);
    Limits {
        handshake_timeout: long,
        linger_timeout: long,
        profile: Profile {
            message_timeout: long,
            send_timeout: long,
            close_timeout: long,
            ..Profile::quiet()
        },
        ..Limits::default()
    }
}

/// The letter by which a shard takes leave.
fn leave(farewell: Farewell) -> Letter<u32> {
    Letter::Drain(Box::new(farewell))
}

/// A shard on each of the drivers, and the addresses of their mailboxes.
fn shards_on<D: Driver>(
    drivers: Vec<D>,
    seed: u64,
    limits: &Limits,
    compression: Compression,
    budget: &Arc<Budget>,
) -> (Vec<Shard<D, Bench>>, Vec<Address<u32>>) {
    shards_with(drivers, seed, limits, compression, budget, Bench::default)
}

/// The same with another handler.
fn shards_with<D: Driver, H: Handler<Note = u32>>(
    drivers: Vec<D>,
    seed: u64,
    limits: &Limits,
    compression: Compression,
    budget: &Arc<Budget>,
    handler: impl Fn() -> H,
) -> (Vec<Shard<D, H>>, Vec<Address<u32>>) {
    let boxes = drivers
        .iter()
        .map(|d| mailbox(limits.mailbox_letters_max, d.waker()));
    let (mailboxes, addresses): (Vec<_>, Vec<_>) = boxes.unzip();
    let numbered = drivers.into_iter().zip(mailboxes).enumerate();
    let shards = numbered.map(|(index, (driver, mailbox))| {
        let others = addresses.iter().cloned().enumerate();
        let targets = others
            .map(|(i, address)| (i != index).then_some(address))
            .collect();
        let parts = Parts {
            index,
            limits: limits.clone(),
            compressor: Compressor::new(compression, Arc::clone(budget)),
            executor: Executor::here(),
            mailbox,
            post: Post::new(targets, limits.mail_bytes_max),
            shared: Arc::default(),
            seed,
        };
        Shard::new(driver, handler(), parts)
    });
    (shards.collect(), addresses)
}

/// Some shards in one world.
struct Stand {
    seed: u64,
    world: World,
    shards: Vec<Shard<SimDriver, Bench>>,
    addresses: Vec<Address<u32>>,
    budget: Arc<Budget>,
}

/// One turn of every shard and of its tasks, and a look of every peer.
fn turn_all<H: Handler>(shards: &mut [Shard<SimDriver, H>], peers: &mut [Peer]) {
    for shard in shards {
        shard.turn().expect("a simulation can always wait");
        run_here(shard.run_tasks());
    }
    for peer in peers {
        peer.look();
    }
}

impl Stand {
    fn new(seed: u64, faults: Faults, shard_count: usize, limits: &Limits) -> Self {
        Self::compressing(seed, faults, shard_count, limits, Compression::Shared)
    }

    fn compressing(
        seed: u64,
        faults: Faults,
        shard_count: usize,
        limits: &Limits,
        compression: Compression,
    ) -> Self {
        let budget = Arc::new(Budget::new(compression));
        let world = World::with_faults(seed, faults);
        let drivers: Vec<SimDriver> = (0..shard_count).map(|_| world.driver()).collect();
        let (shards, addresses) = shards_on(drivers, seed, limits, compression, &budget);
        Self {
            seed,
            world,
            shards,
            addresses,
            budget,
        }
    }

    /// One turn of every shard, and a look of every peer.
    fn turn(&mut self, peers: &mut [Peer]) {
        turn_all(&mut self.shards, peers);
    }

    /// Turns until it is so.
    #[track_caller]
    fn until(&mut self, peers: &mut [Peer], what: &str, so: impl Fn(&Self, &[Peer]) -> bool) {
        for _ in 0..TURNS_MAX {
            if so(self, peers) {
                return;
            }
            self.turn(peers);
        }
        panic!("seed {}: not within {TURNS_MAX} turns: {what}", self.seed);
    }

    fn connect(&mut self, count: usize, path: &str) -> Vec<Peer> {
        let peer = |_| Peer::new(self.world.connect().expect("a shard listens"), path);
        (0..count).map(peer).collect()
    }

    fn connect_open(&mut self, count: usize, path: &str) -> Vec<Peer> {
        let mut peers = self.connect(count, path);
        self.until(&mut peers, "all are open", |_, peers| {
            peers.iter().all(Peer::is_open)
        });
        peers
    }

    fn connections(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.core.connections.len())
            .sum()
    }

    fn ends(&self) -> Vec<EndReason> {
        self.shards
            .iter()
            .flat_map(|shard| shard.handler.ends.clone())
            .collect()
    }

    /// Everything has been given back.
    fn assert_empty(&self) {
        for shard in &self.shards {
            let core = &shard.core;
            assert_eq!(core.connections.len(), 0, "seed {}", self.seed);
            assert_eq!(core.outboxes.len(), 0, "seed {}", self.seed);
            assert_eq!(core.topics.len(), 0, "seed {}", self.seed);
            assert_eq!(core.counted.sessions, 0, "seed {}", self.seed);
            assert_eq!(
                shard.handler.opens,
                shard.handler.ends.len(),
                "seed {}",
                self.seed
            );
        }
        assert_eq!(self.world.open_links(), 0, "seed {}", self.seed);
        assert_eq!(self.world.buffers_held(), 0, "seed {}", self.seed);
    }
}
