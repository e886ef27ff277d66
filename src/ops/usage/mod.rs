//! Disk space: what each snapshot holds, what removing it frees, and what the repository costs.

mod by_table;
mod exact;
mod hold;
mod measure;
mod other_trees;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::exec;
use crate::fs::{self, FilesystemSpace};
use crate::model::{PathMap, SnapshotId, Warning, WarningKind};
use crate::plan::{Growth, HolderBytes, Holders, Sample, SnapshotReference, Space, growth};
use crate::repo::{Event, Index, Pin, Repository, SeriesOf, Summary};

use super::error::OpError;
use super::journal::journal_warnings;
use super::read::{resolve, unreadable};

pub use by_table::TableUsage;
pub use measure::{Cost, Measured, measure};
pub use other_trees::ForeignShadow;

/// How the figures are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One row for each snapshot.
    #[default]
    Snapshot,
    /// One row for each table.
    Table,
    /// One row for each partition.
    Partition,
}

/// Snapshots named together: one, or a range in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRange {
    /// One snapshot.
    One(SnapshotReference),
    /// A range with both ends included, given in either order; a missing end stands for the first or last snapshot.
    FromTo(Option<SnapshotReference>, Option<SnapshotReference>),
}

/// A request for the figures of `usage`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UsageRequest {
    /// The snapshots to show; all if empty.
    pub snapshots: Vec<SnapshotReference>,
    /// The grouping.
    pub by: Grouping,
    /// Snapshots to compute the freed bytes of, if removed together.
    pub freed: Vec<SnapshotRange>,
    /// Whether every entry is read instead of using the index.
    pub exact: bool,
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
}

impl Default for UsageRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl UsageRequest {
    /// All snapshots, with the defaults of `chsnap usage`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            snapshots: Vec::new(),
            by: Grouping::Snapshot,
            freed: Vec::new(),
            exact: false,
            paths: PathMap::default(),
            jobs: exec::local_jobs(),
        }
    }
}

crate::model::setters! { UsageRequest {
    with_snapshots => snapshots: Vec<SnapshotReference>,
    with_by => by: Grouping,
    with_freed => freed: Vec<SnapshotRange>,
    with_exact => exact: bool,
    with_paths => paths: PathMap,
    with_jobs => jobs: usize,
} }

/// One snapshot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotUsage {
    /// Its summary, as in lists.
    pub summary: Summary,
    /// Its pin.
    pub pin: Option<Pin>,
    /// The bytes that it holds.
    pub held: HolderBytes,
    /// The space that removing it alone frees, its directories included.
    pub freed_bytes: u64,
    /// The space that removing it and all snapshots made before it frees.
    pub freed_with_older_bytes: u64,
}

/// The space that removing some snapshots together frees.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Freed {
    /// The snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Bytes of their directories.
    pub directory_bytes: u64,
    /// Both.
    pub freed_bytes: u64,
    /// The sum, with the trash removed as well: what `gc` frees once these snapshots are there too.
    pub freed_with_trash_bytes: u64,
}

/// The cost of the repository.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepositoryTotals {
    /// Files of snapshots that are also linked from outside the repository: they cost nothing while they are.
    pub live_shared_bytes: u64,
    /// Files that only the repository holds.
    pub pinned_bytes: u64,
    /// The share of those that are manifests, definitions and the like.
    pub metadata_bytes: u64,
    /// Bytes of directories.
    pub directory_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// The sum without the shared files: what would be free without the repository.
    pub cost_bytes: u64,
    /// The space that emptying the trash frees.
    pub trash_bytes: u64,
    /// The space that only unfinished snapshots hold.
    pub incoming_bytes: u64,
    /// The space that only leftover freezes of this repository hold.
    pub shadow_bytes: u64,
    /// Freezes by hand or by other tools.
    pub foreign_shadows: Vec<ForeignShadow>,
}

/// The comparison of the exact figures with the index.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct IndexComparison {
    /// Snapshots whose figures differed. The index has been repaired.
    pub differing: Vec<SnapshotId>,
}

