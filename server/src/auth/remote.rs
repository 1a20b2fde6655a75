//! Keys that are fetched from an issuer, and fetched again: after a while, or for a token whose key is
//! not known yet.
//!
//! One thread does it. What it has got last is kept until it gets something better, however long the
//! issuer is away; and whatever tokens come, it asks no oftener than the cooldown allows.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::denial::Denial;
use super::gate::Job;
use super::keys::{KeySet, Secrets};
use super::{Source, clock, fetch};
use crate::voice::{Line, Voice};

/// So many tokens may wait for a fetch.
pub(crate) const WAITING_MAX: usize = 64;

/// After a fetch that failed, the next one is tried so much later, or after the usual span if that is
/// shorter.
pub(crate) const RETRY: Duration = Duration::from_secs(10);

/// Keys from elsewhere.
#[derive(Debug)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    /// Until the thread has been started.
    arriving: Mutex<Option<Receiver<Order>>>,
}

/// What the thread shares with the others.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    voice: OnceLock<Voice>,
    has_failed: AtomicBool,
    successes: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    source: Option<Source>,
    keys: Arc<KeySet>,
}

#[derive(Debug)]
enum Order {
    /// The source is another one, or is asked at other times.
    Follow,
    /// No key that is known fits this token.
    Look(Job),
}

impl Default for Remote {
    fn default() -> Self {
        let (orders, arriving) = bounded(WAITING_MAX);
        Self {
            shared: Arc::default(),
            orders,
            arriving: Mutex::new(Some(arriving)),
        }
    }
}

impl Remote {
    /// The keys that were fetched last.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.shared.state().keys)
    }

    /// How many fetches were good, and how many were not.
    pub(crate) fn fetches(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.shared.successes), load(&self.shared.failures))
    }

    pub(super) fn speak_by(&self, voice: Voice) {
        let _ = self.shared.voice.set(voice);
    }

    /// Begins to fetch, once.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(orders) = arriving.take() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut fetcher = Fetcher {
                shared,
                source: None,
                due: None,
                tried: None,
            };
            fetcher.work(&orders);
        };
        Builder::new()
            .name("tidegate-jwks".to_owned())
            .spawn(work)
            .map(drop)
    }

    /// From now on keys come from there. Those of another source are forgotten.
    pub(super) fn follow(&self, source: Option<Source>) {
        let mut state = self.shared.state();
        if state.source == source {
            return;
        }
        let is_same = match (&state.source, &source) {
            (Some(before), Some(after)) => before.url == after.url,
            _ => false,
        };
        if !is_same {
            state.keys = Arc::default();
        }
        state.source = source;
        drop(state);
        // If so much waits, the thread looks at its source anew all the same.
        let _ = self.orders.try_send(Order::Follow);
    }

    /// Has the set fetched again, if it may, and the token judged then.
    pub(super) fn look_for_key(&self, job: Job) {
        if let Err(refused) = self.orders.try_send(Order::Look(job))
            && let Order::Look(job) = refused.into_inner()
        {
            let _ = job.answer.send(Err(Denial::Busy));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is ever half written in there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what has changed: that fetching fails, or that it does again.
    fn tell(&self, outcome: Result<usize, String>, url: &str) {
        let failed = outcome.is_err();
        let counter = if failed {
            &self.failures
        } else {
            &self.successes
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let had_failed = self.has_failed.swap(failed, Ordering::Relaxed);
        let line = match outcome {
            Err(why) if !had_failed => Line::Complained(format!("cannot fetch {url}: {why}")),
            Ok(count) if had_failed => Line::Said(format!("{count} keys from {url} again")),
            _ => return,
        };
        if let Some(voice) = self.voice.get() {
            voice.tell(vec![line]);
        }
    }
}

/// The thread that fetches.
struct Fetcher {
    shared: Arc<Shared>,
    source: Option<Source>,
    /// When to fetch next, without being asked.
    due: Option<Instant>,
    /// When it was tried last.
    tried: Option<Instant>,
}

impl Fetcher {
    fn work(&mut self, orders: &Receiver<Order>) {
        loop {
            self.follow();
            let now = clock::now();
            let wait = match self.due {
                Some(due) => due.saturating_duration_since(now),
                None => RETRY,
            };
            match orders.recv_timeout(wait) {
                Ok(Order::Follow) => {}
                Ok(Order::Look(job)) => self.look(job),
                Err(RecvTimeoutError::Timeout) if self.due.is_some() => self.fetch(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks whether the source is still the same.
    fn follow(&mut self) {
        let source = self.shared.state().source.clone();
        if source == self.source {
            return;
        }
        let url = |source: &Option<Source>| source.as_ref().map(|source| source.url.clone());
        if url(&source) == url(&self.source) {
            let refresh = source.as_ref().map(|source| source.refresh);
            let next = self.tried.zip(refresh).map(|(tried, span)| tried + span);
            self.due = next.or(self.due);
        } else {
            self.due = source.is_some().then(clock::now);
            self.tried = None;
        }
        self.source = source;
    }

    fn look(&mut self, job: Job) {
        let cooldown = self.source.as_ref().map(|source| source.cooldown);
        let has_cooled = match (self.tried, cooldown) {
            (Some(tried), Some(cooldown)) => clock::now() >= tried + cooldown,
            _ => true,
        };
        let keys = Arc::clone(&self.shared.state().keys);
        // Another token may have had it fetched meanwhile.
        if has_cooled && !job.auth.knows_key(&job.text, &keys) {
            self.fetch();
        }
        let keys = Arc::clone(&self.shared.state().keys);
        let verdict = match job.auth.judge(&job.text, &keys, clock::hour()) {
            // Nobody can say whether it is good before there was any set.
            Err(Denial::Key) if keys.len() == 0 => Err(Denial::Busy),
            verdict => verdict,
        };
        let _ = job.answer.send(verdict);
    }

    fn fetch(&mut self) {
        let Some(source) = &self.source else {
            self.due = None;
            return;
        };
        let fetched = fetch::fetch(&source.url).and_then(|body| {
            KeySet::of_jwks(&body, Secrets::Skipped).map_err(|why| why.to_owned())
        });
        let now = clock::now();
        self.tried = Some(now);
        let span = if fetched.is_ok() {
            source.refresh
        } else {
            source.refresh.min(RETRY)
        };
        self.due = Some(now + span);
        let outcome = fetched.map(|keys| {
            let count = keys.len();
            let mut state = self.shared.state();
            // It may have been told another source meanwhile.
            if state
                .source
                .as_ref()
                .is_some_and(|now| now.url == source.url)
            {
                state.keys = Arc::new(keys);
            }
            count
        });
        self.shared.tell(outcome, &source.url);
    }
}
