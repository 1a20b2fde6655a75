//! The other implementations, each behind the same door.

mod sockudo;
mod tungstenite;
mod websockets;

use std::io;
use std::path::Path;

use sockudo::Sockudo;
use websockets::Websockets;

use crate::conversation::Conversation;
use crate::reading::Reader;
use crate::verdict::Verdict;

/// An implementation that we are compared with.
#[derive(Debug)]
pub struct Oracle {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tungstenite,
    Sockudo(Box<Sockudo>),
    Websockets(Box<Websockets>),
}

impl Oracle {
    /// tungstenite, in this process.
    #[must_use]
    pub const fn tungstenite() -> Self {
        Self {
            kind: Kind::Tungstenite,
        }
    }

    /// sockudo-ws, in this process.
    #[must_use]
    pub fn sockudo() -> Self {
        Self {
            kind: Kind::Sockudo(Box::default()),
        }
    }

    /// Python's websockets, in a process of this interpreter.
    ///
    /// # Errors
    /// When it cannot be started, or cannot import websockets.
    pub fn websockets(python: &Path) -> io::Result<Self> {
        let websockets = Websockets::start(python)?;
        Ok(Self {
            kind: Kind::Websockets(Box::new(websockets)),
        })
    }

    /// Whose habits explain its verdicts.
    #[must_use]
    pub const fn reader(&self) -> Reader {
        match self.kind {
            Kind::Tungstenite => Reader::Tungstenite,
            Kind::Sockudo(_) => Reader::Sockudo,
            Kind::Websockets(_) => Reader::Websockets,
        }
    }

    /// Reads all conversations; there is a verdict for each.
    ///
    /// # Errors
    /// When the process of an oracle is lost.
    pub fn judge(
        &mut self,
        conversations: &[Conversation],
        verdicts: &mut [Verdict],
    ) -> io::Result<()> {
        assert_eq!(conversations.len(), verdicts.len(), "a verdict for each");
        let pairs = conversations.iter().zip(verdicts.iter_mut());
        match &mut self.kind {
            Kind::Tungstenite => pairs.for_each(|(c, v)| tungstenite::judge(c, v)),
            Kind::Sockudo(sockudo) => pairs.for_each(|(c, v)| sockudo.judge(c, v)),
            Kind::Websockets(websockets) => return websockets.judge(conversations, verdicts),
        }
        Ok(())
    }
}

impl Reader {
    /// The name on command lines and in summaries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Tungstenite => "tungstenite",
            Self::Sockudo => "sockudo",
            Self::Websockets => "websockets",
        }
    }

    /// Whether it has permessage-deflate.
    #[must_use]
    pub const fn compresses(self) -> bool {
        !matches!(self, Self::Tungstenite)
    }
}