/// The report of a `usage`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Usage {
    /// When it was computed.
    pub time: DateTime<Utc>,
    /// The filesystem.
    pub filesystem: FilesystemSpace,
    /// The requested snapshots, in the order in which they were made.
    pub snapshots: Vec<SnapshotUsage>,
    /// The series of the repository.
    pub series: SeriesOf,
    /// By table or partition, if requested.
    pub tables: Option<Vec<TableUsage>>,
    /// The space that the snapshots of [`UsageRequest::freed`] free together.
    pub freed: Option<Freed>,
    /// The snapshots in the trash.
    pub removed: Vec<SnapshotId>,
    /// The totals of the repository.
    pub totals: RepositoryTotals,
    /// How fast the filesystem fills.
    pub growth: Growth,
    /// Whether the figures rest on inode numbers that the index recorded earlier, on a filesystem where files may have
    /// other ones by now.
    pub is_estimated: bool,
    /// The comparison of the exact figures with the index, if requested.
    pub exact: Option<IndexComparison>,
    /// The work spent on the computation.
    pub cost: Cost,
    /// Warnings, for example about snapshots that could not be counted.
    pub warnings: Vec<Warning>,
}

/// Computes the space that snapshots take, and what removing them frees. Changes nothing but the index; works without a
/// server.
///
/// # Errors
/// If the repository cannot be read, or a named snapshot does not exist.
pub fn usage(repository: &Repository, request: &UsageRequest, now: DateTime<Utc>) -> Result<Usage, OpError> {
    let index = Index::open(repository)?;
    let chosen = chosen(&index, &request.snapshots)?;
    let freed = spans(&index, &request.freed)?;
    let mut measured = measure(repository, &request.paths, request.jobs)?;
    let exact = if request.exact { Some(compare(repository, &mut measured, request)?) } else { None };
    let is_chosen = |id: &SnapshotId| chosen.is_empty() || chosen.contains(id);
    let mut all = rows(repository, &measured)?;
    for row in &mut all {
        row.pin.take_if(|pin| !pin.holds(now));
    }
    let in_rows: BTreeSet<SnapshotId> = all.iter().map(|row| row.summary.id).filter(is_chosen).collect();
    let tables = (request.by != Grouping::Snapshot)
        .then(|| by_table::by_table(&measured, &in_rows, request.by == Grouping::Partition));
    let filesystem = fs::space(repository.dir())?;
    let mut warnings = measured.warnings.clone();
    warnings.extend(journal_warnings(repository));
    warnings.extend(
        measured.summaries.iter().filter_map(|summary| Some(unreadable(summary.id, summary.problem.as_ref()?))),
    );
    let recorded = (measured.summaries.len() + measured.removed.len()) as u64 > measured.cost.listed_snapshots;
    let is_estimated = exact.is_none() && recorded && !fs::keeps_inode_numbers(repository.dir());
    let gone = chosen.iter().chain(&freed).filter(|id| measured.holder(**id).is_none());
    let removed = |id: &SnapshotId| Warning::new(WarningKind::SnapshotRemoved, format!("{id} was removed meanwhile"));
    warnings.extend(gone.map(removed));
    Ok(Usage {
        time: now,
        filesystem,
        series: measured.series.clone(),
        tables,
        freed: (!request.freed.is_empty()).then(|| measured.freed(&freed)),
        removed: measured.removed.clone(),
        totals: totals(&measured, index.bytes(repository)),
        growth: growth(&samples(repository, &measured), filesystem.free_bytes, now),
        is_estimated,
        exact,
        cost: measured.cost,
        snapshots: all.into_iter().filter(|row| is_chosen(&row.summary.id)).collect(),
        warnings,
    })
}

fn chosen(index: &Index, references: &[SnapshotReference]) -> Result<BTreeSet<SnapshotId>, OpError> {
    references.iter().map(|reference| resolve(index, reference)).collect()
}

