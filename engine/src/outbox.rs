//! What waits for one peer that does not read as fast as it is sent to.

use std::collections::VecDeque;

use tidegate_io::Parcel;

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
}

impl Outbox {
    /// An outbox behind a batch of so many bytes.
    pub(crate) fn behind(bytes_under_way: usize) -> Self {
        Self {
            bytes_under_way,
            ..Self::default()
        }
    }

    /// The memory that waits, in bytes: what is under way, and what keeping the rest costs.
    pub(crate) fn bytes_used(&self) -> usize {
        let pong = self
            .pong
            .as_ref()
            .map_or(0, |pong| pong.len() + PARCEL_COST);
        self.bytes_under_way + self.queue_cost + self.tail.capacity() + pong
    }

    /// The same without what is under way, which was not limited when it was handed over.
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
        self.bytes_used() + size <= bytes_max
    }

    /// Queues a parcel.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        self.seal();
        self.queue_cost += parcel.len() + PARCEL_COST;
        self.queue.push_back(parcel);
    }

    /// Queues a copy of these bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if bytes.len() > GATHERED_SIZE {
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
        let mut outbox = Outbox::behind(60);
        assert!(outbox.has_room(40, 100));
        assert!(!outbox.has_room(41, 100));
        outbox.push(parcel(40));
        assert_eq!(outbox.bytes_used(), 60 + 40 + PARCEL_COST);
    }

    #[test]
    fn tiny_pieces_cost_about_what_they_are() {
        let mut outbox = Outbox::behind(0);
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
        let mut outbox = Outbox::behind(1);
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
        let mut outbox = Outbox::behind(10);
        outbox.push(parcel(3));
        outbox.set_pong(parcel(4));
        outbox.set_pong(parcel(5));
        let sizes: Vec<usize> = outbox.take_batch().map(|p| p.len()).collect();
        assert_eq!(sizes, [5, 3]);
    }
}
