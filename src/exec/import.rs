//! Brings parts of a foreign tree into a snapshot: linked where links work, else copied, and compared with the list.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checksums::{Checksums, FileHash};
use crate::fs::{ContentDigest, CopyOptions, Dir, ErrorKind, FsError, Hashing, ReadOptions, Stat, if_found};
use crate::plan::{BackupChecksum, SourceFile};

use super::copied_part::CopyPartError;
use super::inspect::{CHECKSUMS, CHECKSUMS_LIMIT_BYTES};
use super::native_files::{HashedPart, hash_part};
use super::packed::PACKED;
use super::restore::{RestoreMode, RestorePartError, RestoredPart};
use super::whole::COLUMNS;

/// Opened directories of a tree: the files of a part are mostly in one directory.
#[derive(Debug)]
pub struct TreeDirs<'a> {
    root: &'a Dir,
    opened: HashMap<PathBuf, Dir>,
}

impl<'a> TreeDirs<'a> {
    /// Creates the set without opening anything.
    #[must_use]
    pub fn of(root: &'a Dir) -> Self {
        Self { root, opened: HashMap::new() }
    }

    /// Returns the directory that a file is in, given the path of the file beneath the tree; no symbolic link is
    /// followed.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn above(&mut self, path: &Path) -> Result<&Dir, FsError> {
        let above = path.parent().unwrap_or(Path::new(""));
        let dir = match self.opened.remove(above) {
            Some(dir) => dir,
            None => self.root.open_beneath(above)?,
        };
        Ok(self.opened.entry(above.to_owned()).or_insert(dir))
    }
}

/// Places parts whose files a list names one by one.
#[derive(Debug)]
pub struct ListedImporter<'a> {
    /// The tree.
    pub root: &'a Dir,
    /// How files may come from it.
    pub mode: RestoreMode,
    /// How bytes are copied.
    pub options: CopyOptions<'a>,
    links_refused: AtomicBool,
}

/// The mode of a file that has no bytes anywhere.
const EMPTY_MODE: u32 = 0o640;

impl<'a> ListedImporter<'a> {
    /// Creates an importer that has not yet learned whether links work.
    #[must_use]
    pub fn new(root: &'a Dir, mode: RestoreMode, options: CopyOptions<'a>) -> Self {
        Self { root, mode, options, links_refused: AtomicBool::new(false) }
    }

