//! Headers: what is read is what can be written, and is known no later and no sooner than it can be.

use tidegate_proto::Violation;
use tidegate_proto::frame::{CONTROL_SIZE_MAX, HEADER_SIZE_MAX, Header, Opcode};

use super::choices::Choices;

type Parse = fn(&[u8]) -> Result<Option<(Header, usize)>, Violation>;

/// Any bytes are a header that would be written as these very bytes, or refused by a first byte that
/// stays the same whatever follows, or too few.
pub(crate) fn a_header_is_what_would_be_written(bytes: &[u8]) {
    let plain = hold(Header::parse, bytes);
    let extended = hold(Header::parse_extended, bytes);
    match plain {
        // RFC 7692, 6: an extension gives RSV1 on data a meaning, and changes nothing else.
        Err(Violation::ReservedBit) => {
            let rsv1 = |(header, _): (Header, usize)| header.rsv1 && !header.opcode.is_control();
            assert!(!matches!(extended, Ok(Some(read)) if !rsv1(read)));
        }
        _ => assert_eq!(plain, extended),
    }
}

fn hold(parse: Parse, bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let whole = parse(bytes);
    for size in 0..bytes.len().min(HEADER_SIZE_MAX + 1) {
        match parse(&bytes[..size]) {
            Ok(None) => {}
            known => assert_eq!(known, whole, "known after {size} bytes"),
        }
    }
    if let Ok(Some((header, size))) = whole {
        let mut wire = Vec::new();
        header.encode(&mut wire);
        assert_eq!(wire, bytes[..size], "not the shortest form: {header:?}");
        assert_eq!(parse(&bytes[..size - 1]), Ok(None), "known before its end");
    }
    if bytes.len() >= HEADER_SIZE_MAX {
        assert_ne!(whole, Ok(None), "no header is longer");
    }
    whole
}

/// A header that can be written is read as it was.
pub(crate) fn a_header_is_read_as_it_was_written(header: Header) {
    let mut wire = Vec::new();
    header.encode(&mut wire);
    assert!(wire.len() <= HEADER_SIZE_MAX);
    assert_eq!(
        Header::parse_extended(&wire),
        Ok(Some((header, wire.len())))
    );
    a_header_is_what_would_be_written(&wire);
}

/// Any header that can be written.
pub(crate) fn header(choices: &mut Choices<'_>) -> Header {
    let opcodes = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];
    let opcode = choices.among(&opcodes);
    let control = opcode.is_control();
    let bits = choices.byte();
    let mask = (bits & 4 != 0).then(|| choices.array());
    let size = u64::from_be_bytes(choices.array()) >> choices.byte().clamp(1, 63);
    Header {
        fin: control || bits & 1 != 0,
        rsv1: !control && bits & 2 != 0,
        opcode,
        mask,
        payload_size: if control {
            size % (CONTROL_SIZE_MAX as u64 + 1)
        } else {
            size
        },
    }
}
