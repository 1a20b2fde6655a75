//! One connection of the plain client.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_servers::client::Load;

use crate::Mode;
use crate::deflate::Deflate;
use crate::frames::{self, Messages};

/// What became of it in one turn.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Replies, or handshakes.
    pub(crate) messages: u64,
    /// Of the replies, on the wire.
    pub(crate) bytes: u64,
    /// It is open now.
    pub(crate) opened: usize,
    /// It was closed, and begins again.
    pub(crate) ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Upgrading,
    Open,
    Closing,
}

#[derive(Debug)]
pub(crate) struct Connection {
    mode: Mode,
    pipeline: usize,
    state: State,
    stream: Option<TcpStream>,
    deflate: Option<Deflate>,
    input: Vec<u8>,
    /// What the kernel has not taken yet.
    output: Vec<u8>,
    sent: u64,
    received: u64,
}

impl Connection {
    pub(crate) fn new(mode: Mode, pipeline: usize) -> Self {
        Self {
            mode,
            pipeline,
            state: State::Upgrading,
            stream: None,
            deflate: None,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            received: 0,
        }
    }

    /// Begins anew; the request leaves as soon as the kernel takes it.
    pub(crate) fn connect(
        &mut self,
        poll: &Poll,
        token: Token,
        source: SocketAddr,
        load: &Load,
    ) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // Closing is a reset, after the close frames: no port is kept back.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&source.into())?;
        match socket.connect(&load.address.into()) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            done => done?,
        }
        let mut stream = TcpStream::from_std(socket.into());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.state = State::Upgrading;
        self.input.clear();
        self.output = request(self.mode, load);
        Ok(())
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    pub(crate) fn turn(&mut self, is_writable: bool, messages: &Messages) -> io::Result<Done> {
        let mut done = Done::default();
        if is_writable {
            self.flush()?;
        }
        let is_over = self.read()?;
        if self.state == State::Upgrading && self.upgraded()? {
            done.opened = 1;
            if self.mode == Mode::Knock {
                self.state = State::Closing;
                // RFC 6455, 7.4.1: 1000, a normal closure.
                self.output
                    .extend(frames::frame(0x88, &1000_u16.to_be_bytes()));
            } else {
                self.state = State::Open;
                self.send(self.pipeline, messages)?;
            }
        }
        let replies = self.replies(messages, &mut done)?;
        self.send(replies, messages)?;
        if done.ended || (is_over && self.state == State::Closing) {
            done.ended = true;
            done.messages = 1;
            self.stream = None;
            return Ok(done);
        }
        if is_over {
            return Err(io::Error::other("the server has closed a connection"));
        }
        self.flush()?;
        Ok(done)
    }

    /// All that has come. Has the server closed?
    fn read(&mut self) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut piece = [0; 64 * 1024];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(size) => self.input.extend(&piece[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(_) if self.state == State::Closing => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn upgraded(&mut self) -> io::Result<bool> {
        let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
            return Err(io::Error::other(format!("no upgrade: {head}")));
        }
        self.deflate = Deflate::agreed(&head);
        self.input.drain(..end + 4);
        Ok(true)
    }

    /// Takes whole frames off the input. How many were replies?
    fn replies(&mut self, messages: &Messages, done: &mut Done) -> io::Result<usize> {
        let (mut from, mut replies) = (0, 0);
        while self.state != State::Upgrading
            && let Some((first, payload)) = frames::read(&self.input[from..])
        {
            let end = from + payload.end;
            let payload = &self.input[from + payload.start..end];
            match first & 0x0f {
                8 if self.state == State::Closing => done.ended = true,
                0x1 => {
                    let text = messages.text(self.received);
                    let same = match (&mut self.deflate, first & 0x40 != 0) {
                        (Some(deflate), true) => deflate.inflates_to(payload, text)?,
                        _ => payload == text,
                    };
                    if !same || first & 0x80 == 0 {
                        return Err(io::Error::other("a reply is not what was sent"));
                    }
                    self.received += 1;
                    replies += 1;
                    done.messages += 1;
                    done.bytes += payload.len() as u64;
                }
                // Pings may come, and need no answer within so short a time.
                0x9 => {}
                _ => return Err(io::Error::other(format!("a frame {first:#x}"))),
            }
            from = end;
        }
        self.input.drain(..from);
        Ok(replies)
    }

    fn send(&mut self, count: usize, messages: &Messages) -> io::Result<()> {
        for _ in 0..count {
            match &mut self.deflate {
                Some(deflate) => {
                    let payload = deflate.compress(messages.text(self.sent))?;
                    self.output.extend(frames::frame(0xc1, &payload));
                }
                None => self.output.extend(messages.frame(self.sent)),
            }
            self.sent += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while !self.output.is_empty() {
            match stream.write(&self.output) {
                Ok(size) => drop(self.output.drain(..size)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// "Operation now in progress": the handshake of TCP goes on.
const EINPROGRESS: i32 = 115;

/// RFC 6455, 1.3: the key of its example, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn request(mode: Mode, load: &Load) -> Vec<u8> {
    let offer = match mode {
        Mode::Knock | Mode::Echo => "",
        Mode::Shared => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        }
        Mode::Takeover => {
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        }
    };
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n",
        load.path, load.address,
    )
    .into_bytes()
}
