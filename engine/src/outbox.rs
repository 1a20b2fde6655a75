//! What waits for one peer that does not read as fast as it is sent to.

use std::collections::VecDeque;

use tidegate_io::Parcel;

/// The queue behind a batch that is under way. A connection has one only while a batch is.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Parcel>,
    /// Invariant: the bytes of `queue`.
    bytes_queued: usize,
    /// The bytes of the batch that the driver holds.
    bytes_under_way: usize,
    /// The last pong owed. RFC 6455, 5.5.3: a peer that sends many pings may be answered for
    /// the most recent one only; so a flood of pings keeps one pong.
    pong: Option<Parcel>,
}

/// The outbox has no room for this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    /// An outbox behind a batch of so many bytes.
    pub(crate) fn behind(bytes_under_way: usize) -> Self {
        Self {
            bytes_under_way,
            ..Self::default()
        }
    }

    /// All bytes that wait, those under way included.
    pub(crate) fn bytes_used(&self) -> usize {
        self.bytes_queued + self.bytes_under_way + self.pong.as_ref().map_or(0, |p| p.len())
    }

    /// Queues a parcel, unless the bytes waiting would then be more than `bytes_max`.
    pub(crate) fn push(&mut self, parcel: Parcel, bytes_max: usize) -> Result<(), Full> {
        if self.bytes_used() + parcel.len() > bytes_max {
            return Err(Full);
        }
        self.push_final(parcel);
        Ok(())
    }

    /// Queues what must not be refused: the close frame.
    pub(crate) fn push_final(&mut self, parcel: Parcel) {
        self.bytes_queued += parcel.len();
        self.queue.push_back(parcel);
    }

    /// Remembers the pong, in the place of one that has not been sent.
    pub(crate) fn set_pong(&mut self, parcel: Parcel) {
        self.pong = Some(parcel);
    }

    /// The batch under way has been sent. Takes what waited behind it, the pong first;
    /// empty when nothing did.
    pub(crate) fn take_batch(&mut self) -> impl Iterator<Item = Parcel> {
        self.bytes_under_way = 0;
        self.bytes_queued = 0;
        self.pong
            .take()
            .into_iter()
            .chain(std::mem::take(&mut self.queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(size: usize) -> Parcel {
        Parcel::new(vec![7; size])
    }

    #[test]
    fn the_limit_counts_what_is_under_way() {
        let mut outbox = Outbox::behind(60);
        assert_eq!(outbox.push(parcel(40), 100), Ok(()));
        assert_eq!(outbox.push(parcel(1), 100), Err(Full));
        assert_eq!(outbox.bytes_used(), 100);
    }

    #[test]
    fn many_pongs_are_one_pong_and_it_goes_first() {
        let mut outbox = Outbox::behind(10);
        outbox.push(parcel(3), 100).unwrap();
        outbox.set_pong(parcel(4));
        outbox.set_pong(parcel(5));
        assert_eq!(outbox.bytes_used(), 18);
        let sizes: Vec<usize> = outbox.take_batch().map(|p| p.len()).collect();
        assert_eq!(sizes, [5, 3]);
        assert_eq!(outbox.bytes_used(), 0);
    }

    #[test]
    fn the_last_word_is_never_refused() {
        let mut outbox = Outbox::behind(100);
        outbox.push_final(parcel(4));
        assert_eq!(outbox.take_batch().count(), 1);
    }
}
