//! Descriptors that go from one process to the next: from a supervisor to the server, and from a
//! server to the one that follows it.
//!
//! The kernel closes at an exec whatever is marked for it (`FD_CLOEXEC`), and everything that this
//! process opens is. So a descriptor without the mark comes from whoever has started us, and
//! belongs to nobody here yet.

#![expect(
    unsafe_code,
    reason = "which descriptors a process was given only its environment says"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The standard streams come before it.
const FIRST: RawFd = 3;

/// Takes a descriptor that this process was started with. The next exec closes it.
///
/// # Errors
/// When there is none of this number, or it was opened, or taken, since the start.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for these two calls, which fail if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::other("it was not handed over"));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and nobody in this process owns it: whatever is opened here has had the
    // mark from its beginning, and whoever takes it sets the mark.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A duplicate that the next process to be started gets, under the same number.
///
/// # Errors
/// When there are no descriptors left.
pub fn lend(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    // Without the mark.
    Ok(rustix::io::dup(descriptor)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_what_was_handed_over_can_be_taken_and_once() {
        let own = File::open("/dev/null").unwrap();
        assert!(take(own.as_raw_fd()).is_err(), "it is ours");
        let number = lend(&own).unwrap().into_raw_fd();
        let taken = take(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(take(number).is_err(), "it was taken");
        for number in [0, 2, -1, 1 << 20] {
            assert!(take(number).is_err(), "{number}");
        }
    }
}
