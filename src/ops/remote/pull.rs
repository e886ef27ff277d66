//! Fetches a remote snapshot into the local repository, where it is a snapshot like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::exec;
use crate::fs::{self, Mutations, RateLimit};
use crate::model::{Ownership, PlacedTotals, RoomNeed, SnapshotId, SnapshotTotals, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::bound::same_server_for_copy;
use crate::ops::copy::{Base, DescribedCopy, Provenance, StagedPart, removed};
use crate::ops::create::{Clock, IdsMode};
use crate::ops::error::{Copies, OpError};
use crate::ops::kept_metadata::KeptMetadata;
use crate::ops::recover::{recover, remove_discarded};
use crate::ops::restore::WantedTables;
use crate::ops::room::check_room;
use crate::ops::stages::Stages;
use crate::ops::written::{self, ComparedSnapshot};
use crate::plan::{CopyDecision, CopyScope, CopyTarget, SameId, plan_copy};
use crate::remote::{RemoteFile, RemoteHead, RemoteManifest, RemoteName, RemoteRepository, Requests};
use crate::repo::{
    self, BoundServer, CopiedFrom, Event, ExtractedFrom, Incoming, Index, Locked, Manifest, Repository, SnapshotOrigin,
    SnapshotScope, SnapshotState,
};

use super::extract::PullContent;
use super::find::{RemoteReference, RepositoryChoice, resolve};
use super::linkable::LinkableFiles;
use super::pulled_part::{Fetcher, ensure};
use super::push::PARALLEL;

/// The request of a pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullRequest {
    /// The snapshot.
    pub wanted: RemoteReference,
    /// The repository that the reference is resolved in.
    pub which: RepositoryChoice,
    /// The tables and partitions of it; all by default.
    pub tables: WantedTables,
    /// How to treat owners, modes and times that the filesystem cannot keep.
    pub ids: IdsMode,
    /// Objects that are fetched, compared and written concurrently; each takes at most 64 MiB of memory, plus some.
    pub parallel: usize,
    /// The maximum number of bytes per second.
    pub rate: Option<u64>,
    /// Bytes to leave free.
    pub min_free_bytes: u64,
    /// Pull even if the repository belongs to another server.
    pub allow_other_server: bool,
    /// How long to wait for the repository's lock.
    pub lock_wait: Duration,
}

impl PullRequest {
    /// A pull of this snapshot, with the defaults of `chsnap pull`.
    #[must_use]
    pub fn new(wanted: RemoteReference, which: RepositoryChoice) -> Self {
        Self {
            wanted,
            which,
            tables: WantedTables::default(),
            ids: IdsMode::Keep,
            parallel: PARALLEL.into(),
            rate: None,
            min_free_bytes: 0,
            allow_other_server: false,
            lock_wait: Duration::ZERO,
        }
    }
}

crate::model::setters! { PullRequest {
    with_tables => tables: WantedTables,
    with_ids => ids: IdsMode,
    with_parallel => parallel: usize,
    with_rate => rate: Option<u64>,
    with_min_free_bytes => min_free_bytes: u64,
    with_allow_other_server => allow_other_server: bool,
    with_lock_wait => lock_wait: Duration,
} }

/// The repository into which a snapshot is pulled.
pub enum PullTarget<'a> {
    /// This one.
    Existing(&'a Repository),
    /// One that is created at this path once it is known that there is something to pull.
    Missing(&'a Path, &'a Arc<dyn Mutations>),
}

impl std::fmt::Debug for PullTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Existing(repository) => f.debug_tuple("Standing").field(&repository.path()).finish(),
            Self::Missing(path, _) => f.debug_tuple("Missing").field(path).finish(),
        }
    }
}

/// How the snapshot came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PulledAs {
    /// It was pulled.
    New,
    /// It was in the repository already, with the same content.
    Present,
}

/// The report of a pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullReport {
    /// The snapshot in the store.
    pub name: RemoteName,
    /// Its id in the local repository: the same one, unless only tables or partitions of it were pulled, which are a
    /// snapshot of their own.
    pub id: SnapshotId,
    /// How it got into the local repository.
    pub pulled_as: PulledAs,
    /// Its contents, and the space that it takes here.
    pub totals: SnapshotTotals,
    /// How its parts were placed.
    pub placed: PlacedTotals,
    /// The requests sent to the store.
    pub requests: Requests,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

