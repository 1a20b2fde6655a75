//! Whole servers on the simulated kernel, each made of one seed: how many shards and clients,
//! what each client does and when, what the kernel does to them, and how it ends.
//!
//! ```text
//!  seed ─▶ Scenario ─▶ Play: the next thing happens to whoever is due ─▶ Report, or what is wrong
//!                       │  clients look, and do what their plans say      (simulation/caller.rs)
//!                       │  one shard that is awake has its turn           (simulation/play.rs)
//!                       │  nobody is awake: time goes on                  (virtual)
//!                       └▶ after each turn, when all is quiet, at the end (simulation/checks.rs)
//! ```
//!
//! `scripts/simulate --seed N` replays one; docs/testing.md says what is checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::planted::Bug;

mod caller;
mod checks;
mod door;
mod frames;
mod hall;
mod office;
mod play;
mod scenario;

use play::{Play, Report};

/// How many seeds `cargo test` runs.
const SEED_COUNT_DEFAULT: u64 = 200;

/// A planted bug is found within so many seeds.
const SEED_COUNT_PLANTED: u64 = 100;

/// A number from the environment, where `scripts/simulate` puts it.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Plays one seed. A panic of the engine is a failure like any other.
fn play(seed: u64) -> Result<Report, String> {
    let played = catch_unwind(AssertUnwindSafe(|| Play::new(seed).run()));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without a word")))
    })
}

/// Plays the seeds on all cores, and says what all of them came to.
fn play_all(first: u64, count: u64) -> (Report, Vec<(u64, String)>) {
    let next = AtomicU64::new(first);
    let sum = Mutex::new((Report::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let played = play(seed);
                    let mut sum = sum.lock().unwrap();
                    match played {
                        Ok(report) => sum.0.add(&report),
                        Err(what) => sum.1.push((seed, what)),
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it took is printed, and nothing depends on it"
)]
fn every_seed_keeps_what_is_promised() {
    let single = number("TIDEGATE_SEED");
    let first = single.or_else(|| number("TIDEGATE_SEED_FIRST"));
    let count = single.map_or_else(|| number("TIDEGATE_SEEDS"), |_| Some(1));
    let count = count.unwrap_or(SEED_COUNT_DEFAULT);
    let start = Instant::now();
    let (report, failures) = play_all(first.unwrap_or(0), count);
    let wall = start.elapsed();
    eprintln!(
        "{count} seeds in {:.1} s: {report}; {:.0} virtual seconds a second",
        wall.as_secs_f64(),
        report.virtual_time.as_secs_f64() / wall.as_secs_f64()
    );
    for (seed, what) in &failures {
        eprintln!("seed {seed}: {what}\n    scripts/simulate --seed {seed}");
    }
    assert!(failures.is_empty(), "{} seeds failed", failures.len());
}

#[test]
fn the_same_seed_is_the_same_to_the_last_bit() {
    let mut traces = std::collections::HashSet::new();
    for seed in 0..20 {
        let first = play(seed).expect("it keeps what is promised").trace;
        let second = play(seed).expect("it keeps what is promised").trace;
        assert_eq!(first, second, "seed {seed}");
        traces.insert(first);
    }
    assert_eq!(traces.len(), 20, "other seeds are other plays");
}

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicU64::new(0);
    let missed = Mutex::new(Vec::new());
    let hunt = |bug: Bug| {
        Bug::plant(Some(bug));
        let found = (0..SEED_COUNT_PLANTED).find_map(|seed| Some((seed, play(seed).err()?)));
        Bug::plant(None);
        match found {
            Some((seed, what)) => eprintln!("{bug:?}: found by seed {seed}: {what}"),
            None => missed.lock().unwrap().push(bug),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed));
                    let Some(&bug) = index.ok().and_then(|index| Bug::ALL.get(index)) else {
                        return;
                    };
                    hunt(bug);
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
