//! The secrets of connections, written to a file for whoever looks at captured packets.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustls::KeyLog;

/// A file in the format of `SSLKEYLOGFILE`.
///
/// It is opened for each line: a shard may have a table of descriptors of its own, in which a file
/// that was opened before would not be.
#[derive(Debug)]
pub(super) struct KeyLogFile(PathBuf);

impl KeyLogFile {
    /// Sees to it that the file can be written, by its owner alone.
    pub(super) fn create(path: PathBuf) -> Result<Self, String> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(_) => Ok(Self(path)),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        let opened = OpenOptions::new().append(true).open(&self.0);
        // A file that has gone is no reason to refuse a client.
        let _ = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
