//! What every snapshot holds, from the index and from what must be asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use crate::exec::{self, Found, Question};
use crate::fs::{Dir, ErrorKind};
use crate::model::{InodeSet, Link, Links, PathMap, SnapshotId, Warning, WarningKind};
use crate::plan::{Asked, HolderSets, Holders, Piece, SetId, Space, Summed, sum_up};
use crate::repo::{Holding, Holdings, Index, InstanceId, Repository, SeriesOf, Summary};

use super::beside::Beside;
use super::hold::{Holder, not_counted};
use crate::ops::error::OpError;

/// What finding it out has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Snapshots that the index did not know, and that were listed.
    pub listed_snapshots: u64,
    /// Files that were stat'ed again.
    pub asked_files: u64,
    /// Reading the index.
    pub index: Duration,
    /// Listing snapshots that it did not know.
    pub list: Duration,
    /// Stat'ing again the files that were last seen shared, and what stands beside the snapshots.
    pub stat: Duration,
    /// Summing up.
    pub sum: Duration,
}

/// Who holds what in a repository, at one moment.
#[derive(Debug)]
pub struct Measured {
    /// Which series there are.
    pub series: SeriesOf,
    /// The snapshots in the order in which they were made; their positions are their numbers as holders.
    pub summaries: Vec<Summary>,
    /// The snapshots in the trash; their numbers follow.
    pub removed: Vec<SnapshotId>,
    /// The sums. Holders behind the removed snapshots: the rest of the trash, `incoming/`, our shadows.
    pub space: Space,
    /// What could not be counted, and what was noticed.
    pub warnings: Vec<Warning>,
    /// What it has cost.
    pub cost: Cost,
    pub(super) beside: Beside,
    pub(super) holdings: Holdings,
    pub(super) asked: Vec<Asked>,
    /// Snapshots that were not as the index had them.
    pub(super) differing: BTreeSet<SnapshotId>,
}

impl Measured {
    /// The number of a snapshot as a holder.
    #[must_use]
    pub fn holder(&self, id: SnapshotId) -> Option<usize> {
        self.summaries.iter().position(|summary| summary.id == id)
    }

    /// The holders that `gc` takes away.
    #[must_use]
    pub fn trash(&self) -> Holders {
        let first = self.summaries.len();
        (first..=first + self.removed.len()).collect()
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
}

/// Whatever comes or goes while it is counted can be counted twice or not at all: then it is counted again, so often.
const ATTEMPTS: usize = 3;

/// Counts what every snapshot holds, and keeps in the index what it has found out.
///
/// # Errors
/// If the repository cannot be read. A snapshot that cannot be read is in the warnings.
pub fn measure(repository: &Repository, paths: &PathMap, jobs: usize) -> Result<Measured, OpError> {
    measure_without(repository, paths, jobs, BTreeSet::new())
}

/// [`measure`], with regard to nothing that the index or other snapshots say of these.
///
/// # Errors
/// As there.
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
            rest_asked: BTreeMap::new(),
            warnings: Vec::new(),
            cost: &mut cost,
        };
        counting.complete(&differing);
        let earlier = counting.look_beside(paths)?;
        let mut questions = counting.questions();
        let others = counting.ask(&mut questions);
        if attempt < ATTEMPTS && others.iter().any(|id| differing.insert(*id)) {
            continue;
        }
        let beside = counting.look_beside(paths)?;
        let summed = counting.sum_up(&questions.asked, &beside);
        // A link that is counted here and made or gone there would pass for one outside, or hide one.
        let stood_still = beside.is_as(&earlier) && names(repository)? == before;
        if !stood_still && attempt < ATTEMPTS {
            continue;
        }
        counting.warn(&summed, stood_still);
        let Counting { summaries, removed, mut holdings, mut warnings, .. } = counting;
        if stood_still {
            let began = Instant::now();
            pool.install(|| keep(&mut holdings, &questions, &summed.outside));
            index.keep_holdings(repository, &mut holdings);
            cost.index += began.elapsed();
        }
        warnings.extend(differing.iter().map(|id| {
            let message = format!(
                "{id} is not as it was when the index took it up: somebody has changed it; it was looked at anew"
            );
            Warning::new(WarningKind::SnapshotChanged, message)
        }));
        let Summed { space, .. } = summed;
        let asked = questions.asked;
        return Ok(Measured { series, summaries, removed, space, warnings, cost, beside, holdings, asked, differing });
    }
    unreachable!("the last attempt returns")
}

/// Everything whose coming or going changes what is counted.
fn names(repository: &Repository) -> Result<Vec<String>, OpError> {
    let mut names: Vec<String> = repository.snapshot_ids()?.0.iter().map(ToString::to_string).collect();
    names.extend(repository.removed_ids()?.iter().map(|id| format!("trash/{id}")));
    let beside = repository.beside()?;
    names.extend(beside.incoming.iter().map(|(name, _)| format!("incoming/{name}")));
    names.extend(beside.trash.iter().map(|(name, _)| format!("trash/{name}")));
    Ok(names)
}

