//! The inodes that each snapshot holds: the part of the index from which space reports are made.
//!
//! A part that stays unchanged has the same files in snapshot after snapshot: the same names, the same inodes. That is
//! one *instance*, stored once. A snapshot is a list of the numbers of its instances, most of which are consecutive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::model::{Link, Links, LivePartState, PartName, PartitionId, SnapshotId, TableUuid};

use super::parts::PartRecord;

/// The number of an instance in one index.
pub type InstanceId = u32;

/// The part to which the files of an instance belong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceOrigin {
    /// The part's database.
    pub database: CompactString,
    /// Its table.
    pub table: CompactString,
    /// Its table's UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<TableUuid>,
    /// Its partition.
    pub partition: PartitionId,
    /// Its name.
    pub part: PartName,
    /// Sum of its files' sizes.
    pub bytes: u64,
    /// Directories in it: its projections.
    pub directories: u64,
}

impl InstanceOrigin {
    /// The origin of a listed part that contains `directories` directories.
    #[must_use]
    pub fn of(record: &PartRecord, directories: u64) -> Self {
        Self {
            database: record.table.database.as_str().into(),
            table: record.table.table.as_str().into(),
            uuid: record.uuid.clone(),
            partition: record.partition.clone(),
            part: record.part.clone(),
            bytes: record.bytes,
            directories,
        }
    }
}

/// The files of a part, as one or many snapshots have them.
#[derive(Clone, Debug)]
pub struct PartInstance {
    /// [`InstanceOrigin`] as JSON: most queries do not need it.
    origin: Box<str>,
    links: Links,
}

impl PartInstance {
    /// Creates an instance from files that were just stat'ed.
    #[must_use]
    pub fn new(origin: &InstanceOrigin, links: Links) -> Self {
        let origin = serde_json::to_string(origin).expect("an origin has only string keys");
        Self { origin: origin.into(), links }
    }

    pub(super) fn stored(origin: String, links: Vec<u8>) -> Option<Self> {
        Some(Self { origin: origin.into(), links: Links::from_bytes(links)? })
    }

    pub(super) fn origin_text(&self) -> &str {
        &self.origin
    }

    /// The part to which its files belong; `None` if the index is damaged.
    #[must_use]
    pub fn origin(&self) -> Option<InstanceOrigin> {
        serde_json::from_str(&self.origin).ok()
    }

    /// Its links.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Whether both are the same instance: same origin, same inodes.
    fn is(&self, other: &Self) -> bool {
        self.origin == other.origin && self.links.has_inodes_of(&other.links)
    }
}

/// Identifies a part across two consecutive snapshots, provided that its files were linked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PartKey {
    /// The UUID, if there is one, because the table may be renamed.
    table: Result<TableUuid, (String, String)>,
    part: PartName,
}

impl PartKey {
    /// The key of a listed part.
    #[must_use]
    pub fn of(record: &PartRecord) -> Self {
        Self::new(record.uuid.as_ref(), &record.table.database, &record.table.table, &record.part)
    }

    /// The key of the part from which an instance was made.
    #[must_use]
    pub fn of_origin(origin: &InstanceOrigin) -> Self {
        Self::new(origin.uuid.as_ref(), &origin.database, &origin.table, &origin.part)
    }

    fn new(uuid: Option<&TableUuid>, database: &str, table: &str, part: &PartName) -> Self {
        let table = uuid.cloned().ok_or_else(|| (database.to_owned(), table.to_owned()));
        Self { table, part: part.clone() }
    }
}

/// A part of a snapshot that is about to be added to the index.
#[derive(Clone, Debug)]
pub enum RetainedPart {
    /// Its files are those of the same part in the last snapshot, so they need no `stat`; with the state of the live part,
    /// if that was compared with it.
    Unchanged(InstanceOrigin, Option<Box<LivePartState>>),
    /// Its files were stat'ed; with the state of the live part, if that was compared with it.
    Seen(PartInstance, Option<Box<LivePartState>>),
}

