//! A stream in memory, for those who read from one.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::messages::placed;

/// A peer that says the same bytes again and again, a chunk for each read.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Room, then the wire.
    bytes: Vec<u8>,
    start: usize,
    chunk_size: usize,
    /// Invariant: `start <= at < bytes.len()`.
    at: usize,
}

impl Feed {
    pub(crate) fn new(wire: &[u8], chunk_size: usize) -> Self {
        assert!(!wire.is_empty() && chunk_size > 0, "a feed has bytes");
        // Large allocations begin where pages begin, also those that receive what is fed.
        let page = Vec::with_capacity(wire.len().max(65_536));
        let (bytes, start) = placed(wire, &page);
        Self {
            bytes,
            start,
            chunk_size,
            at: start,
        }
    }

    /// The size of the largest chunk.
    pub(crate) fn largest(&self) -> usize {
        self.chunk_size.min(self.wire_size())
    }

    /// The size of all chunks of a round.
    pub(crate) fn wire_size(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// What one read gives.
    #[inline]
    pub(crate) fn next_chunk(&mut self, size_max: usize) -> &[u8] {
        let start = self.at;
        let left = self.bytes.len() - start;
        let end = start + left.min(size_max).min(self.chunk_size);
        self.at = if end == self.bytes.len() {
            self.start
        } else {
            end
        };
        &self.bytes[start..end]
    }
}

impl Read for Feed {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.next_chunk(buffer.len());
        buffer[..chunk.len()].copy_from_slice(chunk);
        Ok(chunk.len())
    }
}

/// Nothing is written while messages are received.
impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Feed {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        buffer.put_slice(self.next_chunk(room));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
