//! The incremental validator against the standard library.

use proptest::prelude::*;
use tidegate_proto::Utf8;

/// The index of the first byte after which nothing can make the text valid, by the standard library.
fn first_impossible(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&last| {
        let error = std::str::from_utf8(&bytes[..=last]).err();
        error.is_some_and(|error| error.error_len().is_some())
    })
}

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

/// Pushes in pieces; the index of the piece that failed, or whether the end did.
fn push_pieces(bytes: &[u8], sizes: &[usize]) -> Result<bool, usize> {
    let (mut validator, mut rest, mut end) = (Utf8::new(), bytes, 0);
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        end += piece.len();
        validator.push(piece).map_err(|_| end)?;
        rest = after;
    }
    Ok(validator.finish().is_ok())
}

proptest! {
    #[test]
    fn pieces_are_judged_as_the_whole_is(
        bytes in nearly_text(),
        sizes in prop::collection::vec(0usize..9, 0..30),
    ) {
        let valid = push_pieces(&bytes, &sizes) == Ok(true);
        prop_assert_eq!(valid, std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn the_piece_with_the_first_impossible_byte_fails(
        bytes in nearly_text(),
        sizes in prop::collection::vec(0usize..9, 0..30),
    ) {
        match (push_pieces(&bytes, &sizes), first_impossible(&bytes)) {
            (Ok(_), None) => {}
            (Err(end), Some(index)) => prop_assert!(index < end),
            (result, index) => prop_assert!(false, "{result:?} {index:?}"),
        }
    }

    #[test]
    fn byte_by_byte_it_fails_at_the_first_impossible_byte(bytes in nearly_text()) {
        let ones = vec![1; bytes.len()];
        let failed = push_pieces(&bytes, &ones).err().map(|end| end - 1);
        prop_assert_eq!(failed, first_impossible(&bytes));
    }
}

#[test]
fn every_two_bytes_are_judged_as_the_standard_library_does() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let bytes = [first, second];
            let failed = push_pieces(&bytes, &[1, 1]).err().map(|end| end - 1);
            assert_eq!(failed, first_impossible(&bytes), "{bytes:x?}");
        }
    }
}
