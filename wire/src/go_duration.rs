//! Durations as Go writes them (`1m30s`, `500ms`, `0s`): what the custom resources and the add-on's environment variables hold.
//!
//! The grammar is that of Go's `time.ParseDuration` without a minus sign: a negative time has no meaning here.

use std::time::Duration;

/// Go's longest duration, 2^63 - 1 nanoseconds (292 years): a resource that Go's API server takes is taken here, and no more.
const LONGEST_NS: u128 = i64::MAX as u128;

/// Digits after the point that count. A nanosecond is the 13th place of an hour; more digits change nothing.
const FRACTION_DIGITS: u32 = 18;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a duration: {wrong}; write numbers with units (ns, us, ms, s, m, h), as in 500ms, 1m30s or 0s"
)]
pub struct NotADuration {
    /// The text as it was given.
    pub given: String,
    /// What is wrong with it.
    wrong: &'static str,
}

/// Reads a duration such as `1m30s`, `1.5h`, `500ms` or `0`.
///
/// Clap takes this function as a `value_parser`.
///
/// # Errors
/// Where the text is none by Go's grammar, is negative, or is over Go's longest (292 years).
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    total_ns(text).map(Duration::from_nanos).map_err(|wrong| NotADuration { given: text.to_owned(), wrong })
}

fn total_ns(text: &str) -> Result<u64, &'static str> {
    if text.starts_with('-') {
        return Err("it is negative");
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (term, after) = term_ns(rest)?;
        rest = after;
        total = total.saturating_add(term);
    }
    if total > LONGEST_NS {
        return Err(TOO_LONG);
    }
    u64::try_from(total).map_err(|_| TOO_LONG)
}

const TOO_LONG: &str = "it is longer than 292 years";

/// One number with its unit, and the text after it.
fn term_ns(text: &str) -> Result<(u128, &str), &'static str> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit = unit_ns(unit)?;

    // The digits of a whole number that u128 can't hold are far over the longest duration anyway.
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| TOO_LONG)? };
    let mut nanos = whole.checked_mul(unit).ok_or(TOO_LONG)?;
    let mut scale: u128 = 1;
    let mut numerator: u128 = 0;
    for digit in fraction.bytes().take(FRACTION_DIGITS as usize) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    nanos = nanos.saturating_add(numerator * unit / scale);
    Ok((nanos, rest))
}

/// The ASCII digits that a text begins with, and what follows.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_ns(unit: &str) -> Result<u128, &'static str> {
    Ok(match unit {
        "ns" => 1,
        // Go takes both code points: the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "" => return Err("a unit is missing"),
        _ => return Err("a unit is not known"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_go_reads_is_read_alike() {
        // From the table of Go's own test, src/time/time_test.go, the negative ones left out.
        let second = Duration::from_secs(1);
        for (text, is) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("5s", 5 * second),
            ("30s", 30 * second),
            ("1478s", 1478 * second),
            ("+5s", 5 * second),
            ("+0", Duration::ZERO),
            ("5.0s", 5 * second),
            ("5.6s", Duration::from_millis(5600)),
            ("5.s", 5 * second),
            (".5s", Duration::from_millis(500)),
            ("1.0s", second),
            ("1.004s", Duration::from_millis(1004)),
            ("1.0040s", Duration::from_millis(1004)),
            ("100.00100s", Duration::from_millis(100_001)),
            ("10ns", Duration::from_nanos(10)),
            ("11us", Duration::from_micros(11)),
            ("12\u{b5}s", Duration::from_micros(12)),
            ("12\u{3bc}s", Duration::from_micros(12)),
            ("13ms", Duration::from_millis(13)),
            ("15m", 900 * second),
            ("16h", 57_600 * second),
            ("3h30m", 12_600 * second),
            ("10.5s4m", Duration::from_millis(250_500)),
            ("1h2m3s4ms5us6ns", Duration::from_nanos(3_723_004_005_006)),
            ("39h9m14.425s", Duration::from_millis(140_954_425)),
            ("52763797000ns", Duration::from_nanos(52_763_797_000)),
            // Go says 20m0s, by floating point; ours is exact, and so a nanosecond short.
            ("0.3333333333333333333h", 1200 * second - Duration::from_nanos(1)),
            ("9007199254740993ns", Duration::from_nanos(9_007_199_254_740_993)),
            ("9223372036854775807ns", Duration::from_nanos(i64::MAX as u64)),
            ("0.100000000000000000000h", 360 * second),
        ] {
            assert_eq!(parse(text), Ok(is), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_the_text_and_the_remedy() {
        let too_long = [
            "9223372036854775808ns",
            "9223372036854775.808us",
            "3000000h",
            "99999999999999999999999999999999999999999s",
        ];
        let malformed = [
            "",
            "3",
            "-",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "1d",
            "\u{85}\u{85}",
            "-5s",
            "+",
            " 5s",
            "5s ",
            "5 s",
            "1.2.3s",
        ];
        for text in too_long.into_iter().chain(malformed) {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("500ms"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_at_all_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn every_number_of_milliseconds_is_read_exactly(ms in 0..10_000_000_000_u64) {
            prop_assert_eq!(parse(&format!("{ms}ms")), Ok(Duration::from_millis(ms)));
            prop_assert_eq!(parse(&format!("{}.{:03}s", ms / 1000, ms % 1000)), Ok(Duration::from_millis(ms)));
        }
    }
}
