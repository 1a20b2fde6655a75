//! What messages say: text of every length of character, its faults, bytes, runs.

use crate::random::Random;

/// A size: mostly small, often where the form of a length or a limit changes, rarely large.
pub(super) fn size(random: &mut Random, size_max: usize) -> usize {
    match random.below(200) {
        0..120 => random.below(20),
        120..150 => random.below(140),
        150..165 => random.pick(&[124, 125, 126, 127, 128]),
        165..180 if size_max <= 5000 => (size_max + 2).saturating_sub(random.below(4)),
        180..186 if size_max <= 5000 => random.below(2 * size_max),
        // Only where they may be legal, for they cost a hundred times as much.
        199 if size_max > 5000 && random.percent(50) => {
            random.pick(&[65_534, 65_535, 65_536, 65_537, size_max, size_max + 1])
        }
        198 if size_max > 5000 => random.below(9000),
        _ => random.below(5),
    }
}

/// Any bytes.
pub(super) fn fill(random: &mut Random, bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(8) {
        let number = random.number().to_le_bytes();
        piece.copy_from_slice(&number[..piece.len()]);
    }
}

/// Any bytes, so many.
pub(super) fn binary(random: &mut Random, size: usize, out: &mut Vec<u8>) {
    out.clear();
    out.resize(size, 0);
    fill(random, out);
}

/// The same byte many times, about as many as the limit: it compresses to almost nothing.
pub(super) fn run(random: &mut Random, size_max: usize, out: &mut Vec<u8>) {
    let size = match random.below(3) {
        0 => (size_max + 2).saturating_sub(random.below(5)),
        1 => random.below(3 * size_max.min(5000)),
        _ => random.below(600),
    };
    out.clear();
    out.resize(size, random.pick(b"a0 "));
}

/// Valid UTF-8 of about this size.
pub(super) fn text(random: &mut Random, size: usize, out: &mut Vec<u8>) {
    out.clear();
    let ascii_share = random.pick(&[100, 100, 60, 0]);
    while out.len() < size {
        if out.len() >= 64 {
            // A large text repeats itself from its start, where a character begins.
            let again = (size - out.len()).min(out.len());
            out.extend_from_within(..again);
            continue;
        }
        if random.percent(ascii_share) {
            out.push(b' ' + random.byte() % 95);
        } else {
            out.extend_from_slice(random.pick(&CHARACTERS).as_bytes());
        }
    }
    // Whatever was cut goes, and what it left out is made up.
    let valid = match std::str::from_utf8(out) {
        Ok(_) => out.len(),
        Err(error) => error.valid_up_to(),
    };
    out.truncate(valid);
    while out.len() < size {
        out.push(b'.');
    }
}

/// Makes a text invalid, nearly always, and anywhere.
pub(super) fn spoil_text(random: &mut Random, text: &mut Vec<u8>) {
    match random.below(4) {
        0 => {
            let index = random.below(text.len() + 1);
            text.insert(index, random.pick(&BAD_BYTES));
        }
        1 if !text.is_empty() => {
            let index = random.below(text.len());
            text[index] = random.pick(&BAD_BYTES);
        }
        2 => {
            let index = random.below(text.len() + 1);
            let bad = random.pick(&BAD_SEQUENCES);
            text.splice(index..index, bad.iter().copied());
        }
        _ => {
            let whole = random.pick(&["é", "€", "𝄞"]).as_bytes();
            let kept = 1 + random.below(whole.len() - 1);
            text.extend_from_slice(&whole[..kept]);
        }
    }
}

/// The first and the last of each length, those around the surrogates, and some that people use.
const CHARACTERS: [&str; 16] = [
    "\0",
    "a",
    "\u{7f}",
    "\u{80}",
    "ß",
    "\u{7ff}",
    "\u{800}",
    "€",
    "\u{d7ff}",
    "\u{e000}",
    "\u{feff}",
    "\u{ffff}",
    "\u{10000}",
    "𝄞",
    "😀",
    "\u{10ffff}",
];

/// Bytes that are wrong nearly everywhere.
const BAD_BYTES: [u8; 14] = [
    0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xf8, 0xfe, 0xff,
];

/// Overlong forms, surrogates, and what lies beyond the last character.
const BAD_SEQUENCES: [&[u8]; 10] = [
    &[0xc0, 0xaf],
    &[0xc1, 0xbf],
    &[0xe0, 0x80, 0x80],
    &[0xe0, 0x9f, 0xbf],
    &[0xed, 0xa0, 0x80],
    &[0xed, 0xbf, 0xbf],
    &[0xf0, 0x80, 0x80, 0x80],
    &[0xf0, 0x8f, 0xbf, 0xbf],
    &[0xf4, 0x90, 0x80, 0x80],
    &[0xf7, 0xbf, 0xbf, 0xbf],
];
