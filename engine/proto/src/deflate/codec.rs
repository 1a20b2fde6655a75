//! What the message rules need of a codec for raw deflate (RFC 1951), which knows nothing of messages.
//!
//! There is one here ([`RustDeflate`](super::RustDeflate), [`RustInflate`](super::RustInflate)). Whoever
//! has another, with another appetite for memory, lends it to [`Deflater`](super::Deflater) and
//! [`Inflater`](super::Inflater), which stay the same.

/// How much one call has used of the two slices that it was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Bytes read from the front of the input.
    pub taken: usize,
    /// Bytes written to the front of the output.
    pub made: usize,
}

/// Compresses one endless raw stream.
pub trait DeflateCodec {
    /// Compresses from `input` into `output`, and flushes what it has taken up to a byte, with an empty
    /// stored block at the end.
    ///
    /// It is called again with what is left of the input and more room while the output gets full, and
    /// uses nothing at all when all has been flushed before.
    fn deflate(&mut self, input: &[u8], output: &mut [u8]) -> Used;

    /// Forgets the stream: the next byte begins another.
    fn reset(&mut self);
}

/// Inflates one raw stream.
pub trait InflateCodec {
    /// Inflates from `input` into `output` until one of them has nothing left, or `stop` says so.
    ///
    /// # Errors
    /// [`Corrupt`] when `input` is no deflate data, or refers back over the window or the beginning.
    fn inflate(&mut self, input: &[u8], output: &mut [u8], stop: Stop)
    -> Result<Inflated, Corrupt>;

    /// Forgets the stream: the next byte begins another.
    fn reset(&mut self);
}

/// Where inflating stops although there is more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Behind a block that says it is the last.
    StreamEnd,
    /// Before any block as well.
    Block,
}

/// What one call of an [`InflateCodec`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflated {
    /// What it has read and written.
    pub used: Used,
    /// Whether it has read a last block to its end.
    pub ended: bool,
}

/// What came is no deflate data. The codec must be reset before it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressed data is corrupt")]
pub struct Corrupt;
