//! Why a table is not restored, or incomplete.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::{PartName, PartitionId, count};
use crate::plan::{DamagedParts, KeeperReplica, PartDifference, ReplicaObstacle, WrongPart};

/// A part that the server moved to `detached/` when it attached the table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The part.
    pub part: PartName,
    /// Its directory's name in `detached/`: `broken-on-start_all_1_1_0`.
    pub directory: String,
    /// The server's own words: the error with which it loaded the part, else the reason that it lists, if known.
    pub reason: Option<String>,
}

/// The outcome for a table whose parts differ from the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFate {
    /// It was dropped, so that it does not look complete.
    Dropped,
    /// It stays, because it has this part, which is not from the snapshot.
    Stays(PartName),
}

/// Parts that differ from the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongParts {
    /// The first of them.
    pub first: WrongPart,
    /// The number of others.
    pub more: usize,
    /// The first of them that the server moved to `detached/`.
    pub set_aside: Option<SetAside>,
    /// The outcome for the table.
    pub fate: TableFate,
}

/// Partitions that already had rows other than the snapshot's when they were to be filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionsLeft {
    /// The partitions.
    pub partitions: Vec<PartitionId>,
    /// Rows of them in the snapshot.
    pub rows: u64,
}

impl fmt::Display for PartitionsLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.partitions.iter().take(5).map(|id| id.0.as_str()).collect();
        let more = self.partitions.len().saturating_sub(ids.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        write!(
            f,
            "{} of the snapshot are not there: their partitions ({}{more}) had other rows, and were left as they are",
            count(self.rows, "row"),
            ids.join(", ")
        )
    }
}

/// Keeper's data at a table's path, if it differs from what the plan showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// The name that this replica would have.
    pub name: String,
    /// The replicas that are there now.
    pub replicas: Vec<KeeperReplica>,
}

impl fmt::Display for PathChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, name, replicas } = self;
        let listed: Vec<String> = replicas.iter().map(ToString::to_string).collect();
        let has_peers = replicas.iter().any(|one| one.is_active && one.name != *name);
        write!(f, "{path} in Keeper is not as the plan has shown it: ")?;
        match (replicas.is_empty(), has_peers) {
            (true, _) => f.write_str("no replica is there any more"),
            (false, true) => write!(f, "it has {}, of another restore perhaps", listed.join(", ")),
            (false, false) => write!(f, "it has {}", listed.join(", ")),
        }?;
        f.write_str("; nothing was made: the same restore again ")?;
        f.write_str(if has_peers { "fetches what is there" } else { "plans by what is there now" })
    }
}

/// Why a table is not restored, or incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRestored {
    /// The plan leaves it out.
    Skipped(String),
    /// It could not be planned.
    Impossible(String),
    /// Something in Keeper is in its way.
    Blocked(Box<ReplicaObstacle>),
    /// The state of its path in Keeper has changed since the plan was made.
    PathChanged(Box<PathChange>),
    /// Parts of it are noted as damaged, and `--damaged` was not given.
    Damaged(DamagedParts),
    /// The server refused its definition, with or without its data.
    DefinitionRefused {
        /// The server's message.
        message: String,
        /// The server's error code, if it gave one.
        code: Option<i32>,
    },
    /// The server refused another statement, or the table is not what it should be.
    Refused(String),
    /// Parts are missing or different.
    Parts(Box<WrongParts>),
    /// Some partitions were left as they are.
    PartitionsLeft(PartitionsLeft),
    /// Rows are missing.
    Rows,
    /// The number of rows in its dump differs from that of the table that it was inserted into.
    DumpRows {
        /// Rows of the dump.
        expected: u64,
        /// Rows of the table.
        found: u64,
    },
}

impl NotRestored {
    /// The stable name of the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Skipped(_) => "skipped",
            Self::Impossible(_) => "impossible",
            Self::Blocked(obstacle) => obstacle.word(),
            Self::PathChanged(_) => "keeper_path_changed",
            Self::Damaged(_) => "damaged_parts",
            Self::DefinitionRefused { .. } => "definition_refused",
            Self::Refused(_) => "refused",
            Self::Parts(parts) if parts.first.difference == PartDifference::Missing => "missing_parts",
            Self::Parts(_) => "different_parts",
            Self::PartitionsLeft(_) => "partitions_left",
            Self::Rows | Self::DumpRows { .. } => "missing_rows",
        }
    }
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) | Self::Impossible(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Blocked(obstacle) => obstacle.fmt(f),
            Self::PathChanged(change) => change.fmt(f),
            Self::Damaged(damaged) => write!(f, "{damaged}; --damaged restores them as they are"),
            Self::DefinitionRefused { message, .. } => f.write_str(message),
            Self::Parts(parts) => parts.fmt(f),
            Self::PartitionsLeft(left) => left.fmt(f),
            Self::DumpRows { expected, found } => {
                let (expected, found) = (count(*expected, "row"), count(*found, "row"));
                write!(f, "it had {found} after its dump of {expected} was restored, and was dropped again")
            }
            Self::Rows => {
                f.write_str("merges of the server, or the table's TTL, have taken rows before they could be compared")
            }
        }
    }
}

impl fmt::Display for WrongParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server did not take all of it: {}", self.first)?;
        if self.more > 0 {
            write!(f, ", and {} more", self.more)?;
        }
        if let Some(SetAside { part, directory, reason }) = &self.set_aside {
            let subject = if *part == self.first.part { "it".to_owned() } else { format!("part {part}") };
            write!(f, "; the server moved {subject} to detached/{directory}")?;
            if let Some(reason) = reason {
                write!(f, " ({reason})")?;
            }
        }
        match &self.fate {
            TableFate::Dropped => f.write_str("; it was dropped again"),
            TableFate::Stays(part) => {
                write!(f, "; it stays as it is, because its part {part} is not from the snapshot")
            }
        }
    }
}

/// The fields of a [`NotRestored`] in a document: `reason`, a sentence, and `reason_kind`, a stable word.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct NotRestoredFields {
    /// Why it is not restored, or incomplete: a sentence.
    reason: String,
    /// The stable name of that reason.
    reason_kind: &'static str,
}

impl Serialize for NotRestored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        NotRestoredFields { reason: self.to_string(), reason_kind: self.kind() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{NotRestored, SetAside, TableFate, WrongParts};
    use crate::model::PartName;
    use crate::plan::{PartDifference, WrongPart};

    #[test]
    fn a_part_that_was_set_aside_is_named_with_the_servers_reason() {
        let part = |name: &str| PartName::try_from(name.to_owned()).expect("a name");
        let mut parts = WrongParts {
            first: WrongPart { part: part("all_1_1_0"), difference: PartDifference::Missing },
            more: 1,
            set_aside: Some(SetAside {
                part: part("all_1_1_0"),
                directory: "broken_all_1_1_0".to_owned(),
                reason: Some("no file".to_owned()),
            }),
            fate: TableFate::Dropped,
        };
        assert_eq!(
            NotRestored::Parts(Box::new(parts.clone())).to_string(),
            "the server did not take all of it: part all_1_1_0 is missing, and 1 more; the server moved it to \
             detached/broken_all_1_1_0 (no file); it was dropped again"
        );
        parts.first.difference = PartDifference::Rows { expected: 2, found: 1 };
        parts.first.part = part("all_2_2_0");
        let different = NotRestored::Parts(Box::new(parts));
        assert_eq!(different.kind(), "different_parts");
        assert!(different.to_string().contains("moved part all_1_1_0 to"), "{different}");
    }
}
