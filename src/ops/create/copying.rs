//! Parts of disks that are on another filesystem than the repository: linked to what earlier snapshots have, else copied.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::exec::{
    self, Candidate, CopiedLinks, CopiedPart, CopyPartError, Inspected, Joins, Keeping, PartCopier, PartCopy, PartFiles,
};
use crate::fs::{self, CopyMeans, Dir, Entry, FsError};
use crate::model::{Ownership, PartName, Placed, Placement, SnapshotId, Table, TableName, Tally};
use crate::ops::error::{Copies, OpError};
use crate::repo::{FileKey, Joined, PartFile, Repository, Source, Sources, UnkeptOf};

use super::request::{IdsMode, Request};

/// Inodes that are remembered of those with unusually many links: some 50 bytes each.
pub(super) const REMEMBERED: usize = 4_000_000;
/// How many links a frozen file has anyhow: that of the live part, and that of the shadow.
pub(super) const USUAL_LINKS: u32 = 2;

/// What an interrupted run has copied.
#[derive(Debug)]
pub(super) struct Leftover {
    /// Its directory of tables.
    pub(super) data: Dir,
    /// Whether all that it wrote is there: not so after the host was started anew.
    pub(super) is_trusted: bool,
}

impl Leftover {
    /// Whether it has this part, or some of it.
    pub(super) fn has(&self, table: &TableName, part: &PartName) -> bool {
        self.data
            .find_beneath(&crate::repo::table_below_data(table).join(part.as_str()))
            .is_ok_and(|found| found.is_some())
    }
}

/// How files come into a snapshot that are not renamed or linked out of the shadow.
pub(super) struct Copying<'a> {
    /// For each disk whose parts are copied, by its name.
    pub(super) copiers: BTreeMap<String, PartCopier<'a>>,
    /// Links to earlier parts where nothing is copied.
    pub(super) joiner: PartCopier<'a>,
    /// What the repository's filesystem keeps.
    pub(super) keeping: Keeping,
    /// What there is to link from. Nothing where all disks are on the repository's filesystem.
    pub(super) sources: Option<Sources>,
    pub(super) leftovers: &'a [Leftover],
    pub(super) repository: &'a Repository,
    pub(super) links: &'a CopiedLinks,
    pub(super) request: &'a Request,
    pub(super) counts: Counts,
}

/// What is counted while parts are placed.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The keys of the files of new parts, for the cache of sources.
    keys: Mutex<HashMap<(TableName, PartName), Vec<FileKey>>>,
    resumed: Mutex<Tally>,
    afresh_files: AtomicU64,
}

impl Counts {
    /// Parts that an interrupted run had copied.
    pub(super) fn resumed(&self) -> Tally {
        *self.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that were copied because an equal one has as many links as it may have.
    pub(super) fn afresh_files(&self) -> u64 {
        self.afresh_files.load(Ordering::Relaxed)
    }

    pub(super) fn take_keys(&self) -> HashMap<(TableName, PartName), Vec<FileKey>> {
        std::mem::take(&mut self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A part where it is copied from.
pub(super) struct Original<'a> {
    pub(super) table: &'a Table,
    pub(super) name: &'a PartName,
    pub(super) dir: &'a Dir,
    pub(super) entries: Vec<Entry>,
}

/// Where it is copied to.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The table's directory in the snapshot.
    pub(super) table: &'a Dir,
    /// Its path relative to the snapshot.
    pub(super) path: &'a Path,
}

/// A part that was copied or joined.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) placement: Placement,
    pub(super) from: Option<SnapshotId>,
    pub(super) inspected: Inspected,
    pub(super) extra: Extra,
}

/// What is known of a part only where it was copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// How its files came there, where not all in one way.
    pub(super) split: Option<Box<Placed>>,
    pub(super) joined: Option<Box<Joined>>,
    pub(super) unkept: Vec<UnkeptOf>,
    /// What is wrong with it where it was copied from; found by reading it twice.
    pub(super) damage: Vec<String>,
}

