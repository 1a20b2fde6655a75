//! The engine of Tidegate: a WebSocket server that is thread-per-core.
//!
//! An [`Engine`] is some shards. Each is one thread on one core and owns everything that it
//! touches: its listener, its driver, its connections, its topics, its timers. Shards send
//! each other mail and share nothing else. What the server does with messages is decided by
//! a [`Handler`], of which every shard has its own.
//!
//! ```no_run
//! use tidegate_engine::{
//!     Answer, Context, Engine, Handler, Message, Request, RequestContext, Settings, Upgrade,
//! };
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!     type Note = ();
//!
//!     fn on_request(
//!         &mut self,
//!         _context: &mut RequestContext<'_, Self>,
//!         _request: &Request<'_>,
//!     ) -> Answer<()> {
//!         Answer::Upgrade(Upgrade::new(()))
//!     }
//!
//!     fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
//!         // Refused only when the peer does not read; it is then told so by its socket.
//!         let _ = context.send(message);
//!     }
//! }
//!
//! let engine = Engine::start(Settings::default(), |_shard| Echo).expect("the port is free");
//! engine.join().expect("no shard failed");
//! ```

mod admission;
mod closed;
mod compression;
mod connection;
mod context;
mod core;
mod counters;
mod end;
mod engine;
mod farewell;
mod handle;
mod handler;
mod id;
mod listing;
mod mailbox;
mod meters;
mod outbox;
#[cfg(test)]
mod planted;
mod ports;
mod profile;
mod rates;
mod reply;
mod secure;
mod settings;
mod shard;
mod survey;
mod tallies;
mod tasks;
mod timers;
mod topics;
mod turn;

pub use admission::Admission;
pub use closed::{Closed, Phase, Side};
pub use compression::{Compression, CompressionTier};
pub use context::{Busy, Context, RequestContext, SendError, ShardContext};
pub use counters::{ROUND_TRIP_STEPS, RoundTrips, Snapshot};
pub use end::{End, EndReason};
pub use engine::{DriverInfo, Engine, HostInfo, ShardFailure, ShardInfo, StartError};
pub use farewell::{Farewell, Parting};
pub use handle::{Answered, Handle, MemoryUse, TopicCount};
pub use handler::{Answer, Handler, Upgrade};
pub use id::ConnectionId;
pub use ports::Ports;
pub use profile::{Key, Profile, SlowPolicy};
pub use rates::{Rate, RateLimit, RatePolicy, Rates, SharedMeter};
pub use reply::Reply;
pub use secure::{Acceptor, Channel, ChannelFailure, ChannelPhase, SecureSettings};
pub use settings::{Descriptors, Host, Io, Limits, Settings};
#[cfg(feature = "bench")]
#[doc(hidden)]
pub use shard::benched;
pub use survey::following::Ends;
pub use survey::listing::{ConnectionFilter, ConnectionInfo};
pub use survey::ranking::Order;
pub use tasks::{Interval, ShardHandle};
pub use tidegate_io::host::{Sleep, TooManyTasks, YieldNow};
pub use tidegate_io::{Port, SocketOptions, Traffic, files, host, inherit, rights};
pub use tidegate_proto::handshake::{Refusal, Request};
pub use tidegate_proto::{CloseCode, Message, MessageKind, ProxyHeader, ProxyVersion};
