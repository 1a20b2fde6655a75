//! The header lines of a parsed head: where they lie, kept as positions, without a heap.

use crate::limits::HEADER_COUNT_CEILING;

/// The header lines of a head. Positions of 16 bits keep it at a kilobyte, so it can be passed on.
#[derive(Debug, Clone)]
pub(crate) struct Head<'a> {
    bytes: &'a [u8],
    /// Invariant: `slots[..count]` point into `bytes`, and each name is an ASCII token.
    slots: [Slot; HEADER_COUNT_CEILING],
    count: usize,
}

/// Where one header line lies.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    name: Span,
    value: Span,
}

#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u16,
    size: u16,
}

impl<'a> Head<'a> {
    /// `headers` were parsed out of `bytes`, of which there are at most
    /// [`crate::limits::HEAD_SIZE_CEILING`].
    pub(crate) fn new(bytes: &'a [u8], headers: &[httparse::Header<'a>]) -> Self {
        let mut head = Self {
            bytes,
            slots: [Slot::default(); HEADER_COUNT_CEILING],
            count: headers.len(),
        };
        for (slot, header) in head.slots.iter_mut().zip(headers) {
            slot.name = Span::new(bytes, header.name.as_bytes());
            slot.value = Span::new(bytes, header.value.trim_ascii());
        }
        head
    }

    /// Every header line in its order: name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'_, 'a> {
        let bytes = self.bytes;
        self.slots[..self.count].iter().map(move |slot| {
            let name = std::str::from_utf8(slot.name.of(bytes)).expect("a name is an ASCII token");
            (name, slot.value.of(bytes))
        })
    }

    /// The values of all lines with this name, in their order; names know no case.
    pub(crate) fn named<'h>(&'h self, name: &'h str) -> Named<'h, 'a> {
        Named {
            name,
            bytes: self.bytes,
            slots: self.slots[..self.count].iter(),
        }
    }

    /// The value of the only line with this name.
    pub(crate) fn only(&self, name: &str) -> Only<'a> {
        let mut values = self.named(name);
        match (values.next(), values.next()) {
            (None, _) => Only::Absent,
            (Some(value), None) => Only::One(value),
            (Some(_), Some(_)) => Only::Many,
        }
    }
}

/// Values of the lines with one name.
#[derive(Debug, Clone)]
pub(crate) struct Named<'h, 'a> {
    name: &'h str,
    bytes: &'a [u8],
    slots: std::slice::Iter<'h, Slot>,
}

impl<'a> Iterator for Named<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (name, bytes) = (self.name.as_bytes(), self.bytes);
        let matches = |slot: &&Slot| slot.name.of(bytes).eq_ignore_ascii_case(name);
        self.slots.find(matches).map(|slot| slot.value.of(bytes))
    }
}

/// How often a header line that may stand once stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only<'a> {
    Absent,
    One(&'a [u8]),
    Many,
}

impl Span {
    /// Where `part` lies within `whole`.
    fn new(whole: &[u8], part: &[u8]) -> Self {
        if part.is_empty() {
            return Self::default();
        }
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        Self {
            start: u16::try_from(start).expect("a head is at most 64 KiB"),
            size: u16::try_from(part.len()).expect("a head is at most 64 KiB"),
        }
    }

    fn of(self, whole: &[u8]) -> &[u8] {
        &whole[usize::from(self.start)..][..usize::from(self.size)]
    }
}

/// Where the first line feed stands that has no carriage return. Parsers that also take a bare LF see other
/// lines than we do, which is how requests are smuggled.
pub(crate) fn bare_line_feed(head: &[u8]) -> Option<usize> {
    let mut previous = 0;
    head.iter().position(|&byte| {
        let bare = byte == b'\n' && previous != b'\r';
        previous = byte;
        bare
    })
}

/// Appends one header line.
///
/// # Panics
/// When it holds CR, LF or NUL: our own code would inject lines.
pub(crate) fn write_header(name: &str, value: &str, wire: &mut Vec<u8>) {
    assert!(
        super::list::is_token(name.as_bytes()),
        "a header name is a token"
    );
    let injects = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    assert!(
        !value.as_bytes().iter().any(injects),
        "a header value is one line"
    );
    wire.extend_from_slice(name.as_bytes());
    wire.extend_from_slice(b": ");
    wire.extend_from_slice(value.as_bytes());
    wire.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of<'a>(bytes: &'a [u8], headers: &'a mut [httparse::Header<'a>]) -> Head<'a> {
        let mut request = httparse::Request::new(headers);
        request.parse(bytes).unwrap();
        Head::new(bytes, request.headers)
    }

    #[test]
    fn lines_are_found_by_name_without_case_and_in_order() {
        let bytes = b"GET / HTTP/1.1\r\nA: 1\r\nb:\r\na:  2 \r\n\r\n";
        let mut headers = [httparse::EMPTY_HEADER; 4];
        let head = head_of(bytes, &mut headers);
        let values: Vec<_> = head.named("a").collect();
        assert_eq!(values, [b"1", b"2"]);
        assert_eq!(head.only("B"), Only::One(b""));
        assert_eq!(head.only("a"), Only::Many);
        assert_eq!(head.only("c"), Only::Absent);
        let names: Vec<_> = head.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "b", "a"]);
    }

    #[test]
    fn a_line_feed_needs_its_carriage_return() {
        assert_eq!(bare_line_feed(b"a\r\nb\r\n\r\n"), None);
        assert_eq!(bare_line_feed(b"a\nb\n"), Some(1));
        assert_eq!(bare_line_feed(b"\n"), Some(0));
        assert_eq!(bare_line_feed(b"a\r\n\n"), Some(3));
    }

    #[test]
    #[should_panic(expected = "one line")]
    fn a_value_with_a_line_end_is_our_own_bug() {
        write_header("A", "b\r\nC: d", &mut Vec::new());
    }
}
