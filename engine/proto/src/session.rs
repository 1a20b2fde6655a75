//! One conversation after the handshake: its state, and all that this side says.

use crate::close::{CloseBody, CloseCode};
use crate::frame::{self, CONTROL_SIZE_MAX, Opcode};
use crate::limits::MESSAGE_SIZE_MAX_DEFAULT;
use crate::message::{Message, MessageKind};
use crate::partial::{Assembly, DirectBuffer, Partial};
use crate::violation::Violation;

/// What a session is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The largest message accepted, in bytes, over all its fragments. Beyond 4 GiB it is 4 GiB less a byte.
    pub message_size_max: usize,
}

impl Default for Settings {
    /// [`MESSAGE_SIZE_MAX_DEFAULT`].
    fn default() -> Self {
        Self {
            message_size_max: MESSAGE_SIZE_MAX_DEFAULT,
        }
    }
}

/// One conversation after the handshake, from the side of the server or of the client.
///
/// It owns no heap while no frame is under way. A server half answers pings and closes by itself, into
/// `wire`; a client half answers nothing by itself, because each of its frames needs a fresh key.
///
/// ```text
///             close()                         peer's close frame
///   Open ───────────────▶ CloseSent ───────────────────────────▶ Closed
///    │ │                      │                                    ▲
///    │ │  peer's close frame  │      server: answered at once      │
///    │ ├──────────────────────┼────────────────────────────────────┤
///    │ │                      │      client: close_masked()        │
///    │ └─────────────▶ CloseReceived ──────────────────────────────┘
///    │                        │
///    └──────────┬─────────────┘   CloseReceived reads nothing, so it cannot fail
///               ▼ violation (from Open and CloseSent)
///             Failed              server: its close frame with the code is on the wire
/// ```
#[derive(Debug)]
pub struct Session {
    /// What is unfinished; `None` while nothing is.
    pub(crate) partial: Option<Box<Partial>>,
    /// In 32 bits, since there are a million sessions.
    message_size_max: u32,
    /// Whether compressed messages were agreed upon.
    pub(crate) deflate: bool,
    pub(crate) role: Role,
    pub(crate) state: State,
}

// There are a million of them.
const _: () = assert!(size_of::<Session>() <= 16);

/// Which side of the connection this session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// The states in the diagram at [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Both sides may send.
    Open,
    /// Our close frame is on the wire: no more data from us, and the peer's data is discarded.
    CloseSent,
    /// The peer's close frame is here and ours is still to be sent. Client half only.
    CloseReceived,
    /// Close frames went both ways.
    Closed,
    /// The peer broke the protocol.
    Failed {
        /// Whether it has been told with a close frame.
        close_sent: bool,
    },
}

impl Session {
    /// The server's half: expects masked frames and answers pings and closes by itself.
    #[must_use]
    pub const fn server(settings: Settings) -> Self {
        Self::new(settings, Role::Server)
    }

    /// The client's half: expects unmasked frames and leaves each answer to the caller, who has keys.
    #[must_use]
    pub const fn client(settings: Settings) -> Self {
        Self::new(settings, Role::Client)
    }

    const fn new(settings: Settings, role: Role) -> Self {
        Self {
            partial: None,
            message_size_max: narrow(settings.message_size_max),
            deflate: false,
            role,
            state: State::Open,
        }
    }

    /// The largest message accepted, in bytes.
    #[must_use]
    #[inline]
    pub const fn message_size_max(&self) -> usize {
        self.message_size_max as usize
    }

    /// With compressed messages, as the handshake agreed (RFC 7692): RSV1 marks them from now on, in both
    /// directions.
    #[must_use]
    pub const fn with_deflate(mut self) -> Self {
        self.deflate = true;
        self
    }

    /// Appends a message as one frame; `false`, and nothing appended, once a close frame has been sent
    /// or the session has failed.
    ///
    /// # Panics
    /// On a client half, whose frames must be masked: [`Self::send_masked`].
    #[inline]
    pub fn send(&mut self, message: Message<'_>, wire: &mut Vec<u8>) -> bool {
        assert!(self.role == Role::Server, "a client masks its frames");
        let allowed = self.may_send_data();
        if allowed {
            frame::encode_message(message, wire);
        }
        allowed
    }

