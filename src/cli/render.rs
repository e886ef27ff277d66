//! Figures, times and tables as a person reads them.

use chrono::{DateTime, Utc};
pub(super) use chsnap::model::{count, size as bytes, thousands};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

/// How long ago, in its largest unit; a time to come says so.
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

/// Letters of a message that are shown. Its text may be from elsewhere, and of any length.
pub(super) const MESSAGE_LIMIT: usize = 8192;

/// The first `limit` letters of a text.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let mut cut: String = text.chars().take(limit).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Text from elsewhere, with what would garble a terminal escaped, and cut at `limit` letters.
pub(super) fn safe(text: &str, limit: usize) -> String {
    let mut safe = String::new();
    for letter in cut(text, limit).chars() {
        if letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

const BAR_WIDTH: u64 = 10;

/// A bar of at most ten letters, as long as `part` is of `whole`.
pub(super) fn bar(part: u64, whole: u64) -> String {
    let eighths = (u128::from(part) * u128::from(BAR_WIDTH) * 8).checked_div(u128::from(whole)).unwrap_or(0);
    let eighths = usize::try_from(eighths).unwrap_or(0);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// A column's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table without lines, its header bold on a terminal.
pub(super) fn table(columns: &[(&str, Align)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let side = |align: Align| match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    };
    let mut table = Table::new();
    // Styled whatever comfy-table thinks of the terminal: the output takes away what is not wanted.
    table.enforce_styling();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        columns.iter().map(|(name, align)| Cell::new(name).add_attribute(Attribute::Bold).set_alignment(side(*align))),
    );
    for (index, _) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
        }
    }
    for row in rows {
        let cells = row.into_iter().zip(columns).map(|(text, (_, align))| Cell::new(text).set_alignment(side(*align)));
        table.add_row(cells.collect::<Vec<_>>());
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
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
    fn an_age_has_one_unit_and_the_future_is_said() {
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
