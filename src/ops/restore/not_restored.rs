//! Why a table is not back, or not whole.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::model::{PartName, count};
use crate::plan::{DamagedParts, PartDifference, WrongPart};

/// A part that the server moved to `detached/` as it attached the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The part.
    pub part: PartName,
    /// Its directory's name in `detached/`: `broken-on-start_all_1_1_0`.
    pub directory: String,
    /// The server's own words: the error with which it loaded the part, else the reason that it lists, if it is known.
    pub reason: Option<String>,
}

/// What became of a table whose parts are not as in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFate {
    /// It was dropped: it never looks whole.
    Dropped,
    /// It stays, because it has this part, which is not from the snapshot.
    Stays(PartName),
}

/// Parts that are not as in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongParts {
    /// The first of them.
    pub first: WrongPart,
    /// How many more there are.
    pub more: usize,
    /// The first of them that the server moved to `detached/`.
    pub set_aside: Option<SetAside>,
    /// What became of the table.
    pub fate: TableFate,
}

/// Why a table is not back, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRestored {
    /// The plan leaves it out.
    Skipped(String),
    /// The plan could not make it.
    Impossible(String),
    /// Parts of it are noted as damaged, and `--damaged` was not given.
    Damaged(DamagedParts),
    /// The server refused its definition, with or without its data.
    DefinitionRefused {
        /// The server's words.
        message: String,
        /// The server's error code, where it gave one.
        code: Option<i32>,
    },
    /// The server refused another statement, or the table is not what it should be.
    Refused(String),
    /// Parts are missing or different.
    Parts(Box<WrongParts>),
    /// Rows are missing.
    Rows,
    /// Its dump has another number of rows than the table that it was inserted into.
    DumpRows {
        /// Rows of the dump.
        expected: u64,
        /// Rows of the table.
        found: u64,
    },
}

impl NotRestored {
    /// A stable word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Skipped(_) => "skipped",
            Self::Impossible(_) => "impossible",
            Self::Damaged(_) => "damaged_parts",
            Self::DefinitionRefused { .. } => "definition_refused",
            Self::Refused(_) => "refused",
            Self::Parts(parts) if parts.first.difference == PartDifference::Missing => "missing_parts",
            Self::Parts(_) => "different_parts",
            Self::Rows | Self::DumpRows { .. } => "missing_rows",
        }
    }
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) | Self::Impossible(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Damaged(damaged) => write!(f, "{damaged}; --damaged restores them as they are"),
            Self::DefinitionRefused { message, .. } => f.write_str(message),
            Self::Parts(parts) => parts.fmt(f),
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

/// `reason`, a sentence, and `reason_kind`, a stable word.
impl Serialize for NotRestored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("NotRestored", 2)?;
        fields.serialize_field("reason", &self.to_string())?;
        fields.serialize_field("reason_kind", self.kind())?;
        fields.end()
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
