//! Series of messages through two filters, on every codec.

use proptest::prelude::*;
use tidegate_proto::deflate::Inflater;
use tidegate_proto::deflate::codec::InflateCodec;
use tidegate_proto::{MessageKind, Violation};

use super::{HELLO, KIND, Pair, noise, payloads};

fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(96)
}

pub(crate) fn what_is_deflated_is_inflated<P: Pair>() {
    let settings = (1u8..=9, 9u8..=15, 1u8..=9);
    let forgets = prop::collection::vec(any::<bool>(), 8);
    proptest!(cases(), |(
        payloads in payloads(),
        (level, window_bits, mem_level) in settings,
        takeover: bool,
        forgets in forgets,
    )| {
        let mut deflater = P::deflater(level, window_bits, mem_level);
        let mut inflater = P::inflater(window_bits);
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        for (payload, forget) in payloads.iter().zip(forgets) {
            if forget {
                // A sender may forget at any message; its peer need not know.
                deflater.forget();
            }
            deflater.deflate(payload, takeover, &mut compressed);
            // What `Session` lets through for a message of this size.
            let size_max = payload.len() + (payload.len() / 8).min(65_536) + 64;
            prop_assert!(compressed.len() <= size_max, "{} of {}", compressed.len(), payload.len());
            let message = inflater.inflate(KIND, &compressed, takeover, payload.len(), &mut out);
            prop_assert_eq!(message.map(|message| message.as_bytes()), Ok(&payload[..]));
        }
    });
}

/// Every window, level and memory: a series with something incompressible in between.
pub(crate) fn every_setting_is_understood<P: Pair>() {
    let text = |number: usize| format!("{{\"number\":{number},\"text\":\"the tide comes in\"}}");
    for window_bits in 9..=15 {
        for (level, mem_level) in (1..=9).flat_map(|l| (1..=9).map(move |m| (l, m))) {
            let mut deflater = P::deflater(level, window_bits, mem_level);
            let mut inflater = P::inflater(window_bits);
            let (mut compressed, mut out) = (Vec::new(), Vec::new());
            for number in 0..9 {
                let payload = match number % 3 {
                    0 => text(number).into_bytes(),
                    1 => noise(u64::from(window_bits), 700 * number),
                    _ => text(number).repeat(60).into_bytes(),
                };
                deflater.deflate(&payload, true, &mut compressed);
                let message = inflater.inflate(KIND, &compressed, true, payload.len(), &mut out);
                let message = message.map(|message| message.as_bytes());
                assert_eq!(
                    message,
                    Ok(&payload[..]),
                    "{level} {window_bits} {mem_level}"
                );
            }
        }
    }
}

pub(crate) fn random_bytes_are_inflated_or_refused<P: Pair>() {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    proptest!(cases(), |(
        messages in prop::collection::vec(bytes, 1..20),
        window_bits in 9u8..=15,
        takeover: bool,
        text: bool,
        size_max in 0usize..5000,
    )| {
        let (mut inflater, mut out) = (P::inflater(window_bits), Vec::new());
        let kind = if text { MessageKind::Text } else { KIND };
        for bytes in messages {
            if let Ok(message) = inflater.inflate(kind, &bytes, takeover, size_max, &mut out) {
                prop_assert!(message.len() <= size_max);
            }
            prop_assert!(out.capacity() <= size_max + 1);
        }
        assert_works(&mut inflater);
    });
}

pub(crate) fn changed_messages_are_inflated_or_refused<P: Pair>() {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    proptest!(cases(), |(
        payloads in payloads(),
        changes in prop::collection::vec(change, 1..4),
        cut in any::<prop::sample::Index>(),
        takeover: bool,
    )| {
        let (mut deflater, mut inflater) = (P::deflater(6, 15, 8), P::inflater(15));
        let mut compressed = Vec::new();
        for payload in payloads {
            let mut out = Vec::new();
            deflater.deflate(&payload, takeover, &mut compressed);
            for (index, byte) in &changes {
                let index = index.index(compressed.len());
                compressed[index] = *byte;
            }
            compressed.truncate(cut.index(compressed.len()) + 1);
            let size_max = payload.len() + 100;
            let refused = inflater.inflate(KIND, &compressed, takeover, size_max, &mut out).is_err();
            prop_assert!(out.capacity() <= size_max + 1);
            if refused {
                deflater.forget();
            }
        }
        assert_works(&mut inflater);
    });
}

