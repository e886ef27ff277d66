//! The retention policy that a person configures.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::count::Count;
use super::rule::Rule;
use super::span::CalendarSpan;

/// Rules and floors. A snapshot stays if any of them keeps it; pinned ones stay in any case.
///
/// In files the fields have these names: `keep_daily = 7`, `keep_monthly = "unlimited"`, `keep_within = "2d"`,
/// `keep_name = ["release-*"]`, `zone = "Europe/Berlin"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// This many of the newest snapshots.
    pub keep_last: Count,
    /// The newest snapshot of each of the last hours that have one, up to this many.
    pub keep_hourly: Count,
    /// The same for days.
    pub keep_daily: Count,
    /// The same for ISO weeks.
    pub keep_weekly: Count,
    /// The same for months.
    pub keep_monthly: Count,
    /// The same for years.
    pub keep_yearly: Count,
    /// Every snapshot that is no older than this, counted back from the newest one.
    pub keep_within: CalendarSpan,
    /// The newest snapshot of each hour within this.
    pub keep_within_hourly: CalendarSpan,
    /// The newest snapshot of each day within this.
    pub keep_within_daily: CalendarSpan,
    /// The newest snapshot of each ISO week within this.
    pub keep_within_weekly: CalendarSpan,
    /// The newest snapshot of each month within this.
    pub keep_within_monthly: CalendarSpan,
    /// The newest snapshot of each year within this.
    pub keep_within_yearly: CalendarSpan,
    /// A series other than the main one to which nothing was added for this long, counted back from now, is removed
    /// regardless of the rules and `min_keep`.
    pub keep_other_within: CalendarSpan,
    /// Snapshots with a label or tag that matches.
    pub keep_name: Vec<NameGlob>,
    /// This many of the newest snapshots stay regardless of the rules.
    pub min_keep: u32,
    /// Snapshots younger than this, counted back from now, stay regardless of the rules.
    pub min_age: CalendarSpan,
    /// The time zone in which hours, days, weeks, months and years are determined.
    pub zone: Tz,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_last: Count::default(),
            keep_hourly: Count::default(),
            keep_daily: Count::default(),
            keep_weekly: Count::default(),
            keep_monthly: Count::default(),
            keep_yearly: Count::default(),
            keep_within: CalendarSpan::default(),
            keep_within_hourly: CalendarSpan::default(),
            keep_within_daily: CalendarSpan::default(),
            keep_within_weekly: CalendarSpan::default(),
            keep_within_monthly: CalendarSpan::default(),
            keep_within_yearly: CalendarSpan::default(),
            keep_other_within: CalendarSpan::default(),
            keep_name: Vec::new(),
            min_keep: 1,
            min_age: CalendarSpan::default(),
            zone: Tz::UTC,
        }
    }
}

impl Policy {
    /// The number of periods that each rule keeps.
    #[must_use]
    pub fn counts(&self) -> [(Rule, Count); 6] {
        [
            (Rule::Last, self.keep_last),
            (Rule::Hourly, self.keep_hourly),
            (Rule::Daily, self.keep_daily),
            (Rule::Weekly, self.keep_weekly),
            (Rule::Monthly, self.keep_monthly),
            (Rule::Yearly, self.keep_yearly),
        ]
    }

    /// How far back each rule keeps one snapshot of each period. [`Rule::Last`] keeps every snapshot.
    #[must_use]
    pub fn spans(&self) -> [(Rule, CalendarSpan); 6] {
        [
            (Rule::Last, self.keep_within),
            (Rule::Hourly, self.keep_within_hourly),
            (Rule::Daily, self.keep_within_daily),
            (Rule::Weekly, self.keep_within_weekly),
            (Rule::Monthly, self.keep_within_monthly),
            (Rule::Yearly, self.keep_within_yearly),
        ]
    }

    /// Whether it has no rules at all. Nothing may be removed by such a policy: floors alone do not define what is no
    /// longer wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keep_name.is_empty()
            && self.counts().iter().all(|(_, count)| count.is_zero())
            && self.spans().iter().all(|(_, span)| span.is_zero())
    }

    /// Whether it lets anything go: by a rule, or by a limit for other series.
    #[must_use]
    pub fn removes_anything(&self) -> bool {
        !self.is_empty() || !self.keep_other_within.is_zero()
    }

    /// The policy used for actual removals: the newest good snapshot stays, whatever `min_keep` is.
    #[must_use]
    pub fn keeping_the_last(mut self) -> Self {
        self.min_keep = self.min_keep.max(1);
        self
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts: Vec<String> = Vec::new();
        for (rule, count) in self.counts() {
            match count {
                Count::Of(0) => {}
                Count::Of(count) => texts.push(format!("{count} {rule}")),
                Count::Unlimited => texts.push(format!("every {rule}")),
            }
        }
        for (rule, span) in self.spans().into_iter().filter(|(_, span)| !span.is_zero()) {
            let what = if rule == Rule::Last { "all".to_owned() } else { rule.to_string() };
            texts.push(format!("{what} within {span}"));
        }
        texts.extend(self.keep_name.iter().map(|glob| format!("named {glob}")));
        if texts.is_empty() {
            texts.push("nothing".to_owned());
        }
        write!(f, "keep {}", texts.join(", "))?;
        if !self.keep_other_within.is_zero() {
            write!(f, "; other series until nothing was new for {}", self.keep_other_within)?;
        }
        write!(f, "; at least {}", self.min_keep)?;
        if !self.min_age.is_zero() {
            write!(f, "; all younger than {}", self.min_age)?;
        }
        write!(f, "; by the calendar of {}", self.zone)
    }
}

/// A pattern for labels of snapshots: `*`, `?`, `[…]` and `{…}` as in a shell; `*` matches slashes and dots too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NameGlob {
    text: String,
    matcher: GlobMatcher,
}

/// A text is not a pattern for names.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no pattern for names: {reason}")]
pub struct InvalidNameGlob {
    text: String,
    reason: String,
}

impl NameGlob {
    /// Whether the label, one of the tags, or all tags joined with commas match the pattern.
    #[must_use]
    pub fn matches(&self, candidate: &Candidate) -> bool {
        let is_match = |text: &String| self.matcher.is_match(text);
        candidate.name.iter().any(is_match)
            || candidate.tags.iter().any(is_match)
            || (candidate.tags.len() > 1 && is_match(&candidate.tags.join(",")))
    }

    /// Whether a label matches the pattern.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The original text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for NameGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NameGlob {}

impl FromStr for NameGlob {
    type Err = InvalidNameGlob;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidNameGlob { text: text.chars().take(200).collect(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        if crate::plan::pattern::is_nested_too_deeply(text) {
            return Err(invalid("too many braces stand in each other".to_owned()));
        }
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        let matcher = glob.map_err(|error| invalid(error.kind().to_string()))?.compile_matcher();
        Ok(Self { text: text.to_owned(), matcher })
    }
}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for NameGlob {
    type Error = InvalidNameGlob;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NameGlob> for String {
    fn from(glob: NameGlob) -> Self {
        glob.text
    }
}
