//! What waits for one peer that does not read as fast as it is sent to.
//!
//! ```text
//!                          the driver's   the outbox
//!  nothing may be missed:  [ under way ]  [ pong ][ queue ][ tail ]
//!                          └───────── outbox_bytes_max ───────────┘
//!  some may be dropped:    [ under way ]  [ pong ][ frames ]
//!                                         └ outbox_bytes_max
//! ```
//!
//! Where some may be dropped, what is under way counts apart: else a turn larger than the limit
//! would keep the newest out until it has been read. Under way is then what one turn had for the
//! peer when it fell behind: of publications 128 KiB and one run more (256 KiB, or one largest
//! message), of replies what one read brought forth; and from then on 16 KiB, or one larger
//! frame. Under each policy one reply may go over the limit.

use std::collections::VecDeque;

use tidegate_io::Parcel;

use crate::SlowPolicy;

mod frames;

pub(crate) use frames::Batch;
use frames::Frames;

/// What keeping a parcel costs beside its bytes: its count, its vector, its place in a queue.
const PARCEL_COST: usize = 64;

/// Up to this size, bytes are cheaper copied than kept as a parcel of their own.
pub(crate) const COPIED_SIZE_MAX: usize = 256;

/// Copied bytes are gathered into parcels of this size, so that what they cost stays close
/// to what they are.
const GATHERED_SIZE: usize = 16 * 1024;

/// The queue behind a batch that is under way. A connection has one only while a batch is.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Parcel>,
    /// Invariant: the bytes of `queue`, and what keeping them costs.
    queue_cost: usize,
    /// Small pieces behind the queue, one after another.
    tail: Vec<u8>,
    /// The bytes of the batch that the driver holds.
    bytes_under_way: usize,
    /// The last pong owed. RFC 6455, 5.5.3: a peer that sends many pings may be answered for
    /// the most recent one only; so a flood of pings keeps one pong.
    pong: Option<Parcel>,
    /// What has been received from the peer and is not looked at before it reads.
    unread: Vec<u8>,
    /// All that waits, in the place of `queue` and `tail`, for a peer that may miss something.
    frames: Option<Box<Frames>>,
}

impl Outbox {
    /// An outbox behind a batch of so many bytes.
    pub(crate) fn behind(bytes_under_way: usize, policy: SlowPolicy) -> Self {
        Self {
            bytes_under_way,
            frames: policy.drops().then(Box::default),
            ..Self::default()
        }
    }

