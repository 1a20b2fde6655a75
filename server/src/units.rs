//! Sizes and spans of time as people write them: `64KiB`, `10s`.
//!
//! Only units with one meaning are taken: `64KB` may mean 64,000 or 65,536, and `10` may mean
//! seconds or milliseconds, so both are refused with the right way to write them.

use std::time::Duration;

/// The units of a size, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// The units of a span of time in milliseconds, the largest first.
const SPANS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a size such as `64KiB`, `1MiB` or `65536`, in bytes.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let advice = || "write a size such as 64KiB, 1MiB or 65536 (bytes)".to_owned();
    let (number, unit) = split(text).ok_or_else(advice)?;
    let scale = match unit {
        "" => 1,
        unit => scale_of(&SIZES, unit).ok_or_else(advice)?,
    };
    let size = number
        .checked_mul(scale)
        .ok_or("that is too large a number")?;
    usize::try_from(size).map_err(|_| "that is too large a number".to_owned())
}

/// Reads a span of time such as `10s`, `500ms`, `2m` or `1h`.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let advice = || "write a span of time such as 10s, 500ms, 2m or 1h".to_owned();
    let (number, unit) = split(text).ok_or_else(advice)?;
    let scale = scale_of(&SPANS, unit).ok_or_else(advice)?;
    let span = number
        .checked_mul(scale)
        .ok_or("that is too large a number")?;
    Ok(Duration::from_millis(span))
}

/// Writes a size so that [`parse_size`] reads the same back.
pub(crate) fn show_size(size: usize) -> String {
    show(&SIZES, size as u64, "B")
}

/// Writes a span of time so that [`parse_span`] reads the same back, to the millisecond.
pub(crate) fn show_span(span: Duration) -> String {
    show(
        &SPANS,
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        "s",
    )
}

/// `64KiB` becomes 64 and `KiB`. `None` without a number, or with one beyond 64 bits.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

fn scale_of(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, scale)| *scale)
}

/// The number in the largest unit that divides it.
fn show(units: &[(&str, u64)], number: u64, unit_of_zero: &str) -> String {
    let fits = |scale: u64| number != 0 && number.is_multiple_of(scale);
    match units.iter().find(|(_, scale)| fits(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => format!("0{unit_of_zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size("17B"), Ok(17));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1mib"), Ok(1 << 20));
        assert_eq!(parse_size("3GiB"), Ok(3 << 30));
    }

    #[test]
    fn sizes_with_two_meanings_or_none_are_refused() {
        for text in [
            "", "KiB", "64KB", "64k", "64 KiB", "-1", "1.5MiB", "0x10", "64KiBB", "٣",
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains("64KiB"), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert!(parse_size("18446744073709551616").is_err());
        assert!(parse_size("18446744073709551615GiB").is_err());
        assert!(parse_span("18446744073709551615h").is_err());
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(parse_span("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_span("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_span("1H"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_span("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn spans_without_a_unit_are_refused() {
        for text in ["", "10", "s", "10 s", "1.5s", "-1s", "10sec", "1m30s"] {
            let error = parse_span(text).unwrap_err();
            assert!(error.contains("10s"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for size in [0, 1, 1000, 1024, 65_536, 65_537, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&show_size(size)), Ok(size));
        }
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse_span(&show_span(span)), Ok(span));
        }
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_span(Duration::from_secs(10)), "10s");
        assert_eq!(show_span(Duration::from_millis(1500)), "1500ms");
    }
}
