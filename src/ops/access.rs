//! Users, roles, quotas, policies and settings profiles: those of a snapshot, and those of a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::fs::Dir;
use crate::model::SnapshotId;
use crate::plan::{
    AccessEntity, AccessNames, AccessStep, Existing, LiveEntity, LiveList, ObjectKind, ServerConfig, SourceAccess,
    StateSources, TargetAccess, UnreadableAccess, sequence, state_places,
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
#[non_exhaustive]
pub struct ShownAccess {
    /// All statements, in an order in which a server accepts them.
    pub steps: Vec<AccessStep>,
    /// Kinds and names, in the order in which a person reads them.
    pub entities: Vec<(ObjectKind, String)>,
    /// Files that hold no such statement.
    pub unreadable: Vec<UnreadableAccess>,
    /// References in statements that cannot be resolved to a name: kind and name of the referring entity, and the UUID.
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

/// The entities below `access/` in the snapshot in `dir`.
pub(super) fn source_access(dir: &Dir, manifest: &Manifest) -> SourceAccess {
    let files = manifest.metadata.iter().map(|file| file.path.clone()).filter(|path| path.starts_with("access/"));
    SourceAccess::from_files(files.map(|path| {
        let content = read::metadata(dir, manifest, &path).map_err(|error| crate::monitor::chain(&error));
        (path, content)
    }))
}

/// The users, roles … of a server, with the definitions in its directories of users.
///
/// # Errors
/// If the server does not answer. A list that the server refuses to give is unknown.
pub(super) fn live_access(server: &Server, local: &LocalDisks) -> Result<TargetAccess, OpError> {
    let mut definitions = BTreeMap::new();
    for directory in access_directories(server, local)? {
        definitions.extend(live_definitions(local, &directory));
    }
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

/// Directories in which the server keeps users and roles: those that it lists or configures, else `access/`.
fn access_directories(server: &Server, local: &LocalDisks) -> Result<Vec<PathBuf>, OpError> {
    let Some(own) = local.own() else { return Ok(Vec::new()) };
    let settings = known(server::state_settings(server))?;
    let user_directories = known(server::user_directories(server))?;
    let config = local.server_config().unwrap_or_else(|error| {
        tracing::debug!(error = crate::monitor::chain(&error), "the server's configuration cannot be read here");
        ServerConfig::default()
    });
    let places = state_places(StateSources {
        data_path: &own.disk.path,
        settings: &settings,
        config: &config,
        user_directories: &user_directories,
    });
    let of_access = places.directories.into_iter().filter(|(kept_as, _)| *kept_as == "access");
    Ok(of_access.map(|(_, path)| path).collect())
}

/// The server's list, or an empty one if the server denies it to this user.
fn known<T: Default>(listed: Result<T, ServerError>) -> Result<T, ServerError> {
    match listed {
        Err(ServerError::Exception { .. }) => Ok(T::default()),
        listed => listed,
    }
}

/// The definitions in a directory that are readable here, by UUID.
fn live_definitions(local: &LocalDisks, directory: &Path) -> BTreeMap<String, AccessEntity> {
    let Ok(dir) = local.open_anywhere(directory) else { return BTreeMap::new() };
    let names = dir.entries().unwrap_or_default().into_iter().filter_map(|entry| entry.name.into_string().ok());
    let read = |name: String| {
        let uuid = name.strip_suffix(".sql")?;
        let text = dir.read(&name, DEFINITION_LIMIT_BYTES).ok()?;
        let entity = AccessEntity::parse(uuid, &text).ok()?;
        Some((entity.id.clone(), entity))
    };
    names.filter_map(read).collect()
}
