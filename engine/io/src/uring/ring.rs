//! The two rings that are shared with the kernel, and the requests that this driver makes.
//!
//! Requests are only queued; one system call submits them all and waits. Two of them lend the
//! kernel memory, which belongs to [`Ring`]: a timeout its moment, a send its slot.

#![expect(
    unsafe_code,
    reason = "what a request points to has to outlive it, which Rust cannot see"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::opcode::{AcceptMulti, AsyncCancel, PollAdd, Send, Timeout, TimeoutUpdate};
use io_uring::squeue::{self, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use super::slots::Slots;
use super::token::{Kind, Token};
use super::{Setup, TaskRun};

/// Far more rounds than it takes to cancel whatever is under way.
const LAST_ROUNDS: usize = 16;

/// The rings, and what did not fit into them.
pub(super) struct Ring {
    ring: IoUring,
    /// Behind what stands in the ring already.
    waiting: VecDeque<squeue::Entry>,
    /// When the alarm rings. In a box: the kernel reads it at the next submission, wherever
    /// the driver has moved to by then.
    alarm: Box<Timespec>,
    /// What sends are to read.
    pub(super) slots: Slots,
}

/// What a completion says. There is no copy of it, since it may own a descriptor.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) token: Token,
    /// A count, a descriptor, a mask, or a negative error.
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    Not,
    AtMost(Duration),
    Forever,
}

impl Event {
    /// Will the same request complete again?
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        cqueue::more(self.flags)
    }

    pub(super) fn error(&self) -> Option<Errno> {
        (self.result < 0).then(|| Errno::from_raw_os_error(-self.result))
    }

    /// What a send has taken.
    #[inline]
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.result).expect("it is no error")
    }

    /// What a poll has found.
    #[inline]
    pub(super) fn mask(&self) -> PollFlags {
        let [low, high, ..] = self.result.to_le_bytes();
        PollFlags::from_bits_retain(u16::from_le_bytes([low, high]))
    }

    /// The peer of an accept.
    pub(super) fn into_accepted(self) -> Result<OwnedFd, Errno> {
        assert_eq!(self.token.kind(), Kind::Accept);
        match self.error() {
            Some(error) => Err(error),
            // SAFETY: the completion of an accept gives a descriptor that nobody else owns;
            // only `take` makes an event of it, once, and this consumes that.
            None => Ok(unsafe { OwnedFd::from_raw_fd(self.result) }),
        }
    }
}

impl Ring {
    /// Bytes of the rings, which the kernel has allocated, and of what waits for room in them.
    pub(super) fn memory(&self) -> usize {
        let parameters = self.ring.params();
        let submissions = usize::try_from(parameters.sq_entries()).unwrap_or(0);
        let completions = usize::try_from(parameters.cq_entries()).unwrap_or(0);
        // Beside the requests there is an array of their indices.
        submissions * (size_of::<squeue::Entry>() + size_of::<u32>())
            + completions * size_of::<cqueue::Entry>()
            + self.waiting.capacity() * size_of::<squeue::Entry>()
    }

