//! The real kernel behind io_uring, for the contract tests.

use std::net::SocketAddr;

use tidegate_io::Doorbell;
use tidegate_io::uring::{Setup, UringDriver};

use crate::epoll_rig::{EpollRig, TcpRemote, listeners};
use crate::rig::Rig;

/// As with epoll, but for the driver.
pub(crate) struct UringRig {
    remotes: EpollRig,
    setup: Setup,
}

impl UringRig {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            remotes: EpollRig::default(),
            setup,
        }
    }
}

impl Rig for UringRig {
    type Driver = UringDriver;
    type Remote = TcpRemote;

    fn driver_with_listeners(&mut self, count: u16) -> (UringDriver, Vec<SocketAddr>) {
        let (listeners, addresses) = listeners(count);
        let bell = Doorbell::new().unwrap();
        let driver = UringDriver::with_setup(listeners, bell, self.setup);
        (driver.unwrap(), addresses)
    }

    fn connect(&mut self, to: SocketAddr) -> Option<TcpRemote> {
        self.remotes.connect(to)
    }

    fn unused_address(&mut self) -> SocketAddr {
        self.remotes.unused_address()
    }

    fn assert_all_returned(&self) {}
}
