//! Warnings: facts that the user should know about an operation that was completed nevertheless.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TableName;

/// A warning of a run: with any of these its exit code is 3.
///
/// In JSON it is an object of `kind`, `table` (`database.table`, or null) and `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The kind of warning.
    pub kind: WarningKind,
    /// The table that it is about, if it is about one.
    pub table: Option<TableName>,
    /// The sentence for the user. Its wording may change between versions.
    pub message: String,
}

impl Warning {
    /// A warning that does not concern a single table.
    #[must_use]
    pub fn new(kind: WarningKind, message: impl Into<String>) -> Self {
        Self { kind, table: None, message: message.into() }
    }

    /// A warning about a table.
    #[must_use]
    pub fn of_table(kind: WarningKind, table: &TableName, message: impl Into<String>) -> Self {
        Self { kind, table: Some(table.clone()), message: message.into() }
    }

    /// Turns a warning that is shown next to its table into one of the whole run: it then names the table.
    #[must_use]
    pub fn naming(&self, table: &TableName) -> Self {
        Self::of_table(self.kind, table, format!("{table}: {}", self.message))
    }

    /// The same warning with its origin before the sentence: a repository, or a step of a run.
    #[must_use]
    pub fn from_origin(self, origin: impl fmt::Display) -> Self {
        Self { message: format!("{origin}: {}", self.message), ..self }
    }
}

/// The sentence.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

#[derive(Serialize, Deserialize)]
struct WarningRow {
    kind: WarningKind,
    table: Option<String>,
    message: String,
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table = self.table.as_ref().map(ToString::to_string);
        WarningRow { kind: self.kind, table, message: self.message.clone() }.serialize(serializer)
    }
}

/// `database.table` does not show where a name with a dot ends: the text is split at the first dot. A table that was
/// read prints as it was.
impl<'de> Deserialize<'de> for Warning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WarningRow { kind, table, message } = WarningRow::deserialize(deserializer)?;
        let table = table.as_deref().and_then(|table| table.split_once('.'));
        Ok(Self { kind, table: table.map(|(database, table)| TableName::new(database, table)), message })
    }
}

