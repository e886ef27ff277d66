//! Parts from a filesystem other than the repository's, or from another repository: linked to files of earlier
//! snapshots, else copied.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::exec::{
    self, CopiedLinks, CopiedPart, CopyPartError, Inspected, LinkSources, LinkablePart, PartCopier, PartCopy,
    PartFiles, PreservedMetadata,
};
use crate::fs::{self, Dir, Entry, FsError};
use crate::model::{
    Ownership, PartName, PartTally, PlacedTotals, Placement, SnapshotId, Table, TableName, TableUuid, Warning,
    WarningKind, count, thousands,
};
use crate::repo::{FileKey, Joined, Locked, LostMetadataOf, PartFile, PartSource, Repository, Sources};

use super::copy_rules::{CopyRules, IdsMode};
use super::error::{Copies, OpError};
use super::recover::InterruptedRun;

/// The number of inodes with unusually many links that are remembered, at some 50 bytes each.
pub(super) const REMEMBERED: usize = 4_000_000;
/// The usual link count of a frozen file: one link from the live part, one from the shadow.
pub(super) const USUAL_LINKS: u32 = 2;

/// The parts that an interrupted run copied.
#[derive(Debug)]
pub(super) struct InterruptedCopy {
    /// Its directory of tables.
    pub(super) data: Dir,
    /// Whether everything that it wrote is on the disk: not so if the host was restarted since.
    pub(super) is_trusted: bool,
}

impl InterruptedCopy {
    /// Whether it has this part, or some of its files.
    pub(super) fn has(&self, table: &TableName, part: &PartName) -> bool {
        self.data
            .find_beneath(&crate::repo::table_below_data(table).join(part.as_str()))
            .is_ok_and(|found| found.is_some())
    }
}

/// Places files in a snapshot that are not renamed or linked out of the shadow.
pub(super) struct Copying<'a> {
    /// The copier of each disk whose parts are copied, by disk name.
    pub(super) copiers: BTreeMap<String, PartCopier<'a>>,
    /// The copier that only links to earlier parts, for disks that are not copied.
    pub(super) joiner: PartCopier<'a>,
    /// The metadata that the repository's filesystem keeps.
    pub(super) keeping: PreservedMetadata,
    /// The files to link from. `None` if all disks are on the repository's filesystem.
    pub(super) sources: Option<Sources>,
    pub(super) leftovers: &'a [InterruptedCopy],
    pub(super) repository: &'a Repository,
    pub(super) links: &'a CopiedLinks,
    pub(super) rules: CopyRules,
    pub(super) counts: PlacementCounts,
}

/// Counters kept while parts are placed.
#[derive(Debug, Default)]
pub(super) struct PlacementCounts {
    /// The keys of the files of new parts, for the cache of sources.
    keys: Mutex<HashMap<(TableName, PartName), Vec<FileKey>>>,
    resumed: Mutex<PartTally>,
    recopied_files: AtomicU64,
}

impl PlacementCounts {
    /// Parts that an interrupted run had copied.
    pub(super) fn resumed(&self) -> PartTally {
        *self.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that were copied because an equal one has reached its link limit.
    pub(super) fn recopied_files(&self) -> u64 {
        self.recopied_files.load(Ordering::Relaxed)
    }

    pub(super) fn take_keys(&self) -> HashMap<(TableName, PartName), Vec<FileKey>> {
        std::mem::take(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A part at the place it is copied from.
pub(super) struct OriginalPart<'a> {
    /// Its table's name, and its UUID if it has one.
    pub(super) table: TableKeyRef<'a>,
    pub(super) name: &'a PartName,
    pub(super) dir: &'a Dir,
    pub(super) entries: Vec<Entry>,
}

/// The identity of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableKeyRef<'a> {
    pub(super) name: &'a TableName,
    pub(super) uuid: Option<&'a TableUuid>,
}

impl<'a> TableKeyRef<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        Self { name: table.name(), uuid: table.key.uuid.as_ref() }
    }
}

/// The place it is copied to.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The table's directory in the snapshot.
    pub(super) table: &'a Dir,
    /// Its path relative to the snapshot.
    pub(super) path: &'a Path,
}

/// A part that was copied, or linked from an earlier snapshot.
#[derive(Debug)]
pub(super) struct CopiedOrLinked {
    pub(super) placement: Placement,
    pub(super) from: Option<SnapshotId>,
    pub(super) inspected: Inspected,
    pub(super) extra: Extra,
}

