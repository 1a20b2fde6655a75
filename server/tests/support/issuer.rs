//! An issuer of keys: a small HTTP server that gives out whatever it is told, or nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::clock::PATIENCE;

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This body.
    Set(String),
    /// This status line and these headers, and no body.
    Status(&'static str),
    /// Nothing: it keeps the connection.
    Silence,
}

/// It serves until the process ends.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<(Answer, usize)>>,
}

impl Issuer {
    /// Begins on a free port.
    #[track_caller]
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new((answer, 0)));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = {
                    let mut state = shared.lock().expect("nobody panics with it");
                    state.1 += 1;
                    state.0.clone()
                };
                kept.extend(serve(stream, &answer));
            }
        });
        Self { address, state }
    }

    /// Where its keys are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// From now on it answers this.
    pub(crate) fn answers(&self, answer: Answer) {
        self.state.lock().expect("nobody panics with it").0 = answer;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().expect("nobody panics with it").1
    }
}

/// Answers one request; returns the stream if it is to be kept.
fn serve(mut stream: TcpStream, answer: &Answer) -> Option<TcpStream> {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let text = match answer {
        Answer::Silence => return Some(stream),
        Answer::Status(line) => format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"),
        Answer::Set(body) => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    // Whoever has asked may have gone.
    let _ = stream.write_all(text.as_bytes());
    None
}
