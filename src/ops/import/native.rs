//! ClickHouse's own backups: `.backup`, and the files that it lists.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use chrono::NaiveDateTime;

use crate::exec::{TreeDirs, is_as_listed};
use crate::fs::{Dir, EntryKind};
use crate::model::{PartName, TableName, Warning, WarningKind, count};
use crate::monitor::chain;
use crate::ops::error::OpError;
use crate::plan::{
    BACKUP_LIST, BackupFile, BackupList, ImportKind, ImportSource, PartFilesSource, PathInTree, Refusal,
    SourceDefinition, SourceFile, SourcePart, place_in_tree,
};

use super::tree::{beneath, read_text};
use crate::ops::import_error::ImportError;

/// Enough for ten million files.
const LIST_LIMIT_BYTES: u64 = 4 << 30;
const DEFAULT_DISK: &str = "default";

/// Reads a backup's description of itself, and its definitions. Reads none of its data. A table whose files the list
/// does not name as they are is refused by name.
///
/// # Errors
/// If its list cannot be read, names a file outside the backup, or needs another backup.
pub(super) fn read(dir: &Dir) -> Result<ImportSource, OpError> {
    let path = dir.path().join(BACKUP_LIST);
    let bytes = dir.read(BACKUP_LIST, LIST_LIMIT_BYTES)?;
    let list = BackupList::parse(&bytes).map_err(|source| ImportError::List { path: path.clone(), source })?;
    drop(bytes);
    if list.base.is_some() || list.files.iter().any(|file| file.base_bytes > 0) {
        return Err(ImportError::Based { path: dir.path().to_owned() }.into());
    }
    let mut source = ImportSource::empty(ImportKind::NativeBackup);
    source.name.clone_from(&list.uuid);
    // In the time zone of its server, which it does not record.
    source.time = NaiveDateTime::parse_from_str(&list.timestamp, "%Y-%m-%d %H:%M:%S").ok().map(|time| time.and_utc());
    let mut parts: BTreeMap<(TableName, PartName), Vec<SourceFile>> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let (mut mutations, mut others): (BTreeMap<TableName, u64>, u64) = (BTreeMap::new(), 0);
    for file in &list.files {
        beneath(&path, &file.name)?;
        let from = file.bytes_path().map(|from| beneath(&path, from)).transpose()?;
        if !seen.insert(&file.name) {
            let name: String = file.name.chars().take(200).collect();
            let Some(table) = place_in_tree(&file.name).table() else {
                return Err(ImportError::Name { path, name, what: "is listed twice" }.into());
            };
            source.refuse(table, Refusal::Damaged(format!("{} names {name:?}, which is listed twice", path.display())));
            continue;
        }
        match place_in_tree(&file.name) {
            PathInTree::Part { table, part, .. } if file.is_encrypted => {
                source.refuse(table, Refusal::Unusable(format!("its part {part} is encrypted")));
            }
            PathInTree::Part { table, part, path: inside } => {
                let inside = beneath(&path, &inside)?;
                let listed = SourceFile { path: inside, from, bytes: file.bytes, checksum: file.checksum };
                parts.entry((table, part)).or_default().push(listed);
            }
            PathInTree::Database(name) => match definition(dir, file)? {
                Ok(definition) => drop(source.databases.insert(name, definition)),
                Err(problem) => source.warnings.push(lost(&format!("the definition of the database {name}"), &problem)),
            },
            PathInTree::Table(name) => match definition(dir, file)? {
                Ok(definition) => drop(source.definitions.insert(name, definition)),
                Err(problem) => source.refuse(name, Refusal::Damaged(problem)),
            },
            PathInTree::Function(name) => match definition(dir, file)? {
                Ok(definition) => drop(source.functions.insert(name, definition.text)),
                Err(problem) => source.warnings.push(lost(&format!("the function {name}"), &problem)),
            },
            PathInTree::Data(table) => {
                source.other_data.insert(table);
            }
            PathInTree::Mutation(table) => *mutations.entry(table).or_default() += 1,
            PathInTree::Other => others += 1,
        }
    }
    if others > 0 {
        let message = format!(
            "{others} files of the backup are neither of tables nor of functions (users and roles, say): they are not taken"
        );
        source.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
    }
    // A backup has parts as they were without them.
    let warnings = mutations.into_iter().map(|(table, number)| {
        let unfinished = count(number, "unfinished mutation");
        let message = format!(
            "{table} had {unfinished} when the backup was made: a restore does not run {}",
            if number == 1 { "it" } else { "them" }
        );
        Warning::of_table(WarningKind::MutationLost, &table, message)
    });
    source.warnings.extend(warnings);
    let part = |((table, name), files)| SourcePart {
        table,
        name,
        disk: DEFAULT_DISK.to_owned(),
        content: PartFilesSource::Files(files),
    };
    source.parts = parts.into_iter().map(part).collect();
    refuse_conflicts(dir, &mut source);
    seen.extend(list.files.iter().filter_map(BackupFile::bytes_path));
    for top in ["data", "metadata"] {
        if let Some(below) = dir.find_beneath(Path::new(top))? {
            note_unlisted(&below, top, &seen, &mut source)?;
        }
    }
    Ok(source)
}

