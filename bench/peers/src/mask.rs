//! Masking in place. None checks anything.

use std::hint::black_box;

use crate::messages::{HEADER_SIZE, KEY};
use crate::{Case, size_name};

/// Masks a payload from its beginning.
type Mask = fn(&mut [u8], [u8; 4]);

/// tungstenite's is private, and the same as fastwebsockets', word for word of its algorithm.
const MASKS: [(&str, Mask); 3] = [
    ("tidegate", |payload, key| {
        tidegate_proto::mask(payload, key, 0);
    }),
    ("fastwebsockets", fastwebsockets::unmask),
    ("sockudo-ws", sockudo_ws::mask::apply_mask),
];

const SIZES: [usize; 8] = [8, 16, 64, 125, 512, 4096, 16_384, 65_536];

pub(crate) fn add(cases: &mut Vec<Case>) {
    for size in SIZES {
        for (name, mask) in MASKS {
            let prepare = move || {
                let mut wire = vec![b'x'; HEADER_SIZE + size];
                move || mask(black_box(&mut wire[HEADER_SIZE..]), black_box(KEY))
            };
            cases.push(Case::new("mask", size_name(size), name, prepare));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_agree() {
        for size in (0..200).chain(SIZES) {
            let masked = MASKS.map(|(_, mask)| {
                let mut payload: Vec<u8> = (0..=255).cycle().take(size).collect();
                mask(&mut payload, KEY);
                payload
            });
            assert!(masked.iter().all(|payload| *payload == masked[0]), "{size}");
            assert!(size == 0 || masked[0][0] == KEY[0]);
        }
    }
}
