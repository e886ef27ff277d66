//! What a freeze leaves out, from the live directories of a table: patch parts, and files of parts that are not
//! covered by their checksums.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, ErrorKind, FsError, Kind, Stat};
use crate::model::PartName;

use super::ExecError;
use super::foreseen::{Foreseen, Look};
use super::inspect::{CHECKSUMS, Inspected, Known, inspect_known, inspect_listed, read_checksums_file};
use super::left_out::{Asked, LEFT_OUT, READ_EARLY, SMALL_BYTES, belongs, belongs_in_a_copy, read_those};
use super::packed::{PACKED, link_archives};
use super::place::{PART_DEPTH, link_tree};
use super::read_file::ReadFile;

/// The live directory of one table on one disk.
#[derive(Clone, Debug)]
pub struct LiveTable {
    /// The disk's name.
    pub disk: String,
    /// The directory.
    pub dir: Dir,
}

/// A small file as it was read before it could go away.
#[derive(Clone, Debug)]
pub(super) struct SavedFile {
    name: &'static str,
    stat: Stat,
    bytes: Box<[u8]>,
}

/// A part as it was before it could go away.
#[derive(Clone, Debug)]
pub struct SavedPart {
    /// How many of its entries belong in a copy of it.
    entries: usize,
    /// Those that a freeze leaves out.
    left_out: Box<[SavedFile]>,
    /// What small files of it held, those that a freeze leaves out among them.
    pub(super) read: Arc<[ReadFile]>,
    /// What the frozen part will prove to be, where it was looked at ahead.
    pub(super) foreseen: Option<Box<Foreseen>>,
}

/// Parts, as far as they were there when they were read.
pub type SavedParts = HashMap<PartName, SavedPart>;

/// What came of the files that a freeze leaves out of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// The part in the snapshot has them.
    Taken,
    /// There are none: the part is of an old server.
    None,
    /// The part had gone before it could be asked.
    Unknown,
}

/// Reads what a freeze would leave out of each part.
///
/// Parts are given with the live directory that they are in. One that has gone meanwhile is passed over.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn save_left_out(parts: &[(&PartName, &Dir)]) -> Result<SavedParts, FsError> {
    parts
        .par_iter()
        .filter_map(|(name, table)| save(table, name).transpose().map(|saved| Ok(((*name).clone(), saved?))))
        .collect()
}

/// Reads what a freeze would leave out of a part; nothing where it has gone.
pub(super) fn save(table: &Dir, name: &PartName) -> Result<Option<SavedPart>, FsError> {
    let mut names = Names::default();
    let Some(part) = table.find_and_visit(name.as_str(), |name| names.add(name))? else { return Ok(None) };
    Ok(names.save(&part)?.map(|(saved, _)| saved))
}

/// [`save`], and a look ahead at a part that is frozen already.
pub(super) fn save_and_look(table: &Dir, name: &PartName) -> Result<Option<SavedPart>, FsError> {
    let Some((part, entries)) = table.find_and_list(name.as_str())? else { return Ok(None) };
    let mut names = Names::default();
    for entry in &entries {
        names.add(&entry.name);
    }
    let Some((mut saved, asked)) = names.save(&part)? else { return Ok(None) };
    if let Ok(Look::Seen(foreseen)) = Foreseen::look(&part, entries, Known { read: &saved.read, asked: &asked }) {
        saved.foreseen = Some(foreseen);
    }
    Ok(Some(saved))
}

/// What is in a live part, as far as it matters here.
#[derive(Default)]
struct Names {
    entries: usize,
    is_whole: bool,
    there: Vec<&'static str>,
}

impl Names {
    fn add(&mut self, name: &OsStr) {
        self.entries += usize::from(belongs(name));
        self.is_whole |= name == CHECKSUMS || name == PACKED;
        self.there.extend(LEFT_OUT.iter().chain(&READ_EARLY).filter(|known| name == **known));
    }

    /// Reads what is to be saved, and gives the inodes of what was read beside it.
    fn save(&self, part: &Dir) -> Result<Option<(SavedPart, Asked)>, FsError> {
        let is_there = |name: &&str| self.there.contains(name);
        let (mut left_out, mut known) = (Vec::new(), Vec::new());
        for name in LEFT_OUT.into_iter().filter(is_there) {
            if let Some((stat, bytes)) = part.find_with_stat(name, SMALL_BYTES)? {
                known.push((ReadFile::new(name, stat, &bytes), (name, stat)));
                left_out.push(SavedFile { name, stat, bytes: bytes.into() });
            }
        }
        known.extend(read_those(part, READ_EARLY.into_iter().filter(is_there)));
        let (read, asked): (Vec<_>, Asked) = known.into_iter().unzip();
        let (entries, left_out, read) = (self.entries, left_out.into(), read.into());
        // A listing without checksums was read while the part went away, and says nothing.
        Ok(self.is_whole.then_some((SavedPart { entries, left_out, read, foreseen: None }, asked)))
    }
}

