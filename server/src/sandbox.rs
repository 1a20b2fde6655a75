//! Less than it could when it was started: what the server may still do once it has its ports.
//!
//! ```text
//!  ports are bound ─▶ user, group ─▶ no new privileges ─▶ Landlock ─▶ seccomp ─▶ threads begin
//!                                                          files       system calls
//! ```
//!
//! All of it holds for the thread that asks and for those that it starts, so it is done while
//! there is no other. Whoever follows by an upgrade is started from here and so is fenced in as
//! well; it puts up no second fence.

mod account;
mod calls;
mod files;

use std::path::Path;

use tidegate_engine::rights;

use crate::config::Configuration;
use crate::failure::Failure;

/// Whether a fence is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    On,
    Off,
}

impl Wanted {
    fn of(configuration: &Configuration, key: &str) -> Self {
        match configuration.values.choice(key) {
            "on" => Self::On,
            "off" => Self::Off,
            _ => Self::Auto,
        }
    }
}

/// Puts the fences up, and returns the line that says which hold. `fenced`: the process that this
/// one follows has put them up.
///
/// # Errors
/// When what is asked for cannot be had.
pub(crate) fn enter(configuration: &Configuration, fenced: bool) -> Result<String, Failure> {
    let mut said = vec![account::enter(configuration)?];
    if fenced {
        said.push("the rest as the process before it".to_owned());
        return Ok(format!("sandbox: {}", said.join(", ")));
    }
    rights::renounce_more()
        .map_err(|error| Failure::failed(format!("cannot renounce further privileges: {error}")))?;
    said.push("no new privileges".to_owned());
    let landlock = Wanted::of(configuration, "sandbox.landlock");
    said.push(outcome("landlock", landlock, || {
        files::fence(configuration)
    })?);
    let seccomp = Wanted::of(configuration, "sandbox.seccomp");
    said.push(outcome("seccomp", seccomp, calls::fence)?);
    Ok(format!("sandbox: {}", said.join(", ")))
}

/// Whether any fence may be up that holds for whoever follows.
pub(crate) fn is_wanted(configuration: &Configuration) -> bool {
    ["sandbox.landlock", "sandbox.seccomp"]
        .iter()
        .any(|key| Wanted::of(configuration, key) != Wanted::Off)
}

/// Puts one fence up, and says what came of it.
fn outcome(
    name: &str,
    wanted: Wanted,
    fence: impl FnOnce() -> Result<String, String>,
) -> Result<String, Failure> {
    if wanted == Wanted::Off {
        return Ok(format!("{name} off"));
    }
    match (fence(), wanted) {
        (Ok(said), _) => Ok(said),
        (Err(reason), Wanted::On) => Err(Failure::failed(format!(
            "cannot use {name}: {reason}; `--{name} auto` goes on without it"
        ))),
        (Err(reason), _) => Ok(format!("without {name}: {reason}")),
    }
}

/// Whether the server will be able to read its configuration again; if not, the line that says so.
pub(crate) fn doubt(configuration: &Configuration) -> Option<String> {
    let path = configuration.file.as_deref()?;
    let error = std::fs::File::open(path).err()?;
    Some(format!(
        "a reload will not be able to read {}: {error}",
        Path::display(path)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_a_failure_only_where_it_was_asked_for() {
        let not = || Err("the kernel has none".to_owned());
        let auto = outcome("seccomp", Wanted::Auto, not).unwrap();
        assert_eq!(auto, "without seccomp: the kernel has none");
        let on = outcome("seccomp", Wanted::On, not).unwrap_err();
        assert!(on.line.contains("--seccomp auto"), "{}", on.line);
        let off = outcome("seccomp", Wanted::Off, || unreachable!("it is off"));
        assert_eq!(off.unwrap(), "seccomp off");
    }
}
