//! The real server as a child process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;

use rustix::process::{Signal, geteuid};

use super::client::Client;
use super::clock;
use super::exposition::Exposition;
use super::http::{self, Response};
use super::lines::Lines;
use super::process::{self, Process};

/// By which driver the servers speak to the kernel, unless a test says so itself: `epoll` or
/// `uring`, from the environment. All tests of the program can be run on another driver so.
static IO: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("TIDEGATE_TEST_IO").ok());

/// What runs their shards, unless a test says so itself: `glommio` or `thread`, likewise.
static HOST: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("TIDEGATE_TEST_HOST").ok());

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// The program without whatever would configure it here: no variable of this environment that is
/// its own. A command that serves is given a file, too, or it looks for one: see [`arguments`].
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    without_variables(&mut command);
    command
}

/// Takes from a command the variables that configure the program.
fn without_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("TIDEGATE__") || text == "TIDEGATE_CONFIG" {
            command.env_remove(name);
        }
    }
}

/// `serve` on free ports of loopback, with no configuration that lies around, and nothing else.
pub(crate) const SERVE: [&str; 7] = [
    "serve",
    "-c",
    "/dev/null",
    "--listen",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
];

/// A running server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where clients connect.
    pub(crate) public: SocketAddr,
    /// Where clients connect with TLS, if they can.
    pub(crate) secure: Option<SocketAddr>,
    /// Where operators look.
    pub(crate) admin: SocketAddr,
    /// All that it said on stdout until it was ready.
    pub(crate) greeting: Vec<String>,
    output: Lines,
    errors: Lines,
}

impl Server {
    /// A server on two shards and free ports.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same, with further options.
    #[track_caller]
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::from(program(), options)
    }

    /// The same, whose allocator gives memory back as soon as it is free, so that what is still
    /// there is still in use.
    #[track_caller]
    pub(crate) fn that_gives_back(options: &[&str]) -> Self {
        let mut command = program();
        command
            .env("MIMALLOC_PURGE_DELAY", "0")
            .args(arguments(options));
        Self::spawn(command)
    }

    /// The same, with a limit to the number of its descriptors.
    #[track_caller]
    pub(crate) fn with_descriptors(limit: u32, options: &[&str]) -> Self {
        let mut command = limited(limit);
        command.args(arguments(options));
        Self::spawn(command)
    }

    /// The same, from this command.
    #[track_caller]
    pub(crate) fn from(mut command: Command, options: &[&str]) -> Self {
        command.args(arguments(options));
        Self::spawn(command)
    }

    /// The same, which looks for a file as the program does.
    #[track_caller]
    pub(crate) fn that_looks_for_a_file(mut command: Command, options: &[&str]) -> Self {
        let words = arguments(options);
        let at = words.iter().position(|word| *word == "-c");
        let at = at.expect("an empty file is named");
        command.args(&words[..at]).args(&words[at + 2..]);
        Self::spawn(command)
    }

    #[track_caller]
    fn spawn(mut command: Command) -> Self {
        process::raise_descriptors();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = Lines::of(child.stdout.take().expect("piped"));
        let errors = Lines::of(child.stderr.take().expect("piped"));
        let mut greeting = Vec::new();
        while greeting.last().is_none_or(|line: &String| line != "ready") {
            let Some(line) = output.next() else {
                let _ = child.wait();
                panic!(
                    "the server ended before it was ready: {greeting:?} {:?}",
                    errors.rest()
                );
            };
            greeting.push(line);
        }
        let secure = find_address(&greeting, "listening on https://");
        let public = find_address(&greeting, "listening on http://").or(secure);
        let public = public.unwrap_or_else(|| panic!("it listens nowhere: {greeting:?}"));
        let admin = address(&greeting, "admin on http://");
        Self {
            child,
            public,
            secure,
            admin,
            greeting,
            output,
            errors,
        }
    }

    /// A WebSocket to `path`.
    #[track_caller]
    pub(crate) fn open(&self, path: &str) -> Client {
        Client::open(self.public, path)
    }

    /// A TCP connection on which nothing has been said yet.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.public)
    }

    /// The process.
    pub(crate) fn process(&self) -> Process {
        Process {
            id: self.child.id(),
        }
    }

    /// What the admin listener answers to a GET.
    #[track_caller]
    pub(crate) fn look(&self, path: &str) -> Response {
        http::request(self.admin, "GET", path, b"")
    }

    /// What the admin listener answers to a GET that must succeed.
    #[track_caller]
    pub(crate) fn look_text(&self, path: &str) -> String {
        let response = self.look(path);
        assert_eq!(response.status, 200, "GET {path}: {response:?}");
        response.text()
    }

    /// The JSON that the admin listener answers to a GET.
    #[track_caller]
    pub(crate) fn look_json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.look_text(path)).expect("JSON")
    }

    /// Publishes by HTTP and returns the status.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, body: &[u8]) -> u16 {
        http::request(self.admin, "POST", &format!("/publish/{topic}"), body).status
    }

    /// The counters as they are now.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Exposition {
        Exposition::parse(&self.look_text("/metrics")).expect("the format of Prometheus")
    }

    /// Waits until a metric, summed over the shards, shows `wanted`.
    #[track_caller]
    pub(crate) fn until_metric(&self, name: &str, labels: &[(&str, &str)], wanted: u64) {
        let what = format!("{name} {labels:?}");
        clock::until_equal(&what, &Some(wanted), || self.metrics().sum(name, labels));
    }

    /// Waits until the server has received all that it is going to receive for now.
    #[track_caller]
    pub(crate) fn until_quiet(&self) {
        const LOOKS: usize = 5;
        let (mut last, mut same) = (None, 0);
        clock::until("nothing more is received", || {
            let metrics = self.metrics();
            let now = metrics.sum("tidegate_received_bytes_total", &[]);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same >= LOOKS).then_some(())
        });
    }

    /// Waits until no connection is left.
    #[track_caller]
    pub(crate) fn until_empty(&self) {
        self.until_metric("tidegate_connections", &[], 0);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits for the end; returns the status and the rest of stdout and stderr.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (ExitStatus, Vec<String>, Vec<String>) {
        let status = clock::until("the server ends", || {
            self.child.try_wait().expect("a child")
        });
        (status, self.output.rest(), self.errors.rest())
    }

    /// The next line on stdout; `None` at the end.
    #[track_caller]
    pub(crate) fn says(&self) -> Option<String> {
        self.output.next()
    }

    /// The next line on stderr; `None` at the end.
    #[track_caller]
    pub(crate) fn complains(&self) -> Option<String> {
        self.errors.next()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run of the program that is meant to fail ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Lines on stdout.
    pub(crate) output: Vec<String>,
    /// Lines on stderr.
    pub(crate) errors: Vec<String>,
}

/// Runs a command to its end, or kills it when it takes too long.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let output = Lines::of(child.stdout.take().expect("piped"));
    let errors = Lines::of(child.stderr.take().expect("piped"));
    let deadline = clock::Deadline::after(clock::PATIENCE);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if deadline.left().is_none() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not end: {:?} {:?}", output.rest(), errors.rest());
        }
        clock::let_pass(std::time::Duration::from_millis(5));
    };
    Ended {
        code: status.code(),
        output: output.rest(),
        errors: errors.rest(),
    }
}

