//! Tables of open files, and their limit, which is the limit of connections.

#![expect(
    unsafe_code,
    reason = "a thread's own table of descriptors is outside of what Rust knows"
)]

use std::fs::{read_dir, read_link};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

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

/// Gives this thread a table of descriptors of its own: `kept` and the standard streams are
/// in it, and nothing else that the process has open.
///
/// Only this thread uses that table, so the kernel neither counts references for each system
/// call nor locks it for each accept and close, and the limit of open files (`RLIMIT_NOFILE`)
/// holds for this thread alone. The price: apart from those in `kept`, a descriptor that was
/// opened elsewhere means nothing here, and one that is opened here means nothing elsewhere. A
/// thread that does so must not exchange descriptors with others.
///
/// # Errors
/// When there is no `/proc`, or the kernel refuses.
pub fn own_table(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    // Whoever could not see what is open could not close it either.
    read_dir(TABLE)?;
    // SAFETY: descriptors that others own stay open in their table, under their numbers; of
    // those, the ones that this thread uses are in `kept`, which its caller answers for.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    let open: Vec<RawFd> = read_dir(TABLE)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    for number in open {
        // The one that listed the others is gone already.
        let is_open = read_link(format!("{TABLE}/{number}")).is_ok();
        if is_open && !STREAMS.contains(&number) && !kept.contains(&number) {
            // SAFETY: it is open, this table has no other user yet, and what this thread uses is
            // in `kept`.
            unsafe { rustix::io::close(number) };
        }
    }
    Ok(())
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
                own_table(&[kept.as_fd()]).unwrap();
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
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_limit().unwrap();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.maximum.unwrap_or(u64::MAX), raised);
    }
}
