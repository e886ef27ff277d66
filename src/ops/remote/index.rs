//! The content of a store as a push uses it: the objects in manifests, and the condemned ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::model::{ContentHash, PartName, TableName, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{PresenceQuery, StoredObject, presence_query};
use crate::remote::{ObjectRef, RemoteError, RemoteManifest, RemoteName, RemotePart, RemoteRepository};
use crate::repo::PartRecord;

/// The number of manifests of its own repository that a push reads, besides any that it has written itself.
const OWN_MANIFESTS: usize = 2;

/// The parts and objects in the store, according to its manifests.
#[derive(Debug, Default)]
pub(super) struct RemoteIndex {
    parts: HashMap<(TableName, PartName), RemotePart>,
    /// Objects in manifests. The store may have lost them since.
    pub(super) claimed: HashSet<ContentHash>,
    /// Objects that this run has sent, or has found in the store with their size.
    pub(super) confirmed: HashSet<ContentHash>,
    /// Objects that this run has written.
    pub(super) uploaded: HashSet<ContentHash>,
    /// Those of them that the store has with their size.
    kept: HashSet<ContentHash>,
    /// All objects in the store, if it was listed.
    stored: Option<BTreeMap<ContentHash, StoredObject>>,
    /// Condemned and lost objects, which count as absent.
    pub(super) condemned: BTreeSet<ContentHash>,
    /// Condemned objects that exist again because this run has sent them.
    pub(super) resent: BTreeSet<ContentHash>,
}

impl RemoteIndex {
    /// Reads the newest manifests: some of our own repository, one of each other. One that cannot be read is a warning,
    /// and objects that only it lists are sent again.
    pub(super) fn read(
        remote: &RemoteRepository,
        names: &[RemoteName],
        own: &[&str],
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, OpError> {
        let mut index = Self { condemned: condemned(remote)?.into_keys().collect(), ..Self::default() };
        // The names of a repository are adjacent, in the order of their ids.
        for group in names.chunk_by(|one, other| one.repository == other.repository) {
            let is_own = group.first().is_some_and(|name| own.contains(&name.repository.as_str()));
            let wanted = if is_own { OWN_MANIFESTS } else { 1 };
            let newest = group.get(group.len().saturating_sub(wanted)..).unwrap_or_default();
            for name in newest {
                match remote.manifest(name) {
                    Ok(Some(manifest)) => index.add(&manifest, is_own),
                    Ok(None) => {}
                    Err(error @ RemoteError::Store(_)) => return Err(error.into()),
                    Err(error) => {
                        let message = format!("nothing is reused of a snapshot: {}", crate::monitor::chain(&error));
                        warnings.push(Warning::new(WarningKind::SnapshotUnreadable, message));
                    }
                }
            }
        }
        Ok(index)
    }

    /// Treats these as absent and not sent again.
    pub(super) fn forget(&mut self, keys: &BTreeSet<ContentHash>) {
        self.condemned.extend(keys);
        self.resent.retain(|key| !keys.contains(key));
    }

    /// The keys among these objects that the store does not have with their size. The others are confirmed from then on.
    pub(super) fn lost(
        &mut self,
        remote: &RemoteRepository,
        objects: impl Iterator<Item = ObjectRef>,
    ) -> Result<BTreeSet<ContentHash>, OpError> {
        let asked: BTreeSet<ObjectRef> = objects.filter(|object| !self.confirmed.contains(&object.key)).collect();
        if self.stored.is_none() && presence_query(asked.len(), self.claimed.len()) == PresenceQuery::List {
            self.stored = Some(remote.objects()?);
        }
        let is_there = |object: ObjectRef| -> Result<bool, OpError> {
            match &self.stored {
                Some(stored) => Ok(stored.get(&object.key).is_some_and(|found| found.bytes == object.bytes)),
                None => Ok(remote.has(object)?),
            }
        };
        let asked: Vec<ObjectRef> = asked.into_iter().collect();
        let there: Vec<bool> = asked.par_iter().map(|object| is_there(*object)).collect::<Result<_, _>>()?;
        let of = |wanted: bool| asked.iter().zip(&there).filter(move |(_, there)| **there == wanted);
        let lost: BTreeSet<ContentHash> = of(false).map(|(object, _)| object.key).collect();
        self.confirmed.extend(of(true).map(|(object, _)| object.key).filter(|key| !lost.contains(key)));
        Ok(lost)
    }

    /// The keys among these objects that this run has written, and that the store does not have with their size: one that
    /// is full or out of order may acknowledge what it does not keep. The others are not looked up again.
    pub(super) fn not_kept(
        &mut self,
        remote: &RemoteRepository,
        objects: impl Iterator<Item = ObjectRef>,
    ) -> Result<BTreeSet<ContentHash>, OpError> {
        let is_open = |object: &ObjectRef| self.uploaded.contains(&object.key) && !self.kept.contains(&object.key);
        let asked: BTreeSet<ObjectRef> = objects.filter(is_open).collect();
        let query = presence_query(asked.len(), self.claimed.len() + self.uploaded.len());
        // A list from before they were sent does not have them.
        let listed = if query == PresenceQuery::List { remote.objects()? } else { BTreeMap::new() };
        let is_there = |object: &ObjectRef| -> Result<bool, OpError> {
            let is_listed = listed.get(&object.key).is_some_and(|found| found.bytes == object.bytes);
            // The list of some services is late.
            Ok(is_listed || remote.has(*object)?)
        };
        let asked: Vec<ObjectRef> = asked.into_iter().collect();
        let there: Vec<bool> = asked.par_iter().map(is_there).collect::<Result<_, _>>()?;
        let mut lost = BTreeSet::new();
        for (object, is_there) in asked.iter().zip(there) {
            if is_there {
                self.kept.insert(object.key);
            } else {
                lost.insert(object.key);
            }
        }
        Ok(lost)
    }

    /// The keys that count as absent.
    pub(super) fn absent(&self) -> BTreeSet<ContentHash> {
        self.condemned.difference(&self.resent).copied().collect()
    }

    /// Adds the contents of a manifest. Its parts are reused only if it `is_own`: a record proves nothing about the
    /// parts of another host.
    pub(super) fn add(&mut self, manifest: &RemoteManifest, is_own: bool) {
        self.claimed.extend(manifest.objects().map(|object| object.key));
        if is_own {
            for part in &manifest.parts {
                self.parts.insert((part.record.table_name(), part.record.part.clone()), part.clone());
            }
        }
    }

    /// The files of a part that the store has according to a manifest, with the same owners and modes.
    pub(super) fn same_part(&self, record: &PartRecord) -> Option<&RemotePart> {
        let held = self.parts.get(&(record.table_name(), record.part.clone()))?;
        let is_same = held.record.is_recorded_alike(record) && held.record.proves_content_of(record);
        let is_absent = |key: &ContentHash| self.condemned.contains(key) && !self.resent.contains(key);
        (is_same && !held.files.objects().any(|object| is_absent(&object.key))).then_some(held)
    }
}

/// All keys that are condemned now, each with the time of its first condemnation.
pub(super) fn condemned(remote: &RemoteRepository) -> Result<BTreeMap<ContentHash, DateTime<Utc>>, OpError> {
    let mut condemned = BTreeMap::new();
    for condemnation in remote.condemnations()? {
        for key in condemnation.keys {
            let since = condemned.entry(key).or_insert(condemnation.since);
            *since = condemnation.since.min(*since);
        }
    }
    Ok(condemned)
}
