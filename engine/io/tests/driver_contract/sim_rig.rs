//! The simulated kernel, for the contract tests.

use std::net::SocketAddr;

use tidegate_io::sim::{Client, Faults, SimDriver, World};

use crate::rig::{Remote, Rig};

/// A simulated world that prints its seed when a law is broken in it.
pub(crate) struct SimRig {
    world: World,
    /// Of each driver, where its listeners listen.
    addresses: Vec<Vec<SocketAddr>>,
    seed: u64,
}

impl SimRig {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            world: World::with_faults(seed, faults),
            addresses: Vec::new(),
            seed,
        }
    }
}

impl Drop for SimRig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.seed);
        }
    }
}

impl Rig for SimRig {
    type Driver = SimDriver;
    type Remote = Client;

    fn driver_with_listeners(&mut self, count: u16) -> (SimDriver, Vec<SocketAddr>) {
        let driver = self.world.driver_with_listeners(count);
        let addresses = driver.addresses();
        self.addresses.push(addresses.clone());
        (driver, addresses)
    }

    fn connect(&mut self, to: SocketAddr) -> Option<Client> {
        let mut drivers = self.addresses.iter().enumerate();
        let (driver, listener) = drivers.find_map(|(driver, addresses)| {
            let listener = addresses.iter().position(|&address| address == to)?;
            Some((driver, u16::try_from(listener).unwrap()))
        })?;
        self.world.connect_to_listener(driver, listener)
    }

    fn unused_address(&mut self) -> SocketAddr {
        SocketAddr::from(([10, 0, 255, 255], 1))
    }

    fn assert_all_returned(&self) {
        assert_eq!(self.world.open_links(), 0, "links are open");
        assert_eq!(self.world.buffers_held(), 0, "buffers are held");
    }
}

impl Remote for Client {
    fn poll(&mut self) {}

    fn send(&mut self, bytes: &[u8]) {
        Self::send(self, bytes);
    }

    fn unsent_size(&self) -> usize {
        Self::unsent_size(self)
    }

    fn receive(&mut self) -> Vec<u8> {
        Self::receive(self)
    }

    fn finish(&mut self) {
        Self::finish(self);
    }

    fn reset(&mut self) {
        Self::reset(self);
    }

    fn set_reading(&mut self, reading: bool) {
        if reading {
            self.start_reading();
        } else {
            self.stop_reading();
        }
    }

    fn is_ended(&self) -> bool {
        Self::is_ended(self)
    }

    fn is_reset(&self) -> bool {
        Self::is_reset(self)
    }

    fn is_refused(&self) -> bool {
        Self::is_refused(self)
    }

    fn address(&self) -> SocketAddr {
        Self::address(self)
    }
}
