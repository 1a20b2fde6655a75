//! Where lines go.

use std::fmt;
use std::fs::{File, OpenOptions, metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::Level;

use super::format::{self, Format};
use super::journal::Journal;
use super::record::Record;

/// Whoever may read the log of a system may read this one: the owner writes, the group reads.
const FILE_MODE: u32 = 0o640;

/// Where lines are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// To the journal, if that is where stderr goes; else to the standard streams.
    Auto,
    Stdout,
    Stderr,
    Journald,
    File(PathBuf),
}

/// Where they go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// News to stdout and whatever is wrong to stderr, without the hour: somebody looks on.
    Streams,
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        file: File,
    },
    Journal(Journal),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "journald" => Ok(Self::Journald),
            path if path.contains('/') => Ok(Self::File(path.into())),
            _ => Err(
                "write auto, stdout, stderr, journald, or the path of a file with a slash in it"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::Journald => f.write_str("journald"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Sink {
    /// # Errors
    /// When a file cannot be opened, or there is no journal.
    pub(crate) fn open(target: &Target, format: Format) -> io::Result<Self> {
        Ok(match target {
            Target::Stdout => Self::Stdout,
            Target::Stderr => Self::Stderr,
            Target::Journald => Self::Journal(Journal::open()?),
            Target::File(path) => Self::File {
                path: path.clone(),
                file: open(path)?,
            },
            Target::Auto => match (Journal::of_stderr(), format) {
                (Some(journal), _) => Self::Journal(journal),
                (None, Format::Human) => Self::Streams,
                // Nobody looks on, and stdout keeps its greeting.
                (None, Format::Json) => Self::Stderr,
            },
        })
    }

    /// The same file by its name, which may be a new one now.
    ///
    /// # Errors
    /// When it cannot be opened; the old one is kept.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Whether a greeting has to go to stdout beside what is written here.
    fn leaves_stdout(&self) -> bool {
        matches!(self, Self::Stderr | Self::File { .. })
    }

    /// Whether whoever reads stderr sees errors.
    pub(crate) fn shows_on_stderr(&self) -> bool {
        matches!(self, Self::Streams | Self::Stderr)
    }

    /// Writes all of them, and returns how many could not be written.
    pub(super) fn write(&mut self, format: Format, records: &[Record]) -> u64 {
        if self.leaves_stdout() {
            let greeting = records.iter().filter(|record| record.is_greeting);
            let text: String = greeting
                .map(|record| format::plain(record) + "\n")
                .collect();
            // Nobody need be listening there, and it is written here, too.
            let _ = put(&mut io::stdout(), &text);
        }
        let line = match format {
            Format::Human => format::human,
            Format::Json => format::json,
        };
        let wanted = records.iter().filter(|record| !record.is_unwanted);
        let count = wanted.clone().count() as u64;
        let text = || -> String { wanted.clone().map(|record| line(record) + "\n").collect() };
        let lost = |outcome: io::Result<()>| if outcome.is_ok() { 0 } else { count };
        match self {
            Self::Streams => records.iter().map(put_plain).sum(),
            Self::Stdout => lost(put(&mut io::stdout(), &text())),
            Self::Stderr => lost(put(&mut io::stderr(), &text())),
            Self::File { file, .. } => lost(put(file, &text())),
            Self::Journal(journal) => {
                let sent = wanted.map(|record| journal.send(record));
                sent.filter(Result::is_err).count() as u64
            }
        }
    }
}

fn put(to: &mut impl Write, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Returns how many lines could not be written.
fn put_plain(record: &Record) -> u64 {
    let line = format::plain(record);
    let outcome = if record.level <= Level::WARN {
        put(&mut io::stderr(), &format!("tidegate: {line}\n"))
    } else {
        put(&mut io::stdout(), &(line + "\n"))
    };
    u64::from(outcome.is_err())
}

fn open(path: &Path) -> io::Result<File> {
    let kind = metadata(path).map(|about| about.file_type());
    if kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        let advice = "it is a pipe or a socket, which would be waited for; write stdout or stderr";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, advice));
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Whether this descriptor is the one that `JOURNAL_STREAM` names, as systemd writes it.
pub(super) fn is_stream(variable: &str, path: &str) -> bool {
    let Some((device, inode)) = variable.split_once(':') else {
        return false;
    };
    metadata(path)
        .is_ok_and(|about| device.parse() == Ok(about.dev()) && inode.parse() == Ok(about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_or_a_path() {
        for text in [
            "auto",
            "stdout",
            "stderr",
            "journald",
            "/var/log/tidegate.log",
            "./log",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        for text in ["", "sdtout", "log", "syslog"] {
            assert!(
                text.parse::<Target>().unwrap_err().contains("journald"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_stream_of_the_journal_is_known_by_its_numbers() {
        let about = metadata("/dev/null").unwrap();
        let (device, inode) = (about.dev(), about.ino());
        assert!(is_stream(&format!("{device}:{inode}"), "/dev/null"));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{inode}"),
            String::new(),
        ] {
            assert!(!is_stream(&other, "/dev/null"), "{other}");
        }
        assert!(!is_stream(&format!("{device}:{inode}"), "/nowhere"));
    }
}
