//! The report of a restore, table by table.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::model::{PlacedTotals, SnapshotId, TableName, Warning, WarningKind};

use super::access::{AccessReport, AccessState};
use super::native::NativeReport;
use super::not_restored::{NotRestored, NotRestoredFields};

/// The outcome for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoredState {
    /// Its parts are where they were requested, and were compared with the manifest.
    Restored,
    /// The same, and it replaced an existing table.
    Replaced,
    /// Its partitions were added to an existing table.
    Attached,
    /// It has no parts of its own in the snapshot: it was created from its definition.
    Created,
    /// It existed already, and was left as it is.
    Present,
    /// A replicated table that has, or is fetching, the present data of its other replicas.
    Fetched,
    /// It was not created, because a dropped table still has its path in Keeper: see its reason.
    Waiting,
    /// It was not created, as planned: see its reason.
    Skipped,
    /// It was restored with fewer rows than the snapshot has: merges or its TTL removed them.
    Incomplete,
    /// It was not created: see its reason.
    Failed,
}

impl RestoredState {
    /// Whether parts of the snapshot were restored.
    #[must_use]
    pub fn has_data(self) -> bool {
        matches!(self, Self::Restored | Self::Replaced | Self::Attached | Self::Incomplete)
    }
}

/// The rows that a replicated table has on another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ReplicaRows {
    /// The name of the replica.
    pub name: String,
    /// Its host, as `host:port`.
    pub host: String,
    /// Rows in its active parts.
    pub rows: u64,
}

/// How a replicated table compares with its other replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ReplicaReport {
    /// Replicas that Keeper knows.
    pub total_replicas: u64,
    /// Replicas that have a session.
    pub active_replicas: u64,
    /// Unfinished entries of its queue.
    pub queue_size: u64,
    /// Whether it is read-only.
    pub is_readonly: bool,
    /// The rows of the replicas on the hosts of this server's clusters that answered.
    pub hosts: Vec<ReplicaRows>,
}

/// The report of one table.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct TableReport {
    /// Its database now.
    pub database: String,
    /// Its name now.
    pub table: String,
    /// The name that it has in the snapshot.
    pub from: TableName,
    /// Its engine in the snapshot.
    pub engine: String,
    /// The outcome.
    pub state: RestoredState,
    /// Rows, as the server counts them now; for a plain tree, as recorded in the manifest.
    pub rows: u64,
    /// Rows of the wanted parts, as recorded in the manifest.
    pub expected_rows: u64,
    /// Rows of the snapshot that a table which stays lacks because they are past its TTL.
    #[serde(skip_serializing_if = "is_zero")]
    pub expired_rows: u64,
    /// Parts that were placed.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Parts that the server lists under their names; each has the fingerprint of the manifest if both have one.
    pub verified_parts: u64,
    /// Parts that the server had merged or mutated before they could be compared.
    pub merged_parts: u64,
    /// Parts without rows that the server dropped when it attached the table.
    pub empty_parts: u64,
    /// How they were placed.
    pub placed: PlacedTotals,
    /// The present name of the table that it replaced, if that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_table: Option<TableName>,
    /// Its UUID now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Whether its UUID differs from that in the snapshot.
    pub uuid_changed: bool,
    /// Whether it is detached, as it was when the snapshot was made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_detached: bool,
    /// Why it is not restored, or incomplete: `reason` and `reason_kind` of a JSON document.
    #[serde(flatten)]
    #[schemars(with = "Option<NotRestoredFields>")]
    pub reason: Option<NotRestored>,
    /// How a replicated table that was created or written to compares with its other replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaReport>,
    /// For a table that existed: hosts of the cluster on which it was created because they lacked it, as `host:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made_on_hosts: Vec<String>,
    /// Statements that restore the TTL that was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ttl_statements: Vec<String>,
    /// The warnings about it: sentences in JSON.
    #[serde(serialize_with = "sentences")]
    #[schemars(with = "Vec<String>")]
    pub warnings: Vec<Warning>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn sentences<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(warnings.iter().map(|warning| &warning.message))
}

