//! The view on a screen of any size: what does not fit is left out, the least important first.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row as TableRow, Table};

use super::panel::{self, Mood, Panel};
use super::table::{width, widths};
use super::view::View;

/// A panel with fewer lines, its frame and its head among them, shows nothing.
const PANEL_HEIGHT_MIN: u16 = 4;

/// Two panels stand side by side where each of them has so much room.
const HALF_WIDTH_MIN: u16 = 64;

/// Between two columns.
const COLUMN_SPACING: u16 = 2;

const KEYS: &str = " q quit  s sort  p pause  r refresh now  ? help ";

const HELP: &str = " q, Esc, Ctrl-C   end
 s                rank slow connections by outbox, dropped, round trip
 p, Space         stop the picture, and go on
 r                ask now
 ?                this, and away with it

 msg/s   messages both ways since the look before
 busy    share of its core that a shard works; over 80% is marked
 behind  connections for which something waits, since they do not read
 rtt     how long answers to pings take: the last one of a connection;
         above, the ends of the steps in which half and 99% of all lie
 mail    letters to other shards
 Messages of a topic are not counted, so topics go by those who hear them.";

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) view: &'a View,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Why there is no answer, if there is none.
    pub(super) trouble: Option<&'a str>,
    pub(super) has_colors: bool,
}

impl Picture<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_head(frame, head);
        self.draw_body(frame, body);
        let keys = Paragraph::new(KEYS).style(self.style(Color::DarkGray));
        frame.render_widget(keys, foot);
        if self.shows_help {
            self.draw_help(frame);
        }
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let (first, parts) = panel::headlines(self.view);
        let second = fitting(&parts, usize::from(area.width));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let (name, rest) = first.split_at(first.find("  ").unwrap_or(first.len()));
        let state = match (self.trouble, self.is_paused) {
            (Some(trouble), _) => Span::styled(
                format!("no answer, trying again: {trouble}"),
                self.style(Color::Red).add_modifier(Modifier::BOLD),
            ),
            (None, true) => Span::styled(
                "paused",
                self.style(Color::Yellow).add_modifier(Modifier::BOLD),
            ),
            (None, false) => Span::raw(""),
        };
        let lines = Text::from(vec![
            Line::from(vec![
                Span::styled(name, bold.patch(self.style(Color::Cyan))),
                Span::raw(rest),
            ]),
            Line::styled(second, bold),
            Line::from(state),
        ]);
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_body(&self, frame: &mut Frame<'_>, area: Rect) {
        let [shards, slow, hot, reasons, topics, ends] = panel::all(self.view);
        let mut rest = area;
        // The shards take what they need, but leave half to the others.
        let wanted = u16::try_from(shards.rows.len())
            .unwrap_or(u16::MAX)
            .saturating_add(3);
        self.put(
            frame,
            &mut rest,
            &shards,
            wanted.min((area.height / 2).max(PANEL_HEIGHT_MIN)),
        );
        let is_wide = area.width >= 2 * HALF_WIDTH_MIN;
        if is_wide {
            // Three rows of panels, the last of which takes what the others leave.
            for (left, right, rows_left) in [(&slow, &topics, 3), (&hot, &reasons, 2)] {
                let rows = left.rows.len().max(right.rows.len()).max(2);
                let needed = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(4);
                let height = needed.min(rest.height / rows_left);
                let mut row = take(&mut rest, height);
                self.put_beside(frame, &mut row, left, right);
            }
            let height = rest.height;
            self.put(frame, &mut rest, &ends, height);
            return;
        }
        let mut left = 5;
        for panel in [&slow, &hot, &reasons, &topics, &ends] {
            let fitting = rest.height / PANEL_HEIGHT_MIN;
            let share = rest.height / fitting.clamp(1, left);
            let needed = u16::try_from(panel.rows.len().max(1))
                .unwrap_or(u16::MAX)
                .saturating_add(3);
            self.put(frame, &mut rest, panel, share.min(needed));
            left = (left - 1).max(1);
        }
    }

    fn put_beside(&self, frame: &mut Frame<'_>, area: &mut Rect, left: &Panel, right: &Panel) {
        let [mut one, mut other] =
            Layout::horizontal([Constraint::Percentage(58), Constraint::Min(0)]).areas(*area);
        let height = area.height;
        self.put(frame, &mut one, left, height);
        self.put(frame, &mut other, right, height);
    }

    /// Draws a panel at the top of what is left.
    fn put(&self, frame: &mut Frame<'_>, rest: &mut Rect, panel: &Panel, height: u16) {
        if height < PANEL_HEIGHT_MIN || rest.height < height {
            return;
        }
        let area = take(rest, height);
        let shown = usize::from(height - 3).min(panel.rows.len());
        let hidden = panel.rows.len() - shown;
        let mut block = Block::new()
            .borders(Borders::TOP)
            .border_style(self.style(Color::DarkGray))
            .title(Span::styled(
                format!(" {} ", panel.title),
                Style::new().add_modifier(Modifier::BOLD),
            ));
        if hidden > 0 {
            let more = Line::from(format!(" and {hidden} more ")).alignment(Alignment::Right);
            block = block.title(more);
        }
        if panel.rows.is_empty() {
            let nothing =
                Paragraph::new(format!("  {}", panel.empty)).style(self.style(Color::DarkGray));
            frame.render_widget(nothing.block(block), area);
            return;
        }
        let widths = widths_fitting(panel, shown, usize::from(area.width));
        let columns = &panel.columns[..widths.len()];
        let constraints = widths
            .iter()
            .map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
        let cell = |(text, column): (&str, &panel::Column)| {
            let side = if column.is_number {
                Alignment::Right
            } else {
                Alignment::Left
            };
            Cell::from(Text::from(text.to_owned()).alignment(side))
        };
        let heads = columns.iter().map(|column| cell((column.head, column)));
        let rows = panel.rows[..shown].iter().map(|row| {
            let cells = row.cells.iter().map(String::as_str).zip(columns);
            TableRow::new(cells.map(cell)).style(self.mood(row.mood))
        });
        let table = Table::new(rows, constraints)
            .column_spacing(COLUMN_SPACING)
            .header(
                TableRow::new(heads).style(
                    self.style(Color::DarkGray)
                        .add_modifier(Modifier::UNDERLINED),
                ),
            )
            .block(block);
        frame.render_widget(table, area);
    }

    fn draw_help(&self, frame: &mut Frame<'_>) {
        let all = frame.area();
        let width = 76.min(all.width);
        let height = u16::try_from(HELP.lines().count())
            .unwrap_or(0)
            .saturating_add(2)
            .min(all.height);
        let area = Rect {
            x: all.x + (all.width - width) / 2,
            y: all.y + (all.height - height) / 2,
            width,
            height,
        };
        let block = Block::bordered()
            .title(" help ")
            .border_style(self.style(Color::Cyan));
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(HELP).block(block), area);
    }

    fn mood(&self, mood: Mood) -> Style {
        match mood {
            Mood::Usual => Style::new(),
            Mood::Sum => Style::new().add_modifier(Modifier::BOLD),
            Mood::Odd => self.style(Color::Yellow).add_modifier(Modifier::BOLD),
        }
    }

    /// In this color, where there are any.
    fn style(&self, color: Color) -> Style {
        if self.has_colors {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }
}

