//! Reads a file of TOML by the schema, and finds everything that is wrong with it at once.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::schema::{Default, ENDPOINT_KEYS, ENDPOINTS_MAX, KEYS, Key, SECTIONS};
use crate::config::source::{Fault, Place, Source, excerpt};
use crate::config::unknown;
use crate::config::value::{Kind, Value, parse_file};
use crate::config::values::{Setting, Values};

/// A larger file is none that somebody has written.
pub(super) const FILE_SIZE_MAX: u64 = 1 << 20;

/// Whoever sees so many looks at the first ones.
pub(super) const FAULTS_MAX: usize = 100;

/// What a file says.
#[derive(Debug)]
pub(crate) struct FileContent {
    /// By the order of [`KEYS`]; `None` where it says nothing.
    pub(crate) values: Vec<Option<Setting>>,
    /// `None` if it has no endpoints.
    pub(crate) endpoints: Option<Vec<Values>>,
}

impl FileContent {
    /// A file that says nothing.
    pub(crate) fn nothing() -> Self {
        Self {
            values: KEYS.iter().map(|_| None).collect(),
            endpoints: None,
        }
    }
}

/// The text of a file.
///
/// # Errors
/// Those of reading; [`io::ErrorKind::InvalidData`] if it is no UTF-8, or too large.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(FILE_SIZE_MAX + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > FILE_SIZE_MAX {
        let advice = "a configuration has at most 1MiB";
        return Err(io::Error::new(io::ErrorKind::InvalidData, advice));
    }
    Ok(text)
}

/// Reads the text of a file, which goes by this name.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub(crate) fn parse(name: &str, text: &str) -> Result<FileContent, Vec<Fault>> {
    let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut reader = Reader {
        file: name.into(),
        text,
        line_starts: std::iter::once(0).chain(breaks).collect(),
        faults: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(reader.syntax(&errors));
    }
    let content = reader.root(table.get_ref());
    if reader.faults.is_empty() {
        return Ok(content);
    }
    reader.faults.sort_by_key(|fault| match &fault.source {
        Source::File(place) => (place.line, place.column),
        Source::Default | Source::Environment(_) | Source::Flag(_) => (0, 0),
    });
    Err(reader.faults)
}

struct Reader<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Ascending offsets, of which the first is 0: each value is asked for its line.
    line_starts: Vec<usize>,
    faults: Vec<Fault>,
}

/// A key and its value, as the parser has them.
type Entry<'a, 'i> = (
    &'a Spanned<std::borrow::Cow<'i, str>>,
    &'a Spanned<DeValue<'i>>,
);

