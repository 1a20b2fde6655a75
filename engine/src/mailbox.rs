//! Mail between shards, and from other threads to shards.
//!
//! A mailbox is a bounded lock-free queue and a [doorbell]. What one shard publishes
//! in one turn travels in one letter, a [`Bag`], which all receivers share and the sender uses
//! again when they have read it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender as Answer;
#[cfg(not(all(test, tidegate_loom)))]
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tidegate_io::Waker;
use tidegate_io::waker::Ring;
use tidegate_proto::MessageKind;

use crate::Farewell;
use crate::listing::Part;
use crate::survey::Task;

mod bag;
mod doorbell;
#[cfg(all(test, tidegate_loom))]
mod loom_model;

pub(crate) use bag::{Bag, Frame};
use doorbell::Doorbell;
#[cfg(all(test, tidegate_loom))]
use loom_model::queue::{Receiver, Sender, TrySendError, bounded};

/// How many bags are kept to be used again.
const BAGS_MAX: usize = 16;

/// What arrives in a mailbox.
#[derive(Debug)]
pub(crate) enum Letter<N> {
    /// What another shard published in one turn.
    Bag(Arc<Bag>),
    /// From the handler of another shard.
    Note(N),
    /// From another thread: publish this, as if it had been said on this shard.
    Publish {
        topic: Box<str>,
        kind: MessageKind,
        payload: Vec<u8>,
        /// See [`crate::Key`]; 0 is none.
        key: u64,
    },
    /// From another thread: which topics are there, and how many hear them?
    Topics(Answer<Part>),
    /// From another thread: what takes several turns.
    Survey(Box<Task>),
    /// Take leave of every connection, then end.
    Drain(Box<Farewell>),
    /// From another thread: show that you turn.
    Turn,
    /// End now.
    Stop,
}

/// The owner's end.
#[derive(Debug)]
pub(crate) struct Mailbox<N> {
    receiver: Receiver<Letter<N>>,
    bell: Arc<Doorbell>,
}

/// Everybody else's end.
#[derive(Debug)]
pub(crate) struct Address<N> {
    sender: Sender<Letter<N>>,
    bell: Arc<Doorbell>,
}

impl<N> Clone for Address<N> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

/// A mailbox for so many letters, whose owner is woken by `waker`.
pub(crate) fn mailbox<N>(letters_max: usize, waker: Waker) -> (Mailbox<N>, Address<N>) {
    let (sender, receiver) = bounded(letters_max);
    let bell = Arc::new(Doorbell::new(waker));
    (
        Mailbox {
            receiver,
            bell: Arc::clone(&bell),
        },
        Address { sender, bell },
    )
}

impl<N> Mailbox<N> {
    /// Says that the owner is about to sleep. `false`: there is mail, so it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.bell.arm();
        self.receiver.is_empty()
    }

    /// Says that the owner is awake: nobody needs to ring. `true`: mail has come since
    /// [`Self::fall_asleep`].
    pub(crate) fn wake_up(&self) -> bool {
        self.bell.disarm()
    }

    /// Wakes the owner as a letter does: if it sleeps, and once.
    pub(crate) fn waker(&self) -> Waker {
        Waker::new(Ringer(Arc::clone(&self.bell)))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    pub(crate) fn take(&self) -> Option<Letter<N>> {
        self.receiver.try_recv().ok()
    }
}

/// Rings for those who have left something elsewhere than in the mailbox, before they ring.
struct Ringer(Arc<Doorbell>);

impl Ring for Ringer {
    fn ring(&self) {
        self.0.ring();
    }
}

impl<N> Address<N> {
    /// Puts a letter in, or gives it back if the mailbox is full. The letter to an owner that
    /// is no more is lost, as it would be a moment later.
    pub(crate) fn try_send(&self, letter: Letter<N>) -> Result<(), Letter<N>> {
        match self.sender.try_send(letter) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(letter)) => Err(letter),
            Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Puts a letter in, waiting for room at most so long. Not for shards. `false`: it could
    /// not be delivered.
    pub(crate) fn send(&self, letter: Letter<N>, timeout: Duration) -> bool {
        let sent = self.sender.send_timeout(letter, timeout).is_ok();
        if sent {
            self.bell.ring();
        }
        sent
    }
}

/// A shard's outgoing mail.
#[derive(Debug)]
pub(crate) struct Post<N> {
    targets: Vec<Target<N>>,
    /// Invariant: how many letters wait in the backlogs of all targets.
    backlog_count: usize,
    /// Being filled in this turn.
    bag: Bag,
    /// Bags that have been sent, to be used again when all receivers have dropped them.
    used: VecDeque<Arc<Bag>>,
    bytes_max: usize,
}

