//! The incremental validator agrees with the standard library, piece by piece.

use tidegate_proto::Utf8;

use super::cuts::cut;

/// The index of the first byte after which nothing can make the text valid, by the standard library.
fn first_impossible(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    let start = error.valid_up_to();
    // What follows the valid part is impossible from one of the next four bytes on, or only cut.
    (start..bytes.len()).take(4).find(|&last| {
        let error = std::str::from_utf8(&bytes[start..=last]).err();
        error.is_some_and(|error| error.error_len().is_some())
    })
}

/// Pushes in pieces: where the piece that failed ended, or whether the end of the text is good.
fn push(pieces: &[&[u8]]) -> Result<bool, usize> {
    let (mut validator, mut end) = (Utf8::new(), 0);
    for piece in pieces {
        end += piece.len();
        validator.push(piece).map_err(|_| end)?;
    }
    Ok(validator.finish().is_ok())
}

/// The pieces are good exactly when the whole is.
pub(crate) fn pieces_are_judged_as_the_whole_is(bytes: &[u8], sizes: &[usize]) {
    let valid = push(&cut(bytes, sizes)) == Ok(true);
    assert_eq!(valid, std::str::from_utf8(bytes).is_ok(), "{sizes:?}");
}

/// The piece that fails is the one that holds the first impossible byte.
pub(crate) fn the_piece_with_the_first_impossible_byte_fails(bytes: &[u8], sizes: &[usize]) {
    let pieces = cut(bytes, sizes);
    match (push(&pieces), first_impossible(bytes)) {
        (Ok(_), None) => {}
        (Err(end), Some(index)) => {
            let mut start = 0;
            let held = pieces.iter().any(|piece| {
                let here = start..start + piece.len();
                start = here.end;
                here.end == end && here.contains(&index)
            });
            assert!(held, "{index} is not in the piece that ends at {end}");
        }
        (result, index) => panic!("{result:?}, but {index:?} by the standard library"),
    }
}

/// Byte by byte it fails with the very byte.
pub(crate) fn bytewise_it_fails_at_the_first_impossible_byte(bytes: &[u8]) {
    let ones: Vec<&[u8]> = bytes.chunks(1).collect();
    let failed = push(&ones).err().map(|end| end - 1);
    assert_eq!(failed, first_impossible(bytes), "{bytes:x?}");
}
