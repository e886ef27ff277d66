//! The snapshot being restored: its wanted tables and parts, and whether they are intact.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::exec;
use crate::fs::{Dir, FsError};
use crate::model::{PartName, PartitionId, SnapshotId, TableName, TableUuid, Warning, WarningKind, count};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::{FoundDamage, OpError};
use crate::ops::read;
use crate::plan::{ParsedDefinition, PartState, Renames, SnapshotReference, TablePattern};
use crate::repo::{
    self, FORMAT, Index, Lease, Manifest, PartRecord, RepoError, Repository, SnapshotState, TableEntry, TableState,
    read_parts,
};

use super::dump_files;
use crate::ops::intact::{self, IntactCopies};
use crate::ops::journal::journal_warnings;

/// The wanted tables and partitions of a snapshot.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WantedTables {
    /// Tables by pattern; all if empty.
    pub tables: Vec<TablePattern>,
    /// Partitions by id; all if empty.
    pub partitions: Vec<PartitionId>,
    /// New names; the tables that they name are wanted in addition.
    pub renames: Renames,
}

crate::model::setters! { WantedTables {
    with_tables => tables: Vec<TablePattern>,
    with_partitions => partitions: Vec<PartitionId>,
    with_renames => renames: Renames,
} }

impl WantedTables {
    /// Whether everything is wanted.
    pub(in crate::ops) fn is_all(&self) -> bool {
        self.tables.is_empty() && self.partitions.is_empty() && self.renames.is_empty()
    }
}

/// A table of the snapshot with its wanted parts.
#[derive(Clone, Debug)]
pub(in crate::ops) struct SourceTable {
    pub(in crate::ops) entry: TableEntry,
    pub(in crate::ops) parts: Vec<PartRecord>,
}

impl SourceTable {
    pub(in crate::ops) fn name(&self) -> TableName {
        self.entry.name()
    }

    /// Rows of the wanted parts, as the server reported them when they were taken, or those of its dump.
    pub(in crate::ops) fn rows(&self) -> u64 {
        if let Some(dump) = &self.entry.dump {
            return dump.rows.unwrap_or(0);
        }
        let counted = self.parts.iter().filter(|part| !part.part.is_patch());
        counted.fold(0, |sum: u64, part| sum.saturating_add(part.rows.unwrap_or(0)))
    }

    /// Bytes of the wanted parts.
    pub(in crate::ops) fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes))
    }

    /// The warning about a table that was not taken completely.
    fn not_whole(&self) -> Option<Warning> {
        let reason = self.entry.reason.as_ref().filter(|_| self.entry.remote_parts > 0)?;
        let name = self.name();
        let message = format!("{name} is not whole in the snapshot: {reason}");
        Some(Warning::of_table(WarningKind::DataLeftBehind, &name, message))
    }

    pub(in crate::ops) fn has_parts(&self) -> bool {
        self.entry.state == TableState::Taken
    }

    /// Its directory, relative to the snapshot.
    pub(in crate::ops) fn data_path(&self) -> PathBuf {
        repo::table_path(&self.name())
    }
}

/// A snapshot on which a lease is held.
#[derive(Debug)]
pub(in crate::ops) struct SnapshotSource {
    pub(in crate::ops) id: SnapshotId,
    lease: Lease,
    pub(in crate::ops) manifest: Manifest,
    pub(in crate::ops) tables: Vec<SourceTable>,
    /// Whether the whole snapshot is wanted.
    pub(in crate::ops) is_whole: bool,
    /// The inner tables of materialized views, each with its view.
    pub(super) inner: BTreeMap<TableName, TableName>,
    /// Parts that verifications found damaged.
    pub(super) damaged: BTreeSet<(TableName, PartName)>,
    /// Intact copies of those in other snapshots, which are restored instead.
    pub(super) intact: IntactCopies,
    /// Notes for the person.
    pub(super) warnings: Vec<Warning>,
}

