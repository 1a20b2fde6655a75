//! A kernel made of memory and one seed: short, late, reordered, refused, reset.
//!
//! A whole shard runs on it as it runs on a real kernel. Time is virtual and chance comes
//! from the seed, so that the same seed and the same calls give the same behaviour to the
//! last bit, and any failure can be replayed.
//!
//! ```text
//!  Client (the test's end)                          SimDriver (the shard's end)
//!
//!  send ─▶ unsent ─▶ in flight ─▶ arrived ─────────▶ Received, Filled, Ended
//!          any size  └─────── capacity ───────┘
//!
//!  receive ◀─ inbox ◀─ arrived ◀─ in flight ◀─ unsent ◀─ Send     Pending ─▶ Sent
//!             any size └─────── capacity ───────┘        the rest of one batch
//!
//!  a direction:   open ─▶ end wanted ─▶ end sent ─▶ end arrived, behind the last byte
//!  an end:        arriving ─▶ waiting ─▶ handed ─▶ a socket ─▶ closed
//!                             (in the    (as a                (lost: a reset came)
//!                             listener)  Peer)
//! ```
//!
//! A client that stops reading leaves bytes in `arrived`, the link fills up, and sends become
//! partial; a socket that is paused does the same to the client. Whoever closes with bytes
//! unread, or is sent bytes after it has closed, resets the other side, as TCP does.
//!
//! Each wait costs a few microseconds of virtual time, so that the world goes on around a
//! driver that is always busy. It ends as soon as anything happened that somebody might look
//! at: in this driver, in another, or in a client. A wait for which nothing can ever happen
//! returns at once; [`World::is_quiet`] tells.

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Peer;
use crate::driver::Handle;

mod chance;
mod client;
mod door;
mod driver;
mod faults;
mod network;
mod traffic;
mod wire;

pub use chance::Chance;
pub use client::Client;
pub use driver::SimDriver;
pub use faults::Faults;

use door::Door;
use network::Network;
use wire::{EndId, Inbox, Owner};

/// A world of its own: a network, a clock, and everybody in it. A clone is the same world.
///
/// ```
/// use tidegate_io::sim::World;
/// use tidegate_io::{Driver, Op, Timeout};
///
/// let world = World::new(1);
/// let mut driver = world.driver();
/// let _ = driver.submit(Op::Listen);
/// let client = world.connect().expect("a driver listens");
/// driver.wait(Timeout::Never)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct World(Rc<RefCell<Network>>);

