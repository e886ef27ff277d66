//! Adds snapshots to the index that it does not know: lists their parts, without a stat of any file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::exec::{self, PartOnDisk};
use crate::fs::Dir;
use crate::model::{InodeStats, Placement, SnapshotId, Warning, WarningKind};
use crate::repo::{
    Event, Holding, Holdings, Index, InstanceId, InstanceOrigin, PartInstance, PartKey, PartRecord, Repository,
    SnapshotState, read_parts,
};

/// The warning about something unreadable that is in no sum.
pub(super) fn not_counted(problem: impl Into<String>) -> Warning {
    Warning::new(WarningKind::NotCounted, problem)
}

type PartsByKey = HashMap<PartKey, (InstanceId, InstanceOrigin)>;

/// Adds snapshots to the index, one after the other.
pub(super) struct HoldingsReader<'a> {
    repository: &'a Repository,
    holdings: &'a mut Holdings,
    warnings: &'a mut Vec<Warning>,
    /// Snapshots whose manifests are not trusted about linked parts.
    invalidated: BTreeSet<SnapshotId>,
    /// Whether the journal was searched for snapshots in which entries were replaced since they were made.
    has_read_the_journal: bool,
    /// The parts of the snapshot that was looked up last: the next one links most of its parts from it.
    last: Option<(SnapshotId, PartsByKey)>,
    listed: u64,
    /// Snapshots some of whose parts could not be read.
    incomplete: Vec<SnapshotId>,
    /// Files outside parts, of the snapshots whose were read: a dump can be a link.
    stats_outside_parts: BTreeMap<SnapshotId, InodeStats>,
}

impl<'a> HoldingsReader<'a> {
    pub(super) fn new(repository: &'a Repository, holdings: &'a mut Holdings, warnings: &'a mut Vec<Warning>) -> Self {
        Self {
            repository,
            holdings,
            warnings,
            invalidated: BTreeSet::new(),
            has_read_the_journal: false,
            last: None,
            listed: 0,
            incomplete: Vec::new(),
            stats_outside_parts: BTreeMap::new(),
        }
    }

    /// The links of files outside parts, by snapshot, for the snapshots whose were read.
    pub(super) fn take_links_outside_parts(&mut self) -> BTreeMap<SnapshotId, InodeStats> {
        std::mem::take(&mut self.stats_outside_parts)
    }

    /// The number of snapshots that were listed.
    pub(super) fn listed(&self) -> u64 {
        self.listed
    }

    /// The snapshots with parts that could not be read.
    pub(super) fn incomplete(&self) -> Vec<SnapshotId> {
        self.incomplete.clone()
    }

    /// Forces a snapshot to be read from scratch.
    pub(super) fn invalidate(&mut self, id: SnapshotId) {
        self.holdings.forget(id);
        self.invalidated.insert(id);
    }

    /// Ensures that the snapshot in `dir` is in the index. False if nothing lists its parts.
    pub(super) fn insert(&mut self, id: SnapshotId, dir: &Dir, is_complete: bool) -> bool {
        if self.holdings.get(id).is_none() && !(is_complete && self.list(id, dir)) {
            return false;
        }
        let may_have_changed = |rest: &crate::repo::FilesOutsideParts| rest.links.any_outside();
        if self.holdings.get(id).is_some_and(|holding| holding.rest.as_ref().is_none_or(may_have_changed)) {
            self.list_files_outside_parts(id, dir);
        }
        true
    }

    fn list_files_outside_parts(&mut self, id: SnapshotId, dir: &Dir) {
        let origins: Vec<InstanceOrigin> = self.origins(id).into_iter().map(|(_, origin)| origin).collect();
        let parts = exec::part_paths(origins.iter().map(|origin| (&*origin.database, &*origin.table, &origin.part)));
        let found = exec::stat_tree(dir, &|path| !parts.contains(path));
        self.warnings.extend(found.problems.iter().map(not_counted));
        if found.problems.is_empty() {
            self.holdings.set_rest(id, found.rest());
            self.stats_outside_parts.insert(id, InodeStats::new(found.files));
        }
    }

