//! A load client on the fastwebsockets crate, one thread of tokio: `foreign ADDRESS PATH
//! CONNECTIONS PIPELINE SIZE SECONDS SERVER-PID`. It shares no code with ours.
//!
//! Closed loop; every reply is compared with what was sent.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use tidegate_servers::client::{Count, Load, Meter, now, report};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Socket = FragmentCollector<TokioIo<Upgraded>>;

fn main() -> std::process::ExitCode {
    report(run())
}

fn run() -> io::Result<()> {
    let load = Load::from_arguments(std::env::args().skip(1)).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = runtime.block_on(LocalSet::new().run_until(drive(load)))?;
    count.print("")
}

async fn drive(load: Load) -> io::Result<Count> {
    let mut sockets = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        sockets.push(connect(&load).await.map_err(io::Error::other)?);
    }
    let text: Rc<[u8]> = (b'a'..=b'z').cycle().take(load.size).collect();
    let replies = Rc::new(Cell::new(0));
    let failed = Rc::new(Cell::new(false));
    for socket in sockets {
        let (text, replies, failed) = (Rc::clone(&text), Rc::clone(&replies), Rc::clone(&failed));
        let pipeline = load.pipeline;
        tokio::task::spawn_local(async move {
            let _ = echo(socket, pipeline, &text, &replies).await;
            failed.set(true);
        });
    }
    let mut meter = Meter::new(&load, now());
    loop {
        tokio::time::sleep_until(meter.next_time().into()).await;
        if failed.get() {
            return Err(io::Error::other(
                "a connection was lost, or a reply was wrong",
            ));
        }
        if let Some(count) = meter.tick(now(), replies.get())? {
            return Ok(count);
        }
    }
}

/// Hyper drives a future of its own on each connection.
struct Executor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn connect(load: &Load) -> Result<Socket, Box<dyn std::error::Error + Send + Sync>> {
    let within = Duration::from_secs(10);
    let stream = tokio::time::timeout(within, TcpStream::connect(load.address)).await??;
    stream.set_nodelay(true)?;
    let request = Request::get(format!("http://{}{}", load.address, load.path))
        .header(HOST, load.address.to_string())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())?;
    let agreed = handshake::client(&Executor, request, stream);
    let (mut socket, _) = tokio::time::timeout(within, agreed).await??;
    socket.set_auto_close(false);
    Ok(FragmentCollector::new(socket))
}

/// Ends only when something is wrong.
async fn echo(
    mut socket: Socket,
    pipeline: usize,
    text: &[u8],
    replies: &Cell<u64>,
) -> Result<(), fastwebsockets::WebSocketError> {
    loop {
        for _ in 0..pipeline {
            // It masks in place, so it needs bytes of its own.
            socket
                .write_frame(Frame::text(Payload::Owned(text.to_vec())))
                .await?;
        }
        for _ in 0..pipeline {
            let frame = socket.read_frame().await?;
            if frame.opcode != OpCode::Text || *frame.payload != *text {
                return Ok(());
            }
            replies.set(replies.get() + 1);
        }
    }
}
