//! Whatever goes wrong, as one line of advice and an exit code.

use std::io;
use std::net::SocketAddr;

/// Exit codes, as `sysexits.h` and shells know them.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const NO_PERMISSION: u8 = 77;
const BAD_CONFIGURATION: u8 = 78;

/// Why the program ends with an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is wrong and what to do about it, in one line, or one for each of several faults.
    pub(crate) line: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(line: String) -> Self {
        Self {
            line,
            code: WRONG_USAGE,
        }
    }

    /// What was to be done cannot be done.
    pub(crate) fn failed(line: String) -> Self {
        Self { line, code: FAILED }
    }

    /// The file or the environment is wrong.
    pub(crate) fn configuration(line: String) -> Self {
        Self {
            line,
            code: BAD_CONFIGURATION,
        }
    }

    /// The system does not let this user do that.
    pub(crate) fn forbidden(line: String) -> Self {
        Self {
            line,
            code: NO_PERMISSION,
        }
    }

    /// `--io uring` was asked for, and the kernel does not give it to this process.
    pub(crate) fn uring(error: &io::Error) -> Self {
        Self::failed(format!(
            "cannot use io_uring ({error}): it takes Linux 5.19, and neither \
             kernel.io_uring_disabled nor a container's seccomp filter may forbid it, and 256KiB \
             of locked memory (`ulimit -l`) for each shard; `--io epoll` works everywhere"
        ))
    }

    /// `--host glommio` was asked for, and this process cannot have it.
    pub(crate) fn glommio(error: &io::Error) -> Self {
        Self::failed(format!(
            "cannot use glommio: {error}; it takes Linux 5.8, io_uring, which neither \
             kernel.io_uring_disabled nor a container's seccomp filter may forbid, and 512KiB of \
             locked memory; `--host thread` works everywhere"
        ))
    }

    /// The log cannot be written there. `option` is what says so.
    pub(crate) fn log(place: &str, option: &str, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => NO_PERMISSION,
            _ => FAILED,
        };
        Self {
            line: format!(
                "cannot write the log to {place}: {error}; choose another place with {option}"
            ),
            code,
        }
    }

    /// An address cannot be listened on. `option` is what says so.
    pub(crate) fn listen(address: SocketAddr, option: &str, error: &io::Error) -> Self {
        let (advice, code) = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let advice = format!(
                    "another process listens there; stop it, or choose another port with {option}"
                );
                (advice, FAILED)
            }
            io::ErrorKind::PermissionDenied => {
                let advice = format!(
                    "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose another \
                     port with {option}"
                );
                (advice, NO_PERMISSION)
            }
            io::ErrorKind::AddrNotAvailable => {
                let advice = format!(
                    "no interface of this host has that address; choose one that `ip address` \
                     shows with {option}"
                );
                (advice, FAILED)
            }
            _ => (error.to_string(), FAILED),
        };
        Self {
            line: format!("cannot listen on {address}: {advice}"),
            code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_io_uring_is_one_line_with_a_way_out() {
        let failure = Failure::uring(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(failure.code, 1);
        assert_eq!(failure.line.lines().count(), 1);
        for part in ["permission denied", "5.19", "ulimit -l", "--io epoll"] {
            assert!(failure.line.contains(part), "{}", failure.line);
        }
    }

    #[test]
    fn each_fault_of_an_address_has_its_advice_and_code() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let listen = |kind| Failure::listen(address, "--listen", &io::Error::from(kind));
        let taken = listen(io::ErrorKind::AddrInUse);
        assert_eq!(taken.code, 1);
        assert!(taken.line.contains("127.0.0.1:80") && taken.line.contains("--listen"));
        assert_eq!(listen(io::ErrorKind::PermissionDenied).code, 77);
        assert_eq!(listen(io::ErrorKind::AddrNotAvailable).code, 1);
        assert_eq!(listen(io::ErrorKind::OutOfMemory).line.lines().count(), 1);
    }
}
