//! Finds tables and databases that a server has and does not list, by the definition files below `metadata/`.
//!
//! The server's lists do not contain detached tables and databases, tables that failed to load, or tables for which the
//! user has no grant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Dir, EntryKind, FsError};
use crate::model::{
    Catalog, CatalogPart, Detachment, PartName, Table, TableKey, TableName, TableUuid, Unlisted, UnlistedDatabase,
    UnlistedTable, Warning, WarningKind, active_by_name, escape_for_file_name, is_own_database, unescape_file_name,
};
use crate::plan::{DefinitionKind, ParsedDefinition, StorageChoice};
use crate::server::{self, Server};

use super::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};
use super::error::OpError;

/// Databases whose tables have no definition files, or do not belong to the user.
const WITHOUT_FILES: [&str; 3] = ["system", "information_schema", "INFORMATION_SCHEMA"];

/// Adds tables and databases that the server does not list to a catalog; `databases` are the listed ones. Returns a
/// warning if the files cannot be read here.
///
/// # Errors
/// If the server does not answer.
pub(super) fn add_unlisted(
    server: &Server,
    local: &LocalDisks,
    databases: &[server::DatabaseRow],
    catalog: &mut Catalog,
) -> Result<Option<Warning>, OpError> {
    match add(server, local, databases, catalog) {
        Ok(()) => Ok(None),
        Err(OpError::Fs(error)) => {
            let error = crate::monitor::chain(&error);
            let message = format!("which tables are detached or hidden is not known: {error}");
            Ok(Some(Warning::new(WarningKind::ServerFilesUnreadable, message)))
        }
        Err(error) => Err(error),
    }
}

fn add(
    server: &Server,
    local: &LocalDisks,
    databases: &[server::DatabaseRow],
    catalog: &mut Catalog,
) -> Result<(), OpError> {
    let Some(own) = local.own() else { return Ok(()) };
    let Some(metadata) = own.dir.find_beneath(Path::new("metadata"))? else { return Ok(()) };
    let listed: BTreeSet<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    let mut found = find_files(local, &metadata, catalog, &listed)?;
    if found.databases.is_empty() && found.tables.is_empty() {
        return Ok(());
    }
    let now = server::definitions(server, true)?;
    if !found.databases.is_empty() {
        let now = server::databases(server)?;
        found.databases.retain(|(name, _)| !now.iter().any(|database| database.name == *name));
    }
    let detached = server::detached_tables(server, databases)?.into_iter();
    let detached: BTreeSet<TableName> = detached.map(|row| TableName::new(row.database, row.table)).collect();
    for (name, file) in found.databases {
        let Some(text) = local.read_definition(&file) else {
            let problem = unreadable(local, &file);
            catalog.unusable.extend(problem.map(|problem| (TableName::new(name, "*"), problem)));
            continue;
        };
        let definition = ParsedDefinition::parse(&String::from_utf8_lossy(&text)).ok();
        let engine = definition.as_ref().and_then(ParsedDefinition::engine).unwrap_or_default();
        let uuid = definition.and_then(|definition| definition.uuid).map(|uuid| uuid.to_string()).unwrap_or_default();
        catalog.unlisted_databases.push(UnlistedDatabase { name, engine, uuid });
    }
    for file in found.tables {
        let Some(text) = local.read_definition(&file.path) else {
            let problem = unreadable(local, &file.path);
            catalog.unusable.extend(problem.map(|problem| (file.name, problem)));
            continue;
        };
        let reason = match () {
            () if now.contains_key(&file.name) => Unlisted::Since,
            () if detached.contains(&file.name) => Unlisted::Detached,
            () if !listed.contains(file.name.database.as_str()) => Unlisted::WithDatabase,
            () => Unlisted::Unexplained,
        };
        let detachment = detachment(local, &file.path, reason);
        let mut table = table(local, file, &String::from_utf8_lossy(&text));
        let mut trouble = None;
        if table.is_merge_tree() {
            match parts_of(local, &table) {
                Ok(Some(parts)) => table.parts = Arc::new(parts),
                Ok(None) => trouble = Some("it has no directory".to_owned()),
                Err(error) => {
                    trouble = Some(format!("its directory cannot be opened: {}", crate::monitor::chain(&error)));
                }
            }
        }
        catalog.unlisted.push(UnlistedTable { table, reason, detachment, trouble });
    }
    catalog.unlisted.sort_by(|a, b| a.table.key.cmp(&b.table.key));
    Ok(())
}

