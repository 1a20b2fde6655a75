//! Which topics a token allows to be heard and said.

use serde_json::Value;

use super::denial::Denial;

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) hear: Topics,
    pub(crate) say: Topics,
}

/// Some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topics {
    All,
    /// Those that one of these patterns fits.
    Some(Vec<String>),
}

impl Topics {
    pub(crate) const NONE: Self = Self::Some(Vec::new());

    /// A pattern is a topic, or its beginning and a `*` at the end; `*` alone fits all.
    pub(crate) fn include(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => {
                patterns
                    .iter()
                    .any(|pattern| match pattern.strip_suffix('*') {
                        Some(start) => topic.starts_with(start),
                        None => pattern == topic,
                    })
            }
        }
    }

    fn read(value: Option<&Value>) -> Result<Self, Denial> {
        let items = match value {
            None => return Ok(Self::NONE),
            Some(Value::String(one)) => vec![Value::String(one.clone())],
            Some(Value::Array(items)) => items.clone(),
            Some(_) => return Err(Denial::Malformed),
        };
        let pattern = |item: Value| match item {
            // Whoever writes a star elsewhere means something that we do not know.
            Value::String(text) if is_pattern(&text) => Ok(text),
            _ => Err(Denial::Malformed),
        };
        let patterns: Result<Vec<String>, Denial> = items.into_iter().map(pattern).collect();
        Ok(Self::Some(patterns?))
    }

    pub(crate) fn show(&self) -> String {
        match self {
            Self::All => "every topic".to_owned(),
            Self::Some(patterns) if patterns.is_empty() => "nothing".to_owned(),
            Self::Some(patterns) => patterns.join(", "),
        }
    }
}

/// Whether a star stands at the end, if there is one.
pub(crate) fn is_pattern(text: &str) -> bool {
    let start = text.strip_suffix('*').unwrap_or(text);
    !text.is_empty() && !start.contains('*')
}

impl Rights {
    pub(crate) const ALL: Self = Self {
        hear: Topics::All,
        say: Topics::All,
    };
    pub(crate) const HEAR: Self = Self {
        hear: Topics::All,
        say: Topics::NONE,
    };
    pub(crate) const NONE: Self = Self {
        hear: Topics::NONE,
        say: Topics::NONE,
    };

    /// Reads the lists `hear` and `say`; `None` where there is neither. Where there is one, the
    /// other means nothing.
    ///
    /// # Errors
    /// [`Denial::Malformed`].
    pub(crate) fn read(hear: Option<&Value>, say: Option<&Value>) -> Result<Option<Self>, Denial> {
        if hear.is_none() && say.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            hear: Topics::read(hear)?,
            say: Topics::read(say)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hears(patterns: &Value, topic: &str) -> bool {
        let rights = Rights::read(Some(patterns), None).unwrap().unwrap();
        assert!(!rights.say.include(topic), "it was not given");
        rights.hear.include(topic)
    }

    #[test]
    fn a_star_at_the_end_stands_for_any_end() {
        assert!(hears(&json!(["room-*"]), "room-7"));
        assert!(hears(&json!(["room-*"]), "room-"));
        assert!(!hears(&json!(["room-*"]), "room"));
        assert!(!hears(&json!(["room-*"]), "a-room-7"));
        assert!(hears(&json!(["*"]), "anything"));
        assert!(hears(&json!("news"), "news"));
        assert!(!hears(&json!(["news"]), "newsletter"));
        assert!(!hears(&json!([]), "news"));
        assert!(hears(&json!(["caf\u{e9}*"]), "caf\u{e9}s"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for value in [
            json!(["a*b"]),
            json!(["**"]),
            json!(["*a"]),
            json!([""]),
            json!([7]),
            json!({"a": true}),
            json!(null),
            json!(true),
        ] {
            let read = Rights::read(Some(&value), None);
            assert_eq!(read, Err(Denial::Malformed), "{value}");
        }
        assert_eq!(Rights::read(None, None), Ok(None));
    }
}
