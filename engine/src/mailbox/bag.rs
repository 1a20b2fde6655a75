//! What one shard publishes in one turn, for all others: one letter, shared by count.

use tidegate_io::Parcel;

/// A bag that has grown beyond this is not kept.
const BAG_SIZE_MAX: usize = 256 * 1024;

/// The publications of one turn, encoded.
#[derive(Debug, Default)]
pub(crate) struct Bag {
    /// Names and small frames.
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Holds a parcel, which must not be kept alive by an unused bag.
    has_parcels: bool,
    /// Invariant: the bytes of all names and frames.
    byte_count: usize,
}

#[derive(Debug)]
struct Item {
    /// Where the name starts, and where it ends and the frame, if it is small, starts.
    start: usize,
    middle: usize,
    end: usize,
    parcel: Option<Parcel>,
    /// See [`crate::Key`]; 0 is none.
    key: u64,
}

/// A frame in a bag.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame<'a> {
    Small(&'a [u8]),
    Large(&'a Parcel),
}

impl Bag {
    pub(crate) fn push(&mut self, topic: &str, frame: Frame<'_>, key: u64) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(topic.as_bytes());
        let middle = self.bytes.len();
        let parcel = match frame {
            Frame::Small(bytes) => {
                self.bytes.extend_from_slice(bytes);
                None
            }
            Frame::Large(parcel) => {
                self.has_parcels = true;
                self.byte_count += parcel.len();
                Some(parcel.clone())
            }
        };
        let end = self.bytes.len();
        self.byte_count += end - start;
        self.items.push(Item {
            start,
            middle,
            end,
            parcel,
            key,
        });
    }

    /// The publications in the order in which they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Frame<'_>, u64)> {
        self.items.iter().map(|item| {
            let name = std::str::from_utf8(&self.bytes[item.start..item.middle]);
            let frame = match &item.parcel {
                Some(parcel) => Frame::Large(parcel),
                None => Frame::Small(&self.bytes[item.middle..item.end]),
            };
            (name.expect("it was put in as a str"), frame, item.key)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of all names and frames.
    pub(super) fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// Is it worth keeping, to be filled again?
    pub(super) fn is_reusable(&self) -> bool {
        !self.has_parcels && self.bytes.capacity() <= BAG_SIZE_MAX
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.has_parcels = false;
        self.byte_count = 0;
    }
}