/// The program, to be run with at most so many descriptors.
pub(crate) fn limited(descriptors: u32) -> Command {
    with_limit(&format!("-n {descriptors}"))
}

/// The program, to be run after this `ulimit`.
pub(crate) fn with_limit(limit: &str) -> Command {
    limiting(&program(), limit)
}

/// The same for another way to run it.
pub(crate) fn limiting(program: &Command, limit: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit {limit} && exec \"$0\" \"$@\""));
    command.arg(program.get_program()).args(program.get_args());
    without_variables(&mut command);
    command
}

/// The program run as somebody without rights, from a copy in this place; `None` where that cannot
/// be arranged.
pub(crate) fn without_rights(copy: &Path) -> Option<Command> {
    if !geteuid().is_root() {
        return Some(program());
    }
    // The build may lie in a folder that is closed to everybody else.
    fs::copy(PROGRAM, copy).ok()?;
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", "--inh-caps=-all"]);
        command.arg(copy);
        without_variables(&mut command);
        command
    };
    let runs = as_nobody().arg("--version").output();
    runs.is_ok_and(|done| done.status.success()).then(as_nobody)
}

/// `serve` on free ports of loopback and two shards with an empty file, unless `options` say
/// otherwise.
fn arguments<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["serve"];
    for (option, value) in [
        ("--listen", "127.0.0.1:0"),
        ("--admin", "127.0.0.1:0"),
        ("--shards", "2"),
        // The clients of most tests answer no pings, and count what they hear.
        ("--ping-interval", "0s"),
        ("-c", "/dev/null"),
    ] {
        if !options.contains(&option) {
            all.extend([option, value]);
        }
    }
    for (option, value) in [("--io", &*IO), ("--host", &*HOST)] {
        if let Some(value) = value
            && !options.contains(&option)
        {
            all.extend([option, value]);
        }
    }
    all.extend(options);
    all
}

#[track_caller]
fn address(greeting: &[String], prefix: &str) -> SocketAddr {
    let found = find_address(greeting, prefix);
    found.unwrap_or_else(|| panic!("no line '{prefix}...' in {greeting:?}"))
}

#[track_caller]
fn find_address(greeting: &[String], prefix: &str) -> Option<SocketAddr> {
    let line = greeting.iter().find_map(|line| line.strip_prefix(prefix))?;
    let end = line.find([' ', '/']).unwrap_or(line.len());
    Some(line[..end].parse().expect("an address and a port"))
}
