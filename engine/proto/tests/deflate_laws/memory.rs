//! How much memory the filters hold and let pin, on every codec.

use allocation_counter::measure;
use tidegate_proto::Violation;

use super::{HELLO, KIND, Pair};

const MIB: usize = 1024 * 1024;

pub(crate) fn no_message_and_no_reset_allocates_once_the_buffers_have_grown<P: Pair>() {
    let (mut deflater, mut inflater) = (P::deflater(1, 11, 3), P::inflater(11));
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
fn bomb<P: Pair>() -> Vec<u8> {
    let mut deflater = P::deflater(9, 15, 9);
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

pub(crate) fn a_bomb_is_refused_and_pins_no_more_than_the_limit<P: Pair>() {
    let bomb = bomb::<P>();
    assert!(bomb.len() < 2 * MIB, "a gigabyte in {}", bomb.len());
    let mut inflater = P::inflater(15);
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
            let after = inflater.inflate(KIND, &HELLO, takeover, 5, &mut out);
            assert_eq!(after.unwrap().as_bytes(), b"Hello", "it can be used again");
        }
    }
}

pub(crate) fn the_limit_is_exact<P: Pair>() {
    let zeroes = vec![0; MIB];
    let mut compressed = Vec::new();
    P::deflater(1, 15, 8).deflate(&zeroes, false, &mut compressed);
    let (mut inflater, mut out) = (P::inflater(15), Vec::new());
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
