//! The mailbox under loom: the doorbell and the mailbox themselves, around a queue that loom
//! can see through, in every order of two or three threads.
//!
//! crossbeam-channel cannot run under loom. The queue below stands in for it, and is weaker: it
//! orders nothing but what a letter needs, so that no fence of the queue's hides one that the
//! doorbell lacks. Each weakness takes something away from the doorbell, and must be found.

use std::cell::Cell;

use loom::sync::atomic::Ordering;
use loom::sync::{Arc, Condvar, Mutex};
use tidegate_io::Waker;
use tidegate_io::waker::Ring;

use super::doorbell::Side;
use super::{Address, Letter, Mailbox, mailbox};

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weakness {
    OwnerHasNoFence,
    SenderHasNoFence,
    NobodyHasAFence,
    OwnerOnlyReleases,
    OwnerOnlyAcquires,
    SenderOnlyReleases,
    SenderOnlyAcquires,
    BothReleaseAndAcquire,
    LooksForMailBeforeTheFlag,
    RingsBeforeTheLetter,
}

impl Weakness {
    const ALL: [Self; 10] = [
        Self::OwnerHasNoFence,
        Self::SenderHasNoFence,
        Self::NobodyHasAFence,
        Self::OwnerOnlyReleases,
        Self::OwnerOnlyAcquires,
        Self::SenderOnlyReleases,
        Self::SenderOnlyAcquires,
        Self::BothReleaseAndAcquire,
        Self::LooksForMailBeforeTheFlag,
        Self::RingsBeforeTheLetter,
    ];
}

thread_local! {
    /// All threads of a model are one thread of the system's.
    static WEAKNESS: Cell<Option<Weakness>> = const { Cell::new(None) };
}

fn is(weakness: Weakness) -> bool {
    WEAKNESS.get() == Some(weakness)
}

/// The fence of this side, if it has one.
pub(super) fn fence_of(side: Side) -> Option<Ordering> {
    use Weakness::*;
    match (WEAKNESS.get(), side) {
        (Some(OwnerHasNoFence), Side::Owner)
        | (Some(SenderHasNoFence), Side::Sender)
        | (Some(NobodyHasAFence), _) => None,
        (Some(OwnerOnlyReleases), Side::Owner) | (Some(SenderOnlyReleases), Side::Sender) => {
            Some(Ordering::Release)
        }
        (Some(OwnerOnlyAcquires), Side::Owner) | (Some(SenderOnlyAcquires), Side::Sender) => {
            Some(Ordering::Acquire)
        }
        (Some(BothReleaseAndAcquire), _) => Some(Ordering::AcqRel),
        _ => Some(Ordering::SeqCst),
    }
}

/// A bounded queue with the interface of crossbeam-channel's that a mailbox uses.
pub(super) mod queue {
    use std::sync::Arc;
    use std::time::Duration;

    use loom::sync::Mutex;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    /// The slots, each used once: a model sends few letters.
    const SLOTS: usize = 4;

    #[derive(Debug)]
    struct Queue<T> {
        slots: [Mutex<Option<T>>; SLOTS],
        /// Invariant: `taken <= sent`, and no more than `capacity` lie between them.
        taken: AtomicUsize,
        sent: AtomicUsize,
        capacity: usize,
    }

    #[derive(Debug)]
    pub(in crate::mailbox) struct Sender<T>(Arc<Queue<T>>);

    #[derive(Debug)]
    pub(in crate::mailbox) struct Receiver<T>(Arc<Queue<T>>);

    #[derive(Debug)]
    pub(in crate::mailbox) enum TrySendError<T> {
        Full(T),
        #[expect(dead_code, reason = "the owner of a model's mailbox outlives it")]
        Disconnected(T),
    }

    pub(in crate::mailbox) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Queue {
            slots: std::array::from_fn(|_| Mutex::new(None)),
            taken: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            capacity,
        });
        (Sender(Arc::clone(&queue)), Receiver(queue))
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Sender<T> {
        pub(in crate::mailbox) fn try_send(&self, letter: T) -> Result<(), TrySendError<T>> {
            let queue = &self.0;
            let claim = |sent: usize| {
                let waiting = sent - queue.taken.load(Ordering::Relaxed).min(sent);
                (waiting < queue.capacity).then_some(sent + 1)
            };
            let claimed = queue
                .sent
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim);
            let Ok(place) = claimed else {
                return Err(TrySendError::Full(letter));
            };
            *queue.slots[place].lock().expect("nobody panics") = Some(letter);
            Ok(())
        }

        pub(in crate::mailbox) fn send_timeout(&self, letter: T, _: Duration) -> Result<(), T> {
            self.try_send(letter).map_err(|error| match error {
                TrySendError::Full(letter) | TrySendError::Disconnected(letter) => letter,
            })
        }
    }

    impl<T> Receiver<T> {
        pub(in crate::mailbox) fn is_empty(&self) -> bool {
            self.0.sent.load(Ordering::Relaxed) == self.0.taken.load(Ordering::Relaxed)
        }

        pub(in crate::mailbox) fn try_recv(&self) -> Result<T, ()> {
            if self.is_empty() {
                return Err(());
            }
            let place = self.0.taken.load(Ordering::Relaxed);
            // It may have been claimed and not been filled yet.
            let letter = self.0.slots[place].lock().expect("nobody panics").take();
            let letter = letter.ok_or(())?;
            self.0.taken.store(place + 1, Ordering::Relaxed);
            Ok(letter)
        }
    }
}

