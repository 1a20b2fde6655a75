//! A WebSocket client made of raw bytes, so that it can also say what no client may say.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::clock::{Deadline, PATIENCE};
use super::deflate::{self, Contexts, RSV1};
use super::http::Response;
use super::wire::{self, BINARY, CLOSE, Frame, PING, PONG, SAMPLE_ACCEPT, TEXT};

/// One connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What has been received and not been taken yet.
    received: Vec<u8>,
    /// How much of `received` has been taken.
    taken: usize,
    /// What was agreed on compression: the value of the header line.
    pub(crate) extension: Option<String>,
}

/// How a read went.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Bytes,
    /// The server ended its stream or reset the connection.
    End,
}

impl Client {
    /// A TCP connection on which nothing has been said yet.
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("the server listens");
        Self::from(stream)
    }

    /// The same, with little room in the kernel for what this client does not read.
    #[track_caller]
    pub(crate) fn connect_narrow(to: SocketAddr, receive_size: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(receive_size).expect("a size");
        socket
            .connect_timeout(&to.into(), PATIENCE)
            .expect("the server listens");
        Self::from(TcpStream::from(socket))
    }

    /// The same, from this address of loopback.
    #[track_caller]
    pub(crate) fn connect_from(to: SocketAddr, from: IpAddr) -> Self {
        Self::try_connect_from(to, from).expect("the server listens")
    }

    /// The same with a server that may reset it before this has seen that it is connected.
    #[track_caller]
    pub(crate) fn try_connect_from(to: SocketAddr, from: IpAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        let from = SocketAddr::new(from, 0);
        socket.bind(&from.into()).expect("an address of loopback");
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(Self::from(TcpStream::from(socket)))
    }

    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP");
        stream.set_write_timeout(Some(PATIENCE)).expect("a span");
        Self {
            stream,
            received: Vec::new(),
            taken: 0,
            extension: None,
        }
    }

    /// An open WebSocket.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr, path: &str) -> Self {
        Self::connect(to).upgraded(path)
    }

    /// Asks for a WebSocket, and gets it.
    #[track_caller]
    pub(crate) fn upgraded(self, path: &str) -> Self {
        let client = self.upgraded_with(path, &[]);
        assert_eq!(client.extension, None, "nothing was offered");
        client
    }

    /// Asks for a WebSocket with further header lines, and gets it.
    #[track_caller]
    pub(crate) fn upgraded_with(mut self, path: &str, lines: &[&str]) -> Self {
        self.send(wire::upgrade(path, lines).as_bytes());
        let response = self.head();
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some(SAMPLE_ACCEPT));
        let extension = response.header("sec-websocket-extensions");
        self.extension = extension.map(str::to_owned);
        self
    }

    /// An open WebSocket whose messages may be compressed.
    #[track_caller]
    pub(crate) fn open_deflated(to: SocketAddr, path: &str) -> Self {
        let client = Self::connect(to).upgraded_with(path, &[deflate::OFFER]);
        assert!(client.extension.is_some(), "compression was refused");
        client
    }

    /// Sends bytes, whatever they mean.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes to a server that may have closed already; says whether they went.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends until the server no longer reads or `bytes_max` are gone; returns how many went.
    pub(crate) fn flood(&mut self, piece: &[u8], bytes_max: usize, patience: Duration) -> usize {
        self.stream
            .set_write_timeout(Some(patience))
            .expect("a span");
        let mut sent = 0;
        while sent < bytes_max {
            match self.stream.write(piece) {
                // Half a frame is as good as a whole one: it is not going to be the last.
                Ok(count) if count == piece.len() => sent += count,
                Ok(count) => {
                    sent += count;
                    if self.stream.write_all(&piece[count..]).is_err() {
                        break;
                    }
                    sent += piece.len() - count;
                }
                Err(_) => break,
            }
        }
        self.stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a span");
        sent
    }

    /// Sends a text message.
    #[track_caller]
    pub(crate) fn text(&mut self, text: &str) {
        self.send(&wire::frame(TEXT, text.as_bytes()));
    }

    /// Sends a binary message.
    #[track_caller]
    pub(crate) fn binary(&mut self, bytes: &[u8]) {
        self.send(&wire::frame(BINARY, bytes));
    }

    /// The next frame; panics if there is none.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.next_frame().expect("a frame, but the server closed")
    }

    /// The next frame, or `None` if the stream ended.
    #[track_caller]
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if let Some((frame, length)) = Frame::parse(&self.received[self.taken..]) {
                self.taken += length;
                let agreed = frame.first & RSV1 == 0 || self.extension.is_some();
                assert!(agreed, "compressed, but that was not agreed: {frame:?}");
                return Some(frame);
            }
            if self.arrive(deadline) == Arrival::End {
                return None;
            }
        }
    }

    /// The next frame if it comes within `span`.
    #[track_caller]
    pub(crate) fn frame_within(&mut self, span: Duration) -> Option<Frame> {
        let whole = Frame::parse(&self.received[self.taken..]).is_some();
        if !whole {
            let _ = self.try_arrive(Deadline::after(span));
        }
        Frame::parse(&self.received[self.taken..])?;
        self.next_frame()
    }

    /// Expects this text message next.
    #[track_caller]
    pub(crate) fn hears(&mut self, text: &str) {
        self.expects(TEXT, text.as_bytes());
    }

    /// Expects this binary message next.
    #[track_caller]
    pub(crate) fn hears_binary(&mut self, bytes: &[u8]) {
        self.expects(BINARY, bytes);
    }

    /// Expects this frame next.
    #[track_caller]
    pub(crate) fn expects(&mut self, first: u8, payload: &[u8]) {
        let frame = self.frame();
        let same = frame.first == first && frame.payload == payload;
        assert!(
            same,
            "wanted {:?}, got {frame:?}",
            Frame {
                first,
                payload: payload.to_vec()
            }
        );
    }

    /// Sends a message and expects it back: the connection lives.
    #[track_caller]
    pub(crate) fn echoes(&mut self, text: &str) {
        self.text(text);
        self.hears(text);
    }

    /// Expects this message next, compressed or not.
    #[track_caller]
    pub(crate) fn expects_inflated(&mut self, contexts: &mut Contexts, first: u8, payload: &[u8]) {
        let frame = self.frame();
        assert_eq!(frame.first & !RSV1, first, "{frame:?}");
        let compressed = frame.first & RSV1 != 0;
        let received = if compressed {
            contexts.inflate(&frame.payload, payload.len())
        } else {
            frame.payload
        };
        assert!(
            received == payload,
            "another message of {} bytes",
            received.len()
        );
    }

    /// Sends a compressed message and expects it back, compressed or not.
    #[track_caller]
    pub(crate) fn echoes_deflated(&mut self, contexts: &mut Contexts, first: u8, payload: &[u8]) {
        let compressed = contexts.deflate(payload);
        self.send(&wire::frame(first | RSV1, &compressed));
        self.expects_inflated(contexts, first, payload);
    }

    /// Expects that nothing has come that was not taken, by a ping which is answered last.
    #[track_caller]
    pub(crate) fn hears_nothing_more(&mut self) {
        self.send(&wire::frame(PING, b"nothing more"));
        self.expects(PONG, b"nothing more");
    }

    /// Reads what comes until a close frame, and returns its code; 1005 if it has none.
    #[track_caller]
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            let frame = self
                .next_frame()
                .expect("a close frame, but the stream ended");
            if frame.first == CLOSE {
                return frame.close_code().unwrap_or(1005);
            }
        }
    }

    /// Expects a close frame with this code next.
    #[track_caller]
    pub(crate) fn expects_close(&mut self, code: u16) {
        let frame = self.frame();
        assert_eq!(frame.close_code(), Some(code), "{frame:?}");
    }

    /// Closes politely, and expects the same code back and then the end.
    #[track_caller]
    pub(crate) fn closes(mut self) {
        self.send(&wire::close(1000, b""));
        assert_eq!(self.close_code(), 1000);
        self.is_ended();
    }

    /// Expects the end of the stream, or a reset, and nothing before it.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) {
        let deadline = Deadline::after(PATIENCE);
        while self.arrive(deadline) == Arrival::Bytes {}
        let left = &self.received[self.taken..];
        assert!(
            left.is_empty(),
            "before the end came {:?}",
            String::from_utf8_lossy(left)
        );
    }

    /// The head of an HTTP answer, such as a 101; what comes after it is left to be read.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Response {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if let Some(mut response) = Response::parse(&self.received[self.taken..]) {
                self.taken = self.received.len() - response.body.len();
                response.body.clear();
                return response;
            }
            if self.arrive(deadline) == Arrival::End {
                panic!(
                    "no HTTP answer, only {:?}",
                    String::from_utf8_lossy(&self.received)
                );
            }
        }
    }

    /// The next so many bytes, such as a body whose length the head has told.
    #[track_caller]
    pub(crate) fn exactly(&mut self, size: usize) -> Vec<u8> {
        let deadline = Deadline::after(PATIENCE);
        while self.received.len() - self.taken < size {
            let more = self.arrive(deadline) == Arrival::Bytes;
            assert!(more, "the stream ended before {size} bytes");
        }
        self.taken += size;
        self.received[self.taken - size..self.taken].to_vec()
    }

    /// All that the server says until it closes.
    #[track_caller]
    pub(crate) fn all(&mut self) -> Vec<u8> {
        let deadline = Deadline::after(PATIENCE);
        while self.arrive(deadline) == Arrival::Bytes {}
        self.received.split_off(self.taken)
    }

    /// Whether the server ends the connection within `span`; what comes until then is kept.
    pub(crate) fn ends_within(&mut self, span: Duration) -> bool {
        let deadline = Deadline::after(span);
        while deadline.left().is_some() {
            if self.try_arrive(deadline) == Some(Arrival::End) {
                return true;
            }
        }
        false
    }

    /// Reads and forgets what comes, until the connection ends; false if it never does.
    pub(crate) fn drains_to_the_end(&mut self) -> bool {
        let deadline = Deadline::after(PATIENCE);
        loop {
            self.received.clear();
            self.taken = 0;
            match self.try_arrive(deadline) {
                Some(Arrival::End) => return true,
                Some(Arrival::Bytes) => {}
                None => return false,
            }
        }
    }

    /// Gives back the memory of what was received: there may be ten thousand of these.
    pub(crate) fn rests(&mut self) {
        assert_eq!(self.taken, self.received.len(), "something was not taken");
        self.taken = 0;
        self.received = Vec::new();
    }

    /// The same connection, for a thread that only writes.
    #[track_caller]
    pub(crate) fn second_hand(&self) -> Self {
        Self::from(self.stream.try_clone().expect("descriptors"))
    }

    /// Ends this side's half of the stream.
    pub(crate) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("TCP");
    }

    #[track_caller]
    fn arrive(&mut self, deadline: Deadline) -> Arrival {
        self.try_arrive(deadline).unwrap_or_else(|| {
            let left = Frame {
                first: 0,
                payload: self.received[self.taken..].to_vec(),
            };
            panic!("nothing came within {PATIENCE:?}, after an incomplete {left:?}")
        })
    }

    /// Reads once; `None` if nothing came in time.
    fn try_arrive(&mut self, deadline: Deadline) -> Option<Arrival> {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        }
        self.stream
            .set_read_timeout(Some(deadline.left()?))
            .expect("not zero");
        let start = self.received.len();
        self.received.resize(start + READ_SIZE, 0);
        let result = self.stream.read(&mut self.received[start..]);
        self.received
            .truncate(start + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Some(Arrival::End),
            Ok(_) => Some(Arrival::Bytes),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => None,
                ErrorKind::Interrupted => Some(Arrival::Bytes),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some(Arrival::End),
                kind => panic!("reading: {kind}"),
            },
        }
    }
}

/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;
