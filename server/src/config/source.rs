//! Where a value comes from, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

use crate::config::schema::Key;
use crate::failure::Failure;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody has written it.
    Default,
    File(Place),
    /// A variable of the environment, by its name.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) source: Source,
    /// What is wrong and what would be right, in one line.
    pub(crate) text: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Faults {
    /// At least one.
    pub(crate) all: Vec<Fault>,
    /// A file may not be read.
    pub(crate) forbidden: bool,
}

impl Source {
    /// The kind of source, for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }

    /// How the value of a key can be changed: what to write, and where.
    pub(crate) fn way_to_change(&self, key: &Key) -> String {
        match (self, key.flag) {
            (Self::File(place), _) => format!("{} in {}:{}", key.name, place.file, place.line),
            (Self::Environment(name), _) => name.clone(),
            (Self::Flag(name), _) => name.clone(),
            (Self::Default, Some(flag)) => format!("--{flag}"),
            (Self::Default, None) => key.name.to_owned(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => write!(f, "{}:{}", place.file, place.line),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Fault {
    /// What was typed is part of the text, and must neither break the line nor steer a terminal.
    pub(crate) fn new(source: Source, text: &str) -> Self {
        let text = plain(text);
        Self { source, text }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Default => f.write_str(&self.text),
            Source::File(place) => {
                let Place { file, line, column } = place;
                write!(f, "{file}:{line}:{column}: {}", self.text)
            }
            Source::Environment(name) | Source::Flag(name) => write!(f, "{name}: {}", self.text),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let lines: Vec<String> = faults.all.iter().map(ToString::to_string).collect();
        let typed = |fault: &Fault| matches!(fault.source, Source::Flag(_));
        let line = lines.join("\n");
        if faults.forbidden {
            Self::forbidden(line)
        } else if faults.all.iter().all(typed) {
            Self::usage(line)
        } else {
            Self::configuration(line)
        }
    }
}

/// The text without control characters.
pub(crate) fn plain(text: &str) -> String {
    let odd = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(odd).collect()
}

/// What was written, short enough for a line.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut shown: String = text.chars().take(CHARACTERS_MAX).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push_str("...");
    }
    plain(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_tells_usage_and_configuration_apart() {
        let fault = |source| Fault::new(source, "no\u{1b}n\nsense");
        let flag = || fault(Source::Flag("--io".to_owned()));
        let variable = || fault(Source::Environment("TIDEGATE__A".to_owned()));
        let failure = |all, forbidden| Failure::from(Faults { all, forbidden });
        assert_eq!(failure(vec![flag()], false).code, 2);
        assert_eq!(failure(vec![flag(), variable()], false).code, 78);
        assert_eq!(failure(vec![variable()], true).code, 77);
        let lines = failure(vec![flag(), variable()], false).line;
        assert_eq!(lines, "--io: no?n?sense\nTIDEGATE__A: no?n?sense");
    }
}
