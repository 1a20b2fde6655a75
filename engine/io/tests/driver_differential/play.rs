//! Plays a script on one driver, and keeps what was told.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_io::{Driver, Op, Parcel, Piece, Socket, Submitted};

use crate::rig::{Remote, Rig};
use crate::script::{Act, Chance, Ending, Script};
use crate::stand::{Log, Stand, assert_same, pattern};

/// On the driver's own clock; a script takes a small part of it.
const PATIENCE: Duration = Duration::from_secs(60);

const TURN: Duration = Duration::from_millis(1);

/// What a buffer holds before it is filled.
const FRONT: &[u8] = b"front";

/// What a driver, and the peer at its other end, told of one conversation.
///
/// Of a torn one, how much was heard depends on who was faster, so that nothing is kept of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) received: Vec<u8>,
    pub(crate) end: Option<End>,
    /// Batches of which the driver said that they were sent.
    pub(crate) sent_count: usize,
    pub(crate) heard: Vec<u8>,
    pub(crate) peer_end: Option<End>,
}

impl Told {
    pub(crate) fn in_short(&self) -> String {
        format!(
            "received {} bytes and {:?}, sent {} batches, the peer heard {} bytes and {:?}",
            self.received.len(),
            self.end,
            self.sent_count,
            self.heard.len(),
            self.peer_end
        )
    }
}

/// How a stream ended. Which error tells of a loss depends on who looks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Ended,
    Lost,
}

/// Where a conversation stands, or what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Unconnected,
    Accepted,
    Acting,
    SentAll,
    PeerEnded,
    EndedAndSentAll,
    Lost,
    Closed,
    PeerOver,
    Over,
}

/// One peer, and what its script has come to.
struct Talk {
    acts: VecDeque<Act>,
    stage: Stage,
    ending: Option<Ending>,
    socket: Socket,
    /// Its place among the remotes.
    remote: usize,
    /// Its place in the script.
    index: u64,
    /// So many turns pass before the next act.
    rest: usize,
    said: Vec<u8>,
    /// What the driver was asked to send.
    asked: Vec<u8>,
    batches: VecDeque<Vec<Parcel>>,
    done_count: usize,
    /// Of each buffer, at most so many bytes.
    into_sizes: Vec<usize>,
    told: Told,
}

struct Player<R: Rig> {
    stand: Stand<R>,
    talks: Vec<Talk>,
    chance: Chance,
}

/// What the driver of this kernel tells of the conversations of a script, peer by peer.
pub(crate) fn play<R: Rig>(rig: R, script: &Script, seed: u64) -> Vec<Told> {
    let acts = script.peers.iter().zip(0..);
    let talks = acts.map(|(acts, index)| Talk::new(acts, index)).collect();
    let mut player = Player {
        stand: Stand::new(rig),
        talks,
        chance: Chance::new(!seed),
    };
    let start = player.stand.driver.now();
    while player.talks.iter().any(|talk| talk.stage != Stage::Over) {
        player.turn();
        let played = player.stand.driver.now().duration_since(start);
        assert!(played < PATIENCE, "{}", player.state());
    }
    player.stand.finish();
    player.talks.into_iter().map(|talk| talk.told).collect()
}

impl<R: Rig> Player<R> {
    fn turn(&mut self) {
        self.stand.wait(TURN);
        // The acts of a turn come before, between and behind its completions.
        loop {
            while self.chance.one_in(3) {
                let index = self.chance.below(self.talks.len());
                self.go_on(index);
            }
            if !self.stand.reap() {
                break;
            }
            self.free_numbers();
        }
        for index in 0..self.talks.len() {
            let talk = &mut self.talks[index];
            talk.rest = talk.rest.saturating_sub(1);
            self.send_next(index);
            self.go_on(index);
            let talk = &mut self.talks[index];
            if talk.stage != Stage::Unconnected {
                let remote = &mut self.stand.remotes[talk.remote];
                talk.told.heard.extend(remote.receive());
            }
        }
    }

    /// A number is free with its `Closed`, and may be somebody else's right after.
    fn free_numbers(&mut self) {
        for talk in &mut self.talks {
            if talk.stage == Stage::Closed && !self.stand.logs.contains_key(&talk.socket) {
                talk.stage = Stage::PeerOver;
            }
        }
    }

