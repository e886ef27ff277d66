//! A remote repository: its marker, its objects, its snapshots, and the condemned keys.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{ContentHash, DefaultLock, ObjectLock};
use crate::plan::{OBJECT_BYTES, StoredObject};

use super::error::{RemoteError, StoreCause, StoreError, StoreErrorKind};
use super::manifest::{ObjectRef, REMOTE_FORMAT, RemoteManifest, Unusable};
use super::names::{GARBAGE, MARKER, OBJECTS, RemoteName, SNAPSHOTS, TEMPORARY, key_of, object_name};
use super::store::{Put, Store, StoreLocks};

/// Enough for a manifest of ten million files.
const MANIFEST_LIMIT_BYTES: u64 = 1 << 30;
/// The entries of a local repository's directory.
const LOCAL_MARKER: &str = "chsnap.json";
const MARKER_LIMIT_BYTES: u64 = 1 << 20;
const GARBAGE_LIMIT_BYTES: u64 = 256 << 20;
/// A pack has up to this many bytes besides its files: 8 for each of a million.
const OBJECT_LIMIT_BYTES: u64 = OBJECT_BYTES + (8 << 20);

/// An open remote repository.
pub struct RemoteRepository {
    store: Box<dyn Store>,
    /// Whether this value has created it.
    is_new: bool,
}

impl fmt::Debug for RemoteRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRepository").field("address", &self.store.address()).finish_non_exhaustive()
    }
}

/// How an object came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentAs {
    /// It was sent.
    New,
    /// It was there already.
    Present,
    /// Another object of its name is there, and has another size. It was not sent.
    OtherSize,
}

/// Keys that a garbage collection has condemned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemnation {
    /// The object that lists them.
    pub name: String,
    /// The time of the condemnation, by the store's clock.
    pub since: DateTime<Utc>,
    /// The keys.
    pub keys: Vec<ContentHash>,
}

/// An object in `tmp/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub name: String,
    /// When it was last written, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// An object whose lock a push may extend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockedObject {
    /// `chsnap-remote.json`.
    Marker,
    /// The manifest of a snapshot.
    Manifest(RemoteName),
    /// Bytes of snapshots.
    Content(ContentHash),
}

