//! What the contract tests need of a kernel: drivers, and peers that call them.

use std::net::SocketAddr;

use tidegate_io::Driver;

/// A kernel, real or simulated.
pub(crate) trait Rig {
    type Driver: Driver;
    type Remote: Remote;

    /// A driver with a listener, and where that listens.
    fn driver(&mut self) -> (Self::Driver, SocketAddr) {
        let (driver, addresses) = self.driver_with_listeners(1);
        (driver, addresses[0])
    }

    /// A driver with so many listeners, and where they listen, in their order.
    fn driver_with_listeners(&mut self, count: u16) -> (Self::Driver, Vec<SocketAddr>);

    /// A peer that connects; `None` if it was refused at once.
    fn connect(&mut self, to: SocketAddr) -> Option<Self::Remote>;

    /// An address at which nobody listens.
    fn unused_address(&mut self) -> SocketAddr;

    /// Called after every socket was closed: asserts that nothing is held any more.
    fn assert_all_returned(&self);
}

/// The other end of a connection, in the hands of the test.
pub(crate) trait Remote {
    /// Moves bytes, and sees what has happened, without waiting.
    fn poll(&mut self);

    /// Queues bytes, which leave as there is room.
    fn send(&mut self, bytes: &[u8]);

    /// How much is still queued.
    fn unsent_size(&self) -> usize;

    /// Takes what was received so far.
    fn receive(&mut self) -> Vec<u8>;

    /// Sends no more; the end of the stream follows what is queued.
    fn finish(&mut self);

    /// Breaks the connection off.
    fn reset(&mut self);

    /// Whether to read what comes. It does at first.
    fn set_reading(&mut self, reading: bool);

    /// The end of the stream has been read.
    fn is_ended(&self) -> bool;

    /// The connection was broken off.
    fn is_reset(&self) -> bool;

    /// The connect was refused.
    fn is_refused(&self) -> bool;

    /// Where it calls from.
    fn address(&self) -> SocketAddr;
}
