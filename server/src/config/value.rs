//! What the value of a key may be: how it is read, what is allowed, and how it is written back.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::admission::network::Network;
use crate::config::pattern::Pattern;
use crate::origin::OriginRule;
use crate::topic_pattern::TopicPattern;
use crate::units;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// An IP address and a port.
    Address,
    /// The same, or off.
    AddressOrOff,
    /// A whole number.
    Count { min: usize, max: usize },
    /// One of these words; `name` stands for it in the help.
    Choice {
        name: &'static str,
        words: &'static [&'static str],
    },
    /// A number of bytes.
    Size { min: usize, max: usize },
    /// A span of time.
    Span { min: Duration, max: Duration },
    /// The same, or 0s for none.
    SpanOrNone { min: Duration, max: Duration },
    /// A number of bytes, or 0B for none.
    SizeOrNone { min: usize, max: usize },
    /// Yes or no.
    Switch,
    /// Web pages by their origins.
    Origins,
    /// IP addresses, one by one or by their first bits.
    Networks,
    /// The paths of files.
    Files,
    /// A path of the public port, or a pattern for many.
    Path,
    /// Topics by their names, or patterns for many.
    Topics,
    /// A text with rules of its own.
    Text {
        /// Stands for it in the help.
        name: &'static str,
        /// How the reference describes it.
        about: &'static str,
        /// Says what is wrong with it, and what would be right.
        check: fn(&str) -> Result<(), String>,
    },
    /// Some texts, or none; `name` stands for one in the help.
    Texts { name: &'static str },
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// None of its own: the server or another key decides.
    Auto,
    Address(SocketAddr),
    Off,
    Count(usize),
    Choice(&'static str),
    Size(usize),
    Span(Duration),
    Switch(bool),
    Origins(Vec<OriginRule>),
    Networks(Vec<Network>),
    Files(Vec<String>),
    Path(Pattern),
    Topics(Vec<TopicPattern>),
    Text(String),
    Texts(Vec<String>),
}

/// The longest text that a key takes, in bytes: as long as a path of a file may be, or nearly.
const TEXT_SIZE_MAX: usize = 1024;

/// The word for [`Value::Auto`], where it can be written.
pub(crate) const AUTO: &str = "auto";

/// The word for [`Value::Off`].
const OFF: &str = "off";

impl Kind {
    /// Reads what a flag or a variable of the environment says.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::AddressOrOff if text == OFF => Ok(Value::Off),
            Self::Address | Self::AddressOrOff => {
                text.parse().map(Value::Address).map_err(|_| self.allowed())
            }
            Self::Count { min, max } => text
                .parse()
                .ok()
                .filter(|count| (min..=max).contains(count))
                .map(Value::Count)
                .ok_or_else(|| self.allowed()),
            Self::Choice { words, .. } => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Value::Choice(word))
                .ok_or_else(|| self.allowed()),
            Self::Size { min, max } => {
                let size = units::parse_size(text)?;
                let fits = (min..=max).contains(&size);
                fits.then_some(Value::Size(size))
                    .ok_or_else(|| self.allowed())
            }
            Self::Span { min, max } => {
                let span = units::parse_span(text)?;
                let fits = (min..=max).contains(&span);
                fits.then_some(Value::Span(span))
                    .ok_or_else(|| self.allowed())
            }
            Self::SpanOrNone { min, max } => {
                let span = units::parse_span(text)?;
                let fits = span.is_zero() || (min..=max).contains(&span);
                fits.then_some(Value::Span(span))
                    .ok_or_else(|| self.allowed())
            }
            Self::SizeOrNone { min, max } => {
                let size = units::parse_size(text)?;
                let fits = size == 0 || (min..=max).contains(&size);
                fits.then_some(Value::Size(size))
                    .ok_or_else(|| self.allowed())
            }
            Self::Switch => text.parse().map(Value::Switch).map_err(|_| self.allowed()),
            Self::Origins => parse_list(text).map(Value::Origins),
            Self::Networks => parse_list(text).map(Value::Networks),
            Self::Files => parse_files(text).map(Value::Files),
            Self::Path => text.parse().map(Value::Path),
            Self::Topics => {
                let patterns = text.split(',').map(|pattern| pattern.trim().parse());
                let patterns: Result<_, String> = patterns.collect();
                patterns.map(Value::Topics)
            }
            Self::Text { check, .. } => {
                if !is_text(text) {
                    return Err(format!(
                        "write at most {TEXT_SIZE_MAX} bytes, without quotation marks, backslashes and \
                         control characters"
                    ));
                }
                check(text).map(|()| Value::Text(text.to_owned()))
            }
            Self::Texts { .. } => {
                let items = text.split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty()).map(str::to_owned);
                is_text(text)
                    .then(|| Value::Texts(items.collect()))
                    .ok_or_else(|| self.allowed())
            }
        }
    }

    /// What can be written, as advice.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Address => "write an IP address and a port, such as 127.0.0.1:8080, \
                              0.0.0.0:8080 or [::1]:8080"
                .to_owned(),
            Self::AddressOrOff => {
                "write an IP address and a port, such as 0.0.0.0:8443, or off".to_owned()
            }
            Self::Count { min, max } => format!("write a number from {min} to {max}"),
            Self::Choice { words, .. } => format!("write one of {}", words.join(", ")),
            Self::Size { min, max } => format!(
                "it must be from {} to {}",
                units::show_size(min),
                units::show_size(max)
            ),
            Self::Span { min, max } => format!(
                "it must be from {} to {}",
                units::show_span(min),
                units::show_span(max)
            ),
            Self::SpanOrNone { min, max } => format!(
                "it must be 0s, or from {} to {}",
                units::show_span(min),
                units::show_span(max)
            ),
            Self::SizeOrNone { min, max } => format!(
                "it must be 0B, or from {} to {}",
                units::show_size(min),
                units::show_size(max)
            ),
            Self::Switch => "write true or false".to_owned(),
            Self::Origins => {
                "write a list of origins, such as [\"https://app.example.com\"]".to_owned()
            }
            Self::Networks => {
                "write a list of addresses and networks, such as [\"192.0.2.7\", \"10.0.0.0/8\"]"
                    .to_owned()
            }
            Self::Files => {
                "write the path of a file, or a list of them, such as [\"/etc/tidegate/cert.pem\"]"
                    .to_owned()
            }
            Self::Path => {
                "write a path such as \"/echo\" or a pattern such as \"/ws/{topic}\"".to_owned()
            }
            Self::Topics => "write a list of topics, such as [\"room-*\", \"news\"]".to_owned(),
            Self::Text { about, .. } => format!("write {about}"),
            Self::Texts { .. } => "write a list of texts, such as [\"one\", \"two\"]".to_owned(),
        }
    }

    /// What the help of the command line calls a value.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Self::Address | Self::AddressOrOff => "ADDRESS",
            Self::Count { .. } => "N",
            Self::Choice { name, .. } => name,
            Self::Size { .. } | Self::SizeOrNone { .. } => "SIZE",
            Self::Span { .. } | Self::SpanOrNone { .. } => "TIME",
            Self::Switch => "BOOL",
            Self::Origins => "ORIGIN",
            Self::Networks => "NETWORK",
            Self::Files => "FILE",
            Self::Path => "PATH",
            Self::Topics => "TOPIC",
            Self::Text { name, .. } | Self::Texts { name } => name,
        }
    }

    /// How a file says it, for the reference.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Address => "an IP address and a port".to_owned(),
            Self::AddressOrOff => "an IP address and a port, or `\"off\"`".to_owned(),
            Self::Count { min, max } => format!("a number from {min} to {max}"),
            Self::Choice { words, .. } => words
                .iter()
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::Size { min, max } => format!(
                "a size from {} to {}",
                units::show_size(min),
                units::show_size(max)
            ),
            Self::Span { min, max } => format!(
                "a time from {} to {}",
                units::show_span(min),
                units::show_span(max)
            ),
            Self::SpanOrNone { min, max } => format!(
                "`\"0s\"`, or a time from {} to {}",
                units::show_span(min),
                units::show_span(max)
            ),
            Self::SizeOrNone { min, max } => format!(
                "`\"0B\"`, or a size from {} to {}",
                units::show_size(min),
                units::show_size(max)
            ),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Origins => "a list of origins, or `[\"*\"]` for any".to_owned(),
            Self::Networks => {
                "a list of addresses and networks, such as `[\"10.0.0.0/8\"]`".to_owned()
            }
            Self::Files => "the path of a file, or a list of paths".to_owned(),
            Self::Path => "a path; its last segment may be `{topic}`".to_owned(),
            Self::Topics => "a list of topics, or patterns such as `\"room-*\"`".to_owned(),
            Self::Text { about, .. } => about.to_owned(),
            Self::Texts { .. } => "a list of texts".to_owned(),
        }
    }
}

