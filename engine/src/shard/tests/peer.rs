//! A client in the simulation: the other half of the protocol.

use tidegate_io::sim::Client;
use tidegate_proto::deflate::{
    DeflateAgreement, DeflatePolicy, Deflater, DeflaterSettings, Inflater,
};
use tidegate_proto::handshake::ClientKey;
use tidegate_proto::{CloseCode, Event, HeadLimits, Input, Message, Session, Settings};

use super::filter::{ClientFilter, DATA};

const KEY: [u8; 4] = [7, 13, 99, 200];

/// What a client answers to pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ponging {
    /// What RFC 6455, 5.5.3 demands: their payload.
    Same,
    Other,
    Never,
}

/// A client with all that it has heard.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) client: Client,
    /// What encrypts, if it is on the secure port.
    pub(super) filter: Option<ClientFilter>,
    key: ClientKey,
    session: Session,
    open: bool,
    offer: Option<DeflatePolicy>,
    agreement: Option<DeflateAgreement>,
    inflater: Inflater,
    deflater: Deflater,
    /// How many messages came compressed.
    pub(super) deflated_count: usize,
    /// What the server answered instead of a 101.
    pub(super) refused: Vec<u8>,
    pub(super) heard: Vec<Vec<u8>>,
    pub(super) pongs: Vec<Vec<u8>>,
    pub(super) close_code: Option<Option<CloseCode>>,
    /// How many pings it has heard.
    pub(super) pings: usize,
    /// What it answers them with.
    pub(super) ponging: Ponging,
    /// Whether it answers the server's close frame.
    pub(super) polite: bool,
    finished: bool,
}

impl Peer {
    pub(super) fn new(client: Client, path: &str) -> Self {
        Self::offering(client, path, None)
    }

    /// A client that offers compression, if it is told what.
    pub(super) fn offering(client: Client, path: &str, offer: Option<DeflatePolicy>) -> Self {
        let key = ClientKey::new([3; 16]);
        let mut request = Vec::new();
        let mut value = String::new();
        if let Some(offer) = offer {
            offer.write_offer(&mut value);
        }
        let header = ("Sec-WebSocket-Extensions", value.as_str());
        let headers: &[_] = if offer.is_some() { &[header] } else { &[] };
        key.write_request("sim", path, headers, &mut request);
        client.send(&request);
        Self::before_its_request(client, key, offer)
    }

    /// A client of the secure port.
    pub(super) fn sealed(client: Client, path: &str) -> Self {
        let key = ClientKey::new([3; 16]);
        let mut request = Vec::new();
        key.write_request("sim", path, &[], &mut request);
        let mut filter = ClientFilter::default();
        client.send(&filter.begin());
        let mut peer = Self::before_its_request(client, key, None);
        peer.filter = Some(filter);
        peer.send(&request);
        peer
    }

