//! What the clients have in common: their options, the server's CPU time, the report.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is asked of a client: `HOST:PORT PATH CONNECTIONS PIPELINE SIZE SECONDS SERVER-PID [MORE]`.
#[derive(Debug, Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Of the request.
    pub path: String,
    /// How many connections at a time.
    pub connections: usize,
    /// Messages in flight on each.
    pub pipeline: usize,
    /// Bytes in a message.
    pub size: usize,
    /// How long is counted, after half a second of warming up.
    pub window: Duration,
    /// The server's process.
    pub pid: u32,
    /// What one client alone takes.
    pub more: Option<String>,
}

impl Load {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    /// An argument is missing or is not what it should be.
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut next = |name: &str| arguments.next().ok_or_else(|| format!("no {name}"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        let address = next("address")?;
        Ok(Self {
            address: address
                .parse()
                .map_err(|_| format!("{address} is no address"))?,
            path: next("path")?,
            connections: number(next("connections")?)?,
            pipeline: number(next("pipeline")?)?,
            size: number(next("size")?)?,
            window: next("seconds")?
                .parse()
                .map_err(|_| "the seconds are no number")
                .and_then(|seconds| {
                    Duration::try_from_secs_f64(seconds).map_err(|_| "no such time")
                })?,
            pid: next("pid")?.parse().map_err(|_| "the pid is no number")?,
            more: arguments.next(),
        })
    }
}

/// The time.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "these programs measure; nothing replays them"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Before anything is counted.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// CPU time that a process has used, user and system, in steps of 10 ms.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The time that counts: from the first look at the server's clock to the second.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    window: Duration,
    from: Instant,
    begun: Option<(Instant, Duration, u64)>,
}

impl Meter {
    /// Everything is open: the warm-up begins.
    #[must_use]
    pub fn new(load: &Load, now: Instant) -> Self {
        Self {
            pid: load.pid,
            window: load.window,
            from: now + WARM_UP,
            begun: None,
        }
    }

    /// When to call [`Meter::tick`] next.
    #[must_use]
    pub fn next_time(&self) -> Instant {
        match self.begun {
            Some((begun, ..)) => begun + self.window,
            None => self.from,
        }
    }

    /// Looks at the clocks; once the window is over, the result: messages, seconds, CPU time.
    ///
    /// # Errors
    /// The server is gone.
    pub fn tick(&mut self, now: Instant, messages: u64) -> io::Result<Option<Count>> {
        if now < self.next_time() {
            return Ok(None);
        }
        let used = cpu_time(self.pid)?;
        let Some((begun, before, earlier)) = self.begun else {
            self.begun = Some((now, used, messages));
            return Ok(None);
        };
        Ok(Some(Count {
            messages: messages - earlier,
            elapsed: now - begun,
            cpu: used.saturating_sub(before),
        }))
    }
}

/// What came within the window.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// Messages, or handshakes.
    pub messages: u64,
    /// The window, as it came out.
    pub elapsed: Duration,
    /// Of the server.
    pub cpu: Duration,
}

impl Count {
    /// Prints one JSON object with the names of `tidegate-bench`; `more` are further members.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn print(&self, more: &str) -> io::Result<()> {
        let Self {
            messages,
            elapsed,
            cpu,
        } = self;
        let (seconds, cpu) = (elapsed.as_secs_f64(), cpu.as_secs_f64());
        // A JSON number is a double anyway, and exact up to 2^53.
        let count = *messages as f64;
        writeln!(
            io::stdout(),
            "{{\"ok\":{},\"messages\":{messages},\"seconds\":{seconds:.4},\
             \"messages_per_second\":{:.1},\"cpu_seconds\":{cpu:.3},\"cpu_cores\":{:.3},\
             \"cpu_us_per_message\":{:.4}{more}}}",
            *messages > 0,
            count / seconds,
            cpu / seconds,
            cpu * 1e6 / count.max(1.0),
        )
    }
}

/// Waits for a run, and says in one line why it failed.
pub fn report(done: io::Result<()>) -> std::process::ExitCode {
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // That stderr is closed cannot be told to anybody.
            let _ = writeln!(io::stderr(), "error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
