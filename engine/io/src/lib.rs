//! The kernel, and the one C library: sockets, cores, the clock, the doorbell; [`zlib`].
//!
//! What the bytes mean is for other crates. Everything a shard asks of the system goes
//! through one [`Driver`]; there is one on epoll ([`epoll`]), one on io_uring ([`uring`]) and
//! one made of memory and a seed ([`sim`]), and all keep the same contract ([`driver`]).

pub mod driver;
pub mod epoll;
pub mod files;
pub mod host;
pub mod inherit;
mod link;
pub mod listener;
pub mod parcel;
pub mod port;
pub mod rights;
pub mod sim;
mod sockets;
mod stream;
pub mod traffic;
pub mod uring;
pub mod waker;
pub mod zlib;

pub use driver::{Completion, Driver, Op, Peer, Piece, Socket, Submitted, Timeout};
pub use epoll::Doorbell;
pub use listener::{Listener, SocketOptions};
pub use parcel::Parcel;
pub use port::Port;
pub use traffic::Traffic;
pub use waker::Waker;
