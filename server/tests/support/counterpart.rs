//! Programs of other people that talk to the server: where they are, and how to run them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::lines::Lines;

/// How long a browser may take to start.
const SLOW: Duration = Duration::from_secs(90);

/// The folder that `scripts/counterparts` fills.
pub(crate) fn folder() -> PathBuf {
    root().join("target/counterparts")
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the server is a member")
}

/// A file beside the tests that a counterpart runs.
pub(crate) fn peer(name: &str) -> PathBuf {
    root().join("server/tests/peers").join(name)
}

/// A counterpart that is told what to do line by line and answers line by line.
#[derive(Debug)]
pub(crate) struct Counterpart {
    child: Child,
    input: ChildStdin,
    output: Lines,
}

impl Counterpart {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is installed");
        let input = child.stdin.take().expect("piped");
        let output = Lines::of(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
        }
    }

    /// Tells it something.
    #[track_caller]
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    /// Expects this line next.
    #[track_caller]
    pub(crate) fn answers(&self, line: &str) {
        assert_eq!(self.output.next().as_deref(), Some(line));
    }

    /// The same for what takes long on a busy machine, such as starting a browser.
    #[track_caller]
    pub(crate) fn answers_slowly(&self, line: &str) {
        assert_eq!(self.output.next_within(SLOW).as_deref(), Some(line));
    }

    /// The next line; `None` at the end.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        self.output.next()
    }

    /// Expects that it has no more to say and ends well.
    #[track_caller]
    pub(crate) fn ends_well(mut self) {
        assert_eq!(self.output.rest(), [""; 0]);
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Counterpart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