    /// The batch under way has been sent, and this one comes next, which is under way then.
    ///
    /// `None`: nothing waits that might have been dropped.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let frames = self.frames.as_mut()?;
        let mut batch = frames.take_batch();
        if let Some(pong) = self.pong.take() {
            batch.size += pong.len();
            batch.parcels.insert(0, pong);
        }
        self.bytes_under_way = batch.size;
        (!batch.parcels.is_empty()).then_some(batch)
    }

    /// Queues a publication, and drops what the policy says. Returns how many were dropped, be it
    /// this one.
    pub(crate) fn offer(
        &mut self,
        parcel: &Parcel,
        key: u64,
        policy: SlowPolicy,
        bytes_max: usize,
    ) -> u32 {
        let size = parcel.len() + PARCEL_COST;
        let remaining = match policy {
            SlowPolicy::DropNewest => self.bytes_limited(),
            _ => self.bytes_kept(),
        };
        // It would not fit if all went that may: then nothing goes for its sake.
        if remaining + size > bytes_max {
            return 1;
        }
        let mut dropped = 0;
        let mut replaced = 0;
        if let Some(frames) = self
            .frames
            .as_mut()
            .filter(|_| policy == SlowPolicy::Latest)
            && let Some(before) = frames.withdraw(key)
        {
            (dropped, replaced) = (1, before + 1);
        }
        dropped += self.make_room(size, policy, bytes_max);
        debug_assert!(self.has_room(size, bytes_max), "it fits without the others");
        if let Some(frames) = &mut self.frames {
            frames.push_publication(parcel.clone(), key, replaced);
        }
        dropped
    }

    /// Drops publications, the oldest or the newest first, until so many bytes fit, or none are
    /// left. Returns how many.
    pub(crate) fn make_room(&mut self, size: usize, policy: SlowPolicy, bytes_max: usize) -> u32 {
        let mut dropped = 0;
        while !self.has_room(size, bytes_max) {
            let Some(frames) = &mut self.frames else {
                break;
            };
            let any = match policy {
                SlowPolicy::DropNewest => frames.drop_newest(),
                _ => frames.drop_oldest(),
            };
            if !any {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    /// The memory that waits, in bytes: what is under way, and what keeping the rest costs.
    pub(crate) fn bytes_used(&self) -> usize {
        let frames = self.frames.as_ref().map_or(0, |frames| frames.cost());
        self.bytes_under_way + self.queue_cost + self.tail.capacity() + self.pong_cost() + frames
    }

    /// What the limit is for: all, or, where some may be dropped, what is not under way.
    pub(crate) fn bytes_limited(&self) -> usize {
        match &self.frames {
            Some(frames) => frames.cost() + self.pong_cost(),
            None => self.bytes_used(),
        }
    }

    /// What the limit is for and cannot be dropped.
    pub(crate) fn bytes_kept(&self) -> usize {
        match &self.frames {
            Some(frames) => frames.kept_cost() + self.pong_cost(),
            None => self.bytes_used(),
        }
    }

    fn pong_cost(&self) -> usize {
        let pong = self.pong.as_ref();
        pong.map_or(0, |pong| pong.len() + PARCEL_COST)
    }

    /// All without what is under way, which was not limited when it was handed over.
    #[cfg(test)]
    pub(crate) fn bytes_waiting(&self) -> usize {
        self.bytes_used() - self.bytes_under_way
    }

    /// Puts aside what has been received and not looked at yet.
    pub(crate) fn hold(&mut self, unread: &[u8]) {
        self.unread.extend_from_slice(unread);
    }

    /// Is something received held?
    pub(crate) fn holds(&self) -> bool {
        !self.unread.is_empty()
    }

    /// What was held, if anything was.
    pub(crate) fn take_unread(&mut self) -> Option<Vec<u8>> {
        self.holds().then(|| std::mem::take(&mut self.unread))
    }

    /// May so many bytes more wait, when at most `bytes_max` may?
    pub(crate) fn has_room(&self, size: usize, bytes_max: usize) -> bool {
        self.bytes_limited() + size <= bytes_max
    }

    /// Queues a parcel.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        if let Some(frames) = &mut self.frames {
            return frames.push(parcel);
        }
        self.seal();
        self.queue_cost += parcel.len() + PARCEL_COST;
        self.queue.push_back(parcel);
    }

    /// Queues a copy of these bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.frames.is_some() || bytes.len() > GATHERED_SIZE {
            self.push(Parcel::copy_of(bytes));
            return;
        }
        if self.tail.len() + bytes.len() > GATHERED_SIZE {
            self.seal();
        }
        self.tail.extend_from_slice(bytes);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            tail.shrink_to_fit();
            self.queue_cost += tail.len() + PARCEL_COST;
            self.queue.push_back(Parcel::new(tail));
        }
    }

    /// Remembers the pong, in the place of one that has not been sent.
    pub(crate) fn set_pong(&mut self, parcel: Parcel) {
        self.pong = Some(parcel);
    }

    /// The batch under way has been sent. Takes what waited behind it, the pong first;
    /// empty when nothing did.
    pub(crate) fn take_batch(mut self) -> impl Iterator<Item = Parcel> {
        self.seal();
        self.pong.take().into_iter().chain(self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(size: usize) -> Parcel {
        Parcel::new(vec![7; size])
    }

    #[test]
    fn the_limit_counts_what_is_under_way_and_what_a_parcel_costs() {
        let mut outbox = Outbox::behind(60, SlowPolicy::Disconnect);
        assert!(outbox.has_room(40, 100));
        assert!(!outbox.has_room(41, 100));
        outbox.push(parcel(40));
        assert_eq!(outbox.bytes_used(), 60 + 40 + PARCEL_COST);
    }

    #[test]
    fn tiny_pieces_cost_about_what_they_are() {
        let mut outbox = Outbox::behind(0, SlowPolicy::Disconnect);
        for _ in 0..50_000 {
            outbox.append(&[1, 2]);
        }
        let used = outbox.bytes_used();
        assert!(
            (100_000..140_000).contains(&used),
            "{used} for 100,000 bytes"
        );
        let held: usize = outbox.take_batch().map(|parcel| parcel.len()).sum();
        assert_eq!(held, 100_000);
    }

    #[test]
    fn pieces_and_parcels_keep_their_order() {
        let mut outbox = Outbox::behind(1, SlowPolicy::Disconnect);
        outbox.append(b"a");
        outbox.append(b"b");
        outbox.push(Parcel::copy_of(b"c"));
        outbox.append(b"d");
        outbox.append(&[b'e'; GATHERED_SIZE + 1]);
        let bytes: Vec<u8> = outbox
            .take_batch()
            .flat_map(|parcel| parcel.to_vec())
            .collect();
        assert!(bytes.starts_with(b"abcdee"));
        assert_eq!(bytes.len(), 4 + GATHERED_SIZE + 1);
    }

    #[test]
    fn many_pongs_are_one_pong_and_it_goes_first() {
        let mut outbox = Outbox::behind(10, SlowPolicy::Disconnect);
        outbox.push(parcel(3));
        outbox.set_pong(parcel(4));
        outbox.set_pong(parcel(5));
        let sizes: Vec<usize> = outbox.take_batch().map(|p| p.len()).collect();
        assert_eq!(sizes, [5, 3]);
    }

    #[test]
    fn each_policy_drops_what_it_says_and_counts_it() {
        let max = 3 * (10 + PARCEL_COST);
        let heard = |policy| {
            let mut outbox = Outbox::behind(0, policy);
            let mut dropped = 0;
            for (byte, key) in (b'a'..).zip([1, 2, 1, 3, 4, 5]) {
                dropped += outbox.offer(&Parcel::new(vec![byte; 10]), key, policy, max);
            }
            let batch = outbox.next_batch().expect("something waits");
            let bytes: Vec<u8> = batch.parcels.iter().map(|parcel| parcel[0]).collect();
            assert_eq!(batch.publication_count + dropped, 6);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(heard(SlowPolicy::DropOldest), "def");
        assert_eq!(heard(SlowPolicy::DropNewest), "abc");
        assert_eq!(heard(SlowPolicy::Latest), "def");
    }

    #[test]
    fn what_fits_into_no_outbox_is_dropped_and_counted() {
        for policy in SlowPolicy::ALL.into_iter().filter(|policy| policy.drops()) {
            let mut outbox = Outbox::behind(0, policy);
            assert_eq!(outbox.offer(&parcel(100), 0, policy, 120), 1);
            assert!(outbox.next_batch().is_none());
        }
    }

    #[test]
    fn what_is_under_way_takes_no_room_from_what_may_be_dropped() {
        for policy in SlowPolicy::ALL.into_iter().filter(|policy| policy.drops()) {
            let mut outbox = Outbox::behind(1_000_000, policy);
            assert_eq!(outbox.offer(&parcel(10), 1, policy, 200), 0, "{policy:?}");
            assert_eq!(outbox.bytes_used(), 1_000_000 + 10 + PARCEL_COST);
        }
    }

    #[test]
    fn what_cannot_fit_is_dropped_alone() {
        for policy in SlowPolicy::ALL.into_iter().filter(|policy| policy.drops()) {
            let mut outbox = Outbox::behind(0, policy);
            let max = 4 * (10 + PARCEL_COST);
            outbox.push(parcel(10));
            outbox.set_pong(parcel(10));
            assert_eq!(outbox.offer(&parcel(10), 1, policy, max), 0);
            assert_eq!(outbox.offer(&parcel(10), 2, policy, max), 0);
            // Two could be dropped, and it would not fit into their place.
            let large = parcel(3 * (10 + PARCEL_COST));
            assert_eq!(outbox.offer(&large, 1, policy, max), 1, "{policy:?}");
            let batch = outbox.next_batch().expect("something waits");
            assert_eq!(batch.publication_count, 2, "{policy:?}");
        }
    }
}