struct Counting<'a> {
    repository: &'a Repository,
    pool: &'a ThreadPool,
    summaries: Vec<Summary>,
    removed: Vec<SnapshotId>,
    holdings: Holdings,
    /// Snapshots whose parts nothing lists: all that stands in them.
    trees: BTreeMap<SnapshotId, Found>,
    /// Of the others the files that are no part's, as far as they were looked at.
    rest_asked: BTreeMap<SnapshotId, Vec<Asked>>,
    warnings: Vec<Warning>,
    cost: &'a mut Cost,
}

/// What is asked again, and the answers.
#[derive(Default)]
struct Questions {
    /// For each snapshot the instances that are asked there: each instance once.
    instances: BTreeMap<SnapshotId, Vec<InstanceId>>,
    /// The answers, in ascending order of inodes, each inode once.
    asked: Vec<Asked>,
}

impl Counting<'_> {
    /// All snapshots in the order of their numbers as holders, each with its directory.
    fn dirs(&self) -> Vec<(SnapshotId, Option<Dir>)> {
        let present = self.summaries.iter().map(|summary| (summary.id, self.repository.snapshot_dir(summary.id).ok()));
        let removed = self.removed.iter().map(|id| (*id, self.repository.removed_dir(*id).ok()));
        present.chain(removed).collect()
    }

    /// Sees to it that all snapshots are known; those of `differing` are looked at without regard to what others have.
    fn complete(&mut self, differing: &BTreeSet<SnapshotId>) {
        let began = Instant::now();
        let complete: BTreeSet<SnapshotId> =
            self.summaries.iter().filter(|summary| summary.is_complete()).map(|summary| summary.id).collect();
        let dirs = self.dirs();
        let (holdings, warnings, trees) = (&mut self.holdings, &mut self.warnings, &mut self.trees);
        let mut holder = Holder::new(self.repository, holdings, warnings);
        for (id, dir) in dirs {
            let Some(dir) = dir else { continue };
            if differing.contains(&id) {
                holder.distrust(id);
            }
            let is_known = self.pool.install(|| holder.know(id, &dir, complete.contains(&id)));
            if !is_known {
                trees.insert(id, self.pool.install(|| exec::look_at_tree(&dir, &|_| true)));
            }
        }
        let incomplete = holder.incomplete();
        self.rest_asked = holder.take_rest_asked();
        self.cost.listed_snapshots += holder.listed() + trees.len() as u64;
        for id in incomplete {
            holdings.keep_not(id);
        }
        for found in trees.values() {
            warnings.extend(found.problems.iter().map(not_counted));
        }
        self.cost.list += began.elapsed();
    }

    /// The instances that were last seen shared, each in the newest snapshot that has it.
    fn questions(&self) -> Questions {
        let mut left: BTreeSet<InstanceId> = (self.holdings.instances())
            .filter(|(_, instance)| instance.links().any_outside())
            .map(|(id, _)| id)
            .collect();
        let mut questions = Questions::default();
        let ids = self.summaries.iter().map(|summary| summary.id).rev().chain(self.removed.iter().copied());
        for id in ids {
            let Some(holding) = self.holdings.get(id) else { continue };
            let mine: Vec<InstanceId> =
                holding.instances().map(|(instance, _)| instance).filter(|instance| left.remove(instance)).collect();
            if !mine.is_empty() {
                questions.instances.insert(id, mine);
            }
        }
        questions
    }

    /// Asks, and says which snapshots are not as they should be.
    fn ask(&mut self, questions: &mut Questions) -> Vec<SnapshotId> {
        let began = Instant::now();
        let mut others = Vec::new();
        for (id, dir) in self.dirs() {
            let (Some(dir), Some(instances)) = (dir, questions.instances.get(&id)) else { continue };
            let ask = |instance: &InstanceId| {
                let instance = self.holdings.instance(*instance)?;
                Some(Question { origin: instance.origin()?, links: instance.links() })
            };
            let asked: Vec<Question<'_>> = instances.iter().filter_map(ask).collect();
            let answers = self.pool.install(|| exec::ask_again(&dir, &asked));
            questions.asked.extend(answers.asked);
            let missing = |error: &crate::fs::FsError| error.kind() == ErrorKind::NotFound;
            // A whole snapshot that went away is removed, which the next look at the names tells.
            let is_there = self.repository.snapshot_dir(id).is_ok() || self.repository.removed_dir(id).is_ok();
            if is_there && (!answers.others.is_empty() || answers.problems.iter().any(missing)) {
                others.push(id);
            }
            let problems = answers.problems.iter().filter(|error| is_there || !missing(error));
            self.warnings.extend(problems.map(|error| not_counted(crate::monitor::chain(error))));
        }
        self.cost.asked_files += questions.asked.len() as u64;
        once_each(&mut questions.asked);
        self.cost.stat += began.elapsed();
        others
    }

    fn look_beside(&mut self, paths: &PathMap) -> Result<Beside, OpError> {
        let began = Instant::now();
        let beside = self.pool.install(|| Beside::look(self.repository, paths))?;
        self.warnings.extend(beside.problems().into_iter().map(not_counted));
        self.cost.stat += began.elapsed();
        Ok(beside)
    }

    fn sum_up(&mut self, asked: &[Asked], beside: &Beside) -> Summed {
        let began = Instant::now();
        let ids: Vec<SnapshotId> =
            self.summaries.iter().map(|summary| summary.id).chain(self.removed.iter().copied()).collect();
        let mut sets = HolderSets::default();
        let holders = instance_holders(&self.holdings, &ids, &mut sets);
        let mut pieces = pieces_of_parts(&self.holdings, &holders, &sets);
        let trees = Trees::new(self, &ids, beside);
        let mut asked = asked.to_vec();
        for (number, links, more) in &trees.rest {
            pieces.push(Piece { holders: sets.id(&[*number].into_iter().collect()), copies: 1, is_part: false, links });
            asked.extend_from_slice(more);
        }
        once_each(&mut asked);
        let summed = sum_up(&pieces, &mut sets, &asked, trees.directory_bytes);
        self.cost.sum += began.elapsed();
        summed
    }

    fn warn(&mut self, summed: &Summed, stood_still: bool) {
        if !stood_still {
            let text = "snapshots came or went while this was counted: the figures may be wrong; ask again later";
            self.warnings.push(Warning::new(WarningKind::CountUnsettled, text));
        } else if !summed.too_few.is_empty() {
            let message = format!(
                "{} files have fewer links than the index says: somebody has removed some; --exact looks at them all",
                summed.too_few.len()
            );
            self.warnings.push(Warning::new(WarningKind::LinksMissing, message));
        }
        each_once(&mut self.warnings);
    }
}

