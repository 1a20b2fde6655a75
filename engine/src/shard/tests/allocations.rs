//! A small message costs no allocation: not in, not out, not to another shard.
//!
//! Two whole shards on epoll and loopback sockets, all on this thread, so that every
//! allocation of theirs is counted.

use std::io::{Read, Write};
use std::net::TcpStream;

use allocation_counter::measure;
use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Port, SocketOptions, Waker};
use tidegate_proto::frame::header_size;

use super::*;

/// Messages after which lists and pools have grown to the size they need.
const WARM_UP: usize = 200;
const COUNTED: usize = 1_000;

struct Real {
    shards: Vec<Shard<EpollDriver, Bench>>,
    wakers: Vec<Waker>,
    address: std::net::SocketAddr,
}

impl Real {
    fn new(shard_count: usize) -> Self {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let port = Port::bind(listen, shard_count, false).unwrap();
        let address = port.address();
        let limits = Limits::default();
        let compression = Compression::Shared;
        let budget = Arc::new(Budget::new(compression));
        let options = SocketOptions::default();
        let driver = |shard| {
            let listener = port.listener(shard, shard_count, options).unwrap();
            EpollDriver::new(Some(listener)).unwrap()
        };
        let drivers: Vec<EpollDriver> = (0..shard_count).map(driver).collect();
        let wakers = drivers.iter().map(Driver::waker).collect();
        let (shards, _) = shards_on(drivers, 1, &limits, compression, &budget);
        Self {
            shards,
            wakers,
            address,
        }
    }

    /// A turn of each shard that has something to do; never a sleep.
    fn turn(&mut self) {
        for (shard, waker) in self.shards.iter_mut().zip(&self.wakers) {
            // A waker that has been rung makes the wait return at once.
            waker.wake();
            shard.turn().unwrap();
        }
    }

    fn connect(&mut self, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.set_nodelay(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        client.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        for _ in 0..1_000_000 {
            match client.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => self.turn(),
            }
            if head.ends_with(b"\r\n\r\n") {
                return client;
            }
        }
        panic!("no 101: {}", String::from_utf8_lossy(&head));
    }

    /// Turns until so many bytes have come to each client.
    fn read_all(&mut self, clients: &mut [TcpStream], size: usize) {
        let mut buffer = [0; 4096];
        for client in clients {
            let mut left = size;
            for _ in 0..1_000_000 {
                if left == 0 {
                    break;
                }
                match client.read(&mut buffer[..left]) {
                    Ok(read) => left -= read,
                    Err(_) => self.turn(),
                }
            }
            assert_eq!(left, 0, "not all has come");
        }
    }

    fn round(&mut self, frame: &[u8], clients: &mut [TcpStream], size: usize) {
        clients[0].write_all(frame).unwrap();
        self.read_all(clients, size);
    }
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut session = tidegate_proto::Session::client(tidegate_proto::Settings::default());
    session.send_masked(Message::Binary(payload), [1, 2, 3, 4], &mut wire);
    wire
}

fn allocations_per_thousand(
    shard_count: usize,
    path: &str,
    payload: &[u8],
    listeners: usize,
) -> u64 {
    let mut stand = Real::new(shard_count);
    let mut clients: Vec<TcpStream> = (0..=listeners).map(|_| stand.connect(path)).collect();
    if shard_count > 1 {
        assert!(
            stand
                .shards
                .iter()
                .all(|shard| !shard.core.connections.is_empty())
        );
    }
    let hearing = if path == "/echo" { 1 } else { clients.len() };
    let clients = &mut clients[..hearing];
    let frame = masked(payload);
    let size = payload.len() + header_size(payload.len());
    for _ in 0..WARM_UP {
        stand.round(&frame, clients, size);
    }
    let counted = measure(|| {
        for _ in 0..COUNTED {
            stand.round(&frame, clients, size);
        }
    });
    counted.count_total
}

#[test]
fn an_echo_allocates_nothing() {
    assert_eq!(allocations_per_thousand(1, "/echo", &[7; 20], 0), 0);
    assert_eq!(allocations_per_thousand(1, "/echo", &[7; 4_000], 0), 0);
}

#[test]
fn a_publication_allocates_nothing_on_one_shard_or_on_two() {
    assert_eq!(allocations_per_thousand(1, "/room", &[7; 64], 5), 0);
    assert_eq!(allocations_per_thousand(2, "/room", &[7; 64], 15), 0);
}

#[test]
fn what_does_allocate_is_counted() {
    assert!(measure(|| drop(std::hint::black_box(vec![1_u8]))).count_total > 0);
}
