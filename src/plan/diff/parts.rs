//! The parts of one partition, before and after.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use compact_str::CompactString;

use crate::model::{Blocks, ContentHash, Fingerprint, PartName, PartitionId};

/// The known facts about a part's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComparableContent {
    /// The hash of the files that its checksums cover.
    pub fingerprint: Option<Fingerprint>,
    /// The other files: path, size, hash. `None` if they have not been read.
    pub uncovered: Option<BTreeSet<(CompactString, u64, Option<ContentHash>)>>,
    /// Whether its files are known to be those of the same part on the other side.
    pub is_the_same_files: bool,
}

impl ComparableContent {
    /// Whether two parts of one name have the same content; `None` if the known facts do not show that.
    fn equals(&self, other: &Self) -> Option<bool> {
        if self.is_the_same_files || other.is_the_same_files {
            return Some(true);
        }
        let fingerprints = self.fingerprint.zip(other.fingerprint).map(|(one, other)| one == other);
        let uncovered = self.uncovered.as_ref().zip(other.uncovered.as_ref()).map(|(one, other)| one == other);
        match (fingerprints, uncovered) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            // If the other side is a server's answer, only files that checksums do not cover are ignored.
            (Some(true), _) => Some(true),
            (None, _) => None,
        }
    }
}

/// A part of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidePart {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its rows, if known.
    pub rows: Option<u64>,
    /// Sum of its files' sizes; for a part that only the server has, the server's figure.
    pub bytes: u64,
    /// The known facts about its content.
    pub content: ComparableContent,
}

/// The change of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartChangeKind {
    /// It is new, or was merged from others.
    Added,
    /// It is gone, and another part contains its blocks.
    Merged,
    /// It contains the same blocks with different content: another data version, or the same name with other files.
    Mutated,
    /// It is gone, and no part contains its blocks.
    Dropped,
    /// It is the same, possibly under another name, as a part that was moved in from another table.
    Unchanged,
    /// Both sides have a part of its name, and nothing shows whether the content is the same.
    Unknown,
}

/// A number of parts, with their rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RowTally {
    /// Parts.
    pub parts: u64,
    /// Rows of those parts whose rows are known. Rows of patch parts are not rows of the table, and count as zero.
    pub rows: u64,
    /// Parts whose rows are unknown.
    pub rows_unknown_parts: u64,
    /// Bytes.
    pub bytes: u64,
}

impl RowTally {
    fn add(&mut self, part: &SidePart) {
        self.parts += 1;
        self.bytes = self.bytes.saturating_add(part.bytes);
        match part.rows {
            _ if part.name.is_patch() => {}
            Some(rows) => self.rows = self.rows.saturating_add(rows),
            None => self.rows_unknown_parts += 1,
        }
    }

    fn add_all(&mut self, other: Self) {
        self.parts += other.parts;
        self.rows = self.rows.saturating_add(other.rows);
        self.rows_unknown_parts += other.rows_unknown_parts;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The changes in figures. Merged and dropped parts are counted as they were before, all others as they are after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Tallies {
    /// All parts before.
    pub before: RowTally,
    /// All parts after.
    pub after: RowTally,
    /// See [`PartChangeKind::Added`].
    pub added: RowTally,
    /// See [`PartChangeKind::Merged`].
    pub merged: RowTally,
    /// See [`PartChangeKind::Mutated`].
    pub mutated: RowTally,
    /// See [`PartChangeKind::Dropped`].
    pub dropped: RowTally,
    /// See [`PartChangeKind::Unchanged`].
    pub unchanged: RowTally,
    /// See [`PartChangeKind::Unknown`].
    pub unknown: RowTally,
}

impl Tallies {
    pub(super) fn add_all(&mut self, other: &Self) {
        self.before.add_all(other.before);
        self.after.add_all(other.after);
        self.added.add_all(other.added);
        self.merged.add_all(other.merged);
        self.mutated.add_all(other.mutated);
        self.dropped.add_all(other.dropped);
        self.unchanged.add_all(other.unchanged);
        self.unknown.add_all(other.unknown);
    }

    /// Whether every part is known to be unchanged.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let all = self.unchanged.parts;
        self.before.parts == all && self.after.parts == all
    }

    fn count(&mut self, change: PartChangeKind, part: &SidePart) {
        match change {
            PartChangeKind::Added => &mut self.added,
            PartChangeKind::Merged => &mut self.merged,
            PartChangeKind::Mutated => &mut self.mutated,
            PartChangeKind::Dropped => &mut self.dropped,
            PartChangeKind::Unchanged => &mut self.unchanged,
            PartChangeKind::Unknown => &mut self.unknown,
        }
        .add(part);
    }
}

/// A part that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PartChange {
    /// The part in its current state, or its last state if it is gone.
    pub part: PartName,
    /// The change.
    pub change: PartChangeKind,
    /// The part that contains its blocks now, if it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<PartName>,
    /// The former name of a mutated part, or the parts that an added one was merged from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<PartName>,
    /// Its rows, if known.
    pub rows: Option<u64>,
    /// Its bytes.
    pub bytes: u64,
}