/// Sorts warnings by their sentences, and keeps one of each.
pub(super) fn each_once(warnings: &mut Vec<Warning>) {
    warnings.sort_by(|a, b| a.message.cmp(&b.message));
    warnings.dedup_by(|a, b| a.message == b.message);
}

/// Of several looks at an inode the one with the most links stands: trees that are being unlinked lose them while they
/// are counted, and what has lost one too many would pass for the repository's alone.
fn once_each(asked: &mut Vec<Asked>) {
    asked.sort_unstable_by(|a, b| b.cmp(a));
    asked.dedup_by_key(|asked| asked.inode);
    asked.reverse();
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
            // Instances that follow each other mostly have the same holders: one look-up for all of them.
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
    let piece = |(id, instance): (InstanceId, &'a crate::repo::Instance)| {
        let set = *holders.get(&id)?;
        let copies = sets.set(set)?.len() as u64;
        (copies > 0).then_some(Piece { holders: set, copies, is_part: true, links: instance.links() })
    };
    holdings.instances().filter_map(piece).collect()
}

/// What is no listed part: the rest of each snapshot, and the trees beside them.
struct Trees {
    rest: Vec<(usize, Links, Vec<Asked>)>,
    directory_bytes: Vec<u64>,
}

impl Trees {
    fn new(counting: &Counting<'_>, ids: &[SnapshotId], beside: &Beside) -> Self {
        let mut trees = Self { rest: Vec::new(), directory_bytes: Vec::new() };
        for (number, id) in ids.iter().enumerate() {
            if let Some(found) = counting.trees.get(id) {
                trees.directory_bytes.push(found.directory_bytes);
                trees.rest.push((number, Links::new(found.links.clone()), found.asked.clone()));
                continue;
            }
            let holding = counting.holdings.get(*id);
            trees.directory_bytes.push(holding.map_or(0, Holding::directory_bytes));
            if let Some(rest) = holding.and_then(|holding| holding.rest.as_ref()) {
                let asked = counting.rest_asked.get(id).cloned().unwrap_or_default();
                trees.rest.push((number, rest.links.clone(), asked));
            }
        }
        for (more, found) in [&beside.trash, &beside.incoming, &beside.own_shadows].into_iter().enumerate() {
            trees.directory_bytes.push(found.directory_bytes);
            trees.rest.push((ids.len() + more, Links::new(found.links.clone()), found.asked.clone()));
        }
        trees
    }
}

/// Says of the instances that were asked what was learnt.
fn keep(holdings: &mut Holdings, questions: &Questions, outside: &InodeSet) {
    let asked = &questions.asked;
    for id in questions.instances.values().flatten() {
        let Some(instance) = holdings.instance(*id) else { continue };
        let learnt = |link: Link| {
            let at = asked.partition_point(|asked| asked.inode < link.inode);
            let known = asked.get(at).filter(|asked| asked.inode == link.inode && link.is_outside);
            known.map_or(link, |asked| Link {
                inode: link.inode,
                blocks: asked.blocks,
                is_outside: outside.contains(link.inode),
            })
        };
        let links: Vec<Link> = instance.links().iter().map(learnt).collect();
        if !links.iter().copied().eq(instance.links().iter()) {
            holdings.set_links(*id, Links::new(links));
        }
    }
}
