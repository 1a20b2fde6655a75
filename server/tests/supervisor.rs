//! What a supervisor hears, and gives: the protocols of systemd, spoken by the test.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use support::clock;
use support::folder::Folder;
use support::server::{self, Server};
use support::skip;
use support::wire;

/// A supervisor's ear.
struct Ear {
    socket: UnixDatagram,
    path: String,
    _folder: Folder,
}

impl Ear {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("notify").display().to_string();
        let socket = UnixDatagram::bind(&path).expect("a new path");
        socket
            .set_read_timeout(Some(clock::PATIENCE))
            .expect("it is not zero");
        Self {
            socket,
            path,
            _folder: folder,
        }
    }

    fn server(&self, variables: &[(&str, &str)], options: &[&str]) -> Server {
        let mut command = server::program();
        command.env("NOTIFY_SOCKET", &self.path);
        command
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        for (name, value) in variables {
            command.env(name, value);
        }
        Server::from(command, options)
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let size = self.socket.recv(&mut buffer).expect("something is said");
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    }

    /// The next message with such a line.
    #[track_caller]
    fn hears(&self, line: &str) -> String {
        loop {
            let message = self.next();
            if message.lines().any(|said| said.starts_with(line)) {
                return message;
            }
        }
    }

    /// Forgets what has been said.
    fn forget(&self) {
        self.socket.set_nonblocking(true).expect("a socket");
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket");
    }

    /// How many signs of life come within so long.
    fn pulses(&self, span: Duration) -> usize {
        self.forget();
        clock::let_pass(span);
        self.socket.set_nonblocking(true).expect("a socket");
        let mut count = 0;
        let mut buffer = [0; 4096];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            count += usize::from(&buffer[..size] == b"WATCHDOG=1\n");
        }
        self.socket.set_nonblocking(false).expect("a socket");
        count
    }
}

#[test]
fn a_supervisor_hears_of_each_step_of_its_life() {
    let ear = Ear::new();
    let mut server = ear.server(&[], &["--drain-timeout", "7s"]);
    let ready = ear.hears("READY=1");
    assert!(
        ready.contains(&format!("STATUS=serving on {}", server.public)),
        "{ready}"
    );
    server.signal(Signal::HUP);
    let reloading = ear.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    ear.hears("READY=1");
    let mut client = server.open("/echo");
    server.signal(Signal::TERM);
    let stopping = ear.hears("STOPPING=1");
    // The drain, and some more.
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=12000000"),
        "{stopping}"
    );
    ear.hears("STATUS=draining: 1 connection");
    assert_eq!(client.close_code(), 1001);
    client.send(&wire::close(1001, b""));
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn signs_of_life_come_though_nobody_is_there() {
    for io in ["epoll", "uring"] {
        let ear = Ear::new();
        let _server = ear.server(&[("WATCHDOG_USEC", "400000")], &["--io", io]);
        ear.hears("READY=1");
        for _ in 0..5 {
            ear.hears("WATCHDOG=1");
        }
    }
}

#[test]
fn nobody_who_does_not_ask_for_signs_of_life_gets_any() {
    let ear = Ear::new();
    for variables in [
        &[][..],
        &[("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")],
    ] {
        let _server = ear.server(variables, &[]);
        ear.hears("READY=1");
        assert_eq!(ear.pulses(Duration::from_millis(600)), 0);
    }
}

