//! The real kernel behind epoll, for the contract tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tidegate_io::Listener;
use tidegate_io::epoll::EpollDriver;

use crate::rig::{Remote, Rig};

/// Loopback, with ports that the kernel chooses.
#[derive(Default)]
pub(crate) struct EpollRig {
    /// Bound, but not listening: nobody else gets their ports.
    unused: Vec<Socket>,
}

/// A plain socket that never blocks.
pub(crate) struct TcpRemote {
    /// `None` once it was reset.
    stream: Option<TcpStream>,
    address: SocketAddr,
    unsent: Vec<u8>,
    received: Vec<u8>,
    finishing: bool,
    reading: bool,
    ended: bool,
    reset: bool,
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// So many listeners on ports that the kernel chooses, and where they listen.
pub(crate) fn listeners(count: u16) -> (Vec<Listener>, Vec<SocketAddr>) {
    let listeners = (0..count).map(|_| Listener::new(any_port()).unwrap());
    let listeners: Vec<Listener> = listeners.collect();
    let addresses = listeners.iter().map(Listener::address).collect();
    (listeners, addresses)
}

impl Rig for EpollRig {
    type Driver = EpollDriver;
    type Remote = TcpRemote;

    fn driver_with_listeners(&mut self, count: u16) -> (EpollDriver, Vec<SocketAddr>) {
        let (listeners, addresses) = listeners(count);
        (EpollDriver::new(listeners).unwrap(), addresses)
    }

    fn connect(&mut self, to: SocketAddr) -> Option<TcpRemote> {
        let stream = match TcpStream::connect_timeout(&to, Duration::from_secs(10)) {
            Ok(stream) => stream,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                return None;
            }
        };
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(TcpRemote {
            address: stream.local_addr().unwrap(),
            stream: Some(stream),
            unsent: Vec::new(),
            received: Vec::new(),
            finishing: false,
            reading: true,
            ended: false,
            reset: false,
        })
    }

    fn unused_address(&mut self) -> SocketAddr {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&any_port().into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        self.unused.push(socket);
        address
    }

    fn assert_all_returned(&self) {}
}

impl TcpRemote {
    fn write(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut written = 0;
        while written < self.unsent.len() {
            match stream.write(&self.unsent[written..]) {
                Ok(size) => written += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    assert!(is_loss(error.kind()), "{error}");
                    self.reset = true;
                    self.unsent.clear();
                    return;
                }
            }
        }
        self.unsent.drain(..written);
        if self.finishing && self.unsent.is_empty() {
            self.finishing = false;
            // It may have been reset in the meantime, which the next read tells.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn read(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut scratch = vec![0; 256 * 1024];
        while self.reading && !self.ended && !self.reset {
            match stream.read(&mut scratch) {
                Ok(0) => self.ended = true,
                Ok(size) => self.received.extend_from_slice(&scratch[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    assert!(is_loss(error.kind()), "{error}");
                    self.reset = true;
                }
            }
        }
    }
}

fn is_loss(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

impl Remote for TcpRemote {
    fn poll(&mut self) {
        self.write();
        self.read();
    }

    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.write();
    }

    fn unsent_size(&self) -> usize {
        self.unsent.len()
    }

    fn receive(&mut self) -> Vec<u8> {
        self.poll();
        std::mem::take(&mut self.received)
    }

    fn finish(&mut self) {
        self.finishing = true;
        self.write();
    }

    fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }

    fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    fn is_ended(&self) -> bool {
        self.ended
    }

    fn is_reset(&self) -> bool {
        self.reset
    }

    fn is_refused(&self) -> bool {
        false
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}
