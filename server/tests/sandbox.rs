//! What the server may still do once it has its ports: as whom, with which files, by which calls.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::process::{Signal, geteuid};

use support::clock;
use support::folder::Folder;
use support::http;
use support::server::{self, Server};
use support::skip;
use support::wire;

/// A line of /proc/PID/status.
fn status(server: &Server, name: &str) -> String {
    let path = format!("/proc/{}/status", server.process().id);
    let text = fs::read_to_string(path).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect("such a line").trim().to_owned()
}

fn sandbox_line(server: &Server) -> &str {
    let line = server
        .greeting
        .iter()
        .find(|line| line.starts_with("sandbox: "));
    line.expect("it is said")
}

/// Clients are served, operators are, and it ends well.
#[track_caller]
fn assert_serves(server: &mut Server) {
    let mut room: Vec<_> = (0..8).map(|_| server.open("/ws/room")).collect();
    room[0].text("all of you");
    room.iter_mut()
        .for_each(|client| client.hears("all of you"));
    for path in [
        "/metrics",
        "/debug/memory",
        "/shards",
        "/connections",
        "/config",
        "/closed",
    ] {
        assert_eq!(server.look(path).status, 200, "{path}");
    }
    assert_eq!(
        http::request(server.admin, "POST", "/reload", b"").status,
        200
    );
    server.signal(Signal::TERM);
    for client in &mut room {
        assert_eq!(client.close_code(), 1001);
        client.send(&wire::close(1001, b""));
    }
    let (status, _, errors) = server.ended();
    assert_eq!((status.code(), errors.len()), (Some(0), 0), "{errors:?}");
}

#[test]
fn each_driver_on_each_host_serves_within_its_fences() {
    for host in ["thread", "glommio"] {
        for io in ["epoll", "uring"] {
            for descriptors in ["process", "shard"] {
                let fences = ["--landlock", "on", "--seccomp", "on"];
                let mut options = vec!["--host", host, "--io", io, "--descriptors", descriptors];
                options.extend(fences);
                let mut server = Server::with(&options);
                let line = sandbox_line(&server);
                for part in ["no new privileges", "landlock ABI ", "seccomp"] {
                    assert!(line.contains(part), "{line}");
                }
                assert_eq!(status(&server, "Seccomp:"), "2");
                assert_eq!(status(&server, "NoNewPrivs:"), "1");
                assert_serves(&mut server);
            }
        }
    }
}

#[test]
fn what_is_off_is_off_and_said_so() {
    let mut server = Server::with(&["--landlock", "off", "--seccomp", "off"]);
    let line = sandbox_line(&server);
    assert!(line.ends_with("landlock off, seccomp off"), "{line}");
    assert_eq!(status(&server, "Seccomp:"), "0");
    assert_eq!(status(&server, "NoNewPrivs:"), "1");
    assert_serves(&mut server);
}

#[test]
fn a_reload_finds_a_file_that_was_replaced_and_none_that_lies_elsewhere() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let path = folder.write("tidegate.toml", "[server]\npage = true\n");
    let mut server = Server::with(&["-c", &path, "--landlock", "on", "--seccomp", "on"]);
    let page = |server: &Server| http::request(server.public, "GET", "/", b"").status;
    assert_eq!(page(&server), 200);
    // As editors and deployments do it.
    let new = folder.write("new.toml", "[server]\npage = false\n");
    fs::rename(&new, &path).unwrap();
    server.signal(Signal::HUP);
    clock::until("the page is gone", || (page(&server) == 404).then_some(()));
    let hidden = elsewhere.write("tidegate.toml", "[server]\npage = true\n");
    fs::remove_file(&path).unwrap();
    symlink(&hidden, &path).unwrap();
    let answer = http::request(server.admin, "POST", "/reload", b"");
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(
        answer.text().contains("ermission denied"),
        "{}",
        answer.text()
    );
    assert_eq!(page(&server), 404, "what was stays");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn root_becomes_whoever_it_is_told_and_keeps_its_ports() {
    let test = "root_becomes_whoever_it_is_told_and_keeps_its_ports";
    if !geteuid().is_root() {
        return skip::note(&format!("skipped: {test}: only root can"));
    }
    let folder = Folder::new();
    // The user must get to its configuration.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.write("tidegate.toml", "[server]\npage = true\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for (io, host) in [("epoll", "thread"), ("uring", "glommio")] {
        for descriptors in ["process", "shard"] {
            let mut options = vec!["-c", &path, "--io", io, "--host", host];
            options.extend(["--descriptors", descriptors, "--listen", "127.0.0.1:0"]);
            options.extend(["--user", "65534", "--group", "65534"]);
            let mut server = Server::with(&options);
            assert!(sandbox_line(&server).starts_with("sandbox: user "));
            assert_eq!(status(&server, "Uid:"), "65534\t65534\t65534\t65534");
            assert_eq!(status(&server, "Gid:"), "65534\t65534\t65534\t65534");
            assert_eq!(status(&server, "Groups:"), "");
            assert_eq!(status(&server, "CapEff:"), "0000000000000000");
            assert_serves(&mut server);
        }
    }
}

#[test]
fn who_is_not_there_or_cannot_be_become_ends_the_start() {
    for (options, code, part) in [
        (["--user", "nobody-of-this-name"], 78, "nobody-of-this-name"),
        (["--group", "no-such-group"], 78, "no-such-group"),
    ] {
        let mut command = server::program();
        let ended = server::run(command.args(server::SERVE).args(options));
        assert_eq!(
            (ended.code, ended.errors.len()),
            (Some(code), 1),
            "{ended:?}"
        );
        assert!(ended.errors[0].contains(part), "{ended:?}");
    }
}

#[test]
fn the_server_that_follows_is_fenced_in_as_well() {
    let server = Server::with(&["--landlock", "on", "--seccomp", "on"]);
    server.signal(Signal::USR2);
    // Both speak, and nobody says who is first.
    let (mut fence, mut successor) = (None, None);
    while fence.is_none() || successor.is_none() {
        let line = server.says().expect("both speak");
        if line.starts_with("sandbox: ") {
            fence = Some(line);
        } else if line.starts_with("upgrade: process ") {
            successor = Some(line);
        }
    }
    let (fence, line) = (fence.expect("it spoke"), successor.expect("it spoke"));
    assert!(
        fence.ends_with("the rest as the process before it"),
        "{fence}"
    );
    let number = line.split(' ').nth(2).expect("a number");
    let text = fs::read_to_string(format!("/proc/{number}/status")).expect("it runs");
    assert!(
        text.contains("Seccomp:\t2") && text.contains("NoNewPrivs:\t1"),
        "{text}"
    );
    assert!(text.contains("Seccomp_filters:\t1"), "one fence: {text}");
    server.open("/echo").echoes("served");
    let id = rustix::process::Pid::from_raw(number.parse().expect("a number"));
    rustix::process::kill_process(id.expect("not 0"), Signal::KILL).expect("it runs");
}
