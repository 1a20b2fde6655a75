//! The opening handshake (RFC 6455, 4): HTTP/1.1 heads in, a 101 or a clear refusal out.

pub mod client;
mod head;
mod key;
mod list;
mod refusal;
mod request;
mod response;
mod upgrade;

pub use client::{Accepted, ClientKey, ClientRefusal};
pub use list::{Extension, ExtensionParameters, Extensions, Protocols};
pub use refusal::Refusal;
pub use request::{HeadStatus, Origin, Request, read_request};
pub use response::Response;
pub use upgrade::{PROTOCOL_COUNT_MAX, Upgrade, upgrade};
