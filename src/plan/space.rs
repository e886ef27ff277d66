//! The space that snapshots take, alone and together: the arithmetic of hard links.
//!
//! Inodes are summed up in classes: all inodes with the same holders, with or without links from outside the
//! repository. Removing a set of holders frees the classes whose holders are all in the set and that have no links from
//! outside. This is not additive over the holders: inodes shared by two of them are freed with the second.

use crate::model::{InodeSet, InodeStat, InodeStats, Links, most_links_of_each};

use super::holders::{HolderSets, Holders, SetId};

/// All inodes that the same holders link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The holders.
    pub holders: Holders,
    /// Whether something outside the repository links them too.
    pub is_outside: bool,
    /// Whether they are files of parts, and not manifests, definitions and the like.
    pub is_part: bool,
    /// The number of inodes.
    pub inodes: u64,
    /// Their allocated bytes.
    pub allocated_bytes: u64,
}

/// The bytes of one holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HolderBytes {
    /// Allocated bytes of its files of parts, each inode once.
    pub allocated_bytes: u64,
    /// The share of them that something outside the repository links.
    pub live_shared_bytes: u64,
    /// Allocated bytes of all its inodes that nothing else links.
    pub exclusive_bytes: u64,
    /// Allocated bytes of its files outside parts.
    pub metadata_bytes: u64,
    /// Allocated bytes of its directories.
    pub directory_bytes: u64,
}

/// The holders of all inodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    classes: Vec<Class>,
    directory_bytes: Vec<u64>,
}

impl Space {
    /// The classes, unordered.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Allocated bytes of the directories of these holders.
    #[must_use]
    pub fn directory_bytes(&self, set: &Holders) -> u64 {
        set.iter().filter_map(|holder| self.directory_bytes.get(holder)).sum()
    }

    /// Allocated bytes of the files that removing these holders frees.
    #[must_use]
    pub fn freed_file_bytes(&self, set: &Holders) -> u64 {
        let freed = self.classes.iter().filter(|class| !class.is_outside && class.holders.is_within(set));
        freed.map(|class| class.allocated_bytes).sum()
    }

    /// The space that removing these holders frees: files, and their directories.
    #[must_use]
    pub fn freed_bytes(&self, set: &Holders) -> u64 {
        self.freed_file_bytes(set) + self.directory_bytes(set)
    }

    /// For each of these holders, the bytes freed by removing it and all before it in this order, directories included.
    #[must_use]
    pub fn freed_in_order(&self, order: &[usize]) -> Vec<u64> {
        let mut freed = vec![0; order.len()];
        for class in self.classes.iter().filter(|class| !class.is_outside) {
            let mut left = class.holders.len();
            let last = order.iter().position(|holder| {
                left -= usize::from(class.holders.contains(*holder));
                left == 0
            });
            if let Some(freed) = last.and_then(|last| freed.get_mut(last)) {
                *freed += class.allocated_bytes;
            }
        }
        let mut sum = 0;
        for (freed, holder) in freed.iter_mut().zip(order) {
            sum += *freed + self.directory_bytes.get(*holder).copied().unwrap_or(0);
            *freed = sum;
        }
        freed
    }

    /// The bytes of a holder.
    #[must_use]
    pub fn held(&self, holder: usize) -> HolderBytes {
        let directory_bytes = self.directory_bytes.get(holder).copied().unwrap_or(0);
        let mut held = HolderBytes { directory_bytes, ..HolderBytes::default() };
        for class in self.classes.iter().filter(|class| class.holders.contains(holder)) {
            let bytes = class.allocated_bytes;
            if !class.is_outside && class.holders.len() == 1 {
                held.exclusive_bytes += bytes;
            }
            if !class.is_part {
                held.metadata_bytes += bytes;
                continue;
            }
            held.allocated_bytes += bytes;
            if class.is_outside {
                held.live_shared_bytes += bytes;
            }
        }
        held
    }

    /// Whether both have the same number of holders.
    #[must_use]
    pub fn is_of_as_many(&self, other: &Self) -> bool {
        self.directory_bytes.len() == other.directory_bytes.len()
    }

