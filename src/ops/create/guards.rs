//! Checks that must pass before anything is frozen.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use crate::exec::PlaceMode;
use crate::fs::{self, Dir, EntryKind, FsError};
use crate::model::{CatalogPart, PathMap, RoomNeed, Table};
use crate::ops::copy_rules::IdsMode;
use crate::ops::copying::InterruptedCopy;
use crate::ops::error::{Copies, OpError};
use crate::ops::init::{SERVER_DIRECTORIES, resolved};
use crate::ops::kept_metadata::{KeptMetadata, MetadataSample};
use crate::ops::room::check_room;
use crate::plan::{CreatePlan, TableFreeze};
use crate::repo::{Index, Repository, Sources};
use crate::server::Disk;

use crate::ops::disks::{LocalDisk, LocalDisks, foresee_link, probe_link};

/// Checks that the repository lies in no directory in which ClickHouse deletes unknown files.
pub(in crate::ops) fn repository_is_outside(
    repository: &Repository,
    disks: &[Disk],
    paths: &PathMap,
) -> Result<(), OpError> {
    let path = resolved(repository.path());
    for disk in disks.iter().filter(|disk| disk.is_local()) {
        for name in SERVER_DIRECTORIES {
            let inside = resolved(&paths.local(&disk.path)).join(name);
            if path.starts_with(&inside) {
                return Err(OpError::RepositoryInside { path, inside });
            }
        }
    }
    Ok(())
}

/// Checks that the repository's filesystem has at least this much space left.
pub(in crate::ops) fn enough_space(repository: &Repository, wanted_bytes: u64) -> Result<(), OpError> {
    let free_bytes = fs::space(repository.dir())?.free_bytes;
    if free_bytes < wanted_bytes {
        let path = repository.path().to_owned();
        return Err(OpError::LowSpace { path, free_bytes, copies: None, min_free_bytes: wanted_bytes });
    }
    Ok(())
}

/// Checks that the `shadow` of each disk is a directory or missing. Nothing behind a symbolic link would be taken or
/// released, so nothing may be frozen there either.
pub(in crate::ops) fn shadows_are_directories(local: &LocalDisks) -> Result<(), OpError> {
    for disk in local.iter() {
        if disk.dir.find("shadow")?.is_some_and(|stat| stat.kind != EntryKind::Directory) {
            let path = disk.dir.path().join("shadow");
            return Err(OpError::ShadowElsewhere { disk: disk.disk.name.clone(), path });
        }
    }
    Ok(())
}

/// The disks whose parts will be copied, judging by the mounts, before any file is linked.
pub(in crate::ops) fn foreseen_copies(
    local: &LocalDisks,
    repository: &Repository,
    place: PlaceMode,
) -> Result<BTreeSet<String>, FsError> {
    let mut copied = BTreeSet::new();
    for disk in local.iter() {
        let is_copied = match place {
            PlaceMode::Copy => true,
            PlaceMode::Auto => !fs::are_on_one_mount(&disk.dir, repository.dir())?,
            PlaceMode::Rename | PlaceMode::Link => false,
        };
        if is_copied {
            copied.insert(disk.disk.name.clone());
        }
    }
    Ok(copied)
}

/// Judges without a write which disks' parts are copied, as [`copied_disks`] finds out with a link.
///
/// # Errors
/// If parts of a disk have to be linked, and certainly cannot be.
pub(in crate::ops) fn foreseen_links(
    local: &LocalDisks,
    plan: &CreatePlan,
    repository: &Repository,
    place: PlaceMode,
) -> Result<BTreeSet<String>, OpError> {
    disks_to_copy(local, repository.dir(), place, |disk| foresee_link(local, disk, parts(plan), repository))
}

/// The disks whose parts are copied into the directory `into`: all if requested; else, with `--place auto`, those that
/// `can_link` finds on another filesystem. Where it finds no part to judge by, though one may come soon, the mounts
/// show whether a link would work.
fn disks_to_copy(
    local: &LocalDisks,
    into: &Dir,
    place: PlaceMode,
    can_link: impl Fn(&LocalDisk) -> Result<bool, OpError>,
) -> Result<BTreeSet<String>, OpError> {
    let mut copied = BTreeSet::new();
    for disk in local.iter() {
        let is_copied = place == PlaceMode::Copy
            || match can_link(disk) {
                Ok(true) => false,
                Ok(false) => place == PlaceMode::Auto && !fs::are_on_one_mount(&disk.dir, into)?,
                Err(OpError::OtherFilesystem { .. }) if place == PlaceMode::Auto => true,
                Err(error) => return Err(error),
            };
        if is_copied {
            copied.insert(disk.disk.name.clone());
        }
    }
    Ok(copied)
}

/// The disks among the copied ones whose copies take space of their own. `clones` says whether files in the repository
/// can share blocks, if that is known.
pub(in crate::ops) fn disks_taking_space(
    local: &LocalDisks,
    copied: &BTreeSet<String>,
    repository: &Repository,
    (place, clones): (PlaceMode, Option<bool>),
) -> Result<BTreeSet<String>, FsError> {
    let mut taking = copied.clone();
    if place == PlaceMode::Copy || clones == Some(false) {
        return Ok(taking);
    }
    for disk in local.iter().filter(|disk| copied.contains(&disk.disk.name)) {
        if fs::may_share_blocks(&disk.dir, repository.dir())? {
            taking.remove(&disk.disk.name);
        }
    }
    Ok(taking)
}

/// The disks whose parts are copied: all if requested; else, with `--place auto`, those from which no file can be
/// linked into the repository.
pub(in crate::ops) fn copied_disks(
    local: &LocalDisks,
    plan: &CreatePlan,
    incoming: &Dir,
    place: PlaceMode,
) -> Result<BTreeSet<String>, OpError> {
    disks_to_copy(local, incoming, place, |disk| probe_link(local, disk, parts(plan), incoming))
}

