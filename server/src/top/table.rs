//! The view for a pipe, or for a look: plain text.

use std::fmt::Write;

use ratatui::text::Span;

use super::panel::{self, Panel};
use super::view::View;

/// So many rows of a panel are printed.
const ROWS_MAX: usize = 10;

/// The view as text, which ends with a line feed.
pub(super) fn of(view: &View) -> String {
    let mut text = String::new();
    let (first, parts) = panel::headlines(view);
    let _ = writeln!(text, "{first}\n{}", parts.join("  "));
    for panel in panel::all(view) {
        put(&mut text, &panel);
    }
    text
}

fn put(text: &mut String, panel: &Panel) {
    let _ = writeln!(text, "\n{}", panel.title);
    if panel.rows.is_empty() {
        let _ = writeln!(text, "  {}", panel.empty);
        return;
    }
    // All shards are shown, however many: they are few on any host.
    let count = if panel.title == "shards" {
        usize::MAX
    } else {
        ROWS_MAX
    };
    let rows = &panel.rows[..panel.rows.len().min(count)];
    let widths = widths(panel, rows.len());
    let heads = panel.columns.iter().map(|column| column.head);
    put_row(text, panel, &widths, heads);
    for row in rows {
        put_row(text, panel, &widths, row.cells.iter().map(String::as_str));
    }
    if panel.rows.len() > rows.len() {
        let _ = writeln!(text, "  and {} more", panel.rows.len() - rows.len());
    }
}

/// How wide each column is, in cells of a terminal.
pub(super) fn widths(panel: &Panel, count: usize) -> Vec<usize> {
    let columns = panel.columns.iter().enumerate();
    columns
        .map(|(index, column)| {
            let cells = panel
                .rows
                .iter()
                .take(count)
                .map(|row| width(&row.cells[index]));
            cells.max().unwrap_or_default().max(column.head.len())
        })
        .collect()
}

pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

fn put_row<'a>(
    text: &mut String,
    panel: &Panel,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) {
    let mut line = String::new();
    for ((cell, column), wanted) in cells.zip(panel.columns).zip(widths) {
        let space = " ".repeat(wanted - width(cell));
        line.push_str("  ");
        if column.is_number {
            line.push_str(&space);
            line.push_str(cell);
        } else {
            line.push_str(cell);
            line.push_str(&space);
        }
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{sample, view};
    use super::*;

    #[test]
    fn columns_line_up_and_long_lists_are_cut() {
        let mut now = sample(12.0, 300);
        now.topics = vec![now.topics[0].clone(); 14];
        now.topics[3].subscribers = 12_345;
        let text = of(&view(&now, &sample(10.0, 100)));
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text}"
        );
        assert!(text.contains("  and 4 more\n"), "{text}");
        let topics = text.split("topics, by").nth(1).unwrap();
        let ends: Vec<usize> = topics.lines().filter_map(|line| line.find("caf")).collect();
        assert_eq!(ends, [ends[0]; 10]);
        for line in ["  shard  core  busy  connections", "    all         50%"] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
