//! The receiving side of each crate, as its users drive it, behind one trait.

use std::io::Read;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use fastwebsockets::FragmentCollector;
use sockudo_ws::protocol::{Message, Protocol};
use tidegate_proto::{Event, Input, Session, Settings};
use tungstenite::protocol::{WebSocketConfig, WebSocketContext};

use crate::feed::Feed;

/// All accept messages of this size, and none larger.
const SIZE_MAX: usize = 2 * 1024 * 1024;

/// What the shard of a server asks of a direct receive, and how much sockudo-ws reads at once.
const SCRATCH_SIZE: usize = 64 * 1024;

/// A server's receiving side on an endless feed.
pub(crate) trait Receiver: 'static {
    const NAME: &'static str;

    fn new(feed: Feed) -> Self;

    /// Receives the next `count` messages, the last of which ends with a chunk.
    fn receive(&mut self, count: usize, on_message: impl FnMut(&[u8]));
}

/// Ours, driven as a shard does: a chunk in the scratch, events until there is none, and the rest of
/// a large frame straight into its own buffer. It checks everything.
pub(crate) struct Tidegate {
    feed: Feed,
    session: Session,
    scratch: Vec<u8>,
    replies: Vec<u8>,
}

impl Receiver for Tidegate {
    const NAME: &'static str = "tidegate";

    fn new(feed: Feed) -> Self {
        let scratch = vec![0; feed.largest()];
        let message_size_max = SIZE_MAX;
        Self {
            feed,
            session: Session::server(Settings { message_size_max }),
            scratch,
            replies: Vec::new(),
        }
    }

    #[inline]
    fn receive(&mut self, count: usize, mut on_message: impl FnMut(&[u8])) {
        let mut left = count;
        let mut on_event = |event: Event<'_>| {
            if let Event::Message(message) = event {
                on_message(message.as_bytes());
                left -= 1;
            }
            left
        };
        let mut done = false;
        while !done {
            let size = self.feed.read(&mut self.scratch).expect("in memory");
            let mut input = Input::new(&mut self.scratch[..size]);
            let session = &mut self.session;
            while let Some(event) = session
                .receive(&mut input, &mut self.replies)
                .expect("valid")
            {
                done = on_event(event) == 0;
            }
            while let Some(direct) = session.take_buffer(SCRATCH_SIZE) {
                let mut buffer = direct.buffer;
                buffer.extend_from_slice(self.feed.next_chunk(direct.wanted));
                let event = session.give_buffer(buffer, &mut self.replies);
                if let Some(event) = event.expect("valid") {
                    done = on_event(event) == 0;
                }
            }
        }
    }
}

/// tungstenite without its handshake. Its read buffer is as large as the chunk, which suits it best: it
/// clears the whole buffer before each read. It is not asked for one message more than there are. It takes
/// lengths that are not minimal.
pub(crate) struct Tungstenite {
    feed: Feed,
    context: WebSocketContext,
}

impl Receiver for Tungstenite {
    const NAME: &'static str = "tungstenite";

    fn new(feed: Feed) -> Self {
        let read_buffer_size = feed.largest();
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer_size)
            .max_message_size(Some(SIZE_MAX))
            .max_frame_size(Some(SIZE_MAX));
        let role = tungstenite::protocol::Role::Server;
        Self {
            feed,
            context: WebSocketContext::new(role, Some(config)),
        }
    }

    #[inline]
    fn receive(&mut self, count: usize, mut on_message: impl FnMut(&[u8])) {
        for _ in 0..count {
            match self.context.read(&mut self.feed).expect("valid") {
                tungstenite::Message::Text(text) => on_message(text.as_bytes()),
                other => panic!("not a text: {other:?}"),
            }
        }
    }
}

/// tungstenite as it comes, with a read buffer of 128 KiB.
pub(crate) struct TungsteniteAsItComes(Tungstenite);

impl Receiver for TungsteniteAsItComes {
    const NAME: &'static str = "tungstenite, 128 KiB buffer";

    fn new(feed: Feed) -> Self {
        let context = WebSocketContext::new(tungstenite::protocol::Role::Server, None);
        Self(Tungstenite { feed, context })
    }

    #[inline]
    fn receive(&mut self, count: usize, on_message: impl FnMut(&[u8])) {
        self.0.receive(count, on_message);
    }
}

/// fastwebsockets, polled once for each message, for the feed is always ready. It takes lengths that are
/// not minimal and frames without a mask.
pub(crate) struct FastWebSockets(FragmentCollector<Feed>);

impl Receiver for FastWebSockets {
    const NAME: &'static str = "fastwebsockets";

    fn new(feed: Feed) -> Self {
        let role = fastwebsockets::Role::Server;
        let mut socket = fastwebsockets::WebSocket::after_handshake(feed, role);
        socket.set_max_message_size(SIZE_MAX);
        Self(FragmentCollector::new(socket))
    }

    #[inline]
    fn receive(&mut self, count: usize, mut on_message: impl FnMut(&[u8])) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..count {
            match pin!(self.0.read_frame()).poll(&mut context) {
                Poll::Ready(frame) => on_message(&frame.expect("valid").payload),
                Poll::Pending => panic!("the feed is always ready"),
            }
        }
    }
}

/// sockudo-ws without its runtime: its buffer is kept as its stream keeps it. It checks everything.
pub(crate) struct Sockudo {
    feed: Feed,
    protocol: Protocol,
    buffer: BytesMut,
    messages: Vec<Message>,
}

impl Receiver for Sockudo {
    const NAME: &'static str = "sockudo-ws";

    fn new(feed: Feed) -> Self {
        let buffer = BytesMut::with_capacity(SCRATCH_SIZE.max(feed.largest()));
        let role = sockudo_ws::protocol::Role::Server;
        Self {
            feed,
            protocol: Protocol::new(role, SIZE_MAX, SIZE_MAX),
            buffer,
            messages: Vec::new(),
        }
    }

    #[inline]
    fn receive(&mut self, count: usize, mut on_message: impl FnMut(&[u8])) {
        let mut left = count;
        while left > 0 {
            let chunk = self.feed.next_chunk(usize::MAX);
            if self.buffer.capacity() - self.buffer.len() < chunk.len() {
                self.buffer.reserve(SCRATCH_SIZE.max(chunk.len()));
            }
            self.buffer.extend_from_slice(chunk);
            self.protocol
                .process_into(&mut self.buffer, &mut self.messages)
                .expect("valid");
            for message in self.messages.drain(..) {
                on_message(message.as_bytes());
                left -= 1;
            }
        }
    }
}