/// Whatever came before, a message without takeover is inflated.
fn assert_works<C: InflateCodec>(inflater: &mut Inflater<C>) {
    let mut out = Vec::new();
    let message = inflater.inflate(KIND, &HELLO, false, 5, &mut out);
    assert_eq!(message.map(|message| message.as_bytes()), Ok(&b"Hello"[..]));
}

pub(crate) fn a_message_sent_as_it_is_leaves_the_windows_alone<P: Pair>() {
    let (mut deflater, mut inflater) = (P::deflater(6, 11, 3), P::inflater(11));
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    let repeated = b"a price and another price and a third price".repeat(4);
    for round in 0..20 {
        // Decided by size before the window is fed: this one never comes to the deflater.
        let _sent_raw = noise(round, 100);
        deflater.deflate(&repeated, true, &mut compressed);
        let message = inflater.inflate(KIND, &compressed, true, 1000, &mut out);
        assert_eq!(message.unwrap().as_bytes(), repeated);
    }
}

pub(crate) fn a_message_that_was_fed_and_not_sent_must_be_forgotten<P: Pair>() {
    let (mut deflater, mut inflater) = (P::deflater(6, 11, 3), P::inflater(11));
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    let incompressible = noise(7, 500);
    deflater.deflate(&incompressible, true, &mut compressed);
    assert!(
        compressed.len() >= incompressible.len(),
        "so it was sent raw instead"
    );
    // The trap: the peer's window lacks what this refers to.
    deflater.deflate(&incompressible, true, &mut compressed);
    let desynchronised = inflater.inflate(KIND, &compressed, true, 1000, &mut out);
    assert_eq!(desynchronised, Err(Violation::DeflateInvalid));
    // The way out.
    deflater.forget();
    deflater.deflate(&incompressible, true, &mut compressed);
    let message = inflater.inflate(KIND, &compressed, true, 1000, &mut out);
    assert_eq!(message.unwrap().as_bytes(), incompressible);
}

pub(crate) fn one_pair_serves_many_connections_without_takeover<P: Pair>() {
    let (mut deflater, mut inflater) = (P::deflater(1, 15, 8), P::inflater(15));
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    for connection in 0..50u8 {
        let payload = vec![connection; usize::from(connection) * 10];
        deflater.deflate(&payload, false, &mut compressed);
        let alone = compressed.clone();
        P::deflater(1, 15, 8).deflate(&payload, false, &mut compressed);
        assert_eq!(
            alone, compressed,
            "nothing of the messages before it is in it"
        );
        let message = inflater.inflate(KIND, &compressed, false, 1000, &mut out);
        assert_eq!(message.unwrap().as_bytes(), payload);
    }
}

pub(crate) fn a_small_window_is_kept<P: Pair>() {
    // What lies further back than the window cannot be referred to: it costs as much as the first time.
    for window_bits in 9..=15 {
        let far = (1 << window_bits) + 300;
        let (start, between) = (noise(1, 200), noise(2, far));
        let payload = [&start[..], &between, &start].concat();
        let mut compressed = Vec::new();
        P::deflater(9, window_bits, 8).deflate(&payload, false, &mut compressed);
        assert!(compressed.len() >= payload.len(), "{window_bits}");
    }
}

pub(crate) fn many_tiny_blocks_take_linear_time<P: Pair>() {
    // Empty final blocks and empty stored blocks, tens of thousands in one message.
    for block in [&[0x03, 0x00][..], &[0x00, 0x00, 0x00, 0xff, 0xff]] {
        let mut compressed = block.repeat(100_000);
        compressed.push(0x00);
        let (mut inflater, mut out) = (P::inflater(9), Vec::new());
        for takeover in [false, true] {
            let message = inflater.inflate(KIND, &compressed, takeover, 10, &mut out);
            assert!(message.unwrap().is_empty());
        }
    }
}
