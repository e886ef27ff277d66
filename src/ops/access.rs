//! Users, roles, quotas, policies and settings profiles: those of a snapshot, and those of a server.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fs::Dir;
use crate::model::SnapshotId;
use crate::plan::{
    AccessEntity, AccessNames, AccessStep, Existing, LiveEntity, LiveList, ObjectKind, SourceAccess, TargetAccess,
    UnreadableAccess, sequence,
};
use crate::repo::{Manifest, Repository};
use crate::server::{self, Server, ServerError, code};

use super::disks::{DEFINITION_LIMIT_BYTES, LocalDisks};
use super::error::OpError;
use super::read;

/// The system table of each kind.
const LISTS: [(ObjectKind, &str); 6] = [
    (ObjectKind::User, "users"),
    (ObjectKind::Role, "roles"),
    (ObjectKind::Quota, "quotas"),
    (ObjectKind::RowPolicy, "row_policies"),
    (ObjectKind::SettingsProfile, "settings_profiles"),
    (ObjectKind::MaskingPolicy, "masking_policies"),
];

/// The users, roles … of a snapshot, as statements.
#[derive(Debug)]
pub struct ShownAccess {
    /// All statements, in an order in which a server takes them.
    pub steps: Vec<AccessStep>,
    /// Kinds and names, in the order in which a person reads them.
    pub entities: Vec<(ObjectKind, String)>,
    /// Files that are no such statements.
    pub unreadable: Vec<UnreadableAccess>,
    /// References in statements that have no name: kind and name of what refers, and the UUID.
    pub unresolved: Vec<(ObjectKind, String, String)>,
}

/// Reads the users, roles … of a snapshot.
///
/// # Errors
/// If the snapshot cannot be read.
pub fn show_access(repository: &Repository, id: SnapshotId, manifest: &Manifest) -> Result<ShownAccess, OpError> {
    let source = source_access(&repository.snapshot_dir(id)?, manifest);
    let names = AccessNames::new(&source.entities);
    let all: Vec<(&AccessEntity, Existing)> = source.entities.iter().map(|one| (one, Existing::Refused)).collect();
    let unresolved = source.entities.iter().flat_map(|entity| {
        let of = |id: String| (entity.kind(), entity.name().to_owned(), id);
        names.unresolved(entity).into_iter().map(of).collect::<Vec<_>>()
    });
    Ok(ShownAccess {
        steps: sequence(&all, &names),
        entities: source.entities.iter().map(AccessEntity::key).collect(),
        unresolved: unresolved.collect(),
        unreadable: source.unreadable,
    })
}

/// What the snapshot in `dir` has in `access/`.
pub(super) fn source_access(dir: &Dir, manifest: &Manifest) -> SourceAccess {
    let files = manifest.metadata.iter().map(|file| file.path.clone()).filter(|path| path.starts_with("access/"));
    SourceAccess::from_files(files.map(|path| {
        let content = read::metadata(dir, manifest, &path).map_err(|error| crate::monitor::chain(&error));
        (path, content)
    }))
}

/// The users, roles … of a server, with the definitions that stand in its `access/`.
///
/// # Errors
/// If the server does not answer. What it refuses to list is unknown.
pub(super) fn live_access(server: &Server, local: &LocalDisks) -> Result<TargetAccess, OpError> {
    let mut definitions = live_definitions(local);
    let mut target = TargetAccess::default();
    for (kind, table) in LISTS {
        let list = match server::access_entities(server, table) {
            Ok(None) => LiveList::Absent,
            Ok(Some(rows)) => LiveList::Listed(
                rows.into_iter()
                    .map(|row| {
                        let id = row.id.to_ascii_lowercase();
                        let entity = definitions.remove(&id);
                        let entity = entity.filter(|entity| entity.kind() == kind && entity.name() == row.name);
                        (row.name, LiveEntity { id, entity })
                    })
                    .collect(),
            ),
            Err(ServerError::Exception { code: code::ACCESS_DENIED, .. }) => LiveList::Unknown(
                "this user may not list users and roles (GRANT SHOW ACCESS ON *.* allows it)".to_owned(),
            ),
            Err(error @ ServerError::Exception { .. }) => LiveList::Unknown(crate::monitor::chain(&error)),
            Err(error) => return Err(error.into()),
        };
        target.lists.insert(kind, list);
    }
    Ok(target)
}

/// The files in the server's `access/` that can be read here, by UUID.
fn live_definitions(local: &LocalDisks) -> BTreeMap<String, AccessEntity> {
    let found = local.own().and_then(|own| own.dir.find_beneath(Path::new("access")).ok().flatten());
    let Some(dir) = found else { return BTreeMap::new() };
    let names = dir.entries().unwrap_or_default().into_iter().filter_map(|entry| entry.name.into_string().ok());
    let read = |name: String| {
        let uuid = name.strip_suffix(".sql")?;
        let text = dir.read(&name, DEFINITION_LIMIT_BYTES).ok()?;
        let entity = AccessEntity::parse(uuid, &text).ok()?;
        Some((entity.id.clone(), entity))
    };
    names.filter_map(read).collect()
}
