//! A waker rung from another thread ends a wait on the real kernel, however they race.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tidegate_io::epoll::EpollDriver;
use tidegate_io::uring::UringDriver;
use tidegate_io::{Driver, Timeout};

/// Far longer than a ring needs.
const LONG: Duration = Duration::from_secs(20);

/// The same test for each driver of the real kernel.
macro_rules! on_each_driver {
    ($($test:ident,)*) => {
        mod epoll {
            $(#[test]
            fn $test() {
                super::$test(super::EpollDriver::new(None).unwrap());
            })*
        }

        mod uring {
            $(#[test]
            fn $test() {
                super::$test(super::UringDriver::new(None).unwrap());
            })*
        }
    };
}

on_each_driver! {
    a_ring_from_another_thread_ends_the_wait,
    a_waker_outlives_its_driver,
}

fn a_ring_from_another_thread_ends_the_wait(mut driver: impl Driver) {
    const ROUNDS: usize = 500;
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

fn a_waker_outlives_its_driver(driver: impl Driver) {
    let waker = driver.waker();
    drop(driver);
    thread::spawn(move || waker.wake()).join().unwrap();
}
