//! Frames as a client writes them, right or wrong, and as it reads them.

use std::fmt::Write as _;

/// The first byte of an unfragmented frame.
pub(crate) const TEXT: u8 = 0x81;
/// The same for binary.
pub(crate) const BINARY: u8 = 0x82;
/// A close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// A ping.
pub(crate) const PING: u8 = 0x89;
/// A pong.
pub(crate) const PONG: u8 = 0x8A;
/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;
/// A continuation that is not the last.
pub(crate) const CONTINUATION: u8 = 0x00;

/// The mask bit of the second byte.
const MASKED: u8 = 0x80;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The key of RFC 6455's own example, and the answer that it must get.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`SAMPLE_KEY`].
pub(crate) const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How the length of a payload is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// In 7 bits.
    Seven,
    /// In 16 bits after 126.
    Sixteen,
    /// In 64 bits after 127.
    SixtyFour,
}

/// A masked frame with the shortest length.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        0..=125 => Length::Seven,
        126..=0xFFFF => Length::Sixteen,
        _ => Length::SixtyFour,
    };
    let mut bytes = head(first, length, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// The head of a masked frame, with any length written in any way.
pub(crate) fn head(first: u8, length: Length, payload_len: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        Length::Seven => bytes.push(MASKED | u8::try_from(payload_len).expect("at most 125")),
        Length::Sixteen => {
            bytes.push(MASKED | 126);
            bytes.extend(u16::try_from(payload_len).expect("16 bits").to_be_bytes());
        }
        Length::SixtyFour => {
            bytes.push(MASKED | 127);
            bytes.extend(payload_len.to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes
}

/// A frame that is not masked, which no client may send.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).expect("at most 125")];
    bytes.extend(payload);
    bytes
}

/// A close frame with a code and a reason.
pub(crate) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason);
    frame(CLOSE, &payload)
}

/// A sound request to open a WebSocket, with further header lines.
pub(crate) fn upgrade(path: &str, more: &[&str]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {SAMPLE_KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for line in more {
        let _ = write!(request, "{line}\r\n");
    }
    request + "\r\n"
}

/// A frame from the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>()?;
        (self.first == CLOSE).then(|| u16::from_be_bytes(*code))
    }

    /// Takes the first frame out of `bytes`: the frame and its length on the wire.
    ///
    /// Panics at a masked frame, at a reserved bit other than the one of compression, and at a
    /// length that is not the shortest: no server may send these.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(first & 0x30, 0, "the server set a reserved bit");
        assert_eq!(second & MASKED, 0, "the server masked a frame");
        let (start, length) = match second {
            126 => {
                let length = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                assert!(length >= 126, "the length {length} fits 7 bits");
                (4, usize::from(length))
            }
            127 => {
                let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                assert!(length > 0xFFFF, "the length {length} fits 16 bits");
                (10, usize::try_from(length).expect("64 bits"))
            }
            length => (2, usize::from(length)),
        };
        let payload = bytes.get(start..start + length)?.to_vec();
        Some((Self { first, payload }, start + length))
    }
}

/// Frames can be long; the start tells enough.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(60)];
        let text = String::from_utf8_lossy(shown);
        write!(
            f,
            "frame {:#04x} of {} bytes {text:?}",
            self.first,
            self.payload.len()
        )
    }
}
