//! A driver with peers around it, and a record of all that its completions said.
//!
//! Whatever the contract says of every completion is asserted here, in every test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_io::{Completion, Driver, Op, Peer, Piece, Socket, Submitted, Timeout};

use crate::rig::{Remote, Rig};

/// No test waits longer than this, on the driver's own clock.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nor for more turns than this.
const TURNS_MAX: usize = 2_000_000;

/// How long one turn waits at most: peers of the real kernel move only between turns.
const TURN: Duration = Duration::from_millis(2);

/// A driver under test.
pub(crate) struct Stand<R: Rig> {
    pub(crate) driver: R::Driver,
    pub(crate) address: SocketAddr,
    pub(crate) remotes: Vec<R::Remote>,
    /// Accepted, not opened yet.
    pub(crate) peers: VecDeque<Peer>,
    /// By socket: only those that are open.
    pub(crate) logs: BTreeMap<Socket, Log>,
    pub(crate) refusal_count: usize,
    /// Who was told bytes in this turn.
    received: BTreeSet<Socket>,
    /// Dropped last: it says what has to be known about a failure.
    pub(crate) rig: R,
}

/// What the completions of one socket said.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// All that came by `Received`.
    pub(crate) bytes: Vec<u8>,
    /// All that came, in order, by `Filled` as well.
    pub(crate) stream: Vec<u8>,
    /// The buffers of `Filled`, as they came.
    pub(crate) filled: Vec<Vec<u8>>,
    pub(crate) received_count: usize,
    pub(crate) sent_count: usize,
    pub(crate) connected: bool,
    pub(crate) ended: bool,
    pub(crate) gone: Option<io::ErrorKind>,
    batch_under_way: bool,
    /// A buffer is to be filled, behind so many bytes.
    pub(crate) direct: Option<usize>,
    paused: bool,
    closing: bool,
}

impl<R: Rig> Stand<R> {
    /// A driver that listens.
    pub(crate) fn new(mut rig: R) -> Self {
        let (mut driver, address) = rig.driver();
        assert_eq!(driver.submit(Op::Listen), Submitted::Done);
        Self::with_driver(rig, driver, address)
    }

    /// A driver that has not been asked to listen.
    pub(crate) fn with_driver(rig: R, driver: R::Driver, address: SocketAddr) -> Self {
        Self {
            driver,
            address,
            remotes: Vec::new(),
            peers: VecDeque::new(),
            logs: BTreeMap::new(),
            refusal_count: 0,
            received: BTreeSet::new(),
            rig,
        }
    }

    /// The end of every test: what was opened is closed, and nothing remains.
    pub(crate) fn finish(mut self) {
        let sockets: Vec<Socket> = self.logs.keys().copied().collect();
        for socket in sockets {
            self.close(socket, false);
        }
        self.peers.clear();
        self.rig.assert_all_returned();
    }

    /// Connects so many peers, and opens them under the smallest free numbers. Returns each
    /// socket with the index of its remote.
    pub(crate) fn open(&mut self, count: usize) -> Vec<(Socket, usize)> {
        let first = self.remotes.len();
        for _ in 0..count {
            let remote = self.rig.connect(self.address).expect("the driver listens");
            self.remotes.push(remote);
        }
        self.until("all are accepted", |stand| stand.peers.len() == count);
        let opened: Vec<_> = (0..count)
            .map(|_| {
                let peer = self.peers.pop_front().unwrap();
                let called_from = |r: &R::Remote| r.address() == peer.address;
                let remote = self.remotes[first..].iter().position(called_from);
                (
                    self.open_peer(peer),
                    first + remote.expect("the address is a remote's"),
                )
            })
            .collect();
        opened
    }

    pub(crate) fn open_one(&mut self) -> (Socket, usize) {
        self.open(1)[0]
    }

    pub(crate) fn open_peer(&mut self, peer: Peer) -> Socket {
        let socket = self.free_number();
        assert_eq!(
            self.driver.submit(Op::Open { socket, peer }),
            Submitted::Done
        );
        socket
    }

