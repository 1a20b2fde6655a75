//! Streams of zlib through their safe doors: every window, level and cut, and input that is no data.

use std::thread;

use allocation_counter::measure;
use tidegate_io::zlib::{Corrupt, Deflate, DeflateSettings, Inflate, Inflated, Stop, Used};

/// A small generator of chance, whose seed each test prints when it fails.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).expect("64 bits") % limit
    }

    fn noise(&mut self, size: usize) -> Vec<u8> {
        (0..size).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Words that repeat, or bytes that do not compress.
    fn message(&mut self) -> Vec<u8> {
        if self.below(4) == 0 {
            let size = self.below(5_000);
            return self.noise(size);
        }
        let words = [
            "tide",
            "gate",
            "{\"text\":\"",
            "\"}",
            " and ",
            "harbour",
            "0123456789",
        ];
        let count = self.below(800);
        let words = (0..count).map(|_| words[self.below(words.len())]);
        words.collect::<String>().into_bytes()
    }
}

fn settings(level: u8, window_bits: u8, mem_level: u8) -> DeflateSettings {
    DeflateSettings {
        level,
        window_bits,
        mem_level,
    }
}

/// Compresses and flushes all of it, with so much room for each call.
fn deflate(stream: &mut Deflate, mut input: &[u8], room: usize) -> Vec<u8> {
    let mut made = Vec::new();
    loop {
        let mut output = vec![0; room];
        let used = stream.flush(input, &mut output);
        made.extend_from_slice(&output[..used.made]);
        input = &input[used.taken..];
        if input.is_empty() && used.made < room {
            return made;
        }
    }
}

/// Inflates all of it, with so much input and room for each call.
fn inflate(stream: &mut Inflate, input: &[u8], cut: usize) -> Result<Vec<u8>, Corrupt> {
    let mut made = Vec::new();
    for mut piece in input.chunks(cut) {
        loop {
            let mut output = vec![0; cut];
            let Inflated { used, .. } = stream.inflate(piece, &mut output, Stop::StreamEnd)?;
            made.extend_from_slice(&output[..used.made]);
            piece = &piece[used.taken..];
            if piece.is_empty() && used.made < cut {
                break;
            }
        }
    }
    Ok(made)
}

#[test]
fn what_is_deflated_is_inflated_with_every_window_and_memory() {
    for seed in 1..=63 {
        let mut chance = Chance(seed);
        let window_bits = 9 + u8::try_from(seed % 7).unwrap();
        let mem_level = 1 + u8::try_from(seed % 9).unwrap();
        let level = 1 + u8::try_from(chance.below(9)).unwrap();
        let mut deflater = Deflate::new(settings(level, window_bits, mem_level));
        let mut inflater = Inflate::new(window_bits);
        for _ in 0..10 {
            let message = chance.message();
            let compressed = deflate(&mut deflater, &message, 16 + chance.below(3_000));
            let ends = compressed.ends_with(&[0, 0, 0xff, 0xff]);
            assert!(ends || message.is_empty(), "seed {seed}");
            let cut = 1 + chance.below(3_000);
            let inflated = inflate(&mut inflater, &compressed, cut);
            assert_eq!(inflated.as_deref(), Ok(&message[..]), "seed {seed}");
            if chance.below(5) == 0 {
                // A sender may begin anew at any time; its peer need not know.
                deflater.reset();
            }
        }
    }
}

#[test]
fn nothing_is_left_to_flush_twice() {
    let mut stream = Deflate::new(settings(1, 9, 1));
    let mut output = [0; 100];
    let used = stream.flush(b"to and fro", &mut output);
    assert_eq!(used.taken, 10);
    assert!(used.made > 10 && output[..used.made].ends_with(&[0, 0, 0xff, 0xff]));
    let nothing = Used { taken: 0, made: 0 };
    assert_eq!(stream.flush(&[], &mut output), nothing);
    assert_eq!(stream.flush(&[], &mut []), nothing);
    assert_eq!(stream.flush(b"more", &mut []).made, 0);
}

#[test]
fn inflating_stops_where_it_is_told() {
    let hello = [
        0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff,
    ];
    let mut stream = Inflate::new(9);
    let mut output = [0; 100];
    let used = |taken, made| Used { taken, made };
    stream
        .inflate(&hello[..7], &mut output, Stop::StreamEnd)
        .unwrap();
    let end = [&hello[7..], &[0x00]].concat();
    let inflated = stream.inflate(&end, &mut output, Stop::Block).unwrap();
    let before_the_next = Inflated {
        used: used(4, 0),
        ended: false,
    };
    assert_eq!(inflated, before_the_next);
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x77];
    stream.reset();
    let inflated = stream.inflate(&last, &mut output, Stop::StreamEnd).unwrap();
    let ended = Inflated {
        used: used(7, 5),
        ended: true,
    };
    assert_eq!(inflated, ended);
    assert_eq!(&output[..5], b"Hello");
}

