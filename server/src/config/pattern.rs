//! Paths of the public port, as a configuration writes them: one path, or a pattern whose last
//! segment is any topic.

use std::fmt;
use std::str::FromStr;

/// `/echo`, or `/ws/{topic}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// This path alone.
    Exact(String),
    /// What stands before the topic, with the slash at its end.
    Topic(String),
}

/// How a pattern says that any topic may stand there.
const TOPIC: &str = "{topic}";

/// A longer one leaves no room for a topic in a request head.
const PATH_SIZE_MAX: usize = 1024;

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a path starts with a slash, such as /echo or /ws/{topic}".to_owned());
        }
        if text.len() > PATH_SIZE_MAX {
            return Err(format!("a path has at most {PATH_SIZE_MAX} bytes"));
        }
        let (path, has_topic) = match text.strip_suffix(TOPIC) {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            _ => (text, false),
        };
        // RFC 3986, 3.3: what a segment may hold as it is. A request's path is compared as it was
        // sent, so what would have to be percent-encoded cannot be named here.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c);
        if let Some(odd) = path.chars().find(|c| !allowed(*c)) {
            return Err(match odd {
                '{' | '}' => "{topic} can only be a whole segment, and the last one".to_owned(),
                odd => format!("a path cannot hold {odd:?}"),
            });
        }
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let odd_segment = |segment: &str| matches!(segment, "" | "." | "..");
        if path == "//" || (!inner.is_empty() && inner.split('/').any(odd_segment)) {
            return Err("a segment of a path cannot be empty, . or ..".to_owned());
        }
        Ok(if has_topic {
            Self::Topic(path.to_owned())
        } else {
            Self::Exact(path.to_owned())
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Topic(prefix) => write!(f, "{prefix}{TOPIC}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_patterns_are_told_apart() {
        let exact = |path: &str| Ok(Pattern::Exact(path.to_owned()));
        assert_eq!("/".parse(), exact("/"));
        assert_eq!("/echo".parse(), exact("/echo"));
        assert_eq!("/a/b/".parse(), exact("/a/b/"));
        let topic = |prefix: &str| Ok(Pattern::Topic(prefix.to_owned()));
        assert_eq!("/ws/{topic}".parse(), topic("/ws/"));
        assert_eq!("/{topic}".parse(), topic("/"));
        assert_eq!("/a/b/{topic}".parse(), topic("/a/b/"));
        for text in ["/", "/echo", "/ws/{topic}", "/{topic}"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for text in [
            "",
            "echo",
            "{topic}",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/./a",
            "/a/..",
            "/a b",
            "/a?b",
            "/a#b",
            "/%41",
            "/é",
            "/a\n",
            "/\"",
            "/\\",
            "/a{topic}",
            "/{topic}/b",
            "/{room}",
            "/{topic}/{topic}",
            "/a//{topic}",
            "/../{topic}",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        let long = format!("/{}", "a".repeat(PATH_SIZE_MAX));
        assert!(long.parse::<Pattern>().is_err());
    }
}
