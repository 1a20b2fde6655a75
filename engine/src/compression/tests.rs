//! Who gets contexts, what they hold to the byte, and when they go.

use allocation_counter::measure;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{HeadStatus, read_request, upgrade};

use super::*;

const SIZE_MAX: usize = 100_000;

fn budget(bytes_max: usize) -> Arc<Budget> {
    Arc::new(Budget::new(Compression::Takeover { bytes_max }))
}

fn compressor(budget: &Arc<Budget>) -> Compressor {
    let compression = Compression::Takeover {
        bytes_max: budget.bytes_max,
    };
    Compressor::new(compression, Arc::clone(budget))
}

/// What is agreed with a client that offers this, and the answer.
fn agree(compressor: &Compressor, offer: &str) -> (Agreed, String) {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate{offer}\r\n\r\n"
    );
    let status = read_request(head.as_bytes(), &HeadLimits::default());
    let Ok(HeadStatus::Complete { request, .. }) = status else {
        panic!("{offer} makes a whole request");
    };
    let accepted = upgrade(&request).unwrap();
    let agreed = compressor.agree(&request, &accepted, None).unwrap();
    let mut answer = String::new();
    agreed.write_response(&mut answer);
    (agreed, answer)
}

/// A message to the peer and one from it, compressed as the agreement allows.
fn talk(compressor: &mut Compressor, agreed: &mut Agreed, payload: &[u8]) {
    assert!(compressor.deflate(agreed, payload).is_some());
    let mut client = Deflater::new(DeflaterSettings {
        window_bits: agreed.agreement.client_window_bits(),
        ..DeflaterSettings::SHARED
    });
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    client.deflate(payload, false, &mut compressed);
    let kind = MessageKind::Binary;
    let message = compressor.inflate(agreed, kind, &compressed, SIZE_MAX, &mut out);
    assert_eq!(message.unwrap().as_bytes(), payload);
}

#[test]
fn a_budget_is_never_exceeded_and_comes_back() {
    let budget = budget(100);
    let first = budget.reserve(60);
    assert!(first.is_some());
    assert!(budget.reserve(41).is_none());
    let second = budget.reserve(40);
    assert_eq!(budget.bytes_used(), 100);
    drop((first, second));
    assert_eq!(budget.bytes_used(), 0);
}

#[test]
fn nothing_is_reserved_outside_the_takeover_tier() {
    for compression in [Compression::Off, Compression::Shared] {
        assert!(Arc::new(Budget::new(compression)).reserve(1).is_none());
    }
}

const SERVER: &str = "; server_max_window_bits=11";

#[test]
fn only_a_client_that_is_bound_to_a_small_window_keeps_its_context() {
    let budget = budget(1 << 20);
    let compressor = compressor(&budget);
    for (offer, answer, inflater) in [
        // Chromium, Node.js: 12 bits are held for them.
        (
            "; client_max_window_bits",
            "; client_max_window_bits=12",
            12,
        ),
        (
            "; client_max_window_bits=15",
            "; client_max_window_bits=12",
            12,
        ),
        // A client with less is bound to what it said.
        (
            "; client_max_window_bits=10",
            "; client_max_window_bits=10",
            10,
        ),
        // Firefox, Safari: they would need 32 KiB.
        ("", "", 0),
        ("; client_max_window_bits=8", "", 0),
    ] {
        let (agreed, response) = agree(&compressor, offer);
        let nothing_kept = match inflater {
            0 => "; client_no_context_takeover",
            _ => "",
        };
        let expected = format!("permessage-deflate{nothing_kept}{SERVER}{answer}");
        assert_eq!(response, expected, "{offer}");
        let inflater_size = match inflater {
            0 => 0,
            bits => charge(ZlibInflate::memory_with(bits)),
        };
        let expected = charge(size_of::<Contexts>()) + inflater_size;
        assert_eq!(budget.bytes_used(), expected, "{offer}");
        drop(agreed);
        assert_eq!(budget.bytes_used(), 0, "{offer}");
    }
}

