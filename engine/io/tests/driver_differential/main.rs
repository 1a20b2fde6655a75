//! The same conversations on every driver: each tells the same of them.
//!
//! A seed makes up a script: peers that connect, write pieces of 1 byte to 1 MiB, stop reading,
//! end or break off their streams, and a driver that is asked to pause, to receive into buffers,
//! to send batches and to close, between any two completions. What the drivers tell must be what
//! was said, and the same for all: each byte of each stream in order, each end, each batch.
//!
//! ```sh
//! TIDEGATE_SEED=842 cargo test -p tidegate-io --test driver_differential     # this one again
//! TIDEGATE_SEEDS=1000 cargo test -p tidegate-io --test driver_differential   # so many new ones
//! ```

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../driver_contract/epoll_rig.rs"]
mod epoll_rig;
mod play;
#[path = "../driver_contract/rig.rs"]
#[expect(dead_code, reason = "the contract's tests use the rest of it")]
mod rig;
mod script;
#[path = "../driver_contract/sim_rig.rs"]
mod sim_rig;
#[path = "../driver_contract/stand.rs"]
#[expect(dead_code, reason = "the contract's tests use the rest of it")]
mod stand;
#[path = "../driver_contract/uring_rig.rs"]
mod uring_rig;

use std::hash::{BuildHasher, RandomState};

use epoll_rig::EpollRig;
use play::{Told, play};
use script::Script;
use sim_rig::SimRig;
use tidegate_io::sim::Faults;
use tidegate_io::uring::{Setup, TaskRun};
use uring_rig::UringRig;

/// How many are played with each `cargo test`: the same ones.
const SEEDS: u64 = 30;

/// And so many that nobody has played yet.
const NEW_SEEDS: u64 = 10;

#[test]
fn every_driver_tells_the_same_of_the_same_conversations() {
    for seed in seeds() {
        // What a test prints is shown when it fails, so the last line names the seed.
        println!("TIDEGATE_SEED={seed}");
        let script = Script::new(seed);
        let wanted = play(EpollRig::default(), &script, seed);
        for task_run in [TaskRun::Deferred, TaskRun::Cooperative] {
            let usual = Setup::new(task_run);
            let tiny = Setup {
                submissions: 1,
                completions: 2,
                ..usual
            };
            for setup in [usual, tiny] {
                println!("{setup:?}");
                let told = play(UringRig::new(setup), &script, seed);
                assert_told(&told, &wanted, &script);
            }
        }
        for faults in [Faults::none(), Faults::without_resets()] {
            println!("the simulation, {faults:?}");
            let told = play(SimRig::new(seed, faults), &script, seed);
            assert_told(&told, &wanted, &script);
        }
    }
}

fn assert_told(told: &[Told], wanted: &[Told], script: &Script) {
    assert_eq!(told.len(), wanted.len());
    for (index, (told, wanted)) in told.iter().zip(wanted).enumerate() {
        // Not `assert_eq!`, which would print all their bytes.
        let same = told == wanted;
        assert!(
            same,
            "peer {index} was told of otherwise: {}, wanted {}; {:?}",
            told.in_short(),
            wanted.in_short(),
            script.peers[index]
        );
    }
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    if let Some(seed) = number("TIDEGATE_SEED") {
        return vec![seed];
    }
    let new_count = number("TIDEGATE_SEEDS").unwrap_or(NEW_SEEDS);
    let first = RandomState::new().hash_one(0) >> 32;
    (0..SEEDS).chain(first..first + new_count).collect()
}
