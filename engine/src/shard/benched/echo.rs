//! A shard on which one peer says the same all the time, and hears it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tidegate_io::host::Executor;
use tidegate_io::{Completion, Driver, Op, Socket, Submitted, Timeout, Traffic, Waker};
use tidegate_proto::{Message, Session, Settings};

use super::Nobody;
use crate::compression::{Budget, Compressor};
use crate::connection::{Flags, Open, Stage};
use crate::mailbox::{Post, mailbox};
use crate::shard::{Parts, Shard};
use crate::{
    Answer, Compression, Context, Handler, Limits, Profile, Rates, Request, RequestContext, Upgrade,
};

/// A kernel in which a peer has said something, so many times, and which takes all answers.
#[derive(Debug)]
struct Again {
    now: Instant,
    said: Vec<u8>,
    lent: Vec<u8>,
    left: usize,
}

impl Driver for Again {
    fn submit(&mut self, _op: Op<'_>) -> Submitted {
        Submitted::Done
    }

    fn wait(&mut self, _timeout: Timeout) -> io::Result<()> {
        Ok(())
    }

    fn reap(&mut self) -> Option<Completion<'_>> {
        self.left = self.left.checked_sub(1)?;
        self.lent.copy_from_slice(&self.said);
        Some(Completion::Received {
            socket: Socket(0),
            bytes: &mut self.lent,
        })
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn traffic(&self, _socket: Socket) -> Option<Traffic> {
        None
    }

    fn memory(&self) -> usize {
        0
    }

    fn waker(&self) -> Waker {
        Waker::new(Nobody)
    }
}

#[derive(Debug)]
struct Mirror;

impl Handler for Mirror {
    type State = ();
    type Note = u32;

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    #[inline]
    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        let sent = context.send(message);
        assert!(sent.is_ok(), "a kernel that takes everything");
    }
}

/// See above.
pub struct Echo(Shard<Again, Mirror>);

impl fmt::Debug for Echo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Echo")
    }
}

impl Echo {
    /// What the peer says is frames; with rates, it is metered.
    #[must_use]
    pub fn new(now: Instant, said: Vec<u8>, rates: Rates) -> Self {
        let driver = Again {
            now,
            lent: vec![0; said.len()],
            said,
            left: 0,
        };
        let is_metered = !rates.is_off();
        let limits = Limits {
            profile: Profile {
                rates,
                ..Profile::quiet()
            },
            ..Limits::default()
        };
        let (own, _) = mailbox(limits.mailbox_letters_max, driver.waker());
        let budget = Arc::new(Budget::new(Compression::Off));
        let parts = Parts {
            index: 0,
            compressor: Compressor::new(Compression::Off, budget),
            mailbox: own,
            post: Post::new(vec![None], limits.mail_bytes_max),
            shared: Arc::default(),
            seed: 1,
            limits,
            executor: Executor::here(),
        };
        let mut shard = Shard::new(driver, Mirror, parts);
        let slot = shard.core.insert(SocketAddr::from(([127, 0, 0, 1], 1)));
        let session = Session::server(Settings::default());
        let connection = shard.core.connection(slot);
        connection.stage = Stage::Open(Open::new(session, None, (), 1));
        if is_metered {
            connection.flags.set(Flags::METERED);
            shard.core.meters.open(slot, None);
        }
        Self(shard)
    }

    /// One turn, in which the peer has said it so many times, each of them a read.
    pub fn turn(&mut self, reads: usize) {
        self.0.driver.left = reads;
        let turned = self.0.turn();
        assert!(turned.is_ok(), "nothing fails here");
    }

    /// How many messages have been echoed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.core.counted.messages_out
    }
}
