//! The manifest and the list of parts of a copy.

use crate::model::{Links, PlacedTotals, SnapshotId, SnapshotTotals};
use crate::ops::copy_rules::IdsMode;
use crate::ops::written::{Allocated, ComparedSnapshot};
use crate::repo::{CopiedFrom, InstanceOrigin, Manifest, PartInstance, PartRecord, RetainedPart};

use super::parts::StagedPart;

/// The manifest, part records and index notes of a copy.
pub(in crate::ops) struct DescribedCopy {
    pub(in crate::ops) manifest: Manifest,
    /// The part records, in the order of the source's list.
    pub(in crate::ops) records: Vec<PartRecord>,
    /// One note for each record.
    notes: Vec<CopyIndexNote>,
}

/// The fields of a part that the index stores besides its record.
struct CopyIndexNote {
    links: Links,
    directories: u64,
    directory_bytes: u64,
    base: Option<SnapshotId>,
}

/// Where a copy comes from.
pub(in crate::ops) struct Provenance {
    /// The repository it is copied from.
    pub(in crate::ops) from: CopiedFrom,
    pub(in crate::ops) sequence: u64,
    pub(in crate::ops) ids: IdsMode,
    /// The snapshot of the target that it is compared with.
    pub(in crate::ops) previous: Option<ComparedSnapshot>,
}

impl DescribedCopy {
    /// The source's manifest, adjusted to the target: its place in the order, its files, and their origin.
    pub(in crate::ops) fn new(of: &Manifest, parts: Vec<StagedPart>, provenance: &Provenance) -> Self {
        let Provenance { from, sequence, ids, previous } = provenance;
        let mut allocated = Allocated::since(previous.as_ref().map(|previous| &previous.inodes));
        let mut placed = PlacedTotals::default();
        let (mut records, mut notes) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
        for part in parts {
            let StagedPart { record, inspected, placed: own, base, .. } = part;
            allocated.add(&inspected.links);
            placed += own;
            let (directories, directory_bytes) = (inspected.directories, inspected.directory_bytes);
            notes.push(CopyIndexNote { links: inspected.links, directories, directory_bytes, base });
            records.push(record);
        }
        let mut manifest = Manifest {
            sequence: *sequence,
            copied: Some(from.clone()),
            previous: previous.as_ref().map(|previous| previous.id),
            placed,
            totals: SnapshotTotals {
                allocated_bytes: allocated.all_bytes,
                written_bytes: allocated.new_bytes,
                ..of.totals
            },
            ..of.clone()
        };
        if *ids == IdsMode::Record {
            // Owners and modes of the files differ from those in the list of parts.
            ids.name().clone_into(&mut manifest.settings.ids);
        }
        Self { manifest, records, notes }
    }

    /// The parts for the index, which already knows those that are the same in the snapshot `known`.
    pub(in crate::ops) fn held(&self, known: Option<SnapshotId>) -> impl Iterator<Item = (RetainedPart, u64)> + '_ {
        self.records.iter().zip(&self.notes).map(move |(record, note)| {
            let origin = InstanceOrigin::of(record, note.directories);
            let held = if note.base.is_some() && note.base == known {
                RetainedPart::Unchanged(origin, None)
            } else {
                RetainedPart::Seen(PartInstance::new(&origin, note.links.clone()), None)
            };
            (held, note.directory_bytes)
        })
    }
}