impl Reader<'_> {
    /// The faults of a file that is no TOML: what follows a fault in its line is a consequence.
    fn syntax(&self, errors: &[toml::de::Error]) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for error in errors {
            if faults.len() == FAULTS_MAX {
                break;
            }
            let span = error.span().unwrap_or(0..0);
            let source = self.source(&span);
            if faults
                .iter()
                .any(|f| line_of(&f.source) == line_of(&source))
            {
                continue;
            }
            let start = self.text[..self.at(span.start)]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            let line = self.text[start..].lines().next().unwrap_or_default();
            let text = if is_bare_value(line) {
                "text stands in quotes, such as \"30s\"; numbers, true and false do not"
            } else {
                error.message()
            };
            faults.push(Fault::new(source, text));
        }
        faults.sort_by_key(|fault| line_of(&fault.source));
        faults
    }

    fn root(&mut self, root: &DeTable<'_>) -> FileContent {
        let mut content = FileContent::nothing();
        for (name, value) in root {
            let section = SECTIONS.iter().find(|(known, _)| known == name.get_ref());
            match (section, value.get_ref()) {
                (Some((section, _)), DeValue::Table(table)) => {
                    self.section(section, table, &mut content.values);
                }
                (Some((section, _)), _) => self.fault(
                    &name.span(),
                    &format!("{section} is a section: write [{section}] and its keys below"),
                ),
                (None, value) if name.get_ref() == "endpoint" => {
                    content.endpoints = Some(self.endpoints(&name.span(), value));
                }
                (None, value) => {
                    let is_section = value.is_table() || value.is_array();
                    let text = unknown::section(name.get_ref(), is_section);
                    self.fault(&name.span(), &text);
                }
            }
        }
        content
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>, values: &mut [Option<Setting>]) {
        for entry in table {
            let name = entry.0.get_ref();
            let found = KEYS.iter().position(|key| key.split() == (section, name));
            match found {
                Some(index) => values[index] = self.setting(&KEYS[index], entry),
                None => self.fault(&entry.0.span(), &unknown::key(section, name)),
            }
        }
    }

    fn endpoints(&mut self, name: &Range<usize>, value: &DeValue<'_>) -> Vec<Values> {
        let tables: Option<Vec<_>> = value.as_array().and_then(|array| {
            let tables = array.iter();
            tables
                .map(|table| Some((table.span(), table.get_ref().as_table()?)))
                .collect()
        });
        let Some(tables) = tables else {
            self.fault(
                name,
                "write [[endpoint]], once for each, and its keys below",
            );
            return Vec::new();
        };
        if tables.len() > ENDPOINTS_MAX {
            let text = format!("there are {} endpoints, over {ENDPOINTS_MAX}", tables.len());
            self.fault(name, &text);
            return Vec::new();
        }
        tables
            .into_iter()
            .map(|(span, table)| self.endpoint(&span, table))
            .collect()
    }

    fn endpoint(&mut self, span: &Range<usize>, table: &DeTable<'_>) -> Values {
        let mut values = Values::defaults(ENDPOINT_KEYS, &self.source(span));
        for entry in table {
            let name = entry.0.get_ref();
            match ENDPOINT_KEYS.iter().position(|key| key.name == name) {
                Some(index) => {
                    if let Some(setting) = self.setting(&ENDPOINT_KEYS[index], entry) {
                        values.set(index, setting);
                    }
                }
                None => self.fault(&entry.0.span(), &unknown::endpoint_key(name)),
            }
        }
        for key in ENDPOINT_KEYS {
            if matches!(key.default, Default::Required)
                && !table.iter().any(|(name, _)| name.get_ref() == key.name)
            {
                let advice = key.kind.allowed();
                let text = format!("this endpoint has no {}: {advice}", key.name);
                self.fault(span, &text);
            }
        }
        values
    }

    /// Reads one value; `None` if it is a fault.
    fn setting(&mut self, key: &Key, (_, value): Entry<'_, '_>) -> Option<Setting> {
        let span = value.span();
        let outcome = match (key.kind, value.get_ref()) {
            (
                Kind::Origins | Kind::Networks | Kind::Topics | Kind::Files,
                DeValue::Array(array),
            ) if !(matches!(key.kind, Kind::Topics) && array.is_empty()) => {
                let value = match key.kind {
                    Kind::Origins => {
                        (self.items(key, array.iter(), str::parse)).map(Value::Origins)
                    }
                    Kind::Topics => (self.items(key, array.iter(), str::parse)).map(Value::Topics),
                    Kind::Files => (self.items(key, array.iter(), parse_file)).map(Value::Files),
                    _ => (self.items(key, array.iter(), str::parse)).map(Value::Networks),
                };
                let source = self.source(&span);
                return value.map(|value| Setting { value, source });
            }
            (Kind::Files, DeValue::String(text)) => {
                let paths = (!text.is_empty()).then(|| parse_file(text));
                let paths: Result<_, String> = paths.into_iter().collect();
                paths.map(Value::Files)
            }
            (Kind::Texts { .. }, DeValue::Array(array)) => {
                let items = array.iter().map(|item| item.get_ref().as_str());
                let items: Option<Vec<&str>> = items.collect();
                let whole = items.as_ref().map(|items| items.join(","));
                // A comma would make two of one where lists are written in a line.
                let is_plain = |items: &Vec<&str>| items.iter().all(|item| !item.contains(','));
                match (whole, items.is_some_and(|items| is_plain(&items))) {
                    (Some(whole), true) => key.parse(&whole),
                    _ => Err(key.kind.allowed()),
                }
            }
            (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
            (
                Kind::Count { .. } | Kind::Size { .. } | Kind::SizeOrNone { .. },
                DeValue::Integer(number),
            ) => key.parse(&number.to_string()),
            (Kind::Count { .. }, DeValue::String(text)) if text == "auto" => key.parse(text),
            (Kind::Switch | Kind::Count { .. }, DeValue::String(_)) => {
                Err(format!("{}, without quotes", key.kind.allowed()))
            }
            (
                Kind::Origins | Kind::Networks | Kind::Topics | Kind::Files | Kind::Texts { .. },
                _,
            ) => Err(key.kind.allowed()),
            (_, DeValue::String(text)) => key.parse(text),
            // The parsers say best how a text is to be written.
            (_, other) => match key.parse("") {
                Err(advice) => Err(format!("{advice}, in quotes")),
                Ok(_) => Err(format!(
                    "this is no text, but of the type {}",
                    other.type_str()
                )),
            },
        };
        match outcome {
            Ok(value) => Some(Setting {
                value,
                source: self.source(&span),
            }),
            Err(advice) => {
                let written = excerpt(&self.text[span.clone()]);
                self.fault(&span, &format!("{} = {written}: {advice}", key.name));
                None
            }
        }
    }

    /// The items of a list; `None` if one of them is a fault.
    fn items<'a, 'i: 'a, T>(
        &mut self,
        key: &Key,
        items: impl Iterator<Item = &'a Spanned<DeValue<'i>>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut list = Vec::new();
        let before = self.faults.len();
        for item in items {
            let outcome = match item.get_ref().as_str() {
                Some(text) => read(text),
                None => Err(key.kind.allowed()),
            };
            match outcome {
                Ok(value) => list.push(value),
                Err(advice) => {
                    let written = excerpt(&self.text[item.span()]);
                    let text = format!("{}: {written}: {advice}", key.name);
                    self.fault(&item.span(), &text);
                }
            }
        }
        (self.faults.len() == before).then_some(list)
    }

    fn fault(&mut self, span: &Range<usize>, text: &str) {
        if self.faults.len() == FAULTS_MAX {
            return;
        }
        let source = self.source(span);
        self.faults.push(Fault::new(source, text));
    }

    /// An offset that is one, at a character.
    fn at(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    fn source(&self, span: &Range<usize>) -> Source {
        let at = self.at(span.start);
        let line = self.line_starts.partition_point(|start| *start <= at);
        let line_start = self.line_starts[line - 1];
        Source::File(Place {
            file: Arc::clone(&self.file),
            line,
            column: self.text[line_start..at].chars().count() + 1,
        })
    }
}

