//! What the tests share: the yardstick as a server, and a proxy that lies on its behalf.

#![allow(dead_code, reason = "not every test file needs everything")]
#![allow(
    clippy::unwrap_used,
    reason = "these are tests, although not marked as such"
)]

pub(crate) mod server;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// A `bare-echo` on a port that the kernel chose; it ends with the test.
pub(crate) struct BareEcho {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl BareEcho {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bare-echo"))
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .parse()
            .unwrap();
        Self { child, address }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for BareEcho {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The result of a run of `tidegate-bench`, which bounds its own time.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", self.stdout, self.stderr))
    }

    /// All went well; else the whole story.
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.code, 0, "{} {}", self.stdout, self.stderr);
        self.json()
    }

    /// Something went wrong, and one line says what.
    pub(crate) fn bad(&self) -> Value {
        assert_eq!(self.code, 1, "{} {}", self.stdout, self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self.json()
    }
}

pub(crate) fn bench(arguments: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"))
        .args(arguments)
        .output()
        .unwrap();
    Ran {
        code: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Runs a command against an address, with JSON. The drain is what a test waits for a message
/// that never comes, and more than a loaded machine takes for one that does.
pub(crate) fn measure(command: &str, address: SocketAddr, arguments: &[&str]) -> Ran {
    let url = format!("ws://{address}/ws/bench");
    let mut all = vec![command, &url, "--json"];
    if !arguments.contains(&"--drain") {
        all.extend(["--drain", "2s"]);
    }
    // Whether a loaded machine keeps up is not what these tests are about.
    all.extend(["--late-max", "1h", "--busy-max", "100"]);
    all.extend(arguments);
    bench(&all)
}

/// What becomes of one frame of the server's on its way to a client. An empty frame cuts the
/// connection.
pub(crate) type Lie = fn(nth: u64, frame: &[u8]) -> Vec<Vec<u8>>;

/// A proxy before the yardstick. With `hub`, a frame goes to every client with the same path.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    _behind: BareEcho,
}

type Topics = Arc<Mutex<HashMap<String, Vec<(usize, TcpStream)>>>>;

impl Proxy {
    /// Changes the frames of each client; the first has the number 0.
    pub(crate) fn liar(lie: Lie) -> Self {
        Self::start(false, move |_, nth, frame| lie(nth, frame))
    }

    /// Delivers to all, and changes the frames that go to `client` (in the order of accepting).
    pub(crate) fn hub(client: usize, lie: Lie) -> Self {
        Self::start(true, move |to, nth, frame| {
            if to == client {
                lie(nth, frame)
            } else {
                vec![frame.to_vec()]
            }
        })
    }

    fn start(
        hub: bool,
        lie: impl Fn(usize, u64, &[u8]) -> Vec<Vec<u8>> + Copy + Send + 'static,
    ) -> Self {
        let behind = BareEcho::start();
        let server = behind.address;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let topics = Topics::default();
        // The threads end with their sockets, and this one with the process.
        thread::spawn(move || {
            for (index, client) in listener.incoming().enumerate() {
                let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
                client.set_nodelay(true).unwrap();
                let topics = Arc::clone(&topics);
                thread::spawn(move || {
                    let _ = serve(index, &client, &upstream, hub, &topics, lie);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = upstream.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            address,
            _behind: behind,
        }
    }
}

fn serve(
    index: usize,
    client: &TcpStream,
    upstream: &TcpStream,
    hub: bool,
    topics: &Topics,
    lie: impl Fn(usize, u64, &[u8]) -> Vec<Vec<u8>>,
) -> io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let request = read_head(&mut from_client)?;
    (&*upstream).write_all(&request)?;
    let mut from_server = BufReader::new(upstream.try_clone()?);
    let answer = read_head(&mut from_server)?;
    let path = String::from_utf8_lossy(&request)
        .split(' ')
        .nth(1)
        .unwrap_or("")
        .to_owned();
    let topic = if hub { path } else { index.to_string() };
    topics
        .lock()
        .unwrap()
        .entry(topic.clone())
        .or_default()
        .push((index, client.try_clone()?));
    (&*client).write_all(&answer)?;
    let mut to_server = upstream.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    for nth in 0.. {
        let frame = read_frame(&mut from_server)?;
        let control = frame[0] & 0x08 != 0;
        for (to, stream) in topics.lock().unwrap().get_mut(&topic).unwrap() {
            if control && *to != index {
                continue;
            }
            for frame in if control {
                vec![frame.clone()]
            } else {
                lie(*to, nth, &frame)
            } {
                // Whoever has gone away hears nothing.
                let _ = match frame.as_slice() {
                    [] => stream.shutdown(Shutdown::Both),
                    frame => stream.write_all(frame),
                };
            }
        }
    }
    Ok(())
}

fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// A frame of the server's, which has no mask, of less than 64 KiB.
fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    stream.read_exact(&mut frame)?;
    let mut length = usize::from(frame[1]);
    if length == 126 {
        frame.resize(4, 0);
        stream.read_exact(&mut frame[2..])?;
        length = usize::from(frame[2]) << 8 | usize::from(frame[3]);
    }
    let head_size = frame.len();
    frame.resize(head_size + length, 0);
    stream.read_exact(&mut frame[head_size..])?;
    Ok(frame)
}