    /// Places the files of a part in a new directory `name` of `table`. Nothing is set on a linked file.
    ///
    /// # Errors
    /// If something cannot be read or written, or if links are required and do not work.
    pub fn place_part(&self, files: &[SourceFile], table: &Dir, name: &str) -> Result<RestoredPart, RestorePartError> {
        let mut placed = RestoredPart::default();
        table.create_dir(name, 0o750)?;
        let part = table.open_dir(name)?;
        let mut below: HashMap<&Path, Dir> = HashMap::new();
        let mut like: Option<Stat> = None;
        let mut dirs = TreeDirs::of(self.root);
        for file in files {
            let above = file.path.parent().unwrap_or(Path::new(""));
            let to = if let Some(dir) = below.get(above) {
                dir.clone()
            } else {
                let mut dir = part.clone();
                for component in above.components() {
                    dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
                }
                below.insert(above, dir.clone());
                dir
            };
            let file_name = file.path.file_name().unwrap_or_default();
            placed.files += 1;
            placed.bytes += file.bytes;
            let Some(from) = &file.from else {
                match &like {
                    Some(like) => to.write_copy(file_name, like, b"")?,
                    None => to.write_unsynced(file_name, EMPTY_MODE, b"")?,
                }
                continue;
            };
            let source = dirs.above(from)?;
            let source_name = from.file_name().unwrap_or_default();
            if like.is_none() {
                like = Some(source.stat(source_name)?);
                part.set_ownership(source.stat_self()?.ownership)?;
            }
            if self.mode != RestoreMode::Copy && !self.links_refused.load(Ordering::Relaxed) {
                match to.link_from(source, source_name, file_name) {
                    Ok(()) => {
                        placed.linked_files += 1;
                        continue;
                    }
                    Err(error) if self.mode == RestoreMode::Auto && wants_copy(&error) => {
                        // Any other error is the same for every file of this tree; only the link limit concerns a
                        // single file.
                        if error.kind() != ErrorKind::TooManyLinks {
                            self.links_refused.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let copied = to
                .copy_from(&self.options, source, source_name, file_name, Hashing::None)
                .map_err(CopyPartError::from)?;
            placed.cloned_files += u64::from(copied.is_clone);
            let path = file.path.to_string_lossy().into_owned();
            placed.unkept.extend(copied.unkept.into_iter().map(|unkept| (path.clone(), unkept)));
        }
        Ok(placed)
    }
}

fn wants_copy(error: &FsError) -> bool {
    matches!(error.kind(), ErrorKind::CrossDevice | ErrorKind::NoPermission | ErrorKind::TooManyLinks)
}

/// Describes the first way in which a placed part differs from its list; `None` if it does not differ. The hashes of
/// the list are compared with those of `checksums.txt`. Files that it does not cover are read, and so is every copied
/// file, because its bytes on the disk are new.
///
/// # Errors
/// If something cannot be read.
pub fn differs_from_list(part: &Dir, files: &[SourceFile], was_copied: bool) -> Result<Option<String>, FsError> {
    let options = ReadOptions { rate: None, advanced: &|_| () };
    let hashed = match hash_part(part, !was_copied, options)? {
        HashedPart::Files(hashed) => hashed,
        HashedPart::Encrypted => return Ok(Some("its files are encrypted".to_owned())),
    };
    let found: HashMap<&Path, (u64, FileHash)> =
        hashed.iter().map(|file| (Path::new(&file.path), (file.bytes, file.hash))).collect();
    for file in files {
        let Some((bytes, hash)) = found.get(file.path.as_path()) else {
            return Ok(Some(format!("its file {} is missing", file.path.display())));
        };
        let is_same = *bytes == file.bytes && (*bytes == 0 || checksum(*hash) == file.checksum);
        if !is_same {
            let path = file.path.display();
            return Ok(Some(format!("its file {path} is another one than the list of the backup says")));
        }
    }
    Ok(None)
}

/// The first file of a complete part that the list of a backup does not name: one that every part has, or one of its
/// `checksums.txt`, if that can be parsed. `None` if the list names all, or an archive that has them.
///
/// # Errors
/// If the `checksums.txt` cannot be read.
pub fn lacks_in_list(dirs: &mut TreeDirs<'_>, files: &[SourceFile]) -> Result<Option<String>, FsError> {
    let find = |name: &str| files.iter().find(|file| file.path == Path::new(name));
    if find(PACKED).is_some() {
        return Ok(None);
    }
    if let Some(lacked) = [CHECKSUMS, COLUMNS].into_iter().find(|name| find(name).is_none()) {
        return Ok(Some(format!("the list of the backup does not name its file {lacked}")));
    }
    let Some(from) = find(CHECKSUMS).and_then(|file| file.from.as_ref()) else { return Ok(None) };
    let text = dirs.above(from)?.read(from.file_name().unwrap_or_default(), CHECKSUMS_LIMIT_BYTES)?;
    let Ok(checksums) = Checksums::parse(&text) else { return Ok(None) };
    let tops: HashSet<&[u8]> = files.iter().filter_map(|file| file.path.iter().next()).map(OsStr::as_bytes).collect();
    let lacking = checksums.iter().find(|(name, _)| !tops.contains(name.as_bytes()));
    Ok(lacking.map(|(name, _)| format!("its file {name} is missing, which its {CHECKSUMS} lists")))
}

fn checksum(hash: FileHash) -> BackupChecksum {
    BackupChecksum(u128::from_le_bytes(hash.to_bytes()))
}

/// Whether a file that a list names has the size that the list gives and, if `is_read`, also its hash.
///
/// # Errors
/// If it cannot be read; a missing file is an answer, not an error.
pub fn is_as_listed(dirs: &mut TreeDirs<'_>, file: &SourceFile, is_read: bool) -> Result<bool, FsError> {
    let Some(from) = &file.from else { return Ok(true) };
    let Some(dir) = if_found(dirs.above(from))? else { return Ok(false) };
    let name = from.file_name().unwrap_or_default();
    let Some(stat) = dir.find(name)? else { return Ok(false) };
    if stat.kind != crate::fs::EntryKind::File || stat.size_bytes != file.bytes {
        return Ok(false);
    }
    if !is_read {
        return Ok(true);
    }
    let options = ReadOptions { rate: None, advanced: &|_| () };
    let (_, digest, _) = dir.hash_whole(name, Hashing::ClickHouse, options)?;
    Ok(matches!(digest, Some(ContentDigest::ClickHouse(hash)) if checksum(hash) == file.checksum))
}
