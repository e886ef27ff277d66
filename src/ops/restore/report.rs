//! What a restore did, table by table.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::model::{Placed, SnapshotId, TableName, Warning, WarningKind};

use super::access::{AccessReport, AccessState};
use super::not_restored::NotRestored;

/// What became of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// Its parts stand where they were asked for, and were held against the manifest.
    Restored,
    /// The same, in the place of a table that was there before.
    Replaced,
    /// Its partitions are now among those of a table that was there before.
    Attached,
    /// It has no parts of its own in the snapshot: what defines it was made.
    Created,
    /// It was there already, and was left as it is.
    Present,
    /// It was not made, as the plan said: see its reason.
    Skipped,
    /// It is back with fewer rows than the snapshot has: merges or its TTL took them.
    Incomplete,
    /// It was not made: see its reason.
    Failed,
}

impl TableState {
    /// Whether parts of the snapshot are back.
    #[must_use]
    pub fn has_data(self) -> bool {
        matches!(self, Self::Restored | Self::Replaced | Self::Attached | Self::Incomplete)
    }
}

/// One table.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// Its database now.
    pub database: String,
    /// Its name now.
    pub table: String,
    /// The name that it has in the snapshot.
    pub from: TableName,
    /// Its engine in the snapshot.
    pub engine: String,
    /// What became of it.
    pub state: TableState,
    /// Rows, as the server counts them now; of a plain tree, as the manifest does.
    pub rows: u64,
    /// Rows by the manifest, of the parts that were asked for.
    pub expected_rows: u64,
    /// Parts that were placed.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Parts that the server lists under their names, each with the fingerprint of the manifest where both have one.
    pub verified_parts: u64,
    /// Parts that the server had merged or mutated before they could be compared.
    pub merged_parts: u64,
    /// Parts without rows that the server dropped as it attached the table.
    pub empty_parts: u64,
    /// How they were placed.
    pub placed: Placed,
    /// The table that it replaced, where that stays: its name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_table: Option<TableName>,
    /// Its UUID now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Whether that is another one than in the snapshot.
    pub uuid_changed: bool,
    /// Whether it is detached, as it was when the snapshot was made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_detached: bool,
    /// Why it is not back, or not whole: `reason` and `reason_kind` of a JSON document.
    #[serde(flatten)]
    pub reason: Option<NotRestored>,
    /// Statements that bring back the TTL that was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ttl_statements: Vec<String>,
    /// What the person should know of it: sentences in JSON.
    #[serde(serialize_with = "sentences")]
    pub warnings: Vec<Warning>,
}

fn sentences<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(|warning| &warning.message))
}

impl TableReport {
    /// A table of which nothing is done yet.
    #[must_use]
    pub fn new(from: &TableName, to: &TableName, engine: &str, state: TableState) -> Self {
        Self {
            database: to.database.clone(),
            table: to.table.clone(),
            from: from.clone(),
            engine: engine.to_owned(),
            state,
            rows: 0,
            expected_rows: 0,
            parts: 0,
            files: 0,
            bytes: 0,
            verified_parts: 0,
            merged_parts: 0,
            empty_parts: 0,
            placed: Placed::default(),
            replaced_table: None,
            uuid: None,
            uuid_changed: false,
            is_detached: false,
            reason: None,
            ttl_statements: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, kind: WarningKind, message: impl Into<String>) {
        self.warnings.push(Warning::new(kind, message));
    }

    /// Why it is not back, or not whole, as a warning.
    fn shortfall(&self) -> Option<Warning> {
        let kind = match self.state {
            TableState::Failed | TableState::Skipped => WarningKind::TableNotRestored,
            TableState::Incomplete => WarningKind::RowsMissing,
            _ => return None,
        };
        let reason = self.reason.as_ref().map_or_else(|| "no reason given".to_owned(), ToString::to_string);
        Some(Warning::new(kind, reason))
    }

    /// The name that it has now.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// What all tables have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoredTotals {
    /// Tables whose parts are back.
    pub tables: u64,
    /// Their parts.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// How they were placed.
    pub placed: Placed,
    /// Tables, views, dictionaries … that could not be made.
    pub failed: u64,
}

/// The outcome of a restore: the worst of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was missing, and everything is as in the snapshot.
    NothingToDo,
    /// What was to be restored came back.
    Restored,
    /// A table exists, stays, and differs from the snapshot; or something was not made, as the plan said.
    Differs,
    /// A table is back with fewer rows than the snapshot has.
    Incomplete,
    /// Something could not be restored.
    Failed,
}

