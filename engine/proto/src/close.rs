//! Close codes and the body of a close frame (RFC 6455, 5.5.1 and 7.4).

use std::fmt;

use crate::frame::CONTROL_SIZE_MAX;
use crate::violation::Violation;

/// Why a connection is closed: a code that may stand in a close frame.
///
/// Codes that only describe what was seen (1005, 1006, 1015) cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away: a server shuts down, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of message that the endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: against the endpoint's policy, when nothing more precise fits.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to take.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met a condition it did not expect.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the service restarts (IANA registry).
    pub const RESTART: Self = Self(1012);
    /// 1013: the service is overloaded, try again later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// A code that may be sent: 1000–1003, 1007–1014, 3000–4999; `None` for any other.
    ///
    /// RFC 6455, 7.4.1 and 7.4.2, with 1012–1014 from the IANA registry that 11.7 founded.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        match value {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(value)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The largest reason, in bytes: a control payload without the two bytes of the code.
pub(crate) const REASON_SIZE_MAX: usize = CONTROL_SIZE_MAX - 2;

/// Reads the body of a close frame: no code when it is empty.
pub(crate) fn read_body(body: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    // RFC 6455, 5.5.1: if there is a body, its first two bytes are the code.
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        return if body.is_empty() {
            Ok((None, ""))
        } else {
            Err(Violation::CloseBodyCut)
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(Violation::CloseCodeInvalid)?;
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonInvalid)?;
    Ok((Some(code), reason))
}

/// Holds the beginning of a body against the same rules, as far as it shows a fault already.
pub(crate) fn check_beginning(body: &[u8]) -> Result<(), Violation> {
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        return Ok(());
    };
    if CloseCode::new(u16::from_be_bytes(*code)).is_none() {
        return Err(Violation::CloseCodeInvalid);
    }
    match std::str::from_utf8(reason) {
        Err(error) if error.error_len().is_some() => Err(Violation::CloseReasonInvalid),
        // No error length: a character that may still be completed.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A body for a close frame, on the stack: the code, and as much of `reason` as fits.
///
/// The reason ends at a character's boundary. Without a code there is no body, so no reason either.
pub(crate) struct CloseBody {
    bytes: [u8; CONTROL_SIZE_MAX],
    size: usize,
}

impl CloseBody {
    pub(crate) fn new(code: Option<CloseCode>, reason: &str) -> Self {
        let mut body = Self {
            bytes: [0; CONTROL_SIZE_MAX],
            size: 0,
        };
        if let Some(code) = code {
            let reason = &reason.as_bytes()[..reason.floor_char_boundary(REASON_SIZE_MAX)];
            body.size = 2 + reason.len();
            body.bytes[..2].copy_from_slice(&code.value().to_be_bytes());
            body.bytes[2..body.size].copy_from_slice(reason);
        }
        body
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_for_the_wire_can_be_made() {
        let valid = |value: u16| matches!(value, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for value in 0..=u16::MAX {
            assert_eq!(CloseCode::new(value).is_some(), valid(value), "{value}");
        }
        assert_eq!(CloseCode::new(4000).map(CloseCode::value), Some(4000));
        assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001");
    }

    #[test]
    fn a_body_is_read_as_it_was_made() {
        let body = CloseBody::new(Some(CloseCode::POLICY), "no");
        assert_eq!(body.as_slice(), [0x03, 0xf0, b'n', b'o']);
        assert_eq!(
            read_body(body.as_slice()),
            Ok((Some(CloseCode::POLICY), "no"))
        );
        assert_eq!(read_body(&[]), Ok((None, "")));
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let reason = "ä".repeat(100);
        let body = CloseBody::new(Some(CloseCode::NORMAL), &reason);
        assert_eq!(body.as_slice().len(), 2 + 122);
        assert!(read_body(body.as_slice()).is_ok());
        let exact = "x".repeat(REASON_SIZE_MAX);
        assert_eq!(
            CloseBody::new(Some(CloseCode::NORMAL), &exact)
                .as_slice()
                .len(),
            125
        );
    }

    #[test]
    fn without_a_code_there_is_no_reason() {
        assert!(CloseBody::new(None, "ignored").as_slice().is_empty());
    }

    #[test]
    fn each_fault_of_a_body_has_its_own_name() {
        assert_eq!(read_body(&[3]), Err(Violation::CloseBodyCut));
        assert_eq!(read_body(&[0x03, 0xed]), Err(Violation::CloseCodeInvalid));
        assert_eq!(
            read_body(&[0x03, 0xe8, 0xff]),
            Err(Violation::CloseReasonInvalid)
        );
    }

    #[test]
    fn a_beginning_shows_no_fault_that_the_whole_has_not() {
        let whole = [&[0x03, 0xe8][..], "grüße 𝄞".as_bytes()].concat();
        for size in 0..=whole.len() {
            assert_eq!(check_beginning(&whole[..size]), Ok(()), "{size}");
        }
        let code = check_beginning(&[0x03, 0xed]);
        assert_eq!(code, Err(Violation::CloseCodeInvalid));
        let reason = check_beginning(&[0x03, 0xe8, 0xed, 0xa0]);
        assert_eq!(reason, Err(Violation::CloseReasonInvalid));
    }
}
