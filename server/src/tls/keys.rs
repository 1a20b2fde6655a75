//! One direction of an open TLS connection: a key of rustls', and the numbers of its records.

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite};
use tidegate_engine::ChannelFailure;

use super::causes::failure;

/// A record has 5 bytes before its content.
pub(super) const HEADER_SIZE: usize = 5;

/// RFC 8446, 5.3: numbers do not wrap, and some are left for the last words.
const NUMBER_MAX: u64 = u64::MAX - 0xFFFF;

/// A key to write with, and the number of the next record.
pub(super) struct Sealing {
    key: Box<dyn MessageEncrypter>,
    pub(super) number: u64,
}

/// A key to read with, and the number of the next record.
pub(super) struct Opening {
    key: Box<dyn MessageDecrypter>,
    pub(super) number: u64,
}

impl Sealing {
    /// A key made of this secret, whose next record has this number.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (number, secret): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts_of(secret)?;
        let key = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                let (fixed, explicit) = iv.as_ref().split_at(fixed);
                suite.aead_alg.encrypter(key, fixed, explicit)
            }
        };
        let mut sealing = Self { key, number: 0 };
        if number > 0 {
            // The key takes the first nonce that it sees for that of record 0, and refuses whatever
            // is not above it from there. What is sealed here leaves nothing behind.
            sealing
                .seal(ContentType::ApplicationData, &[], &mut Vec::new())
                .map_err(|_| Error::EncryptError)?;
            sealing.number = number;
        }
        Ok(sealing)
    }

    /// Appends one record.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        content: &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure> {
        let record = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let sealed = self.key.encrypt(record, self.number);
        let sealed = sealed.map_err(|error| failure(&error))?;
        self.number += 1;
        wire.extend_from_slice(&sealed.encode());
        Ok(())
    }
}

impl Opening {
    /// A key made of this secret, whose next record has this number.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (number, secret): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts_of(secret)?;
        let key = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
            }
        };
        Ok(Self { key, number })
    }

    /// What a record says, decrypted where it lies.
    ///
    /// # Panics
    /// If it has no header.
    pub(super) fn open<'r>(
        &mut self,
        record: &'r mut [u8],
    ) -> Result<(ContentType, &'r [u8]), Error> {
        let (header, content) = record.split_at_mut(HEADER_SIZE);
        let kind = ContentType::from(header[0]);
        let version = ProtocolVersion::from(u16::from_be_bytes([header[1], header[2]]));
        let sealed = InboundOpaqueMessage::new(kind, version, content);
        let opened = self.key.decrypt(sealed, self.number)?;
        self.number += 1;
        Ok((opened.typ, opened.payload))
    }
}

fn parts_of(secret: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secret {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher that is not known here".into())),
    }
}

/// RFC 8446, 5.5: how many records a key may seal.
pub(super) fn sealed_max(suite: SupportedCipherSuite) -> u64 {
    let common = match suite {
        SupportedCipherSuite::Tls13(suite) => &suite.common,
        SupportedCipherSuite::Tls12(suite) => &suite.common,
    };
    common.confidentiality_limit.min(NUMBER_MAX)
}
