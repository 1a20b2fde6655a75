//! Reads the text format of Prometheus, and refuses what that format does not allow.

use std::collections::{BTreeMap, HashMap};

/// What one scrape showed.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Name and sorted labels to value.
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
    /// The type of each family.
    types: HashMap<String, String>,
}

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Errors
    /// The first line that breaks the format.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for line in text.lines() {
            read.line(line)
                .map_err(|fault| format!("{fault}: {line}"))?;
        }
        if read.samples.is_empty() {
            return Err("no samples".to_owned());
        }
        Ok(read)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            if words.next() == Some("TYPE") {
                let family = words.next().ok_or("a type without a name")?;
                let kind = words.next().ok_or("a name without a type")?;
                if ![
                    "counter",
                    "gauge",
                    "histogram",
                    "summary",
                    "unknown",
                    "info",
                ]
                .contains(&kind)
                {
                    return Err("an unknown type");
                }
                if self
                    .types
                    .insert(family.to_owned(), kind.to_owned())
                    .is_some()
                {
                    return Err("a family twice");
                }
            }
            return Ok(());
        }
        if line.trim().is_empty() {
            return Ok(());
        }
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = value.parse().map_err(|_| "the value is no number")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').ok_or("labels without an end")?),
            None => (series, ""),
        };
        if !is_name(name) || !self.is_announced(name) {
            return Err("a name that is not allowed or has no type");
        }
        if self
            .samples
            .insert((name.to_owned(), parse_labels(labels)?), value)
            .is_some()
        {
            return Err("a series twice");
        }
        Ok(())
    }

    /// Whether a TYPE line stood before this sample.
    fn is_announced(&self, name: &str) -> bool {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
        suffixes.iter().any(|suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|family| self.types.contains_key(family))
        })
    }

    /// The sum of all samples of a name that carry these labels; `None` if there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let mut matching = self
            .samples
            .iter()
            .filter(|((sample, has), _)| {
                sample == name
                    && labels
                        .iter()
                        .all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
            })
            .map(|(_, value)| *value)
            .peekable();
        matching.peek()?;
        let sum: f64 = matching.sum();
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} counts: {sum}");
        format!("{sum:.0}").parse().ok()
    }

    /// The values that a label takes.
    pub(crate) fn values_of(&self, name: &str, label: &str) -> Vec<String> {
        let samples = self.samples.keys().filter(|(sample, _)| sample == name);
        let mut values: Vec<String> = samples
            .filter_map(|(_, labels)| labels.get(label).cloned())
            .collect();
        values.sort();
        values.dedup();
        values
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.keys().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        names
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
}

fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let mut labels = BTreeMap::new();
    // No value of ours holds a comma or a quotation mark.
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a label without a value")?;
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        let value = value.ok_or("a label's value without quotation marks")?;
        if !is_name(key) || labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err("a label that is not allowed or stands twice");
        }
    }
    Ok(labels)
}
