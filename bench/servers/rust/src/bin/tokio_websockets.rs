//! The server of tokio-websockets: an echo, and a room under `/ws/`.
//!
//! Replies to what came in one read leave in one write: they are fed, then flushed.

use futures_util::{FutureExt, SinkExt, StreamExt};
use mimalloc::MiMalloc;
use tidegate_servers::{Room, is_room, run, talk};
use tokio::net::TcpStream;
use tokio_websockets::{Error, Message, ServerBuilder, WebSocketStream};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::io::Result<()> {
    let room = Room::default();
    run(move |stream| {
        let room = room.clone();
        async move {
            // Whatever ends a connection, the others go on.
            let _ = serve(stream, room).await;
        }
    })
}

async fn serve(stream: TcpStream, room: Room<Message>) -> Result<(), Error> {
    let (request, socket) = ServerBuilder::new().accept(stream).await?;
    if is_room(request.uri().path()) {
        let is_said = |message: &Message| message.is_text() || message.is_binary();
        talk(socket, &room, is_said).await
    } else {
        echo(socket).await
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    // Reading flushes what was fed, so all that has come is read before any of it is answered.
    let mut arrived = Vec::new();
    while let Some(message) = socket.next().await {
        arrived.push(message?);
        while let Some(Some(message)) = socket.next().now_or_never() {
            arrived.push(message?);
        }
        for message in arrived.drain(..) {
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
        }
        socket.flush().await?;
    }
    Ok(())
}
