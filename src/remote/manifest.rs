//! `snapshots/<name>.json.zst`: a remote snapshot's description of itself.

use std::collections::HashSet;
use std::io::{BufRead as _, Read as _};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{ContentHash, Ownership, RepositoryId, SnapshotId, TableName};
use crate::repo::{Manifest, PartRecord, TableEntry};

use super::names::RemoteName;

/// The format of remote repositories and manifests that this chsnap writes.
pub const REMOTE_FORMAT: u32 = 1;

/// An object that a snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The BLAKE3 of its bytes.
    pub key: ContentHash,
    /// Its size.
    pub bytes: u64,
}

/// A file: its path, size, modification time, owner, group and mode, of which only the permissions are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile(pub String, pub u64, pub (i64, u32), pub u32, pub u32, pub u32);

impl RemoteFile {
    /// Its path, relative to the part, or to the snapshot.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.1
    }

    /// Its modification time.
    #[must_use]
    pub fn modified(&self) -> (i64, u32) {
        self.2
    }

    /// Its owner, group and mode.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        Ownership { uid: self.3, gid: self.4, mode: self.5 }
    }
}

/// A directory: its path, owner, group, mode and modification time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteDirectory(pub String, pub u32, pub u32, pub u32, pub (i64, u32));

impl RemoteDirectory {
    /// Its owner, group and mode.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        Ownership { uid: self.1, gid: self.2, mode: self.3 }
    }
}

/// Small files in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// The indexes of its files.
    pub files: Vec<usize>,
}

/// A file that is cut into objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeFile {
    /// Its index.
    pub file: usize,
    /// Its pieces, in their order.
    pub objects: Vec<ObjectRef>,
}

/// Files, and the objects that contain them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The files, in the order of their paths.
    pub names: Vec<RemoteFile>,
    /// Objects with several of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<Pack>,
    /// Files with objects of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large: Vec<LargeFile>,
    /// The directories in a part, in the order of their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<RemoteDirectory>,
}

impl Bundle {
    /// The objects that it needs.
    pub fn objects(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        self.packs
            .iter()
            .map(|pack| pack.object)
            .chain(self.large.iter().flat_map(|large| large.objects.iter().copied()))
    }

    /// Describes the first problem: a path that leads outside or cannot exist, a mode that no pushed file has, or a
    /// file that is in no object or in two.
    fn problem(&self) -> Option<String> {
        let files = self.names.iter().map(|file| (file.path(), file.ownership()));
        let mut entries = files.chain(self.directories.iter().map(|dir| (dir.0.as_str(), dir.ownership())));
        if let Some(problem) = entries.find_map(|(path, ownership)| entry_problem(path, ownership)) {
            return Some(problem);
        }
        let mut times = vec![0_u8; self.names.len()];
        let places = self.packs.iter().flat_map(|pack| &pack.files).chain(self.large.iter().map(|large| &large.file));
        for place in places {
            match times.get_mut(*place) {
                Some(count) => *count = count.saturating_add(1),
                None => return Some(format!("it has no file {place}")),
            }
        }
        let wrong = times.iter().zip(&self.names).find(|(count, _)| **count != 1);
        if let Some((_, file)) = wrong {
            return Some(format!("its file {:?} is in no object, or in two", file.path()));
        }
        let bytes_of = |large: &LargeFile| large.objects.iter().map(|object| object.bytes).sum::<u64>();
        let short =
            self.large.iter().find(|large| self.names.get(large.file).is_none_or(|file| file.1 != bytes_of(large)));
        short.map(|large| format!("the objects of its file {} have another size", large.file))
    }
}

/// The permission bits that a pushed file or directory can have. The others would let a program run as its owner.
const PERMISSIONS: u32 = 0o777;
/// The longest name that a filesystem takes.
const NAME_LIMIT_BYTES: usize = 255;

/// The problem of a file or directory; the path is relative.
fn entry_problem(path: &str, ownership: Ownership) -> Option<String> {
    let is_name =
        |name: &str| !matches!(name, "" | "." | "..") && name.len() <= NAME_LIMIT_BYTES && !name.contains('\0');
    if !path.split('/').all(is_name) {
        let path: String = path.chars().take(NAME_LIMIT_BYTES).collect();
        return Some(format!("it names the path {path:?}"));
    }
    (ownership.mode & !PERMISSIONS != 0).then(|| format!("{path:?} has the mode {:#o}", ownership.mode))
}

/// The problem of a part's record in a manifest that has these tables.
fn record_problem(record: &PartRecord, tables: &HashSet<TableName>) -> Option<String> {
    let table = record.table_name();
    if !tables.contains(&table) {
        return Some(format!("its table {table} is not one of the snapshot"));
    }
    let name = record.part.as_str();
    if name.len() > NAME_LIMIT_BYTES || name.contains('\0') {
        return Some("its name is too long, or has a NUL".to_owned());
    }
    mode_problem(record)
}

