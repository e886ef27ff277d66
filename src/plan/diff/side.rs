//! One of the two compared states.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid};

use super::parts::SidePart;

/// One of the two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffSide {
    /// Its name in the diffs of definitions.
    pub name: String,
    /// Its tables.
    pub tables: BTreeMap<TableName, SideTable>,
}

/// A table of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideTable {
    /// Its UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// Its definition, if known, and whether that is the server's own file.
    pub definition: Option<(String, bool)>,
    /// Its parts.
    pub held: SideContent,
}

/// The parts of a table, if the side has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideContent {
    /// These parts.
    Parts(Vec<SidePart>),
    /// The table has none that could be taken: for example a view.
    Nothing,
    /// The table has none: its rows are in a dump.
    Dump(DumpedRows),
    /// They are not available, for this reason.
    Left(String),
    /// The server does not read them now: the table or its database is detached.
    Detached,
}

/// The rows of a table without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedRows {
    /// Their number, if known.
    pub rows: Option<u64>,
    /// The digest of the rows: equal digests mean equal rows. `None` for a live table.
    pub digest: Option<String>,
}

impl Default for SideContent {
    fn default() -> Self {
        Self::Parts(Vec::new())
    }
}
