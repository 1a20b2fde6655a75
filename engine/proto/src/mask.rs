//! Masking of payloads (RFC 6455, 5.3): one exclusive-or, with the widest vectors that the processor has.

use fearless_simd::{Level, dispatch};

/// Payloads of this size and more, in bytes, are masked with the widest vectors that the processor has;
/// below it, choosing them costs as much as they save.
const WIDE_SIZE_MIN: usize = 1024;

/// Payloads of this size and more, in bytes, are worth a few single bytes first, so that no vector is stored
/// across two cache lines.
const ALIGNED_SIZE_MIN: usize = 2 * 1024;

/// The widest vectors, in bytes.
const VECTOR_SIZE: usize = 64;

/// What is in registers between one place and the other, in bytes.
const BLOCK_SIZE: usize = 256;

/// The top bit of each byte of a word: ASCII has none.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// Masks or unmasks `payload` in place; the two are the same operation.
///
/// `offset` is how many bytes of the same payload came before `payload[0]`, so that a payload may be
/// unmasked piece by piece. Plain integers in fixed chunks: the compiler turns the loop into vector
/// instructions, and short payloads take two or three of its steps.
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    if payload.len() < WIDE_SIZE_MIN {
        mask_words(payload, key, offset);
    } else {
        mask_wide(payload, key, offset);
    }
}

/// Unmasks `payload` as [`mask`] does, and tells whether it is ASCII: then nobody need look again for
/// whether it is UTF-8.
#[inline]
pub(crate) fn unmask_is_ascii(payload: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    let seen = if payload.len() < WIDE_SIZE_MIN {
        mask_words(payload, key, offset)
    } else {
        unmask_wide_seen(payload, key, offset)
    };
    seen & TOP_BITS == 0
}

/// Appends `payload` to `to`, masked or unmasked on the way, and tells whether that is ASCII.
///
/// One pass where a copy and [`mask`] are two. And no memcpy: for long pieces that is `rep movsb`, which on some
/// processors crawls where both lie at nearly the same place of their pages, as a chunk and a new buffer do.
#[inline]
pub(crate) fn append_masked(payload: &[u8], key: [u8; 4], offset: usize, to: &mut Vec<u8>) -> bool {
    to.reserve(payload.len());
    let seen = if payload.len() < WIDE_SIZE_MIN {
        append_words(payload, key, offset, to)
    } else {
        append_wide(payload, key, offset, to)
    };
    seen & TOP_BITS == 0
}

#[inline(never)]
fn mask_wide(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let (start, rest) = split_aligned(payload);
    mask_words(start, key, offset);
    let offset = offset.wrapping_add(start.len());
    dispatch!(Level::new(), _ => { mask_words(rest, key, offset); });
}

#[inline(never)]
fn unmask_wide_seen(payload: &mut [u8], key: [u8; 4], offset: usize) -> u64 {
    let (start, rest) = split_aligned(payload);
    let seen = mask_words(start, key, offset);
    let offset = offset.wrapping_add(start.len());
    seen | dispatch!(Level::new(), _ => mask_words(rest, key, offset))
}

/// What lies before the first whole vector, if that is worth it, and the rest.
#[inline]
fn split_aligned(payload: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    let start = if payload.len() < ALIGNED_SIZE_MIN {
        0
    } else {
        payload.as_ptr().align_offset(VECTOR_SIZE)
    };
    payload.split_at_mut(start.min(payload.len()))
}

/// One loop, which [`dispatch`] compiles once for each kind of processor; so it must be inlined.
///
/// Returns all that came out, or-ed together, which costs nothing where nobody looks.
#[inline(always)]
fn mask_words(payload: &mut [u8], key: [u8; 4], offset: usize) -> u64 {
    let word = word_at(key, offset);
    let mut seen = 0;
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        let plain = u64::from_ne_bytes(*bytes) ^ word;
        *bytes = plain.to_ne_bytes();
        seen |= plain;
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen
}

#[inline(never)]
fn append_wide(payload: &[u8], key: [u8; 4], offset: usize, to: &mut Vec<u8>) -> u64 {
    dispatch!(Level::new(), _ => append_words(payload, key, offset, to))
}