/// 0 where there is none.
fn line_of(source: &Source) -> usize {
    match source {
        Source::File(place) => place.line,
        Source::Default | Source::Environment(_) | Source::Flag(_) => 0,
    }
}

/// Whether a line gives a key a value that starts like text or a number with a unit.
fn is_bare_value(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else {
        return false;
    };
    let value = value.trim();
    value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = parse("t.toml", text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn has_fault(text: &str, wanted: &[&str]) {
        let found = faults(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        for part in wanted {
            assert!(
                found[0].contains(part),
                "{text}: no {part:?} in {}",
                found[0]
            );
        }
    }

    #[test]
    fn values_are_read_with_their_places() {
        let text = "[server]\nlisten = \"0.0.0.0:80\"\nshards = 3\n\n[[endpoint]]\n\
                    path = \"/a\"\nkind = \"echo\"\n";
        let content = parse("t.toml", text).unwrap();
        let of = |name| {
            let index = KEYS.iter().position(|key| key.name == name).unwrap();
            content.values[index].clone()
        };
        let listen = of("server.listen").unwrap();
        assert_eq!(listen.value.show(), "0.0.0.0:80");
        assert_eq!(listen.source.to_string(), "t.toml:2");
        assert_eq!(of("server.shards").unwrap().value, Value::Count(3));
        assert_eq!(of("server.io"), None);
        assert_eq!(content.endpoints.unwrap().len(), 1);
        let empty = parse("t.toml", "").unwrap();
        assert!(empty.endpoints.is_none());
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_one() {
        has_fault(
            "[limits]\nmax-mesage = 1",
            &["t.toml:2:1:", "did you mean max-message?"],
        );
        has_fault(
            "[limits]\n  max_message = 1",
            &["t.toml:2:3:", "max-message?"],
        );
        has_fault("[limit]\na = 1", &["t.toml:1:2:", "did you mean [limits]?"]);
        has_fault("[[endpoints]]\na = 1", &["did you mean [[endpoint]]?"]);
        has_fault("[endpoint]\npath = \"/\"", &["[[endpoint]], once for each"]);
        has_fault(
            "listen = 1",
            &["did you mean listen in [server] or [admin] or [tls]?"],
        );
        has_fault("[server]\nmax-message = 1", &["it belongs in [limits]"]);
        has_fault("[server]\nmax-mesage = 1", &["max-message in [limits]?"]);
        has_fault("[admin]\ncolour = 1", &["there are listen"]);
        has_fault("server = 1", &["write [server]"]);
        let endpoint = "[[endpoint]]\npath = \"/a\"\nkind = \"echo\"\norigin = []";
        has_fault(endpoint, &["t.toml:4:1:", "did you mean origins?"]);
    }

    #[test]
    fn wrong_values_say_what_is_allowed() {
        has_fault(
            "[server]\nlisten = \"here\"",
            &["t.toml:2:10:", "127.0.0.1:8080"],
        );
        has_fault(
            "[server]\nlisten = 80",
            &["server.listen = 80", "127.0.0.1:8080"],
        );
        has_fault(
            "[server]\nshards = \"3\"",
            &["from 1 to 256, without quotes"],
        );
        has_fault("[server]\nshards = 0", &["from 1 to 256, or auto"]);
        has_fault(
            "[server]\npage = \"true\"",
            &["true or false, without quotes"],
        );
        has_fault("[server]\nio = \"select\"", &["auto, epoll, uring"]);
        has_fault("[limits]\nmax-message = \"64KB\"", &["64KiB"]);
        has_fault("[limits]\nmax-message = true", &["64KiB"]);
        has_fault("[timeouts]\nclose = 10", &["10s", "in quotes"]);
        has_fault("[timeouts]\nclose = \"2h\"", &["from 100ms to 1h"]);
        has_fault("[server]\norigins = \"*\"", &["write a list"]);
        let origins = "[server]\norigins = [\"*\",\n  \"example.com\"]";
        has_fault(
            origins,
            &["t.toml:3:3:", "\"example.com\"", "https://example.com"],
        );
        has_fault("[[endpoint]]\nkind = \"echo\"", &["t.toml:1:", "no path"]);
    }

    #[test]
    fn every_fault_is_found_at_once_in_order() {
        let text = "[server]\nio = 3\nlisten = \"x\"\ncolour = 1\n[[endpoint]]\nkind = \"chat\"\n";
        let found = faults(text);
        let lines: Vec<_> = found.iter().map(|fault| &fault[..9]).collect();
        let wanted = [
            "t.toml:2:",
            "t.toml:3:",
            "t.toml:4:",
            "t.toml:5:",
            "t.toml:6:",
        ];
        assert_eq!(lines, wanted, "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_where() {
        has_fault("[server\nlisten = 1", &["t.toml:1:"]);
        has_fault(
            "[timeouts]\nclose = 30s",
            &["t.toml:2:", "stands in quotes"],
        );
        has_fault(
            "[server]\nio = \"auto\"\nio = \"epoll\"",
            &["t.toml:3:", "duplicate key"],
        );
        let both = faults("[timeouts]\nclose = 30s\nsend = 30s\n");
        assert_eq!(both.len(), 2, "{both:?}");
        for text in [
            "\u{0}",
            "\"",
            "[[",
            "a = \"\u{1b}\"",
            "= = =",
            "é = 'é",
            "[a]\n[a]",
        ] {
            for line in faults(text) {
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