impl SnapshotSource {
    /// Opens a snapshot and selects from it.
    ///
    /// # Errors
    /// If there is no such snapshot, it cannot be read, or it has nothing that matches a given name.
    pub(in crate::ops) fn open(
        repository: &Repository,
        reference: &SnapshotReference,
        wanted: &WantedTables,
    ) -> Result<Self, OpError> {
        let id = read::resolve(&Index::open(repository)?, reference)?;
        let lease = repository.lease(id)?;
        let manifest = match repository.snapshot(id)? {
            SnapshotState::Complete(manifest) => *manifest,
            SnapshotState::NewerFormat(format) => {
                let path = lease.dir().path().join("manifest.json");
                return Err(RepoError::NewerFormat { path, format, known: FORMAT }.into());
            }
            SnapshotState::Damaged(reason) => {
                return Err(RepoError::Damaged { path: lease.dir().path().to_owned(), reason }.into());
            }
        };
        let records = read_parts(lease.dir(), &manifest.parts_blake3)?;
        let definition = |path: &str| {
            let bytes = read::metadata(lease.dir(), &manifest, path).ok()?;
            ParsedDefinition::parse(&String::from_utf8_lossy(&bytes)).ok()
        };
        let inner = inner_tables(&manifest, &definition);
        let owned = owned_tables(&manifest, &definition);
        let mut tables = select_tables(&manifest, records, wanted, &owned)?;
        if !wanted.partitions.is_empty() {
            leave_out_others(&mut tables, wanted, &owned);
        }
        let mut warnings: Vec<Warning> = tables.iter().filter_map(SourceTable::not_whole).collect();
        warnings.extend(secrets_warning(&manifest, wanted));
        warnings.extend(mutations_left_out(&manifest, &tables));
        warnings.extend(journal_warnings(repository));
        let damaged = repository.damaged_parts(id);
        let is_whole = wanted.is_all();
        Ok(Self { id, lease, manifest, tables, is_whole, inner, damaged, intact: IntactCopies::new(), warnings })
    }

    pub(in crate::ops) fn dir(&self) -> &Dir {
        self.lease.dir()
    }

    /// Looks for intact copies of the parts that are noted as damaged, and then checks every part: see
    /// [`SnapshotSource::check`].
    ///
    /// # Errors
    /// If the repository cannot be read, or as in [`SnapshotSource::check`].
    pub(super) fn check_with_copies(&mut self, repository: &Repository, monitor: &dyn Monitor) -> Result<(), OpError> {
        self.find_intact(repository, monitor)?;
        self.check(monitor)
    }

    fn find_intact(&mut self, repository: &Repository, monitor: &dyn Monitor) -> Result<(), OpError> {
        if self.damaged.is_empty() {
            return Ok(());
        }
        let parts = self.tables.iter().flat_map(|table| table.parts.iter().map(|part| (table.name(), part)));
        let keyed = parts.map(|(table, part)| ((table, part.part.clone()), part));
        let damaged = keyed.filter(|(key, _)| self.damaged.contains(key)).collect();
        self.intact = intact::find(repository, (self.id, self.lease.dir()), &damaged, monitor)?;
        Ok(())
    }