/// Facts about a part that are known only after it was copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// How its files were placed, unless all were placed in one way.
    pub(super) split: Option<Box<PlacedTotals>>,
    pub(super) joined: Option<Box<Joined>>,
    pub(super) unkept: Vec<LostMetadataOf>,
    /// The problem with the original, confirmed by a second reading.
    pub(super) damage: Vec<String>,
}

impl Extra {
    /// The facts about a part that follow from how its files were placed.
    pub(super) fn of(copied: &CopiedPart) -> Self {
        Self { split: Some(Box::new(split(copied.placement(), copied))), ..Self::default() }
    }
}

/// Parts to link from, and the source that each of them is.
#[derive(Default)]
struct LinkCandidates {
    parts: Vec<LinkablePart>,
    /// `None` for a part that an interrupted run copied.
    sources: Vec<Option<PartSource>>,
}

impl LinkCandidates {
    fn add(&mut self, part: LinkablePart, source: Option<PartSource>) {
        self.parts.push(part);
        self.sources.push(source);
    }

    fn is_known(&self, dir: &Dir) -> bool {
        self.parts.iter().any(|part| part.dir.path() == dir.path())
    }
}

/// A part that was inspected, and the files of it that the repository has.
pub(super) struct PreparedPart<'a> {
    table: TableKeyRef<'a>,
    name: &'a PartName,
    dir: &'a Dir,
    pub(super) inspected: Inspected,
    pub(super) files: PartFiles,
    candidates: LinkCandidates,
    joins: LinkSources,
}

impl PreparedPart<'_> {
    /// Whether its files are exactly those that its checksums list.
    fn is_sound(&self) -> bool {
        self.inspected.problems.is_empty()
    }

    /// Whether it can be linked without copying any file.
    fn is_joined_whole(&self) -> bool {
        self.joins.len() as u64 == self.inspected.files && self.is_sound()
    }
}

/// A part that was linked and copied.
pub(super) struct PlacedCopy {
    pub(super) copied: CopiedPart,
    /// The problem with the original, confirmed by a second reading.
    damage: Vec<String>,
}

/// Why a part was not linked and copied.
#[derive(Debug)]
pub(super) enum CopyFailure {
    /// The part itself, or a call for it, failed.
    Part(CopyPartError),
    /// A failure that is not about this part.
    Other(OpError),
}

impl From<CopyFailure> for OpError {
    fn from(failure: CopyFailure) -> Self {
        match failure {
            CopyFailure::Part(error) => error.into(),
            CopyFailure::Other(error) => error,
        }
    }
}