impl LockedObject {
    fn object(&self) -> String {
        match self {
            Self::Marker => MARKER.to_owned(),
            Self::Manifest(name) => name.object(),
            Self::Content(key) => object_name(key),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    created: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct GarbageFile {
    format: u32,
    keys: Vec<ContentHash>,
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has only string keys")
}

impl RemoteRepository {
    /// Opens the remote repository of a store.
    ///
    /// # Errors
    /// If there is none, it is of a newer format, or the store does not answer.
    pub fn open(store: Box<dyn Store>) -> Result<Self, RemoteError> {
        let remote = Self { store, is_new: false };
        if remote.marker()? {
            return Ok(remote);
        }
        Err(RemoteError::NotARepository { address: remote.address().to_owned() })
    }

    /// Opens the remote repository of a store, and creates it if there is none.
    ///
    /// # Errors
    /// As [`RemoteRepository::open`]; if a local repository is there.
    pub fn open_or_make(store: Box<dyn Store>, now: DateTime<Utc>) -> Result<Self, RemoteError> {
        let mut remote = Self { store, is_new: false };
        if !remote.marker()? {
            if remote.store.stat(LOCAL_MARKER)?.is_some() {
                return Err(RemoteError::LocalRepository { address: remote.address().to_owned() });
            }
            let put = remote.store.put_if_absent(MARKER, bytes(&Marker { format: REMOTE_FORMAT, created: now }))?;
            remote.is_new = put == Put::Written;
            remote.marker()?;
        }
        Ok(remote)
    }

    /// Whether there is a marker of a known format.
    fn marker(&self) -> Result<bool, RemoteError> {
        let Some(text) = self.store.get(MARKER, MARKER_LIMIT_BYTES)? else { return Ok(false) };
        let marker: Marker = serde_json::from_slice(&text)
            .map_err(|error| self.damaged(MARKER, format!("it cannot be read: {error}")))?;
        if marker.format > REMOTE_FORMAT {
            return Err(self.newer(MARKER, marker.format));
        }
        Ok(true)
    }

    /// Its address, without any secret.
    #[must_use]
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// Whether this value has created it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    fn damaged(&self, name: &str, reason: impl Into<String>) -> RemoteError {
        RemoteError::Damaged { name: name.to_owned(), address: self.address().to_owned(), reason: reason.into() }
    }

    fn newer(&self, name: &str, format: u32) -> RemoteError {
        let address = self.address().to_owned();
        RemoteError::NewerFormat { name: name.to_owned(), address, format, known: REMOTE_FORMAT }
    }

    /// The snapshots in the store, in the order of repositories and ids.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn names(&self) -> Result<Vec<RemoteName>, RemoteError> {
        let listed = self.store.list(SNAPSHOTS)?;
        let mut names: Vec<RemoteName> =
            listed.iter().filter_map(|object| RemoteName::of_object(&object.name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Reads a snapshot's manifest; `None` if there is none.
    ///
    /// # Errors
    /// If it is damaged, of a newer format, or the store does not answer.
    pub fn manifest(&self, name: &RemoteName) -> Result<Option<RemoteManifest>, RemoteError> {
        let object = name.object();
        let Some(bytes) = self.store.get(&object, MANIFEST_LIMIT_BYTES)? else { return Ok(None) };
        RemoteManifest::read(&bytes, name).map(Some).map_err(|error| match error {
            Unusable::Newer(format) => self.newer(&object, format),
            Unusable::Damaged(reason) => self.damaged(&object, reason),
        })
    }

    /// Writes a snapshot's manifest, which commits the snapshot. The manifest is read back, to make sure that the store
    /// has what was sent.
    ///
    /// # Errors
    /// If the store does not take it, has other bytes, or has another snapshot of this name.
    pub fn commit(&self, manifest: &RemoteManifest) -> Result<SentAs, RemoteError> {
        let name = manifest.head.name();
        let object = name.object();
        let bytes = manifest.write().map_err(|error| self.damaged(&object, error.to_string()))?;
        let put = self.store.put_if_absent(&object, bytes.clone())?;
        let found = self.store.get(&object, MANIFEST_LIMIT_BYTES)?;
        match (put, found) {
            (Put::Written, Some(found)) if found == bytes => Ok(SentAs::New),
            (Put::Written, _) => {
                // Only this call wrote it: a false commit must not stay.
                self.store.delete(&object)?;
                Err(self.damaged(&object, "the store has other bytes than were sent; nothing was committed"))
            }
            // A retry finds what the first attempt has written.
            (Put::Present, Some(found)) if found == bytes => Ok(SentAs::New),
            (Put::Present, _) => match self.manifest(&name)? {
                Some(held) if held.head.origin_blake3 == manifest.head.origin_blake3 => {
                    self.check_secrets(&held, manifest)?;
                    let objects = |of: &RemoteManifest| of.objects().collect::<BTreeSet<ObjectRef>>();
                    // The same files may be cut into other objects, and the old ones may be lost.
                    if objects(&held) == objects(manifest) {
                        return Ok(SentAs::Present);
                    }
                    self.replace(&object, &bytes)
                }
                _ => Err(RemoteError::OtherContent { name: name.to_string(), address: self.address().to_owned() }),
            },
        }
    }

    /// Writes the manifest of a snapshot over the one that is there, which may be damaged.
    ///
    /// # Errors
    /// If the store does not take it, has other bytes afterwards, or has another snapshot of this name.
    pub fn commit_again(&self, manifest: &RemoteManifest) -> Result<SentAs, RemoteError> {
        let name = manifest.head.name();
        let object = name.object();
        let bytes = manifest.write().map_err(|error| self.damaged(&object, error.to_string()))?;
        match self.manifest(&name) {
            Ok(Some(held)) if held.head.origin_blake3 != manifest.head.origin_blake3 => {
                Err(RemoteError::OtherContent { name: name.to_string(), address: self.address().to_owned() })
            }
            Ok(held) => {
                held.map_or(Ok(()), |held| self.check_secrets(&held, manifest))?;
                self.replace(&object, &bytes)
            }
            Err(RemoteError::Damaged { .. }) => self.replace(&object, &bytes),
            Err(error) => Err(error),
        }
    }

    /// Refuses to replace a manifest with secrets by one without: the copy with them could be the only one.
    fn check_secrets(&self, held: &RemoteManifest, new: &RemoteManifest) -> Result<(), RemoteError> {
        if new.head.lacks_secrets() && !held.head.lacks_secrets() {
            let (name, address) = (held.head.name().to_string(), self.address().to_owned());
            return Err(RemoteError::HasSecrets { name, address });
        }
        Ok(())
    }

    fn replace(&self, object: &str, bytes: &[u8]) -> Result<SentAs, RemoteError> {
        self.store.put(object, bytes.to_vec())?;
        match self.store.get(object, MANIFEST_LIMIT_BYTES)? {
            Some(found) if found == bytes => Ok(SentAs::New),
            _ => Err(self.damaged(object, "the store has other bytes than were sent")),
        }
    }

    /// Removes a snapshot. Its objects stay until gc removes them.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn remove(&self, name: &RemoteName) -> Result<(), RemoteError> {
        Ok(self.store.delete(&name.object())?)
    }

    /// Sends an object unless one of its name is there already.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn send(&self, object: ObjectRef, bytes: Vec<u8>) -> Result<SentAs, RemoteError> {
        let name = object_name(&object.key);
        match self.store.put_if_absent(&name, bytes)? {
            Put::Written => Ok(SentAs::New),
            Put::Present if self.has(object)? => Ok(SentAs::Present),
            Put::Present => Ok(SentAs::OtherSize),
        }
    }

    /// Sends an object even if it is there already: it is then newer than the condemnation of its key.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn send_again(&self, object: ObjectRef, bytes: Vec<u8>) -> Result<(), RemoteError> {
        Ok(self.store.put(&object_name(&object.key), bytes)?)
    }

    /// Whether an object is there with the right size.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn has(&self, object: ObjectRef) -> Result<bool, RemoteError> {
        Ok(self.store.stat(&object_name(&object.key))?.is_some_and(|found| found.bytes == object.bytes))
    }

