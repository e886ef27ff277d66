//! The additions to a tree for ClickHouse's own `RESTORE`: hashes, definitions, and the list of its files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::checksums::{FileHash, hash_bytes};
use crate::exec::{self, HashedFile, HashedPart};
use crate::fs::{self, Dir, EntryKind, ReadOptions};
use crate::model::{Ownership, PartName, TableName, Warning, WarningKind, escape_for_file_name};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::ops::init::resolved;
use crate::plan::{
    BACKUP_LIST, BackupChecksum, BackupFile, BackupList, DirectoryItem, DirectoryPlan, LeftUpdates, NativeUpdates,
    ParsedDefinition, create_database_text, create_table_text, for_native,
};
use crate::repo::{PartRecord, part_path};

use super::fresh_uuid::fresh_uuid;
use super::source::{SnapshotSource, SourceTable};

/// Figures of a tree for `RESTORE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct NativeReport {
    /// Files that `.backup` lists.
    pub entries: u64,
    /// Sum of their sizes.
    pub entry_bytes: u64,
    /// Files of parts that were read for their hashes, because `checksums.txt` does not list them.
    pub hashed_files: u64,
    /// Sum of their sizes.
    pub hashed_bytes: u64,
    /// Files of equal size and hash with different inodes, whose bytes were compared.
    pub compared_files: u64,
    /// The changes that restored tables lack.
    pub without_updates: LeftUpdates,
}

/// The files written besides the parts.
#[derive(Debug)]
pub(super) struct NativeTree {
    /// Paths in the tree, and the contents of each file: definitions, functions.
    texts: Vec<(PathBuf, Vec<u8>)>,
    list: BackupList,
    pub(super) report: NativeReport,
}

/// A file of a part that will be placed.
struct PlacedFile {
    /// Its path in the tree.
    name: String,
    /// The index of its part among all parts.
    part: usize,
    file: HashedFile,
}

/// The place of `CREATE FUNCTION` statements in a backup (`UserDefinedSQLObjectsBackup.cpp`), and the definition of the
/// system table without which `RESTORE` does not find them.
const FUNCTIONS: &str = "data/system/functions";
const FUNCTIONS_TABLE: (&str, &str) =
    ("metadata/system/functions.sql", "CREATE TABLE system.functions ENGINE = SystemFunctions");
const SYSTEM_DATABASE: (&str, &str) = ("metadata/system.sql", "CREATE DATABASE system ENGINE = Memory");

/// Reads the parts that are to be placed, and adapts the plan to `RESTORE`. `definitions` gives the paths of a plan's
/// files outside parts in the snapshot.
///
/// # Errors
/// If something cannot be read, or two files of equal size and hash have different bytes.
pub(super) fn prepare(
    source: &SnapshotSource,
    items: &[DirectoryItem],
    plan: DirectoryPlan,
    updates: NativeUpdates,
    definitions: impl Fn(&DirectoryPlan) -> Vec<String>,
    monitor: &dyn Monitor,
) -> Result<(DirectoryPlan, NativeTree), OpError> {
    let none = BTreeMap::new();
    // Refused tables are not read.
    let first = for_native(plan.clone(), items, &none, updates);
    let parts = placed_parts(source, &first);
    let advanced = |bytes| monitor.advanced(Stage::Check, StageWork { bytes, ..StageWork::default() });
    let hash = |(table, part): &(&SourceTable, &PartRecord)| -> Result<(Dir, HashedPart), OpError> {
        let dir = source.part_dir(table, &part.part)?.ok_or_else(|| source.has_lost(table, &part.part))?;
        let key = (table.name(), part.part.clone());
        let is_noted = source.damaged.contains(&key) && !source.intact.contains_key(&key);
        let is_trusted = !is_noted && part.damage.is_empty() && part.unverifiable.is_none();
        let options = ReadOptions { rate: None, advanced: &advanced };
        let hashed = exec::hash_part(&dir, is_trusted, options)?;
        Ok((dir, hashed))
    };
    let hashed: Vec<(Dir, HashedPart)> = parts.par_iter().map(hash).collect::<Result<_, _>>()?;
    let mut encrypted: BTreeMap<TableName, PartName> = BTreeMap::new();
    for ((table, part), (_, hashed)) in parts.iter().zip(&hashed) {
        if *hashed == HashedPart::Encrypted {
            encrypted.entry(table.name()).or_insert_with(|| part.part.clone());
        }
    }
    let mut plan = for_native(plan, items, &encrypted, updates);
    let native = plan.native.clone().unwrap_or_default();
    let mut placed = Vec::new();
    for (at, ((table, part), (_, hashed))) in parts.iter().zip(&hashed).enumerate() {
        let (Some(directory), HashedPart::Files(files)) = (native.directories.get(&table.name()), hashed) else {
            continue;
        };
        let path = part_path(directory, &part.part).to_string_lossy().into_owned();
        let place =
            |file: &HashedFile| PlacedFile { name: format!("{path}/{}", file.path), part: at, file: file.clone() };
        placed.extend(files.iter().map(place));
    }
    let compared_files = compare_twins(&placed, &hashed, monitor)?;
    let mut texts = texts(source, &mut plan, definitions)?;
    texts.sort();
    let of_text =
        |(path, text): &(PathBuf, Vec<u8>)| entry(&path.to_string_lossy(), text.len() as u64, hash_bytes(text));
    let is_listed = |(path, _): &&(PathBuf, Vec<u8>)| path.starts_with("metadata") || path.starts_with(FUNCTIONS);
    let mut files: Vec<BackupFile> =
        placed.iter().map(|file| entry(&file.name, file.file.bytes, file.file.hash)).collect();
    files.extend(texts.iter().filter(is_listed).map(of_text));
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let was_read = || placed.iter().filter(|file| file.file.was_read);
    let report = NativeReport {
        entries: files.len() as u64,
        entry_bytes: files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes)),
        hashed_files: was_read().count() as u64,
        hashed_bytes: was_read().map(|file| file.file.bytes).sum(),
        compared_files,
        without_updates: native.left_updates,
    };
    let list = BackupList {
        timestamp: source.manifest.time.format("%Y-%m-%d %H:%M:%S").to_string(),
        uuid: fresh_uuid()?.to_string(),
        base: None,
        files,
    };
    Ok((plan, NativeTree { texts, list, report }))
}

