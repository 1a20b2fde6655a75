//! What one turn is going to send, before anybody sends.
//!
//! Replies and publications are encoded into two arenas that live as long as the turn; who is
//! to be sent what is noted in lists of small numbers. So a small message costs no
//! allocation and no reference count on its way out, and all that one connection gets in a
//! turn leaves in one system call:
//!
//! ```text
//!  wire: [ … claimed … | … replies to `replied` … ]         usually all there is, and sent as it is
//!                      │ claim
//!                      ▼
//!  connection.pending ─▶ Pending { slot, first, last }      one for each connection sent to
//!                              │
//!                              ▼
//!                          Link { run, next } ─▶ Link …     in the order of sending
//!                              │
//!                              ▼
//!                          Run: a range of `wire` (replies), a range of `post`
//!                               (publications), or a parcel (large, or kept from before)
//! ```
//!
//! A run of publications is shared by all subscribers of a topic. If one of them cannot take
//! it now, it is copied into a parcel, once, and that is shared by all such subscribers.

use smallvec::SmallVec;
use tidegate_io::{Parcel, Piece};

use tidegate_proto::frame::{HEADER_SIZE_MAX, encode_deflated_message};

use crate::compression::Compressor;
use crate::connection::NONE;

mod apart;
#[cfg(test)]
mod tests;

use apart::{frame_at, take_apart};

/// An index into the runs of this turn.
pub(crate) type RunIndex = u32;

/// Bytes to be sent.
#[derive(Debug)]
pub(crate) struct Run {
    bytes: Bytes,
    /// The same bytes as a parcel, once somebody has to keep them beyond the turn.
    kept: Option<Parcel>,
    /// How many messages of publications these are.
    pub(crate) message_count: u32,
    /// Where the keys of these messages begin; [`NONE`] if they have none.
    keys: u32,
    /// Each of the messages as a parcel, once somebody has to keep them apart.
    parts: Option<Box<[Parcel]>>,
}

/// Where bytes lie.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    /// In the arena of replies, from and to.
    Wire(u32, u32),
    /// In the arena of publications, from and to.
    Post(u32, u32),
    /// On their own.
    Shared(Parcel),
}

#[derive(Debug, Clone, Copy)]
struct Link {
    run: RunIndex,
    next: u32,
}

/// One connection that will be sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// The connection, or [`NONE`] when it is gone or has been sent to already.
    pub(crate) slot: u32,
    first: u32,
    last: u32,
    /// The bytes of all its runs.
    pub(crate) byte_count: u32,
}

/// The lists and arenas of one turn.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Replies, encoded.
    pub(crate) wire: Vec<u8>,
    /// Whoever gets what is written to `wire` now, or [`NONE`].
    pub(crate) replied: u32,
    /// What lies before this in `wire` is in runs; the rest is for `replied`.
    ///
    /// Invariant: `claimed <= wire.len()`, and they are equal when `replied` is [`NONE`].
    claimed: usize,
    /// Publications, encoded.
    pub(crate) post: Vec<u8>,
    /// Not only replies: the lists and `post` have been used in this turn.
    ///
    /// Invariant: while this is not set, they are empty.
    used: bool,
    runs: Vec<Run>,
    /// The keys of publications, run by run.
    keys: Vec<u64>,
    links: Vec<Link>,
    pendings: Vec<Pending>,
}

/// Beyond this, an arena is given back after the turn that needed it.
const KEPT_SIZE_MAX: usize = 1024 * 1024;

/// Beyond this, a list is: 4,096 who are sent to. A turn with more lasts tens of milliseconds in
/// the kernel; what is kept for it would be 24 bytes for each of a million, for ever.
const LIST_KEPT_SIZE_MAX: usize = 64 * 1024;

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("a turn is bounded far below 4 GiB")
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            wire: Vec::new(),
            replied: NONE,
            claimed: 0,
            post: Vec::new(),
            used: false,
            runs: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            pendings: Vec::new(),
        }
    }
}

impl Turn {
    pub(crate) fn pending_count(&self) -> usize {
        self.pendings.len()
    }

    pub(crate) fn pending(&self, pending: usize) -> Pending {
        self.pendings[pending]
    }

