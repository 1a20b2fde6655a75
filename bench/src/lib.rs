//! The load client: measures a WebSocket server from outside, and checks what it measures.
//!
//! It stands on the protocol crate and on the kernel crate, never on the engine, so that a
//! fault of the engine's cannot hide behind the same fault here.
//!
//! ```text
//!   options ─▶ plan ─▶ run ─▶ crew ─▶ worker (one thread) ─▶ client ─▶ Driver
//!                       │                                       └─▶ Load: echo, idle, fanout,
//!                       │                                           churn, storm, slow
//!                       └─▶ report: table or JSON, HDR text, picture
//! ```

pub mod churn;
pub mod echo;
pub mod fanout;
pub mod heard;
pub mod idle;
pub mod latency;
pub mod load;
pub mod options;
pub mod parts;
pub mod pattern;
pub mod payload;
pub mod process;
pub mod random;
pub mod reconnect;
pub mod report;
pub mod require;
pub mod schedule;
pub mod slices;
pub mod slow;
pub mod storm;
pub mod tally;

mod client;
mod connection;
mod crew;
mod plan;
mod plot;
mod processes;
mod progress;
mod run;
mod tls;
mod wire;
mod worker;

use options::Command;
use report::Report;

/// Carries out a command that has passed its [`Command::check`]. `None` in a process that another
/// one leads, and that has told it everything.
///
/// # Errors
/// When there is nothing to report: the system or the options do not allow the run.
pub fn run(command: &Command, command_line: String) -> anyhow::Result<Option<Report>> {
    let outcome = plan::run(command)?;
    Ok(outcome.map(|outcome| Report::new(command, command_line, outcome)))
}