/// The parts that a plan places, without patch parts.
fn placed_parts<'a>(source: &'a SnapshotSource, plan: &DirectoryPlan) -> Vec<(&'a SourceTable, &'a PartRecord)> {
    let directories = plan.native.as_ref().map(|native| &native.directories);
    let is_placed = |table: &&SourceTable| directories.is_some_and(|names| names.contains_key(&table.name()));
    let parts =
        source.tables.iter().filter(is_placed).flat_map(|table| table.parts.iter().map(move |part| (table, part)));
    parts.filter(|(_, part)| !part.part.is_patch()).collect()
}

fn entry(name: &str, bytes: u64, hash: FileHash) -> BackupFile {
    let checksum = BackupChecksum(u128::from_le_bytes(hash.to_bytes()));
    BackupFile { name: name.to_owned(), bytes, checksum, ..BackupFile::default() }
}

/// The first file of a size and hash, and one file for each other inode with the same size and hash.
type Twins<'a> = (&'a PlacedFile, HashMap<(u64, u64), &'a PlacedFile>);

/// Compares the bytes of files with equal size and hash. Returns the number of files read for that.
fn compare_twins(placed: &[PlacedFile], hashed: &[(Dir, HashedPart)], monitor: &dyn Monitor) -> Result<u64, OpError> {
    let mut first: HashMap<(u64, FileHash), Twins<'_>> = HashMap::new();
    for file in placed.iter().filter(|file| file.file.bytes > 0) {
        let key = (file.file.bytes, file.file.hash);
        let (first, others) = first.entry(key).or_insert_with(|| (file, HashMap::new()));
        if file.file.inode != first.file.inode {
            others.entry(file.file.inode).or_insert(file);
        }
    }
    let pairs: Vec<(&PlacedFile, &PlacedFile)> =
        first.into_values().flat_map(|(first, others)| others.into_values().map(move |other| (first, other))).collect();
    let place = |file: &PlacedFile| -> Result<(Dir, String), OpError> {
        let path = Path::new(&file.file.path);
        let part = hashed.get(file.part).map(|(dir, _)| dir).expect("each file is of one of the parts");
        let dir = part.open_beneath(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, path.file_name().unwrap_or_default().to_string_lossy().into_owned()))
    };
    pairs.par_iter().try_for_each(|(one, other)| -> Result<(), OpError> {
        let ((one_dir, one_name), (other_dir, other_name)) = (place(one)?, place(other)?);
        monitor.advanced(Stage::Check, StageWork { bytes: one.file.bytes, ..StageWork::default() });
        if exec::have_same_bytes((&one_dir, &one_name), (&other_dir, &other_name))? {
            return Ok(());
        }
        Err(OpError::SameHash { one: one.name.clone(), other: other.name.clone() })
    })?;
    Ok(pairs.len() as u64)
}

