//! A waker rung from another thread ends a wait on the real kernel, however they race.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Driver, Timeout};

/// Far longer than a ring needs.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_ring_from_another_thread_ends_the_wait() {
    const ROUNDS: usize = 500;
    let mut driver = EpollDriver::new(None).unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let ringer = {
        let (waker, barrier) = (driver.waker(), Arc::clone(&barrier));
        thread::spawn(move || {
            for _ in 0..ROUNDS {
                barrier.wait();
                waker.wake();
            }
        })
    };
    for round in 0..ROUNDS {
        barrier.wait();
        let start = driver.now();
        driver.wait(Timeout::At(driver.now() + LONG)).unwrap();
        assert!(
            driver.now().duration_since(start) < LONG,
            "round {round} lost its ring"
        );
        assert!(driver.reap().is_none(), "a ring is not a completion");
    }
    ringer.join().unwrap();
}

#[test]
fn a_waker_outlives_its_driver() {
    let driver = EpollDriver::new(None).unwrap();
    let waker = driver.waker();
    drop(driver);
    thread::spawn(move || waker.wake()).join().unwrap();
}
