//! What fragmentation costs: one masked text message, whole and in frames of 1, 4 and 16 KiB, in one chunk and
//! in chunks of the size of a shard's scratch.

use crate::feed::Feed;
use crate::inbound::{copy, receive};
use crate::messages::{Script, text, wire_in_pieces};
use crate::receivers::{FastWebSockets, Sockudo, Tidegate, Tungstenite};
use crate::{Case, size_name};

const KIB: usize = 1024;

const SIZES: [usize; 2] = [64 * KIB, KIB * KIB];

const PIECES: [usize; 4] = [usize::MAX, 16 * KIB, 4 * KIB, KIB];

const CHUNKS: [(&str, usize); 2] = [
    ("fragments", usize::MAX),
    ("fragments in 64 KiB chunks", 64 * KIB),
];

pub(crate) fn add(cases: &mut Vec<Case>) {
    for (function, chunk_size) in CHUNKS {
        for size in SIZES {
            for piece in PIECES {
                let message = || match piece {
                    usize::MAX => format!("{} whole", size_name(size)),
                    _ => format!("{} by {}", size_name(size), size_name(piece)),
                };
                let feed = move || {
                    let wire = wire_in_pieces(&text(Script::Ascii, size), piece);
                    Feed::new(&wire, chunk_size)
                };
                cases.extend([
                    receive::<Tidegate>(function, message(), feed, 1),
                    receive::<Tungstenite>(function, message(), feed, 1),
                    receive::<FastWebSockets>(function, message(), feed, 1),
                    receive::<Sockudo>(function, message(), feed, 1),
                    copy(function, message(), feed, 1),
                ]);
            }
        }
    }
}
