//! Tables without parts: one query reads their rows, or their files are linked.
//!
//! See docs/decisions/0030-dumps.md.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

use crate::exec::{DumpWriter, PlaceMode, WrittenDump, remove_tree};
use crate::fs::{
    ContentDigest, CopyError, CopyOptions, Dir, EntryKind, ErrorKind, FsError, Hashing, ReadOptions, Stat,
};
use crate::model::{DumpKind, Table, TableName, TableUuid, count as count_of};
use crate::monitor::{Stage, StageWork};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{DataLeftReason, TableDump};
use crate::repo::{self, Dump, DumpColumn, Incoming, Manifest, MetadataFile, RepoError, Repository, SnapshotState};
use crate::server::{self, DumpStream, Server, ServerError, StoredColumn};

use super::previous::Previous;
use super::request::Request;

/// The outcome of dumping a table.
#[derive(Clone, Debug)]
pub(super) enum DumpOutcome {
    /// Its rows are in the snapshot.
    Dumped(Dump),
    /// It has no rows.
    Empty,
    /// Its rows are not in the snapshot.
    Left(DataLeftReason),
}

/// The tables that were to be dumped.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    /// The outcome of each.
    pub(super) outcomes: BTreeMap<TableName, DumpOutcome>,
    /// The files of all of them.
    pub(super) files: Vec<MetadataFile>,
}

/// The number of times that a table which keeps changing is read.
const LOOKS: u32 = 3;

/// The name of an unfinished dump in the snapshot being built.
const UNFINISHED: &str = "dump.new";

const DIRECTORY_MODE: u32 = 0o750;

/// Takes tables without parts.
pub(super) struct Dumper<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) request: &'a Request,
    pub(super) options: CopyOptions<'a>,
    pub(super) last: LastDumps,
}

/// The dumps of the last snapshot.
#[derive(Debug, Default)]
pub(super) struct LastDumps {
    dir: Option<Dir>,
    dumps: Vec<(TableName, Option<TableUuid>, Dump)>,
    files: HashMap<String, MetadataFile>,
}

/// Why a table is not taken, or is read again.
enum DumpFailure {
    /// The table is left out, for this reason.
    Left(DataLeftReason),
    /// Nothing more can be taken.
    All(OpError),
}

impl From<FsError> for DumpFailure {
    fn from(error: FsError) -> Self {
        Self::All(error.into())
    }
}

/// The result of one query as a file.
enum ReadOnce {
    Whole(WrittenDump),
    OverLimit,
    Doubtful,
}

/// The identity of a table's file.
type FileIdentity = (String, u64, u64);

impl LastDumps {
    /// Reads the dumps of the last snapshot. If it cannot be read there are none, and everything is written again.
    pub(super) fn read(repository: &Repository, previous: Option<&Previous>) -> Self {
        let read = |previous: &Previous| -> Result<Self, RepoError> {
            let SnapshotState::Complete(manifest) = repository.snapshot(previous.id)? else {
                return Ok(Self::default());
            };
            let Manifest { tables, metadata, .. } = *manifest;
            let dumps = tables
                .into_iter()
                .filter_map(|entry| Some((TableName::new(entry.database, entry.table), entry.uuid, entry.dump?)));
            let files = metadata.into_iter().filter(|file| Path::new(&file.path).starts_with("dumps"));
            Ok(Self {
                dir: Some(repository.snapshot_dir(previous.id)?),
                dumps: dumps.collect(),
                files: files.map(|file| (file.path.clone(), file)).collect(),
            })
        };
        previous.map(read).transpose().ok().flatten().unwrap_or_default()
    }

    /// The dump of the same table: of the same UUID if it has one, else of the same name.
    fn of(&self, table: &Table) -> Option<&Dump> {
        let is_it = |(name, uuid, _): &&(TableName, Option<TableUuid>, Dump)| match &table.key.uuid {
            Some(own) => uuid.as_ref() == Some(own),
            None => name == table.name(),
        };
        self.dumps.iter().find(is_it).map(|(_, _, dump)| dump)
    }