fn spans(index: &Index, spans: &[SnapshotRange]) -> Result<Vec<SnapshotId>, OpError> {
    let order: Vec<SnapshotId> = index.summaries().iter().map(|summary| summary.id).collect();
    let at = |reference| -> Result<usize, OpError> {
        let id = resolve(index, reference)?;
        Ok(order.iter().position(|other| *other == id).unwrap_or(0))
    };
    let mut numbers = BTreeSet::new();
    for span in spans {
        match span {
            SnapshotRange::One(one) => numbers.extend([at(one)?]),
            SnapshotRange::FromTo(from, to) => {
                let from = from.as_ref().map_or(Ok(0), at)?;
                let to = to.as_ref().map_or(Ok(order.len().saturating_sub(1)), at)?;
                numbers.extend(from.min(to)..=from.max(to));
            }
        }
    }
    Ok(numbers.into_iter().filter_map(|number| order.get(number).copied()).collect())
}

impl Measured {
    /// The space that removing these snapshots together frees.
    #[must_use]
    pub fn freed(&self, ids: &[SnapshotId]) -> Freed {
        let set: Holders = ids.iter().filter_map(|id| self.holder(*id)).collect();
        let (file_bytes, directory_bytes) = (self.space.freed_file_bytes(&set), self.space.directory_bytes(&set));
        Freed {
            snapshots: ids.to_vec(),
            file_bytes,
            directory_bytes,
            freed_bytes: file_bytes + directory_bytes,
            freed_with_trash_bytes: self.space.freed_bytes(&set.union(&self.trash())),
        }
    }
}

fn rows(repository: &Repository, measured: &Measured) -> Result<Vec<SnapshotUsage>, OpError> {
    let order: Vec<usize> = (0..measured.summaries.len()).collect();
    let with_older = measured.space.freed_in_order(&order);
    let mut rows = Vec::new();
    for ((number, summary), freed_with_older_bytes) in measured.summaries.iter().enumerate().zip(with_older) {
        let held = measured.space.held(number);
        let freed_bytes = held.exclusive_bytes + held.directory_bytes;
        let pin = repository.pin(summary.id)?;
        rows.push(SnapshotUsage { summary: summary.clone(), pin, held, freed_bytes, freed_with_older_bytes });
    }
    Ok(rows)
}

fn totals(measured: &Measured, index_bytes: u64) -> RepositoryTotals {
    let space = &measured.space;
    let all: Holders = (0..=measured.shadows()).collect();
    let pinned_bytes = space.freed_file_bytes(&all);
    let directory_bytes = space.directory_bytes(&all);
    RepositoryTotals {
        live_shared_bytes: space.sum(|class| class.is_outside),
        pinned_bytes,
        // Unfinished trees and shadows have files of parts that no list has yet: those are no metadata.
        metadata_bytes: space
            .sum(|class| !class.is_outside && !class.is_part && measured.is_of_snapshot(&class.holders)),
        directory_bytes,
        index_bytes,
        cost_bytes: pinned_bytes + directory_bytes + index_bytes,
        trash_bytes: space.freed_bytes(&measured.trash()),
        incoming_bytes: measured.alone_bytes(measured.incoming()),
        shadow_bytes: measured.alone_bytes(measured.shadows()),
        foreign_shadows: measured.other_trees.foreign_shadows.clone(),
    }
}

/// The figures of each snapshot that was ever made: from the journal, and from the existing ones.
fn samples(repository: &Repository, measured: &Measured) -> Vec<Sample> {
    let mut samples = BTreeMap::new();
    for summary in measured.summaries.iter().filter(|summary| summary.is_complete()) {
        let written_bytes = summary.totals.written_bytes;
        samples.insert(summary.id, Sample { time: summary.time, written_bytes, used_bytes: None });
    }
    for (_, event) in repository.events() {
        if let Event::Created { id, written_bytes: Some(written_bytes), used_bytes } = event {
            samples.insert(id, Sample { time: id.time(), written_bytes, used_bytes });
        }
    }
    samples.into_values().collect()
}