    /// Appends a message as one masked frame; `false`, and nothing appended, once a close frame has
    /// been sent or the session has failed.
    ///
    /// `key` must be fresh and unpredictable for each frame (RFC 6455, 10.3).
    ///
    /// # Panics
    /// On a server half, whose frames must not be masked: [`Self::send`].
    pub fn send_masked(&mut self, message: Message<'_>, key: [u8; 4], wire: &mut Vec<u8>) -> bool {
        assert!(self.role == Role::Client, "a server masks no frame");
        let allowed = self.may_send_data();
        if allowed {
            frame::encode_message_masked(message, key, wire);
        }
        allowed
    }

    /// Appends a compressed message as one frame; `false`, and nothing appended, once a close frame has
    /// been sent or the session has failed.
    ///
    /// # Panics
    /// On a session that is not [`Self::with_deflate`], and on a client half.
    #[inline]
    pub fn send_deflated(
        &mut self,
        kind: MessageKind,
        compressed: &[u8],
        wire: &mut Vec<u8>,
    ) -> bool {
        assert!(self.role == Role::Server, "a client masks its frames");
        assert!(self.deflate, "no compression was agreed upon");
        let allowed = self.may_send_data();
        if allowed {
            frame::encode_deflated_message(kind, compressed, wire);
        }
        allowed
    }

    /// Appends a compressed message as one masked frame; `false`, and nothing appended, once a close
    /// frame has been sent or the session has failed.
    ///
    /// # Panics
    /// On a session that is not [`Self::with_deflate`], and on a server half.
    pub fn send_deflated_masked(
        &mut self,
        kind: MessageKind,
        compressed: &[u8],
        key: [u8; 4],
        wire: &mut Vec<u8>,
    ) -> bool {
        assert!(self.role == Role::Client, "a server masks no frame");
        assert!(self.deflate, "no compression was agreed upon");
        let allowed = self.may_send_data();
        if allowed {
            frame::encode_deflated_message_masked(kind, compressed, key, wire);
        }
        allowed
    }

    /// Ends the session for a violation that its caller found while inflating a message. A server half
    /// appends the close frame with its code and reason, if none was sent before; what is left of the
    /// input is ignored. Nothing happens once the session is closed.
    pub fn fail_with(&mut self, violation: Violation, wire: &mut Vec<u8>) {
        if !self.is_closed() {
            self.fail(violation, wire);
        }
    }

    /// Appends a ping; `false`, and nothing appended, once a close frame has gone either way.
    ///
    /// # Panics
    /// When `payload` has more than 125 bytes, and on a client half.
    pub fn ping(&mut self, payload: &[u8], wire: &mut Vec<u8>) -> bool {
        assert!(self.role == Role::Server, "a client masks its frames");
        self.is_open() && append_control(Opcode::Ping, payload, None, wire)
    }

    /// Appends a masked ping; `false`, and nothing appended, once a close frame has gone either way.
    ///
    /// # Panics
    /// When `payload` has more than 125 bytes, and on a server half.
    pub fn ping_masked(&mut self, payload: &[u8], key: [u8; 4], wire: &mut Vec<u8>) -> bool {
        assert!(self.role == Role::Client, "a server masks no frame");
        self.is_open() && append_control(Opcode::Ping, payload, Some(key), wire)
    }

    /// Appends a masked pong, the client's answer to a ping; `false`, and nothing appended, once the
    /// peer's close frame is here (RFC 6455, 5.5.2) or the session has failed.
    ///
    /// # Panics
    /// When `payload` has more than 125 bytes, and on a server half, which answers by itself.
    pub fn pong_masked(&mut self, payload: &[u8], key: [u8; 4], wire: &mut Vec<u8>) -> bool {
        assert!(
            self.role == Role::Client,
            "a server answers pings by itself"
        );
        self.state.reads() && append_control(Opcode::Pong, payload, Some(key), wire)
    }

    /// Appends a close frame, to start the close handshake; `false`, and nothing appended, if one has
    /// been sent before.
    ///
    /// `reason` is cut at a character to at most 123 bytes; without a code there is no reason. What has
    /// arrived of an unfinished message is dropped at once.
    ///
    /// # Panics
    /// On a client half, whose frames must be masked: [`Self::close_masked`].
    pub fn close(&mut self, code: Option<CloseCode>, reason: &str, wire: &mut Vec<u8>) -> bool {
        assert!(self.role == Role::Server, "a client masks its frames");
        self.start_close(code, reason, None, wire)
    }

    /// Appends a masked close frame, to start or to answer the close handshake, or to tell the peer of
    /// its violation; `false`, and nothing appended, if one has been sent before.
    ///
    /// # Panics
    /// On a server half, whose frames must not be masked: [`Self::close`].
    pub fn close_masked(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        key: [u8; 4],
        wire: &mut Vec<u8>,
    ) -> bool {
        assert!(self.role == Role::Client, "a server masks no frame");
        self.start_close(code, reason, Some(key), wire)
    }

