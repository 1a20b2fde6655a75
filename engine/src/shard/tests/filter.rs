//! A made-up encryption: records with numbers, so that what is lost, cut, doubled or out of order is
//! seen at once. Both sides of it, for channels of shards and for clients in the simulation.
//!
//! ```text
//!  client: HELLO ─▶   ◀─ FLIGHT   FINISHED ─▶   ◀─ TICKET   then DATA, UPDATE ─▶ ◀─ UPDATED, GOODBYE
//!  record: [ kind | size, 2 bytes | number | body, xored with the number ]
//! ```

use crate::{Acceptor, Channel, ChannelFailure, ChannelPhase};

pub(super) const HELLO: u8 = 1;
pub(super) const FLIGHT: u8 = 2;
pub(super) const FINISHED: u8 = 3;
pub(super) const TICKET: u8 = 4;
pub(super) const DATA: u8 = 5;
pub(super) const UPDATE: u8 = 6;
pub(super) const UPDATED: u8 = 7;
pub(super) const GOODBYE: u8 = 8;
pub(super) const ALERT: u8 = 9;

/// The cause for which such a channel fails.
pub(super) const CAUSE: &str = "tls_made_up";

const HEADER_SIZE: usize = 4;

/// The most that one record holds.
const BODY_SIZE_MAX: usize = 1000;

/// One direction's numbers, and what has been cut.
#[derive(Debug, Default)]
pub(super) struct Records {
    pending: Vec<u8>,
    received: u8,
    sent: u8,
}

impl Records {
    /// Appends these bytes in as many records as it takes.
    pub(super) fn seal(&mut self, kind: u8, bytes: &[u8], wire: &mut Vec<u8>) {
        let empty: &[u8] = &[];
        let parts = bytes.chunks(BODY_SIZE_MAX);
        for part in parts.chain(bytes.is_empty().then_some(empty)) {
            let size = u16::try_from(part.len()).unwrap();
            wire.push(kind);
            wire.extend(size.to_be_bytes());
            wire.push(self.sent);
            wire.extend(part.iter().map(|byte| byte ^ mask(self.sent)));
            self.sent = self.sent.wrapping_add(1);
        }
    }

    /// Takes the next record that is whole.
    pub(super) fn next(&mut self) -> Option<Result<(u8, Vec<u8>), ()>> {
        let &[kind, high, low, number] = self.pending.first_chunk::<HEADER_SIZE>()?;
        let size = HEADER_SIZE + usize::from(u16::from_be_bytes([high, low]));
        if size > HEADER_SIZE + BODY_SIZE_MAX || number != self.received {
            return Some(Err(()));
        }
        let body = self.pending.get(HEADER_SIZE..size)?;
        let body = body.iter().map(|byte| byte ^ mask(number)).collect();
        self.pending.drain(..size);
        self.received = number.wrapping_add(1);
        Some(Ok((kind, body)))
    }

    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }
}

fn mask(number: u8) -> u8 {
    number.wrapping_mul(31).wrapping_add(7)
}

/// Makes such channels.
#[derive(Debug)]
pub(super) struct MadeUp;

impl Acceptor for MadeUp {
    fn accept(&self) -> Box<dyn Channel> {
        Box::new(MadeUpChannel {
            records: Records::default(),
            phase: ChannelPhase::New,
        })
    }
}

#[derive(Debug)]
struct MadeUpChannel {
    records: Records,
    phase: ChannelPhase,
}

impl Channel for MadeUpChannel {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure> {
        if self.phase == ChannelPhase::New {
            self.phase = ChannelPhase::Handshake;
        }
        self.records.take_in(bytes);
        // As a real one does in place: nothing of it may be of use to anybody.
        bytes.fill(0xEE);
        while let Some(record) = self.records.next() {
            match (record, self.phase) {
                (Ok((HELLO, _)), ChannelPhase::Handshake) => {
                    self.records.seal(FLIGHT, &[0x5A; 3000], wire);
                }
                (Ok((FINISHED, _)), ChannelPhase::Handshake) => {
                    self.phase = ChannelPhase::Open;
                    self.records.seal(TICKET, &[0xA5; 200], wire);
                }
                (Ok((DATA, body)), ChannelPhase::Open) => plain.extend(body),
                (Ok((UPDATE, body)), ChannelPhase::Open) => {
                    self.records.seal(UPDATED, &body, wire);
                }
                (Ok((GOODBYE, _)), ChannelPhase::Open) => self.phase = ChannelPhase::Ended,
                (_, ChannelPhase::Ended) => {}
                _ => {
                    self.records.seal(ALERT, b"no", wire);
                    return Err(ChannelFailure { cause: CAUSE });
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        assert!(
            matches!(self.phase, ChannelPhase::Open | ChannelPhase::Ended),
            "nothing can be said before the handshake"
        );
        self.records.seal(DATA, plain, wire);
        Ok(())
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        self.records.seal(GOODBYE, b"", wire);
    }

    fn phase(&self) -> ChannelPhase {
        self.phase
    }

    fn user(&self) -> Option<&str> {
        Some("somebody")
    }
}

/// The client's side.
#[derive(Debug, Default)]
pub(super) struct ClientFilter {
    records: Records,
    open: bool,
    /// What is to be said once it is open.
    unsaid: Vec<u8>,
    /// What the server has said by itself since.
    pub(super) updated: Vec<u8>,
    pub(super) goodbye: bool,
    pub(super) alert: bool,
}

impl ClientFilter {
    /// What goes first.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        self.records.seal(HELLO, &[1; 700], &mut wire);
        wire
    }

    /// What goes on the wire for this, now.
    pub(super) fn seal(&mut self, kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        if self.open {
            self.records.seal(kind, bytes, &mut wire);
        } else {
            assert_eq!(kind, DATA, "it is not open yet");
            self.unsaid.extend_from_slice(bytes);
        }
        wire
    }

    /// What came, and what goes on the wire in return.
    pub(super) fn open(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        self.records.take_in(bytes);
        while let Some(record) = self.records.next() {
            let (kind, body) = record.expect("the server's records are sound and in order");
            assert!(!self.goodbye && !self.alert, "{kind} behind the last word");
            match kind {
                FLIGHT if body == [0x5A; 1000] => {
                    // The flight has three records.
                    if self.records.received == 3 {
                        self.records.seal(FINISHED, b"", &mut wire);
                    }
                }
                TICKET if body == [0xA5; 200] => {
                    self.open = true;
                    let unsaid = std::mem::take(&mut self.unsaid);
                    if !unsaid.is_empty() {
                        self.records.seal(DATA, &unsaid, &mut wire);
                    }
                }
                DATA => plain.extend(body),
                UPDATED => self.updated.extend(body),
                GOODBYE => self.goodbye = true,
                ALERT => self.alert = true,
                _ => panic!("the server sent a record of kind {kind}"),
            }
        }
        (plain, wire)
    }
}
