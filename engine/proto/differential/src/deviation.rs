//! How oracles differ from us, each difference with the paragraph that decides it.

/// Who keeps to the RFC where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// We do, and the oracle does not.
    Tidegate,
    /// The oracle does, and we do not.
    Oracle,
    /// The RFC allows both.
    Both,
}

/// One way in which an oracle differs from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Deviation {
    /// A fault is found when the frame or its header is whole, and the conversation ends before that.
    WaitsForFrame,
    /// A frame that breaks another rule as well is refused for its size.
    SizeFirst,
    /// The declared size is refused before the masking key has arrived.
    SizeBeforeKey,
    /// A length with its top bit set is refused for its size.
    TopBitAsSize,
    /// A length that is not in its shortest form is accepted.
    NotMinimalAccepted,
    /// The size of a message is found when a fragment is whole, its text as it arrives.
    SizeAfterText,
    /// Text in fragments is judged when the message ends.
    TextAtEnd,
    /// Control frames count against what a message under way may still have.
    ControlCounted,
    /// A reserved close code is reported as a close with 1002.
    CloseCodeReplaced,
    /// Close code 1014 is not known.
    BadGatewayUnknown,
    /// The reason is judged before the code.
    ReasonBeforeCode,
    /// A close frame inside a fragmented message is refused.
    CloseInsideRefused,
    /// Compressed bytes count as a message's bytes.
    CompressedCounted,
    /// Only what a message inflates to counts, however much longer it is while compressed.
    OverheadAccepted,
    /// Each fragment is inflated as it arrives.
    InflatedByFrame,
    /// Data that cannot be inflated is refused with 1002.
    CorruptIs1002,
    /// A compressed message that is too large and broken as well is refused for the one or the other.
    SizeOrCorrupt,
    /// A limit of which nothing is left is taken for none.
    LimitLost,
    /// Compressed data that does not end as it must is accepted.
    EndUnchecked,
    /// What follows a final block is ignored.
    NothingAfterFinal,
    /// A message may refer back over the end of a final block, which clears our window.
    WindowKeptOverFinal,
}

/// What decides about a deviation.
#[derive(Debug, Clone, Copy)]
pub struct Ruling {
    /// A short name for tables.
    pub name: &'static str,
    /// The paragraph.
    pub paragraph: &'static str,
    /// What it says.
    pub quote: &'static str,
    /// Who keeps to it.
    pub right: Right,
}

impl Deviation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; RULINGS.len()] = [
        Self::WaitsForFrame,
        Self::SizeFirst,
        Self::SizeBeforeKey,
        Self::TopBitAsSize,
        Self::NotMinimalAccepted,
        Self::SizeAfterText,
        Self::TextAtEnd,
        Self::ControlCounted,
        Self::CloseCodeReplaced,
        Self::BadGatewayUnknown,
        Self::ReasonBeforeCode,
        Self::CloseInsideRefused,
        Self::CompressedCounted,
        Self::OverheadAccepted,
        Self::InflatedByFrame,
        Self::CorruptIs1002,
        Self::SizeOrCorrupt,
        Self::LimitLost,
        Self::EndUnchecked,
        Self::NothingAfterFinal,
        Self::WindowKeptOverFinal,
    ];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The paragraph that decides, and how.
    #[must_use]
    pub const fn ruling(self) -> Ruling {
        RULINGS[self.index()]
    }
}

/// Where two rules are broken at once, or none names a code, each code is appropriate.
const APPROPRIATE: (&str, &str) = (
    "6455, 7.1.7",
    "the endpoint SHOULD send a Close frame with an appropriate status code (Section 7.4)",
);

const BFINAL: (&str, &str) = (
    "7692, 7.2.1",
    "An endpoint MAY use both DEFLATE blocks with the \"BFINAL\" bit set to 0 and DEFLATE blocks with the \
     \"BFINAL\" bit set to 1.",
);

