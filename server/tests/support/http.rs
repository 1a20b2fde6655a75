//! The least HTTP/1.1 that can talk to the admin listener and read a refusal.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::clock::PATIENCE;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// Such as 200.
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    /// What came after the head, to the end of the stream.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads an answer out of all the bytes that a server sent until it closed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Self {
            status,
            head,
            body: bytes[end + 4..].to_vec(),
        })
    }

    /// The value of a header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }
}

/// Asks, and reads the answer to the end of the stream.
#[track_caller]
pub(crate) fn request(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> Response {
    request_with(to, method, path, &[], body)
}

/// The same with further lines in the head.
#[track_caller]
pub(crate) fn request_with(
    to: SocketAddr,
    method: &str,
    path: &str,
    lines: &[&str],
    body: &[u8],
) -> Response {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a span");
    stream.set_write_timeout(Some(PATIENCE)).expect("a span");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{lines}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    // An answer such as 413 may come, and the connection go, before all has been sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "{method} {path}: {error}"
        );
    }
    let answered = Response::parse(&answer);
    answered.unwrap_or_else(|| panic!("{method} {path}: {:?}", String::from_utf8_lossy(&answer)))
}
