//! One client: does what its plan says, and knows what it is owed.

use std::collections::{BTreeMap, VecDeque};

use tidegate_io::sim::{Client, World};
use tidegate_proto::deflate::{DeflateAgreement, Deflater, DeflaterSettings, Inflater};
use tidegate_proto::handshake::ClientKey;
use tidegate_proto::{Event, HeadLimits, Input, MessageKind, Session, Settings};

use super::frames::{self, Fragments};
use super::hall::{Ledger, Role, path_of};
use super::play::Trace;
use super::scenario::{Kind, Plan, Step};
use super::*;

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
    ends: u16,
    said: u32,
    pinged: u32,
    ponged: u32,
    /// The echoes that are owed: number, size, kind.
    pub(super) owed: VecDeque<(u32, usize, MessageKind)>,
    /// The last publication heard, as an index in what was accepted from each publisher.
    pub(super) heard: BTreeMap<usize, usize>,
    pub(super) heard_count: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} steps {:?} agreed {:?} stage {:?} reading {} done {} closed {} finished {} cut {} rough {} code {:?} ends {:b} said {} pinged {} ponged {} owed {:?} in {} out {}",
            self.kind,
            self.steps,
            self.agreement,
            self.stage,
            self.reading,
            self.done,
            self.closed,
            self.finished,
            self.cut,
            self.rough,
            self.close_code,
            self.ends,
            self.said,
            self.pinged,
            self.ponged,
            self.owed,
            self.bytes_received,
            self.bytes_sent
        )
    }
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
    pub(super) fn new(index: usize, plan: Plan) -> Self {
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
    pub(super) fn call(&mut self, world: &World) -> bool {
        self.client = world.connect();
        if self.client.is_none() {
            return false;
        }
        self.stage = Stage::Calling;
        let mut wire = Vec::new();
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
            Step::SayHalf => {
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
            Step::Ping => {
                self.pinged += 1;
                let mut wire = Vec::new();
                frames::ping(self.pinged, &mut wire);
                self.send(&wire);
            }
            Step::Breach(breach) => {
                self.done = true;
                let (code, end) = breach.answer(self.agreement.is_some());
                self.code_due = Some(code);
                self.allow(end);
                let mut wire = Vec::new();
                breach.write(limits.message_size_max, &mut wire);
                self.send(&wire);
            }
            Step::Close => {
                self.done = true;
                self.closed = true;
                self.allow(EndReason::ClosedByPeer);
                let mut wire = Vec::new();
                frames::close(CloseCode::NORMAL, &mut wire);
                self.send(&wire);
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
            let deflater = self
                .deflater
                .get_or_insert_with(|| Deflater::new(DeflaterSettings::SHARED));
            deflater.deflate(&bytes, agreement.client_takeover(), &mut small);
            bytes = small;
        }
        let ping = (pinging && count > 1).then(|| {
            self.pinged += 1;
            self.pinged
        });
        match self.role() {
            Some(Role::Echo) => self.owed.push_back((self.said, size, kind)),
            Some(Role::Feed(_)) => {
                self.done = true;
                self.code_due = Some(CloseCode::POLICY);
                self.allow(EndReason::ClosedByApplication);
            }
            Some(Role::Room(_)) | None => {}
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

    /// Takes in what has arrived. `true`: it has just been let in.
    pub(super) fn look(&mut self, ledger: &Ledger, trace: &mut Trace) -> Result<bool, String> {
        let Some(client) = &self.client else {
            return Ok(false);
        };
        let mut bytes = client.receive();
        self.cut |= client.is_reset() || client.is_refused();
        let ended = client.is_ended();
        self.bytes_received += bytes.len() as u64;
        trace.add(self.index as u64);
        trace.add_bytes(&bytes);
        let mut let_in = false;
        if self.stage == Stage::Calling && !bytes.is_empty() {
            let_in = self.answered(&mut bytes);
        }
        if self.stage == Stage::Open {
            self.hear(&mut bytes, ledger)
                .map_err(|what| format!("caller {}: {what}", self.index))?;
        }
        if ended && !self.cut {
            self.finish();
        }
        Ok(let_in)
    }

    /// More of the answer; leaves what comes behind it.
    fn answered(&mut self, bytes: &mut Vec<u8>) -> bool {
        self.head.append(bytes);
        match self.key.read_response(&self.head, &HeadLimits::default()) {
            Ok(Some((accepted, size))) => {
                if let Kind::Guest {
                    offer: Some(offer), ..
                } = self.kind
                {
                    let agreed = offer.accept_response(accepted.extensions);
                    self.agreement = agreed.expect("the answer is legal");
                }
                if self.agreement.is_some() {
                    self.session = Session::client(SETTINGS).with_deflate();
                }
                *bytes = self.head.split_off(size);
                self.head = Vec::new();
                self.stage = Stage::Open;
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.stage = Stage::Refused;
                false
            }
        }
    }

    fn hear(&mut self, bytes: &mut [u8], ledger: &Ledger) -> Result<(), String> {
        let mut input = Input::new(bytes);
        let mut wire = Vec::new();
        let mut inflated = Vec::new();
        // The session is lent to its events, so it is taken out meanwhile.
        let mut session = std::mem::replace(&mut self.session, Session::client(SETTINGS));
        loop {
            let event = session.receive(&mut input, &mut wire);
            let more = match event.map_err(|violation| violation.to_string())? {
                Some(Event::Message(message)) => {
                    let message = message.message();
                    self.hear_message(message.kind(), message.as_bytes(), ledger)?;
                    true
                }
                Some(Event::Deflated(message)) => {
                    let takeover = self.agreement.is_some_and(|a| a.server_takeover());
                    let (kind, bytes) = (message.kind(), message.as_bytes());
                    inflated.clear();
                    let inflater = self.inflater.get_or_insert_with(Inflater::new);
                    let size_max = SETTINGS.message_size_max;
                    inflater
                        .inflate(kind, bytes, takeover, size_max, &mut inflated)
                        .map_err(|violation| violation.to_string())?;
                    self.hear_message(kind, &inflated, ledger)?;
                    true
                }
                Some(Event::Pong(payload)) => {
                    self.hear_pong(payload.as_slice())?;
                    true
                }
                Some(Event::Ping(_)) => true,
                Some(Event::Close { code, .. }) => {
                    self.close_code = Some(code);
                    if self.polite() && !self.closed {
                        self.closed = true;
                        frames::close(CloseCode::NORMAL, &mut wire);
                    }
                    if !self.polite() {
                        self.rough = true;
                        self.allow(EndReason::CloseTimeout);
                    }
                    true
                }
                None => false,
            };
            if !more {
                break;
            }
        }
        self.session = session;
        self.send(&wire);
        Ok(())
    }

    fn hear_pong(&mut self, payload: &[u8]) -> Result<(), String> {
        let number = payload.try_into().map(u32::from_be_bytes);
        let number = number.map_err(|_| "a pong of nobody's".to_owned())?;
        if number <= self.ponged || number > self.pinged {
            let (ponged, pinged) = (self.ponged, self.pinged);
            return Err(format!(
                "pong {number} after {ponged}, {pinged} pings were sent"
            ));
        }
        self.ponged = number;
        Ok(())
    }

    fn hear_message(
        &mut self,
        kind: MessageKind,
        bytes: &[u8],
        ledger: &Ledger,
    ) -> Result<(), String> {
        self.heard_count += 1;
        let same = |caller, number| bytes == frames::payload(caller, number, bytes.len(), kind);
        if self.role() == Some(Role::Echo) {
            let owed = self.owed.pop_front();
            return match owed {
                Some((number, size, owed))
                    if size == bytes.len() && owed == kind && same(self.index, number) =>
                {
                    Ok(())
                }
                _ => Err(format!(
                    "owed {owed:?}, heard {kind:?} of {} bytes, {:?}",
                    bytes.len(),
                    frames::label(bytes)
                )),
            };
        }
        let (speaker, number) = frames::label(bytes);
        if !ledger.records.get(speaker).is_some_and(|r| r.opened) || !same(speaker, number) {
            return Err(format!("{} bytes that nobody said", bytes.len()));
        }
        self.hear_publication(speaker, number, ledger)
    }

    fn hear_publication(
        &mut self,
        speaker: usize,
        number: u32,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let accepted = &ledger.records[speaker].accepted;
        let found = accepted.numbers.binary_search(&number);
        let found = found.map_err(|_| format!("{speaker}'s {number} was never accepted"))?;
        let first = checks::first_due(&ledger.records[self.index], self.role(), accepted);
        let before = self.heard.insert(speaker, found);
        let legal = match before {
            Some(before) => found == before + 1,
            None => first.is_none_or(|first| found <= first),
        };
        if legal {
            Ok(())
        } else {
            Err(format!(
                "{speaker}'s {number} (at {found}) was out of order: {before:?}, {first:?}"
            ))
        }
    }
}