impl PartChange {
    fn of(change: PartChangeKind, part: &SidePart) -> Self {
        let (rows, bytes) = (part.rows, part.bytes);
        Self { part: part.name.clone(), change, into: None, from: Vec::new(), rows, bytes }
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PartitionDiff {
    /// The partition.
    pub partition: PartitionId,
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// The parts that changed, by name.
    pub parts: Vec<PartChange>,
}

/// Compares two sides partition by partition.
pub(super) fn partitions(before: &[SidePart], after: &[SidePart]) -> Vec<PartitionDiff> {
    let mut sides: BTreeMap<&PartitionId, (Vec<&SidePart>, Vec<&SidePart>)> = BTreeMap::new();
    for part in before {
        sides.entry(&part.partition).or_default().0.push(part);
    }
    for part in after {
        sides.entry(&part.partition).or_default().1.push(part);
    }
    let compared = sides.into_iter().map(|(partition, (before, after))| {
        let (one, other) = (without_empty(&before, &after), without_empty(&after, &before));
        partition_diff(partition, &one, &other)
    });
    compared.filter(|partition| partition.tallies != Tallies::default()).collect()
}

/// The parts of one side, without empty parts of which the other side has no trace: a server drops empty parts at any
/// time, which makes no difference.
fn without_empty<'a>(own: &[&'a SidePart], other: &[&SidePart]) -> Vec<&'a SidePart> {
    let is_indifferent = |part: &SidePart| {
        let blocks = part.name.blocks();
        let covers = |other: &SidePart| {
            blocks.zip(other.name.blocks()).is_some_and(|(own, other)| own.cover(&other) || other.cover(&own))
        };
        part.rows == Some(0)
            && !part.name.is_patch()
            && !other.iter().any(|other| other.name == part.name || (other.rows != Some(0) && covers(other)))
    };
    own.iter().copied().filter(|part| !is_indifferent(part)).collect()
}

fn partition_diff(partition: &PartitionId, before: &[&SidePart], after: &[&SidePart]) -> PartitionDiff {
    let mut tallies = Tallies::default();
    let mut parts = Vec::new();
    let earlier: BTreeMap<&PartName, &SidePart> = before.iter().map(|part| (&part.name, *part)).collect();
    let later: BTreeSet<&PartName> = after.iter().map(|part| &part.name).collect();
    for part in before {
        tallies.before.add(part);
    }
    let mut new: Vec<(Option<Blocks>, &SidePart, Vec<&SidePart>)> = Vec::new();
    let mut gone: Vec<&SidePart> = Vec::new();
    for part in after {
        let Some(was) = earlier.get(&part.name) else {
            new.push((part.name.blocks(), part, Vec::new()));
            continue;
        };
        let change = match part.content.equals(&was.content) {
            Some(true) => PartChangeKind::Unchanged,
            Some(false) => PartChangeKind::Mutated,
            None => PartChangeKind::Unknown,
        };
        // An unchanged part keeps its size, whichever side reports it.
        let shown = if change == PartChangeKind::Unchanged { was } else { part };
        tallies.after.add(shown);
        tallies.count(change, shown);
        if change != PartChangeKind::Unchanged {
            let from = if change == PartChangeKind::Mutated { vec![was.name.clone()] } else { Vec::new() };
            parts.push(PartChange { from, ..PartChange::of(change, part) });
        }
    }
    new.sort_by_key(|(blocks, ..)| *blocks);
    for was in before.iter().filter(|part| !later.contains(&part.name)) {
        let holder = was.name.blocks().and_then(|blocks| {
            // Active parts of a partition contain no block twice, so the last one that begins no later is the only
            // candidate.
            let end = new.partition_point(|(new, ..)| new.is_none_or(|new| new.min <= blocks.min));
            new.get_mut(..end)?.last_mut().filter(|(new, ..)| new.is_some_and(|new| new.cover(&blocks)))
        });
        if let Some((_, _, held)) = holder {
            held.push(was);
        } else {
            gone.push(was);
        }
    }
    for (blocks, part, held) in new {
        // A part moved in from another table gets new block numbers, and keeps its content.
        let is_moved = |was: &&SidePart| part.content.equals(&was.content) == Some(true);
        if let Some(at) = gone.iter().position(is_moved).filter(|_| held.is_empty()) {
            let was = gone.swap_remove(at);
            tallies.after.add(was);
            tallies.count(PartChangeKind::Unchanged, was);
            continue;
        }
        tallies.after.add(part);
        let is_version_of = |was: &SidePart| {
            let same =
                |one: Blocks, other: Blocks| (one.min, one.max, one.level) == (other.min, other.max, other.level);
            blocks.zip(was.name.blocks()).is_some_and(|(one, other)| same(one, other))
        };
        let is_mutated = matches!(held.as_slice(), [was] if is_version_of(was));
        let change = if is_mutated { PartChangeKind::Mutated } else { PartChangeKind::Added };
        tallies.count(change, part);
        let from = held.iter().map(|was| was.name.clone()).collect();
        parts.push(PartChange { from, ..PartChange::of(change, part) });
        for was in held.iter().filter(|_| !is_mutated) {
            tallies.count(PartChangeKind::Merged, was);
            parts.push(PartChange { into: Some(part.name.clone()), ..PartChange::of(PartChangeKind::Merged, was) });
        }
    }
    for was in gone {
        tallies.count(PartChangeKind::Dropped, was);
        parts.push(PartChange::of(PartChangeKind::Dropped, was));
    }
    parts.sort_by(|one, other| one.part.cmp(&other.part));
    PartitionDiff { partition: partition.clone(), tallies, parts }
}