    /// Takes the smallest free number into use.
    pub(crate) fn free_number(&mut self) -> Socket {
        let free = (0..)
            .map(Socket)
            .find(|socket| !self.logs.contains_key(socket));
        let socket = free.expect("there are more numbers than sockets");
        self.received.remove(&socket);
        self.logs.insert(socket, Log::default());
        socket
    }

    pub(crate) fn send(&mut self, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        let submitted = self.driver.submit(Op::Send { socket, pieces });
        let log = self.logs.get_mut(&socket).unwrap();
        log.batch_under_way = submitted == Submitted::Pending;
        submitted
    }

    /// Sends until the driver answers `Pending`; returns all that was sent.
    pub(crate) fn send_until_pending(&mut self, socket: Socket) -> Vec<u8> {
        const MANY: usize = 128 * 1024 * 1024;
        let mut all = Vec::new();
        for salt in 0.. {
            assert!(
                all.len() < MANY,
                "a peer that does not read takes {MANY} bytes"
            );
            let bytes = pattern(200_000, salt);
            all.extend_from_slice(&bytes);
            if self.send(socket, &[Piece::Lent(&bytes)]) == Submitted::Pending {
                // A driver may also be late with what it could send.
                for _ in 0..100 {
                    self.turn();
                }
                if self.is_sending(socket) {
                    break;
                }
            }
        }
        all
    }

    pub(crate) fn is_sending(&self, socket: Socket) -> bool {
        self.logs[&socket].batch_under_way
    }

    pub(crate) fn pause(&mut self, socket: Socket) {
        assert_eq!(self.driver.submit(Op::Pause { socket }), Submitted::Done);
        self.logs.get_mut(&socket).unwrap().paused = true;
    }

    pub(crate) fn resume(&mut self, socket: Socket) {
        assert_eq!(self.driver.submit(Op::Resume { socket }), Submitted::Done);
        self.logs.get_mut(&socket).unwrap().paused = false;
    }

    pub(crate) fn receive_into(&mut self, socket: Socket, buffer: Vec<u8>, size: usize) {
        let before = buffer.len();
        let op = Op::ReceiveInto {
            socket,
            buffer,
            size,
        };
        assert_eq!(self.driver.submit(op), Submitted::Pending);
        self.logs.get_mut(&socket).unwrap().direct = Some(before);
    }

    /// Closes, and waits until the number is free.
    pub(crate) fn close(&mut self, socket: Socket, reset: bool) {
        if self.begin_close(socket, reset) == Submitted::Pending {
            self.until("it is closed", |stand| !stand.logs.contains_key(&socket));
        }
    }

    pub(crate) fn begin_close(&mut self, socket: Socket, reset: bool) -> Submitted {
        let submitted = self.driver.submit(Op::Close { socket, reset });
        match submitted {
            Submitted::Done => drop(self.logs.remove(&socket)),
            Submitted::Pending => self.logs.get_mut(&socket).unwrap().closing = true,
        }
        submitted
    }

