//! The sockets on which a server listens: those of the plain port, and those of the secure one.

use std::net::SocketAddr;

use tidegate_io::{Listener, Port, SocketOptions};

use crate::{Settings, StartError};

/// The ports of a server.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// Where clients connect as they are.
    pub plain: Option<Port>,
    /// Where connections are encrypted.
    pub secure: Option<Port>,
}

impl Ports {
    /// Those of the settings, and for each that is not among them one that is bound here.
    pub(crate) fn of(settings: &Settings, count: usize) -> Result<Self, StartError> {
        let bind = |address| {
            Port::bind(address, count, settings.share_port)
                .map_err(|source| StartError::Listen { address, source })
        };
        let secure = settings.secure.as_ref();
        let mut ports = settings.ports.clone();
        if secure.is_some_and(|secure| secure.only) {
            ports.plain = None;
        } else if ports.plain.is_none() {
            ports.plain = Some(bind(settings.listen)?);
        }
        match secure {
            None => ports.secure = None,
            Some(secure) if ports.secure.is_none() => ports.secure = Some(bind(secure.listen)?),
            Some(_) => {}
        }
        Ok(ports)
    }

    /// In the order in which a driver gets their listeners: the secure one is the last.
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.plain.iter().chain(&self.secure)
    }

    /// A listener of each for this shard.
    pub(crate) fn listeners(
        &self,
        shard: usize,
        shard_count: usize,
        options: SocketOptions,
    ) -> std::io::Result<Vec<Listener>> {
        let listeners = self.iter();
        let listeners = listeners.map(|port| port.listener(shard, shard_count, options));
        listeners.collect()
    }

    /// Where clients connect: as they are, unless that is nowhere.
    ///
    /// # Panics
    /// When there is no port at all.
    pub(crate) fn address(&self) -> SocketAddr {
        let port = self.iter().next();
        port.expect("a server has a port at least").address()
    }
}
