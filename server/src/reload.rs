//! Takes a changed configuration while the server runs: all of it is checked first, nothing is
//! closed, and what cannot be changed stays and is named.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::listing::{Change, Listing};
use crate::config::source::{Fault, Faults, Source};
use crate::config::{Configuration, Inputs};
use crate::live::Live;
use crate::startup::{complain, say};

/// Reads the configuration again when it is told to.
#[derive(Debug)]
pub(crate) struct Reloader {
    inputs: Inputs,
    live: Arc<Live>,
    /// One reload at a time.
    outcomes: Mutex<Outcomes>,
    /// Seconds since 1970.
    taken_at: AtomicU64,
}

/// What has become of the reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    /// Also before the first one: the server has started with it.
    pub(crate) last_succeeded: bool,
}

/// What a reload has done.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// What holds from now on.
    pub(crate) taken: Vec<Change>,
    /// What takes a restart.
    pub(crate) kept: Vec<Change>,
}

impl Reloader {
    /// For a server that has started with these inputs and their configuration.
    pub(crate) fn new(inputs: Inputs, live: Arc<Live>) -> Self {
        Self {
            inputs,
            live,
            outcomes: Mutex::new(Outcomes {
                successes: 0,
                failures: 0,
                last_succeeded: true,
            }),
            taken_at: AtomicU64::new(now()),
        }
    }

    /// The configuration in force.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// How the reloads went.
    pub(crate) fn outcomes(&self) -> Outcomes {
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the configuration in force was taken, in seconds since 1970.
    pub(crate) fn taken_at(&self) -> u64 {
        self.taken_at.load(Ordering::Relaxed)
    }

    /// Reads and checks the configuration, and takes it if it is good; says on stdout or stderr
    /// what has become of it.
    ///
    /// # Errors
    /// All [`Faults`]; the configuration in force stays.
    pub(crate) fn reload(&self) -> Result<Reloaded, Faults> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.try_reload();
        outcomes.last_succeeded = outcome.is_ok();
        match &outcome {
            Ok(reloaded) => {
                outcomes.successes += 1;
                self.taken_at.store(now(), Ordering::Relaxed);
                announce(reloaded);
            }
            Err(faults) => {
                outcomes.failures += 1;
                for fault in &faults.all {
                    complain(&format!("the configuration is not reloaded: {fault}"));
                }
            }
        }
        outcome
    }

    fn try_reload(&self) -> Result<Reloaded, Faults> {
        let before = self.live.configuration();
        if let Some(path) = before.file.as_deref() {
            // A pipe would be waited for.
            let is_file = path.metadata().map_or(true, |about| about.is_file());
            if !is_file {
                let text = format!("{} is no file that can be read again", path.display());
                let all = vec![Fault::new(Source::Default, &text)];
                return Err(Faults {
                    all,
                    forbidden: false,
                });
            }
        }
        let after = self.inputs.load(before.file.as_deref())?;
        let changes = Listing::of(&before).changes_to(&Listing::of(&after));
        let (taken, kept) = changes.into_iter().partition(|change| change.reloads);
        self.live.replace(merged(&before, after));
        Ok(Reloaded { taken, kept })
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
    after.outbox_size = before.outbox_size;
    after
}

fn announce(reloaded: &Reloaded) {
    match reloaded.taken.as_slice() {
        [] => say("the configuration is reloaded: nothing has changed"),
        taken => {
            for change in taken {
                let Change { key, .. } = change;
                say(&format!(
                    "the configuration is reloaded: {key}: {}",
                    change.show()
                ));
            }
        }
    }
    for change in &reloaded.kept {
        let Change { key, .. } = change;
        complain(&format!("kept until a restart: {key}: {}", change.show()));
    }
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