/// A driver's wait: ends when the bell has been rung.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    turned: Condvar,
}

struct BellOf(Arc<Bell>);

impl Ring for BellOf {
    fn ring(&self) {
        *self.0.rung.lock().expect("nobody panics") = true;
        self.0.turned.notify_one();
    }
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().expect("nobody panics");
        while !*rung {
            rung = self.turned.wait(rung).expect("nobody panics");
        }
        *rung = false;
    }
}

/// Puts a letter in, in the order that the weakness says.
fn send(address: &Address<usize>, number: usize) {
    if is(Weakness::RingsBeforeTheLetter) {
        address.bell.ring();
        address
            .sender
            .try_send(Letter::Note(number))
            .expect("it has room");
    } else {
        address.try_send(Letter::Note(number)).expect("it has room");
    }
}

fn falls_asleep(mailbox: &Mailbox<usize>) -> bool {
    if is(Weakness::LooksForMailBeforeTheFlag) {
        let is_empty = mailbox.is_empty();
        mailbox.bell.arm();
        is_empty
    } else {
        mailbox.fall_asleep()
    }
}

/// The turns of a shard, until it has had so many letters from each sender, in order.
fn read(mailbox: &Mailbox<usize>, bell: &Bell, senders: usize, letters: usize) {
    let mut next = vec![0; senders];
    while next.iter().sum::<usize>() < senders * letters {
        let slept = falls_asleep(mailbox);
        if slept {
            bell.wait();
        } else {
            // There is mail, perhaps not yet to be had.
            loom::thread::yield_now();
        }
        if !mailbox.wake_up() && slept {
            continue;
        }
        while let Some(letter) = mailbox.take() {
            let Letter::Note(number) = letter else {
                panic!("only notes are sent")
            };
            let (sender, number) = (number / letters, number % letters);
            assert_eq!(number, next[sender], "lost, doubled or out of order");
            next[sender] += 1;
        }
    }
    assert!(mailbox.is_empty(), "a letter too many");
}

/// Every order of some senders and one owner. Loom panics when all wait for each other.
fn model(senders: usize, letters: usize, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let bell = Arc::new(Bell::default());
        let waker = Waker::new(BellOf(Arc::clone(&bell)));
        let (mailbox, address) = mailbox::<usize>(senders * letters, waker);
        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                let address = address.clone();
                loom::thread::spawn(move || {
                    for number in 0..letters {
                        send(&address, sender * letters + number);
                    }
                })
            })
            .collect();
        read(&mailbox, &bell, senders, letters);
        for thread in threads {
            thread.join().expect("nobody panics");
        }
    });
}

#[test]
fn no_wake_up_and_no_letter_is_lost_between_one_sender_and_the_owner() {
    model(1, 2, 4);
}

#[test]
fn no_wake_up_and_no_letter_is_lost_between_two_senders_and_the_owner() {
    model(2, 1, 3);
}

/// What a process of its own is told to take away. A model that fails may abort.
const ENVIRONMENT: &str = "TIDEGATE_WEAKNESS";

#[test]
#[ignore = "a part of every_weakness_of_the_doorbell_is_found"]
fn the_model_with_a_weakness() {
    let index = std::env::var(ENVIRONMENT).expect("which one");
    let index: usize = index.parse().expect("a number");
    WEAKNESS.set(Some(Weakness::ALL[index]));
    model(1, 1, 4);
}

#[test]
fn every_weakness_of_the_doorbell_is_found() {
    let own = std::env::current_exe().expect("a test is a program");
    let finds = |index: usize| {
        let mut command = std::process::Command::new(&own);
        command.args(["--ignored", "--nocapture", "the_model_with_a_weakness"]);
        command.env(ENVIRONMENT, index.to_string());
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        !output.status.success() && said.contains("deadlock")
    };
    let missed: Vec<Weakness> = (0..Weakness::ALL.len())
        .filter(|&index| !finds(index))
        .map(|index| Weakness::ALL[index])
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
