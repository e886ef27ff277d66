//! Computes what every snapshot holds, from the index and from new stat calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use crate::exec::{self, StatRequest, StatResult, TreeContents};
use crate::fs::{Dir, ErrorKind};
use crate::model::{InodeSet, InodeStats, Link, Links, PathMap, SnapshotId, Warning, WarningKind, count};
use crate::plan::{HolderSets, Holders, Piece, SetId, Space, Summed, sum_up};
use crate::repo::{Holding, Holdings, Index, InstanceId, Repository, SeriesOf, Summary};

use super::hold::{HoldingsReader, not_counted};
use super::other_trees::OtherTreeContents;
use crate::ops::error::OpError;

/// The work spent on the computation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Cost {
    /// Snapshots that were missing in the index, and that were listed.
    pub listed_snapshots: u64,
    /// Files that were read again with stat.
    pub asked_files: u64,
    /// Time to read the index.
    pub index: Duration,
    /// Time to list snapshots that were missing in the index.
    pub list: Duration,
    /// Time to stat files that were last seen shared, and to read the other trees.
    pub stat: Duration,
    /// Time to compute the sums.
    pub sum: Duration,
}

/// The holders of all files in a repository, at one moment.
#[derive(Debug)]
pub struct Measured {
    /// The series of the repository.
    pub series: SeriesOf,
    /// The snapshots in the order in which they were made; their positions are their numbers as holders.
    pub summaries: Vec<Summary>,
    /// The snapshots in the trash; their numbers follow.
    pub removed: Vec<SnapshotId>,
    /// The sums. The holders that follow the removed snapshots are the rest of the trash, `incoming/`, and our shadows.
    pub space: Space,
    /// Warnings, among them what could not be counted.
    pub warnings: Vec<Warning>,
    /// The work spent on the computation.
    pub cost: Cost,
    pub(super) other_trees: OtherTreeContents,
    pub(super) holdings: Holdings,
    /// Files of instances that were stat'ed.
    pub(super) stats: BTreeMap<InstanceId, InodeStats>,
    /// Snapshots that differed from the index.
    pub(super) differing: BTreeSet<SnapshotId>,
}

impl Measured {
    /// The number of a snapshot as a holder.
    #[must_use]
    pub fn holder(&self, id: SnapshotId) -> Option<usize> {
        self.summaries.iter().position(|summary| summary.id == id)
    }

    /// The holders that `gc` removes.
    #[must_use]
    pub fn trash(&self) -> Holders {
        let first = self.summaries.len();
        (first..=first + self.removed.len()).collect()
    }

    /// Whether one of these is a snapshot, removed or not.
    pub(super) fn is_of_snapshot(&self, holders: &Holders) -> bool {
        holders.iter().any(|holder| holder < self.leftover_trash())
    }

    pub(super) fn leftover_trash(&self) -> usize {
        self.summaries.len() + self.removed.len()
    }

    pub(super) fn incoming(&self) -> usize {
        self.leftover_trash() + 1
    }

    pub(super) fn shadows(&self) -> usize {
        self.leftover_trash() + 2
    }

    /// The space that removing this holder alone frees.
    pub(super) fn alone_bytes(&self, holder: usize) -> u64 {
        self.space.freed_bytes(&[holder].into_iter().collect())
    }

    /// The space that removing the leftovers of interrupted runs frees.
    pub(in crate::ops) fn interrupted_bytes(&self) -> u64 {
        self.alone_bytes(self.incoming()) + self.alone_bytes(self.shadows())
    }
}

/// Files that appear or disappear during a count may be counted twice or not at all. Then the count is repeated, up to
/// this many times.
const ATTEMPTS: usize = 3;

/// The number of parts whose names are in memory while their files are read: millions of files are in a hundred thousand
/// parts.
const PARTS_AT_ONCE: usize = 1 << 14;

/// Computes what every snapshot holds, and stores new facts in the index.
///
/// # Errors
/// If the repository cannot be read. A snapshot that cannot be read is a warning.
pub fn measure(repository: &Repository, paths: &PathMap, jobs: usize) -> Result<Measured, OpError> {
    measure_without(repository, paths, jobs, BTreeSet::new())
}

