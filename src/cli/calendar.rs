//! A picture of the snapshots that stay: one line per month, one letter per day.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use chrono::{Datelike as _, NaiveDate};
use chsnap::plan::retention::{Reason, Rule};

use super::layout::{self, Width};
use super::render;

/// Columns of a month and the blanks behind it.
const MONTH: usize = 9;

/// The mark of a day, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DayMark {
    /// There was a snapshot, and it is gone.
    Removed,
    /// Kept by a floor, or because it cannot be judged.
    Other,
    Within,
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    Named,
    Pinned,
    Future,
}

impl DayMark {
    const ALL: [Self; 12] = [
        Self::Yearly,
        Self::Monthly,
        Self::Weekly,
        Self::Daily,
        Self::Hourly,
        Self::Last,
        Self::Within,
        Self::Named,
        Self::Pinned,
        Self::Future,
        Self::Other,
        Self::Removed,
    ];

    /// The strongest of the reasons for a snapshot.
    pub(super) fn of(reasons: &[Reason]) -> Self {
        let mark = |reason: &Reason| match reason {
            Reason::Pinned(_) => Self::Pinned,
            Reason::Future => Self::Future,
            Reason::Named(_) => Self::Named,
            Reason::Within { rule: Rule::Last, .. } => Self::Within,
            Reason::Counted { rule, .. } | Reason::Within { rule, .. } => match rule {
                Rule::Last => Self::Last,
                Rule::Hourly => Self::Hourly,
                Rule::Daily => Self::Daily,
                Rule::Weekly => Self::Weekly,
                Rule::Monthly => Self::Monthly,
                Rule::Yearly => Self::Yearly,
            },
            _ => Self::Other,
        };
        reasons.iter().map(mark).max().unwrap_or(Self::Removed)
    }

    fn letter(self) -> (char, &'static str) {
        match self {
            Self::Removed => ('·', "removed"),
            Self::Other => ('!', "floor"),
            Self::Within => ('+', "within"),
            Self::Last => ('L', "last"),
            Self::Hourly => ('H', "hourly"),
            Self::Daily => ('D', "daily"),
            Self::Weekly => ('W', "weekly"),
            Self::Monthly => ('M', "monthly"),
            Self::Yearly => ('Y', "yearly"),
            Self::Named => ('N', "name"),
            Self::Pinned => ('P', "pinned"),
            Self::Future => ('F', "future"),
        }
    }

    fn styled(self) -> String {
        let style = match self {
            Self::Removed => Style::new().dimmed(),
            _ => Style::new().bold().fg_color(Some(AnsiColor::Green.into())),
        };
        format!("{style}{}{style:#}", self.letter().0)
    }
}

/// The marks of days; each is the strongest mark of its day.
#[derive(Default)]
pub(super) struct Calendar(BTreeMap<NaiveDate, DayMark>);

impl Calendar {
    pub(super) fn add(&mut self, day: NaiveDate, mark: DayMark) {
        let strongest = self.0.entry(day).or_insert(mark);
        *strongest = mark.max(*strongest);
    }

    /// One line per month, the oldest first, with the meaning of the letters. Months without a remaining snapshot share
    /// one line.
    pub(super) fn picture(&self, width: Width) -> String {
        let mut months: BTreeMap<(i32, u32), BTreeMap<u32, DayMark>> = BTreeMap::new();
        for (day, mark) in &self.0 {
            months.entry((day.year(), day.month())).or_default().insert(day.day(), *mark);
        }
        // Days are two columns apart, or adjacent on a terminal that is too narrow for that.
        let gap = if width.has_room_for(MONTH + 2 * 31 - 1) { " " } else { "" };
        let mut text = format!("{:MONTH$}", "");
        for day in std::iter::once(1).chain((5..=30).step_by(5)) {
            let at = MONTH + (day - 1) * (1 + gap.len());
            text = format!("{text:at$}{day}");
        }
        text += "\n";
        let mut passed_over = 0;
        let mut months = months.into_iter().peekable();
        while let Some(((year, month), days)) = months.next() {
            let is_empty = days.values().all(|mark| *mark == DayMark::Removed);
            if is_empty {
                passed_over += 1;
                if months.peek().is_some() {
                    continue;
                }
            }
            if passed_over > 0 {
                let _ = writeln!(text, "{:>7}  {}, nothing left", "…", render::count(passed_over, "month"));
                passed_over = 0;
            }
            if !is_empty {
                let last = days.keys().next_back().copied().unwrap_or(1);
                let cells = (1..=last).map(|day| days.get(&day).map_or(" ".to_owned(), |mark| mark.styled()));
                let _ = writeln!(text, "{year:04}-{month:02}  {}", cells.collect::<Vec<_>>().join(gap));
            }
        }
        let used = DayMark::ALL.into_iter().filter(|mark| self.0.values().any(|other| other == mark));
        let legend: Vec<String> = used.map(|mark| format!("{}\u{a0}{}", mark.styled(), mark.letter().1)).collect();
        let legend = layout::paragraph(&legend.join("   "), width, MONTH, MONTH).replace('\u{a0}', " ");
        text + "\n" + &legend
    }
}