impl Extra {
    /// What is known of a part by how its files came there.
    pub(super) fn of(copied: &CopiedPart) -> Self {
        Self { split: Some(Box::new(split(copied.placement(), copied))), ..Self::default() }
    }
}

/// Parts to link from, and what each of them is.
#[derive(Default)]
struct Candidates {
    parts: Vec<Candidate>,
    /// None for what an interrupted run has copied.
    sources: Vec<Option<Source>>,
}

impl Candidates {
    fn add(&mut self, part: Candidate, source: Option<Source>) {
        self.parts.push(part);
        self.sources.push(source);
    }

    fn is_known(&self, dir: &Dir) -> bool {
        self.parts.iter().any(|part| part.dir.path() == dir.path())
    }
}

impl Copying<'_> {
    /// Whether the parts of this disk are copied.
    pub(super) fn copies(&self, disk: &str) -> bool {
        self.copiers.contains_key(disk)
    }

    /// Whether parts of this disk are looked for in earlier snapshots under other inodes.
    pub(super) fn joins(&self, disk: &str) -> bool {
        self.copies(disk) || self.request.relinks
    }

    /// The copier of a disk, of one from which parts are linked too.
    pub(super) fn copier_of(&self, disk: &str) -> &PartCopier<'_> {
        self.copiers.get(disk).unwrap_or(&self.joiner)
    }

    /// Brings a part of a disk into the snapshot: copied where the disk's parts are, else only if an earlier snapshot has all
    /// of it.
    ///
    /// # Errors
    /// As [`Copying::bring_by`].
    pub(super) fn bring(
        &self,
        disk: &str,
        part: Original<'_>,
        to: Destination<'_>,
    ) -> Result<Option<Brought>, OpError> {
        self.bring_by(self.copiers.get(disk), part, to)
    }

    /// Brings a part into the snapshot, by this copier. Without one it is linked from an earlier snapshot as a whole, or
    /// not brought.
    ///
    /// # Errors
    /// If it cannot be read or written, or something of it cannot be kept that must be.
    pub(super) fn bring_by(
        &self,
        by: Option<&PartCopier<'_>>,
        part: Original<'_>,
        to: Destination<'_>,
    ) -> Result<Option<Brought>, OpError> {
        let (inspected, files) = exec::inspect_to_copy(part.dir, part.entries)?;
        let is_sound = inspected.problems.is_empty();
        let (mut candidates, mut joins) = (Candidates::default(), Joins::default());
        self.find(part.table, part.name, &inspected, &files, (&mut candidates, &mut joins))?;
        let is_whole = |joins: &Joins| joins.len() as u64 == inspected.files && is_sound;
        if self.request.relinks && !is_whole(&joins) {
            // Equal but for its times: those are written down.
            let mut others = Joins::default();
            exec::find_joins(&files, &candidates.parts, 0, Keeping { time: false, ..self.keeping }, &mut others)?;
            if is_whole(&others) {
                joins = others;
            }
        }
        let by = match by {
            Some(own) => own,
            // Linked from an earlier snapshot as a whole, or not at all.
            None if is_whole(&joins) => &self.joiner,
            None => return Ok(None),
        };
        self.see_to_space(to.table, (part.table.name(), part.name), inspected.bytes.saturating_sub(joins.bytes()))?;
        let original = (part.dir, part.name);
        let (copied, damage) = Self::copy(by, original, to, (&joins, &files), is_sound)?;
        self.counts.afresh_files.fetch_add(copied.afresh_files, Ordering::Relaxed);
        let keeping = self.keeping;
        let lacking = copied.unkept.iter().find(|(_, what)| what.is_of_the_file());
        if let Some((path, what)) = lacking.filter(|_| !self.records()) {
            return Err(OpError::CannotKeep { path: part.dir.path().join(path), what: what.to_string() });
        }
        let mut inspected = inspected;
        if inspected.uncovered.iter().any(|file| file.blake3.is_none()) {
            // Too large to be read for this alone; the copy has read it.
            let read = |file: &PartFile| copied.uncovered.iter().find(|read| read.path == file.path)?.blake3;
            let files = inspected.uncovered.iter();
            let files = files.map(|file| PartFile { blake3: file.blake3.or_else(|| read(&file)), ..file });
            inspected.uncovered = files.collect();
        }
        let (inspected, unkept) =
            exec::settle(&to.table.open_dir(part.name.as_str())?, part.dir, &files, inspected, keeping)?;
        let placement = copied.placement();
        let main = joins.main_candidate();
        let source = main.and_then(|main| candidates.sources.get(main)?.as_ref());
        // Who reads that a part was linked takes it for the same part with the same inodes.
        let is_same_part = source.is_some_and(|source| source.is_of_table && source.part == *part.name);
        let is_of_one = is_same_part && joins.is_of_one_candidate();
        let from = source.filter(|_| placement != Placement::Linked || is_of_one).map(|source| source.snapshot);
        if main.is_some() && source.is_none() && placement == Placement::Linked {
            let tally = Tally { parts: 1, files: inspected.files, bytes: inspected.bytes };
            *self.counts.resumed.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        }
        let keys = files.recorded_from(0).filter_map(|(bytes, hash)| FileKey::of(bytes, hash)).collect();
        let key = (part.table.name().clone(), part.name.clone());
        self.counts.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key, keys);
        let joined = (copied.joined_files > 0 && !(placement == Placement::Linked && is_of_one)).then(|| {
            Box::new(Joined {
                source: source.map(|source| format!("snapshots/{}/{}", source.snapshot, source.path.display())),
                files: copied.joined_files,
                bytes: copied.joined_bytes,
            })
        });
        let extra = Extra { split: Some(Box::new(split(placement, &copied))), joined, unkept, damage };
        Ok(Some(Brought { placement, from, inspected, extra }))
    }

    /// Links a part of an earlier snapshot file by file, and copies from there what has as many links as it may have.
    /// `None` where what was to be copied proves damaged; what was made of the part then stays.
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
        let mut joins = Joins::default();
        let itself = Candidate { dir: held.clone(), is_trusted: true, of_any_size: true };
        exec::find_joins(&files, &[itself], 0, Keeping::ALL, &mut joins)?;
        let how = PartCopy { wanted: &|_| true, joins: &joins, is_checked: inspected.problems.is_empty() };
        match self.joiner.copy_part_with(held, to.table, to.path, name.as_str(), how) {
            Err(CopyPartError::Damaged { .. }) => Ok(None),
            copied => {
                let copied = copied?;
                self.counts.afresh_files.fetch_add(copied.afresh_files, Ordering::Relaxed);
                Ok(Some(copied))
            }
        }
    }

    /// Of an owner, a group and a mode, what can be given to something that has `now`.
    pub(super) fn attainable(&self, wanted: Ownership, now: Ownership) -> Ownership {
        let (uid, gid) = if self.keeping.owner { (wanted.uid, wanted.gid) } else { (now.uid, now.gid) };
        Ownership { uid, gid, mode: if self.keeping.mode { wanted.mode } else { now.mode } }
    }

    /// Gives it to a directory of the snapshot; what cannot be kept is recorded elsewhere.
    pub(super) fn give(&self, dir: &Dir, wanted: Ownership) -> Result<(), FsError> {
        dir.set_ownership(self.attainable(wanted, dir.stat_self()?.ownership))
    }

    pub(super) fn records(&self) -> bool {
        self.request.ids == IdsMode::Record
    }

    /// Looks for the files of a part: in what an interrupted run has copied, in the parts that it is equal to or a later
    /// version of, and then in all others.
    fn find(
        &self,
        table: &Table,
        name: &PartName,
        inspected: &Inspected,
        files: &PartFiles,
        (candidates, joins): (&mut Candidates, &mut Joins),
    ) -> Result<(), OpError> {
        let Some(sources) = &self.sources else { return Ok(()) };
        let path = crate::repo::table_below_data(table.name()).join(name.as_str());
        for leftover in self.leftovers {
            if let Some(dir) = leftover.data.find_beneath(&path)? {
                // A file has its times only since all of it was written; where these are not kept, its bytes tell.
                let is_trusted = leftover.is_trusted && self.keeping.time;
                candidates.add(Candidate { dir, is_trusted, of_any_size: true }, None);
            }
        }
        let owner = (table.name(), table.key.uuid.as_ref());
        let open = |source: &Source| -> Option<Dir> {
            self.repository.snapshot_dir(source.snapshot).ok()?.find_beneath(&source.path).ok().flatten()
        };
        for source in sources.of_part(owner, name, inspected.fingerprint) {
            let Some(dir) = open(&source) else { continue };
            let is_trusted = source.is_of_table || self.request.trusts_hash;
            candidates.add(Candidate { dir, is_trusted, of_any_size: true }, Some(source));
        }
        exec::find_joins(files, &candidates.parts, 0, self.keeping, joins)?;
        if joins.len() as u64 >= inspected.files {
            return Ok(());
        }
        let keys: Vec<FileKey> = files.recorded_from(0).filter_map(|(bytes, hash)| FileKey::of(bytes, hash)).collect();
        let first = candidates.parts.len();
        for source in sources.of_files(owner, &keys) {
            let Some(dir) = open(&source).filter(|dir| !candidates.is_known(dir)) else { continue };
            let is_trusted = source.is_of_table || self.request.trusts_hash;
            candidates.add(Candidate { dir, is_trusted, of_any_size: false }, Some(source));
        }
        let others = candidates.parts.get(first..).unwrap_or_default();
        Ok(exec::find_joins(files, others, first, self.keeping, joins)?)
    }

    /// With `--min-free`, so much stays free while the copy goes on.
    fn see_to_space(&self, to: &Dir, (table, part): (&TableName, &PartName), bytes: u64) -> Result<(), OpError> {
        let min_free_bytes = self.request.min_free_bytes;
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

    /// Copies a part. One whose files are not what its checksums say is read a second time: damage that is there again
    /// is that of the server's disk, and the part is taken as it is, with that said.
    fn copy(
        copier: &PartCopier<'_>,
        (from, name): (&Dir, &PartName),
        to: Destination<'_>,
        (joins, files): (&Joins, &PartFiles),
        is_sound: bool,
    ) -> Result<(CopiedPart, Vec<String>), OpError> {
        let run = |is_checked| {
            let how = PartCopy { wanted: &|_| true, joins, is_checked };
            copier.copy_part_with(from, to.table, to.path, name.as_str(), how)
        };
        match run(is_sound) {
            Err(CopyPartError::Damaged { .. }) => {
                exec::remove_tree(to.table, name.as_str(), &|_| ())?;
                let damage = exec::damage_in(files)?;
                Ok((run(damage.is_empty())?, damage))
            }
            result => Ok((result?, Vec::new())),
        }
    }
}

