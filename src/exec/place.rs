//! Places frozen parts in the snapshot: renamed where that works, else linked file by file.

use std::ffi::OsStr;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError, Stat};
use crate::model::{PartName, Placement};

use super::ExecError;

/// The methods of placing that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceMode {
    /// Rename, else link; on another filesystem reflink, else copy.
    Auto,
    /// Rename only.
    Rename,
    /// Link only.
    Link,
    /// Copy, whatever else would work.
    Copy,
}

impl PlaceMode {
    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Copy => "copy",
        }
    }
}

/// A part that was placed in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPart {
    /// Its name.
    pub name: PartName,
    /// How it was placed.
    pub placement: Placement,
}

/// Places a whole table in one step: the directory `shadow_name` of `shadow`, of one table on one disk in a shadow of
/// ours, replaces the empty directory `name` of `database`, and takes over its owner and mode.
///
/// Returns `None`, and changes nothing, if that does not work and [`place_parts`] must find out what does.
///
/// # Errors
/// If something in the shadow is not a part, or the filesystem fails otherwise.
pub fn place_table(
    shadow: &Dir,
    shadow_name: &OsStr,
    database: &Dir,
    name: &str,
) -> Result<Option<(Dir, Vec<PlacedPart>)>, ExecError> {
    let (frozen, entries) = shadow.open_and_list(shadow_name)?;
    let (replaced, present) = database.open_and_list(name)?;
    if !present.is_empty() || entries.iter().any(|entry| entry.kind != EntryKind::Directory) {
        return Ok(None);
    }
    let renamed = |entry| Ok(PlacedPart { name: part_name(&frozen, entry)?, placement: Placement::Renamed });
    let placed = entries.iter().map(renamed).collect::<Result<Vec<_>, ExecError>>()?;
    let ownership = replaced.stat_self()?.ownership;
    match database.rename_from(shadow, shadow_name, name) {
        Ok(()) => {}
        Err(error) if wants_links(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let table = database.open_dir(name)?;
    if table.stat_self()?.ownership != ownership {
        table.set_ownership(ownership)?;
    }
    Ok(Some((table, placed)))
}

/// Whether to try links after this error. A rename moves the entry "..": it needs more rights than a link, and some
/// mounts refuse it.
fn wants_links(error: &FsError) -> bool {
    matches!(error.kind(), ErrorKind::CrossDevice | ErrorKind::NoPermission)
}

/// Places every part of `shadow`, the directory of one table on one disk in a shadow of ours, into `table`. Parts are
/// linked in the current pool, each by one thread.
///
/// # Errors
/// If a part can be neither renamed nor linked; the parts before it are then in the snapshot, the others in the shadow.
pub fn place_parts(shadow: &Dir, table: &Dir, mode: PlaceMode) -> Result<Vec<PlacedPart>, ExecError> {
    let mut placed = Vec::new();
    let mut to_link = Vec::new();
    for entry in shadow.entries_with_kind()? {
        if entry.kind != EntryKind::Directory {
            continue;
        }
        let name = part_name(shadow, &entry)?;
        // Parts to copy are handled elsewhere: see `PartCopier`.
        let renames = matches!(mode, PlaceMode::Rename | PlaceMode::Auto) && to_link.is_empty();
        match renames.then(|| table.rename_from(shadow, &entry.name, &entry.name)) {
            Some(Ok(())) => placed.push(PlacedPart { name, placement: Placement::Renamed }),
            Some(Err(error)) if mode != PlaceMode::Auto || !wants_links(&error) => return Err(error.into()),
            Some(Err(_)) | None => to_link.push((name, entry)),
        }
    }
    let link = |(name, entry): (PartName, Entry)| -> Result<PlacedPart, ExecError> {
        Ok(PlacedPart { name, placement: link_part(shadow, table, &entry)? })
    };
    placed.extend(to_link.into_par_iter().map(link).collect::<Result<Vec<_>, _>>()?);
    Ok(placed)
}

/// The name of a part's directory in `dir`.
///
/// # Errors
/// If no server makes a part with this name.
pub fn part_name(dir: &Dir, entry: &Entry) -> Result<PartName, ExecError> {
    let name = entry.name.to_str().and_then(|name| PartName::try_from(name.to_owned()).ok());
    name.ok_or_else(|| ExecError::Foreign { path: dir.path().join(&entry.name), what: "not named like a part" })
}

fn link_part(shadow: &Dir, table: &Dir, entry: &Entry) -> Result<Placement, ExecError> {
    link_tree(shadow.open_and_list(&entry.name)?, table, &entry.name.to_string_lossy(), PART_DEPTH, &|_| true)?;
    Ok(Placement::Linked)
}

/// Directory levels below a part: its projections, and room for what a newer server may nest in them.
pub(super) const PART_DEPTH: usize = 4;

/// Links every file of the directory `from`, given with its listing, and of the directories `depth` levels below it, into a
/// new directory `name` of `to`.
///
/// The directories get owner, group, mode and modification time of their sources. Nothing is set on a file.
pub(super) fn link_tree(
    (from, entries): (Dir, Vec<Entry>),
    to: &Dir,
    name: &str,
    depth: usize,
    wanted: &dyn Fn(&Entry) -> bool,
) -> Result<Dir, ExecError> {
    let source = from.stat_self()?;
    let target = make_like(&source, to, name)?;
    for entry in entries {
        let Some(entry_name) = entry.name.to_str() else {
            return Err(ExecError::Foreign { path: from.path().join(&entry.name), what: "not named like a file" });
        };
        match entry.kind {
            _ if !wanted(&entry) => {}
            EntryKind::File => target.link_from(&from, entry_name, entry_name)?,
            EntryKind::Directory if depth == 0 => {
                return Err(ExecError::Foreign { path: from.path().join(entry_name), what: "a directory too deep" });
            }
            EntryKind::Directory => {
                drop(link_tree(from.open_and_list(entry_name)?, &target, entry_name, depth - 1, wanted)?);
            }
            _ => {
                let path = from.path().join(entry_name);
                return Err(ExecError::Foreign { path, what: "neither a file nor a directory" });
            }
        }
    }
    apply_source_metadata(&source, &target)?;
    Ok(target)
}

/// Creates a directory `name` in `to` for the one whose inode is `source`, so that it can be filled.
pub(super) fn make_like(source: &Stat, to: &Dir, name: &str) -> Result<Dir, FsError> {
    to.create_dir(name, source.ownership.mode | 0o700)?;
    to.open_dir(name)
}

/// Gives a directory that was created here the owner, group, mode and modification time of its source.
pub(super) fn apply_source_metadata(source: &Stat, target: &Dir) -> Result<(), FsError> {
    target.set_ownership(source.ownership)?;
    target.set_modified(source.modified)
}
