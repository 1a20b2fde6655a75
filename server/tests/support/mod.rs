//! What the black-box tests stand on: the real server as a child process, a WebSocket client
//! made of raw bytes, and a deadline for every wait.
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod counterpart;
pub(crate) mod crowd;
pub(crate) mod deflate;
pub(crate) mod exposition;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod lines;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod skip;
pub(crate) mod stage;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod tree;
pub(crate) mod wire;
