//! The sockets of one port, one for each shard, before any shard is there.
//!
//! ```text
//!  bind ──────┐                       ┌─▶ listener(0) ─▶ the driver of shard 0
//!             ├─▶ Port: one socket ───┼─▶ listener(1) ─▶ ...
//!  take_over ─┘   for each shard      └─▶ lend() ─▶ the process that follows
//! ```
//!
//! They are bound before the process gives up its rights, and listened on by whoever accepts.
//! Nothing is duplicated: a listener and its port share the descriptor, and it is closed when the
//! last of them is dropped. Whoever wants the listeners closed drops the port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{SockRef, Type};

use crate::listener::{BACKLOG, Listener, SocketOptions, bind_shared, probe};
use crate::{files, inherit};

/// The sockets of one port.
#[derive(Debug, Clone)]
pub struct Port {
    address: SocketAddr,
    sockets: Arc<[Arc<OwnedFd>]>,
    /// Others hold the same sockets.
    lent: Arc<AtomicBool>,
}

impl Port {
    /// Keeps an address for so many shards. With port 0 the kernel chooses one. Nobody is accepted
    /// yet, and no other process gets the port.
    ///
    /// Unless `shared`, an address on which any other process listens is refused, although
    /// `SO_REUSEPORT` would allow the same user to take a part of its connections.
    ///
    /// # Errors
    /// `AddrInUse`, `PermissionDenied` (a port under 1024), `AddrNotAvailable`, or whatever
    /// else the kernel has against the address.
    pub fn bind(address: SocketAddr, count: usize, shared: bool) -> io::Result<Self> {
        if !shared {
            probe(address)?;
        }
        let first = bind_shared(address)?;
        let address = address_of(first.as_fd())?;
        Ok(Self {
            address,
            sockets: Self::complete(vec![first], address, count),
            lent: Arc::default(),
        })
    }

    /// Goes on with sockets that listen already and were handed over, all on one address. Where
    /// there are fewer than shards, further ones are bound to the address if that is allowed;
    /// else shards share. Those that are more than the shards are closed.
    ///
    /// # Errors
    /// When one of them is no such socket.
    pub fn take_over(sockets: Vec<OwnedFd>, count: usize) -> io::Result<Self> {
        let mut addresses = Vec::new();
        for socket in &sockets {
            let about = SockRef::from(socket);
            if about.r#type()? != Type::STREAM || !about.is_listener()? {
                return Err(io::Error::other("it is no socket that listens for TCP"));
            }
            about.set_nonblocking(true)?;
            addresses.push(address_of(socket.as_fd())?);
        }
        addresses.dedup();
        let &[address] = &addresses[..] else {
            return Err(io::Error::other("there must be one address, and one only"));
        };
        Ok(Self {
            address,
            sockets: Self::complete(sockets, address, count),
            lent: Arc::new(AtomicBool::new(true)),
        })
    }

    /// One for each shard, as far as the kernel allows it.
    fn complete(
        mut sockets: Vec<OwnedFd>,
        address: SocketAddr,
        count: usize,
    ) -> Arc<[Arc<OwnedFd>]> {
        sockets.truncate(count.max(1));
        while sockets.len() < count {
            // Of another user, or not for sharing.
            let Ok(socket) = bind_shared(address) else {
                break;
            };
            sockets.push(socket);
        }
        sockets.into_iter().map(Arc::new).collect()
    }

    /// The address with the port that the kernel chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many sockets there are.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// The socket of this shard.
    #[must_use]
    pub fn socket(&self, shard: usize) -> BorrowedFd<'_> {
        self.sockets[shard % self.sockets.len()].as_fd()
    }

    /// Listens for this shard; so many shards there are. With a table of descriptors of its own
    /// ([`files::own_table`]), which has the socket, it is taken out of that.
    ///
    /// # Errors
    /// When the kernel does not know an option, or another process listens there and does not share.
    pub fn listener(
        &self,
        shard: usize,
        shard_count: usize,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        let index = shard % self.sockets.len();
        let socket = &self.sockets[index];
        options.set(&SockRef::from(socket))?;
        let about = SockRef::from(socket);
        // Inherited by every accepted socket, which saves a system call for each.
        about.set_tcp_nodelay(true)?;
        about.listen(BACKLOG)?;
        let fd = match files::adopt(socket.as_fd()) {
            Some(own) => Arc::new(own),
            None => Arc::clone(socket),
        };
        Ok(Listener {
            fd,
            address: self.address,
            lent: Arc::clone(&self.lent),
            is_crowded: index + self.sockets.len() < shard_count || index < shard,
        })
    }

    /// Duplicates for the process that follows. From now on nobody here shuts them for all.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        self.lent.store(true, Ordering::Release);
        self.sockets.iter().map(inherit::lend).collect()
    }
}

fn address_of(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = SockRef::from(&socket).local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the listener has no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn nobody_gets_in_before_somebody_listens() {
        let port = Port::bind(any_port(), 2, false).unwrap();
        assert_ne!(port.address().port(), 0);
        let refused = TcpStream::connect(port.address()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _one = port.listener(1, 2, SocketOptions::default()).unwrap();
        assert!(TcpStream::connect(port.address()).is_ok());
    }

    #[test]
    fn a_port_is_free_when_the_port_and_its_listeners_are_gone() {
        let port = Port::bind(any_port(), 2, false).unwrap();
        let address = port.address();
        let listener = port.listener(0, 2, SocketOptions::default()).unwrap();
        drop(port);
        assert!(TcpStream::connect(address).is_ok(), "one still listens");
        drop(listener);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn what_is_lent_goes_on_where_it_was() {
        let port = Port::bind(any_port(), 2, false).unwrap();
        let address = port.address();
        let listeners: Vec<_> = (0..2)
            .map(|shard| port.listener(shard, 2, SocketOptions::default()).unwrap())
            .collect();
        let lent = port.lend().unwrap();
        drop((port, listeners));
        // Whoever connects now waits for the next one.
        let waiting = TcpStream::connect(address).unwrap();
        let next = Port::take_over(lent, 3).unwrap();
        assert_eq!((next.address(), next.socket_count()), (address, 3));
        let _all: Vec<_> = (0..3)
            .map(|shard| next.listener(shard, 3, SocketOptions::default()).unwrap())
            .collect();
        let fewer = Port::take_over(next.lend().unwrap(), 1).unwrap();
        assert_eq!(fewer.socket_count(), 1);
        drop(waiting);
    }

    #[test]
    fn what_cannot_be_shared_is_shared_by_the_shards() {
        let single = TcpListener::bind(any_port()).unwrap();
        let port = Port::take_over(vec![single.into()], 3).unwrap();
        assert_eq!(port.socket_count(), 1);
        let crowded = |shard| port.listener(shard, 3, SocketOptions::default());
        assert!((0..3).all(|shard| crowded(shard).unwrap().is_crowded));
        let two = Port::bind(any_port(), 2, false).unwrap();
        let lonely = |shard| two.listener(shard, 2, SocketOptions::default());
        assert!((0..2).all(|shard| !lonely(shard).unwrap().is_crowded));
    }

    #[test]
    fn what_does_not_listen_or_is_elsewhere_is_refused() {
        let bound = bind_shared(any_port()).unwrap();
        assert!(Port::take_over(vec![bound], 1).is_err());
        assert!(Port::take_over(Vec::new(), 1).is_err());
        let two = [any_port(); 2].map(|port| OwnedFd::from(TcpListener::bind(port).unwrap()));
        assert!(Port::take_over(two.into(), 2).is_err());
        let stream = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert!(Port::take_over(vec![stream.into()], 1).is_err());
    }
}