    fn send_next(&mut self, index: usize) {
        let talk = &mut self.talks[index];
        let open = self.stand.logs.get(&talk.socket).filter(|log| {
            let is_open = !matches!(talk.stage, Stage::Unconnected | Stage::Accepted);
            is_open && talk.stage < Stage::Closed && log.gone.is_none()
        });
        if open.is_none() || self.stand.is_sending(talk.socket) {
            return;
        }
        let Some(parcels) = talk.batches.pop_front() else {
            return;
        };
        let pieces: Vec<_> = (0..)
            .zip(&parcels)
            .map(|(place, parcel)| match place % 2 {
                0 => Piece::Lent(parcel),
                _ => Piece::Shared(parcel),
            })
            .collect();
        if self.stand.send(talk.socket, &pieces) == Submitted::Done {
            talk.done_count += 1;
        }
    }

    /// The next act, or the next step to the end, if what it waits for has come.
    fn go_on(&mut self, index: usize) {
        let talk = &mut self.talks[index];
        let stand = &mut self.stand;
        match talk.stage {
            Stage::Unconnected => {
                let remote = stand.rig.connect(stand.address);
                talk.remote = stand.remotes.len();
                stand.remotes.push(remote.expect("the driver listens"));
                talk.stage = Stage::Accepted;
            }
            Stage::Accepted => {
                let address = stand.remotes[talk.remote].address();
                let mut peers = stand.peers.iter();
                if let Some(place) = peers.position(|peer| peer.address == address) {
                    let peer = stand.peers.remove(place).unwrap();
                    talk.socket = stand.open_peer(peer);
                    talk.stage = Stage::Acting;
                }
            }
            Stage::Acting => self.act(index),
            Stage::SentAll if talk.batches.is_empty() => {
                let socket = talk.socket;
                let submitted = stand.driver.submit(Op::Shutdown { socket });
                assert_eq!(submitted, Submitted::Done);
                talk.stage = Stage::PeerEnded;
            }
            Stage::PeerEnded if stand.remotes[talk.remote].is_ended() => {
                stand.remotes[talk.remote].finish();
                talk.stage = Stage::EndedAndSentAll;
            }
            Stage::EndedAndSentAll
                if stand.logs[&talk.socket].ended
                    && talk.batches.is_empty()
                    && !stand.is_sending(talk.socket) =>
            {
                self.close(index, false);
            }
            Stage::Lost if stand.logs[&talk.socket].gone.is_some() => self.close(index, false),
            Stage::PeerOver => {
                let remote = &mut stand.remotes[talk.remote];
                remote.set_reading(true);
                if talk.is_reset_by_peer() || remote.is_ended() || remote.is_reset() {
                    talk.told.heard.extend(remote.receive());
                    talk.told.peer_end = match remote.is_reset() {
                        true => Some(End::Lost),
                        false => Some(End::Ended),
                    };
                    talk.finish();
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, index: usize) {
        let talk = &mut self.talks[index];
        let stand = &mut self.stand;
        let remote = &mut stand.remotes[talk.remote];
        if talk.rest > 0 {
            return;
        }
        let log = &stand.logs[&talk.socket];
        let salt = talk.salt();
        match talk.acts[0].clone() {
            Act::Says(size) => {
                let bytes = pattern(size, salt);
                remote.send(&bytes);
                talk.said.extend(bytes);
            }
            Act::Reads(reading) => remote.set_reading(reading),
            Act::Pause => stand.pause(talk.socket),
            Act::Resume => stand.resume(talk.socket),
            Act::ReceiveInto(size) if log.direct.is_none() => {
                let mut buffer = Vec::with_capacity(FRONT.len() + size);
                buffer.extend_from_slice(FRONT);
                talk.into_sizes.push(size);
                stand.receive_into(talk.socket, buffer, size);
            }
            Act::ReceiveInto(_) => {}
            Act::Send(sizes) => {
                let pieces = sizes.iter().zip(0..);
                let parcels: Vec<_> = pieces
                    .map(|(&size, place)| Parcel::copy_of(&pattern(size, salt << 16 | place)))
                    .collect();
                for parcel in &parcels {
                    talk.asked.extend_from_slice(parcel);
                }
                talk.batches.push_back(parcels);
                self.send_next(index);
            }
            Act::Rest(turns) => talk.rest = turns,
            Act::Settle => {
                remote.set_reading(true);
                let heard = talk.told.heard.len() == talk.asked.len();
                let received = log.stream.len() == talk.said.len();
                let sent = talk.batches.is_empty() && !stand.is_sending(talk.socket);
                stand.resume(talk.socket);
                if !(heard && received && sent) {
                    return;
                }
            }
            Act::Ends(ending) => self.begin_end(index, ending),
        }
        self.talks[index].acts.pop_front();
    }

    fn begin_end(&mut self, index: usize, ending: Ending) {
        let talk = &mut self.talks[index];
        talk.ending = Some(ending);
        let remote = &mut self.stand.remotes[talk.remote];
        match ending {
            Ending::PeerFinishes => {
                remote.set_reading(true);
                remote.finish();
                self.stand.resume(talk.socket);
                talk.stage = Stage::EndedAndSentAll;
            }
            Ending::WeShutDown => {
                remote.set_reading(true);
                self.stand.resume(talk.socket);
                talk.stage = Stage::SentAll;
            }
            Ending::PeerResets { .. } => {
                // Also of one that is paused.
                remote.reset();
                talk.stage = Stage::Lost;
            }
            Ending::WeClose { reset, .. } => self.close(index, reset),
        }
    }

    fn close(&mut self, index: usize, reset: bool) {
        let talk = &mut self.talks[index];
        talk.take(&self.stand.logs[&talk.socket]);
        talk.stage = Stage::Closed;
        let _ = self.stand.begin_close(talk.socket, reset);
        self.free_numbers();
    }

    /// For whoever waits for what does not come.
    fn state(&self) -> String {
        let talks = self.talks.iter().map(|talk| {
            format!(
                "{:?} in {:?}: said {}, received {:?}, asked {}, heard {}, then {:?}",
                talk.socket,
                talk.stage,
                talk.said.len(),
                self.stand
                    .logs
                    .get(&talk.socket)
                    .map(|log| log.stream.len()),
                talk.asked.len(),
                talk.told.heard.len(),
                talk.acts.front(),
            )
        });
        talks.collect::<Vec<_>>().join("\n")
    }
}

impl Talk {
    fn new(acts: &[Act], index: u64) -> Self {
        Self {
            index,
            acts: acts.iter().cloned().collect(),
            stage: Stage::Unconnected,
            ending: None,
            socket: Socket(u32::MAX),
            remote: usize::MAX,
            rest: 0,
            said: Vec::new(),
            asked: Vec::new(),
            batches: VecDeque::new(),
            done_count: 0,
            into_sizes: Vec::new(),
            told: Told {
                received: Vec::new(),
                end: None,
                sent_count: 0,
                heard: Vec::new(),
                peer_end: None,
            },
        }
    }

    /// The bytes of an act follow from its place in the script, on every driver.
    fn salt(&self) -> u64 {
        self.index << 8 | self.acts.len() as u64
    }

    fn is_reset_by_peer(&self) -> bool {
        matches!(self.ending, Some(Ending::PeerResets { .. }))
    }

    /// Keeps what the driver has told, before it closes.
    fn take(&mut self, log: &Log) {
        self.told.received.clone_from(&log.stream);
        self.told.sent_count = self.done_count + log.sent_count;
        self.told.end = match (log.gone, log.ended) {
            (Some(_), _) => Some(End::Lost),
            (None, true) => Some(End::Ended),
            (None, false) => None,
        };
        for (filled, size) in log.filled.iter().zip(&self.into_sizes) {
            assert!(filled.starts_with(FRONT), "the front was changed");
            assert!(filled.len() <= FRONT.len() + size, "more than {size} bytes");
        }
    }

    /// Whatever the kernel: what was heard was said, in that order.
    fn finish(&mut self) {
        self.stage = Stage::Over;
        let told = &mut self.told;
        let ending = self.ending.expect("it has ended");
        assert_begins(&self.said, &told.received);
        assert_begins(&self.asked, &told.heard);
        if self.is_reset_by_peer() {
            self.told.peer_end = None;
        }
        let told = &mut self.told;
        if ending.is_torn() {
            told.received.clear();
            told.heard.clear();
            told.sent_count = 0;
            told.peer_end = None;
        } else {
            assert_eq!(told.received.len(), self.said.len(), "{ending:?}");
            assert_eq!(told.heard.len(), self.asked.len(), "{ending:?}");
        }
    }
}

fn assert_begins(all: &[u8], found: &[u8]) {
    assert!(found.len() <= all.len(), "more came than was said");
    assert_same(found, &all[..found.len()]);
}
