//! The snapshots of a run, each with a lease, and their own records.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::exec::verify::{PartFinding, PartInSnapshot, UnreadPaths, WantedFile};
use crate::fs::{ContentDigest, Dir, ErrorKind};
use crate::model::{DamageKind, PartName, Placement, SnapshotId, TableName};
use crate::monitor::chain;
use crate::plan::{ExpectedEntry, ExpectedTree, Slice, TablePattern};
use crate::repo::{
    Lease, Manifest, ManifestDigest, MetadataFile, PartRecord, RepoError, Repository, SnapshotState, TableState,
    part_path, read_parts, table_path,
};

/// A snapshot that is being read.
pub(super) struct Subject {
    pub(super) id: SnapshotId,
    pub(super) dir: Dir,
    /// `None` in the trash, and if the manifest cannot be opened, which makes a lease impossible.
    _lease: Option<Lease>,
    /// `None` if it cannot be read.
    pub(super) manifest: Option<Box<Manifest>>,
    /// Whether its list of parts could be read.
    pub(super) has_parts: bool,
}

/// The result of opening a snapshot.
pub(super) enum Opened {
    /// It exists.
    Subject(Box<Subject>, Vec<PartFinding>),
    /// It does not exist any more.
    Removed,
    /// A newer chsnap made it.
    Newer(u32),
}

/// Whether the error is only a missing permission of this user, which is no damage.
fn is_refusal(error: &RepoError) -> bool {
    matches!(error, RepoError::Fs(error) if error.kind() == ErrorKind::NoPermission)
}

/// Opens a snapshot, as number `position` among those of the run.
pub(super) fn open(repository: &Repository, id: SnapshotId, position: usize) -> Result<Opened, RepoError> {
    let finding =
        |should: &str, is: String| PartFinding::new(position, "manifest.json", DamageKind::Manifest, should, is);
    let lease = match repository.lease(id) {
        Ok(lease) => lease,
        Err(RepoError::NoSnapshot { .. }) => return Ok(Opened::Removed),
        Err(error) if is_refusal(&error) => return Err(error),
        Err(error) => {
            // There is no lease without a manifest that opens.
            let dir = match repository.snapshot_dir(id) {
                Err(RepoError::NoSnapshot { .. }) => return Ok(Opened::Removed),
                result => result?,
            };
            let subject = Subject { id, dir, _lease: None, manifest: None, has_parts: false };
            return Ok(Opened::Subject(Box::new(subject), vec![finding("a manifest", chain(&error))]));
        }
    };
    let dir = lease.dir().clone();
    let (mut manifest, mut findings) = (None, Vec::new());
    match lease.manifest() {
        Err(error) if is_refusal(&error) => return Err(error),
        Err(error) => findings.push(finding("a manifest", chain(&error))),
        Ok((SnapshotState::NewerFormat(format), _)) => return Ok(Opened::Newer(format)),
        Ok((SnapshotState::Damaged(reason), _)) => findings.push(finding("a manifest", reason)),
        Ok((SnapshotState::Complete(read), digest)) => {
            if let ManifestDigest::Wrong { expected, found } = digest {
                findings.push(finding(&expected, found));
            }
            manifest = Some(read);
        }
    }
    let subject = Subject { id, dir, _lease: Some(lease), manifest, has_parts: false };
    Ok(Opened::Subject(Box::new(subject), findings))
}

/// Opens a snapshot in the trash, if it is readable. It has no lease, because no command waits for readers in the
/// trash.
pub(super) fn open_removed(repository: &Repository, id: SnapshotId) -> Option<Subject> {
    let dir = repository.removed_dir(id).ok()?;
    let SnapshotState::Complete(manifest) = repository.removed_snapshot(id).ok()? else { return None };
    Some(Subject { id, dir, _lease: None, manifest: Some(manifest), has_parts: false })
}

/// The parts that a run checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifyScope<'a> {
    pub(super) tables: &'a [TablePattern],
    pub(super) slice: Option<Slice>,
}

