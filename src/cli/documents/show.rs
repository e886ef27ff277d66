use chrono::{DateTime, Utc};
use chsnap::model::{
    Detachment, DumpTotals, Label, LackedMutation, Moment, OffMoment, PlacedTotals, SnapshotId, SnapshotTotals,
    TableUuid,
};
use chsnap::repo::{
    CopiedFrom, CreateSettings, DatabaseEntry, Dump, ExtractedFrom, ImportedFrom, MetadataFile, ReplicaEntry,
    SecretsLeftOut, ServerEntry, TableEntry,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DrilledRow, PinRow, VerifiedRow};

/// `show`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ShowDocument {
    /// `complete`.
    pub(in super::super) state: String,
    /// The version of the manifest's format.
    pub(in super::super) format: u32,
    /// The version of chsnap that made it.
    pub(in super::super) chsnap: String,
    /// Its id.
    pub(in super::super) id: SnapshotId,
    /// Its position in the order in which snapshots were made.
    pub(in super::super) sequence: u64,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// When it was sealed.
    pub(in super::super) sealed: DateTime<Utc>,
    /// Its name.
    #[serde(flatten)]
    pub(in super::super) label: Label,
    /// Its server.
    pub(in super::super) server: ServerEntry,
    /// The settings with which it was made.
    pub(in super::super) settings: CreateSettings,
    /// The source from which it was imported.
    pub(in super::super) imported: Option<ImportedFrom>,
    /// The common moment of its tables, if there is one.
    pub(in super::super) moment: Option<Moment>,
    /// The repository from which it was copied.
    pub(in super::super) copied: Option<CopiedFrom>,
    /// The snapshot of which it is a selection of tables and partitions.
    pub(in super::super) extracted: Option<ExtractedFrom>,
    /// The secrets that a push left out.
    pub(in super::super) secrets_left_out: Option<SecretsLeftOut>,
    /// The previous snapshot when it was made.
    pub(in super::super) previous: Option<SnapshotId>,
    /// Its totals.
    #[serde(flatten)]
    pub(in super::super) totals: SnapshotTotals,
    /// How its parts were placed.
    pub(in super::super) placed: PlacedTotals,
    /// Its dumps of tables without parts.
    pub(in super::super) dumped: DumpTotals,
    /// The databases.
    pub(in super::super) databases: Vec<DatabaseEntry>,
    /// The tables.
    pub(in super::super) table_list: Vec<ShownTable>,
    /// Files outside of parts.
    pub(in super::super) metadata: Vec<MetadataFile>,
    /// The digest of its list of parts.
    pub(in super::super) parts_blake3: String,
    /// Its series.
    pub(in super::super) series: Option<String>,
    /// How its series is shown; null for the main one.
    pub(in super::super) series_label: Option<String>,
    /// Whether it lacks a table that it could have had.
    pub(in super::super) incomplete: bool,
    /// Its path.
    pub(in super::super) path: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// Whether it is pinned now.
    pub(in super::super) pinned: bool,
    /// Its pin.
    pub(in super::super) pin: Option<PinRow>,
    /// When it was last verified; null if it never was.
    pub(in super::super) verified: Option<VerifiedRow>,
    /// Its last drill.
    pub(in super::super) drilled: Option<DrilledRow>,
    /// With `--access`: its users, roles, quotas, policies and settings profiles.
    pub(in super::super) access: Option<Vec<AccessStatements>>,
    /// With `--access`: those that cannot be shown.
    pub(in super::super) access_warnings: Option<Vec<String>>,
}

/// A user, role, quota, policy or settings profile.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct AccessStatements {
    /// Its kind: `user`, `row policy` ….
    pub(in super::super) kind: String,
    /// Its name.
    pub(in super::super) name: String,
    /// The statements that make it, without secrets unless these were requested.
    pub(in super::super) statements: Vec<String>,
}

/// A table in a snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ShownTable {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// Its UUID, if it has one.
    pub(in super::super) uuid: Option<TableUuid>,
    /// Its engine.
    pub(in super::super) engine: String,
    /// `taken`, `dumped`, `definition`, `data_left` or `skipped`.
    pub(in super::super) state: String,
    /// Why it is not taken, or only in part.
    pub(in super::super) reason: Option<String>,
    /// The path of its definition, relative to the snapshot.
    pub(in super::super) definition: Option<String>,
    /// Whether that is the server's own file.
    pub(in super::super) definition_is_file: bool,
    /// Its storage policy; empty if it has none.
    pub(in super::super) storage_policy: String,
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Files in them.
    pub(in super::super) files: u64,
    /// Rows in them.
    pub(in super::super) rows: u64,
    /// Sum of the files' sizes.
    pub(in super::super) apparent_bytes: u64,
    /// How often it was frozen.
    pub(in super::super) freezes: u32,
    /// Its parts with patches of lightweight updates.
    pub(in super::super) patch_parts: u64,
    /// Entries of its `detached/`, which are not taken.
    pub(in super::super) detached_parts: u64,
    /// Parts on other disks, which are not taken.
    pub(in super::super) remote_parts: u64,
    /// Whether it was detached.
    pub(in super::super) is_detached: bool,
    /// For how long it is detached, if that is known.
    pub(in super::super) detachment: Option<Detachment>,
    /// Parts without usable checksums.
    pub(in super::super) unverifiable_parts: u64,
    /// Why their checksums cannot be used.
    pub(in super::super) unverifiable: Option<String>,
    /// Mutations that were not finished.
    pub(in super::super) mutations: Vec<String>,
    /// Mutations that only Keeper has, and the snapshot lacks.
    pub(in super::super) keeper_mutations: Vec<LackedMutation>,
    /// Its path and replica in Keeper, for a replicated table.
    pub(in super::super) replica: Option<ReplicaEntry>,
    /// Its dump, if its rows were dumped.
    pub(in super::super) dump: Option<Dump>,
    /// Why it is not of the moment of the snapshot.
    pub(in super::super) off_moment: Option<OffMoment>,
}

impl From<&TableEntry> for ShownTable {
    fn from(entry: &TableEntry) -> Self {
        let entry = entry.clone();
        // The manifest stores a state for a dumped table that earlier versions know.
        let state = if entry.dump.is_some() { "dumped" } else { entry.state.name() };
        Self {
            database: entry.database,
            table: entry.table,
            uuid: entry.uuid,
            engine: entry.engine,
            state: state.to_owned(),
            reason: entry.reason,
            definition: entry.definition,
            definition_is_file: entry.definition_is_file,
            storage_policy: entry.storage_policy,
            parts: entry.parts,
            files: entry.files,
            rows: entry.rows,
            apparent_bytes: entry.apparent_bytes,
            freezes: entry.freezes,
            patch_parts: entry.patch_parts,
            detached_parts: entry.detached_parts,
            remote_parts: entry.remote_parts,
            is_detached: entry.is_detached,
            detachment: entry.detachment,
            unverifiable_parts: entry.unverifiable_parts,
            unverifiable: entry.unverifiable,
            mutations: entry.mutations,
            keeper_mutations: entry.keeper_mutations,
            replica: entry.replica,
            dump: entry.dump,
            off_moment: entry.off_moment,
        }
    }
}
