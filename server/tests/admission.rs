//! Who is let in: addresses, caps and rates, given back whatever becomes of a connection, and
//! changed by a reload.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use rustix::process::Signal;

use support::client::Client;
use support::clock;
use support::folder::Folder;
use support::http::Response;
use support::server::Server;
use support::skip;
use support::wire;

/// An address of loopback that is somebody else's.
fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// What a request for a WebSocket is answered from this address.
#[track_caller]
fn asks(server: &Server, from: IpAddr) -> Response {
    let mut client = Client::connect_from(server.public, from);
    // Whoever is refused at the door is answered before it has asked.
    let _ = client.try_send(wire::upgrade("/echo", &[]).as_bytes());
    client.head()
}

/// An open WebSocket from this address.
#[track_caller]
fn opens(server: &Server, from: IpAddr) -> Client {
    Client::connect_from(server.public, from).upgraded("/echo")
}

/// The seconds of `Retry-After`.
#[track_caller]
fn retry_after(response: &Response) -> u32 {
    let header = response.header("retry-after");
    let header = header.unwrap_or_else(|| panic!("no Retry-After in {response:?}"));
    header.parse().expect("a number of seconds")
}

/// The status, which has to come with a time to come back.
#[track_caller]
fn status_and_retry(response: &Response) -> u16 {
    let seconds = retry_after(response);
    assert!((1..=60).contains(&seconds), "{response:?}");
    response.status
}

fn refusals(server: &Server, cause: &str) -> u64 {
    let name = "tidegate_handshake_refusals_total";
    let labels = [("cause", cause)];
    server.metrics().sum(name, &labels).unwrap_or(0)
}

#[test]
fn an_address_has_no_more_connections_than_its_cap_and_gets_them_back() {
    let server = Server::with(&["--connections-per-address", "3"]);
    let mut first: Vec<Client> = (0..3).map(|_| opens(&server, address(2))).collect();
    for _ in 0..20 {
        assert_eq!(status_and_retry(&asks(&server, address(2))), 429);
    }
    opens(&server, address(3)).echoes("another address");
    for client in &mut first {
        client.echoes("is not disturbed");
    }
    assert_eq!(refusals(&server, "address_full"), 20);
    // By a close, by the end of the stream, by a reset.
    let last = first.pop().expect("three");
    last.closes();
    server.until_metric("tidegate_connections", &[], 2);
    opens(&server, address(2)).reset();
    drop(first.pop());
    first.pop().expect("three").reset();
    server.until_empty();
    let again: Vec<Client> = (0..3).map(|_| opens(&server, address(2))).collect();
    assert_eq!(status_and_retry(&asks(&server, address(2))), 429);
    drop(again);
    server.until_metric("tidegate_admitted_addresses", &[("kind", "address")], 0);
}

#[test]
fn what_is_counted_is_given_back_after_storms_of_every_kind() {
    const CAP: usize = 100;
    let server = Server::with(&[
        "--connections-max",
        "120",
        "--connections-per-address",
        "100",
        "--connections-per-network",
        "110",
    ]);
    let half = &wire::upgrade("/echo", &[]).into_bytes()[..60];
    let head = wire::upgrade("/ws/storm", &[]).into_bytes();
    for round in 0..20 {
        let mut crowd = Vec::new();
        for number in 0..150 {
            let mut client = Client::connect_from(server.public, address(2));
            // Some are refused at the door, and some of those are reset while they speak.
            let _ = match (round + number) % 5 {
                0 => true,
                1 => client.try_send(half),
                2 => client.try_send(b"\0\0\0\0"),
                3 => client.try_send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                _ => client.try_send(&head),
            };
            crowd.push(client);
        }
        for (number, client) in crowd.into_iter().enumerate() {
            if number % 2 == 0 {
                client.reset();
            }
        }
    }
    server.until_empty();
    let all: Vec<Client> = (0..CAP).map(|_| opens(&server, address(2))).collect();
    assert_eq!(status_and_retry(&asks(&server, address(2))), 429);
    let network: Vec<Client> = (0..10).map(|_| opens(&server, address(3))).collect();
    assert_eq!(status_and_retry(&asks(&server, address(3))), 429);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));
    let others: Vec<Client> = (0..10).map(|_| opens(&server, elsewhere)).collect();
    assert_eq!(status_and_retry(&asks(&server, elsewhere)), 503);
    for cause in ["address_full", "network_full", "full"] {
        assert!(refusals(&server, cause) > 0, "{cause}");
    }
    drop((all, network, others));
    server.until_empty();
}

#[test]
fn who_is_refused_and_neither_reads_nor_leaves_is_gone_after_a_while() {
    let server = Server::with(&["--connections-max", "1"]);
    let mut inside = server.open("/echo");
    let crowd: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    clock::until("all are told", || {
        (refusals(&server, "full") == 50).then_some(())
    });
    server.until_metric("tidegate_connections", &[], 1);
    inside.echoes("is still inside");
    drop(crowd);
    inside.closes();
    server.until_empty();
    server.open("/echo").echoes("there is room");
}

