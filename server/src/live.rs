//! The configuration in force, where every thread can see it.
//!
//! A shard keeps a copy of its own and looks at one number for each request to learn whether
//! there is a newer one: no message costs anything, and no request waits but the first of each
//! shard after a reload.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admission::{Counts, Rules};
use crate::auth::Auth;
use crate::auth::gate::Gate;
use crate::config::Configuration;
use crate::routes::Routes;

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Live {
    /// Counts the configurations. Invariant: it is raised after `current` was replaced.
    generation: AtomicU64,
    current: Mutex<Current>,
    /// What all shards count of those whom they let in: it outlives every configuration.
    counts: Arc<Counts>,
    gate: Arc<Gate>,
}

#[derive(Debug, Clone)]
struct Current {
    configuration: Arc<Configuration>,
    routes: Arc<Routes>,
    rules: Arc<Rules>,
}

/// What one shard knows of it.
#[derive(Debug)]
pub(crate) struct View {
    live: Arc<Live>,
    generation: u64,
    routes: Arc<Routes>,
    rules: Arc<Rules>,
    auth: Arc<Auth>,
}

impl Live {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            gate: Arc::default(),
            generation: AtomicU64::new(0),
            current: Mutex::new(Current::of(configuration)),
            counts: Arc::default(),
        }
    }

    /// What all shards count of those whom they let in.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The configuration as it is now.
    pub(crate) fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.current().configuration)
    }

    /// Where tokens are checked.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// From now on tokens are checked, on threads if there must be: whatever they are to be kept from,
    /// they must be kept from before.
    pub(crate) fn open_gate(&self) {
        self.gate.prepare(&self.configuration().auth);
    }

    /// From now on requests are answered by this one. Not to be called on a shard.
    pub(crate) fn replace(&self, configuration: Configuration) {
        self.gate.prepare(&configuration.auth);
        *self.current() = Current::of(configuration);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Nothing is ever half written in there.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn of(configuration: Configuration) -> Self {
        Self {
            routes: Arc::new(Routes::of(&configuration)),
            rules: Arc::new(Rules::of(&configuration)),
            configuration: Arc::new(configuration),
        }
    }
}

impl View {
    pub(crate) fn of(live: Arc<Live>) -> Self {
        // Read before the rest: at worst the same is taken twice.
        let generation = live.generation.load(Ordering::Acquire);
        let current = live.current().clone();
        Self {
            live,
            generation,
            routes: current.routes,
            rules: current.rules,
            auth: Arc::clone(&current.configuration.auth),
        }
    }

    /// What all shards count.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        self.live.counts()
    }

    /// The rules of admission in force.
    #[inline]
    pub(crate) fn rules(&mut self) -> &Rules {
        self.refresh();
        &self.rules
    }

    /// The routes in force.
    #[inline]
    pub(crate) fn routes(&mut self) -> &Routes {
        self.refresh();
        &self.routes
    }

    /// What is configured of authentication.
    pub(crate) fn auth(&mut self) -> &Arc<Auth> {
        self.refresh();
        &self.auth
    }

    /// Where tokens are checked.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.live.gate()
    }

    /// Takes what has been replaced since the last look.
    #[inline]
    fn refresh(&mut self) {
        let generation = self.live.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            let current = self.live.current().clone();
            (self.routes, self.rules) = (current.routes, current.rules);
            self.auth = Arc::clone(&current.configuration.auth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inputs;
    use crate::routes::Found;

    fn configuration(file: &str) -> Configuration {
        let file = Some(file.into());
        Inputs {
            file,
            ..Inputs::default()
        }
        .load(None)
        .unwrap()
    }

    #[test]
    fn a_view_sees_what_was_replaced_at_its_next_look() {
        let live = Arc::new(Live::new(configuration("/dev/null")));
        let mut view = View::of(Arc::clone(&live));
        assert!(matches!(view.routes().find("/echo"), Found::Route(..)));
        let before = Arc::clone(&view.routes);
        assert!(std::ptr::eq(view.routes(), &*before));
        let mut without = configuration("/dev/null");
        without.endpoints.clear();
        live.replace(without);
        assert!(matches!(view.routes().find("/echo"), Found::Nothing));
        assert!(matches!(
            View::of(live).routes().find("/echo"),
            Found::Nothing
        ));
    }
}