    fn origins(&self, id: SnapshotId) -> Vec<(InstanceId, InstanceOrigin)> {
        let instances = self.holdings.get(id).into_iter().flat_map(Holding::instances);
        instances.filter_map(|(id, _)| Some((id, self.holdings.instance(id)?.origin()?))).collect()
    }

    fn list(&mut self, id: SnapshotId, dir: &Dir) -> bool {
        let Some(stamp) = Index::stamp(dir) else { return false };
        let Ok(SnapshotState::Complete(manifest)) = self.repository.snapshot(id) else { return false };
        let records = match read_parts(dir, &manifest.parts_blake3) {
            Ok(records) => records,
            Err(error) => {
                let message = format!("{id}: {}", crate::monitor::chain(&error));
                self.warnings.push(Warning::new(WarningKind::SnapshotUnreadable, message));
                return false;
            }
        };
        self.listed += 1;
        self.read_journal_events();
        let mut parts = Vec::with_capacity(records.len());
        let mut unknown = Vec::new();
        let mut linked = Vec::new();
        for record in &records {
            match self.linked_from(id, record) {
                Some(found) => linked.push((record, found)),
                None => unknown.push(record),
            }
        }
        let asked: Vec<(&PartRecord, u64)> =
            linked.iter().map(|(record, (_, origin))| (*record, origin.directories)).collect();
        match exec::directories_of_parts(dir, &asked) {
            Ok(bytes) => {
                let linked = linked.iter().zip(bytes);
                parts.extend(linked.map(|((record, found), bytes)| (self.same(record, found), bytes)));
            }
            // The manifest is wrong about them: each is read.
            Err(_) => unknown.extend(linked.iter().map(|(record, _)| *record)),
        }
        let (listed, problems) = exec::list_parts(dir, &unknown);
        for PartOnDisk { instance, directory_bytes } in listed {
            let known = self.holdings.find(&instance);
            parts.push((known.unwrap_or_else(|| self.holdings.add(instance)), directory_bytes));
        }
        self.holdings.set(id, stamp, parts, None);
        if !problems.is_empty() {
            self.warnings.extend(problems.into_iter().map(not_counted));
            self.incomplete.push(id);
        }
        self.remember(id);
        true
    }

    fn read_journal_events(&mut self) {
        if !self.has_read_the_journal {
            self.has_read_the_journal = true;
            let events = self.repository.events().into_iter();
            let repaired =
                events.filter_map(|(_, event)| if let Event::Repaired { ids, .. } = event { Some(ids) } else { None });
            self.invalidated.extend(repaired.flatten());
        }
    }

    /// The instance of a part that, according to its snapshot, was linked from an earlier snapshot in the index.
    fn linked_from(&mut self, id: SnapshotId, record: &PartRecord) -> Option<(InstanceId, InstanceOrigin)> {
        let is_believed = |from: &SnapshotId| !self.invalidated.contains(&id) && !self.invalidated.contains(from);
        let from = record.from.filter(|from| record.placed == Placement::Linked && is_believed(from))?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != from) {
            self.remember(from);
        }
        let (_, parts) = self.last.as_ref()?;
        let found = parts.get(&PartKey::of(record))?;
        (found.1.bytes == record.bytes).then(|| found.clone())
    }

    fn remember(&mut self, id: SnapshotId) {
        let parts = self.origins(id).into_iter().map(|(id, origin)| (PartKey::of_origin(&origin), (id, origin)));
        self.last = Some((id, parts.collect()));
    }

    /// That instance under the present name of its table.
    fn same(&mut self, record: &PartRecord, (id, origin): &(InstanceId, InstanceOrigin)) -> InstanceId {
        let now = InstanceOrigin::of(record, origin.directories);
        if now == *origin {
            return *id;
        }
        let Some(links) = self.holdings.instance(*id).map(|instance| instance.links().clone()) else { return *id };
        self.holdings.add(PartInstance::new(&now, links))
    }
}