#[test]
fn a_rate_lets_in_a_burst_and_tells_the_others_different_times() {
    const BURST: u128 = 50;
    let server = Server::with(&["--handshake-rate", "50"]);
    let began = clock::now();
    let answers: Vec<Response> = (0..400).map(|_| asks(&server, address(2))).collect();
    let took = began.elapsed();
    let opened = answers.iter().filter(|answer| answer.status == 101).count() as u128;
    let allowed = BURST + 1 + took.as_millis() * 50 / 1000;
    assert!(
        (BURST..=allowed).contains(&opened),
        "{opened} of at most {allowed}"
    );
    let refused: Vec<&Response> = answers.iter().filter(|a| a.status != 101).collect();
    assert_eq!(refusals(&server, "rate"), refused.len() as u64);
    let mut seconds: Vec<u32> = Vec::new();
    for answer in refused {
        assert_eq!(status_and_retry(answer), 503);
        seconds.push(retry_after(answer));
    }
    // 350 that are let in at 50 a second take seven of them, less those that came while they asked.
    let latest = seconds.iter().max().copied().unwrap_or(0);
    let least = 5.0 - 2.0 * took.as_secs_f64();
    assert!(f64::from(latest) >= least, "{latest} s after {took:?}");
    // Nobody waits for ever: there is room again.
    clock::until("somebody is let in", || {
        (asks(&server, address(3)).status == 101).then_some(())
    });
}

#[test]
fn an_address_has_a_rate_of_its_own() {
    let server = Server::with(&[
        "--handshake-rate-per-address",
        "1",
        "--handshake-burst-per-address",
        "5",
    ]);
    let began = clock::now();
    let answers: Vec<u16> = (0..100).map(|_| asks(&server, address(2)).status).collect();
    let allowed = 5 + 1 + began.elapsed().as_secs();
    let opened = answers.iter().filter(|status| **status == 101).count() as u64;
    assert!(
        (5..=allowed).contains(&opened),
        "{opened} of at most {allowed}"
    );
    assert_eq!(refusals(&server, "address_rate"), 100 - opened);
    for other in 10..30 {
        opens(&server, address(other)).echoes("another address");
    }
}

#[test]
fn a_storm_that_is_refused_costs_little_and_disturbs_nobody() {
    const STORM: u32 = 3_000;
    let server = Server::with(&["--connections-max", "1"]);
    let mut inside = server.open("/echo");
    let process = server.process();
    let before = process.cpu_exactly();
    for _ in 0..STORM {
        // Each of them has its answer before it has asked for anything.
        let answer = server.connect().all();
        assert!(
            answer.starts_with(b"HTTP/1.1 503 "),
            "{}",
            answer.escape_ascii()
        );
        inside.echoes("in the midst of it");
    }
    let spent = (process.cpu_exactly() - before) / STORM;
    skip::note(&format!(
        "{spent:?} of CPU for one that is refused, and an echo"
    ));
    server.until_metric("tidegate_connections", &[], 1);
    inside.echoes("after");
}

/// What a program says in the end, of which each line is trimmed.
#[track_caller]
fn said(program: &mut Command) -> String {
    let done = program.output().expect("it is installed");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Those who answer before they have been asked must be understood all the same.
#[test]
fn curl_and_python_understand_a_refusal_at_the_door() {
    let test = "curl_and_python_understand_a_refusal_at_the_door";
    let server = Server::with(&["--connections-max", "1"]);
    let _inside = server.open("/echo");
    let url = format!("http://{}/", server.public);
    let found = |program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|done| done.status.success())
    };
    if found("curl") {
        for _ in 0..20 {
            let format = "%{http_code} %{errormsg}";
            let mut command = Command::new("curl");
            command.args(["-sS", "-o", "/dev/null", "-D", "-", "-w", format, &url]);
            let told = said(&mut command);
            assert!(
                told.starts_with("HTTP/1.1 503 Service Unavailable"),
                "{told}"
            );
            assert!(
                told.contains("Retry-After: ") && told.ends_with("503"),
                "{told}"
            );
        }
    } else {
        skip::skipped(test, "there is no curl");
    }
    if found("python3") {
        let script = "import http.client, sys\n\
                      for _ in range(20):\n\
                      \x20   c = http.client.HTTPConnection(sys.argv[1], timeout=10)\n\
                      \x20   c.request('GET', '/echo', headers={'Upgrade': 'websocket'})\n\
                      \x20   r = c.getresponse()\n\
                      \x20   assert 1 <= int(r.headers['Retry-After']) <= 60\n\
                      \x20   assert r.read().endswith(b'.\\n')\n\
                      \x20   print(r.status)";
        let address = server.public.to_string();
        let mut command = Command::new("python3");
        let told = said(command.args(["-c", script, &address]));
        assert_eq!(told, ["503"; 20].join("\n"));
    } else {
        skip::skipped(test, "there is no python3");
    }
}

