//! Topics are listed over many turns, of which none looks at more than some of them.

use crossbeam_channel::{TryRecvError, unbounded};
use tidegate_io::Timeout;

use super::*;
use crate::topics::Subscriber;

#[test]
fn a_list_of_many_topics_takes_many_turns_and_none_of_them_sleeps() {
    let mut stand = Stand::new(1, Faults::default(), 1, &Limits::default());
    let topics = &mut stand.shards[0].core.topics;
    for slot in 0..10_000 {
        let topic = topics.find_or_insert(&format!("topic-{slot}"));
        topics.add(topic, Subscriber { slot, back: 0 });
    }
    let (parts, listed) = unbounded();
    let asked = stand.addresses[0].send(Letter::Topics(parts), Duration::from_secs(1));
    assert!(asked);
    stand.turn(&mut []);
    let mut sizes = Vec::new();
    while !stand.shards[0].listings.is_empty() {
        assert!(matches!(stand.shards[0].timeout(), Timeout::Now));
        assert!(sizes.len() < TURNS_MAX);
        sizes.extend(listed.try_iter().map(|part| part.len()));
        stand.turn(&mut []);
    }
    sizes.extend(listed.try_iter().map(|part| part.len()));
    assert_eq!(listed.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(sizes.iter().sum::<usize>(), 10_000);
    assert!(sizes.iter().all(|&size| size <= 1024), "{sizes:?}");
    // Nothing else keeps this shard awake.
    assert!(matches!(stand.shards[0].timeout(), Timeout::Never));
}