/// As [`mask_words`], from one place to another.
#[inline(always)]
fn append_words(payload: &[u8], key: [u8; 4], offset: usize, to: &mut Vec<u8>) -> u64 {
    let word = word_at(key, offset);
    // One for each lane of the widest vector, so that they are put together once, at the end.
    let mut seen = [0; VECTOR_SIZE / 8];
    let (blocks, rest) = payload.as_chunks::<BLOCK_SIZE>();
    for block in blocks {
        let mut block = *block;
        for vector in block.as_chunks_mut::<VECTOR_SIZE>().0 {
            for (bytes, seen) in vector.as_chunks_mut::<8>().0.iter_mut().zip(&mut seen) {
                let plain = u64::from_ne_bytes(*bytes) ^ word;
                *bytes = plain.to_ne_bytes();
                *seen |= plain;
            }
        }
        to.extend_from_slice(&block);
    }
    let start = to.len();
    to.extend_from_slice(rest);
    let seen = seen.iter().fold(0, |all, seen| all | seen);
    seen | mask_words(&mut to[start..], key, offset)
}

/// Eight bytes of the key, from the one that belongs to the byte at `offset` on.
#[inline]
const fn word_at(key: [u8; 4], offset: usize) -> u64 {
    let key = [
        key[offset & 3],
        key[offset.wrapping_add(1) & 3],
        key[offset.wrapping_add(2) & 3],
        key[offset.wrapping_add(3) & 3],
    ];
    u32::from_ne_bytes(key) as u64 * 0x0000_0001_0000_0001
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, 5.3, written down as it stands there.
    fn mask_slowly(payload: &mut [u8], key: [u8; 4], offset: usize) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[(index + offset) % 4];
        }
    }

    #[test]
    fn every_size_and_offset_agrees_with_the_definition() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for size in 0..100usize {
            for offset in 0..9 {
                let mut fast: Vec<u8> = (0..100u8).take(size).collect();
                let mut slow = fast.clone();
                mask(&mut fast, key, offset);
                mask_slowly(&mut slow, key, offset);
                assert_eq!(fast, slow, "size {size} offset {offset}");
            }
        }
    }

    #[test]
    fn long_payloads_agree_wherever_they_lie() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..=VECTOR_SIZE {
            for size in [
                WIDE_SIZE_MIN - 1,
                WIDE_SIZE_MIN + 3,
                ALIGNED_SIZE_MIN,
                ALIGNED_SIZE_MIN + 7,
            ] {
                for offset in 0..4 {
                    let mut fast = vec![0xa5; start + size];
                    let mut slow = fast.clone();
                    mask(&mut fast[start..], key, offset);
                    mask_slowly(&mut slow[start..], key, offset);
                    assert_eq!(fast, slow, "start {start} size {size} offset {offset}");
                }
            }
        }
    }

    #[test]
    fn what_is_appended_is_what_is_masked_in_place() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let sizes = (0..20).chain([255, 256, 257, 1023, 1024, 1031, 4096, 70_001]);
        for (size, offset) in sizes.flat_map(|size| (0..5).map(move |offset| (size, offset))) {
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            let mut appended = b"before".to_vec();
            append_masked(&payload, key, offset, &mut appended);
            let mut slow = payload;
            mask_slowly(&mut slow, key, offset);
            assert_eq!(
                appended,
                [b"before", slow.as_slice()].concat(),
                "{size} {offset}"
            );
        }
    }

    #[test]
    fn one_byte_beyond_ascii_is_seen_wherever_it_stands() {
        let key = [0x80, 0xfa, 0x21, 0x3d];
        for size in [1, 7, 8, 9, 300, WIDE_SIZE_MIN, ALIGNED_SIZE_MIN + 100] {
            let mut ascii = vec![b'~'; size];
            mask(&mut ascii, key, 0);
            assert!(unmask_is_ascii(&mut ascii.clone(), key, 0), "{size}");
            assert!(append_masked(&ascii, key, 0, &mut Vec::new()), "{size}");
            for at in 0..size {
                let mut other = ascii.clone();
                other[at] ^= 0x80;
                assert!(
                    !append_masked(&other, key, 0, &mut Vec::new()),
                    "{size} {at}"
                );
                assert!(!unmask_is_ascii(&mut other, key, 0), "{size} {at}");
            }
        }
    }

    #[test]
    fn masking_twice_gives_back_the_payload() {
        let mut payload = *b"what is masked twice is plain";
        mask(&mut payload, [9, 8, 7, 6], 3);
        assert_ne!(&payload, b"what is masked twice is plain");
        mask(&mut payload, [9, 8, 7, 6], 3);
        assert_eq!(&payload, b"what is masked twice is plain");
    }

    #[test]
    fn the_largest_offset_does_not_overflow() {
        let mut payload = [0; 4];
        mask(&mut payload, [1, 2, 3, 4], usize::MAX);
        assert_eq!(payload, [4, 1, 2, 3]);
    }
}
