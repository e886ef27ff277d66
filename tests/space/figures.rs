//! The figures of `usage`, on random trees.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chrono::Utc;
use chsnap::model::{SnapshotId, WarningKind};
use chsnap::ops::usage::{Grouping, SnapshotRange, Usage, UsageRequest, usage};

use crate::hoard::{Hoard, Numbers, Walk};

pub(crate) fn request() -> UsageRequest {
    UsageRequest::new().with_jobs(2)
}

pub(crate) fn ask(hoard: &Hoard) -> Usage {
    usage(&hoard.open(), &request(), Utc::now()).expect("an answer")
}

fn exact(hoard: &Hoard) -> Usage {
    usage(&hoard.open(), &request().with_exact(true), Utc::now()).expect("an answer")
}

fn freed(hoard: &Hoard, ids: &[SnapshotId]) -> u64 {
    let freed = ids.iter().map(|id| SnapshotRange::One(id.to_string().parse().expect("a reference"))).collect();
    let found = usage(&hoard.open(), &request().with_freed(freed), Utc::now()).expect("an answer");
    found.freed.expect("it was asked").freed_bytes
}

fn path(hoard: &Hoard, id: SnapshotId) -> PathBuf {
    hoard.repo().join("snapshots").join(id.to_string())
}

fn walk(hoard: &Hoard, ids: &[SnapshotId]) -> Walk {
    let paths: Vec<PathBuf> = ids.iter().map(|id| path(hoard, *id)).collect();
    Walk::of(paths.iter().map(PathBuf::as_path))
}

/// Every figure of every snapshot is that of a walk.
#[track_caller]
fn check(hoard: &Hoard, found: &Usage, context: &str) {
    let ids: Vec<SnapshotId> = found.snapshots.iter().map(|row| row.summary.id).collect();
    assert_eq!(ids, hoard.ids(), "{context}");
    let repository = ["snapshots", "trash", "incoming"].map(|name| hoard.repo().join(name));
    let everywhere = Walk::of(repository.iter().map(PathBuf::as_path));
    for (number, row) in found.snapshots.iter().enumerate() {
        let context = format!("{context}: {}", row.summary.id);
        let alone = walk(hoard, &ids[number..=number]);
        assert_eq!(row.held.exclusive_bytes, alone.alone(), "{context}");
        assert_eq!(row.held.directory_bytes, alone.directory_bytes, "{context}");
        assert_eq!(row.freed_bytes, alone.freed(), "{context}");
        assert_eq!(row.freed_with_older_bytes, walk(hoard, &ids[..=number]).freed(), "{context}");
        assert_eq!(row.held.allocated_bytes + row.held.metadata_bytes, alone.allocated(), "{context}");
        let data = Walk::of([path(hoard, row.summary.id).join("data").as_path()]);
        assert_eq!(row.held.allocated_bytes, data.allocated(), "{context}");
        let shared = data.files.iter().filter(|(inode, (_, links, _))| everywhere.files[inode].0 < *links);
        assert_eq!(row.held.live_shared_bytes, shared.map(|(_, (.., bytes))| bytes).sum::<u64>(), "{context}");
    }
    assert_eq!(found.totals.pinned_bytes, everywhere.alone(), "{context}");
}

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let first = std::env::var("CHSNAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    first..first + count.min(200)
}

#[test]
fn every_figure_is_that_of_a_walk_over_all_files_whatever_happened_before() {
    for seed in seeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut hoard = Hoard::new(folder.path());
        let mut numbers = Numbers(seed);
        let mut history = Vec::new();
        for _ in 0..14 {
            let ids = hoard.ids();
            match numbers.below(9) {
                0..=2 => history.push(format!("snapshot {}", hoard.snapshot())),
                3 if ids.len() > 1 => {
                    let chosen: BTreeSet<SnapshotId> =
                        (0..=numbers.below(2)).map(|_| ids[numbers.index(ids.len())]).collect();
                    hoard.rm(&chosen.iter().copied().collect::<Vec<_>>());
                    history.push(format!("rm {chosen:?}"));
                }
                4 => {
                    hoard.undo();
                    history.push("undo".to_owned());
                }
                5 => {
                    hoard.gc();
                    history.push("gc".to_owned());
                }
                6 if numbers.below(3) == 0 => {
                    hoard.drop_everything();
                    history.push("drop everything".to_owned());
                }
                _ => history.push(hoard.step(&mut numbers)),
            }
            if numbers.below(3) == 0 {
                drop(fs::remove_file(hoard.repo().join("index.sqlite")));
                history.push("index lost".to_owned());
            }
            let context = format!("seed {seed}: {history:?}");
            let found = ask(&hoard);
            assert_eq!(found.warnings, [], "{context}");
            check(&hoard, &found, &context);
            let exactly = exact(&hoard);
            assert!(exactly.exact.as_ref().is_some_and(|exact| exact.differing.is_empty()), "{context}: {exactly:?}");
            check(&hoard, &exactly, &context);
            let ids = hoard.ids();
            let some: Vec<SnapshotId> = ids.iter().copied().filter(|_| numbers.below(2) == 0).collect();
            if !some.is_empty() {
                assert_eq!(freed(&hoard, &some), walk(&hoard, &some).freed(), "{context}: {some:?}");
            }
        }
    }
}

