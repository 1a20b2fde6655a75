//! On glommio, a debug build reports a task that does not come back.

#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use tidegate_engine::{
    Answer, Context, Engine, Handler, Host, Message, Request, RequestContext, Settings,
    ShardContext, Upgrade, host,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

static LINES: OnceLock<Sender<String>> = OnceLock::new();

struct Listener;

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let _ = LINES.get().unwrap().send(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Its first shard has a task that keeps the thread for itself, now and then.
struct Clerk;

impl Handler for Clerk {
    type State = ();
    type Note = ();

    fn on_start(&mut self, shard: &mut ShardContext<'_, Self>) {
        let handle = shard.handle();
        let task = async move {
            loop {
                handle.sleep(Duration::from_millis(1)).await;
                // Nothing ever comes.
                let (_keep, never) = channel::<()>();
                let _ = never.recv_timeout(Duration::from_millis(300));
            }
        };
        shard.spawn(task).unwrap();
    }

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_message(&mut self, _context: &mut Context<'_, Self>, _message: Message<'_>) {}
}

#[test]
fn a_task_that_holds_its_shard_is_reported_with_where_it_was() {
    if let Err(error) = host::Host::Glommio.probe() {
        return eprintln!("skipped: {error}");
    }
    let (tell, told) = channel();
    LINES.set(tell).unwrap();
    log::set_logger(&Listener).unwrap();
    log::set_max_level(LevelFilter::Warn);
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        shards: 1,
        host: Host::Glommio,
        ..Settings::default()
    };
    let engine = Engine::start(settings, |_| Clerk).unwrap();
    let line = told.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("task queue tasks went over-budget"), "{line}");
    assert!(line.contains("stalls"), "{line}");
    engine.handle().stop();
    engine.join().unwrap();
}
