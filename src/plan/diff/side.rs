//! One of the two states that are compared.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid};

use super::parts::SidePart;

/// One of the two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// What it is called in the differences of definitions.
    pub name: String,
    /// Its tables.
    pub tables: BTreeMap<TableName, SideTable>,
}

/// A table of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideTable {
    /// Its UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// Its definition, where it is known, and whether that is the server's own file.
    pub definition: Option<(String, bool)>,
    /// Its parts.
    pub held: Held,
}

/// The parts of a table, as far as a side has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are these.
    Parts(Vec<SidePart>),
    /// The table has none that could be taken: a view, say.
    Nothing,
    /// The table has none: its rows are a dump.
    Dump(DumpedRows),
    /// They are not here, for this reason.
    Left(String),
    /// The server does not read them at the moment: the table, or its database, is detached.
    Detached,
}

/// The rows of a table without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedRows {
    /// How many there are, where that is known.
    pub rows: Option<u64>,
    /// What tells them from others: equal where the rows are the same. None of a live table.
    pub digest: Option<String>,
}

impl Default for Held {
    fn default() -> Self {
        Self::Parts(Vec::new())
    }
}
