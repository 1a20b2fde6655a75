//! One connection of the client: where it stands, and nothing that an idle one can do without.
//!
//! ```text
//!   Away ─▶ Connecting ─▶ Handshaking ─▶ Open ─▶ Closing ─▶ Away
//!              └──────────────┴───────────┴─ lost ──────────▶
//! ```

use std::mem::size_of;
use std::time::Instant;

use tidegate_proto::Session;

use crate::tls::Sealed;

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) state: State,
    /// For `wss://`, from the connect on.
    pub(crate) tls: Option<Box<Sealed>>,
    /// A batch is under way.
    pub(crate) sending: bool,
    /// What has to follow it: pongs, a close frame.
    pub(crate) late: Vec<u8>,
}

/// Where a connection stands.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Not yet, or no more.
    #[default]
    Away,
    Connecting {
        since: Instant,
    },
    /// The request is on its way.
    Handshaking {
        since: Instant,
        /// What has come of an answer that is not yet complete.
        head: Vec<u8>,
    },
    Open(Session),
    /// A close frame has been sent.
    Closing {
        session: Session,
        /// The server's has come, too.
        answered: bool,
    },
}

const _: () = assert!(size_of::<Connection>() <= 88, "there are a million");
