//! Reads files once, hashes them once, and sends them as objects.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::checksums::{FileHash, FileHasher};
use crate::exec::FileOnDisk;
use crate::fs::RateLimit;
use crate::model::{ContentHash, PartTally};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::plan::{group_files, object_ranges};
use crate::remote::{
    Bundle, LargeFile, ObjectRef, Pack, RemoteDirectory, RemoteFile, RemoteRepository, SentAs, write_pack,
};

/// The content that a file must have.
#[derive(Clone, Copy, Debug)]
pub(super) enum ExpectedContent {
    /// The content with this hash from `checksums.txt`.
    Recorded(FileHash),
    /// The content with this BLAKE3 hash.
    Blake3(ContentHash),
    /// Any content: no hash is known.
    Nothing,
}

/// A file to be sent.
#[derive(Clone, Debug)]
pub(super) struct FileToSend<'a> {
    pub(super) file: FileOnDisk<'a>,
    pub(super) expected: ExpectedContent,
    /// The bytes that are sent instead of the file's content; its size is then the recorded one.
    pub(super) content: Option<&'a [u8]>,
}

impl FileToSend<'_> {
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, OpError> {
        let Some(content) = self.content else { return Ok(self.file.dir.read_range(self.file.name, range)?) };
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        Ok(content.get(place(range.start)..place(range.end)).map(<[u8]>::to_vec).unwrap_or_default())
    }
}

/// The outcome of sending files.
pub(super) enum SentFiles {
    Bundle(Bundle),
    /// A file differs from its expected content, for this reason. No manifest refers to the objects sent so far.
    Damaged(String),
}

/// The objects and bytes that were sent, and those that the store had already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectCounts {
    pub(super) sent: PartTally,
    pub(super) present: PartTally,
}

/// The objects that a push sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendScope {
    /// The objects that the store lacks.
    #[default]
    Missing,
    /// All: an object that is in the store is written over.
    All,
}

