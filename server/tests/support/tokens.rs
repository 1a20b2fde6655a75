//! Tokens for tests, made by the program itself, and the configuration of a server that takes them.

use std::process::Stdio;

use serde_json::Value;

use super::client::Client;
use super::counterpart::root;
use super::folder::Folder;
use super::http::Response;
use super::server::{self, Server};
use super::wire;

/// A secret that is long enough for each algorithm.
pub(crate) const SECRET: &str =
    "a secret of tests, that nobody else should ever use: 0123456789abc";

/// A file of `server/tests/keys`.
pub(crate) fn key(name: &str) -> String {
    let path = root().join("server/tests/keys").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// A server that asks for tokens, and its files.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) server: Server,
    pub(crate) folder: Folder,
    pub(crate) config: String,
}

/// An endpoint of a configuration.
pub(crate) fn endpoint(path: &str, kind: &str, auth: &str) -> String {
    format!("[[endpoint]]\npath = \"{path}\"\nkind = \"{kind}\"\nauth = \"{auth}\"\n")
}

/// `/echo`, `/ws/{topic}` and `/feed/{topic}`, all of which ask for tokens so.
pub(crate) fn endpoints(auth: &str) -> String {
    [
        ("/echo", "echo"),
        ("/ws/{topic}", "topic"),
        ("/feed/{topic}", "feed"),
    ]
    .map(|(path, kind)| endpoint(path, kind, auth))
    .concat()
}

impl Guarded {
    /// With the secret, these further lines in `[auth]`, and these endpoints.
    #[track_caller]
    pub(crate) fn new(auth: &str, rest: &str) -> Self {
        let folder = Folder::new();
        let secret = folder.write("secret", SECRET);
        Self::with(
            folder,
            &format!("secret-file = \"{secret}\"\nleeway = \"0s\"\n{auth}"),
            rest,
        )
    }

    /// With these lines in `[auth]` only.
    #[track_caller]
    pub(crate) fn with(folder: Folder, auth: &str, rest: &str) -> Self {
        let config = folder.write("tidegate.toml", &format!("[auth]\n{auth}\n{rest}"));
        let mut command = server::program();
        // The proxy of the environment is for the world outside; issuers of tests are on loopback.
        command.env("NO_PROXY", "127.0.0.1");
        let server = Server::from(command, &["-c", &config]);
        Self {
            server,
            folder,
            config,
        }
    }

    /// A token for a user, made with these further options.
    #[track_caller]
    pub(crate) fn token(&self, user: &str, options: &[&str]) -> String {
        generate(&self.config, user, options)
    }
}

/// A token that `tidegate gen-token` makes with this configuration.
#[track_caller]
pub(crate) fn generate(config: &str, user: &str, options: &[&str]) -> String {
    let mut command = server::program();
    command.args(["gen-token", "-c", config, "--user", user]);
    let ended = server::run(command.args(options));
    assert_eq!(ended.code, Some(0), "{:?}", ended.errors);
    assert_eq!(ended.output.len(), 1);
    ended.output[0].clone()
}

/// What `tidegate check-token` says of this: its exit code, and its lines.
#[track_caller]
pub(crate) fn check(config: &str, token: &str, options: &[&str]) -> (Option<i32>, String) {
    use std::io::Write as _;
    let mut command = server::program();
    let mut child = command
        .args(["check-token", "-c", config])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    // One that ends before it has read, such as over its configuration, breaks the pipe.
    let _ = input.write_all(token.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("a child");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(text).expect("UTF-8"),
    )
}

/// What a request with these header lines is answered; the client is open after a 101.
#[track_caller]
pub(crate) fn ask(guarded: &Guarded, path: &str, lines: &[&str]) -> (Client, Response) {
    let mut client = guarded.server.connect();
    client.send(wire::upgrade(path, lines).as_bytes());
    let response = client.head();
    (client, response)
}

/// The same, of which only the status matters.
#[track_caller]
pub(crate) fn status(guarded: &Guarded, path: &str, lines: &[&str]) -> u16 {
    ask(guarded, path, lines).1.status
}

/// The header line with a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Opens with a token.
#[track_caller]
pub(crate) fn open(guarded: &Guarded, path: &str, token: &str) -> Client {
    let (client, response) = ask(guarded, path, &[&bearer(token)]);
    assert_eq!(response.status, 101, "{response:?}");
    client
}

/// Expects a close frame with this code and reason next.
#[track_caller]
pub(crate) fn expects_close(client: &mut Client, code: u16, reason: &str) {
    let frame = client.frame();
    let told = frame.payload.get(2..).unwrap_or_default();
    assert_eq!(frame.close_code(), Some(code), "{frame:?}");
    assert_eq!(told, reason.as_bytes(), "{frame:?}");
}

/// Shows a token on an open connection.
#[track_caller]
pub(crate) fn shows(client: &mut Client, token: &str) {
    client.text(&format!("{{\"auth\":\"{token}\"}}"));
}

/// Shows a token, and expects that it is taken.
#[track_caller]
pub(crate) fn is_taken(client: &mut Client, token: &str, user: &str) {
    shows(client, token);
    let frame = client.frame();
    let said: Value = serde_json::from_slice(&frame.payload).expect("JSON");
    assert_eq!((&said["auth"], &said["user"]), (&"ok".into(), &user.into()));
    assert!(said["expires"].is_u64(), "{said}");
}
