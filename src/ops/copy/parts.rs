//! The parts of one snapshot: linked to files that the target has, else copied and compared with the source's records.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use crate::exec::{
    self, Comparison, CopyPartError, EarlierTableDir, ExecError, Inspected, ListedLivePart, PartFiles, Relinked,
};
use crate::fs::{CopyError, Dir, ErrorKind, FsError};
use crate::model::{Ownership, PartTally, PlacedTotals, Placement, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::copying::{CopiedOrLinked, CopyFailure, Copying, Destination, Extra, TableKeyRef};
use crate::ops::error::OpError;
use crate::repo::{self, LostMetadataOf, PartFile, PartRecord, UncoveredFiles};

use super::base::Base;

/// A part that has been placed in the copy.
#[derive(Debug)]
pub(in crate::ops) struct StagedPart {
    /// Its record.
    pub(in crate::ops) record: PartRecord,
    /// Its inodes and directories.
    pub(in crate::ops) inspected: Inspected,
    /// How its files were placed.
    pub(in crate::ops) placed: PlacedTotals,
    /// The snapshot of the target from which it was linked as a whole, judged by its record.
    pub(in crate::ops) base: Option<SnapshotId>,
    /// Whether its source has an owner or a mode that is not the recorded one.
    pub(in crate::ops) is_drifted: bool,
}

/// The outcome of copying a part.
#[derive(Debug)]
pub(super) enum CopiedPartOutcome {
    /// The part is in the copy.
    Staged(Box<StagedPart>),
    /// The part differs from its record, for this reason. The copy contains nothing of it.
    Damaged(String),
}

/// Copies the parts of one snapshot.
pub(super) struct PartStager<'a> {
    pub(super) copying: &'a Copying<'a>,
    pub(super) bases: &'a [Base],
    /// The snapshot being copied.
    pub(super) source: &'a Dir,
    /// The tree that becomes the copy.
    pub(super) incoming: &'a Dir,
    pub(super) monitor: &'a dyn Monitor,
}

/// The directories of a table: sources and destination.
struct TableDirs {
    from: Dir,
    /// The table's directory in each base, or `None` in a base without the table.
    bases: Vec<Option<Dir>>,
    to: Dir,
    path: std::path::PathBuf,
}

