//! The doorbell: ends another thread's wait.

use std::fmt;
use std::sync::Arc;

/// Rings a driver's bell from any thread. A ring is never lost: if the driver is not waiting,
/// its next wait returns at once. Rings do not add up.
#[derive(Clone)]
pub struct Waker(Arc<dyn Ring>);

/// What a driver puts behind its [`Waker`].
pub trait Ring: Send + Sync {
    /// Ends the wait under way, or the next one.
    fn ring(&self);
}

impl Waker {
    /// A waker that rings this bell.
    pub fn new(bell: impl Ring + 'static) -> Self {
        Self(Arc::new(bell))
    }

    /// Ends the wait under way, or the next one.
    pub fn wake(&self) {
        self.0.ring();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