/// As [`measure`], ignoring what the index or other snapshots record about these.
///
/// # Errors
/// As [`measure`].
pub(super) fn measure_without(
    repository: &Repository,
    paths: &PathMap,
    jobs: usize,
    mut differing: BTreeSet<SnapshotId>,
) -> Result<Measured, OpError> {
    let pool = exec::pool(jobs)?;
    let mut cost = Cost::default();
    for attempt in 1.. {
        let before = names(repository)?;
        let began = Instant::now();
        let index = Index::open(repository)?;
        let removed: Vec<SnapshotId> = {
            let present: BTreeSet<SnapshotId> = index.summaries().iter().map(|summary| summary.id).collect();
            repository.removed_ids()?.into_iter().filter(|id| !present.contains(id)).collect()
        };
        let holdings = index.holdings(repository);
        let series = index.series().clone();
        cost.index += began.elapsed();
        let mut counting = Counting {
            repository,
            pool: &pool,
            summaries: index.summaries().to_vec(),
            removed,
            holdings,
            trees: BTreeMap::new(),
            stats_outside_parts: BTreeMap::new(),
            warnings: Vec::new(),
            cost: &mut cost,
        };
        counting.complete(&differing);
        let earlier = counting.list_other_trees(paths)?;
        let mut batch = counting.stat_batch();
        let others = counting.stat(&mut batch);
        if attempt < ATTEMPTS && others.iter().any(|id| differing.insert(*id)) {
            continue;
        }
        let other_trees = counting.list_other_trees(paths)?;
        let summed = counting.sum_up(&batch.stats, &other_trees);
        // A link counted in one place and created or removed in another would count as one outside, or hide one.
        let stood_still = other_trees.is_as(&earlier) && names(repository)? == before;
        if !stood_still && attempt < ATTEMPTS {
            continue;
        }
        counting.warn(&summed, stood_still);
        let Counting { summaries, removed, mut holdings, mut warnings, .. } = counting;
        if stood_still {
            let began = Instant::now();
            pool.install(|| keep(&mut holdings, &batch.stats, &summed.outside));
            index.keep_holdings(repository, &mut holdings);
            cost.index += began.elapsed();
        }
        warnings.extend(differing.iter().map(|id| {
            let message = format!("{id} was changed after the index recorded it; it was read again");
            Warning::new(WarningKind::SnapshotChanged, message)
        }));
        let Summed { space, .. } = summed;
        let stats = batch.stats;
        return Ok(Measured {
            series,
            summaries,
            removed,
            space,
            warnings,
            cost,
            other_trees,
            holdings,
            stats,
            differing,
        });
    }
    unreachable!("the last attempt returns")
}

/// All names whose appearance or disappearance changes the count.
fn names(repository: &Repository) -> Result<Vec<String>, OpError> {
    let mut names: Vec<String> = repository.snapshot_ids()?.0.iter().map(ToString::to_string).collect();
    names.extend(repository.removed_ids()?.iter().map(|id| format!("trash/{id}")));
    let other_trees = repository.other_trees()?;
    names.extend(other_trees.incoming.iter().map(|(name, _)| format!("incoming/{name}")));
    names.extend(other_trees.trash.iter().map(|(name, _)| format!("trash/{name}")));
    Ok(names)
}

struct Counting<'a> {
    repository: &'a Repository,
    pool: &'a ThreadPool,
    summaries: Vec<Summary>,
    removed: Vec<SnapshotId>,
    holdings: Holdings,
    /// All contents of snapshots whose parts nothing lists.
    trees: BTreeMap<SnapshotId, TreeContents>,
    /// Files outside parts, of those other snapshots whose were read.
    stats_outside_parts: BTreeMap<SnapshotId, InodeStats>,
    warnings: Vec<Warning>,
    cost: &'a mut Cost,
}

/// The files to stat again, and the results.
#[derive(Default)]
struct StatBatch {
    /// For each snapshot the instances to stat there; each instance occurs once.
    instances: BTreeMap<SnapshotId, Vec<InstanceId>>,
    /// The results, for each of those instances that could be read.
    stats: BTreeMap<InstanceId, InodeStats>,
}

