//! Echoes on a kernel that costs nothing, for a counter of instructions: `valgrind --tool=callgrind` with
//! one number of turns and with another, and the difference is what a turn costs.
//!
//! ```sh
//! cargo bench -p tidegate-engine --bench echoes --no-run
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/deps/echoes-… plain 1 1000
//! ```
//!
//! The words are: `plain` or `metered`, how many messages a read brings, how many turns of 64 reads.

#![expect(clippy::disallowed_methods, reason = "a shard begins at some moment")]

use std::env;
use std::time::Instant;

use mimalloc::MiMalloc;
use tidegate_engine::benched::Echo;
use tidegate_engine::{Rate, RatePolicy, Rates};

/// What the server allocates with.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How many reads a turn has.
const READS: usize = 64;

/// A text of 20 bytes as a client sends it; unmasked it is ASCII, too.
const FRAME: &[u8] = b"\x81\x94\x01\x02\x03\x04aaaabbbbccccddddeeee";

fn main() {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse().ok());
    let (messages, turns) = (number(1).unwrap_or(1), number(2).unwrap_or(1_000));
    let rate = Rate {
        per_second: 1_000_000_000,
        burst: u32::MAX,
    };
    let rates = match words.first().map(String::as_str) {
        Some("metered") => Rates {
            messages: rate,
            bytes: rate,
            policy: RatePolicy::Slow,
        },
        _ => Rates::default(),
    };
    let mut echo = Echo::new(Instant::now(), FRAME.repeat(messages), rates);
    for _ in 0..turns {
        echo.turn(READS);
    }
    assert_eq!(echo.count(), (messages * READS * turns) as u64);
}
