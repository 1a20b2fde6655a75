//! docs/protocol.md names only tests and functions that exist, and every test that quotes the RFC.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/protocol.md")).expect("the page exists")
}

/// What stands between backquotes on one line; code blocks have none.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The tests that are named as `file.rs::function`.
fn named_tests(page: &str) -> Vec<(&str, &str)> {
    quoted(page)
        .filter_map(|text| text.split_once(".rs::"))
        .collect()
}

fn test_source(file: &str) -> String {
    let path = root().join(format!("engine/proto/tests/{file}.rs"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a file's name, or a row that holds it, belongs to the tests that quote an RFC.
fn holds_quotes(text: &str) -> bool {
    text.contains("rfc6455_") || text.contains("rfc7692_")
}

#[test]
fn each_named_test_exists() {
    let page = page();
    let named = named_tests(&page);
    assert!(named.len() > 90, "the table is read: {}", named.len());
    for (file, name) in named {
        let source = test_source(file);
        let (before, _) = source
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("{file}.rs has no {name}"));
        let attribute = before.trim_end().lines().next_back();
        assert_eq!(
            attribute.map(str::trim),
            Some("#[test]"),
            "{file}.rs::{name} is a test"
        );
    }
}

#[test]
fn each_named_function_exists() {
    let page = page();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && holds_quotes(line));
    let mut count = 0;
    for row in rows {
        let code = row.split('`').nth(1).unwrap();
        for place in code.split("; ") {
            let (file, names) = place.split_once(": ").unwrap();
            let path = root().join("engine/proto/src").join(file);
            let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
            for name in names.split(", ") {
                let function = name.rsplit("::").next().unwrap();
                let found = source.contains(&format!("fn {function}"));
                assert!(found, "{file} has no {name}");
                count += 1;
            }
        }
    }
    assert!(count > 90, "the table is read: {count}");
}

#[test]
fn each_test_that_quotes_the_rfc_stands_on_the_page() {
    let page = page();
    let named = named_tests(&page);
    let tests = root().join("engine/proto/tests");
    for entry in fs::read_dir(tests).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(file) = name.strip_suffix(".rs").filter(|file| holds_quotes(file)) else {
            continue;
        };
        let source = test_source(file);
        // "// RFC 6455, 5.1: ..." in one file, "// RFC 7692, 7.1: ..." in the other.
        let mark = format!("\n// RFC {}, ", &file[3..7]);
        for (quote, _) in source.match_indices(&mark) {
            let function = source[quote..].split("\nfn ").nth(1).unwrap();
            let function = function.split('(').next().unwrap();
            assert!(
                named.contains(&(file, function)),
                "{file}.rs::{function} is missing"
            );
        }
    }
}
