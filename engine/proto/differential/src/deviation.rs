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
    /// A message may refer back over the end of a final block.
    WindowKeptOverFinal,
    /// The last block, whose end is cut off, may be final.
    EndsFinal,
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

const fn ruling(
    name: &'static str,
    paragraph: &'static str,
    quote: &'static str,
    right: Right,
) -> Ruling {
    Ruling {
        name,
        paragraph,
        quote,
        right,
    }
}

impl Deviation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 21] = [
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
        Self::InflatedByFrame,
        Self::CorruptIs1002,
        Self::SizeOrCorrupt,
        Self::LimitLost,
        Self::EndUnchecked,
        Self::NothingAfterFinal,
        Self::WindowKeptOverFinal,
        Self::EndsFinal,
    ];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The paragraph that decides, and how.
    #[must_use]
    pub const fn ruling(self) -> Ruling {
        use Right::{Both, Oracle, Tidegate};
        const FAIL: &str =
            "An endpoint MUST _Fail the WebSocket Connection_: no paragraph says how early";
        match self {
            Self::WaitsForFrame => ruling("waits for the frame", "6455, 7.1.7", FAIL, Both),
            Self::SizeFirst => ruling("size judged first", "6455, 7.1.7", FAIL, Both),
            Self::SizeBeforeKey => ruling("size judged before the key", "6455, 7.1.7", FAIL, Both),
            Self::TopBitAsSize => ruling(
                "top bit is a size",
                "6455, 5.2",
                "the most significant bit MUST be 0",
                Tidegate,
            ),
            Self::NotMinimalAccepted => ruling(
                "length not minimal",
                "6455, 5.2",
                "in all cases, the minimal number of bytes MUST be used to encode the length",
                Tidegate,
            ),
            Self::SizeAfterText => ruling("text judged before size", "6455, 7.1.7", FAIL, Both),
            Self::TextAtEnd => ruling(
                "text judged at its end",
                "6455, 8.1",
                "MUST _Fail the WebSocket Connection_",
                Both,
            ),
            Self::ControlCounted => ruling(
                "control frames counted",
                "6455, 5.4",
                "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented message",
                Tidegate,
            ),
            Self::CloseCodeReplaced => ruling(
                "close code replaced",
                "6455, 7.4.2",
                "Status codes in the range 0-999 are not used",
                Tidegate,
            ),
            Self::BadGatewayUnknown => ruling("1014 unknown", "6455, 11.7", "registers", Tidegate),
            Self::ReasonBeforeCode => ruling("reason before code", "6455, 7.1.7", FAIL, Both),
            Self::CloseInsideRefused => ruling(
                "close inside a message",
                "6455, 5.4",
                "Control frames (see Section 5.5) MAY be injected in the middle of a fragmented message",
                Tidegate,
            ),
            Self::CompressedCounted => ruling(
                "compressed bytes counted",
                "6455, 10.4",
                "SHOULD impose a limit on frame sizes and the total message size",
                Both,
            ),
            Self::InflatedByFrame => ruling("inflated by frame", "7692, 6.2", "", Both),
            Self::CorruptIs1002 => ruling("corrupt data is 1002", "7692, 7.2.2", "", Both),
            Self::SizeOrCorrupt => ruling("too big or corrupt", "6455, 7.1.7", FAIL, Both),
            Self::LimitLost => ruling(
                "limit lost",
                "6455, 10.4",
                "SHOULD impose a limit on frame sizes and the total message size after reassembly from multiple frames",
                Tidegate,
            ),
            Self::EndUnchecked => ruling(
                "end of data unchecked",
                "7692, 7.2.1",
                "If the resulting data does not end with an empty DEFLATE block with no compression, append an empty DEFLATE block",
                Tidegate,
            ),
            Self::NothingAfterFinal => ruling(
                "nothing after a final block",
                "7692, 7.2.1",
                "An endpoint MAY use both DEFLATE blocks with the \"BFINAL\" bit set to 0 and DEFLATE blocks with the \"BFINAL\" bit set to 1.",
                Tidegate,
            ),
            Self::WindowKeptOverFinal => ruling(
                "window kept over a final block",
                "7692, 7.2.2",
                "the server MUST decompress each new message using the LZ77 sliding window used to process the last compressed message",
                Oracle,
            ),
            Self::EndsFinal => ruling(
                "last block is final",
                "7692, 7.2.1",
                "An endpoint MAY use both DEFLATE blocks with the \"BFINAL\" bit set to 0 and DEFLATE blocks with the \"BFINAL\" bit set to 1.",
                Oracle,
            ),
        }
    }
}
