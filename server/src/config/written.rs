//! The schema written out: as a file to begin with, and as docs/configuration.md.

use std::fmt::Write;

use crate::config::schema::{
    DEFAULT_ENDPOINTS, Default, ENDPOINT_ABOUT, ENDPOINT_KEYS, KEYS, Key, SECTIONS,
};
use crate::config::value::{AUTO, Kind, Value};

/// How wide a comment gets.
const WIDTH: usize = 90;

/// A file with every key at its default.
pub(crate) fn file() -> String {
    let mut text = String::from(
        "# The configuration of Tidegate, with every key at its default.\n\
         # What is left out stays at its default. Flags and TIDEGATE__SECTION__KEY go before it.\n\
         # `tidegate check-config -c FILE` checks it; SIGHUP reloads what is not marked (restart).\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {about}.\n[{section}]\n");
        for key in keys_of(section) {
            comment(&mut text, key);
            let _ = writeln!(text, "{} = {}", key.split().1, default_as_toml(key));
        }
    }
    let _ = write!(
        text,
        "\n# {ENDPOINT_ABOUT}. These are there if no file has any [[endpoint]].\n"
    );
    for key in ENDPOINT_KEYS {
        let mut about = format!("{}: {}", key.name, key.about);
        if let Default::Inherit(other) = key.default {
            let _ = write!(about, " (default: as {other})");
        }
        wrap(&mut text, &about);
    }
    for (path, kind) in DEFAULT_ENDPOINTS {
        let _ = write!(
            text,
            "[[endpoint]]\npath = \"{path}\"\nkind = \"{kind}\"\n\n"
        );
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// The reference.
pub(crate) fn reference() -> String {
    let mut text = String::from(REFERENCE_START);
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n## [{section}]\n\n{about}.\n\n{TABLE_START}");
        for key in keys_of(section) {
            let (flag, variable) = (flag_of(key), format!("`{}`", key.variable()));
            row(&mut text, key, &[&flag, &variable]);
        }
    }
    let _ = write!(
        text,
        "\n## [[endpoint]]\n\n{ENDPOINT_ABOUT}, once for each; a reload takes all of it.\n\n\
         {ENDPOINT_TABLE_START}"
    );
    for key in ENDPOINT_KEYS {
        row(&mut text, key, &[]);
    }
    text.push_str(REFERENCE_END);
    text
}

const REFERENCE_START: &str = "\
# Configuration

Written by `tidegate gen-config --reference` from [schema.rs](../server/src/config/schema.rs); a test holds this page
equal. [operations.md](operations.md#configuration) says how files are found, checked and reloaded.

A value is taken from a flag, else from the environment, else from the file, else it is the default. In a file, sizes
(`\"64KiB\"`, or bytes as a number), times (`\"30s\"`, `\"500ms\"`, `\"2m\"`, `\"1h\"`), addresses and words are text in
quotes. In the environment and in flags they stand without quotes; lists have commas in the environment.
";

const TABLE_START: &str = "\
| key | value | default | what it is | reload | flag | environment |
|---|---|---|---|---|---|---|
";

const ENDPOINT_TABLE_START: &str = "\
| key | value | default | what it is | reload |
|---|---|---|---|---|
";

const REFERENCE_END: &str = "
Without any `[[endpoint]]` there are `/echo` (echo), `/ws/{topic}` (topic) and `/feed/{topic}` (feed). A `{topic}` is 1 to
128 bytes of UTF-8 without a slash and without control characters, percent-encoded in the path; `@` before the topic of a
feed asks for the number of those who are there. Paths are compared byte by byte as they were sent. Two endpoints with the
same path are refused, and so is `/` while there is a page.

A path is only a way to a topic: all endpoints share one set of topics, and what is said at `/chat/lobby` is heard at
`/feed/lobby`. Where one endpoint of topics is open to web pages to which another is not, a line on stderr says so.
";

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.split().0 == section)
}

fn comment(text: &mut String, key: &Key) {
    let mut about = key.about.to_owned();
    if let Kind::Choice { words, .. } = key.kind {
        let _ = write!(about, " ({})", words.join(", "));
    }
    if let Default::Auto(meaning) = key.default {
        let _ = write!(about, " ({AUTO}: {meaning})");
    }
    if !key.reloads {
        about.push_str(" (restart)");
    }
    wrap(text, &about);
}

/// Adds a comment in lines of at most [`WIDTH`].
fn wrap(text: &mut String, about: &str) {
    let mut line = String::from("#");
    for word in about.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#  ");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

fn default_as_toml(key: &Key) -> String {
    match (key.default, key.kind) {
        (
            Default::Text(text),
            Kind::Size { .. }
            | Kind::SizeOrNone { .. }
            | Kind::Span { .. }
            | Kind::SpanOrNone { .. },
        ) => format!("\"{text}\""),
        (Default::Auto(_), _) => Value::Auto.toml(),
        _ => key.default_value().toml(),
    }
}

fn row(text: &mut String, key: &Key, further: &[&str]) {
    let default = match key.default {
        Default::Auto(meaning) => format!("`\"{AUTO}\"`: {meaning}"),
        Default::Inherit(other) => format!("as `{other}`"),
        Default::Required => "none: it must be written".to_owned(),
        Default::Text(_) => format!("`{}`", default_as_toml(key)),
    };
    let reload = if key.reloads { "yes" } else { "restart" };
    let name = format!("`{}`", key.split().1);
    let kind = key.kind.describe();
    let mut cells = vec![name.as_str(), &kind, &default, key.about, reload];
    cells.extend(further);
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn flag_of(key: &Key) -> String {
    match (key.flag, key.short) {
        (Some(flag), Some(short)) => format!("`-{short}`, `--{flag}`"),
        (Some(flag), None) => format!("`--{flag}`"),
        (None, _) => String::new(),
    }
}
