//! Parts that stand in the snapshot.

use std::sync::{Mutex, OnceLock, PoisonError};

use compact_str::CompactString;
use rayon::prelude::*;

use crate::exec::{Inspected, LeftOut};
use crate::model::{PartName, Placement, SnapshotId, Tally};

use super::copying::Extra;

/// A part that stands in the snapshot, with all that is known of it.
#[derive(Debug)]
pub(super) struct TakenPart {
    pub(super) name: PartName,
    pub(super) disk: CompactString,
    pub(super) placement: Placement,
    /// The snapshot that it was linked from, if it was one.
    pub(super) from: Option<SnapshotId>,
    /// Whether its every file is the one that the same part of the last snapshot has.
    pub(super) is_unchanged: bool,
    pub(super) inspected: Inspected,
    pub(super) left_out: LeftOut,
    /// Where it was copied.
    pub(super) extra: Extra,
}

impl TakenPart {
    pub(super) fn tally(&self) -> Tally {
        Tally { parts: 1, files: self.inspected.files, bytes: self.inspected.bytes }
    }
}

/// All of these, without moving the most.
pub(super) fn in_one_piece(mut lists: [Vec<TakenPart>; 3]) -> Vec<TakenPart> {
    lists.sort_by_key(|list| std::cmp::Reverse(list.len()));
    let [mut all, others @ ..] = lists;
    all.extend(others.into_iter().flatten());
    all
}

/// Takes parts in parallel, into one piece of memory: of hundreds of thousands, two lists would be too many. None is begun
/// after one has failed.
pub(super) fn take_all<T: Send, E: Send>(
    parts: Vec<T>,
    take: impl Fn(T) -> Result<Option<TakenPart>, E> + Sync,
) -> Result<Vec<TakenPart>, E> {
    let failed = OnceLock::new();
    let take = |part| match failed.get() {
        Some(_) => None,
        None => take(part).unwrap_or_else(|error| {
            // The first one tells why; another at the same moment says no more.
            drop(failed.set(Mutex::new(error)));
            None
        }),
    };
    let mut taken: Vec<Option<TakenPart>> = parts.into_par_iter().map(take).collect();
    if let Some(error) = failed.into_inner() {
        return Err(error.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    taken.retain(Option::is_some);
    // Where they stand: `flatten` would take as much memory again.
    Ok(taken.into_iter().map_while(std::convert::identity).collect())
}

#[cfg(test)]
mod tests {
    use super::TakenPart;
    use crate::repo::PartRecord;

    /// A server has hundreds of thousands of parts: what is kept of each is counted in bytes.
    #[test]
    fn what_is_kept_of_a_part_is_small() {
        assert!(size_of::<TakenPart>() <= 352, "{}", size_of::<TakenPart>());
        assert_eq!(size_of::<Option<TakenPart>>(), size_of::<TakenPart>());
        assert!(size_of::<PartRecord>() <= 384, "{}", size_of::<PartRecord>());
    }
}
