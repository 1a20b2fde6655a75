//! How an event is written: one line, whatever is in it.

use std::fmt::Write;

use tracing::Level;

use super::record::{Field, Record};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// An object of JSON in each line.
    Json,
}

/// The message as the one who looks on reads it, without the hour: `closed: reset (conn_id=...)`.
pub(super) fn plain(record: &Record) -> String {
    let mut line = escape(&record.message);
    if record.fields.is_empty() {
        return line;
    }
    line.push_str(" (");
    for (index, (name, field)) in record.fields.iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        put_field(&mut line, name, field);
    }
    line.push(')');
    line
}

/// `2026-11-28T18:30:00.123Z INFO  close: closed: reset conn_id=...`
pub(super) fn human(record: &Record) -> String {
    let mut line = format!(
        "{} {:<5} {}: {}",
        humantime::format_rfc3339_millis(record.at),
        record.level,
        escape(record.target),
        escape(&record.message)
    );
    for (name, field) in &record.fields {
        line.push(' ');
        put_field(&mut line, name, field);
    }
    line
}

/// `{"ts":"...","level":"info","target":"close","msg":"...","conn_id":"..."}`
pub(super) fn json(record: &Record) -> String {
    let mut line = format!(
        "{{\"ts\":\"{}\",\"level\":\"{}\",\"target\":{},\"msg\":{}",
        humantime::format_rfc3339_millis(record.at),
        level_name(record.level),
        quote_json(record.target),
        quote_json(&record.message)
    );
    for (name, field) in &record.fields {
        let _ = write!(line, ",{}:", quote_json(name));
        match field {
            Field::Text(text) => line.push_str(&quote_json(text)),
            Field::Float(number) if !number.is_finite() => line.push_str("null"),
            _ => put_number(&mut line, field),
        }
    }
    line.push('}');
    line
}

/// `info`
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What a field says, without quotes.
pub(super) fn value(field: &Field) -> String {
    match field {
        Field::Text(text) => text.clone(),
        _ => {
            let mut text = String::new();
            put_number(&mut text, field);
            text
        }
    }
}

fn put_field(line: &mut String, name: &str, field: &Field) {
    let _ = write!(line, "{}=", escape(name));
    match field {
        Field::Text(text) => {
            let escaped = escape(text);
            let is_word = |c: char| c.is_alphanumeric() || "-_./:@[]+*".contains(c);
            if escaped.is_empty() || !escaped.chars().all(is_word) {
                let _ = write!(line, "\"{}\"", escaped.replace('"', "\\\""));
            } else {
                line.push_str(&escaped);
            }
        }
        _ => put_number(line, field),
    }
}

fn put_number(line: &mut String, field: &Field) {
    let _ = match field {
        Field::Text(_) => Ok(()),
        Field::Unsigned(number) => write!(line, "{number}"),
        Field::Signed(number) => write!(line, "{number}"),
        // With a point in it, always, so that readers see one type.
        Field::Float(number) => write!(line, "{number:?}"),
        Field::Flag(is_so) => write!(line, "{is_so}"),
    };
}

/// What would break a line, steer a terminal, or turn the order of the letters around.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The text in one line, with backslashes doubled so that nothing looks escaped that is not.
fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\\' => line.push_str("\\\\"),
            c if is_odd(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

fn quote_json(text: &str) -> String {
    // No string of characters is refused.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    // JSON allows what a terminal would obey.
    let mut line = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if is_odd(c) {
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn record(message: &str) -> Record {
        let mut record = Record::new(Level::WARN, "close", message);
        record.at = UNIX_EPOCH + Duration::from_millis(1_795_890_600_123);
        record
    }

    #[test]
    fn a_line_is_for_people_or_for_programs() {
        let record = record("closed: slow consumer")
            .with("conn_id", "0000000000000001")
            .with("remote_addr", "[::1]:4711")
            .with("size_b", 17_u64)
            .with("duration_s", 1.5)
            .with("error", "it is \"full\"");
        assert_eq!(
            human(&record),
            "2026-11-28T18:30:00.123Z WARN  close: closed: slow consumer conn_id=0000000000000001 \
             remote_addr=[::1]:4711 size_b=17 duration_s=1.5 error=\"it is \\\"full\\\"\""
        );
        assert_eq!(
            json(&record),
            "{\"ts\":\"2026-11-28T18:30:00.123Z\",\"level\":\"warn\",\"target\":\"close\",\
             \"msg\":\"closed: slow consumer\",\"conn_id\":\"0000000000000001\",\
             \"remote_addr\":\"[::1]:4711\",\"size_b\":17,\"duration_s\":1.5,\
             \"error\":\"it is \\\"full\\\"\"}"
        );
        assert_eq!(plain(&Record::new(Level::INFO, "server", "ready")), "ready");
        assert!(plain(&record).starts_with("closed: slow consumer (conn_id=0000000000000001 "));
    }

    #[test]
    fn nothing_that_is_written_breaks_a_line_or_steers_a_terminal() {
        let odd = "a\nb\r\tc\u{1b}[31m\u{9b}1m\u{7f}\u{2028}\u{202e}d\\n\"\u{0}";
        let record = record(odd).with("channel", odd).with("error", "");
        for line in [plain(&record), human(&record), json(&record)] {
            assert!(!line.chars().any(is_odd), "{line:?}");
        }
        let back: serde_json::Value = serde_json::from_str(&json(&record)).unwrap();
        assert_eq!((&back["msg"], &back["channel"]), (&odd.into(), &odd.into()));
        assert_eq!(back["error"], "");
        // What was escaped can be told from what looked so.
        assert!(
            plain(&record).contains("a\\nb\\r\\tc\\u{1b}[31m\\u{9b}1m"),
            "{}",
            plain(&record)
        );
        assert!(plain(&record).contains("d\\\\n"), "{}", plain(&record));
    }

    #[test]
    fn a_number_that_is_none_is_null_for_programs() {
        let line = json(&record("a").with("duration_s", f64::NAN));
        assert!(line.ends_with("\"duration_s\":null}"), "{line}");
    }
}