    fn before_its_request(client: Client, key: ClientKey, offer: Option<DeflatePolicy>) -> Self {
        Self {
            client,
            filter: None,
            key,
            session: Session::client(Settings {
                message_size_max: 1 << 24,
            }),
            open: false,
            offer,
            agreement: None,
            inflater: Inflater::new(),
            deflater: Deflater::new(DeflaterSettings::SHARED),
            deflated_count: 0,
            refused: Vec::new(),
            heard: Vec::new(),
            pongs: Vec::new(),
            close_code: None,
            pings: 0,
            ponging: Ponging::Same,
            polite: true,
            finished: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    fn send(&mut self, wire: &[u8]) {
        if wire.is_empty() || self.finished || self.client.is_reset() {
            return;
        }
        match &mut self.filter {
            None => self.client.send(wire),
            Some(filter) => {
                let sealed = filter.seal(DATA, wire);
                self.client.send(&sealed);
            }
        }
    }

    /// Sends a record of the made-up encryption.
    pub(super) fn send_record(&mut self, kind: u8, body: &[u8]) {
        let filter = self.filter.as_mut().expect("it is on the secure port");
        let sealed = filter.seal(kind, body);
        self.client.send(&sealed);
    }

    pub(super) fn say(&mut self, message: Message<'_>) {
        let mut wire = Vec::new();
        if let Some(agreement) = self.agreement {
            let mut deflated = Vec::new();
            let takeover = agreement.client_takeover();
            self.deflater
                .deflate(message.as_bytes(), takeover, &mut deflated);
            let session = &mut self.session;
            session.send_deflated_masked(message.kind(), &deflated, KEY, &mut wire);
            self.send(&wire);
            return;
        }
        self.session.send_masked(message, KEY, &mut wire);
        self.send(&wire);
    }

    pub(super) fn ping(&mut self, payload: &[u8]) {
        let mut wire = Vec::new();
        self.session.ping_masked(payload, KEY, &mut wire);
        self.send(&wire);
    }

    pub(super) fn close(&mut self) {
        if self.finished {
            return;
        }
        let mut wire = Vec::new();
        self.session
            .close_masked(Some(CloseCode::NORMAL), "bye", KEY, &mut wire);
        self.send(&wire);
    }

    /// Takes in whatever has arrived.
    pub(super) fn look(&mut self) {
        let mut bytes = self.client.receive();
        if let Some(filter) = &mut self.filter {
            let (plain, wire) = filter.open(&bytes);
            bytes = plain;
            if !wire.is_empty() && !self.finished && !self.client.is_reset() {
                self.client.send(&wire);
            }
        }
        if !self.open {
            self.refused.extend_from_slice(&bytes);
            let limits = HeadLimits::default();
            match self.key.read_response(&self.refused, &limits) {
                Ok(Some((accepted, size))) => {
                    if let Some(offer) = self.offer {
                        let agreed = offer.accept_response(accepted.extensions);
                        self.agreement = agreed.expect("the answer is legal");
                    }
                    if let Some(agreement) = self.agreement {
                        self.deflater = Deflater::new(DeflaterSettings {
                            window_bits: agreement.client_window_bits(),
                            ..DeflaterSettings::SHARED
                        });
                        let settings = Settings {
                            message_size_max: 1 << 24,
                        };
                        self.session = Session::client(settings).with_deflate();
                    }
                    bytes = self.refused.split_off(size);
                    self.refused.clear();
                    self.open = true;
                }
                Ok(None) | Err(_) => return,
            }
        }
        self.hear(&mut bytes);
        if self.client.is_ended() && !self.client.is_reset() {
            self.finish();
        }
    }

    pub(super) fn reset(&mut self) {
        self.finished = true;
        self.client.reset();
    }

    pub(super) fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.client.finish();
        }
    }

    fn hear(&mut self, bytes: &mut [u8]) {
        let mut input = Input::new(bytes);
        let mut wire = Vec::new();
        loop {
            match self.session.receive(&mut input, &mut wire) {
                Ok(Some(Event::Message(message))) => {
                    self.heard.push(message.message().as_bytes().to_vec());
                }
                Ok(Some(Event::Deflated(message))) => {
                    let takeover = self.agreement.is_some_and(|a| a.server_takeover());
                    let mut out = Vec::new();
                    let (kind, bytes) = (message.kind(), message.as_bytes());
                    let inflated = self
                        .inflater
                        .inflate(kind, bytes, takeover, 1 << 24, &mut out);
                    inflated.expect("what the server compressed can be inflated");
                    self.heard.push(out);
                    self.deflated_count += 1;
                }
                Ok(Some(Event::Pong(payload))) => self.pongs.push(payload.as_slice().to_vec()),
                Ok(Some(Event::Ping(payload))) => {
                    self.pings += 1;
                    let answer = match self.ponging {
                        Ponging::Same => payload.as_slice(),
                        Ponging::Other => b"another",
                        Ponging::Never => continue,
                    };
                    self.session.pong_masked(answer, KEY, &mut wire);
                }
                Ok(Some(Event::Close { code, .. })) => {
                    self.close_code = Some(code);
                    if self.polite {
                        self.session.close_masked(code, "", KEY, &mut wire);
                    }
                }
                Ok(None) => break,
                Err(violation) => panic!("the server broke the protocol: {violation}"),
            }
        }
        self.send(&wire);
    }
}
