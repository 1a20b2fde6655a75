//! A load client that is no WebSocket library: mio, frames made up beforehand, replies known by
//! their headers. `plain knock|echo|shared|takeover ADDRESS PATH CONNECTIONS PIPELINE SIZE SECONDS
//! SERVER-PID`.
//!
//! `knock` connects, upgrades, closes politely, and begins again, so many at a time; it counts
//! handshakes. The others echo in a closed loop, without compression, with none of the contexts
//! kept, or with both: JSON messages, of which 128 different ones go round. Replies are
//! inflated and compared.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mimalloc::MiMalloc;
use mio::{Events, Poll, Token};
use tidegate_servers::client::{Load, Meter, now, report};

#[path = "plain/connection.rs"]
mod connection;
#[path = "plain/deflate.rs"]
mod deflate;
#[path = "plain/frames.rs"]
mod frames;

use connection::Connection;
use frames::Messages;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What to do with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Knock,
    Echo,
    Shared,
    Takeover,
}

fn main() -> std::process::ExitCode {
    report(run())
}

fn run() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mode = match arguments.next().as_deref() {
        Some("knock") => Mode::Knock,
        Some("echo") => Mode::Echo,
        Some("shared") => Mode::Shared,
        Some("takeover") => Mode::Takeover,
        _ => return Err(io::Error::other("knock, echo, shared or takeover?")),
    };
    let load = Load::from_arguments(arguments).map_err(io::Error::other)?;
    let messages = Messages::new(load.size);
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        let mut connection = Connection::new(mode, load.pipeline);
        connection.connect(&poll, Token(index), source(index), &load)?;
        connections.push(connection);
    }
    drive(&mut poll, &mut connections, &messages, &load)
}

/// More addresses, so that no port is used again while the last connection from it is remembered.
fn source(index: usize) -> SocketAddr {
    let last = u8::try_from(index % 16 + 1).unwrap_or(1);
    SocketAddr::from(([127, 2, 0, last], 0))
}

fn drive(
    poll: &mut Poll,
    connections: &mut [Connection],
    messages: &Messages,
    load: &Load,
) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    let mut meter: Option<Meter> = None;
    let (mut count, mut bytes, mut open) = (0, 0, 0);
    let give_up = now() + load.window + Duration::from_secs(30);
    loop {
        let time = now();
        if time > give_up {
            return Err(io::Error::other("the server does not answer"));
        }
        if let Some(meter) = &mut meter
            && let Some(counted) = meter.tick(time, count)?
        {
            let compressed = connections[0].is_compressed();
            let each = bytes as f64 / (count as f64).max(1.0);
            let more = format!(",\"compressed\":{compressed},\"reply_bytes\":{each:.1}");
            return counted.print(&more);
        }
        let until = meter.as_ref().map_or(give_up, Meter::next_time);
        poll.poll(&mut events, Some(until.saturating_duration_since(time)))?;
        for event in &events {
            let Token(index) = event.token();
            let done = connections[index].turn(event.is_writable(), messages)?;
            count += done.messages;
            bytes += done.bytes;
            open += done.opened;
            if done.ended {
                connections[index].connect(poll, event.token(), source(index), load)?;
            }
        }
        if meter.is_none() && open >= connections.len() {
            meter = Some(Meter::new(load, now()));
        }
    }
}
