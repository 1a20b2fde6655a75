//! permessage-deflate (RFC 7692) of one connection, over zlib-rs.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Ends each message on the wire's other side, and is left out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The contexts of both directions.
#[derive(Debug)]
pub(crate) struct Deflate {
    outward: Compress,
    inward: Decompress,
    keeps_outward: bool,
    keeps_inward: bool,
}

impl Deflate {
    /// As the server has answered; `None` if it has declined.
    pub(crate) fn agreed(head: &str) -> Option<Self> {
        let line = head.lines().find(|line| {
            line.to_ascii_lowercase()
                .starts_with("sec-websocket-extensions:")
        })?;
        let line = line.to_ascii_lowercase();
        if !line.contains("permessage-deflate") {
            return None;
        }
        let bits = line
            .split("client_max_window_bits=")
            .nth(1)
            .map(|rest| {
                rest.trim_matches('"')
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>()
            })
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(15);
        Some(Self {
            outward: Compress::new_with_window_bits(Compression::new(1), false, bits),
            inward: Decompress::new(false),
            keeps_outward: !line.contains("client_no_context_takeover"),
            keeps_inward: !line.contains("server_no_context_takeover"),
        })
    }

    pub(crate) fn compress(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len() + 64);
        self.outward
            .compress_vec(text, &mut out, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        if !out.ends_with(&TAIL) {
            return Err(io::Error::other("a message did not fit"));
        }
        out.truncate(out.len() - TAIL.len());
        if !self.keeps_outward {
            self.outward.reset();
        }
        Ok(out)
    }

    /// Is this what `text` was compressed to?
    pub(crate) fn inflates_to(&mut self, payload: &[u8], text: &[u8]) -> io::Result<bool> {
        let mut out = Vec::with_capacity(text.len() + 64);
        for piece in [payload, &TAIL] {
            self.inward
                .decompress_vec(piece, &mut out, FlushDecompress::Sync)
                .map_err(io::Error::other)?;
        }
        if !self.keeps_inward {
            self.inward.reset(false);
        }
        Ok(out == text)
    }
}
