//! Numbers of connections as people write them: `100k`, `1m`, `1000000`.

use std::num::NonZero;

/// More connections than that are a slip of the finger.
const COUNT_MAX: u64 = 100_000_000;

/// Reads a number of connections such as `100k`, `1m` or `1000000`.
///
/// # Errors
/// A sentence that says how to write it.
pub(crate) fn parse_count(text: &str) -> Result<NonZero<u64>, String> {
    let (digits, scale) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number = whole(digits).and_then(|number| number.checked_mul(scale));
    let count = number.filter(|count| *count <= COUNT_MAX);
    count.and_then(NonZero::new).ok_or_else(|| {
        format!(
            "write a number of connections such as 100k, 1m or 1000000, at most {}",
            show(COUNT_MAX)
        )
    })
}

/// A whole number of ASCII digits, without a sign.
pub(super) fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// With commas: `1,000,000`.
pub(super) fn show(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_shown() {
        for (text, count) in [
            ("1", 1),
            ("100k", 100_000),
            ("1m", 1_000_000),
            ("5M", 5_000_000),
            ("1000000", 1_000_000),
        ] {
            assert_eq!(parse_count(text).unwrap().get(), count, "{text}");
        }
        assert_eq!(show(0), "0");
        assert_eq!(show(999), "999");
        assert_eq!(show(19_984), "19,984");
        assert_eq!(show(1_000_000), "1,000,000");
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in [
            "",
            "0",
            "k",
            "0m",
            "-1",
            "+1",
            "1.5m",
            "1 m",
            "1g",
            "101m",
            "1mm",
            "٣",
            "é",
            "99999999999999999999",
            "18446744073709551615m",
        ] {
            let said = parse_count(text).unwrap_err();
            assert!(said.contains("100k"), "{text}: {said}");
        }
    }
}
