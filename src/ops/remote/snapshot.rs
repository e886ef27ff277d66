//! Sends and commits one snapshot.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Component, Path};
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::checksums::is_gin_index;
use crate::exec::{self, FileOnDisk};
use crate::fs::{self, Dir, ErrorKind, FsError, RateLimit};
use crate::model::{ContentHash, PartTally, SnapshotId};
use crate::monitor::{Stage, StageWork};
use crate::ops::copy::difference;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::remote::{
    Bundle, ObjectRef, REMOTE_FORMAT, RemoteDirectory, RemoteError, RemoteHead, RemoteManifest, RemotePart,
    RemoteRepository, SentAs, mode_problem,
};
use crate::repo::{self, Lease, Manifest, ManifestDigest, PartRecord, SnapshotState, TableState, read_parts};

use super::index::{RemoteIndex, condemned};
use super::locks::{PushLocks, objects_to_lock};
use super::pushed::{PushOutcome, Pushed};
use super::random;
use super::secrets::{SecretScope, SnapshotSecrets, secrets_in};
use super::sender::{ExpectedContent, FileToSend, ObjectCounts, ObjectSender, SendScope, SentFiles, permissions};

/// For this long after its condemnation an object is certainly not deleted: a quarter of the usual grace period.
const SAFE_AFTER_CONDEMNATION: chrono::Duration = chrono::Duration::hours(12);
/// How many times a push sends objects again that a garbage collection condemns meanwhile.
const ROUNDS: usize = 4;

/// State that one push needs for each of its snapshots.
pub(super) struct PushContext<'a> {
    pub(super) remote: &'a RemoteRepository,
    pub(super) stages: &'a Stages<'a>,
    pub(super) small_bytes: u64,
    pub(super) scope: SendScope,
    pub(super) secrets: SecretScope,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) now: DateTime<Utc>,
}

/// A snapshot being sent, under a lease.
pub(super) struct SnapshotPush<'a> {
    pub(super) context: &'a PushContext<'a>,
    pub(super) lease: &'a Lease,
    pub(super) repository: &'a repo::Repository,
    pub(super) id: SnapshotId,
}

/// The objects that were sent for it.
#[derive(Default)]
struct StagedObjects {
    files: Option<Bundle>,
    parts: Vec<Option<RemotePart>>,
}

/// The objects of a snapshot to send.
struct ContentToSend<'a> {
    manifest: &'a Manifest,
    records: &'a [PartRecord],
    /// The bytes that are sent instead of the content of these files.
    hidden: &'a BTreeMap<String, Vec<u8>>,
}

impl StagedObjects {
    /// Forgets everything that uses one of these keys.
    fn forget(&mut self, keys: &BTreeSet<ContentHash>) {
        let uses = |bundle: &Bundle| bundle.objects().any(|object| keys.contains(&object.key));
        self.files = self.files.take().filter(|files| !uses(files));
        for part in &mut self.parts {
            *part = part.take().filter(|part| !uses(&part.files));
        }
    }

    fn objects(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        let parts = self.parts.iter().flatten().map(|part| &part.files);
        self.files.iter().chain(parts).flat_map(Bundle::objects)
    }

    fn keys(&self) -> BTreeSet<ContentHash> {
        self.objects().map(|object| object.key).collect()
    }
}

