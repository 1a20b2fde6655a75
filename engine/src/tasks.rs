//! Tasks of an application: futures that run beside a shard's loop, on its thread.
//!
//! ```text
//!  handler ─ spawn ─▶ Tasks (of the host) ─ polls, between two turns ─▶ the application's future
//!                                                                            │ ShardHandle
//!  deliver ◀─ requests, in order, in the next turn ◀──────── queued ─────────┘
//! ```
//!
//! A task can only queue, as a handler can: what it asks for is done in phase 3 of the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use tidegate_io::host::{self, Sleep, Tasks, TooManyTasks, YieldNow};
use tidegate_proto::{CloseCode, Message, MessageKind};

use crate::{Busy, ConnectionId, Handler, Key};

/// What a request is counted as beside its bytes.
const REQUEST_COST: usize = 64;

/// Speaks to its own shard from a task: what is asked for is done in the shard's next turn, in
/// the order of asking.
///
/// It stays on the shard's thread; other threads have [`crate::Handle`]. A clone is the same.
pub struct ShardHandle<H: Handler> {
    tasks: Tasks,
    requests: Rc<Requests<H::Note>>,
}

/// Something that a task wants done.
#[derive(Debug)]
pub(crate) enum Request<N> {
    Publish {
        topic: CompactString,
        kind: MessageKind,
        payload: Vec<u8>,
        /// See [`crate::Key`]; 0 is none.
        key: u64,
    },
    Send {
        to: ConnectionId,
        kind: MessageKind,
        payload: Vec<u8>,
    },
    Close {
        to: ConnectionId,
        code: CloseCode,
        reason: CompactString,
    },
    Tell(N),
}

/// What the tasks of a shard want done, in order.
#[derive(Debug)]
pub(crate) struct Requests<N> {
    shard: usize,
    queue: RefCell<VecDeque<Request<N>>>,
    /// Of all that is queued.
    byte_count: Cell<usize>,
    bytes_max: usize,
}

impl<N> Request<N> {
    fn byte_count(&self) -> usize {
        REQUEST_COST
            + match self {
                Self::Publish { topic, payload, .. } => topic.len() + payload.len(),
                Self::Send { payload, .. } => payload.len(),
                Self::Close { reason, .. } => reason.len(),
                Self::Tell(_) => 0,
            }
    }
}

impl<N> Requests<N> {
    pub(crate) fn new(shard: usize, bytes_max: usize) -> Self {
        Self {
            shard,
            queue: RefCell::default(),
            byte_count: Cell::new(0),
            bytes_max,
        }
    }

    /// One request fits into an empty queue, however large it is.
    fn push(&self, request: Request<N>) -> Result<(), Busy> {
        let before = self.byte_count.get();
        let after = before + request.byte_count();
        if before > 0 && after > self.bytes_max {
            return Err(Busy);
        }
        self.byte_count.set(after);
        self.queue.borrow_mut().push_back(request);
        Ok(())
    }

    pub(crate) fn take(&self) -> Option<Request<N>> {
        let request = self.queue.borrow_mut().pop_front()?;
        let rest = self.byte_count.get() - request.byte_count();
        self.byte_count.set(rest);
        Some(request)
    }

    /// How many publications are queued.
    #[cfg(test)]
    pub(crate) fn publication_count(&self) -> usize {
        let queue = self.queue.borrow();
        let publications = queue
            .iter()
            .filter(|request| matches!(request, Request::Publish { .. }));
        publications.count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.byte_count.get() == 0
    }
}

impl<H: Handler> ShardHandle<H> {
    pub(crate) fn new(tasks: Tasks, requests: Rc<Requests<H::Note>>) -> Self {
        Self { tasks, requests }
    }

