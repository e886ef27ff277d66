//! Syncs finished parts while the rest is made, so that the sync at the seal finds little left.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::fs::{Dir, FsError};

/// With fewer parts than this, the one sync at the seal is as fast as two.
const EARLY_SYNC_PARTS: usize = 1000;

/// The background syncs of one run, one at a time, concurrent with all other work.
#[derive(Default)]
pub(super) struct BackgroundSync {
    at_work: Mutex<Option<JoinHandle<Result<(), FsError>>>>,
}

impl BackgroundSync {
    /// Starts making the filesystem of `dir` durable if there is enough to be worth it, and returns at once. Only one
    /// background sync runs at a time; sealing syncs whatever it did not cover.
    ///
    /// # Errors
    /// If the previous background sync failed.
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
        // If the system gives no thread, the sync at the seal does all of it.
        *at_work = std::thread::Builder::new().name("chsnap-sync".to_owned()).spawn(sync).ok();
        before
    }

    /// Waits for the last background sync.
    ///
    /// # Errors
    /// If it failed: the system reports a failed write only once.
    pub(super) fn finish(&self) -> Result<(), FsError> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), join)
    }
}

fn join(sync: JoinHandle<Result<(), FsError>>) -> Result<(), FsError> {
    sync.join().expect("syncing does not panic")
}
