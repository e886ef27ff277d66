//! Selects tables and partitions of a remote snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::model::{ContentHash, DumpTotals, Label, PartName, SnapshotId, SnapshotTotals, TableName};
use crate::ops::error::OpError;
use crate::ops::restore::{self, SourceTable, WantedTables, owned_tables, select_tables};
use crate::plan::{NamedTables, ObjectStatement, ParsedDefinition, RecordedSelection, extract_selection};
use crate::remote::{Bundle, ObjectRef, RemoteHead, RemoteManifest, RemotePart, RemoteRepository, read_pack};
use crate::repo::{self, CreateSettings, DatabaseEntry, Manifest, TableEntry, TableState};

/// The content of a remote snapshot that is fetched.
pub(super) struct PullContent {
    /// Described as a snapshot of its own. The head names the snapshot in the store; the manifest in it has the id that
    /// the content gets in the local repository.
    pub(super) of: RemoteManifest,
    /// The paths of the wanted files outside the parts; all if `None`.
    pub(super) files: Option<BTreeSet<String>>,
    /// Objects that were read to find out what is wanted.
    pub(super) fetched: BTreeMap<ContentHash, Vec<u8>>,
}

impl PullContent {
    /// Everything.
    pub(super) fn whole(of: RemoteManifest) -> Self {
        Self { of, files: None, fetched: BTreeMap::new() }
    }

    /// The wanted tables and partitions. Reads the definitions of views and of time series, because one and its inner tables
    /// are selected together, and of the selected tables, because functions and named collections that these need are
    /// fetched as well.
    ///
    /// # Errors
    /// If the snapshot has nothing of a given name; if the store does not answer.
    pub(super) fn select(
        remote: &RemoteRepository,
        of: RemoteManifest,
        wanted: &WantedTables,
    ) -> Result<Self, OpError> {
        if wanted.is_all() {
            return Ok(Self::whole(of));
        }
        let head = &of.head;
        let names: Vec<TableName> = head.manifest.tables.iter().map(TableEntry::name).collect();
        let databases: Vec<&str> = head.manifest.databases.iter().map(|entry| entry.database.as_str()).collect();
        let unmatched = wanted.renames.unmatched(&names, &databases);
        if !unmatched.is_empty() {
            return Err(OpError::NotInSnapshot { names: unmatched });
        }
        let mut texts = StoredTexts { remote, files: &head.files, fetched: BTreeMap::new() };
        let mut definitions: HashMap<String, ParsedDefinition> = HashMap::new();
        for owner in head.manifest.tables.iter().filter(|entry| restore::may_own_tables(entry)) {
            texts.add_definition(owner, &mut definitions)?;
        }
        let owned = owned_tables(&head.manifest, &|path| definitions.get(path).cloned());
        let records = of.parts.iter().map(|part| part.record.clone()).collect();
        let tables = select_tables(&head.manifest, records, wanted, &owned)?;
        let Some(selection) = selection(&head.manifest, &tables, wanted) else { return Ok(Self::whole(of)) };
        for table in &tables {
            texts.add_definition(&table.entry, &mut definitions)?;
        }
        let names_tables = !wanted.tables.is_empty() || !wanted.renames.is_empty();
        let objects = if names_tables {
            texts.needed_objects(&head.manifest, &tables, &definitions)?
        } else {
            head.manifest.metadata.iter().filter(|file| is_object(&file.path)).map(|file| file.path.clone()).collect()
        };
        let fetched = std::mem::take(&mut texts.fetched);
        Ok(Self::narrowed(of, &tables, (selection, names_tables), objects, fetched))
    }

