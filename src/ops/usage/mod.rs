//! The space truth: what each snapshot holds, what removing it frees, and what the repository costs.

mod beside;
mod by_table;
mod exact;
mod hold;
mod measure;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::fs::{self, FilesystemSpace};
use crate::model::{PathMap, SnapshotId, Warning, WarningKind};
use crate::plan::{Growth, Held, Holders, Sample, SeriesKey, SnapshotReference, Space, growth};
use crate::repo::{Event, Index, Pin, Repository, SeriesOf, Summary};

use super::error::OpError;
use super::read::{journal_gap, resolve, unreadable};

pub use beside::ForeignShadow;
pub use by_table::TableUsage;
pub use measure::{Cost, Measured, measure};

/// By what the figures are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// A row a snapshot.
    #[default]
    Snapshot,
    /// A row a table.
    Table,
    /// A row a partition.
    Partition,
}

/// Snapshots named together: one, or all from one to another in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// One.
    One(SnapshotReference),
    /// From one to another, both included, in either order; from the first or to the last where one is not named.
    FromTo(Option<SnapshotReference>, Option<SnapshotReference>),
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct UsageRequest {
    /// The snapshots that are shown; all where none is named.
    pub snapshots: Vec<SnapshotReference>,
    /// By what.
    pub by: By,
    /// Snapshots that might be removed together.
    pub freed: Vec<Span>,
    /// Whether every entry is looked at.
    pub exact: bool,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotUsage {
    /// What lists say of it.
    pub summary: Summary,
    /// Its pin.
    pub pin: Option<Pin>,
    /// What it holds.
    pub held: Held,
    /// What removing it alone frees, its directories included.
    pub freed_bytes: u64,
    /// What removing it and all that were made before it frees.
    pub freed_with_older_bytes: u64,
}

/// What removing some snapshots together frees.
#[derive(Clone, Debug, Default)]
pub struct Freed {
    /// The snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// Files.
    pub file_bytes: u64,
    /// Their directories.
    pub directory_bytes: u64,
    /// Both.
    pub freed_bytes: u64,
    /// Both, with what is in the trash: what `gc` frees once they are there too.
    pub freed_with_trash_bytes: u64,
}

/// What the repository costs.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Files of snapshots that something outside of the repository links too: they cost nothing as long as it does.
    pub live_shared_bytes: u64,
    /// Files that are there only because the repository holds them.
    pub pinned_bytes: u64,
    /// Of those, manifests, definitions and the like.
    pub metadata_bytes: u64,
    /// Directories.
    pub directory_bytes: u64,
    /// The index.
    pub index_bytes: u64,
    /// All of it but the shared: what would be free without the repository.
    pub cost_bytes: u64,
    /// What emptying the trash frees.
    pub trash_bytes: u64,
    /// What is held by a snapshot that is being built, or was left half built, and by nothing else.
    pub incoming_bytes: u64,
    /// What is held by leftover freezes of this repository and by nothing else.
    pub shadow_bytes: u64,
    /// Freezes of others.
    pub foreign_shadows: Vec<ForeignShadow>,
}

/// How the exact figures compare with the index's.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Snapshots about which they differed. The index has been put right.
    pub differing: Vec<SnapshotId>,
}

/// The whole answer.
#[derive(Clone, Debug)]
pub struct Usage {
    /// When it was found out.
    pub time: DateTime<Utc>,
    /// The filesystem.
    pub filesystem: FilesystemSpace,
    /// The snapshots that were asked for, in the order in which they were made.
    pub snapshots: Vec<SnapshotUsage>,
    /// Which series there are.
    pub series: SeriesOf,
    /// By table or partition, if that was asked.
    pub tables: Option<Vec<TableUsage>>,
    /// What the snapshots of [`UsageRequest::freed`] free together.
    pub freed: Option<Freed>,
    /// The snapshots in the trash.
    pub removed: Vec<SnapshotId>,
    /// What the repository costs.
    pub totals: Totals,
    /// How fast the filesystem fills.
    pub growth: Growth,
    /// How the exact figures compare with the index's, if they were asked for.
    pub exact: Option<Comparison>,
    /// What it has cost to find out.
    pub cost: Cost,
    /// What could not be counted, and what was noticed.
    pub warnings: Vec<Warning>,
}

