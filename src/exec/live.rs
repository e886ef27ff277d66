//! Takes what a freeze leaves out from the live directories of a table: patch parts, and files of parts that their
//! checksums do not cover.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError, Stat};
use crate::model::PartName;

use super::ExecError;
use super::inspect::{AlreadyRead, CHECKSUMS, Inspected, inspect_known, inspect_listed, read_checksums_file};
use super::left_out::{LEFT_OUT, READ_EARLY, SMALL_BYTES, StatsByName, belongs, belongs_in_a_copy, read_those};
use super::packed::{PACKED, link_archives};
use super::place::{PART_DEPTH, link_tree};
use super::prefetch::{Prefetch, Prefetched};
use super::read_file::ReadFile;

/// The live directory of one table on one disk.
#[derive(Clone, Debug)]
pub struct LiveTable {
    /// The disk's name.
    pub disk: String,
    /// The directory.
    pub dir: Dir,
}

/// A small file as it was read before it could vanish.
#[derive(Clone, Debug)]
pub(super) struct SavedFile {
    name: &'static str,
    stat: Stat,
    bytes: Box<[u8]>,
}

/// A part as it was before it could vanish.
#[derive(Clone, Debug)]
pub struct SavedPart {
    /// How many of its entries belong in a copy of it.
    entries: usize,
    /// The files that a freeze leaves out.
    left_out: Box<[SavedFile]>,
    /// The content of its small files, including those that a freeze leaves out.
    pub(super) read: Arc<[ReadFile]>,
    /// The inspection predicted for the frozen part, if it was prefetched.
    pub(super) prefetched: Option<Box<Prefetched>>,
}

/// Parts that were there when they were read.
pub type SavedParts = HashMap<PartName, SavedPart>;

/// The outcome for the files that a freeze leaves out of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOutFiles {
    /// The part in the snapshot has them.
    Taken,
    /// There are none: an old server wrote the part.
    None,
    /// The part vanished before it could be listed.
    Unknown,
}

/// Reads what a freeze would leave out of each part.
///
/// Parts are given with the live directory that they are in. A part that has vanished meanwhile is skipped.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn save_left_out(parts: &[(&PartName, &Dir)]) -> Result<SavedParts, FsError> {
    parts
        .par_iter()
        .filter_map(|(name, table)| save(table, name).transpose().map(|saved| Ok(((*name).clone(), saved?))))
        .collect()
}

/// Reads what a freeze would leave out of a part; returns `None` if the part has vanished.
pub(super) fn save(table: &Dir, name: &PartName) -> Result<Option<SavedPart>, FsError> {
    let mut names = LivePartEntries::default();
    let Some(part) = table.find_and_visit(name.as_str(), |name| names.add(name))? else { return Ok(None) };
    Ok(names.save(&part)?.map(|(saved, _)| saved))
}

/// Does the same as [`save`], and prefetches a part that is frozen already.
pub(super) fn save_and_look(table: &Dir, name: &PartName) -> Result<Option<SavedPart>, FsError> {
    let Some((part, entries)) = table.find_and_list(name.as_str())? else { return Ok(None) };
    let mut names = LivePartEntries::default();
    for entry in &entries {
        names.add(&entry.name);
    }
    let Some((mut saved, stats)) = names.save(&part)? else { return Ok(None) };
    if let Ok(Prefetch::Ready(prefetched)) =
        Prefetched::prefetch(&part, entries, AlreadyRead { read: &saved.read, stats: &stats })
    {
        saved.prefetched = Some(prefetched);
    }
    Ok(Some(saved))
}

/// The entries of a live part that matter here.
#[derive(Default)]
struct LivePartEntries {
    entries: usize,
    is_whole: bool,
    there: Vec<&'static str>,
}

impl LivePartEntries {
    fn add(&mut self, name: &OsStr) {
        self.entries += usize::from(belongs(name));
        self.is_whole |= name == CHECKSUMS || name == PACKED;
        self.there.extend(LEFT_OUT.iter().chain(&READ_EARLY).filter(|known| name == **known));
    }

