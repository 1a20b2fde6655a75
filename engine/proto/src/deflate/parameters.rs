//! The four parameters of permessage-deflate (RFC 7692, 7.1), read strictly, in an offer or a response.

use super::WINDOW_BITS_MAX;
use crate::handshake::Extension;

/// RFC 7692, 7.1.2: a window has 2^8 to 2^15 bytes.
const WINDOW_BITS_LEGAL: std::ops::RangeInclusive<u8> = 8..=WINDOW_BITS_MAX;

/// What stands in one offer or response; each parameter once at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    pub(super) server_window_bits: Option<u8>,
    pub(super) client_window_bits: Option<ClientWindowBits>,
}

/// The value of `client_max_window_bits`, which only an offer may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientWindowBits {
    /// No value: the client can be told any.
    Any,
    /// The client uses no larger window.
    AtMost(u8),
}

impl Parameters {
    /// Reads all parameters; `None` when one is unknown, stands twice or has an illegal value.
    pub(super) fn read(extension: &Extension<'_>) -> Option<Self> {
        let mut read = Self::default();
        for (name, value) in extension.parameters() {
            match name {
                "server_no_context_takeover" => raise(&mut read.server_no_context_takeover, value)?,
                "client_no_context_takeover" => raise(&mut read.client_no_context_takeover, value)?,
                "server_max_window_bits" => {
                    fill(&mut read.server_window_bits, parse_window_bits(value?)?)?;
                }
                "client_max_window_bits" => {
                    let bits = match value {
                        None => ClientWindowBits::Any,
                        Some(value) => ClientWindowBits::AtMost(parse_window_bits(value)?),
                    };
                    fill(&mut read.client_window_bits, bits)?;
                }
                _ => return None,
            }
        }
        Some(read)
    }
}

/// Takes a parameter without a value; `None` when it has one or stands twice.
fn raise(flag: &mut bool, value: Option<&str>) -> Option<()> {
    let fresh = !*flag && value.is_none();
    *flag = true;
    fresh.then_some(())
}

/// Takes a value; `None` when there is one already.
fn fill<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// RFC 7692, 7.1.2.1: a decimal integer without leading zeroes between 8 to 15 inclusive.
///
/// A backslash can only have stood in a quoted value, where it escapes what follows (RFC 6455, 9.1).
fn parse_window_bits(value: &str) -> Option<u8> {
    let mut bits = 0u8;
    for digit in value.bytes().filter(|byte| *byte != b'\\') {
        if !digit.is_ascii_digit() || (bits == 0 && digit == b'0') {
            return None;
        }
        bits = bits.checked_mul(10)?.checked_add(digit - b'0')?;
    }
    WINDOW_BITS_LEGAL.contains(&bits).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_from_8_to_15_are_window_bits() {
        for bits in 0..=u16::MAX {
            let expected = u8::try_from(bits)
                .ok()
                .filter(|bits| (8..=15).contains(bits));
            assert_eq!(parse_window_bits(&bits.to_string()), expected, "{bits}");
        }
        for bad in [
            "",
            "0",
            "08",
            "010",
            "+9",
            "-9",
            "9.0",
            "0x9",
            "٩",
            "a",
            "99999999999",
        ] {
            assert_eq!(parse_window_bits(bad), None, "{bad}");
        }
        assert_eq!(
            parse_window_bits("\\1\\0"),
            Some(10),
            "quoted as \"\\1\\0\""
        );
    }
}
