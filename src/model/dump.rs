//! How the rows of tables are stored to which `FREEZE` does not apply.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// How the rows of a table without parts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DumpKind {
    /// The answer to one `SELECT` in the format `Native`, compressed by zstd.
    Native,
    /// The files `N.bin` of a `Set` or `Join` table, which the server replaces and never writes into.
    Files,
}

/// Totals of a snapshot's dumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DumpTotals {
    /// Tables.
    pub tables: u64,
    /// Their rows, without those of dumps whose rows are not known.
    pub rows: u64,
    /// Sum of the sizes of the files in the snapshot.
    pub bytes: u64,
}

impl DumpTotals {
    /// Whether there is no dump.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables == 0
    }
}

impl AddAssign for DumpTotals {
    fn add_assign(&mut self, other: Self) {
        self.tables += other.tables;
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
