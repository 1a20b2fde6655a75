//! Every maximum and every deadline of the engine, with its default.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Compression, Ports, Profile, SecureSettings};
use tidegate_io::uring::UringDriver;
use tidegate_io::{SocketOptions, host};
use tidegate_proto::{HeadLimits, MESSAGE_SIZE_MAX_DEFAULT};

/// How an engine is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; with port 0 the kernel chooses. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The sockets of that address and of the secure one, if they are there already: bound before the
    /// process gave up its rights, or handed over by another one. Default: they are bound at the start.
    pub ports: Ports,
    /// Share the port with other processes of the same user. Default no: a port on which
    /// anybody listens is then an error.
    pub share_port: bool,
    /// How many shards; 0, the default, means one for each core.
    pub shards: usize,
    /// By which driver the shards speak to the kernel. Default [`Io::Auto`].
    pub io: Io,
    /// What runs the shards. Default [`Host::Auto`].
    pub host: Host,
    /// Whose descriptors the shards use. Default [`Descriptors::Shared`].
    pub descriptors: Descriptors,
    /// Options of TCP for all who connect. Default: the kernel's.
    pub sockets: SocketOptions,
    /// How messages are compressed (permessage-deflate). Default [`Compression::Shared`].
    pub compression: Compression,
    /// The port for encrypted connections. Default: there is none.
    pub secure: Option<SecureSettings>,
    /// The maxima and the deadlines.
    pub limits: Limits,
}

/// By which driver a shard speaks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// [`Io::Uring`] where this process may have it, else [`Io::Epoll`].
    #[default]
    Auto,
    /// epoll, which every kernel has.
    Epoll,
    /// `io_uring`, from Linux 5.19; [`crate::StartError::Uring`] where it is not to be had.
    Uring,
}

impl Io {
    /// What is meant, which is never [`Io::Auto`], and why, if it is not what one would wish for.
    ///
    /// # Errors
    /// Why there is no `io_uring`, though it was asked for.
    pub fn choose(self) -> io::Result<(Self, Option<String>)> {
        match self {
            Self::Epoll => Ok((Self::Epoll, None)),
            Self::Uring => UringDriver::probe().map(|()| (Self::Uring, None)),
            Self::Auto => Ok(match UringDriver::probe() {
                Ok(()) => (Self::Uring, None),
                Err(error) => (Self::Epoll, Some(error.to_string())),
            }),
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Epoll => "epoll",
            Self::Uring => "io_uring",
        })
    }
}

/// What runs a shard's loop on its core, and its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Host {
    /// [`Host::Glommio`] where this process may have it, else [`Host::Thread`].
    #[default]
    Auto,
    /// An executor of glommio's, which needs `io_uring` (Linux 5.8), whichever driver the shards
    /// use; [`crate::StartError::Glommio`] where it is not to be had.
    Glommio,
    /// A plain thread, pinned.
    Thread,
}

impl Host {
    /// What is meant, and why, if it is not what one would wish for.
    ///
    /// # Errors
    /// Why there is no glommio, though it was asked for.
    pub(crate) fn choose(self) -> io::Result<(host::Host, Option<String>)> {
        match self {
            Self::Thread => Ok((host::Host::Thread, None)),
            Self::Glommio => host::Host::Glommio
                .probe()
                .map(|()| (host::Host::Glommio, None)),
            Self::Auto => Ok(match host::Host::Glommio.probe() {
                Ok(()) => (host::Host::Glommio, None),
                Err(error) => (host::Host::Thread, Some(error.to_string())),
            }),
        }
    }
}

/// Whose table of descriptors a shard uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Descriptors {
    /// The one of the process.
    #[default]
    Shared,
    /// One of its own, so that the limit of open files holds for each shard alone, and the
    /// kernel finds a descriptor without counting who uses it (see
    /// [`tidegate_io::files::own_table`]).
    ///
    /// Only the standard streams are there: a handler must not use a file or socket that was
    /// opened on another thread, nor hand out one that it has opened.
    PerShard,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ports: Ports::default(),
            share_port: false,
            shards: 0,
            io: Io::default(),
            host: Host::default(),
            descriptors: Descriptors::default(),
            sockets: SocketOptions::default(),
            compression: Compression::default(),
            secure: None,
            limits: Limits::default(),
        }
    }
}

/// Every maximum, for each connection unless it says otherwise.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The request head: its size and the count of its headers.
    pub head: HeadLimits,
    /// The largest message in bytes, whole or in fragments: 64 KiB. Beyond: 1009.
    pub message_size_max: usize,
    /// From the connect to the end of the request head, unless [`crate::Handler::handshake_timeout`] says
    /// otherwise: 10 s.
    pub handshake_timeout: Duration,
    /// From the end of our stream to the end of the peer's: 5 s. Then a reset.
    pub linger_timeout: Duration,
    /// How many letters one mailbox holds: 1,024. A letter is all that one shard publishes
    /// in one turn.
    pub mailbox_letters_max: usize,
    /// How many bytes of publications may wait for another shard whose mailbox is full:
    /// 4 MiB. Beyond, publishing is refused with [`crate::Busy`].
    pub mail_bytes_max: usize,
    /// How many tasks a shard runs at once: 10,000. Beyond, `spawn` is refused with
    /// [`crate::TooManyTasks`].
    pub tasks_max: usize,
    /// How many bytes the tasks of a shard may ask to be published and sent in one turn:
    /// 4 MiB. Beyond, they are refused with [`crate::Busy`].
    pub task_bytes_max: usize,
    /// How many open connections a shard makes room for at its start. The room is address
    /// space, not memory, until it is used. 0, the default, lets it grow by doubling.
    pub connections_expected: usize,
    /// How connections are watched, and what each may take, where its endpoint says nothing else
    /// ([`crate::Upgrade::profile`]).
    pub profile: Profile,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            message_size_max: MESSAGE_SIZE_MAX_DEFAULT,
            handshake_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(5),
            mailbox_letters_max: 1024,
            mail_bytes_max: 4 * 1024 * 1024,
            tasks_max: 10_000,
            task_bytes_max: 4 * 1024 * 1024,
            connections_expected: 0,
            profile: Profile::default(),
        }
    }
}