    /// Is anybody to be sent anything?
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        !self.pendings.is_empty() || !self.wire.is_empty()
    }

    /// The replies to one connection, if nothing else is pending.
    #[inline]
    pub(crate) fn only_replies(&self) -> Option<(u32, &[u8])> {
        let only = self.pendings.is_empty() && !self.wire.is_empty();
        debug_assert!(!only || self.claimed == 0, "a run has its connection");
        only.then_some((self.replied, &self.wire))
    }

    /// Notes that what is written to `wire` and in no run yet goes to `replied`, whose list
    /// this is.
    pub(crate) fn claim(&mut self, pending: &mut u32) {
        let slot = std::mem::replace(&mut self.replied, NONE);
        let (start, end) = (index(self.claimed), index(self.wire.len()));
        self.claimed = self.wire.len();
        if start < end {
            let run = self.add_run(Bytes::Wire(start, end), 0);
            self.enqueue(pending, slot, run, end - start);
        }
    }

    /// Takes back what is written to `wire` and in no run yet.
    pub(crate) fn unsay(&mut self) {
        self.wire.truncate(self.claimed);
        self.replied = NONE;
    }

    /// A new run.
    pub(crate) fn add_run(&mut self, bytes: Bytes, message_count: u32) -> RunIndex {
        self.used = true;
        self.runs.push(Run {
            bytes,
            kept: None,
            message_count,
            keys: NONE,
            parts: None,
        });
        index(self.runs.len() - 1)
    }

    /// Notes the key of the next message of a run to come. Returns its place.
    pub(crate) fn add_key(&mut self, key: u64) -> u32 {
        self.keys.push(key);
        index(self.keys.len() - 1)
    }

    /// The same with the keys of its messages, from this place on.
    pub(crate) fn add_run_with_keys(&mut self, bytes: Bytes, message_count: u32, keys: u32) {
        let run = self.add_run(bytes, message_count);
        self.runs[run as usize].keys = keys;
    }

    /// The messages of a run of publications, each as a parcel, with its key. They are taken
    /// apart for the first who asks, and shared by all others.
    pub(crate) fn parts(&mut self, run: RunIndex) -> impl Iterator<Item = (&Parcel, u64)> {
        let run = &mut self.runs[run as usize];
        let (wire, post, bytes) = (&self.wire, &self.post, &run.bytes);
        let parts = run.parts.get_or_insert_with(|| match bytes {
            Bytes::Shared(parcel) => [parcel.clone()].into(),
            Bytes::Wire(..) | Bytes::Post(..) => take_apart(bytes_of(wire, post, bytes)),
        });
        debug_assert_eq!(parts.len(), run.message_count as usize, "a message is lost");
        let keys = self.keys.get(run.keys as usize..).unwrap_or_default();
        let keys = keys.iter().copied().chain(std::iter::repeat(0));
        parts.iter().zip(keys)
    }

    pub(crate) fn run_count(&self) -> u32 {
        index(self.runs.len())
    }

    pub(crate) fn run(&self, run: RunIndex) -> &Run {
        &self.runs[run as usize]
    }

    pub(crate) fn run_size(&self, run: RunIndex) -> u32 {
        match &self.runs[run as usize].bytes {
            Bytes::Wire(start, end) | Bytes::Post(start, end) => end - start,
            Bytes::Shared(parcel) => index(parcel.len()),
        }
    }

    /// Adds a run to what this connection will be sent.
    #[inline]
    pub(crate) fn enqueue(&mut self, pending: &mut u32, slot: u32, run: RunIndex, size: u32) {
        let link = index(self.links.len());
        self.links.push(Link { run, next: NONE });
        if *pending == NONE {
            *pending = index(self.pendings.len());
            self.pendings.push(Pending {
                slot,
                first: link,
                last: link,
                byte_count: size,
            });
        } else {
            let entry = &mut self.pendings[*pending as usize];
            self.links[entry.last as usize].next = link;
            entry.last = link;
            entry.byte_count += size;
        }
    }

    /// The bytes of a run.
    pub(crate) fn bytes(&self, run: RunIndex) -> &[u8] {
        bytes_of(&self.wire, &self.post, &self.runs[run as usize].bytes)
    }

    /// The run as a parcel that may be kept; the bytes are copied for the first who asks.
    pub(crate) fn keep(&mut self, run: RunIndex) -> Parcel {
        let run = &mut self.runs[run as usize];
        if let Bytes::Shared(parcel) = &run.bytes {
            return parcel.clone();
        }
        let bytes = bytes_of(&self.wire, &self.post, &run.bytes);
        run.kept
            .get_or_insert_with(|| Parcel::copy_of(bytes))
            .clone()
    }

    /// The same messages, compressed for a window of this size; the very same run if none of
    /// them is worth it.
    pub(crate) fn deflate_run(
        &mut self,
        run: RunIndex,
        window_bits: u8,
        compressor: &mut Compressor,
    ) -> RunIndex {
        let Run {
            message_count,
            keys,
            ..
        } = self.runs[run as usize];
        let index_of = |turn: &mut Self, bytes| {
            turn.add_run_with_keys(bytes, message_count, keys);
            turn.run_count() - 1
        };
        match self.runs[run as usize].bytes.clone() {
            Bytes::Shared(parcel) => {
                let Some((kind, start, end)) = frame_at(&parcel) else {
                    return run;
                };
                let payload = &parcel[start..end];
                let Some(deflated) = compressor.deflate_alone(window_bits, payload) else {
                    return run;
                };
                let mut bytes = Vec::with_capacity(deflated.len() + HEADER_SIZE_MAX);
                encode_deflated_message(kind, deflated, &mut bytes);
                index_of(self, Bytes::Shared(Parcel::new(bytes)))
            }
            Bytes::Post(start, end) => {
                let (from, mut next, end) = (self.post.len(), start as usize, end as usize);
                let mut any = false;
                while let Some((kind, payload, after)) = frame_at(&self.post[next..end]) {
                    let payload = next + payload..next + after;
                    match compressor.deflate_alone(window_bits, &self.post[payload]) {
                        Some(deflated) => {
                            any = true;
                            encode_deflated_message(kind, deflated, &mut self.post);
                        }
                        None => self.post.extend_from_within(next..next + after),
                    }
                    next += after;
                }
                if any {
                    let bytes = Bytes::Post(index(from), index(self.post.len()));
                    index_of(self, bytes)
                } else {
                    self.post.truncate(from);
                    run
                }
            }
            Bytes::Wire(..) => run,
        }
    }

    /// Forgets what this connection would have been sent.
    pub(crate) fn cancel(&mut self, pending: &mut u32) {
        if *pending != NONE {
            self.pendings[*pending as usize].slot = NONE;
            *pending = NONE;
        }
    }

    /// The one piece that this connection is to be sent, if it is only one: the usual case.
    #[inline]
    pub(crate) fn only_piece(&self, pending: Pending) -> Option<Piece<'_>> {
        (pending.first == pending.last).then(|| self.piece(self.links[pending.first as usize].run))
    }

    /// What this connection is to be sent, in order.
    pub(crate) fn pieces(&self, pending: Pending) -> SmallVec<[Piece<'_>; 8]> {
        let mut pieces = SmallVec::new();
        let mut next = pending.first;
        while next != NONE {
            let link = self.links[next as usize];
            pieces.push(self.piece(link.run));
            next = link.next;
        }
        pieces
    }

    fn piece(&self, run: RunIndex) -> Piece<'_> {
        let run = &self.runs[run as usize];
        match (&run.kept, &run.bytes) {
            (Some(parcel), _) | (None, Bytes::Shared(parcel)) => Piece::Shared(parcel),
            (None, bytes) => Piece::Lent(bytes_of(&self.wire, &self.post, bytes)),
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.wire.capacity()
            + self.post.capacity()
            + self.runs.capacity() * size_of::<Run>()
            + self.keys.capacity() * size_of::<u64>()
            + self.links.capacity() * size_of::<Link>()
            + self.pendings.capacity() * size_of::<Pending>()
    }

    /// Forgets the pending replies, all of which have been sent; publications stay.
    ///
    /// Only before the first delivery of the turn: no run of publications exists then.
    pub(crate) fn clear_replies(&mut self) {
        self.forget_wire();
        self.runs.clear();
        self.forget_pendings();
    }

    /// Forgets who was to be sent what: all have been sent to. The runs stay.
    pub(crate) fn forget_pendings(&mut self) {
        self.links.clear();
        self.pendings.clear();
    }

    /// So many more connections are about to be sent something: the lists grow once, and no
    /// larger than they must be.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.links.reserve(count);
        // Those who are in the list already may be the very same.
        if self.pendings.is_empty() {
            self.pendings.reserve(count);
        }
    }

    /// Forgets what was written to `wire`: it has been sent.
    #[inline]
    pub(crate) fn forget_wire(&mut self) {
        self.wire.clear();
        if self.wire.capacity() > KEPT_SIZE_MAX {
            self.wire = Vec::new();
        }
        self.replied = NONE;
        self.claimed = 0;
    }

    /// Forgets everything but what has been forgotten when it was sent.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.used {
            self.clear_all();
        }
    }

    fn clear_all(&mut self) {
        self.used = false;
        self.clear_replies();
        self.post.clear();
        self.post.shrink_to(KEPT_SIZE_MAX);
        self.keys.clear();
        self.keys.shrink_to(KEPT_SIZE_MAX / size_of::<u64>());
        give_back(&mut self.runs);
        give_back(&mut self.links);
        give_back(&mut self.pendings);
    }
}

fn give_back<T>(list: &mut Vec<T>) {
    if list.capacity() * size_of::<T>() > LIST_KEPT_SIZE_MAX {
        *list = Vec::new();
    }
}

fn bytes_of<'a>(wire: &'a [u8], post: &'a [u8], bytes: &'a Bytes) -> &'a [u8] {
    match bytes {
        Bytes::Wire(start, end) => &wire[*start as usize..*end as usize],
        Bytes::Post(start, end) => &post[*start as usize..*end as usize],
        Bytes::Shared(parcel) => parcel,
    }
}
