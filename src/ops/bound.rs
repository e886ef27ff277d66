//! The server that a repository belongs to.

use crate::repo::{BoundServer, Repository};
use crate::server::{self, Identity};

use super::error::OpError;

/// A server as a repository knows it.
pub(super) fn bound_server(identity: &Identity, disks: &[server::Disk]) -> BoundServer {
    BoundServer {
        data_path: disks.first().map(|disk| disk.path.to_string_lossy().into_owned()).unwrap_or_default(),
        uuid: identity.stable_uuid().map(str::to_owned),
    }
}

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

/// Whether two servers are the same one. A UUID that only one of them has tells nothing: servers have had one only
/// since some version.
pub(super) fn is_same(bound: &BoundServer, found: &BoundServer) -> bool {
    let uuids_differ = matches!((&bound.uuid, &found.uuid), (Some(a), Some(b)) if a != b);
    bound.data_path == found.data_path && !uuids_differ
}
