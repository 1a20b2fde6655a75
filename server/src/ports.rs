//! The ports of clients and of operators: bound here, or handed over.

use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use tidegate_engine::{Port, Ports};

use crate::config::values::Values;
use crate::failure::Failure;
use crate::inheritance::Inheritance;
use crate::settings::ServeSettings;
use crate::startup::{complain, way_to_change};

/// The operators' port; the one that was handed over, if it is the one that is wanted. A
/// supervisor's always is.
pub(crate) fn bind_admin(
    address: SocketAddr,
    values: &Values,
    inheritance: &mut Inheritance,
) -> Result<TcpListener, Failure> {
    let failure = |error| Failure::listen(address, &way_to_change(values, "admin.listen"), &error);
    let supervised = inheritance.supervised;
    let meant = |one: &TcpListener| one.local_addr().is_ok_and(|own| is_meant(own, address));
    let handed = inheritance.admin.take().map(TcpListener::from);
    let handed = handed.filter(|one| supervised || meant(one));
    let listener = match handed {
        Some(listener) => listener,
        None => TcpListener::bind(address).map_err(failure)?,
    };
    listener.set_nonblocking(true).map_err(failure)?;
    Ok(listener)
}

/// The clients' sockets, for each shard one on each port; those that were handed over, if they are
/// the ones that are wanted. A supervisor's always are.
pub(crate) fn bind_clients(
    settings: &ServeSettings,
    values: &Values,
    shards: usize,
    inheritance: &mut Inheritance,
) -> Result<Ports, Failure> {
    let supervised = inheritance.supervised;
    let bind = |address, key, handed: Vec<OwnedFd>| {
        if let Some(port) = take_over(handed, address, shards, supervised)? {
            return Ok(port);
        }
        let bound = Port::bind(address, shards, settings.share_port);
        bound.map_err(|error| Failure::listen(address, &way_to_change(values, key), &error))
    };
    let handed = mem::take(&mut inheritance.clients);
    let plain = (!settings.tls_only).then(|| bind(settings.listen, "server.listen", handed));
    let handed = mem::take(&mut inheritance.secure);
    let secure = settings.tls_listen;
    let secure = secure.map(|address| bind(address, "tls.listen", handed));
    Ok(Ports {
        plain: plain.transpose()?,
        secure: secure.transpose()?,
    })
}

/// The sockets that were handed over, if they are there and are the ones that are wanted.
fn take_over(
    handed: Vec<OwnedFd>,
    address: SocketAddr,
    shards: usize,
    supervised: bool,
) -> Result<Option<Port>, Failure> {
    if handed.is_empty() {
        return Ok(None);
    }
    let count = handed.len();
    let port = Port::take_over(handed, shards)
        .map_err(|error| Failure::failed(format!("the sockets that were handed over: {error}")))?;
    if !supervised && !is_meant(port.address(), address) {
        return Ok(None);
    }
    if count > shards {
        complain(&format!(
            "{count} sockets were handed over for {shards} shards: the others are closed"
        ));
    }
    Ok(Some(port))
}

/// Whether a socket at `own` is the one that is wanted; with port 0 any port is.
fn is_meant(own: SocketAddr, wanted: SocketAddr) -> bool {
    own.ip() == wanted.ip() && (wanted.port() == 0 || own.port() == wanted.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_kernel_may_choose_is_any_port() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_meant(at("127.0.0.1:8080"), at("127.0.0.1:8080")));
        assert!(is_meant(at("127.0.0.1:8080"), at("127.0.0.1:0")));
        assert!(!is_meant(at("127.0.0.1:8080"), at("127.0.0.1:8081")));
        assert!(!is_meant(at("127.0.0.1:8080"), at("127.0.0.2:0")));
    }
}