#[test]
fn a_shard_that_hangs_lets_the_watchdog_bite() {
    let test = "a_shard_that_hangs_lets_the_watchdog_bite";
    if Command::new("strace").arg("-V").output().is_err() {
        return skip::skipped(test, "strace is not installed");
    }
    let ear = Ear::new();
    let server = ear.server(&[("WATCHDOG_USEC", "400000")], &["--io", "epoll"]);
    ear.hears("WATCHDOG=1");
    // One thread of many stands in one system call for long.
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process().id)).expect("it runs");
    let shard = tasks
        .map(|task| task.expect("an entry").path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|n| n.trim() == "tidegate-1"));
    let shard = shard.expect("there are two shards");
    let number = shard
        .file_name()
        .expect("a number")
        .to_string_lossy()
        .into_owned();
    let calls = "epoll_wait,epoll_pwait,epoll_pwait2";
    let mut strace = Command::new("strace")
        .args(["-p", &number, "-o", "/dev/null", "-e"])
        .arg(format!("trace={calls}"))
        .args(["-e", &format!("inject={calls}:delay_enter=30s")])
        .stderr(Stdio::null())
        .spawn()
        .expect("it was there");
    clock::until("there are no more signs of life", || {
        (ear.pulses(Duration::from_secs(1)) == 0).then_some(())
    });
    let _ = strace.kill();
    let _ = strace.wait();
    ear.hears("WATCHDOG=1");
}

/// The program as a supervisor starts it, with these sockets from descriptor 3 on.
fn activated(sockets: &[(&str, OwnedFd)]) -> Command {
    let program = "import os, sys\n\
        numbers = [os.dup(int(n)) for n in sys.argv[1].split(',')]\n\
        for at, n in enumerate(numbers): os.dup2(n, 100 + at)\n\
        for at, n in enumerate(numbers): os.dup2(100 + at, 3 + at); os.close(100 + at)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)), \
        LISTEN_FDNAMES=sys.argv[2])\n\
        os.execv(sys.argv[3], sys.argv[3:])";
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let numbers: Vec<String> = sockets
        .iter()
        .map(|(_, socket)| {
            // Without the mark that closes it at an exec.
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).expect("it is open");
            socket.as_raw_fd().to_string()
        })
        .collect();
    let mut command = Command::new("python3");
    command.args([
        "-c",
        program,
        &numbers.join(","),
        &names.join(":"),
        server::PROGRAM,
    ]);
    command
}

fn listening() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn sockets_of_a_supervisor_are_served_and_stay_when_the_server_ends() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip::skipped("sockets_of_a_supervisor", "python3 is not installed");
    }
    for io in ["epoll", "uring"] {
        let (clients, admin) = (listening(), listening());
        let (public, operators) = (clients.local_addr().unwrap(), admin.local_addr().unwrap());
        let copies = || {
            [
                ("client", OwnedFd::from(clients.try_clone().unwrap())),
                ("admin", OwnedFd::from(admin.try_clone().unwrap())),
            ]
        };
        for round in 0..3 {
            let sockets = copies();
            let admin = operators.to_string();
            let options = ["--io", io, "--listen", "127.0.0.1:1", "--admin", &admin];
            let mut server = Server::from(activated(&sockets), &options);
            drop(sockets);
            assert_eq!(
                (server.public, server.admin),
                (public, operators),
                "{io} {round}"
            );
            // One socket, two shards: both of them serve.
            let mut crowd: Vec<_> = (0..32).map(|_| server.open("/echo")).collect();
            crowd.iter_mut().for_each(|client| client.echoes("hello"));
            server.signal(Signal::TERM);
            for client in &mut crowd {
                assert_eq!(client.close_code(), 1001);
                client.send(&wire::close(1001, b""));
            }
            assert_eq!(server.ended().0.code(), Some(0));
            // Whoever comes meanwhile waits for the next one.
            let waiting = support::client::Client::connect(public);
            let sockets = copies();
            let server = Server::from(activated(&sockets), &options);
            waiting.upgraded("/echo").echoes("has waited");
            drop(server);
        }
    }
}

#[test]
fn what_was_announced_and_is_not_there_ends_the_start() {
    let mut command = server::program();
    command
        .args(server::SERVE)
        .env("TIDEGATE_UPGRADE", "client=77");
    let ended = server::run(&mut command);
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
    assert!(ended.errors[0].contains("77"), "{ended:?}");
}