    /// Reads the files to save, and also returns the inodes of the files that were read.
    fn save(&self, part: &Dir) -> Result<Option<(SavedPart, StatsByName)>, FsError> {
        let is_there = |name: &&str| self.there.contains(name);
        let (mut left_out, mut known) = (Vec::new(), Vec::new());
        for name in LEFT_OUT.into_iter().filter(is_there) {
            if let Some((stat, bytes)) = part.find_with_stat(name, SMALL_BYTES)? {
                known.push((ReadFile::new(name, stat, &bytes), (name, stat)));
                left_out.push(SavedFile { name, stat, bytes: bytes.into() });
            }
        }
        known.extend(read_those(part, READ_EARLY.into_iter().filter(is_there)));
        let (read, stats): (Vec<_>, StatsByName) = known.into_iter().unzip();
        let (entries, left_out, read) = (self.entries, left_out.into(), read.into());
        // A listing without checksums was read while the part was being removed, and proves nothing.
        Ok(self.is_whole.then_some((SavedPart { entries, left_out, read, prefetched: None }, stats)))
    }
}

/// A part of a live table; `None` if the server has removed it.
fn find_part(table: &Dir, name: &PartName) -> Result<Option<Dir>, FsError> {
    table.find_beneath(Path::new(name.as_str()))
}

/// Links into a frozen part the files that its live part is known to have and its freeze to leave out, while the live
/// part is there. This is for parts that [`link_left_out_files`] reaches only much later.
///
/// # Errors
/// If a file is there and cannot be linked.
pub fn link_left_out(
    live: &[LiveTable],
    table: &Dir,
    name: &PartName,
    saved: Option<&SavedPart>,
) -> Result<(), FsError> {
    let Some(saved) = saved.filter(|saved| !saved.left_out.is_empty()) else { return Ok(()) };
    link_saved(live, &table.open_dir(name.as_str())?, name, &saved.left_out, |_| ())
}

