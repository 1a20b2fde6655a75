//! permessage-deflate (RFC 7692): the offer, and the two filters around a session, bytes in and bytes out.
//!
//! ```text
//!  Upgrade::extensions ─▶ negotiate ─▶ DeflateAgreement ─▶ its header line in the 101
//!
//!  Event::Deflated ─▶ Inflater ─▶ Message            payload ─▶ Deflater ─▶ Session::send_deflated
//!                        └─▶ Violation ─▶ Session::fail_with
//! ```
//!
//! A session only knows which messages are compressed; who inflates, and with whose memory, is its
//! caller's choice. Two tiers:
//!
//! - **shared**: neither side takes over a context, so one [`Inflater`] and one [`Deflater`] serve all
//!   connections of a shard, and a message for thousands is compressed once. 0 bytes per connection.
//! - **takeover**: both sides keep their window from message to message. It compresses small messages
//!   of one kind far better, and costs an inflater and a deflater per connection.
//!
//! Both stand on a [`codec`], which this crate brings along: zlib-rs. It suits the first tier. For the
//! second it is large, as its table of earlier strings does not scale with the window, nor its inflater's
//! window with what is asked for; there the caller has a better one. What one of them holds with zlib-rs,
//! in bytes, counted by the allocator (`tests/deflate_memory.rs`):
//!
//! | | window bits | memory level | bytes |
//! |---|---|---|---|
//! | deflater | 9 | 1 | 137,216 |
//! | deflater, [`DeflaterSettings::TAKEOVER`] | 11 | 2 | 144,256 |
//! | deflater, [`DeflaterSettings::SHARED`] | 15 | 8 | 380,032 |
//! | inflater | 9 to 15 | | 47,552 |
//!
//! 131,072 bytes of each deflater are that table, which zlib-rs clears with each reset: some two
//! microseconds for each message without takeover.

pub mod codec;
mod deflater;
mod inflater;
mod offer;
mod parameters;
mod response;
mod rust;

pub use deflater::{DEFLATE_SIZE_MIN, Deflater, DeflaterSettings};
pub use inflater::Inflater;
pub use offer::{DeflateAgreement, DeflatePolicy, is_safari_15_0_to_3, negotiate};
pub use response::DeflateRefusal;
pub use rust::{RustDeflate, RustInflate};

/// The name in Sec-WebSocket-Extensions (RFC 7692, 7).
pub const EXTENSION_NAME: &str = "permessage-deflate";

/// RFC 7692, 7.2.1: the end of an empty stored block, which a sender cuts off and a receiver appends.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The largest window, 32 KiB, and what holds when nobody says otherwise (RFC 7692, 7.1.2).
const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window a raw deflate stream of zlib can keep. RFC 7692 allows 8 as well.
const WINDOW_BITS_MIN: u8 = 9;
