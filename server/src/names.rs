//! Names of topics: which are allowed, and how a path spells them.
//!
//! A name is 1 to 128 bytes of UTF-8 without control characters and without `/`. Names that
//! start with `@` belong to the server: `@room` tells how many are in `room`.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use compact_str::CompactString;

/// The longest name in bytes, decoded. Long enough for any key of an application, and short
/// enough that a million names are a hundred megabytes at worst.
pub(crate) const NAME_SIZE_MAX: usize = 128;

/// What the server's own names start with.
pub(crate) const RESERVED: char = '@';

/// Where the table of names gives its memory back when the last name has gone.
const TABLE_KEPT_MAX: usize = 1024;

/// A topic, as the last segment of a path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// A topic of the clients.
    Topic(CompactString),
    /// `@topic`: the number of members of that topic.
    CountOf(CompactString),
}

/// Why a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameError {
    /// There is nothing.
    Empty,
    /// It is longer than [`NAME_SIZE_MAX`].
    TooLong,
    /// A `%` is not followed by two hexadecimal digits.
    Encoding,
    /// The decoded bytes are not UTF-8.
    Utf8,
    /// A control character is in it.
    Control,
    /// A `/` is in it, as it is or as `%2F`.
    Slash,
    /// It starts with `@` where that is not allowed.
    Reserved,
}

impl NameError {
    /// A sentence for the client.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Empty => "A topic name is missing.",
            Self::TooLong => "A topic name has at most 128 bytes.",
            Self::Encoding => "A % in a topic name must be followed by two hexadecimal digits.",
            Self::Utf8 => "A topic name must be UTF-8.",
            Self::Control => "A topic name must not contain control characters.",
            Self::Slash => "A topic name must not contain a slash.",
            Self::Reserved => "Topic names that start with @ are reserved.",
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Name {
    /// Reads one percent-encoded segment of a path.
    ///
    /// # Errors
    /// [`NameError`].
    pub(crate) fn read(segment: &str) -> Result<Self, NameError> {
        let decoded = decode(segment)?;
        match decoded.strip_prefix(RESERVED) {
            Some(topic) if topic.starts_with(RESERVED) => Err(NameError::Reserved),
            Some(topic) => check(topic).map(Self::CountOf),
            None => check(&decoded).map(Self::Topic),
        }
    }

    /// The same for a place where only topics of the clients can stand.
    ///
    /// # Errors
    /// [`NameError`].
    pub(crate) fn read_topic(segment: &str) -> Result<CompactString, NameError> {
        match Self::read(segment)? {
            Self::Topic(name) => Ok(name),
            Self::CountOf(_) => Err(NameError::Reserved),
        }
    }
}

/// The topic on which the number of members of `name` is published.
pub(crate) fn count_topic(name: &str) -> CompactString {
    let mut topic = CompactString::with_capacity(name.len() + RESERVED.len_utf8());
    topic.push(RESERVED);
    topic.push_str(name);
    topic
}

fn decode(segment: &str) -> Result<String, NameError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return Err(NameError::Encoding);
        };
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| NameError::Utf8)
}

fn hex(digit: u8) -> Result<u8, NameError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NameError::Encoding),
    }
}

fn check(name: &str) -> Result<CompactString, NameError> {
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.contains('/') {
        Err(NameError::Slash)
    } else if name.chars().any(char::is_control) {
        Err(NameError::Control)
    } else if name.len() > NAME_SIZE_MAX {
        Err(NameError::TooLong)
    } else {
        Ok(name.into())
    }
}

/// Each name once, shared by all connections of a shard that use it: a connection holds
/// eight bytes and nothing on the heap.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashSet<Rc<CompactString>>,
}

impl Names {
    /// The shared spelling of a name that is known, so that nothing is allocated for it; else
    /// one of its own. Either is interned when the connection opens.
    pub(crate) fn spelling(&self, name: CompactString) -> Rc<CompactString> {
        let known = self.known.get(&name).cloned();
        known.unwrap_or_else(|| Rc::new(name))
    }

