//! Listening sockets, one for each shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

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

/// An address that is kept for listeners, which share it. Nobody is accepted through it.
#[derive(Debug)]
pub struct Reservation {
    address: SocketAddr,
    /// Bound, and not listening, so that no other process gets the port meanwhile.
    _socket: Socket,
}

impl Reservation {
    /// Keeps an address. With port 0 the kernel chooses one.
    ///
    /// Unless `shared`, an address on which any other process listens is refused, although
    /// `SO_REUSEPORT` would allow the same user to take a part of its connections.
    ///
    /// # Errors
    /// `AddrInUse`, `PermissionDenied` (a port under 1024), `AddrNotAvailable`, or whatever
    /// else the kernel has against the address.
    pub fn new(address: SocketAddr, shared: bool) -> io::Result<Self> {
        if !shared {
            probe(address)?;
        }
        let socket = bind(address)?;
        Ok(Self {
            address: address_of(&socket)?,
            _socket: socket,
        })
    }

    /// The address with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A listener on the address; as many as one asks for, on any thread.
    ///
    /// # Errors
    /// As [`Self::new`], or when there are no descriptors left.
    pub fn listener(&self) -> io::Result<Listener> {
        self.listener_with(SocketOptions::default())
    }

    /// The same, whose peers have these options.
    ///
    /// # Errors
    /// As [`Self::listener`], or when the kernel does not know an option.
    pub fn listener_with(&self, options: SocketOptions) -> io::Result<Listener> {
        let socket = bind(self.address)?;
        options.set(&socket)?;
        // Inherited by every accepted socket, which saves a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
        Ok(Listener {
            fd: Arc::new(socket.into()),
            address: self.address,
            lent: Arc::default(),
            is_crowded: false,
        })
    }
}

impl Listener {
    /// A listener that is the only one on its address.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        Reservation::new(address, false)?.listener()
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
    bind(address).map(OwnedFd::from)
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the listener has no IP address"))
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

    #[test]
    fn all_listeners_share_the_port_that_the_kernel_chose() {
        let reservation = Reservation::new(any_port(), false).unwrap();
        assert_ne!(reservation.address().port(), 0);
        let listeners: Vec<_> = (0..3).map(|_| reservation.listener().unwrap()).collect();
        assert!(
            listeners
                .iter()
                .all(|l| l.address() == reservation.address())
        );
    }

    #[test]
    fn an_address_in_use_is_refused_unless_shared() {
        let first = Listener::new(any_port()).unwrap();
        let error = Reservation::new(first.address(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let shared = Reservation::new(first.address(), true).unwrap();
        assert!(shared.listener().is_ok());
    }

    #[test]
    fn who_is_accepted_has_the_options_of_the_listener() {
        let options = SocketOptions {
            user_timeout: Some(Duration::from_secs(7)),
            unsent_size_max: Some(16_384),
        };
        let reservation = Reservation::new(any_port(), false).unwrap();
        let listener = reservation.listener_with(options).unwrap();
        let _client = std::net::TcpStream::connect(reservation.address()).unwrap();
        let socket = Socket::from(listener.fd.try_clone().unwrap());
        socket.set_nonblocking(false).unwrap();
        let (peer, _) = socket.accept().unwrap();
        assert_eq!(peer.tcp_user_timeout().unwrap(), options.user_timeout);
        assert_eq!(peer.tcp_notsent_lowat().unwrap(), 16_384);
        assert!(peer.tcp_nodelay().unwrap());
    }

    #[test]
    fn an_address_that_is_reserved_accepts_nobody() {
        let reservation = Reservation::new(any_port(), false).unwrap();
        let error = std::net::TcpStream::connect(reservation.address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
