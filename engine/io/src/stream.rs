//! The system calls of a stream, which all real drivers make in the same way.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::{Domain, Protocol, Type};

use crate::Parcel;
use crate::driver::Piece;

/// Asks again whenever a signal has come between.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// A socket that is connecting.
pub(crate) fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let domain = Domain::for_address(to);
    let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        // With port 0, one source address has 28,232 ports for all targets together; a
        // client that wants more takes more addresses.
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Receives into the front of the scratch.
#[inline]
pub(crate) fn receive(fd: &OwnedFd, scratch: &mut [u8]) -> Result<usize, Errno> {
    retry(|| recv(fd, &mut *scratch, RecvFlags::empty()).map(|(n, _)| n))
}

/// Receives at most so many bytes behind what the buffer holds.
pub(crate) fn receive_behind(
    fd: &OwnedFd,
    buffer: &mut Vec<u8>,
    size: usize,
) -> Result<usize, Errno> {
    // The spare capacity may be larger than what was asked for.
    if buffer.capacity() - buffer.len() == size {
        return retry(|| recv(fd, spare_capacity(buffer), RecvFlags::empty()).map(|(n, _)| n));
    }
    let before = buffer.len();
    buffer.resize(before + size, 0);
    let outcome = retry(|| recv(fd, &mut buffer[before..], RecvFlags::empty()).map(|(n, _)| n));
    buffer.truncate(before + outcome.unwrap_or(0));
    outcome
}

/// How many pieces one system call takes; the kernel's own limit is 1,024 (`UIO_MAXIOV`).
pub(crate) const SLICES_MAX: usize = 64;

/// The rest of a batch: parcels, and how much of the first has been sent.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    parcels: VecDeque<Parcel>,
    /// Invariant: less than the length of the first parcel, or 0.
    sent: usize,
}

impl Unsent {
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Keeps what is left of these pieces after `skip` bytes.
    pub(crate) fn keep(&mut self, pieces: &[Piece<'_>], skip: usize) {
        let mut skip = skip;
        for piece in pieces {
            let size = piece.bytes().len();
            if skip >= size {
                skip -= size;
                continue;
            }
            match piece {
                Piece::Lent(bytes) => self.parcels.push_back(Parcel::copy_of(&bytes[skip..])),
                Piece::Shared(parcel) => {
                    debug_assert!(
                        skip == 0 || self.parcels.is_empty(),
                        "only the first is cut"
                    );
                    if self.parcels.is_empty() {
                        self.sent = skip;
                    }
                    self.parcels.push_back((*parcel).clone());
                }
            }
            skip = 0;
        }
    }

    /// Sends what is left, as far as the kernel takes it. `true`: nothing is left.
    pub(crate) fn send(&mut self, fd: &OwnedFd) -> Result<bool, Errno> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut size = 0;
            let mut skip = self.sent;
            let count = self.parcels.len().min(SLICES_MAX);
            for (slice, parcel) in slices.iter_mut().zip(&self.parcels) {
                *slice = IoSlice::new(&parcel[skip..]);
                size += parcel.len() - skip;
                skip = 0;
            }
            match send_slices(fd, &slices[..count]) {
                Ok(sent) => {
                    self.advance(sent);
                    if sent < size {
                        return Ok(false);
                    }
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, size: usize) {
        self.sent += size;
        while let Some(first) = self.parcels.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.parcels.pop_front();
        }
    }
}

/// Sends what the kernel takes of these bytes.
#[inline]
pub(crate) fn send_bytes(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    retry(|| send(fd, bytes, SendFlags::NOSIGNAL))
}

/// Sends what the kernel takes of these pieces, at most [`SLICES_MAX`] of them, in one call.
pub(crate) fn send_some(fd: &OwnedFd, pieces: &[Piece<'_>]) -> Result<usize, Errno> {
    if let [piece] = pieces {
        return send_bytes(fd, piece.bytes());
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece.bytes());
    }
    send_slices(fd, &slices[..pieces.len()])
}

fn send_slices(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut control = SendAncillaryBuffer::default();
    retry(|| sendmsg(fd, slices, &mut control, SendFlags::NOSIGNAL))
}