/// A part of a live table; `None` where the server has taken it away.
fn find_part(table: &Dir, name: &PartName) -> Result<Option<Dir>, FsError> {
    table.find_beneath(Path::new(name.as_str()))
}

/// Links into a frozen part what its live part is known to have and its freeze to leave out, while the live part is
/// there: for parts to which [`take_left_out`] comes only much later.
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

/// Links saved files from the live part into this one, as far as they are there and not here, and tells which.
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

/// Sees to it that a frozen part has everything that its freeze left out: linked from the live part while it is there,
/// else written from what was saved of it. What it gets is added to `entries`, the listing of the part.
///
/// # Errors
/// If a file can be neither linked nor written.
pub fn take_left_out(
    live: &[LiveTable],
    part: &Dir,
    entries: &mut Vec<Entry>,
    name: &PartName,
    saved: Option<&SavedPart>,
) -> Result<LeftOut, FsError> {
    // What a freeze leaves out of a packed part, it leaves out of its archive.
    if entries.iter().any(|entry| entry.name == PACKED) {
        let is_linked = link_archives(&live.iter().map(|table| &table.dir).collect::<Vec<_>>(), part, entries, name)?;
        return Ok(if is_linked { LeftOut::Taken } else { LeftOut::Unknown });
    }
    let mut taker = Taker { part, before: entries.len(), entries };
    let left_out = saved.map_or(&[][..], |saved| &saved.left_out);
    if left_out.iter().any(|file| !taker.has(OsStr::new(file.name))) {
        let linked = |file: &SavedFile| {
            taker.entries.push(Entry { name: file.name.into(), inode: file.stat.inode, kind: Kind::File });
        };
        link_saved(live, part, name, left_out, linked)?;
    }
    // Fewer than were frozen: it was read while the server took the part away, and what it lacks says nothing.
    let mut was_there = saved.is_some_and(|saved| saved.entries >= taker.entries.len());
    // A frozen part has nothing that the live one has not: with as many entries it has them all, and the live part
    // need not be listed again.
    if saved.is_none_or(|saved| taker.entries.len() != saved.entries) {
        for table in live {
            was_there |= taker.link_all(&table.dir, name)?;
        }
    }
    for file in left_out {
        taker.write(file)?;
    }
    Ok(match (taker.has_added() || !left_out.is_empty(), was_there) {
        (true, _) => LeftOut::Taken,
        (false, true) => LeftOut::None,
        (false, false) => LeftOut::Unknown,
    })
}

/// A part in the snapshot, and the listing of it, while it gets what its freeze left out.
struct Taker<'a> {
    part: &'a Dir,
    entries: &'a mut Vec<Entry>,
    /// So many of them were there before.
    before: usize,
}

impl Taker<'_> {
    fn has(&self, name: &OsStr) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    fn has_added(&self) -> bool {
        self.entries.len() > self.before
    }

    /// Lists the live part, and links all that is not here. Whether the live part is still there.
    fn link_all(&mut self, table: &Dir, name: &PartName) -> Result<bool, FsError> {
        let Some((live_part, live_entries)) = table.find_and_list(name.as_str())? else { return Ok(false) };
        let is_whole = live_entries.iter().any(|entry| entry.name == CHECKSUMS || entry.name == PACKED);
        let here: HashSet<OsString> = self.entries.iter().map(|entry| entry.name.clone()).collect();
        for entry in live_entries {
            if entry.kind == Kind::File && belongs_in_a_copy(&entry) && !here.contains(&entry.name) {
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
            self.entries.push(Entry { name: file.name.into(), inode, kind: Kind::File });
        }
        Ok(())
    }
}

/// [`inspect_listed`] of a frozen part that was read in its live directory, and perhaps looked at there: what is known is
/// neither read nor asked again.
///
/// # Errors
/// As there.
pub fn inspect_frozen(dir: &Dir, mut entries: Vec<Entry>, saved: Option<SavedPart>) -> Result<Inspected, FsError> {
    let Some(SavedPart { read, foreseen, .. }) = saved else { return inspect_listed(dir, entries) };
    if let Some(foreseen) = foreseen
        && let Some(inspected) = foreseen.confirm(dir, &mut entries)?
    {
        return Ok(inspected);
    }
    inspect_known(dir, entries, read_checksums_file(dir)?, Known { read: &read, asked: &[] })
}

/// Links a live part into the snapshot. `None` where it has gone meanwhile; then nothing of it stays.
///
/// # Errors
/// If it is there and cannot be linked.
pub fn link_live_part(live: &LiveTable, table: &Dir, name: &PartName) -> Result<Option<Dir>, ExecError> {
    let Some(source) = live.dir.find_and_list(name.as_str())? else { return Ok(None) };
    match link_tree(source, table, name.as_str(), PART_DEPTH, &belongs_in_a_copy) {
        Ok(dir) => Ok(Some(dir)),
        Err(ExecError::Fs(error)) if error.kind() == ErrorKind::NotFound => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