    /// The shared spelling of this name; it is given back with [`Names::release`].
    pub(crate) fn intern(&mut self, name: Rc<CompactString>) -> Rc<CompactString> {
        if let Some(known) = self.known.get(&name) {
            return Rc::clone(known);
        }
        self.known.insert(Rc::clone(&name));
        name
    }

    /// Forgets the name if `last` is the only one left beside the table's own.
    pub(crate) fn release(&mut self, last: Rc<CompactString>) {
        if Rc::strong_count(&last) > 2 {
            return;
        }
        self.known.remove(&last);
        if self.known.is_empty() && self.known.capacity() > TABLE_KEPT_MAX {
            self.known = HashSet::new();
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Result<Name, NameError> {
        Ok(Name::Topic(name.into()))
    }

    #[test]
    fn plain_and_encoded_names_are_read() {
        assert_eq!(Name::read("lobby"), topic("lobby"));
        assert_eq!(Name::read("caf%C3%A9"), topic("café"));
        assert_eq!(Name::read("café"), topic("café"));
        assert_eq!(Name::read("a%20b+c"), topic("a b+c"));
        assert_eq!(Name::read("100%25"), topic("100%"));
        assert_eq!(Name::read("a@b"), topic("a@b"));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert_eq!(Name::read(""), Err(NameError::Empty));
        assert_eq!(Name::read("a/b"), Err(NameError::Slash));
        assert_eq!(Name::read("a%2Fb"), Err(NameError::Slash));
        assert_eq!(Name::read("%"), Err(NameError::Encoding));
        assert_eq!(Name::read("a%2"), Err(NameError::Encoding));
        assert_eq!(Name::read("%zz"), Err(NameError::Encoding));
        assert_eq!(Name::read("%+1"), Err(NameError::Encoding));
        assert_eq!(Name::read("%ff"), Err(NameError::Utf8));
        assert_eq!(Name::read("%C3"), Err(NameError::Utf8));
        assert_eq!(Name::read("a%00"), Err(NameError::Control));
        assert_eq!(Name::read("a%0A"), Err(NameError::Control));
        assert_eq!(Name::read("%C2%85"), Err(NameError::Control));
    }

    #[test]
    fn a_name_has_at_most_128_bytes_decoded() {
        assert!(Name::read(&"a".repeat(128)).is_ok());
        assert_eq!(Name::read(&"a".repeat(129)), Err(NameError::TooLong));
        assert!(Name::read(&"%41".repeat(128)).is_ok());
        assert_eq!(Name::read(&"é".repeat(65)), Err(NameError::TooLong));
        assert!(Name::read(&format!("@{}", "a".repeat(128))).is_ok());
    }

    #[test]
    fn reserved_names_stand_for_counts() {
        let count = Ok(Name::CountOf("lobby".into()));
        assert_eq!(Name::read("@lobby"), count);
        assert_eq!(Name::read("%40lobby"), count);
        assert_eq!(Name::read("@"), Err(NameError::Empty));
        assert_eq!(Name::read("@@lobby"), Err(NameError::Reserved));
        assert_eq!(Name::read_topic("@lobby"), Err(NameError::Reserved));
        assert_eq!(Name::read_topic("lobby"), Ok("lobby".into()));
        assert_eq!(count_topic("lobby"), "@lobby");
    }

    #[test]
    fn a_name_is_kept_once_and_as_long_as_it_is_used() {
        let mut names = Names::default();
        let first = names.intern(Rc::new("room".into()));
        let second = names.intern(Rc::new("room".into()));
        let other = names.intern(Rc::new("other".into()));
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(names.count(), 2);
        // Asked for, but never opened.
        assert!(Rc::ptr_eq(&first, &names.spelling("room".into())));
        assert_eq!(*names.spelling("third".into()), "third");
        assert_eq!(names.count(), 2);
        names.release(first);
        assert_eq!(names.count(), 2);
        names.release(second);
        assert_eq!(names.count(), 1);
        names.release(other);
        assert_eq!(names.count(), 0);
    }
}