/// Says what snapshots take, and what removing them frees. Changes nothing but the index; works without a server.
///
/// # Errors
/// If the repository cannot be read, or a snapshot is named that is not there.
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
    let tables =
        (request.by != By::Snapshot).then(|| by_table::by_table(&measured, &in_rows, request.by == By::Partition));
    let filesystem = fs::space(repository.dir())?;
    let mut warnings = measured.warnings.clone();
    warnings.extend(repository.journal_gaps()?.iter().map(journal_gap));
    warnings.extend(
        measured.summaries.iter().filter_map(|summary| Some(unreadable(summary.id, summary.problem.as_ref()?))),
    );
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
        growth: growth(&samples(repository, &measured)?, filesystem.free_bytes, now),
        exact,
        cost: measured.cost,
        snapshots: all.into_iter().filter(|row| is_chosen(&row.summary.id)).collect(),
        warnings,
    })
}

fn chosen(index: &Index, references: &[SnapshotReference]) -> Result<BTreeSet<SnapshotId>, OpError> {
    references.iter().map(|reference| resolve(index, reference)).collect()
}

fn spans(index: &Index, spans: &[Span]) -> Result<Vec<SnapshotId>, OpError> {
    let order: Vec<SnapshotId> = index.summaries().iter().map(|summary| summary.id).collect();
    let at = |reference| -> Result<usize, OpError> {
        let id = resolve(index, reference)?;
        Ok(order.iter().position(|other| *other == id).unwrap_or(0))
    };
    let mut numbers = BTreeSet::new();
    for span in spans {
        match span {
            Span::One(one) => numbers.extend([at(one)?]),
            Span::FromTo(from, to) => {
                let from = from.as_ref().map_or(Ok(0), at)?;
                let to = to.as_ref().map_or(Ok(order.len().saturating_sub(1)), at)?;
                numbers.extend(from.min(to)..=from.max(to));
            }
        }
    }
    Ok(numbers.into_iter().filter_map(|number| order.get(number).copied()).collect())
}

impl Measured {
    /// What removing these snapshots together frees.
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
    // A snapshot is compared with the last one of its series or of the main one.
    let mut newest: BTreeMap<&SeriesKey, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    for ((number, summary), freed_with_older_bytes) in measured.summaries.iter().enumerate().zip(with_older) {
        let of = |key| newest.get(key).copied();
        let before = summary.series.as_ref().and_then(of).max(of(&measured.series.main));
        let held = measured.space.held(number, before);
        if let Some(key) = &summary.series {
            newest.insert(key, number);
        }
        let freed_bytes = held.exclusive_bytes + held.directory_bytes;
        let pin = repository.pin(summary.id)?;
        rows.push(SnapshotUsage { summary: summary.clone(), pin, held, freed_bytes, freed_with_older_bytes });
    }
    Ok(rows)
}

fn totals(measured: &Measured, index_bytes: u64) -> Totals {
    let space = &measured.space;
    let all: Holders = (0..=measured.shadows()).collect();
    let alone = |holder: usize| space.freed_bytes(&[holder].into_iter().collect());
    let pinned_bytes = space.freed_file_bytes(&all);
    let directory_bytes = space.directory_bytes(&all);
    Totals {
        live_shared_bytes: space.sum(|class| class.is_outside),
        pinned_bytes,
        metadata_bytes: space.sum(|class| !class.is_outside && !class.is_part),
        directory_bytes,
        index_bytes,
        cost_bytes: pinned_bytes + directory_bytes + index_bytes,
        trash_bytes: space.freed_bytes(&measured.trash()),
        incoming_bytes: alone(measured.incoming()),
        shadow_bytes: alone(measured.shadows()),
        foreign_shadows: measured.beside.foreign_shadows.clone(),
    }
}

