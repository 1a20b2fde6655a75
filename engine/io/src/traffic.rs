//! How many bytes have gone over a connection, as its kernel counts them: nothing is counted here,
//! and whoever does not ask pays nothing.

#![expect(unsafe_code, reason = "no safe crate here asks for TCP_INFO")]

use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::from_mut;

/// The bytes of a stream, whatever they mean: handshakes and encryption are in it, what the kernel
/// had to send twice is not. To Linux, the end of the stream is one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// What has come from the peer, looked at or not.
    pub received: u64,
    /// What the peer has acknowledged.
    pub acknowledged: u64,
}

/// Of `struct tcp_info` (linux/tcp.h) the part up to `tcpi_bytes_received`, which Linux has since 4.1.
type Info = [u64; 17];
const BYTES_ACKED: usize = 15;
const BYTES_RECEIVED: usize = 16;

/// What the kernel says of this socket; `None` if it is none of TCP, or the kernel is too old.
pub(crate) fn traffic(socket: impl AsFd) -> Option<Traffic> {
    let mut info: Info = [0; 17];
    let whole = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    let mut size = whole;
    // SAFETY: `info` is valid for `size` bytes, of which any value is valid, and `socket` is open as
    // long as it is borrowed.
    let code = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            from_mut(&mut info).cast(),
            &raw mut size,
        )
    };
    (code == 0 && size == whole).then_some(Traffic {
        received: info[BYTES_RECEIVED],
        acknowledged: info[BYTES_ACKED],
    })
}
