//! Frame headers, and the order in which each reader finds fault with them.

use super::Reader;
use super::compressed_size_max;
use crate::conversation::{Compression, Conversation, Half};

/// The header of a frame, as far as it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'c> {
    /// From its first byte to the end of the conversation.
    pub(super) bytes: &'c [u8],
    conversation: &'c Conversation,
    held: Held,
}

/// What there is of a message that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) open: bool,
    pub(super) squeezed: bool,
    /// As it came.
    pub(super) size: usize,
    /// As this reader counts it.
    pub(super) counted: usize,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// RFC 6455, 5.2 and RFC 7692, 6: reserved bits.
    Flags,
    /// RFC 6455, 5.2: reserved opcodes.
    Opcode,
    /// RFC 6455, 5.5: no control frame is fragmented.
    ControlCut,
    /// RFC 6455, 5.5: a control frame has at most 125 bytes, so its length takes 7 bits.
    ControlShort,
    /// As before, by its length alone.
    ControlLong,
    /// RFC 6455, 5.4: continuations follow a beginning, and beginnings an end.
    Order,
    /// RFC 6455, 5.1.
    Mask,
    /// RFC 6455, 5.2: the shortest form of a length.
    Minimal,
    /// RFC 6455, 5.2: the top bit of 64.
    TopBit,
    /// RFC 6455, 5.5.1: a close code has two bytes.
    CloseCut,
    /// The message against its limit; compressed ones may be a little larger.
    Size,
    /// Each message as it comes against the limit, but for a single compressed frame.
    SizeAsItComes,
    /// Any frame against the limit of a frame.
    FrameSize,
    /// Any frame against what is left of the limit.
    Budget,
}

/// How much must be there before a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    First,
    Second,
    Length,
    Header,
}

/// What comes of some checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Fault(Check),
    Starved,
    Pass,
}

use Check::*;

/// With the first byte that proves it.
pub(super) const STRICT: &[(Point, Check)] = &[
    (Point::First, Flags),
    (Point::First, Opcode),
    (Point::First, ControlCut),
    (Point::First, Order),
    (Point::Second, Mask),
    (Point::Second, ControlShort),
    (Point::Second, TopBit),
    (Point::Second, Minimal),
    (Point::Length, Minimal),
    (Point::Header, CloseCut),
    (Point::Header, Size),
];

impl Reader {
    /// What it looks at before the payload, in its order.
    pub(super) const fn head_checks(self) -> &'static [(Point, Check)] {
        match self {
            Self::Tidegate => STRICT,
            Self::Tungstenite => &[(Point::Header, Opcode), (Point::Header, FrameSize)],
            Self::Sockudo => &[
                (Point::Second, Flags),
                (Point::Second, Opcode),
                (Point::Second, ControlCut),
                (Point::Second, Mask),
                (Point::Length, Minimal),
                (Point::Length, TopBit),
                (Point::Length, ControlLong),
                (Point::Length, FrameSize),
            ],
            Self::Websockets => &[
                (Point::Second, Opcode),
                (Point::Second, Mask),
                (Point::Length, Budget),
            ],
        }
    }

    /// What it looks at once the frame is whole, in its order.
    pub(super) const fn frame_checks(self, compression: Compression) -> &'static [Check] {
        match (self, compression) {
            (Self::Tidegate, _) => &[],
            (Self::Tungstenite, _) => {
                &[Mask, Flags, ControlCut, ControlLong, CloseCut, Order, Size]
            }
            (Self::Sockudo, Compression::None) => &[CloseCut, Order, Size],
            (Self::Sockudo, _) => &[CloseCut, Order, SizeAsItComes],
            (Self::Websockets, _) => &[Flags, ControlLong, ControlCut, CloseCut, Order],
        }
    }
}

impl Check {
    pub(super) const fn code(self) -> u16 {
        match self {
            Size | SizeAsItComes | FrameSize | Budget => 1009,
            _ => 1002,
        }
    }
}

impl<'c> Head<'c> {
    /// The header that begins `bytes`, which are not empty.
    pub(super) const fn new(bytes: &'c [u8], conversation: &'c Conversation, held: Held) -> Self {
        Self {
            bytes,
            conversation,
            held,
        }
    }

    pub(super) const fn opcode(&self) -> u8 {
        self.bytes[0] & 0x0f
    }

    pub(super) const fn is_final(&self) -> bool {
        self.bytes[0] & 0x80 != 0
    }

    pub(super) const fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    /// Whether RSV1 says that a compressed message begins.
    pub(super) const fn begins_squeezed(&self) -> bool {
        self.bytes[0] & 0x40 != 0 && matches!(self.opcode(), 1 | 2)
    }

