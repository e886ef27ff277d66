//! Decides which files become one object of a remote repository, and which objects are deleted once no manifest lists
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::{ContentHash, ObjectLock};

/// The largest number of file bytes in one object.
pub const OBJECT_BYTES: u64 = 64 << 20;
/// Files up to this size share an object with others of their part, unless configured otherwise.
pub const SMALL_FILE_BYTES: u64 = 1 << 20;
/// How long a key stays condemned before its object is deleted.
pub const GC_GRACE: Duration = Duration::from_secs(48 * 60 * 60);

/// The files of a part, by their indices in its list, grouped into objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileGroups {
    /// Small files that share an object.
    pub packs: Vec<Vec<usize>>,
    /// Files that have objects of their own.
    pub large: Vec<usize>,
}

/// Groups files of these sizes. Each is in exactly one group; packs keep the order of the files.
#[must_use]
pub fn group_files(sizes: &[u64], small_bytes: u64) -> FileGroups {
    let small_bytes = small_bytes.min(OBJECT_BYTES);
    let mut groups = FileGroups::default();
    let mut pack: Vec<usize> = Vec::new();
    let mut pack_bytes = 0_u64;
    for (place, size) in sizes.iter().enumerate() {
        if *size > small_bytes {
            groups.large.push(place);
            continue;
        }
        if !pack.is_empty() && pack_bytes + size > OBJECT_BYTES {
            groups.packs.push(std::mem::take(&mut pack));
            pack_bytes = 0;
        }
        pack.push(place);
        pack_bytes += size;
    }
    if !pack.is_empty() {
        groups.packs.push(pack);
    }
    groups
}

/// The ranges into which a file of this size is cut, one for each object.
pub fn object_ranges(bytes: u64) -> impl Iterator<Item = Range<u64>> {
    (0..bytes.div_ceil(OBJECT_BYTES)).map(move |piece| piece * OBJECT_BYTES..bytes.min((piece + 1) * OBJECT_BYTES))
}

/// How a push finds out whether the store still has the objects that it reuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceQuery {
    /// By a list of all objects.
    List,
    /// By a request for each object.
    Each,
}

/// Below this number, a request for each object is cheaper than any list.
const LEAST_TO_LIST: usize = 100;
/// Objects in an answer to a list, divided by how much more a list costs than a request for one object.
const LISTED_FOR_ONE_REQUEST: usize = 100;

/// Chooses the cheaper query for `asked` objects, in a store that has at least `stored`.
#[must_use]
pub fn presence_query(asked: usize, stored: usize) -> PresenceQuery {
    let is_list = asked >= LEAST_TO_LIST && asked.saturating_mul(LISTED_FOR_ONE_REQUEST) >= stored;
    if is_list { PresenceQuery::List } else { PresenceQuery::Each }
}

/// An object in a listing of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: DateTime<Utc>,
}

/// The evidence for a garbage collection.
#[derive(Clone, Debug, Default)]
pub struct GcEvidence {
    /// The existing objects.
    pub present: BTreeMap<ContentHash, StoredObject>,
    /// The keys that manifests list.
    pub named: BTreeSet<ContentHash>,
    /// The condemned keys, each with the time of its newest condemnation, by the store's clock.
    pub condemned: BTreeMap<ContentHash, DateTime<Utc>>,
}

/// The plan of a garbage collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Objects to delete.
    pub delete: Vec<ContentHash>,
    /// Objects that were not condemned before, and are condemned now: a later run may delete them.
    pub condemn: Vec<ContentHash>,
    /// Objects that were condemned, and whose grace period has not ended.
    pub waiting: Vec<ContentHash>,
}

/// Decides about each object that no manifest lists.
///
/// An object that was written after its condemnation has been sent again by a push: it is condemned again, with a new
/// grace period.
#[must_use]
pub fn plan_gc(evidence: &GcEvidence, now: DateTime<Utc>, grace: Duration) -> GcPlan {
    let grace = chrono::Duration::from_std(grace).unwrap_or(chrono::Duration::MAX);
    let mut plan = GcPlan::default();
    for (key, object) in &evidence.present {
        if evidence.named.contains(key) {
            continue;
        }
        match evidence.condemned.get(key) {
            Some(since) if object.modified <= *since => {
                let is_over = now.signed_duration_since(*since) >= grace;
                if is_over { plan.delete.push(*key) } else { plan.waiting.push(*key) }
            }
            _ => plan.condemn.push(*key),
        }
    }
    plan
}

