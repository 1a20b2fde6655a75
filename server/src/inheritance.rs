//! What the server was given by whoever has started it: sockets that listen already.
//!
//! | from | says so by |
//! |---|---|
//! | a supervisor, such as systemd | `LISTEN_FDS`, `LISTEN_FDNAMES`, for the process `LISTEN_PID` (`man sd_listen_fds`) |
//! | the server that this one follows | `TIDEGATE_UPGRADE`, see [`crate::upgrade`] |

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use tidegate_engine::inherit;

use crate::failure::Failure;

/// How one server tells the next what it is given.
pub(crate) const UPGRADE_VARIABLE: &str = "TIDEGATE_UPGRADE";

/// What a supervisor's socket for operators is called.
const ADMIN_NAME: &str = "admin";

/// What its sockets for clients with TLS are called; others are for clients without.
const SECURE_NAME: &str = "tls";

/// The first descriptor of a supervisor.
const FIRST: RawFd = 3;

/// More sockets than that are a mistake.
const SOCKETS_MAX: u32 = 1024;

/// What the server was given.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// For clients.
    pub(crate) clients: Vec<OwnedFd>,
    /// For clients with TLS.
    pub(crate) secure: Vec<OwnedFd>,
    /// For operators.
    pub(crate) admin: Option<OwnedFd>,
    /// Where the server before this one wants to hear that this one serves.
    pub(crate) ready: Option<OwnedFd>,
    /// A supervisor holds the sockets.
    pub(crate) supervised: bool,
    /// The server before this one has put fences up ([`crate::sandbox`]).
    pub(crate) fenced: bool,
}

impl Inheritance {
    /// Takes it, once.
    ///
    /// # Errors
    /// When something that was announced is not there.
    pub(crate) fn take(environment: &[(OsString, OsString)]) -> Result<Self, Failure> {
        let announced = Announced::read(environment, std::process::id())?;
        let take = |number: &RawFd| {
            inherit::take(*number).map_err(|error| {
                let line = format!("descriptor {number} was to be handed over: {error}");
                Failure::failed(line)
            })
        };
        let all = |numbers: &[RawFd]| numbers.iter().map(take).collect::<Result<_, _>>();
        Ok(Self {
            clients: all(&announced.clients)?,
            secure: all(&announced.secure)?,
            admin: announced.admin.as_ref().map(take).transpose()?,
            ready: announced.ready.as_ref().map(take).transpose()?,
            supervised: announced.supervised,
            fenced: announced.fenced,
        })
    }
}

/// The numbers of what is given.
#[derive(Debug, Default, PartialEq, Eq)]
struct Announced {
    clients: Vec<RawFd>,
    secure: Vec<RawFd>,
    admin: Option<RawFd>,
    ready: Option<RawFd>,
    supervised: bool,
    fenced: bool,
}

impl Announced {
    fn read(environment: &[(OsString, OsString)], process: u32) -> Result<Self, Failure> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        if let Some(text) = variable(UPGRADE_VARIABLE) {
            return Self::of_predecessor(&text).ok_or_else(|| {
                Failure::failed(format!("{UPGRADE_VARIABLE} is for the server's own use"))
            });
        }
        // For another process, such as a shell between the supervisor and this one.
        if variable("LISTEN_PID").is_none_or(|text| text.parse() != Ok(process)) {
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS").unwrap_or_default();
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        Self::of_supervisor(&count, &names)
            .ok_or_else(|| Failure::failed(format!("LISTEN_FDS={count} cannot be understood")))
    }

    fn of_supervisor(count: &str, names: &str) -> Option<Self> {
        let count: u32 = count.parse().ok().filter(|count| *count <= SOCKETS_MAX)?;
        let mut all = Self {
            supervised: count > 0,
            ..Self::default()
        };
        let mut names = names.split(':');
        for number in FIRST.. {
            if number - FIRST >= i32::try_from(count).ok()? {
                break;
            }
            match names.next() {
                Some(ADMIN_NAME) => all.admin = Some(number),
                Some(SECURE_NAME) => all.secure.push(number),
                _ => all.clients.push(number),
            }
        }
        Some(all)
    }

