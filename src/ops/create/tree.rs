//! What stands in a snapshot in the making.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Table, TableName};
use crate::plan::TableSkipReason;
use crate::server::FunctionRow;

use super::attempt::Attempt;

/// A table that stands in the snapshot.
#[derive(Debug)]
pub(super) struct TakenTable {
    pub(super) attempt: Attempt,
    /// As it was after the freeze.
    pub(super) after: Table,
    pub(super) freezes: u32,
    /// Files of unfinished mutations to carry.
    pub(super) mutations: Vec<String>,
}

/// All tables that were tried.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) taken: BTreeMap<TableName, TakenTable>,
    pub(super) skipped: BTreeMap<TableName, SkippedTable>,
    /// Tables that were detached while the snapshot was made, and taken as detached ones.
    pub(super) detached: BTreeSet<TableName>,
    /// The server's functions at the last look, where there was one and they belong in the snapshot.
    pub(super) functions: Option<Vec<FunctionRow>>,
}

/// A table that is not in the snapshot.
#[derive(Debug)]
pub(super) struct SkippedTable {
    /// As it was last seen.
    pub(super) table: Table,
    pub(super) reason: TableSkipReason,
}
