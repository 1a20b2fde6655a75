//! The panels of the view as rows of text, whoever puts them on a screen or into a pipe.

use super::numbers::{byte_rate, bytes, count, long_span, percent, short_span, whole};
use super::sample::Ended;
use super::view::{Count, Load, View};

/// A table with a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
    /// What is said where there are no rows.
    pub(super) empty: &'static str,
}

/// A column: its head, and where its text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) is_number: bool,
}

/// A row, and whether somebody should look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) mood: Mood,
}

/// How a row is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Usual,
    /// The sum of the others.
    Sum,
    /// Something to look at.
    Odd,
}

/// A shard that is busier than that has little left for a storm.
const BUSY_RATIO: f64 = 0.8;

const fn text(head: &'static str) -> Column {
    let is_number = false;
    Column { head, is_number }
}

const fn number(head: &'static str) -> Column {
    let is_number = true;
    Column { head, is_number }
}

/// The server in a line, and its numbers, the most important first.
pub(super) fn headlines(view: &View) -> (String, Vec<String>) {
    let server = &view.server;
    let total = &view.total;
    let config = if server.config_last_reload_successful {
        ""
    } else {
        "  LAST RELOAD FAILED"
    };
    let first = format!(
        "tidegate {}  {}  up {}  {}  {}{config}",
        plain(&server.version),
        plain(&server.phase),
        long_span(server.uptime_seconds),
        server.admin,
        server
            .config_file
            .as_deref()
            .map_or("no file".to_owned(), plain),
    );
    let mut parts = vec![
        format!("{} connections", whole(total.connections)),
        format!("{} in/s", count(total.messages_in_per_second)),
        format!("{} out/s", count(total.messages_out_per_second)),
    ];
    if let Some(cores) = server.cpu_cores {
        parts.push(format!("{cores:.2} cores"));
    }
    if let Some(resident) = server.resident_bytes {
        parts.push(bytes(resident));
    }
    if let Some(open) = server.open_files {
        let max = server.max_files.map_or("no limit".to_owned(), whole);
        parts.push(format!("{} of {max} files", whole(open)));
    }
    if let (Some(p50), Some(p99)) = (server.round_trip_p50_seconds, server.round_trip_p99_seconds) {
        parts.push(format!(
            "rtt up to {} / {}",
            short_span(p50),
            short_span(p99)
        ));
    }
    (first, parts)
}

/// All panels, the most important first.
pub(super) fn all(view: &View) -> [Panel; 6] {
    [
        shards(view),
        slow(view),
        hot(view),
        reasons(view),
        topics(view),
        ends(view),
    ]
}

fn shards(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[
        number("shard"),
        number("core"),
        number("busy"),
        number("connections"),
        number("behind"),
        number("in/s"),
        number("out/s"),
        number("B in/s"),
        number("B out/s"),
        number("opens/s"),
        number("mail/s"),
        number("topics"),
    ];
    let row = |load: &Load, mood| {
        let name = load
            .shard
            .map_or("all".to_owned(), |shard| shard.to_string());
        let cells = vec![
            name,
            load.core.map_or(String::new(), |core| core.to_string()),
            percent(load.busy_ratio),
            whole(load.connections),
            whole(load.behind),
            count(load.messages_in_per_second),
            count(load.messages_out_per_second),
            byte_rate(load.bytes_in_per_second),
            byte_rate(load.bytes_out_per_second),
            count(load.opens_per_second),
            count(load.mail_per_second),
            whole(load.topics),
        ];
        Row { cells, mood }
    };
    let mut rows: Vec<Row> = (view.shards.iter())
        .map(|load| {
            let is_busy = load.busy_ratio.is_some_and(|busy| busy > BUSY_RATIO);
            row(load, if is_busy { Mood::Odd } else { Mood::Usual })
        })
        .collect();
    if view.shards.len() > 1 {
        rows.insert(0, row(&view.total, Mood::Sum));
    }
    Panel {
        title: "shards".to_owned(),
        columns: COLUMNS,
        rows,
        empty: "none",
    }
}

fn topics(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[number("heard by"), text("topic")];
    let row = |topic: &super::sample::Topic| Row {
        cells: vec![whole(topic.subscribers), plain(&topic.name)],
        mood: Mood::Usual,
    };
    Panel {
        title: "topics, by those who hear them".to_owned(),
        columns: COLUMNS,
        rows: view.topics.iter().map(row).collect(),
        empty: "nobody hears anything",
    }
}

