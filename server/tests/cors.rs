//! What pages of other origins may read on the public port, and that none may on the operators'.

mod support;

use support::http::Response;
use support::server::Server;

const APP: &str = "https://app.example.org";

/// The answer to a request that is none for a WebSocket.
#[track_caller]
fn ask(server: &Server, method: &str, path: &str, lines: &[&str]) -> Response {
    let mut client = server.connect();
    let lines = lines.join("\r\n");
    let gap = if lines.is_empty() { "" } else { "\r\n" };
    client.send(
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}{gap}\r\n").as_bytes(),
    );
    let answer = client.all();
    let shown = String::from_utf8_lossy(&answer);
    Response::parse(&answer).unwrap_or_else(|| panic!("{method} {path}: {shown}"))
}

fn readers(response: &Response) -> Option<&str> {
    response.header("access-control-allow-origin")
}

#[test]
fn listed_pages_may_read_and_nobody_else() {
    let server = Server::with(&["--origin", APP]);
    for path in ["/", "/nothing"] {
        let listed = ask(&server, "GET", path, &["Origin: https://app.example.org"]);
        assert_eq!(readers(&listed), Some(APP), "{path}");
        let foreign = ask(&server, "GET", path, &["Origin: https://evil.example"]);
        let null = ask(&server, "GET", path, &["Origin: null"]);
        let none = ask(&server, "GET", path, &[]);
        for response in [&foreign, &null, &none] {
            assert_eq!(readers(response), None, "{path}: {response:?}");
        }
        for response in [listed, foreign, none] {
            assert_eq!(response.header("vary"), Some("Origin"), "{path}");
            let credentials = response.header("access-control-allow-credentials");
            assert_eq!(credentials, None, "{path}");
        }
    }
    let open = Server::with(&["--origin", "*"]);
    let any = ask(&open, "GET", "/", &["Origin: https://anybody.example"]);
    assert_eq!(readers(&any), Some("*"));
    assert_eq!(any.header("access-control-allow-credentials"), None);
}

#[test]
fn a_preflight_is_answered_without_a_body() {
    let server = Server::with(&["--origin", APP]);
    let asking = "Access-Control-Request-Method: GET";
    for (path, methods) in [("/", "GET, HEAD"), ("/echo", "GET"), ("/ws/lobby", "GET")] {
        let lines = ["Origin: https://app.example.org", asking];
        let response = ask(&server, "OPTIONS", path, &lines);
        assert_eq!(response.status, 204, "{path}: {response:?}");
        assert_eq!(readers(&response), Some(APP), "{path}");
        assert_eq!(response.header("vary"), Some("Origin"));
        assert_eq!(
            response.header("access-control-allow-methods"),
            Some(methods)
        );
        assert_eq!(response.header("content-length"), None);
        assert!(response.body.is_empty());
        let foreign = ask(
            &server,
            "OPTIONS",
            path,
            &["Origin: https://evil.example", asking],
        );
        assert_eq!((foreign.status, readers(&foreign)), (403, None), "{path}");
    }
    // Who does not ask for a page is told what it may do, as before.
    assert_eq!(ask(&server, "OPTIONS", "/", &[]).status, 405);
    assert_eq!(ask(&server, "OPTIONS", "/echo", &[]).status, 405);
}

#[test]
fn an_endpoint_has_readers_of_its_own() {
    let folder = support::folder::Folder::new();
    let text = "[server]\norigins = [\"https://app.example.org\"]\n\
                [[endpoint]]\npath = \"/own\"\nkind = \"echo\"\norigins = [\"https://own.example\"]\n";
    let file = folder.write("tidegate.toml", text);
    let server = Server::with(&["-c", &file]);
    let asking = "Access-Control-Request-Method: GET";
    let own = ask(
        &server,
        "OPTIONS",
        "/own",
        &["Origin: https://own.example", asking],
    );
    assert_eq!(
        (own.status, readers(&own)),
        (204, Some("https://own.example"))
    );
    let app = ask(
        &server,
        "OPTIONS",
        "/own",
        &["Origin: https://app.example.org", asking],
    );
    assert_eq!(app.status, 403);
}

#[test]
fn the_operators_port_lets_no_page_read() {
    let server = Server::with(&["--origin", "*"]);
    let response = server.look("/healthz");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), None);
}
