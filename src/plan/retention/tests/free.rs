use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::{at, policy, time};
use crate::plan::retention::{Candidate, FreePlan, Reason, RetentionDecision, decide, free_oldest, limit_to_free};

/// Files: their size, and the snapshots that contain them.
type Files = Vec<(u64, BTreeSet<usize>)>;

/// The bytes freed by a set of snapshots: those of the files whose links are all in it.
fn freed(files: &Files, set: &[usize]) -> u64 {
    files.iter().filter(|(_, links)| links.iter().all(|link| set.contains(link))).map(|(bytes, _)| bytes).sum()
}

/// Decisions for `count` nights, the oldest with index 0, of which the newest stays.
fn fates(count: usize) -> Vec<RetentionDecision> {
    let begin = time("2026-01-01T02:00:00Z");
    let night = |night: usize| Candidate {
        time: begin + chrono::TimeDelta::days(i64::try_from(night).expect("few")),
        ..at("2026-01-01T02:00:00Z")
    };
    let nights: Vec<Candidate> = (0..count).map(night).collect();
    decide(&nights, &policy(r#"{"keep_last": 1}"#), time("2036-01-01T00:00:00Z"))
}

fn removed(fates: &[RetentionDecision]) -> Vec<usize> {
    fates.iter().rev().filter(|fate| !fate.is_kept()).map(|fate| fate.index).collect()
}

fn limited(count: usize, files: &Files, wanted: u64) -> (Vec<usize>, FreePlan) {
    let mut fates = fates(count);
    let plan = limit_to_free(&mut fates, wanted, |set| freed(files, set));
    (removed(&fates), plan)
}

fn shared(bytes: u64, links: &[usize]) -> (u64, BTreeSet<usize>) {
    (bytes, links.iter().copied().collect())
}

#[test]
fn the_least_bytes_that_suffice_go_and_of_equals_the_fewest_and_oldest() {
    let files = vec![shared(10, &[0]), shared(10, &[1]), shared(100, &[2]), shared(100, &[3]), shared(1000, &[4])];
    assert_eq!(limited(5, &files, 60), (vec![2], FreePlan { freed_bytes: 100, is_enough: true }));
    assert_eq!(limited(5, &files, 10), (vec![0], FreePlan { freed_bytes: 10, is_enough: true }));
    assert_eq!(limited(5, &files, 110), (vec![0, 2], FreePlan { freed_bytes: 110, is_enough: true }));
    assert_eq!(limited(5, &files, 0), (vec![], FreePlan { freed_bytes: 0, is_enough: true }));
    // Two small ones instead of a large one.
    assert_eq!(limited(5, &files, 15), (vec![0, 1], FreePlan { freed_bytes: 20, is_enough: true }));
}

#[test]
fn files_shared_by_two_are_freed_only_with_both() {
    let files = vec![shared(1, &[0]), shared(1, &[1]), shared(500, &[1, 2]), shared(1, &[3])];
    assert_eq!(limited(5, &files, 400), (vec![1, 2], FreePlan { freed_bytes: 501, is_enough: true }));
}

#[test]
fn without_a_rule_the_oldest_go_until_it_is_enough() {
    let files = vec![shared(10, &[0]), shared(10, &[1]), shared(100, &[2]), shared(100, &[3]), shared(1000, &[4])];
    let oldest = |wanted| {
        let mut fates = fates(5);
        let plan = free_oldest(&mut fates, wanted, |set| freed(&files, set));
        (removed(&fates), plan)
    };
    assert_eq!(oldest(60), (vec![0, 1, 2], FreePlan { freed_bytes: 120, is_enough: true }));
    assert_eq!(oldest(10), (vec![0], FreePlan { freed_bytes: 10, is_enough: true }));
    assert_eq!(oldest(0), (vec![], FreePlan { freed_bytes: 0, is_enough: true }));
    assert_eq!(oldest(221), (vec![0, 1, 2, 3], FreePlan { freed_bytes: 220, is_enough: false }));
}

#[test]
fn prune_free_reports_an_unreachable_size_and_shows_everything_removable() {
    let files = vec![shared(7, &[0, 1]), shared(500, &[1, 2])];
    assert_eq!(limited(3, &files, 8), (vec![0, 1], FreePlan { freed_bytes: 7, is_enough: false }));
}

#[test]
fn a_snapshot_that_need_not_be_removed_has_that_as_its_reason() {
    let mut fates = fates(3);
    limit_to_free(&mut fates, 1, |set| set.len() as u64);
    let reasons: Vec<&[Reason]> = fates.iter().map(|fate| fate.reasons.as_slice()).collect();
    assert!(matches!(reasons.as_slice(), [[Reason::Counted { .. }], [Reason::NotNeeded], []]), "{reasons:?}");
}

/// The best of all sets: the one that frees least, then with the fewest members, then whose newest is oldest, and so
/// on.
fn best(count: usize, files: &Files, wanted: u64) -> Option<Vec<usize>> {
    let sets = (0_u32..1 << count).map(|mask| (0..count).filter(|bit| mask >> bit & 1 == 1).collect::<Vec<_>>());
    sets.filter(|set| freed(files, set) >= wanted)
        .min_by_key(|set| (freed(files, set), set.len(), set.iter().rev().copied().collect::<Vec<_>>()))
}

proptest! {
    #[test]
    fn the_best_of_a_few_is_found_however_they_share(
        files in vec((1_u64..50, btree_set(0_usize..8, 1..5)), 1..20),
        wanted in 1_u64..300,
    ) {
        let (found, plan) = limited(8, &files, wanted);
        let best = best(7, &files, wanted);
        let is_enough = best.is_some();
        prop_assert_eq!((found, plan.is_enough), (best.unwrap_or_else(|| (0..7).collect()), is_enough));
    }

    #[test]
    fn with_more_snapshots_no_exchange_of_two_frees_less(
        files in vec((1_u64..50, 0_usize..15, 1_usize..6), 1..40),
        wanted in 1_u64..600,
    ) {
        let files: Files = files.into_iter().map(|(bytes, from, length)| (bytes, (from..from + length).collect())).collect();
        let (found, plan) = limited(15, &files, wanted);
        let best = best(14, &files, wanted);
        prop_assert_eq!(plan.is_enough, best.is_some());
        if let Some(best) = best {
            prop_assert!(freed(&files, &best) <= plan.freed_bytes);
            for out in &found {
                for back in (0..14).filter(|index| !found.contains(index)) {
                    let other: Vec<usize> = found.iter().copied().filter(|index| index != out).chain([back]).collect();
                    let bytes = freed(&files, &other);
                    prop_assert!(bytes < wanted || bytes > plan.freed_bytes || bytes == plan.freed_bytes && back > *out);
                }
            }
        }
    }

    #[test]
    fn however_many_share_enough_is_freed_and_none_goes_for_nothing(
        files in vec((1_u64..50, btree_set(0_usize..60, 1..9)), 1..80),
        wanted in 1_u64..900,
    ) {
        let (found, plan) = limited(60, &files, wanted);
        prop_assert_eq!(plan.freed_bytes, freed(&files, &found));
        prop_assert_eq!(plan.is_enough, plan.freed_bytes >= wanted);
        if plan.is_enough {
            for index in &found {
                let fewer: Vec<usize> = found.iter().copied().filter(|other| other != index).collect();
                prop_assert!(freed(&files, &fewer) < wanted);
            }
        }
    }
}

#[test]
fn thousands_of_snapshots_take_no_time_to_speak_of() {
    for count in [1000, 5000] {
        let began = std::time::Instant::now();
        let mut fates = fates(count);
        let plan = limit_to_free(&mut fates, 700, |set| set.len() as u64);
        assert_eq!((removed(&fates), plan.is_enough), ((0..700).collect(), true));
        assert!(began.elapsed().as_secs() < 120, "{count}: {:?}", began.elapsed());
    }
}
