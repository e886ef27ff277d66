//! Figures, times and tables in readable form.

use chrono::{DateTime, Utc};
pub(super) use chsnap::model::{count, size as bytes, span, thousands};

pub(super) use super::layout::Align;
use super::layout::{self, TextTable, Width};

/// The age in its largest unit; a time in the future is marked as such.
pub(super) fn age(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - time).num_seconds();
    let (number, unit) = match seconds.unsigned_abs() {
        0..60 => (seconds.unsigned_abs(), "s"),
        60..3600 => (seconds.unsigned_abs() / 60, "min"),
        3600..86_400 => (seconds.unsigned_abs() / 3600, "h"),
        _ => (seconds.unsigned_abs() / 86_400, "d"),
    };
    if seconds < 0 { format!("in {number} {unit}") } else { format!("{number} {unit}") }
}

/// Letters of a message that are shown. Its text may come from elsewhere, and have any length.
pub(super) const MESSAGE_LIMIT: usize = 8192;

/// The first `limit` letters of a text.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let mut cut: String = text.chars().take(limit).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Whether a letter controls a terminal, or the order in which others are shown.
pub(super) fn garbles(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from elsewhere, with everything escaped that would garble a terminal, and cut at `limit` letters.
pub(super) fn safe(text: &str, limit: usize) -> String {
    let mut safe = String::new();
    for letter in cut(text, limit).chars() {
        if garbles(letter) {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

const BAR_WIDTH: u64 = 10;

/// A bar of at most ten letters, whose length shows the share of `part` in `whole`.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let eighths = (u128::from(part) * u128::from(BAR_WIDTH) * 8).checked_div(u128::from(whole)).unwrap_or(0);
    let eighths = usize::try_from(eighths).unwrap_or(0);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// A table that is the same on every terminal, its header bold.
pub(super) fn table(
    columns: &[(&'static str, Align)],
    rows: impl IntoIterator<Item = Vec<String>>,
    width: Width,
) -> String {
    let column = |(title, align): &(&'static str, Align)| match align {
        Align::Left => layout::name(title),
        Align::Right => layout::right(title),
    };
    let mut table = TextTable::new(columns.iter().map(column));
    rows.into_iter().for_each(|row| table.add(row));
    table.render(width)
}

#[cfg(test)]
mod tests {
    use super::{age, bar, count, safe, thousands};

    #[test]
    fn figures_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "part"), "1 part");
        assert_eq!(count(1000, "part"), "1,000 parts");
    }

    #[test]
    fn an_age_has_one_unit_and_a_future_time_is_marked() {
        let now = "2026-11-22T02:00:00Z".parse().expect("a valid time");
        let at = |text: &str| age(text.parse().expect("a valid time"), now);
        assert_eq!(at("2026-11-22T01:59:30Z"), "30 s");
        assert_eq!(at("2026-11-20T01:00:00Z"), "2 d");
        assert_eq!(at("2026-11-22T05:00:00Z"), "in 3 h");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((bar(0, 0), bar(0, 9)), (String::new(), String::new()));
        assert_eq!((bar(8, 8).as_str(), bar(1, 2).as_str(), bar(1, 80).as_str()), ("██████████", "█████", "▏"));
        assert_eq!(bar(u64::MAX, u64::MAX), "██████████");
    }

    #[test]
    fn text_from_elsewhere_cannot_garble_a_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\n", 40), "a\\u{1b}[2Jb\\n");
        assert_eq!(safe("abcdef", 3), "abc…");
    }
}
