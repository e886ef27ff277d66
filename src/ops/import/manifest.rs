//! The manifest and the list of parts of an imported snapshot.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::exec::RestoreMode;
use crate::fs;
use crate::model::{DumpTotals, Label, PartTally, PartitionId, PlacedTotals, SnapshotTotals, TableName, Warning};
use crate::ops::written::{Allocated, ComparedSnapshot};
use crate::plan::{ImportKind, ImportPlan, ImportedTable, ParsedDefinition, SourcePart, TablePattern};
use crate::repo::{
    self, CreateSettings, DatabaseEntry, FORMAT, ImportedFrom, Incoming, Index, Manifest, MetadataFile, PartRecord,
    ReplicaEntry, Repository, ServerEntry, TableEntry, TableState,
};

use super::place::ImportedPart;

/// The origin of a snapshot.
pub(super) struct Imported<'a> {
    pub(super) kind: ImportKind,
    pub(super) name: &'a str,
    pub(super) path: &'a Path,
    pub(super) version: Option<&'a str>,
}

/// Everything that goes into the manifest.
pub(super) struct ImportManifestInputs<'a> {
    pub(super) import: Imported<'a>,
    pub(super) plan: &'a ImportPlan,
    /// The parts of each table of the plan, in its order.
    pub(super) taken: Vec<Vec<ImportedPart>>,
    pub(super) label: &'a Label,
    pub(super) include: &'a [TablePattern],
    pub(super) mode: RestoreMode,
    pub(super) metadata: Vec<MetadataFile>,
    /// The snapshot that it is compared with.
    pub(super) previous: Option<ComparedSnapshot>,
    pub(super) warnings: &'a [Warning],
}

/// The manifest and the records of a snapshot.
pub(super) struct DescribedImport {
    pub(super) manifest: Manifest,
    pub(super) records: Vec<PartRecord>,
    pub(super) rows: ImportedRows,
}

/// The number of imported rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedRows {
    /// Rows of all parts that record how many they have.
    known: u64,
    /// Tables with a part that does not record its rows.
    unknown: BTreeSet<TableName>,
}

impl ImportedRows {
    /// All rows, or `None` if a part does not record its own.
    #[must_use]
    pub fn all(&self) -> Option<u64> {
        self.unknown.is_empty().then_some(self.known)
    }

    /// The rows of a table, or `None` if a part of it does not record its own.
    #[must_use]
    pub fn of_table(&self, table: &TableEntry) -> Option<u64> {
        (!self.unknown.contains(&table.name())).then_some(table.rows)
    }

    fn add(&mut self, source: &SourcePart, part: &ImportedPart) {
        match part.rows {
            Some(rows) => self.known = self.known.saturating_add(rows),
            // The rows of an update are rows of other parts.
            None if source.name.is_patch() => {}
            None => {
                self.unknown.insert(source.table.clone());
            }
        }
    }
}

/// Stands for an unknown server.
const UNKNOWN: &str = "unknown";

