//! Who is there, how they ended, and disconnecting them.

use crossbeam_channel::bounded;

use super::*;
use crate::ConnectionInfo;
use crate::closed::{Closed, Phase, Side};
use crate::survey::Task;
use crate::survey::listing::{ConnectionFilter, Disconnecting, Listing, Recalling, Who};
use crate::survey::ranking::{Order, Ranking};

impl Stand {
    fn ask<T>(
        &mut self,
        peers: &mut [Peer],
        task: impl Fn(crossbeam_channel::Sender<T>, usize) -> Task,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for shard in 0..self.shards.len() {
            let (answer, answers) = bounded(1);
            let letter = Letter::Survey(Box::new(task(answer, shard)));
            assert!(self.addresses[shard].try_send(letter).is_ok());
            let mut answered = None;
            for _ in 0..1_000 {
                self.turn(peers);
                answered = answers.try_recv().ok();
                if answered.is_some() {
                    break;
                }
            }
            all.push(answered.expect("an answer"));
        }
        all
    }

    fn closed(&mut self, count_max: usize) -> Vec<Closed> {
        let task = |answer, _| Task::Recall(Recalling::new(answer, count_max));
        self.ask(&mut [], task).into_iter().flatten().collect()
    }

    fn disconnect(&mut self, peers: &mut [Peer], who: &Who) -> usize {
        let (code, reason) = (CloseCode::TRY_AGAIN_LATER, "moved");
        let task =
            |answer, _| Task::Disconnect(Disconnecting::new(answer, who.clone(), code, reason));
        self.ask(peers, task).into_iter().sum()
    }
}

fn two_shards() -> Stand {
    Stand::new(21, Faults::none(), 2, &Limits::default())
}

#[test]
fn a_page_follows_a_page_until_all_have_been_shown() {
    let mut stand = two_shards();
    let mut peers = stand.connect_open(30, "/room");
    let mut others = stand.connect_open(5, "/echo");
    let mut seen = std::collections::BTreeSet::new();
    for shard in 0..2 {
        let mut after = None;
        loop {
            let filter = ConnectionFilter {
                topic: Some("room".to_owned()),
                after,
                ..ConnectionFilter::default()
            };
            let task = |answer, shard| Task::List(Listing::new(answer, filter.clone(), shard, 4));
            let page = stand.ask(&mut peers, task).swap_remove(shard);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for info in page {
                assert_eq!((info.phase, info.subscription_count), (Phase::Open, 1));
                assert!(seen.insert(info.id), "{} was shown twice", info.id);
            }
        }
    }
    assert_eq!(seen.len(), 30);
    others[0].look();
}

#[test]
fn a_topic_is_disconnected_and_nobody_else() {
    let mut stand = two_shards();
    let mut peers = stand.connect_open(20, "/room");
    let mut others = stand.connect_open(5, "/echo");
    assert_eq!(
        stand.disconnect(&mut peers, &Who::Topic("nobody".into())),
        0
    );
    assert_eq!(stand.disconnect(&mut peers, &Who::Topic("room".into())), 20);
    stand.until(&mut peers, "they are gone", |stand, _| {
        stand.connections() == 5
    });
    assert_eq!(stand.ends(), [EndReason::Disconnected; 20]);
    for peer in &peers {
        assert_eq!(peer.close_code, Some(Some(CloseCode::TRY_AGAIN_LATER)));
    }
    others[0].look();
    assert_eq!(others[0].close_code, None);
}

#[test]
fn one_is_disconnected_by_its_id_once() {
    let mut stand = two_shards();
    let mut peers = stand.connect_open(3, "/echo");
    let filter = ConnectionFilter::default();
    let task = |answer, shard| Task::List(Listing::new(answer, filter.clone(), shard, 10));
    let found: Vec<_> = stand.ask(&mut peers, task).into_iter().flatten().collect();
    assert_eq!(found.len(), 3);
    let who = Who::One(found[1].id);
    // The other shard has no such connection.
    assert_eq!(stand.disconnect(&mut peers, &who), 1);
    stand.until(&mut peers, "it is gone", |stand, _| {
        stand.connections() == 2
    });
    assert_eq!(stand.disconnect(&mut peers, &who), 0, "it is no more");
}

#[test]
fn each_end_is_remembered_with_who_and_why() {
    let mut stand = Stand::new(21, Faults::none(), 1, &Limits::default());
    let mut peers = stand.connect_open(3, "/feed");
    peers[0].close();
    stand.until(&mut peers, "one is gone", |stand, _| {
        stand.connections() == 2
    });
    peers[1].reset();
    stand.until(&mut peers, "two are gone", |stand, _| {
        stand.connections() == 1
    });
    peers[2].polite = false;
    peers[2].say(Message::Text("I may not"));
    stand.until(&mut peers, "all are gone", |stand, _| {
        stand.connections() == 0
    });
    let lost = stand.world.connect().expect("a shard listens");
    lost.send(b"GET / HT");
    stand.turn(&mut []);
    lost.reset();
    stand.until(&mut [], "it is gone", |stand, _| stand.connections() == 0);
    let told: Vec<_> = (stand.closed(10).iter())
        .map(|closed| (closed.reason, closed.side, closed.phase))
        .collect();
    let right = [
        ("gone", Side::Peer, Phase::Handshake),
        ("close_timeout", Side::Server, Phase::Closing),
        ("reset", Side::Peer, Phase::Open),
        ("closed_by_peer", Side::Peer, Phase::Open),
    ];
    assert_eq!(told, right, "the newest first");
    let reset = stand.closed(3)[2].clone();
    assert!(reset.peer.port() != 0, "{reset:?}");
}

#[test]
fn those_with_most_of_something_are_found_wherever_they_stand() {
    let mut stand = Stand::new(21, Faults::none(), 1, &Limits::default());
    let mut peers = stand.connect_open(30, "/room");
    for (number, (_, connection)) in (0..).zip(&mut stand.shards[0].core.connections) {
        connection.open().expect("all are open").dropped = number * 7 % 30;
    }
    let mut ranked = |order: Order, count_max: usize, topic: Option<&str>| {
        let filter = ConnectionFilter {
            topic: topic.map(str::to_owned),
            ..ConnectionFilter::default()
        };
        let task = |answer, shard| {
            let listing = Listing::new(bounded(0).0, filter.clone(), shard, count_max);
            Task::Rank(Ranking::new(answer, listing, order, count_max))
        };
        let mut found: Vec<ConnectionInfo> = stand.ask(&mut peers, task).remove(0);
        found.sort_by_key(|info| std::cmp::Reverse(order.of(info)));
        found
            .iter()
            .map(|info| order.of(info))
            .collect::<Vec<u64>>()
    };
    assert_eq!(ranked(Order::Dropped, 5, None), [29, 28, 27, 26, 25]);
    // Whoever has nothing of it is left out.
    assert_eq!(ranked(Order::Dropped, 100, None).len(), 29);
    assert_eq!(ranked(Order::Dropped, 3, Some("room")), [29, 28, 27]);
    assert_eq!(ranked(Order::Dropped, 3, Some("elsewhere")), [0_u64; 0]);
    assert_eq!(ranked(Order::Outbox, 3, None), [0_u64; 0]);
    assert_eq!(ranked(Order::RoundTrip, 3, None), [0_u64; 0]);
}
