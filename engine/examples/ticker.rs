//! A clock on the engine: a task of one shard says the time each second, to everybody on every
//! shard.
//!
//! `cargo run --release -p tidegate-engine --example ticker`, then connect some clients to
//! `ws://127.0.0.1:8080/`.

use std::time::Duration;

use tidegate_engine::{
    Answer, Context, Engine, Handler, Message, Request, RequestContext, Settings, ShardContext,
    Upgrade,
};

struct Ticker;

impl Handler for Ticker {
    type State = ();
    type Note = ();

    fn on_start(&mut self, shard: &mut ShardContext<'_, Self>) {
        if shard.index() != 0 {
            return;
        }
        let handle = shard.handle();
        let task = async move {
            let started = handle.now();
            let mut seconds = handle.interval(Duration::from_secs(1));
            loop {
                let passed = seconds.tick().await - started;
                let text = format!("up for {} s", passed.as_secs());
                // Refused only while a shard does not keep up, which then misses a second.
                let _ = handle.publish("time", Message::Text(&text));
            }
        };
        shard.spawn(task).expect("it is the first one");
    }

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        context.subscribe("time");
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        let _ = context.send(message);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::start(Settings::default(), |_shard| Ticker)?;
    let host = engine.host().host;
    eprintln!("ws://{} on {host}", engine.address());
    Ok(engine.join()?)
}
