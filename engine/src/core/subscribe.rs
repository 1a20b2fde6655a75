//! Who hears what: both sides of a subscription, kept in step.

use super::Core;
use crate::Handler;
use crate::topics::{Subscriber, Subscription};

impl<H: Handler> Core<H> {
    pub(crate) fn subscriber_count(&self, topic: &str) -> usize {
        self.topics
            .find(topic)
            .map_or(0, |index| self.topics.get(index).subscribers.len())
    }

    pub(crate) fn subscribe(&mut self, slot: u32, topic: &str) {
        let Some(open) = self.connections[slot as usize].open() else {
            return;
        };
        let topic = self.topics.find_or_insert(topic);
        if open
            .subscriptions
            .iter()
            .any(|subscription| subscription.topic == topic)
        {
            return;
        }
        let back = u32::try_from(open.subscriptions.len()).expect("there are fewer topics");
        let place = self.topics.add(topic, Subscriber { slot, back });
        open.subscriptions.push(Subscription { topic, place });
    }

    pub(crate) fn unsubscribe(&mut self, slot: u32, topic: &str) {
        let Some(topic) = self.topics.find(topic) else {
            return;
        };
        let Some(open) = self.connections[slot as usize].open() else {
            return;
        };
        let found = open.subscriptions.iter().position(|s| s.topic == topic);
        let Some(back) = found else { return };
        let Subscription { place, .. } = open.subscriptions.swap_remove(back);
        // The subscription that has taken its place in the list must be found there.
        if let Some(moved) = open.subscriptions.get(back).copied() {
            let subscribers = &mut self.topics.get_mut(moved.topic).subscribers;
            let subscriber = subscribers.get_mut(moved.place as usize);
            subscriber.expect("it hears the topic").back =
                u32::try_from(back).expect("it is a place");
        }
        self.leave(topic, place);
    }

    /// This connection hears nothing any more.
    pub(crate) fn unsubscribe_all(&mut self, slot: u32) {
        let Some(open) = self.connections[slot as usize].open() else {
            return;
        };
        for Subscription { topic, place } in std::mem::take(&mut open.subscriptions) {
            self.leave(topic, place);
        }
    }

    fn leave(&mut self, topic: u32, place: u32) {
        let Some(moved) = self.topics.remove(topic, place) else {
            return;
        };
        if let Some(open) = self.connections[moved.slot as usize].open()
            && let Some(subscription) = open.subscriptions.get_mut(moved.back as usize)
        {
            subscription.place = place;
        }
    }
}
