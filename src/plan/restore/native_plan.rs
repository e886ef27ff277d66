//! The additions to a plain tree for ClickHouse's own `RESTORE`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::TableName;

/// How to treat a table whose last changes `RESTORE` cannot restore: patch parts that were not applied, mutations that
/// were not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeUpdates {
    /// It is refused.
    Refuse,
    /// It is restored without them.
    LeaveOut,
}

/// The changes that a tree lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct LeftUpdates {
    /// Tables that lack some changes.
    pub tables: u64,
    /// Patch parts that were not applied to every part.
    pub patch_parts: u64,
    /// Unfinished mutations.
    pub mutations: u64,
}

/// The additions to the tree of a [`DirectoryPlan`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativePlan {
    /// The table whose directory contains the parts of each placed table: for an inner table, its view.
    pub directories: BTreeMap<TableName, TableName>,
    /// The changes that restored tables lack.
    pub left_updates: LeftUpdates,
}
