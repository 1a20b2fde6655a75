//! What contexts cost and save, as the table of docs/decisions: run by hand, in release, alone.
//!
//! ```sh
//! cargo test --release -p tidegate-engine --lib measure -- --ignored --nocapture --test-threads 1
//! ```

use std::time::{Duration, Instant};

use tidegate_proto::MessageKind;
use tidegate_proto::deflate::codec::{DeflateCodec, InflateCodec};
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater, RustDeflate, RustInflate};

use super::codec::{ZlibDeflate, ZlibInflate};

/// So many that no context is still in a cache when its next message comes.
const CONNECTION_COUNT: usize = 4_096;

/// So few, as only the contexts have to be cold.
const CONVERSATION_COUNT: usize = 64;

/// Messages of each connection; the first ones fill the windows and are not counted.
const ROUNDS: usize = 24;
const ROUNDS_UNCOUNTED: usize = 8;

const WORDS: &str = "the to and of a in is it you that for on we are with this be have was but not \
    they at or as from so can all if about what just there will up one out do like when your some \
    me how get no time them then know now think good see more go who could make would been still \
    back work people right also want really even well here because need new where only thing after \
    much did something look maybe today yes great sure should never very before than tomorrow days \
    week server thanks over last any long start always help place around does call again point two \
    meeting message channel question actually probably someone everything weekend deploy release \
    coffee harbour morning evening ticket window problem answer change review branch minutes later";

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).expect("31 bits") % limit
    }

    /// A message of a chat, of so many bytes.
    fn message(&mut self, words: &[&str], size: usize) -> String {
        let (id, user) = (self.below(1 << 30), self.below(40));
        let name = words[user * 3 % words.len()];
        let user = 48_000 + user * 37;
        let (minute, second) = (self.below(60), self.below(60));
        let head = format!(
            "{{\"type\":\"message\",\"id\":\"{id:010x}\",\"room\":\"harbour\",\"user\":{{\"id\":{user},\
             \"name\":\"{name}\",\"avatar\":\"https://cdn.example.com/avatars/{user}.png\"}},\
             \"sent\":\"2026-03-14T09:{minute:02}:{second:02}.{:03}Z\",\"reply_to\":null,\"text\":\"",
            self.below(1000)
        );
        let tail = format!("\",\"reactions\":{},\"edited\":false}}", self.below(5));
        let mut text = String::new();
        let size = size - head.len() - tail.len();
        while text.len() < size {
            // Frequent words first, as in speech.
            let index = self.below(words.len()) * self.below(words.len()) / words.len();
            text.push_str(words[index]);
            text.push(' ');
        }
        text.truncate(size);
        [head, text, tail].concat()
    }
}

/// What each connection sends, round by round.
fn conversations(size: usize) -> Vec<Vec<String>> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut chance = Chance(2026);
    let mut conversation = || (0..ROUNDS).map(|_| chance.message(&words, size)).collect();
    (0..CONVERSATION_COUNT).map(|_| conversation()).collect()
}

/// Sums of what came out and how long it took.
#[derive(Default)]
struct Sums {
    message_count: u32,
    bytes_in: usize,
    bytes_out: usize,
    deflating: Duration,
    inflating: Duration,
}

impl Sums {
    /// Bytes in for each byte out, and microseconds for each message in both directions.
    fn columns(&self) -> String {
        let hundredths = self.bytes_in * 100 / self.bytes_out;
        let each = |spent: Duration| (spent / self.message_count).as_nanos() / 10;
        let (deflating, inflating) = (each(self.deflating), each(self.inflating));
        let decimal = |value: u128| format!("{}.{:02}", value / 100, value % 100);
        let hundredths = decimal(hundredths.try_into().expect("a ratio"));
        format!(
            "{hundredths} | {} | {}",
            decimal(deflating),
            decimal(inflating)
        )
    }
}

