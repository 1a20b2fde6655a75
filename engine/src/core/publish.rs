//! What is said to a topic: encoded once, noted for who hears it here, and posted to the others.

use tidegate_io::Parcel;
use tidegate_proto::Message;
use tidegate_proto::frame::{encode_message, header_size};

use super::{Core, PARCEL_SIZE_MIN, Publication};
use crate::connection::NONE;
use crate::mailbox::Frame;
use crate::turn::Bytes;
use crate::{Busy, Handler};

impl<H: Handler> Core<H> {
    /// `key` is a [`crate::Key`]; 0 is none.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        key: u64,
        message: Message<'_>,
    ) -> Result<(), Busy> {
        let others = self.post.has_others();
        if others && !self.post.is_open() {
            self.counted.mail_refused += 1;
            return Err(Busy);
        }
        self.counted.publications += 1;
        let local = self.topics.find(topic);
        if message.len() > PARCEL_SIZE_MIN {
            let mut bytes = Vec::with_capacity(message.len() + header_size(message.len()));
            encode_message(message, &mut bytes);
            let parcel = Parcel::new(bytes);
            if others {
                self.post.publish(topic, Frame::Large(&parcel), key);
            }
            if let Some(topic) = local {
                self.add_publication(topic, Bytes::Shared(parcel), key);
            }
            return Ok(());
        }
        let start = self.turn.post.len();
        encode_message(message, &mut self.turn.post);
        if others {
            self.post
                .publish(topic, Frame::Small(&self.turn.post[start..]), key);
        }
        match local {
            Some(topic) => self.add_post(topic, start, key),
            None => self.turn.post.truncate(start),
        }
        Ok(())
    }

    /// Takes a publication of another shard.
    pub(crate) fn hear(&mut self, topic: &str, frame: Frame<'_>, key: u64) {
        let Some(topic) = self.topics.find(topic) else {
            return;
        };
        match frame {
            Frame::Large(parcel) => self.add_publication(topic, Bytes::Shared(parcel.clone()), key),
            Frame::Small(bytes) => {
                let start = self.turn.post.len();
                self.turn.post.extend_from_slice(bytes);
                self.add_post(topic, start, key);
            }
        }
    }

    fn add_post(&mut self, topic: u32, start: usize, key: u64) {
        let index = |at: usize| u32::try_from(at).expect("a turn's publications are bounded");
        let end = self.turn.post.len();
        self.add_publication(topic, Bytes::Post(index(start), index(end)), key);
    }

    fn add_publication(&mut self, topic: u32, bytes: Bytes, key: u64) {
        let index = u32::try_from(self.publications.len()).expect("a turn is bounded");
        self.bytes_queued += match &bytes {
            Bytes::Wire(start, end) | Bytes::Post(start, end) => (end - start) as usize,
            Bytes::Shared(parcel) => parcel.len(),
        };
        let next = NONE;
        self.publications.push(Publication { bytes, next, key });
        let entry = self.topics.get_mut(topic);
        if entry.first == NONE {
            entry.first = index;
            self.touched.push(topic);
        } else {
            self.publications[entry.last as usize].next = index;
        }
        entry.last = index;
    }
}