impl PartStager<'_> {
    /// Stages all these parts, which are ordered by table. Returns the outcome of each, in the same order.
    pub(super) fn stage(&self, records: &[PartRecord]) -> Result<Vec<CopiedPartOutcome>, OpError> {
        let tables: Vec<&[PartRecord]> = records.chunk_by(|a, b| a.table == b.table).collect();
        let staged = tables.into_par_iter().map(|parts| self.stage_table(parts));
        let staged: Vec<Vec<CopiedPartOutcome>> = staged.collect::<Result<_, OpError>>()?;
        Ok(staged.into_iter().flatten().collect())
    }

    fn stage_table(&self, records: &[PartRecord]) -> Result<Vec<CopiedPartOutcome>, OpError> {
        let Some(first) = records.first() else { return Ok(Vec::new()) };
        let table = first.table_name();
        let Some(dirs) = self.table_dirs(&table)? else {
            let missing = || CopiedPartOutcome::Damaged("the directory of its table is missing, or is none".to_owned());
            return Ok(records.iter().map(|_| missing()).collect());
        };
        let stage = |record: &PartRecord| {
            let staged = match self.link_recorded(record, &dirs)? {
                Some(staged) => CopiedPartOutcome::Staged(Box::new(staged)),
                None => {
                    self.copy_from(record, &table, dirs.from.find_beneath(Path::new(record.part.as_str())), &dirs)?
                }
            };
            // The copier counts the bytes that it reads; files that were linked count here.
            let linked_bytes = match &staged {
                CopiedPartOutcome::Staged(part) if part.base.is_none() => {
                    record.bytes.saturating_sub(part.placed.copied.bytes)
                }
                _ => 0,
            };
            let work = StageWork { parts: 1, files: record.files, bytes: linked_bytes, ..StageWork::default() };
            self.monitor.advanced(Stage::Place, work);
            Ok(staged)
        };
        records.par_iter().map(stage).collect()
    }

    fn table_dirs(&self, table: &TableName) -> Result<Option<TableDirs>, OpError> {
        let path = repo::table_path(table);
        let from = match self.source.find_beneath(&path) {
            Ok(Some(from)) => from,
            Ok(None) => return Ok(None),
            // A file or a link instead of the directory is damage, as a missing directory is.
            Err(error) if error.kind() == ErrorKind::WrongKind => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bases = self.bases.iter().map(|base| base.dir.find_beneath(&path)).collect::<Result<_, FsError>>()?;
        Ok(Some(TableDirs { from, bases, to: self.incoming.open_beneath(&path)?, path }))
    }

    /// Copies a part from this directory, which may belong to another snapshot.
    pub(super) fn stage_from(&self, record: &PartRecord, from: Dir) -> Result<CopiedPartOutcome, OpError> {
        let table = record.table_name();
        match self.table_dirs(&table)? {
            Some(dirs) => self.copy_from(record, &table, Ok(Some(from)), &dirs),
            None => Ok(CopiedPartOutcome::Damaged("the directory of its table is missing, or is none".to_owned())),
        }
    }

    /// Links a part as a whole from a snapshot of the target whose record proves that it has the same bytes. Reads no
    /// data.
    fn link_recorded(&self, record: &PartRecord, dirs: &TableDirs) -> Result<Option<StagedPart>, OpError> {
        for (base, dir) in self.bases.iter().zip(&dirs.bases) {
            let (Some(dir), Some(held)) = (dir, base.parts.find_same(record)) else { continue };
            let (table, comparison) =
                (EarlierTableDir { dir, since: base.since }, Comparison::SameRecord(self.copying.keeping));
            let Some(original) = ListedLivePart::list(&dirs.from, &record.part)? else { return Ok(None) };
            if let Relinked::Linked { inspected, .. } = exec::relink(&original, table, held, comparison, &dirs.to)? {
                let mut placed = PlacedTotals::default();
                placed.add(Placement::Linked, PartTally { parts: 1, files: record.files, bytes: record.bytes });
                let record = PartRecord {
                    placed: Placement::Linked,
                    from: Some(base.id),
                    joined: None,
                    unkept: merged(&record.unkept, held.unkept.clone()),
                    ..record.clone()
                };
                let base = Some(base.id);
                return Ok(Some(StagedPart { record, inspected: *inspected, placed, base, is_drifted: false }));
            }
        }
        Ok(None)
    }

    fn copy_from(
        &self,
        record: &PartRecord,
        table: &TableName,
        from: Result<Option<Dir>, FsError>,
        dirs: &TableDirs,
    ) -> Result<CopiedPartOutcome, OpError> {
        let damaged = |problem: String| Ok(CopiedPartOutcome::Damaged(problem));
        let from = match from {
            Ok(Some(from)) => from,
            Ok(None) => return damaged("it is missing".to_owned()),
            Err(error) if error.kind() == ErrorKind::NoPermission => return Err(error.into()),
            Err(error) => return damaged(crate::monitor::chain(&error)),
        };
        let key = TableKeyRef { name: table, uuid: record.uuid.as_ref() };
        let prepared = from
            .entries_with_kind()
            .map_err(OpError::from)
            .and_then(|entries| self.copying.prepare((key, &record.part, &from), entries));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(OpError::Fs(error)) if is_damage(&error, &from) => return damaged(crate::monitor::chain(&error)),
            Err(error) => return Err(error),
        };
        // A part already damaged when the snapshot was made cannot be compared with anything: it is copied as it is.
        let is_sound = record.damage.is_empty();
        if let Some(problem) = difference(&prepared.inspected, record).filter(|_| is_sound) {
            return damaged(problem);
        }
        let is_drifted = has_drifted(&prepared.inspected, &prepared.files, record);
        let to = Destination { table: &dirs.to, path: &dirs.path };
        let placed = match self.copying.place(&self.copying.joiner, &prepared, to, is_sound) {
            Ok(placed) => placed,
            Err(failure) => {
                self.take_back(record, dirs)?;
                return match failure {
                    CopyFailure::Part(error) => match problem_of(&error, &prepared.files, &from) {
                        Some(problem) => damaged(problem),
                        None => Err(error.into()),
                    },
                    CopyFailure::Other(error) => Err(error),
                };
            }
        };
        let read: UncoveredFiles = placed.copied.uncovered.iter().cloned().collect();
        if let Some(problem) = differing_file(&read, record, Absent::WasLinked).filter(|_| is_sound) {
            self.take_back(record, dirs)?;
            return damaged(problem);
        }
        let CopiedOrLinked { placement, from, inspected, extra } = self.copying.finish(prepared, placed, to)?;
        let Extra { split, joined, unkept, .. } = extra;
        let record = PartRecord {
            placed: placement,
            from,
            joined,
            unkept: merged(&record.unkept, unkept),
            uncovered: with_hashes(record, &inspected.uncovered),
            ..record.clone()
        };
        let placed = split.map(|split| *split).unwrap_or_default();
        Ok(CopiedPartOutcome::Staged(Box::new(StagedPart { record, inspected, placed, base: None, is_drifted })))
    }

    /// Removes everything that was created for a part.
    fn take_back(&self, record: &PartRecord, dirs: &TableDirs) -> Result<(), OpError> {
        self.copying.links.forget(&dirs.path.join(record.part.as_str()));
        exec::remove_tree(&dirs.to, record.part.as_str(), &|_| ())?;
        Ok(())
    }
}

/// Whether a failed call is due to the source, which cannot be read there, and not to missing permissions.
fn is_damage(error: &FsError, from: &Dir) -> bool {
    matches!(error.kind(), ErrorKind::Other | ErrorKind::NotFound | ErrorKind::WrongKind)
        && error.path().starts_with(from.path())
}

