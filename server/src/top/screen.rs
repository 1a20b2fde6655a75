//! The live view: keys, and a picture that is drawn anew when there is something new.
//!
//! ```text
//!  asking thread ─▶ Sample or trouble ─┐
//!  keys ───────────────────────────────┼▶ the loop ─▶ Picture
//!  TERM ───────────────────────────────┘
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::SIGTERM;

use super::TopSettings;
use super::draw::Picture;
use super::sample::{Asker, Sample, Sort};
use super::view::View;
use crate::ask::AdminPlace;

/// How long a key waits at most to be seen, and new numbers to be drawn.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// What the asking thread is told.
enum Order {
    /// Ask now.
    Now,
    /// From now on rank connections by this, and ask now.
    Sort(Sort),
}

/// What it answers.
type Answer = Result<Sample, String>;

/// What the loop knows.
struct Screen {
    place: AdminPlace,
    last: Sample,
    view: View,
    trouble: Option<String>,
    sort: Sort,
    is_paused: bool,
    shows_help: bool,
    has_colors: bool,
}

/// Shows the view until a key or a signal ends it.
///
/// # Errors
/// Those of the terminal, and when the system has no thread.
pub(super) fn run(asker: Asker, first: Sample, settings: &TopSettings) -> io::Result<()> {
    let place = asker.place().clone();
    let (orders, ordered) = sync_channel(8);
    let (answers, answered) = sync_channel(1);
    let (interval, sort) = (settings.interval, settings.sort);
    Builder::new()
        .name("tidegate-ask".to_owned())
        .spawn(move || ask(asker, sort, interval, &ordered, &answers))?;
    let is_over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&is_over))?;
    let view = View::of(&first, &first, &place);
    let mut screen = Screen {
        place,
        last: first,
        view,
        trouble: None,
        sort,
        is_paused: false,
        shows_help: false,
        // https://no-color.org: set, and not to nothing.
        has_colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let mut terminal = ratatui::try_init()?;
    let outcome = screen.turn(&mut terminal, &orders, &answered, &is_over);
    let restored = ratatui::try_restore();
    outcome.and(restored)
}

/// Asks once in each interval, and whenever it is told to.
fn ask(
    mut asker: Asker,
    mut sort: Sort,
    interval: Duration,
    ordered: &Receiver<Order>,
    answers: &SyncSender<Answer>,
) {
    loop {
        match ordered.recv_timeout(interval) {
            Ok(Order::Sort(by)) => sort = by,
            Ok(Order::Now) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if answers.send(asker.ask(sort)).is_err() {
            return;
        }
    }
}

impl Screen {
    fn turn(
        &mut self,
        terminal: &mut DefaultTerminal,
        orders: &SyncSender<Order>,
        answered: &Receiver<Answer>,
        is_over: &AtomicBool,
    ) -> io::Result<()> {
        let mut is_new = true;
        while !is_over.load(Ordering::Relaxed) {
            match answered.try_recv() {
                Ok(answer) => {
                    self.take(answer);
                    is_new = true;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            if is_new {
                terminal.draw(|frame| self.picture().draw(frame))?;
            }
            is_new = event::poll(KEY_WAIT)?;
            if is_new {
                let key = match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => Some(key),
                    _ => None,
                };
                if key.is_some_and(|key| self.is_end(key, orders)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn picture(&self) -> Picture<'_> {
        Picture {
            view: &self.view,
            is_paused: self.is_paused,
            shows_help: self.shows_help,
            trouble: self.trouble.as_deref(),
            has_colors: self.has_colors,
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Ok(sample) => {
                self.trouble = None;
                if !self.is_paused {
                    self.view = View::of(&sample, &self.last, &self.place);
                }
                self.last = sample;
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Does what a key says; whether it says that this is the end.
    fn is_end(&mut self, key: KeyEvent, orders: &SyncSender<Order>) -> bool {
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        // Where so many orders wait, one of them does.
        match key.code {
            KeyCode::Char('c') if has_control => return true,
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                let _ = orders.try_send(Order::Sort(self.sort));
            }
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('r') => {
                let _ = orders.try_send(Order::Now);
            }
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            _ => {}
        }
        false
    }
}
