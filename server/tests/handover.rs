//! One server follows another on the same port while clients connect all the time: nobody is
//! refused, reset or left without an answer.

mod support;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use std::{fs, thread};

use rustix::process::{Pid, Signal};

use support::clock;
use support::folder::Folder;
use support::process::Process;
use support::server::Server;
use support::wire;

/// Clients that connect, upgrade, say something, hear it, and leave, one after another.
struct Callers {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Callers {
    fn start(to: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let threads = (0..count)
            .map(|_| {
                let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
                thread::spawn(move || {
                    let mut faults = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match call(to) {
                            Ok(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                            Err(fault) => faults.push(fault),
                        }
                    }
                    faults
                })
            })
            .collect();
        Self {
            stop,
            served,
            threads,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been served.
    fn until_served(&self, more: usize) {
        let goal = self.served() + more;
        clock::until("they are served", || (self.served() >= goal).then_some(()));
    }

    #[track_caller]
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let faults: Vec<String> = self
            .threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("it does not panic"))
            .collect();
        let served = self.served.load(Ordering::Relaxed);
        assert!(
            faults.is_empty(),
            "{} of {served}: {faults:#?}",
            faults.len()
        );
        served
    }
}

/// One connect, one upgrade, one echo.
fn call(to: SocketAddr) -> Result<(), String> {
    let fault = |step: &'static str| move |error: io::Error| format!("{step}: {error}");
    let mut stream = TcpStream::connect(to).map_err(fault("connect"))?;
    stream
        .set_read_timeout(Some(clock::PATIENCE))
        .map_err(fault("timeout"))?;
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut said = request.as_bytes().to_vec();
    said.extend(wire::frame(0x81, b"hello"));
    stream.write_all(&said).map_err(fault("request"))?;
    let mut heard = Vec::new();
    let echo = [&[0x81, 5][..], b"hello"].concat();
    loop {
        let mut buffer = [0; 1024];
        let size = stream.read(&mut buffer).map_err(fault("answer"))?;
        heard.extend_from_slice(&buffer[..size]);
        if heard.ends_with(&echo) || heard.windows(7).any(|window| window == echo) {
            break;
        }
        if size == 0 {
            let mut text = String::new();
            let _ = write!(text, "{}", String::from_utf8_lossy(&heard));
            return Err(format!("the end, after {text:?}"));
        }
    }
    let _ = stream.write_all(&wire::close(1000, b""));
    // Whoever is told that the server goes away has been served.
    let _ = stream.read_to_end(&mut heard);
    Ok(())
}

/// A server that another one has started; killed when dropped.
struct Next(Process);

impl Next {
    /// The one that a server has told of.
    #[track_caller]
    fn of(server: &Server) -> Self {
        loop {
            let line = server.says();
            let line = line.expect("it tells of the next one");
            assert!(!line.starts_with("no upgrade"), "{line}");
            let found = line.strip_prefix("upgrade: process ");
            if let Some(number) = found.and_then(|rest| rest.split(' ').next()) {
                return Self(Process {
                    id: number.parse().expect("a number"),
                });
            }
        }
    }

    fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id).expect("numbers of processes are small");
        let _ = rustix::process::kill_process(Pid::from_raw(id).expect("not 0"), Signal::KILL);
    }
}

fn options<'a>(io: &'a str, further: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--io", io, "--drain-timeout", "4s"];
    all.extend(further);
    all
}

#[test]
fn an_upgrade_loses_nobody() {
    for (io, descriptors) in [
        ("epoll", "process"),
        ("uring", "process"),
        ("uring", "shard"),
    ] {
        let mut server = Server::with(&options(io, &["--descriptors", descriptors]));
        let callers = Callers::start(server.public, 3);
        callers.until_served(20);
        let mut resident = server.open("/echo");
        server.signal(Signal::USR2);
        let mut next = Next::of(&server);
        // The first one tells whoever is left that it goes, and goes.
        assert_eq!(resident.close_code(), 1001);
        resident.send(&wire::close(1001, b""));
        clock::until("the first one ends", || {
            (!server.is_running()).then_some(())
        });
        // And on, from one to the next.
        for _ in 0..3 {
            callers.until_served(20);
            assert!(next.is_running());
            next.0.signal(Signal::USR2);
            let after = Next::of(&server);
            clock::until("it ends", || (!next.is_running()).then_some(()));
            next = after;
        }
        callers.until_served(20);
        let look = server.look("/healthz");
        assert_eq!(look.status, 200, "operators follow");
        let served = callers.end();
        support::skip::note(&format!(
            "{io}, {descriptors}: {served} served over 4 upgrades"
        ));
    }
}

#[test]
fn an_upgrade_that_cannot_start_changes_nothing() {
    let folder = Folder::new();
    let path = folder.write("tidegate.toml", "[server]\npage = false\n");
    let server = Server::with(&["-c", &path]);
    let mut client = server.open("/echo");
    folder.write("tidegate.toml", "[server]\npage = 7\n");
    server.signal(Signal::USR2);
    let line = clock::until("it complains", || {
        server
            .complains()
            .filter(|line| line.contains("no upgrade"))
    });
    assert!(line.contains("78"), "{line}");
    client.echoes("nothing has happened");
    assert_eq!(server.look("/readyz").status, 200);
    // The next try is as good as the first.
    folder.write("tidegate.toml", "[server]\npage = true\n");
    server.signal(Signal::USR2);
    let next = Next::of(&server);
    assert_eq!(client.close_code(), 1001);
    drop(next);
}

#[test]
fn a_shared_port_is_left_without_a_reset() {
    for io in ["epoll", "uring"] {
        let mut server = Server::with(&options(io, &["--share-port"]));
        let address = server.public.to_string();
        let callers = Callers::start(server.public, 3);
        for _ in 0..4 {
            callers.until_served(20);
            let next = Server::with(&options(io, &["--share-port", "--listen", &address]));
            callers.until_served(20);
            server.signal(Signal::TERM);
            assert_eq!(server.ended().0.code(), Some(0));
            server = next;
        }
        callers.until_served(20);
        let served = callers.end();
        support::skip::note(&format!(
            "{io}: {served} served over 4 restarts on a shared port"
        ));
    }
}
