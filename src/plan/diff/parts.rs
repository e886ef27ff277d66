//! The parts of one partition, before and after.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use compact_str::CompactString;

use crate::model::{Blocks, ContentHash, Fingerprint, PartName, PartitionId};

/// What is known of what a part holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The hash of the files that its checksums cover.
    pub fingerprint: Option<Fingerprint>,
    /// The other files: path, size, hash. None where nobody has looked at them.
    pub uncovered: Option<BTreeSet<(CompactString, u64, Option<ContentHash>)>>,
    /// Its files are known to be those of the same part on the other side.
    pub is_the_same_files: bool,
}

impl Content {
    /// Whether two parts of one name hold the same; none where what is known does not say.
    fn equals(&self, other: &Self) -> Option<bool> {
        if self.is_the_same_files || other.is_the_same_files {
            return Some(true);
        }
        let fingerprints = self.fingerprint.zip(other.fingerprint).map(|(one, other)| one == other);
        let uncovered = self.uncovered.as_ref().zip(other.uncovered.as_ref()).map(|(one, other)| one == other);
        match (fingerprints, uncovered) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            // Only files that checksums do not cover are left out, where the other side is a server's answer.
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
    /// Its rows, where they are known.
    pub rows: Option<u64>,
    /// Sum of its files' sizes; of a part that only the server has, what the server counts.
    pub bytes: u64,
    /// What is known of what it holds.
    pub content: Content,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new; merged from others perhaps.
    Added,
    /// It is gone, and another part holds its blocks.
    Merged,
    /// It holds the same blocks with other content: another data version, or the same name with other files.
    Mutated,
    /// It is gone, and no part holds its blocks.
    Dropped,
    /// It is the same; perhaps under another name, as a part that was moved in from another table.
    Unchanged,
    /// A part of its name is on both sides, and nothing says whether it holds the same.
    Unknown,
}

/// Parts, their rows and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Parts.
    pub parts: u64,
    /// Rows of those whose rows are known. The rows of patch parts are none of the table's, and count for nothing.
    pub rows: u64,
    /// Parts whose rows are not known.
    pub rows_unknown_parts: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Tally {
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

/// What changed, in figures. Merged and dropped parts are counted as they were before, all others as they are after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tallies {
    /// Everything before.
    pub before: Tally,
    /// Everything after.
    pub after: Tally,
    /// See [`Change::Added`].
    pub added: Tally,
    /// See [`Change::Merged`].
    pub merged: Tally,
    /// See [`Change::Mutated`].
    pub mutated: Tally,
    /// See [`Change::Dropped`].
    pub dropped: Tally,
    /// See [`Change::Unchanged`].
    pub unchanged: Tally,
    /// See [`Change::Unknown`].
    pub unknown: Tally,
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

    /// Whether every part is known to be the same.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let all = self.unchanged.parts;
        self.before.parts == all && self.after.parts == all
    }

    fn count(&mut self, change: Change, part: &SidePart) {
        match change {
            Change::Added => &mut self.added,
            Change::Merged => &mut self.merged,
            Change::Mutated => &mut self.mutated,
            Change::Dropped => &mut self.dropped,
            Change::Unchanged => &mut self.unchanged,
            Change::Unknown => &mut self.unknown,
        }
        .add(part);
    }
}

/// A part that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// The part: as it is now, or as it was where it is gone.
    pub part: PartName,
    /// What became of it.
    pub change: Change,
    /// The part that holds its blocks now, where it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<PartName>,
    /// What a mutated part was called before, and which parts an added one was merged from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<PartName>,
    /// Its rows, where they are known.
    pub rows: Option<u64>,
    /// Its bytes.
    pub bytes: u64,
}

impl PartChange {
    fn of(change: Change, part: &SidePart) -> Self {
        let (rows, bytes) = (part.rows, part.bytes);
        Self { part: part.name.clone(), change, into: None, from: Vec::new(), rows, bytes }
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionDiff {
    /// The partition.
    pub partition: PartitionId,
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// The parts that are not the same, by name.
    pub parts: Vec<PartChange>,
}

/// Compares partition by partition.
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

/// The parts of one side, but those without rows that the other side has no trace of: a server drops them whenever it
/// likes, and nothing is different then.
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
            Some(true) => Change::Unchanged,
            Some(false) => Change::Mutated,
            None => Change::Unknown,
        };
        // The same part is as large as it was, whoever counts it.
        let shown = if change == Change::Unchanged { was } else { part };
        tallies.after.add(shown);
        tallies.count(change, shown);
        if change != Change::Unchanged {
            let from = if change == Change::Mutated { vec![was.name.clone()] } else { Vec::new() };
            parts.push(PartChange { from, ..PartChange::of(change, part) });
        }
    }
    new.sort_by_key(|(blocks, ..)| *blocks);
    for was in before.iter().filter(|part| !later.contains(&part.name)) {
        let holder = was.name.blocks().and_then(|blocks| {
            // Active parts of a partition hold no block twice: the last that begins no later is the only one.
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
        // What is moved in from another table gets block numbers of its own, and holds what it held.
        let is_moved = |was: &&SidePart| part.content.equals(&was.content) == Some(true);
        if let Some(at) = gone.iter().position(is_moved).filter(|_| held.is_empty()) {
            let was = gone.swap_remove(at);
            tallies.after.add(was);
            tallies.count(Change::Unchanged, was);
            continue;
        }
        tallies.after.add(part);
        let is_version_of = |was: &SidePart| {
            let same =
                |one: Blocks, other: Blocks| (one.min, one.max, one.level) == (other.min, other.max, other.level);
            blocks.zip(was.name.blocks()).is_some_and(|(one, other)| same(one, other))
        };
        let is_mutated = matches!(held.as_slice(), [was] if is_version_of(was));
        let change = if is_mutated { Change::Mutated } else { Change::Added };
        tallies.count(change, part);
        let from = held.iter().map(|was| was.name.clone()).collect();
        parts.push(PartChange { from, ..PartChange::of(change, part) });
        for was in held.iter().filter(|_| !is_mutated) {
            tallies.count(Change::Merged, was);
            parts.push(PartChange { into: Some(part.name.clone()), ..PartChange::of(Change::Merged, was) });
        }
    }
    for was in gone {
        tallies.count(Change::Dropped, was);
        parts.push(PartChange::of(Change::Dropped, was));
    }
    parts.sort_by(|one, other| one.part.cmp(&other.part));
    PartitionDiff { partition: partition.clone(), tallies, parts }
}