/// The problem of the modes in a record: files with set-id or sticky bits, or a directory with more than a set-group-id
/// bit, which new directories inherit, and which is not kept.
#[must_use]
pub fn mode_problem(record: &PartRecord) -> Option<String> {
    let others = record.exceptions.iter().map(|(_, ownership)| ownership);
    let files = std::iter::once(&record.ownership).chain(others).map(|ownership| ownership.mode & !PERMISSIONS);
    let directory = record.directory.mode & !(PERMISSIONS | 0o2000);
    files.chain([directory]).find(|bits| *bits != 0).map(|bits| format!("its mode has the bits {bits:#o}"))
}

/// The first line of a remote manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteHead {
    /// See [`REMOTE_FORMAT`].
    pub format: u32,
    /// The chsnap version that pushed.
    pub chsnap: String,
    /// The snapshot.
    pub id: SnapshotId,
    /// The repository in which it was made.
    pub repository: RepositoryId,
    /// The BLAKE3 of its list of parts there, 64 hex digits.
    pub origin_blake3: String,
    /// When it was pushed, by the clock of the pushing host.
    pub pushed: DateTime<Utc>,
    /// That host.
    pub host: String,
    /// Bytes of the objects that it needs.
    pub bytes: u64,
    /// The number of those objects.
    pub objects: u64,
    /// Its parts.
    pub parts: u64,
    /// Its `manifest.json`.
    pub manifest: Manifest,
    /// The directories of `data/`, of databases and of tables, relative to the snapshot.
    pub directories: Vec<RemoteDirectory>,
    /// The files outside the parts, by paths relative to the snapshot.
    pub files: Bundle,
}

