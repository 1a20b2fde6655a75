//! Tests that need something which this machine may lack.

use std::io::Write;

/// Says that a test is skipped, past the test runner, which hides the output of what passes.
///
/// Panics instead where everything must be there (`TIDEGATE_REQUIRE_COUNTERPARTS=1`).
pub(crate) fn skipped(test: &str, why: &str) {
    let required = std::env::var_os("TIDEGATE_REQUIRE_COUNTERPARTS").is_some_and(|v| v == "1");
    assert!(!required, "{test} may not be skipped here: {why}");
    note(&format!("skipped: {test}: {why}"));
}

/// Prints a line past the test runner.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