    /// This shard's number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.requests.shard
    }

    /// Says a message to all who have subscribed to the topic, as
    /// [`crate::ShardContext::publish`] does.
    ///
    /// # Errors
    /// [`Busy`] when the tasks of this shard have asked for more than
    /// [`crate::Limits::task_bytes_max`] at once, or another shard does not keep up. Try again
    /// after [`Self::yield_now`] or a [`Self::sleep`].
    pub fn publish(&self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        self.publish_keyed(topic, 0, message)
    }

    /// The same for what replaces whatever was said under this key before; see
    /// [`crate::ShardContext::publish_latest`].
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    pub fn publish_latest(&self, topic: &str, key: Key, message: Message<'_>) -> Result<(), Busy> {
        self.publish_keyed(topic, Key::number(Some(key)), message)
    }

    fn publish_keyed(&self, topic: &str, key: u64, message: Message<'_>) -> Result<(), Busy> {
        self.requests.push(Request::Publish {
            topic: topic.into(),
            kind: message.kind(),
            payload: message.as_bytes().to_vec(),
            key,
        })
    }

    /// Sends a message to one connection of this shard, before all publications of that turn.
    /// It is lost when that is closed; when
    /// its outbox is full, it is disconnected as a slow consumer.
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    ///
    /// # Panics
    /// When the connection is of another shard: [`crate::ShardContext::tell`] that one.
    pub fn send(&self, to: ConnectionId, message: Message<'_>) -> Result<(), Busy> {
        self.assert_ours(to);
        self.requests.push(Request::Send {
            to,
            kind: message.kind(),
            payload: message.as_bytes().to_vec(),
        })
    }

    /// Starts the close handshake of one connection of this shard, if it is still open; as what
    /// is sent, it goes before all publications of that turn.
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    ///
    /// # Panics
    /// When the connection is of another shard.
    pub fn close(&self, to: ConnectionId, code: CloseCode, reason: &str) -> Result<(), Busy> {
        self.assert_ours(to);
        let reason = reason.into();
        self.requests.push(Request::Close { to, code, reason })
    }

    /// Tells the handler of this shard something: its [`Handler::on_note`] is called with it,
    /// and can do whatever a handler can.
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    pub fn tell(&self, note: H::Note) -> Result<(), Busy> {
        self.requests.push(Request::Tell(note))
    }

    /// Begins another task; see [`crate::ShardContext::spawn`].
    ///
    /// # Errors
    /// [`TooManyTasks`].
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        self.tasks.spawn(task)
    }

    /// The time on the shard's clock: when this task began to be polled.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.tasks.now()
    }

    /// Ready after this span.
    pub fn sleep(&self, span: Duration) -> Sleep {
        // Nobody waits for what no clock can show.
        let until = self.now().checked_add(span);
        self.sleep_until(until.unwrap_or_else(|| self.now() + Duration::from_secs(u32::MAX.into())))
    }

    /// Ready at this moment: not before, and as soon after as the loop has finished its turn.
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        self.tasks.sleep_until(until)
    }

    /// A moment for each `period`, the first of them after one. Moments that were missed are
    /// left out, and the others stay where they were.
    ///
    /// # Panics
    /// When the period is zero.
    #[must_use]
    pub fn interval(&self, period: Duration) -> Interval {
        assert!(!period.is_zero(), "no moments in a period of zero");
        Interval {
            tasks: self.tasks.clone(),
            next: self.now() + period,
            period,
        }
    }

    /// Ready when the others who are ready have had their turn, which may be the loop.
    pub fn yield_now(&self) -> YieldNow {
        Tasks::yield_now()
    }

    /// Runs work that may wait on another thread, one of 8 for the whole process, and is ready
    /// with what it returns.
    ///
    /// With [`crate::Descriptors::PerShard`] the work must not return a file or a socket.
    pub fn blocking<T, F>(&self, work: F) -> impl Future<Output = T> + use<T, F, H>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        host::blocking(work)
    }

    /// A whole file.
    ///
    /// # Errors
    /// As of [`std::fs::read`].
    pub async fn read_file(&self, path: impl Into<PathBuf>) -> io::Result<Vec<u8>> {
        host::read_file(path).await
    }

    fn assert_ours(&self, id: ConnectionId) {
        let (shard, ours) = (id.shard(), self.index());
        assert!(shard == ours, "{id} is of shard {shard}, not of {ours}");
    }
}

/// Moments that come again and again; made by [`ShardHandle::interval`].
#[derive(Debug)]
pub struct Interval {
    tasks: Tasks,
    next: Instant,
    period: Duration,
}

impl Interval {
    /// Ready at the next moment, and returns it.
    pub async fn tick(&mut self) -> Instant {
        let moment = self.next;
        self.tasks.sleep_until(moment).await;
        let late = self.tasks.now().saturating_duration_since(moment);
        let missed = late.as_nanos() / self.period.as_nanos();
        let step = self.period.as_nanos() * (missed + 1);
        let step = u64::try_from(step).map_or(Duration::MAX, Duration::from_nanos);
        self.next = moment.checked_add(step).unwrap_or(moment + self.period);
        moment
    }
}

impl<H: Handler> Clone for ShardHandle<H> {
    fn clone(&self) -> Self {
        Self {
            tasks: self.tasks.clone(),
            requests: Rc::clone(&self.requests),
        }
    }
}

impl<H: Handler> fmt::Debug for ShardHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHandle")
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}
