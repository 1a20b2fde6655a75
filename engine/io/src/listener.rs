//! Listening sockets, one for each shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::Port;

/// How many connects may wait to be accepted; the kernel lowers it to
/// `net.core.somaxconn`. Below 65,535 a storm of 15,000 connects overflows the queue.
pub const BACKLOG: i32 = 65_535;

/// Options of TCP for all peers that a listener accepts. They inherit them from it, whichever
/// driver accepts, so that no peer costs a system call; the simulation has no TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// `TCP_USER_TIMEOUT`: so long may what was sent go without an acknowledgement, or the window
    /// of a peer stay closed; then the peer is gone with `ETIMEDOUT`. `None`: as the kernel does
    /// it, some 15 minutes.
    pub user_timeout: Option<Duration>,
    /// `TCP_NOTSENT_LOWAT`: with so many bytes that have not been sent, the kernel takes no more of
    /// a peer's. What waits then waits here, where it can still be replaced. `None`: as much as its
    /// buffer for sending holds.
    pub unsent_size_max: Option<u32>,
}

impl SocketOptions {
    pub(crate) fn set(self, socket: &Socket) -> io::Result<()> {
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        if let Some(size) = self.unsent_size_max {
            socket.set_tcp_notsent_lowat(size)?;
        }
        Ok(())
    }
}

/// A socket that listens. Several share one address through `SO_REUSEPORT`, and the kernel
/// spreads new connections over them.
#[derive(Debug)]
pub struct Listener {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) address: SocketAddr,
    /// Another process holds the same socket.
    pub(crate) lent: Arc<AtomicBool>,
    /// Other shards accept from the same socket.
    pub(crate) is_crowded: bool,
}

impl Listener {
    /// A listener that is the only one on its address.
    ///
    /// # Errors
    /// As [`Port::bind`] and [`Port::listener`].
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        Port::bind(address, 1, false)?.listener(0, 1, SocketOptions::default())
    }

    /// The address with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on no connect begins here, and those under way go on. The kernel does not answer a
    /// first packet, so that its sender sends it once more, after a second.
    pub(crate) fn hush(&self) {
        // A socket filter sees a segment from its TCP header on; who is accepted inherits it, and
        // has no such segments.
        const FLAGS_AT: u32 = 13;
        const SYN_ACK: u32 = 0x12;
        const SYN: u32 = 0x02;
        const LOAD_BYTE: u16 = 0x30;
        const AND: u16 = 0x54;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        let filter = [
            SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
            SockFilter::new(AND, 0, 0, SYN_ACK),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
            SockFilter::new(RETURN, 0, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ];
        // Without it, whoever connects in the moment of the close is reset, as ever.
        let _ = SockRef::from(&self.fd).attach_filter(&filter);
    }

    /// Nobody connects here any more, although a request of the kernel may still hold the socket;
    /// unless another process holds it as well.
    pub(crate) fn shut(&self) {
        if !self.lent.load(Ordering::Acquire) {
            let _ = shutdown(&self.fd, Shutdown::Read);
        }
    }
}

/// Whether nobody listens on this address.
pub(crate) fn probe(address: SocketAddr) -> io::Result<()> {
    // A socket without SO_REUSEPORT conflicts with every listener there is.
    new_socket(address)?.bind(&address.into())
}

/// A socket on this address, which others may have, too.
pub(crate) fn bind_shared(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn listener(port: &Port, shard: usize) -> Listener {
        port.listener(shard, 3, SocketOptions::default()).unwrap()
    }

    #[test]
    fn all_listeners_share_the_port_that_the_kernel_chose() {
        let port = Port::bind(any_port(), 3, false).unwrap();
        assert_ne!(port.address().port(), 0);
        let all = (0..3).map(|shard| listener(&port, shard).address());
        assert!(all.into_iter().all(|address| address == port.address()));
    }

    #[test]
    fn an_address_in_use_is_refused_unless_shared() {
        let first = Listener::new(any_port()).unwrap();
        let error = Port::bind(first.address(), 3, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let shared = Port::bind(first.address(), 3, true).unwrap();
        assert_eq!(listener(&shared, 0).address(), first.address());
    }

    #[test]
    fn who_is_accepted_has_the_options_of_the_listener() {
        let options = SocketOptions {
            user_timeout: Some(Duration::from_secs(7)),
            unsent_size_max: Some(16_384),
        };
        let port = Port::bind(any_port(), 1, false).unwrap();
        let listener = port.listener(0, 1, options).unwrap();
        let _client = std::net::TcpStream::connect(port.address()).unwrap();
        let socket = Socket::from(listener.fd.try_clone().unwrap());
        socket.set_nonblocking(false).unwrap();
        let (peer, _) = socket.accept().unwrap();
        assert_eq!(peer.tcp_user_timeout().unwrap(), options.user_timeout);
        assert_eq!(peer.tcp_notsent_lowat().unwrap(), 16_384);
        assert!(peer.tcp_nodelay().unwrap());
    }

    #[test]
    fn a_port_that_is_bound_accepts_nobody() {
        let port = Port::bind(any_port(), 1, false).unwrap();
        let error = std::net::TcpStream::connect(port.address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
