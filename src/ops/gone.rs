//! A snapshot that was unlinked.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::model::SnapshotId;
use crate::repo::Removal;

/// A snapshot that cannot be brought back any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletedSnapshot {
    /// The snapshot; the newest if there are several.
    pub id: SnapshotId,
    /// When `gc` unlinked it.
    pub emptied: DateTime<Utc>,
    /// When, how and why it was removed, if known.
    pub removed: Option<(DateTime<Utc>, Removal)>,
}

/// `2026-11-22T020000Z was unlinked by gc at 2026-11-23 02:10 UTC; prune had removed it at … (keep 7 daily)`.
impl fmt::Display for DeletedSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC").to_string();
        write!(f, "{} was unlinked by gc at {}", self.id, time(self.emptied))?;
        let Some((removed, Removal { by, why })) = &self.removed else { return Ok(()) };
        write!(f, "; {} had removed it at {}", by.as_deref().unwrap_or("a command"), time(*removed))?;
        why.as_ref().map_or(Ok(()), |why| write!(f, " ({})", why.escape_debug()))
    }
}
