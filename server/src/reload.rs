//! Takes a changed configuration while the server runs: all of it is checked first, nothing is
//! closed, and what cannot be changed stays and is named.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::config::listing::{Change, Listing};
use crate::config::source::{Fault, Faults, Source};
use crate::config::{Configuration, Inputs};
use crate::live::Live;
use crate::log::Sink;
use crate::supervisor;
use crate::tls::TlsAcceptor;
use crate::voice::{Line, Voice};

/// So many reloads may wait for the one that is under way; each of them will read what has been
/// written until now.
const ORDERS_MAX: usize = 16;

/// Reads the configuration again when it is told to.
///
/// ```text
///  HUP, POST /reload ─▶ orders ─▶ the reload thread ─┬─▶ Live, outcomes
///                                 (may wait for a    ├─▶ Voice
///                                  file system)      └─▶ the answer to POST
/// ```
#[derive(Debug)]
pub(crate) struct Reloader {
    live: Arc<Live>,
    tls: Option<Arc<TlsAcceptor>>,
    /// Locked only to be read or written.
    outcomes: Mutex<Outcomes>,
    orders: SyncSender<Option<Answer>>,
}

/// Who hears what has become of a reload.
type Answer = oneshot::Sender<Result<Reloaded, Faults>>;

/// What has become of the reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    /// Also before the first one: the server has started with it.
    pub(crate) last_succeeded: bool,
    /// When the configuration in force was taken, in seconds since 1970.
    pub(crate) taken_at: u64,
}

/// What a reload has done.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// What holds from now on.
    pub(crate) taken: Vec<Change>,
    /// What takes a restart.
    pub(crate) kept: Vec<Change>,
    /// What is allowed, and may not be meant.
    pub(crate) warnings: Vec<String>,
}

