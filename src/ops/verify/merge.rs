//! Findings, each in its snapshot, made into damage, each wherever it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::exec::verify::{Finding, InodeKey, Wanted};
use crate::model::{DamageKind, SnapshotId};

use super::request::Damage;

/// What is one damage: of an inode what is wrong with it and should not be, of anything else its own place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Inode(InodeKey, DamageKind, String),
    Place(SnapshotId, PathBuf, DamageKind),
}

/// Damage with what should stand there instead.
pub(super) struct Merged {
    pub(super) list: Vec<Damage>,
    /// For each of the list.
    pub(super) wanted: Vec<Option<Wanted>>,
}

/// Merges findings; `ids` are the snapshots that their positions mean.
pub(super) fn merge(findings: Vec<Finding>, ids: &[SnapshotId]) -> Merged {
    let mut by_key: BTreeMap<Key, (Damage, Option<Wanted>)> = BTreeMap::new();
    for finding in findings {
        let snapshots: Vec<SnapshotId> = finding.snapshots.iter().filter_map(|at| ids.get(*at).copied()).collect();
        let Some(first) = snapshots.first().copied() else { continue };
        let key = match finding.inode {
            Some(inode) => Key::Inode(inode, finding.kind, finding.expected.clone()),
            None => Key::Place(first, finding.path.clone(), finding.kind),
        };
        let places = snapshots.into_iter().map(|id| (id, finding.path.clone()));
        let (damage, _) = by_key.entry(key).or_insert_with(|| {
            let damage = Damage {
                kind: finding.kind,
                table: finding.table,
                part: finding.part,
                expected: finding.expected,
                found: finding.found,
                places: Vec::new(),
                inode: finding.inode,
                is_linked_outside: false,
                noted: finding.noted,
                intact: None,
                repair: None,
            };
            (damage, finding.wanted)
        });
        damage.places.extend(places);
    }
    let mut merged: Vec<(Damage, Option<Wanted>)> = by_key.into_values().collect();
    for (damage, _) in &mut merged {
        damage.places.sort_by(|a, b| b.cmp(a));
        damage.places.dedup();
    }
    merged.sort_by(|(a, _), (b, _)| {
        let place = |damage: &Damage| damage.places.first().map(|(id, path)| (path.clone(), *id));
        (place(a), a.kind).cmp(&(place(b), b.kind))
    });
    let (list, wanted) = merged.into_iter().unzip();
    Merged { list, wanted }
}