fn parts(plan: &CreatePlan) -> impl Iterator<Item = &CatalogPart> {
    let unlisted = plan.unlisted.iter().flat_map(|unlisted| unlisted.table.parts.iter());
    plan.freeze.iter().flat_map(TableFreeze::parts).chain(unlisted)
}

/// The metadata that the repository's filesystem keeps of files from these disks, probed with a scratch file before
/// anything is frozen.
///
/// With `--ids keep` all of it must be kept. Attributes and ACLs, which only some files have, are checked here with one
/// part of each disk, and later with each file.
pub(in crate::ops) fn what_is_kept(
    local: &LocalDisks,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    incoming: &Dir,
    ids: IdsMode,
) -> Result<KeptMetadata, OpError> {
    let mut kept = KeptMetadata::default();
    for disk in local.iter().filter(|disk| copied.contains(&disk.disk.name)) {
        let of_part = parts(plan).filter(|part| part.disk == disk.disk.name).find_map(|part| {
            let dir = local.open_live(&part.path()).ok().flatten()?;
            let stat = dir.find("checksums.txt").ok().flatten()?;
            Some(MetadataSample::OfFiles { dir, ownership: stat.ownership })
        });
        kept.ask(incoming, ids, &of_part.unwrap_or_else(|| MetadataSample::OfDirectory { dir: disk.dir.clone() }))?;
    }
    Ok(kept)
}

/// Parts on these disks that `counts` accepts.
fn copied_parts<'a>(
    plan: &'a CreatePlan,
    copied: &'a BTreeSet<String>,
    counts: impl Fn(&Table, &CatalogPart) -> bool + 'a,
) -> impl Iterator<Item = (&'a Table, &'a CatalogPart)> {
    let parts = plan.freeze.iter().flat_map(|freeze| freeze.parts().map(|part| (&freeze.table, part)));
    parts.filter(|(_, part)| copied.contains(part.disk.as_str())).filter(move |(table, part)| counts(table, part))
}

/// Whether a part cannot be linked: no earlier snapshot has it, and no interrupted run copied it.
fn is_new(sources: &Sources, leftovers: &[InterruptedCopy], table: &Table, part: &CatalogPart) -> bool {
    let owner = (table.name(), table.key.uuid.as_ref());
    !leftovers.iter().any(|leftover| leftover.has(table.name(), &part.name))
        && sources.of_part(owner, &part.name, part.fingerprint).is_empty()
}

/// Bytes to be copied, estimated beforehand: some single files may turn out to be in the repository. This total scales
/// the progress of placing while files are copied, because one part may be most of it.
pub(super) fn copied_bytes(
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    sources: Option<&Sources>,
    leftovers: &[InterruptedCopy],
) -> u64 {
    let Some(sources) = sources else { return 0 };
    let parts = copied_parts(plan, copied, |table, part| is_new(sources, leftovers, table, part));
    // The server's figures, which may have any value.
    parts.fold(0, |sum, (_, part)| sum.saturating_add(part.bytes))
}

/// Works as [`room_for_copies`], and writes nothing: not even a cache of what earlier snapshots have.
pub(in crate::ops) fn foreseen_room(
    repository: &Repository,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    min_free_bytes: u64,
) -> Result<(), OpError> {
    let sources = || Ok(Sources::in_memory(repository, &Index::in_memory(repository)?)?);
    check_copies(repository, plan, copied, (&sources, &[]), min_free_bytes)
}

/// Checks that the copies fit, judged by the parts that are known to have nothing to link from.
pub(in crate::ops) fn room_for_copies(
    repository: &Repository,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    (sources, leftovers): (&Sources, &[InterruptedCopy]),
    min_free_bytes: u64,
) -> Result<(), OpError> {
    check_copies(repository, plan, copied, (&|| Ok(sources), leftovers), min_free_bytes)
}

/// Checks that the copies fit. The sources are wanted only if the copies would not fit without any.
fn check_copies<S: Borrow<Sources>>(
    repository: &Repository,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    (sources, leftovers): (&dyn Fn() -> Result<S, OpError>, &[InterruptedCopy]),
    min_free_bytes: u64,
) -> Result<(), OpError> {
    let room = fs::space(repository.dir())?.room();
    let needed = |has_nothing: &dyn Fn(&Table, &CatalogPart) -> bool| -> (RoomNeed, Option<Copies>) {
        let (mut need, mut parts) = (RoomNeed::default(), 0);
        let mut largest: Option<(&Table, &CatalogPart, u64)> = None;
        for (table, part) in copied_parts(plan, copied, |_, _| true) {
            // Every snapshot has directories of its own.
            need += room.of_directory(part.files);
            if !has_nothing(table, part) {
                continue;
            }
            parts += 1;
            let of_files = room.of_files(part.files, part.bytes);
            need += of_files;
            if largest.is_none_or(|(.., bytes)| bytes < of_files.bytes) {
                largest = Some((table, part, of_files.bytes));
            }
        }
        let what = largest.map(|(table, part, largest_bytes)| {
            let largest = (table.name().clone(), part.name.clone());
            Copies { parts, bytes: need.bytes, largest, largest_bytes }
        });
        (need, what)
    };
    if room.lack(needed(&|_, _| true).0, min_free_bytes).is_none() {
        return Ok(());
    }
    let sources = sources()?;
    let sources = sources.borrow();
    let needed = sources.at_once(|| needed(&|table, part| is_new(sources, leftovers, table, part)));
    check_room((repository.path(), room), needed, min_free_bytes)
}
