//! What this process may do: less than it could when it was started.

use std::fs::read_dir;
use std::io;

use rustix::process::{DumpableBehavior, Gid, Uid, getegid, geteuid, set_dumpable_behavior};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The user and the group as whom this process acts.
#[must_use]
pub fn identity() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Becomes this user, in this group and in no other, for good. Whatever only root may do cannot be
/// done any more.
///
/// # Errors
/// When this process is not root's, or has more than one thread: the kernel changes one thread
/// only, and the others would stay who they are.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    if read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("other threads would stay who they are"));
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    // The user last: nobody else may do the others.
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    // The kernel takes /proc/self away from whoever has changed, who looks there for descriptors.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// No program that is started from here gets more rights than this one has, whatever its file says.
///
/// # Errors
/// When the kernel is older than 3.5.
pub fn renounce_more() -> io::Result<()> {
    set_no_new_privs(true)?;
    Ok(())
}