/// A server with a file that can be written anew.
struct Stage {
    folder: Folder,
    server: Server,
}

impl Stage {
    #[track_caller]
    fn with(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("tidegate.toml", text);
        let server = Server::with(&["-c", &file]);
        Self { folder, server }
    }

    #[track_caller]
    fn reload(&self, text: &str) {
        let labels = [("result", "success")];
        let count = || {
            let metrics = self.server.metrics();
            metrics.sum("tidegate_config_reload_total", &labels)
        };
        let before = count().expect("a metric");
        self.folder.write("tidegate.toml", text);
        self.server.signal(Signal::HUP);
        clock::until_equal("a reload", &Some(before + 1), count);
    }
}

#[test]
fn rules_for_addresses_are_reloaded_and_those_inside_stay() {
    let stage = Stage::with("[limits]\nallow = [\"127.0.0.0/30\"]\ndeny = [\"127.0.0.3\"]\n");
    let server = &stage.server;
    let mut inside = opens(server, address(2));
    assert_eq!(
        asks(server, address(3)).status,
        403,
        "denied goes before allowed"
    );
    assert_eq!(asks(server, address(4)).status, 403);
    stage.reload("[limits]\ndeny = [\"127.0.0.0/30\"]\n");
    opens(server, address(4)).echoes("allowed now");
    // The admin port is another one: it knows no such rules.
    assert_eq!(asks(server, address(2)).status, 403);
    inside.echoes("who is inside stays");
    stage.reload("[limits]\ndeny = [\"127.0.0.0/30\"]\ndenied = \"drop\"\n");
    match Client::try_connect_from(server.public, address(2)) {
        Ok(mut dropped) => assert_eq!(dropped.all(), b"", "not a word"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    stage.reload("");
    for last in 2..5 {
        opens(server, address(last)).echoes("everybody");
    }
    assert_eq!(refusals(server, "address"), 4);
    let closed = server.look_json("/closed?count=100").to_string();
    assert!(
        closed.contains("\"address\"") && closed.contains("127.0.0.3"),
        "{closed}"
    );
    inside.echoes("to the end");
}

#[test]
fn caps_and_rates_are_reloaded_and_what_was_counted_stays_right() {
    let stage = Stage::with("");
    let server = &stage.server;
    let early: Vec<Client> = (0..5).map(|_| opens(server, address(2))).collect();
    stage.reload("[limits]\nconnections-per-address = 2\nconnections-max = 9\n");
    // Those from before are not counted at their address, but among all.
    let late: Vec<Client> = (0..2).map(|_| opens(server, address(2))).collect();
    assert_eq!(asks(server, address(2)).status, 429);
    let others: Vec<Client> = (3..5).map(|last| opens(server, address(last))).collect();
    assert_eq!(asks(server, address(5)).status, 503);
    drop(early);
    server.until_metric("tidegate_connections", &[], 4);
    opens(server, address(5)).echoes("there is room");
    stage.reload("[limits]\nhandshake-rate = 1\nhandshake-burst = 3\n");
    let statuses: Vec<u16> = (0..10).map(|_| asks(server, address(2)).status).collect();
    assert!(
        statuses.contains(&101) && statuses.contains(&503),
        "{statuses:?}"
    );
    drop((late, others));
    stage.reload("");
    server.until_empty();
    let many: Vec<Client> = (0..30).map(|_| opens(server, address(2))).collect();
    drop(many);
    server.until_empty();
}

#[test]
fn a_configuration_of_admission_that_is_wrong_is_told_what_is_allowed() {
    let folder = Folder::new();
    for (text, wanted) in [
        ("[limits]\ndeny = [\"10.1.2.3/8\"]", "write 10.0.0.0/8"),
        ("[limits]\nallow = \"10.0.0.0/8\"", "write a list"),
        ("[limits]\nallow = [10]", "write a list"),
        ("[limits]\nconnections-max = \"many\"", "from 0 to"),
        ("[limits]\nhandshake-rate = -1", "from 0 to"),
        ("[server]\nproxy-protocol = \"v3\"", "off, v1, v2, any"),
        (
            "[server]\nproxy-protocol = \"v1\"",
            "server.trusted-proxies",
        ),
    ] {
        let file = folder.write("tidegate.toml", text);
        let mut command = support::server::program();
        let ended = support::server::run(command.args(["check-config", "-c", &file]));
        assert_eq!(ended.code, Some(78), "{text}: {ended:?}");
        let told = ended.errors.iter().any(|line| line.contains(wanted));
        assert!(told, "{text}: {:?}", ended.errors);
    }
}
