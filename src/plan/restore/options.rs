//! What a restore is asked to do.

use crate::plan::{Renames, Replicated};

/// What of tables is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Definitions and data.
    #[default]
    All,
    /// Definitions: tables are empty.
    Schema,
    /// Data, into tables that are there.
    Data,
}

/// What a restore is asked to do.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// What of tables is restored.
    pub what: What,
    /// Whether anything was selected, by table, partition, new name or expressly all. Without a selection only what is
    /// missing comes back.
    pub selects: bool,
    /// Whether single partitions are asked for.
    pub has_partitions: bool,
    /// Whether what is there may be replaced.
    pub replace: bool,
    /// New names.
    pub renames: Renames,
    /// What becomes of Replicated engines.
    pub replicated: Replicated,
}