    /// Whether neither side has sent a close frame and nothing has failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether this side has sent a close frame.
    #[must_use]
    pub const fn close_sent(&self) -> bool {
        matches!(
            self.state,
            State::CloseSent | State::Closed | State::Failed { close_sent: true }
        )
    }

    /// Whether the peer's close frame has arrived.
    #[must_use]
    pub const fn close_received(&self) -> bool {
        matches!(self.state, State::CloseReceived | State::Closed)
    }

    /// Whether the close handshake is done or the session has failed: once what is on the wire has been
    /// sent, TCP may be closed (RFC 6455, 7.1.1).
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed { .. })
    }

    /// Whether a frame or a fragmented message is unfinished, and holds memory until it is done.
    #[must_use]
    pub const fn message_open(&self) -> bool {
        self.partial.is_some()
    }

    /// Heap bytes held now. A buffer that is given out is not held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.memory())
    }

    /// How many bytes a buffer held when it was given out; 0 when none is.
    #[must_use]
    pub fn buffer_size_given(&self) -> usize {
        let assembly = self.partial.as_ref().and_then(|p| p.assembly.as_ref());
        assembly.and_then(|a| a.given_size).unwrap_or(0)
    }

    /// How many fragments of the message that is arriving have ended since this was asked last. Those
    /// that nobody has asked for are counted by the message itself ([`crate::ReceivedMessage::frame_count`]).
    pub fn take_fragment_count(&mut self) -> u32 {
        let assembly = self.partial.as_mut().and_then(|p| p.assembly.as_mut());
        assembly.map_or(0, Assembly::take_fragment_count)
    }

    /// Gives out the buffer of an unfinished message when its frame still lacks at least `threshold`
    /// payload bytes, so that the driver can receive straight into it.
    ///
    /// Between this and [`Self::give_buffer`] the session receives nothing else.
    ///
    /// # Panics
    /// When the buffer is given out already.
    pub fn take_buffer(&mut self, threshold: usize) -> Option<DirectBuffer> {
        if self.state != State::Open {
            return None;
        }
        let partial = self.partial.as_deref_mut()?;
        let frame = partial.frame.as_ref()?;
        if frame.opcode.is_control() || frame.remaining() < threshold.max(1) {
            return None;
        }
        Some(partial.assembly.as_mut()?.give_out(frame))
    }

    fn may_send_data(&self) -> bool {
        matches!(self.state, State::Open | State::CloseReceived)
    }

    fn start_close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        key: Option<[u8; 4]>,
        wire: &mut Vec<u8>,
    ) -> bool {
        let next = match self.state {
            State::Open => State::CloseSent,
            State::CloseReceived => State::Closed,
            State::Failed { close_sent: false } => State::Failed { close_sent: true },
            State::CloseSent | State::Closed | State::Failed { close_sent: true } => return false,
        };
        self.state = next;
        if let Some(assembly) = self.partial.as_mut().and_then(|p| p.assembly.as_mut()) {
            assembly.bytes = Vec::new();
        }
        let body = CloseBody::new(code, reason);
        append_control(Opcode::Close, body.as_slice(), key, wire)
    }

    /// Ends the session for a violation; tells the peer if this half can do so without a key.
    pub(crate) fn fail(&mut self, violation: Violation, wire: &mut Vec<u8>) {
        self.partial = None;
        let mut close_sent = self.close_sent();
        if self.role == Role::Server && !close_sent {
            let body = CloseBody::new(Some(violation.code()), &violation.to_string());
            close_sent = append_control(Opcode::Close, body.as_slice(), None, wire);
        }
        self.state = State::Failed { close_sent };
    }
}

/// As many as 32 bits can say.
const fn narrow(size: usize) -> u32 {
    if size > u32::MAX as usize {
        return u32::MAX;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it has just been compared")]
    let size = size as u32;
    size
}

impl State {
    /// Whether input is looked at. RFC 6455, 5.5.1: after a close frame there is nothing more to read.
    #[inline]
    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Open | Self::CloseSent)
    }
}

/// Appends a control frame and says so.
pub(crate) fn append_control(
    opcode: Opcode,
    payload: &[u8],
    key: Option<[u8; 4]>,
    wire: &mut Vec<u8>,
) -> bool {
    assert!(
        payload.len() <= CONTROL_SIZE_MAX,
        "a control payload has at most 125 bytes"
    );
    frame::encode_payload(opcode, payload, key, wire);
    true
}