/// Another shard.
#[derive(Debug)]
struct Target<N> {
    /// `None` stands for the shard itself.
    address: Option<Address<N>>,
    /// Letters that found the mailbox full, in order.
    backlog: VecDeque<Letter<N>>,
    backlog_bytes: usize,
}

impl<N> Post<N> {
    /// `addresses` of all shards, in order; the shard's own is `None`.
    pub(crate) fn new(addresses: Vec<Option<Address<N>>>, bytes_max: usize) -> Self {
        let targets = addresses
            .into_iter()
            .map(|address| Target {
                address,
                backlog: VecDeque::new(),
                backlog_bytes: 0,
            })
            .collect();
        Self {
            targets,
            backlog_count: 0,
            bag: Bag::default(),
            used: VecDeque::new(),
            bytes_max,
        }
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn has_others(&self) -> bool {
        self.targets.len() > 1
    }

    /// May another publication be taken? Not while too much waits for a full mailbox.
    pub(crate) fn is_open(&self) -> bool {
        self.backlog_bytes() + self.bag.byte_count() <= self.bytes_max
    }

    /// How many bytes of publications wait for the mailbox that has the least room.
    pub(crate) fn backlog_bytes(&self) -> usize {
        if !self.has_backlog() {
            return 0;
        }
        let waiting = self.targets.iter().map(|target| target.backlog_bytes);
        waiting.max().unwrap_or(0)
    }

    /// Does the count of what waits for a full mailbox hold?
    #[cfg(test)]
    pub(crate) fn is_counted(&self) -> bool {
        let waiting = self.targets.iter().map(|target| target.backlog.len());
        waiting.sum::<usize>() == self.backlog_count
    }

    /// Does mail wait for room in a mailbox?
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog_count > 0
    }

    pub(crate) fn publish(&mut self, topic: &str, frame: Frame<'_>, key: u64) {
        self.bag.push(topic, frame, key);
    }

    /// Sends a note to another shard. It is never refused: a note says what happened to a
    /// connection, so there are no more of them than that.
    pub(crate) fn tell(&mut self, shard: usize, note: N) {
        self.backlog_count += self.targets[shard].send(Letter::Note(note), 0);
    }

    /// Sends what was published in this turn. Returns how many letters that were.
    #[inline]
    pub(crate) fn dispatch(&mut self) -> u64 {
        if self.has_backlog() {
            self.retry();
        }
        if self.bag.is_empty() {
            return 0;
        }
        self.send_bag()
    }

    fn retry(&mut self) {
        let targets = self.targets.iter_mut();
        self.backlog_count -= targets.map(Target::retry).sum::<usize>();
    }

    fn send_bag(&mut self) -> u64 {
        let byte_count = self.bag.byte_count();
        let bag = self.seal();
        let mut sent = 0;
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.address.is_some())
        {
            self.backlog_count += target.send(Letter::Bag(Arc::clone(&bag)), byte_count);
            sent += 1;
        }
        if bag.is_reusable() && self.used.len() < BAGS_MAX {
            self.used.push_back(bag);
        }
        sent
    }

    /// Moves the filled bag behind a count, and takes an empty one in its place.
    fn seal(&mut self) -> Arc<Bag> {
        // The oldest is the likeliest to have been read by all.
        let mut sealed = match self.used.pop_front() {
            Some(oldest) if Arc::strong_count(&oldest) == 1 => oldest,
            Some(oldest) => {
                self.used.push_front(oldest);
                Arc::new(Bag::default())
            }
            None => Arc::new(Bag::default()),
        };
        let inside = Arc::get_mut(&mut sealed).expect("it is new, or nobody else holds it");
        inside.clear();
        std::mem::swap(inside, &mut self.bag);
        sealed
    }
}

impl<N> Target<N> {
    /// Returns by how many letters the backlog has grown.
    fn send(&mut self, letter: Letter<N>, byte_count: usize) -> usize {
        let Some(address) = &self.address else {
            return 0;
        };
        let in_order = self.backlog.is_empty();
        #[cfg(test)]
        let in_order = in_order || crate::planted::Bug::OvertakingLetter.is_planted();
        let refused = if in_order {
            address.try_send(letter).err()
        } else {
            Some(letter)
        };
        #[cfg(test)]
        let refused = refused.filter(|_| !crate::planted::Bug::LostLetter.is_planted());
        if let Some(letter) = refused {
            self.backlog.push_back(letter);
            self.backlog_bytes += byte_count;
            return 1;
        }
        0
    }

