//! The verdict of Python's websockets: its protocol without I/O, in a process that reads batches.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::conversation::{Compression, Conversation, Half};
use crate::verdict::{Ending, Verdict};

/// What the process runs.
const PROGRAM: &str = include_str!("websockets.py");

/// A process of Python. It ends when its input does.
#[derive(Debug)]
pub(crate) struct Websockets {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    batch: Vec<u8>,
}

impl Websockets {
    pub(crate) fn start(python: &Path) -> io::Result<Self> {
        let mut child = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the process has no pipes"));
        };
        let mut websockets = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
            batch: Vec::new(),
        };
        // An empty batch shows whether it has come up.
        websockets.judge(&[], &mut [])?;
        Ok(websockets)
    }

    /// Sends all conversations, then reads all verdicts: the process answers no batch before its end.
    pub(crate) fn judge(
        &mut self,
        conversations: &[Conversation],
        verdicts: &mut [Verdict],
    ) -> io::Result<()> {
        self.batch.clear();
        for conversation in conversations {
            put_conversation(conversation, &mut self.batch);
        }
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(&size_of_all(conversations.len())?)?;
        input.write_all(&size_of_all(self.batch.len())?)?;
        input.write_all(&self.batch)?;
        input.flush()?;
        for verdict in verdicts {
            *verdict = read_verdict(&mut self.output)?;
        }
        let mut end = [0];
        self.output.read_exact(&mut end)?;
        if end == *b"." {
            Ok(())
        } else {
            Err(io::Error::other("the process lost its place"))
        }
    }
}

impl Drop for Websockets {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

fn size_of_all(size: usize) -> io::Result<[u8; 4]> {
    let size = u32::try_from(size).map_err(io::Error::other)?;
    Ok(size.to_le_bytes())
}

fn put_conversation(conversation: &Conversation, batch: &mut Vec<u8>) {
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    batch.push(u8::from(conversation.half == Half::Client));
    batch.push(match conversation.compression {
        Compression::None => 0,
        Compression::Shared => 1,
        Compression::Takeover => 2,
    });
    batch.extend_from_slice(&number(conversation.size_max));
    batch.extend_from_slice(&number(conversation.cuts.len()));
    batch.extend_from_slice(&number(conversation.bytes.len()));
    for &cut in &conversation.cuts {
        batch.extend_from_slice(&number(cut));
    }
    batch.extend_from_slice(&conversation.bytes);
}

fn read_verdict(output: &mut impl Read) -> io::Result<Verdict> {
    let mut head = [0; 10];
    output.read_exact(&mut head)?;
    let [code_low, code_high, m0, m1, m2, m3, s0, s1, s2, s3] = head;
    let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    let mut log = vec![0; size];
    output.read_exact(&mut log)?;
    let ending = match u16::from_le_bytes([code_low, code_high]) {
        0 => Ending::Open,
        1 => Ending::Closed,
        code => Ending::Failed(code),
    };
    Ok(Verdict::from_parts(
        log,
        u32::from_le_bytes([m0, m1, m2, m3]),
        ending,
    ))
}
