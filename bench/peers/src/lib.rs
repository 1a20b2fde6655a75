//! The protocol core beside the crates that do the same: one table of cases, which the criterion bench
//! (`benches/peers.rs`) times and `count` (`src/bin/count.rs`) counts the instructions of.
//!
//! What is fair, and where it is not quite:
//!
//! - All are built alike (fat LTO, one unit, no `target-cpu`) and allocate with mimalloc.
//! - All get the same bytes. Whoever reads from a stream reads from one in memory, which copies them once,
//!   as the kernel would; whoever is given a chunk has it copied there first. So each figure of
//!   `inbound` and `fragments` has one copy of the wire in it, which the case `copy` shows by itself.
//! - All check what the RFC demands of a server for the message at hand: opcode, reserved bits, mask, length,
//!   size limit, the order of fragments, UTF-8. What one leaves out stands at its adapter.
//! - A message is received when its bytes can be looked at. None is copied for the bench's sake.
//! - Every case is called through one pointer, which costs all the same nanosecond (`copy`, 0 bytes).

mod deflate;
mod feed;
mod fragments;
mod header;
mod inbound;
mod mask;
mod messages;
mod outbound;
mod receivers;
mod utf8;

use std::fmt;

use mimalloc::MiMalloc;

/// What the server allocates with, for all alike.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Handles the messages of one run.
pub type Run = Box<dyn FnMut()>;

/// One function of one crate on one message.
pub struct Case {
    /// What is compared, such as `inbound`.
    pub function: &'static str,
    /// The message, such as `512 B`.
    pub message: String,
    /// Whose function it is.
    pub name: &'static str,
    /// How many messages one run handles.
    pub messages: u64,
    prepare: Box<dyn FnOnce() -> Run>,
}

impl Case {
    fn new<R: FnMut() + 'static>(
        function: &'static str,
        message: impl Into<String>,
        name: &'static str,
        prepare: impl FnOnce() -> R + 'static,
    ) -> Self {
        Self {
            function,
            message: message.into(),
            name,
            messages: 1,
            prepare: Box::new(|| Box::new(prepare())),
        }
    }

    fn of_messages(self, messages: usize) -> Self {
        let messages = messages as u64;
        Self { messages, ..self }
    }

    /// Makes all that is not part of a run.
    #[must_use]
    pub fn prepare(self) -> Run {
        (self.prepare)()
    }

    /// Function, message and crate, as `count` and criterion know it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.function, self.message, self.name)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id())
    }
}

/// All cases; those to be compared with each other stand together.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    mask::add(&mut cases);
    header::add(&mut cases);
    utf8::add(&mut cases);
    inbound::add(&mut cases);
    outbound::add(&mut cases);
    deflate::add(&mut cases);
    fragments::add(&mut cases);
    cases
}

/// A size as people write it.
fn size_name(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size / 1024),
        _ => format!("{} MiB", size / 1_048_576),
    }
}