impl Counting<'_> {
    /// All snapshots in the order of their numbers as holders, each with its directory.
    fn dirs(&self) -> Vec<(SnapshotId, Option<Dir>)> {
        let present = self.summaries.iter().map(|summary| (summary.id, self.repository.snapshot_dir(summary.id).ok()));
        let removed = self.removed.iter().map(|id| (*id, self.repository.removed_dir(*id).ok()));
        present.chain(removed).collect()
    }

    /// Ensures that all snapshots are in the index; those of `differing` are read without relying on other snapshots.
    fn complete(&mut self, differing: &BTreeSet<SnapshotId>) {
        let began = Instant::now();
        let complete: BTreeSet<SnapshotId> =
            self.summaries.iter().filter(|summary| summary.is_complete()).map(|summary| summary.id).collect();
        let dirs = self.dirs();
        let (holdings, warnings, trees) = (&mut self.holdings, &mut self.warnings, &mut self.trees);
        let mut holder = HoldingsReader::new(self.repository, holdings, warnings);
        for (id, dir) in dirs {
            let Some(dir) = dir else { continue };
            if differing.contains(&id) {
                holder.invalidate(id);
            }
            let is_known = self.pool.install(|| holder.insert(id, &dir, complete.contains(&id)));
            if !is_known {
                trees.insert(id, self.pool.install(|| exec::stat_tree(&dir, &|_| true)));
            }
        }
        let incomplete = holder.incomplete();
        self.stats_outside_parts = holder.take_links_outside_parts();
        self.cost.listed_snapshots += holder.listed() + trees.len() as u64;
        for id in incomplete {
            holdings.mark_incomplete(id);
        }
        for found in trees.values() {
            warnings.extend(found.problems.iter().map(not_counted));
        }
        self.cost.list += began.elapsed();
    }

    /// The instances that were last seen shared, each in the newest snapshot that has it.
    fn stat_batch(&self) -> StatBatch {
        let mut left: BTreeSet<InstanceId> = (self.holdings.instances())
            .filter(|(_, instance)| instance.links().any_outside())
            .map(|(id, _)| id)
            .collect();
        let mut batch = StatBatch::default();
        let ids = self.summaries.iter().map(|summary| summary.id).rev().chain(self.removed.iter().copied());
        for id in ids {
            let Some(holding) = self.holdings.get(id) else { continue };
            let mine: Vec<InstanceId> =
                holding.instances().map(|(instance, _)| instance).filter(|instance| left.remove(instance)).collect();
            if !mine.is_empty() {
                batch.instances.insert(id, mine);
            }
        }
        batch
    }

    /// Stats the files, and returns the snapshots that differ from the index.
    fn stat(&mut self, batch: &mut StatBatch) -> Vec<SnapshotId> {
        let began = Instant::now();
        let mut others = Vec::new();
        for (id, dir) in self.dirs() {
            let (Some(dir), Some(instances)) = (dir, batch.instances.get(&id)) else { continue };
            let request = |number: &InstanceId| {
                let instance = self.holdings.instance(*number)?;
                Some(StatRequest { instance: *number, origin: instance.origin()?, links: instance.links() })
            };
            let mut results = StatResult::default();
            for instances in instances.chunks(PARTS_AT_ONCE) {
                let requests: Vec<StatRequest<'_>> = instances.iter().filter_map(request).collect();
                results.add(self.pool.install(|| exec::stat_again(&dir, &requests)));
            }
            batch.stats.extend(results.stats);
            let missing = |error: &crate::fs::FsError| error.kind() == ErrorKind::NotFound;
            // A whole snapshot that went away was removed, which the next reading of the names shows.
            let is_there = self.repository.snapshot_dir(id).is_ok() || self.repository.removed_dir(id).is_ok();
            if is_there && (!results.others.is_empty() || results.problems.iter().any(missing)) {
                others.push(id);
            }
            let problems = results.problems.iter().filter(|error| is_there || !missing(error));
            self.warnings.extend(problems.map(|error| not_counted(crate::monitor::chain(error))));
        }
        self.cost.asked_files += batch.stats.values().map(|stats| stats.len() as u64).sum::<u64>();
        self.cost.stat += began.elapsed();
        others
    }

    fn list_other_trees(&mut self, paths: &PathMap) -> Result<OtherTreeContents, OpError> {
        let began = Instant::now();
        let other_trees = self.pool.install(|| OtherTreeContents::look(self.repository, paths))?;
        self.warnings.extend(other_trees.problems().into_iter().map(not_counted));
        self.cost.stat += began.elapsed();
        Ok(other_trees)
    }

    fn sum_up(&mut self, stats: &BTreeMap<InstanceId, InodeStats>, other_trees: &OtherTreeContents) -> Summed {
        let began = Instant::now();
        let ids: Vec<SnapshotId> =
            self.summaries.iter().map(|summary| summary.id).chain(self.removed.iter().copied()).collect();
        let mut sets = HolderSets::default();
        let holders = instance_holders(&self.holdings, &ids, &mut sets);
        let mut pieces = pieces_of_parts(&self.holdings, &holders, &sets);
        let trees = Trees::new(self, &ids, other_trees);
        let mut stats: Vec<&InodeStats> = stats.values().collect();
        for (number, links, more) in &trees.rest {
            pieces.push(Piece { holders: sets.id(&[*number].into_iter().collect()), copies: 1, is_part: false, links });
            stats.push(more);
        }
        let summed = sum_up(&pieces, &mut sets, &stats, trees.directory_bytes);
        self.cost.sum += began.elapsed();
        summed
    }

    fn warn(&mut self, summed: &Summed, stood_still: bool) {
        if !stood_still {
            let text = "snapshots came or went while this was counted: the figures may be wrong; ask again later";
            self.warnings.push(Warning::new(WarningKind::CountUnsettled, text));
        } else if !summed.too_few.is_empty() {
            let message = format!(
                "fewer links than the index says on {}: somebody has removed some; --exact looks at them all",
                count(summed.too_few.len() as u64, "file")
            );
            self.warnings.push(Warning::new(WarningKind::LinksMissing, message));
        }
        each_once(&mut self.warnings);
    }
}

