//! The files of a host: those under `/`, or under a folder that a test has made up.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::count::whole;

/// No file of `/proc` or `/sys` that is read here is larger.
const TEXT_SIZE_MAX: u64 = 1 << 20;

/// A tree of files. Whatever is missing, refused or too odd to be read is `None`.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Whether these are the files of this host.
    pub(super) fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The text of a file.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let path = self.path(path);
        // A pipe would never end.
        if !path.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(path).ok()?;
        file.take(TEXT_SIZE_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file's one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        whole(self.read(path)?.trim())
    }

    /// All numbers of the file; `None` if anything else is in it, or nothing.
    pub(super) fn numbers(&self, path: &str) -> Option<Vec<u64>> {
        let text = self.read(path)?;
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(whole).collect();
        numbers.filter(|numbers| !numbers.is_empty())
    }

    /// A knob of the kernel by its usual name, such as `net.core.somaxconn`.
    pub(super) fn sysctl(&self, name: &str) -> Option<u64> {
        self.number(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// The names in a folder, in order; none where there is no folder.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }
}

/// The rest of the line that starts with `key`, without what is around it.
pub(super) fn line_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.map(str::trim)
}

/// Numbers as the kernel lists cores: `0-3,8`. `None` for anything else.
pub(super) fn parse_cores(text: &str) -> Option<Vec<u64>> {
    /// More cores than any kernel is built for.
    const CORES_MAX: u64 = 1 << 16;
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (whole(first)?, whole(last)?);
        if first > last || last >= CORES_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse_cores("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cores("0"), Some(vec![0]));
        for odd in [
            "",
            "\n",
            "3-1",
            "a",
            "1-",
            "-1",
            "0-99999999999",
            "0-65536",
            "1,,2",
        ] {
            assert_eq!(parse_cores(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_not_a_readable_number_is_none() {
        let tree = Tree::new(Path::new("/"));
        assert!(tree.sysctl("kernel.pid_max").is_some());
        assert_eq!(tree.sysctl("kernel.no_such_knob"), None);
        assert_eq!(tree.sysctl("kernel.ostype"), None);
        assert_eq!(tree.read("proc/self"), None, "a folder");
        assert_eq!(tree.numbers("dev/null"), None, "no ordinary file");
        assert_eq!(line_of("a: 1\nab:  2 kB\n", "ab:"), Some("2 kB"));
    }
}