impl Reloader {
    /// For a server that has started with these inputs and their configuration. It reads on a
    /// thread of its own, one reload at a time.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(
        inputs: Inputs,
        live: Arc<Live>,
        tls: Option<Arc<TlsAcceptor>>,
        voice: Voice,
    ) -> io::Result<Arc<Self>> {
        let (orders, arriving) = sync_channel(ORDERS_MAX);
        let reloader = Arc::new(Self {
            live,
            tls,
            outcomes: Mutex::new(Outcomes {
                successes: 0,
                failures: 0,
                last_succeeded: true,
                taken_at: now(),
            }),
            orders,
        });
        let working = Arc::clone(&reloader);
        Builder::new()
            .name("tidegate-reload".to_owned())
            .spawn(move || working.work(&arriving, &inputs, &voice))?;
        Ok(reloader)
    }

    /// The configuration in force.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// What makes TLS connections, if there are any.
    pub(crate) fn tls(&self) -> Option<&Arc<TlsAcceptor>> {
        self.tls.as_ref()
    }

    /// How the reloads went.
    pub(crate) fn outcomes(&self) -> Outcomes {
        *self.lock()
    }

    /// Orders a reload, and waits for nothing.
    pub(crate) fn order(&self) {
        // Where so many wait, one of them does.
        let _ = self.orders.try_send(None);
    }

    /// Orders a reload whose outcome will be told: [`Reloaded`], or all [`Faults`], with which the
    /// configuration in force stays. `None`: too many wait already.
    pub(crate) fn ask(&self) -> Option<oneshot::Receiver<Result<Reloaded, Faults>>> {
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Some(answer)).ok().map(|()| answered)
    }

    fn work(&self, orders: &Receiver<Option<Answer>>, inputs: &Inputs, voice: &Voice) {
        for answer in orders {
            supervisor::reloading();
            let outcome = self.reload(inputs, voice);
            supervisor::ready(match &outcome {
                Ok(_) => "the configuration is reloaded",
                Err(_) => "the configuration was bad, and is not reloaded",
            });
            let lines = match &outcome {
                Ok(reloaded) => announcement(reloaded),
                Err(faults) => complaints(faults),
            };
            voice.tell_of("config", lines);
            // Who sees it counted may ask what was said.
            self.count(outcome.is_ok());
            if let Some(answer) = answer {
                // Whoever has asked may have gone.
                let _ = answer.send(outcome);
            }
        }
    }

    /// Reads and checks the configuration, and takes it if it is good.
    fn reload(&self, inputs: &Inputs, voice: &Voice) -> Result<Reloaded, Faults> {
        let before = self.live.configuration();
        if let Some(path) = before.file.as_deref() {
            check_again(path)?;
        }
        let after = inputs.load(before.file.as_deref())?;
        let changes = Listing::of(&before).changes_to(&Listing::of(&after));
        let (taken, kept) = changes.into_iter().partition(|change| change.reloads);
        let warnings = after.warnings();
        change_log(&before, &after, voice)?;
        let material = after.tls.clone();
        self.live.replace(merged(&before, after));
        if let (Some(acceptor), Some(material)) = (&self.tls, material)
            && let Err(text) = acceptor.replace(&material)
        {
            return Err(fault(&text));
        }
        Ok(Reloaded {
            taken,
            kept,
            warnings,
        })
    }

    fn count(&self, succeeded: bool) {
        let now = now();
        let mut outcomes = self.lock();
        outcomes.last_succeeded = succeeded;
        if succeeded {
            outcomes.successes += 1;
            outcomes.taken_at = now;
        } else {
            outcomes.failures += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of this reload goes to the new place already.
fn change_log(before: &Configuration, after: &Configuration, voice: &Voice) -> Result<(), Faults> {
    let settings = after.log();
    if settings == before.log() {
        return Ok(());
    }
    let sink = Sink::open(&settings.target, settings.format).map_err(|error| {
        let source = after.values.source("log.to").clone();
        let text = format!("cannot write the log to {}: {error}", settings.target);
        Faults {
            all: vec![Fault::new(source, &text)],
            forbidden: false,
        }
    })?;
    voice.log().change(settings.filter, settings.format, sink);
    Ok(())
}

/// A pipe or a socket gives once, and would be waited for; /dev/null is as good as a file.
fn check_again(path: &Path) -> Result<(), Faults> {
    let gives_once = path.metadata().is_ok_and(|about| {
        let kind = about.file_type();
        kind.is_fifo() || kind.is_socket()
    });
    if !gives_once {
        return Ok(());
    }
    let text = format!("{} is no file that can be read again", path.display());
    Err(fault(&text))
}

fn fault(text: &str) -> Faults {
    Faults {
        all: vec![Fault::new(Source::Default, text)],
        forbidden: false,
    }
}

/// The new configuration, with what cannot be changed as it was.
fn merged(before: &Configuration, mut after: Configuration) -> Configuration {
    let pairs = before.values.iter().zip(after.values.iter());
    let kept: Vec<_> = pairs
        .enumerate()
        .filter(|(_, ((key, old), (_, new)))| !key.reloads && old.value != new.value)
        .map(|(index, ((_, old), _))| (index, old.clone()))
        .collect();
    for (index, setting) in kept {
        after.values.set(index, setting);
    }
    after
}

fn announcement(reloaded: &Reloaded) -> Vec<Line> {
    let mut lines = Vec::new();
    if reloaded.taken.is_empty() {
        let line = "the configuration is reloaded: nothing has changed";
        lines.push(Line::Said(line.to_owned()));
    }
    for change in &reloaded.taken {
        let Change { key, .. } = change;
        let shown = change.show();
        lines.push(Line::Said(format!(
            "the configuration is reloaded: {key}: {shown}"
        )));
    }
    for change in &reloaded.kept {
        let Change { key, .. } = change;
        let shown = change.show();
        lines.push(Line::Complained(format!(
            "kept until a restart: {key}: {shown}"
        )));
    }
    lines.extend(reloaded.warnings.iter().cloned().map(Line::Complained));
    lines
}

fn complaints(faults: &Faults) -> Vec<Line> {
    let line = |fault| Line::Complained(format!("the configuration is not reloaded: {fault}"));
    faults.all.iter().map(line).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "operators want to know the hour; nothing is decided by it"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// For answers over HTTP: a line for each change, or for each fault.
impl Reloaded {
    pub(crate) fn lines(&self) -> Vec<String> {
        let line =
            |what: &str, change: &Change| format!("{what}: {}: {}", change.key, change.show());
        let taken = self.taken.iter().map(|change| line("reloaded", change));
        let kept = self
            .kept
            .iter()
            .map(|change| line("kept until a restart", change));
        taken.chain(kept).collect()
    }
}