/// How the files of a part came there: what was joined counts as linked, whatever the part as a whole counts as.
fn split(placement: Placement, copied: &CopiedPart) -> Placed {
    let mut placed = Placed::default();
    let (linked_files, linked_bytes) =
        (copied.linked_files + copied.joined_files, copied.linked_bytes + copied.joined_bytes);
    placed.add(Placement::Linked, Tally { parts: 0, files: linked_files, bytes: linked_bytes });
    placed.add(Placement::Reflinked, Tally { parts: 0, files: copied.cloned_files, bytes: copied.cloned_bytes });
    let files = copied.files.saturating_sub(linked_files + copied.cloned_files);
    let bytes = copied.bytes.saturating_sub(linked_bytes + copied.cloned_bytes);
    placed.add(Placement::Copied, Tally { parts: 0, files, bytes });
    placed.add(placement, Tally { parts: 1, files: 0, bytes: 0 });
    placed
}

/// A copier for one disk: each learns for itself what its filesystem can.
pub(super) fn copier<'a>(
    request: &Request,
    rate: Option<&'a fs::RateLimit>,
    advanced: &'a fs::Advanced<'a>,
    links: &'a CopiedLinks,
) -> PartCopier<'a> {
    let wants_clones = request.place != exec::PlaceMode::Copy;
    PartCopier { means: CopyMeans::new(wants_clones, rate, advanced), verifies: request.verifies_copies, links }
}