/// The files besides the parts: definitions as `CREATE` statements, functions where `RESTORE` looks for them, and all
/// others as in the snapshot.
fn texts(
    source: &SnapshotSource,
    plan: &mut DirectoryPlan,
    definitions: impl Fn(&DirectoryPlan) -> Vec<String>,
) -> Result<Vec<(PathBuf, Vec<u8>)>, OpError> {
    let mut texts: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut has_functions = false;
    for path in definitions(plan) {
        let bytes = source.metadata(&path)?;
        let table = source.tables.iter().find(|table| table.entry.definition.as_deref() == Some(&path));
        let database = source.manifest.databases.iter().find(|entry| entry.definition == path);
        let parse = || ParsedDefinition::parse(&String::from_utf8_lossy(&bytes));
        if let Some(table) = table {
            let name = table.name();
            // The definition of an inner table is part of its view's.
            if source.inner.contains_key(&name) {
                continue;
            }
            if let Ok(definition) = parse() {
                let text = create_table_text(&definition, &name, table.entry.uuid.as_ref());
                texts.push((path.into(), text.into_bytes()));
            }
        } else if let Some(database) = database {
            match parse() {
                Ok(definition) => {
                    texts.push((path.into(), create_database_text(&definition, &database.database).into_bytes()));
                }
                Err(error) => plan.warnings.push(Warning::new(
                    WarningKind::ObjectNotMade,
                    format!(
                        "the definition of the database {:?} cannot be read, and is left out: {error}",
                        database.database
                    ),
                )),
            }
        } else if let Some(name) = path.strip_prefix("user_defined/function_") {
            texts.push((Path::new(FUNCTIONS).join(name), bytes));
            has_functions = true;
        } else {
            texts.push((path.into(), bytes));
        }
    }
    if has_functions {
        for (path, text) in [FUNCTIONS_TABLE, SYSTEM_DATABASE] {
            if !texts.iter().any(|(known, _)| known == Path::new(path)) {
                texts.push((path.into(), text.as_bytes().to_vec()));
            }
        }
    }
    Ok(texts)
}

impl NativeTree {
    /// Writes the definitions and the list into the tree, readable by their owner alone.
    ///
    /// # Errors
    /// If something cannot be written.
    pub(super) fn write(&self, tree: &Dir) -> Result<(), OpError> {
        for (path, text) in &self.texts {
            let mut dir = tree.clone();
            for component in path.parent().unwrap_or(Path::new("")).components() {
                dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
            }
            dir.write_unsynced(path.file_name().unwrap_or_default(), 0o600, text)?;
        }
        let mut file = tree.begin_file(BACKUP_LIST, 0o600)?;
        for piece in self.list.texts() {
            file.write(piece.as_bytes())?;
        }
        Ok(file.close()?)
    }

    /// Changes the owner of the files written besides the parts, of the directories above them, and of those that were
    /// `made` for the tree, to the owner of these parts: a server that reads the tree runs as that user. Linked files
    /// are never touched.
    ///
    /// # Errors
    /// If an owner cannot be set.
    pub(super) fn give(
        &self,
        source: &SnapshotSource,
        tree: &Dir,
        made: &[PathBuf],
    ) -> Result<Option<Warning>, OpError> {
        if fs::user_id() != 0 {
            return Ok(None);
        }
        let Some(owner) = owner(source)? else {
            let message = "neither a part nor the server's data path tells whose the server's files are: what is new \
                 belongs to root, and the server's user may not be able to read it";
            return Ok(Some(Warning::new(WarningKind::AttributesLost, message)));
        };
        if owner.uid == 0 {
            return Ok(None);
        }
        let files = self.texts.iter().map(|(path, _)| path.as_path()).chain([Path::new(BACKUP_LIST)]);
        for path in files {
            let dir = tree.open_beneath(path.parent().unwrap_or(Path::new("")))?;
            dir.give_file(path.file_name().unwrap_or_default(), (owner.uid, owner.gid))?;
        }
        give_directories(tree, Path::new(""), owner)?;
        for path in made {
            give_directory(&tree.open_elsewhere(path)?, owner)?;
        }
        Ok(None)
    }
}

/// The warning about a directory that the server's user may be unable to read, judged by owners and modes. Directories
/// that existed before keep their own, and so do those above them.
///
/// # Errors
/// If looking for the owner of the server's files fails. An owner that nothing reveals is no error.
pub(super) fn reach_warning(source: &SnapshotSource, target: &Dir) -> Result<Option<Warning>, OpError> {
    let Some(server) = owner(source)?.filter(|owner| owner.uid != 0) else { return Ok(None) };
    let warning = |path: &Path, what: &str| {
        let (path, uid) = (path.display(), server.uid);
        let message = format!("the server's user {uid} may not be able to read the tree: {what} {path}");
        Some(Warning::new(WarningKind::AttributesLost, message))
    };
    if fs::user_id() != 0 && fs::user_id() != server.uid {
        return Ok(warning(target.path(), "only root can give it what is new in"));
    }
    let path = resolved(target.path());
    for (level, above) in path.ancestors().enumerate() {
        let Ok(stat) = target.open_elsewhere(above).and_then(|dir| dir.stat_self()) else { continue };
        let wanted = if level == 0 { READ | ENTER } else { ENTER };
        if !may(server, stat.ownership, wanted) {
            return Ok(warning(above, "owner and mode keep it out of"));
        }
    }
    Ok(None)
}

