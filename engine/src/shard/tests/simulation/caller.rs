//! One client: does what its plan says, and knows what it is owed.

use std::collections::{BTreeMap, VecDeque};

use tidegate_io::sim::{Client, World};
use tidegate_proto::deflate::{DeflateAgreement, Deflater, DeflaterSettings, Inflater};
use tidegate_proto::handshake::ClientKey;
use tidegate_proto::{MessageKind, Session, Settings};

use super::door::introduction;
use super::frames::{self, Breach, Fragments};
use super::hall::{Role, path_of};
use super::office::{DISMISS, DISMISSED};
use super::scenario::{Kind, Plan, Step};
use super::*;

mod hear;

/// What a client takes at most; more than any server sends.
const SETTINGS: Settings = Settings {
    message_size_max: 1 << 24,
};

/// A client, and what it has seen.
pub(super) struct Caller {
    pub(super) index: usize,
    pub(super) kind: Kind,
    steps: VecDeque<(Duration, Step)>,
    pub(super) client: Option<Client>,
    key: ClientKey,
    session: Session,
    head: Vec<u8>,
    agreement: Option<DeflateAgreement>,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    pub(super) stage: Stage,
    pub(super) reading: bool,
    /// Has said a close frame, the end of its stream, or what ends the conversation.
    pub(super) done: bool,
    /// Has sent a close frame.
    closed: bool,
    finished: bool,
    /// The link is broken, by whomever.
    pub(super) cut: bool,
    /// Did something after which what is on its way may be lost.
    pub(super) rough: bool,
    pub(super) close_code: Option<Option<CloseCode>>,
    /// The code that it is to be told, after a breach.
    pub(super) code_due: Option<CloseCode>,
    /// The ends that are right, one bit each.
    ends: u32,
    said: u32,
    pinged: u32,
    ponged: u32,
    /// The echoes that are owed: number, size, kind.
    pub(super) owed: VecDeque<(u32, usize, MessageKind)>,
    /// The last publication heard, as an index in what was accepted from each publisher.
    pub(super) heard: BTreeMap<usize, usize>,
    pub(super) heard_count: u64,
    /// Publications heard that were accepted after it had begun to listen.
    pub(super) due_count: u64,
    /// Publications may be dropped on their way to it.
    pub(super) may_miss: bool,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Has not called, or nobody listened.
    Away,
    Calling,
    Open,
    /// Was answered something else than a 101.
    Refused,
}

