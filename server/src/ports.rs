//! The ports of clients and of operators: bound here, or handed over.

use std::mem;
use std::net::{SocketAddr, TcpListener};

use tidegate_engine::Port;

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

/// The clients' sockets, for each shard one; those that were handed over, if they are the ones that
/// are wanted. A supervisor's always are.
pub(crate) fn bind_clients(
    settings: &ServeSettings,
    values: &Values,
    shards: usize,
    inheritance: &mut Inheritance,
) -> Result<Port, Failure> {
    let handed = mem::take(&mut inheritance.clients);
    let address = settings.listen;
    let failure = |error| Failure::listen(address, &way_to_change(values, "server.listen"), &error);
    if !handed.is_empty() {
        let count = handed.len();
        let port = Port::take_over(handed, shards).map_err(|error| {
            Failure::failed(format!("the sockets that were handed over: {error}"))
        })?;
        if inheritance.supervised || is_meant(port.address(), address) {
            if count > shards {
                complain(&format!(
                    "{count} sockets were handed over for {shards} shards: the others are closed"
                ));
            }
            return Ok(port);
        }
    }
    Port::bind(address, shards, settings.share_port).map_err(failure)
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
