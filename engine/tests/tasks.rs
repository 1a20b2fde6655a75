//! Tasks on real hosts and real drivers: whatever holds for one holds for all.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use tidegate_engine::{
    Answer, Context, Engine, Handler, Host, Io, Message, Request, RequestContext, Settings,
    ShardContext, Upgrade, host,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test does on a shard when that begins.
type Begin = Arc<dyn Fn(&mut ShardContext<'_, Clerk>) + Send + Sync>;

struct Clerk {
    begin: Begin,
}

impl Handler for Clerk {
    type State = ();
    type Note = ();

    fn on_start(&mut self, shard: &mut ShardContext<'_, Self>) {
        (self.begin)(shard);
    }

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        let _ = context.send(message);
    }
}

/// Every host with every driver that this machine allows.
fn grounds() -> Vec<(Host, Io)> {
    let all = [Host::Thread, Host::Glommio].map(|host| [(host, Io::Epoll), (host, Io::Uring)]);
    let allowed = host::Host::Glommio.probe();
    if let Err(error) = &allowed {
        eprintln!("skipped: glommio and io_uring: {error}");
    }
    let plain = (Host::Thread, Io::Epoll);
    let grounds = all.into_iter().flatten();
    grounds
        .filter(|ground| *ground == plain || allowed.is_ok())
        .collect()
}

/// A server of one shard.
fn start(
    (host, io): (Host, Io),
    begin: impl Fn(&mut ShardContext<'_, Clerk>) + Send + Sync + 'static,
) -> Engine {
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        shards: 1,
        host,
        io,
        ..Settings::default()
    };
    let begin: Begin = Arc::new(begin);
    let make = move |_| Clerk {
        begin: Arc::clone(&begin),
    };
    Engine::start(settings, make).unwrap()
}

fn stop(engine: Engine) {
    engine.handle().stop();
    engine.join().unwrap();
}

fn thread_and_cores() -> (Option<String>, usize) {
    let name = thread::current().name().map(str::to_owned);
    (name, host::cores().len())
}

#[test]
fn a_task_sleeps_and_waits_for_files_and_work_elsewhere() {
    for ground in grounds() {
        let (tell, told) = channel();
        let engine = start(ground, move |shard| {
            let (handle, tell) = (shard.handle(), tell.clone());
            let task = async move {
                let start = handle.now();
                handle.sleep(Duration::from_millis(20)).await;
                let slept = handle.now() - start;
                let here = thread_and_cores();
                let there = handle.blocking(thread_and_cores).await;
                let file = handle.read_file("/proc/self/comm").await.unwrap();
                let none = handle.read_file("/nonsense").await;
                let none = none.map_err(|error| error.kind());
                tell.send((slept, here, there, file, none)).unwrap();
            };
            shard.spawn(task).unwrap();
        });
        let (slept, here, there, file, none) = told.recv_timeout(PATIENCE).unwrap();
        assert!(slept >= Duration::from_millis(20), "{ground:?}: {slept:?}");
        assert_eq!(here, (Some("tidegate-0".to_owned()), 1), "{ground:?}");
        // Neither on the shard's thread nor bound to its core.
        assert_ne!(there.0, here.0, "{ground:?}");
        assert_eq!(there.1, host::cores().len(), "{ground:?}");
        assert!(file.ends_with(b"\n"), "{ground:?}: {file:?}");
        assert_eq!(none, Err(std::io::ErrorKind::NotFound), "{ground:?}");
        stop(engine);
    }
}

/// Numbers for a task, from any thread.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<(VecDeque<u32>, Option<Waker>)>>);

impl Line {
    fn send(&self, number: u32) {
        let mut line = self.0.lock().unwrap();
        line.0.push_back(number);
        let waker = line.1.take();
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn receive(&self) -> u32 {
        std::future::poll_fn(|context| {
            let mut line = self.0.lock().unwrap();
            if let Some(number) = line.0.pop_front() {
                return Poll::Ready(number);
            }
            line.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[test]
fn no_wake_of_another_thread_is_lost() {
    const ROUNDS: u32 = 3_000;
    for ground in grounds() {
        let line = Line::default();
        let (tell, told) = channel();
        let theirs = line.clone();
        let engine = start(ground, move |shard| {
            let (line, tell) = (theirs.clone(), tell.clone());
            let task = async move {
                loop {
                    tell.send(line.receive().await).unwrap();
                }
            };
            shard.spawn(task).unwrap();
        });
        for round in 0..ROUNDS {
            // Each races the shard as it falls asleep after the one before.
            line.send(round);
            assert_eq!(told.recv_timeout(PATIENCE), Ok(round), "{ground:?}");
        }
        stop(engine);
    }
}

#[test]
fn a_task_that_panics_ends_the_server() {
    for ground in grounds() {
        let engine = start(ground, |shard| {
            let handle = shard.handle();
            let task = async move {
                handle.sleep(Duration::from_millis(1)).await;
                panic!("the test wants this");
            };
            shard.spawn(task).unwrap();
        });
        let failure = engine.join().unwrap_err().to_string();
        assert_eq!(failure, "shard 0 failed: it panicked", "{ground:?}");
    }
}

/// Tells when it is dropped.
struct Tear(Sender<()>);

impl Drop for Tear {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn tasks_are_dropped_when_the_server_stops() {
    for ground in grounds() {
        let (begun, have_begun) = channel();
        let (tell, told) = channel();
        let engine = start(ground, move |shard| {
            for span in [Duration::from_millis(1), Duration::from_secs(3_600)] {
                let (handle, begun) = (shard.handle(), begun.clone());
                let tear = Tear(tell.clone());
                let task = async move {
                    let _tear = tear;
                    loop {
                        begun.send(()).unwrap();
                        handle.sleep(span).await;
                    }
                };
                shard.spawn(task).unwrap();
            }
        });
        for _ in 0..10 {
            have_begun.recv_timeout(PATIENCE).unwrap();
        }
        assert!(told.try_recv().is_err(), "{ground:?}");
        stop(engine);
        assert_eq!(told.try_iter().count(), 2, "{ground:?}");
    }
}

#[test]
fn busy_tasks_do_not_keep_the_loop_from_its_peers() {
    for ground in grounds() {
        let engine = start(ground, |shard| {
            for _ in 0..100 {
                let handle = shard.handle();
                let task = async move {
                    loop {
                        handle.yield_now().await;
                    }
                };
                shard.spawn(task).unwrap();
            }
        });
        let mut peer = TcpStream::connect(engine.address()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        peer.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        peer.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 101", "{ground:?}");
        stop(engine);
    }
}