    /// Reads an object, and compares it with its key.
    ///
    /// # Errors
    /// If it is missing or has other bytes; if the store does not answer.
    pub fn fetch(&self, object: ObjectRef) -> Result<Vec<u8>, RemoteError> {
        let name = object_name(&object.key);
        let bytes = self.store.get(&name, OBJECT_LIMIT_BYTES)?;
        let bytes = bytes.ok_or_else(|| self.damaged(&name, "it is missing"))?;
        if bytes.len() as u64 != object.bytes {
            let (found, wanted) = (bytes.len(), object.bytes);
            return Err(self.damaged(&name, format!("it has {found} bytes, and {wanted} were sent")));
        }
        if ContentHash::from(blake3::hash(&bytes)) != object.key {
            return Err(self.damaged(&name, "its bytes do not have the BLAKE3 that is its name"));
        }
        Ok(bytes)
    }

    /// Requests the lock that a new object gets; without a request if the service has no locks.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn default_lock(&self, now: DateTime<Utc>) -> Result<DefaultLock, RemoteError> {
        let without = if self.store.has_unread_retention() { DefaultLock::Unread } else { DefaultLock::None };
        Ok(self.store.locks().map_or(Ok(without), |locks| locks.default_lock(now))?)
    }

    /// Requests the lock of an object; `None` if it has none, or the credentials may not see it.
    ///
    /// # Errors
    /// If the store does not answer, or refuses.
    pub fn lock_of(&self, object: &LockedObject) -> Result<Option<ObjectLock>, RemoteError> {
        Ok(self.store.locks().map_or(Ok(None), |locks| locks.lock_of(&object.object()))?)
    }

    /// Gives an object a lock that ends later than its present one.
    ///
    /// # Errors
    /// If the store does not answer, or refuses.
    pub fn set_lock(&self, object: &LockedObject, lock: ObjectLock) -> Result<(), RemoteError> {
        let name = object.object();
        let locks: &dyn StoreLocks = self.store.locks().ok_or_else(|| StoreError {
            verb: "lock",
            name: name.clone(),
            address: self.address().to_owned(),
            kind: StoreErrorKind::Unsupported,
            cause: StoreCause("the service has no locks".to_owned()),
        })?;
        Ok(locks.set_lock(&name, lock)?)
    }

    /// When an object was last written; `None` if it is missing.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn written(&self, key: &ContentHash) -> Result<Option<DateTime<Utc>>, RemoteError> {
        Ok(self.store.stat(&object_name(key))?.map(|found| found.modified))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn delete_object(&self, key: &ContentHash) -> Result<(), RemoteError> {
        Ok(self.store.delete(&object_name(key))?)
    }

    /// All objects in the store.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn objects(&self) -> Result<BTreeMap<ContentHash, StoredObject>, RemoteError> {
        let mut objects = BTreeMap::new();
        for listed in self.store.list(OBJECTS)? {
            let Some(key) = key_of(&listed.name) else { continue };
            let modified = match listed.modified {
                Some(modified) => modified,
                None => match self.store.stat(&listed.name)? {
                    Some(found) => found.modified,
                    None => continue,
                },
            };
            objects.insert(key, StoredObject { bytes: listed.bytes, modified });
        }
        Ok(objects)
    }

    /// The present condemnations.
    ///
    /// # Errors
    /// If one cannot be read: a push that does not know it must not commit.
    pub fn condemnations(&self) -> Result<Vec<Condemnation>, RemoteError> {
        let mut all = Vec::new();
        for listed in self.store.list(GARBAGE)? {
            if Path::new(&listed.name).extension() != Some(OsStr::new("json")) {
                continue;
            }
            // A gc may have removed it meanwhile.
            let Some(text) = self.store.get(&listed.name, GARBAGE_LIMIT_BYTES)? else { continue };
            let Some(state) = self.store.stat(&listed.name)? else { continue };
            let file: GarbageFile = serde_json::from_slice(&text)
                .map_err(|error| self.damaged(&listed.name, format!("it cannot be read: {error}")))?;
            if file.format > REMOTE_FORMAT {
                return Err(self.newer(&listed.name, file.format));
            }
            all.push(Condemnation { name: listed.name, since: state.modified, keys: file.keys });
        }
        Ok(all)
    }

    /// Condemns keys.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn condemn(&self, keys: Vec<ContentHash>, now: DateTime<Utc>, random: u32) -> Result<(), RemoteError> {
        let name = format!("{GARBAGE}{}-{random:08x}.json", now.format("%Y-%m-%dT%H%M%SZ"));
        Ok(self.store.put(&name, bytes(&GarbageFile { format: REMOTE_FORMAT, keys }))?)
    }

    /// Removes the object that [`RemoteRepository::condemn`] has written.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn forget(&self, condemnation: &Condemnation) -> Result<(), RemoteError> {
        Ok(self.store.delete(&condemnation.name)?)
    }

    /// The leftovers of killed or failed commands in `tmp/`, and the files that are being written there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, RemoteError> {
        let mut leftovers = Vec::new();
        for listed in self.store.list(TEMPORARY)? {
            let modified = match listed.modified {
                Some(modified) => Some(modified),
                None => self.store.stat(&listed.name)?.map(|found| found.modified),
            };
            leftovers.extend(modified.map(|modified| Leftover { name: listed.name, modified }));
        }
        Ok(leftovers)
    }

    /// Removes an object that [`RemoteRepository::leftovers`] has listed.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<(), RemoteError> {
        Ok(self.store.delete(&leftover.name)?)
    }

    /// The time by the store's clock, taken from an object that is written for this purpose.
    ///
    /// # Errors
    /// If the store does not take the object, or does not report when it was written.
    pub fn clock(&self, random: u32) -> Result<DateTime<Utc>, RemoteError> {
        let name = format!("{TEMPORARY}clock-{random:08x}");
        self.store.put(&name, vec![b'.'])?;
        let found = self.store.stat(&name)?;
        self.store.delete(&name)?;
        found
            .map(|found| found.modified)
            .ok_or_else(|| self.damaged(&name, "it is missing, though it was just written"))
    }
}
