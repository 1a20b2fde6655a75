//! Who is let in: from the accept to the first byte of the request, and the goodbye.
//!
//! ```text
//!  Accepted ─▶ a slot ─▶ on_accept ─┬─ Take ──────────▶ Handshake ─▶ request head
//!                                   ├─ TakeProxied ───▶ PROXY header ─▶ on_proxied ─▶ the same four
//!                                   ├─ Refuse ────────▶ answered, lingers
//!                                   └─ Drop ──────────▶ reset; the slot is free, and no on_gone
//!  the driver has closed it, or the shard ends ─▶ on_gone, once ─▶ the slot is free
//! ```
//!
//! Where the connection is to be encrypted, whoever is not let in is reset, since it could read no
//! answer; a PROXY header comes before the encryption.

use tidegate_io::Peer;
use tidegate_proto::handshake::Refusal;
use tidegate_proto::{PROXY_HEADER_SIZE_MAX, ProxyStatus, read_proxy_header};

use super::drain::LAST_REQUEST_TIMEOUT;
use super::receive::{Half, Next};
use super::{Core, Handler, Shard};
use crate::connection::{Flags, Stage};
use crate::core::Operation;
#[cfg(test)]
use crate::planted::Bug;
use crate::{Admission, RequestContext};

impl<H: Handler> Half<'_, H> {
    /// Somebody has connected.
    pub(super) fn on_accepted(&mut self, peer: Peer) {
        let slot = self.core.insert(peer.address);
        let secure = self.core.secure.as_ref();
        let is_secure = secure.is_some_and(|secure| secure.is_for(peer.listener));
        if is_secure {
            self.core.connection(slot).flags.set(Flags::SECURE);
        }
        let admission = self
            .handler
            .on_accept(&mut RequestContext::new(self.core, slot));
        match admission {
            Admission::Take => self.take_in(slot, peer),
            Admission::TakeProxied => {
                self.core.connection(slot).flags.set(Flags::PROXIED);
                self.take_in(slot, peer);
            }
            // It could not read the answer before a handshake, which is what it is to be kept from.
            Admission::Refuse(refusal) if is_secure => {
                self.core.note_dropped(slot, refusal.cause());
                self.say_goodbye(slot);
                peer.reset();
            }
            Admission::Refuse(refusal) => {
                self.take_in(slot, peer);
                self.core.refuse(slot, &refusal);
            }
            Admission::Drop(cause) => {
                self.core.note_dropped(slot, cause);
                self.core.remove(slot);
                peer.reset();
            }
        }
    }

    fn take_in(&mut self, slot: u32, peer: Peer) {
        if let Some(secure) = &mut self.core.secure {
            secure.accept(slot, peer.listener);
        }
        self.core.operations.push(Operation::Open { slot, peer });
        let usual = self.core.limits.handshake_timeout;
        let timeout = self.handler.handshake_timeout().unwrap_or(usual);
        let timeout = match self.core.draining {
            None => timeout,
            Some(_) => timeout.min(LAST_REQUEST_TIMEOUT),
        };
        self.core.set_handshake_deadline(slot, timeout);
    }

    /// More of what a proxy says first; `head` is what came before.
    #[inline(never)]
    pub(super) fn on_proxy_header(
        &mut self,
        slot: u32,
        mut head: Vec<u8>,
        bytes: &mut [u8],
    ) -> Next {
        let before = head.len();
        let status = if before == 0 {
            read_proxy_header(bytes)
        } else {
            // No header is longer; what lies behind it stays where it is.
            let room = PROXY_HEADER_SIZE_MAX.saturating_sub(before);
            head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            read_proxy_header(&head)
        };
        match status {
            Err(fault) => {
                let refusal = Refusal::bad_request("proxy_header", fault.reason());
                self.turn_away(slot, &refusal);
            }
            Ok(ProxyStatus::Partial) => {
                if before == 0 {
                    head.extend_from_slice(bytes);
                }
                self.core.connection(slot).stage = Stage::Handshake { head };
            }
            Ok(ProxyStatus::Complete { header, size }) => {
                self.core.connection(slot).flags.clear(Flags::PROXIED);
                if let Some(source) = header.source {
                    self.core.addresses.set(slot, source);
                }
                let context = &mut RequestContext::new(self.core, slot);
                match self.handler.on_proxied(context, &header) {
                    Admission::Take | Admission::TakeProxied => {
                        let rest = &mut bytes[size - before..];
                        if rest.is_empty() {
                            return Next::Nothing;
                        }
                        if self.core.connection(slot).flags.has(Flags::SECURE) {
                            return self.on_sealed(slot, rest);
                        }
                        return self.on_head(slot, Vec::new(), rest);
                    }
                    Admission::Refuse(refusal) => self.turn_away(slot, &refusal),
                    Admission::Drop(cause) => {
                        self.core.note_dropped(slot, cause);
                        self.core.release(slot, true);
                    }
                }
            }
        }
        Next::Nothing
    }

    /// Says no before the request; with a reset where an answer could not be read.
    fn turn_away(&mut self, slot: u32, refusal: &Refusal) {
        if self.core.connection(slot).flags.has(Flags::SECURE) {
            self.core.note_dropped(slot, refusal.cause());
            self.core.release(slot, true);
        } else {
            self.core.refuse(slot, refusal);
        }
    }

    /// The driver has closed it: the slot is free.
    pub(super) fn say_goodbye(&mut self, slot: u32) {
        #[cfg(test)]
        if Bug::ForgottenGoodbye.is_planted() {
            return self.core.remove(slot);
        }
        self.handler
            .on_gone(&mut RequestContext::new(self.core, slot));
        self.core.remove(slot);
    }
}

impl<D, H: Handler> Shard<D, H> {
    /// The driver has closed it: the slot is free.
    pub(super) fn say_goodbye(&mut self, slot: u32) {
        self.handler
            .on_gone(&mut RequestContext::new(&mut self.core, slot));
        self.core.remove(slot);
    }
}

impl<H: Handler> Core<H> {
    /// Writes down that a peer is reset before its request was answered, by our choice.
    fn note_dropped(&mut self, slot: u32, cause: &'static str) {
        self.record_failure(slot, cause);
        self.shared.refuse(cause);
    }
}