const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// Whether a user has these permissions on something with this owner and mode. Supplementary groups are unknown.
fn may(user: Ownership, of: Ownership, wanted: u32) -> bool {
    let shift = match (user.uid == of.uid, user.gid == of.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    of.mode >> shift & wanted == wanted
}

/// The owner of the wanted parts, else of any part of the snapshot, else of the server's data path. `None` if none of
/// these exists.
fn owner(source: &SnapshotSource) -> Result<Option<Ownership>, OpError> {
    if let Some(part) = source.tables.iter().flat_map(|table| &table.parts).next() {
        return Ok(Some(part.directory));
    }
    if let Some(data) = source.dir().find_beneath(Path::new(DATA))?
        && let Some(owner) = owner_of_part(&data, TABLE_DEPTH)?
    {
        return Ok(Some(owner));
    }
    let path = &source.manifest.server.data_path;
    if !Path::new(path).is_absolute() {
        return Ok(None);
    }
    // The path may no longer belong to a server: a directory of root's reveals nothing.
    let found = source.dir().open_elsewhere(Path::new(path)).and_then(|dir| dir.stat_self());
    Ok(found.ok().map(|stat| stat.ownership).filter(|owner| owner.uid != 0))
}

/// The owner of the first directory this many levels deeper.
fn owner_of_part(dir: &Dir, levels: usize) -> Result<Option<Ownership>, OpError> {
    if levels == 0 {
        return Ok(Some(dir.stat_self()?.ownership));
    }
    for entry in dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        if let Some(owner) = owner_of_part(&dir.open_dir(&entry.name)?, levels - 1)? {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// Changes the owner of a directory of the tree and of those in it. Parts, and the files in them, keep the owner that
/// they have in the snapshot.
fn give_directories(dir: &Dir, path: &Path, owner: Ownership) -> Result<(), OpError> {
    give_directory(dir, owner)?;
    let is_of_parts =
        path.starts_with(DATA) && path.components().count() >= TABLE_DEPTH && !path.starts_with(FUNCTIONS);
    if is_of_parts {
        return Ok(());
    }
    for entry in dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        give_directories(&dir.open_dir(&entry.name)?, &path.join(&entry.name), owner)?;
    }
    Ok(())
}

fn give_directory(dir: &Dir, Ownership { uid, gid, .. }: Ownership) -> Result<(), OpError> {
    let mode = dir.stat_self()?.ownership.mode;
    Ok(dir.set_ownership(Ownership { uid, gid, mode })?)
}

/// The depth of `data/<database>/<table>`: deeper directories belong to parts.
const TABLE_DEPTH: usize = 3;
const DATA: &str = "data";

/// The directory of a table's parts in the tree.
pub(super) fn directory_of(plan: &DirectoryPlan, table: &TableName) -> TableName {
    let directories = plan.native.as_ref().map(|native| &native.directories);
    directories.and_then(|names| names.get(table)).unwrap_or(table).clone()
}

/// Creates the directory `data/<database>/<table>` of a tree.
///
/// # Errors
/// If it cannot be created.
pub(super) fn table_dir(tree: &Dir, name: &TableName) -> Result<Dir, OpError> {
    let above = tree.ensure_dir(DATA, 0o750)?.ensure_dir(escape_for_file_name(&name.database), 0o750)?;
    Ok(above.ensure_dir(escape_for_file_name(&name.table), 0o750)?)
}

#[cfg(test)]
mod tests {
    use super::{ENTER, READ, may};
    use crate::model::Ownership;

    #[test]
    fn the_class_of_a_user_decides_and_no_other() {
        let of = |uid, gid, mode| Ownership { uid, gid, mode };
        let user = of(101, 102, 0);
        for (directory, may_read, may_enter) in [
            (of(101, 0, 0o700), true, true),
            (of(101, 0, 0o077), false, false),
            (of(0, 102, 0o750), true, true),
            (of(0, 102, 0o710), false, true),
            (of(0, 102, 0o705), false, false),
            (of(0, 0, 0o755), true, true),
            (of(0, 0, 0o751), false, true),
            (of(0, 0, 0o700), false, false),
        ] {
            let found = (may(user, directory, READ | ENTER), may(user, directory, ENTER));
            assert_eq!(found, (may_read, may_enter), "{directory:?}");
        }
    }
}
