//! Looks whether the files of certificates and keys have changed, and takes them if they are good.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread::{Builder, park_timeout};
use std::time::Duration;

use super::{TlsAcceptor, material};
use crate::config::Configuration;
use crate::config::source::Faults;
use crate::live::Live;
use crate::voice::{Line, Voice};

/// How often it looks. Whatever is seen twice as it is has been written to its end.
const INTERVAL: Duration = Duration::from_secs(2);

/// What a file is like: replaced, written or gone, it differs.
type Looks = Option<(u64, u64, u64, i64, i64)>;

/// Begins to look, on a thread of its own, until the process ends.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn start(acceptor: Arc<TlsAcceptor>, live: Arc<Live>, voice: Voice) -> io::Result<()> {
    let mut watcher = Watcher {
        seen: looks(&live.configuration()),
        taken: looks(&live.configuration()),
        acceptor,
        live,
        voice,
    };
    Builder::new()
        .name("tidegate-tls".to_owned())
        .spawn(move || {
            loop {
                // One that ends too soon looks too soon, which does no harm.
                park_timeout(INTERVAL);
                watcher.look();
            }
        })?;
    Ok(())
}

struct Watcher {
    acceptor: Arc<TlsAcceptor>,
    live: Arc<Live>,
    voice: Voice,
    /// What was seen the last time.
    seen: Vec<Looks>,
    /// What the certificates in force were read from, or what was found to be no good.
    taken: Vec<Looks>,
}

impl Watcher {
    fn look(&mut self) {
        let configuration = self.live.configuration();
        let now = looks(&configuration);
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        if !settled || now == self.taken {
            return;
        }
        self.taken = now;
        let outcome = match material::read(&configuration.values) {
            Ok(None) => return,
            Ok(Some(material)) => {
                let taken = self
                    .acceptor
                    .replace_for(&material, &configuration, &self.live);
                taken.map_err(|text| vec![text])
            }
            Err(faults) => Err(lines(&faults)),
        };
        self.acceptor.count(outcome.is_ok());
        self.voice.tell(match outcome {
            Ok(()) => vec![Line::Said(
                "the certificates have changed, and are taken for new connections".to_owned(),
            )],
            Err(faults) => {
                let line = |fault| {
                    let text = "the certificates have changed, and the former ones are kept";
                    Line::Complained(format!("{text}: {fault}"))
                };
                faults.into_iter().map(line).collect()
            }
        });
    }
}

fn lines(faults: &Faults) -> Vec<String> {
    faults.all.iter().map(ToString::to_string).collect()
}

/// What all files of the configuration are like.
fn looks(configuration: &Configuration) -> Vec<Looks> {
    let keys = [
        "tls.certificate",
        "tls.key",
        "tls.client-ca",
        "tls.client-crl",
    ];
    let files = keys
        .into_iter()
        .flat_map(|key| configuration.values.files(key));
    let look = |path: &String| {
        let about = fs::metadata(path).ok()?;
        Some((
            about.dev(),
            about.ino(),
            about.size(),
            about.mtime(),
            about.mtime_nsec(),
        ))
    };
    files.map(look).collect()
}
