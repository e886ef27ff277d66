//! The operations that chsnap needs of an object store.

use chrono::{DateTime, Utc};

use crate::model::{DefaultLock, ObjectLock};

use super::error::StoreError;

/// The outcome of writing an object if it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was written.
    Written,
    /// An object of this name exists already. Its bytes were not compared.
    Present,
}

/// An object as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name, from the root of the store.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the store's clock; `None` if the list does not contain it.
    pub modified: Option<DateTime<Utc>>,
}

/// Requests and bytes so far. A retry is not counted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Objects sent.
    pub puts: u64,
    /// Objects read.
    pub gets: u64,
    /// Requests about one object.
    pub stats: u64,
    /// Lists, each of which may be several requests.
    pub lists: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Requests about object lock.
    pub locks: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes read.
    pub received_bytes: u64,
}

/// A prefix in an object store, or a directory. Names are relative to it and have `/` between their components. All
/// methods may be called from several threads.
pub trait Store: Send + Sync {
    /// Its address, without any secret.
    fn address(&self) -> &str;

    /// Whether an object is there completely or not at all. If not, an interrupted transfer leaves a shorter one.
    fn is_atomic(&self) -> bool;

    /// Writes an object, and replaces an existing one of its name. It is there completely, or not at all, if the
    /// service supports that.
    ///
    /// # Errors
    /// If the store does not take it.
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Writes an object unless one of its name exists, as one step if the service supports that.
    ///
    /// # Errors
    /// If the store does not take it.
    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Put, StoreError>;

    /// Reads a whole object; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or has more bytes than `limit_bytes`.
    fn get(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Requests size and time of an object; `None` if there is none.
    ///
    /// # Errors
    /// If the store does not answer.
    fn stat(&self, name: &str) -> Result<Option<ObjectState>, StoreError>;

    /// Lists the objects below a folder, whose name ends with `/`; the list is empty if the folder is missing.
    ///
    /// # Errors
    /// If the store does not answer.
    fn list(&self, folder: &str) -> Result<Vec<ListedObject>, StoreError>;

    /// Deletes an object, which may be missing.
    ///
    /// # Errors
    /// If the store refuses.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// The requests sent so far.
    fn requests(&self) -> Requests;

    /// Whether the service can retain objects in a way that is neither read nor extended here.
    fn has_unread_retention(&self) -> bool {
        false
    }

    /// The locks of its objects; `None` if the service has none.
    fn locks(&self) -> Option<&dyn StoreLocks> {
        None
    }
}

/// Locks that keep objects from being deleted or replaced.
pub trait StoreLocks {
    /// Requests the lock that a new object gets. Its end is by the store's clock, or by `now` if the store does not tell
    /// its time.
    ///
    /// # Errors
    /// If the store does not answer.
    fn default_lock(&self, now: DateTime<Utc>) -> Result<DefaultLock, StoreError>;

    /// Requests the lock of an object; `None` if it has none, or the credentials may not see it.
    ///
    /// # Errors
    /// If the store does not answer, or refuses.
    fn lock_of(&self, name: &str) -> Result<Option<ObjectLock>, StoreError>;

    /// Gives an object a lock that ends later than its present one.
    ///
    /// # Errors
    /// If the store does not answer, or refuses.
    fn set_lock(&self, name: &str, lock: ObjectLock) -> Result<(), StoreError>;
}
