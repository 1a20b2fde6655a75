//! What runs the shards: chosen by the operator, or by what the kernel lets this process have.

mod support;

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process;
use std::{env, fs, thread};

use rustix::io::Errno;
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use support::server::{self, Server};
use support::skip;
use support::wire;

/// The system calls of io_uring, whose numbers are those of every processor.
const SETUP: i64 = 425;
const ENTER: i64 = 426;
const REGISTER: i64 = 427;

/// Runs `body` where these system calls are refused, as the filters of containers do it. It runs on
/// a thread of its own, since a filter holds for a thread and all that it starts.
fn where_forbidden<T: Send>(calls: &[i64], body: impl FnOnce() -> T + Send) -> T {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    let architecture = ARCH.try_into().expect("seccompiler knows this processor");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture);
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .expect("the filter is sound");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            apply_filter(&program).expect("a process may always forbid itself something");
            body()
        });
        thread.join().expect("it does not panic")
    })
}

/// The line that says how the shards run.
fn shards_line(server: &Server) -> &str {
    let line = server.greeting.iter().find(|line| line.contains(" shard"));
    line.expect("it is said")
}

/// Whoever is served is served well, and nothing is said beside the greeting.
#[track_caller]
fn assert_serves(server: &mut Server) {
    server.open("/echo").echoes("hello");
    let mut room: Vec<_> = (0..8).map(|_| server.open("/ws/room")).collect();
    room[0].text("all of you");
    for client in &mut room {
        client.hears("all of you");
    }
    server.signal(Signal::TERM);
    for mut client in room {
        assert_eq!(client.close_code(), 1001);
        client.send(&wire::close(1001, b""));
    }
    let (status, _, errors) = server.ended();
    assert_eq!((status.code(), errors.len()), (Some(0), 0), "{errors:?}");
}

#[test]
fn each_host_serves_with_each_driver_and_is_named() {
    for host in ["thread", "glommio", "auto"] {
        for io in ["epoll", "uring", "auto"] {
            let mut server = Server::with(&["--host", host, "--io", io]);
            let (driver, host) = match (io, host) {
                ("epoll", "thread") => ("epoll", "plain threads"),
                ("epoll", _) => ("epoll", "glommio"),
                (_, "thread") => ("io_uring", "plain threads"),
                _ => ("io_uring", "glommio"),
            };
            let expected = format!("with {driver}, on {host}");
            let line = shards_line(&server);
            assert!(line.ends_with(&expected), "{line}");
            assert_serves(&mut server);
        }
    }
}

#[test]
fn a_host_has_its_descriptors_in_the_table_of_its_shard() {
    for host in ["thread", "glommio"] {
        let options = ["--host", host, "--descriptors", "shard", "--shards", "3"];
        assert_serves(&mut Server::with(&options));
    }
}

#[test]
fn where_io_uring_is_forbidden_epoll_and_the_plain_host_serve_and_one_line_says_why() {
    let usual = Server::with(&["--host", "thread", "--io", "epoll"])
        .greeting
        .len();
    let epoll = "with epoll, without io_uring: Operation not permitted (os error 1)";
    for (forbidden, driver) in [
        (&[SETUP][..], epoll),
        (&[ENTER], epoll),
        (&[SETUP, ENTER, REGISTER], epoll),
        // The driver needs it only to end sooner.
        (&[REGISTER], "with io_uring"),
    ] {
        where_forbidden(forbidden, || {
            let mut server = Server::with(&["--host", "auto", "--io", "auto"]);
            let line = shards_line(&server);
            let host = "on plain threads, without glommio: io_uring is refused: Operation not \
                        permitted (os error 1)";
            let expected = format!("{driver}, {host}");
            assert!(line.ends_with(&expected), "{forbidden:?}: {line}");
            assert_eq!(server.greeting.len(), usual, "{:?}", server.greeting);
            assert_serves(&mut server);
        });
    }
}

#[test]
fn what_is_asked_for_and_forbidden_is_one_line_and_exit_code_1() {
    for (option, way_out) in [
        (["--host", "glommio"], "--host thread"),
        (["--io", "uring"], "--io epoll"),
    ] {
        let ended = where_forbidden(&[SETUP], || {
            let mut command = server::program();
            command.args(server::SERVE);
            server::run(command.args(option))
        });
        assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
        for part in ["not permitted", way_out] {
            assert!(ended.errors[0].contains(part), "{}", ended.errors[0]);
        }
        assert!(!ended.errors[0].contains("panicked"), "{}", ended.errors[0]);
        assert!(
            !ended.output.iter().any(|line| line == "ready"),
            "{ended:?}"
        );
    }
}

#[test]
fn with_little_locked_memory_the_plain_host_serves() {
    let mut server = Server::from(
        server::with_limit("-l 100"),
        &["--host", "auto", "--io", "epoll"],
    );
    let line = shards_line(&server);
    assert!(
        line.contains("on plain threads, without glommio: "),
        "{line}"
    );
    assert!(line.contains("102400 bytes, not 512KiB"), "{line}");
    assert_serves(&mut server);
    let mut command = server::with_limit("-l 100");
    command.args(server::SERVE);
    let ended = server::run(command.args(["--host", "glommio"]));
    assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
}

#[test]
fn with_locked_memory_for_some_shards_but_not_for_all_epoll_and_the_plain_host_serve() {
    let copy = env::temp_dir().join(format!("tidegate-hosts-{}", process::id()));
    if let Some(command) = server::without_rights(&copy) {
        let limited = || server::limiting(&command, "-l 512");
        let mut server = Server::from(
            limited(),
            &["--host", "auto", "--shards", "16", "--io", "epoll"],
        );
        let line = shards_line(&server);
        assert!(
            line.contains("on plain threads, without glommio: "),
            "{line}"
        );
        assert!(line.contains("locked memory"), "{line}");
        assert_serves(&mut server);
        let options = ["--host", "auto", "--shards", "16", "--io", "auto"];
        let mut server = Server::from(limited(), &options);
        let line = shards_line(&server);
        assert!(line.contains("with epoll, without io_uring: "), "{line}");
        assert!(
            line.contains("on plain threads, without glommio: "),
            "{line}"
        );
        assert_serves(&mut server);
        let mut command = limited();
        command.args(server::SERVE);
        let ended = server::run(command.args(["--host", "glommio", "--shards", "16"]));
        assert_eq!((ended.code, ended.errors.len()), (Some(1), 1), "{ended:?}");
        assert!(ended.errors[0].contains("locked memory"), "{ended:?}");
    } else {
        skip::note("skipped: locked memory for some shards: setpriv cannot take the rights");
    }
    let _ = fs::remove_file(copy);
}
