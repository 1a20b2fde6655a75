//! The program `tidegate-bench`: reads the command line, runs it, prints the result.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use mimalloc::MiMalloc;
use tidegate_bench::options::{Command, Options};
use tidegate_bench::report::Report;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = options.command.check() {
        return complain(&error, USAGE);
    }
    let command_line = std::env::args().collect::<Vec<_>>().join(" ");
    let report = match tidegate_bench::run(&options.command, command_line) {
        Ok(Some(report)) => report,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return complain(&format!("{error:#}"), FAILED),
    };
    let text = if options.command.common().json {
        match serde_json::to_string(&report) {
            Ok(json) => json + "\n",
            Err(error) => return complain(&error.to_string(), FAILED),
        }
    } else {
        report.table()
    };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        return complain(&format!("cannot print the result: {error}"), FAILED);
    }
    if let Err(error) = write_files(&options.command, &report) {
        return complain(&format!("{error:#}"), FAILED);
    }
    match report.complaint() {
        Some(complaint) => complain(&complaint, FAILED),
        None => ExitCode::SUCCESS,
    }
}

fn write_files(command: &Command, report: &Report) -> anyhow::Result<()> {
    if let Some(file) = &command.common().hdr {
        let text = report.percentile_text()?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &command.common().plot {
        let picture = report.picture()?;
        fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// One line, without a trace. That stderr is closed cannot be told to anybody.
fn complain(error: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(code)
}

/// Prints help where it was asked for, or the first line of what is wrong.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let whole = error.to_string();
    // Missing arguments are listed in the lines behind the first.
    let what: Vec<_> = whole
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let what = what.join(" ");
    complain(what.strip_prefix("error: ").unwrap_or(&what), USAGE)
}