    fn of_predecessor(text: &str) -> Option<Self> {
        let mut all = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("client", number)) => all.clients.push(number.parse().ok()?),
                Some(("tls", number)) => all.secure.push(number.parse().ok()?),
                Some(("admin", number)) => all.admin = Some(number.parse().ok()?),
                Some(("ready", number)) => all.ready = Some(number.parse().ok()?),
                None if part == "supervised" => all.supervised = true,
                None if part == "fenced" => all.fenced = true,
                _ => return None,
            }
        }
        Some(all)
    }
}

/// What the next server is told of what it is given.
pub(crate) fn announce(
    clients: &[OwnedFd],
    secure: &[OwnedFd],
    admin: Option<&OwnedFd>,
    ready: &OwnedFd,
    supervised: bool,
    fenced: bool,
) -> String {
    let mut text = format!("ready={}", ready.as_raw_fd());
    for client in clients {
        let _ = write!(text, ",client={}", client.as_raw_fd());
    }
    for client in secure {
        let _ = write!(text, ",tls={}", client.as_raw_fd());
    }
    if let Some(admin) = admin {
        let _ = write!(text, ",admin={}", admin.as_raw_fd());
    }
    for (word, holds) in [("supervised", supervised), ("fenced", fenced)] {
        if holds {
            let _ = write!(text, ",{word}");
        }
    }
    text
}

/// Says to whoever waits for it that this server serves.
pub(crate) fn say_ready(ready: OwnedFd) {
    use io::Write as _;
    // Whoever has not waited so long goes on itself.
    let _ = std::fs::File::from(ready).write_all(b"ready\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn read(variables: &[(&str, &str)]) -> Result<Announced, Failure> {
        let environment: Vec<_> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        Announced::read(&environment, 77)
    }

    #[test]
    fn a_supervisors_sockets_are_told_apart_by_their_names() {
        let given = read(&[
            ("LISTEN_PID", "77"),
            ("LISTEN_FDS", "4"),
            ("LISTEN_FDNAMES", "tidegate.socket:admin:http:tls"),
        ])
        .unwrap();
        assert_eq!((given.clients, given.admin), (vec![3, 5], Some(4)));
        assert_eq!(given.secure, [6]);
        assert!(given.supervised && !given.fenced);
        let unnamed = read(&[("LISTEN_PID", "77"), ("LISTEN_FDS", "1")]).unwrap();
        assert_eq!(unnamed.clients, [3]);
    }

    #[test]
    fn what_is_for_another_process_or_is_nothing_is_nothing() {
        for variables in [
            &[][..],
            &[("LISTEN_PID", "78"), ("LISTEN_FDS", "1")],
            &[("LISTEN_FDS", "1")],
            &[("LISTEN_PID", "77"), ("LISTEN_FDS", "0")],
        ] {
            assert_eq!(read(variables), Ok(Announced::default()), "{variables:?}");
        }
        for count in ["-1", "many", "1025", ""] {
            assert!(read(&[("LISTEN_PID", "77"), ("LISTEN_FDS", count)]).is_err());
        }
    }

    #[test]
    fn the_next_server_understands_what_it_is_told() {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let (clients, secure, admin, ready) = ([null(), null()], [null()], null(), null());
        let text = announce(&clients, &secure, Some(&admin), &ready, true, true);
        // It goes before what a supervisor has said to the first one.
        let told = read(&[
            (UPGRADE_VARIABLE, &text),
            ("LISTEN_PID", "77"),
            ("LISTEN_FDS", "9"),
        ]);
        let expected = Announced {
            clients: clients.iter().map(AsRawFd::as_raw_fd).collect(),
            secure: secure.iter().map(AsRawFd::as_raw_fd).collect(),
            admin: Some(admin.as_raw_fd()),
            ready: Some(ready.as_raw_fd()),
            supervised: true,
            fenced: true,
        };
        assert_eq!(told, Ok(expected));
        assert!(read(&[(UPGRADE_VARIABLE, "client=x")]).is_err());
        assert!(read(&[(UPGRADE_VARIABLE, "surprise")]).is_err());
    }
}
