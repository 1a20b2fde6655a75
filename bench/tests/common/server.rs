//! A small server on the protocol crate's server half: one thread for each client, and habits
//! that a test gives it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tidegate_proto::handshake::{HeadStatus, read_request, upgrade};
use tidegate_proto::{Event, HeadLimits, Input, Message, MessageKind, Session, Settings};

/// What the server does beside answering.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Habits {
    /// Before it answers message number so many (from 0, of all clients), it does nothing for so
    /// long.
    pub(crate) stall: Option<(u64, Duration)>,
    /// It echoes no message of this number (from 0, of all clients).
    pub(crate) forget: Option<u64>,
    /// It hangs up on those who come with these numbers (from 0, in the order of accepting).
    pub(crate) refused: (u64, u64),
    /// It answers no ping.
    pub(crate) no_pongs: bool,
}

/// What all threads of the server know.
#[derive(Debug, Default)]
pub(crate) struct State {
    habits: Habits,
    messages: AtomicU64,
    pub(crate) accepted: AtomicU64,
    clients: Mutex<Vec<TcpStream>>,
}

/// The server; its threads end with their clients, and with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
}

impl Server {
    pub(crate) fn start(habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            habits,
            ..State::default()
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, state) = (client.unwrap(), Arc::clone(&shared));
                let number = state.accepted.fetch_add(1, SeqCst);
                if number >= state.habits.refused.0 && number < state.habits.refused.1 {
                    continue;
                }
                client.set_nodelay(true).unwrap();
                let clone = client.try_clone().unwrap();
                thread::spawn(move || {
                    let _ = converse(&mut client, &state, Some(clone));
                    // There is another handle to it.
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, state }
    }

    /// Says something to every client.
    pub(crate) fn publish(&self, text: &str) {
        let mut wire = Vec::new();
        let settings = Settings {
            message_size_max: 1024,
        };
        Session::server(settings).send(Message::Text(text), &mut wire);
        for client in self.state.clients.lock().unwrap().iter() {
            // Whoever has gone away hears nothing.
            let _ = (&*client).write_all(&wire);
        }
    }
}

/// Answers a client until it goes.
pub(crate) fn converse(
    stream: &mut (impl Read + Write),
    state: &State,
    listed: Option<TcpStream>,
) -> io::Result<()> {
    // Before the 101, behind which a client may be told something at once.
    if let Some(client) = listed {
        state.clients.lock().unwrap().push(client);
    }
    let mut rest = shake_hands(stream)?;
    let mut session = Session::server(Settings {
        message_size_max: 1 << 20,
    });
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let mut wire = Vec::new();
        let mut input = Input::new(&mut rest);
        let mut replies: Vec<(MessageKind, Vec<u8>)> = Vec::new();
        let mut over = false;
        loop {
            match session.receive(&mut input, &mut wire) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    replies.push((message.kind(), message.as_bytes().to_vec()));
                }
                Ok(Some(Event::Ping(_))) if state.habits.no_pongs => wire.clear(),
                Ok(Some(Event::Close { .. })) | Err(_) => {
                    over = true;
                    break;
                }
                Ok(Some(_)) => {}
            }
        }
        for (kind, bytes) in replies {
            answer(state, &mut session, kind, &bytes, &mut wire);
        }
        stream.write_all(&wire)?;
        stream.flush()?;
        if over {
            return Ok(());
        }
        let size = stream.read(&mut chunk)?;
        if size == 0 {
            return Ok(());
        }
        rest = chunk[..size].to_vec();
    }
}

fn answer(
    state: &State,
    session: &mut Session,
    kind: MessageKind,
    bytes: &[u8],
    wire: &mut Vec<u8>,
) {
    let number = state.messages.fetch_add(1, SeqCst);
    if let Some((at, time)) = state.habits.stall
        && number == at
    {
        // Nobody sends, so this is a wait and nothing else.
        let (_sender, receiver) = mpsc::channel::<()>();
        let _ = receiver.recv_timeout(time);
    }
    if state.habits.forget == Some(number) {
        return;
    }
    let message = match kind {
        MessageKind::Text => Message::Text(str::from_utf8(bytes).unwrap()),
        MessageKind::Binary => Message::Binary(bytes),
    };
    session.send(message, wire);
}

/// What came behind the request.
fn shake_hands(stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let size = stream.read(&mut chunk)?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&chunk[..size]);
        let limits = HeadLimits::default();
        let Ok(HeadStatus::Complete { request, size }) = read_request(&head, &limits) else {
            continue;
        };
        let mut wire = Vec::new();
        upgrade(&request)
            .unwrap()
            .write_response(None, &[], &mut wire);
        stream.write_all(&wire)?;
        stream.flush()?;
        return Ok(head[size..].to_vec());
    }
}
