//! Proxies of other people that stand before the server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::clock;

/// A proxy that runs, killed when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
}

/// How often a port that was free a moment ago may be taken by somebody else.
const ATTEMPTS: usize = 10;

impl Proxy {
    /// Starts the command that is made for a free port. Such programs cannot let the system choose
    /// one, so another is tried where it has been taken meanwhile.
    #[track_caller]
    pub(crate) fn start(command: impl Fn(u16) -> Command) -> Self {
        for _ in 0..ATTEMPTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = listener.local_addr().expect("an address");
            drop(listener);
            let mut command = command(address.port());
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.spawn().expect("it is installed");
            let listens = clock::until("the proxy listens or ends", || {
                if child.try_wait().expect("a child").is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).is_ok().then_some(true)
            });
            if listens {
                return Self { child, address };
            }
        }
        panic!("the proxy does not start");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is such a program.
pub(crate) fn is_installed(program: &str) -> bool {
    runs(Command::new(program).arg("-v"))
}

/// Whether a command ends well.
pub(crate) fn runs(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
