//! Tidegate: a WebSocket server for very many connections, one thread for each core.

mod admin;
mod census;
mod check;
mod choices;
mod config;
mod connections;
mod doctor;
mod ending;
mod endpoints;
mod failure;
mod greeting;
mod guard;
mod inheritance;
mod live;
mod memory;
mod metrics;
mod names;
mod options;
mod origin;
mod phase;
mod ports;
mod process;
mod reload;
mod routes;
mod sandbox;
mod settings;
mod signals;
mod startup;
mod supervisor;
mod tls;
mod units;
mod upgrade;
mod voice;

use std::io::Write;
use std::process::ExitCode;

use mimalloc::MiMalloc;

use crate::failure::Failure;
use crate::options::Command;

/// The system's allocator keeps what very many short-lived connections leave behind.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            // If nobody hears it, the exit code still tells.
            for line in failure.line.lines() {
                let _ = writeln!(std::io::stderr(), "tidegate: {line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    match options::read(std::env::args_os(), std::env::vars_os().collect())? {
        Command::Serve(inputs, extras) => {
            startup::serve(inputs, extras).map(|()| ExitCode::SUCCESS)
        }
        Command::Check(settings) => {
            print(&check::check(&settings)?);
            Ok(ExitCode::SUCCESS)
        }
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
