//! USR2: another process of the same program takes over, and not one connect is lost.
//!
//! ```text
//!  USR2 ─▶ this server                                    the next one
//!           its sockets, lent ─────── exec ──────────────▶ takes them over
//!           goes on accepting                              reads its configuration, starts
//!           waits, at most a minute ◀─────── ready ─────── accepts
//!           lets go of the sockets ─▶ grace ─▶ drain ─▶ exit 0
//!      └ it has ended, or said nothing: this one goes on as before
//! ```
//!
//! The sockets are never closed, so whoever waits in their queues is served by the one or the
//! other. The program is looked for where it was at the start: a new version is put there first.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::Duration;

use tidegate_engine::{Handle, Port, inherit};

use crate::ending::Ending;
use crate::inheritance::{UPGRADE_VARIABLE, announce};
use crate::supervisor;
use crate::voice::{Line, Voice};

/// A server that has not begun to serve after so long never will.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the server that follows this one.
#[derive(Debug)]
pub(crate) struct Upgrade {
    program: PathBuf,
    arguments: Vec<OsString>,
    handle: Handle,
    admin: AdminDoor,
    ending: Ending,
    voice: Voice,
    supervised: bool,
    fenced: bool,
    under_way: AtomicBool,
}

/// The operators' port, which follows the sockets of the clients.
#[derive(Debug)]
pub(crate) struct AdminDoor {
    /// The socket that listens.
    pub(crate) socket: OwnedFd,
    /// Dropped, it closes the port here.
    pub(crate) open: std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

impl AdminDoor {
    fn close(&self) {
        if let Ok(mut open) = self.open.lock() {
            open.take();
        }
    }
}

impl Upgrade {
    pub(crate) fn new(
        handle: Handle,
        admin: AdminDoor,
        ending: Ending,
        voice: Voice,
        (supervised, fenced): (bool, bool),
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            program: env::current_exe()?,
            arguments: env::args_os().skip(1).collect(),
            handle,
            admin,
            ending,
            voice,
            supervised,
            fenced,
            under_way: AtomicBool::new(false),
        }))
    }

    /// Begins, and waits for nothing.
    pub(crate) fn begin(self: &Arc<Self>) {
        if self.ending.has_begun() || self.under_way.swap(true, Ordering::AcqRel) {
            self.complain("no upgrade: the server ends, or an upgrade is under way");
            return;
        }
        let upgrade = Arc::clone(self);
        let spawned = Builder::new()
            .name("tidegate-upgrade".to_owned())
            .spawn(move || upgrade.run());
        if let Err(error) = spawned {
            self.under_way.store(false, Ordering::Release);
            self.complain(&format!("no upgrade: {error}"));
        }
    }

    fn run(&self) {
        let line = format!("upgrade: starting {}", self.program.display());
        self.voice.say(&line);
        match self.start_next() {
            Ok(next) => {
                let process = next.id();
                self.voice
                    .say(&format!("upgrade: process {process} serves from now on"));
                supervisor::succeeded_by(process);
                self.admin.close();
                self.ending.hand_on();
            }
            Err(error) => {
                self.complain(&format!("no upgrade: {error}; this server goes on"));
                supervisor::status("an upgrade has failed");
            }
        }
        self.under_way.store(false, Ordering::Release);
    }

    /// The next server, which serves.
    fn start_next(&self) -> io::Result<Child> {
        let ports = self.handle.ports();
        let lend = |port: Option<&Port>| port.map_or(Ok(Vec::new()), Port::lend);
        let (clients, secure) = (lend(ports.plain.as_ref())?, lend(ports.secure.as_ref())?);
        // Whoever takes leave meanwhile has dropped them.
        drop(ports);
        if clients.is_empty() && secure.is_empty() {
            return Err(io::Error::other("there are no sockets to hand over"));
        }
        let admin = inherit::lend(&self.admin.socket)?;
        let (mut hearing, ready) = io::pipe()?;
        let lent_ready = inherit::lend(&ready)?;
        drop(ready);
        let announced = announce(
            &clients,
            &secure,
            Some(&admin),
            &lent_ready,
            self.supervised,
            self.fenced,
        );
        let mut next = Command::new(&self.program)
            .args(&self.arguments)
            .env(UPGRADE_VARIABLE, announced)
            // It is another process than the one that the supervisor meant.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .spawn()?;
        drop((clients, secure, admin, lent_ready));
        // The pipe says so at once when the next one has ended.
        let (heard, hears) = sync_channel(1);
        Builder::new()
            .name("tidegate-upgrade".to_owned())
            .spawn(move || {
                let mut said = Vec::new();
                let _ = hearing.read_to_end(&mut said);
                let _ = heard.send(said == b"ready\n");
            })?;
        match hears.recv_timeout(READY_TIMEOUT) {
            Ok(true) => Ok(next),
            Ok(false) => {
                // It may still run, without a word.
                let _ = next.kill();
                let status = next.wait()?;
                Err(io::Error::other(format!(
                    "the next server ended ({status})"
                )))
            }
            Err(_) => {
                let _ = next.kill();
                let _ = next.wait();
                Err(io::Error::other("the next server was not ready in time"))
            }
        }
    }

    fn complain(&self, line: &str) {
        self.voice.tell(vec![Line::Complained(line.to_owned())]);
    }
}
