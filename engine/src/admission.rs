//! What becomes of a peer before its request is looked at.

use tidegate_proto::handshake::Refusal;

/// What to do with a peer that has connected.
#[derive(Debug)]
pub enum Admission {
    /// Its request is read.
    Take,
    /// A PROXY header is read first, and [`crate::Handler::on_proxied`] is asked then.
    TakeProxied,
    /// It is answered at once, whatever it may want, and given up as politely as any refusal.
    Refuse(Refusal),
    /// The connection is reset, without a word. Counted like a refusal of this cause, which is a
    /// short label for metrics.
    Drop(&'static str),
}
