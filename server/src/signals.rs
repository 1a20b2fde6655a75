//! What the server does when the system tells it to end, to look again, or to make room.
//!
//! ```text
//!  TERM ─▶ drain: connections are closed politely, at most for the drain timeout
//!            └─ TERM or INT ─▶ stop now
//!  INT  ─▶ stop now
//!  HUP  ─▶ the configuration is read again, and taken if it is good
//!  USR1 ─▶ the file of the log is opened again: it has been moved away
//!  USR2 ─▶ upgrade: the next process of the program takes over, and this one drains
//! ```

use std::io;
use std::sync::Arc;
use std::thread::Builder;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::ending::Ending;
use crate::log::Log;
use crate::reload::Reloader;
use crate::upgrade::Upgrade;

/// Watches for signals on a thread of its own, until the process ends.
///
/// # Errors
/// When the system refuses the signals or the thread.
pub(crate) fn watch(
    ending: Ending,
    reloader: Arc<Reloader>,
    upgrade: Arc<Upgrade>,
    log: Log,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let body = move || {
        for signal in signals.forever() {
            match signal {
                // Reading may take long, and the next signal may be the end.
                SIGHUP => reloader.order(),
                SIGUSR1 => log.reopen(),
                SIGUSR2 => upgrade.begin(),
                SIGTERM if ending.drain() => {}
                _ => ending.stop(),
            }
        }
    };
    Builder::new()
        .name("tidegate-signals".to_owned())
        .spawn(body)?;
    Ok(())
}
