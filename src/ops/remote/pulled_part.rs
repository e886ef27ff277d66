//! Fetches and writes the files of a part, or of a snapshot.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::exec::{self, Inspected, PreservedMetadata, Relinked};
use crate::fs::{self, Dir, ErrorKind, RateLimit, Stat};
use crate::model::{ContentHash, Ownership, PartTally, PlacedTotals, Placement, SnapshotId};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::copy::{Base, StagedPart, difference};
use crate::ops::error::OpError;
use crate::remote::{Bundle, LargeFile, RemoteError, RemoteFile, RemotePart, RemoteRepository, read_pack};
use crate::repo::{self, Joined, PartRecord};

use super::linkable::{LinkableFile, LinkableFiles};
use super::sender::permissions;

/// Writes fetched files.
pub(super) struct Fetcher<'a> {
    pub(super) id: SnapshotId,
    pub(super) remote: &'a RemoteRepository,
    pub(super) keeping: PreservedMetadata,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) monitor: &'a dyn Monitor,
    /// Snapshots of the repository from which whole parts are linked.
    pub(super) bases: &'a [Base],
    /// The tree that becomes the snapshot.
    pub(super) incoming: &'a Dir,
    /// Objects that were read before.
    pub(super) fetched: &'a BTreeMap<ContentHash, Vec<u8>>,
    /// Files of the bases from which files of other parts are linked.
    pub(super) linkable: &'a LinkableFiles,
}