#[test]
fn a_client_that_wants_no_takeover_holds_nothing() {
    let budget = budget(1 << 20);
    let compressor = compressor(&budget);
    let neither = "; server_no_context_takeover; client_no_context_takeover";
    let (agreed, _) = agree(&compressor, neither);
    assert!(!agreed.has_contexts());
    assert_eq!(budget.bytes_used(), 0);
}

#[test]
fn contexts_hold_no_more_than_is_counted_and_are_made_when_needed() {
    let budget = budget(1 << 20);
    let mut compressor = compressor(&budget);
    let payload = b"high tide at noon, low tide at six; ".repeat(20);
    let held = |made: &allocation_counter::AllocationInfo| usize::try_from(made.bytes_current);
    for offer in ["; client_max_window_bits", ""] {
        // What all share is there before it is counted.
        let (mut other, _) = agree(&compressor, offer);
        talk(&mut compressor, &mut other, &payload);
        drop(other);
        let mut agreed = None;
        let opened = measure(|| agreed = Some(agree(&compressor, offer).0));
        let mut agreed = agreed.unwrap();
        let reserved = budget.bytes_used();
        assert_eq!(
            held(&opened),
            Ok(size_of::<Contexts>()),
            "nothing is made yet"
        );
        let used = measure(|| talk(&mut compressor, &mut agreed, &payload));
        let deflater = ZlibDeflate::memory_with(DeflaterSettings::TAKEOVER);
        assert_eq!(budget.bytes_used(), reserved + charge(deflater));
        let all = held(&opened).unwrap() + held(&used).unwrap();
        let counted = budget.bytes_used();
        assert!(
            (all..=all + all / 8).contains(&counted),
            "{all} held, {counted} counted"
        );
        agreed.sweep();
        assert_eq!(budget.bytes_used(), counted, "it was used");
        let swept = measure(|| agreed.sweep());
        assert_eq!(budget.bytes_used(), reserved);
        let given_back = usize::try_from(-swept.bytes_current);
        assert_eq!(given_back, Ok(deflater), "and so is its memory");
        // The next message begins with a new one.
        talk(&mut compressor, &mut agreed, &payload);
        drop(agreed);
        assert_eq!(budget.bytes_used(), 0);
    }
}

#[test]
fn without_room_in_the_budget_the_shared_tier_serves() {
    let inflater = ZlibInflate::memory_with(CLIENT_WINDOW_BITS);
    let budget = budget(charge(size_of::<Contexts>()) + charge(inflater));
    let mut compressor = compressor(&budget);
    let payload = b"high tide at noon, low tide at six; ".repeat(20);
    let offer = "; client_max_window_bits";
    let (mut first, _) = agree(&compressor, offer);
    assert!(first.has_contexts());
    let (mut second, answer) = agree(&compressor, offer);
    assert!(!second.has_contexts());
    let neither = "; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer, format!("permessage-deflate{neither}"));
    for _ in 0..3 {
        // There is room for no deflater either.
        talk(&mut compressor, &mut first, &payload);
        talk(&mut compressor, &mut second, &payload);
        assert_eq!(budget.bytes_used(), budget.bytes_max);
    }
}

#[test]
fn a_client_that_refers_back_over_its_window_is_refused() {
    let budget = budget(1 << 20);
    let mut compressor = compressor(&budget);
    let (mut agreed, _) = agree(&compressor, "; client_max_window_bits");
    let mut state = 1u32;
    let mut noise = |size: usize| -> Vec<u8> {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(size).collect()
    };
    let start = noise(300);
    let messages = [start.clone(), noise(4_096), start];
    // It breaks its promise of 12 bits.
    let mut client = Deflater::new(DeflaterSettings::SHARED);
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    let mut inflated = messages.iter().map(|message| {
        client.deflate(message, true, &mut compressed);
        let kind = MessageKind::Binary;
        let inflated = compressor.inflate(&mut agreed, kind, &compressed, SIZE_MAX, &mut out);
        inflated.map(|message| message.len())
    });
    assert_eq!(inflated.next(), Some(Ok(300)));
    assert_eq!(inflated.next(), Some(Ok(4_096)));
    assert_eq!(inflated.next(), Some(Err(Violation::DeflateInvalid)));
}