/// The problem with the source of a failed copy, if the source made it fail.
fn problem_of(error: &CopyPartError, files: &PartFiles, from: &Dir) -> Option<String> {
    match error {
        CopyPartError::Damaged { .. } | CopyPartError::Exec(ExecError::Foreign { .. }) => {
            Some(crate::monitor::chain(error))
        }
        CopyPartError::Copy(CopyError::Changed { .. }) => Some(crate::monitor::chain(error)),
        // A copy has two sides: reading the source alone shows which one failed.
        CopyPartError::Copy(CopyError::Fs(cause)) | CopyPartError::Exec(ExecError::Fs(cause)) => {
            let is_read = !is_damage(cause, from) || exec::damage_in(files).is_ok();
            (!is_read).then(|| crate::monitor::chain(cause))
        }
        CopyPartError::Copy(CopyError::Interrupted { .. }) => None,
    }
}

/// How a part differs from its record, found before any of its data is read.
pub(in crate::ops) fn difference(inspected: &Inspected, record: &PartRecord) -> Option<String> {
    if let Some(problem) = inspected.problems.first() {
        return Some(problem.clone());
    }
    if record.fingerprint.is_some() && inspected.fingerprint != record.fingerprint {
        return Some("its checksums.txt is not the one that was recorded".to_owned());
    }
    if (inspected.files, inspected.bytes) != (record.files, record.bytes) {
        let Inspected { files, bytes, .. } = inspected;
        return Some(format!(
            "it has {files} files with {bytes} bytes, and {} files with {} bytes were recorded",
            record.files, record.bytes
        ));
    }
    differing_file(&inspected.uncovered, record, Absent::IsMissing)
}

/// Whether a part's directory or one of its files has an owner or a mode that is not the recorded one.
fn has_drifted(inspected: &Inspected, files: &PartFiles, record: &PartRecord) -> bool {
    if inspected.directory != record.directory {
        return true;
    }
    if (inspected.ownership, &inspected.exceptions) == (record.ownership, &record.exceptions) {
        return false;
    }
    let exceptions: HashMap<&str, Ownership> =
        record.exceptions.iter().map(|(path, ownership)| (path.as_str(), *ownership)).collect();
    files.on_disk().iter().any(|file| {
        let recorded = exceptions.get(file.path.as_str()).copied().unwrap_or(record.ownership);
        !exec::verify::is_as_recorded(recorded, file.stat.ownership)
    })
}

/// Why a recorded file is not among those that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// The file is missing.
    IsMissing,
    /// The file was linked, so it was not read.
    WasLinked,
}

/// The first file that `checksums.txt` does not cover and that differs from its record.
fn differing_file(read: &UncoveredFiles, record: &PartRecord, absent: Absent) -> Option<String> {
    record.uncovered.iter().find_map(|recorded| {
        let Some(found) = read.find(&recorded.path) else {
            return (absent == Absent::IsMissing).then(|| format!("its file {} is missing", recorded.path));
        };
        if found.bytes != recorded.bytes {
            let (path, bytes) = (&recorded.path, found.bytes);
            return Some(format!("its file {path} has {bytes} bytes, and {} were recorded", recorded.bytes));
        }
        let differs = matches!((found.blake3, recorded.blake3), (Some(found), Some(recorded)) if found != recorded);
        differs.then(|| format!("its file {} does not have the BLAKE3 that was recorded", recorded.path))
    })
}

/// The recorded files, including those whose hash only the copy has read.
fn with_hashes(record: &PartRecord, read: &UncoveredFiles) -> UncoveredFiles {
    if record.uncovered.iter().all(|file| file.blake3.is_some()) {
        return record.uncovered.clone();
    }
    let known = |file: &PartFile| file.blake3.or_else(|| read.find(&file.path)?.blake3);
    record.uncovered.iter().map(|file| PartFile { blake3: known(&file), ..file }).collect()
}

/// Metadata of the originals that the copy's inodes lack: what the source's inodes already lack, and what the target's
/// filesystem could not keep.
fn merged(source: &[LostMetadataOf], target: Vec<LostMetadataOf>) -> Vec<LostMetadataOf> {
    let mut all = source.to_vec();
    for unkept in target {
        match all.iter_mut().find(|own| own.path == unkept.path) {
            None => all.push(unkept),
            Some(own) => {
                own.modified = own.modified.or(unkept.modified);
                let is_new = |(name, _): &(String, String)| !own.xattrs.iter().any(|(own, _)| own == name);
                let new: Vec<(String, String)> = unkept.xattrs.into_iter().filter(is_new).collect();
                own.xattrs.extend(new);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::merged;
    use crate::repo::LostMetadataOf;

    #[test]
    fn metadata_lost_by_the_source_overrides_metadata_lost_by_the_copy() {
        let lacks = |path: &str, modified, xattrs: &[(&str, &str)]| LostMetadataOf {
            path: path.to_owned(),
            modified,
            xattrs: xattrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let source = [lacks("a", Some((1, 0)), &[("user.x", "original")])];
        let target =
            vec![lacks("a", Some((2, 0)), &[("user.x", "source"), ("user.y", "y")]), lacks("b", Some((3, 0)), &[])];
        let all = [lacks("a", Some((1, 0)), &[("user.x", "original"), ("user.y", "y")]), lacks("b", Some((3, 0)), &[])];
        assert_eq!(merged(&source, target), all);
    }
}