/// Consecutively numbered instances whose parts' directories have the same allocated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRun {
    /// The first instance.
    pub first: InstanceId,
    /// How many there are.
    pub count: u32,
    /// Allocated bytes of the directories of each part.
    pub directory_bytes: u64,
}

/// The files of a snapshot outside its parts: manifest, definitions, and the directories above its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesOutsideParts {
    /// Allocated bytes of the directories.
    pub directory_bytes: u64,
    /// The files.
    pub links: Links,
}

/// The contents of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Its parts.
    pub parts: Vec<PartRun>,
    /// Everything else; `None` if it was not examined yet.
    pub rest: Option<FilesOutsideParts>,
}

impl Holding {
    /// Builds a holding from these instances, each with the allocated bytes of its directories.
    #[must_use]
    pub fn new(mut parts: Vec<(InstanceId, u64)>, rest: Option<FilesOutsideParts>) -> Self {
        parts.sort_unstable();
        parts.dedup_by_key(|(instance, _)| *instance);
        let mut runs: Vec<PartRun> = Vec::new();
        for (instance, directory_bytes) in parts {
            match runs.last_mut() {
                Some(run) if run.directory_bytes == directory_bytes && run.first + run.count == instance => {
                    run.count += 1;
                }
                _ => runs.push(PartRun { first: instance, count: 1, directory_bytes }),
            }
        }
        Self { parts: runs, rest }
    }

    /// The instances, each with the allocated bytes of its directories in this snapshot.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, u64)> {
        self.parts.iter().flat_map(|run| {
            (run.first..run.first.saturating_add(run.count)).map(|instance| (instance, run.directory_bytes))
        })
    }

    /// The numbers of the instances as runs: the first of each, and the one after its last.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.parts.iter().map(|run| (u64::from(run.first), u64::from(run.first) + u64::from(run.count)))
    }

    /// Allocated bytes of all directories.
    #[must_use]
    pub fn directory_bytes(&self) -> u64 {
        let of_parts = self.parts.iter().map(|run| run.directory_bytes.saturating_mul(u64::from(run.count)));
        of_parts.fold(self.rest.as_ref().map_or(0, |rest| rest.directory_bytes), u64::saturating_add)
    }
}

/// The contents of all snapshots, including those in the trash, if they were examined already.
#[derive(Debug, Default)]
pub struct Holdings {
    pub(super) snapshots: BTreeMap<SnapshotId, (String, Holding)>,
    pub(super) instances: BTreeMap<InstanceId, PartInstance>,
    /// Instances whose present state is not in the index yet.
    pub(super) changed: BTreeSet<InstanceId>,
    /// Snapshots whose present state is not in the index yet.
    pub(super) changed_snapshots: BTreeSet<SnapshotId>,
    /// The generation of the index from which this was read.
    pub(super) generation: i64,
    /// The instances by hashes of their origins.
    by_origin: Option<HashMap<u64, Vec<InstanceId>>>,
    hashes: RandomState,
}

impl Holdings {
    pub(super) fn of(generation: i64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Returns the content of a snapshot.
    #[must_use]
    pub fn get(&self, id: SnapshotId) -> Option<&Holding> {
        self.snapshots.get(&id).map(|(_, holding)| holding)
    }

    /// The instances of all snapshots.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &PartInstance)> {
        self.instances.iter().map(|(id, instance)| (*id, instance))
    }

