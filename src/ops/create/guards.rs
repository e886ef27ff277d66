//! What must hold before anything is frozen.

use crate::fs::{self, Dir, Kind};
use crate::model::PathMap;
use crate::ops::error::OpError;
use crate::ops::init::{SERVER_DIRECTORIES, resolved};
use crate::plan::CreatePlan;
use crate::repo::{BoundServer, Repository};
use crate::server::Disk;

use crate::ops::disks::{LocalDisks, probe_link};

/// The repository belongs to this server, or to none yet.
pub(super) fn same_server(repository: &Repository, found: &BoundServer, allow_other: bool) -> Result<(), OpError> {
    let describe = |server: &BoundServer| match &server.uuid {
        Some(uuid) => format!("data path {} and UUID {uuid}", server.data_path),
        None => format!("data path {}", server.data_path),
    };
    match repository.server() {
        Some(bound) if !allow_other && !is_same(bound, found) => {
            Err(OpError::OtherServer { bound: describe(bound), found: describe(found) })
        }
        _ => Ok(()),
    }
}

/// A UUID that only one of them has tells nothing: servers have had one only since some version.
fn is_same(bound: &BoundServer, found: &BoundServer) -> bool {
    let uuids_differ = matches!((&bound.uuid, &found.uuid), (Some(a), Some(b)) if a != b);
    bound.data_path == found.data_path && !uuids_differ
}

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
        return Err(OpError::LowSpace { path: repository.path().to_owned(), free_bytes, wanted_bytes });
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

/// From each disk that has parts to take, a file can be linked into the repository.
pub(super) fn probe_links(local: &LocalDisks, plan: &CreatePlan, incoming: &Dir) -> Result<(), OpError> {
    for disk in local.iter() {
        let parts = plan.freeze.iter().flat_map(crate::plan::TableFreeze::parts);
        probe_link(local, disk, parts, incoming)?;
    }
    Ok(())
}
