//! Masked text messages to a server, each in one frame, alone in a chunk or sixteen to a chunk.

use std::hint::black_box;
use std::io::Read;

use crate::feed::Feed;
use crate::messages::{Script, text, wire};
use crate::receivers::{
    FastWebSockets, Receiver, Sockudo, Tidegate, Tungstenite, TungsteniteAsItComes,
};
use crate::{Case, size_name};

const SIZES: [usize; 5] = [16, 64, 512, 4096, 65_536];

/// How many lie in one chunk where they are batched.
const BATCH: usize = 16;

pub(crate) fn add(cases: &mut Vec<Case>) {
    for (function, script, sizes, count) in [
        ("inbound", Script::Ascii, &SIZES[..], 1),
        ("inbound, mixed", Script::Mixed, &SIZES, 1),
        ("inbound, 16 a chunk", Script::Ascii, &SIZES[..4], BATCH),
    ] {
        for &size in sizes {
            let feed = move || Feed::new(&wire(&text(script, size), count), usize::MAX);
            let receivers = [
                receive::<Tidegate>(function, size_name(size), feed, count),
                receive::<Tungstenite>(function, size_name(size), feed, count),
                receive::<TungsteniteAsItComes>(function, size_name(size), feed, count),
                receive::<FastWebSockets>(function, size_name(size), feed, count),
                receive::<Sockudo>(function, size_name(size), feed, count),
                copy(function, size_name(size), feed, count),
            ];
            cases.extend(receivers);
        }
    }
}

/// The case of one crate that receives `count` messages from a feed.
pub(crate) fn receive<R: Receiver>(
    function: &'static str,
    message: String,
    feed: impl FnOnce() -> Feed + 'static,
    count: usize,
) -> Case {
    let prepare = move || {
        let mut receiver = R::new(feed());
        move || {
            receiver.receive(count, |bytes| {
                black_box(bytes);
            });
        }
    };
    Case::new(function, message, R::NAME, prepare).of_messages(count)
}

/// The copy that every one of them has in it.
pub(crate) fn copy(
    function: &'static str,
    message: String,
    feed: impl FnOnce() -> Feed + 'static,
    count: usize,
) -> Case {
    let prepare = move || {
        let mut feed = feed();
        let mut scratch = vec![0; feed.largest()];
        let wire_size = feed.wire_size();
        move || {
            let mut left = wire_size;
            while left > 0 {
                left -= feed.read(&mut scratch).expect("in memory");
                black_box(&scratch);
            }
        }
    };
    Case::new(function, message, "copy alone", prepare).of_messages(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::wire_in_pieces;

    /// Three rounds, for the first may differ from those that follow.
    fn received<R: Receiver>(wire: &[u8], chunk_size: usize, count: usize) -> Vec<Vec<u8>> {
        let mut receiver = R::new(Feed::new(wire, chunk_size));
        let mut messages = Vec::new();
        for _ in 0..3 {
            receiver.receive(count, |bytes| messages.push(bytes.to_vec()));
        }
        messages
    }

    fn assert_all_receive(text: &str, wire: &[u8], chunk_size: usize, count: usize) {
        let expected = vec![text.as_bytes().to_vec(); 3 * count];
        assert_eq!(received::<Tidegate>(wire, chunk_size, count), expected);
        assert_eq!(received::<Tungstenite>(wire, chunk_size, count), expected);
        assert_eq!(
            received::<TungsteniteAsItComes>(wire, chunk_size, count),
            expected
        );
        assert_eq!(
            received::<FastWebSockets>(wire, chunk_size, count),
            expected
        );
        assert_eq!(received::<Sockudo>(wire, chunk_size, count), expected);
    }

    #[test]
    fn all_receive_every_message() {
        for script in [Script::Ascii, Script::Mixed] {
            for size in SIZES {
                let text = text(script, size);
                for count in [1, BATCH] {
                    assert_all_receive(&text, &wire(&text, count), usize::MAX, count);
                }
            }
        }
    }

    #[test]
    fn all_put_fragments_together() {
        let text = text(Script::Mixed, 200_000);
        for piece in [1000, 16_384, 200_000] {
            for chunk_size in [777, 65_536, usize::MAX] {
                assert_all_receive(&text, &wire_in_pieces(&text, piece), chunk_size, 1);
            }
        }
    }

    #[test]
    fn all_refuse_what_is_not_utf8() {
        fn refuses<R: Receiver>(wire: &[u8]) -> bool {
            let mut receiver = R::new(Feed::new(wire, usize::MAX));
            let receive = std::panic::AssertUnwindSafe(|| receiver.receive(1, |_| ()));
            std::panic::catch_unwind(receive).is_err()
        }
        for size in SIZES {
            let mut wire = wire(&text(Script::Ascii, size), 1);
            let last = wire.len() - 1;
            wire[last] ^= 0x80;
            assert!(refuses::<Tidegate>(&wire), "{size}");
            assert!(refuses::<Tungstenite>(&wire), "{size}");
            assert!(refuses::<FastWebSockets>(&wire), "{size}");
            assert!(refuses::<Sockudo>(&wire), "{size}");
        }
    }
}
