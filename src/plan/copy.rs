//! Decides which snapshots are copied to another repository, and their place in its order.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::model::SnapshotId;

/// The snapshots of a repository to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyScope {
    /// These snapshots.
    Named(BTreeSet<SnapshotId>),
    /// All that the target does not have, except those that were removed there.
    New,
}

/// The comparison of a snapshot that both repositories have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameId {
    /// The content is the same.
    SameContent,
    /// The content is the same, and the source has pinned it since.
    SameContentPinned,
    /// The content differs, or cannot be read.
    OtherContent,
}

/// The snapshots of the target repository.
#[derive(Clone, Debug, Default)]
pub struct CopyTarget {
    /// Its snapshots with their numbers, in the order in which they were made.
    pub existing: Vec<(SnapshotId, u64)>,
    /// The snapshots in its trash.
    pub trashed: BTreeSet<SnapshotId>,
    /// The snapshots that were ever removed there.
    pub removed: BTreeSet<SnapshotId>,
}

/// The decision about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDecision {
    /// It is copied, and gets this number.
    Copy {
        /// Its place in the order of the target.
        sequence: u64,
    },
    /// It is there already.
    Present,
    /// It is there already, and gets the pin from the source.
    Pin,
    /// It is not copied, for this reason.
    Refused(CopyRefusal),
}

/// Why a snapshot that was named is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyRefusal {
    /// The target has another snapshot of this id.
    OtherContent,
    /// The target has it in its trash.
    InTrash,
}

impl CopyRefusal {
    /// The stable name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherContent => "other_content",
            Self::InTrash => "in_trash",
        }
    }
}

impl std::fmt::Display for CopyRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherContent => "the target has another snapshot of this id",
            Self::InTrash => "the target has it in its trash",
        })
    }
}

/// Whether a pin of this time is copied to a repository that has the snapshot already: not if the pin there, or its
/// removal, is at least as new.
#[must_use]
pub fn pin_travels(
    since: DateTime<Utc>,
    pinned_there: Option<DateTime<Utc>>,
    unpinned_there: Option<DateTime<Utc>>,
) -> bool {
    pinned_there.max(unpinned_there).is_none_or(|newest| since > newest)
}

/// The decision about each snapshot, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyPlan {
    /// The snapshots with the decisions.
    pub snapshots: Vec<(SnapshotId, CopyDecision)>,
    /// New snapshots that are left out because they were removed from the target.
    pub removed_there: Vec<SnapshotId>,
}

/// Decides about all snapshots of `source`, in the order in which they were made. `compared` contains those that the
/// target has too.
#[must_use]
pub fn plan_copy(
    scope: &CopyScope,
    source: &[SnapshotId],
    target: &CopyTarget,
    compared: &BTreeMap<SnapshotId, SameId>,
) -> CopyPlan {
    let mut plan = CopyPlan::default();
    let mut existing = target.existing.clone();
    for (place, id) in source.iter().enumerate() {
        let is_wanted = match scope {
            CopyScope::Named(named) => named.contains(id),
            CopyScope::New => true,
        };
        if !is_wanted {
            continue;
        }
        let is_new = *scope == CopyScope::New;
        let decision = match compared.get(id) {
            // A snapshot that is there already is reported only if it was named, or if something is wrong.
            Some(SameId::SameContent) if is_new => continue,
            Some(SameId::SameContent) => CopyDecision::Present,
            Some(SameId::SameContentPinned) => CopyDecision::Pin,
            Some(SameId::OtherContent) => CopyDecision::Refused(CopyRefusal::OtherContent),
            None if is_new && (target.removed.contains(id) || target.trashed.contains(id)) => {
                plan.removed_there.push(*id);
                continue;
            }
            None if target.trashed.contains(id) => CopyDecision::Refused(CopyRefusal::InTrash),
            None => {
                let (before, after) =
                    (source.get(..place).unwrap_or_default(), source.get(place..).unwrap_or_default());
                let sequence = sequence_of(*id, (before, after), &existing);
                existing.push((*id, sequence));
                existing.sort_unstable_by_key(|(id, sequence)| (*sequence, *id));
                CopyDecision::Copy { sequence }
            }
        };
        plan.snapshots.push((*id, decision));
    }
    plan
}

