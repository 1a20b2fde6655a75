//! A configuration written out, value by value with its source: for people, for programs, and to
//! be compared with another.

use serde::{Deserialize, Serialize};

use crate::config::Configuration;
use crate::config::schema::{Default, KEYS, Key, SECTIONS};
use crate::config::source::Source;
use crate::config::value::Value;
use crate::config::values::{Setting, Values};

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The file that was read.
    pub(crate) file: Option<String>,
    pub(crate) values: Vec<Entry>,
    pub(crate) endpoints: Vec<EndpointListing>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointListing {
    pub(crate) path: String,
    /// Where it stands.
    pub(crate) place: String,
    pub(crate) values: Vec<Entry>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// `null` where another key is asked.
    pub(crate) value: serde_json::Value,
    /// What `auto` is at present, where the configuration decides that.
    pub(crate) means: Option<String>,
    /// The same for people.
    pub(crate) shown: String,
    /// `default`, `file`, `environment` or `flag`.
    pub(crate) source: String,
    /// Which file and line, variable or flag.
    pub(crate) place: String,
    /// Whether a reload takes a new value.
    pub(crate) reloads: bool,
}

/// What is different between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// `None`: it was not there.
    pub(crate) before: Option<String>,
    /// `None`: it is no longer there.
    pub(crate) after: Option<String>,
    /// Where the new value is written, or the old one.
    pub(crate) place: String,
    pub(crate) reloads: bool,
}

impl Listing {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let mut values = list(&configuration.values);
        let section_of = |entry: &Entry| entry.key.split('.').next().map(str::to_owned);
        values.sort_by_key(|entry| {
            let section = section_of(entry);
            SECTIONS
                .iter()
                .position(|(name, _)| section.as_deref() == Some(name))
        });
        for entry in &mut values {
            if entry.key == "limits.outbox-max" && entry.value == "auto" {
                let size = Value::Size(configuration.outbox_size).show();
                entry.shown = format!("auto ({size})");
                entry.means = Some(size);
            }
        }
        let endpoint = |values: &Values| EndpointListing {
            path: values
                .path("path")
                .map(ToString::to_string)
                .unwrap_or_default(),
            place: values.place.to_string(),
            values: list(values),
        };
        let file = configuration.file.as_ref();
        Self {
            // Whoever reads this may stand in another folder.
            file: file
                .map(|path| std::path::absolute(path).unwrap_or(path.clone()))
                .map(|path| path.display().to_string()),
            values,
            endpoints: configuration.endpoints.iter().map(endpoint).collect(),
        }
    }

    /// What a change from this one to `after` changes.
    pub(crate) fn changes_to(&self, after: &Self) -> Vec<Change> {
        let mut changes = changes("", &self.values, &after.values);
        for old in &self.endpoints {
            let name = format!("endpoint {}", old.path);
            match after.endpoints.iter().find(|new| new.path == old.path) {
                Some(new) => {
                    changes.extend(changes_of_endpoint(&name, old, new));
                }
                None => changes.push(Change {
                    key: name,
                    before: Some(old.summary()),
                    after: None,
                    place: old.place.clone(),
                    reloads: true,
                }),
            }
        }
        for new in &after.endpoints {
            if !self.endpoints.iter().any(|old| old.path == new.path) {
                changes.push(Change {
                    key: format!("endpoint {}", new.path),
                    before: None,
                    after: Some(new.summary()),
                    place: new.place.clone(),
                    reloads: true,
                });
            }
        }
        changes
    }

    /// What was set by flags and variables, which a reload does not read again, as flags.
    pub(crate) fn outliving_reloads(&self) -> Vec<Option<Setting>> {
        let setting = |key: &Key| {
            let entry = self.values.iter().find(|entry| entry.key == key.name)?;
            let source = match entry.source.as_str() {
                "flag" => Source::Flag(entry.place.clone()),
                "environment" => Source::Environment(entry.place.clone()),
                _ => return None,
            };
            let value = key.parse(&entry.as_text()).ok()?;
            Some(Setting { value, source })
        };
        KEYS.iter().map(setting).collect()
    }

    /// The values in columns: key, value, source.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<[String; 3]> = Vec::new();
        for entry in &self.values {
            rows.push([entry.key.clone(), entry.shown.clone(), entry.place.clone()]);
        }
        for endpoint in &self.endpoints {
            let name = format!("endpoint {}", endpoint.path);
            rows.push([name, endpoint.summary(), endpoint.place.clone()]);
        }
        columns(&rows)
    }
}

impl Entry {
    /// The value as a flag or a variable would say it.
    fn as_text(&self) -> String {
        match &self.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(items) => {
                let items = items.iter().filter_map(serde_json::Value::as_str);
                items.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        }
    }
}

impl EndpointListing {
    /// All that is written of it but its path, in one line.
    fn summary(&self) -> String {
        let said = self
            .values
            .iter()
            .filter(|entry| entry.key == "kind" || entry.source != "default")
            .filter(|entry| entry.key != "path" && !entry.value.is_null());
        let parts = said.map(|entry| match entry.key.as_str() {
            "kind" => entry.shown.clone(),
            key => format!("{key} {}", entry.shown),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl Change {
    /// In one line, without its key: what it was, what it is, and where that is written.
    pub(crate) fn show(&self) -> String {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => format!("{before} -> {after} ({})", self.place),
            (None, Some(after)) => format!("new: {after} ({})", self.place),
            (Some(before), None) => format!("gone: {before}"),
            (None, None) => String::new(),
        }
    }
}

/// The differences in columns: key, change, and how it can be taken.
pub(crate) fn show_changes(changes: &[Change]) -> String {
    let rows: Vec<[String; 3]> = changes
        .iter()
        .map(|change| {
            let how = if change.reloads { "reload" } else { "restart" };
            [how.to_owned(), change.key.clone(), change.show()]
        })
        .collect();
    columns(&rows)
}

/// Rows of text in columns, the last one as wide as it is.
fn columns(rows: &[[String; 3]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        // One long value does not push all others away.
        widths.filter(|width| *width <= 40).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let line = |[a, b, c]: &[String; 3]| format!("{a:<first$}  {b:<second$}  {c}\n");
    rows.iter().map(line).collect()
}

fn list(values: &Values) -> Vec<Entry> {
    values
        .iter()
        .map(|(key, setting)| entry(key, setting))
        .collect()
}

fn entry(key: &Key, Setting { value, source }: &Setting) -> Entry {
    let (value, shown) = match (key.default, value) {
        (Default::Inherit(other), Value::Auto) => (serde_json::Value::Null, format!("as {other}")),
        _ => (value.json(), value.show()),
    };
    Entry {
        key: key.name.to_owned(),
        value,
        means: None,
        shown,
        source: source.kind().to_owned(),
        place: source.to_string(),
        reloads: key.reloads,
    }
}

fn changes(prefix: &str, before: &[Entry], after: &[Entry]) -> Vec<Change> {
    let pairs = after.iter().filter_map(|new| {
        let old = before.iter().find(|old| old.key == new.key)?;
        Some((old, new))
    });
    pairs
        .filter(|(old, new)| (&old.value, &old.means) != (&new.value, &new.means))
        .map(|(old, new)| Change {
            key: format!("{prefix}{}", new.key),
            before: Some(old.shown.clone()),
            after: Some(new.shown.clone()),
            place: new.place.clone(),
            reloads: new.reloads,
        })
        .collect()
}

fn changes_of_endpoint(name: &str, old: &EndpointListing, new: &EndpointListing) -> Vec<Change> {
    changes(&format!("{name} "), &old.values, &new.values)
}
