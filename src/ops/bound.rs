//! The server that a repository belongs to.

use crate::repo::{BoundServer, Repository};
use crate::server::{self, ServerIdentity};

use super::error::OpError;

/// A server as a repository records it.
pub(super) fn bound_server(identity: &ServerIdentity, disks: &[server::Disk]) -> BoundServer {
    BoundServer {
        data_path: disks.first().map(|disk| disk.path.to_string_lossy().into_owned()).unwrap_or_default(),
        uuid: identity.stable_uuid().map(str::to_owned),
    }
}

/// `data path /var/lib/clickhouse/ and UUID …`.
pub(super) fn describe(server: &BoundServer) -> String {
    match &server.uuid {
        Some(uuid) => format!("data path {} and UUID {uuid}", server.data_path),
        None => format!("data path {}", server.data_path),
    }
}

/// Fails if the repository belongs to another server.
pub(super) fn same_server(repository: &Repository, found: &BoundServer, allow_other: bool) -> Result<(), OpError> {
    match repository.server() {
        Some(bound) if !allow_other && !is_same(bound, found) => {
            Err(OpError::OtherServer { bound: describe(bound), found: describe(found) })
        }
        _ => Ok(()),
    }
}

/// Fails if a snapshot of the server `found` is to be brought into the repository of another server. Either may have none
/// yet.
pub(super) fn same_server_for_copy(
    bound: Option<&BoundServer>,
    found: Option<&BoundServer>,
    allow_other: bool,
) -> Result<(), OpError> {
    match (bound, found) {
        (Some(bound), Some(found)) if !allow_other && !is_same(bound, found) => {
            Err(OpError::CopyOfOtherServer { bound: describe(bound), found: describe(found) })
        }
        _ => Ok(()),
    }
}

/// Whether two servers are the same one. A UUID that only one of them has proves nothing: servers have a UUID only
/// since some version.
pub(super) fn is_same(bound: &BoundServer, found: &BoundServer) -> bool {
    let uuids_differ = matches!((&bound.uuid, &found.uuid), (Some(a), Some(b)) if a != b);
    bound.data_path == found.data_path && !uuids_differ
}