impl RemoteHead {
    /// Whether it was pushed without secrets that it has.
    #[must_use]
    pub fn lacks_secrets(&self) -> bool {
        self.manifest.secrets_left_out.is_some()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> RemoteName {
        RemoteName::new(self.id, &self.repository)
    }
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemotePart {
    /// Its line in the list of parts.
    pub record: PartRecord,
    /// Its files.
    pub files: Bundle,
}

/// A whole remote manifest.
#[derive(Clone, Debug)]
pub struct RemoteManifest {
    /// The first line, which describes the snapshot.
    pub head: RemoteHead,
    /// Its parts, in the order of its list of parts.
    pub parts: Vec<RemotePart>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ManifestLine<H, P> {
    Head(H),
    Part(P),
    End(String),
}

#[derive(Deserialize)]
struct RemoteFormatOnly {
    head: RemoteFormatOfHead,
}

#[derive(Deserialize)]
struct RemoteFormatOfHead {
    format: u32,
}

/// Why a remote manifest cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    Newer(u32),
    Damaged(String),
}

const LEVEL: i32 = 3;
/// The longest accepted line: as in a list of parts, plus the names of the files of one part.
const LINE_LIMIT_BYTES: u64 = 256 << 20;

impl RemoteManifest {
    /// All objects that the snapshot needs. An object that two parts need occurs twice.
    pub fn objects(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        self.head.files.objects().chain(self.parts.iter().flat_map(|part| part.files.objects()))
    }

    /// Sets the head's figures about the objects.
    pub fn count(&mut self) {
        let distinct: std::collections::BTreeSet<ObjectRef> = self.objects().collect();
        self.head.objects = distinct.len() as u64;
        self.head.bytes = distinct.iter().map(|object| object.bytes).sum();
        self.head.parts = self.parts.len() as u64;
    }

    pub(super) fn write(&self) -> std::io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.include_checksum(true)?;
        let mut hasher = blake3::Hasher::new();
        let mut line = Vec::new();
        let mut write = |value: &ManifestLine<&RemoteHead, &RemotePart>, encoder: &mut dyn std::io::Write| {
            line.clear();
            serde_json::to_writer(&mut line, value)?;
            line.push(b'\n');
            hasher.update(&line);
            encoder.write_all(&line)
        };
        write(&ManifestLine::Head(&self.head), &mut encoder)?;
        for part in &self.parts {
            write(&ManifestLine::Part(part), &mut encoder)?;
        }
        let end = ManifestLine::<(), ()>::End(hasher.finalize().to_hex().to_string());
        serde_json::to_writer(&mut encoder, &end)?;
        encoder.finish()
    }

    pub(super) fn read(bytes: &[u8], name: &RemoteName) -> Result<Self, Unusable> {
        let damaged = |reason: String| Unusable::Damaged(reason);
        let unreadable = |error: std::io::Error| Unusable::Damaged(format!("it cannot be read: {error}"));
        let decoder = zstd::Decoder::new(bytes).map_err(unreadable)?;
        let mut reader = std::io::BufReader::new(decoder);
        let mut hasher = blake3::Hasher::new();
        let (mut head, mut parts): (Option<RemoteHead>, Vec<RemotePart>) = (None, Vec::new());
        let mut tables: HashSet<TableName> = HashSet::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line).map_err(unreadable)?;
            if line.is_empty() {
                return Err(damaged("it is cut short".to_owned()));
            }
            let read = match serde_json::from_slice::<ManifestLine<RemoteHead, RemotePart>>(&line) {
                Ok(read) => read,
                Err(error) => {
                    let newer = serde_json::from_slice::<RemoteFormatOnly>(&line).ok().map(|line| line.head.format);
                    return Err(match newer.filter(|format| *format > REMOTE_FORMAT) {
                        Some(format) => Unusable::Newer(format),
                        None => damaged(format!("one of its lines cannot be read: {error}")),
                    });
                }
            };
            match read {
                ManifestLine::Head(found) if head.is_none() => {
                    if found.format > REMOTE_FORMAT {
                        return Err(Unusable::Newer(found.format));
                    }
                    if found.name() != *name || found.manifest.id != name.id {
                        return Err(damaged(format!("it is that of {}", found.name())));
                    }
                    let mut directories = found.directories.iter();
                    let directory = directories.find_map(|dir| entry_problem(&dir.0, dir.ownership()));
                    if let Some(problem) = directory.or_else(|| found.files.problem()) {
                        return Err(damaged(problem));
                    }
                    tables = found.manifest.tables.iter().map(TableEntry::name).collect();
                    head = Some(found);
                }
                ManifestLine::Part(part) if head.is_some() => {
                    let problem = record_problem(&part.record, &tables).or_else(|| part.files.problem());
                    if let Some(problem) = problem {
                        return Err(damaged(format!("part {}: {problem}", part.record.part)));
                    }
                    parts.push(part);
                }
                ManifestLine::End(digest) => {
                    let is_right = hasher.finalize().to_hex().as_str() == digest;
                    let (true, Some(head)) = (is_right, head) else {
                        return Err(damaged("it does not have the digest that it carries".to_owned()));
                    };
                    let mut rest = [0];
                    if reader.read(&mut rest).map_err(unreadable)? > 0 {
                        return Err(damaged("something follows its end".to_owned()));
                    }
                    if head.parts != parts.len() as u64 {
                        return Err(damaged(format!("it has {} parts and says {}", parts.len(), head.parts)));
                    }
                    return Ok(Self { head, parts });
                }
                ManifestLine::Head(_) | ManifestLine::Part(_) => {
                    return Err(damaged("its lines are in another order".to_owned()));
                }
            }
            hasher.update(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_leads_outside_or_has_a_file_twice_is_refused() {
        let file = |path: &str| RemoteFile(path.to_owned(), 1, (0, 0), 0, 0, 0o644);
        let object = ObjectRef { key: ContentHash::from(blake3::hash(b"x")), bytes: 1 };
        let pack = |files: &[usize]| Pack { object, files: files.to_vec() };
        let bundle = |names: Vec<RemoteFile>, packs: Vec<Pack>| Bundle { names, packs, ..Bundle::default() };
        assert_eq!(bundle(vec![file("a"), file("p.proj/a")], vec![pack(&[0, 1])]).problem(), None);
        for mode in [0o4755, 0o2755, 0o1777, 0o100_644] {
            let unusual = RemoteFile("a".to_owned(), 1, (0, 0), 0, 0, mode);
            let problem = bundle(vec![unusual], vec![pack(&[0])]).problem().expect("no pushed file has it");
            assert!(problem.contains("mode"), "{problem}");
            let directory = RemoteDirectory("p.proj".to_owned(), 0, 0, mode, (0, 0));
            let files = bundle(vec![file("a")], vec![pack(&[0])]);
            assert!(Bundle { directories: vec![directory], ..files }.problem().is_some(), "{mode:o}");
        }
        for path in ["", "/a", "../a", "a/../b", "a//b", ".", "a\0b", &"x".repeat(256)] {
            assert!(bundle(vec![file(path)], vec![pack(&[0])]).problem().is_some(), "{path}");
        }
        for packs in [vec![], vec![pack(&[0]), pack(&[0])], vec![pack(&[1])]] {
            assert!(bundle(vec![file("a")], packs).problem().is_some());
        }
        let large = LargeFile { file: 0, objects: vec![object, object] };
        let two = Bundle { names: vec![file("a")], large: vec![large], ..Bundle::default() };
        assert!(two.problem().expect("one byte is not two").contains("another size"));
    }
}