impl ImportManifestInputs<'_> {
    pub(super) fn manifest(
        self,
        repository: &Repository,
        index: &Index,
        incoming: &Incoming<'_>,
        sealed: DateTime<Utc>,
    ) -> DescribedImport {
        let newest = index.summaries().iter().filter_map(|summary| summary.sequence).max().unwrap_or(0);
        let (mut totals, mut placed, mut rows) =
            (SnapshotTotals::default(), PlacedTotals::default(), ImportedRows::default());
        let mut allocated = Allocated::since(self.previous.as_ref().map(|previous| &previous.inodes));
        let (mut tables, mut records) = (Vec::new(), Vec::new());
        for (table, parts) in self.plan.tables.iter().zip(&self.taken) {
            let mut entry = entry(table);
            for (source, part) in table.parts.iter().zip(parts) {
                let tally = PartTally { parts: 1, files: part.inspected.files, bytes: part.inspected.bytes };
                placed.add(part.placed.placement(), tally);
                allocated.add(&part.inspected.links);
                entry.parts += 1;
                entry.files += tally.files;
                entry.apparent_bytes += tally.bytes;
                entry.patch_parts += u64::from(source.name.is_patch());
                entry.unverifiable_parts += u64::from(part.inspected.unverifiable.is_some());
                entry.unverifiable = entry.unverifiable.or_else(|| part.inspected.unverifiable.clone());
                entry.rows = entry.rows.saturating_add(part.rows.unwrap_or(0));
                rows.add(source, part);
                records.push(record(table, source, part));
            }
            totals.tables += u64::from(entry.state == TableState::Taken);
            totals.parts += entry.parts;
            totals.files += entry.files;
            totals.apparent_bytes += entry.apparent_bytes;
            tables.push(entry);
        }
        totals.allocated_bytes = allocated.all_bytes;
        totals.written_bytes = allocated.new_bytes;
        let Imported { kind, name, path, version } = self.import;
        let database = |database: &crate::plan::ImportedDatabase| DatabaseEntry {
            database: database.name.clone(),
            engine: database.engine.clone(),
            uuid: database.uuid.clone(),
            definition: repo::database_definition_path(&database.name).to_string_lossy().into_owned(),
        };
        let manifest = Manifest {
            format: FORMAT,
            chsnap: env!("CARGO_PKG_VERSION").to_owned(),
            id: incoming.id(),
            sequence: newest.saturating_add(1),
            time: incoming.intent().started,
            sealed,
            label: self.label.clone(),
            server: ServerEntry {
                version: version.unwrap_or(UNKNOWN).to_owned(),
                uuid: repository.server().and_then(|server| server.uuid.clone()),
                data_path: repository.server().map(|server| server.data_path.clone()).unwrap_or_default(),
                host_name: fs::host_name(),
                timezone: String::new(),
                macros: std::collections::BTreeMap::new(),
            },
            settings: CreateSettings {
                freeze: "import".to_owned(),
                place: self.mode.name().to_owned(),
                ids: "keep".to_owned(),
                include: self.include.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
                ..CreateSettings::default()
            },
            imported: Some(ImportedFrom { kind, name: name.to_owned(), path: path.to_string_lossy().into_owned() }),
            moment: None,
            copied: None,
            extracted: None,
            secrets_left_out: None,
            previous: self.previous.map(|previous| previous.id),
            totals,
            placed,
            dumped: DumpTotals::default(),
            databases: self.plan.databases.iter().map(database).collect(),
            tables,
            metadata: self.metadata,
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
            warning_list: self.warnings.to_vec(),
            parts_blake3: String::new(),
        };
        DescribedImport { manifest, records, rows }
    }
}

fn entry(table: &ImportedTable) -> TableEntry {
    let (state, reason) = match (&table.skipped, &table.data_left) {
        (Some(refusal), _) => (TableState::Skipped, Some(refusal.reason().to_owned())),
        (None, Some(reason)) => (TableState::DataLeft, Some(reason.clone())),
        (None, None) if table.holds_parts() => (TableState::Taken, None),
        (None, None) => (TableState::Definition, None),
    };
    let path = || repo::definition_path(&table.name).to_string_lossy().into_owned();
    TableEntry {
        uuid: table.uuid.clone(),
        reason,
        definition: table.definition.as_ref().map(|_| path()),
        definition_is_file: table.definition.as_ref().is_some_and(|definition| definition.is_file),
        storage_policy: table.storage_policy.clone(),
        replica: replica(table),
        ..TableEntry::without_parts(&table.name, &table.engine, state)
    }
}

/// Where Keeper has a replicated table, according to its definition.
fn replica(table: &ImportedTable) -> Option<ReplicaEntry> {
    if !table.engine.starts_with("Replicated") {
        return None;
    }
    let definition = table.definition.as_ref().and_then(|definition| ParsedDefinition::parse(&definition.text).ok());
    let arguments = definition.and_then(|definition| definition.replica());
    let (path, name) = arguments.map(|arguments| (arguments.path, arguments.replica)).unzip();
    Some(ReplicaEntry { path, name, ..ReplicaEntry::default() })
}

fn record(table: &ImportedTable, source: &SourcePart, part: &ImportedPart) -> PartRecord {
    let inspected = &part.inspected;
    let partition = || PartitionId(source.name.as_str().split('_').next().unwrap_or_default().into());
    PartRecord {
        table: std::sync::Arc::new(table.name.clone()),
        uuid: table.uuid.clone(),
        disk: source.disk.as_str().into(),
        partition: source.name.partition().unwrap_or_else(partition),
        part: source.name.clone(),
        fingerprint: inspected.fingerprint,
        rows: part.rows,
        bytes: inspected.bytes,
        files: inspected.files,
        placed: part.placed.placement(),
        from: None,
        directory: inspected.directory,
        directory_modified: inspected.directory_modified,
        ownership: inspected.ownership,
        exceptions: inspected.exceptions.clone(),
        uncovered: inspected.uncovered.clone(),
        unverifiable: inspected.unverifiable.clone(),
        digest: None,
        damage: Vec::new(),
        joined: None,
        unkept: Vec::new(),
    }
}
