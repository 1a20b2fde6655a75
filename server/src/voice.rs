//! Says the news of a running server on a thread of its own, so that nobody who serves waits for
//! whoever reads stdout and stderr, or does not.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use crate::startup::{complain, say};

/// So many pieces of news may wait for a reader; further ones are not said.
const NEWS_MAX: usize = 64;

/// So long the end of the process waits for the last words to be read.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Speaks without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    news: SyncSender<News>,
}

/// One line of news.
#[derive(Debug)]
pub(crate) enum Line {
    /// For stdout.
    Said(String),
    /// For stderr.
    Complained(String),
}

#[derive(Debug)]
enum News {
    /// They are said together, or not at all.
    Lines(Vec<Line>),
    /// Everything before this has been said.
    Heard(SyncSender<()>),
}

impl Voice {
    /// Begins to speak.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start() -> io::Result<Self> {
        let (news, arriving) = sync_channel(NEWS_MAX);
        Builder::new()
            .name("tidegate-voice".to_owned())
            .spawn(move || speak(&arriving))?;
        Ok(Self { news })
    }

    /// Says a line on stdout.
    pub(crate) fn say(&self, line: &str) {
        self.tell(vec![Line::Said(line.to_owned())]);
    }

    /// Says these lines, one after another.
    pub(crate) fn tell(&self, lines: Vec<Line>) {
        // Where so much waits, nobody reads.
        let _ = self.news.try_send(News::Lines(lines));
    }

    /// Waits until all has been said, or nobody reads it.
    pub(crate) fn finish(&self) {
        let (heard, hearing) = sync_channel(1);
        if self.news.try_send(News::Heard(heard)).is_ok() {
            let _ = hearing.recv_timeout(LAST_WORDS_TIMEOUT);
        }
    }
}

fn speak(arriving: &Receiver<News>) {
    for news in arriving {
        match news {
            News::Lines(lines) => lines.iter().for_each(|line| match line {
                Line::Said(line) => say(line),
                Line::Complained(line) => complain(line),
            }),
            News::Heard(heard) => {
                // Whoever has waited for too long has gone.
                let _ = heard.try_send(());
            }
        }
    }
}