/// How a table is detached. A permanently detached table has a mark next to its definition. Without the mark it is
/// detached until the next start, if the server lists it as detached.
///
/// Source: `detached_suffix` in ClickHouse's `src/Databases/DatabaseOnDisk.cpp`.
fn detachment(local: &LocalDisks, definition: &Path, reason: Unlisted) -> Option<Detachment> {
    let mut mark = definition.file_name()?.to_owned();
    mark.push(".detached");
    match local.find_own(definition.parent()?).ok()??.find(mark).ok()? {
        Some(_) => Some(Detachment::Permanent),
        None => (reason == Unlisted::Detached).then_some(Detachment::UntilStart),
    }
}

/// Why a definition file cannot be used, or `None` if it has gone meanwhile.
fn unreadable(local: &LocalDisks, path: &Path) -> Option<String> {
    let dir = local.find_own(path.parent()?).ok()??;
    let found = dir.find(path.file_name()?).ok()??;
    let what = match found.kind {
        EntryKind::Symlink => "is a symbolic link, and is not followed",
        EntryKind::File if found.size_bytes == 0 => "is empty",
        _ => "cannot be read here",
    };
    Some(format!("the server does not list it, and its definition file {} {what}", path.display()))
}

struct DefinitionFile {
    name: TableName,
    /// Relative to the server's own path.
    path: PathBuf,
}

#[derive(Default)]
struct UnlistedFiles {
    /// Databases that are not listed, with their files.
    databases: Vec<(String, PathBuf)>,
    tables: Vec<DefinitionFile>,
}

fn find_files(
    local: &LocalDisks,
    metadata: &Dir,
    catalog: &Catalog,
    listed: &BTreeSet<&str>,
) -> Result<UnlistedFiles, OpError> {
    let mut found = UnlistedFiles::default();
    // The directory with the definitions of each database.
    let mut directories: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in metadata.entries_with_kind()? {
        let Some(file) = entry.name.to_str() else { continue };
        let path = Path::new("metadata").join(file);
        match entry.kind {
            EntryKind::Directory | EntryKind::Symlink => {
                directories.extend(unescape_file_name(file).map(|database| (database, path)));
            }
            EntryKind::File => {
                let Some(database) = file.strip_suffix(".sql").and_then(unescape_file_name) else { continue };
                if listed.contains(database.as_str()) || is_left_out(&database) {
                    continue;
                }
                found.databases.push((database, path));
            }
            EntryKind::Special | EntryKind::Unknown => {}
        }
    }
    // The link of a database is removed when it is detached; its directory is named by its UUID.
    for (database, file) in &found.databases {
        let text = local.read_definition(file).unwrap_or_default();
        let uuid = ParsedDefinition::parse(&String::from_utf8_lossy(&text)).ok().and_then(|definition| definition.uuid);
        if let (Some(uuid), false) = (uuid, directories.contains_key(database)) {
            directories.insert(database.clone(), in_store(&uuid));
        }
    }
    let names: BTreeSet<&TableName> =
        catalog.tables.iter().map(Table::name).chain(catalog.unusable.iter().map(|(name, _)| name)).collect();
    for (database, path) in directories.iter().filter(|(database, _)| !is_left_out(database)) {
        let Some(dir) = local.find_own(path)? else { continue };
        for entry in dir.entries()? {
            let Some(table) = entry.name.to_str().and_then(|file| file.strip_suffix(".sql")) else { continue };
            let Some(table) = unescape_file_name(table) else { continue };
            let name = TableName::new(database.clone(), table);
            if !names.contains(&name) {
                let path = path.join(&entry.name);
                found.tables.push(DefinitionFile { name, path });
            }
        }
    }
    // Tables that a database of the engine Overlay shows are defined in the files of another database.
    let uuids: BTreeSet<&TableUuid> = catalog.tables.iter().filter_map(|table| table.key.uuid.as_ref()).collect();
    let is_shown = |file: &DefinitionFile| {
        let text = local.read_definition(&file.path).unwrap_or_default();
        let uuid = ParsedDefinition::parse(&String::from_utf8_lossy(&text)).ok().and_then(|definition| definition.uuid);
        uuid.is_some_and(|uuid| uuids.contains(&uuid))
    };
    found.tables.retain(|file| !is_shown(file));
    Ok(found)
}

