//! The output of a child process, line by line, with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::clock::{Deadline, PATIENCE};

/// Lines as they come, read by a thread of their own.
#[derive(Debug)]
pub(crate) struct Lines {
    arriving: Receiver<String>,
}

impl Lines {
    /// Reads `source` to its end.
    pub(crate) fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, arriving) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { arriving }
    }

    /// The next line, or `None` at the end.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        self.next_within(PATIENCE)
    }

    /// The same, with a deadline of its own.
    #[track_caller]
    pub(crate) fn next_within(&self, span: Duration) -> Option<String> {
        match self.arriving.recv_timeout(span) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {span:?}"),
        }
    }

    /// All lines to the end of the output.
    #[track_caller]
    pub(crate) fn rest(&self) -> Vec<String> {
        let deadline = Deadline::after(PATIENCE);
        let mut lines = Vec::new();
        while let Some(left) = deadline.left() {
            match self.arriving.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        panic!("the output did not end within {PATIENCE:?}; so far: {lines:?}");
    }
}
