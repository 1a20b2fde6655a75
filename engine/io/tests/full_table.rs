//! A full table of open files stops accepting, does not spin, and can be recovered from.
//!
//! Alone in its process, since the table belongs to all of it.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::uring::UringDriver;
use tidegate_io::{Completion, Driver, Listener, Op, Peer, Timeout};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs turns until a peer was accepted, or refused.
fn next_accept(driver: &mut impl Driver) -> Option<Peer> {
    let start = driver.now();
    while driver.now().duration_since(start) < PATIENCE {
        driver
            .wait(Timeout::At(driver.now() + Duration::from_millis(10)))
            .unwrap();
        let mut outcome = None;
        while let Some(completion) = driver.reap() {
            assert!(outcome.is_none(), "there is one peer");
            outcome = Some(match completion {
                Completion::Accepted { peer } => Ok(peer),
                Completion::Refused { error } => Err(error),
                other => panic!("{other:?}"),
            });
        }
        match outcome {
            Some(Ok(peer)) => return Some(peer),
            Some(Err(error)) => {
                assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
                return None;
            }
            None => {}
        }
    }
    panic!("neither accepted nor refused within {PATIENCE:?}");
}

#[test]
fn accepting_stops_when_the_table_is_full_and_goes_on_when_asked() {
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(64),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, few).unwrap();

    accepting_stops_and_goes_on(|listener| EpollDriver::new(Some(listener)).unwrap());
    accepting_stops_and_goes_on(|listener| UringDriver::new(Some(listener)).unwrap());
}

fn accepting_stops_and_goes_on<D: Driver>(make: impl FnOnce(Listener) -> D) {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::new(any_port).unwrap();
    let address = listener.address();
    let mut driver = make(listener);
    let _ = driver.submit(Op::Listen);
    let _remote = TcpStream::connect(address).unwrap();
    let mut hogs: Vec<File> = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hogs.push(file);
    }

    assert!(next_accept(&mut driver).is_none());
    // The peer still waits, but nobody is told of it.
    let start = driver.now();
    let timeout = Duration::from_millis(30);
    driver.wait(Timeout::At(driver.now() + timeout)).unwrap();
    assert!(driver.reap().is_none());
    assert!(driver.now().duration_since(start) >= timeout, "it spins");
    // Asked again too early, it is refused again.
    let _ = driver.submit(Op::Listen);
    assert!(next_accept(&mut driver).is_none());

    hogs.clear();
    let _ = driver.submit(Op::Listen);
    assert!(next_accept(&mut driver).is_some());
}
