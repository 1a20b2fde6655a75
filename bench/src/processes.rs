//! Several processes: this program starts itself again, and leads what it has started.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tidegate_io::epoll::EpollDriver;

use crate::crew::Threads;
use crate::load::Load;
use crate::options::Common;
use crate::process::Process;
use crate::progress::Progress;
use crate::wire::{Epoch, WireCommand, WireReport};
use crate::worker::{Command, Place, Report};

/// The processes that this one leads.
#[derive(Debug)]
pub(crate) struct Processes {
    epoch: Epoch,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    child: Child,
    /// Closed when it is to end.
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

/// How often a process tells how far it has come.
const BLINK: Duration = Duration::from_millis(100);

impl Processes {
    /// Starts them. Each gets the command line of this one, and its number.
    pub(crate) fn start(
        common: &Common,
        epoch: Epoch,
        progress: &Arc<Progress>,
        reports: &Sender<(u32, Report)>,
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find this program")?;
        let mut members = Vec::new();
        for index in 0..common.processes {
            let mut child = Program::new(&program)
                .args(env::args_os().skip(1))
                .arg("--process-index")
                .arg(index.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start this program again")?;
            let stdin = child.stdin.take();
            let stdout = child.stdout.take().context("a process has no stdout")?;
            let (first, reports) = (index * common.threads, reports.clone());
            let progress = Arc::clone(progress);
            let reader = thread::Builder::new()
                .name(format!("process-{index}"))
                .spawn(move || read(stdout, first, &progress, &reports))
                .context("cannot start a thread")?;
            members.push(Member {
                child,
                stdin,
                reader: Some(reader),
            });
        }
        Ok(Self { epoch, members })
    }

    pub(crate) fn command(&mut self, command: Command) {
        let mut line = serde_json::to_vec(&self.epoch.send_command(command)).unwrap_or_default();
        line.push(b'\n');
        for member in &mut self.members {
            if let Some(stdin) = &mut member.stdin {
                // A process that is gone is found to be so where its reports end.
                let _ = stdin.write_all(&line);
            }
        }
    }

    /// CPU time of all of them.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        let times = self.members.iter();
        times
            .map(|member| Process::numbered(member.child.id()).cpu_time())
            .sum()
    }

    /// Waits until all have ended.
    pub(crate) fn join(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.stdin = None;
            member.child.wait().context("cannot wait for a process")?;
            if let Some(reader) = member.reader.take() {
                reader
                    .join()
                    .map_err(|_| anyhow!("a reader has panicked"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Processes {
    /// Whatever has gone wrong, nobody is left behind.
    fn drop(&mut self) {
        for member in &mut self.members {
            member.stdin = None;
            if let Ok(None) = member.child.try_wait() {
                let _ = member.child.kill();
                let _ = member.child.wait();
            }
        }
    }
}

/// Takes what a process reports, to its end.
fn read(stdout: ChildStdout, first: u32, progress: &Progress, reports: &Sender<(u32, Report)>) {
    let mut over = false;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let report = match serde_json::from_str(&line) {
            Ok((_, WireReport::Progress { opened, received })) => {
                progress.set(first, opened, received);
                continue;
            }
            Ok((worker, report)) => (worker, WireReport::into_report(report)),
            Err(error) => (first, Some(Report::Failed(io::Error::other(error)))),
        };
        if let (worker, Some(report)) = report {
            over = matches!(report, Report::Over(_) | Report::Failed(_));
            // Nobody listens only if the whole run has been given up.
            let _ = reports.send((worker, report));
        }
    }
    if !over {
        let error = io::Error::other("a process of this run has ended before its time");
        let _ = reports.send((first, Report::Failed(error)));
    }
}

/// Is one of the processes that another one leads: does what comes in, tells what goes out.
///
/// # Errors
/// When the system does not allow it; what goes wrong later is reported to the leader.
pub(crate) fn serve(
    common: &Common,
    index: u32,
    make: &dyn Fn(&Place) -> Box<dyn Load>,
) -> anyhow::Result<()> {
    let (sender, reports) = mpsc::channel();
    let workers = crate::crew::worker_count(common);
    let progress = Arc::new(Progress::new(workers));
    let mut threads = Threads::start(common, index, &progress, &sender, make)?;
    drop(sender);
    threads.await_ready(&reports)?;
    let epoch = Epoch::read(&EpollDriver::new(None)?);
    let first = index * common.threads;
    let count = common.threads;
    let output = Arc::new(Mutex::new(io::stdout()));
    for worker in first..first + count {
        say(&output, worker, &WireReport::Ready)?;
    }
    let writer = {
        let (output, progress) = (Arc::clone(&output), Arc::clone(&progress));
        thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || write(&reports, &output, first, &progress))?
    };
    for line in io::stdin().lines() {
        let command: WireCommand = serde_json::from_str(&line?)?;
        threads.command(epoch.receive_command(command));
    }
    // Nobody leads any more: the workers end when nobody can command them.
    drop(threads);
    // If its leader is gone, so is whoever would read this.
    let _ = writer.join();
    Ok(())
}

fn write(
    reports: &Receiver<(u32, Report)>,
    output: &Mutex<io::Stdout>,
    first: u32,
    progress: &Progress,
) -> io::Result<()> {
    loop {
        match reports.recv_timeout(BLINK) {
            Ok((worker, report)) => say(output, worker, &report.into())?,
            Err(RecvTimeoutError::Timeout) => {
                let (opened, received) = (progress.opened(), progress.received());
                say(output, first, &WireReport::Progress { opened, received })?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn say(output: &Mutex<io::Stdout>, worker: u32, report: &WireReport) -> io::Result<()> {
    let mut line = serde_json::to_vec(&(worker, report))?;
    line.push(b'\n');
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    output.write_all(&line)?;
    output.flush()
}
