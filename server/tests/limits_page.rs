//! docs/limits.md tells the truth: each default is the code's, and each flag is the program's.

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::counterpart::root;
use support::server;

/// One row of the page.
#[derive(Debug)]
struct Row {
    limit: String,
    default: String,
    /// A file and a name in it, or nothing.
    place: String,
    flag: String,
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("docs/limits.md")).expect("the page");
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let rows = lines.filter(|line| !line.starts_with("| limit |"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{line}");
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        Row {
            limit: cells[0].to_owned(),
            default: cells[1].to_owned(),
            place: bare(cells[4]),
            flag: bare(cells[5]),
        }
    })
    .collect()
}

/// The options that `serve --help` shows: with `None` for those without a default.
fn options() -> BTreeMap<String, Option<String>> {
    let help = server::run(std::process::Command::new(server::PROGRAM).args(["serve", "--help"]));
    let mut options: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut last = None;
    let text = help.output.join("\n");
    let text = text.split("What clients find").next().expect("a beginning");
    for line in text.lines().map(str::trim) {
        if let Some(at) = line.starts_with('-').then(|| line.find("--")).flatten() {
            let name = line[at..].split(' ').next().expect("a name");
            options.insert(name.to_owned(), None);
            last = Some(name.to_owned());
        }
        let Some((_, rest)) = line.split_once("[default: ") else {
            continue;
        };
        let default = rest.split(']').next().expect("an end").to_owned();
        options.insert(last.clone().expect("an option before"), Some(default));
    }
    options
}

/// A size in bytes, a span in milliseconds or a plain number, as the page writes it.
fn parse(text: &str) -> Option<u64> {
    let text = text.replace(',', "");
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let scale = match &text[end..] {
        "" | "B" | "ms" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "s" => 1_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(number * scale)
}

/// What a constant expression of the code is: products, shifts and spans of time.
fn evaluate(expression: &str) -> Option<u64> {
    let expression = expression.trim();
    for (call, scale) in [
        ("from_millis(", 1),
        ("from_secs(", 1_000),
        ("from_hours(", 3_600_000),
    ] {
        if let Some((_, rest)) = expression.split_once(call) {
            return Some(evaluate(rest.strip_suffix(')')?)? * scale);
        }
    }
    if expression == "u16::MAX as usize" {
        return Some(u16::MAX.into());
    }
    if let Some((number, bits)) = expression.split_once("<<") {
        return Some(evaluate(number)? << evaluate(bits)?);
    }
    let factors = expression.split('*');
    factors
        .map(|factor| factor.trim().replace('_', "").parse::<u64>().ok())
        .product()
}

/// The expression that a constant or a field is given in a file.
fn value_in(source: &str, name: &str) -> Option<String> {
    source.lines().map(str::trim).find_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
        let line = line.strip_prefix("pub(super) ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix(&format!("const {name}: ")) {
            let (_, value) = rest.split_once(" = ")?;
            return Some(value.trim_end_matches(';').to_owned());
        }
        let value = line.strip_prefix(&format!("{name}: "))?.strip_suffix(',')?;
        evaluate(value).map(|_| value.to_owned())
    })
}

#[test]
fn each_default_is_the_one_in_the_code() {
    let mut held = 0;
    for Row {
        limit,
        default,
        place,
        ..
    } in rows()
    {
        if place.is_empty() {
            continue;
        }
        let (file, name) = place.split_once(": ").expect("a file and a name");
        let source =
            fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        // A bound that a function computes has a name, and no value to be read.
        if source.contains(&format!("fn {name}(")) {
            continue;
        }
        let value =
            value_in(&source, name).unwrap_or_else(|| panic!("{limit}: {file} has no {name}"));
        // An identifier's bits stand in a constant of their own.
        let value = match value.rsplit_once(' ') {
            Some((start, other)) if other.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
                format!("{start} {}", value_in(&source, other).expect("it is there"))
            }
            _ => value,
        };
        // "one largest message and 128KiB": the last word is the constant.
        let written = parse(default.rsplit(' ').next().expect("a word"));
        assert!(written.is_some(), "{limit}: {default} is no number");
        assert_eq!(
            written,
            evaluate(&value),
            "{limit}: {default}, and {value} in {file}"
        );
        held += 1;
    }
    assert!(held > 50, "the page is read: {held}");
}

#[test]
fn each_flag_is_an_option_with_that_default() {
    let options = options();
    let mut held = 0;
    for Row {
        limit,
        default,
        flag,
        ..
    } in rows()
    {
        if flag == "fixed" {
            continue;
        }
        let option = options
            .get(&flag)
            .unwrap_or_else(|| panic!("{limit}: no option {flag}"));
        assert_eq!(option.as_deref(), Some(default.as_str()), "{limit}: {flag}");
        held += 1;
    }
    assert!(held >= 9, "the page is read: {held}");
}

#[test]
fn each_option_that_is_a_limit_stands_on_the_page() {
    let no_limits = [
        "--listen",
        "--admin",
        "--admin-token-file",
        "--log-level",
        "--log-format",
        "--log-to",
        "--log-closes",
        "--io",
        "--host",
        "--compression",
        "--origin",
        "--allow",
        "--deny",
        "--denied",
        "--trusted-proxy",
        "--proxy-protocol",
        "--forwarded",
        "--share-port",
        "--user",
        "--group",
        "--landlock",
        "--seccomp",
        "--tls-listen",
        "--tls-only",
        "--tls-certificate",
        "--tls-key",
        "--tls-client-auth",
        "--tls-client-ca",
        "--tls-client-crl",
        "--tls-min-version",
        "--tls-key-log",
        "--config",
        "--test-config",
        "--help",
    ];
    let rows = rows();
    for (option, _) in options() {
        let named = rows.iter().any(|row| row.flag == option);
        assert!(
            named || no_limits.contains(&option.as_str()),
            "{option} is missing"
        );
    }
}

#[test]
fn values_are_read_and_evaluated() {
    assert_eq!(parse("64KiB"), Some(65_536));
    assert_eq!(parse("16,777,216"), Some(1 << 24));
    assert_eq!(parse("10s"), Some(10_000));
    assert_eq!(parse("none"), None);
    assert_eq!(evaluate("64 * 1024"), Some(65_536));
    assert_eq!(evaluate("1 << 30"), Some(1 << 30));
    assert_eq!(evaluate("Duration::from_secs(24 * 3600)"), Some(86_400_000));
    assert_eq!(evaluate("65_535"), Some(65_535));
    assert_eq!(evaluate("usize"), None);
}
