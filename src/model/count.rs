//! Numbers in sentences.

use std::time::Duration;

/// A number with its noun, in the plural unless the number is one.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// A number with commas between groups of three digits.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest binary unit: `3.2 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY)
}

/// A time in its largest unit and the next one: `10 s`, `1 min 30 s`, `2 h`, `1 day`, `12 days 6 h`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds == 0 && !span.is_zero() {
        return format!("{} ms", span.as_millis().max(1));
    }
    let units = [(86_400, "day"), (3600, "h"), (60, "min"), (1, "s")];
    let mut texts = Vec::new();
    let mut rest = seconds;
    for (length, unit) in units {
        let number = rest / length;
        rest %= length;
        match (number, unit) {
            // A unit that is two or more steps below the first adds nothing for the reader.
            (0, _) if texts.is_empty() => {}
            (0, _) => break,
            (number, "day") => texts.push(count(number, unit)),
            (number, unit) => texts.push(format!("{number} {unit}")),
        }
        if texts.len() == 2 {
            break;
        }
    }
    if texts.is_empty() { "0 s".to_owned() } else { texts.join(" ") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, span};

    #[test]
    fn a_span_has_two_units_at_most() {
        let spans = [
            (0, "0 s"),
            (59, "59 s"),
            (90, "1 min 30 s"),
            (3600, "1 h"),
            (86_400, "1 day"),
            (2 * 86_400 + 3600 + 61, "2 days 1 h"),
            (86_400 + 5, "1 day"),
        ];
        for (seconds, expected) in spans {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(span(Duration::from_micros(1500)), "1 ms");
        assert_eq!(span(Duration::from_nanos(10_000_000_123)), "10 s");
    }

    #[test]
    fn large_numbers_have_commas_and_nouns_their_plural() {
        let counts =
            [(0, "0 rows"), (1, "1 row"), (999, "999 rows"), (1000, "1,000 rows"), (1_234_567, "1,234,567 rows")];
        for (number, expected) in counts {
            assert_eq!(count(number, "row"), expected);
        }
    }
}
