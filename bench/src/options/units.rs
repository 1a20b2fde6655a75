//! Times and sizes as they stand on a command line.

use std::time::Duration;

/// The longest time that can be asked for.
const DURATION_MAX: Duration = Duration::from_hours(30 * 24);

/// The largest message this client sends.
const SIZE_MAX: usize = 16 * 1024 * 1024;

/// Reads `250ms`, `10s`, `2m`, `1h`; a bare number is in seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 0.000_001,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("'{unit}' is no unit of time (us, ms, s, m, h)")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "expected a time such as 10s".to_owned())?;
    Duration::try_from_secs_f64(number * unit)
        .ok()
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| "a time lies between 0s and 30 days".to_owned())
}

/// Reads `20`, `16KiB`, `16k`, `1MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1024,
        "M" | "MiB" => 1024 * 1024,
        unit => return Err(format!("'{unit}' is no unit of size (B, KiB, MiB)")),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "expected a size such as 16KiB".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|size| *size <= SIZE_MAX)
        .ok_or_else(|| "a message has at most 16MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(size("16KiB"), Ok(16 * 1024));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "s", "-1s", "1d", "99999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "-1", "1.5KiB", "17MiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
