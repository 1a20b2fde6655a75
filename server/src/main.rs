//! Tidegate: a WebSocket server for very many connections, one thread for each core.

mod admin;
mod admission;
mod ask;
mod auth;
mod census;
mod check;
mod choices;
mod config;
mod connections;
mod cors;
mod doctor;
mod ending;
mod endpoints;
mod failure;
mod guard;
mod inheritance;
mod live;
mod log;
mod memory;
mod metrics;
mod names;
mod options;
mod origin;
mod phase;
mod ports;
mod process;
mod purpose;
mod reload;
mod routes;
mod sandbox;
mod settings;
mod signals;
mod startup;
mod status;
mod stripes;
mod supervisor;
mod tally;
mod tls;
mod token;
mod top;
mod topic_pattern;
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
            complain_of(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// If nobody hears it, the exit code still tells.
fn complain_of(failure: &Failure) {
    if let Some(log) = log::current() {
        let lines = failure.line.lines();
        let record = |line| log::Record::new(tracing::Level::ERROR, "server", line);
        log.write(lines.map(record).collect());
        log.finish();
        if log.shows_on_stderr() {
            return;
        }
    }
    for line in failure.line.lines() {
        let _ = writeln!(std::io::stderr(), "tidegate: {line}");
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
        Command::Top(settings) => top::show(&settings).map(|()| ExitCode::SUCCESS),
        Command::GenToken(settings) => {
            print(&auth::tools::generate(&settings)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckToken(settings) => {
            let checked = auth::tools::check(&settings)?;
            print(&checked.text);
            Ok(if checked.is_good {
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
