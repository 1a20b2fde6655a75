//! Asks a server that runs for its configuration.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::listing::Listing;

/// A server that has not answered within this does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Larger than what [`crate::config::schema::ENDPOINTS_MAX`] endpoints take.
const ANSWER_SIZE_MAX: u64 = 16 << 20;

/// What the server with this admin port says at `GET /config`.
///
/// # Errors
/// Why there is no answer, or none that is understood, in one line.
pub(crate) fn ask(admin: SocketAddr) -> Result<Listing, String> {
    let answer = get(admin, "/config")
        .map_err(|error| format!("cannot ask the server whose admin port is {admin}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!(
            "{admin} does not say how it is configured: status '{status}'"
        ));
    }
    serde_json::from_str(body)
        .map_err(|error| format!("{admin} does not say how it is configured: {error}"))
}

/// HTTP/1.0, so that the answer has no chunks and ends with the stream.
fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_SIZE_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
