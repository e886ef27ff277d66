//! The files of tables without parts, in the snapshot and of live tables.

use std::path::Path;

use crate::exec::{CopyPartError, RestorePartError};
use crate::fs::{ContentDigest, CopyError, Dir, EntryKind, ErrorKind, FsError, Hashing, ReadOptions};
use crate::model::{DumpKind, Table, TableName};
use crate::ops::disks::LocalDisks;
use crate::ops::error::{FoundDamage, OpError};
use crate::plan::{DumpFile, LiveRows, SourceDump};
use crate::repo::{self, Dump, Manifest, TableEntry};
use crate::server::{self, Server, ServerError};

/// A dump in the form that a plan reads.
pub(super) fn source_dump(manifest: &Manifest, dump: &Dump) -> SourceDump {
    let files = dump.files.iter().filter_map(|path| {
        let file = manifest.metadata.iter().find(|file| file.path == *path)?;
        let name = Path::new(path).file_name()?.to_str()?.to_owned();
        Some(DumpFile { name, bytes: file.bytes, blake3: file.blake3.clone() })
    });
    SourceDump { kind: dump.kind, rows: dump.rows, bytes: dump.stored_bytes, files: files.collect() }
}

/// The directory of a file of a table's dump in the snapshot `snapshot`, and its name there. `None` if it does not
/// exist. A path outside the table's own leads nowhere.
///
/// # Errors
/// If the snapshot cannot be read.
pub(super) fn place_of(snapshot: &Dir, table: &TableName, path: &str) -> Result<Option<(Dir, String)>, FsError> {
    let relative = Path::new(path);
    let (Some(parent), Some(file)) = (relative.parent(), relative.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let is_own =
        relative == repo::dump_path(table) || parent == repo::dump_directory(table) && repo::is_data_file(file);
    if !is_own {
        return Ok(None);
    }
    Ok(snapshot.find_beneath(parent)?.map(|dir| (dir, file.to_owned())))
}

fn hash(dir: &Dir, name: &str) -> Result<(u64, String), FsError> {
    let options = ReadOptions { rate: None, advanced: &|_| () };
    let (stat, digest, _) = dir.hash_whole(name, Hashing::Blake3, options)?;
    let hash = match digest {
        Some(ContentDigest::Blake3(hash)) => hash.to_hex().to_string(),
        _ => String::new(),
    };
    Ok((stat.size_bytes, hash))
}

/// Checks every file of a table's dump: it has the size and the digest recorded in the manifest.
///
/// # Errors
/// If the snapshot cannot be read.
pub(super) fn damage(snapshot: &Dir, manifest: &Manifest, entry: &TableEntry) -> Result<Vec<FoundDamage>, FsError> {
    let Some(dump) = &entry.dump else { return Ok(Vec::new()) };
    let name = entry.name();
    let mut damage = Vec::new();
    for path in &dump.files {
        let listed = manifest.metadata.iter().find(|file| file.path == *path);
        let found = match place_of(snapshot, &name, path)? {
            None => None,
            Some((dir, file)) => match hash(&dir, &file) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                found => Some(found?),
            },
        };
        let problem = match (listed, found) {
            (None, _) => format!("the manifest does not list its file {path}"),
            (Some(_), None) => format!("its file {path} is missing"),
            (Some(listed), Some(found)) if found == (listed.bytes, listed.blake3.clone()) => continue,
            (Some(_), Some(_)) => format!("its file {path} is not the one that the manifest speaks of"),
        };
        damage.push(FoundDamage { table: name.clone(), part: None, problem });
    }
    Ok(damage)
}

/// The rows of a dump that a live table has.
///
/// # Errors
/// If the server does not answer. A refusal is part of the result.
pub(super) fn live_rows(
    server: &Server,
    local: &LocalDisks,
    table: &Table,
    dump: &SourceDump,
) -> Result<LiveRows, OpError> {
    if dump.kind == DumpKind::Files {
        match live_files(local, table) {
            Ok(Some(files)) if files.is_empty() => return Ok(LiveRows::Empty),
            Ok(Some(files)) => {
                let mut stored = dump.files.clone();
                stored.sort();
                if files == stored {
                    return Ok(LiveRows::SameFiles);
                }
            }
            Ok(None) => {}
            Err(error) => return Ok(LiveRows::Unknown(crate::monitor::chain(&error))),
        }
    }
    let rows = match table.engine.as_str() {
        "Set" => server::total_rows(server, table.name()),
        _ => server::count_rows(server, table.name()).map(Some),
    };
    Ok(match rows {
        Ok(Some(0)) => LiveRows::Empty,
        Ok(Some(rows)) => LiveRows::Rows(rows),
        Ok(None) => LiveRows::Unknown("the server does not count them".to_owned()),
        Err(error @ (ServerError::Exception { .. } | ServerError::Cut { .. })) => {
            LiveRows::Unknown(crate::monitor::chain(&error))
        }
        Err(error) => return Err(error.into()),
    })
}

/// The files with rows of a live `Set` or `Join` table, or `None` if its directory is not visible here.
fn live_files(local: &LocalDisks, table: &Table) -> Result<Option<Vec<DumpFile>>, FsError> {
    let Some(path) = table.data_paths.first() else { return Ok(None) };
    let dir = if path.is_absolute() { local.open_live(path)? } else { local.find_own(path)? };
    let Some(dir) = dir else { return Ok(None) };
    let mut files = Vec::new();
    for entry in dir.entries_with_kind()?.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Some(name) = entry.name.to_str().filter(|name| repo::is_data_file(name)) else { continue };
        let (bytes, blake3) = hash(&dir, name)?;
        files.push(DumpFile { name: name.to_owned(), bytes, blake3 });
    }
    files.sort();
    Ok(Some(files))
}

/// Rows of a restored table, if they can be counted.
///
/// # Errors
/// If the server refuses, or does not answer.
pub(super) fn restored_rows(server: &Server, engine: &str, name: &TableName) -> Result<Option<u64>, ServerError> {
    match engine {
        "Set" => server::total_rows(server, name),
        _ => server::count_rows(server, name).map(Some),
    }
}

/// The error about a file that could not be copied.
pub(super) fn not_copied(error: CopyError) -> OpError {
    RestorePartError::from(CopyPartError::from(error)).into()
}
