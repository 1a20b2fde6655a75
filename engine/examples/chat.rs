//! A chat on the engine: everybody hears what anybody says.
//!
//! `cargo run --release -p tidegate-engine --example chat`, then connect some clients to
//! `ws://127.0.0.1:8080/`.

use tidegate_engine::{
    Answer, Context, Engine, Handler, Message, Request, RequestContext, Settings, Upgrade,
};

struct Chat;

impl Handler for Chat {
    type State = ();
    type Note = ();

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        context.subscribe("room");
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        if context.publish("room", message).is_err() {
            let _ = context.send(Message::Text("too busy, please say that again"));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(Engine::start(Settings::default(), |_shard| Chat)?.join()?)
}
