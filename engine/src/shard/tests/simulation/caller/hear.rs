//! How a client takes in what has arrived: everything must be owed to it, and in order.

use tidegate_proto::deflate::Inflater;
use tidegate_proto::{Event, HeadLimits, Input, MessageKind, Session};

use super::super::hall::{Ledger, Role};
use super::super::play::Trace;
use super::super::scenario::Kind;
use super::super::{checks, frames};
use super::{Caller, CloseCode, EndReason, SETTINGS, Stage};

impl Caller {
    /// Takes in what has arrived. `true`: it has just been let in.
    pub(in super::super) fn look(
        &mut self,
        ledger: &Ledger,
        trace: &mut Trace,
    ) -> Result<bool, String> {
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
                Some(Event::Ping(payload)) => {
                    if self.ponging() {
                        frames::pong(payload.as_slice(), &mut wire);
                    }
                    true
                }
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
        if matches!(self.role(), Some(Role::Echo | Role::Clerk)) {
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
        if first.is_some_and(|first| found >= first) {
            self.due_count += 1;
        }
        let legal = match before {
            Some(before) if self.may_miss => found > before,
            None if self.may_miss => true,
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
