//! Encrypted connections: what the engine asks of whoever encrypts. It knows no TLS library.
//!
//! ```text
//!  kernel ─▶ Received ─▶ Channel::receive ─┬─▶ plaintext ─▶ as the bytes of any connection
//!                                          └─▶ wire ─────▶ sent at once: handshake, alerts
//!  what is to be sent ─▶ Channel::send ─────▶ wire ─────▶ Op::Send ─▶ kernel
//! ```
//!
//! What is sent is encrypted at the last moment, when the driver may take it, so that whatever a
//! channel says by itself goes out in the order in which it was encrypted. The buffers are the
//! shard's: a channel keeps no more than a record, or a handshake message, that is cut.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Makes a channel for each peer that has called the secure port. All shards share it.
pub trait Acceptor: Send + Sync + fmt::Debug {
    /// A channel for a new peer.
    fn accept(&self) -> Box<dyn Channel>;
}

/// One encrypted connection, free of I/O.
pub trait Channel: fmt::Debug {
    /// Takes in what came from the wire, which it may change, and keeps what it cannot use yet.
    /// Appends what the peer has said to `plain`, and what is to be sent by itself to `wire`:
    /// answers of the handshake, alerts. Of that, a peer must not be able to ask for much.
    ///
    /// # Errors
    /// [`ChannelFailure`]: it is over. What `wire` has got is sent all the same, and `plain` is
    /// heard.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure>;

    /// Encrypts these bytes, and appends what is to be sent. Called only while it is open.
    ///
    /// # Errors
    /// [`ChannelFailure`]: nothing can be encrypted any more.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure>;

    /// Says that nothing more will be sent.
    fn end(&mut self, wire: &mut Vec<u8>);

    /// How far it has come.
    fn phase(&self) -> ChannelPhase;

    /// Who the peer is, if it has shown a certificate that is trusted.
    fn user(&self) -> Option<&str> {
        None
    }
}

/// How far a channel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelPhase {
    /// Nothing has come from the peer.
    New,
    /// The handshake is under way.
    Handshake,
    /// Both sides may speak.
    Open,
    /// The peer has said that it will say no more.
    Ended,
}

/// A channel is over, by a fault of the peer's or because its keys are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the encrypted connection failed: {cause}")]
pub struct ChannelFailure {
    /// Why, as a label such as `tls_version`.
    pub cause: &'static str,
}

/// The secure port.
#[derive(Debug, Clone)]
pub struct SecureSettings {
    /// Where to listen; with port 0 the kernel chooses.
    pub listen: SocketAddr,
    /// Who encrypts.
    pub acceptor: Arc<dyn Acceptor>,
    /// Whether there is no other port: [`crate::Settings::listen`] is not listened on then.
    pub only: bool,
}