/// Links saved files from the live part into this one, if they are there and not here, and returns which ones.
fn link_saved(
    live: &[LiveTable],
    part: &Dir,
    name: &PartName,
    files: &[SavedFile],
    mut linked: impl FnMut(&SavedFile),
) -> Result<(), FsError> {
    for live in live {
        let Some(live_part) = find_part(&live.dir, name)? else { continue };
        for file in files {
            match part.link_from(&live_part, file.name, file.name) {
                Ok(()) => linked(file),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Exists) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Completes a frozen part with everything that its freeze left out: linked from the live part while that is there,
/// else written from what was saved of it. Each file that it gets is added to `entries`, the listing of the part.
///
/// # Errors
/// If a file can be neither linked nor written.
pub fn link_left_out_files(
    live: &[LiveTable],
    part: &Dir,
    entries: &mut Vec<Entry>,
    name: &PartName,
    saved: Option<&SavedPart>,
) -> Result<LeftOutFiles, FsError> {
    // For a packed part, a freeze leaves these files out of its archive.
    if entries.iter().any(|entry| entry.name == PACKED) {
        let is_linked = link_archives(&live.iter().map(|table| &table.dir).collect::<Vec<_>>(), part, entries, name)?;
        return Ok(if is_linked { LeftOutFiles::Taken } else { LeftOutFiles::Unknown });
    }
    let mut completion = PartCompletion { part, before: entries.len(), entries };
    let left_out = saved.map_or(&[][..], |saved| &saved.left_out);
    if left_out.iter().any(|file| !completion.has(OsStr::new(file.name))) {
        let linked = |file: &SavedFile| {
            completion.entries.push(Entry { name: file.name.into(), inode: file.stat.inode, kind: EntryKind::File });
        };
        link_saved(live, part, name, left_out, linked)?;
    }
    // Fewer entries than were frozen: the part was read while the server removed it, so what it lacks proves nothing.
    let mut was_there = saved.is_some_and(|saved| saved.entries >= completion.entries.len());
    // A frozen part has nothing that the live one lacks. If the numbers of entries are equal, it has all of them, and
    // the live part need not be listed again.
    if saved.is_none_or(|saved| completion.entries.len() != saved.entries) {
        for table in live {
            was_there |= completion.link_all(&table.dir, name)?;
        }
    }
    for file in left_out {
        completion.write(file)?;
    }
    Ok(match (completion.has_added() || !left_out.is_empty(), was_there) {
        (true, _) => LeftOutFiles::Taken,
        (false, true) => LeftOutFiles::None,
        (false, false) => LeftOutFiles::Unknown,
    })
}

/// A part in the snapshot, and its listing, while it gets what its freeze left out.
struct PartCompletion<'a> {
    part: &'a Dir,
    entries: &'a mut Vec<Entry>,
    /// How many of them were there before.
    before: usize,
}

impl PartCompletion<'_> {
    fn has(&self, name: &OsStr) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    fn has_added(&self) -> bool {
        self.entries.len() > self.before
    }

    /// Lists the live part, and links everything that is not here. Returns whether the live part is still there.
    fn link_all(&mut self, table: &Dir, name: &PartName) -> Result<bool, FsError> {
        let Some((live_part, live_entries)) = table.find_and_list(name.as_str())? else { return Ok(false) };
        let is_whole = live_entries.iter().any(|entry| entry.name == CHECKSUMS || entry.name == PACKED);
        let here: HashSet<OsString> = self.entries.iter().map(|entry| entry.name.clone()).collect();
        for entry in live_entries {
            if entry.kind == EntryKind::File && belongs_in_a_copy(&entry) && !here.contains(&entry.name) {
                self.link(&live_part, entry)?;
            }
        }
        Ok(is_whole)
    }

    fn link(&mut self, live_part: &Dir, entry: Entry) -> Result<(), FsError> {
        match self.part.link_from(live_part, &entry.name, &entry.name) {
            Ok(()) => self.entries.push(entry),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write(&mut self, file: &SavedFile) -> Result<(), FsError> {
        if !self.has(OsStr::new(file.name)) {
            self.part.write_copy(file.name, &file.stat, &file.bytes)?;
            let inode = self.part.stat(file.name)?.inode;
            self.entries.push(Entry { name: file.name.into(), inode, kind: EntryKind::File });
        }
        Ok(())
    }
}

/// Works as [`inspect_listed`], for a frozen part that was read, and perhaps prefetched, in its live directory: what is
/// known is neither read nor stat'ed again.
///
/// # Errors
/// As [`inspect_listed`].
pub fn inspect_frozen(dir: &Dir, mut entries: Vec<Entry>, saved: Option<SavedPart>) -> Result<Inspected, FsError> {
    let Some(SavedPart { read, prefetched, .. }) = saved else { return inspect_listed(dir, entries) };
    if let Some(prefetched) = prefetched
        && let Some(inspected) = prefetched.confirm(dir, &mut entries)?
    {
        return Ok(inspected);
    }
    inspect_known(dir, entries, read_checksums_file(dir)?, AlreadyRead { read: &read, stats: &[] })
}

/// Links a live part into the snapshot. Returns `None` if it has vanished meanwhile; then nothing of it stays.
///
/// # Errors
/// If it is there and cannot be linked.
pub fn link_live_part(live: &LiveTable, table: &Dir, name: &PartName) -> Result<Option<Dir>, ExecError> {
    let Some((source, entries)) = live.dir.find_and_list(name.as_str())? else { return Ok(None) };
    match link_tree((source.clone(), entries), table, name.as_str(), PART_DEPTH, &belongs_in_a_copy) {
        Ok(dir) if is_still_there(live, &source, name)? => Ok(Some(dir)),
        Ok(_) => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(ExecError::Fs(error)) if error.kind() == ErrorKind::NotFound => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether `part`, a directory that was opened as the part of this name, is still in its place.
///
/// Both engines rename a part before they remove a file of it. So if the part is still in its place after it was listed
/// and linked or copied, the result is complete.
///
/// # Errors
/// If the filesystem does not answer.
pub fn is_still_there(live: &LiveTable, part: &Dir, name: &PartName) -> Result<bool, FsError> {
    let Some(now) = live.dir.find(name.as_str())? else { return Ok(false) };
    let listed = part.stat_self()?;
    Ok((now.device, now.inode) == (listed.device, listed.inode))
}