    /// An instance.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&PartInstance> {
        self.instances.get(&id)
    }

    /// Returns the instance with the same origin and inodes as this one, if there is one.
    pub fn find(&mut self, instance: &PartInstance) -> Option<InstanceId> {
        let hash = self.hashes.hash_one(&instance.origin);
        let instances = &self.instances;
        let is_it = |id: &&InstanceId| instances.get(*id).is_some_and(|known| known.is(instance));
        let by_origin = self.by_origin.get_or_insert_with(|| {
            let mut by_origin: HashMap<u64, Vec<InstanceId>> = HashMap::new();
            for (id, instance) in instances {
                by_origin.entry(self.hashes.hash_one(&instance.origin)).or_default().push(*id);
            }
            by_origin
        });
        by_origin.get(&hash)?.iter().find(is_it).copied()
    }

    /// Adds an instance, or updates the links of the equal one that is known.
    pub fn add(&mut self, instance: PartInstance) -> InstanceId {
        if let Some(id) = self.find(&instance) {
            if self.instances.get(&id).is_some_and(|known| known.links != instance.links) {
                self.set_links(id, instance.links);
            }
            return id;
        }
        let id = self.instances.last_key_value().map_or(1, |(id, _)| id.saturating_add(1));
        if let Some(by_origin) = &mut self.by_origin {
            by_origin.entry(self.hashes.hash_one(&instance.origin)).or_default().push(id);
        }
        self.instances.insert(id, instance);
        self.changed.insert(id);
        id
    }

    /// Updates allocated bytes and link counts of an instance; its inodes stay the same.
    pub fn set_links(&mut self, id: InstanceId, links: Links) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.links = links;
            self.changed.insert(id);
        }
    }

    /// Sets what the snapshot whose manifest has this stamp holds: its instances, each with the allocated bytes of its
    /// directories.
    pub fn set(
        &mut self,
        id: SnapshotId,
        stamp: String,
        parts: Vec<(InstanceId, u64)>,
        rest: Option<FilesOutsideParts>,
    ) {
        self.snapshots.insert(id, (stamp, Holding::new(parts, rest)));
        self.changed_snapshots.insert(id);
    }

    /// Sets the files of a snapshot outside its parts.
    pub fn set_rest(&mut self, id: SnapshotId, rest: FilesOutsideParts) {
        if let Some((_, holding)) = self.snapshots.get_mut(&id) {
            holding.rest = Some(rest);
            self.changed_snapshots.insert(id);
        }
    }

    /// Marks a snapshot that could not be read completely, so that the next reader examines it again.
    pub fn mark_incomplete(&mut self, id: SnapshotId) {
        self.changed_snapshots.remove(&id);
    }

    /// Marks everything that a snapshot is recorded to hold, so that it is stat'ed again.
    pub fn mark_for_recount(&mut self, id: SnapshotId) {
        let instances: Vec<InstanceId> =
            self.get(id).into_iter().flat_map(Holding::instances).map(|(instance, _)| instance).collect();
        for id in instances {
            let Some(instance) = self.instances.get(&id) else { continue };
            let links = instance.links.iter().map(|link| Link { is_outside: true, ..link });
            let links = Links::new(links.collect());
            self.set_links(id, links);
        }
        if let Some((_, holding)) = self.snapshots.get_mut(&id) {
            holding.rest = None;
            self.changed_snapshots.insert(id);
        }
    }

    /// Forgets what a snapshot holds.
    pub fn forget(&mut self, id: SnapshotId) {
        self.snapshots.remove(&id);
        self.changed_snapshots.insert(id);
    }

    /// Forgets everything.
    pub fn forget_all(&mut self) {
        self.snapshots.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.forget(id));
    }

    /// Whether the index contains all of this.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.changed.is_empty() && self.changed_snapshots.is_empty()
    }

    /// The numbers of the instances that snapshots hold, in ascending order, as runs: the beginning and the end of
    /// each.
    pub(super) fn held_runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = self.snapshots.values().flat_map(|(_, holding)| holding.runs()).collect();
        runs.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, end) in runs {
            match joined.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((first, end)),
            }
        }
        joined
    }

    /// Drops the instances that no snapshot has any more.
    pub(super) fn drop_unheld(&mut self) {
        let held = self.held_runs();
        let is_held = |id: InstanceId| {
            let after = held.partition_point(|(_, end)| *end <= u64::from(id));
            held.get(after).is_some_and(|(first, _)| *first <= u64::from(id))
        };
        self.instances.retain(|id, _| is_held(*id));
        self.changed.retain(|id| is_held(*id));
        self.by_origin = None;
    }
}
