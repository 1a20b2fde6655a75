//! How a peer broke the protocol, with the close code and the reason it is told.

use crate::close::CloseCode;

/// One way in which a peer broke RFC 6455; the connection is failed (7.1.7).
///
/// Its `Display` is the reason that stands in the close frame, so that whoever wrote the peer can read
/// what was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set and no extension gave it a meaning (5.2).
    #[error("a reserved bit is set and no extension was negotiated for it")]
    ReservedBit,
    /// Opcodes 3–7 and 11–15 have no meaning (5.2).
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// A control frame without FIN (5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A control frame of more than 125 bytes (5.5).
    #[error("a control frame has more than 125 bytes")]
    ControlTooLong,
    /// A client's frame without a mask (5.1).
    #[error("a frame from a client is not masked")]
    Unmasked,
    /// A server's frame with a mask (5.1).
    #[error("a frame from a server is masked")]
    Masked,
    /// A length in more bytes than it needs (5.2).
    #[error("a payload length is not in its shortest form")]
    LengthNotMinimal,
    /// A 64-bit length whose most significant bit is set (5.2).
    #[error("the top bit of a 64-bit payload length is set")]
    LengthTopBit,
    /// A continuation frame while no message is under way (5.4).
    #[error("a continuation frame without a message to continue")]
    ContinuationUnexpected,
    /// A new text or binary frame while a fragmented message is under way (5.4).
    #[error("a new message began inside a fragmented message")]
    MessageInterrupted,
    /// A message larger than this endpoint takes (7.4.1, code 1009; 10.4).
    #[error("the message is too big")]
    MessageTooBig,
    /// Text that is not UTF-8 (8.1).
    #[error("a text message is not valid utf-8")]
    TextInvalid,
    /// A close frame with a body of one byte (5.5.1).
    #[error("the body of a close frame has one byte")]
    CloseBodyCut,
    /// A close code that must not stand in a close frame (7.4).
    #[error("the close code is reserved or unknown")]
    CloseCodeInvalid,
    /// A close reason that is not UTF-8 (5.5.1, 8.1).
    #[error("the close reason is not valid utf-8")]
    CloseReasonInvalid,
    /// A compressed message that cannot be inflated (RFC 7692, 7.2.2; code 1007).
    #[error("a compressed message is not valid deflate data")]
    DeflateInvalid,
}

impl Violation {
    /// The code that tells the peer (RFC 6455, 7.4.1).
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::TextInvalid | Self::CloseReasonInvalid | Self::DeflateInvalid => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::ReservedBit
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ContinuationUnexpected
            | Self::MessageInterrupted
            | Self::CloseBodyCut
            | Self::CloseCodeInvalid => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// A short label for metrics: `protocol_error`, `invalid_utf8`, `invalid_deflate` or `too_big`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self, self.code()) {
            (Self::DeflateInvalid, _) => "invalid_deflate",
            (_, CloseCode::TOO_BIG) => "too_big",
            (_, CloseCode::INVALID_PAYLOAD) => "invalid_utf8",
            _ => "protocol_error",
        }
    }

    /// Every violation, for tables and tests.
    pub const ALL: [Self; 16] = [
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::ControlFragmented,
        Self::ControlTooLong,
        Self::Unmasked,
        Self::Masked,
        Self::LengthNotMinimal,
        Self::LengthTopBit,
        Self::ContinuationUnexpected,
        Self::MessageInterrupted,
        Self::MessageTooBig,
        Self::TextInvalid,
        Self::CloseBodyCut,
        Self::CloseCodeInvalid,
        Self::CloseReasonInvalid,
        Self::DeflateInvalid,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::REASON_SIZE_MAX;

    #[test]
    fn each_reason_is_distinct_and_fits_a_close_frame() {
        for (index, violation) in Violation::ALL.into_iter().enumerate() {
            let reason = violation.to_string();
            assert!(reason.len() < REASON_SIZE_MAX, "{reason}");
            assert!(reason.starts_with(char::is_lowercase), "{reason}");
            for other in &Violation::ALL[index + 1..] {
                assert_ne!(reason, other.to_string());
            }
        }
    }

    #[test]
    fn names_follow_the_code() {
        for violation in Violation::ALL {
            let name = match violation.code().value() {
                1002 => "protocol_error",
                1007 if violation == Violation::DeflateInvalid => "invalid_deflate",
                1007 => "invalid_utf8",
                1009 => "too_big",
                code => panic!("{violation} has code {code}"),
            };
            assert_eq!(violation.name(), name);
        }
    }
}
