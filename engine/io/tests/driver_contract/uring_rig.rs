//! The real kernel behind io_uring, for the contract tests.

use std::net::SocketAddr;

use tidegate_io::uring::{TaskRun, UringDriver};
use tidegate_io::{Doorbell, Listener};

use crate::epoll_rig::{EpollRig, TcpRemote, any_port};
use crate::rig::Rig;

/// As with epoll, but for the driver.
pub(crate) struct UringRig {
    remotes: EpollRig,
    task_run: TaskRun,
}

impl UringRig {
    pub(crate) fn new(task_run: TaskRun) -> Self {
        Self {
            remotes: EpollRig::default(),
            task_run,
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
        let driver = UringDriver::with_task_run(Some(listener), bell, self.task_run);
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
