//! Findings, each in its snapshot, made into damage, each wherever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::exec::verify::{self, Finding, InodeKey, Wanted};
use crate::model::{DamageKind, PartName, SnapshotId, TableName, Warning, WarningKind, count};

use super::request::{Damage, Drift};

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
        let part = finding.table.clone().zip(finding.part.clone());
        let parts: Vec<(TableName, PartName, SnapshotId)> = (part.iter())
            .flat_map(|(table, part)| snapshots.iter().map(|id| (table.clone(), part.clone(), *id)))
            .collect();
        let places = snapshots.into_iter().map(|id| (id, finding.path.clone()));
        let (damage, _) = by_key.entry(key).or_insert_with(|| {
            let damage = Damage {
                kind: finding.kind,
                table: finding.table,
                part: finding.part,
                expected: finding.expected,
                found: finding.found,
                places: Vec::new(),
                parts: BTreeSet::new(),
                inode: finding.inode,
                is_linked_outside: false,
                noted: finding.noted,
                intact: None,
                repair: None,
            };
            (damage, finding.wanted)
        });
        damage.places.extend(places);
        damage.parts.extend(parts);
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

/// Names the snapshots of drift; `ids` are the snapshots that its positions mean.
pub(super) fn named_drift(drift: Vec<verify::Drift>, ids: &[SnapshotId]) -> Vec<Drift> {
    let named = |drift: verify::Drift| {
        let mut snapshots: Vec<SnapshotId> = drift.snapshots.iter().filter_map(|at| ids.get(*at).copied()).collect();
        snapshots.sort_unstable();
        (!snapshots.is_empty()).then_some(Drift {
            kind: drift.kind,
            table: drift.table,
            part: drift.part,
            expected: drift.expected,
            found: drift.found,
            ids: snapshots,
            path: drift.path,
            inodes: drift.inodes,
        })
    };
    let mut named: Vec<Drift> = drift.into_iter().filter_map(named).collect();
    named.sort_by(|a, b| (&a.table, &a.part, a.kind, &a.path).cmp(&(&b.table, &b.part, b.kind, &b.path)));
    named
}

/// The warning of drift, with its remedy; none where there is none.
pub(super) fn drift_warning(drift: &[Drift]) -> Option<Warning> {
    let first = drift.first()?;
    let inodes = drift.iter().fold(0_u64, |sum, drift| sum.saturating_add(drift.inodes));
    let snapshots: BTreeSet<SnapshotId> = drift.iter().flat_map(|drift| drift.ids.iter().copied()).collect();
    let message = format!(
        "owners or modes of {} in {} are not as recorded (first: {} {} in part {} of {}, recorded as {}); create records \
         those of now in new snapshots; to have them as recorded, chown or chmod the files back",
        count(inodes, "file"),
        count(snapshots.len() as u64, "snapshot"),
        first.kind,
        first.found,
        first.part,
        first.table,
        first.expected,
    );
    Some(Warning::new(WarningKind::Drift, message))
}