/// Fetches a snapshot of `remote`, or tables and partitions of one, into a local repository. Before the commit, every
/// object is compared with its BLAKE3 hash, and every part with the snapshot's record of it.
///
/// Tables and partitions become a snapshot of their own, of the series of that selection, made here: it never stands for
/// the whole one.
///
/// # Errors
/// If it could not be fetched, or a part or file of it is damaged. Then nothing of it is here. The next command that
/// changes the repository discards what a killed pull leaves.
pub fn pull(
    target: &PullTarget<'_>,
    remote: &RemoteRepository,
    request: &PullRequest,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<PullReport, OpError> {
    let begun = std::time::Instant::now();
    let stages = &Stages::new(monitor);
    if let PullTarget::Existing(repository) = target {
        repository.check_writable_format()?;
    }
    // A request that cannot be met creates no repository.
    let (names, name, mut content) = stages.run(Stage::Discover, || -> Result<_, OpError> {
        let names = remote.names()?;
        let name = resolve(remote, &names, &request.wanted, &request.which)?;
        let manifest = remote.manifest(&name)?;
        let missing = || crate::plan::ReferenceError::NotFound { text: name.to_string(), nearest: None };
        let content = PullContent::select(remote, manifest.ok_or_else(missing)?, &request.tables)?;
        Ok((names, name, content))
    })?;
    let made;
    let repository = match target {
        PullTarget::Existing(repository) => *repository,
        PullTarget::Missing(path, verbs) => {
            made = crate::ops::init(path, now(), verbs)?;
            &made
        }
    };
    same_server_for_copy(repository.server(), Some(&server(content.head())), request.allow_other_server)?;
    let locked = &repository.lock("pull", now(), request.lock_wait)?;
    let pool = exec::pool(request.parallel)?;
    let recovery = stages.run(Stage::Recover, || pool.install(|| recover(locked, None, monitor)))?;
    let mut warnings: Vec<Warning> = recovery.warnings().collect();
    let index = Index::open(repository)?;
    let mut report = PullReport {
        name: name.clone(),
        id: name.id,
        pulled_as: PulledAs::Present,
        totals: SnapshotTotals::default(),
        placed: PlacedTotals::default(),
        requests: Requests::default(),
        warnings: Vec::new(),
        seconds: BTreeMap::new(),
    };
    let mut pull =
        PullRun { remote, names: &names, locked, index: &index, request, stages, now, warnings: &mut warnings };
    let existing = LocalSnapshots { repository, index: &index, names: &names };
    let (id, decision) = if content.is_extract() {
        existing.decide_on_extract(&content)?
    } else {
        (name.id, existing.decide(content.head(), name.id)?)
    };
    report.id = id;
    match decision {
        CopyDecision::Present | CopyDecision::Pin => {
            let existing = index.summaries().iter().find(|summary| summary.id == id);
            report.totals = existing.map(|summary| summary.totals).unwrap_or_default();
            warnings.extend(secrets_only_there(repository, id, content.head())?);
        }
        CopyDecision::Refused(refusal) => return Err(OpError::PullRefused { id: name.id, refusal }),
        CopyDecision::Copy { sequence } => {
            content.set_local_id(id);
            let sealed = pool.install(|| pull.run(&content, sequence))?;
            (report.pulled_as, report.totals, report.placed) = (PulledAs::New, sealed.totals, sealed.placed);
        }
    }
    report.warnings = warnings;
    report.requests = remote.store().requests();
    report.seconds = stages.seconds();
    report.seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(report)
}

/// The warning about a snapshot that is here without its secrets, while the store has them by now.
fn secrets_only_there(repository: &Repository, id: SnapshotId, head: &RemoteHead) -> Result<Option<Warning>, OpError> {
    let SnapshotState::Complete(manifest) = repository.snapshot(id)? else { return Ok(None) };
    let is_so = manifest.secrets_left_out.is_some() && !head.lacks_secrets();
    let message = format!(
        "{id} is here without secrets that the store has: chsnap rm {id} --force and chsnap gc remove it, and another \
         pull then fetches it with them"
    );
    Ok(is_so.then(|| Warning::new(WarningKind::SecretsHidden, message)))
}

/// Writes the files outside parts, which must match the manifest.
fn write_files(content: &PullContent, fetcher: &Fetcher<'_>) -> Result<(), OpError> {
    let head = content.head();
    let wrong = |path: &str| OpError::PullDamaged {
        id: head.id,
        problem: format!("its file {path} is not the one that its manifest lists"),
    };
    let listed: BTreeSet<&str> =
        head.files.names.iter().map(RemoteFile::path).filter(|path| content.wants_file(path)).collect();
    for path in &listed {
        ensure(fetcher.incoming, Path::new(path).parent().unwrap_or(Path::new("")))?;
    }
    fetcher.write(&head.files, fetcher.incoming, &|file| content.wants_file(file.path()))?;
    for file in &head.manifest.metadata {
        let path = Path::new(&file.path);
        let is_listed = listed.contains(file.path.as_str());
        let name = path.file_name().filter(|_| is_listed).ok_or_else(|| wrong(&file.path))?;
        let dir = fetcher.incoming.open_beneath(path.parent().unwrap_or(Path::new("")))?;
        let digest = dir.hash_file(name, fs::Hashing::Blake3)?;
        if digest.map(|digest| digest.to_string()).as_deref() != Some(file.blake3.as_str()) {
            return Err(wrong(&file.path));
        }
    }
    if listed.len() != head.manifest.metadata.len() {
        return Err(wrong("list"));
    }
    Ok(())
}

/// The server that a remote snapshot was made from.
fn server(head: &RemoteHead) -> BoundServer {
    let server = &head.manifest.server;
    BoundServer { data_path: server.data_path.clone(), uuid: server.uuid.clone() }
}

/// The snapshots of the repository, and the names of those in the store.
struct LocalSnapshots<'a> {
    repository: &'a Repository,
    index: &'a Index,
    names: &'a [RemoteName],
}

