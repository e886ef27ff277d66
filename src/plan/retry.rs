//! Why a table is frozen again.

use std::fmt;

use crate::model::{PartName, TableName};

/// Why a table is frozen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryReason {
    /// The server's counter of freezes was in use. The server's message.
    CounterRace(String),
    /// Another table has its name.
    Renamed(TableName),
    /// The definition differs between the two looks.
    DefinitionChanged,
    /// The definition in the snapshot would belong to another table.
    DefinitionOfAnother,
    /// Its definition could not be read.
    DefinitionMissing,
    /// A part that was active throughout is not in the shadow.
    PartMissed(PartName),
    /// A part was merged or moved away before it was linked.
    PartVanished(PartName),
    /// It has parts, and none is in the shadow.
    NothingFrozen,
    /// A mutation began during the freeze.
    MutationBegan(String),
    /// A mutation was killed or forgotten during the freeze.
    MutationEnded(String),
    /// A part's metadata version could not be read.
    VersionLost(PartName),
    /// A part is not intact.
    PartBroken {
        /// The part.
        part: PartName,
        /// The first problem.
        problem: String,
    },
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CounterRace(message) => f.write_str(message),
            Self::Renamed(name) => write!(f, "{name} has its place"),
            Self::DefinitionChanged => f.write_str("its definition changed while it was frozen"),
            Self::DefinitionOfAnother => f.write_str("it was exchanged with another table while it was frozen"),
            Self::DefinitionMissing => f.write_str("its definition could not be read"),
            Self::PartMissed(part) => write!(f, "its part {part} is active, but the server did not freeze it"),
            Self::PartVanished(part) => write!(f, "its part {part} was merged or moved away before it was linked"),
            Self::NothingFrozen => f.write_str("it has parts, but the server froze none"),
            Self::MutationBegan(id) => write!(f, "mutation {id} began while it was frozen"),
            Self::MutationEnded(id) => write!(f, "mutation {id} ended while it was frozen"),
            Self::VersionLost(part) => write!(f, "the metadata version of its part {part} could not be read"),
            Self::PartBroken { part, problem } => write!(f, "part {part}: {problem}"),
        }
    }
}
