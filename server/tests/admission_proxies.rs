//! Behind proxies: for whom they speak is what is counted, shown and judged, and nobody else may say
//! so. With raw bytes first, then with nginx and HAProxy.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use support::client::Client;
use support::clock;
use support::folder::Folder;
use support::http::Response;
use support::proxy::{self, Proxy};
use support::server::Server;
use support::skip;
use support::wire;

/// Where the proxies of these tests call from.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Somebody whom nobody trusts.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A server that trusts the proxy, with further options.
#[track_caller]
fn behind_proxy(options: &[&str]) -> Server {
    Server::with(&[&["--trusted-proxy", "127.0.0.2"], options].concat())
}

/// What a proxy says: these bytes, and then a request for a WebSocket with these lines.
#[track_caller]
fn says(server: &Server, from: IpAddr, first: &[u8], lines: &[&str]) -> (Client, Response) {
    let mut client = Client::connect_from(server.public, from);
    let request = wire::upgrade("/echo", lines).into_bytes();
    let _ = client.try_send(&[first, &request].concat());
    let response = client.head();
    (client, response)
}

/// The addresses of the open WebSockets.
#[track_caller]
fn addresses(server: &Server) -> Vec<String> {
    let page = server.look_json("/connections");
    let list = page["connections"].as_array().expect("a list");
    let address = |one: &serde_json::Value| one["peer"].as_str().expect("text").to_owned();
    // Checks of a proxy's are there for a moment, too.
    let open = list.iter().filter(|one| one["phase"] == "open");
    open.map(address).collect()
}

