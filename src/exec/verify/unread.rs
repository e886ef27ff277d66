//! What could not be checked, and is no damage for that.

use std::sync::{Mutex, PoisonError};

use crate::fs::{ErrorKind, FsError};
use crate::monitor::chain;

/// What this user may not read. The first few are kept in words, all are counted.
#[derive(Debug, Default)]
pub struct Unread {
    inner: Mutex<(u64, Vec<String>)>,
}

const KEPT: usize = 10;

impl Unread {
    /// Whether an error is only this user's want of rights; then it is taken up here.
    pub fn takes(&self, error: &FsError) -> bool {
        let is_refusal = error.kind() == ErrorKind::NoPermission;
        if is_refusal {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.0 += 1;
            if inner.1.len() < KEPT {
                inner.1.push(chain(error));
            }
        }
        is_refusal
    }

    /// How many things were not checked, and why the first few were not.
    #[must_use]
    pub fn into_parts(self) -> (u64, Vec<String>) {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the system said, without the path: that stands beside it.
pub(super) fn reason(error: &FsError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