/// The warning about an object whose definition cannot be taken.
fn lost(object: &str, problem: &str) -> Warning {
    Warning::new(WarningKind::DefinitionMissing, format!("{object} is not taken: {problem}"))
}

/// Refuses the tables with files in the tree that its list does not name: then either the tree or the list has changed.
fn note_unlisted(dir: &Dir, path: &str, known: &BTreeSet<&str>, source: &mut ImportSource) -> Result<(), OpError> {
    for entry in dir.entries_with_kind()? {
        let path = format!("{path}/{}", entry.name.to_string_lossy());
        if entry.kind == EntryKind::Directory {
            let listed = dir.open_dir(&entry.name).map_err(OpError::from);
            if let Err(error) = listed.and_then(|dir| note_unlisted(&dir, &path, known, source)) {
                let Some(table) = place_in_tree(&format!("{path}/-")).table() else { return Err(error) };
                source.refuse(table, Refusal::Damaged(chain(&error)));
            }
        } else if !known.contains(path.as_str())
            && let Some(table) = place_in_tree(&path).table()
        {
            let reason = format!("the tree has {path}, and the list of the backup does not name it");
            source.refuse(table, Refusal::Damaged(reason));
        }
    }
    Ok(())
}

/// A definition that the list names, with the listed size and hash; else the problem with it.
fn definition(dir: &Dir, file: &BackupFile) -> Result<Result<SourceDefinition, String>, OpError> {
    let path = dir.path().join(BACKUP_LIST);
    let from = file.bytes_path().map(|from| beneath(&path, from)).transpose()?;
    let Some(from) = from else { return Ok(Ok(SourceDefinition { text: String::new(), is_file: false })) };
    let listed =
        SourceFile { path: from.clone(), from: Some(from.clone()), bytes: file.bytes, checksum: file.checksum };
    let as_listed = is_as_listed(&mut TreeDirs::of(dir), &listed, true).map_err(OpError::from);
    let text = as_listed.and_then(|is_so| is_so.then(|| read_text(dir, &from)).transpose());
    Ok(match text {
        Ok(Some(text)) => Ok(SourceDefinition { text, is_file: false }),
        Ok(None) => Err(format!("{} {}", dir.path().join(from).display(), ImportError::NOT_AS_LISTED)),
        Err(error) => Err(chain(&error)),
    })
}

/// Refuses tables with a file of a part at a path that is a directory of another.
fn refuse_conflicts(dir: &Dir, source: &mut ImportSource) {
    let mut refused = HashMap::new();
    for part in &source.parts {
        let files: HashSet<_> = part.listed().iter().map(|file| file.path.as_path()).collect();
        let clash = part.listed().iter().find(|file| file.path.ancestors().skip(1).any(|above| files.contains(above)));
        if let Some(file) = clash {
            let name: String = file.path.to_string_lossy().chars().take(200).collect();
            let list = dir.path().join(BACKUP_LIST);
            refused.insert(part.table.clone(), format!("{} names {name:?}, which is below a file", list.display()));
        }
    }
    for (table, reason) in refused {
        source.refuse(table, Refusal::Damaged(reason));
    }
}
