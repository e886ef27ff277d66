//! The text of one line of progress, for a terminal of any width. Pure: no clock, no terminal.

use std::time::Duration;

use chsnap::monitor::{Stage, StageWork};
use unicode_width::UnicodeWidthStr as _;

use super::super::layout::fit;
use super::super::render;

/// The progress of a stage, or of one table in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) done: StageWork,
    pub(super) total: Option<StageWork>,
    pub(super) elapsed: Duration,
}

/// Before this time, neither a rate nor the time left is shown: both would be guesses.
const KNOWN_AFTER: Duration = Duration::from_secs(2);

impl Extent {
    /// The work done and the total, in the unit that is most meaningful for this stage.
    fn position(&self) -> (u64, Option<u64>, &'static str) {
        let total = self.total.unwrap_or_default();
        let is_known = |total: u64| (total > 0).then_some(total);
        if total.bytes > 0 {
            (self.done.bytes, is_known(total.bytes), "byte")
        } else if total.parts > 0 && (self.done.parts > 0 || self.done.tables == 0) {
            (self.done.parts, is_known(total.parts), "part")
        } else if total.tables > 0 {
            (self.done.tables, is_known(total.tables), "table")
        } else if total.files > 0 {
            (self.done.files, is_known(total.files), "file")
        } else {
            (self.done.parts, None, "part")
        }
    }

    fn share(&self) -> Option<f64> {
        let (done, total, _) = self.position();
        #[expect(clippy::cast_precision_loss, reason = "a share for the eye")]
        total.map(|total| (done as f64 / total as f64).min(1.0))
    }

    /// The time left, if the work continues at the same pace. Unknown unless the stage counts bytes: one table or part may
    /// be as large as all others. Below a second it is not shown.
    pub(super) fn left(&self) -> Option<Duration> {
        let counts_bytes = self.total.is_some_and(|total| total.bytes > 0);
        let share = self.share().filter(|share| counts_bytes && *share > 0.005 && *share < 1.0)?;
        (self.elapsed >= KNOWN_AFTER)
            .then(|| Duration::from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - share) / share))
            .filter(|left| left.as_secs() > 0)
    }

    fn rate(&self) -> Option<String> {
        if self.elapsed < KNOWN_AFTER {
            return None;
        }
        let seconds = self.elapsed.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate"
        )]
        let per_second = |done: u64| (done as f64 / seconds) as u64;
        let StageWork { tables, parts, files, bytes } = self.done;
        if bytes > 0 {
            return Some(format!("{}/s", render::bytes(per_second(bytes))));
        }
        let counted = [(files, "file"), (parts, "part"), (tables, "table")].into_iter().find(|(done, _)| *done > 0)?;
        Some(format!("{}/s", render::count(per_second(counted.0), counted.1)))
    }
}

/// `12 s`, `3:05 min`, `2:03 h`.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Pieces of a line in their order, each with its rank for being left out if there is no room; 0 means never.
fn join(pieces: Vec<(String, u8)>, width: usize) -> String {
    let mut pieces: Vec<(String, u8)> = pieces.into_iter().filter(|(text, _)| !text.is_empty()).collect();
    loop {
        let line = pieces.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join("  ");
        if line.width() <= width {
            return line;
        }
        let soonest = pieces.iter().enumerate().filter(|(_, (_, rank))| *rank > 0).max_by_key(|(_, (_, rank))| *rank);
        let Some((index, _)) = soonest else { return fit(&line, width) };
        pieces.remove(index);
    }
}

fn of(done: u64, total: u64, noun: &str) -> String {
    match (done, total) {
        (0, 0) => String::new(),
        (done, total) if total >= done => {
            format!("{}/{}", render::thousands(done), render::count(total, noun))
        }
        (done, _) => render::count(done, noun),
    }
}