/// The lock that an object must get so that it ends no earlier than `wanted`; `None` if its present one does not. A lock
/// keeps its mode: it would be refused to weaken it.
#[must_use]
pub fn extended_lock(present: Option<ObjectLock>, wanted: ObjectLock) -> Option<ObjectLock> {
    match present {
        Some(present) if present.until >= wanted.until => None,
        Some(present) => Some(ObjectLock { mode: present.mode, until: wanted.until }),
        None => Some(wanted),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_objects_are_listed_and_few_are_requested() {
        for (asked, stored, query) in [
            (0, 0, PresenceQuery::Each),
            (99, 100, PresenceQuery::Each),
            (100, 10_000, PresenceQuery::List),
            (100, 10_001, PresenceQuery::Each),
            (5_000, 1_000_000, PresenceQuery::Each),
            (50_000, 1_000_000, PresenceQuery::List),
        ] {
            assert_eq!(presence_query(asked, stored), query, "{asked} of {stored}");
        }
    }

    #[test]
    fn a_lock_is_extended_in_its_mode_and_never_shortened() {
        use crate::model::LockMode::{Compliance, Governance};
        let lock =
            |mode, day: i64| ObjectLock { mode, until: DateTime::from_timestamp(day * 86_400, 0).expect("a time") };
        let wanted = lock(Governance, 30);
        assert_eq!(extended_lock(None, wanted), Some(wanted));
        assert_eq!(extended_lock(Some(lock(Governance, 29)), wanted), Some(wanted));
        assert_eq!(extended_lock(Some(lock(Compliance, 29)), wanted), Some(lock(Compliance, 30)));
        for longer in [lock(Governance, 30), lock(Compliance, 31)] {
            assert_eq!(extended_lock(Some(longer), wanted), None);
        }
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_group_and_no_pack_has_more_than_an_object(
            sizes in prop::collection::vec(0_u64..(4 << 20), 0..200),
            small_bytes in 0_u64..(4 << 20),
        ) {
            let groups = group_files(&sizes, small_bytes);
            let mut places: Vec<usize> = groups.packs.iter().flatten().chain(&groups.large).copied().collect();
            places.sort_unstable();
            prop_assert_eq!(places, (0..sizes.len()).collect::<Vec<_>>());
            for pack in &groups.packs {
                prop_assert!(!pack.is_empty());
                prop_assert!(pack.iter().map(|place| sizes[*place]).sum::<u64>() <= OBJECT_BYTES);
                prop_assert!(pack.iter().all(|place| sizes[*place] <= small_bytes));
            }
            prop_assert!(groups.large.iter().all(|place| sizes[*place] > small_bytes));
        }

        #[test]
        fn the_pieces_of_a_file_are_the_file(bytes in 0_u64..(1 << 40)) {
            let mut at = 0;
            for range in object_ranges(bytes) {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > at && range.end - at <= OBJECT_BYTES);
                at = range.end;
            }
            prop_assert_eq!(at, bytes);
        }

        /// Each object in one of four states: listed or not, condemned at some time or never.
        #[test]
        fn nothing_is_deleted_that_is_named_young_or_was_written_since(
            objects in prop::collection::vec((any::<bool>(), prop::option::of(0_i64..200), 0_i64..200), 0..50),
            now in 200_i64..400,
            grace in 0_u64..300,
        ) {
            let at = |hour: i64| DateTime::from_timestamp(hour * 3600, 0).expect("a time");
            let mut evidence = GcEvidence::default();
            for (number, (is_named, condemned, modified)) in objects.iter().enumerate() {
                let key = ContentHash::from(blake3::hash(&number.to_le_bytes()));
                evidence.present.insert(key, StoredObject { bytes: 1, modified: at(*modified) });
                if *is_named {
                    evidence.named.insert(key);
                }
                if let Some(hour) = condemned {
                    evidence.condemned.insert(key, at(*hour));
                }
            }
            let plan = plan_gc(&evidence, at(now), Duration::from_secs(grace * 3600));
            for key in &plan.delete {
                let since = evidence.condemned[key];
                prop_assert!(!evidence.named.contains(key));
                prop_assert!(evidence.present[key].modified <= since);
                prop_assert!((at(now) - since).num_seconds() >= i64::try_from(grace * 3600).expect("small"));
            }
            let mut all: Vec<ContentHash> =
                plan.delete.iter().chain(&plan.condemn).chain(&plan.waiting).copied().collect();
            all.sort_unstable();
            let unnamed: Vec<ContentHash> =
                evidence.present.keys().filter(|key| !evidence.named.contains(key)).copied().collect();
            prop_assert_eq!(all, unnamed);
        }
    }
}
