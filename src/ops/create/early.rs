//! What stands already is made durable while the rest is made: the sync at the seal then finds little left.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::fs::{Dir, FsError};

/// Below this many parts the one sync at the seal is as fast as two.
const EARLY_SYNC_PARTS: usize = 1000;

/// The early syncs of one run, one at a time, beside everything else.
#[derive(Default)]
pub(super) struct EarlySync {
    at_work: Mutex<Option<JoinHandle<Result<(), FsError>>>>,
}

impl EarlySync {
    /// Begins to make the filesystem of `dir` durable, where there is enough to be worth it, and does not wait for that. One
    /// that is at work still is not joined by another: the seal syncs what it misses.
    ///
    /// # Errors
    /// If the one before has failed.
    pub(super) fn begin(&self, dir: &Dir, parts: usize) -> Result<(), FsError> {
        if parts < EARLY_SYNC_PARTS {
            return Ok(());
        }
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if at_work.as_ref().is_some_and(|sync| !sync.is_finished()) {
            return Ok(());
        }
        let before = at_work.take().map_or(Ok(()), join);
        let dir = dir.clone();
        let sync = move || dir.sync_filesystem();
        // Where the system gives no thread, all is left to the seal.
        *at_work = std::thread::Builder::new().name("chsnap-sync".to_owned()).spawn(sync).ok();
        before
    }

    /// Waits for the last one.
    ///
    /// # Errors
    /// If it failed: what the system could not write it tells only once.
    pub(super) fn finish(&self) -> Result<(), FsError> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), join)
    }
}

fn join(sync: JoinHandle<Result<(), FsError>>) -> Result<(), FsError> {
    sync.join().expect("syncing does not panic")
}