#[test]
fn tables_and_partitions_are_counted_like_snapshots() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(3);
    for _ in 0..3 {
        (0..6).for_each(|_| drop(hoard.step(&mut numbers)));
        hoard.snapshot();
    }
    hoard.drop_everything();
    let tables = |by, snapshots: &[&str]| {
        let snapshots = snapshots.iter().map(|text| text.parse().expect("a reference")).collect();
        let request = request().with_by(by).with_snapshots(snapshots);
        usage(&hoard.open(), &request, Utc::now()).expect("an answer").tables.expect("it was asked")
    };
    for by in [Grouping::Table, Grouping::Partition] {
        for row in tables(by, &[]) {
            let mut parts: Vec<PathBuf> = Vec::new();
            for id in hoard.ids() {
                let dir = path(&hoard, id).join("data/d").join(chsnap::model::escape_for_file_name(&row.table.table));
                let found = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path());
                let is_mine = |path: &PathBuf| {
                    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                    row.partition.as_ref().is_none_or(|partition| name.starts_with(&format!("{partition}_")))
                };
                parts.extend(found.filter(is_mine));
            }
            let walk = Walk::of(parts.iter().map(PathBuf::as_path));
            let figures = (row.exclusive_bytes, row.directory_bytes, row.allocated_bytes, row.live_shared_bytes);
            assert_eq!(figures, (walk.alone(), walk.directory_bytes, walk.allocated(), 0), "{row:?}");
        }
    }
    // Of one snapshot alone: what the others hold too is not its own.
    let newest = ask(&hoard).snapshots.pop().expect("three");
    let rows = tables(Grouping::Table, &["latest"]);
    assert_eq!(rows.iter().map(|row| row.apparent_bytes).sum::<u64>(), newest.summary.totals.apparent_bytes);
    assert!(rows.iter().map(|row| row.exclusive_bytes).sum::<u64>() <= newest.held.exclusive_bytes);
}

#[test]
fn changes_made_by_hand_are_reported_and_the_index_is_repaired() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(5);
    for _ in 0..3 {
        (0..6).for_each(|_| drop(hoard.insert("orders", 3, &mut numbers)));
        hoard.snapshot();
    }
    hoard.drop_everything();
    check(&hoard, &ask(&hoard), "untouched");
    let ids = hoard.ids();
    // Somebody links what only a snapshot had: the index does not ask about that any more.
    let part =
        fs::read_dir(path(&hoard, ids[1]).join("data/d/orders")).expect("parts").next().expect("one").expect("one");
    crate::hoard::copy_links(&part.path(), &folder.path().join("elsewhere"));
    let found = exact(&hoard);
    let told = found.exact.as_ref().expect("asked").differing.clone();
    assert!(
        told.contains(&ids[1]) && found.warnings.iter().any(|warning| warning.kind == WarningKind::IndexCorrected),
        "{found:?}"
    );
    check(&hoard, &found, "linked, exactly");
    check(&hoard, &ask(&hoard), "linked, by the index that was put right");
    assert!(exact(&hoard).exact.is_some_and(|exact| exact.differing.is_empty()));
    // And when it goes again, the index knows it by itself.
    fs::remove_dir_all(folder.path().join("elsewhere")).expect("removed");
    check(&hoard, &ask(&hoard), "unlinked");
    assert!(exact(&hoard).exact.is_some_and(|exact| exact.differing.is_empty()));
}