fn is_left_out(database: &str) -> bool {
    WITHOUT_FILES.contains(&database) || is_own_database(database)
}

/// `store/<first 3 digits>/<UUID>`: the directory in which Atomic databases keep a table's data, and their own
/// definitions.
fn in_store(uuid: &TableUuid) -> PathBuf {
    Path::new("store").join(uuid.as_str().get(..3).unwrap_or_default()).join(uuid.as_str())
}

/// The table of a definition file, without its parts.
fn table(local: &LocalDisks, file: DefinitionFile, text: &str) -> Table {
    let definition = ParsedDefinition::parse(text).ok();
    let uuid = definition.as_ref().and_then(|definition| definition.uuid.clone());
    let relative = match &uuid {
        Some(uuid) => in_store(uuid),
        None => (Path::new("data").join(escape_for_file_name(&file.name.database)))
            .join(escape_for_file_name(&file.name.table)),
    };
    let storage_policy = match definition.as_ref().map(ParsedDefinition::storage) {
        Some(StorageChoice::Policy(policy)) => policy,
        _ => "default".to_owned(),
    };
    Table {
        key: TableKey { name: file.name, uuid },
        engine: definition.as_ref().map(engine).unwrap_or_default(),
        definition: text.to_owned(),
        data_paths: local.iter().map(|disk| disk.disk.path.join(&relative)).collect(),
        metadata_path: file.path,
        storage_policy,
        has_own_data: None,
        parts: Arc::default(),
        mutations: Vec::new(),
    }
}

/// The engine as `system.tables` reports it: a materialized view's definition may name that of its inner table.
fn engine(definition: &ParsedDefinition) -> String {
    match definition.kind {
        DefinitionKind::View => "View".to_owned(),
        DefinitionKind::MaterializedView => "MaterializedView".to_owned(),
        DefinitionKind::Dictionary => "Dictionary".to_owned(),
        DefinitionKind::Table | DefinitionKind::OtherView | DefinitionKind::Database => {
            definition.engine().unwrap_or_default()
        }
    }
}

/// The parts of a table according to its directories; `None` if it has no directory. A part whose rows are unknown is
/// left out of this list; it is linked all the same.
fn parts_of(local: &LocalDisks, table: &Table) -> Result<Option<Vec<CatalogPart>>, FsError> {
    let mut parts = Vec::new();
    let mut has_directory = false;
    for path in &table.data_paths {
        let (Some((disk, _)), Some(dir)) = (local.locate(path), local.open_live(path)?) else { continue };
        has_directory = true;
        let parent: Arc<Path> = path.as_path().into();
        for name in active_by_name(directory_names(&dir)?) {
            let Some(rows) = rows_of(&dir, &name) else { continue };
            parts.push(CatalogPart {
                partition: name.partition().expect("a part that stands has a partition in its name"),
                parent: Arc::clone(&parent),
                disk: disk.disk.name.as_str().into(),
                rows,
                bytes: 0,
                files: 0,
                fingerprint: None,
                name,
            });
        }
    }
    let active: BTreeSet<PartName> = active_by_name(parts.iter().map(|part| part.name.clone())).into_iter().collect();
    parts.retain(|part| active.contains(&part.name));
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(has_directory.then_some(parts))
}

/// A detached table according to its definition, with the parts in its directories. `None` if these cannot be read
/// here.
pub(super) fn detached_table(local: &LocalDisks, name: &TableName, definition: &str) -> Option<Table> {
    let mut table = table(local, DefinitionFile { name: name.clone(), path: PathBuf::new() }, definition);
    table.parts = Arc::new(parts_of(local, &table).ok()??);
    Some(table)
}

/// The directories of a table whose names are those of parts.
pub(super) fn directory_names(table: &Dir) -> Result<impl Iterator<Item = PartName>, FsError> {
    let directories = table.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
    Ok(directories.filter_map(|entry| PartName::try_from(entry.name.to_str()?.to_owned()).ok()))
}

/// The number in a part's `count.txt`, which parts of the oldest kind lack.
fn rows_of(table: &Dir, part: &PartName) -> Option<u64> {
    let dir = table.open_dir(part.as_str()).ok()?;
    let text = dir.find_and_read("count.txt", DEFINITION_LIMIT_BYTES).ok()??;
    String::from_utf8(text).ok()?.trim().parse().ok()
}
