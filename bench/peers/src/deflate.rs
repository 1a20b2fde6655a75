//! permessage-deflate on messages of a feed, by tier. Both are zlib-rs at level 1; tungstenite and fastwebsockets
//! have none.
//!
//! The shared tier keeps nothing from message to message. The takeover tier keeps a window of 2 KiB for
//! what is sent, as the server's default is; sockudo-ws gives its own more memory for symbols (memory
//! level 8 for our 3). Both check UTF-8 after inflating. tidegate writes into a buffer that is used again.

use std::hint::black_box;

use sockudo_ws::DeflateWindowBits;
use sockudo_ws::deflate::{DeflateDecoder, DeflateEncoder};
use tidegate_proto::MessageKind;
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};

use crate::messages::json;
use crate::{Case, size_name};

const SIZES: [usize; 3] = [128, 512, 4096];

/// How many different messages go round.
const COUNT: usize = 16;

const SIZE_MAX: usize = 64 * 1024;

pub(crate) fn add(cases: &mut Vec<Case>) {
    for (function, takeover) in [("compress, shared", false), ("compress, takeover", true)] {
        for size in SIZES {
            let message = || size_name(size);
            let prepare = move || tidegate_compresses(takeover, size);
            let case = Case::new(function, message(), "tidegate", prepare);
            cases.push(case.of_messages(COUNT));
            let prepare = move || sockudo_compresses(takeover, size);
            let case = Case::new(function, message(), "sockudo-ws", prepare);
            cases.push(case.of_messages(COUNT));
        }
    }
    for (function, takeover) in [("inflate, shared", false), ("inflate, takeover", true)] {
        for size in SIZES {
            let message = || size_name(size);
            let prepare = move || tidegate_inflates(takeover, size);
            let case = Case::new(function, message(), "tidegate", prepare);
            cases.push(case.of_messages(COUNT));
            let prepare = move || sockudo_inflates(takeover, size);
            let case = Case::new(function, message(), "sockudo-ws", prepare);
            cases.push(case.of_messages(COUNT));
        }
    }
}

fn tidegate_compresses(takeover: bool, size: usize) -> impl FnMut() {
    let messages = messages(size);
    let mut deflater = Deflater::new(settings(takeover));
    let mut out = Vec::new();
    move || {
        for message in &messages {
            deflater.deflate(black_box(message.as_bytes()), takeover, &mut out);
            black_box(out.as_slice());
        }
    }
}

fn sockudo_compresses(takeover: bool, size: usize) -> impl FnMut() {
    let messages = messages(size);
    let mut encoder = encoder(takeover);
    move || {
        for message in &messages {
            let made = encoder.compress(black_box(message.as_bytes()));
            black_box(made.expect("in memory"));
        }
    }
}

fn tidegate_inflates(takeover: bool, size: usize) -> impl FnMut() {
    let messages = compressed(takeover, size);
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    move || {
        for message in &messages {
            let kind = MessageKind::Text;
            let made = inflater.inflate(kind, black_box(message), takeover, SIZE_MAX, &mut out);
            black_box(made.expect("valid"));
        }
    }
}

fn sockudo_inflates(takeover: bool, size: usize) -> impl FnMut() {
    let messages = compressed(takeover, size);
    let mut decoder = DeflateDecoder::new(DeflateWindowBits::Bits15, !takeover);
    move || {
        for message in &messages {
            let made = decoder.decompress(black_box(message), SIZE_MAX);
            let made = made.expect("valid");
            // As its reader does with a text.
            black_box(sockudo_ws::utf8::validate_utf8(&made));
            black_box(made);
        }
    }
}

fn messages(size: usize) -> Vec<String> {
    (0..COUNT).map(|serial| json(size, serial)).collect()
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
    let deflate = |message: &String| {
        let mut out = Vec::new();
        deflater.deflate(message.as_bytes(), takeover, &mut out);
        out
    };
    messages(size).iter().map(deflate).collect()
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
                for (message, ours) in messages(size).iter().zip(compressed(takeover, size)) {
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
