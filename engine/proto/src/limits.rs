//! Every maximum of this crate that a caller may choose, with its default and its ceiling.

/// The largest message accepted unless a caller says otherwise, in bytes.
///
/// Chat, prices and presence fit a thousand times over; whoever sends files says so in its settings.
pub const MESSAGE_SIZE_MAX_DEFAULT: usize = 64 * 1024;

/// How many bytes a message may have as it comes, when it may have `message_size_max` as it is meant.
///
/// What does not compress grows a little: by 5 bytes for each stored block, and with fixed codes by up to
/// an eighth. At most 64 KiB more, for a peer pins them: a sender that wastes more on one huge message
/// is told that it is too big.
#[inline]
pub(crate) const fn received_size_max(message_size_max: usize, deflated: bool) -> usize {
    if !deflated {
        return message_size_max;
    }
    let eighth = message_size_max / 8;
    let overhead = if eighth < 64 * 1024 {
        eighth
    } else {
        64 * 1024
    };
    message_size_max.saturating_add(overhead + 64)
}

/// No head may have more header lines than this, whatever [`HeadLimits`] says.
///
/// It is the length of an array on the stack, so that parsing a head allocates nothing.
pub const HEADER_COUNT_CEILING: usize = 128;

/// No head may be larger than this, whatever [`HeadLimits`] says, in bytes.
///
/// Positions inside a head are kept in 16 bits.
pub const HEAD_SIZE_CEILING: usize = u16::MAX as usize;

/// How large the head of an HTTP request or response may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes up to and including the empty line. At most [`HEAD_SIZE_CEILING`] takes effect.
    pub size_max: usize,
    /// Header lines. At most [`HEADER_COUNT_CEILING`] takes effect.
    pub header_count_max: usize,
}

impl HeadLimits {
    /// The size that takes effect, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size_max.min(HEAD_SIZE_CEILING)
    }

    /// The number of header lines that takes effect.
    pub(crate) fn header_count(&self) -> usize {
        self.header_count_max.min(HEADER_COUNT_CEILING)
    }
}

impl Default for HeadLimits {
    /// 8 KiB and 64 header lines: what browsers send with cookies, and common servers accept.
    fn default() -> Self {
        Self {
            size_max: 8 * 1024,
            header_count_max: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_hold_whatever_the_caller_asks_for() {
        let limits = HeadLimits {
            size_max: usize::MAX,
            header_count_max: usize::MAX,
        };
        assert_eq!(limits.size(), HEAD_SIZE_CEILING);
        assert_eq!(limits.header_count(), HEADER_COUNT_CEILING);
    }

    #[test]
    fn smaller_limits_are_kept_as_they_are() {
        let limits = HeadLimits::default();
        assert_eq!(limits.size(), 8192);
        assert_eq!(limits.header_count(), 64);
    }
}
