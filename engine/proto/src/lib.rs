//! RFC 6455 without I/O: bytes in, events and bytes out.
//!
//! This crate knows no socket, no clock, no randomness and no log: what it needs is an argument, and
//! what it says goes into a `Vec<u8>` of the caller. So any conversation can be replayed from its bytes.
//!
//! ```text
//!  handshake::read_request ─▶ Request ─▶ handshake::upgrade ─▶ Upgrade ─▶ 101 into `wire`
//!                                │                   └─▶ Refusal ─▶ 4xx into `wire`
//!                                └─▶ an ordinary page: Response
//!
//!  chunk ─▶ Input ─▶ Session::receive ─▶ Event (borrows from the chunk) ─▶ the application
//!                          └─▶ pong, close into `wire`          Session::send ─▶ `wire`
//! ```
//!
//! Compressed messages (RFC 7692) come out as they are; [`deflate`] has the filters for them.
//!
//! The sketch of its cost: a session is at most 32 bytes and owns no heap while no frame is under way.
//! A whole frame is parsed, unmasked and validated where it lies in the chunk; only a frame that the end
//! of a chunk cuts, or a fragmented message, owns memory, and gives it back with its last byte.
//!
//! ```
//! use tidegate_proto::{Event, Input, Session, Settings};
//!
//! let mut wire = Vec::new();
//! let mut session = Session::server(Settings::default());
//! let mut chunk = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
//! let mut input = Input::new(&mut chunk);
//! while let Some(event) = session.receive(&mut input, &mut wire)? {
//!     if let Event::Message(message) = event {
//!         session.send(message.message(), &mut wire);
//!     }
//! }
//! assert_eq!(wire, [0x81, 0x02, b'h', b'i']);
//! # Ok::<(), tidegate_proto::Violation>(())
//! ```

#![forbid(unsafe_code)]

mod close;
pub mod deflate;
mod event;
pub mod frame;
pub mod handshake;
mod inbound;
mod input;
mod limits;
mod mask;
mod message;
mod partial;
mod proxy;
mod session;
mod utf8;
mod violation;

pub use close::CloseCode;
pub use event::{
    CloseReason, ControlPayload, DeflatedMessage, Event, OwnedMessage, ReceivedMessage,
};
pub use input::Input;
pub use limits::{HEAD_SIZE_CEILING, HEADER_COUNT_CEILING, HeadLimits, MESSAGE_SIZE_MAX_DEFAULT};
pub use mask::mask;
pub use message::{Message, MessageKind};
pub use partial::{DirectBuffer, GROWTH_SIZE};
pub use proxy::{
    PROXY_HEADER_SIZE_MAX, PROXY_LINE_SIZE_MAX, ProxyFault, ProxyHeader, ProxyStatus, ProxyVersion,
    read_proxy_header,
};
pub use session::{Session, Settings};
pub use utf8::{InvalidUtf8, Utf8};
pub use violation::Violation;
