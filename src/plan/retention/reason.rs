//! Why a snapshot stays.

use std::fmt;

use super::count::Count;
use super::rule::Rule;
use super::span::CalendarSpan;

/// One reason to keep a snapshot. Its text is what people and scripts read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `pinned: …`
    Pinned(String),
    /// `unreadable: …`: no rule can judge it.
    Unreadable(String),
    /// `future`: it is dated in the future.
    Future,
    /// `name GLOB`
    Named(String),
    /// `daily 3/7`, `oldest yearly 2/10`.
    Counted {
        /// The rule.
        rule: Rule,
        /// The number of its period, counted from the newest, from 1.
        position: usize,
        /// The number of periods that the rule keeps.
        of: Count,
        /// Whether it is kept as the oldest of all, because the rule's number is not reached.
        is_oldest: bool,
    },
    /// `within 2d`, `daily within 7d`, `oldest yearly within 9999y`.
    Within {
        /// The rule.
        rule: Rule,
        /// How far back it keeps.
        span: CalendarSpan,
        /// Whether it is kept as the oldest of all, in a period that already has a kept one.
        is_oldest: bool,
    },
    /// `min-keep 1/3`
    MinKeep {
        /// Its number among the newest, from 1.
        position: usize,
        /// The number that stays.
        of: u32,
    },
    /// `min-age 2d`
    MinAge(CalendarSpan),
    /// `not needed`: no rule keeps it, and enough space is freed without removing it.
    NotNeeded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = |is_oldest: bool| if is_oldest { "oldest " } else { "" };
        match self {
            Self::Pinned(reason) if reason.is_empty() => f.write_str("pinned"),
            Self::Pinned(reason) => write!(f, "pinned: {reason}"),
            Self::Unreadable(reason) => write!(f, "unreadable: {reason}"),
            Self::Future => f.write_str("future"),
            Self::Named(glob) => write!(f, "name {glob}"),
            Self::Counted { rule, position, of, is_oldest } => {
                write!(f, "{}{rule} {position}/{of}", oldest(*is_oldest))
            }
            Self::Within { rule: Rule::Last, span, .. } => write!(f, "within {span}"),
            Self::Within { rule, span, is_oldest } => write!(f, "{}{rule} within {span}", oldest(*is_oldest)),
            Self::MinKeep { position, of } => write!(f, "min-keep {position}/{of}"),
            Self::MinAge(span) => write!(f, "min-age {span}"),
            Self::NotNeeded => f.write_str("not needed"),
        }
    }
}
