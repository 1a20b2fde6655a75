//! A look at a process from outside, through /proc, and signals to it.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How many ticks of CPU time are a second, on every Linux.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// Lets this process, the client, have as many descriptors as it may.
pub(crate) fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it is refused, only the tests with thousands of connections fail.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// A process by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: u32,
}

impl Process {
    /// How many descriptors it holds.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id))
            .expect("it runs")
            .count()
    }

    /// How many descriptors its threads hold, each with those that it shares with others.
    pub(crate) fn descriptors_of_all_threads(self) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).expect("it runs");
        threads
            .map(|thread| thread.expect("it runs").path().join("fd"))
            .map(|table| fs::read_dir(table).expect("it runs").count())
            .sum()
    }

    /// The memory that it has in RAM, in bytes.
    pub(crate) fn resident(self) -> usize {
        let status = self.read("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a line");
        let kib = line.trim().trim_end_matches("kB").trim();
        kib.parse::<usize>().expect("a number") * 1024
    }

    /// The same to the page: the usual figure may lag behind by 64 pages for each thread.
    pub(crate) fn resident_exactly(self) -> usize {
        let rollup = self.read("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.expect("a line").trim().trim_end_matches("kB").trim();
        kib.parse::<usize>().expect("a number") * 1024
    }

    /// The most memory that it ever had in RAM, in bytes.
    pub(crate) fn resident_peak(self) -> usize {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.expect("a line").trim().trim_end_matches("kB").trim();
        kib.parse::<usize>().expect("a number") * 1024
    }

    /// The CPU time that it has used, user and system, in ticks.
    pub(crate) fn cpu_ticks(self) -> u64 {
        let stat = self.read("stat");
        // The name, in parentheses, may hold anything; the fields after it are numbers.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |index: usize| fields[index].parse::<u64>().expect("a number");
        // Fields 14 and 15 of proc(5), of which this list lacks the first two.
        field(11) + field(12)
    }

    /// The same, of its threads that run now, to the nanosecond.
    pub(crate) fn cpu_exactly(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id)).expect("it runs");
        let spent = tasks.filter_map(|task| {
            let path = task.expect("an entry").path().join("schedstat");
            // A thread may end while it is looked for.
            let stat = fs::read_to_string(path).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// Sends it a signal.
    pub(crate) fn signal(self, signal: Signal) {
        let id = i32::try_from(self.id).expect("numbers of processes are small");
        let pid = Pid::from_raw(id).expect("it is not 0");
        kill_process(pid, signal).expect("it runs");
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.id)).expect("it runs")
    }
}