/// The line of a stage, at most `width` columns wide.
pub(super) fn stage(stage: Stage, extent: &Extent, width: usize) -> String {
    let total = extent.total.unwrap_or_default();
    let share = extent.share();
    let bytes = match (extent.done.bytes, total.bytes) {
        (0, 0) => String::new(),
        (done, 0) => render::bytes(done),
        (done, total) => format!("{}/{}", render::bytes(done), render::bytes(total)),
    };
    let left = extent.left().map(|left| format!("ETA {}", duration(left))).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
    let percent = share.map(|share| format!("{:3}%", (share * 100.0) as u8)).unwrap_or_default();
    let columns = match width {
        0..60 => 10,
        60..110 => 20,
        _ => 30,
    };
    // A stage that counts smaller units may not count tables.
    let StageWork { tables: done_tables, parts, files, bytes: done_bytes } = extent.done;
    let counts_others = done_tables == 0 && (parts, files, done_bytes) != (0, 0, 0);
    let tables = if counts_others { String::new() } else { of(done_tables, total.tables, "table") };
    let pieces = vec![
        (format!("{:>8}", stage.name()), 0),
        (share.map(|share| bar(share, columns)).unwrap_or_default(), 5),
        (percent, 1),
        (tables, 7),
        (of(extent.done.parts, total.parts, "part"), 3),
        (of(extent.done.files, total.files, "file"), 8),
        (bytes, 4),
        (extent.rate().unwrap_or_default(), 6),
        (duration(extent.elapsed), 9),
        (left, 2),
    ];
    join(pieces, width)
}

fn bar(share: f64, columns: usize) -> String {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "columns")]
    let full = ((share * columns as f64) as usize).min(columns);
    let head = if full > 0 && full < columns { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full - head.len()), " ".repeat(columns - full))
}

/// The line of one table in a stage, below that of the stage.
pub(super) fn item(name: &str, total: StageWork, elapsed: Duration, width: usize) -> String {
    let figures = join(
        vec![
            (if total.parts > 0 { render::count(total.parts, "part") } else { String::new() }, 2),
            (if total.bytes > 0 { render::bytes(total.bytes) } else { String::new() }, 1),
            (duration(elapsed), 0),
        ],
        width.saturating_sub(22),
    );
    let room = width.saturating_sub(12 + figures.width());
    format!("{:10}{}  {figures}", "", fit(name, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seconds: u64) -> Extent {
        Extent {
            done: StageWork { tables: 3, parts: 812, files: 40_312, bytes: 6_012_954_214 },
            total: Some(StageWork { tables: 12, parts: 1000, files: 0, bytes: 7_500_000_000 }),
            elapsed: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_wide_terminal_has_it_all_and_a_narrow_one_what_matters() {
        let wide = stage(Stage::Seal, &state(20), 200);
        assert_eq!(
            wide,
            "    seal  [=======================>      ]   80%  3/12 tables  812/1,000 parts  40,312 files  \
             5.60 GiB/6.98 GiB  286.72 MiB/s  20 s  ETA 4 s"
        );
        assert_eq!(stage(Stage::Seal, &state(20), 40), "    seal   80%  812/1,000 parts  ETA 4 s");
        assert_eq!(stage(Stage::Seal, &state(20), 20), "    seal   80%");
    }

    #[test]
    fn no_line_is_wider_than_its_terminal_whatever_the_figures() {
        for width in 0..220 {
            for seconds in [0, 1, 59, 3599, 100_000] {
                assert!(stage(Stage::Freeze, &state(seconds), width).width() <= width, "{width}");
                assert!(stage(Stage::Remove, &Extent::default(), width).width() <= width, "{width}");
            }
            let name = "データベース.a_table_with_a_very_long_name_that_no_terminal_shows_in_one_line_of_its_own";
            let line = item(
                name,
                StageWork { parts: 1234, bytes: 1 << 40, ..StageWork::default() },
                Duration::from_secs(75),
                width,
            );
            assert!(width < 30 || line.width() <= width, "{width}: {line}");
        }
    }

    #[test]
    fn a_stage_that_counts_parts_alone_says_nothing_of_tables() {
        let done = StageWork { parts: 9, ..StageWork::default() };
        let total = Some(StageWork { tables: 8, parts: 9, ..StageWork::default() });
        let extent = Extent { done, total, elapsed: Duration::from_secs(1) };
        assert_eq!(
            stage(Stage::Verify, &extent, 60),
            format!("{:>8}  [====================]  100%  9/9 parts  1 s", Stage::Verify.name())
        );
    }

    #[test]
    fn nothing_is_estimated_before_work_was_done() {
        let begun = state(1);
        assert_eq!((begun.left(), begun.rate()), (None, None));
        assert_eq!(state(100).left().map(|left| left.as_secs()), Some(24));
        let unknown = Extent { total: None, ..state(100) };
        assert_eq!(unknown.left(), None);
        let uneven = Some(StageWork { tables: 12, parts: 1000, ..StageWork::default() });
        assert_eq!(Extent { total: uneven, ..state(100) }.left(), None, "the last part may be the largest");
        assert!(!stage(Stage::Remove, &unknown, 80).contains('['));
    }
}
