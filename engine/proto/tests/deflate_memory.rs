//! What an inflater and a deflater hold, counted by the allocator, and that no message changes it.

use allocation_counter::measure;
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};
use tidegate_proto::{MessageKind, Violation};

const KIND: MessageKind = MessageKind::Binary;
const MIB: usize = 1024 * 1024;

fn assert_near(counted: u64, told: usize, what: &str) {
    let counted = usize::try_from(counted).expect("bytes fit a usize");
    // A percent for what differs between targets and releases of zlib-rs.
    let near = counted.abs_diff(told) * 100 <= told;
    assert!(near, "{what}: {counted} counted, {told} told");
}

fn settings(level: u8, window_bits: u8, mem_level: u8) -> DeflaterSettings {
    DeflaterSettings {
        level,
        window_bits,
        mem_level,
    }
}

#[test]
fn a_deflater_holds_what_it_says() {
    for (window_bits, mem_level) in (9..=15).flat_map(|w| (1..=9).map(move |m| (w, m))) {
        let settings = settings(1, window_bits, mem_level);
        let mut deflater = None;
        let counted = measure(|| deflater = Some(Deflater::new(settings)));
        let told = deflater.unwrap().memory();
        assert_near(
            counted.bytes_current.cast_unsigned(),
            told,
            &format!("{settings:?}"),
        );
    }
}

/// The table in the documentation of the module.
#[test]
fn the_table_of_the_documentation_is_right() {
    let of = |window_bits, mem_level| Deflater::new(settings(1, window_bits, mem_level)).memory();
    let sizes = [
        of(9, 1),
        of(10, 2),
        of(11, 3),
        of(12, 4),
        of(13, 5),
        of(14, 6),
        of(15, 8),
    ];
    let table = [
        137_216, 140_160, 146_048, 157_824, 181_376, 228_480, 380_032,
    ];
    assert_eq!(sizes, table);
    assert_eq!(Inflater::new().memory(), 47_552);
}

#[test]
fn an_inflater_holds_what_it_says() {
    let mut inflater = None;
    let counted = measure(|| inflater = Some(Inflater::new()));
    let told = inflater.unwrap().memory();
    assert_near(counted.bytes_current.cast_unsigned(), told, "inflater");
}

#[test]
fn no_message_and_no_reset_allocates_once_the_buffers_have_grown() {
    let mut deflater = Deflater::new(DeflaterSettings::TAKEOVER);
    let mut inflater = Inflater::new();
    let (mut compressed, mut out) = (Vec::with_capacity(MIB), Vec::with_capacity(MIB));
    let payload = vec![b'x'; 100_000];
    let counted = measure(|| {
        for takeover in [true, false, true] {
            for size in [0, 1, 512, 100_000] {
                deflater.deflate(&payload[..size], takeover, &mut compressed);
                let message = inflater.inflate(KIND, &compressed, takeover, 100_000, &mut out);
                assert_eq!(message.unwrap().len(), size);
            }
            inflater.forget();
            deflater.forget();
        }
    });
    assert_eq!(counted.count_total, 0);
}

/// A gigabyte of zeroes: the deflater saw a mebibyte of them, whose middle is then repeated.
fn bomb() -> Vec<u8> {
    let mut deflater = Deflater::new(settings(9, 15, 9));
    let (zeroes, mut compressed, mut bomb) = (vec![0; 16 * MIB], Vec::new(), Vec::new());
    for _ in 0..64 {
        deflater.deflate(&zeroes, true, &mut compressed);
        bomb.extend_from_slice(&compressed);
        bomb.extend_from_slice(&[0x00, 0x00, 0xff, 0xff]);
    }
    // The end of the last is appended by the receiver.
    bomb.truncate(bomb.len() - 4);
    bomb
}

#[test]
fn a_bomb_is_refused_and_pins_no_more_than_the_limit() {
    let bomb = bomb();
    assert!(bomb.len() < 2 * MIB, "a gigabyte in {}", bomb.len());
    let mut inflater = Inflater::new();
    for size_max in [0, 1, 255, 256, 65_536, 100_000, MIB] {
        for takeover in [false, true] {
            let mut out = Vec::new();
            let counted = measure(|| {
                let refused = inflater.inflate(KIND, &bomb, takeover, size_max, &mut out);
                assert_eq!(refused, Err(Violation::MessageTooBig));
            });
            assert!(
                out.capacity() <= size_max + 1,
                "{} of {size_max}",
                out.capacity()
            );
            // While it grows, the old buffer and the new one may both be there.
            let peak = usize::try_from(counted.bytes_max).unwrap();
            assert!(peak <= 2 * (size_max + 1), "{peak} of {size_max}");
            let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
            let after = inflater.inflate(KIND, &hello, takeover, 5, &mut out);
            assert_eq!(after.unwrap().as_bytes(), b"Hello", "it can be used again");
        }
    }
}

#[test]
fn the_limit_is_exact() {
    let zeroes = vec![0; MIB];
    let mut compressed = Vec::new();
    Deflater::new(DeflaterSettings::SHARED).deflate(&zeroes, false, &mut compressed);
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let message = inflater.inflate(KIND, &compressed, false, MIB, &mut out);
    assert_eq!(message.unwrap().as_bytes(), zeroes);
    let one_less = inflater.inflate(KIND, &compressed, false, MIB - 1, &mut out);
    assert_eq!(one_less, Err(Violation::MessageTooBig));
    assert!(
        inflater
            .inflate(KIND, &compressed, false, usize::MAX, &mut out)
            .is_ok()
    );
}
