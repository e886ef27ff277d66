//! Determines which entities must be replaced together with another one.
//!
//! `CREATE … OR REPLACE` gives an entity another UUID, and everything that refers to the old UUID loses the entity.
//! Source: `DiskAccessStorage::insertNoLock` in ClickHouse.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{ObjectKind, ObjectStatement};

use super::entity::AccessEntity;
use super::target::TargetAccess;

/// Kind and name.
type EntityKey = (ObjectKind, String);

/// The entities to replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replacements {
    /// Entities to replace: they differ, or refer to one that does.
    pub(super) replaced: BTreeSet<EntityKey>,
    /// Entities that differ and stay, each with an entity of the server that refers to it and cannot be created again.
    pub(super) blocked: BTreeMap<EntityKey, EntityKey>,
}

/// Chooses the entities to replace. `differing` are those that differ from the snapshot's; `usable` are all entities of
/// the snapshot that can be created.
pub(super) fn replacements(
    differing: &BTreeSet<EntityKey>,
    usable: &BTreeSet<EntityKey>,
    target: &TargetAccess,
) -> Replacements {
    let mut blocked: BTreeMap<EntityKey, EntityKey> = BTreeMap::new();
    loop {
        let mut replaced: BTreeSet<EntityKey> =
            differing.iter().filter(|key| !blocked.contains_key(*key)).cloned().collect();
        let mut grows = true;
        while grows {
            let more: Vec<EntityKey> = referrers(&replaced, target)
                .into_iter()
                .map(|(_, referrer)| referrer)
                .filter(|key| usable.contains(key) && !blocked.contains_key(key))
                .collect();
            let before = replaced.len();
            replaced.extend(more);
            grows = replaced.len() > before;
        }
        let losing = referrers(&replaced, target).into_iter().find(|(_, referrer)| !replaced.contains(referrer));
        match losing {
            Some((key, referrer)) => drop(blocked.insert(key, referrer)),
            None => return Replacements { replaced, blocked },
        }
    }
}

/// Pairs of an entity in `of` and an entity of the server that refers to it.
fn referrers(of: &BTreeSet<EntityKey>, target: &TargetAccess) -> Vec<(EntityKey, EntityKey)> {
    let ids: BTreeMap<&str, &EntityKey> =
        of.iter().filter_map(|key| Some((target.find(key.0, &key.1)?.id.as_str(), key))).collect();
    let references = |entity: &AccessEntity| -> BTreeSet<String> {
        entity.statements().flat_map(ObjectStatement::references).map(|reference| reference.id).collect()
    };
    let files = target.entities().filter_map(|(.., live)| live.entity.as_ref());
    files
        .flat_map(|entity| {
            let found = references(entity).into_iter().filter_map(|id| ids.get(id.as_str()).map(|key| (*key).clone()));
            found.map(|key| (key, entity.key())).collect::<Vec<_>>()
        })
        .filter(|(key, referrer)| key != referrer)
        .collect()
}
