//! Reports unreadable parts of the journal, for every command that relies on the journal.

use crate::model::{Warning, WarningKind};
use crate::repo::{JournalGap, Repository};

/// The number of lines that a warning names.
const NAMED_LINES: usize = 5;

/// A warning about each file of the journal that cannot be read whole. All commands that go by known damage, checks,
/// drills or removals report these, because some may be missing.
#[must_use]
pub(super) fn journal_warnings(repository: &Repository) -> Vec<Warning> {
    repository.journal_gaps().iter().map(gap_warning).collect()
}

const LOST: &str = "so damage, checks, drills and removals recorded there may not be known";

fn gap_warning(gap: &JournalGap) -> Warning {
    let what = match gap.lines.as_slice() {
        [] => String::new(),
        [line] => format!(", line {line},"),
        lines => {
            let named: Vec<String> = lines.iter().take(NAMED_LINES).map(ToString::to_string).collect();
            let more = lines.len().saturating_sub(NAMED_LINES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(", lines {}{more},", named.join(", "))
        }
    };
    let file = if gap.file.is_empty() { String::new() } else { format!("/{}", gap.file.escape_debug()) };
    let message = format!("journal{file}{what} cannot be read, {LOST}: {}", gap.reason);
    Warning::new(WarningKind::JournalUnreadable, message)
}
