//! The tables of a snapshot being made.

use std::collections::BTreeMap;

use crate::model::{Detachment, LackedMutation, Table, TableName};
use crate::plan::{OffMomentReason, TableSkipReason};
use crate::server::FunctionRow;

use super::attempt::TableAttempt;

/// A table in the snapshot.
#[derive(Debug)]
pub(super) struct TakenTable {
    pub(super) attempt: TableAttempt,
    /// The table after the freeze.
    pub(super) after: Table,
    pub(super) freezes: u32,
    /// Files of its unfinished mutations to include.
    pub(super) mutations: Vec<String>,
    /// Unfinished mutations that only Keeper has.
    pub(super) in_keeper: Vec<LackedMutation>,
    /// Why it is not of the snapshot's moment, if the snapshot has one and this table is not of it.
    pub(super) off_moment: Option<OffMomentReason>,
}

/// All tables that were tried.
#[derive(Debug, Default)]
pub(super) struct TriedTables {
    pub(super) taken: BTreeMap<TableName, TakenTable>,
    pub(super) skipped: BTreeMap<TableName, SkippedTable>,
    /// Tables that were detached while the snapshot was made, and taken as detached ones.
    pub(super) detached: BTreeMap<TableName, Option<Detachment>>,
    /// The server's functions at the last look, if there was one and they belong in the snapshot.
    pub(super) functions: Option<Vec<FunctionRow>>,
}

/// A table that is not in the snapshot.
#[derive(Debug)]
pub(super) struct SkippedTable {
    /// The table as it was last seen.
    pub(super) table: Table,
    pub(super) reason: TableSkipReason,
}