/// Walks everything, repairs the index if it differs, and uses the figures of the walk.
fn compare(
    repository: &Repository,
    measured: &mut Measured,
    request: &UsageRequest,
) -> Result<IndexComparison, OpError> {
    let (exact, problems) = exact::walk(repository, measured, &request.paths, request.jobs)?;
    let told = differing(measured, &exact);
    let mut left = told.clone();
    let corrected: Vec<Warning> = told.iter().filter_map(|id| difference(measured, &exact, *id)).collect();
    for heal in [IndexRepair::Restat, IndexRepair::Rebuild] {
        if left.is_empty() {
            break;
        }
        repair_index(repository, measured, request, &left, heal)?;
        left = differing(measured, &exact);
    }
    let mut all: BTreeSet<SnapshotId> = measured.differing.clone();
    all.extend(&told);
    measured.warnings.extend(problems.into_iter().map(hold::not_counted));
    measured.warnings.extend(corrected);
    measure::each_once(&mut measured.warnings);
    // If snapshots came or went, the repository has changed: then its own figures are used.
    if exact.is_of_as_many(&measured.space) {
        measured.space = exact;
    }
    Ok(IndexComparison { differing: all.into_iter().collect() })
}

/// How the index is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexRepair {
    /// The inodes match the index: they are read again with stat.
    Restat,
    /// Nothing in the index is trusted.
    Rebuild,
}

fn repair_index(
    repository: &Repository,
    measured: &mut Measured,
    request: &UsageRequest,
    ids: &[SnapshotId],
    heal: IndexRepair,
) -> Result<(), OpError> {
    let index = Index::open(repository)?;
    let mut holdings = index.holdings(repository);
    match heal {
        IndexRepair::Restat => ids.iter().for_each(|id| holdings.mark_for_recount(*id)),
        IndexRepair::Rebuild => holdings.forget_all(),
    }
    index.keep_holdings(repository, &mut holdings);
    let invalidated = if heal == IndexRepair::Rebuild { ids.iter().copied().collect() } else { BTreeSet::new() };
    let (cost, warnings) = (measured.cost, std::mem::take(&mut measured.warnings));
    *measured = measure::measure_without(repository, &request.paths, request.jobs, invalidated)?;
    measured.warnings.extend(warnings);
    measured.cost.asked_files += cost.asked_files;
    measured.cost.stat += cost.stat;
    Ok(())
}

/// How the index and the tree differ about a snapshot.
fn difference(measured: &Measured, exact: &Space, id: SnapshotId) -> Option<Warning> {
    let number = measured.holder(id)?;
    let (said, is) = (measured.space.held(number), exact.held(number));
    let figures = |held: HolderBytes| {
        let HolderBytes { exclusive_bytes, directory_bytes, live_shared_bytes, .. } = held;
        let all_bytes = held.allocated_bytes + held.metadata_bytes;
        format!(
            "{all_bytes} bytes, {live_shared_bytes} shared, {exclusive_bytes} alone, {directory_bytes} of directories"
        )
    };
    let (said, is) = (figures(said), figures(is));
    let message = format!("the index had {said} for {id}, and its tree has {is}: the index was corrected");
    Some(Warning::new(WarningKind::IndexCorrected, message))
}

fn differing(measured: &Measured, exact: &Space) -> Vec<SnapshotId> {
    let figures = |space: &Space, number: usize| {
        let held = space.held(number);
        let all_bytes = held.allocated_bytes + held.metadata_bytes;
        (all_bytes, held.exclusive_bytes, held.live_shared_bytes, held.directory_bytes)
    };
    let order: Vec<usize> = (0..measured.summaries.len()).collect();
    // The bytes that each adds to those before it: a difference in one does not affect the others.
    let steps = |space: &Space| {
        let sums = space.freed_in_order(&order);
        let before = std::iter::once(0).chain(sums.clone());
        sums.into_iter().zip(before).map(|(sum, before)| sum - before).collect::<Vec<u64>>()
    };
    let together = steps(&measured.space).into_iter().zip(steps(exact));
    let numbered = measured.summaries.iter().enumerate().zip(together);
    let differs = numbered.filter(|((number, _), (known, found))| {
        known != found || figures(&measured.space, *number) != figures(exact, *number)
    });
    differs.map(|((_, summary), _)| summary.id).collect()
}
