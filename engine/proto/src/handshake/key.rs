//! Sec-WebSocket-Key and the Sec-WebSocket-Accept that answers it (RFC 6455, 1.3 and 4.2.2).

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

/// Base64 of 16 bytes.
pub(crate) const KEY_SIZE: usize = 24;
/// Base64 of the 20 bytes of a SHA-1.
pub(crate) const ACCEPT_SIZE: usize = 28;

/// RFC 6455, 1.3: a name that no endpoint without WebSocket would happen to use.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Base64 with its padding, whose last character may carry bits that mean nothing.
///
/// The example in RFC 6455, 4.1 has such bits, and nobody can gain anything by them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether this is base64 of exactly 16 bytes: 24 characters, the last two of them padding.
pub(crate) fn is_key(value: &[u8]) -> bool {
    let mut nonce = [0; 18];
    value.len() == KEY_SIZE && matches!(LENIENT.decode_slice(value, &mut nonce), Ok(16))
}

/// The key for a client's 16 bytes of chance.
pub(crate) fn encode_key(nonce: [u8; 16]) -> [u8; KEY_SIZE] {
    let mut key = [0; KEY_SIZE];
    let size = STANDARD.encode_slice(nonce, &mut key);
    debug_assert_eq!(size, Ok(KEY_SIZE));
    key
}

/// RFC 6455, 4.2.2: the SHA-1 of the key as it stands there and the GUID, in base64.
pub(crate) fn accept(key: &[u8]) -> [u8; ACCEPT_SIZE] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; ACCEPT_SIZE];
    let size = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(size, Ok(ACCEPT_SIZE));
    accept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn only_base64_of_sixteen_bytes_is_a_key() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(
            is_key(b"AQIDBAUGBwgJCgsMDQ4PEC=="),
            "RFC 6455, 4.1, as it is printed"
        );
        assert!(is_key(&encode_key([0xff; 16])));
        for bad in [
            b"".as_slice(),
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZQ= =",
            b"====dGhlIHNhbXBsZSBub25j",
            b"dGhlIHNhbXBsZSBub25jZQ=\0",
            b"dGhlIHNhbXBsZSBub25jZTE=", // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZTEy", // 18 bytes
            b"dGhlIHNhbXBsZSBub25j_Q==", // the alphabet for URLs
            b"dGhlIHNhbXBsZSBub25jZQ==dGhl",
        ] {
            assert!(!is_key(bad), "{}", bad.escape_ascii());
        }
    }
}
