//! The law of the core: for every cut of the same bytes, the same events and the same wire.

use tidegate_proto::{GROWTH_SIZE, Session, Settings};

use crate::common::{Seen, converse, feed, feed_directly};

/// Cuts bytes into chunks of these sizes, over and over; into one chunk when no size says otherwise.
pub(crate) fn cut<'b>(mut bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut chunks = Vec::new();
    let advances = sizes.iter().any(|size| *size > 0);
    for size in sizes.iter().cycle().take_while(|_| advances) {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

/// A session in some state, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) server: bool,
    pub(crate) deflate: bool,
    /// It has sent its close frame before the first byte comes.
    pub(crate) closing: bool,
    pub(crate) message_size_max: usize,
}

impl Half {
    /// A server half without compression.
    pub(crate) const fn server(message_size_max: usize) -> Self {
        Self {
            server: true,
            deflate: false,
            closing: false,
            message_size_max,
        }
    }

    /// A client half without compression.
    pub(crate) const fn client(message_size_max: usize) -> Self {
        Self {
            server: false,
            ..Self::server(message_size_max)
        }
    }

    pub(crate) fn session(self) -> Session {
        let settings = Settings {
            message_size_max: self.message_size_max,
        };
        let mut session = if self.server {
            Session::server(settings)
        } else {
            Session::client(settings)
        };
        if self.deflate {
            session = session.with_deflate();
        }
        if self.closing && self.server {
            assert!(session.close(None, "", &mut Vec::new()));
        } else if self.closing {
            assert!(session.close_masked(None, "", [0; 4], &mut Vec::new()));
        }
        session
    }
}

/// One chunk, chunks of these sizes, one byte at a time, and straight into the buffer: all the same. What
/// is said in answer is what the RFC demands, and the memory follows what has arrived.
pub(crate) fn every_cut_gives_the_same(half: Half, bytes: &[u8], sizes: &[usize]) {
    let whole = converse(half.session(), &[bytes]);
    let chunks = cut(bytes, sizes);
    let ones: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(watch(half, &chunks, feed), whole, "{half:?} {sizes:?}");
    assert_eq!(watch(half, &ones, feed), whole, "{half:?} bytewise");
    let directly = watch(half, &chunks, feed_directly);
    assert_eq!(directly, whole, "{half:?} {sizes:?} directly");
    assert_answered(half, &whole.0, &whole.1);
}

/// The way in which a chunk reaches a session.
type Feed = fn(&mut Session, &[u8], &mut Vec<u8>, &mut Vec<Seen>);

/// As [`converse`], with an eye on the memory.
fn watch(half: Half, chunks: &[&[u8]], feed: Feed) -> (Vec<Seen>, Vec<u8>) {
    let (mut session, mut seen, mut wire) = (half.session(), Vec::new(), Vec::new());
    let mut arrived = 0;
    for chunk in chunks {
        arrived += chunk.len();
        feed(&mut session, chunk, &mut wire, &mut seen);
        let bound = 2 * arrived + GROWTH_SIZE + PARTIAL_SIZE;
        assert!(
            session.memory() <= bound,
            "{} after {arrived}",
            session.memory()
        );
        assert!(session.message_open() || session.memory() == 0);
    }
    (seen, wire)
}

/// A cut header, a cut control frame and what describes them, in bytes: more than it is, and a constant.
const PARTIAL_SIZE: usize = 512;

/// A server half answers each ping, the close and the violation, in their order, in frames that a client
/// half takes; a client half says nothing by itself.
fn assert_answered(half: Half, seen: &[Seen], wire: &[u8]) {
    if !half.server {
        assert!(wire.is_empty(), "a client half answers nothing by itself");
        return;
    }
    let answers = seen.iter().filter_map(|seen| match seen {
        Seen::Ping(payload) => Some(Seen::Pong(payload.clone())),
        Seen::Close(code, _) if !half.closing => Some(Seen::Close(*code, String::new())),
        Seen::Violation(violation) if !half.closing => {
            let code = violation.code().value();
            Some(Seen::Close(Some(code), violation.to_string()))
        }
        _ => None,
    });
    let (said, _) = converse(Half::client(0).session(), &[wire]);
    assert_eq!(said, answers.collect::<Vec<_>>(), "{half:?}");
}