impl VerifyScope<'_> {
    pub(super) fn has_table(&self, table: &TableName) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.matches(table))
    }

    pub(super) fn has(&self, table: &TableName, part: &PartName) -> bool {
        self.has_table(table) && self.slice.is_none_or(|slice| slice.contains(table, part))
    }
}

/// All parts of a run by name, with the snapshots that have them.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) parts: BTreeMap<(TableName, PartName), Vec<PartInSnapshot>>,
}

impl Groups {
    /// Adds a part. Records of one part that differ only in how it was placed are kept once.
    pub(super) fn add(&mut self, snapshot: usize, mut record: PartRecord, keeps_ids: bool) {
        (record.placed, record.from, record.directory_modified) = (Placement::Linked, None, (0, 0));
        (record.joined, record.unkept) = (None, Vec::new());
        let key = (record.table_name(), record.part.clone());
        let instances = self.parts.entry(key).or_default();
        let known =
            instances.iter().rev().find(|instance| *instance.record == record).map(|one| Arc::clone(&one.record));
        let record = known.unwrap_or_else(|| Arc::new(record));
        instances.push(PartInSnapshot { snapshot, record, covered: false, keeps_ids });
    }
}

impl Subject {
    /// Reads the list of parts. A list that does not match the manifest is a finding.
    pub(super) fn parts(
        &self,
        position: usize,
        unread: &UnreadPaths,
    ) -> Result<Vec<PartRecord>, Option<Box<PartFinding>>> {
        let Some(manifest) = &self.manifest else { return Err(None) };
        read_parts(&self.dir, &manifest.parts_blake3).map_err(|error| {
            if matches!(&error, RepoError::Fs(error) if unread.takes(error)) {
                return None;
            }
            let expected = format!("a list of parts with the digest {}", manifest.parts_blake3);
            let finding = PartFinding::new(position, "parts.jsonl.zst", DamageKind::Manifest, expected, chain(&error));
            Some(Box::new(finding))
        })
    }

    /// The files outside parts that a run checks, with their tables.
    pub(super) fn metadata(&self, scope: VerifyScope<'_>) -> Vec<(&MetadataFile, Option<TableName>)> {
        let Some(manifest) = &self.manifest else { return Vec::new() };
        let mut tables: HashMap<PathBuf, TableName> = HashMap::new();
        for table in &manifest.tables {
            let name = table.name();
            tables.insert(table_path(&name), name.clone());
            tables.extend(table.dump.iter().flat_map(|dump| &dump.files).map(|path| (path.into(), name.clone())));
            if let Some(definition) = &table.definition {
                tables.insert(PathBuf::from(definition), name);
            }
        }
        let named = manifest.metadata.iter().map(|file| {
            let path = Path::new(&file.path);
            let table = tables.get(path).or_else(|| tables.get(path.parent()?));
            (file, table.cloned())
        });
        named
            .filter(|(_, table)| scope.tables.is_empty() || table.as_ref().is_some_and(|t| scope.has_table(t)))
            .collect()
    }

