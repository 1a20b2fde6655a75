//! The values of some keys, each with its source.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admission::network::Network;
use crate::config::pattern::Pattern;
use crate::config::schema::{Default, Key};
use crate::config::source::Source;
use crate::config::value::Value;
use crate::origin::OriginRule;
use crate::topic_pattern::TopicPattern;

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) source: Source,
}

/// A value for each key of a table.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    keys: &'static [Key],
    /// Invariant: as many as there are keys, in their order.
    settings: Vec<Setting>,
    /// Where they stand together, if they do: an endpoint's table.
    pub(crate) place: Source,
}

impl Values {
    /// Those that hold where nothing is written.
    pub(crate) fn defaults(keys: &'static [Key], place: &Source) -> Self {
        let setting = |key: &Key| Setting {
            value: key.default_value(),
            source: Source::Default,
        };
        Self {
            keys,
            settings: keys.iter().map(setting).collect(),
            place: place.clone(),
        }
    }

    pub(crate) fn set(&mut self, index: usize, setting: Setting) {
        self.settings[index] = setting;
    }

    /// What holds at an endpoint: what it says for itself goes before what the server says.
    pub(crate) fn overridden_by(&self, own: &Self) -> Self {
        let mut all = self.clone();
        for (key, setting) in own.iter() {
            if let Default::Inherit(usual) = key.default
                && setting.value != Value::Auto
                && let Some(index) = self.keys.iter().position(|known| known.name == usual)
            {
                all.set(index, setting.clone());
            }
        }
        all
    }

    /// Each key with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        self.keys.iter().zip(&self.settings)
    }

    /// The key of this name, and its value.
    ///
    /// # Panics
    /// When the table has no such key.
    pub(crate) fn get(&self, name: &str) -> (&'static Key, &Setting) {
        self.iter()
            .find(|(key, _)| key.name == name)
            .unwrap_or_else(|| panic!("the schema has no {name}"))
    }

    /// Where the value of this key comes from.
    pub(crate) fn source(&self, name: &str) -> &Source {
        &self.get(name).1.source
    }
}

/// What a key holds, by its type; each panics when the schema says that it is of another.
impl Values {
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        match &self.get(name).1.value {
            Value::Address(address) => *address,
            other => wrong(name, other),
        }
    }

    /// `None` for `off`.
    pub(crate) fn address_or_off(&self, name: &str) -> Option<SocketAddr> {
        match &self.get(name).1.value {
            Value::Off => None,
            Value::Address(address) => Some(*address),
            other => wrong(name, other),
        }
    }

    pub(crate) fn files(&self, name: &str) -> &[String] {
        match &self.get(name).1.value {
            Value::Files(paths) => paths,
            other => wrong(name, other),
        }
    }

    /// `None` for `auto`.
    pub(crate) fn count(&self, name: &str) -> Option<usize> {
        match &self.get(name).1.value {
            Value::Auto => None,
            Value::Count(count) => Some(*count),
            other => wrong(name, other),
        }
    }

    pub(crate) fn choice(&self, name: &str) -> &'static str {
        match &self.get(name).1.value {
            Value::Choice(word) => word,
            other => wrong(name, other),
        }
    }

    /// In bytes; `None` for `auto`, or where another key is to be asked.
    pub(crate) fn size(&self, name: &str) -> Option<usize> {
        match &self.get(name).1.value {
            Value::Auto => None,
            Value::Size(size) => Some(*size),
            other => wrong(name, other),
        }
    }

    pub(crate) fn span(&self, name: &str) -> Duration {
        match &self.get(name).1.value {
            Value::Span(span) => *span,
            other => wrong(name, other),
        }
    }

    /// Empty where nothing was written and nothing is the default.
    pub(crate) fn text(&self, name: &str) -> &str {
        match &self.get(name).1.value {
            Value::Text(text) => text,
            other => wrong(name, other),
        }
    }

    /// The same; `None` where it is empty.
    pub(crate) fn text_if_any(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// `None` for `auto`.
    pub(crate) fn span_or_auto(&self, name: &str) -> Option<Duration> {
        match &self.get(name).1.value {
            Value::Auto => None,
            Value::Span(span) => Some(*span),
            other => wrong(name, other),
        }
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        match &self.get(name).1.value {
            Value::Switch(on) => *on,
            other => wrong(name, other),
        }
    }

    /// `None` where another key is to be asked.
    pub(crate) fn origins(&self, name: &str) -> Option<&[OriginRule]> {
        match &self.get(name).1.value {
            Value::Auto => None,
            Value::Origins(rules) => Some(rules),
            other => wrong(name, other),
        }
    }

    pub(crate) fn topics(&self, name: &str) -> &[TopicPattern] {
        match &self.get(name).1.value {
            Value::Topics(patterns) => patterns,
            other => wrong(name, other),
        }
    }

    pub(crate) fn networks(&self, name: &str) -> &[Network] {
        match &self.get(name).1.value {
            Value::Networks(networks) => networks,
            other => wrong(name, other),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> &[String] {
        match &self.get(name).1.value {
            Value::Texts(items) => items,
            other => wrong(name, other),
        }
    }

    /// `None` if it is missing, which is a fault of its own.
    pub(crate) fn path(&self, name: &str) -> Option<&Pattern> {
        match &self.get(name).1.value {
            Value::Path(pattern) => Some(pattern),
            _ => None,
        }
    }
}

fn wrong(name: &str, value: &Value) -> ! {
    panic!("the schema gives {name} another type than that of {value:?}")
}
