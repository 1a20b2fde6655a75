//! permessage-deflate on messages of a feed, by tier. Both are zlib-rs at level 1; tungstenite and fastwebsockets
//! have none.
//!
//! The shared tier keeps nothing from message to message. The takeover tier keeps a window of 2 KiB for
//! what is sent, as the server's default is; sockudo-ws gives its own more memory for symbols (memory
//! level 8 for our 3). Inflating, tidegate checks UTF-8 as well, and writes into a buffer that is used again.

use std::hint::black_box;

use sockudo_ws::DeflateWindowBits;
use sockudo_ws::deflate::{DeflateDecoder, DeflateEncoder};
use tidegate_proto::MessageKind;
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};

use crate::messages::json;
use crate::{Case, size_name};

const SIZES: [usize; 3] = [128, 512, 4096];

/// How many different messages go round.
const COUNT: u32 = 16;

const SIZE_MAX: usize = 64 * 1024;

pub(crate) fn add(cases: &mut Vec<Case>) {
    for takeover in [false, true] {
        for size in SIZES {
            let messages: Vec<String> = (0..COUNT).map(|serial| json(size, serial)).collect();
            let count = messages.len() as u64;
            let function = if takeover {
                "compress, takeover"
            } else {
                "compress, shared"
            };
            let (ours, theirs) = (messages.clone(), messages);
            let mut deflater = Deflater::new(settings(takeover));
            let mut out = Vec::new();
            let run = move || {
                for message in &ours {
                    deflater.deflate(black_box(message.as_bytes()), takeover, &mut out);
                    black_box(&out);
                }
            };
            cases.push(Case::new(function, size_name(size), "tidegate", run).of_messages(count));
            let mut encoder = encoder(takeover);
            let run = move || {
                for message in &theirs {
                    let made = encoder.compress(black_box(message.as_bytes()));
                    black_box(made.expect("in memory"));
                }
            };
            cases.push(Case::new(function, size_name(size), "sockudo-ws", run).of_messages(count));
        }
    }
    for takeover in [false, true] {
        for size in SIZES {
            add_inflaters(cases, takeover, size);
        }
    }
}

fn add_inflaters(cases: &mut Vec<Case>, takeover: bool, size: usize) {
    let function = if takeover {
        "inflate, takeover"
    } else {
        "inflate, shared"
    };
    let compressed = compressed(takeover, size);
    let count = compressed.len() as u64;
    let (ours, theirs) = (compressed.clone(), compressed);
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    let run = move || {
        for message in &ours {
            let kind = MessageKind::Text;
            let made = inflater.inflate(kind, black_box(message), takeover, SIZE_MAX, &mut out);
            black_box(made.expect("valid"));
        }
    };
    cases.push(Case::new(function, size_name(size), "tidegate", run).of_messages(count));
    let mut decoder = DeflateDecoder::new(DeflateWindowBits::Bits15, !takeover);
    let run = move || {
        for message in &theirs {
            let made = decoder.decompress(black_box(message), SIZE_MAX);
            black_box(made.expect("valid"));
        }
    };
    cases.push(Case::new(function, size_name(size), "sockudo-ws", run).of_messages(count));
}

fn settings(takeover: bool) -> DeflaterSettings {
    if takeover {
        DeflaterSettings::TAKEOVER
    } else {
        DeflaterSettings::SHARED
    }
}

fn encoder(takeover: bool) -> DeflateEncoder {
    let bits = if takeover {
        DeflateWindowBits::Bits11
    } else {
        DeflateWindowBits::Bits15
    };
    DeflateEncoder::new(bits, !takeover, 1, 0)
}

/// A round of messages that can be inflated again and again: with takeover the first refers to nothing,
/// so that it does not matter what lies before it.
fn compressed(takeover: bool, size: usize) -> Vec<Vec<u8>> {
    let mut deflater = Deflater::new(settings(takeover));
    let deflate = |serial| {
        let mut out = Vec::new();
        deflater.deflate(json(size, serial).as_bytes(), takeover, &mut out);
        out
    };
    (0..COUNT).map(deflate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_inflates_what_the_other_has_compressed() {
        for takeover in [false, true] {
            for size in SIZES {
                let mut encoder = encoder(takeover);
                let (mut inflater, mut out) = (Inflater::new(), Vec::new());
                let mut decoder = DeflateDecoder::new(DeflateWindowBits::Bits15, !takeover);
                for (serial, ours) in (0..COUNT).zip(compressed(takeover, size)) {
                    let message = json(size, serial);
                    let theirs = encoder.compress(message.as_bytes()).unwrap().unwrap();
                    let kind = MessageKind::Text;
                    let made = inflater.inflate(kind, &theirs, takeover, SIZE_MAX, &mut out);
                    assert_eq!(made.unwrap().as_bytes(), message.as_bytes());
                    let made = decoder.decompress(&ours, SIZE_MAX).unwrap();
                    assert_eq!(made, message.as_bytes());
                }
            }
        }
    }
}
