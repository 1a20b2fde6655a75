//! The incremental validator against the standard library.

mod common;
mod laws;

use laws::texts;
use proptest::prelude::*;

/// Strings that are nearly text: characters of every length, cut, swapped and followed by any byte.
fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
        3 => "[a-z]{0,90}".prop_map(String::into_bytes),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => (any::<char>(), 1usize..4).prop_map(|(c, keep)| {
            let mut bytes = c.to_string().into_bytes();
            bytes.truncate(keep);
            bytes
        }),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn pieces_are_judged_as_the_whole_is(
        bytes in nearly_text(),
        sizes in prop::collection::vec(0usize..9, 0..30),
    ) {
        texts::pieces_are_judged_as_the_whole_is(&bytes, &sizes);
    }

    #[test]
    fn the_piece_with_the_first_impossible_byte_fails(
        bytes in nearly_text(),
        sizes in prop::collection::vec(0usize..9, 0..30),
    ) {
        texts::the_piece_with_the_first_impossible_byte_fails(&bytes, &sizes);
    }

    #[test]
    fn byte_by_byte_it_fails_at_the_first_impossible_byte(bytes in nearly_text()) {
        texts::bytewise_it_fails_at_the_first_impossible_byte(&bytes);
    }
}

#[test]
fn every_two_bytes_are_judged_as_the_standard_library_does() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            texts::bytewise_it_fails_at_the_first_impossible_byte(&[first, second]);
        }
    }
}
