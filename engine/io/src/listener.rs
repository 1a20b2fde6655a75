//! Listening sockets, one for each shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connects may wait to be accepted; the kernel lowers it to
/// `net.core.somaxconn`. Below 65,535 a storm of 15,000 connects overflows the queue.
pub const BACKLOG: i32 = 65_535;

/// A socket that listens. Several share one address through `SO_REUSEPORT`, and the kernel
/// spreads new connections over them.
#[derive(Debug)]
pub struct Listener {
    pub(crate) fd: OwnedFd,
    address: SocketAddr,
}

impl Listener {
    /// Binds `count` listeners to one address. With port 0 the kernel chooses one for all.
    ///
    /// Unless `shared`, an address on which any other process listens is refused, although
    /// `SO_REUSEPORT` would allow the same user to take a part of its connections.
    ///
    /// # Errors
    /// `AddrInUse`, `PermissionDenied` (a port under 1024), `AddrNotAvailable`, or whatever
    /// else the kernel has against the address.
    pub fn bind_all(address: SocketAddr, count: usize, shared: bool) -> io::Result<Vec<Self>> {
        let mut address = address;
        if !shared {
            // A socket without SO_REUSEPORT conflicts with every listener there is.
            let probe = new_socket(address)?;
            probe.bind(&address.into())?;
        }
        let mut listeners = Vec::with_capacity(count);
        for _ in 0..count {
            let listener = Self::bind(address)?;
            address = listener.address;
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// The address with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(address)?;
        socket.set_reuse_port(true)?;
        // Inherited by every accepted socket, which saves a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the listener has no IP address"))?;
        Ok(Self {
            fd: socket.into(),
            address,
        })
    }
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
        let listeners = Listener::bind_all(any_port(), 3, false).unwrap();
        assert_eq!(listeners.len(), 3);
        assert_ne!(listeners[0].address().port(), 0);
        assert!(
            listeners
                .iter()
                .all(|l| l.address() == listeners[0].address())
        );
    }

    #[test]
    fn an_address_in_use_is_refused_unless_shared() {
        let first = Listener::bind_all(any_port(), 1, false).unwrap();
        let address = first[0].address();
        let error = Listener::bind_all(address, 1, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(Listener::bind_all(address, 1, true).unwrap().len(), 1);
    }
}
