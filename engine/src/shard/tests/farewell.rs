//! What a handler publishes when a conversation ends, in whichever phase of the turn that is.

use tidegate_io::Timeout;

use super::*;

/// Everybody is in one room, which hears who has left, and why.
struct Club;

impl Handler for Club {
    type State = ();
    type Note = u32;

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        context.subscribe("club");
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        let published = context.publish("club", message);
        published.expect("there is room");
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, end: End) {
        let left = context.publish("club", Message::Text(end.reason.name()));
        left.expect("there is room");
    }
}

struct House {
    world: World,
    shards: Vec<Shard<SimDriver, Club>>,
}

impl House {
    fn new(shard_count: usize) -> Self {
        let limits = Limits {
            profile: Profile {
                ping_interval: Duration::from_secs(1),
                ..Profile::default()
            },
            ..Limits::default()
        };
        let world = World::with_faults(3, Faults::none());
        let drivers = (0..shard_count).map(|_| world.driver()).collect();
        let budget = Arc::new(Budget::new(Compression::Off));
        let handler = || Club;
        let (shards, _) = shards_with(drivers, 3, &limits, Compression::Off, &budget, handler);
        Self { world, shards }
    }

    fn connect(&mut self, count: usize) -> Vec<Peer> {
        let peer = |_| Peer::new(self.world.connect().expect("a shard listens"), "/");
        let mut peers: Vec<Peer> = (0..count).map(peer).collect();
        while !peers.iter().all(Peer::is_open) {
            turn_all(&mut self.shards, &mut peers);
        }
        peers
    }

    fn pass(&mut self, peers: &mut [Peer], span: Duration) {
        let until = self.world.now() + span;
        while self.world.now() < until {
            for shard in &mut self.shards {
                shard.fall_asleep();
                let waited = shard.driver.wait(Timeout::Now);
                waited.expect("a simulation can always wait");
                shard.wake_up();
            }
            peers.iter_mut().for_each(Peer::look);
            self.world.advance(Duration::from_millis(20));
        }
    }

    fn connections(&self) -> usize {
        let counts = self.shards.iter().map(|s| s.core.connections.len());
        counts.sum()
    }
}

/// A dead peer, told of by the timers: the publication comes after the phase of deliveries.
#[test]
fn who_is_timed_out_is_missed_by_all_who_stay() {
    for shard_count in [1, 2] {
        let mut house = House::new(shard_count);
        let mut peers = house.connect(6);
        peers[5].ponging = peer::Ponging::Never;
        peers[5].polite = false;
        house.pass(&mut peers, Duration::from_secs(20));
        assert_eq!(house.connections(), 5);
        for peer in &peers[..5] {
            assert_eq!(peer.heard, [b"heartbeat_timeout"], "{shard_count} shards");
        }
    }
}

/// The topic has nobody left when what was published to it would be delivered.
#[test]
fn the_last_one_may_leave_a_word() {
    let mut house = House::new(2);
    for _ in 0..3 {
        let mut peers = house.connect(2);
        for peer in &mut peers {
            peer.ponging = peer::Ponging::Never;
            peer.polite = false;
        }
        house.pass(&mut peers, Duration::from_secs(20));
        assert_eq!(house.connections(), 0);
        let topics: usize = house.shards.iter().map(|s| s.core.topics.len()).sum();
        assert_eq!(topics, 0);
    }
}