/// What a restore did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its tables.
    pub tables: Vec<TableReport>,
    /// Databases, functions and named collections that were made.
    pub made: Vec<String>,
    /// Users, roles, quotas, policies, settings profiles of the snapshot, where they were looked at.
    pub access: Vec<AccessReport>,
    /// What the person should know, besides what stands with each table.
    pub warnings: Vec<Warning>,
    /// What to do next, which is no warning.
    pub notes: Vec<String>,
    /// Seconds spent in each stage, and in all of them together as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

impl Report {
    /// What all tables have together.
    #[must_use]
    pub fn totals(&self) -> RestoredTotals {
        let mut totals = RestoredTotals::default();
        for table in &self.tables {
            let has_data = table.state.has_data();
            totals.tables += u64::from(has_data);
            totals.failed += u64::from(table.state == TableState::Failed);
            if has_data {
                totals.parts += table.parts;
                totals.files += table.files;
                totals.rows = totals.rows.saturating_add(table.rows);
                totals.bytes = totals.bytes.saturating_add(table.bytes);
                totals.placed.renamed += table.placed.renamed;
                totals.placed.linked += table.placed.linked;
                totals.placed.reflinked += table.placed.reflinked;
                totals.placed.copied += table.placed.copied;
            }
        }
        totals
    }

    /// The worst of its tables.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let of_table = |table: &TableReport| match table.state {
            TableState::Failed => Outcome::Failed,
            TableState::Incomplete => Outcome::Incomplete,
            TableState::Skipped => Outcome::Differs,
            TableState::Present if !table.warnings.is_empty() => Outcome::Differs,
            TableState::Present => Outcome::NothingToDo,
            _ => Outcome::Restored,
        };
        let of_access = |access: &AccessReport| match access.state {
            AccessState::Made | AccessState::Replaced => Outcome::Restored,
            AccessState::Incomplete | AccessState::Refused | AccessState::Failed => Outcome::Differs,
            _ => Outcome::NothingToDo,
        };
        if self.restored_nothing() {
            return Outcome::Failed;
        }
        let made = if self.made.is_empty() { Outcome::NothingToDo } else { Outcome::Restored };
        self.tables.iter().map(of_table).chain(self.access.iter().map(of_access)).max().unwrap_or(made).max(made)
    }

    /// Whether something was to be restored, and nothing of it came back. What the plan skipped counts only where
    /// nothing else was wanted: no table that failed, none that is there, no object that was made.
    #[must_use]
    pub fn restored_nothing(&self) -> bool {
        let count = |state| self.tables.iter().filter(|table| table.state == state).count();
        let (failed, skipped, present) =
            (count(TableState::Failed), count(TableState::Skipped), count(TableState::Present));
        let is_all_left_out = failed + skipped + present == self.tables.len();
        let skips_all = skipped > 0 && present == 0 && self.made.is_empty();
        is_all_left_out && (failed > 0 || skips_all)
    }

    /// All that the person should know, each table that is not back among it: with any of these the exit code is 3.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        let of_table = |table: &TableReport| {
            let name = table.name();
            let warnings: Vec<Warning> =
                table.shortfall().iter().chain(&table.warnings).map(|warning| warning.naming(&name)).collect();
            warnings
        };
        self.warnings.iter().cloned().chain(self.tables.iter().flat_map(of_table)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Report, TableReport, TableState};
    use crate::model::TableName;

    #[test]
    fn nothing_came_back_where_all_that_was_wanted_failed_or_was_skipped() {
        use TableState::{Created, Failed, Incomplete, Present, Skipped};
        let restored_nothing = |states: &[TableState], made: &[&str]| {
            let name = TableName::new("d", "t");
            let table = |state: &TableState| TableReport::new(&name, &name, "MergeTree", *state);
            Report {
                snapshot: "2026-11-22T020000Z".parse().expect("an id"),
                tables: states.iter().map(table).collect(),
                made: made.iter().map(|made| (*made).to_owned()).collect(),
                access: Vec::new(),
                warnings: Vec::new(),
                notes: Vec::new(),
                seconds: BTreeMap::new(),
            }
            .restored_nothing()
        };
        for states in [&[Failed][..], &[Skipped], &[Failed, Skipped], &[Failed, Present]] {
            assert!(restored_nothing(states, &[]), "{states:?}");
        }
        for states in [&[][..], &[Present], &[Skipped, Present], &[Created, Failed], &[Incomplete, Skipped]] {
            assert!(!restored_nothing(states, &[]), "{states:?}");
        }
        assert!(!restored_nothing(&[Skipped], &["function f"]) && restored_nothing(&[Failed], &["function f"]));
    }
}