impl Fetcher<'_> {
    fn damaged(&self, problem: String) -> OpError {
        OpError::PullDamaged { id: self.id, problem }
    }

    /// The attainable part of an owner, a group and a mode.
    fn attainable(&self, wanted: Ownership) -> Ownership {
        // A record may have set-id or sticky bits, which no manifest makes here.
        let mode = permissions(wanted.mode);
        let own = fs::own_ids(mode);
        let (uid, gid) = if self.keeping.owner { (wanted.uid, wanted.gid) } else { (own.uid, own.gid) };
        Ownership { uid, gid, mode }
    }

    /// Sets the owner, mode and time of a directory that was created here.
    pub(super) fn set_metadata(
        &self,
        dir: &Dir,
        ownership: Ownership,
        modified: Option<(i64, u32)>,
    ) -> Result<(), OpError> {
        dir.set_ownership(self.attainable(ownership))?;
        if let Some(modified) = modified {
            dir.set_modified(modified)?;
        }
        Ok(())
    }

    /// Stages all parts, in order.
    pub(super) fn stage(&self, parts: &[RemotePart]) -> Result<Vec<StagedPart>, OpError> {
        parts.par_iter().map(|part| self.stage_part(part)).collect()
    }

    fn stage_part(&self, part: &RemotePart) -> Result<StagedPart, OpError> {
        let record = &part.record;
        let path = repo::table_path(&record.table_name());
        let table = self.incoming.open_beneath(&path)?;
        let staged = match self.link(part, &path, &table)? {
            Some(staged) => staged,
            None => self.fetch(part, &table)?,
        };
        self.monitor.advanced(Stage::Fetch, StageWork { parts: 1, ..StageWork::default() });
        Ok(staged)
    }

    /// Links a part as a whole from a snapshot of the repository whose record proves that it has the same bytes, if all
    /// its files have the wanted owners, modes and times.
    fn link(&self, part: &RemotePart, path: &Path, table: &Dir) -> Result<Option<StagedPart>, OpError> {
        let record = &part.record;
        let wanted: HashMap<&str, &RemoteFile> = part.files.names.iter().map(|file| (file.path(), file)).collect();
        let is_wanted = |path: &str, stat: &Stat| {
            wanted.get(path).is_some_and(|file| {
                file.bytes() == stat.size_bytes
                    && (!self.keeping.time || file.modified() == stat.modified)
                    && self.attainable(file.ownership()) == stat.ownership
            })
        };
        for base in self.bases {
            let Some(held) = base.parts.find_same(record) else { continue };
            let Some(dir) = base.dir.find_beneath(path)? else { continue };
            if let Relinked::Linked { inspected, .. } = exec::link_held(&dir, held, &is_wanted, table)? {
                let made = table.open_dir(record.part.as_str())?;
                self.set_metadata(&made, record.directory, Some(record.directory_modified))?;
                return Ok(Some(staged(record, *inspected, Placement::Linked, Some(base.id))));
            }
        }
        Ok(None)
    }

    /// Fetches a part. Large files that a part here shares with it, as after a mutation, are linked; if one of them is
    /// damaged here, all are fetched.
    fn fetch(&self, part: &RemotePart, table: &Dir) -> Result<StagedPart, OpError> {
        let shared = self.sources(part);
        match self.fetch_with(part, table, &shared) {
            Err(OpError::PullDamaged { .. }) if !shared.is_empty() => {
                exec::remove_tree(table, part.record.part.as_str(), &|_| ())?;
                self.fetch_with(part, table, &HashMap::new())
            }
            staged => staged,
        }
    }

    /// The files here that large files of a part can be linked to, by their indices.
    fn sources(&self, part: &RemotePart) -> HashMap<usize, &LinkableFile> {
        let large = part.files.large.iter();
        large.filter_map(|large| Some((large.file, self.linkable.of(&large.objects)?))).collect()
    }

    /// Fetches a part into a new directory, and compares it with its record and with its own checksums.
    fn fetch_with(
        &self,
        part: &RemotePart,
        table: &Dir,
        shared: &HashMap<usize, &LinkableFile>,
    ) -> Result<StagedPart, OpError> {
        let record = &part.record;
        let name = record.part.as_str();
        table.create_dir(name, 0o700)?;
        let dir = table.open_dir(name)?;
        for below in &part.files.directories {
            ensure(&dir, Path::new(&below.0))?;
        }
        let linked = self.write_or_link(&part.files, &dir, &|_| true, shared)?;
        for below in part.files.directories.iter().rev() {
            self.set_metadata(&dir.open_beneath(Path::new(&below.0))?, below.ownership(), Some(below.4))?;
        }
        self.set_metadata(&dir, record.directory, Some(record.directory_modified))?;
        let (mut inspected, files) = exec::inspect_to_copy(&dir, dir.entries_with_kind()?)?;
        let is_sound = record.damage.is_empty();
        let problem = match difference(&inspected, record) {
            None if is_sound => exec::damage_in(&files)?.into_iter().next(),
            problem => problem,
        };
        if let Some(problem) = problem.filter(|_| is_sound) {
            let (part, table) = (&record.part, record.table_name());
            return Err(self.damaged(format!("part {part} of {table}: {problem}")));
        }
        // Owner, group and mode are always recorded as in the source; files that have them here have the same ones.
        (inspected.ownership, inspected.directory) = (record.ownership, record.directory);
        let mut staged = staged(record, inspected, Placement::Copied, None);
        if linked.files > 0 {
            // A part counts once; files and bytes count by how they were placed.
            staged.placed.linked += linked;
            staged.placed.copied.files = staged.placed.copied.files.saturating_sub(linked.files);
            staged.placed.copied.bytes = staged.placed.copied.bytes.saturating_sub(linked.bytes);
            let source =
                part.files.large.iter().find_map(|large| shared.get(&large.file)).map(|file| file.part.clone());
            staged.record.joined = Some(Box::new(Joined { source, files: linked.files, bytes: linked.bytes }));
        }
        Ok(staged)
    }

    /// Fetches the objects of a bundle, and writes the wanted files beneath `root`, whose directories exist.
    pub(super) fn write(
        &self,
        bundle: &Bundle,
        root: &Dir,
        is_wanted: &(dyn Fn(&RemoteFile) -> bool + Sync),
    ) -> Result<(), OpError> {
        self.write_or_link(bundle, root, is_wanted, &HashMap::new()).map(drop)
    }

    /// The same, and links the files that are in `shared`, by their indices. Returns what was linked.
    fn write_or_link(
        &self,
        bundle: &Bundle,
        root: &Dir,
        is_wanted: &(dyn Fn(&RemoteFile) -> bool + Sync),
        shared: &HashMap<usize, &LinkableFile>,
    ) -> Result<PartTally, OpError> {
        let wrong = |what: &str| -> OpError { self.damaged(what.to_owned()) };
        bundle.packs.par_iter().try_for_each(|pack| -> Result<(), OpError> {
            let bytes = self.object(pack.object)?;
            let files = read_pack(&bytes).filter(|files| files.len() == pack.files.len());
            let files = files.ok_or_else(|| wrong("an object is not the pack that its manifest says"))?;
            for (place, bytes) in pack.files.iter().zip(files) {
                let Some(file) = bundle.names.get(*place).filter(|file| file.bytes() == bytes.len() as u64) else {
                    return Err(wrong("an object is not the pack that its manifest says"));
                };
                if !is_wanted(file) {
                    continue;
                }
                let (dir, name) = place_of(root, file)?;
                let mut written = dir.begin_file(&name, 0o600)?;
                written.write(bytes)?;
                written.close_as(self.attainable(file.ownership()), file.modified())?;
            }
            Ok(())
        })?;
        let write = |large: &LargeFile| -> Result<PartTally, OpError> {
            let Some(file) = bundle.names.get(large.file) else { return Err(wrong("a file has no name")) };
            let (dir, name) = place_of(root, file)?;
            if let Some(source) = shared.get(&large.file)
                && self.link_file(source, file, &dir, &name)?
            {
                return Ok(PartTally { parts: 0, files: 1, bytes: file.bytes() });
            }
            let mut written = dir.begin_file(&name, 0o600)?;
            for object in &large.objects {
                written.write(&self.object(*object)?)?;
            }
            written.close_as(self.attainable(file.ownership()), file.modified())?;
            Ok(PartTally::default())
        };
        bundle.large.par_iter().map(write).try_reduce(PartTally::default, |mut sum, linked| {
            sum += linked;
            Ok(sum)
        })
    }

    /// Links a file here, if it has the wanted owner, mode and time.
    fn link_file(&self, source: &LinkableFile, file: &RemoteFile, dir: &Dir, name: &Path) -> Result<bool, OpError> {
        let Some(base) = self.bases.get(source.base) else { return Ok(false) };
        let Some(from) = base.dir.find_beneath(&source.directory)? else { return Ok(false) };
        let Some(stat) = from.find(&source.name)? else { return Ok(false) };
        let is_wanted = file.bytes() == stat.size_bytes
            && (!self.keeping.time || file.modified() == stat.modified)
            && self.attainable(file.ownership()) == stat.ownership;
        if !is_wanted {
            return Ok(false);
        }
        match dir.link_from(&from, &source.name, name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TooManyLinks => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn object(&self, object: crate::remote::ObjectRef) -> Result<Cow<'_, [u8]>, OpError> {
        if let Some(bytes) = self.fetched.get(&object.key) {
            return Ok(Cow::Borrowed(bytes));
        }
        if let Some(rate) = self.rate {
            rate.wait_for(object.bytes);
        }
        let bytes = self.remote.fetch(object).map_err(|error| match error {
            RemoteError::Damaged { .. } => self.damaged(crate::monitor::chain(&error)),
            error => error.into(),
        })?;
        self.monitor.advanced(Stage::Fetch, StageWork { files: 1, bytes: object.bytes, ..StageWork::default() });
        Ok(Cow::Owned(bytes))
    }
}

/// The directory of a file beneath `root`, and its name there.
fn place_of(root: &Dir, file: &RemoteFile) -> Result<(Dir, PathBuf), OpError> {
    let path = Path::new(file.path());
    let dir = root.open_beneath(path.parent().unwrap_or(Path::new("")))?;
    Ok((dir, path.file_name().map(PathBuf::from).unwrap_or_default()))
}

/// Creates the directories of a path.
pub(super) fn ensure(dir: &Dir, relative: &Path) -> Result<(), OpError> {
    let mut dir = dir.clone();
    for component in relative.components() {
        dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
    }
    Ok(())
}

fn staged(record: &PartRecord, inspected: Inspected, placement: Placement, from: Option<SnapshotId>) -> StagedPart {
    let mut placed = PlacedTotals::default();
    placed.add(placement, PartTally { parts: 1, files: record.files, bytes: record.bytes });
    let directory = Ownership { mode: permissions(record.directory.mode), ..record.directory };
    let record = PartRecord { placed: placement, from, joined: None, directory, ..record.clone() };
    StagedPart { record, inspected, placed, base: from, is_drifted: false }
}
