//! The yardstick: the least that an echo of WebSocket messages on epoll can be, in one thread.
//!
//! It reads frame headers and checks nothing: no UTF-8, no reserved bits, no fragments, no
//! limits, no timers. What a real server costs beyond this program is what its rules cost.
//! One message in and out is one `recv` and one `send`; frames that came in one `recv` leave
//! in one `send`. Everything happens in one buffer: a payload is unmasked where it lies, and
//! the reply's header, four bytes shorter, is moved up against it. A frame that does not fit
//! into the buffer closes the connection.
//!
//! With `--room` everybody hears what anybody says: one `send` for each peer, of all that came in
//! one `recv`.
//!
//! With `--bare-handshake` it is the yardstick of connects as well: the request is not read either, but
//! for the key, which is looked for where it is; a request that comes in pieces closes the connection.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, RecvFlags, SendFlags, SocketFlags, SocketType};
use sha1::{Digest, Sha1};
use tidegate_io::{files, host};
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{HeadStatus, read_request, upgrade};

/// As large as the scratch of a shard, so that both see the same number of system calls.
const BUFFER_SIZE: usize = 64 * 1024;
const EVENTS_MAX: usize = 256;
const BACKLOG: i32 = 65_535;
const TOKEN_LISTENER: u64 = u64::MAX;

#[derive(Debug, Parser)]
#[command(
    about = "A bare epoll loop that echoes WebSocket messages: the yardstick",
    version
)]
struct Options {
    /// Where to listen; port 0 lets the kernel choose
    #[arg(short, long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Answer a handshake without reading more of it than its key
    #[arg(long)]
    bare_handshake: bool,
    /// Run on this core
    #[arg(long)]
    core: Option<usize>,
    /// Send each message to everybody who is connected
    #[arg(long)]
    room: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    files::raise_limit().context("cannot raise the limit of open files")?;
    let mut echo =
        Echo::new(&options).with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = SocketAddr::try_from(net::getsockname(&echo.listener)?)?;
    writeln!(io::stdout(), "listening on {address}")?;
    let core = options.core.map(host::Core);
    let thread = host::spawn("bare-echo".to_owned(), core, move |pinned| {
        if core.is_some() && !pinned {
            return Err(io::Error::other("this process may not run on that core"));
        }
        echo.run()
    })?;
    thread
        .join()
        .map_err(|_| anyhow!("the loop has panicked"))??;
    Ok(())
}

struct Echo {
    epoll: OwnedFd,
    listener: OwnedFd,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    /// Everybody hears what anybody says.
    room: bool,
    /// What has been said to the room by one peer, and is yet to be sent.
    said: Vec<u8>,
    bare_handshake: bool,
}

struct Peer {
    fd: OwnedFd,
    /// The handshake has been answered.
    open: bool,
    /// It is answered without being read.
    bare_handshake: bool,
    /// The beginning of a frame, or of a request's head, whose rest has not come yet.
    carry: Vec<u8>,
    /// What the kernel had no room for. Nothing is received meanwhile.
    unsent: Vec<u8>,
}

/// What became of the bytes of one `recv`.
struct Echoed {
    /// So many were used up.
    read: usize,
    /// Where the replies lie.
    replies: Range<usize>,
    /// The peer wants to close, or sent what this program does not know.
    close: bool,
}