/// Sorts warnings by their text, and removes duplicates.
pub(super) fn each_once(warnings: &mut Vec<Warning>) {
    warnings.sort_by(|a, b| a.message.cmp(&b.message));
    warnings.dedup_by(|a, b| a.message == b.message);
}

/// The set of holders of each instance, by its number.
pub(super) fn instance_holders(
    holdings: &Holdings,
    ids: &[SnapshotId],
    sets: &mut HolderSets,
) -> BTreeMap<InstanceId, SetId> {
    let none = sets.id(&Holders::default());
    let mut holders: BTreeMap<InstanceId, SetId> = holdings.instances().map(|(id, _)| (id, none)).collect();
    for (number, id) in ids.iter().enumerate() {
        for run in holdings.get(*id).map_or(&[][..], |holding| &holding.parts) {
            // Adjacent instances mostly have the same holders: one lookup serves them all.
            let mut last = None;
            for (_, set) in holders.range_mut(run.first..run.first.saturating_add(run.count)) {
                let grown = match last {
                    Some((from, to)) if from == *set => to,
                    _ => sets.with(*set, number),
                };
                last = Some((*set, grown));
                *set = grown;
            }
        }
    }
    holders
}

fn pieces_of_parts<'a>(
    holdings: &'a Holdings,
    holders: &BTreeMap<InstanceId, SetId>,
    sets: &HolderSets,
) -> Vec<Piece<'a>> {
    let piece = |(id, instance): (InstanceId, &'a crate::repo::PartInstance)| {
        let set = *holders.get(&id)?;
        let copies = sets.set(set)?.len() as u64;
        (copies > 0).then_some(Piece { holders: set, copies, is_part: true, links: instance.links() })
    };
    holdings.instances().filter_map(piece).collect()
}

/// Everything outside listed parts: the rest of each snapshot, and the other trees.
struct Trees {
    rest: Vec<(usize, Links, InodeStats)>,
    directory_bytes: Vec<u64>,
}

impl Trees {
    fn new(counting: &Counting<'_>, ids: &[SnapshotId], other_trees: &OtherTreeContents) -> Self {
        let mut trees = Self { rest: Vec::new(), directory_bytes: Vec::new() };
        for (number, id) in ids.iter().enumerate() {
            if let Some(found) = counting.trees.get(id) {
                trees.directory_bytes.push(found.directory_bytes);
                trees.rest.push((number, found.links(), InodeStats::new(found.files.clone())));
                continue;
            }
            let holding = counting.holdings.get(*id);
            trees.directory_bytes.push(holding.map_or(0, Holding::directory_bytes));
            if let Some(rest) = holding.and_then(|holding| holding.rest.as_ref()) {
                let stats = counting.stats_outside_parts.get(id).cloned().unwrap_or_default();
                trees.rest.push((number, rest.links.clone(), stats));
            }
        }
        for (more, found) in
            [&other_trees.trash, &other_trees.incoming, &other_trees.own_shadows].into_iter().enumerate()
        {
            trees.directory_bytes.push(found.directory_bytes);
            trees.rest.push((ids.len() + more, found.links(), InodeStats::new(found.files.clone())));
        }
        trees
    }
}

/// Stores the results in the instances that were read.
fn keep(holdings: &mut Holdings, stats: &BTreeMap<InstanceId, InodeStats>, outside: &InodeSet) {
    for (id, stats) in stats {
        let Some(instance) = holdings.instance(*id) else { continue };
        let mut stats = stats.iter().peekable();
        let learnt = |link: Link| {
            while stats.next_if(|stat| stat.inode < link.inode).is_some() {}
            let known = stats.peek().filter(|stat| stat.inode == link.inode && link.is_outside);
            known.map_or(link, |stat| Link {
                inode: link.inode,
                blocks: stat.blocks,
                is_outside: outside.contains(link.inode),
            })
        };
        let links: Vec<Link> = instance.links().iter().map(learnt).collect();
        if !links.iter().copied().eq(instance.links().iter()) {
            holdings.set_links(*id, Links::new(links));
        }
    }
}