    fn narrowed(
        mut of: RemoteManifest,
        tables: &[SourceTable],
        (selection, names_tables): (RecordedSelection, bool),
        objects: BTreeSet<String>,
        fetched: BTreeMap<ContentHash, Vec<u8>>,
    ) -> Self {
        let mut files = objects;
        let mut paths: BTreeSet<PathBuf> = BTreeSet::from([PathBuf::from(repo::DATA)]);
        for table in tables {
            let (entry, path) = (&table.entry, table.data_path());
            files.extend(entry.definition.clone());
            files.extend(entry.dump.iter().flat_map(|dump| dump.files.iter().cloned()));
            // Its unfinished mutations.
            let own = of.head.manifest.metadata.iter().filter(|file| Path::new(&file.path).parent() == Some(&path));
            files.extend(own.map(|file| file.path.clone()));
            paths.extend(path.ancestors().map(Path::to_owned));
        }
        let has_tables = |database: &str| tables.iter().any(|table| table.entry.database == database);
        let is_kept = |entry: &DatabaseEntry| !names_tables || has_tables(&entry.database);
        let databases = &mut of.head.manifest.databases;
        databases.retain(is_kept);
        files.extend(databases.iter().map(|entry| entry.definition.clone()));
        of.head.manifest.metadata.retain(|file| files.contains(&file.path));
        let files: BTreeSet<String> = of.head.manifest.metadata.iter().map(|file| file.path.clone()).collect();
        if let Some(left_out) = &mut of.head.manifest.secrets_left_out {
            left_out.hidden.retain(|path| files.contains(path));
        }
        restrict_manifest(&mut of.head.manifest, tables, selection);
        let wanted: HashMap<TableName, BTreeSet<&PartName>> =
            tables.iter().map(|table| (table.name(), table.parts.iter().map(|part| &part.part).collect())).collect();
        let is_wanted = |part: &RemotePart| {
            wanted.get(&part.record.table_name()).is_some_and(|parts| parts.contains(&part.record.part))
        };
        of.parts.retain(is_wanted);
        of.head.directories.retain(|directory| paths.contains(Path::new(&directory.0)));
        let bundle = &mut of.head.files;
        let names = std::mem::take(&mut bundle.names);
        let is_needed = |place: &usize| names.get(*place).is_some_and(|file| files.contains(file.path()));
        bundle.packs.retain(|pack| pack.files.iter().any(is_needed));
        bundle.large.retain(|large| is_needed(&large.file));
        bundle.names = names;
        of.count();
        Self { of, files: Some(files), fetched }
    }

    /// Whether it is not the whole snapshot.
    pub(super) fn is_extract(&self) -> bool {
        self.files.is_some()
    }

    /// Whether a file outside the parts is wanted.
    pub(super) fn wants_file(&self, path: &str) -> bool {
        self.files.as_ref().is_none_or(|files| files.contains(path))
    }

    /// The first line of the remote manifest.
    pub(super) fn head(&self) -> &RemoteHead {
        &self.of.head
    }

    /// The id that it gets in the local repository.
    pub(super) fn local_id(&self) -> SnapshotId {
        self.of.head.manifest.id
    }

    /// Gives it an id of its own in the local repository.
    pub(super) fn set_local_id(&mut self, id: SnapshotId) {
        self.of.head.manifest.id = id;
    }
}

/// The selection that the extract records; `None` if it is the whole snapshot.
fn selection(manifest: &Manifest, tables: &[SourceTable], wanted: &WantedTables) -> Option<RecordedSelection> {
    let settings = &manifest.settings;
    let of = RecordedSelection {
        include: settings.include.clone(),
        exclude: settings.exclude.clone(),
        partitions: settings.partitions.clone(),
    };
    let named = match (wanted.tables.is_empty(), wanted.renames.is_empty()) {
        (true, true) => NamedTables::All,
        (false, true) => NamedTables::Patterns(&wanted.tables),
        _ => NamedTables::Others,
    };
    let selected: Vec<TableName> = tables.iter().map(SourceTable::name).collect();
    extract_selection(&of, named, &selected, manifest.tables.len(), &wanted.partitions)
}

/// Makes it the manifest of these tables alone. Its label stays with the whole snapshot: a name means one snapshot.
fn restrict_manifest(manifest: &mut Manifest, tables: &[SourceTable], selection: RecordedSelection) {
    let entry = |table: &SourceTable| {
        let parts = || table.parts.iter();
        let unverifiable = parts().find_map(|part| part.unverifiable.clone());
        let rows = |part: &repo::PartRecord| if part.part.is_patch() { 0 } else { part.rows.unwrap_or(0) };
        TableEntry {
            parts: table.parts.len() as u64,
            files: parts().map(|part| part.files).sum(),
            rows: parts().fold(0, |sum: u64, part| sum.saturating_add(rows(part))),
            apparent_bytes: parts().map(|part| part.bytes).sum(),
            patch_parts: parts().filter(|part| part.part.is_patch()).count() as u64,
            unverifiable_parts: parts().filter(|part| part.unverifiable.is_some()).count() as u64,
            unverifiable,
            ..table.entry.clone()
        }
    };
    manifest.tables = tables.iter().map(entry).collect();
    let taken = || manifest.tables.iter().filter(|entry| entry.state == TableState::Taken);
    manifest.totals = SnapshotTotals {
        tables: taken().count() as u64,
        parts: taken().map(|entry| entry.parts).sum(),
        files: taken().map(|entry| entry.files).sum(),
        apparent_bytes: taken().map(|entry| entry.apparent_bytes).sum(),
        ..manifest.totals
    };
    manifest.dumped = DumpTotals::default();
    for dump in manifest.tables.iter().filter_map(|entry| entry.dump.as_ref()) {
        manifest.dumped.tables += 1;
        manifest.dumped.rows += dump.rows.unwrap_or(0);
        manifest.dumped.bytes += dump.stored_bytes;
    }
    let names: BTreeSet<TableName> = manifest.tables.iter().map(TableEntry::name).collect();
    let is_kept = |table: &Option<TableName>| table.as_ref().is_none_or(|name| names.contains(name));
    if !manifest.warning_list.is_empty() {
        manifest.warning_list.retain(|warning| is_kept(&warning.table));
        manifest.warnings = manifest.warning_list.iter().map(ToString::to_string).collect();
    }
    manifest.label = Label::default();
    let RecordedSelection { include, exclude, partitions } = selection;
    manifest.settings = CreateSettings { include, exclude, partitions, ..manifest.settings.clone() };
}