    /// The directory of a part: the snapshot's own, or that of an intact copy if the part is noted as damaged.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn part_dir(&self, table: &SourceTable, part: &PartName) -> Result<Option<Dir>, FsError> {
        match self.intact.get(&(table.name(), part.clone())) {
            Some(copy) => Ok(Some(copy.dir.clone())),
            None => self.dir().find_beneath(&table.data_path().join(part.as_str())),
        }
    }

    /// The error about a part that was there when the snapshot was checked.
    pub(super) fn has_lost(&self, table: &SourceTable, part: &PartName) -> OpError {
        let damage = FoundDamage { table: table.name(), part: Some(part.clone()), problem: "it is missing".to_owned() };
        OpError::SnapshotDamaged { id: self.id, damage: vec![damage] }
    }

    /// Reads a file that the manifest lists, and compares it with its entry.
    ///
    /// # Errors
    /// If it is missing, cannot be read, or differs.
    pub(in crate::ops) fn metadata(&self, path: &str) -> Result<Vec<u8>, OpError> {
        read::metadata(self.dir(), &self.manifest, path)
    }

    /// The unfinished mutations of a table: names and contents of files in its directory.
    pub(in crate::ops) fn mutations(&self, table: &SourceTable) -> Result<Vec<(String, Vec<u8>)>, OpError> {
        let of = |name: &String| {
            let path = table.data_path().join(name);
            Ok((name.clone(), self.metadata(&path.to_string_lossy())?))
        };
        // A mutation that was no longer available when the snapshot was made was a warning then: it is listed, and does
        // not exist.
        let listed = |name: &&String| {
            let path = table.data_path().join(name).to_string_lossy().into_owned();
            self.manifest.metadata.iter().any(|file| file.path == path)
        };
        table.entry.mutations.iter().filter(listed).map(of).collect()
    }

    /// Checks every wanted part: all its files exist with their sizes, and it is the part in the list of parts. Nothing
    /// is restored from a snapshot in which a part is damaged.
    ///
    /// # Errors
    /// If a part is not as it was when the snapshot was made.
    pub(in crate::ops) fn check(&self, monitor: &dyn Monitor) -> Result<(), OpError> {
        let mut damage: Vec<FoundDamage> = Vec::new();
        for table in self.tables.iter().filter(|table| table.has_parts()) {
            if self.dir().find_beneath(&table.data_path())?.is_none() {
                if !table.parts.is_empty() || !table.entry.mutations.is_empty() {
                    let problem = "its directory is missing".to_owned();
                    damage.push(FoundDamage { table: table.name(), part: None, problem });
                }
                continue;
            }
            let check = |part: &PartRecord| problem(self.part_dir(table, &part.part)?, part, monitor);
            let found: Vec<Option<String>> = table.parts.par_iter().map(check).collect::<Result<_, FsError>>()?;
            let found = table.parts.iter().zip(found);
            damage.extend(found.filter_map(|(part, problem)| {
                Some(FoundDamage { table: table.name(), part: Some(part.part.clone()), problem: problem? })
            }));
        }
        let of_dump = |table: &SourceTable| dump_files::damage(self.dir(), &self.manifest, &table.entry);
        let of_dumps: Vec<Vec<FoundDamage>> = self.tables.par_iter().map(of_dump).collect::<Result<_, FsError>>()?;
        damage.extend(of_dumps.into_iter().flatten());
        if damage.is_empty() { Ok(()) } else { Err(OpError::SnapshotDamaged { id: self.id, damage }) }
    }
}

/// The warning about a snapshot that was pushed without its secrets, if some of what is wanted may need them. A
/// definition with a hidden secret has a warning of its own.
fn secrets_warning(manifest: &Manifest, wanted: &WantedTables) -> Option<Warning> {
    let left_out = manifest.secrets_left_out.as_ref()?;
    let needs_some = || ["named_collections", "user_defined"].iter().any(|place| left_out.has_files_of(place));
    let is_told = wanted.is_all() && !left_out.files.is_empty() || needs_some();
    is_told.then(|| Warning::new(WarningKind::SecretsHidden, left_out.to_string()))
}

/// The warnings about tables that come back without an unfinished mutation, because it was left out of a push without
/// secrets.
pub(in crate::ops) fn mutations_left_out(manifest: &Manifest, tables: &[SourceTable]) -> Vec<Warning> {
    let Some(left_out) = &manifest.secrets_left_out else { return Vec::new() };
    let warning = |table: &SourceTable| {
        let (name, path) = (table.name(), table.data_path());
        let files = left_out.files.iter().filter(|file| Path::new(file).parent() == Some(&path)).count() as u64;
        let mutations = count(files, "unfinished mutation");
        let message = format!("{name} comes back without {mutations}: left out by a push without secrets");
        (files > 0).then(|| Warning::of_table(WarningKind::SecretsHidden, &name, message))
    };
    tables.iter().filter_map(warning).collect()
}