#[test]
fn nothing_refers_back_over_the_window() {
    for window_bits in 9..=14 {
        let window = 1 << window_bits;
        let mut chance = Chance(7 + u64::from(window_bits));
        let start = chance.noise(200);
        // The sender's window is larger, so it refers to the start from behind the window.
        let mut deflater = Deflate::new(settings(9, window_bits + 1, 8));
        let messages = [start.clone(), chance.noise(window), start];
        let mut inflater = Inflate::new(window_bits);
        let mut inflate = |message: &Vec<u8>| {
            let compressed = deflate(&mut deflater, message, 100_000);
            inflate(&mut inflater, &compressed, 100)
        };
        assert!(inflate(&messages[0]).is_ok());
        assert!(inflate(&messages[1]).is_ok());
        assert_eq!(inflate(&messages[2]), Err(Corrupt), "{window_bits}");
    }
    // The least window that the format knows: a match 256 bytes back, and one beyond it.
    let stored = |size: u8, fill: u8| {
        let mut block = vec![0x00, size, 0x00, !size, 0xff];
        block.extend(vec![fill; size.into()]);
        block
    };
    for (extra_bits, expected) in [(0b11_1111, true), (0, false)] {
        let mut inflater = Inflate::new(8);
        let mut blocks = [stored(255, b'a'), stored(1, b'b')].concat();
        if !expected {
            blocks.extend(stored(1, b'c'));
        }
        assert!(inflate(&mut inflater, &blocks, 1_000).is_ok());
        let matched = inflate(&mut inflater, &fixed_match(extra_bits, expected), 1_000);
        assert_eq!(matched.is_ok(), expected, "{matched:?}");
    }
}

/// A block of fixed codes: a match of three bytes, 193 + `extra_bits` bytes back, or 257 if not `near`.
fn fixed_match(extra_bits: u32, near: bool) -> [u8; 4] {
    let mut bits = Bits::default();
    // Not the last block, with fixed codes.
    bits.push(0, 1);
    bits.push(1, 2);
    // Length code 257: three bytes; codes go with their highest bit first.
    bits.push(0b100_0000, 7);
    if near {
        // Distance code 15 means 193 and six extra bits: 256 at most.
        bits.push(0b1_1110, 5);
        bits.push(extra_bits, 6);
    } else {
        // Distance code 16 means 257 and seven extra bits.
        bits.push(0b0_0001, 5);
        bits.push(extra_bits, 7);
    }
    bits.value.to_le_bytes()
}

#[derive(Default)]
struct Bits {
    value: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, bits: u32, count: u32) {
        self.value |= bits << self.count;
        self.count += count;
    }
}

#[test]
fn random_and_changed_data_is_inflated_or_refused() {
    for seed in 1..=300 {
        let mut chance = Chance(seed * 77);
        let window_bits = 8 + u8::try_from(chance.below(8)).unwrap();
        let mut inflater = Inflate::new(window_bits);
        for _ in 0..20 {
            let mut data = match chance.below(2) {
                0 => {
                    let size = chance.below(200);
                    chance.noise(size)
                }
                _ => {
                    let message = chance.message();
                    deflate(&mut Deflate::new(settings(6, 15, 8)), &message, 10_000)
                }
            };
            for _ in 0..chance.below(4) {
                let index = chance.below(data.len().max(1));
                if let Some(byte) = data.get_mut(index) {
                    *byte = chance.next().to_le_bytes()[0];
                }
            }
            let stop = [Stop::StreamEnd, Stop::Block][chance.below(2)];
            let mut output = vec![0; chance.below(10_000)];
            let before = data.len();
            if let Ok(Inflated { used, .. }) = inflater.inflate(&data, &mut output, stop) {
                assert!(
                    used.taken <= before && used.made <= output.len(),
                    "seed {seed}"
                );
            } else if chance.below(2) == 0 {
                // Used on, or begun anew: neither may harm.
                inflater.reset();
            }
        }
        inflater.reset();
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        let inflated = inflate(&mut inflater, &hello, 3);
        assert_eq!(inflated.as_deref(), Ok(&b"Hello"[..]), "seed {seed}");
    }
}

#[test]
fn a_stream_is_one_allocation_of_the_size_it_says() {
    let noise = Chance(5).noise(100_000);
    let (mut output, mut inflated) = (vec![0; 200_000], vec![0; 200_000]);
    for (window_bits, mem_level) in (9..=15).flat_map(|w| (1..=9).map(move |m| (w, m))) {
        let settings = settings(1, window_bits, mem_level);
        let mut streams = None;
        let made = measure(|| {
            let both = (Deflate::new(settings), Inflate::new(window_bits));
            streams = Some(both);
        });
        let (mut deflater, mut inflater) = streams.unwrap();
        let told = settings.memory() + Inflate::memory_with(window_bits);
        assert_eq!(made.bytes_current, i64::try_from(told).unwrap());
        assert_eq!(made.count_current, 2);
        assert_eq!(deflater.memory(), settings.memory());
        assert_eq!(inflater.memory(), Inflate::memory_with(window_bits));
        let used = measure(|| {
            for _ in 0..2 {
                let Used { made, .. } = deflater.flush(&noise, &mut output);
                let stop = Stop::StreamEnd;
                let all = inflater.inflate(&output[..made], &mut inflated, stop);
                assert_eq!(all.unwrap().used.made, noise.len());
                deflater.reset();
                inflater.reset();
            }
        });
        assert_eq!(used.count_total, 0, "no message allocates");
        let dropped = measure(|| drop((deflater, inflater)));
        assert_eq!(dropped.bytes_current, -made.bytes_current);
    }
}

#[test]
fn a_stream_may_go_to_another_thread() {
    let (mut deflater, mut inflater) = (Deflate::new(settings(6, 10, 2)), Inflate::new(10));
    let mut said = Vec::new();
    for word in ["ebb", "and", "flow", "ebb and flow"] {
        let compressed = deflate(&mut deflater, word.as_bytes(), 100);
        (deflater, inflater) = thread::spawn(move || {
            let inflated = inflate(&mut inflater, &compressed, 100);
            assert_eq!(inflated.as_deref(), Ok(word.as_bytes()));
            (deflater, inflater)
        })
        .join()
        .unwrap();
        said.extend_from_slice(word.as_bytes());
    }
    assert_eq!(said, b"ebbandflowebb and flow");
}