/// As many of these as stand in a line of this width.
fn fitting(parts: &[String], room: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "  " };
        if width(&line) + gap.len() + width(part) > room {
            break;
        }
        line.push_str(gap);
        line.push_str(part);
    }
    line
}

/// How wide each column is that has room. The last one is mostly a text, whose end may be missing.
fn widths_fitting(panel: &Panel, count: usize, room: usize) -> Vec<usize> {
    const TEXT_MIN: usize = 8;
    let mut widths = widths(panel, count);
    let mut least = widths.clone();
    if let (Some(last), Some(column)) = (least.last_mut(), panel.columns.last())
        && !column.is_number
    {
        *last = TEXT_MIN.min(*last);
    }
    widths.truncate(columns_fitting(&least, room));
    widths
}

/// How many columns stand side by side in this width, at least one.
fn columns_fitting(widths: &[usize], room: usize) -> usize {
    let mut used = 0;
    let fits = widths.iter().take_while(|width| {
        used += *width + usize::from(COLUMN_SPACING);
        used <= room + usize::from(COLUMN_SPACING)
    });
    fits.count().max(1)
}

/// Cuts the upper part off.
fn take(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let upper = Rect { height, ..*rest };
    rest.y += height;
    rest.height -= height;
    upper
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::tests::{sample, view};
    use super::*;

    fn screen(width: u16, height: u16, picture: &Picture<'_>) -> TestBackend {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| picture.draw(frame)).unwrap();
        terminal.backend().clone()
    }

    #[test]
    fn no_screen_is_too_small_or_too_large() {
        let mut now = sample(12.0, 300);
        now.status.shards = vec![now.status.shards[0].clone(); 256];
        let crowded = view(&now, &sample(10.0, 100));
        let usual = view(&sample(12.0, 300), &sample(10.0, 100));
        for view in [&crowded, &usual] {
            let widths = [0, 1, 2, 7, 20, 40, 63, 80, 127, 128, 300];
            let heights = [0, 1, 3, 4, 5, 7, 8, 12, 24, 60];
            for (width, height) in widths.into_iter().flat_map(|w| heights.map(|h| (w, h))) {
                for shows_help in [false, true] {
                    let picture = Picture {
                        view,
                        is_paused: true,
                        shows_help,
                        trouble: Some("connection refused"),
                        has_colors: width % 2 == 0,
                    };
                    screen(width, height, &picture);
                }
            }
        }
    }

    #[test]
    fn a_column_that_does_not_fit_is_left_out_as_a_whole() {
        assert_eq!(columns_fitting(&[5, 5, 5], 19), 3);
        assert_eq!(columns_fitting(&[5, 5, 5], 18), 2);
        assert_eq!(columns_fitting(&[5, 5, 5], 3), 1);
        let parts = ["12345".to_owned(), "67890".to_owned()];
        assert_eq!(fitting(&parts, 12), "12345  67890");
        assert_eq!(fitting(&parts, 11), "12345");
        assert_eq!(fitting(&parts, 4), "");
    }

    #[test]
    fn a_usual_screen_shows_everything() {
        let view = view(&sample(12.0, 300), &sample(10.0, 100));
        let picture = Picture {
            view: &view,
            is_paused: false,
            shows_help: false,
            trouble: None,
            has_colors: false,
        };
        for (width, height) in [(80, 40), (160, 40)] {
            let shown = screen(width, height, &picture).to_string();
            for part in [
                "tidegate 0.1.0",
                "shards",
                "busy",
                "slow connections, by outbox",
                "hot connections, by messages",
                "last ends",
                "topics, by",
                "why: ends",
                "q quit",
            ] {
                assert!(
                    shown.contains(part),
                    "{width}x{height}: no {part} in\n{shown}"
                );
            }
        }
    }
}
