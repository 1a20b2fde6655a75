//! zlib as the second opinion: it must inflate what we deflate, and what we inflate or refuse.

use flate2::{Decompress, FlushDecompress, Status};
use tidegate_proto::Violation;

use crate::laws::inputs::{Attempt, Deflated};

/// RFC 7692, 7.2.2: what the sender has cut off.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An empty final block with fixed codes, which can only follow the end of a block.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// zlib, and what it has made of one message.
struct Reference {
    zlib: Decompress,
    out: Vec<u8>,
    /// How much room each call gets: as small as can be where the window is to be held.
    step_size: usize,
}

impl Reference {
    fn new(window_bits: u8, step_size: usize) -> Self {
        Self {
            zlib: Decompress::new_with_window_bits(false, window_bits),
            out: Vec::new(),
            step_size,
        }
    }

    /// Inflates all of `input`; `None` when it is corrupt, and an early stop when there is more than
    /// `size_max`. Whether the last of it ended a stream.
    fn feed(&mut self, mut input: &[u8], size_max: usize) -> Option<bool> {
        loop {
            let (taken, made) = (self.zlib.total_in(), self.zlib.total_out());
            let start = self.out.len();
            self.out.resize(start + self.step_size, 0);
            let out = &mut self.out[start..];
            let status = self.zlib.decompress(input, out, FlushDecompress::Sync);
            let made = usize::try_from(self.zlib.total_out() - made).ok()?;
            let taken = usize::try_from(self.zlib.total_in() - taken).ok()?;
            self.out.truncate(start + made);
            let ended = status.ok()? == Status::StreamEnd;
            input = &input[taken..];
            if ended {
                // RFC 7692, 7.2.1: another block may follow a final one.
                self.zlib.reset(false);
            }
            let full = made == self.step_size;
            if self.out.len() > size_max || input.is_empty() && !full {
                return Some(ended);
            }
            if taken == 0 && made == 0 && !ended {
                return None;
            }
        }
    }

    /// Whether what came before ended where the tail belongs. The block that the tail ends may be final.
    fn feed_tail(&mut self) -> bool {
        let size = self.out.len();
        self.feed(&TAIL, usize::MAX).is_some() && self.out.len() == size
    }

    /// Whether it stands at the end of a block. Of no use afterwards.
    fn ends_block(&mut self) -> bool {
        let size = self.out.len();
        self.feed(&FINAL_BLOCK, usize::MAX) == Some(true) && self.out.len() == size
    }
}

/// zlib with the window that was promised inflates each message to its payload.
pub(crate) fn inflates_what_we_deflate(deflated: &Deflated) {
    let window_bits = deflated.settings.window_bits;
    let fresh = || Reference::new(window_bits, 64);
    let mut reference = fresh();
    for (payload, compressed) in deflated.payloads.iter().zip(&deflated.compressed) {
        if !deflated.takeover {
            reference = fresh();
        }
        reference.out.clear();
        assert_eq!(
            reference.feed(compressed, usize::MAX),
            Some(false),
            "zlib refuses it"
        );
        assert!(reference.feed_tail(), "zlib misses the end of a block");
        assert!(reference.out == *payload, "zlib reads something else");
    }
}

/// zlib and we come to the same bytes, or refuse the same messages.
pub(crate) fn inflates_what_we_inflate(attempt: &Attempt<'_>) {
    let size_max = attempt.size_max;
    let fresh = || Reference::new(15, 1024);
    let mut reference = fresh();
    for (message, inflated) in attempt.messages.iter().zip(&attempt.inflated) {
        if !attempt.takeover {
            reference = fresh();
        }
        reference.out.clear();
        let fed = reference.feed(message, size_max);
        let exceeds = fed.is_some() && reference.out.len() > size_max;
        let whole = fed.is_some() && !exceeds && reference.feed_tail();
        match inflated {
            Ok(bytes) => {
                assert!(whole, "zlib refuses what we inflate");
                assert!(reference.out == *bytes, "zlib reads something else");
            }
            Err(Violation::MessageTooBig) => assert!(!whole, "zlib finds it small enough"),
            Err(Violation::TextInvalid) => {
                assert!(whole && std::str::from_utf8(&reference.out).is_err());
            }
            Err(violation) => {
                assert_eq!(*violation, Violation::DeflateInvalid, "{:?}", attempt.kind);
                assert!(
                    !whole || !reference.ends_block(),
                    "zlib inflates what we refuse"
                );
            }
        }
        if inflated.is_err() {
            reference = fresh();
        }
    }
}