impl SnapshotPush<'_> {
    /// Sends the snapshot and commits it. `index` includes it from then on.
    ///
    /// # Errors
    /// If something cannot be read or sent: then nothing is committed.
    pub(super) fn push(&self, index: &mut RemoteIndex, locks: &mut PushLocks) -> Result<PushOutcome, OpError> {
        let (manifest, records) = match self.read()? {
            Ok(read) => read,
            Err(problem) => return Ok(PushOutcome::Damaged(problem)),
        };
        let secrets = match self.context.secrets {
            SecretScope::Send => SnapshotSecrets::default(),
            SecretScope::LeaveOut => match secrets_in(self.lease.dir(), &manifest) {
                Ok(secrets) => secrets,
                Err(OpError::Repo(error)) => return Ok(PushOutcome::Damaged(crate::monitor::chain(&error))),
                Err(error) => return Err(error),
            },
        };
        let manifest = match self.context.secrets {
            SecretScope::Send => manifest,
            SecretScope::LeaveOut => secrets.removed_from(&manifest),
        };
        let content = ContentToSend { manifest: &manifest, records: &records, hidden: &secrets.hidden };
        let mut staged = StagedObjects { files: None, parts: vec![None; records.len()] };
        let (mut counts, mut reused) = (ObjectCounts::default(), PartTally::default());
        if self.context.scope == SendScope::Missing {
            for (place, record) in staged.parts.iter_mut().zip(&records) {
                let held = index.same_part(record);
                *place = held.map(|held| RemotePart { record: record.clone(), files: held.files.clone() });
            }
            let lost = index.lost(self.context.remote, staged.objects())?;
            index.forget(&lost);
            staged.forget(&lost);
        }
        for part in staged.parts.iter().flatten() {
            reused += PartTally { parts: 1, files: part.record.files, bytes: part.record.bytes };
        }
        let left = records.iter().zip(&staged.parts).filter(|(_, part)| part.is_none());
        let (parts, bytes) = left.fold((0, 0), |(parts, bytes), (record, _)| (parts + 1, bytes + record.bytes));
        let _sending = self.context.stages.start(Stage::Send, Some(StageWork { parts, bytes, ..StageWork::default() }));
        let _inside = self.context.stages.enter(Stage::Send);
        let mut round = 0;
        let committed = loop {
            if let Some(problem) = self.send_missing(index, &mut staged, &content, &mut counts)? {
                return Ok(PushOutcome::Damaged(problem));
            }
            round += 1;
            let condemned = self.condemned(&staged)?;
            let mut lost = self.lost(&condemned, &index.resent)?;
            // Nothing is committed that this run has neither sent nor found in the store.
            lost.extend(index.lost(self.context.remote, staged.objects())?);
            let not_kept = index.not_kept(self.context.remote, staged.objects())?;
            lost.extend(&not_kept);
            if lost.is_empty() {
                let manifest = self.described(content.manifest, &staged)?;
                // Before the commit: one who is killed here has locked too much at most.
                if let Some(wanted) = locks.of_new() {
                    let reused = objects_to_lock(&manifest, &index.uploaded, self.context.remote.is_new());
                    locks.extend(self.context.remote, &manifest.head.name(), wanted, &reused)?;
                }
                let sent_as = match self.context.scope {
                    SendScope::Missing => self.context.remote.commit(&manifest)?,
                    SendScope::All => self.context.remote.commit_again(&manifest)?,
                };
                // A gc that had read the manifests before this one was written may have deleted condemned objects.
                let gone = self.gone(condemned.keys())?;
                if gone.is_empty() {
                    break (sent_as, manifest);
                }
                index.forget(&gone);
                staged.forget(&gone);
            } else {
                index.forget(&lost);
                staged.forget(&lost);
            }
            if round >= ROUNDS {
                let address = self.context.remote.address().to_owned();
                return Err(match not_kept.first() {
                    Some(key) => RemoteError::NotKept { name: format!("object {key}"), address },
                    None => RemoteError::Condemned { address },
                }
                .into());
            }
        };
        let (sent_as, manifest) = committed;
        index.add(&manifest, true);
        if sent_as == SentAs::Present && counts.sent.files == 0 {
            return Ok(PushOutcome::Present);
        }
        let (bytes, objects) = (manifest.head.bytes, manifest.head.objects);
        let ObjectCounts { sent, present } = counts;
        let all = records.iter().fold(PartTally::default(), |mut all, record| {
            all += PartTally { parts: 1, files: record.files, bytes: record.bytes };
            all
        });
        let left_out = manifest.head.manifest.secrets_left_out;
        Ok(PushOutcome::Pushed(Box::new(Pushed { all, objects, object_bytes: bytes, reused, sent, present, left_out })))
    }

    /// The staged keys that are condemned now.
    fn condemned(&self, staged: &StagedObjects) -> Result<BTreeMap<ContentHash, DateTime<Utc>>, OpError> {
        let used = staged.keys();
        let mut condemned = condemned(self.context.remote)?;
        condemned.retain(|key, _| used.contains(key));
        Ok(condemned)
    }

    /// The keys among these that must be sent again before a commit: objects that are gone, and objects that may be
    /// deleted soon unless they were sent again. The commit protects objects that were condemned a moment ago, as
    /// everything that this push has sent may have been.
    fn lost(
        &self,
        condemned: &BTreeMap<ContentHash, DateTime<Utc>>,
        resent: &BTreeSet<ContentHash>,
    ) -> Result<BTreeSet<ContentHash>, OpError> {
        if condemned.is_empty() {
            return Ok(BTreeSet::new());
        }
        let clock = self.context.remote.clock(random()?)?;
        let is_old = |since: &DateTime<Utc>| clock.signed_duration_since(*since) >= SAFE_AFTER_CONDEMNATION;
        let old = condemned.iter().filter(|(key, since)| is_old(since) && !resent.contains(*key));
        let mut lost: BTreeSet<ContentHash> = old.map(|(key, _)| *key).collect();
        lost.extend(self.gone(condemned.keys())?);
        Ok(lost)
    }

    /// The keys among these whose objects are gone.
    fn gone<'k>(&self, keys: impl Iterator<Item = &'k ContentHash>) -> Result<BTreeSet<ContentHash>, OpError> {
        let mut gone = BTreeSet::new();
        for key in keys {
            if self.context.remote.written(key)?.is_none() {
                gone.insert(*key);
            }
        }
        Ok(gone)
    }

    fn read(&self) -> Result<Result<(Manifest, Vec<PartRecord>), String>, OpError> {
        let (state, digest) = self.lease.manifest()?;
        let manifest = match (state, digest) {
            (SnapshotState::NewerFormat(format), _) => {
                return Ok(Err(format!("it has format {format}, which a newer chsnap pushes")));
            }
            (SnapshotState::Damaged(reason), _) => return Ok(Err(reason)),
            (SnapshotState::Complete(_), ManifestDigest::Wrong { .. }) => {
                return Ok(Err("its manifest.json does not have the digest that it carries".to_owned()));
            }
            (SnapshotState::Complete(manifest), _) => *manifest,
        };
        Ok(match read_parts(self.lease.dir(), &manifest.parts_blake3) {
            Ok(records) => match records.iter().find_map(|record| Some((record, mode_problem(record)?))) {
                Some((record, problem)) => Err(format!("part {} of {}: {problem}", record.part, record.table_name())),
                None => Ok((manifest, records)),
            },
            Err(error) => Err(crate::monitor::chain(&error)),
        })
    }

    /// Sends everything not staged yet. Returns the local damage, if there is any.
    fn send_missing(
        &self,
        index: &mut RemoteIndex,
        staged: &mut StagedObjects,
        content: &ContentToSend<'_>,
        counts: &mut ObjectCounts,
    ) -> Result<Option<String>, OpError> {
        let confirmed = Mutex::new(std::mem::take(&mut index.confirmed));
        let sender = ObjectSender {
            scope: self.context.scope,
            claimed: &index.claimed,
            confirmed,
            uploaded: Mutex::new(std::mem::take(&mut index.uploaded)),
            wrong: Mutex::default(),
            remote: self.context.remote,
            small_bytes: self.context.small_bytes,
            rate: self.context.rate,
            monitor: self.context.stages.monitor(),
            condemned: index.absent(),
            resent: Mutex::default(),
            counts: Mutex::new(*counts),
        };
        let sent = self.send_with(&sender, staged, content);
        let ObjectSender { confirmed, uploaded, wrong, resent, counts: counted, .. } = sender;
        index.uploaded = uploaded.into_inner().unwrap_or_default();
        index.confirmed = confirmed.into_inner().unwrap_or_default();
        index.forget(&wrong.into_inner().unwrap_or_default());
        *counts = counted.into_inner().unwrap_or_default();
        index.resent.extend(resent.into_inner().unwrap_or_default().into_iter().map(|object| object.key));
        sent
    }

    fn send_with(
        &self,
        sender: &ObjectSender<'_>,
        staged: &mut StagedObjects,
        content: &ContentToSend<'_>,
    ) -> Result<Option<String>, OpError> {
        let missing: Vec<(&mut Option<RemotePart>, &PartRecord)> =
            staged.parts.iter_mut().zip(content.records).filter(|(part, _)| part.is_none()).collect();
        let send = |(place, record): (&mut Option<RemotePart>, &PartRecord)| -> Result<Option<String>, OpError> {
            match self.send_part(sender, record)? {
                SentFiles::Bundle(files) => {
                    *place = Some(RemotePart { record: record.clone(), files });
                    self.context.stages.monitor().advanced(Stage::Send, StageWork { parts: 1, ..StageWork::default() });
                    Ok(None)
                }
                SentFiles::Damaged(problem) => {
                    Ok(Some(format!("part {} of {}: {problem}", record.part, record.table_name())))
                }
            }
        };
        let problems: Vec<Option<String>> = missing.into_par_iter().map(send).collect::<Result<_, OpError>>()?;
        if let Some(problem) = problems.into_iter().flatten().next() {
            return Ok(Some(problem));
        }
        if staged.files.is_none() {
            match self.send_files(sender, content)? {
                SentFiles::Bundle(files) => staged.files = Some(files),
                SentFiles::Damaged(problem) => return Ok(Some(problem)),
            }
        }
        Ok(None)
    }

    fn send_part(&self, sender: &ObjectSender<'_>, record: &PartRecord) -> Result<SentFiles, OpError> {
        let path = repo::part_path(&record.table_name(), &record.part);
        let dir = match self.lease.dir().find_beneath(&path) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(SentFiles::Damaged("it is missing".to_owned())),
            Err(error) => return unless_forbidden(error),
        };
        let (inspected, files) = match dir.entries_with_kind().and_then(|entries| exec::inspect_to_copy(&dir, entries))
        {
            Ok(found) => found,
            Err(error) => return unless_forbidden(error),
        };
        // A part already damaged when the snapshot was made cannot be compared with anything: it is sent as it is.
        let is_sound = record.damage.is_empty();
        if let Some(problem) = difference(&inspected, record).filter(|_| is_sound) {
            return Ok(SentFiles::Damaged(problem));
        }
        let mut to_send: Vec<FileToSend<'_>> = (files.on_disk().into_iter())
            .map(|file| FileToSend { expected: expected(&file, record, is_sound), file, content: None })
            .collect();
        to_send.sort_by(|one, other| one.file.path.cmp(&other.file.path));
        let mut directories = Vec::new();
        for path in files.directories() {
            directories.push(directory(path, &dir.open_dir(path)?)?);
        }
        directories.sort_by(|one, other| one.0.cmp(&other.0));
        sender.send(&to_send, directories)
    }

    /// Sends the files outside parts.
    fn send_files(&self, sender: &ObjectSender<'_>, content: &ContentToSend<'_>) -> Result<SentFiles, OpError> {
        let metadata = &content.manifest.metadata;
        let mut dirs = Vec::with_capacity(metadata.len());
        for file in metadata {
            let missing = || Ok(SentFiles::Damaged(format!("its file {} is missing", file.path)));
            let path = Path::new(&file.path);
            if !path.components().all(|component| matches!(component, Component::Normal(_))) {
                return missing();
            }
            let Some(parent) = path.parent() else { return missing() };
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return missing() };
            let Some(dir) = self.lease.dir().find_beneath(parent)? else { return missing() };
            let Some(stat) = dir.find(name)? else { return missing() };
            let expected = file.blake3.parse().map_or(ExpectedContent::Nothing, ExpectedContent::Blake3);
            let hidden = content.hidden.get(&file.path);
            let stat = fs::Stat { size_bytes: hidden.map_or(stat.size_bytes, |text| text.len() as u64), ..stat };
            dirs.push((dir, name.to_owned(), file, stat, expected));
        }
        dirs.sort_by(|one, other| one.2.path.cmp(&other.2.path));
        let files = dirs.iter().map(|(dir, name, file, stat, expected)| FileToSend {
            file: FileOnDisk { dir, name, path: file.path.clone(), stat: *stat, recorded: None },
            expected: *expected,
            content: content.hidden.get(&file.path).map(Vec::as_slice),
        });
        sender.send(&files.collect::<Vec<_>>(), Vec::new())
    }

    fn described(&self, manifest: &Manifest, staged: &StagedObjects) -> Result<RemoteManifest, OpError> {
        let origin = manifest.origin(self.repository.id());
        let head = RemoteHead {
            format: REMOTE_FORMAT,
            chsnap: env!("CARGO_PKG_VERSION").to_owned(),
            id: self.id,
            repository: origin.repository,
            origin_blake3: origin.parts_blake3,
            pushed: self.context.now,
            host: fs::host_name(),
            bytes: 0,
            objects: 0,
            parts: 0,
            manifest: manifest.clone(),
            directories: self.table_directories(manifest)?,
            files: staged.files.clone().unwrap_or_default(),
        };
        let mut described = RemoteManifest { head, parts: staged.parts.iter().flatten().cloned().collect() };
        described.count();
        Ok(described)
    }

    /// `data/`, and in it the directories of databases and tables.
    fn table_directories(&self, manifest: &Manifest) -> Result<Vec<RemoteDirectory>, OpError> {
        let (mut directories, mut seen) = (Vec::new(), HashSet::new());
        let mut add = |path: &Path| -> Result<(), OpError> {
            if seen.insert(path.to_owned())
                && let Some(dir) = self.lease.dir().find_beneath(path)?
            {
                directories.push(directory(&path.to_string_lossy(), &dir)?);
            }
            Ok(())
        };
        add(Path::new(repo::DATA))?;
        for table in manifest.tables.iter().filter(|table| table.state == TableState::Taken) {
            let path = repo::table_path(&table.name());
            for above in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
                if !above.as_os_str().is_empty() {
                    add(above)?;
                }
            }
        }
        Ok(directories)
    }
}