impl LocalSnapshots<'_> {
    /// Whether a snapshot with this content is here already, and the place of `id` in the order of the local snapshots.
    fn decide(&self, head: &RemoteHead, id: SnapshotId) -> Result<CopyDecision, OpError> {
        let target = CopyTarget {
            existing: self
                .index
                .summaries()
                .iter()
                .map(|summary| (summary.id, summary.sequence.unwrap_or(0)))
                .collect(),
            trashed: self.repository.removed_ids()?.into_iter().collect(),
            removed: removed(self.repository),
        };
        let mut compared = BTreeMap::new();
        if self.index.summaries().iter().any(|summary| summary.id == id) {
            let is_same = self.repository.snapshot_origin(id)? == Some(origin(head));
            compared.insert(id, if is_same { SameId::SameContent } else { SameId::OtherContent });
        }
        let own = self.names.iter().filter(|name| name.repository == head.repository.short());
        let mut order: Vec<SnapshotId> = own.map(|name| name.id).collect();
        if !order.contains(&id) {
            let place = order.iter().position(|other| *other == head.id).map_or(order.len(), |place| place + 1);
            order.insert(place, id);
        }
        let plan = plan_copy(&CopyScope::Named(BTreeSet::from([id])), &order, &target, &compared);
        let decision = plan.snapshots.first().map(|(_, decision)| *decision);
        Ok(decision.unwrap_or(CopyDecision::Copy { sequence: 0 }))
    }

    /// The same for tables and partitions of a snapshot. They need not be fetched if the whole snapshot is here, or the
    /// same selection of it. Else they get the first id of the snapshot's second that no snapshot has, here or in the
    /// store.
    fn decide_on_extract(&self, content: &PullContent) -> Result<(SnapshotId, CopyDecision), OpError> {
        let head = content.head();
        let key = SnapshotScope::from(&head.manifest).key;
        let of_second = self.index.summaries().iter().filter(|summary| summary.id.time() == head.id.time());
        for summary in of_second {
            let is_whole =
                || -> Result<bool, OpError> { Ok(self.repository.snapshot_origin(summary.id)? == Some(origin(head))) };
            if (summary.id == head.id && is_whole()?)
                || (summary.is_of(&key) && self.is_extract_of(summary.id, content)?)
            {
                return Ok((summary.id, CopyDecision::Present));
            }
        }
        let in_trash = self.repository.removed_ids()?;
        let gone = removed(self.repository);
        let is_used = |id: SnapshotId| {
            self.index.summaries().iter().any(|summary| summary.id == id)
                || in_trash.contains(&id)
                || gone.contains(&id)
                || self.names.iter().any(|name| name.id == id)
        };
        let mut id = head.id.next();
        while is_used(id) {
            id = id.next();
        }
        Ok((id, self.decide(head, id)?))
    }

    /// Whether a local snapshot has the same tables and partitions of the same snapshot.
    fn is_extract_of(&self, id: SnapshotId, content: &PullContent) -> Result<bool, OpError> {
        let SnapshotState::Complete(manifest) = self.repository.snapshot(id)? else { return Ok(false) };
        let Some(extracted) = &manifest.extracted else { return Ok(false) };
        let (head, tables) = (content.head(), |of: &Manifest| of.tables.clone());
        Ok((extracted.id, &extracted.origin) == (head.id, &origin(head)) && tables(&manifest) == tables(&head.manifest))
    }
}

