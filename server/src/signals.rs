//! What the server does when the system tells it to end, or to look again.
//!
//! ```text
//!  TERM ─▶ drain: connections are closed politely, at most for the drain timeout
//!            └─ TERM or INT ─▶ stop now
//!  INT  ─▶ stop now
//!  HUP  ─▶ the configuration is read again, and taken if it is good
//!  USR1 ─▶ the file of the log is opened again: it has been moved away
//! ```

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tidegate_engine::Handle;

use crate::phase::{Phase, PhaseCell};
use crate::reload::Reloader;
use crate::units::show_span;
use crate::voice::Voice;

/// Watches for signals on a thread of its own, until the process ends.
///
/// # Errors
/// When the system refuses the signals or the thread.
pub(crate) fn watch(
    handle: Handle,
    phase: Arc<PhaseCell>,
    reloader: Arc<Reloader>,
    voice: Voice,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let body = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // Reading may take long, and the next signal may be the end.
                reloader.order();
                continue;
            }
            if signal == SIGUSR1 {
                voice.log().reopen();
                continue;
            }
            let first = phase.now() != Phase::Draining;
            phase.enter(Phase::Draining);
            if signal == SIGTERM && first {
                let timeout = reloader.live().configuration().drain_timeout();
                drain(&handle, timeout, &voice);
            } else {
                voice.say("stopping now");
                handle.stop();
            }
        }
    };
    Builder::new()
        .name("tidegate-signals".to_owned())
        .spawn(body)?;
    Ok(())
}

fn drain(handle: &Handle, timeout: Duration, voice: &Voice) {
    let count: u64 = handle
        .counters()
        .iter()
        .map(|shard| shard.connections)
        .sum();
    let noun = if count == 1 {
        "connection"
    } else {
        "connections"
    };
    voice.say(&format!(
        "draining: {count} {noun}, at most {}",
        show_span(timeout)
    ));
    handle.drain(timeout);
}
