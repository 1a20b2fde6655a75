//! Which files the server may read, write and start (Landlock).
//!
//! | | may be |
//! |---|---|
//! | the folders of the configuration and of the files that it names | read |
//! | `/etc`, `/proc`, `/sys`, `/usr/share`, the libraries | read |
//! | `/dev/null`, and the folders of logs | read and written |
//! | the folder of the program, the loader of programs | read and started (an upgrade) |
//!
//! A rule holds for a folder, so that a file which is replaced there by a rename, as tools for
//! certificates do it, is found. What is open already, such as a log, stays open.

use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};

use crate::config::Configuration;
use crate::config::value::{Kind, Value};
use crate::log::Target;

/// What is known of the kernel's rules here; an older kernel keeps those that it knows.
const NEWEST: ABI = ABI::V5;

/// What programs and libraries read of any Linux host: names, zones, certificates, their own
/// figures, cores.
const READ: [&str; 8] = [
    "/etc",
    "/proc",
    "/sys",
    "/usr/share",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
];

/// What the kernel starts for a program that has libraries.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

const WRITTEN: [&str; 1] = ["/dev/null"];

/// Keeps this thread, and what it starts, from all other files; says how far.
///
/// # Errors
/// Why the kernel cannot.
pub(super) fn fence(configuration: &Configuration) -> Result<String, String> {
    let status = rules(configuration)
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("the kernel has none".to_owned());
    }
    Ok(match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => {
            let number = kernel_abi.unwrap_or(effective_abi as i32);
            format!("landlock ABI {number}")
        }
        _ => "landlock".to_owned(),
    })
}

fn rules(configuration: &Configuration) -> Result<RulesetCreated, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let started = read | AccessFs::Execute;
    let written: BitFlags<AccessFs> = AccessFs::from_all(NEWEST) & !AccessFs::Execute;
    let (to_read, to_write) = places(configuration);
    let program = env::current_exe().ok();
    let program = program.as_deref().map(folder_of);
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(to_read, read))?
        .add_rules(path_beneath_rules(program, started))?
        .add_rules(path_beneath_rules(LOADERS, started))?
        .add_rules(path_beneath_rules(WRITTEN, written))?
        .add_rules(path_beneath_rules(to_write, written))
}

/// Where the configuration is, or may be, and what it names: to be read, to be written.
fn places(configuration: &Configuration) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut to_read: Vec<PathBuf> = match &configuration.file {
        Some(path) => vec![folder_of(path)],
        None => configuration.places.iter().map(|p| folder_of(p)).collect(),
    };
    let mut to_write = Vec::new();
    for (key, setting) in configuration.values.iter() {
        if let (Kind::Text { name: "FILE", .. }, Value::Text(path)) = (key.kind, &setting.value)
            && !path.is_empty()
        {
            to_read.push(folder_of(Path::new(path)));
        }
        if let Value::Files(paths) = &setting.value {
            to_read.extend(paths.iter().map(|path| folder_of(Path::new(path))));
        }
    }
    if let Target::File(path) = configuration.log().target {
        to_write.push(folder_of(&path));
    }
    (to_read, to_write)
}

/// The folder of a file, or the file itself where the folder would be too much.
fn folder_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match path.parent() {
        Some(folder) if ![Path::new("/"), Path::new("/dev")].contains(&folder) => folder.to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_its_folder_unless_that_is_everything() {
        let folder = |path: &str| folder_of(Path::new(path));
        assert_eq!(
            folder("/etc/tidegate/tidegate.toml"),
            Path::new("/etc/tidegate")
        );
        assert_eq!(folder("/tidegate.toml"), Path::new("/tidegate.toml"));
        assert_eq!(folder("/dev/null"), Path::new("/dev/null"));
        assert!(folder("tidegate.toml").is_absolute());
    }
}
