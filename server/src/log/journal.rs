//! The journal of systemd, in its own protocol: a datagram for each event, with the fields apart, so
//! that `journalctl TIDEGATE_CONN_ID=...` finds them.
//!
//! The crate tracing-journald does the same on the thread of whoever has something to say, which
//! would then wait for the journal; here only the writer does.

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::Level;

use super::format;
use super::record::Record;
use super::sink::is_stream;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
#[derive(Debug)]
pub(crate) struct Journal(UnixDatagram);

impl Journal {
    /// # Errors
    /// When there is none.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(socket: &Path) -> io::Result<Self> {
        let stream = UnixDatagram::unbound()?;
        stream.connect(socket)?;
        Ok(Self(stream))
    }

    /// The journal, if it is what reads this program's stderr.
    pub(super) fn of_stderr() -> Option<Self> {
        let variable = env::var("JOURNAL_STREAM").ok()?;
        is_stream(&variable, "/proc/self/fd/2")
            .then(Self::open)?
            .ok()
    }

    /// # Errors
    /// When the journal takes nothing.
    pub(super) fn send(&self, record: &Record) -> io::Result<()> {
        self.0.send(&datagram(record)).map(|_| ())
    }
}

fn datagram(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, "MESSAGE", &record.message);
    put(&mut bytes, "PRIORITY", priority(record.level));
    put(&mut bytes, "SYSLOG_IDENTIFIER", "tidegate");
    put(&mut bytes, "TIDEGATE_TARGET", record.target);
    for (name, field) in &record.fields {
        let name = format!("TIDEGATE_{}", name.to_ascii_uppercase());
        let letters = name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        // The journal would refuse the whole event for one such name.
        if letters {
            put(&mut bytes, &name, &format::value(field));
        }
    }
    bytes
}

/// A value with a line feed in it is preceded by its length, so that it cannot end early.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend((value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend(value.as_bytes());
    bytes.push(b'\n');
}

/// As syslog counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn an_event_reaches_the_journal_with_its_fields_apart() {
        let path = env::temp_dir().join(format!("tidegate-journal-{}", process::id()));
        let _ = fs::remove_file(&path);
        let journal = UnixDatagram::bind(&path).unwrap();
        let record = Record::new(Level::WARN, "close", "closed: reset\nPRIORITY=0")
            .with("conn_id", "0000000000000001")
            .with("size_b", 3_u64)
            .with("no-name", 1_u64);
        Journal::at(&path).unwrap().send(&record).unwrap();
        let mut buffer = [0; 4096];
        let count = journal.recv(&mut buffer).unwrap();
        fs::remove_file(&path).unwrap();
        let mut expected = b"MESSAGE\n\x18\0\0\0\0\0\0\0closed: reset\nPRIORITY=0\n".to_vec();
        expected.extend(b"PRIORITY=4\nSYSLOG_IDENTIFIER=tidegate\nTIDEGATE_TARGET=close\n");
        expected.extend(b"TIDEGATE_CONN_ID=0000000000000001\nTIDEGATE_SIZE_B=3\n");
        assert_eq!(
            String::from_utf8_lossy(&buffer[..count]),
            String::from_utf8_lossy(&expected)
        );
    }
}