impl Value {
    /// The value in few words, for a terminal.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Auto => AUTO.to_owned(),
            Self::Off => OFF.to_owned(),
            Self::Address(address) => address.to_string(),
            Self::Count(count) => count.to_string(),
            Self::Choice(word) => (*word).to_owned(),
            Self::Size(size) => units::show_size(*size),
            Self::Span(span) => units::show_span(*span),
            Self::Switch(on) => on.to_string(),
            Self::Origins(rules) if rules.is_empty() => "none".to_owned(),
            Self::Origins(rules) => show_all(rules).join(", "),
            Self::Networks(networks) if networks.is_empty() => "none".to_owned(),
            Self::Networks(networks) => show_all(networks).join(", "),
            Self::Files(paths) if paths.is_empty() => "none".to_owned(),
            Self::Files(paths) => paths.join(", "),
            Self::Path(pattern) => pattern.to_string(),
            Self::Topics(patterns) => show_all(patterns).join(", "),
            Self::Text(text) if text.is_empty() => "none".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Texts(items) if items.is_empty() => "none".to_owned(),
            Self::Texts(items) => items.join(", "),
        }
    }

    /// The value as a file of TOML says it, so that the same is read back.
    pub(crate) fn toml(&self) -> String {
        match self {
            Self::Count(_) | Self::Switch(_) => self.show(),
            Self::Topics(patterns) => quote_all(patterns),
            Self::Text(text) => quote(text),
            Self::Texts(items) => quote_all(items),
            Self::Origins(rules) => quote_all(rules),
            Self::Networks(networks) => quote_all(networks),
            Self::Files(paths) => quote_all(paths),
            Self::Auto
            | Self::Address(_)
            | Self::Off
            | Self::Choice(_)
            | Self::Size(_)
            | Self::Span(_)
            | Self::Path(_) => quote(&self.show()),
        }
    }

    /// The value for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Count(count) => (*count).into(),
            Self::Switch(on) => (*on).into(),
            Self::Origins(rules) => show_all(rules).into(),
            Self::Topics(patterns) => show_all(patterns).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Texts(items) => items.as_slice().into(),
            Self::Networks(networks) => show_all(networks).into(),
            Self::Files(paths) => paths.clone().into(),
            Self::Auto
            | Self::Off
            | Self::Address(_)
            | Self::Choice(_)
            | Self::Size(_)
            | Self::Span(_)
            | Self::Path(_) => self.show().into(),
        }
    }
}

