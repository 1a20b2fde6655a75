//! What becomes of publications for a peer that does not read as fast as they come.

use super::Core;
use crate::connection::NONE;
use crate::outbox::COPIED_SIZE_MAX;
use crate::turn::RunIndex;
use crate::{EndReason, Handler, SlowPolicy};

impl<H: Handler> Core<H> {
    /// May a reply be queued behind the batch that is under way? What may be dropped makes room
    /// for it. The last one may go over the limit, since its peer is not received from then.
    #[inline(never)]
    pub(super) fn has_room(&mut self, slot: u32, size: usize) -> bool {
        let connection = &self.connections[slot as usize];
        let watch = self.profiles.get(connection.profile);
        let (policy, bytes_max) = (watch.slow, watch.outbox_bytes_max);
        let outbox = &mut self.outboxes[connection.outbox as usize];
        if outbox.bytes_limited() < bytes_max {
            return true;
        }
        if outbox.bytes_kept() >= bytes_max {
            return false;
        }
        let wanted = size.min(bytes_max / 2).max(1);
        let dropped = outbox.make_room(wanted, policy, bytes_max);
        let has_room = outbox.bytes_limited() < bytes_max;
        self.count_dropped(slot, policy, dropped);
        has_room
    }

    /// A run of publications for a peer that has a batch under way.
    pub(crate) fn hold_publications(&mut self, slot: u32, run: RunIndex) {
        let connection = &self.connections[slot as usize];
        debug_assert!(connection.outbox != NONE, "a batch is under way");
        let watch = self.profiles.get(connection.profile);
        let (policy, bytes_max) = (watch.slow, watch.outbox_bytes_max);
        let outbox = &mut self.outboxes[connection.outbox as usize];
        #[cfg(test)]
        let bytes_max = match crate::planted::Bug::BoundlessOutbox.is_planted() {
            true => usize::MAX,
            false => bytes_max,
        };
        if policy.drops() {
            let mut dropped = 0;
            for (parcel, key) in self.turn.parts(run) {
                dropped += outbox.offer(parcel, key, policy, bytes_max);
            }
            self.count_dropped(slot, policy, dropped);
            return;
        }
        let message_count = self.turn.run(run).message_count;
        self.counted.messages_out += u64::from(message_count);
        self.tallies.send(slot, message_count);
        let size = self.turn.run_size(run) as usize;
        if !outbox.has_room(size, bytes_max) {
            let lost = (slot, connection.generation, EndReason::SlowConsumer);
            self.lost.push(lost);
        } else if size <= COPIED_SIZE_MAX {
            outbox.append(self.turn.bytes(run));
        } else {
            outbox.push(self.turn.keep(run));
        }
    }

    fn count_dropped(&mut self, slot: u32, policy: SlowPolicy, count: u32) {
        if count == 0 {
            return;
        }
        #[cfg(test)]
        if crate::planted::Bug::SilentDrop.is_planted() {
            return;
        }
        if let Some(open) = self.connections[slot as usize].open() {
            open.dropped = open.dropped.saturating_add(count);
        }
        let counter = match policy {
            SlowPolicy::DropOldest => &mut self.counted.dropped_oldest,
            SlowPolicy::DropNewest => &mut self.counted.dropped_newest,
            SlowPolicy::Latest => &mut self.counted.dropped_latest,
            SlowPolicy::Disconnect | SlowPolicy::Pause => unreachable!("nothing is dropped"),
        };
        *counter += u64::from(count);
    }
}
