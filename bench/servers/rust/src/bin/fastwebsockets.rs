//! The server of fastwebsockets: an echo, and a room under `/ws/`.
//!
//! Upgraded by hyper, as its documentation shows. It writes each message as it comes; a room
//! needs its split halves, for reading a frame cannot be given up half-way.

use bytes::Bytes;
use fastwebsockets::upgrade::{self, UpgradeFut};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use tidegate_servers::{Room, is_room, run};
use tokio::task::unconstrained;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A message for everybody: text or binary, and its bytes.
type Said = (OpCode, Bytes);

fn main() -> std::io::Result<()> {
    let room = Room::default();
    run(move |stream| {
        let room = room.clone();
        async move {
            let service = service_fn(move |request| accept(request, room.clone()));
            // Whatever ends a connection, the others go on.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        }
    })
}

async fn accept(
    mut request: Request<Incoming>,
    room: Room<Said>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let joins = is_room(request.uri().path());
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        let _ = if joins {
            unconstrained(talk(upgraded, room)).await
        } else {
            unconstrained(echo(upgraded)).await
        };
    });
    Ok(response)
}

async fn echo(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn talk(upgraded: UpgradeFut, room: Room<Said>) -> Result<(), WebSocketError> {
    let (reader, mut writer) = upgraded.await?.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    let (number, mut queue) = room.join();
    let writing = tokio::spawn(async move {
        while let Some((opcode, bytes)) = queue.recv().await {
            let frame = Frame::new(true, opcode, None, Payload::Borrowed(&bytes));
            if writer.write_frame(frame).await.is_err() {
                break;
            }
        }
    });
    let done = listen(&mut reader, &room).await;
    room.leave(number);
    writing.abort();
    done
}

async fn listen<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut FragmentCollectorRead<R>,
    room: &Room<Said>,
) -> Result<(), WebSocketError> {
    loop {
        // Pings and closes would be answered through the other half; the load sends none.
        let frame = reader
            .read_frame::<_, WebSocketError>(&mut |_| async { Ok(()) })
            .await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                room.say(&(frame.opcode, Bytes::copy_from_slice(&frame.payload)));
            }
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}