/// The kinds of warnings. Their names, in `snake_case`, are stable: programs may go by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    // Of `create`: something of the server is not in the snapshot.
    /// A table's name cannot be written down, so the table is not in the snapshot.
    UnusableName,
    /// The data of a table cannot be frozen; only its definition is in the snapshot.
    DataLeftBehind,
    /// A `Distributed` table has blocks that it has not sent yet; they are not in the snapshot.
    DistributedPending,
    /// The server has no MergeTree table to take.
    NothingToTake,
    /// A table could not be taken.
    TableSkipped,
    /// The user may not freeze every table.
    FreezeNotGranted,
    /// The metadata version of a part could not be read.
    MetadataVersionLost,
    /// Mutations kept finishing while a table was frozen.
    MutationsMoved,
    /// An unfinished mutation could not be read.
    MutationLost,
    /// Unfinished mutations are in Keeper: the snapshot has their statements, and parts without them.
    MutationsInKeeper,
    /// A replicated table was read-only or had lost its session with Keeper when it was taken, or may be so after a restore.
    ReplicaReadOnly,
    /// A replicated table was behind its peers when it was taken, or its peers are not active or behind after a restore.
    ReplicaBehind,
    /// The state of replicated tables could not be read.
    ReplicasUnknown,
    /// A table or a database that the server does not list: it is detached, failed to load, or is hidden from the user.
    NotListed,
    /// A part is damaged on the server.
    DamagedOnServer,
    /// The rows of a table could not be summed.
    RowsNotSummed,
    /// A table of a snapshot of one moment is of another moment.
    OffMoment,
    /// The definition of a table is without the secrets that the server hides, or a snapshot was pushed without secrets.
    SecretsHidden,
    /// A snapshot is in a store with its secrets, and was to be pushed without them.
    SecretsPresent,
    /// Objects that a pushed snapshot reuses could not be locked for as long as new ones are.
    LockNotExtended,
    /// Functions, access entities or named collections could not be read.
    ServerFilesUnreadable,
    /// Users, collections … are kept in Keeper, and not in the snapshot.
    InKeeper,

    // Of `import`.
    /// A tree has no definition of a table that can be read.
    DefinitionMissing,
    /// A tree does not say when it was made, or says a time in the future; the time of its directory is taken.
    TimeUnknown,
    /// Parts of a tree are not taken because another one of it holds their rows.
    PartsCovered,

    // Of `create` and `gc`: the repository and its surroundings.
    /// Something of an interrupted run could not be cleaned up yet.
    LeftoverPending,
    /// The clock is behind the newest snapshot or event.
    ClockBehind,
    /// The last snapshot could not be read, so nothing is linked from it.
    PreviousUnreadable,
    /// The journal, a file of it or a line could not be read: damage that was noted there is not known.
    JournalUnreadable,
    /// Files were copied because equal ones have as many links as they may have.
    LinkLimit,
    /// The snapshot is committed, and something that follows a commit failed; the next run does it.
    CommitIncomplete,
    /// A removed snapshot stays in the trash because it is being read.
    SnapshotInUse,

    // Of commands that read the repository.
    /// A repository or a snapshot has a format that a newer version reads.
    NewerFormat,
    /// A snapshot could not be read.
    SnapshotUnreadable,
    /// Something in `snapshots/` is not a snapshot.
    ForeignEntry,
    /// A snapshot was removed while it was read.
    SnapshotRemoved,
    /// A repository could not be read.
    RepositoryUnreadable,
    /// A directory that may hold repositories could not be read.
    DirectoryUnreadable,
    /// The usage of a repository could not be measured.
    UsageUnknown,
    /// Something was not counted because it could not be read.
    NotCounted,
    /// Snapshots were added or removed while they were counted.
    CountUnsettled,
    /// A snapshot differs from its entry in the index.
    SnapshotChanged,
    /// Files have fewer links than the index has.
    LinksMissing,
    /// The index differed from the files and was corrected.
    IndexCorrected,

    // Of `prune`, `diff` and `verify`.
    /// Removing everything removable frees less than requested.
    FreesTooLittle,
    /// The snapshots were compared in the reverse order of their making.
    ReverseOrder,
    /// The server's files could not be read, so parts are compared by what the server reports.
    LiveFilesUnreadable,
    /// Entries were not checked because this user may not read them.
    NotChecked,
    /// The verification is not recorded in the journal.
    CheckNotRecorded,
    /// Not everything was repaired.
    RepairIncomplete,
    /// Owners or modes are not those of the record; no byte is known to be wrong.
    Drift,
    /// A snapshot has known damage.
    DamageFound,

    // Of `monitor`.
    /// A snapshot was not restored as it was taken when it was drilled.
    DrillFailed,
    /// The newest snapshot lacks a table that it could have had.
    SnapshotIncomplete,
    /// Not every byte of a snapshot was read for long.
    NotVerified,
    /// The last unattended prune was refused.
    PruneRefused,

    // Of `run`.
    /// Less is free than `min_free` asks for.
    LowSpace,
    /// A hook failed.
    HookFailed,
    /// The ping address was not reached.
    PingFailed,
    /// The figures for Prometheus were not written.
    MetricsNotWritten,

    // Of `restore` and `drill`.
    /// A table was not made, or not attached.
    TableNotRestored,
    /// A table is back with fewer rows than the snapshot has.
    RowsMissing,
    /// A table, function, named collection or workload exists, stays, and differs from the snapshot's.
    ExistingDiffers,
    /// A database, function, named collection or workload was not made.
    ObjectNotMade,
    /// A user, role, quota, policy or settings profile was not made, or not with all that it had.
    AccessNotMade,
    /// A user, role, quota, policy or settings profile of the snapshot cannot be shown, or only in part.
    AccessUnreadable,
    /// Parts are noted as damaged, and are restored as they are.
    DamagedParts,
    /// A table was restored without patch parts or mutations that ClickHouse's own RESTORE cannot bring back.
    UpdatesLeftOut,
    /// A part is noted as damaged; an intact copy of another snapshot is restored instead.
    IntactCopy,
    /// A drill did not prove a table: data is missing or different.
    TableNotProven,
    /// A drill could not try a table.
    TableNotTried,
    /// Rows past their TTL may be dropped before they are compared.
    TtlNotHeld,
    /// A table was attached with its merges off, and they could not be allowed again.
    MergesHeld,
    /// A definition still names a table or a database by its old name.
    OldNameLeft,
    /// A table that a view writes to or reads does not exist.
    TableMissing,
    /// The object that the server made differs from its definition.
    DefinitionChanged,
    /// A refreshable view overwrites what its target has.
    ViewRefreshes,
    /// The live table has columns that the snapshot does not have.
    ColumnsMissing,
    /// Copies do not have all attributes of the snapshot's files.
    AttributesLost,
    /// The table that was replaced could not be dropped, or has changed and stays.
    ReplacedTableKept,
    /// Rows that were inserted into a partition while it was replaced are lost.
    InsertReplaced,
    /// A temporary table or database could not be dropped.
    TemporaryLeft,
    /// A replicated table was made, and has the data of its other replicas, not of the snapshot.
    ReplicaFetched,
    /// A replica of a restored table has other content in a part of the same name.
    ReplicaDiffers,
    /// A host of a cluster does not answer, or refuses, so that something is not there.
    HostMissing,
    /// A table was made and has some of its partitions; the next restore adds the others.
    FilledInPart,
    /// An option has no effect.
    OptionUnused,

    /// A sentence whose kind is not known: an older version wrote it without one, or a newer one with a kind of its own.
    #[serde(other)]
    Unclassified,
}

/// The stable name.
impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Warning, WarningKind};
    use crate::model::TableName;

    #[test]
    fn a_kind_has_one_name_in_text_and_json() {
        assert_eq!(WarningKind::MutationsInKeeper.to_string(), "mutations_in_keeper");
        assert_eq!(json!(WarningKind::MutationsInKeeper), "mutations_in_keeper");
    }

    #[test]
    fn a_warning_prints_its_sentence_and_names_its_table_in_json() {
        let table = TableName::new("lab", "a.b");
        let warning = Warning::of_table(WarningKind::TableSkipped, &table, "no rights").from_origin("create");
        assert_eq!(warning.to_string(), "create: no rights");
        let row = json!({"kind": "table_skipped", "table": "lab.a.b", "message": "create: no rights"});
        assert_eq!(json!(warning), row);
        let row = json!({"kind": "link_limit", "table": null, "message": "x"});
        assert_eq!(json!(Warning::new(WarningKind::LinkLimit, "x")), row);
    }

    #[test]
    fn a_warning_that_was_read_prints_as_it_was() {
        for table in [json!(null), json!("lab.log"), json!("a.b.c")] {
            let row = json!({"kind": "data_left_behind", "table": table, "message": "m"});
            let read: Warning = serde_json::from_value(row.clone()).expect("a warning");
            assert_eq!(json!(read), row);
        }
    }
}