    /// The directory of a file, its name there, and its entry in the manifest.
    fn file(&self, path: &str) -> Result<Option<(Dir, String, &MetadataFile)>, FsError> {
        let (Some(dir), Some(file)) = (&self.dir, self.files.get(path)) else { return Ok(None) };
        let relative = Path::new(path);
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name().and_then(|name| name.to_str()))
        else {
            return Ok(None);
        };
        Ok(dir.find_beneath(parent)?.map(|dir| (dir, name.to_owned(), file)))
    }

    /// Links a file as `name` into `to` if its bytes match the manifest. Returns false if they do not, or if the file
    /// cannot be linked.
    fn link(&self, path: &str, to: &Dir, name: &str) -> Result<bool, FsError> {
        let Some((dir, own_name, file)) = self.file(path)? else { return Ok(false) };
        match hash(&dir, &own_name) {
            Ok((stat, hash)) if stat.size_bytes == file.bytes && hash == file.blake3 => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        match to.link_from(&dir, &own_name, name) {
            Err(error) if cannot_link(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

fn cannot_link(error: &FsError) -> bool {
    matches!(error.kind(), ErrorKind::CrossDevice | ErrorKind::NoPermission | ErrorKind::TooManyLinks)
}

fn hash(dir: &Dir, name: &str) -> Result<(Stat, String), FsError> {
    let options = ReadOptions { rate: None, advanced: &|_| () };
    let (stat, digest, _) = dir.hash_whole(name, Hashing::Blake3, options)?;
    let hash = match digest {
        Some(ContentDigest::Blake3(hash)) => hash.to_hex().to_string(),
        _ => String::new(),
    };
    Ok((stat, hash))
}

impl Dumper<'_> {
    /// Takes these tables, one after the other.
    ///
    /// # Errors
    /// If the snapshot cannot be written, or the program is asked to stop. A table that cannot be taken is an outcome,
    /// not an error.
    pub(super) fn take(&self, tables: &[TableDump], advanced: &dyn Fn(Stage, StageWork)) -> Result<Dumps, OpError> {
        let mut dumps = Dumps::default();
        for TableDump { table, kind } in tables {
            let taken = match kind {
                DumpKind::Native => self.read(table, &mut dumps.files),
                DumpKind::Files => self.link(table, &mut dumps.files),
            };
            self.remove_unfinished()?;
            let outcome = match taken {
                Ok(Some(dump)) => DumpOutcome::Dumped(dump),
                Ok(None) => DumpOutcome::Empty,
                Err(DumpFailure::Left(reason)) => DumpOutcome::Left(reason),
                Err(DumpFailure::All(error)) => return Err(error),
            };
            let bytes = if let DumpOutcome::Dumped(dump) = &outcome { dump.stored_bytes } else { 0 };
            advanced(Stage::Dump, StageWork { tables: 1, bytes, ..StageWork::default() });
            dumps.outcomes.insert(table.name().clone(), outcome);
        }
        Ok(dumps)
    }

    fn remove_unfinished(&self) -> Result<(), OpError> {
        let dir = self.incoming.dir();
        match dir.find(UNFINISHED)?.map(|stat| stat.kind) {
            None => {}
            Some(EntryKind::Directory) => drop(remove_tree(dir, UNFINISHED, &|_| ())?),
            Some(_) => dir.remove_file(UNFINISHED)?,
        }
        Ok(())
    }

    /// The directory of a path in the snapshot.
    fn ensure_parent(&self, path: &Path) -> Result<Dir, FsError> {
        let mut dir = self.incoming.dir().clone();
        for component in path.parent().unwrap_or(Path::new("")).components() {
            dir = dir.ensure_dir(component.as_os_str(), DIRECTORY_MODE)?;
        }
        Ok(dir)
    }

    /// A refusal by the server costs the table; a server that cannot be asked any more costs the snapshot.
    fn refused(table: &Table, error: ServerError) -> DumpFailure {
        match error {
            error @ ServerError::Interrupted => DumpFailure::All(error.into()),
            error => not_readable(table, crate::monitor::chain(&error)),
        }
    }

    /// Reads the rows of a table.
    ///
    /// One `SELECT` sees one state of the table: these engines hold a lock on it, or read a snapshot. The rows are
    /// counted before and after; if the counts differ, the table is read again.
    fn read(&self, table: &Table, files: &mut Vec<MetadataFile>) -> Result<Option<Dump>, DumpFailure> {
        let name = table.name();
        let path = repo::dump_path(name);
        if path.file_name().is_some_and(|name| name.len() > FILE_NAME_LIMIT_BYTES) {
            return Err(not_readable(table, "its name is too long for the file of a dump".to_owned()));
        }
        let refused = |error| Self::refused(table, error);
        server::check_rows_are_visible(self.server, name).map_err(refused)?;
        let columns = || server::stored_columns(self.server, name).map_err(refused);
        let count = || server::count_rows(self.server, name).map_err(refused);
        // The server's own count ignores row policies. It is read first: these tables only grow.
        let total = server::total_rows(self.server, name).map_err(refused)?;
        let (mut before, mut looks) = (count()?, 0);
        if let Some(total) = total.filter(|total| *total > before) {
            return Err(not_readable(table, format!("it has {}, and this user sees {before}", count_of(total, "row"))));
        }
        let (written, columns, rows) = loop {
            if before == 0 {
                return Ok(None);
            }
            let read_columns = columns()?;
            let written = self.read_whole(table, &read_columns)?;
            let after = count()?;
            let is_same_table = columns()? == read_columns;
            looks += 1;
            if is_same_table && (before == after || looks == LOOKS) {
                break (written, read_columns, (before == after).then_some(after));
            }
            if looks == LOOKS {
                return Err(not_readable(table, "its columns change while it is read".to_owned()));
            }
            before = after;
            self.remove_unfinished().map_err(DumpFailure::All)?;
        };
        let (dir, text) = (self.ensure_parent(&path)?, path.to_string_lossy().into_owned());
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let content_blake3 = written.content.to_hex().to_string();
        let columns: Vec<DumpColumn> = columns.into_iter().map(dump_column).collect();
        let is_equal = |last: &&Dump| {
            last.content_blake3.as_ref() == Some(&content_blake3) && last.columns == columns && last.files.len() == 1
        };
        let equal = self.last.of(table).filter(is_equal).and_then(|last| last.files.first());
        let (mut stored_bytes, mut blake3) = (written.stored_bytes, written.stored.to_hex().to_string());
        match equal.and_then(|path| self.last.files.get(path)) {
            Some(last) if self.last.link(&last.path, &dir, file_name)? => {
                (stored_bytes, blake3) = (last.bytes, last.blake3.clone());
            }
            _ => dir.rename_from(self.incoming.dir(), UNFINISHED, file_name)?,
        }
        files.push(MetadataFile { path: text.clone(), bytes: stored_bytes, blake3 });
        Ok(Some(Dump {
            kind: DumpKind::Native,
            files: vec![text],
            rows,
            bytes: written.bytes,
            stored_bytes,
            content_blake3: Some(content_blake3),
            columns,
        }))
    }

    /// Reads a table once. If the result may be incomplete, reads it once more so that the server reports whether it
    /// failed.
    fn read_whole(&self, table: &Table, columns: &[StoredColumn]) -> Result<WrittenDump, DumpFailure> {
        let over = || {
            DumpFailure::Left(DataLeftReason::OverDumpLimit { limit_bytes: self.request.selection.dumps.limit_bytes })
        };
        let streamed = self.read_once(table, columns, false);
        match streamed {
            Ok(ReadOnce::Whole(written)) => return Ok(written),
            Ok(ReadOnce::OverLimit) => return Err(over()),
            Ok(ReadOnce::Doubtful) | Err(Broken::Server(ServerError::Unreachable { .. })) => {}
            Err(broken) => return Err(broken.into_failure(table)),
        }
        self.remove_unfinished().map_err(DumpFailure::All)?;
        match self.read_once(table, columns, true) {
            Ok(ReadOnce::Whole(written)) => Ok(written),
            Ok(ReadOnce::OverLimit) => Err(over()),
            Ok(ReadOnce::Doubtful) => Err(not_readable(table, "its answer may be cut short".to_owned())),
            Err(broken) => Err(broken.into_failure(table)),
        }
    }

    fn read_once(&self, table: &Table, columns: &[StoredColumn], is_buffered: bool) -> Result<ReadOnce, Broken> {
        let limit_bytes = self.request.selection.dumps.limit_bytes;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let mut writer = DumpWriter::create(self.incoming.dir(), UNFINISHED)?;
        let (mut failed, mut is_over) = (None, false);
        let ended = server::read_native(self.server, table.name(), &names, is_buffered, |piece| {
            is_over = writer.bytes() + piece.len() as u64 > limit_bytes;
            if is_over {
                return ControlFlow::Break(());
            }
            match writer.write(piece) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        if is_over {
            return Ok(ReadOnce::OverLimit);
        }
        Ok(match ended? {
            DumpStream::Whole => ReadOnce::Whole(writer.finish()?),
            DumpStream::Doubtful | DumpStream::BrokenOff => ReadOnce::Doubtful,
        })
    }

    /// Links the files of a `Set` or `Join` table. The server creates each by a rename and never writes into it. If a
    /// file appears or disappears meanwhile, all are linked again.
    fn link(&self, table: &Table, files: &mut Vec<MetadataFile>) -> Result<Option<Dump>, DumpFailure> {
        let name = table.name();
        let Some(live) = self.live(table)? else {
            return Err(not_readable(table, "its directory is not visible here".to_owned()));
        };
        for _ in 0..LOOKS {
            let before = self.rows(table)?;
            let listed = list(&live)?;
            if listed.is_empty() {
                return match before {
                    None | Some(0) => Ok(None),
                    rows => Err(DumpFailure::Left(DataLeftReason::InMemory { rows })),
                };
            }
            if before == Some(0) {
                return Ok(None);
            }
            self.remove_unfinished().map_err(DumpFailure::All)?;
            self.incoming.dir().create_dir(UNFINISHED, DIRECTORY_MODE)?;
            let to = self.incoming.dir().open_dir(UNFINISHED)?;
            let linked = self.link_files(table, &live, &to, &listed);
            let linked = match linked {
                // One of the files has gone meanwhile.
                Err(DumpFailure::All(OpError::Fs(error))) if error.kind() == ErrorKind::NotFound => continue,
                linked => linked?,
            };
            if list(&live)? != listed || self.rows(table)? != before {
                continue;
            }
            let path = repo::dump_directory(name);
            let dir = self.ensure_parent(&path)?;
            dir.rename_from(self.incoming.dir(), UNFINISHED, path.file_name().unwrap_or_default())?;
            let bytes = linked.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
            let paths = linked.iter().map(|file| file.path.clone()).collect();
            files.extend(linked);
            return Ok(Some(Dump {
                kind: DumpKind::Files,
                files: paths,
                rows: before,
                bytes,
                stored_bytes: bytes,
                content_blake3: None,
                columns: Vec::new(),
            }));
        }
        Err(not_readable(table, "its files change while they are linked".to_owned()))
    }

    /// Links these files into a directory that becomes the table's, or copies them. A copy that the last snapshot has
    /// is linked from there.
    fn link_files(
        &self,
        table: &Table,
        live: &Dir,
        to: &Dir,
        listed: &[FileIdentity],
    ) -> Result<Vec<MetadataFile>, DumpFailure> {
        let mut linked = Vec::new();
        let last = self.last.of(table).filter(|last| last.kind == DumpKind::Files);
        for (name, _, _) in listed {
            let path = repo::dump_directory(table.name()).join(name).to_string_lossy().into_owned();
            let of_last = last.and_then(|last| last.files.iter().find(|path| Path::new(path).ends_with(name)));
            let is_linked = self.request.place != PlaceMode::Copy
                && match to.link_from(live, name, name) {
                    Err(error) if cannot_link(&error) => false,
                    result => result.map(|()| true)?,
                };
            if is_linked {
                let stat = to.stat(name)?;
                let known = match of_last {
                    Some(path) => self.last.file(path)?,
                    None => None,
                };
                let known = known.filter(|(dir, name, file)| {
                    let is_it = |last: Stat| (last.inode, last.device) == (stat.inode, stat.device);
                    file.bytes == stat.size_bytes && dir.find(name).ok().flatten().is_some_and(is_it)
                });
                let blake3 = match known {
                    Some((_, _, file)) => file.blake3.clone(),
                    None => hash(to, name)?.1,
                };
                linked.push(MetadataFile { path, bytes: stat.size_bytes, blake3 });
                continue;
            }
            let (stat, blake3) = hash(live, name)?;
            let has_last = |path: &&String| self.last.files.get(*path).is_some_and(|file| file.blake3 == blake3);
            let is_linked = match of_last.filter(has_last) {
                Some(path) => self.last.link(path, to, name)?,
                None => false,
            };
            if !is_linked {
                match to.copy_from(&self.options, live, name, name, Hashing::None) {
                    Ok(_) => {}
                    Err(CopyError::Fs(error)) => return Err(error.into()),
                    Err(error) => return Err(not_readable(table, crate::monitor::chain(&error))),
                }
            }
            linked.push(MetadataFile { path, bytes: stat.size_bytes, blake3 });
        }
        Ok(linked)
    }

    /// The live directory of a `Set` or `Join` table, which servers report relative to their own path.
    fn live(&self, table: &Table) -> Result<Option<Dir>, DumpFailure> {
        let Some(path) = table.data_paths.first() else { return Ok(None) };
        Ok(if path.is_absolute() { self.local.open_live(path)? } else { self.local.find_own(path)? })
    }

    /// Rows of a `Set` or `Join` table, if they can be counted: no query reads a `Set`.
    fn rows(&self, table: &Table) -> Result<Option<u64>, DumpFailure> {
        let name = table.name();
        let rows = match table.engine.as_str() {
            "Join" => server::check_rows_are_visible(self.server, name)
                .and_then(|()| server::count_rows(self.server, name))
                .map(Some),
            _ => server::total_rows(self.server, name),
        };
        match rows {
            // Its files can be linked even so.
            Err(ServerError::Exception { .. } | ServerError::Cut { .. } | ServerError::Hidden { .. }) => Ok(None),
            rows => rows.map_err(|error| Self::refused(table, error)),
        }
    }
}

/// Longest name of a file.
const FILE_NAME_LIMIT_BYTES: usize = 255;

/// Why reading a table broke off.
enum Broken {
    Server(ServerError),
    Fs(FsError),
}

impl From<ServerError> for Broken {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl From<FsError> for Broken {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl Broken {
    fn into_failure(self, table: &Table) -> DumpFailure {
        match self {
            Self::Server(error) => Dumper::refused(table, error),
            Self::Fs(error) => error.into(),
        }
    }
}

fn not_readable(table: &Table, reason: String) -> DumpFailure {
    DumpFailure::Left(DataLeftReason::NotReadable { engine: table.engine.clone(), reason })
}

fn dump_column(column: StoredColumn) -> DumpColumn {
    DumpColumn { name: column.name, is_materialized: column.is_materialized }
}

/// The files `N.bin` of a directory, by name, with their inodes and sizes.
fn list(dir: &Dir) -> Result<Vec<FileIdentity>, DumpFailure> {
    let mut listed = Vec::new();
    for entry in dir.entries_with_kind()?.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Some(name) = entry.name.to_str().filter(|name| repo::is_data_file(name)) else { continue };
        // The next pass notices a file that has gone meanwhile.
        if let Some(stat) = dir.find(name)? {
            listed.push((name.to_owned(), stat.inode, stat.size_bytes));
        }
    }
    listed.sort();
    Ok(listed)
}
