//! How often the simulated kernel makes use of what its contract allows it.

use std::time::Duration;

/// The probability of each fault (0.0 is never, 1.0 always), and the sizes that go with them.
///
/// Every one of them can be met on a real kernel, and none breaks the contract of
/// [`crate::driver`].
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// A receive yields fewer bytes than have arrived, down to one.
    pub short_receive: f64,
    /// A write takes fewer bytes than there is room for, and the network cuts them there.
    pub short_write: f64,
    /// Something in the network, or a completion, takes up to `late_max` longer.
    pub late: f64,
    /// How much longer at most.
    pub late_max: Duration,
    /// The completions of a turn come in any order (that of one socket is kept).
    pub reorder: f64,
    /// A socket that has something to tell is left to a later turn.
    pub defer: f64,
    /// A send is answered `Pending` although there is room, and completes later.
    pub late_send: f64,
    /// An accept fails with a full table (`EMFILE`, `ENFILE`).
    pub refused: f64,
    /// A connection is cut, out of the blue, as something arrives.
    pub reset: f64,
    /// A reset destroys what had arrived before it, but had not been received.
    pub reset_loses: f64,
    /// A close is answered `Pending`, and the socket may have its say until `Closed`.
    pub late_close: f64,
    /// The least that a link holds in each direction, at least 1.
    pub capacity_min: usize,
    /// The most that a link holds in each direction.
    pub capacity_max: usize,
}

impl Faults {
    /// A kernel on its best day. Large sends to a slow reader are still partial.
    #[must_use]
    pub fn none() -> Self {
        Self {
            short_receive: 0.0,
            short_write: 0.0,
            late: 0.0,
            late_max: Duration::ZERO,
            reorder: 0.0,
            defer: 0.0,
            late_send: 0.0,
            refused: 0.0,
            reset: 0.0,
            reset_loses: 0.0,
            late_close: 0.0,
            capacity_min: 256 * 1024,
            capacity_max: 256 * 1024,
        }
    }

    /// Everything but resets out of the blue: what was sent must arrive.
    #[must_use]
    pub fn without_resets() -> Self {
        Self {
            reset: 0.0,
            ..Self::default()
        }
    }
}

impl Default for Faults {
    /// Lively: a test of a hundred messages meets every fault.
    fn default() -> Self {
        Self {
            short_receive: 0.3,
            short_write: 0.3,
            late: 0.3,
            late_max: Duration::from_millis(2),
            reorder: 0.5,
            defer: 0.2,
            late_send: 0.2,
            refused: 0.1,
            reset: 0.002,
            reset_loses: 0.5,
            late_close: 0.4,
            capacity_min: 1024,
            capacity_max: 256 * 1024,
        }
    }
}
