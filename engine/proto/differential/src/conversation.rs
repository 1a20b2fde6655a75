//! What one peer sends after the handshake, and how it is cut into chunks.

use std::fmt;

/// Which half of the protocol reads the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// A server, so that frames must be masked.
    Server,
    /// A client, so that frames must not be masked.
    Client,
}

/// What the handshake agreed upon (RFC 7692).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No extension.
    None,
    /// permessage-deflate, and each message starts afresh.
    Shared,
    /// permessage-deflate, and a message may refer to those before it.
    Takeover,
}

/// One conversation: all that is needed to replay it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// What it was made from.
    pub seed: u64,
    /// Who reads it.
    pub half: Half,
    /// What was agreed upon.
    pub compression: Compression,
    /// The largest message that its reader takes, in bytes; at least 125.
    pub size_max: usize,
    /// Whether we receive straight into a message's buffer where that is possible.
    pub direct: bool,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Where the chunks end. Invariant: strictly ascending, and the last one is the length of `bytes`
    /// unless that is 0.
    pub cuts: Vec<usize>,
}

impl Conversation {
    /// A conversation in which nothing is said.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            seed: 0,
            half: Half::Server,
            compression: Compression::None,
            size_max: 125,
            direct: false,
            bytes: Vec::new(),
            cuts: Vec::new(),
        }
    }

    /// The chunks in their order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.cuts.iter().map(move |&end| {
            let chunk = &self.bytes[start..end];
            start = end;
            chunk
        })
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "read by a {:?}, compression {:?}, messages up to {} bytes, direct {}",
            self.half, self.compression, self.size_max, self.direct
        )?;
        writeln!(formatter, "chunks end at {:?}", self.cuts)?;
        write!(formatter, "bytes {}", hex(&self.bytes))
    }
}

/// Bytes as hex digits; long ones are cut in the middle of nowhere and say so.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 4096;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let mut text: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if shown.len() < bytes.len() {
        text.push_str(&format!("... ({} bytes in all)", bytes.len()));
    }
    text
}