/// The expected content of a part's file, from `checksums.txt` or the BLAKE3 hash in the list of parts.
fn expected(file: &FileOnDisk<'_>, record: &PartRecord, is_sound: bool) -> ExpectedContent {
    if !is_sound {
        return ExpectedContent::Nothing;
    }
    match file.recorded {
        // Its entry exists but has no usable hash.
        Some(_) if is_gin_index(file.name.as_bytes()) => ExpectedContent::Nothing,
        Some((_, hash)) => ExpectedContent::Recorded(hash),
        None => {
            let recorded = record.uncovered.find(&file.path).and_then(|recorded| recorded.blake3);
            recorded.map_or(ExpectedContent::Nothing, ExpectedContent::Blake3)
        }
    }
}

fn directory(path: &str, dir: &Dir) -> Result<RemoteDirectory, OpError> {
    let stat = dir.stat_self()?;
    let ownership = stat.ownership;
    Ok(RemoteDirectory(path.to_owned(), ownership.uid, ownership.gid, permissions(ownership.mode), stat.modified))
}

/// An unreadable file counts as damaged, unless only permission is missing.
fn unless_forbidden(error: FsError) -> Result<SentFiles, OpError> {
    if error.kind() == ErrorKind::NoPermission {
        return Err(error.into());
    }
    Ok(SentFiles::Damaged(crate::monitor::chain(&error)))
}
