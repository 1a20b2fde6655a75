//! Tables of open files, and their limit, which is the limit of connections.

#![expect(
    unsafe_code,
    reason = "a thread's own table of descriptors is outside of what Rust knows"
)]

use std::cell::RefCell;
use std::fs::{read_dir, read_link};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Where the kernel lists the descriptors of the thread that asks.
const TABLE: &str = "/proc/thread-self/fd";

/// The standard streams, which every thread may need.
const STREAMS: [RawFd; 3] = [0, 1, 2];

/// Raises the soft limit of open files (`RLIMIT_NOFILE`) to the hard one, and returns it.
/// `u64::MAX` stands for no limit.
///
/// # Errors
/// When the kernel refuses the change.
pub fn raise_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

thread_local! {
    /// What [`own_table`] has given to this thread, and nobody has adopted yet.
    static GIVEN: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
}

/// Gives this thread a table of descriptors of its own: `kept`, `given` and the standard streams
/// are in it, and nothing else that the process has open. What is `given` is this thread's, to be
/// adopted ([`adopt`]); whoever has it elsewhere has another one of the same number.
///
/// Only this thread uses that table, so the kernel neither counts references for each system
/// call nor locks it for each accept and close, and the limit of open files (`RLIMIT_NOFILE`)
/// holds for this thread alone. The price: apart from those in `kept`, a descriptor that was
/// opened elsewhere means nothing here, and one that is opened here means nothing elsewhere. A
/// thread that does so must not exchange descriptors with others.
///
/// # Errors
/// When there is no `/proc`, or the kernel refuses.
pub fn own_table(kept: &[BorrowedFd<'_>], given: &[BorrowedFd<'_>]) -> io::Result<()> {
    // Whoever could not see what is open could not close it either.
    read_dir(TABLE)?;
    // SAFETY: descriptors that others own stay open in their table, under their numbers; of
    // those, the ones that this thread uses are in `kept`, which its caller answers for.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    let open: Vec<RawFd> = read_dir(TABLE)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let kept: Vec<RawFd> = kept.iter().chain(given).map(AsRawFd::as_raw_fd).collect();
    for number in open {
        // The one that listed the others is gone already.
        let is_open = read_link(format!("{TABLE}/{number}")).is_ok();
        if is_open && !STREAMS.contains(&number) && !kept.contains(&number) {
            // SAFETY: it is open, this table has no other user yet, and what this thread uses is
            // in `kept`.
            unsafe { rustix::io::close(number) };
        }
    }
    GIVEN.set(given.iter().map(AsRawFd::as_raw_fd).collect());
    Ok(())
}

/// The descriptor of this number that was given to this thread; `None` if none was, or it was
/// adopted before: then the number is the process's.
#[must_use]
pub fn adopt(descriptor: BorrowedFd<'_>) -> Option<OwnedFd> {
    let number = descriptor.as_raw_fd();
    let found = GIVEN.with_borrow_mut(|given| {
        let at = given.iter().position(|known| *known == number)?;
        Some(given.swap_remove(at))
    })?;
    // SAFETY: it is open in this thread's own table, where nobody owns it: `own_table` has put it
    // there, and it is adopted once.
    Some(unsafe { OwnedFd::from_raw_fd(found) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_table_of_ones_own_holds_what_is_kept_and_nothing_else() {
        let (kept, left) = (
            File::open("/proc/self/stat").unwrap(),
            File::open("/dev/null").unwrap(),
        );
        let count = || read_dir(TABLE).unwrap().count();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                own_table(&[kept.as_fd()], &[]).unwrap();
                // What is kept works, and the directory that is being listed counts as well.
                assert!((&kept).read(&mut [0; 1]).is_ok());
                assert!(left.metadata().is_err());
                let streams = STREAMS
                    .iter()
                    .filter(|n| read_link(format!("{TABLE}/{n}")).is_ok());
                assert_eq!(count(), streams.count() + 2);
            });
            thread.join().unwrap();
        });
        // Nothing was closed for anybody else.
        assert!(left.metadata().is_ok());
        assert!((&kept).read(&mut [0; 1]).is_ok());
    }

    #[test]
    fn what_is_given_is_adopted_once_and_closed_here_alone() {
        let given = File::open("/proc/self/stat").unwrap();
        assert!(adopt(given.as_fd()).is_none(), "it is the process's");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                own_table(&[], &[given.as_fd()]).unwrap();
                let own = adopt(given.as_fd()).expect("it was given");
                assert!(adopt(given.as_fd()).is_none(), "it was adopted");
                drop(own);
                assert!(given.metadata().is_err(), "it is closed here");
            });
            thread.join().unwrap();
        });
        assert!(given.metadata().is_ok());
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_limit().unwrap();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.maximum.unwrap_or(u64::MAX), raised);
    }
}