    /// Runs turns until it is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let start = self.driver.now();
        for _ in 0..TURNS_MAX {
            if is_so(self) {
                return;
            }
            self.turn();
            let waited = self.driver.now().duration_since(start);
            assert!(
                waited < PATIENCE,
                "after {waited:?} it is not so that {what}"
            );
        }
        panic!("after {TURNS_MAX} turns it is not so that {what}");
    }

    /// As `until`, but asks after each completion, and leaves the turn where it is.
    pub(crate) fn reap_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let start = self.driver.now();
        for _ in 0..TURNS_MAX {
            if is_so(self) {
                return;
            }
            if !self.reap() {
                self.wait(TURN);
            }
            let waited = self.driver.now().duration_since(start);
            assert!(
                waited < PATIENCE,
                "after {waited:?} it is not so that {what}"
            );
        }
        panic!("after {TURNS_MAX} completions it is not so that {what}");
    }

    /// So many turns in which something would happen if it could.
    pub(crate) fn settle(&mut self) {
        for _ in 0..50 {
            self.turn();
        }
    }

    pub(crate) fn turn(&mut self) {
        self.wait(TURN);
        while self.reap() {}
    }

    pub(crate) fn wait(&mut self, timeout: Duration) {
        for remote in &mut self.remotes {
            remote.poll();
        }
        self.received.clear();
        self.driver
            .wait(Timeout::At(self.driver.now() + timeout))
            .unwrap();
    }

    /// Reaps one completion; false at the end of the turn.
    pub(crate) fn reap(&mut self) -> bool {
        let Some(completion) = self.driver.reap() else {
            return false;
        };
        let logs = &mut self.logs;
        let refused = matches!(completion, Completion::Refused { .. });
        match completion {
            Completion::Accepted { peer } => self.peers.push_back(peer),
            Completion::Refused { .. } => self.refusal_count += 1,
            Completion::Connected { socket } => {
                let log = log(logs, socket);
                assert!(!log.connected && log.gone.is_none());
                log.connected = true;
            }
            Completion::Received { socket, bytes } => {
                let first = self.received.insert(socket);
                assert!(first, "rule 5: {socket:?} twice in a turn");
                let log = log(logs, socket);
                assert!(!bytes.is_empty(), "at least one byte");
                log.on_bytes(bytes);
                assert!(
                    log.direct.is_none() || log.closing,
                    "the buffer was to be filled first"
                );
                // They may be changed in place.
                bytes.fill(0xEE);
            }
            Completion::Filled { socket, buffer } => {
                let log = log(logs, socket);
                let before = log.direct.take().expect("there was no buffer to fill");
                log.assert_receives();
                assert!(buffer.len() > before, "at least one byte");
                log.stream.extend_from_slice(&buffer[before..]);
                log.filled.push(buffer);
            }
            Completion::Ended { socket } => {
                let log = log(logs, socket);
                assert!(
                    !log.ended && log.gone.is_none(),
                    "Ended comes once, and not after Gone"
                );
                assert!(!log.paused, "nothing is received while paused");
                log.ended = true;
                log.direct = None;
            }
            Completion::Sent { socket } => {
                let log = log(logs, socket);
                assert!(log.gone.is_none(), "nothing comes after Gone");
                assert!(
                    std::mem::take(&mut log.batch_under_way),
                    "no batch is under way"
                );
                log.sent_count += 1;
            }
            Completion::Gone { socket, error } => {
                let log = log(logs, socket);
                assert!(log.gone.is_none(), "Gone comes once");
                log.gone = Some(error.kind());
                log.batch_under_way = false;
                log.direct = None;
            }
            Completion::Closed { socket } => {
                assert!(log(logs, socket).closing, "{socket:?} was not being closed");
                logs.remove(&socket);
            }
        }
        if refused {
            assert_eq!(self.driver.submit(Op::Listen), Submitted::Done);
        }
        true
    }
}

impl Log {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        self.assert_receives();
        self.bytes.extend_from_slice(bytes);
        self.stream.extend_from_slice(bytes);
    }

    fn assert_receives(&mut self) {
        assert!(!self.paused, "nothing is received while paused");
        assert!(!self.ended, "nothing is received after Ended");
        assert!(self.gone.is_none(), "nothing is received after Gone");
        self.received_count += 1;
    }
}

fn log(logs: &mut BTreeMap<Socket, Log>, socket: Socket) -> &mut Log {
    let log = logs.get_mut(&socket);
    log.unwrap_or_else(|| panic!("{socket:?} is not open, but has a completion"))
}

/// Bytes in which a piece that is lost, doubled or misplaced shows.
pub(crate) fn pattern(size: usize, salt: u64) -> Vec<u8> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..size)
        .map(|_| {
            // Marsaglia, "Xorshift RNGs", 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// As `assert_eq!`, without a megabyte of output.
pub(crate) fn assert_same(found: &[u8], wanted: &[u8]) {
    let first = found.iter().zip(wanted).position(|(a, b)| a != b);
    assert_eq!(first, None, "the first byte that differs");
    assert_eq!(found.len(), wanted.len(), "the sizes differ");
}
