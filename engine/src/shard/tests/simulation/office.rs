//! The tasks of the simulated servers: each works for one connection, in virtual time.
//!
//! Work on other threads (`ShardHandle::blocking`, files) is not in it: nothing could replay that.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tidegate_proto::{CloseCode, Message, MessageKind};

use super::hall::{Guest, Hall, Ledger, Role, name, note};
use crate::{ConnectionId, ShardHandle};

/// A client says this, as a text, when its task is to close the connection.
pub(super) const DISMISS: &str = "dismiss";

/// What such a client is told.
pub(super) const DISMISSED: CloseCode = CloseCode::GOING_AWAY;

/// What a task does before each of its errands, in turn.
const RESTS: [Rest; 6] = [
    Rest::Yields(0),
    Rest::Sleeps(Duration::from_micros(300)),
    // More than one turn lets it be polled.
    Rest::Yields(200),
    Rest::Sleeps(Duration::from_millis(20)),
    Rest::Yields(1),
    Rest::Sleeps(Duration::from_secs(3)),
];

/// When a task tries again, after another shard did not keep up.
pub(super) const RETRY: Duration = Duration::from_millis(1);

/// Notes of a task's are told from here on, those of handlers below.
const TASKS_FROM: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Rest {
    /// Lets the others have their turn, so many times.
    Yields(usize),
    Sleeps(Duration),
}

/// What a task is asked to do.
#[derive(Debug)]
pub(super) enum Errand {
    Say(MessageKind, Vec<u8>),
    Close,
}

impl Errand {
    pub(super) fn of(message: Message<'_>) -> Self {
        match message {
            Message::Text(DISMISS) => Self::Close,
            message => Self::Say(message.kind(), message.as_bytes().to_vec()),
        }
    }
}

/// What lies before a task.
#[derive(Debug, Default)]
pub(super) struct Desk {
    errands: RefCell<VecDeque<Errand>>,
    /// Nothing more will come.
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Desk {
    pub(super) fn put(&self, errand: Errand) {
        self.errands.borrow_mut().push_back(errand);
        self.wake();
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next errand; `None` when there will never be one.
    async fn next(&self) -> Option<Errand> {
        std::future::poll_fn(|context| {
            let next = self.errands.borrow_mut().pop_front();
            if next.is_some() || self.closed.get() {
                return Poll::Ready(next);
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

/// Counts a task for as long as it exists.
#[derive(Debug)]
pub(super) struct Employed(Rc<RefCell<Ledger>>);

impl Employed {
    pub(super) fn new(ledger: &Rc<RefCell<Ledger>>) -> Self {
        ledger.borrow_mut().tasks += 1;
        Self(Rc::clone(ledger))
    }
}

impl Drop for Employed {
    fn drop(&mut self) {
        self.0.borrow_mut().tasks -= 1;
    }
}

/// What a task knows.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) guest: Guest,
    pub(super) id: ConnectionId,
    pub(super) handle: ShardHandle<Hall>,
    pub(super) desk: Rc<Desk>,
    pub(super) published: Rc<Cell<u64>>,
    pub(super) employed: Employed,
}

impl Worker {
    pub(super) async fn work(self) {
        let rests = RESTS.iter().cycle().skip(self.guest.caller % RESTS.len());
        for &rest in rests {
            let Some(errand) = self.desk.next().await else {
                return;
            };
            self.rest(rest).await;
            while !self.has_done(&errand) {
                self.handle.sleep(RETRY).await;
            }
            self.employed.0.borrow_mut().errands -= 1;
            self.tell();
        }
    }

    async fn rest(&self, rest: Rest) {
        match rest {
            Rest::Yields(count) => {
                for _ in 0..count {
                    self.handle.yield_now().await;
                }
            }
            Rest::Sleeps(span) => {
                let due = self.handle.now() + span;
                self.handle.sleep(span).await;
                if self.handle.now() < due {
                    let fault = "a task was woken early".to_owned();
                    self.employed.0.borrow_mut().faults.push(fault);
                }
            }
        }
    }

    /// Asks for what is to be done; `false`: it was refused.
    fn has_done(&self, errand: &Errand) -> bool {
        let Errand::Say(kind, bytes) = errand else {
            return self.handle.close(self.id, DISMISSED, "dismissed").is_ok();
        };
        let text = || std::str::from_utf8(bytes).expect("it came as a text");
        let message = match kind {
            MessageKind::Text => Message::Text(text()),
            MessageKind::Binary => Message::Binary(bytes),
        };
        let Role::Agent(topic) = self.guest.role else {
            return self.handle.send(self.id, message).is_ok();
        };
        if self.handle.publish(&name(topic), message).is_err() {
            return false;
        }
        self.published.update(|count| count + 1);
        let mut ledger = self.employed.0.borrow_mut();
        ledger.accept(self.guest.caller, topic, bytes);
        true
    }

    /// A note to the handler of its own shard, if it is taken.
    fn tell(&self) {
        let shard = self.handle.index();
        let mut ledger = self.employed.0.borrow_mut();
        let from = TASKS_FROM + shard;
        let (told, _) = ledger.notes.entry((from, shard)).or_default();
        if self.handle.tell(note(from, *told)).is_ok() {
            *told += 1;
        }
    }
}
