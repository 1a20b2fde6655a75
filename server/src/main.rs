//! Tidegate: a WebSocket server for very many connections, one thread for each core.

mod admin;
mod census;
mod choices;
mod connections;
mod doctor;
mod endpoints;
mod memory;
mod metrics;
mod names;
mod options;
mod origin;
mod phase;
mod process;
mod signals;
mod startup;
mod timeouts;
mod units;
mod watching;

use std::io::Write;
use std::process::ExitCode;

use mimalloc::MiMalloc;

use crate::options::Command;
use crate::startup::Failure;

/// The system's allocator keeps what very many short-lived connections leave behind.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            // If nobody hears it, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tidegate: {}", failure.line);
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    match options::read(std::env::args_os())? {
        Command::Serve(settings) => startup::serve(&settings).map(|()| ExitCode::SUCCESS),
        Command::Doctor(settings) => {
            let diagnosis = doctor::examine(&settings)?;
            print(&diagnosis.text);
            Ok(if diagnosis.reachable {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Print(text) => {
            print(&text);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: &str) {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
