//! Paths that could not be checked, which does not make them damaged.

use std::sync::{Mutex, PoisonError};

use crate::fs::{ErrorKind, FsError};
use crate::monitor::chain;

/// Paths that this user may not read. The first few are kept in words, all are counted.
#[derive(Debug, Default)]
pub struct UnreadPaths {
    inner: Mutex<(u64, Vec<String>)>,
}

const KEPT: usize = 10;

impl UnreadPaths {
    /// Whether an error is only a lack of this user's rights; if so, it is recorded here.
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

    /// The number of paths that were not checked, and the reasons for the first few.
    #[must_use]
    pub fn into_parts(self) -> (u64, Vec<String>) {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's reason without the path, which the message already contains.
pub(super) fn reason(error: &FsError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