    /// Makes these checks in their order; the header passes only when it is whole.
    pub(super) fn judge(&self, checks: &[(Point, Check)], reader: Reader) -> Finding {
        for &(point, check) in checks {
            if !self.reaches(point) {
                return Finding::Starved;
            }
            if self.is_faulty(check, reader) {
                return Finding::Fault(check);
            }
        }
        if self.reaches(Point::Header) {
            Finding::Pass
        } else {
            Finding::Starved
        }
    }

    /// Whether the frame fails this check, as far as the bytes show it.
    pub(super) fn is_faulty(&self, check: Check, reader: Reader) -> bool {
        let first = self.bytes[0];
        let length = self.length().unwrap_or(0);
        let size_max = self.conversation.size_max as u64;
        let total = length.saturating_add(self.held.size as u64);
        let squeezed = self.begins_squeezed() || self.held.open && self.held.squeezed;
        match check {
            Flags => {
                let rsv1 =
                    self.conversation.compression != Compression::None && self.begins_squeezed();
                first & if rsv1 { 0x30 } else { 0x70 } != 0
            }
            Opcode => matches!(self.opcode(), 3..=7 | 11..=15),
            ControlCut => self.is_control() && !self.is_final(),
            ControlShort => self.is_control() && self.short() > 125,
            ControlLong => self.is_control() && length > 125,
            Order => match self.opcode() {
                0 => !self.held.open,
                1 | 2 => self.held.open,
                _ => false,
            },
            Mask => self.is_masked() != (self.conversation.half == Half::Server),
            Minimal => self.is_padded(),
            TopBit => self.short() == 127 && self.bytes.get(2).is_some_and(|byte| byte & 0x80 != 0),
            CloseCut => self.opcode() == 8 && length == 1,
            Size if squeezed => {
                !self.is_control() && total > compressed_size_max(self.conversation.size_max) as u64
            }
            Size => !self.is_control() && total > size_max,
            SizeAsItComes => {
                let single = self.begins_squeezed() && self.is_final();
                !self.is_control() && !single && total > size_max
            }
            FrameSize
                if reader == Reader::Sockudo
                    && self.conversation.compression != Compression::None =>
            {
                length > compressed_size_max(self.conversation.size_max) as u64
            }
            FrameSize => length > size_max,
            Budget => length.saturating_add(self.held.counted as u64) > size_max,
        }
    }

    /// The size of the header, if enough is there to know it.
    pub(super) fn size(&self) -> Option<usize> {
        let second = *self.bytes.get(1)?;
        Some(2 + self.length_size() + if second & 0x80 != 0 { 4 } else { 0 })
    }

    /// The declared length, if it is there.
    pub(super) fn length(&self) -> Option<u64> {
        let short = u64::from(self.short());
        let field = self.bytes.get(2..2 + self.length_size())?;
        match field.len() {
            0 => Some(short),
            _ => Some(
                field
                    .iter()
                    .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            ),
        }
    }

    /// The payload as far as it is there, unmasked, and whether that is all of it. The header is whole.
    pub(super) fn payload(&self) -> (Vec<u8>, bool) {
        let start = self.size().unwrap_or(0);
        let declared = usize::try_from(self.length().unwrap_or(0)).unwrap_or(usize::MAX);
        let there = &self.bytes[start..];
        let mut payload = there[..declared.min(there.len())].to_vec();
        if self.is_masked() {
            let key = &self.bytes[start - 4..start];
            for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
        }
        let whole = payload.len() == declared;
        (payload, whole)
    }

    fn reaches(&self, point: Point) -> bool {
        let there = self.bytes.len();
        match point {
            Point::First => there >= 1,
            Point::Second => there >= 2,
            Point::Length => there >= 2 && there >= 2 + self.length_size(),
            Point::Header => self.size().is_some_and(|size| there >= size),
        }
    }

    fn is_masked(&self) -> bool {
        self.bytes.get(1).is_some_and(|byte| byte & 0x80 != 0)
    }

    fn short(&self) -> u8 {
        self.bytes.get(1).map_or(0, |byte| byte & 0x7f)
    }

    fn length_size(&self) -> usize {
        match self.short() {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    /// Whether the length is in a longer form than it needs, as far as it is there.
    fn is_padded(&self) -> bool {
        match self.short() {
            126 => self.length().is_some_and(|length| length < 126),
            127 => self.bytes.get(2..8).is_some_and(|field| field == [0; 6]),
            _ => false,
        }
    }
}
