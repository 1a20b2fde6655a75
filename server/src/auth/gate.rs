//! Where signatures are checked that would hold up a shard, and what all shards share of it.
//!
//! A hundred microseconds for each would be a hundred connections that wait: some threads beside the
//! shards do it, fewer than there are cores, and the queue before them is bounded. Whoever finds it full
//! is answered with 503 at once, so a flood of bad tokens costs the others nothing but the cores of
//! these threads.

use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, available_parallelism};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::denial::{Denial, Tally};
use super::remote::Remote;
use super::users::Users;
use super::{Auth, Verdict, clock};
use crate::startup::complain;
use crate::voice::Voice;

/// So many tokens may wait to be checked: some tens of milliseconds.
pub(crate) const QUEUE_MAX: usize = 256;

/// What the shards share.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) tally: Tally,
    pub(crate) users: Arc<Users>,
    pub(crate) remote: Remote,
    jobs: OnceLock<Sender<Job>>,
}

/// A token that is to be checked.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) text: String,
    pub(super) auth: Arc<Auth>,
    pub(super) answer: oneshot::Sender<Verdict>,
}

/// When the verdict comes.
#[derive(Debug)]
pub(crate) enum Checked {
    Now(Verdict),
    /// From another thread. If it never comes, there was no room for it.
    Later(oneshot::Receiver<Verdict>),
}

impl Gate {
    /// Sees to it that there are threads, if what is configured needs them, and that keys are
    /// fetched. Not to be called on a shard: a thread would take over its core and descriptors.
    pub(crate) fn prepare(self: &Arc<Self>, auth: &Auth) {
        if !auth.needs_threads() {
            self.remote.follow(None);
            return;
        }
        if self.jobs.get().is_none() {
            match self.start() {
                Ok(jobs) => {
                    let _ = self.jobs.set(jobs);
                }
                Err(error) => complain(&format!("no thread to check tokens with: {error}")),
            }
        }
        if let Some(source) = &auth.remote
            && let Err(error) = self.remote.start()
        {
            complain(&format!("no thread to fetch {} with: {error}", source.url));
        }
        self.remote.follow(auth.remote.clone());
    }

    /// From now on there is somebody who says when keys cannot be fetched.
    pub(crate) fn speak_by(&self, voice: Voice) {
        self.remote.speak_by(voice);
    }

    fn start(self: &Arc<Self>) -> std::io::Result<Sender<Job>> {
        let (jobs, arriving) = bounded(QUEUE_MAX);
        let cores = available_parallelism().map_or(1, NonZero::get);
        for index in 0..(cores / 2).max(1) {
            let (gate, arriving) = (Arc::clone(self), arriving.clone());
            Builder::new()
                .name(format!("tidegate-check-{index}"))
                .spawn(move || gate.work(&arriving))?;
        }
        Ok(jobs)
    }

    /// Checks a token: at once, or on another thread.
    pub(crate) fn check(&self, auth: &Arc<Auth>, text: &str) -> Checked {
        if let Some(verdict) = auth.judge_at_once(text, clock::hour()) {
            return Checked::Now(verdict);
        }
        let (answer, verdict) = oneshot::channel();
        let job = Job {
            text: text.to_owned(),
            auth: Arc::clone(auth),
            answer,
        };
        match self.jobs.get().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Checked::Later(verdict),
            // Without keys for them there are no threads either.
            None if !auth.needs_threads() => Checked::Now(Err(Denial::Key)),
            Some(Err(_)) | None => Checked::Now(Err(Denial::Busy)),
        }
    }

    fn work(&self, jobs: &Receiver<Job>) {
        for job in jobs {
            let fetched = self.remote.keys();
            let is_unknown = job.auth.remote.is_some() && !job.auth.knows_key(&job.text, &fetched);
            if is_unknown {
                self.remote.look_for_key(job);
                continue;
            }
            let verdict = job.auth.judge(&job.text, &fetched, clock::hour());
            // Whoever has asked may have gone.
            let _ = job.answer.send(verdict);
        }
    }
}
