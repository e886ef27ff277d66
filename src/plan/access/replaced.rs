//! What else has to be replaced with an entity.
//!
//! `CREATE … OR REPLACE` gives an entity another UUID, and everything that refers to the old one loses it. Source:
//! `DiskAccessStorage::insertNoLock` in ClickHouse.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{ObjectKind, ObjectStatement};

use super::entity::AccessEntity;
use super::target::TargetAccess;

/// Kind and name.
type Key = (ObjectKind, String);

/// What is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replacements {
    /// These are: they differ, or refer to one that does.
    pub(super) replaced: BTreeSet<Key>,
    /// These differ and stay, each with an entity of the server that refers to it and cannot be made again.
    pub(super) blocked: BTreeMap<Key, Key>,
}

/// Chooses what is replaced. `differing` are entities that differ from the snapshot's, `usable` all those of the
/// snapshot that can be made.
pub(super) fn replacements(differing: &BTreeSet<Key>, usable: &BTreeSet<Key>, target: &TargetAccess) -> Replacements {
    let mut blocked: BTreeMap<Key, Key> = BTreeMap::new();
    loop {
        let mut replaced: BTreeSet<Key> = differing.iter().filter(|key| !blocked.contains_key(*key)).cloned().collect();
        let mut grows = true;
        while grows {
            let more: Vec<Key> = referrers(&replaced, target)
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

/// Pairs of an entity in `of` and one of the server that refers to it.
fn referrers(of: &BTreeSet<Key>, target: &TargetAccess) -> Vec<(Key, Key)> {
    let ids: BTreeMap<&str, &Key> =
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
