//! Names of topics: which are allowed, and how a path spells them.
//!
//! A name is 1 to 128 bytes of UTF-8 without control characters and without `/`, unless there are
//! stricter rules. Names that start with `@` belong to the server: `@room` tells how many are in `room`.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use clap::ValueEnum;
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
    /// It is longer than it may be.
    TooLong,
    /// There are other characters in it than there may be.
    Characters,
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
            Self::TooLong => "This name of a topic is too long.",
            Self::Characters => "A topic name here must not contain such characters.",
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
    pub(crate) fn read(segment: &str, rules: &NameRules) -> Result<Self, NameError> {
        let decoded = decode(segment)?;
        match decoded.strip_prefix(RESERVED) {
            Some(topic) if topic.starts_with(RESERVED) => Err(NameError::Reserved),
            Some(topic) => rules.check(topic).map(Self::CountOf),
            None => rules.check(&decoded).map(Self::Topic),
        }
    }

    /// The same for operators, who may name any topic, but only topics of the clients.
    ///
    /// # Errors
    /// [`NameError`].
    pub(crate) fn read_topic(segment: &str) -> Result<CompactString, NameError> {
        match Self::read(segment, &NameRules::default())? {
            Self::Topic(name) => Ok(name),
            Self::CountOf(_) => Err(NameError::Reserved),
        }
    }
}

/// What the names of topics may be, as far as an operator decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameRules {
    pub(crate) size_max: usize,
    pub(crate) characters: Characters,
}

/// Of which characters, but controls and slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Characters {
    /// Any.
    Any,
    /// Those of ASCII.
    Ascii,
    /// Those that a URL never has to encode (RFC 3986, 2.3).
    Plain,
}

impl Default for NameRules {
    fn default() -> Self {
        Self {
            size_max: NAME_SIZE_MAX,
            characters: Characters::Any,
        }
    }
}

impl Characters {
    fn allow(self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Ascii => c.is_ascii(),
            Self::Plain => c.is_ascii_alphanumeric() || "-._~".contains(c),
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

impl NameRules {
    fn check(&self, name: &str) -> Result<CompactString, NameError> {
        if name.is_empty() {
            Err(NameError::Empty)
        } else if name.contains('/') {
            Err(NameError::Slash)
        } else if name.chars().any(char::is_control) {
            Err(NameError::Control)
        } else if name.len() > self.size_max {
            Err(NameError::TooLong)
        } else if !name.chars().all(|c| self.characters.allow(c)) {
            Err(NameError::Characters)
        } else {
            Ok(name.into())
        }
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

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// Does anybody use this one?
    pub(crate) fn knows(&self, name: &CompactString) -> bool {
        self.known.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Result<Name, NameError> {
        Ok(Name::Topic(name.into()))
    }

    fn read(segment: &str) -> Result<Name, NameError> {
        Name::read(segment, &NameRules::default())
    }

    #[test]
    fn an_operator_may_allow_less() {
        let rules = |size_max, characters| NameRules {
            size_max,
            characters,
        };
        let (any, ascii, plain) = (Characters::Any, Characters::Ascii, Characters::Plain);
        for (segment, rules, wanted) in [
            ("abc", rules(3, any), Ok(())),
            ("abcd", rules(3, any), Err(NameError::TooLong)),
            ("@abc", rules(3, any), Ok(())),
            ("%C3%A9%C3%A9", rules(3, any), Err(NameError::TooLong)),
            ("a%20:b", rules(9, ascii), Ok(())),
            ("caf%C3%A9", rules(9, ascii), Err(NameError::Characters)),
            ("a.b-c_d~1", rules(9, plain), Ok(())),
            ("a:b", rules(9, plain), Err(NameError::Characters)),
            ("@a%20b", rules(9, plain), Err(NameError::Characters)),
        ] {
            let read = Name::read(segment, &rules).map(|_| ());
            assert_eq!(read, wanted, "{segment} {rules:?}");
        }
    }

    #[test]
    fn plain_and_encoded_names_are_read() {
        assert_eq!(read("lobby"), topic("lobby"));
        assert_eq!(read("caf%C3%A9"), topic("café"));
        assert_eq!(read("café"), topic("café"));
        assert_eq!(read("a%20b+c"), topic("a b+c"));
        assert_eq!(read("100%25"), topic("100%"));
        assert_eq!(read("a@b"), topic("a@b"));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        assert_eq!(read(""), Err(NameError::Empty));
        assert_eq!(read("a/b"), Err(NameError::Slash));
        assert_eq!(read("a%2Fb"), Err(NameError::Slash));
        assert_eq!(read("%"), Err(NameError::Encoding));
        assert_eq!(read("a%2"), Err(NameError::Encoding));
        assert_eq!(read("%zz"), Err(NameError::Encoding));
        assert_eq!(read("%+1"), Err(NameError::Encoding));
        assert_eq!(read("%ff"), Err(NameError::Utf8));
        assert_eq!(read("%C3"), Err(NameError::Utf8));
        assert_eq!(read("a%00"), Err(NameError::Control));
        assert_eq!(read("a%0A"), Err(NameError::Control));
        assert_eq!(read("%C2%85"), Err(NameError::Control));
    }

    #[test]
    fn a_name_has_at_most_128_bytes_decoded() {
        assert!(read(&"a".repeat(128)).is_ok());
        assert_eq!(read(&"a".repeat(129)), Err(NameError::TooLong));
        assert!(read(&"%41".repeat(128)).is_ok());
        assert_eq!(read(&"é".repeat(65)), Err(NameError::TooLong));
        assert!(read(&format!("@{}", "a".repeat(128))).is_ok());
    }

    #[test]
    fn reserved_names_stand_for_counts() {
        let count = Ok(Name::CountOf("lobby".into()));
        assert_eq!(read("@lobby"), count);
        assert_eq!(read("%40lobby"), count);
        assert_eq!(read("@"), Err(NameError::Empty));
        assert_eq!(read("@@lobby"), Err(NameError::Reserved));
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
