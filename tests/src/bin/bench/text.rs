//! Numbers in words. No I/O.

use std::time::Duration;

use greeter_client::load::Time;

use crate::samples::Typical;

/// Three digits: `0.98`, `17.6`, `151`.
pub(crate) fn digits(number: f64) -> String {
    match number.abs() {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// With a prefix where it is large: `950`, `147 k`, `2.59 M`.
pub(crate) fn large(number: f64) -> String {
    match number {
        ..999.5 => format!("{number:.0}"),
        ..999_500.0 => format!("{} k", digits(number / 1e3)),
        _ => format!("{} M", digits(number / 1e6)),
    }
}

pub(crate) fn bytes(number: f64) -> String {
    if number < 999.5 { format!("{number:.0} B") } else { format!("{} kB", digits(number / 1e3)) }
}

/// `15,000`.
pub(crate) fn grouped(number: usize) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", grouped(number / 1_000), number % 1_000) }
}

/// From nanoseconds.
pub(crate) fn time(nanoseconds: f64) -> String {
    if nanoseconds < 999.5 {
        return format!("{} ns", digits(nanoseconds));
    }
    Time::After(Duration::from_nanos(nanoseconds.round() as u64)).to_string()
}

/// The median, and how far the rounds lie from it.
pub(crate) fn with_spread(typical: Typical, show: impl Fn(f64) -> String) -> String {
    let (down, up) = typical.spread();
    format!("{} (−{:.0} +{up:.0} %)", show(typical.median), down.abs())
}

/// A table in Markdown.
pub(crate) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|---|{}\n", "--:|".repeat(header.len().saturating_sub(1)));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{rows}", line(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (number, shown) in [(0.0, "0.00"), (0.984, "0.98"), (9.996, "10.0"), (17.64, "17.6"), (150.7, "151")] {
            assert_eq!(digits(number), shown);
        }
        for (number, shown) in [(950.2, "950"), (999.6, "1.00 k"), (147_300.0, "147 k"), (2_591_000.0, "2.59 M")] {
            assert_eq!(large(number), shown);
        }
        assert_eq!([1, 999, 15_000, 1_002_003].map(grouped), ["1", "999", "15,000", "1,002,003"]);
        for (number, shown) in [(330.4, "330 B"), (9_000.0, "9.00 kB"), (12_345.0, "12.3 kB")] {
            assert_eq!(bytes(number), shown);
        }
        for (number, shown) in [(31.64, "31.6 ns"), (359.4, "359 ns"), (5_651.4, "5.65 µs")] {
            assert_eq!(time(number), shown);
        }
    }

    #[test]
    fn a_median_has_its_spread() {
        let typical = Typical { median: 100.0, least: 80.0, most: 101.0 };
        assert_eq!(with_spread(typical, large), "100 (−20 +1 %)");
    }

    #[test]
    fn a_table_is_markdown() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(table(&words("a b c"), &[words("1 2 3")]), "| a | b | c |\n|---|--:|--:|\n| 1 | 2 | 3 |\n");
    }
}