/// Sends files.
pub(super) struct ObjectSender<'a> {
    pub(super) remote: &'a RemoteRepository,
    pub(super) small_bytes: u64,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) scope: SendScope,
    /// The objects in manifests, which the store may have lost.
    pub(super) claimed: &'a HashSet<ContentHash>,
    /// The objects that are in the store for certain.
    pub(super) confirmed: Mutex<HashSet<ContentHash>>,
    /// Objects that this run has written.
    pub(super) uploaded: Mutex<HashSet<ContentHash>>,
    /// Objects that the store has with another size.
    pub(super) wrong: Mutex<BTreeSet<ContentHash>>,
    /// Objects that count as absent.
    pub(super) condemned: BTreeSet<ContentHash>,
    /// Objects that were sent again.
    pub(super) resent: Mutex<BTreeSet<ObjectRef>>,
    pub(super) counts: Mutex<ObjectCounts>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ObjectSender<'_> {
    /// Sends these files, which are ordered by path, concurrently.
    ///
    /// # Errors
    /// If something cannot be read or sent.
    pub(super) fn send(
        &self,
        files: &[FileToSend<'_>],
        directories: Vec<RemoteDirectory>,
    ) -> Result<SentFiles, OpError> {
        let sizes: Vec<u64> = files.iter().map(|file| file.file.stat.size_bytes).collect();
        let groups = group_files(&sizes, self.small_bytes);
        let (packs, large) = rayon::join(
            || groups.packs.into_par_iter().map(|places| self.send_pack(files, places)).collect::<Result<Vec<_>, _>>(),
            || groups.large.into_par_iter().map(|place| self.send_large(files, place)).collect::<Result<Vec<_>, _>>(),
        );
        let mut bundle = Bundle { directories, ..Bundle::default() };
        for pack in packs? {
            match pack {
                Ok(pack) => bundle.packs.push(pack),
                Err(problem) => return Ok(SentFiles::Damaged(problem)),
            }
        }
        for file in large? {
            match file {
                Ok(file) => bundle.large.push(file),
                Err(problem) => return Ok(SentFiles::Damaged(problem)),
            }
        }
        bundle.names = files.iter().map(|file| name(&file.file)).collect();
        Ok(SentFiles::Bundle(bundle))
    }

    fn send_pack(&self, files: &[FileToSend<'_>], places: Vec<usize>) -> Result<Result<Pack, String>, OpError> {
        let mut contents = Vec::with_capacity(places.len());
        for place in &places {
            let Some(to_send) = files.get(*place) else { continue };
            let file = &to_send.file;
            let bytes = to_send.read(0..file.stat.size_bytes)?;
            let mut check = ContentCheck::new(to_send.expected);
            check.update(&bytes);
            if let Some(problem) = check.problem(file, bytes.len() as u64) {
                return Ok(Err(problem));
            }
            contents.push(bytes);
        }
        let bytes = write_pack(&contents);
        drop(contents);
        Ok(Ok(Pack { object: self.send_object(bytes)?, files: places }))
    }

    fn send_large(&self, files: &[FileToSend<'_>], place: usize) -> Result<Result<LargeFile, String>, OpError> {
        let mut objects = Vec::new();
        let Some(to_send) = files.get(place) else {
            return Ok(Ok(LargeFile { file: place, objects }));
        };
        let file = &to_send.file;
        let mut check = ContentCheck::new(to_send.expected);
        let mut read_bytes = 0;
        for range in object_ranges(file.stat.size_bytes) {
            let bytes = to_send.read(range)?;
            read_bytes += bytes.len() as u64;
            check.update(&bytes);
            if !bytes.is_empty() {
                objects.push(self.send_object(bytes)?);
            }
        }
        match check.problem(file, read_bytes) {
            Some(problem) => Ok(Err(problem)),
            None => Ok(Ok(LargeFile { file: place, objects })),
        }
    }

    /// Sends an object unless the store has it.
    fn send_object(&self, bytes: Vec<u8>) -> Result<ObjectRef, OpError> {
        let size = bytes.len() as u64;
        let object = ObjectRef { key: ContentHash::from(blake3::hash(&bytes)), bytes: size };
        let tally = PartTally { parts: 0, files: 1, bytes: size };
        let is_condemned = self.condemned.contains(&object.key);
        // If two parts share an object, the second need not send it.
        let is_first = locked(&self.confirmed).insert(object.key);
        let is_sent_again = if is_condemned {
            locked(&self.resent).insert(object)
        } else {
            is_first && (self.scope == SendScope::All || self.is_lost(object)?)
        };
        let sent_as = if is_sent_again {
            self.wait(size);
            self.remote.send_again(object, bytes)?;
            locked(&self.resent).insert(object);
            SentAs::New
        } else if is_condemned || !is_first || self.claimed.contains(&object.key) {
            SentAs::Present
        } else {
            self.wait(size);
            self.remote.send(object, bytes)?
        };
        if sent_as == SentAs::OtherSize {
            locked(&self.confirmed).remove(&object.key);
            locked(&self.wrong).insert(object.key);
            return Ok(object);
        }
        if sent_as == SentAs::New {
            locked(&self.uploaded).insert(object.key);
        }
        let mut counts = locked(&self.counts);
        match sent_as {
            SentAs::New => counts.sent += tally,
            SentAs::Present | SentAs::OtherSize => counts.present += tally,
        }
        drop(counts);
        self.monitor.advanced(Stage::Send, StageWork { files: 1, bytes: size, ..StageWork::default() });
        Ok(object)
    }

    /// Whether a manifest has the object, and the store does not have it with its size.
    fn is_lost(&self, object: ObjectRef) -> Result<bool, OpError> {
        Ok(self.claimed.contains(&object.key) && !self.remote.has(object)?)
    }

    fn wait(&self, bytes: u64) {
        if let Some(rate) = self.rate {
            rate.wait_for(bytes);
        }
    }
}

/// The permissions of a mode. The set-id and sticky bits are not sent: a pull refuses them.
pub(super) fn permissions(mode: u32) -> u32 {
    mode & 0o777
}

fn name(file: &FileOnDisk<'_>) -> RemoteFile {
    let ownership = file.stat.ownership;
    RemoteFile(
        file.path.clone(),
        file.stat.size_bytes,
        file.stat.modified,
        ownership.uid,
        ownership.gid,
        permissions(ownership.mode),
    )
}

/// The comparison of a file while it is read.
enum ContentCheck {
    ClickHouse(FileHasher, FileHash),
    Blake3(Box<blake3::Hasher>, ContentHash),
    Nothing,
}

impl ContentCheck {
    fn new(expected: ExpectedContent) -> Self {
        match expected {
            ExpectedContent::Recorded(hash) => Self::ClickHouse(FileHasher::new(), hash),
            ExpectedContent::Blake3(hash) => Self::Blake3(Box::new(blake3::Hasher::new()), hash),
            ExpectedContent::Nothing => Self::Nothing,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::ClickHouse(hasher, _) => hasher.update(bytes),
            Self::Blake3(hasher, _) => drop(hasher.update(bytes)),
            Self::Nothing => {}
        }
    }

    fn problem(self, file: &FileOnDisk<'_>, read_bytes: u64) -> Option<String> {
        let path = &file.path;
        if read_bytes != file.stat.size_bytes {
            return Some(format!("its file {path} had {} bytes, and {read_bytes} were read", file.stat.size_bytes));
        }
        match self {
            Self::ClickHouse(hasher, expected) => {
                let found = hasher.finish();
                (found != expected)
                    .then(|| format!("its file {path} has the hash {found}, and its checksums.txt says {expected}"))
            }
            Self::Blake3(hasher, expected) => {
                let found = ContentHash::from(hasher.finalize());
                (found != expected).then(|| format!("its file {path} does not have the BLAKE3 that was recorded"))
            }
            Self::Nothing => None,
        }
    }
}