    /// The sum of the classes for which `wanted` is true.
    pub fn sum(&self, wanted: impl Fn(&Class) -> bool) -> u64 {
        self.classes.iter().filter(|class| wanted(class)).map(|class| class.allocated_bytes).sum()
    }
}

/// Links that occur together in the same holders, once in each.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The holders that they are counted for.
    pub holders: SetId,
    /// The number of trees that contain them.
    pub copies: u64,
    /// Whether they are files of a part.
    pub is_part: bool,
    /// The links in one of those trees.
    pub links: &'a Links,
}

/// The sum, and additional findings.
#[derive(Clone, Debug, Default)]
pub struct Summed {
    /// The holders of all inodes.
    pub space: Space,
    /// The inodes that something outside the repository links.
    pub outside: InodeSet,
    /// Inodes with fewer links than the pieces contain: some have been removed.
    pub too_few: Vec<u64>,
}

#[derive(Clone, Copy)]
struct InodeRow {
    inode: u64,
    blocks: u64,
    piece: u32,
    is_outside: bool,
}

/// Sums up pieces. For the inodes in `stats`, the stat with the most links decides whether something outside links them;
/// for all others their recorded links do.
#[must_use]
pub fn sum_up(pieces: &[Piece<'_>], sets: &mut HolderSets, stats: &[&InodeStats], directory_bytes: Vec<u64>) -> Summed {
    sum_up_in_ranges(pieces, sets, stats, directory_bytes, ROWS_AT_ONCE)
}

/// About as many rows are in memory at once. The links and stats themselves stay encoded, in a sixth of the bytes.
const ROWS_AT_ONCE: usize = 1 << 20;

fn sum_up_in_ranges(
    pieces: &[Piece<'_>],
    sets: &mut HolderSets,
    stats: &[&InodeStats],
    directory_bytes: Vec<u64>,
    rows_at_once: usize,
) -> Summed {
    let mut summed = Summed::default();
    let mut sums = Sums::default();
    let (piece_spans, ranges) = spans_and_ranges(pieces, rows_at_once);
    let stat_spans: Vec<Span> = stats.iter().map(|stats| Span::of(stats.iter().map(|stat| stat.inode))).collect();
    let (mut rows, mut stats_in_range) = (Vec::new(), Vec::new());
    for range in ranges {
        rows.clear();
        for ((number, piece), span) in (0..).zip(pieces).zip(&piece_spans) {
            if !span.meets(range) {
                continue;
            }
            let here = piece.links.iter().filter(|link| range.has(link.inode));
            rows.extend(here.map(|link| InodeRow {
                inode: link.inode,
                blocks: link.blocks,
                piece: number,
                is_outside: link.is_outside,
            }));
        }
        stats_in_range.clear();
        for (stats_of_one, span) in stats.iter().zip(&stat_spans) {
            if span.meets(range) {
                stats_in_range.extend(stats_of_one.iter().filter(|stat| range.has(stat.inode)));
            }
        }
        most_links_of_each(&mut stats_in_range);
        // A stable sort uses the long ascending runs of pieces that were created together.
        rows.sort_by_key(|row| row.inode);
        sum_rows(pieces, &rows, &stats_in_range, sets, &mut sums, &mut summed);
    }
    summed.space = sums.space(sets, directory_bytes);
    summed
}

/// Adds these rows, which are sorted by inode, to the sums.
fn sum_rows(
    pieces: &[Piece<'_>],
    rows: &[InodeRow],
    stats: &[InodeStat],
    sets: &mut HolderSets,
    sums: &mut Sums,
    summed: &mut Summed,
) {
    let mut stats = stats.iter().peekable();
    for same in rows.chunk_by(|a, b| a.inode == b.inode) {
        let Some(first) = same.first() else { continue };
        let (mut set, mut copies, mut is_part) = (None, 0_u64, false);
        let mut blocks = 0;
        for row in same {
            let Some(piece) = pieces.get(row.piece as usize) else { continue };
            set = Some(set.map_or(piece.holders, |set| sets.union(set, piece.holders)));
            copies = copies.saturating_add(piece.copies);
            is_part |= piece.is_part;
            blocks = row.blocks.max(blocks);
        }
        while stats.next_if(|stat| stat.inode < first.inode).is_some() {}
        let mut is_outside = same.iter().any(|row| row.is_outside);
        if let Some(stat) = stats.next_if(|stat| stat.inode == first.inode) {
            is_outside = stat.links > copies;
            blocks = stat.blocks;
            if stat.links < copies {
                summed.too_few.push(first.inode);
            }
        }
        if is_outside {
            summed.outside.insert(first.inode);
        }
        if let Some(set) = set {
            sums.add(set, is_outside, is_part, blocks);
        }
    }
}

/// The inodes from the first to the last, both of them included; none if `first` is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    const NONE: Self = Self { first: u64::MAX, last: 0 };

    /// The span of these inodes, which are in ascending order.
    fn of(inodes: impl Iterator<Item = u64>) -> Self {
        inodes.fold(Self::NONE, |span, inode| Self { first: span.first.min(inode), last: inode })
    }

    fn has(self, inode: u64) -> bool {
        (self.first..=self.last).contains(&inode)
    }

    fn meets(self, other: Self) -> bool {
        self.first.max(other.first) <= self.last.min(other.last)
    }
}

/// The span of each piece, and adjacent ranges that contain every inode, each with about `rows_at_once` links.
fn spans_and_ranges(pieces: &[Piece<'_>], rows_at_once: usize) -> (Vec<Span>, Vec<Span>) {
    // The samples of a range: enough to make ranges of even size, in a small part of the memory of the links.
    const SAMPLES: usize = 64;
    let step = (rows_at_once / SAMPLES).max(1);
    let (mut seen, mut samples) = (0, Vec::new());
    let spans = pieces
        .iter()
        .map(|piece| {
            Span::of(piece.links.iter().map(|link| link.inode).inspect(|inode| {
                seen += 1;
                if seen % step == 0 {
                    samples.push(*inode);
                }
            }))
        })
        .collect();
    samples.sort_unstable();
    let mut starts: Vec<u64> = samples.into_iter().skip(SAMPLES).step_by(SAMPLES).filter(|start| *start > 0).collect();
    starts.dedup();
    let firsts = std::iter::once(0).chain(starts.iter().copied());
    let lasts = starts.iter().map(|start| start - 1).chain(std::iter::once(u64::MAX));
    (spans, firsts.zip(lasts).map(|(first, last)| Span { first, last }).collect())
}

/// Inodes and blocks of each class, at four times the number of its set plus its two flags.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Vec<(u64, u64)>);

impl Sums {
    pub(super) fn add(&mut self, set: SetId, is_outside: bool, is_part: bool, blocks: u64) {
        let at = set.index() * 4 + usize::from(is_outside) * 2 + usize::from(is_part);
        if self.0.len() <= at {
            self.0.resize(at + 1, (0, 0));
        }
        if let Some((inodes, sum)) = self.0.get_mut(at) {
            *inodes += 1;
            *sum = sum.saturating_add(blocks);
        }
    }

    pub(super) fn space(&self, sets: &HolderSets, directory_bytes: Vec<u64>) -> Space {
        debug_assert!(self.0.len() <= sets.count() * 4);
        let classes = self.0.chunks(4).zip(sets.all()).flat_map(|(four, holders)| {
            four.iter().enumerate().filter(|(_, (inodes, _))| *inodes > 0).map(|(marks, (inodes, blocks))| Class {
                holders: holders.clone(),
                is_outside: marks & 2 != 0,
                is_part: marks & 1 != 0,
                inodes: *inodes,
                allocated_bytes: blocks.saturating_mul(512),
            })
        });
        Space { classes: classes.collect(), directory_bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use crate::model::{InodeSet, InodeStat, InodeStats, Link, Links};
    use crate::plan::holders::{HolderSets, Holders};

    use super::{Class, Piece, sum_up, sum_up_in_ranges};

    #[derive(Clone, Debug)]
    struct DrawnPiece {
        holders: BTreeSet<usize>,
        is_part: bool,
        links: Vec<Link>,
    }

    fn inode() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0_u64..40, 1 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)]
    }

    fn piece() -> impl Strategy<Value = DrawnPiece> {
        let link = (inode(), 0_u64..9, any::<bool>()).prop_map(|(inode, blocks, is_outside)| Link {
            inode,
            blocks,
            is_outside,
        });
        (proptest::collection::btree_set(0_usize..6, 1..4), any::<bool>(), proptest::collection::vec(link, 0..12))
            .prop_map(|(holders, is_part, links)| DrawnPiece { holders, is_part, links })
    }

    fn stats() -> impl Strategy<Value = Vec<InodeStat>> {
        let stat = (inode(), 1_u64..9, 0_u64..9).prop_map(|(inode, links, blocks)| InodeStat { inode, links, blocks });
        proptest::collection::vec(stat, 0..20)
    }

    /// What is known about an inode, collected without ranges, sets or sorting.
    #[derive(Default)]
    struct Known {
        holders: BTreeSet<usize>,
        copies: u64,
        is_part: bool,
        blocks: u64,
        is_outside: bool,
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_each_inode_by_itself_however_many_rows_are_in_memory(
            drawn in proptest::collection::vec(piece(), 0..12),
            stats in proptest::collection::vec(stats(), 0..4),
            rows_at_once in 1_usize..200,
        ) {
            let links: Vec<Links> = drawn.iter().map(|piece| Links::new(piece.links.clone())).collect();
            let mut known: BTreeMap<u64, Known> = BTreeMap::new();
            for piece in &drawn {
                for link in &piece.links {
                    let inode = known.entry(link.inode).or_default();
                    inode.holders.extend(&piece.holders);
                    inode.copies += piece.holders.len() as u64;
                    inode.is_part |= piece.is_part;
                    inode.blocks = inode.blocks.max(link.blocks);
                    inode.is_outside |= link.is_outside;
                }
            }
            let mut most: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for stat in stats.iter().flatten() {
                let best = most.entry(stat.inode).or_default();
                *best = (stat.links, stat.blocks).max(*best);
            }
            let (mut outside, mut too_few) = (InodeSet::default(), Vec::new());
            let mut classes: BTreeMap<(Vec<usize>, bool, bool), (u64, u64)> = BTreeMap::new();
            for (inode, known) in &mut known {
                if let Some((links, blocks)) = most.get(inode) {
                    (known.is_outside, known.blocks) = (*links > known.copies, *blocks);
                    if *links < known.copies {
                        too_few.push(*inode);
                    }
                }
                if known.is_outside {
                    outside.insert(*inode);
                }
                let holders = known.holders.iter().copied().collect();
                let class = classes.entry((holders, known.is_outside, known.is_part)).or_default();
                *class = (class.0 + 1, class.1 + known.blocks * 512);
            }
            let wanted: BTreeSet<_> = classes.into_iter().collect();
            let stats: Vec<InodeStats> = stats.into_iter().map(InodeStats::new).collect();
            let stats: Vec<&InodeStats> = stats.iter().collect();
            for at_once in [Some(rows_at_once), None] {
                let mut sets = HolderSets::default();
                let pieces: Vec<Piece<'_>> = drawn.iter().zip(&links).map(|(piece, links)| {
                    let holders: Holders = piece.holders.iter().copied().collect();
                    let copies = piece.holders.len() as u64;
                    Piece { holders: sets.id(&holders), copies, is_part: piece.is_part, links }
                }).collect();
                let summed = match at_once {
                    Some(rows) => sum_up_in_ranges(&pieces, &mut sets, &stats, vec![7], rows),
                    None => sum_up(&pieces, &mut sets, &stats, vec![7]),
                };
                let row = |class: &Class| {
                    let key = (class.holders.iter().collect(), class.is_outside, class.is_part);
                    (key, (class.inodes, class.allocated_bytes))
                };
                prop_assert_eq!(summed.space.classes().iter().map(row).collect::<BTreeSet<_>>(), wanted.clone());
                prop_assert_eq!((&summed.outside, &summed.too_few), (&outside, &too_few));
            }
        }
    }
}
