//! What the kernel says about a process: its CPU time and its memory.

use std::fs;
use std::io;
use std::time::Duration;

use crate::options::proc_file;

/// A process that is watched from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this number.
    ///
    /// # Errors
    /// When there is none, or its figures may not be read.
    pub fn open(pid: u32) -> io::Result<Self> {
        let process = Self { pid };
        process.cpu_time()?;
        process.rss()?;
        Ok(process)
    }

    /// The process with this number, whatever may have become of it.
    pub(crate) fn numbered(pid: u32) -> Self {
        Self { pid }
    }

    /// This process itself.
    #[must_use]
    pub fn myself() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// User and system time of all its threads, in steps of a clock tick (10 ms).
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let text = self.read("stat")?;
        let ticks = parse_ticks(&text).ok_or_else(|| self.unreadable("stat"))?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_nanos(
            ticks.saturating_mul(1_000_000_000 / per_second),
        ))
    }

    /// Resident memory in bytes: exact where the kernel adds it up (`smaps_rollup`), else its
    /// own running count (`statm`), which may be some hundred KiB off.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn rss(&self) -> io::Result<u64> {
        if let Ok(text) = self.read("smaps_rollup")
            && let Some(rss) = parse_rollup(&text)
        {
            return Ok(rss);
        }
        let text = self.read("statm")?;
        let pages = parse_statm(&text).ok_or_else(|| self.unreadable("statm"))?;
        Ok(pages.saturating_mul(rustix::param::page_size() as u64))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let path = proc_file(self.pid, name);
        fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                io::Error::new(error.kind(), format!("there is no process {}", self.pid))
            }
            kind => io::Error::new(kind, format!("cannot read {}: {error}", path.display())),
        })
    }

    fn unreadable(&self, name: &str) -> io::Error {
        let path = proc_file(self.pid, name);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("cannot understand {}", path.display()),
        )
    }
}

/// Fields 14 and 15. The name in field 2 may hold anything, even a closing bracket.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_rollup(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn parse_statm(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_memory() {
        let process = Process::open(std::process::id()).unwrap();
        assert!(process.rss().unwrap() > 100 * 1024);
        assert!(process.cpu_time().is_ok());
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = Process::open(u32::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("there is no process {}", u32::MAX)
        );
    }

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) b) 1 2) S 1 2 3 4 5 6 7 8 9 10 31 11 0 0 20 0 1 0 5";
        assert_eq!(parse_ticks(stat), Some(42));
        assert_eq!(parse_ticks("7 (cut) S 1 2"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(
            parse_rollup("00 ---p 0 [rollup]\nRss:      1234 kB\nPss: 1 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(parse_statm("900 42 1 1 0 1 0\n"), Some(42));
        assert_eq!(parse_statm(""), None);
    }
}
