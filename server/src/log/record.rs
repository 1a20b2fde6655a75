//! One event, as it stands in the queue.

use std::fmt;
use std::time::SystemTime;

use tracing::Level;
use tracing::field::{Field as Name, Visit};

/// So many bytes of a text are written; the rest is cut off. No line of ours is longer, but a peer's
/// text may be.
const TEXT_SIZE_MAX: usize = 4096;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Field)>,
    /// Whoever has started the program waits for it: it goes to stdout as well, wherever the log is.
    pub(crate) is_greeting: bool,
    /// A greeting whose level is not written.
    pub(crate) is_unwanted: bool,
}

/// What a field says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
}

impl Record {
    pub(crate) fn new(level: Level, target: &'static str, message: &str) -> Self {
        Self {
            at: now(),
            level,
            target,
            message: cut(message.to_owned()),
            fields: Vec::new(),
            is_greeting: false,
            is_unwanted: false,
        }
    }

    /// With this field, too.
    pub(crate) fn with(mut self, name: &'static str, field: impl Into<Field>) -> Self {
        self.fields.push((name, field.into()));
        self
    }

    /// With this field, if there is something to say.
    pub(crate) fn with_some(self, name: &'static str, field: Option<impl Into<Field>>) -> Self {
        match field {
            Some(field) => self.with(name, field),
            None => self,
        }
    }

    /// What one of tracing's events says.
    pub(crate) fn of(event: &tracing::Event<'_>) -> Self {
        let about = event.metadata();
        let mut record = Self::new(*about.level(), about.target(), "");
        event.record(&mut record);
        record
    }

    fn put(&mut self, name: &Name, field: Field) {
        match (name.name(), field) {
            ("message", Field::Text(text)) => self.message = text,
            (name, field) => self.fields.push((name, field)),
        }
    }
}

impl Visit for Record {
    fn record_f64(&mut self, name: &Name, value: f64) {
        self.put(name, Field::Float(value));
    }

    fn record_i64(&mut self, name: &Name, value: i64) {
        self.put(name, Field::Signed(value));
    }

    fn record_u64(&mut self, name: &Name, value: u64) {
        self.put(name, Field::Unsigned(value));
    }

    fn record_bool(&mut self, name: &Name, value: bool) {
        self.put(name, Field::Flag(value));
    }

    fn record_str(&mut self, name: &Name, value: &str) {
        self.put(name, Field::Text(cut(value.to_owned())));
    }

    fn record_debug(&mut self, name: &Name, value: &dyn fmt::Debug) {
        self.put(name, Field::Text(cut(format!("{value:?}"))));
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(cut(text.to_owned()))
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(cut(text))
    }
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Unsigned(number)
    }
}

impl From<usize> for Field {
    fn from(number: usize) -> Self {
        Self::Unsigned(number as u64)
    }
}

impl From<u16> for Field {
    fn from(number: u16) -> Self {
        Self::Unsigned(number.into())
    }
}

impl From<f64> for Field {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_SIZE_MAX {
        let end = text.floor_char_boundary(TEXT_SIZE_MAX);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line of a log says the hour; nothing is decided by it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_an_end_is_cut_at_a_character() {
        let record = Record::new(Level::INFO, "server", &"é".repeat(4096));
        assert!(record.message.len() <= TEXT_SIZE_MAX + 3);
        assert!(record.message.ends_with("é..."));
        let field = Field::from("a".repeat(TEXT_SIZE_MAX + 1));
        assert!(matches!(field, Field::Text(text) if text.ends_with("a...")));
    }
}