impl TableReport {
    /// A table for which nothing has been done yet.
    #[must_use]
    pub fn new(from: &TableName, to: &TableName, engine: &str, state: RestoredState) -> Self {
        Self {
            database: to.database.clone(),
            table: to.table.clone(),
            from: from.clone(),
            engine: engine.to_owned(),
            state,
            rows: 0,
            expected_rows: 0,
            expired_rows: 0,
            parts: 0,
            files: 0,
            bytes: 0,
            verified_parts: 0,
            merged_parts: 0,
            empty_parts: 0,
            placed: PlacedTotals::default(),
            replaced_table: None,
            uuid: None,
            uuid_changed: false,
            is_detached: false,
            reason: None,
            replica: None,
            made_on_hosts: Vec::new(),
            ttl_statements: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, kind: WarningKind, message: impl Into<String>) {
        self.warnings.push(Warning::new(kind, message));
    }

    /// Why it is not restored, or incomplete, as a warning.
    fn shortfall(&self) -> Option<Warning> {
        let kind = match self.state {
            RestoredState::Failed | RestoredState::Skipped | RestoredState::Waiting => WarningKind::TableNotRestored,
            RestoredState::Incomplete => WarningKind::RowsMissing,
            _ => return None,
        };
        let reason = self.reason.as_ref().map_or_else(|| "no reason given".to_owned(), ToString::to_string);
        Some(Warning::new(kind, reason))
    }

    /// Its present name.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// Totals over all tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct RestoredTotals {
    /// Tables whose parts were restored.
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
    pub placed: PlacedTotals,
    /// Tables, views, dictionaries … that could not be created.
    pub failed: u64,
}

/// The outcome of a restore: the worst of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// Nothing was missing, and everything matches the snapshot.
    NothingToDo,
    /// Everything requested was restored.
    Restored,
    /// A table exists, stays, and differs from the snapshot; or something was not created, as planned.
    Differs,
    /// A table was restored with fewer rows than the snapshot has.
    Incomplete,
    /// Something could not be restored.
    Failed,
}

impl RestoreOutcome {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingToDo => "nothing_to_do",
            Self::Restored => "restored",
            Self::Differs => "differs",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }
}

/// The report of a restore.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its tables.
    pub tables: Vec<TableReport>,
    /// Databases, functions and named collections that were created.
    pub made: Vec<String>,
    /// Users, roles, quotas, policies and settings profiles of the snapshot, if they were considered.
    pub access: Vec<AccessReport>,
    /// Figures of the tree for ClickHouse's own `RESTORE`, if one was made.
    pub native: Option<NativeReport>,
    /// Warnings besides those of each table.
    pub warnings: Vec<Warning>,
    /// The next steps, except those that are warnings.
    pub notes: Vec<String>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

impl Report {
    /// Totals over all tables.
    #[must_use]
    pub fn totals(&self) -> RestoredTotals {
        let mut totals = RestoredTotals::default();
        for table in &self.tables {
            let has_data = table.state.has_data();
            totals.tables += u64::from(has_data);
            totals.failed += u64::from(table.state == RestoredState::Failed);
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

    /// The worst outcome of its tables.
    #[must_use]
    pub fn outcome(&self) -> RestoreOutcome {
        let of_table = |table: &TableReport| match table.state {
            RestoredState::Failed => RestoreOutcome::Failed,
            RestoredState::Incomplete => RestoreOutcome::Incomplete,
            RestoredState::Skipped | RestoredState::Waiting | RestoredState::Fetched => RestoreOutcome::Differs,
            RestoredState::Present if !table.warnings.is_empty() => RestoreOutcome::Differs,
            RestoredState::Present if !table.made_on_hosts.is_empty() => RestoreOutcome::Restored,
            RestoredState::Present => RestoreOutcome::NothingToDo,
            _ => RestoreOutcome::Restored,
        };
        let of_access = |access: &AccessReport| match access.state {
            AccessState::Made | AccessState::Replaced => RestoreOutcome::Restored,
            AccessState::Incomplete | AccessState::Refused | AccessState::Failed => RestoreOutcome::Differs,
            _ => RestoreOutcome::NothingToDo,
        };
        if self.restored_nothing() {
            return RestoreOutcome::Failed;
        }
        let made = if self.made.is_empty() { RestoreOutcome::NothingToDo } else { RestoreOutcome::Restored };
        self.tables.iter().map(of_table).chain(self.access.iter().map(of_access)).max().unwrap_or(made).max(made)
    }

    /// Whether something was to be restored, and nothing was. Tables that the plan skipped count only if nothing else
    /// was requested: no table failed or existed, and no object was created.
    #[must_use]
    pub fn restored_nothing(&self) -> bool {
        let count = |state| self.tables.iter().filter(|table| table.state == state).count();
        let skipped = count(RestoredState::Skipped) + count(RestoredState::Waiting);
        let (failed, present) = (count(RestoredState::Failed), count(RestoredState::Present));
        let is_all_left_out = failed + skipped + present == self.tables.len();
        let skips_all = skipped > 0 && present == 0 && self.made.is_empty();
        is_all_left_out && (failed > 0 || skips_all)
    }

    /// All warnings, including each table that is not restored: with any of these the exit code is 3.
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

    use super::{Report, RestoredState, TableReport};
    use crate::model::TableName;

    #[test]
    fn a_restore_in_which_every_table_failed_or_was_skipped_restored_nothing() {
        use RestoredState::{Created, Failed, Incomplete, Present, Skipped};
        let restored_nothing = |states: &[RestoredState], made: &[&str]| {
            let name = TableName::new("d", "t");
            let table = |state: &RestoredState| TableReport::new(&name, &name, "MergeTree", *state);
            Report {
                snapshot: "2026-11-22T020000Z".parse().expect("an id"),
                tables: states.iter().map(table).collect(),
                made: made.iter().map(|made| (*made).to_owned()).collect(),
                access: Vec::new(),
                native: None,
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
