//! Parts in the snapshot.

use std::sync::{Mutex, OnceLock, PoisonError};

use compact_str::CompactString;
use rayon::prelude::*;

use crate::exec::{Inspected, LeftOutFiles};
use crate::model::{LivePartState, PartName, PartTally, Placement, SnapshotId};

use crate::ops::copying::Extra;

/// A part in the snapshot, with everything known of it.
#[derive(Debug)]
pub(super) struct SnapshotPart {
    pub(super) name: PartName,
    pub(super) disk: CompactString,
    pub(super) placement: Placement,
    /// The snapshot that it was linked from, if it was linked.
    pub(super) from: Option<SnapshotId>,
    /// Whether each of its files is that of the same part in the last snapshot.
    pub(super) is_unchanged: bool,
    pub(super) inspected: Inspected,
    pub(super) left_out: LeftOutFiles,
    /// The state of the live part, if the comparison of its files has just found it unchanged.
    pub(super) live: Option<Box<LivePartState>>,
    /// Facts known only if it was copied.
    pub(super) extra: Extra,
}

impl SnapshotPart {
    /// A part that comes from no earlier snapshot.
    pub(super) fn of_now(
        name: PartName,
        disk: CompactString,
        placement: Placement,
        (inspected, left_out): (Inspected, LeftOutFiles),
    ) -> Self {
        let extra = Extra::default();
        Self { name, disk, placement, from: None, is_unchanged: false, inspected, left_out, live: None, extra }
    }

    pub(super) fn tally(&self) -> PartTally {
        PartTally { parts: 1, files: self.inspected.files, bytes: self.inspected.bytes }
    }
}

/// Joins these lists without moving the longest one.
pub(super) fn in_one_piece(mut lists: [Vec<SnapshotPart>; 3]) -> Vec<SnapshotPart> {
    lists.sort_by_key(|list| std::cmp::Reverse(list.len()));
    let [mut all, others @ ..] = lists;
    all.extend(others.into_iter().flatten());
    all
}

/// Takes parts in parallel, into one allocation: with hundreds of thousands of parts, two lists would be too many. No
/// part is begun after one has failed.
pub(super) fn take_all<T: Send, E: Send>(
    parts: Vec<T>,
    take: impl Fn(T) -> Result<Option<SnapshotPart>, E> + Sync,
) -> Result<Vec<SnapshotPart>, E> {
    let failed = OnceLock::new();
    let take = |part| match failed.get() {
        Some(_) => None,
        None => take(part).unwrap_or_else(|error| {
            // The first error gives the reason; a concurrent one adds nothing.
            drop(failed.set(Mutex::new(error)));
            None
        }),
    };
    let mut taken: Vec<Option<SnapshotPart>> = parts.into_par_iter().map(take).collect();
    if let Some(error) = failed.into_inner() {
        return Err(error.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    taken.retain(Option::is_some);
    // In place: `flatten` would take as much memory again.
    Ok(taken.into_iter().map_while(std::convert::identity).collect())
}

#[cfg(test)]
mod tests {
    use super::SnapshotPart;
    use crate::repo::PartRecord;

    /// A server has hundreds of thousands of parts: every byte kept per part counts.
    #[test]
    fn a_part_takes_little_memory() {
        assert!(size_of::<SnapshotPart>() <= 352, "{}", size_of::<SnapshotPart>());
        assert_eq!(size_of::<Option<SnapshotPart>>(), size_of::<SnapshotPart>());
        assert!(size_of::<PartRecord>() <= 384, "{}", size_of::<PartRecord>());
    }
}
