//! Merges findings, one for each snapshot, into damage, one for each cause.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::exec::verify::{self, InodeKey, PartFinding, WantedFile};
use crate::model::{DamageKind, PartName, SnapshotId, TableName, Warning, WarningKind, count};

use super::request::{Damage, Drift};

/// The identity of damage: for an inode, its kind and the expected value; for anything else, its place and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DamageKey {
    Inode(InodeKey, DamageKind, String),
    Place(SnapshotId, PathBuf, DamageKind),
}

/// Damage, with the content that should be there.
pub(super) struct Merged {
    pub(super) list: Vec<Damage>,
    /// The expected content for each item of the list.
    pub(super) wanted: Vec<Option<WantedFile>>,
}

/// Merges findings; their positions are indices into `ids`.
pub(super) fn merge(findings: Vec<PartFinding>, ids: &[SnapshotId]) -> Merged {
    let mut by_key: BTreeMap<DamageKey, (Damage, Option<WantedFile>)> = BTreeMap::new();
    for finding in findings {
        let snapshots: Vec<SnapshotId> = finding.snapshots.iter().filter_map(|at| ids.get(*at).copied()).collect();
        let Some(first) = snapshots.first().copied() else { continue };
        let key = match finding.inode {
            Some(inode) => DamageKey::Inode(inode, finding.kind, finding.expected.clone()),
            None => DamageKey::Place(first, finding.path.clone(), finding.kind),
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
    let mut merged: Vec<(Damage, Option<WantedFile>)> = by_key.into_values().collect();
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

/// Names the snapshots of drift; its positions are indices into `ids`.
pub(super) fn named_drift(drift: Vec<verify::PartDrift>, ids: &[SnapshotId]) -> Vec<Drift> {
    let named = |drift: verify::PartDrift| {
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

/// The warning about drift, with its remedy; `None` without drift.
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
