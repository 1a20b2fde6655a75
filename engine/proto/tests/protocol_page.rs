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

/// The tests of this crate, and those of the running program.
const FOLDERS: [&str; 2] = ["engine/proto/tests", "server/tests"];

fn test_source(file: &str) -> String {
    let paths = FOLDERS.map(|folder| root().join(format!("{folder}/{file}.rs")));
    let source = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    source.unwrap_or_else(|| panic!("there is no {file}.rs in {FOLDERS:?}"))
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
        let mut attributes = before.trim_end().lines().rev().map(str::trim);
        let is_ignored = |line: &&str| line.starts_with("#[ignore = ");
        let attribute = attributes.find(|line| !is_ignored(line));
        assert_eq!(attribute, Some("#[test]"), "{file}.rs::{name} is a test");
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

/// The names of the tests in a file.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let tests = source.split("#[test]\n").skip(1);
    tests.filter_map(|test| test.split_once("fn ")?.1.split('(').next())
}

#[test]
fn each_test_of_hostile_inputs_stands_on_the_page() {
    let page = page();
    let named = named_tests(&page);
    let mut count = 0;
    for entry in fs::read_dir(root().join("server/tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let hostile = |file: &&str| file.starts_with("hostile_");
        let Some(file) = name.strip_suffix(".rs").filter(hostile) else {
            continue;
        };
        for test in tests_in(&test_source(file)) {
            assert!(
                named.contains(&(file, test)),
                "{file}.rs::{test} is missing"
            );
            count += 1;
        }
    }
    assert!(count > 50, "the tests are read: {count}");
}

#[test]
fn a_test_that_is_ignored_stands_where_the_page_says_that_it_fails() {
    let page = page();
    let works = page.split("does not yet do what it should").next().unwrap();
    for (file, name) in named_tests(works) {
        let source = test_source(file);
        let (before, _) = source.split_once(&format!("fn {name}(")).unwrap();
        let last = before.trim_end().lines().next_back().unwrap();
        assert_eq!(last.trim(), "#[test]", "{file}.rs::{name} is ignored");
    }
}