impl World {
    /// A lively world (see [`Faults::default`]).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::default())
    }

    /// A world with these faults.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the origin of virtual time, and no more"
    )]
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(Network::new(
            seed,
            faults,
            Instant::now(),
        ))))
    }

    /// Changes the faults from now on. Links keep the capacity that they have.
    pub fn set_faults(&self, faults: Faults) {
        self.network().faults = faults;
    }

    /// A driver for one shard, with a listener of its own. Its queue takes connects at once;
    /// they are accepted after `Op::Listen`.
    #[must_use]
    pub fn driver(&self) -> SimDriver {
        self.driver_with_listeners(1)
    }

    /// The same with so many listeners.
    #[must_use]
    pub fn driver_with_listeners(&self, listener_count: u16) -> SimDriver {
        self.add_driver(listener_count)
    }

    /// A driver without a listener, which can only connect.
    #[must_use]
    pub fn driver_without_listener(&self) -> SimDriver {
        self.add_driver(0)
    }

    /// Connects to the first listener of any driver that listens; `None` if there is none.
    #[must_use]
    pub fn connect(&self) -> Option<Client> {
        let mut network = self.network();
        let open: Vec<usize> = (0..network.doors.len())
            .filter(|&index| network.doors[index].open)
            .collect();
        if open.is_empty() {
            return None;
        }
        let door = open[network.chance.below(open.len())];
        drop(network);
        self.connect_to(door)
    }

    /// Connects to the first listener of the driver with this index; `None` if it is not open.
    #[must_use]
    pub fn connect_to(&self, driver_index: usize) -> Option<Client> {
        self.connect_to_listener(driver_index, 0)
    }

    /// The same with any of its listeners.
    #[must_use]
    pub fn connect_to_listener(&self, driver_index: usize, listener_index: u16) -> Option<Client> {
        let mut network = self.network();
        let door = network.doors.get(driver_index)?;
        if !door.open || listener_index >= door.listener_count {
            return None;
        }
        let inbox = Inbox {
            bytes: Vec::new(),
            reading: true,
            ended: false,
            reset: false,
            refused: false,
            connected: false,
            stirred: false,
        };
        let to = (driver_index, listener_index);
        let end = network.connect(Owner::Client(inbox), None, Some(to));
        Some(Client::new(self.clone(), end))
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.network().now()
    }

    /// Lets time pass without any driver.
    pub fn advance(&self, time: Duration) {
        let mut network = self.network();
        let end = network.elapsed.saturating_add(time);
        network.run_until(end);
    }

    /// Would a wait of the driver with this index end at once, because it has something to
    /// tell, or because its bell has been rung?
    #[must_use]
    pub fn is_awake(&self, driver_index: usize) -> bool {
        let network = self.network();
        network.doors[driver_index].bell.is_rung() || network.has_news(driver_index)
    }

    /// Lets the next thing happen without any driver, if one will by `end`; otherwise time goes
    /// on to `end`, if there is one. `false`: nothing happened.
    pub fn step(&self, end: Option<Instant>) -> bool {
        self.network().step(end)
    }

    /// The numbers of the clients that have something new to look at since the last call.
    #[must_use]
    pub fn stirred_clients(&self) -> Vec<u64> {
        let mut network = self.network();
        let stirred = std::mem::take(&mut network.stirred_clients);
        for &wire in &stirred {
            if let Some(wire) = network.wires.get_mut(&wire)
                && let Owner::Client(inbox) = &mut wire.ends[0].owner
            {
                inbox.stirred = false;
            }
        }
        stirred
    }

    /// How many links there are of which an end is in use, or bytes are on their way.
    #[must_use]
    pub fn links(&self) -> usize {
        self.network().wires.len()
    }

    /// Can nothing ever happen again, unless somebody does something?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.network().is_quiet()
    }

    /// How many ends of links are with drivers: queued, handed out as a [`Peer`], or open.
    #[must_use]
    pub fn open_links(&self) -> usize {
        self.network()
            .wires
            .values()
            .filter(|wire| wire.is_served())
            .count()
    }

    /// How many bytes are held between the drivers and the clients, whoever sent them.
    #[must_use]
    pub fn bytes_in_flight(&self) -> usize {
        let network = self.network();
        let pipes = network.wires.values().flat_map(|wire| &wire.pipes);
        pipes
            .map(|pipe| pipe.unsent_size() + pipe.flight_size() + pipe.arrived.len())
            .sum()
    }

    /// How many buffers the drivers hold for their callers: pieces of batches under way, and
    /// buffers to receive into.
    #[must_use]
    pub fn buffers_held(&self) -> usize {
        let network = self.network();
        let entries = network.doors.iter().flat_map(|door| door.sockets.values());
        let held = |entry: &door::Entry| {
            let wire = network.wires.get(&entry.end.wire);
            let pieces = wire.map_or(0, |wire| wire.pipes[entry.end.side].unsent_count());
            pieces + usize::from(entry.direct.is_some())
        };
        entries.map(held).sum()
    }

    fn add_driver(&self, listener_count: u16) -> SimDriver {
        let mut network = self.network();
        let index = network.doors.len();
        let [.., high, low] = u16::try_from(index).expect("65,536 drivers").to_be_bytes();
        network.doors.push(Door::new(
            SocketAddr::from(([10, 0, high, low], 9000)),
            listener_count,
        ));
        SimDriver::new(self.clone(), index)
    }

    fn network(&self) -> RefMut<'_, Network> {
        self.0.borrow_mut()
    }

    /// For what runs while something is dropped, perhaps because of a panic.
    fn network_if_free(&self) -> Option<RefMut<'_, Network>> {
        if std::thread::panicking() {
            None
        } else {
            self.0.try_borrow_mut().ok()
        }
    }

    /// Takes the end of a link out of the hands of the caller.
    fn take(&self, peer: Peer) -> EndId {
        match peer.handle {
            Handle::Sim(mut link) => {
                assert!(
                    Rc::ptr_eq(&self.0, &link.world.0),
                    "a peer stays in its world"
                );
                link.end.take().expect("only taking it leaves it empty")
            }
            Handle::Fd(_) => panic!("a socket of the kernel's does not enter a simulation"),
        }
    }
}

/// The accepted end of a link that has no number yet. Dropping it closes the link.
#[derive(Debug)]
pub(crate) struct Link {
    world: World,
    /// `None` once it is a socket.
    end: Option<EndId>,
}

impl Link {
    fn new(world: World, end: EndId) -> Self {
        Self {
            world,
            end: Some(end),
        }
    }

    /// Resets it, before it is a socket.
    pub(crate) fn reset(mut self) {
        if let Some(end) = self.end.take()
            && let Some(mut network) = self.world.network_if_free()
        {
            network.close_end(end, true);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(end) = self.end
            && let Some(mut network) = self.world.network_if_free()
        {
            network.close_end(end, false);
        }
    }
}