/// One for each deviation, in the order of their numbers.
const RULINGS: [Ruling; 21] = [
    ruling(
        "waits for the frame",
        (
            "6455, 5.4",
            "a receiver doesn't have to buffer the whole frame in order to process it",
        ),
        Right::Both,
    ),
    ruling("size judged first", APPROPRIATE, Right::Both),
    ruling(
        "size judged before the key",
        (
            "6455, 10.4",
            "Implementations that have [...] limitations regarding the frame size [...] MUST protect themselves against exceeding those limits",
        ),
        Right::Both,
    ),
    ruling(
        "top bit is a size",
        ("6455, 5.2", "the most significant bit MUST be 0"),
        Right::Tidegate,
    ),
    ruling(
        "length not minimal",
        (
            "6455, 5.2",
            "in all cases, the minimal number of bytes MUST be used to encode the length",
        ),
        Right::Tidegate,
    ),
    ruling("text judged before size", APPROPRIATE, Right::Both),
    ruling(
        "text judged at its end",
        (
            "6455, 8.1",
            "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_.",
        ),
        Right::Both,
    ),
    ruling(
        "control frames counted",
        (
            "6455, 5.4",
            "An endpoint MUST be capable of handling control frames in the middle of a fragmented message.",
        ),
        Right::Tidegate,
    ),
    ruling(
        "close code replaced",
        (
            "6455, 7.1.5",
            "_The WebSocket Connection Close Code_ is defined as the status code (Section 7.4) contained in the first Close control frame received",
        ),
        Right::Tidegate,
    ),
    ruling(
        "1014 unknown",
        (
            "6455, 7.4.2",
            "Status codes in the range 1000-2999 are reserved for definition by this protocol, its future revisions, and extensions",
        ),
        Right::Tidegate,
    ),
    ruling("reason judged before code", APPROPRIATE, Right::Both),
    ruling(
        "close inside a message",
        (
            "6455, 5.4",
            "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented message.",
        ),
        Right::Tidegate,
    ),
    ruling(
        "compressed bytes counted",
        (
            "6455, 10.4",
            "Such an implementation SHOULD impose a limit on frame sizes and the total message size after reassembly from multiple frames.",
        ),
        Right::Both,
    ),
    ruling(
        "overhead accepted",
        (
            "6455, 10.4",
            "Such an implementation SHOULD impose a limit on frame sizes and the total message size after reassembly from multiple frames.",
        ),
        Right::Both,
    ),
    ruling(
        "inflated by frame",
        (
            "6455, 10.7",
            "If, at any time, an endpoint is faced with data that it does not understand",
        ),
        Right::Both,
    ),
    ruling("corrupt data is 1002", APPROPRIATE, Right::Both),
    ruling("too big or corrupt", APPROPRIATE, Right::Both),
    ruling(
        "limit lost",
        (
            "6455, 10.4",
            "MUST protect themselves against exceeding those limits",
        ),
        Right::Tidegate,
    ),
    ruling(
        "end of data unchecked",
        (
            "7692, 7.2.1",
            "If the resulting data does not end with an empty DEFLATE block with no compression (the \"BTYPE\" bits are set to 00), append an empty DEFLATE block with no compression to the tail end.",
        ),
        Right::Tidegate,
    ),
    ruling("nothing after a final block", BFINAL, Right::Tidegate),
    ruling(
        "window kept over a final block",
        (
            "7692, 7.2.2",
            "Otherwise, the server MUST decompress each new message using the LZ77 sliding window used to process the last compressed message.",
        ),
        Right::Oracle,
    ),
];

const fn ruling(
    name: &'static str,
    (paragraph, quote): (&'static str, &'static str),
    right: Right,
) -> Ruling {
    Ruling {
        name,
        paragraph,
        quote,
        right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deviation_stands_at_its_number_and_has_a_name_of_its_own() {
        for (index, deviation) in Deviation::ALL.iter().enumerate() {
            assert_eq!(deviation.index(), index);
            let name = deviation.ruling().name;
            let others = &Deviation::ALL[index + 1..];
            assert!(
                others.iter().all(|other| other.ruling().name != name),
                "{name}"
            );
        }
    }

    #[test]
    fn the_page_rules_on_each_deviation_as_this_does() {
        let page = include_str!("../README.md");
        for deviation in Deviation::ALL {
            let ruling = deviation.ruling();
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {} |", ruling.name)));
            let row = row.unwrap_or_else(|| panic!("no row for {}", ruling.name));
            assert!(row.contains(&format!("| {} |", ruling.paragraph)), "{row}");
            let right = match ruling.right {
                Right::Tidegate => "| we |",
                Right::Oracle => "| the oracle |",
                Right::Both => "| both |",
            };
            assert!(row.ends_with(right), "{row}");
        }
    }
}