/// All conversations, message by message in turn, each connection with a pair of its own, or all with
/// one pair that keeps nothing.
fn run<D: DeflateCodec, I: InflateCodec>(
    size: usize,
    takeover: bool,
    deflate: impl Fn() -> D,
    inflate: impl Fn() -> I,
) -> Sums {
    let conversations = conversations(size);
    let count = if takeover { CONNECTION_COUNT } else { 1 };
    let pair = |_| {
        (
            Deflater::with_codec(deflate()),
            Inflater::with_codec(inflate()),
        )
    };
    let mut pairs: Vec<_> = (0..count).map(pair).collect();
    let (mut sums, mut sent, mut out) =
        (Sums::default(), vec![Vec::new(); CONNECTION_COUNT], vec![]);
    let said =
        |round: usize, index: usize| conversations[index % CONVERSATION_COUNT][round].as_bytes();
    for round in 0..ROUNDS {
        let started = now();
        for (index, compressed) in sent.iter_mut().enumerate() {
            let (deflater, _) = &mut pairs[index % count];
            deflater.deflate(said(round, index), takeover, compressed);
        }
        let deflated = now();
        for (index, compressed) in sent.iter().enumerate() {
            let (_, inflater) = &mut pairs[index % count];
            let kind = MessageKind::Text;
            let message = inflater.inflate(kind, compressed, takeover, size, &mut out);
            assert_eq!(
                message.expect("it was just made").as_bytes(),
                said(round, index)
            );
        }
        let inflated = now();
        if round < ROUNDS_UNCOUNTED {
            continue;
        }
        sums.message_count += u32::try_from(sent.len()).expect("thousands");
        sums.bytes_in += size * sent.len();
        sums.bytes_out += sent.iter().map(Vec::len).sum::<usize>();
        sums.deflating += deflated - started;
        sums.inflating += inflated - deflated;
    }
    sums
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement by hand, which no test depends on"
)]
fn now() -> Instant {
    Instant::now()
}

fn zlib(size: usize, level: u8, window_bits: u8, mem_level: u8) {
    let settings = DeflaterSettings {
        level,
        window_bits,
        mem_level,
    };
    let new = || ZlibDeflate::new(settings);
    let sums = run(size, true, new, || ZlibInflate::new(window_bits));
    let deflater = ZlibDeflate::memory_with(settings);
    let inflater = ZlibInflate::memory_with(window_bits);
    let columns = sums.columns();
    println!(
        "| {size} | zlib | {level} | {window_bits} | {mem_level} | {deflater} | {inflater} | {columns} |"
    );
}

fn rust(size: usize, takeover: bool, settings: DeflaterSettings) {
    let new = || RustDeflate::new(settings);
    let sums = run(size, takeover, new, RustInflate::new);
    let memory = match takeover {
        true => format!("{} | {}", new().memory(), RustInflate::SIZE),
        false => "0 | 0".to_owned(),
    };
    let DeflaterSettings {
        level,
        window_bits,
        mem_level,
    } = settings;
    let columns = sums.columns();
    println!("| {size} | zlib-rs | {level} | {window_bits} | {mem_level} | {memory} | {columns} |");
}

fn head() {
    println!(
        "| message | codec | level | window | memory | deflater | inflater | ratio | µs out | µs in |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

/// All windows, each with the memory that suits it and one step to both sides.
#[test]
#[ignore = "a measurement, which wants a quiet machine"]
fn measure_windows() {
    head();
    rust(512, false, DeflaterSettings::SHARED);
    rust(512, true, DeflaterSettings::TAKEOVER);
    for (window_bits, usual) in (9..=15).zip([1, 2, 3, 4, 5, 6, 8]) {
        for mem_level in usual - 1..=usual + 1 {
            if (1..=8).contains(&mem_level) {
                zlib(512, 1, window_bits, mem_level);
            }
        }
    }
}

#[test]
#[ignore = "a measurement, which wants a quiet machine"]
fn measure_levels() {
    head();
    for (window_bits, mem_level) in [(10, 2), (11, 2), (12, 3)] {
        for level in 1..=6 {
            zlib(512, level, window_bits, mem_level);
        }
    }
}

/// What a client saves with each window, if it compresses as browsers do; first without takeover.
#[test]
#[ignore = "a measurement, which wants a quiet machine"]
fn measure_clients() {
    head();
    let settings = DeflaterSettings {
        level: 6,
        window_bits: 15,
        mem_level: 8,
    };
    let new = || ZlibDeflate::new(settings);
    let columns = run(512, false, new, RustInflate::new).columns();
    println!("| 512 | zlib, nothing kept | 6 | 15 | 8 | 0 | 0 | {columns} |");
    for window_bits in 9..=15 {
        zlib(512, 6, window_bits, 8);
    }
}

#[test]
#[ignore = "a measurement, which wants a quiet machine"]
fn measure_sizes() {
    head();
    for size in [300, 1_500] {
        rust(size, false, DeflaterSettings::SHARED);
        for level in [1, 3] {
            for (window_bits, mem_level) in [(10, 2), (11, 2), (12, 3)] {
                zlib(size, level, window_bits, mem_level);
            }
        }
    }
}