impl Copying<'_> {
    /// Whether the parts of this disk are copied.
    pub(super) fn copies(&self, disk: &str) -> bool {
        self.copiers.contains_key(disk)
    }

    /// Whether earlier snapshots are searched for parts of this disk under other inodes.
    pub(super) fn joins(&self, disk: &str) -> bool {
        self.copies(disk) || self.rules.relinks
    }

    /// The copier of a disk; for a disk that is not copied, the one that only links.
    pub(super) fn copier_of(&self, disk: &str) -> &PartCopier<'_> {
        self.copiers.get(disk).unwrap_or(&self.joiner)
    }

    /// Places a part of a disk in the snapshot: copies it if the disk's parts are copied, else links it if an earlier
    /// snapshot has all of it.
    ///
    /// # Errors
    /// If the part cannot be read, or its files cannot be made.
    pub(super) fn copy_or_link(
        &self,
        disk: &str,
        part: OriginalPart<'_>,
        to: Destination<'_>,
    ) -> Result<Option<CopiedOrLinked>, OpError> {
        self.place_with(self.copiers.get(disk), part, to)
    }

    /// Places a part in the snapshot with this copier. Without a copier, the part is linked from an earlier snapshot as
    /// a whole, or not placed.
    ///
    /// # Errors
    /// If the part cannot be read or written, or if metadata that must be kept cannot be kept.
    pub(super) fn place_with(
        &self,
        by: Option<&PartCopier<'_>>,
        part: OriginalPart<'_>,
        to: Destination<'_>,
    ) -> Result<Option<CopiedOrLinked>, OpError> {
        let OriginalPart { table, name, dir, entries } = part;
        let prepared = self.prepare((table, name, dir), entries)?;
        let is_whole = prepared.is_joined_whole();
        let by = match by {
            Some(own) => own,
            // Linked from an earlier snapshot as a whole, or not at all.
            None if is_whole => &self.joiner,
            None => return Ok(None),
        };
        let placed = self.place_or_take_damaged(by, &prepared, to)?;
        self.finish(prepared, placed, to).map(Some)
    }

    /// Inspects a part that is to be copied, and looks for the files of it that the repository has.
    ///
    /// # Errors
    /// If something of the part cannot be read.
    pub(super) fn prepare<'b>(
        &self,
        (table, name, dir): (TableKeyRef<'b>, &'b PartName, &'b Dir),
        entries: Vec<Entry>,
    ) -> Result<PreparedPart<'b>, OpError> {
        let (inspected, files) = exec::inspect_to_copy(dir, entries)?;
        let (mut candidates, mut joins) = (LinkCandidates::default(), LinkSources::default());
        self.find(table, name, &inspected, &files, (&mut candidates, &mut joins))?;
        let mut prepared = PreparedPart { table, name, dir, inspected, files, candidates, joins };
        if self.rules.relinks && !prepared.is_joined_whole() {
            // Equal except for its times, which are recorded.
            let mut others = LinkSources::default();
            let keeping = PreservedMetadata { time: false, ..self.keeping };
            exec::find_joins(&prepared.files, &prepared.candidates.parts, 0, keeping, &mut others)?;
            let found = std::mem::replace(&mut prepared.joins, others);
            if !prepared.is_joined_whole() {
                prepared.joins = found;
            }
        }
        Ok(prepared)
    }

    /// Links and copies a part. If its files do not match its checksums, they are read a second time: damage found
    /// again is on the server's disk, and the part is taken as it is and recorded as damaged.
    fn place_or_take_damaged(
        &self,
        by: &PartCopier<'_>,
        part: &PreparedPart<'_>,
        to: Destination<'_>,
    ) -> Result<PlacedCopy, OpError> {
        match self.place(by, part, to, part.is_sound()) {
            Err(CopyFailure::Part(CopyPartError::Damaged { .. })) => {
                exec::remove_tree(to.table, part.name.as_str(), &|_| ())?;
                let damage = exec::damage_in(&part.files)?;
                let copied = self.place(by, part, to, damage.is_empty())?.copied;
                Ok(PlacedCopy { copied, damage })
            }
            result => Ok(result?),
        }
    }

    /// Links and copies a part, and compares it with its checksums if it `is_checked`.
    ///
    /// # Errors
    /// If it cannot be read or written, or does not match its checksums. The files created so far stay.
    pub(super) fn place(
        &self,
        by: &PartCopier<'_>,
        part: &PreparedPart<'_>,
        to: Destination<'_>,
        is_checked: bool,
    ) -> Result<PlacedCopy, CopyFailure> {
        let PreparedPart { table, name, dir, inspected, joins, .. } = part;
        let bytes = inspected.bytes.saturating_sub(joins.bytes());
        self.check_free_space(to.table, (table.name, name), bytes).map_err(CopyFailure::Other)?;
        let how = PartCopy { wanted: &|_| true, joins, is_checked };
        let copied = by.copy_part_with(dir, to.table, to.path, name.as_str(), how).map_err(CopyFailure::Part)?;
        Ok(PlacedCopy { copied, damage: Vec::new() })
    }

    /// Describes a part that was linked and copied.
    ///
    /// # Errors
    /// If metadata that must be kept was not kept, or the part cannot be read.
    pub(super) fn finish(
        &self,
        part: PreparedPart<'_>,
        PlacedCopy { copied, damage }: PlacedCopy,
        to: Destination<'_>,
    ) -> Result<CopiedOrLinked, OpError> {
        let PreparedPart { table, name, dir, mut inspected, files, candidates, joins } = part;
        self.counts.recopied_files.fetch_add(copied.recopied_files, Ordering::Relaxed);
        let lacking = copied.unkept.iter().find(|(_, what)| what.is_of_the_file());
        if let Some((path, what)) = lacking.filter(|_| !self.records()) {
            return Err(OpError::CannotKeep { path: dir.path().join(path), what: what.to_string() });
        }
        if inspected.uncovered.iter().any(|file| file.blake3.is_none()) {
            // Too large to be read just for its hash; the copy has read it.
            let read = |file: &PartFile| copied.uncovered.iter().find(|read| read.path == file.path)?.blake3;
            let files = inspected.uncovered.iter();
            let files = files.map(|file| PartFile { blake3: file.blake3.or_else(|| read(&file)), ..file });
            inspected.uncovered = files.collect();
        }
        let (inspected, unkept) =
            exec::record_placed(&to.table.open_dir(name.as_str())?, dir, &files, inspected, self.keeping)?;
        let placement = copied.placement();
        let main = joins.main_candidate();
        let source = main.and_then(|main| candidates.sources.get(main)?.as_ref());
        // A part recorded as linked is taken for the same part with the same inodes.
        let is_same_part = source.is_some_and(|source| source.is_of_table && source.part == *name);
        let is_of_one = is_same_part && joins.is_of_one_candidate();
        let from = source.filter(|_| placement != Placement::Linked || is_of_one).map(|source| source.snapshot);
        if main.is_some() && source.is_none() && placement == Placement::Linked {
            let tally = PartTally { parts: 1, files: inspected.files, bytes: inspected.bytes };
            *self.counts.resumed.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        }
        let keys = files.recorded_from(0).filter_map(|(bytes, hash)| FileKey::of(bytes, hash)).collect();
        let key = (table.name.clone(), name.clone());
        self.counts.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key, keys);
        let joined = (copied.joined_files > 0 && !(placement == Placement::Linked && is_of_one)).then(|| {
            Box::new(Joined {
                source: source.map(|source| format!("snapshots/{}/{}", source.snapshot, source.path.display())),
                files: copied.joined_files,
                bytes: copied.joined_bytes,
            })
        });
        let extra = Extra { split: Some(Box::new(split(placement, &copied))), joined, unkept, damage };
        Ok(CopiedOrLinked { placement, from, inspected, extra })
    }

    /// Links a part of an earlier snapshot file by file, and copies from there the files that have reached their link
    /// limit. `None` if a file that was to be copied proves damaged; the files created so far then stay.
    ///
    /// # Errors
    /// If it can be neither linked nor copied.
    pub(super) fn link_or_copy(
        &self,
        held: &Dir,
        name: &PartName,
        to: Destination<'_>,
    ) -> Result<Option<CopiedPart>, OpError> {
        let (inspected, files) = exec::inspect_to_copy(held, held.entries_with_kind()?)?;
        let mut joins = LinkSources::default();
        let itself = LinkablePart { dir: held.clone(), is_trusted: true, of_any_size: true };
        exec::find_joins(&files, &[itself], 0, PreservedMetadata::ALL, &mut joins)?;
        let how = PartCopy { wanted: &|_| true, joins: &joins, is_checked: inspected.problems.is_empty() };
        match self.joiner.copy_part_with(held, to.table, to.path, name.as_str(), how) {
            Err(CopyPartError::Damaged { .. }) => Ok(None),
            copied => {
                let copied = copied?;
                self.counts.recopied_files.fetch_add(copied.recopied_files, Ordering::Relaxed);
                Ok(Some(copied))
            }
        }
    }

    /// The attainable part of an owner, a group and a mode, for something that has `now`.
    pub(super) fn attainable(&self, wanted: Ownership, now: Ownership) -> Ownership {
        let (uid, gid) = if self.keeping.owner { (wanted.uid, wanted.gid) } else { (now.uid, now.gid) };
        Ownership { uid, gid, mode: if self.keeping.mode { wanted.mode } else { now.mode } }
    }

    /// Sets the owner and mode of a directory of the snapshot. What cannot be kept is recorded elsewhere.
    pub(super) fn give(&self, dir: &Dir, wanted: Ownership) -> Result<(), FsError> {
        dir.set_ownership(self.attainable(wanted, dir.stat_self()?.ownership))
    }

    pub(super) fn records(&self) -> bool {
        self.rules.ids == IdsMode::Record
    }

    /// Looks for the files of a part: first among those an interrupted run copied, then in parts that it is equal to or
    /// a later version of, and then in all others.
    fn find(
        &self,
        table: TableKeyRef<'_>,
        name: &PartName,
        inspected: &Inspected,
        files: &PartFiles,
        (candidates, joins): (&mut LinkCandidates, &mut LinkSources),
    ) -> Result<(), OpError> {
        let Some(sources) = &self.sources else { return Ok(()) };
        let path = crate::repo::table_below_data(table.name).join(name.as_str());
        for leftover in self.leftovers {
            if let Some(dir) = leftover.data.find_beneath(&path)? {
                // A file gets its times only once all of it is written. If times are not kept, its bytes are compared.
                let is_trusted = leftover.is_trusted && self.keeping.time;
                candidates.add(LinkablePart { dir, is_trusted, of_any_size: true }, None);
            }
        }
        let owner = (table.name, table.uuid);
        let open = |source: &PartSource| -> Option<Dir> {
            self.repository.snapshot_dir(source.snapshot).ok()?.find_beneath(&source.path).ok().flatten()
        };
        for source in sources.of_part(owner, name, inspected.fingerprint) {
            let Some(dir) = open(&source) else { continue };
            let is_trusted = source.is_of_table || self.rules.trusts_hash;
            candidates.add(LinkablePart { dir, is_trusted, of_any_size: true }, Some(source));
        }
        exec::find_joins(files, &candidates.parts, 0, self.keeping, joins)?;
        if joins.len() as u64 >= inspected.files {
            return Ok(());
        }
        let keys: Vec<FileKey> = files.recorded_from(0).filter_map(|(bytes, hash)| FileKey::of(bytes, hash)).collect();
        let first = candidates.parts.len();
        for source in sources.of_files(owner, &keys) {
            let Some(dir) = open(&source).filter(|dir| !candidates.is_known(dir)) else { continue };
            let is_trusted = source.is_of_table || self.rules.trusts_hash;
            candidates.add(LinkablePart { dir, is_trusted, of_any_size: false }, Some(source));
        }
        let others = candidates.parts.get(first..).unwrap_or_default();
        Ok(exec::find_joins(files, others, first, self.keeping, joins)?)
    }

    /// Checks that the space demanded by `--min-free` stays free during the copy.
    fn check_free_space(&self, to: &Dir, (table, part): (&TableName, &PartName), bytes: u64) -> Result<(), OpError> {
        let min_free_bytes = self.rules.min_free_bytes;
        if min_free_bytes == 0 {
            return Ok(());
        }
        let free_bytes = fs::space(to)?.free_bytes;
        if free_bytes >= min_free_bytes.saturating_add(bytes) {
            return Ok(());
        }
        let copies = Copies { parts: 1, bytes, largest: (table.clone(), part.clone()), largest_bytes: bytes };
        let path = self.repository.path().to_owned();
        Err(OpError::LowSpace { path, free_bytes, copies: Some(Box::new(copies)), min_free_bytes })
    }
}

