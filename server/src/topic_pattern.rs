//! Which topics an endpoint has: names, in which `*` stands for any characters, or none.

use std::fmt;
use std::str::FromStr;

use crate::names::{NAME_SIZE_MAX, RESERVED};

/// One pattern, such as `room-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPattern(String);

/// What stands for any characters.
const ANY: char = '*';

impl TopicPattern {
    /// Is this the name of such a topic?
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split(ANY);
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // The first place at which a part is found leaves the most for those behind it.
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl FromStr for TopicPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Those that would have to be escaped, or that stand between patterns.
        let odd = |c: char| c.is_control() || matches!(c, '/' | ',' | '"' | '\\');
        if text.is_empty() || text.len() > NAME_SIZE_MAX {
            let advice = format!("a topic is 1 to {NAME_SIZE_MAX} bytes, such as room-* or news");
            return Err(advice);
        }
        if let Some(odd) = text.chars().find(|c| odd(*c)) {
            return Err(format!("a topic here cannot hold {odd:?}"));
        }
        if text.starts_with(RESERVED) || text.trim() != text {
            return Err("write a topic without @ and without spaces around it".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pattern means, character by character.
    fn means(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|at| means(rest, &name[at..])),
            [first, rest @ ..] => name.first() == Some(first) && means(rest, &name[1..]),
        }
    }

    #[test]
    fn a_pattern_matches_what_it_means() {
        let words = |letters: &[u8], size: u32| {
            let count = letters.len().pow(size);
            let letters = letters.to_vec();
            (0..count).map(move |mut number| {
                let mut word = String::new();
                for _ in 0..size {
                    word.push(letters[number % letters.len()].into());
                    number /= letters.len();
                }
                word
            })
        };
        let mut held = 0;
        for pattern in (1..=5).flat_map(|size| words(b"ab*", size)) {
            let read: TopicPattern = pattern.parse().unwrap();
            for name in (1..=6).flat_map(|size| words(b"ab", size)) {
                let wanted = means(pattern.as_bytes(), name.as_bytes());
                assert_eq!(read.matches(&name), wanted, "{pattern} {name}");
                held += usize::from(wanted);
            }
        }
        assert!(held > 5_000, "{held}");
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for text in ["", "a/b", "a,b", "@a", " a", "a\n", "a\"", "a\\"] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text:?}");
        }
        assert!("a".repeat(129).parse::<TopicPattern>().is_err());
        for text in ["*", "room-*", "café", "a b", "*-*"] {
            let pattern: TopicPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
        }
    }
}
