//! Predicted and really freed bytes, on ext4 and xfs, each in a file.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use chrono::Utc;
use chsnap::model::SnapshotId;
use chsnap::ops::usage::{Freed, SnapshotRange, usage};

use crate::chsnap_command::Chsnap;
use crate::hoard::{Hoard, Numbers, Walk};
use crate::small_disk::SmallDisk;
use crate::space::figures::request;

fn freed(hoard: &Hoard, ids: &[SnapshotId]) -> Freed {
    let freed = ids.iter().map(|id| SnapshotRange::One(id.to_string().parse().expect("a reference"))).collect();
    let found = usage(&hoard.open(), &request().with_freed(freed), Utc::now()).expect("an answer");
    assert_eq!(found.warnings, []);
    found.freed.expect("it was asked")
}

/// Nights with inserts, mutations, attached and dropped partitions.
fn nights(hoard: &mut Hoard, numbers: &mut Numbers) {
    for _ in 0..6 {
        (0..25).for_each(|_| drop(hoard.step(numbers)));
        hoard.snapshot();
    }
}

fn sets(ids: &[SnapshotId], numbers: &mut Numbers) -> Vec<SnapshotId> {
    loop {
        let some: Vec<SnapshotId> = ids.iter().copied().filter(|_| numbers.below(3) == 0).collect();
        if !some.is_empty() && some.len() < ids.len() {
            return some;
        }
    }
}

/// What the repository keeps of what it does: a removal is written down, which may take a block.
fn books(hoard: &Hoard) -> u64 {
    let journal = Walk::of([hoard.repo().join("journal").as_path()]);
    let files = ["index.sqlite", "lock"].map(|name| hoard.repo().join(name));
    let files = files.iter().filter_map(|path| path.metadata().ok()).map(|stat| stat.blocks() * 512);
    journal.allocated() + journal.directory_bytes + files.sum::<u64>()
}

/// xfs gives back more: a chunk of 64 inodes of 512 bytes, once none of them is in use. Who else has inodes in a chunk
/// cannot be seen from outside, so it cannot be predicted.
const INODE_CHUNK_BYTES: u64 = 32 << 10;

#[track_caller]
fn removals_free_what_was_predicted(disk: &SmallDisk, gives_back_chunks: bool) {
    for seed in 1..4 {
        let root = disk.path().join(seed.to_string());
        let mut hoard = Hoard::new(&root);
        let mut numbers = Numbers(seed);
        nights(&mut hoard, &mut numbers);
        for round in 0..4 {
            let some = if round == 3 {
                // A live server that lets go of everything turns what was shared into what the repository costs.
                hoard.drop_everything();
                hoard.ids()
            } else {
                sets(&hoard.ids(), &mut numbers)
            };
            let said = freed(&hoard, &some);
            let inodes = disk.used_inodes();
            let (before, kept) = (disk.taken_bytes(), books(&hoard));
            if round == 0 {
                // By hand: nothing else is written.
                for id in &some {
                    fs::remove_dir_all(hoard.repo().join("snapshots").join(id.to_string())).expect("removed");
                }
            } else {
                hoard.rm(&some);
                hoard.gc();
            }
            let inodes = inodes - disk.used_inodes();
            let freed = before - (disk.taken_bytes() - (books(&hoard) - kept));
            let chunks = freed.saturating_sub(said.freed_bytes) / INODE_CHUNK_BYTES;
            assert!(chunks == 0 || (gives_back_chunks && chunks <= inodes / 64 + 40), "{chunks} of {inodes}");
            assert_eq!(
                freed - chunks * INODE_CHUNK_BYTES,
                said.freed_bytes,
                "seed {seed}, round {round}: {some:?}, {said:?}"
            );
            assert!(said.file_bytes > 0 || round < 3);
        }
    }
}

#[test]
fn removals_free_on_ext4_what_prune_predicts() {
    let disk = SmallDisk::plain("mkfs.ext4");
    let mut hoard = Hoard::new(disk.path());
    nights(&mut hoard, &mut Numbers(9));
    hoard.drop_everything();
    let chsnap = Chsnap::new(&hoard.repo());
    let shown = chsnap.json(0, &["prune", "--keep-last", "2", "--dry-run"]);
    let (before, kept) = (disk.taken_bytes(), books(&hoard));
    let done = chsnap.json(0, &["prune", "--keep-last", "2", "--yes", "--yes-really"]);
    assert_eq!(done["freed_bytes"], shown["freed_bytes"]);
    chsnap.json(0, &["gc"]);
    let freed = before + (books(&hoard) - kept) - disk.taken_bytes();
    assert_eq!(done["freed_bytes"], freed);
}

#[test]
fn removals_free_on_ext4_what_was_predicted() {
    removals_free_what_was_predicted(&SmallDisk::plain("mkfs.ext4"), false);
}

#[test]
fn removals_free_on_xfs_what_was_predicted_and_chunks_of_inodes() {
    removals_free_what_was_predicted(&SmallDisk::plain("mkfs.xfs"), true);
}