/// A header of version 2 for IPv4, with these bytes behind the addresses.
fn binary(source: [u8; 4], port: u16, more: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    let length = u16::try_from(12 + more.len()).expect("a few bytes");
    header.extend(length.to_be_bytes());
    header.extend(source);
    header.extend([127, 0, 0, 1]);
    header.extend(port.to_be_bytes());
    header.extend(443_u16.to_be_bytes());
    header.extend(more);
    header
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn both_versions_are_taken_from_a_trusted_proxy_wherever_they_are_cut() {
    let server = behind_proxy(&["--proxy-protocol", "any"]);
    let line = b"PROXY TCP4 198.51.100.1 127.0.0.1 4711 443\r\n".to_vec();
    let with_name = binary([198, 51, 100, 1], 4711, b"\x02\0\x03abc");
    for header in [line, binary([198, 51, 100, 1], 4711, b""), with_name] {
        for cut in [
            0,
            1,
            5,
            12,
            13,
            16,
            20,
            header.len() - 1,
            header.len(),
            header.len() + 7,
        ] {
            let whole = [&header[..], wire::upgrade("/echo", &[]).as_bytes()].concat();
            let mut client = Client::connect_from(server.public, PROXY);
            client.send(&whole[..cut]);
            client.send(&whole[cut..]);
            assert_eq!(client.head().status, 101, "cut at {cut}");
            client.echoes("through a proxy");
            assert_eq!(addresses(&server), ["198.51.100.1:4711"]);
            client.closes();
            server.until_empty();
        }
    }
    let closed = server.look_json("/closed?count=1");
    assert_eq!(closed[0]["peer"], "198.51.100.1:4711", "{closed}");
}

#[test]
fn a_proxy_that_speaks_for_itself_is_shown_as_itself() {
    let server = behind_proxy(&["--proxy-protocol", "any"]);
    for header in [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN some words\r\n"] {
        let (client, response) = says(&server, PROXY, header, &[]);
        assert_eq!(response.status, 101);
        let [address] = &addresses(&server)[..] else {
            panic!("there is one");
        };
        assert!(address.starts_with("127.0.0.2:"), "{address}");
        client.closes();
        server.until_empty();
    }
}

#[test]
fn who_should_say_it_and_who_should_not_are_both_refused() {
    let server = behind_proxy(&["--proxy-protocol", "v2"]);
    let line = b"PROXY TCP4 198.51.100.1 127.0.0.1 4711 443\r\n";
    let huge = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF";
    let version_one = b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0";
    for (from, first) in [
        // A trusted one that says nothing, something else, too much, or the other version.
        (PROXY, &b""[..]),
        (PROXY, b"\x16\x03\x01\x02\0"),
        (PROXY, huge),
        (PROXY, version_one),
        (PROXY, line),
        // Somebody who wants to be taken for somebody else.
        (OTHER, line),
        (OTHER, &binary([10, 0, 0, 1], 1, b"")),
        (OTHER, LOCAL),
    ] {
        let (_, response) = says(&server, from, first, &[]);
        assert_eq!(response.status, 400, "{from}: {}", first.escape_ascii());
    }
    let causes = [("cause", "proxy_header")];
    server.until_metric("tidegate_handshake_refusals_total", &causes, 8);
    assert_eq!(
        says(&server, OTHER, b"", &[]).1.status,
        101,
        "without a proxy"
    );
    // A header that is cut short, and nothing after it, ends with the deadline of the handshake.
    let server = behind_proxy(&["--proxy-protocol", "v2", "--handshake-timeout", "500ms"]);
    let mut slow = Client::connect_from(server.public, PROXY);
    slow.send(&binary([10, 0, 0, 1], 1, b"")[..20]);
    assert!(slow.all().starts_with(b"HTTP/1.1 408 "));
    // Where none is expected, a header is no request either.
    let server = behind_proxy(&[]);
    for from in [PROXY, OTHER] {
        assert_eq!(says(&server, from, line, &[]).1.status, 400);
    }
}

#[test]
fn a_request_says_for_whom_only_if_its_sender_is_trusted() {
    let server = behind_proxy(&[]);
    for (from, lines, shown) in [
        (
            PROXY,
            &["X-Forwarded-For: 198.51.100.1"][..],
            "198.51.100.1:0",
        ),
        (
            PROXY,
            &["X-Forwarded-For: 203.0.113.9, 198.51.100.1"],
            "198.51.100.1:0",
        ),
        (
            PROXY,
            &["X-Forwarded-For: 198.51.100.1, 127.0.0.2"],
            "198.51.100.1:0",
        ),
        (
            PROXY,
            &[
                "X-Forwarded-For: 203.0.113.9",
                "X-Forwarded-For: 2001:db8::7",
            ],
            "[2001:db8::7]:0",
        ),
        // What such a proxy does not write, its client may have written.
        (PROXY, &["Forwarded: for=203.0.113.9"], "127.0.0.2:"),
        (PROXY, &[], "127.0.0.2:"),
        (OTHER, &["X-Forwarded-For: 198.51.100.1"], "127.0.0.3:"),
        (OTHER, &["X-Forwarded-For: nonsense"], "127.0.0.3:"),
    ] {
        let (client, response) = says(&server, from, b"", lines);
        assert_eq!(response.status, 101, "{lines:?}");
        let [address] = &addresses(&server)[..] else {
            panic!("there is one");
        };
        assert!(address.starts_with(shown), "{lines:?}: {address}");
        client.closes();
        server.until_empty();
    }
    for value in ["nonsense", "198.51.100.1, 1.2.3", "198.51.100.1;x"] {
        let line = format!("X-Forwarded-For: {value}");
        assert_eq!(says(&server, PROXY, b"", &[&line]).1.status, 400, "{value}");
    }
    let causes = [("cause", "forwarded")];
    server.until_metric("tidegate_handshake_refusals_total", &causes, 3);
    let server = behind_proxy(&["--forwarded", "forwarded"]);
    let lines = [
        "X-Forwarded-For: 203.0.113.9",
        "Forwarded: for=\"[2001:db8::7]:4711\";proto=https",
    ];
    let (_client, response) = says(&server, PROXY, b"", &lines);
    assert_eq!(response.status, 101);
    assert_eq!(addresses(&server), ["[2001:db8::7]:4711"]);
}

#[test]
fn rules_and_caps_are_for_the_client_and_not_for_its_proxy() {
    let server = behind_proxy(&[
        "--deny",
        "203.0.113.0/24",
        "--connections-per-address",
        "2",
        "--handshake-rate-per-address",
        "1",
        "--handshake-burst-per-address",
        "4",
    ]);
    let ask = |client: &str| {
        let line = format!("X-Forwarded-For: {client}");
        says(&server, PROXY, b"", &[&line])
    };
    assert_eq!(ask("203.0.113.9").1.status, 403);
    let kept: Vec<_> = (0..2).map(|_| ask("198.51.100.1")).collect();
    assert!(kept.iter().all(|(_, response)| response.status == 101));
    let (_, full) = ask("198.51.100.1");
    assert_eq!(
        (full.status, full.header("retry-after").is_some()),
        (429, true)
    );
    for last in 2..40 {
        let (client, response) = ask(&format!("198.51.100.{last}"));
        assert_eq!(response.status, 101, "{last}");
        client.reset();
    }
    drop(kept);
    server.until_empty();
    let again = clock::until("it is given back", || {
        let (client, response) = ask("198.51.100.1");
        (response.status == 101).then_some(client)
    });
    again.closes();
    server.until_metric("tidegate_admitted_addresses", &[("kind", "address")], 0);
}

/// Opens a WebSocket through the proxy, and says where the server thinks that it comes from.
#[track_caller]
fn through(server: &Server, proxy: &Proxy, from: IpAddr, lines: &[&str]) -> String {
    let client = Client::connect_from(proxy.address, from);
    let mut client = client.upgraded_with("/echo", lines);
    client.echoes("through a real proxy");
    let mut all = addresses(server);
    let address = all.pop().expect("there is one");
    assert!(all.is_empty(), "{address} and {all:?}");
    client.closes();
    server.until_empty();
    address
}

#[test]
fn nginx_says_for_whom_it_speaks_by_a_header_of_the_request() {
    let test = "nginx_says_for_whom_it_speaks_by_a_header_of_the_request";
    if !proxy::is_installed("nginx") {
        return skip::skipped(test, "there is no nginx");
    }
    let server = Server::with(&["--trusted-proxy", "127.0.0.1"]);
    let folder = Folder::new();
    let proxy = Proxy::start(|port| nginx(&folder, port, server.public, "http"));
    let lie = ["X-Forwarded-For: 203.0.113.9"];
    assert_eq!(through(&server, &proxy, OTHER, &lie), "127.0.0.3:0");
    // Refused at the door of one address, through the proxy.
    let server = Server::with(&["--trusted-proxy", "127.0.0.1", "--deny", "127.0.0.3"]);
    let proxy = Proxy::start(|port| nginx(&folder, port, server.public, "http"));
    let mut client = Client::connect_from(proxy.address, OTHER);
    client.send(wire::upgrade("/echo", &lie).as_bytes());
    assert_eq!(client.head().status, 403);
}

#[test]
fn nginx_says_for_whom_it_speaks_by_the_proxy_protocol() {
    let test = "nginx_says_for_whom_it_speaks_by_the_proxy_protocol";
    if !proxy::is_installed("nginx") {
        return skip::skipped(test, "there is no nginx");
    }
    let folder = Folder::new();
    if !proxy::runs(nginx(&folder, 1, SocketAddr::new(PROXY, 1), "stream").arg("-t")) {
        return skip::skipped(test, "this nginx has no stream module");
    }
    let options = ["--trusted-proxy", "127.0.0.1", "--proxy-protocol", "v1"];
    let server = Server::with(&options);
    let proxy = Proxy::start(|port| nginx(&folder, port, server.public, "stream"));
    let address = through(&server, &proxy, OTHER, &[]);
    assert!(address.starts_with("127.0.0.3:"), "{address}");
}

#[test]
fn haproxy_says_for_whom_it_speaks_in_each_way() {
    let test = "haproxy_says_for_whom_it_speaks_in_each_way";
    if !proxy::is_installed("haproxy") {
        return skip::skipped(test, "there is no haproxy");
    }
    let folder = Folder::new();
    for (mode, how, options) in [
        ("tcp", "send-proxy", &["--proxy-protocol", "v1"][..]),
        ("tcp", "send-proxy-v2", &["--proxy-protocol", "v2"]),
        (
            "tcp",
            "send-proxy-v2 proxy-v2-options unique-id,crc32c",
            &["--proxy-protocol", "any"],
        ),
        // Its own checks say LOCAL, and nothing else.
        (
            "tcp",
            "send-proxy-v2 check inter 20",
            &["--proxy-protocol", "any"],
        ),
        ("http", "", &[]),
    ] {
        let server = Server::with(&[&["--trusted-proxy", "127.0.0.1"], options].concat());
        let proxy = Proxy::start(|port| haproxy(&folder, port, server.public, mode, how));
        let address = through(&server, &proxy, OTHER, &["X-Forwarded-For: 203.0.113.9"]);
        assert!(address.starts_with("127.0.0.3:"), "{how}: {address}");
        // Its checks end with a reset, which is "gone"; nothing that it says is refused.
        let (metrics, name) = (server.metrics(), "tidegate_handshake_refusals_total");
        let all = metrics.sum(name, &[]).unwrap_or(0);
        let gone = metrics.sum(name, &[("cause", "gone")]).unwrap_or(0);
        assert_eq!(all - gone, 0, "{how}");
    }
}

/// nginx as a proxy of requests (`http`) or of connections (`stream`).
fn nginx(folder: &Folder, port: u16, to: SocketAddr, kind: &str) -> Command {
    let place = folder.path().display();
    let block = match kind {
        "http" => format!(
            "http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;
             fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
             server {{ listen 127.0.0.1:{port}; location / {{
             proxy_pass http://{to}; proxy_http_version 1.1; proxy_bind 127.0.0.1;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}"
        ),
        _ => format!(
            "stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {to};
             proxy_bind 127.0.0.1; proxy_protocol on; }} }}"
        ),
    };
    // Debian's nginx has the module beside it.
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = match kind == "stream" && std::path::Path::new(module).exists() {
        true => format!("load_module {module};"),
        false => String::new(),
    };
    let text = format!(
        "{load} daemon off; master_process off; pid {place}/pid; error_log stderr warn;
         events {{ worker_connections 64; }} {block}"
    );
    let file = folder.write(&format!("nginx-{port}.conf"), &text);
    let mut command = Command::new("nginx");
    command.args(["-c", &file, "-e", "stderr"]);
    command
}

fn haproxy(folder: &Folder, port: u16, to: SocketAddr, mode: &str, how: &str) -> Command {
    let forwarded = if mode == "http" {
        "option forwardfor"
    } else {
        ""
    };
    let text = format!(
        "defaults\n mode {mode}\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n \
         timeout tunnel 30s\n {forwarded}\nfrontend in\n bind 127.0.0.1:{port}\n \
         unique-id-format %ci\n default_backend out\nbackend out\n \
         server one {to} source 127.0.0.1 {how}\n"
    );
    let file = folder.write(&format!("haproxy-{port}.cfg"), &text);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-q", "-f", &file]);
    command
}
