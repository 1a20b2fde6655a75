//! RFC 7692, 7.2, byte by byte, on every codec; `rfc7692_messages.rs` quotes the rules.

use tidegate_proto::{Message, MessageKind, Violation};

use super::{HELLO, Pair};

const TEXT: MessageKind = MessageKind::Text;

/// The texts of messages that one inflater gets one after the other.
fn inflated<P: Pair>(messages: &[&[u8]], takeover: bool) -> Result<Vec<String>, Violation> {
    let (mut inflater, mut out) = (P::inflater(11), Vec::new());
    let inflate = |compressed: &&[u8]| {
        let message = inflater.inflate(TEXT, compressed, takeover, 1024, &mut out)?;
        Ok(String::from_utf8_lossy(message.as_bytes()).into_owned())
    };
    messages.iter().map(inflate).collect()
}

pub(crate) fn what_is_compressed_lacks_the_end_of_its_last_block<P: Pair>() {
    let mut compressed = Vec::new();
    P::deflater(1, 15, 8).deflate(b"Hello", false, &mut compressed);
    assert_eq!(compressed, HELLO);
}

pub(crate) fn what_is_inflated_gets_the_end_of_its_last_block_back<P: Pair>() {
    for takeover in [false, true] {
        let hello = inflated::<P>(&[&HELLO], takeover);
        assert_eq!(hello, Ok(vec!["Hello".to_owned()]));
        for size in 0..HELLO.len() {
            let cut = inflated::<P>(&[&HELLO[..size]], takeover);
            assert_eq!(cut, Err(Violation::DeflateInvalid), "{size} {takeover}");
        }
        for surplus in [0x01, 0x02, 0xff] {
            let longer = [&HELLO[..], &[surplus]].concat();
            let refused = inflated::<P>(&[&longer], takeover);
            assert_eq!(refused, Err(Violation::DeflateInvalid));
        }
    }
}

pub(crate) fn a_message_may_refer_to_the_one_before_it<P: Pair>() {
    // RFC 7692, 7.2.3.2: the second "Hello" when the window is shared.
    let again: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    let both = inflated::<P>(&[&HELLO, again, again], true).unwrap();
    assert_eq!(both, ["Hello"; 3]);
    let without = inflated::<P>(&[&HELLO, again], false);
    assert_eq!(without, Err(Violation::DeflateInvalid));
    let mut deflater = P::deflater(1, 11, 3);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let payload = b"the same and the same and something else";
    deflater.deflate(payload, true, &mut first);
    deflater.deflate(payload, true, &mut second);
    assert!(second.len() * 2 < first.len(), "{first:x?} {second:x?}");
}

pub(crate) fn a_final_block_ends_no_message<P: Pair>() {
    // RFC 7692, 7.2.3.4: the one byte after it is an empty stored block.
    let last: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    for takeover in [false, true] {
        let three = inflated::<P>(&[last, last, &HELLO], takeover);
        assert_eq!(three.unwrap(), ["Hello"; 3]);
        let several = [&last[..7], &last[..7], &HELLO].concat();
        let several = inflated::<P>(&[&several], takeover);
        assert_eq!(several.unwrap(), ["HelloHelloHello"]);
        let cut = inflated::<P>(&[&last[..7]], takeover);
        assert_eq!(cut, Err(Violation::DeflateInvalid));
    }
}

pub(crate) fn blocks_of_any_type_are_inflated<P: Pair>() {
    let stored: &[u8] = &[
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    for takeover in [false, true] {
        let both = inflated::<P>(&[stored, &HELLO], takeover);
        assert_eq!(both.unwrap(), ["Hello"; 2]);
    }
}

pub(crate) fn a_message_may_have_several_blocks<P: Pair>() {
    // RFC 7692, 7.2.3.5.
    let two: &[u8] = &[
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    for takeover in [false, true] {
        let both = inflated::<P>(&[two, two], takeover);
        assert_eq!(both.unwrap(), ["Hello"; 2]);
    }
}

pub(crate) fn an_empty_message_is_one_byte<P: Pair>() {
    for takeover in [false, true] {
        let three = inflated::<P>(&[&[0x00], &HELLO, &[0x00]], takeover);
        assert_eq!(three.unwrap(), ["", "Hello", ""]);
        // Nothing at all is no deflate data: the four bytes appended to it are none either.
        let nothing = inflated::<P>(&[&[]], takeover);
        assert_eq!(nothing, Err(Violation::DeflateInvalid));
        let (mut deflater, mut out) = (P::deflater(1, 11, 3), vec![9; 9]);
        for _ in 0..3 {
            deflater.deflate(b"", takeover, &mut out);
            assert_eq!(out, [0x00]);
            deflater.deflate(b"something", takeover, &mut out);
        }
    }
}

pub(crate) fn an_inflated_text_is_validated<P: Pair>() {
    let (mut inflater, mut deflater) = (P::inflater(15), P::deflater(1, 15, 8));
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    deflater.deflate(b"no \xff text", false, &mut compressed);
    let text = inflater.inflate(TEXT, &compressed, false, 100, &mut out);
    assert_eq!(text, Err(Violation::TextInvalid));
    let binary = inflater.inflate(MessageKind::Binary, &compressed, false, 100, &mut out);
    assert_eq!(binary, Ok(Message::Binary(b"no \xff text")));
}