    /// The entries that must exist in the snapshot, within the scope of the run. A name that leads elsewhere is a
    /// finding.
    pub(super) fn frame(
        &self,
        position: usize,
        parts: Option<&[PartRecord]>,
        scope: VerifyScope<'_>,
    ) -> (ExpectedTree, Vec<PartFinding>) {
        let (mut frame, mut findings) = (ExpectedTree::new(), Vec::new());
        let Some(manifest) = &self.manifest else { return (frame, findings) };
        let mut add = |path: &Path, place: ExpectedEntry| {
            if let Err(error) = frame.add(path, place) {
                let (file, should) = ("manifest.json", "paths in the snapshot");
                findings.push(PartFinding::new(position, file, DamageKind::Manifest, should, error.to_string()));
            }
        };
        for name in ["manifest.json", "parts.jsonl.zst"] {
            add(Path::new(name), ExpectedEntry::File);
        }
        for (file, _) in self.metadata(scope) {
            add(Path::new(&file.path), ExpectedEntry::File);
        }
        let mut directories = Vec::new();
        for table in manifest.tables.iter().filter(|table| table.state == TableState::Taken) {
            if scope.has_table(&table.name()) {
                directories.push(table_path(&table.name()));
            }
        }
        for path in &directories {
            add(path, ExpectedEntry::Directory);
        }
        for record in parts.unwrap_or_default() {
            if scope.has_table(&record.table) {
                add(&part_path(&record.table, &record.part), ExpectedEntry::Part);
            }
        }
        match parts {
            Some(_) if scope.tables.is_empty() => frame.close_all(),
            Some(_) => {
                for path in &directories {
                    frame.close(path);
                }
            }
            // The expected contents of the tables are unknown.
            None => {}
        }
        (frame, findings)
    }

    /// Fills in the expected digest of a definition, even if the file does not exist.
    pub(super) fn set_expected_digest(&self, finding: &mut PartFinding) {
        if finding.wanted.is_some() {
            return;
        }
        let mut files = self.manifest.iter().flat_map(|manifest| &manifest.metadata);
        let file = files.find(|file| Path::new(&file.path) == finding.path);
        finding.wanted = file.and_then(|file| {
            let digest = ContentDigest::Blake3(blake3::Hash::from_hex(&file.blake3).ok()?);
            Some(WantedFile { size_bytes: file.bytes, digest, ownership: None, present: None })
        });
    }

    /// The tables of the snapshot by their directories in it.
    pub(super) fn tables(&self) -> Tables {
        let tables = self.manifest.iter().flat_map(|manifest| &manifest.tables);
        let named = tables.flat_map(|table| {
            let name = table.name();
            // A dump is a file, or a directory of files, at the place where other tables have a directory of parts.
            let files = table.dump.iter().flat_map(|dump| &dump.files);
            let of_dump = files.map(|path| Path::new(path).components().take(3).collect());
            let places: Vec<PathBuf> = of_dump.chain([table_path(&name)]).collect();
            places.into_iter().map(move |path| (path, name.clone()))
        });
        Tables(named.collect())
    }

    /// Whether its inodes have the owners and modes in the list of parts: not with `--ids record`.
    pub(super) fn keeps_ids(&self) -> bool {
        self.manifest.as_ref().is_none_or(|manifest| manifest.settings.ids != "record")
    }

    /// Whether the snapshot still exists where it was opened.
    pub(super) fn exists(&self, repository: &Repository) -> bool {
        let number = |dir: &Dir| dir.stat_self().map(|stat| stat.inode).ok();
        match repository.snapshot_dir(self.id) {
            Ok(dir) => number(&dir).is_some() && number(&dir) == number(&self.dir),
            // If this cannot be determined, the snapshot counts as present: its findings are reported.
            Err(error) => !matches!(error, RepoError::NoSnapshot { .. }),
        }
    }
}

/// Tables by their directories in a snapshot.
pub(super) struct Tables(HashMap<PathBuf, TableName>);

impl Tables {
    /// Their names.
    pub(super) fn into_names(self) -> impl Iterator<Item = TableName> {
        self.0.into_values()
    }

    /// Fills in the table and the part of a finding, if its path reveals them.
    pub(super) fn name(&self, finding: &mut PartFinding, frame: &ExpectedTree) {
        let table_path: PathBuf = finding.path.components().take(3).collect();
        let Some(table) = self.0.get(&table_path) else { return };
        finding.table = Some(table.clone());
        let name = finding.path.components().nth(3).and_then(|name| name.as_os_str().to_str());
        let is_part = |name: &&str| {
            frame.entries(&table_path).is_some_and(|entries| entries.get(*name) == Some(&ExpectedEntry::Part))
        };
        finding.part = name.filter(is_part).and_then(|name| PartName::try_from(name.to_owned()).ok());
    }
}