/// Whether a file outside the parts belongs to no table and no database.
fn is_object(path: &str) -> bool {
    !["data/", "metadata/", "dumps/"].iter().any(|place| path.starts_with(place))
}

/// The directories of the objects that tables need.
const OBJECTS: [&str; 3] = ["user_defined/", "named_collections/", "workload/"];

/// The files outside the parts of a remote snapshot, whose objects are read once.
struct StoredTexts<'a> {
    remote: &'a RemoteRepository,
    files: &'a Bundle,
    fetched: BTreeMap<ContentHash, Vec<u8>>,
}

impl StoredTexts<'_> {
    fn object(&mut self, object: ObjectRef) -> Result<&[u8], OpError> {
        if !self.fetched.contains_key(&object.key) {
            let bytes = self.remote.fetch(object)?;
            self.fetched.insert(object.key, bytes);
        }
        Ok(self.fetched.get(&object.key).map(Vec::as_slice).unwrap_or_default())
    }

    /// The content of a file; `None` if the snapshot does not have it, or not as its manifest says.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, OpError> {
        let files = self.files;
        let Some(place) = files.names.iter().position(|file| file.path() == path) else { return Ok(None) };
        if let Some(large) = files.large.iter().find(|large| large.file == place) {
            let mut bytes = Vec::new();
            for object in &large.objects {
                bytes.extend_from_slice(self.object(*object)?);
            }
            return Ok(Some(bytes));
        }
        let found =
            files.packs.iter().find_map(|pack| Some((pack, pack.files.iter().position(|file| *file == place)?)));
        let Some((pack, position)) = found else { return Ok(None) };
        let bytes = self.object(pack.object)?;
        Ok(read_pack(bytes).and_then(|files| files.get(position).map(|bytes| bytes.to_vec())))
    }

    /// Adds the definition of a table by its path, unless it cannot be read as one.
    fn add_definition(
        &mut self,
        entry: &TableEntry,
        definitions: &mut HashMap<String, ParsedDefinition>,
    ) -> Result<(), OpError> {
        let Some(path) = entry.definition.as_ref().filter(|path| !definitions.contains_key(*path)) else {
            return Ok(());
        };
        let text = self.read(path)?;
        let parsed = text.and_then(|text| ParsedDefinition::parse(&String::from_utf8_lossy(&text)).ok());
        definitions.extend(parsed.map(|parsed| (path.clone(), parsed)));
        Ok(())
    }

    /// The paths of the functions, named collections and workloads that these tables need: those that a restore of them
    /// would make. A statement that cannot be read is kept.
    fn needed_objects(
        &mut self,
        manifest: &Manifest,
        tables: &[SourceTable],
        definitions: &HashMap<String, ParsedDefinition>,
    ) -> Result<BTreeSet<String>, OpError> {
        let of_tables: Vec<&ParsedDefinition> =
            (tables.iter()).filter_map(|table| definitions.get(table.entry.definition.as_deref()?)).collect();
        let mut needed = BTreeSet::new();
        for file in &manifest.metadata {
            if !OBJECTS.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            let text = self.read(&file.path)?.unwrap_or_default();
            let is_needed = match ObjectStatement::parse(&String::from_utf8_lossy(&text)) {
                Ok(object) => of_tables.iter().any(|definition| definition.needs(object.kind, &object.name)),
                Err(_) => true,
            };
            if is_needed {
                needed.insert(file.path.clone());
            }
        }
        Ok(needed)
    }
}
