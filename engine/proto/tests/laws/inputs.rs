//! Each fuzz target: a name, and how any bytes become the arguments of its laws.

use tidegate_proto::deflate::{DeflatePolicy, DeflaterSettings};
use tidegate_proto::{HeadLimits, MessageKind};

use super::choices::Choices;
use super::cuts::Half;
use super::deflates::Inflated;
use super::{
    closes, cuts, deflates, frames, masks, offers, proxies, requests, responses, talks, texts,
};

/// A target: its name, which is also that of its folder of seeds, and what it does with any bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: [Target; 12] = [
    ("close", close),
    ("deflate", |bytes| drop(deflate(bytes))),
    ("header", header),
    ("inbound", inbound),
    ("inflate", |bytes| drop(inflate(bytes))),
    ("mask", mask),
    ("offers", offers),
    ("proxy", proxy),
    ("request", request),
    ("response", response),
    ("talk", talk),
    ("utf8", utf8),
];

/// Close frames: `0 sizes body` are received, `1|2|3 code reason` are sent.
pub(crate) fn close(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mode = choices.byte() % 4;
    if mode == 0 {
        let sizes = choices.sizes();
        closes::a_body_is_read_by_the_rules(choices.bytes(125), &sizes);
    } else {
        let code = choices.u16();
        let reason = String::from_utf8_lossy(choices.rest());
        closes::a_close_ends_both_sides((mode != 3).then_some(code), &reason, mode == 1);
    }
}

/// What is deflated, with which settings, and what became of it.
pub(crate) struct Deflated {
    pub(crate) settings: DeflaterSettings,
    pub(crate) takeover: bool,
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) compressed: Vec<Vec<u8>>,
}

/// Payloads: `level window-bits memory-level flags payload...`.
pub(crate) fn deflate(bytes: &[u8]) -> Deflated {
    let mut choices = Choices::new(bytes);
    let settings = DeflaterSettings {
        level: 1 + choices.byte() % 9,
        window_bits: 9 + choices.byte() % 7,
        mem_level: 1 + choices.byte() % 9,
    };
    let flags = choices.byte();
    let takeover = flags & 1 != 0;
    let forgets: Vec<bool> = (1..8).map(|bit| flags >> bit & 1 == 1).collect();
    let mut payloads = Vec::new();
    while !choices.is_empty() && payloads.len() < 16 {
        payloads.push(choices.payload());
    }
    let compressed =
        deflates::what_is_deflated_is_inflated(&payloads, settings, takeover, &forgets);
    Deflated {
        settings,
        takeover,
        payloads,
        compressed,
    }
}

/// Headers: the bytes as they are, and the header that they choose.
pub(crate) fn header(bytes: &[u8]) {
    frames::a_header_is_what_would_be_written(bytes);
    frames::a_header_is_read_as_it_was_written(frames::header(&mut Choices::new(bytes)));
}

/// A session: `flags sizes bytes...`.
pub(crate) fn inbound(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let flags = choices.byte();
    let half = Half {
        server: flags & 1 == 0,
        deflate: flags & 2 != 0,
        closing: flags & 4 != 0,
        message_size_max: [4096, 30, 65_536, usize::MAX][usize::from(flags >> 3 & 3)],
    };
    let sizes = choices.sizes();
    cuts::every_cut_gives_the_same(half, choices.rest(), &sizes);
}

/// What is inflated, how, and what became of it.
pub(crate) struct Attempt<'b> {
    pub(crate) messages: Vec<&'b [u8]>,
    pub(crate) kind: MessageKind,
    pub(crate) takeover: bool,
    pub(crate) size_max: usize,
    pub(crate) inflated: Vec<Inflated>,
}

/// Compressed messages: `flags limit (size message)...`; a size of 255 takes all that is left.
pub(crate) fn inflate(bytes: &[u8]) -> Attempt<'_> {
    let mut choices = Choices::new(bytes);
    let flags = choices.byte();
    let takeover = flags & 1 != 0;
    let kind = if flags & 2 != 0 {
        MessageKind::Text
    } else {
        MessageKind::Binary
    };
    let size_max = usize::from(choices.u16()) << (flags >> 2 & 3);
    let mut messages = Vec::new();
    while !choices.is_empty() && messages.len() < 16 {
        let size = match choices.byte() {
            u8::MAX => usize::MAX,
            size => usize::from(size),
        };
        messages.push(choices.bytes(size));
    }
    let inflated = deflates::bytes_are_inflated_or_refused(&messages, kind, takeover, size_max);
    Attempt {
        messages,
        kind,
        takeover,
        size_max,
        inflated,
    }
}

/// Payloads: `key sizes payload...`.
pub(crate) fn mask(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (key, sizes) = (choices.array(), choices.sizes());
    masks::masking_follows_its_definition(choices.rest(), key, &sizes);
}

/// Negotiations: `flags server-bits client-bits text`, each line an offer, or all of it the answer.
pub(crate) fn offers(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let flags = choices.byte();
    let policy = DeflatePolicy {
        takeover: flags & 1 != 0,
        server_window_bits: 9 + choices.byte() % 7,
        client_window_bits: 9 + choices.byte() % 7,
    };
    let text = choices.rest();
    if flags & 2 == 0 {
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        offers::offers_are_answered_legally(&lines, policy);
    } else if let Ok(text) = std::str::from_utf8(text) {
        offers::an_answer_is_held_to_the_offer(policy, text);
    }
}

/// What a proxy says first: the bytes as they are.
pub(crate) fn proxy(bytes: &[u8]) {
    proxies::a_proxy_header_is_judged_by_its_bytes_alone(bytes);
}

/// Heads: `limits bytes...`.
pub(crate) fn request(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let limits = limits(&mut choices);
    requests::a_request_is_judged_by_its_bytes_alone(choices.rest(), &limits);
}

/// As [`request`].
pub(crate) fn response(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let limits = limits(&mut choices);
    responses::a_response_is_judged_by_its_bytes_alone(choices.rest(), &limits);
}

/// The usual limits for 0, others for others.
fn limits(choices: &mut Choices<'_>) -> HeadLimits {
    match usize::from(choices.byte()) {
        0 => HeadLimits::default(),
        few => HeadLimits {
            size_max: 16 + few * 4,
            header_count_max: few % 16,
        },
    }
}

/// A conversation: see [`talks::both_sides_hear_what_was_said`].
pub(crate) fn talk(bytes: &[u8]) {
    talks::both_sides_hear_what_was_said(&mut Choices::new(bytes));
}

/// Text: `sizes bytes...`.
pub(crate) fn utf8(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let sizes = choices.sizes();
    let text = choices.rest();
    texts::pieces_are_judged_as_the_whole_is(text, &sizes);
    texts::the_piece_with_the_first_impossible_byte_fails(text, &sizes);
    texts::bytewise_it_fails_at_the_first_impossible_byte(text);
}
