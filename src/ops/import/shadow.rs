//! A tree of frozen parts, for example from `cp -al` of `shadow/`, with the definitions of a server's `metadata/`.
//!
//! Source of the layout: `Freeze.cpp` and `MergeTreeData::freezePartitionsByMatcher` of ClickHouse:
//! `data/<database>/<table>` of Ordinary databases, `store/<first 3 digits>/<UUID>` of Atomic ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::fs::{Dir, Entry, EntryKind, ErrorKind};
use crate::model::{TableName, Warning, WarningKind};
use crate::monitor::chain;
use crate::ops::error::OpError;
use crate::ops::init::resolved;
use crate::plan::{ImportKind, ImportSource, ParsedDefinition, Refusal, SourceDefinition, SourcePart};

use super::tree::{TEXT_LIMIT_BYTES, directories, directories_and_links, is_link, parts_in, unescaped};
use crate::ops::import_error::ImportError;

const DEFAULT_DISK: &str = "default";

/// Reads a tree of parts, and the definitions in `metadata`.
///
/// A directory of parts that belongs to no table of these definitions is left out, as is a table whose directory holds
/// something else than parts; both are named.
///
/// # Errors
/// If the tree or the definitions cannot be listed, or a directory of a database is a link.
pub(super) fn read(dir: &Dir, metadata: &Path) -> Result<ImportSource, OpError> {
    let mut source = ImportSource::empty(ImportKind::Shadow);
    let (root, above) = freeze_root(dir)?;
    source.name = above.to_string_lossy().into_owned();
    let (seconds, _) = root.stat_self()?.modified;
    source.time = chrono::DateTime::from_timestamp(seconds, 0);
    let metadata = dir.open_elsewhere(metadata)?;
    read_definitions(&metadata, &mut source)?;
    if let Some(data) = root.find_beneath(Path::new("data"))? {
        for database in directories(&data)? {
            let database_dir = data.open_dir(&database)?;
            let (tables, links) = tables_in(&root, &database_dir)?;
            let name_of = |table: &str| -> Result<TableName, ImportError> {
                Ok(TableName::new(unescaped(data.path(), &database)?, unescaped(database_dir.path(), table)?))
            };
            for link in links {
                let name = name_of(&link)?;
                source.refuse(name, Refusal::Unusable(is_link(&database_dir, link).to_string()));
            }
            for table in tables {
                let name = match name_of(&table) {
                    Ok(name) => name,
                    Err(error) => {
                        source.unknown.push(format!("a table is skipped: {error}"));
                        continue;
                    }
                };
                let relative = above.join("data").join(&database).join(&table);
                let parts = parts_of(&database_dir, &table, &relative, &name);
                add_parts(&mut source, name, parts);
            }
        }
    }
    if let Some(store) = root.find_beneath(Path::new("store"))? {
        let by_uuid = by_uuid(&source.definitions);
        for prefix in directories(&store)? {
            let prefix_dir = store.open_dir(&prefix)?;
            for uuid in directories(&prefix_dir)? {
                let relative = above.join("store").join(&prefix).join(&uuid);
                let Some(name) = by_uuid.get(&uuid.to_ascii_lowercase()) else {
                    let (path, metadata) = (dir.path().join(relative), metadata.path());
                    source.unknown.push(format!(
                        "{} is skipped: it is of a table whose UUID no definition in {} has",
                        path.display(),
                        metadata.display()
                    ));
                    continue;
                };
                let parts = parts_of(&prefix_dir, &uuid, &relative, name);
                add_parts(&mut source, name.clone(), parts);
            }
        }
    }
    // Only frozen tables, and the views over them, become part of the snapshot.
    let refused = source.refused.keys().map(|table| table.database.as_str());
    let frozen: BTreeSet<&str> = source.parts.iter().map(|part| part.table.database.as_str()).chain(refused).collect();
    for name in source.definitions.keys().filter(|name| !frozen.contains(name.database.as_str())) {
        *source.unfrozen.entry(name.database.clone()).or_default() += 1;
    }
    source.definitions.retain(|name, _| frozen.contains(name.database.as_str()));
    source.databases.retain(|name, _| frozen.contains(name.as_str()));
    Ok(source)
}

fn parts_of(above: &Dir, directory: &str, relative: &Path, table: &TableName) -> Result<Vec<SourcePart>, OpError> {
    parts_in(&above.open_dir(directory)?, relative, table, DEFAULT_DISK)
}

/// Adds the parts of a table, or refuses it if they cannot be listed.
fn add_parts(source: &mut ImportSource, table: TableName, parts: Result<Vec<SourcePart>, OpError>) {
    match parts {
        Ok(parts) => source.parts.extend(parts),
        Err(error) => source.refuse(table, Refusal::Unusable(chain(&error))),
    }
}