impl Echo {
    fn new(options: &Options) -> io::Result<Self> {
        let address = options.listen;
        let family = match address {
            SocketAddr::V4(_) => net::AddressFamily::INET,
            SocketAddr::V6(_) => net::AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = net::socket_with(family, SocketType::STREAM, flags, None)?;
        net::sockopt::set_socket_reuseaddr(&listener, true)?;
        // Inherited by every accepted socket.
        net::sockopt::set_tcp_nodelay(&listener, true)?;
        net::bind(&listener, &address)?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(TOKEN_LISTENER),
            EventFlags::IN,
        )?;
        let buffer = vec![0; BUFFER_SIZE];
        Ok(Self {
            epoll,
            listener,
            peers: Vec::new(),
            free: Vec::new(),
            buffer,
            room: options.room,
            said: Vec::new(),
            bare_handshake: options.bare_handshake,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), None))?;
            for event in &events {
                match event.data.u64() {
                    TOKEN_LISTENER => self.accept()?,
                    token => {
                        let index = usize::try_from(token).expect("it was an index");
                        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
                            continue;
                        };
                        let said = self.room.then_some(&mut self.said);
                        if !peer.serve(&mut self.buffer, said) {
                            self.close(index);
                        }
                        if !self.said.is_empty() {
                            self.tell_all();
                        }
                    }
                }
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.peers[index] = None;
        self.free.push(index);
    }

    fn tell_all(&mut self) {
        let said = std::mem::take(&mut self.said);
        for index in 0..self.peers.len() {
            if let Some(peer) = &mut self.peers[index]
                && peer.open
                && !peer.say(&said)
            {
                self.close(index);
            }
        }
        self.said = said;
        self.said.clear();
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = match net::accept_with(&self.listener, flags) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            // Edge-triggered and armed once: the kernel need not look at it a second time.
            let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&self.epoll, &fd, EventData::new_u64(index as u64), interest)?;
            let peer = Peer {
                fd,
                open: false,
                bare_handshake: self.bare_handshake,
                carry: Vec::new(),
                unsent: Vec::new(),
            };
            self.peers[index] = Some(peer);
        }
    }
}

impl Peer {
    /// Deals with one readiness; `false` ends the connection.
    ///
    /// The replies go to the peer itself, or are left in `said`.
    fn serve(&mut self, buffer: &mut [u8], mut said: Option<&mut Vec<u8>>) -> bool {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            if !self.send(&unsent) {
                return false;
            }
        }
        while self.unsent.is_empty() {
            let held = self.carry.len();
            buffer[..held].copy_from_slice(&self.carry);
            let space = buffer.len() - held;
            let size = match retry_on_intr(|| {
                net::recv(&self.fd, &mut buffer[held..], RecvFlags::empty()).map(|(n, _)| n)
            }) {
                Ok(0) => return false,
                Ok(size) => size,
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            };
            if !self.receive(&mut buffer[..held + size], said.as_deref_mut()) {
                return false;
            }
            // Less than was asked for has emptied the socket: epoll(7).
            if size < space {
                return true;
            }
        }
        true
    }

    fn receive(&mut self, bytes: &mut [u8], said: Option<&mut Vec<u8>>) -> bool {
        let echoed = if self.open {
            echo_frames(bytes)
        } else {
            self.answer(bytes)
        };
        let replies = &bytes[echoed.replies];
        match said {
            Some(said) => said.extend_from_slice(replies),
            None if !replies.is_empty() && !self.send(replies) => return false,
            None => {}
        }
        let rest = &bytes[echoed.read..];
        if !self.carry.is_empty() || !rest.is_empty() {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
        !echoed.close && rest.len() < BUFFER_SIZE
    }

    /// Answers the opening handshake; whatever is not one closes the connection.
    fn answer(&mut self, bytes: &[u8]) -> Echoed {
        if self.bare_handshake {
            self.open = accept_blindly(bytes).is_some_and(|response| self.send(&response));
            return Echoed {
                read: bytes.len(),
                replies: 0..0,
                close: !self.open,
            };
        }
        let (size, upgraded) = match read_request(bytes, &HeadLimits::default()) {
            Ok(HeadStatus::Partial) => {
                return Echoed {
                    read: 0,
                    replies: 0..0,
                    close: false,
                };
            }
            Ok(HeadStatus::Complete { request, size }) => (size, upgrade(&request).ok()),
            Err(_) => (0, None),
        };
        let mut wire = Vec::new();
        if let Some(upgraded) = upgraded {
            upgraded.write_response(None, &[], &mut wire);
            self.open = true;
        }
        let sent = self.open && self.send(&wire);
        Echoed {
            read: size,
            replies: 0..0,
            close: !sent,
        }
    }

    /// Sends behind what waits already; `false` if the peer is lost.
    fn say(&mut self, bytes: &[u8]) -> bool {
        if self.unsent.is_empty() {
            return self.send(bytes);
        }
        self.unsent.extend_from_slice(bytes);
        true
    }

    /// Sends what the kernel takes and keeps the rest; `false` if the peer is lost.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = match retry_on_intr(|| net::send(&self.fd, bytes, SendFlags::NOSIGNAL)) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return false,
        };
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
        }
        true
    }
}