fn problem(dir: Option<Dir>, record: &PartRecord, monitor: &dyn Monitor) -> Result<Option<String>, FsError> {
    let Some(dir) = dir else {
        return Ok(Some("it is missing".to_owned()));
    };
    let found = exec::inspect_part(&dir)?;
    monitor
        .advanced(Stage::Check, StageWork { parts: 1, files: found.files, bytes: found.bytes, ..StageWork::default() });
    // Damage that it already had on the server is part of what was taken.
    let new: Vec<&String> = found.problems.iter().filter(|problem| !record.damage.contains(problem)).collect();
    if let Some(first) = new.first() {
        return Ok(Some((*first).clone()));
    }
    if (found.files, found.bytes) != (record.files, record.bytes) {
        return Ok(Some(format!(
            "it has {} with {}, and was taken with {} with {}",
            count(found.files, "file"),
            count(found.bytes, "byte"),
            count(record.files, "file"),
            count(record.bytes, "byte")
        )));
    }
    if found.fingerprint != record.fingerprint {
        return Ok(Some("its checksums.txt is another one than it was taken with".to_owned()));
    }
    let changed = record.uncovered.iter().find(|file| found.uncovered.find(&file.path).as_ref() != Some(file));
    Ok(changed.map(|file| format!("its file {} is another one than it was taken with", file.path)))
}

/// The wanted tables of a snapshot, each with its wanted parts. `owned` has the tables that belong to
/// another one, each with that one: inner tables of views, for example.
///
/// # Errors
/// If the snapshot has nothing of a given name, or no wanted table has a given partition.
pub(in crate::ops) fn select_tables(
    manifest: &Manifest,
    records: Vec<PartRecord>,
    wanted: &WantedTables,
    owned: &BTreeMap<TableName, TableName>,
) -> Result<Vec<SourceTable>, OpError> {
    let mut parts: HashMap<TableName, Vec<PartRecord>> = HashMap::new();
    for record in records {
        parts.entry(record.table_name()).or_default().push(record);
    }
    let names: Vec<TableName> = manifest.tables.iter().map(TableEntry::name).collect();
    let patterns = TablePattern::resolve(&wanted.tables, &names.iter());
    let unmatched: Vec<String> = (patterns.iter())
        .filter(|pattern| !names.iter().any(|name| pattern.matches(name)))
        .map(|pattern| format!("table {:?}", pattern.as_str()))
        .collect();
    let is_named = |name: &TableName| patterns.iter().any(|pattern| pattern.matches(name));
    let has_names = !wanted.tables.is_empty() || !wanted.renames.is_empty();
    // A database that gets another name is wanted as a whole, unless tables of it are named.
    let narrowed: BTreeSet<&str> =
        names.iter().filter(|name| is_named(name)).map(|name| name.database.as_str()).collect();
    let is_renamed = |name: &TableName| {
        wanted.renames.names_table(name)
            || wanted.renames.databases().contains_key(&name.database) && !narrowed.contains(name.database.as_str())
    };
    let is_asked_for = |name: &TableName| !has_names || is_named(name) || is_renamed(name);
    // An inner table without its view would be an ordinary table, and in the place of another one it would be lost to
    // the view: unless it gets a name of its own.
    let owners: BTreeSet<&TableName> = (owned.iter())
        .filter(|(name, _)| is_named(name) && !wanted.renames.names_table(name))
        .map(|(_, owner)| owner)
        .collect();
    let mut tables = Vec::new();
    let mut met: Vec<&PartitionId> = Vec::new();
    for (entry, name) in manifest.tables.iter().zip(&names) {
        // The server derives them from dictionaries of other databases.
        if manifest.shows_dictionaries(&name.database) {
            continue;
        }
        // A wanted view, or table of time series, is useless without its inner tables.
        let comes_with_owner = || owned.get(name).is_some_and(|owner| is_asked_for(owner) || owners.contains(owner));
        if !is_asked_for(name) && !owners.contains(name) && !comes_with_owner() {
            continue;
        }
        let mut parts = parts.remove(name).unwrap_or_default();
        if !wanted.partitions.is_empty() {
            met.extend(wanted.partitions.iter().filter(|id| parts.iter().any(|part| part.partition == **id)));
            parts.retain(|part| wanted.partitions.contains(&part.partition.of_data()));
        }
        tables.push(SourceTable { entry: entry.clone(), parts });
    }
    if !unmatched.is_empty() {
        return Err(OpError::NotInSnapshot { names: unmatched });
    }
    let missing: Vec<PartitionId> = wanted.partitions.iter().filter(|id| !met.contains(id)).cloned().collect();
    if !missing.is_empty() {
        return Err(OpError::NoSuchPartition { partitions: missing });
    }
    Ok(tables)
}

