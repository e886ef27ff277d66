//! Why a table is not of the moment of its snapshot, and the evidence for that.

use std::fmt;

use crate::model::{OffMoment, OffMomentKind, PartName, TableName};

use super::retry::RetryReason;

/// A table's directories, compared with those when its parts were listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListedDirectories {
    /// The same.
    #[default]
    Same,
    /// Others, or removed.
    Replaced,
    /// They contain parts although none was listed, in a list during which tables changed.
    WithUnlistedParts,
}

/// The evidence on a table whose listed state is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedEvidence<'a> {
    /// A listed part that is not in the snapshot.
    pub missing: Option<&'a PartName>,
    /// The comparison of its directories.
    pub directories: ListedDirectories,
    /// The seconds for which the server keeps replaced parts of it, if known.
    pub lifetime_secs: Option<u64>,
}

/// Why the listed state of a table is unavailable: it is then taken in the state that a freeze finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffMomentReason {
    /// A listed part was removed before it was linked.
    PartGone {
        /// The part.
        part: PartName,
        /// The seconds for which the server keeps replaced parts of the table, if known.
        lifetime_secs: Option<u64>,
    },
    /// Another table has its directory: it was recreated, or exchanged.
    Replaced,
    /// Its definition changed.
    DefinitionChanged,
    /// It was renamed, or dropped and created again: this table was taken instead.
    Renamed(TableName),
    /// Its parts were not in the list.
    NotListed,
    /// It had a problem in every round.
    Unsettled(RetryReason),
    /// It has no parts.
    Dumped,
}

impl OffMomentReason {
    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> OffMomentKind {
        match self {
            Self::PartGone { .. } => OffMomentKind::PartGone,
            Self::Replaced => OffMomentKind::Replaced,
            Self::DefinitionChanged => OffMomentKind::DefinitionChanged,
            Self::Renamed(_) => OffMomentKind::Renamed,
            Self::NotListed => OffMomentKind::NotListed,
            Self::Unsettled(_) => OffMomentKind::Unsettled,
            Self::Dumped => OffMomentKind::Dumped,
        }
    }
}

impl fmt::Display for OffMomentReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartGone { part, lifetime_secs } => {
                write!(f, "the server removed its part {part} before it was linked")?;
                match lifetime_secs {
                    Some(seconds) => write!(f, " (old_parts_lifetime is {seconds} s)"),
                    None => Ok(()),
                }
            }
            Self::Replaced => f.write_str("it was dropped and made again, or exchanged, after its parts were listed"),
            Self::DefinitionChanged => f.write_str("its definition changed after its parts were listed"),
            Self::Renamed(name) => {
                write!(f, "it was renamed, or made again, after its parts were listed: {name} was taken")
            }
            Self::NotListed => {
                f.write_str("it was attached, detached, renamed or first written to while parts were listed")
            }
            Self::Unsettled(reason) => reason.fmt(f),
            Self::Dumped => f.write_str("its rows were read after the list of parts"),
        }
    }
}

impl From<&OffMomentReason> for OffMoment {
    fn from(reason: &OffMomentReason) -> Self {
        Self { kind: reason.kind(), reason: reason.to_string() }
    }
}
