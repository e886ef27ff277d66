//! Why a snapshot stays.

use std::fmt;

use super::count::Count;
use super::rule::Rule;
use super::span::Span;

/// One reason to keep a snapshot. Its text is what people and scripts read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `pinned: …`
    Pinned(String),
    /// `unreadable: …`: no rule can judge it.
    Unreadable(String),
    /// `future`: it is dated after now.
    Future,
    /// `name GLOB`
    Named(String),
    /// `daily 3/7`, `oldest yearly 2/10`.
    Counted {
        /// The rule.
        rule: Rule,
        /// Which of its periods this is, counted from the newest, from 1.
        position: usize,
        /// How many it keeps.
        of: Count,
        /// Whether it is kept as the oldest of all, because the rule has periods left.
        is_oldest: bool,
    },
    /// `within 2d`, `daily within 7d`, `oldest yearly within 9999y`.
    Within {
        /// The rule.
        rule: Rule,
        /// How far back it keeps.
        span: Span,
        /// Whether it is kept as the oldest of all, in a period that has another one already.
        is_oldest: bool,
    },
    /// `min-keep 1/3`
    MinKeep {
        /// Which of the newest it is, from 1.
        position: usize,
        /// How many stay.
        of: u32,
    },
    /// `min-age 2d`
    MinAge(Span),
    /// `not needed`: no rule keeps it, and enough space is freed without it.
    NotNeeded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let oldest = |is_oldest: bool| if is_oldest { "oldest " } else { "" };
        match self {
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
