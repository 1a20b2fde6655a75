//! The test's end of a link.

use std::net::SocketAddr;

use super::World;
use super::wire::EndId;
use crate::Parcel;

/// A peer in the hands of a test. Dropping it closes it, as the end of a process does: what
/// was sent still arrives, then the end of the stream.
///
/// What it does takes effect as the time of its [`World`] goes by.
#[derive(Debug)]
pub struct Client {
    world: World,
    end: EndId,
}

impl Client {
    pub(super) fn new(world: World, end: EndId) -> Self {
        Self { world, end }
    }

    /// Sends bytes. However many there are, the kernel of the client's takes them; they
    /// travel as the link has room.
    ///
    /// # Panics
    /// After [`Client::finish`].
    pub fn send(&self, bytes: &[u8]) {
        let mut network = self.world.network();
        let finished = network.pipe(self.end).fin != super::wire::Fin::Open;
        assert!(!finished, "a client that finished sends no more");
        if !network.end(self.end).lost {
            network.pipe(self.end).queue(Parcel::copy_of(bytes));
            network.write_soon(self.end);
        }
    }

    /// What [`World::stirred_clients`] calls it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.end.wire
    }

    /// Takes what has arrived so far.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        std::mem::take(&mut self.world.network().inbox(self.end).bytes)
    }

    /// How many bytes have been sent but have not left, since the link is full.
    #[must_use]
    pub fn unsent_size(&self) -> usize {
        self.world.network().pipe(self.end).unsent_size()
    }

    /// Sends no more: after the last byte, the other side sees the end of the stream (FIN).
    pub fn finish(&self) {
        let mut network = self.world.network();
        if !network.end(self.end).lost {
            network.send_end(self.end);
        }
    }

    /// Breaks the connection off (RST). What had been sent may be lost.
    pub fn reset(&self) {
        let mut network = self.world.network();
        if !network.end(self.end).lost {
            network.end(self.end).lost = true;
            network.pipe(self.end).forget_unsent();
            network.send_reset(self.end.other());
        }
    }

    /// Reads nothing until [`Client::start_reading`]: the link fills up, and the sends of the
    /// other side become partial.
    pub fn stop_reading(&self) {
        self.world.network().inbox(self.end).reading = false;
    }

    /// Reads again, what has arrived in the meantime first.
    pub fn start_reading(&self) {
        let mut network = self.world.network();
        network.inbox(self.end).reading = true;
        network.deliver(self.end);
    }

    /// Has the connect succeeded? A listener's queue is enough for that.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.world.network().inbox(self.end).connected
    }

    /// Has the connect failed?
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.world.network().inbox(self.end).refused
    }

    /// Has a driver accepted it, and not let go of it since?
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let mut network = self.world.network();
        let owner = &network.end(self.end.other()).owner;
        matches!(
            owner,
            super::wire::Owner::Handed | super::wire::Owner::Socket { .. }
        )
    }

    /// Has the other side sent its last byte, and have all been read?
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.world.network().inbox(self.end).ended
    }

    /// Was the connection broken off by the other side, or by the network?
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.world.network().inbox(self.end).reset
    }

    /// Where it calls from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.world.network().end(self.end).address
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(mut network) = self.world.network_if_free() {
            network.close_end(self.end, false);
        }
    }
}