fn slow(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[
        number("outbox"),
        number("dropped"),
        number("rtt"),
        number("age"),
        number("quiet"),
        text("from"),
        text("endpoint"),
        text("id"),
    ];
    let row = |one: &super::sample::Connection| Row {
        cells: vec![
            bytes(one.outbox_bytes),
            whole(one.dropped_messages),
            one.round_trip_seconds.map_or("-".to_owned(), short_span),
            long_span(one.age_seconds),
            long_span(one.quiet_seconds),
            plain(&one.peer),
            plain(&one.endpoint),
            plain(&one.id),
        ],
        mood: if one.outbox_bytes > 0 {
            Mood::Odd
        } else {
            Mood::Usual
        },
    };
    let by = view.sort.name();
    Panel {
        title: format!("slow connections, by {by}"),
        columns: COLUMNS,
        rows: view.slow.iter().map(row).collect(),
        empty: "none",
    }
}

fn hot(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[
        number("msg/s"),
        number("B in"),
        number("B out"),
        number("age"),
        text("from"),
        text("endpoint"),
        text("id"),
    ];
    let size = |size: Option<u64>| size.map_or("-".to_owned(), bytes);
    let row = |one: &super::sample::Connection| Row {
        cells: vec![
            count(one.messages_per_second),
            size(one.bytes_received),
            size(one.bytes_acknowledged),
            long_span(one.age_seconds),
            plain(&one.peer),
            plain(&one.endpoint),
            plain(&one.id),
        ],
        mood: Mood::Usual,
    };
    Panel {
        title: "hot connections, by messages".to_owned(),
        columns: COLUMNS,
        rows: view.hot.iter().map(row).collect(),
        empty: "nobody says anything",
    }
}

fn reasons(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[number("total"), number("/s"), text("what"), text("why")];
    let row = |what: &str, count: &Count| Row {
        cells: vec![
            whole(count.total),
            super::numbers::count(count.per_second),
            what.to_owned(),
            plain(&count.name),
        ],
        mood: if count.per_second > 0.0 && what != "closed" {
            Mood::Odd
        } else {
            Mood::Usual
        },
    };
    let closes = view.closes.iter().map(|count| row("closed", count));
    let refusals = view.refusals.iter().map(|count| row("refused", count));
    let dropped = view.dropped.iter().map(|count| row("dropped", count));
    Panel {
        title: "why: ends, refusals, drops".to_owned(),
        columns: COLUMNS,
        rows: closes.chain(refusals).chain(dropped).collect(),
        empty: "nothing has ended yet",
    }
}

fn ends(view: &View) -> Panel {
    const COLUMNS: &[Column] = &[
        number("ago"),
        text("reason"),
        text("by"),
        text("in"),
        number("code"),
        number("age"),
        text("from"),
        text("id"),
    ];
    let row = |one: &Ended| Row {
        cells: vec![
            long_span(one.seconds_ago),
            plain(&one.reason),
            plain(&one.side),
            plain(&one.phase),
            one.code.map_or(String::new(), |code| code.to_string()),
            long_span(one.age_seconds),
            plain(&one.peer),
            plain(&one.id),
        ],
        mood: Mood::Usual,
    };
    Panel {
        title: "last ends".to_owned(),
        columns: COLUMNS,
        rows: view.last_ends.iter().map(row).collect(),
        empty: "none yet",
    }
}

/// What comes from a server, or from its clients, must not steer this terminal.
fn plain(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if is_odd(c) { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{sample, view};
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_each_column_and_nothing_odd() {
        let view = view(&sample(12.0, 300), &sample(10.0, 100));
        for panel in all(&view) {
            assert!(!panel.rows.is_empty(), "{}", panel.title);
            for row in &panel.rows {
                assert_eq!(row.cells.len(), panel.columns.len(), "{}", panel.title);
                let odd = row.cells.iter().any(|cell| cell.contains(char::is_control));
                assert!(!odd, "{row:?}");
            }
        }
        let (first, parts) = headlines(&view);
        assert_eq!(
            first,
            "tidegate 0.1.0  ready  up 12s  127.0.0.1:9090  no file"
        );
        assert_eq!(
            parts.join("  "),
            "14 connections  200 in/s  400 out/s  0.50 cores  1 MiB  30 of no limit files  \
             rtt up to 1 ms / 1 ms"
        );
    }

    #[test]
    fn what_somebody_should_look_at_is_marked() {
        let mut view = view(&sample(12.0, 300), &sample(10.0, 100));
        view.shards[1].busy_ratio = Some(0.93);
        let panel = shards(&view);
        let moods: Vec<Mood> = panel.rows.iter().map(|row| row.mood).collect();
        assert_eq!(moods, [Mood::Sum, Mood::Usual, Mood::Odd]);
        assert_eq!(panel.rows[2].cells[2], "93%");
        assert_eq!(slow(&view).rows[0].mood, Mood::Odd);
    }
}
