//! `tidegate top`: what a running server does at this moment, for a terminal, a pipe or a program. It
//! asks at the admin port, and knows nothing that anybody could not ask there.
//!
//! ```text
//!  /status, /topics, /connections?sort=, /closed ─▶ Sample ─┬─▶ View ─▶ the screen, a table,
//!                                           the one before ─┘           a line of JSON
//! ```

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::ask::AdminPlace;
use crate::config::Inputs;
use crate::failure::Failure;
use crate::token::Tokens;

mod draw;
mod numbers;
mod panel;
mod sample;
mod screen;
mod table;
mod view;

use sample::Asker;
pub(crate) use sample::Sort;
use view::View;

/// What to show, and of which server.
#[derive(Debug)]
pub(crate) struct TopSettings {
    /// Whose flags and files say where the admin port is, where nobody else does.
    pub(crate) inputs: Inputs,
    pub(crate) admin: Option<AdminPlace>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) interval: Duration,
    pub(crate) once: bool,
    pub(crate) json: bool,
    pub(crate) sort: Sort,
}

/// Shows it, until somebody has seen enough.
///
/// # Errors
/// A [`Failure`] when the server cannot be asked.
pub(crate) fn show(settings: &TopSettings) -> Result<(), Failure> {
    let mut asker = asker(settings)?;
    // A server that is not there is found out before the screen is taken.
    let first = asker.ask(settings.sort).map_err(Failure::failed)?;
    if settings.json {
        return print_json(&mut asker, first, settings);
    }
    if settings.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        pause(settings.interval);
        let second = asker.ask(settings.sort).map_err(Failure::failed)?;
        let view = View::of(&second, &first, asker.place());
        crate::print(&table::of(&view));
        return Ok(());
    }
    screen::run(asker, first, settings)
        .map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))
}

/// Finds the server: as it is said, or as it is configured here.
fn asker(settings: &TopSettings) -> Result<Asker, Failure> {
    let given = settings.token_file.as_ref().map(|path| {
        Tokens::read(path).map_err(|error| {
            Failure::failed(format!(
                "cannot take a token from {}: {error}",
                path.display()
            ))
        })
    });
    let given = given.transpose()?;
    let (place, token) = match (&settings.admin, settings.inputs.load(None)) {
        // What is configured here is nobody's business at another server.
        (Some(place), _) => (place.clone(), given),
        (None, Ok(here)) => {
            let own = here.admin_tokens.as_deref().cloned();
            (here.values.address("admin.listen").into(), given.or(own))
        }
        (None, Err(faults)) => return Err(faults.into()),
    };
    Ok(Asker::new(place, token))
}

/// An object in each line, once for each interval; the last one when nobody reads any more.
fn print_json(
    asker: &mut Asker,
    first: sample::Sample,
    settings: &TopSettings,
) -> Result<(), Failure> {
    let mut before = first;
    loop {
        pause(settings.interval);
        let now = asker.ask(settings.sort).map_err(Failure::failed)?;
        let view = View::of(&now, &before, asker.place());
        // Nothing in it has keys that are no strings, which alone could fail.
        let line = serde_json::to_string(&view).unwrap_or_default() + "\n";
        let mut stdout = io::stdout();
        let written = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
        if settings.once || written.is_err() {
            return Ok(());
        }
        before = now;
    }
}

fn pause(span: Duration) {
    let (_kept, nothing) = channel::<()>();
    let _ = nothing.recv_timeout(span);
}