/// What stands between commas.
fn parse_list<T: FromStr<Err = String>>(text: &str) -> Result<Vec<T>, String> {
    let items = text.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    items.map(str::parse).collect()
}

/// Paths of files that stand between commas.
fn parse_files(text: &str) -> Result<Vec<String>, String> {
    let paths = text.split(',').map(str::trim);
    let paths = paths.filter(|path| !path.is_empty());
    paths.map(parse_file).collect()
}

fn show_all(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn quote_all(items: &[impl ToString]) -> String {
    let quoted: Vec<String> = show_all(items).iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(", "))
}

/// Reads the path of a file, which can be shown and written back.
///
/// # Errors
/// A sentence that says what is allowed.
pub(crate) fn parse_file(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || "\"\\,".contains(c)) {
        let advice = "write a path without commas, quotation marks and backslashes";
        return Err(advice.to_owned());
    }
    Ok(text.to_owned())
}

/// Whether it can be written in quotes, and shown on a terminal.
fn is_text(text: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\\');
    text.len() <= TEXT_SIZE_MAX && !text.contains(odd)
}

/// No value that is allowed holds a quotation mark, a backslash or a control character.
fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Kind = Kind::Size { min: 1, max: 1024 };
    const COUNT: Kind = Kind::Count { min: 1, max: 256 };
    const SPAN: Kind = Kind::Span {
        min: Duration::from_millis(100),
        max: Duration::from_secs(60),
    };
    const TEXT: Kind = Kind::Text {
        name: "TEXT",
        about: "a text",
        check: |_| Ok(()),
    };
    const CHOICE: Kind = Kind::Choice {
        name: "TIER",
        words: &["off", "shared"],
    };

    #[test]
    fn what_is_shown_is_read_back() {
        for (kind, text) in [
            (Kind::Address, "127.0.0.1:8080"),
            (Kind::Address, "[::1]:0"),
            (COUNT, "256"),
            (CHOICE, "shared"),
            (SIZE, "1KiB"),
            (SPAN, "1500ms"),
            (Kind::Switch, "true"),
            (Kind::Origins, "https://a.example, http://b.example:3000, *"),
            (Kind::Networks, "192.0.2.7, 10.0.0.0/8, 2001:db8::/32"),
            (Kind::Path, "/ws/{topic}"),
            (Kind::Topics, "room-*, news"),
            (Kind::AddressOrOff, "off"),
            (Kind::AddressOrOff, "127.0.0.1:8443"),
            (Kind::Files, "/etc/a.pem, b.pem"),
            (TEXT, "https://id.example/tenant?a=b"),
            (Kind::Texts { name: "NAME" }, "header, cookie:token"),
        ] {
            let value = kind.parse(text).unwrap();
            assert_eq!(value.show(), text);
            assert_eq!(kind.parse(&value.show()), Ok(value));
        }
        assert_eq!(Kind::Origins.parse(""), Ok(Value::Origins(Vec::new())));
    }

    #[test]
    fn what_is_not_allowed_is_told_what_is() {
        for (kind, text, advice) in [
            (Kind::Address, "localhost:1", "127.0.0.1:8080"),
            (COUNT, "257", "from 1 to 256"),
            (COUNT, "-1", "from 1 to 256"),
            (CHOICE, "Shared", "off, shared"),
            (SIZE, "2KiB", "from 1B to 1KiB"),
            (SIZE, "1KB", "64KiB"),
            (SPAN, "99ms", "from 100ms to 1m"),
            (SPAN, "10", "10s"),
            (Kind::Switch, "yes", "true or false"),
            (Kind::Origins, "https://a.example, b", "https://example.com"),
            (Kind::Networks, "10.1.2.3/8", "write 10.0.0.0/8"),
            (Kind::Path, "echo", "/"),
            (Kind::AddressOrOff, "no", "or off"),
            (Kind::Files, "a\\b", "without commas"),
            (TEXT, "a\"b", "without quotation marks"),
            (TEXT, "a\\b", "backslashes"),
            (Kind::Texts { name: "NAME" }, "a,\u{1b}", "list of texts"),
        ] {
            let said = kind.parse(text).unwrap_err();
            assert!(said.contains(advice), "{text}: {said}");
        }
    }

    #[test]
    fn toml_and_json_know_numbers_and_lists() {
        let origins = Kind::Origins.parse("https://a.example,*").unwrap();
        assert_eq!(origins.toml(), "[\"https://a.example\", \"*\"]");
        assert_eq!(
            origins.json(),
            serde_json::json!(["https://a.example", "*"])
        );
        assert_eq!(Value::Count(3).toml(), "3");
        assert_eq!(Value::Count(3).json(), 3);
        assert_eq!(Value::Switch(false).json(), false);
        assert_eq!(Value::Auto.toml(), "\"auto\"");
    }
}
