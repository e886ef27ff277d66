//! Replicated tables, as their own server sees them.

use super::TableName;

/// A replicated table of a server: the facts that the server knows without asking Keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The table.
    pub table: TableName,
    /// The table's path in Keeper, macros expanded.
    pub keeper_path: String,
    /// This replica's name, macros expanded.
    pub name: String,
    /// Whether it is read-only: it fetches nothing from its peers, and accepts no inserts.
    pub is_read_only: bool,
    /// Whether its session with Keeper has ended.
    pub has_lost_session: bool,
    /// Seconds that it is behind its peers, to its own knowledge.
    pub delay_secs: u64,
}

/// An entry of a replica's queue: an operation that it must execute to match its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// The table.
    pub table: TableName,
    /// Its node in Keeper, whose name is unique.
    pub node: String,
    /// The kind of operation: `GET_PART`, `MERGE_PARTS` ….
    pub kind: String,
    /// The part that it concerns.
    pub part: String,
    /// Why it has not succeeded yet, if it has failed.
    pub exception: String,
}

impl QueueEntry {
    /// Whether the operation adds or removes rows or a definition. Merges and mutations only make other parts from
    /// existing ones.
    #[must_use]
    pub fn brings_data(&self) -> bool {
        !matches!(self.kind.as_str(), "MERGE_PARTS" | "MUTATE_PART")
    }
}