/// The original of a remote snapshot.
fn origin(head: &RemoteHead) -> SnapshotOrigin {
    SnapshotOrigin { repository: head.repository.clone(), parts_blake3: head.origin_blake3.clone() }
}

/// A pull in progress.
struct PullRun<'a> {
    remote: &'a RemoteRepository,
    names: &'a [RemoteName],
    locked: &'a Locked<'a>,
    index: &'a Index,
    request: &'a PullRequest,
    stages: &'a Stages<'a>,
    now: Clock<'a>,
    warnings: &'a mut Vec<Warning>,
}

/// A committed snapshot, with the records of its parts.
struct SealedPull {
    manifest: Manifest,
    records: Vec<repo::PartRecord>,
}

impl PullRun<'_> {
    fn run(&mut self, content: &PullContent, sequence: u64) -> Result<Manifest, OpError> {
        let repository = self.locked.repository();
        if repository.server().is_none() {
            self.locked.bind(server(content.head()))?;
        }
        let incoming = self.locked.begin_copy(content.local_id(), (self.now)())?;
        match self.build(content, sequence, &incoming) {
            Ok(sealed) => {
                self.record_commit(&sealed, &incoming);
                Ok(sealed.manifest)
            }
            Err(error) => Err(match self.abandon(&incoming) {
                Ok(()) => error,
                Err(left) => OpError::Unfinished {
                    error: Box::new(error),
                    pending: format!("{} (the next run does the rest)", crate::monitor::chain(&left)),
                },
            }),
        }
    }

    fn build(&mut self, content: &PullContent, sequence: u64, incoming: &Incoming<'_>) -> Result<SealedPull, OpError> {
        let repository = self.locked.repository();
        let (of, head) = (&content.of, content.head());
        let series = &SnapshotScope::from(&head.manifest).key;
        let place = (content.local_id(), sequence);
        let (bases, linkable) = self.stages.run(Stage::Previous, || -> Result<_, OpError> {
            let bases = Base::nearest(repository, self.index, place, series);
            let linkable = LinkableFiles::find((self.remote, self.names), repository, &bases, &of.parts)?;
            Ok((bases, linkable))
        })?;
        let mut kept = KeptMetadata::default();
        kept.ask_for(incoming.dir(), self.request.ids, &owners(of))?;
        self.check_room(of, &bases)?;
        let rate = self.request.rate.map(RateLimit::new);
        // Parts that a snapshot here has are linked as a whole, and not fetched.
        let records = of.parts.iter().map(|part| &part.record);
        let new_records = records.filter(|record| bases.iter().all(|base| base.parts.find_same(record).is_none()));
        let bytes = new_records.map(|record| record.bytes).sum();
        let work = StageWork { parts: head.parts, bytes, ..StageWork::default() };
        let fetching = self.stages.start(Stage::Fetch, Some(work));
        let inside = self.stages.enter(Stage::Fetch);
        let fetcher = Fetcher {
            id: head.id,
            remote: self.remote,
            keeping: kept.keeping,
            rate: rate.as_ref(),
            monitor: self.stages.monitor(),
            bases: &bases,
            incoming: incoming.dir(),
            fetched: &content.fetched,
            linkable: &linkable,
        };
        for directory in &head.directories {
            ensure(incoming.dir(), Path::new(&directory.0))?;
        }
        for part in &of.parts {
            ensure(incoming.dir(), &repo::table_path(&part.record.table_name()))?;
        }
        let parts = fetcher.stage(&of.parts)?;
        write_files(content, &fetcher)?;
        for directory in &head.directories {
            fetcher.set_metadata(
                &incoming.dir().open_beneath(Path::new(&directory.0))?,
                directory.ownership(),
                None,
            )?;
        }
        drop((inside, fetching));
        self.seal(content, parts, sequence, incoming)
    }

    fn seal(
        &mut self,
        content: &PullContent,
        parts: Vec<StagedPart>,
        sequence: u64,
        incoming: &Incoming<'_>,
    ) -> Result<SealedPull, OpError> {
        let repository = self.locked.repository();
        let _sealing = self.stages.start(Stage::Seal, None);
        let _inside = self.stages.enter(Stage::Seal);
        let head = content.head();
        let series = &SnapshotScope::from(&head.manifest).key;
        let before = written::before(self.index.summaries(), (content.local_id(), sequence));
        let previous = ComparedSnapshot::read(repository, self.index, before, series)?;
        let provenance = Provenance {
            from: CopiedFrom {
                origin: origin(head),
                repository: head.repository.clone(),
                path: self.remote.address().to_owned(),
                host: fs::host_name(),
                chsnap: env!("CARGO_PKG_VERSION").to_owned(),
                time: incoming.intent().started,
            },
            sequence,
            ids: self.request.ids,
            previous,
        };
        let described = DescribedCopy::new(&head.manifest, parts, &provenance);
        let mut manifest = described.manifest.clone();
        if content.is_extract() {
            // Made here: a push gives it a name of this repository, and no other snapshot is taken for it.
            let copied = manifest.copied.take();
            manifest.extracted = copied.map(|copied| extracted(head.id, copied));
        }
        let late = incoming.seal(&mut manifest, &described.records, |_| Ok(()))?;
        self.warnings.extend(late.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message)));
        Ok(SealedPull { manifest, records: described.records })
    }

    /// Checks that the parts that are not linked fit.
    fn check_room(&self, of: &RemoteManifest, bases: &[Base]) -> Result<(), OpError> {
        let repository = self.locked.repository();
        let is_new = |record: &&repo::PartRecord| bases.iter().all(|base| base.parts.find_same(record).is_none());
        let records = of.parts.iter().map(|part| &part.record);
        let room = fs::space(repository.dir())?.room();
        let need = |record: &repo::PartRecord| room.of_files(record.files, record.bytes);
        let mut needed = RoomNeed::default();
        for record in of.parts.iter().map(|part| &part.record) {
            needed += room.of_directory(record.files);
        }
        let new: Vec<&repo::PartRecord> = records.filter(is_new).collect();
        for record in &new {
            needed += need(record);
        }
        let copies = new.iter().max_by_key(|record| need(record).bytes).map(|largest| {
            let (parts, of) = (new.len() as u64, (largest.table_name(), largest.part.clone()));
            Copies { parts, bytes: needed.bytes, largest: of, largest_bytes: need(largest).bytes }
        });
        check_room((repository.path(), room), (needed, copies), self.request.min_free_bytes)
    }

    /// The work after the commit. The snapshot exists by then, so a failure is a warning, and the next run repairs it.
    fn record_commit(&mut self, SealedPull { manifest, records }: &SealedPull, incoming: &Incoming<'_>) {
        let (locked, repository) = (self.locked, self.locked.repository());
        let mut note = |what: &str, result: Result<(), OpError>| {
            if let Err(error) = result {
                let message = format!("{what}: {}", crate::monitor::chain(&error));
                self.warnings.push(Warning::new(WarningKind::CommitIncomplete, message));
            }
        };
        let space = fs::space(repository.dir()).ok();
        let used_bytes = space.map(|space| space.size_bytes.saturating_sub(space.free_bytes));
        let written_bytes = Some(manifest.totals.written_bytes);
        let created = Event::Created { id: manifest.id, written_bytes, used_bytes };
        note("the journal is not written", locked.record((self.now)(), &created).map_err(OpError::from));
        let noted = locked.note_taken_damage((self.now)(), manifest.id, records);
        note("the journal does not note the damage", noted.map_err(OpError::from));
        match Index::open(repository) {
            Ok(index) => note("latest is not updated", locked.point_latest_at(index.latest()).map_err(OpError::from)),
            Err(error) => note("the index is not updated", Err(error.into())),
        }
        note("the note of the pull is not removed", locked.forget_intent(incoming.id()).map_err(OpError::from));
    }

    /// Removes the unfinished tree, unless it was committed after all.
    fn abandon(&self, incoming: &Incoming<'_>) -> Result<(), OpError> {
        if !self.locked.repository().has_snapshot(incoming.snapshot())? {
            self.locked.discard_incoming(incoming.id())?;
            remove_discarded(self.locked, self.stages.monitor())?;
        }
        Ok(self.locked.forget_intent(incoming.id())?)
    }
}

/// Where an extract comes from.
fn extracted(id: SnapshotId, from: CopiedFrom) -> ExtractedFrom {
    let CopiedFrom { origin, path, host, chsnap, time, .. } = from;
    ExtractedFrom { id, origin, path, host, chsnap, time }
}

/// The distinct owners, groups and modes of the files.
fn owners(of: &RemoteManifest) -> Vec<Ownership> {
    let mut owners: Vec<Ownership> = of.parts.iter().map(|part| part.record.ownership).collect();
    owners.extend(of.head.directories.iter().map(crate::remote::RemoteDirectory::ownership));
    owners.sort_unstable();
    owners.dedup_by_key(|ownership| (ownership.uid, ownership.gid));
    owners
}