/// How the files of a part were placed. Files linked from earlier parts count as linked, whatever the part counts as.
fn split(placement: Placement, copied: &CopiedPart) -> PlacedTotals {
    let mut placed = PlacedTotals::default();
    let (linked_files, linked_bytes) =
        (copied.linked_files + copied.joined_files, copied.linked_bytes + copied.joined_bytes);
    placed.add(Placement::Linked, PartTally { parts: 0, files: linked_files, bytes: linked_bytes });
    placed.add(Placement::Reflinked, PartTally { parts: 0, files: copied.cloned_files, bytes: copied.cloned_bytes });
    let files = copied.files.saturating_sub(linked_files + copied.cloned_files);
    let bytes = copied.bytes.saturating_sub(linked_bytes + copied.cloned_bytes);
    placed.add(Placement::Copied, PartTally { parts: 0, files, bytes });
    placed.add(placement, PartTally { parts: 1, files: 0, bytes: 0 });
    placed
}

/// A copier for one disk. Each copier finds out by itself what its filesystem can do.
pub(super) fn copier<'a>(
    rules: CopyRules,
    rate: Option<&'a fs::RateLimit>,
    advanced: &'a fs::Advanced<'a>,
    links: &'a CopiedLinks,
) -> PartCopier<'a> {
    PartCopier { options: rules.copy_options(rate, advanced), verifies: rules.verifies, links }
}

