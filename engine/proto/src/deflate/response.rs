//! The client's half of the negotiation: what it offers, and whether the answer keeps to it.

use super::offer::write_bits;
use super::parameters::{ClientWindowBits, Parameters};
use super::{DeflateAgreement, DeflatePolicy, EXTENSION_NAME, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::handshake::Extension;

/// Why a server's answer to an offer of permessage-deflate fails the connection (RFC 7692, 5.1 and 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeflateRefusal {
    /// Not one well-formed element with parameters of legal values, each once.
    #[error("the server's answer to the offered compression is malformed")]
    Malformed,
    /// Another extension than the one offered.
    #[error("the server chose an extension that was not offered")]
    NotOffered,
    /// It lacks what the offer demands, or allows itself more.
    #[error("the server's answer does not keep to the offered compression")]
    NotKept,
    /// It demands a window that this side cannot keep.
    #[error("the server asks for a window of 8 bits, which cannot be kept")]
    WindowTooSmall,
}

impl DeflatePolicy {
    /// Appends the value of Sec-WebSocket-Extensions with which a client offers this.
    ///
    /// # Panics
    /// When a window is not 9 to 15 bits.
    pub fn write_offer(&self, value: &mut String) {
        self.check();
        value.push_str(EXTENSION_NAME);
        if !self.takeover {
            value.push_str("; server_no_context_takeover; client_no_context_takeover");
        }
        if self.server_window_bits < WINDOW_BITS_MAX {
            write_bits("server_max_window_bits", self.server_window_bits, value);
        }
        if self.client_window_bits < WINDOW_BITS_MAX {
            write_bits("client_max_window_bits", self.client_window_bits, value);
        } else {
            value.push_str("; client_max_window_bits");
        }
    }

    /// Holds a server's Sec-WebSocket-Extensions against what [`Self::write_offer`] offered; `None` when
    /// the server took nothing, so that nothing is compressed.
    ///
    /// # Errors
    /// A [`DeflateRefusal`]: the client must fail the connection (RFC 7692, 7).
    pub fn accept_response(
        &self,
        extensions: Option<&str>,
    ) -> Result<Option<DeflateAgreement>, DeflateRefusal> {
        let Some(list) = extensions else {
            return Ok(None);
        };
        let mut chosen = None;
        for element in list.split(',') {
            let element = Extension::parse(element.as_bytes()).ok_or(DeflateRefusal::Malformed)?;
            if element.name != EXTENSION_NAME {
                return Err(DeflateRefusal::NotOffered);
            }
            if chosen.replace(element).is_some() {
                return Err(DeflateRefusal::Malformed);
            }
        }
        let response = chosen
            .as_ref()
            .and_then(Parameters::read)
            .ok_or(DeflateRefusal::Malformed)?;
        self.hold(&response).map(Some)
    }

    /// Holds the parameters of an answer against the offer.
    fn hold(&self, response: &Parameters) -> Result<DeflateAgreement, DeflateRefusal> {
        let client_bits = match response.client_window_bits {
            None => self.client_window_bits,
            // RFC 7692, 7.1.2.2: in a response it always has a value.
            Some(ClientWindowBits::Any) => return Err(DeflateRefusal::Malformed),
            Some(ClientWindowBits::AtMost(bits)) if bits > self.client_window_bits => {
                return Err(DeflateRefusal::NotKept);
            }
            Some(ClientWindowBits::AtMost(bits)) if bits < WINDOW_BITS_MIN => {
                return Err(DeflateRefusal::WindowTooSmall);
            }
            Some(ClientWindowBits::AtMost(bits)) => bits,
        };
        // RFC 7692, 7.1.1.1: a server accepts it by including it.
        if !self.takeover && !response.server_no_context_takeover {
            return Err(DeflateRefusal::NotKept);
        }
        // RFC 7692, 7.1.2.1: a server accepts it by including it with the same or a smaller value.
        let server_bits = response.server_window_bits.unwrap_or(WINDOW_BITS_MAX);
        if server_bits > self.server_window_bits {
            return Err(DeflateRefusal::NotKept);
        }
        let client_takeover = self.takeover && !response.client_no_context_takeover;
        Ok(DeflateAgreement::of_response(
            response,
            client_takeover,
            client_bits,
        ))
    }
}
