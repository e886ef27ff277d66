//! The files of tables without parts, in the snapshot and of live tables.

use std::ops::ControlFlow;
use std::path::Path;

use crate::exec::{CopyPartError, RestorePartError};
use crate::fs::{ContentDigest, CopyError, Dir, EntryKind, ErrorKind, FsError, Hashing, ReadOptions, Stat};
use crate::model::{DumpKind, Table, TableName, count};
use crate::ops::disks::LocalDisks;
use crate::ops::error::{FoundDamage, OpError};
use crate::plan::{DumpContent, DumpFile, LiveRows, LooseRows, SourceDump, has_rows_without_parts};
use crate::repo::{self, Dump, Manifest, TableEntry};
use crate::server::{self, DumpStream, Server, ServerError};

/// A dump in the form that a plan reads.
pub(super) fn source_dump(manifest: &Manifest, dump: &Dump) -> SourceDump {
    let files = dump.files.iter().filter_map(|path| {
        let file = manifest.metadata.iter().find(|file| file.path == *path)?;
        let name = Path::new(path).file_name()?.to_str()?.to_owned();
        Some(DumpFile { name, bytes: file.bytes, blake3: file.blake3.clone() })
    });
    let content = (dump.content_blake3.as_ref()).map(|blake3| DumpContent {
        columns: dump.columns.iter().map(|column| column.name.clone()).collect(),
        bytes: dump.bytes,
        blake3: blake3.clone(),
    });
    SourceDump { kind: dump.kind, rows: dump.rows, bytes: dump.stored_bytes, files: files.collect(), content }
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

/// The rows of a table whose engine has no parts and keeps rows; `None` for any other table.
///
/// # Errors
/// If the server does not answer. A refusal is part of the result.
pub(super) fn loose_rows(server: &Server, local: &LocalDisks, table: &Table) -> Result<Option<LooseRows>, OpError> {
    let engine = table.engine.as_str();
    if !has_rows_without_parts(engine) {
        return Ok(None);
    }
    // Files that cannot be listed show no change; the number of rows still does.
    let files = if engine == "Memory" { None } else { data_files(local, table).unwrap_or_default() };
    // A server counts no rows of some of these tables; one without files has none.
    let is_without = matches!(engine, "Set" | "Join") && files.as_ref().is_some_and(Vec::is_empty);
    let count = if is_without { Ok(Ok(0)) } else { visible_rows(server, table) };
    let count = match count {
        Ok(count) => count,
        Err(error @ (ServerError::Exception { .. } | ServerError::Cut { .. } | ServerError::Hidden { .. })) => {
            Err(crate::monitor::chain(&error))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(LooseRows { count, files: digest_of(files.as_deref().unwrap_or_default()) }))
}

/// The rows of a live table without parts, or why their number is unknown: a query counts only those that this user may
/// see.
fn visible_rows(server: &Server, table: &Table) -> Result<Result<u64, String>, ServerError> {
    server::check_rows_are_visible(server, table.name())?;
    let total = server::total_rows(server, table.name())?;
    // No query reads a Set.
    let rows = if table.engine == "Set" { total } else { Some(server::count_rows(server, table.name())?) };
    let Some(rows) = rows else { return Ok(Err("the server does not count them".to_owned())) };
    Ok(match total {
        Some(total) if total > rows => Err(format!("it has {}, and this user sees {rows}", count(total, "row"))),
        _ => Ok(rows),
    })
}

/// The rows of a live table, compared with a dump: also by its contents if it is one of those to compare so, and has
/// the same number of rows.
///
/// # Errors
/// If the server does not answer.
pub(super) fn live_rows(
    server: &Server,
    local: &LocalDisks,
    table: &Table,
    (dump, loose): (&SourceDump, &LooseRows),
) -> Result<LiveRows, OpError> {
    let rows = match &loose.count {
        Ok(0) => return Ok(LiveRows::Empty),
        Ok(rows) => Some(*rows),
        Err(_) => None,
    };
    let is_same = match dump.kind {
        DumpKind::Files => live_files(local, table).is_ok_and(|files| {
            let mut stored = dump.files.clone();
            stored.sort();
            files.is_some_and(|files| files == stored)
        }),
        DumpKind::Native => match &dump.content {
            Some(content) if rows == dump.rows => has_content(server, table, content)?,
            _ => false,
        },
    };
    Ok(match &loose.count {
        _ if is_same => LiveRows::Same,
        Ok(rows) => LiveRows::Rows(*rows),
        Err(reason) => LiveRows::Unknown(reason.clone()),
    })
}

/// Whether the server sends, for these columns of a table, the bytes that it sent for the dump. Equal rows can make
/// other bytes, if they are stored in other blocks.
fn has_content(server: &Server, table: &Table, content: &DumpContent) -> Result<bool, OpError> {
    let columns: Vec<&str> = content.columns.iter().map(String::as_str).collect();
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let read = server::read_native(server, table.name(), &columns, true, |piece| {
        bytes += piece.len() as u64;
        hasher.update(piece);
        if bytes > content.bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match read {
        Ok(ended) => Ok(ended == DumpStream::Whole && hasher.finalize().to_hex().as_str() == content.blake3),
        Err(ServerError::Exception { .. } | ServerError::Cut { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The directory of a live table without parts; `None` if it is not visible here.
fn data_directory(local: &LocalDisks, table: &Table) -> Result<Option<Dir>, FsError> {
    let Some(path) = table.data_paths.first() else { return Ok(None) };
    if path.is_absolute() { local.open_live(path) } else { local.find_own(path) }
}

/// A file of a live table without parts.
struct DataFile {
    name: String,
    stat: Stat,
}

/// The files in which a live table without parts keeps its rows; `None` if its directory is not visible here.
fn data_files(local: &LocalDisks, table: &Table) -> Result<Option<Vec<DataFile>>, FsError> {
    let Some(dir) = data_directory(local, table)? else { return Ok(None) };
    let mut files = Vec::new();
    for entry in dir.entries_with_kind()?.iter().filter(|entry| entry.kind == EntryKind::File) {
        let name = entry.name.to_string_lossy().into_owned();
        let has_rows = match table.engine.as_str() {
            "Set" | "Join" => repo::is_data_file(&name),
            // Others are its own log and options, which it writes at any time.
            "EmbeddedRocksDB" => [".log", ".sst"].iter().any(|ending| name.ends_with(ending)),
            _ => true,
        };
        if has_rows && let Some(stat) = dir.find(&entry.name)? {
            files.push(DataFile { name, stat });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(files))
}

fn digest_of(files: &[DataFile]) -> String {
    let mut hasher = blake3::Hasher::new();
    for DataFile { name, stat } in files {
        let line = format!("{name}\0{}\0{:?}\0", stat.size_bytes, stat.modified);
        hasher.update(line.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The files with rows of a live `Set` or `Join` table, or `None` if its directory is not visible here.
fn live_files(local: &LocalDisks, table: &Table) -> Result<Option<Vec<DumpFile>>, FsError> {
    let Some(dir) = data_directory(local, table)? else { return Ok(None) };
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