/// What is known of each snapshot that was ever made: from the journal, and from those that are there.
fn samples(repository: &Repository, measured: &Measured) -> Result<Vec<Sample>, OpError> {
    let mut samples = BTreeMap::new();
    for summary in measured.summaries.iter().filter(|summary| summary.is_complete()) {
        let written_bytes = summary.totals.written_bytes;
        samples.insert(summary.id, Sample { time: summary.time, written_bytes, used_bytes: None });
    }
    for (_, event) in repository.events()? {
        if let Event::Created { id, written_bytes: Some(written_bytes), used_bytes } = event {
            samples.insert(id, Sample { time: id.time(), written_bytes, used_bytes });
        }
    }
    Ok(samples.into_values().collect())
}

/// Walks everything, puts the index right where it differs, and takes the walk's figures.
fn compare(repository: &Repository, measured: &mut Measured, request: &UsageRequest) -> Result<Comparison, OpError> {
    let (exact, problems) = exact::walk(repository, measured, &request.paths, request.jobs)?;
    let told = differing(measured, &exact);
    let mut left = told.clone();
    let corrected: Vec<Warning> = told.iter().filter_map(|id| difference(measured, &exact, *id)).collect();
    for heal in [Heal::AskAgain, Heal::LookAnew] {
        if left.is_empty() {
            break;
        }
        put_right(repository, measured, request, &left, heal)?;
        left = differing(measured, &exact);
    }
    let mut all: BTreeSet<SnapshotId> = measured.differing.clone();
    all.extend(&told);
    measured.warnings.extend(problems.into_iter().map(hold::not_counted));
    measured.warnings.extend(corrected);
    measure::each_once(&mut measured.warnings);
    // Another repository by now, if snapshots came or went: then its own figures stand.
    if exact.is_of_as_many(&measured.space) {
        measured.space = exact;
    }
    Ok(Comparison { differing: all.into_iter().collect() })
}

/// How the index is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heal {
    /// The inodes are those that it has: they are stat'ed again.
    AskAgain,
    /// Nothing that it has is believed.
    LookAnew,
}

fn put_right(
    repository: &Repository,
    measured: &mut Measured,
    request: &UsageRequest,
    ids: &[SnapshotId],
    heal: Heal,
) -> Result<(), OpError> {
    let index = Index::open(repository)?;
    let mut holdings = index.holdings(repository);
    match heal {
        Heal::AskAgain => ids.iter().for_each(|id| holdings.suspect(*id)),
        Heal::LookAnew => holdings.forget_all(),
    }
    index.keep_holdings(repository, &mut holdings);
    let distrusted = if heal == Heal::LookAnew { ids.iter().copied().collect() } else { BTreeSet::new() };
    let (cost, warnings) = (measured.cost, std::mem::take(&mut measured.warnings));
    *measured = measure::measure_without(repository, &request.paths, request.jobs, distrusted)?;
    measured.warnings.extend(warnings);
    measured.cost.asked_files += cost.asked_files;
    measured.cost.stat += cost.stat;
    Ok(())
}

/// In what the index and the tree differ about a snapshot.
fn difference(measured: &Measured, exact: &Space, id: SnapshotId) -> Option<Warning> {
    let number = measured.holder(id)?;
    let (said, is) = (measured.space.held(number, None), exact.held(number, None));
    let figures = |held: Held| {
        let Held { exclusive_bytes, directory_bytes, live_shared_bytes, .. } = held;
        let all_bytes = held.allocated_bytes + held.metadata_bytes;
        format!(
            "{all_bytes} bytes, {live_shared_bytes} shared, {exclusive_bytes} alone, {directory_bytes} of directories"
        )
    };
    let (said, is) = (figures(said), figures(is));
    let message = format!("the index said of {id} {said}, and its tree says {is}: the index was put right");
    Some(Warning::new(WarningKind::IndexCorrected, message))
}

fn differing(measured: &Measured, exact: &Space) -> Vec<SnapshotId> {
    let figures = |space: &Space, number: usize| {
        let held = space.held(number, number.checked_sub(1));
        let all_bytes = held.allocated_bytes + held.metadata_bytes;
        (all_bytes, held.exclusive_bytes, held.live_shared_bytes, held.written_bytes, held.directory_bytes)
    };
    let order: Vec<usize> = (0..measured.summaries.len()).collect();
    // What each adds to those before it: a difference in one of them is none in the others.
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