/// The directories of tables in the directory of a database, and the links there that lead elsewhere. A server also has
/// links into its `store/` there: those are followed if their target is in the tree.
fn tables_in(root: &Dir, database: &Dir) -> Result<(Vec<String>, Vec<String>), OpError> {
    let (names, links) = directories_and_links(database)?;
    let mut elsewhere = Vec::new();
    for link in links {
        let target = database.read_link(&link)?;
        let components: Vec<_> = target.components().collect();
        let in_store: Option<PathBuf> = match components.as_slice() {
            [.., store, prefix, uuid] if store.as_os_str() == "store" => {
                Some([store, prefix, uuid].into_iter().collect())
            }
            _ => None,
        };
        let is_in_tree = match in_store {
            Some(path) => root.find_beneath(&path)?.is_some(),
            None => false,
        };
        if !is_in_tree {
            elsewhere.push(link);
        }
    }
    Ok((names, elsewhere))
}

/// The directory with `data/` and `store/`: the tree itself, or the only freeze in it.
fn freeze_root(dir: &Dir) -> Result<(Dir, PathBuf), OpError> {
    let is_freeze = |names: &[String]| names.iter().any(|name| name == "data" || name == "store");
    let (names, links) = directories_and_links(dir)?;
    if let Some(link) = links.into_iter().find(|link| is_freeze(std::slice::from_ref(link))) {
        return Err(is_link(dir, link).into());
    }
    if is_freeze(&names) {
        return Ok((dir.clone(), PathBuf::new()));
    }
    let mut found = Vec::new();
    for name in names {
        let below = dir.open_dir(&name)?;
        let (inside, links) = directories_and_links(&below)?;
        if let Some(link) = links.into_iter().find(|link| is_freeze(std::slice::from_ref(link))) {
            return Err(is_link(&below, link).into());
        }
        if is_freeze(&inside) {
            found.push((below, PathBuf::from(name)));
        }
    }
    let path = dir.path().to_owned();
    match found.len() {
        1 => found.pop().ok_or_else(|| ImportError::Empty { path }.into()),
        0 => {
            Err(ImportError::Form { path, what: "has neither data/ nor store/, and no freeze that has".to_owned() }
                .into())
        }
        many => {
            let what = format!("has {many} freezes: name the directory of one of them");
            Err(ImportError::Form { path, what }.into())
        }
    }
}

/// Reads `<database>.sql` and `<database>/<table>.sql`. A database's directory can be a link into the server's `store/`
/// next to `metadata/`; it is followed no further than that.
fn read_definitions(metadata: &Dir, source: &mut ImportSource) -> Result<(), OpError> {
    let text = |dir: &Dir, entry: &Entry| -> Result<Option<SourceDefinition>, OpError> {
        let bytes = dir.find_and_read(&entry.name, TEXT_LIMIT_BYTES)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map(|text| SourceDefinition { text, is_file: true }))
    };
    for entry in metadata.entries_with_kind()? {
        let name = entry.name.to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".sql").filter(|_| entry.kind == EntryKind::File) {
            if let (Ok(database), Some(definition)) = (unescaped(metadata.path(), stem), text(metadata, &entry)?) {
                source.databases.insert(database, definition);
            }
            continue;
        }
        let Ok(database) = unescaped(metadata.path(), &name) else { continue };
        let Some(dir) = database_dir(metadata, &entry)? else { continue };
        for table in dir.entries_with_kind()?.into_iter().filter(|table| table.kind == EntryKind::File) {
            let file = table.name.to_string_lossy().into_owned();
            let Some(stem) = file.strip_suffix(".sql") else { continue };
            let table_name = match unescaped(dir.path(), stem) {
                Ok(name) => name,
                Err(error) => {
                    source.warnings.push(Warning::new(WarningKind::DefinitionMissing, error.to_string()));
                    continue;
                }
            };
            if let Some(definition) = text(&dir, &table)? {
                source.definitions.insert(TableName::new(database.clone(), table_name), definition);
            }
        }
    }
    Ok(())
}

fn database_dir(metadata: &Dir, entry: &Entry) -> Result<Option<Dir>, OpError> {
    match metadata.open_dir(&entry.name) {
        Ok(dir) => return Ok(Some(dir)),
        Err(error) if error.kind() == ErrorKind::WrongKind => {}
        Err(error) => return Err(error.into()),
    }
    let Ok(target) = metadata.read_link(&entry.name) else { return Ok(None) };
    let path = resolved(&metadata.path().join(target));
    let server = resolved(metadata.path()).parent().map(Path::to_path_buf).unwrap_or_default();
    if !path.starts_with(&server) {
        let name = entry.name.to_string_lossy().into_owned();
        return Err(ImportError::Name {
            path: metadata.path().to_owned(),
            name,
            what: "is a link that leads elsewhere",
        }
        .into());
    }
    match metadata.open_elsewhere(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(Some(result?)),
    }
}

fn by_uuid(definitions: &BTreeMap<TableName, SourceDefinition>) -> BTreeMap<String, TableName> {
    let uuid = |(name, definition): (&TableName, &SourceDefinition)| {
        let uuid = ParsedDefinition::parse(&definition.text).ok()?.uuid?;
        Some((uuid.as_str().to_ascii_lowercase(), name.clone()))
    };
    definitions.iter().filter_map(uuid).collect()
}
