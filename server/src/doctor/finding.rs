//! One thing that was looked at, and what it means.

use serde::Serialize;

/// How bad it is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Fewer connections than wanted.
    Stops,
    /// As many as wanted, and worse service.
    Slows,
    /// Cannot be read, so it is not judged.
    Unknown,
    /// Worth knowing.
    Note,
    /// As it should be.
    #[serde(rename = "ok")]
    Fine,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) name: String,
    pub(super) level: Level,
    /// The number of connections at which it begins.
    pub(super) at: Option<u64>,
    /// Whether no more than `at` connections are served, whatever they do.
    pub(super) is_ceiling: bool,
    /// What was read.
    pub(super) now: String,
    /// What the operator and the clients then see.
    pub(super) symptom: String,
    /// The command that mends it.
    pub(super) mend: Option<String>,
}

impl Finding {
    /// No more connections than `at`.
    pub(super) fn ceiling(
        name: &str,
        at: u64,
        wanted: u64,
        now: String,
        symptom: &str,
        mend: String,
    ) -> Self {
        let level = if at < wanted {
            Level::Stops
        } else {
            Level::Fine
        };
        Self {
            level,
            at: Some(at),
            is_ceiling: true,
            mend: (level == Level::Stops).then_some(mend),
            ..Self::note(name, now, symptom)
        }
    }

    /// Trouble from `at` connections on.
    pub(super) fn slows_at(
        name: &str,
        at: u64,
        wanted: u64,
        now: String,
        symptom: &str,
        mend: String,
    ) -> Self {
        let found = Self::ceiling(name, at, wanted, now, symptom, mend);
        let level = match found.level {
            Level::Stops => Level::Slows,
            level => level,
        };
        Self {
            level,
            is_ceiling: false,
            ..found
        }
    }

    /// Trouble at any number of connections.
    pub(super) fn slows(name: &str, now: String, symptom: &str, mend: String) -> Self {
        Self {
            level: Level::Slows,
            mend: Some(mend),
            ..Self::note(name, now, symptom)
        }
    }

    pub(super) fn unknown(name: &str, symptom: &str) -> Self {
        Self {
            level: Level::Unknown,
            ..Self::note(name, "unknown".to_owned(), symptom)
        }
    }

    pub(super) fn note(name: &str, now: String, symptom: &str) -> Self {
        Self {
            name: name.to_owned(),
            level: Level::Note,
            at: None,
            is_ceiling: false,
            now,
            symptom: symptom.to_owned(),
            mend: None,
        }
    }

    pub(super) fn fine(name: &str, now: String, meaning: &str) -> Self {
        Self {
            level: Level::Fine,
            ..Self::note(name, now, meaning)
        }
    }

    /// The worst first; of those, what begins at the smallest number.
    pub(super) fn rank(&self) -> (Level, u64) {
        (self.level, self.at.unwrap_or(u64::MAX))
    }
}
