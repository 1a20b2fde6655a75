//! UTF-8 by the validators that can go on after a piece, on whole texts and on pieces that cut characters.
//!
//! All check the same. simdutf8 and std know no pieces, and stand there for what the vector instructions are
//! worth: a text in one frame goes to simdutf8 directly, in tidegate as in fastwebsockets and sockudo-ws.

use std::hint::black_box;

use sockudo_ws::utf8::Utf8Stream;
use tidegate_proto::Utf8;

use crate::messages::{HEADER_SIZE, Script, text};
use crate::{Case, size_name};

const SIZES: [usize; 5] = [16, 64, 512, 4096, 65_536];

/// Odd and prime, so that cuts fall everywhere.
const PIECE_SIZE: usize = 509;

type Check = fn(&[u8]) -> bool;

const WHOLE: [(&str, Check); 4] = [
    ("tidegate", |bytes| {
        let mut utf8 = Utf8::new();
        utf8.push(bytes).is_ok() && utf8.finish().is_ok()
    }),
    ("sockudo-ws", |bytes| {
        let mut utf8 = Utf8Stream::new();
        utf8.push(bytes) && utf8.finish()
    }),
    ("simdutf8", |bytes| {
        simdutf8::basic::from_utf8(bytes).is_ok()
    }),
    ("std", |bytes| std::str::from_utf8(bytes).is_ok()),
];

const IN_PIECES: [(&str, Check); 2] = [
    ("tidegate", |bytes| {
        let mut utf8 = Utf8::new();
        let mut pieces = bytes.chunks(PIECE_SIZE);
        pieces.all(|piece| utf8.push(piece).is_ok()) && utf8.finish().is_ok()
    }),
    ("sockudo-ws", |bytes| {
        let mut utf8 = Utf8Stream::new();
        let mut pieces = bytes.chunks(PIECE_SIZE);
        pieces.all(|piece| utf8.push(piece)) && utf8.finish()
    }),
];

pub(crate) fn add(cases: &mut Vec<Case>) {
    for (function, script) in [
        ("utf-8, ASCII", Script::Ascii),
        ("utf-8, mixed", Script::Mixed),
    ] {
        for size in SIZES {
            for (name, check) in WHOLE {
                cases.push(case(function, script, size, name, check));
            }
        }
    }
    for (function, script) in [
        ("utf-8 in pieces, ASCII", Script::Ascii),
        ("utf-8 in pieces, mixed", Script::Mixed),
    ] {
        for size in [4096, 65_536] {
            for (name, check) in IN_PIECES {
                cases.push(case(function, script, size, name, check));
            }
        }
    }
}

fn case(
    function: &'static str,
    script: Script,
    size: usize,
    name: &'static str,
    check: Check,
) -> Case {
    Case::new(function, size_name(size), name, move || {
        let mut wire = vec![0; HEADER_SIZE];
        wire.extend_from_slice(text(script, size).as_bytes());
        move || {
            black_box(check(black_box(&wire[HEADER_SIZE..])));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_accept_and_refuse_the_same() {
        for script in [Script::Ascii, Script::Mixed] {
            for size in SIZES {
                let mut bytes = text(script, size).into_bytes();
                for (name, check) in WHOLE.into_iter().chain(IN_PIECES) {
                    assert!(check(&bytes), "{name}");
                }
                bytes[size / 2] = 0xff;
                for (name, check) in WHOLE.into_iter().chain(IN_PIECES) {
                    assert!(!check(&bytes), "{name}");
                }
            }
        }
    }
}
