//! The real kernel behind io_uring, for the contract tests.

use std::net::SocketAddr;

use tidegate_io::uring::{Setup, UringDriver};
use tidegate_io::{Doorbell, Listener};

use crate::epoll_rig::{EpollRig, TcpRemote, any_port};
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

    fn driver(&mut self) -> (UringDriver, SocketAddr) {
        let listener = Listener::new(any_port()).unwrap();
        let address = listener.address();
        let bell = Doorbell::new().unwrap();
        let driver = UringDriver::with_setup(Some(listener), bell, self.setup);
        (driver.unwrap(), address)
    }

    fn connect(&mut self, to: SocketAddr) -> Option<TcpRemote> {
        self.remotes.connect(to)
    }

    fn unused_address(&mut self) -> SocketAddr {
        self.remotes.unused_address()
    }

    fn assert_all_returned(&self) {}
}
