//! What the kernel tells of this process in `/proc`.

use std::fs;

/// The kernel reports times in ticks of 1/100 s, whatever its own clock: that is its ABI on
/// every architecture that this server has been built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the kernel does not say how many files are open, so many are counted; with more it is not
/// known, since each of them takes a system call's share.
const FILES_COUNTED_MAX: usize = 20_000;

/// Figures of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Process {
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    /// Spent in the process and, on its behalf, in the kernel.
    pub(crate) cpu_seconds: f64,
    /// Since 1970.
    pub(crate) start_seconds: f64,
}

impl Process {
    /// The figures as they are now; `None` where there is no `/proc`.
    pub(crate) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        let host = fs::read_to_string("/proc/stat").ok()?;
        Self::parse(&status, &own, &host)
    }

    fn parse(status: &str, own: &str, host: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may hold anything, even more of
        // them; the numbers start behind the last one, with the third field.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let booted: f64 = value_of(host, "btime")?.trim().parse().ok()?;
        Some(Self {
            resident_bytes: kilobytes(status, "VmRSS:")?,
            virtual_bytes: kilobytes(status, "VmSize:")?,
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            start_seconds: booted + ticks(22)? / TICKS_PER_SECOND,
        })
    }
}

/// How many files are open in these folders, such as `/proc/self/fd`; `None` where that is not known.
pub(crate) fn open_files(folders: &[String]) -> Option<u64> {
    folders.iter().map(|folder| open_in(folder)).sum()
}

fn open_in(folder: &str) -> Option<u64> {
    // Linux 6.2 and newer says the number as the folder's size.
    let size = fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let count = fs::read_dir(folder)
        .ok()?
        .take(FILES_COUNTED_MAX + 1)
        .count();
    // The one that reads them is among them.
    (count <= FILES_COUNTED_MAX).then(|| count as u64 - 1)
}

/// The processor time of a thread of this process, user and system, to the nanosecond where the
/// kernel keeps it so.
pub(crate) fn thread_seconds(thread_id: u32) -> Option<f64> {
    let folder = format!("/proc/self/task/{thread_id}");
    if let Ok(text) = fs::read_to_string(format!("{folder}/schedstat")) {
        let nanos: u64 = text.split(' ').next()?.parse().ok()?;
        return Some(std::time::Duration::from_nanos(nanos).as_secs_f64());
    }
    let own = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let mut fields = own.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// The rest of the line that starts with `key`.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let number = value_of(status, key)?.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_start() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0);
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.start_seconds > 1.5e9);
    }

    #[test]
    fn a_thread_has_worked_and_the_process_has_files() {
        let thread = std::process::id();
        assert!(thread_seconds(thread).is_some());
        assert_eq!(thread_seconds(0), None);
        let files = open_files(&["/proc/self/fd".to_owned()]).unwrap();
        assert!((3..FILES_COUNTED_MAX as u64).contains(&files), "{files}");
        assert_eq!(open_files(&["/nowhere".to_owned()]), None);
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let status = "Name:\ta) b\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let own = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 3000 1 1";
        let process = Process::parse(status, own, "cpu 1 2\nbtime 1000\n").unwrap();
        let expected = Process {
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            cpu_seconds: 2.0,
            start_seconds: 1030.0,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        assert_eq!(Process::parse("", "", ""), None);
        assert_eq!(
            Process::parse("VmRSS: 1 kB\nVmSize: 1 kB", "7 (a) S 1", "btime 1"),
            None
        );
    }
}
