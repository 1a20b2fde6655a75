//! How a driver leaves its listener on the real kernel: nobody who has connected is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket as RawSocket, Type};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::uring::UringDriver;
use tidegate_io::{Completion, Driver, Listener, Op, Port, SocketOptions, Timeout};

/// The same test for each driver of the real kernel.
macro_rules! on_each_driver {
    ($($test:ident,)*) => {
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test(|listener| super::EpollDriver::new(Some(listener)).unwrap());
            })*
        }

        mod uring {
            $(#[test]
            fn $test() {
                super::$test(|listener| super::UringDriver::new(Some(listener)).unwrap());
            })*
        }
    };
}

on_each_driver! {
    who_connects_after_a_hand_on_waits_for_the_others,
    a_driver_that_is_dropped_leaves_a_lent_socket_alone,
    who_connects_after_a_hush_is_late_and_not_refused,
    of_shards_that_share_a_socket_one_gets_each_peer,
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn listener(port: &Port) -> Listener {
    port.listener(0, 1, SocketOptions::default()).unwrap()
}

/// How many peers come within so long.
fn accepted(driver: &mut impl Driver, span: Duration) -> usize {
    let end = driver.now() + span;
    let mut count = 0;
    while driver.now() < end {
        driver.wait(Timeout::At(end)).unwrap();
        while let Some(completion) = driver.reap() {
            assert!(matches!(completion, Completion::Accepted { .. }));
            count += 1;
        }
    }
    count
}

const SOON: Duration = Duration::from_millis(200);

fn who_connects_after_a_hand_on_waits_for_the_others<D: Driver>(driver: impl Fn(Listener) -> D) {
    let port = Port::bind(any_port(), 1, false).unwrap();
    let mut driver = driver(listener(&port));
    let _ = driver.submit(Op::Listen);
    let _before = TcpStream::connect(port.address()).unwrap();
    assert_eq!(accepted(&mut driver, SOON), 1);
    let lent = port.lend().unwrap().pop().unwrap();
    let _ = driver.submit(Op::HandOn);
    // The request under way is cancelled with the next wait.
    accepted(&mut driver, SOON);
    let waiting = TcpStream::connect(port.address()).unwrap();
    assert_eq!(accepted(&mut driver, SOON), 0);
    let others = TcpListener::from(lent);
    others.set_nonblocking(false).unwrap();
    let (_, from) = others.accept().unwrap();
    assert_eq!(from, waiting.local_addr().unwrap());
}

fn a_driver_that_is_dropped_leaves_a_lent_socket_alone<D: Driver>(driver: impl Fn(Listener) -> D) {
    let port = Port::bind(any_port(), 1, false).unwrap();
    let mut driver = driver(listener(&port));
    let _ = driver.submit(Op::Listen);
    accepted(&mut driver, Duration::from_millis(20));
    let lent = port.lend().unwrap().pop().unwrap();
    let address = port.address();
    drop((driver, port));
    let others = TcpListener::from(lent);
    others.set_nonblocking(false).unwrap();
    let waiting = TcpStream::connect(address).unwrap();
    let (_, from) = others.accept().unwrap();
    assert_eq!(from, waiting.local_addr().unwrap());
}

fn who_connects_after_a_hush_is_late_and_not_refused<D: Driver>(driver: impl Fn(Listener) -> D) {
    let port = Port::bind(any_port(), 1, false).unwrap();
    let mut driver = driver(listener(&port));
    let _ = driver.submit(Op::Listen);
    let _before = TcpStream::connect(port.address()).unwrap();
    let _ = driver.submit(Op::Hush);
    let late = RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    late.set_nonblocking(true).unwrap();
    let begun = late.connect(&SockAddr::from(port.address())).unwrap_err();
    assert_eq!(begun.raw_os_error(), Some(115), "EINPROGRESS: {begun}");
    // Who was there is taken.
    assert_eq!(accepted(&mut driver, SOON), 1);
    let unconnected = late.peer_addr().unwrap_err();
    assert_eq!(unconnected.kind(), ErrorKind::NotConnected);
    let next = Port::bind(port.address(), 1, true).unwrap();
    let other = TcpListener::from(next.lend().unwrap().pop().unwrap());
    let _listens = listener(&next);
    drop(port);
    let _ = driver.submit(Op::Deafen);
    assert_eq!(accepted(&mut driver, SOON), 0);
    // The client's system asks once more, and finds the other one.
    other.set_nonblocking(false).unwrap();
    let (_, from) = other.accept().unwrap();
    assert_eq!(Some(from), late.local_addr().unwrap().as_socket());
}

fn of_shards_that_share_a_socket_one_gets_each_peer<D: Driver>(driver: impl Fn(Listener) -> D) {
    let single = TcpListener::bind(any_port()).unwrap();
    let port = Port::take_over(vec![single.into()], 3).unwrap();
    let mut drivers: Vec<D> = (0..3)
        .map(|shard| driver(port.listener(shard, 3, SocketOptions::default()).unwrap()))
        .collect();
    for driver in &mut drivers {
        let _ = driver.submit(Op::Listen);
        accepted(driver, Duration::from_millis(5));
    }
    let clients: Vec<_> = (0..9)
        .map(|_| TcpStream::connect(port.address()).unwrap())
        .collect();
    let counts = drivers
        .iter_mut()
        .map(|driver| accepted(driver, SOON))
        .sum::<usize>();
    assert_eq!(counts, clients.len());
    // One that leaves may be the one that was woken.
    let _ = drivers[0].submit(Op::HandOn);
    let _one_more = TcpStream::connect(port.address()).unwrap();
    let counts = drivers
        .iter_mut()
        .map(|driver| accepted(driver, SOON))
        .sum::<usize>();
    assert_eq!(counts, 1);
}
