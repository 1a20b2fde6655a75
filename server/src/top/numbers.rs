//! Numbers in few letters.

/// `7`, `999`, `1.23k`, `45.6M`.
pub(super) fn count(number: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    scaled(number, &STEPS, "")
}

/// A number of things, which are whole.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn whole(number: u64) -> String {
    count(number as f64)
}

/// `17 B`, `1.5 KiB`, `64 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(number: u64) -> String {
    byte_rate(number as f64)
}

/// The same for bytes that come and go.
pub(super) fn byte_rate(number: f64) -> String {
    const KIB: f64 = 1024.0;
    const STEPS: [(f64, &str); 4] = [
        (KIB * KIB * KIB * KIB, " TiB"),
        (KIB * KIB * KIB, " GiB"),
        (KIB * KIB, " MiB"),
        (KIB, " KiB"),
    ];
    scaled(number, &STEPS, " B")
}

/// `0.4 ms`, `12 ms`, `1.5 s`.
pub(super) fn short_span(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", digits(seconds * 1e3))
    } else {
        format!("{} s", digits(seconds))
    }
}

/// `12s`, `3m 07s`, `5h 03m`, `12d 04h`.
pub(super) fn long_span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and nobody lives as long"
    )]
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// `47%`
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0))
}

fn scaled(number: f64, steps: &[(f64, &str)], bare: &str) -> String {
    // What would be rounded up to the next step belongs to it.
    let step = steps.iter().find(|(size, _)| number >= size * 0.9995);
    match step {
        Some((size, unit)) => format!("{}{unit}", digits(number / size)),
        None => format!("{}{bare}", digits(number)),
    }
}

/// Three digits, and none behind the point that says nothing.
fn digits(number: f64) -> String {
    if number.fract() == 0.0 || number >= 99.95 {
        format!("{number:.0}")
    } else if number >= 9.995 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_three_digits_and_its_size() {
        for (number, shown) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (7.0, "7"),
            (12.34, "12.3"),
            (999.0, "999"),
            (999.9, "1.00k"),
            (1_000.0, "1k"),
            (1_234.0, "1.23k"),
            (45_600.0, "45.6k"),
            (999_999.0, "1.00M"),
            (1_234_567_890.0, "1.23G"),
        ] {
            assert_eq!(count(number), shown, "{number}");
        }
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
    }

    #[test]
    fn spans_are_as_exact_as_they_are_long() {
        for (seconds, shown) in [
            (0.4, "0s"),
            (59.9, "59s"),
            (187.0, "3m 07s"),
            (18_200.0, "5h 03m"),
            (1_051_200.0, "12d 04h"),
            (-1.0, "0s"),
        ] {
            assert_eq!(long_span(seconds), shown, "{seconds}");
        }
        assert_eq!(short_span(0.0004), "0.40 ms");
        assert_eq!(short_span(0.012), "12 ms");
        assert_eq!(short_span(1.5), "1.50 s");
        assert_eq!(percent(Some(0.474)), "47%");
        assert_eq!(percent(None), "-");
    }
}
