//! What the servers of other crates have in common: their options, their listener, the room.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub mod client;

/// Runs a server on one thread: says where it listens, and hands each connection to `serve`.
///
/// # Errors
/// The runtime or the listener could not be had.
pub fn run<F>(serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

/// Does the path name a room, or is it an echo?
#[must_use]
pub fn is_room(path: &str) -> bool {
    path.starts_with("/ws/")
}

/// Everybody who hears what anybody says: one queue for each, of messages that are cheap to clone.
#[derive(Debug)]
pub struct Room<M>(Arc<Mutex<Members<M>>>);

#[derive(Debug)]
struct Members<M> {
    next: u64,
    queues: HashMap<u64, UnboundedSender<M>>,
}

impl<M> Clone for Room<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Room<M> {
    fn default() -> Self {
        let queues = HashMap::new();
        Self(Arc::new(Mutex::new(Members { next: 0, queues })))
    }
}

impl<M: Clone> Room<M> {
    /// A queue of what is said from now on, and a number for [`Room::leave`].
    #[must_use]
    pub fn join(&self) -> (u64, UnboundedReceiver<M>) {
        let (sender, receiver) = unbounded_channel();
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.next += 1;
        let number = members.next;
        members.queues.insert(number, sender);
        (number, receiver)
    }

    /// Forgets a member.
    pub fn leave(&self, number: u64) {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.queues.remove(&number);
    }

    /// Says something to everybody.
    pub fn say(&self, message: &M) {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in members.queues.values() {
            // Whoever is gone is about to leave.
            let _ = queue.send(message.clone());
        }
    }
}

/// One who is in the room: says there what comes from its peer, as far as `is_said`, and sends the
/// peer what anybody says. What has gathered in its queue leaves in one write.
///
/// # Errors
/// What ended the connection, if it was not its end.
pub async fn talk<S, M, E>(
    mut socket: S,
    room: &Room<M>,
    is_said: impl Fn(&M) -> bool,
) -> Result<(), E>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Clone,
{
    let (number, mut queue) = room.join();
    let done = loop {
        let next = tokio::select! {
            said = socket.next() => match said {
                Some(Ok(message)) => {
                    if is_said(&message) {
                        room.say(&message);
                    }
                    Ok(())
                }
                Some(Err(error)) => Err(error),
                None => break Ok(()),
            },
            Some(message) = queue.recv() => send_all(&mut socket, message, &mut queue).await,
        };
        if next.is_err() {
            break next;
        }
    };
    room.leave(number);
    done
}

/// Sends a message, and those that wait behind it, in one write.
async fn send_all<S, M, E>(
    socket: &mut S,
    first: M,
    queue: &mut UnboundedReceiver<M>,
) -> Result<(), E>
where
    S: Sink<M, Error = E> + Unpin,
{
    socket.feed(first).await?;
    while let Ok(message) = queue.try_recv() {
        socket.feed(message).await?;
    }
    socket.flush().await
}