/// Leaves out the tables without any wanted partition, unless their own names are given: these are named later.
fn leave_out_others(tables: &mut Vec<SourceTable>, wanted: &WantedTables, owned: &BTreeMap<TableName, TableName>) {
    let has_own_name = |name: &TableName| {
        let (plain, exact) = (name.to_string(), TablePattern::exactly(name));
        let is_own = |pattern: &TablePattern| pattern.as_str() == plain || pattern.as_str() == exact.as_str();
        wanted.renames.names_table(name) || wanted.tables.iter().any(is_own)
    };
    let filled: BTreeSet<TableName> =
        tables.iter().filter(|table| !table.parts.is_empty()).map(SourceTable::name).collect();
    // An inner table and the table that it belongs to come together.
    let owners: BTreeSet<&TableName> = filled.iter().filter_map(|name| owned.get(name)).collect();
    tables.retain(|table| {
        let name = table.name();
        let belongs = owned.get(&name).is_some_and(|owner| owners.contains(owner));
        filled.contains(&name) || owners.contains(&name) || belongs || has_own_name(&name)
    });
}

/// Parts in the form that comparisons take.
pub(super) fn part_states(parts: &[PartRecord]) -> Vec<PartState> {
    let state = |part: &PartRecord| PartState {
        name: part.part.clone(),
        partition: part.partition.clone(),
        fingerprint: part.fingerprint,
        rows: part.rows,
        bytes: part.bytes,
        is_active: true,
    };
    parts.iter().map(state).collect()
}

const VIEW_ENGINE: &str = "MaterializedView";
const TIME_SERIES_ENGINE: &str = "TimeSeries";

/// Whether other tables may belong to this one, which only its definition shows.
pub(in crate::ops) fn may_own_tables(entry: &TableEntry) -> bool {
    [VIEW_ENGINE, TIME_SERIES_ENGINE].contains(&entry.engine.as_str())
}

/// The inner tables of all materialized views, each with its view. A view that names its target has none, whatever the
/// tables are called. A view in an Atomic database names its inner table by UUID, or by its own UUID in that table's
/// name.
fn inner_tables(
    manifest: &Manifest,
    definition: &dyn Fn(&str) -> Option<ParsedDefinition>,
) -> BTreeMap<TableName, TableName> {
    let mut inner = BTreeMap::new();
    for entry in manifest.tables.iter().filter(|entry| entry.engine == VIEW_ENGINE) {
        let definition = entry.definition.as_deref().and_then(definition);
        if definition.as_ref().is_some_and(ParsedDefinition::has_target) {
            continue;
        }
        let named_uuid = definition.and_then(|definition| definition.inner_uuid);
        let by_uuid = |other: &TableEntry| named_uuid.is_some() && other.uuid == named_uuid;
        let name = entry.name().inner_table(entry.uuid.as_ref());
        let in_database = || manifest.tables.iter().filter(|other| other.database == entry.database);
        let found = in_database()
            .find(|other| by_uuid(other))
            .or_else(|| in_database().find(|other| named_uuid.is_none() && other.table == name.table));
        if let Some(found) = found {
            let view = entry.name();
            inner.insert(TableName::new(found.database.clone(), found.table.clone()), view);
        }
    }
    inner
}

/// [`inner_tables`], and those of the tables of the engine TimeSeries, whose definitions name them by their UUIDs; each with
/// the view or table that it belongs to.
pub(in crate::ops) fn owned_tables(
    manifest: &Manifest,
    definition: &dyn Fn(&str) -> Option<ParsedDefinition>,
) -> BTreeMap<TableName, TableName> {
    let mut owned = inner_tables(manifest, definition);
    for entry in manifest.tables.iter().filter(|entry| entry.engine == TIME_SERIES_ENGINE) {
        let named = entry.definition.as_deref().and_then(definition).map(|definition| definition.inner_uuids());
        let named: BTreeSet<TableUuid> = named.unwrap_or_default().into_iter().collect();
        let is_named = |other: &&TableEntry| other.uuid.as_ref().is_some_and(|uuid| named.contains(uuid));
        owned.extend(manifest.tables.iter().filter(is_named).map(|other| (other.name(), entry.name())));
    }
    owned
}
