//! The server of tokio-tungstenite: an echo, and a room under `/ws/`.
//!
//! Replies to what came in one read leave in one write: they are fed, then flushed. An argument
//! sets the size of the read buffer, which each connection has for itself (128 KiB by default).

use futures_util::{FutureExt, SinkExt, StreamExt};
use mimalloc::MiMalloc;
use tidegate_servers::{Room, is_room, run, talk};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::io::Result<()> {
    let mut config = WebSocketConfig::default();
    if let Some(size) = std::env::args().nth(1).and_then(|size| size.parse().ok()) {
        config = config.read_buffer_size(size);
    }
    let room = Room::default();
    run(move |stream| {
        let room = room.clone();
        async move {
            // Whatever ends a connection, the others go on.
            let _ = serve(stream, config, room).await;
        }
    })
}

/// Notes the path of the request.
struct Path<'a>(&'a mut bool);

impl Callback for Path<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.0 = is_room(request.uri().path());
        Ok(response)
    }
}

async fn serve(
    stream: TcpStream,
    config: WebSocketConfig,
    room: Room<Message>,
) -> Result<(), Error> {
    let mut joins = false;
    let socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, Path(&mut joins), Some(config))
            .await?;
    if joins {
        let is_said = |message: &Message| message.is_text() || message.is_binary();
        talk(socket, &room, is_said).await
    } else {
        echo(socket).await
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.feed(message).await?;
        }
        while let Some(Some(message)) = socket.next().now_or_never() {
            let message = message?;
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
        }
        socket.flush().await?;
    }
    Ok(())
}
