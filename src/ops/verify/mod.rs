//! Compares snapshots with their own records: without a server, and without the lock while they are read.

mod affected;
mod merge;
mod noted;
mod outcome;
mod request;
mod subjects;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::exec;
use crate::exec::verify::{
    self as checking, PartFinding, PartGroup, PartVerification, UnreadPaths, Verifier, check_frame, check_metadata,
};
use crate::fs::{Dir, RateLimit, ReadOptions};
use crate::model::{Level, PartName, SnapshotId, TableName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageAtWork, StageWork};
use crate::plan::{Slice, SliceChoice, TablePattern};
use crate::repo::{Index, PartRecord, Repository, TableRanges};

use super::create::Clock;
use super::error::OpError;
use super::journal::journal_warnings;
use super::read::resolve;

pub use request::{Damage, Drift, Intact, Repair, Report, Request};
use subjects::{Groups, Opened, Subject, VerifyScope, open};

/// Verifies snapshots, and repairs what can be repaired if requested.
///
/// Snapshots that are read are leased. The lock is taken only to record the findings, and to repair.
///
/// # Errors
/// If the repository cannot be read, or a named snapshot does not exist. Damage is in the report.
pub fn verify(
    repository: &Repository,
    request: &Request,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<Report, OpError> {
    let begun = Instant::now();
    if request.repair {
        repository.check_writable_format()?;
    }
    let pool = exec::pool(request.jobs)?;
    let started = now();
    let rate = request.bytes_per_second.map(RateLimit::new);
    let advanced = |bytes| monitor.advanced(Stage::Verify, StageWork { bytes, ..StageWork::default() });
    let options = ReadOptions { rate: rate.as_ref(), advanced: &advanced };
    let mut report = Report { begun: Some(started), ..Report::default() };
    let (mut subjects, mut findings) = open_all(repository, request, &mut report)?;
    report.slice = slice(repository, request, &subjects);
    let names: Vec<TableName> = subjects.iter().flat_map(|subject| subject.tables().into_names()).collect();
    let patterns = TablePattern::resolve(&request.tables, &names.iter());
    drop(names);
    report.tables = patterns.iter().flat_map(TablePattern::to_record).collect();
    let scope = VerifyScope { tables: &patterns, slice: report.slice };
    let unread = UnreadPaths::default();
    let run = VerifyRun { repository, request, scope, options, unread: &unread };

    let discovering = StageAtWork::start(monitor, Stage::Discover, None);
    let mut groups = pool.install(|| run.frames(&mut subjects, &mut findings, &mut report));
    report.warnings.extend(journal_warnings(repository));
    // Without the journal nothing is spared, and a warning says so.
    let covered = run.cover(&subjects, &mut groups, started);
    let groups = largest_first(groups);
    drop(discovering);
    let parts = groups.iter().map(|group| group.instances.len() as u64).sum();
    let bytes = groups.iter().map(|group| bytes_to_read(group, request.level)).sum();
    let verifying =
        StageAtWork::start(monitor, Stage::Verify, Some(StageWork { parts, bytes, ..StageWork::default() }));
    let reading = Instant::now();
    let dirs: Vec<Dir> = subjects.iter().map(|subject| subject.dir.clone()).collect();
    let verifier = Verifier::new(&dirs, request.level, options, &unread);
    let check = |group: &PartGroup| {
        let outcome = verifier.check(group);
        // Files that the group shares with another one, or that have no checksum, were not read.
        let unread_bytes = bytes_to_read(group, request.level).saturating_sub(outcome.tally.read_bytes);
        let (parts, files) = (outcome.tally.parts, outcome.tally.files);
        monitor.advanced(Stage::Verify, StageWork { parts, files, bytes: unread_bytes, ..StageWork::default() });
        outcome
    };
    let outcomes: Vec<PartVerification> = pool.install(|| groups.par_iter().with_max_len(1).map(check).collect());
    drop(verifier);
    drop(verifying);
    report.read_seconds = reading.elapsed().as_secs_f64();

    let mut spared = Spared::default();
    let mut drift = Vec::new();
    for (group, outcome) in groups.iter().zip(outcomes) {
        report.tally += outcome.tally;
        findings.extend(outcome.findings);
        drift.extend(outcome.drift);
        spared.add(group, outcome.spared, &covered);
    }
    report.unverifiable = unverifiable(&groups);
    report.oldest = spared.oldest;
    drop(groups);
    run.drop_removed(&mut subjects, &mut findings, &mut drift, &mut report);
    let ids: Vec<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
    report.drift = merge::named_drift(drift, &ids);
    report.warnings.extend(merge::drift_warning(&report.drift));
    let mut damage = pool.install(|| run.find_affected(subjects, findings, &spared, monitor))?;
    let (unread_count, reasons) = unread.into_parts();
    if unread_count > 0 {
        let reasons = reasons.join("; ");
        let message = format!("{unread_count} entries were not checked, this user may not read them: {reasons}");
        report.warnings.push(Warning::new(WarningKind::NotChecked, message));
    }
    outcome::record_and_repair(repository, request, now, monitor, &spared, unread_count > 0, &mut damage, &mut report);
    report.damage = damage.list;
    noted::add_noted_damage(repository, request, scope, &mut report);
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// The request of a run, and the state that it needs.
struct VerifyRun<'a> {
    repository: &'a Repository,
    request: &'a Request,
    scope: VerifyScope<'a>,
    options: ReadOptions<'a>,
    unread: &'a UnreadPaths,
}

/// The parts that were read, and those that were spared because an earlier check has read them.
#[derive(Default)]
struct Spared {
    read: Vec<(TableName, PartName)>,
    not_read: Vec<(TableName, PartName)>,
    oldest: Option<DateTime<Utc>>,
}

impl Spared {
    fn add(&mut self, group: &PartGroup, was_spared: bool, covered: &LastReadByPart) {
        let key = (group.table.clone(), group.part.clone());
        if was_spared {
            let time = covered.get(&key).copied();
            self.oldest = self.oldest.map_or(time, |oldest| time.map(|time| oldest.min(time)));
            self.not_read.push(key);
        } else {
            self.read.push(key);
        }
    }

    /// The parts that were not read.
    fn not_read(&self) -> HashSet<&(TableName, PartName)> {
        self.not_read.iter().collect()
    }

    /// The parts that were read, in the journal's form; `None` if no part was spared.
    fn read_ranges(&self) -> Option<Vec<TableRanges>> {
        (!self.not_read.is_empty()).then(|| TableRanges::gather(&self.read, &self.not_read))
    }
}

/// When the bytes of a part were last read.
type LastReadByPart = BTreeMap<(TableName, PartName), DateTime<Utc>>;

fn slice(repository: &Repository, request: &Request, subjects: &[Subject]) -> Option<Slice> {
    let ids: Vec<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
    match request.slice {
        None => None,
        Some(SliceChoice::At(slice)) => Some(slice),
        Some(SliceChoice::Next(count)) => repository.checks().next_slice(request.level, count, &ids),
    }
}

fn open_all(
    repository: &Repository,
    request: &Request,
    report: &mut Report,
) -> Result<(Vec<Subject>, Vec<PartFinding>), OpError> {
    let index = Index::open(repository)?;
    let mut ids: Vec<SnapshotId> = if request.references.is_empty() {
        index.summaries().iter().map(|summary| summary.id).collect()
    } else {
        request.references.iter().map(|reference| resolve(&index, reference)).collect::<Result<_, _>>()?
    };
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    let (mut subjects, mut findings) = (Vec::new(), Vec::new());
    for id in ids {
        match open(repository, id, subjects.len())? {
            Opened::Subject(subject, found) => {
                subjects.push(*subject);
                findings.extend(found);
            }
            Opened::Removed => report.removed.push(id),
            Opened::Newer(format) => {
                let message =
                    format!("snapshot {id} is not checked: it has format {format}, which a newer chsnap reads");
                report.warnings.push(Warning::new(WarningKind::NewerFormat, message));
            }
        }
    }
    Ok((subjects, findings))
}

/// The number of complete lists of parts in memory for each thread.
const LISTS_AT_ONCE: usize = 1;

impl VerifyRun<'_> {
    /// Checks everything in the snapshots except the contents of their parts, and collects the parts.
    fn frames(&self, subjects: &mut [Subject], findings: &mut Vec<PartFinding>, report: &mut Report) -> Groups {
        let mut groups = Groups::default();
        let at_once = rayon::current_num_threads().max(1) * LISTS_AT_ONCE;
        for (chunk, subjects) in subjects.chunks_mut(at_once).enumerate() {
            let read: Vec<_> = subjects
                .par_iter_mut()
                .enumerate()
                .map(|(at, subject)| self.frame(subject, chunk * at_once + at))
                .collect();
            let kept: Vec<bool> = subjects.iter().map(Subject::keeps_ids).collect();
            for (at, ((parts, found, metadata_files), keeps_ids)) in read.into_iter().zip(kept).enumerate() {
                findings.extend(found);
                report.metadata_files += metadata_files;
                for record in parts {
                    groups.add(chunk * at_once + at, record, keeps_ids);
                }
            }
        }
        groups
    }

    /// Checks one snapshot's tree and definitions. Returns its parts within the scope of the run.
    fn frame(&self, subject: &mut Subject, position: usize) -> (Vec<PartRecord>, Vec<PartFinding>, u64) {
        let mut findings = Vec::new();
        let parts = match subject.parts(position, self.unread) {
            Ok(parts) => Some(parts),
            Err(finding) => {
                findings.extend(finding.map(|finding| *finding));
                None
            }
        };
        subject.has_parts = parts.is_some();
        let (frame, mut found) = subject.frame(position, parts.as_deref(), self.scope);
        found.extend(check_frame(&subject.dir, position, &frame, self.unread));
        let mut metadata_files = 0;
        let tables = subject.tables();
        for (file, table) in subject.metadata(self.scope) {
            metadata_files += 1;
            let checked = check_metadata(&subject.dir, position, file, self.request.level, self.options, self.unread);
            found.extend(checked.into_iter().map(|finding| PartFinding { table: table.clone(), ..finding }));
        }
        for finding in &mut found {
            tables.name(finding, &frame);
            subject.set_expected_digest(finding);
        }
        findings.extend(found);
        let mut parts = parts.unwrap_or_default();
        parts.retain(|part| self.scope.has(&part.table, &part.part));
        (parts, findings, metadata_files)
    }

    /// Marks the parts that a sufficiently recent check has read. Returns when that was.
    fn cover(&self, subjects: &[Subject], groups: &mut Groups, now: DateTime<Utc>) -> LastReadByPart {
        let mut known = LastReadByPart::new();
        let Some(since) = self.request.since.filter(|_| self.request.level == Level::Data) else { return known };
        let since = chrono::Duration::from_std(since).unwrap_or(chrono::Duration::MAX);
        let oldest = now.checked_sub_signed(since).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let checks = self.repository.checks();
        let ids: Vec<SnapshotId> = subjects.iter().map(|subject| subject.id).collect();
        for ((table, part), instances) in &mut groups.parts {
            let covered = checks.covered(table, part, &ids);
            // One that is dated in the future does not say how long ago it was.
            let Some(time) = covered.time.filter(|time| (oldest..=now).contains(time)) else { continue };
            for instance in instances {
                instance.covered = covered.snapshots.get(instance.snapshot).copied().unwrap_or(false);
            }
            known.insert((table.clone(), part.clone()), time);
        }
        known
    }

    /// Drops snapshots that disappeared while they were read: they were removed, and are not damaged.
    fn drop_removed(
        &self,
        subjects: &mut [Subject],
        findings: &mut Vec<PartFinding>,
        drift: &mut [checking::PartDrift],
        report: &mut Report,
    ) {
        let exists: Vec<bool> = subjects.iter().map(|subject| subject.exists(self.repository)).collect();
        for (subject, exists) in subjects.iter().zip(&exists) {
            if *exists {
                report.ids.push(subject.id);
                if !subject.keeps_ids() {
                    report.ids_not_kept.push(subject.id);
                }
            } else {
                report.removed.push(subject.id);
            }
        }
        let positions = findings.iter_mut().map(|finding| &mut finding.snapshots);
        for positions in positions.chain(drift.iter_mut().map(|drift| &mut drift.snapshots)) {
            positions.retain(|position| exists.get(*position).copied().unwrap_or(false));
        }
        findings.retain(|finding| !finding.snapshots.is_empty());
    }
}

/// Large parts first, so that all threads end at about the same time.
fn largest_first(groups: Groups) -> Vec<PartGroup> {
    let mut parts: Vec<PartGroup> =
        groups.parts.into_iter().map(|((table, part), instances)| PartGroup { table, part, instances }).collect();
    let bytes = |group: &PartGroup| group.instances.first().map_or(0, |instance| instance.record.bytes);
    parts.sort_by_key(|group| std::cmp::Reverse(bytes(group)));
    parts
}

/// The bytes of a group that a check of this level reads: each inode once, and none that an earlier check has read.
fn bytes_to_read(group: &PartGroup, level: Level) -> u64 {
    if level != Level::Data || group.instances.iter().all(|instance| instance.covered) {
        return 0;
    }
    group.instances.first().map_or(0, |instance| instance.record.bytes)
}

/// Why parts have no usable checksums, with their number.
fn unverifiable(groups: &[PartGroup]) -> Vec<(String, u64)> {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let instances = groups.iter().flat_map(|group| &group.instances);
    for reason in instances.filter_map(|instance| instance.record.unverifiable.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}
