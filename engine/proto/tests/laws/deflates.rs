//! The filters: what is deflated is inflated, and whatever is inflated keeps to its limit.

use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};
use tidegate_proto::{MessageKind, Violation};

/// What became of one compressed message.
pub(crate) type Inflated = Result<Vec<u8>, Violation>;

/// Any bytes inflate to no more than the limit, or are refused; an inflater that has refused them works
/// as a new one does. What each message inflated to.
pub(crate) fn bytes_are_inflated_or_refused(
    messages: &[&[u8]],
    kind: MessageKind,
    takeover: bool,
    size_max: usize,
) -> Vec<Inflated> {
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let mut verdicts = Vec::new();
    for bytes in messages {
        let inflated = inflater.inflate(kind, bytes, takeover, size_max, &mut out);
        let inflated = inflated.map(|message| message.as_bytes().to_vec());
        assert!(
            out.capacity() <= size_max.saturating_add(1),
            "{} bytes",
            out.capacity()
        );
        if let Ok(bytes) = &inflated {
            assert!(bytes.len() <= size_max);
            assert!(kind == MessageKind::Binary || std::str::from_utf8(bytes).is_ok());
        }
        let forgotten = !takeover || verdicts.last().is_none_or(Result::is_err);
        if forgotten {
            let alone = Inflater::new().inflate(kind, bytes, takeover, size_max, &mut out);
            let alone = alone.map(|message| message.as_bytes().to_vec());
            assert_eq!(alone, inflated, "something was left of the messages before");
        }
        verdicts.push(inflated);
    }
    assert_works(&mut inflater);
    verdicts
}

/// Whatever came before, a message without takeover is inflated.
pub(crate) fn assert_works(inflater: &mut Inflater) {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let mut out = Vec::new();
    let message = inflater.inflate(MessageKind::Text, &hello, false, 5, &mut out);
    assert_eq!(message.map(|message| message.as_bytes()), Ok(&b"Hello"[..]));
}

/// What goes in comes out, with any settings, whether the sender forgets now and then or not; and it is
/// small enough for the peer's session. What each message was compressed to.
pub(crate) fn what_is_deflated_is_inflated(
    payloads: &[Vec<u8>],
    settings: DeflaterSettings,
    takeover: bool,
    forgets: &[bool],
) -> Vec<Vec<u8>> {
    let (mut deflater, mut inflater) = (Deflater::new(settings), Inflater::new());
    let mut forgets = forgets.iter().copied();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for payload in payloads {
        if forgets.next().unwrap_or_default() {
            // A sender may forget at any message; its peer need not know.
            deflater.forget();
        }
        let mut compressed = Vec::new();
        deflater.deflate(payload, takeover, &mut compressed);
        // What `Session` lets through for a message of this size.
        let size_max = payload.len() + (payload.len() / 8).min(65_536) + 64;
        assert!(
            compressed.len() <= size_max,
            "{} of {}",
            compressed.len(),
            payload.len()
        );
        let kind = MessageKind::Binary;
        let message = inflater.inflate(kind, &compressed, takeover, payload.len(), &mut out);
        assert_eq!(message.map(|message| message.as_bytes()), Ok(&payload[..]));
        if let Some(less) = payload.len().checked_sub(1) {
            // One byte less is too little.
            let mut fresh = Inflater::new();
            let refused = fresh.inflate(kind, &compressed, false, less, &mut out);
            assert!(refused.is_err());
        }
        all.push(compressed);
    }
    all
}