/// The number for a snapshot among these, which are in the order in which they were made. The target orders its
/// snapshots by number, and those with equal numbers by id.
///
/// The number places it after the snapshots that the source made before it, and before those that the source made
/// later. Snapshots that the source does not know are ordered by id, which is a time. After all others it gets a new
/// number.
fn sequence_of(id: SnapshotId, (before, after): (&[SnapshotId], &[SnapshotId]), existing: &[(SnapshotId, u64)]) -> u64 {
    let is_before = |other: SnapshotId| before.contains(&other) || (!after.contains(&other) && other < id);
    let last_before = existing.iter().rposition(|(other, _)| is_before(*other));
    let next = last_before.map_or(0, |place| place + 1);
    let own = |place: usize| existing.get(place).map(|(_, sequence)| *sequence);
    match (last_before.and_then(own), own(next)) {
        // After all of them.
        (last, None) => last.unwrap_or(0).saturating_add(1),
        // An unused number in between, or the number of a neighbor, with the id deciding.
        (Some(last), Some(following)) if following - last > 1 => last + 1,
        (Some(last), Some(_)) => last,
        (None, Some(following)) => following.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::{CopyDecision, CopyPlan, CopyRefusal, CopyScope, CopyTarget, SameId, pin_travels, plan_copy};
    use crate::model::SnapshotId;

    fn id(day: u32) -> SnapshotId {
        format!("2026-11-{day:02}T020000Z").parse().expect("an id")
    }

    fn ids(days: &[u32]) -> Vec<SnapshotId> {
        days.iter().map(|day| id(*day)).collect()
    }

    fn target(existing: &[(u32, u64)]) -> CopyTarget {
        let existing = existing.iter().map(|(day, sequence)| (id(*day), *sequence)).collect();
        CopyTarget { existing, ..CopyTarget::default() }
    }

    fn named(days: &[u32]) -> CopyScope {
        CopyScope::Named(days.iter().map(|day| id(*day)).collect())
    }

    fn sequences(plan: &CopyPlan) -> Vec<(SnapshotId, u64)> {
        let of = |(id, decision): &(SnapshotId, CopyDecision)| match decision {
            CopyDecision::Copy { sequence } => Some((*id, *sequence)),
            _ => None,
        };
        plan.snapshots.iter().filter_map(of).collect()
    }

    #[test]
    fn new_snapshots_follow_each_other_and_what_was_removed_there_stays_away() {
        let mut target = target(&[(2, 7)]);
        target.removed.insert(id(1));
        target.trashed.insert(id(3));
        let compared = BTreeMap::from([(id(2), SameId::SameContent)]);
        let plan = plan_copy(&CopyScope::New, &ids(&[1, 2, 3, 4, 5]), &target, &compared);
        assert_eq!(sequences(&plan), [(id(4), 8), (id(5), 9)]);
        assert_eq!(plan.removed_there, ids(&[1, 3]));
        // A snapshot that was named is copied again, unless it is in the trash.
        let plan = plan_copy(&named(&[1, 2, 3]), &ids(&[1, 2, 3, 4, 5]), &target, &compared);
        let refused = CopyDecision::Refused(CopyRefusal::InTrash);
        let first = CopyDecision::Copy { sequence: 6 };
        assert_eq!(plan.snapshots, [(id(1), first), (id(2), CopyDecision::Present), (id(3), refused)]);
    }

    #[test]
    fn a_pin_is_copied_to_an_existing_copy_unless_its_own_pin_or_unpin_is_newer() {
        let compared = BTreeMap::from([(id(1), SameId::SameContent), (id(2), SameId::SameContentPinned)]);
        for (scope, present) in [(CopyScope::New, None), (named(&[1, 2]), Some((id(1), CopyDecision::Present)))] {
            let plan = plan_copy(&scope, &ids(&[1, 2]), &target(&[(1, 1), (2, 2)]), &compared);
            let all: Vec<_> = present.into_iter().chain([(id(2), CopyDecision::Pin)]).collect();
            assert_eq!(plan.snapshots, all);
        }
        let (early, late) = (id(1).time(), id(2).time());
        for (since, pinned, unpinned, travels) in [
            (early, None, None, true),
            (early, Some(early), None, false),
            (late, Some(early), None, true),
            (early, Some(late), None, false),
            (early, None, Some(early), false),
            (early, None, Some(late), false),
            (late, None, Some(early), true),
            (late, Some(early), Some(late), false),
        ] {
            assert_eq!(pin_travels(since, pinned, unpinned), travels, "{since} {pinned:?} {unpinned:?}");
        }
    }

    #[test]
    fn another_snapshot_of_the_same_id_is_refused_by_either_way() {
        let compared = BTreeMap::from([(id(2), SameId::OtherContent)]);
        for scope in [CopyScope::New, named(&[2])] {
            let plan = plan_copy(&scope, &ids(&[2]), &target(&[(2, 1)]), &compared);
            assert_eq!(plan.snapshots, [(id(2), CopyDecision::Refused(CopyRefusal::OtherContent))]);
        }
    }

    #[test]
    fn the_order_of_making_is_kept_although_a_clock_went_back() {
        // The source made 9 and then, after its clock was set back, 4 and 5.
        let plan = plan_copy(&CopyScope::New, &ids(&[9, 4, 5]), &CopyTarget::default(), &BTreeMap::new());
        assert_eq!(sequences(&plan), [(id(9), 1), (id(4), 2), (id(5), 3)]);
    }

    #[test]
    fn a_snapshot_of_the_targets_own_is_ordered_among_copies_by_its_time() {
        let plan = plan_copy(&CopyScope::New, &ids(&[1, 5]), &target(&[(3, 1), (7, 2)]), &BTreeMap::new());
        assert_eq!(sequences(&plan), [(id(1), 0), (id(5), 1)], "with the number of 3, and a later id");
    }

    proptest! {
        /// In whatever order they are copied: the copies are in the order of the source if ids follow it.
        #[test]
        fn copies_made_in_any_order_have_the_order_of_the_source(
            days in proptest::sample::subsequence((1_u32..29).collect::<Vec<_>>(), 1..9).prop_shuffle(),
        ) {
            let all: BTreeSet<SnapshotId> = days.iter().map(|day| id(*day)).collect();
            let source: Vec<SnapshotId> = all.iter().copied().collect();
            let mut target = CopyTarget::default();
            for day in &days {
                let plan = plan_copy(&named(&[*day]), &source, &target, &BTreeMap::new());
                target.existing.extend(sequences(&plan));
                target.existing.sort_unstable_by_key(|(id, sequence)| (*sequence, *id));
            }
            let order: Vec<SnapshotId> = target.existing.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(order, source);
        }
    }
}