const RESPONSE: &[u8; 97] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
const KEY_NAME: &[u8] = b"Sec-WebSocket-Key: ";
const KEY_SIZE: usize = 24;
const ACCEPT_SIZE: usize = 28;
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The 101 to whoever sends a key (RFC 6455, 4.2.2); `None` if there is none.
fn accept_blindly(request: &[u8]) -> Option<[u8; RESPONSE.len() + ACCEPT_SIZE + 4]> {
    let name = request
        .windows(KEY_NAME.len())
        .position(|bytes| bytes == KEY_NAME)?;
    let key = request[name + KEY_NAME.len()..].get(..KEY_SIZE)?;
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut response = [0; RESPONSE.len() + ACCEPT_SIZE + 4];
    response[..RESPONSE.len()].copy_from_slice(RESPONSE);
    let (accept, end) = response[RESPONSE.len()..].split_at_mut(ACCEPT_SIZE);
    STANDARD.encode_slice(digest, accept).ok()?;
    end.copy_from_slice(b"\r\n\r\n");
    Some(response)
}

/// Turns the whole frames in `bytes` into their replies, all in place.
///
/// ```text
///   in   [head mask payload][head mask payload][head ma
///   out        [head payload head payload]     └─ read
/// ```
fn echo_frames(bytes: &mut [u8]) -> Echoed {
    let mut echoed = Echoed {
        read: 0,
        replies: 0..0,
        close: false,
    };
    while let Some(head) = Head::read(&bytes[echoed.read..]) {
        let start = echoed.read;
        let payload = start + head.size;
        let end = payload.saturating_add(head.length);
        if end > bytes.len() {
            break;
        }
        echoed.read = end;
        if head.opcode == OPCODE_PONG {
            continue;
        }
        unmask(&mut bytes[payload..end], head.mask);
        let reply_head_size = head.size - head.mask.len();
        bytes[start + 1] &= !MASKED;
        if head.opcode == OPCODE_PING {
            bytes[start] ^= OPCODE_PING ^ OPCODE_PONG;
        }
        if echoed.replies.is_empty() {
            // The first payload stays where it is.
            bytes.copy_within(start..start + reply_head_size, payload - reply_head_size);
            echoed.replies = payload - reply_head_size..end;
        } else {
            let to = echoed.replies.end;
            bytes.copy_within(start..start + reply_head_size, to);
            bytes.copy_within(payload..end, to + reply_head_size);
            echoed.replies.end = to + reply_head_size + head.length;
        }
        if head.opcode == OPCODE_CLOSE || !head.masked {
            echoed.close = true;
            break;
        }
    }
    echoed
}

/// What stands before a payload.
struct Head {
    opcode: u8,
    masked: bool,
    mask: [u8; 4],
    /// Of the head itself, with the mask.
    size: usize,
    /// Of the payload.
    length: usize,
}

impl Head {
    /// `None` while it is not complete.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (length, at) = match second & !MASKED {
            126 => (
                usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
                4,
            ),
            127 => {
                let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                (usize::try_from(length).unwrap_or(usize::MAX), 10)
            }
            short => (usize::from(short), 2),
        };
        let mask = *bytes.get(at..)?.first_chunk()?;
        let masked = second & MASKED != 0;
        Some(Self {
            opcode: first & 0x0f,
            masked,
            mask,
            size: at + mask.len(),
            length,
        })
    }
}

const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xa;
const MASKED: u8 = 0x80;

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(mask));
    let wide = half | half << 32;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
