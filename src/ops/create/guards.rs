//! What must hold before anything is frozen.

use std::collections::BTreeSet;

use crate::exec::{Keeping, PlaceMode};
use crate::fs::{self, Dir, Kind};
use crate::model::{Part, PathMap, Table, TableName};
use crate::ops::error::{Copies, OpError};
use crate::ops::init::{SERVER_DIRECTORIES, resolved};
use crate::plan::{CreatePlan, TableFreeze};
use crate::repo::{Repository, Sources};
use crate::server::Disk;

use super::request::IdsMode;
use crate::ops::disks::{LocalDisks, probe_link};

/// The repository lies in none of the directories in which ClickHouse deletes what it does not know.
pub(super) fn repository_is_outside(repository: &Repository, disks: &[Disk], paths: &PathMap) -> Result<(), OpError> {
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

/// The repository's filesystem has at least this much space left.
pub(super) fn enough_space(repository: &Repository, wanted_bytes: u64) -> Result<(), OpError> {
    let free_bytes = fs::space(repository.dir())?.free_bytes;
    if free_bytes < wanted_bytes {
        let path = repository.path().to_owned();
        return Err(OpError::LowSpace { path, free_bytes, copies: None, min_free_bytes: wanted_bytes });
    }
    Ok(())
}

/// The `shadow` of each disk is a directory, or missing: behind a symbolic link nothing would be taken or released, so
/// nothing must be frozen either.
pub(super) fn shadows_are_directories(local: &LocalDisks) -> Result<(), OpError> {
    for disk in local.iter() {
        if disk.dir.find("shadow")?.is_some_and(|stat| stat.kind != Kind::Directory) {
            let path = disk.dir.path().join("shadow");
            return Err(OpError::ShadowElsewhere { disk: disk.disk.name.clone(), path });
        }
    }
    Ok(())
}

/// The disks whose parts are copied: all of them if that was asked for; else, with `--place auto`, those from which no file
/// can be linked into the repository.
pub(super) fn copied_disks(
    local: &LocalDisks,
    plan: &CreatePlan,
    incoming: &Dir,
    place: PlaceMode,
) -> Result<BTreeSet<String>, OpError> {
    let mut copied = BTreeSet::new();
    for disk in local.iter() {
        let is_copied = place == PlaceMode::Copy
            || match probe_link(local, disk, parts(plan), incoming) {
                Ok(true) => false,
                // It has no part to ask with, but may have one soon: mounts tell what a link would.
                Ok(false) => place == PlaceMode::Auto && fs::mount_of(&disk.dir)? != fs::mount_of(incoming)?,
                Err(OpError::OtherFilesystem { .. }) if place == PlaceMode::Auto => true,
                Err(error) => return Err(error),
            };
        if is_copied {
            copied.insert(disk.disk.name.clone());
        }
    }
    Ok(copied)
}

fn parts(plan: &CreatePlan) -> impl Iterator<Item = &Part> {
    let unlisted = plan.unlisted.iter().flat_map(|unlisted| unlisted.table.parts.iter());
    plan.freeze.iter().flat_map(TableFreeze::parts).chain(unlisted)
}

/// What the repository's filesystem keeps of files from these disks, asked with a scratch file before anything is frozen.
///
/// With `--ids keep` all must be kept. What only some files have, attributes and ACLs, is looked for in one part of each
/// disk here, and seen again with each file.
pub(super) fn what_is_kept(
    local: &LocalDisks,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    incoming: &Dir,
    ids: IdsMode,
) -> Result<(Keeping, bool), OpError> {
    let (mut keeping, mut clones) = (Keeping::ALL, false);
    for disk in local.iter().filter(|disk| copied.contains(&disk.disk.name)) {
        let sample = parts(plan).filter(|part| part.disk == disk.disk.name).find_map(|part| {
            let dir = local.open_live(&part.path()).ok().flatten()?;
            let stat = dir.find("checksums.txt").ok().flatten()?;
            Some((dir, stat.ownership))
        });
        let ownership = match &sample {
            Some((_, ownership)) => *ownership,
            None => disk.dir.stat_self()?.ownership,
        };
        let can = fs::can_keep(incoming, (ownership.uid, ownership.gid))?;
        if !can.hard_links {
            return Err(OpError::NoHardLinks {
                path: incoming.path().ancestors().nth(2).unwrap_or(incoming.path()).to_owned(),
            });
        }
        clones |= can.clones;
        keeping.owner &= can.owner;
        keeping.mode &= can.mode;
        keeping.time &= can.nanoseconds;
        if ids == IdsMode::Record {
            keeping.xattrs &= can.user_xattrs && can.acls;
            continue;
        }
        let dir = sample.as_ref().map_or(&disk.dir, |(dir, _)| dir);
        let cannot = |what: String| Err(OpError::CannotKeep { path: dir.path().to_owned(), what });
        if !can.owner {
            return cannot(format!("owner and group {}:{}", ownership.uid, ownership.gid));
        }
        if !can.mode {
            return cannot("permissions".to_owned());
        }
        if !can.nanoseconds {
            return cannot("modification times to the nanosecond".to_owned());
        }
        if let Some((dir, _)) = &sample {
            for entry in dir.entries_if_there()?.iter().filter(|entry| entry.kind == Kind::File) {
                let Ok(xattrs) = dir.xattrs_of(&entry.name) else { continue };
                let is_unkept = |name: &str| {
                    (!can.acls && name.starts_with("system.posix_acl"))
                        || (!can.user_xattrs && name.starts_with("user."))
                };
                if let Some((name, _)) = xattrs.iter().find(|(name, _)| is_unkept(name)) {
                    return cannot(format!("attribute {name}"));
                }
            }
        }
    }
    Ok((keeping, clones))
}

/// There is room for what will be copied, as far as that is known before: parts for which there is nothing to link from.
pub(super) fn room_for_copies(
    repository: &Repository,
    plan: &CreatePlan,
    copied: &BTreeSet<String>,
    (sources, is_left): (&Sources, impl Fn(&TableName, &Part) -> bool),
    min_free_bytes: u64,
) -> Result<(), OpError> {
    let free_bytes = fs::space(repository.dir())?.free_bytes;
    let wanted = |counts: &dyn Fn(&Table, &Part) -> bool| -> Option<Copies> {
        let parts = plan.freeze.iter().flat_map(|freeze| freeze.parts().map(|part| (&freeze.table, part)));
        let parts: Vec<(&Table, &Part)> = parts
            .filter(|(_, part)| copied.contains(part.disk.as_str()))
            .filter(|(table, part)| counts(table, part))
            .collect();
        let (table, largest) = parts.iter().max_by_key(|(_, part)| part.bytes)?;
        Some(Copies {
            parts: parts.len() as u64,
            // Figures of a server's, which may be any.
            bytes: parts.iter().fold(0, |sum, (_, part)| sum.saturating_add(part.bytes)),
            largest: (table.name().clone(), largest.name.clone()),
            largest_bytes: largest.bytes,
        })
    };
    let fits = |copies: &Option<Copies>| {
        let bytes = copies.as_ref().map_or(0, |copies| copies.bytes);
        bytes.saturating_add(min_free_bytes) <= free_bytes
    };
    if fits(&wanted(&|_, _| true)) {
        return Ok(());
    }
    let is_new = |table: &Table, part: &Part| {
        let owner = (table.name(), table.key.uuid.as_ref());
        !is_left(table.name(), part) && sources.of_part(owner, &part.name, part.fingerprint).is_empty()
    };
    let needed = wanted(&is_new);
    if fits(&needed) {
        return Ok(());
    }
    Err(OpError::LowSpace {
        path: repository.path().to_owned(),
        free_bytes,
        copies: needed.map(Box::new),
        min_free_bytes,
    })
}