    pub(super) fn new(setup: Setup) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(setup.completions).setup_clamp();
        match setup.task_run {
            TaskRun::Deferred => {
                builder.setup_submit_all();
                builder.setup_single_issuer().setup_defer_taskrun();
                // So that a look that finds nothing is no system call.
                builder.setup_taskrun_flag();
            }
            TaskRun::Cooperative => {
                builder.setup_submit_all();
                builder.setup_coop_taskrun().setup_taskrun_flag();
            }
        }
        let ring = builder.build(setup.submissions)?;
        let parameters = ring.params();
        // The waits of this driver need the first, and its trust in the rings the second.
        if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            ring,
            waiting: VecDeque::new(),
            alarm: Box::new(Timespec::new()),
            slots: Slots::new(),
        })
    }

    /// A ring with the newest features that the kernel has.
    pub(super) fn newest() -> io::Result<Self> {
        match Self::new(Setup::new(TaskRun::Deferred)) {
            // A feature that the kernel does not know.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                Self::new(Setup::new(TaskRun::Cooperative))
            }
            outcome => outcome,
        }
    }

    /// Makes one system call on it: a filter may allow rings, and not their use.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.ring.submit_and_wait(0).map(drop)
    }

    /// Asks to be told when the descriptor is ready: on each change, or once.
    pub(super) fn poll(
        &mut self,
        fd: BorrowedFd<'_>,
        interest: PollFlags,
        multi: bool,
        token: Token,
    ) {
        let poll = PollAdd::new(Fd(fd.as_raw_fd()), u32::from(interest.bits()));
        self.push(poll.multi(multi).build().user_data(token.0));
    }

    /// Asks to send the bytes of a slot, as many of them as there is room for: at the
    /// submission and never later, so that nothing has to be cancelled.
    #[inline]
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, token: Token) {
        let bytes = self.slots.bytes(token.slot());
        let size = u32::try_from(bytes.len()).expect("a slot is small");
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let send = Send::new(Fd(fd.as_raw_fd()), bytes.as_ptr(), size);
        let send = send.flags(flags.bits().cast_signed()).build();
        self.push(send.user_data(token.0));
    }

    /// Asks for every peer that comes.
    pub(super) fn accept(&mut self, fd: BorrowedFd<'_>, token: Token) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = AcceptMulti::new(Fd(fd.as_raw_fd()));
        let accept = accept.flags(flags.bits().cast_signed()).build();
        self.push(accept.user_data(token.0));
    }

    /// Sets the alarm, which stands or not.
    pub(super) fn set_alarm(&mut self, rest: Duration, stands: bool) {
        *self.alarm = rest.into();
        let moment: *const Timespec = &raw const *self.alarm;
        let alarm = Token::own(Kind::Alarm);
        self.push(if stands {
            let update = TimeoutUpdate::new(alarm.0, moment).build();
            let token = Token::own(Kind::AlarmMoved);
            update.flags(Flags::SKIP_SUCCESS).user_data(token.0)
        } else {
            Timeout::new(moment).build().user_data(alarm.0)
        });
    }

    /// Asks for the end of another request, which then completes for the last time.
    pub(super) fn cancel(&mut self, target: Token) {
        let cancel = AsyncCancel::new(target.0).build();
        let token = Token::own(Kind::Cancel);
        self.push(cancel.flags(Flags::SKIP_SUCCESS).user_data(token.0));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.waiting.is_empty() || !self.push_now(&entry) {
            self.waiting.push_back(entry);
        }
    }

    fn push_now(&mut self, entry: &squeue::Entry) -> bool {
        let mut submissions = self.ring.submission();
        // SAFETY: of the requests above, two point to memory. The alarm's box is read at the
        // submission; a slot is not written to before its send has completed, since whoever
        // gives it back has taken that completion. Both live as long as the ring.
        unsafe { submissions.push(entry) }.is_ok()
    }

    /// Submits what was asked for, and waits for a completion.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        while let Some(entry) = self.waiting.pop_front() {
            if !self.push_now(&entry) {
                self.waiting.push_front(entry);
                self.ring.submit().or_else(harmless)?;
                if self.ring.submission().is_full() {
                    // The kernel wants completions to be taken first.
                    break;
                }
            }
        }
        let submitter = self.ring.submitter();
        let entered = match wait {
            _ if !self.waiting.is_empty() => submitter.submit_and_wait(0),
            Wait::Not => {
                let idle = {
                    let submissions = self.ring.submission();
                    submissions.is_empty() && !submissions.taskrun() && !submissions.cq_overflow()
                };
                if idle {
                    return Ok(());
                }
                self.ring.submit_and_wait(0)
            }
            Wait::AtMost(span) => {
                let span = Timespec::from(span);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&span))
            }
            Wait::Forever => submitter.submit_and_wait(1),
        };
        entered.map(drop).or_else(|error| harmless(error).map(drop))
    }

    /// Whether the kernel has more completions than the last call has brought.
    pub(super) fn is_crowded(&mut self) -> bool {
        let submissions = self.ring.submission();
        submissions.taskrun() || submissions.cq_overflow()
    }

    /// Takes what has completed. Returns how many there were.
    pub(super) fn take(&mut self, events: &mut VecDeque<Event>) -> usize {
        let before = events.len();
        events.extend(self.ring.completion().map(|entry| Event {
            token: Token(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
        events.len() - before
    }

    /// Cancels all that is under way, so that no request holds a socket open any more.
    pub(super) fn cancel_all(&mut self, events: &mut VecDeque<Event>) {
        self.waiting.clear();
        for _ in 0..LAST_ROUNDS {
            // What stands in the ring unsubmitted would come to life later.
            let submitted = self.ring.submit();
            let cancelled = self
                .ring
                .submitter()
                .register_sync_cancel(None, CancelBuilder::any());
            let _ = self.ring.submit_and_wait(0);
            self.take(events);
            // ENOENT: there is nothing left.
            if submitted.is_err() || cancelled.is_err() {
                break;
            }
        }
    }
}

/// Errors of `io_uring_enter` after which there is only less, or nothing, to be taken.
fn harmless(error: io::Error) -> io::Result<usize> {
    match Errno::from_io_error(&error) {
        Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(0),
        _ => Err(error),
    }
}