impl Caller {
    pub(super) fn new(index: usize, plan: Plan, may_miss: bool) -> Self {
        Self {
            index,
            kind: plan.kind,
            steps: plan.steps.into(),
            client: None,
            key: ClientKey::new([3; 16]),
            session: Session::client(SETTINGS),
            head: Vec::new(),
            agreement: None,
            inflater: None,
            deflater: None,
            stage: Stage::Away,
            reading: true,
            done: false,
            closed: false,
            finished: false,
            cut: false,
            rough: false,
            close_code: None,
            code_due: None,
            ends: 0,
            said: 0,
            pinged: 0,
            ponged: 0,
            owed: VecDeque::new(),
            heard: BTreeMap::new(),
            heard_count: 0,
            due_count: 0,
            may_miss,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub(super) fn role(&self) -> Option<Role> {
        match self.kind {
            Kind::Guest { role, .. } => Some(role),
            Kind::Stranger(_) => None,
        }
    }

    fn polite(&self) -> bool {
        matches!(self.kind, Kind::Guest { polite: true, .. })
    }

    pub(super) fn ponging(&self) -> bool {
        matches!(self.kind, Kind::Guest { ponging: true, .. })
    }

    pub(super) fn allow(&mut self, end: EndReason) {
        self.ends |= 1 << end as usize;
    }

    pub(super) fn may_end(&self, end: EndReason) -> bool {
        self.ends & (1 << end as usize) != 0
    }

    pub(super) fn pongs_owed(&self) -> bool {
        self.ponged < self.pinged
    }

    /// Calls. `true`: its first step comes without waiting for an answer.
    pub(super) fn call(&mut self, world: &World, proxied: bool) -> bool {
        self.client = world.connect();
        if self.client.is_none() {
            return false;
        }
        self.stage = Stage::Calling;
        if !self.ponging() {
            self.allow(EndReason::HeartbeatTimeout);
        }
        let mut wire = Vec::new();
        if proxied {
            wire = introduction(self.index).0;
        }
        match self.kind {
            Kind::Stranger(bytes) => wire.extend_from_slice(bytes),
            Kind::Guest { role, offer, .. } => {
                let mut value = String::new();
                if let Some(offer) = offer {
                    offer.write_offer(&mut value);
                }
                let header = ("Sec-WebSocket-Extensions", value.as_str());
                let headers: &[_] = if offer.is_some() { &[header] } else { &[] };
                let path = path_of(role, self.index);
                self.key.write_request("sim", &path, headers, &mut wire);
            }
        }
        self.send(&wire);
        matches!(self.kind, Kind::Guest { eager: true, .. })
    }

    fn send(&mut self, wire: &[u8]) {
        let Some(client) = &self.client else { return };
        if !wire.is_empty() && !self.finished && !client.is_reset() {
            self.bytes_sent += wire.len() as u64;
            client.send(wire);
        }
    }

    fn finish(&mut self) {
        if let Some(client) = &self.client
            && !self.finished
        {
            self.finished = true;
            client.finish();
        }
    }

    /// How long until its next step.
    pub(super) fn next_pause(&self) -> Option<Duration> {
        self.steps.front().map(|&(pause, _)| pause)
    }

    /// Does the next thing of its plan.
    pub(super) fn act(&mut self, limits: &Limits) {
        let Some((_, step)) = self.steps.pop_front() else {
            return;
        };
        let silent = self.done || self.cut || self.close_code.is_some() || self.client.is_none();
        match step {
            Step::StopReading => self.set_reading(false),
            Step::StartReading => self.set_reading(true),
            Step::Vanish => {
                self.set_reading(false);
                self.steps.clear();
                self.rough = true;
                self.done = true;
                // Whatever it was in the midst of is not waited for.
                self.allow(EndReason::SendTimeout);
                self.allow(EndReason::MessageTimeout);
                self.allow(EndReason::CloseTimeout);
                self.allow(EndReason::HeartbeatTimeout);
            }
            Step::Reset => {
                self.rough = true;
                self.done = true;
                self.cut = true;
                self.finished = true;
                self.allow(EndReason::Reset);
                if let Some(client) = &self.client {
                    client.reset();
                }
            }
            _ if silent => {}
            Step::Say {
                size,
                text,
                fragments,
                deflated,
                pinging,
            } => self.say(size, text, fragments, deflated, pinging),
            Step::SayHalf => self.say_half(),
            Step::Ping => {
                self.pinged += 1;
                let mut wire = Vec::new();
                frames::ping(self.pinged, &mut wire);
                self.send(&wire);
            }
            Step::Breach(breach) => self.break_rule(breach, limits),
            Step::Close => {
                self.done = true;
                self.closed = true;
                self.allow(EndReason::ClosedByPeer);
                let mut wire = Vec::new();
                frames::close(CloseCode::NORMAL, &mut wire);
                self.send(&wire);
            }
            Step::Dismiss => {
                self.done = true;
                self.code_due = Some(DISMISSED);
                self.allow(EndReason::ClosedByApplication);
                self.write(&Fragments {
                    opcode: frames::TEXT,
                    deflated: false,
                    count: 1,
                    ping: None,
                    unfinished: false,
                    bytes: DISMISS.as_bytes(),
                });
            }
            Step::Finish => {
                self.done = true;
                self.allow(EndReason::Ended);
                self.finish();
            }
        }
    }

    pub(super) fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
        if !reading {
            // It does not see pings.
            self.allow(EndReason::HeartbeatTimeout);
        }
        let Some(client) = &self.client else { return };
        if reading {
            client.start_reading();
        } else {
            client.stop_reading();
        }
    }

    fn say(&mut self, size: usize, text: bool, count: usize, deflated: bool, pinging: bool) {
        self.said += 1;
        let (kind, opcode) = if text {
            (MessageKind::Text, frames::TEXT)
        } else {
            (MessageKind::Binary, frames::BINARY)
        };
        let payload = frames::payload(self.index, self.said, size, kind);
        let mut bytes = payload;
        let agreement = self.agreement.filter(|_| deflated);
        if let Some(agreement) = agreement {
            let mut small = Vec::new();
            let deflater = self.deflater.get_or_insert_with(|| {
                Deflater::new(DeflaterSettings {
                    window_bits: agreement.client_window_bits(),
                    ..DeflaterSettings::SHARED
                })
            });
            deflater.deflate(&bytes, agreement.client_takeover(), &mut small);
            bytes = small;
        }
        let ping = (pinging && count > 1).then(|| {
            self.pinged += 1;
            self.pinged
        });
        match self.role() {
            Some(Role::Echo | Role::Clerk) => self.owed.push_back((self.said, size, kind)),
            Some(Role::Feed(_)) => {
                self.done = true;
                self.code_due = Some(CloseCode::POLICY);
                self.allow(EndReason::ClosedByApplication);
            }
            Some(Role::Room(_) | Role::Agent(_)) | None => {}
        }
        self.write(&Fragments {
            opcode,
            deflated: agreement.is_some(),
            count,
            ping,
            unfinished: false,
            bytes: &bytes,
        });
    }

    fn write(&mut self, fragments: &Fragments<'_>) {
        let mut wire = Vec::new();
        fragments.write(&mut wire);
        self.send(&wire);
    }

    fn say_half(&mut self) {
        self.done = true;
        self.allow(EndReason::MessageTimeout);
        self.allow(EndReason::CloseTimeout);
        self.write(&Fragments {
            opcode: frames::BINARY,
            deflated: false,
            count: 2,
            ping: None,
            unfinished: true,
            bytes: b"the first half, and the second",
        });
    }

    fn break_rule(&mut self, breach: Breach, limits: &Limits) {
        self.done = true;
        let (code, end) = breach.answer(self.agreement.is_some());
        self.code_due = Some(code);
        self.allow(end);
        let mut wire = Vec::new();
        breach.write(limits.message_size_max, &mut wire);
        self.send(&wire);
    }
}