/// The trees that interrupted runs left.
pub(super) fn leftovers(locked: &Locked<'_>, kept: &[InterruptedRun]) -> Result<Vec<InterruptedCopy>, OpError> {
    let open = |kept: &InterruptedRun| -> Result<Option<InterruptedCopy>, OpError> {
        let InterruptedRun { intent, .. } = kept;
        // Data written before a restart of the host may never have reached the disk.
        let is_trusted = intent.host == fs::host_name() && !intent.boot.is_empty() && intent.boot == fs::boot_id();
        Ok(locked.leftover_data(intent.id)?.map(|data| InterruptedCopy { data, is_trusted }))
    };
    // The newest first.
    kept.iter().rev().map(open).filter_map(Result::transpose).collect()
}

/// The warning about files that were copied because equal ones have reached their link limit, if there are any.
pub(super) fn link_limit_warning(recopied_files: u64) -> Option<Warning> {
    let limit = exec::LINK_LIMIT;
    (recopied_files > 0).then(|| {
        let message = format!(
            "{} {} copied although the repository has equal ones: those have {} links, or as many as their filesystem \
             allows; what comes next is linked to the new copies",
            count(recopied_files, "file"),
            if recopied_files == 1 { "was" } else { "were" },
            thousands(limit.into()),
        );
        Warning::new(WarningKind::LinkLimit, message)
    })
}