    /// Returns by how many letters the backlog has shrunk.
    fn retry(&mut self) -> usize {
        let Some(address) = &self.address else {
            return 0;
        };
        let before = self.backlog.len();
        while let Some(letter) = self.backlog.pop_front() {
            let byte_count = match &letter {
                Letter::Bag(bag) => bag.byte_count(),
                _ => 0,
            };
            if let Err(letter) = address.try_send(letter) {
                self.backlog.push_front(letter);
                break;
            }
            self.backlog_bytes -= byte_count;
        }
        before - self.backlog.len()
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tidegate_io::waker::Ring;

    struct Rings(Arc<AtomicUsize>);

    impl Ring for Rings {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counting() -> (Waker, Arc<AtomicUsize>) {
        let rings = Arc::new(AtomicUsize::new(0));
        (Waker::new(Rings(Arc::clone(&rings))), rings)
    }

    fn names(bag: &Bag) -> Vec<String> {
        bag.iter().map(|(name, ..)| name.to_owned()).collect()
    }

    #[test]
    fn the_bell_rings_once_for_each_sleep() {
        let (waker, rings) = counting();
        let (mailbox, address) = mailbox::<u32>(8, waker);
        address.try_send(Letter::Note(1)).unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), 0, "nobody sleeps");
        assert!(!mailbox.fall_asleep(), "there is mail");
        while mailbox.take().is_some() {}
        assert!(mailbox.fall_asleep());
        address.try_send(Letter::Note(2)).unwrap();
        address.try_send(Letter::Note(3)).unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), 1);
        assert!(mailbox.wake_up(), "it has been rung");
        while mailbox.take().is_some() {}
        assert!(mailbox.fall_asleep());
        assert!(!mailbox.wake_up(), "nobody has rung");
        address.try_send(Letter::Note(4)).unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn mail_for_a_full_mailbox_waits_in_order_and_publishing_is_then_refused() {
        let (waker, _) = counting();
        let (mailbox, address) = mailbox::<u32>(1, waker);
        let mut post = Post::new(vec![None, Some(address)], 100);
        for number in 0..3 {
            assert!(post.is_open());
            post.publish(&format!("t{number}"), Frame::Small(&[0; 50]), 0);
            post.dispatch();
        }
        assert!(!post.is_open(), "104 bytes wait");
        post.tell(1, 7);
        let mut heard = Vec::new();
        while let Some(letter) = mailbox.take() {
            match letter {
                Letter::Bag(bag) => heard.extend(names(&bag)),
                Letter::Note(note) => heard.push(note.to_string()),
                other => panic!("{other:?}"),
            }
            post.dispatch();
        }
        assert_eq!(heard, ["t0", "t1", "t2", "7"]);
        assert!(post.is_open());
        assert!(!post.has_backlog());
    }

    #[test]
    fn a_bag_that_all_have_read_is_used_again() {
        let (waker, _) = counting();
        let (mailbox, address) = mailbox::<u32>(8, waker);
        let mut post = Post::new(vec![None, Some(address)], 1000);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            post.publish("topic", Frame::Small(b"frame"), 0);
            post.dispatch();
            let Some(Letter::Bag(bag)) = mailbox.take() else {
                panic!("a bag was sent")
            };
            assert_eq!(names(&bag), ["topic"]);
            seen.insert(Arc::as_ptr(&bag));
        }
        assert!(seen.len() <= 2, "{} bags", seen.len());
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        let (sender, receiver) = bounded::<()>(1);
        struct Channel(Sender<()>);
        impl Ring for Channel {
            fn ring(&self) {
                let _ = self.0.try_send(());
            }
        }
        let (mailbox, address) = mailbox::<u32>(4, Waker::new(Channel(sender)));
        let count = 20_000;
        let other = std::thread::spawn(move || {
            for number in 0..count {
                assert!(address.send(Letter::Note(number), Duration::from_secs(20)));
            }
        });
        let mut next = 0;
        while next < count {
            let slept = mailbox.fall_asleep();
            if slept {
                receiver
                    .recv_timeout(Duration::from_secs(20))
                    .expect("a wake-up was lost");
            }
            if !mailbox.wake_up() && slept {
                continue;
            }
            while let Some(letter) = mailbox.take() {
                assert!(matches!(letter, Letter::Note(number) if number == next));
                next += 1;
            }
        }
        other.join().unwrap();
    }
}
