//! Copies of single files.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chsnap::checksums::hash_bytes;
use chsnap::fs::{ContentDigest, CopyError, CopyOptions, Dir, FileCopy, FileTarget, Hashing, RateLimit, can_keep};
use proptest::prelude::*;
use rustix::fs::XattrFlags;

use crate::copy::support::{Made, acl, attributes, is_root, made, make, onward, open, places, see, skipped};

fn hashing() -> impl Strategy<Value = Hashing> {
    prop_oneof![Just(Hashing::None), Just(Hashing::ClickHouse), Just(Hashing::Blake3)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_copy_equals_its_source_and_the_hash_is_that_of_its_bytes(
        made in made(), hashing in hashing(), wants_clones in any::<bool>()
    ) {
        for (from, to) in places() {
            let (source, target) = (from.path().join("source"), to.path().join("target"));
            make(&source, &made);
            let before = see(&source);
            let advanced = AtomicU64::new(0);
            let count = |bytes| { advanced.fetch_add(bytes, Ordering::Relaxed); ControlFlow::Continue(()) };
            let options = CopyOptions::new(wants_clones, None, &count);
            let copied = open(to.path())
                .copy_from(&options, &open(from.path()), "source", "target", hashing)
                .expect("it is copied");
            prop_assert_eq!(&copied.unkept, &[]);
            prop_assert!(!copied.was_touched);
            // Before anything reads it.
            prop_assert_eq!(fs::metadata(&target).expect("it is there").atime(), fs::metadata(&source).expect("it is there").atime());
            prop_assert_eq!(see(&target), before.clone());
            prop_assert_eq!(see(&source), before.clone());
            prop_assert!(advanced.load(Ordering::Relaxed) <= before.size);
            let bytes = fs::read(&source).expect("readable");
            let expected = match hashing {
                Hashing::None => None,
                Hashing::ClickHouse => Some(ContentDigest::ClickHouse(hash_bytes(&bytes))),
                Hashing::Blake3 => Some(ContentDigest::Blake3(blake3::hash(&bytes))),
            };
            prop_assert_eq!(copied.digest, expected);
            prop_assert_eq!(open(from.path()).hash_file("source", hashing).expect("it is hashed"), expected);
        }
    }
}

/// A copy of `source` to `target` that is begun.
fn begun<'a>(options: &'a CopyOptions<'a>, from: &'a Dir, to: &'a Dir) -> FileCopy<'a> {
    let target = FileTarget::new(to).expect("it answers");
    FileCopy::begin(options, from, "source".as_ref(), target, "target".as_ref()).expect("begun")
}

#[test]
fn a_file_copied_in_ranges_by_several_threads_is_whole() {
    for (from, to) in places() {
        let source = from.path().join("source");
        make(&source, &Made { stretches: vec![(true, 5000), (false, 700), (true, 300), (false, 9)], ..Made::plain(0) });
        let (from, to) = (open(from.path()), open(to.path()));
        let options = CopyOptions::new(false, None, &onward);
        let copy = begun(&options, &from, &to);
        let size = copy.size_bytes();
        std::thread::scope(|scope| {
            for at in (0..size).step_by(1 << 20) {
                let copy = &copy;
                scope.spawn(move || copy.copy_range(at..size.min(at + (1 << 20))).expect("copied"));
            }
        });
        copy.finish(None).expect("finished");
        assert_eq!(see(&to.path().join("target")), see(&source));
    }
}

#[test]
fn an_incomplete_copy_is_refused_and_removed() {
    let folder = tempfile::tempdir().expect("a directory");
    make(&folder.path().join("source"), &Made::plain(10_000));
    let dir = open(folder.path());
    let options = CopyOptions::new(false, None, &onward);
    let copy = begun(&options, &dir, &dir);
    copy.copy_range(0..4096).expect("copied");
    copy.finish(None).expect_err("there is more");
    assert!(!folder.path().join("target").exists());
    drop(begun(&options, &dir, &dir));
    assert!(!folder.path().join("target").exists());
}

#[test]
fn an_existing_target_stays_and_a_source_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).expect("a directory");
    let at = |name: &str| inside.join(name);
    fs::write(at("source"), "new").expect("a file");
    fs::write(at("target"), "old").expect("a file");
    std::os::unix::fs::symlink("source", at("link")).expect("a link");
    fs::create_dir(at("directory")).expect("a directory");
    let dir = open(&inside);
    let options = CopyOptions::new(true, None, &onward);
    for (from, to) in [("source", "target"), ("link", "x"), ("directory", "x"), ("absent", "x"), ("source", "../x")] {
        let error = dir.copy_from(&options, &dir, from, to, Hashing::None).expect_err("refused").to_string();
        assert!(error.contains(folder.path().to_str().expect("text")), "{error}");
    }
    assert_eq!(fs::read_to_string(at("target")).expect("readable"), "old");
    assert!(!at("x").exists() && !folder.path().join("x").exists());
}

/// Copies a file in many pieces, and does something to it after the first.
fn copy_while(hashing: Hashing, act: &(dyn Fn(&Path) + Sync)) -> Result<bool, CopyError> {
    let folder = tempfile::tempdir().expect("a directory");
    let source = folder.path().join("source");
    make(&source, &Made::plain(100_000));
    let is_first = AtomicBool::new(true);
    let advanced = |_| {
        if is_first.swap(false, Ordering::Relaxed) {
            act(&source);
        }
        ControlFlow::Continue(())
    };
    let rate = RateLimit::new(400_000);
    let options = CopyOptions::new(false, Some(&rate), &advanced);
    let dir = open(folder.path());
    let result = dir.copy_from(&options, &dir, "source", "target", hashing);
    assert_eq!(folder.path().join("target").exists(), result.is_ok());
    result.map(|copied| {
        assert_eq!(copied.unkept, []);
        assert_eq!(see(&folder.path().join("target")), see(&source));
        copied.was_touched
    })
}

#[test]
fn a_source_that_is_written_to_shortened_or_replaced_meanwhile_is_an_error_that_names_it() {
    let append = |path: &Path| {
        OpenOptions::new().append(true).open(path).expect("it opens").write_all(b"more").expect("written");
    };
    let overwrite = |path: &Path| {
        let file = OpenOptions::new().write(true).open(path).expect("it opens");
        file.write_all_at(b"other", 90_000).expect("written");
    };
    let shorten = |path: &Path| OpenOptions::new().write(true).open(path).expect("it opens").set_len(9).expect("cut");
    let replace = |path: &Path| {
        make(&path.with_extension("new"), &Made::plain(100_000));
        fs::rename(path.with_extension("new"), path).expect("renamed");
    };
    for hashing in [Hashing::None, Hashing::ClickHouse] {
        for act in [&append as &(dyn Fn(&Path) + Sync), &overwrite, &shorten, &replace] {
            let error = copy_while(hashing, act).expect_err("it changed");
            assert!(matches!(&error, CopyError::Changed { path, .. } if path.ends_with("source")), "{error}");
        }
    }
}

#[test]
fn links_and_modes_that_change_meanwhile_are_reported_without_an_error() {
    let link = |path: &Path| fs::hard_link(path, path.with_extension("link")).expect("linked");
    let chmod = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("a mode");
    assert!(copy_while(Hashing::None, &link).expect("it is copied"));
    assert!(copy_while(Hashing::ClickHouse, &chmod).expect("it is copied"));
    assert!(!copy_while(Hashing::ClickHouse, &|_| ()).expect("it is copied"));
}

#[test]
fn a_copy_that_is_told_to_stop_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    make(&folder.path().join("source"), &Made::plain(3 << 20));
    let dir = open(folder.path());
    let stop = |_| ControlFlow::Break(());
    let options = CopyOptions::new(false, None, &stop);
    let error = dir.copy_from(&options, &dir, "source", "target", Hashing::Blake3).expect_err("it stops");
    assert!(matches!(&error, CopyError::Interrupted { path } if path.ends_with("source")), "{error}");
    assert!(!folder.path().join("target").exists());
}

#[test]
fn no_more_bytes_a_second_are_copied_than_the_limit_allows() {
    let folder = tempfile::tempdir().expect("a directory");
    make(&folder.path().join("source"), &Made::plain(2 << 20));
    let rate = RateLimit::new(4 << 20);
    let dir = open(folder.path());
    let options = CopyOptions::new(false, Some(&rate), &onward);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for (name, hashing) in [("one", Hashing::None), ("two", Hashing::ClickHouse)] {
            let (dir, options) = (&dir, &options);
            scope.spawn(move || dir.copy_from(options, dir, "source", name, hashing).expect("copied"));
        }
    });
    // Two copies of half a second each share one bucket, which begins with a quarter of a second saved.
    let taken = begin.elapsed();
    assert!((Duration::from_millis(740)..Duration::from_secs(5)).contains(&taken), "{taken:?}");
}

#[test]
fn an_acl_that_the_target_directory_hands_down_is_not_kept() {
    let folder = tempfile::tempdir().expect("a directory");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).expect("a directory");
    fs::create_dir(&to).expect("a directory");
    if rustix::fs::setxattr(&to, "system.posix_acl_default", &acl(), XattrFlags::empty()).is_err() {
        return skipped("no ACLs here");
    }
    make(&from.join("file"), &Made::plain(10));
    let options = CopyOptions::new(false, None, &onward);
    let copied = open(&to).copy_from(&options, &open(&from), "file", "file", Hashing::None).expect("copied");
    assert_eq!(copied.unkept, []);
    assert_eq!(attributes(&to.join("file")).len(), 0);
    assert_eq!(see(&to.join("file")), see(&from.join("file")));
}

#[test]
fn the_probe_tells_what_a_filesystem_keeps_and_leaves_nothing() {
    for (one, _) in places() {
        fs::write(one.path().join(".chsnap-probe"), "left by a killed one").expect("a file");
        let keeps = can_keep(&open(one.path()), (12_345, 23_456)).expect("it answers");
        assert!(keeps.mode && keeps.nanoseconds && keeps.hard_links, "{keeps:?}");
        assert_eq!(keeps.owner, is_root(), "{keeps:?}");
        let file = one.path().join("file");
        fs::write(&file, "").expect("a file");
        let xattrs = rustix::fs::setxattr(&file, "user.x", b"x", XattrFlags::empty()).is_ok();
        let acls = rustix::fs::setxattr(&file, "system.posix_acl_access", &acl(), XattrFlags::empty()).is_ok();
        assert_eq!((keeps.user_xattrs, keeps.acls), (xattrs, acls));
        assert_eq!(fs::read_dir(one.path()).expect("a directory").count(), 1);
    }
}

/// `CHSNAP_TEST_CLONES` names a directory of a filesystem with `FICLONE` (Btrfs, XFS).
#[test]
fn blocks_are_shared_if_the_filesystem_supports_it() {
    let Some(place) = std::env::var_os("CHSNAP_TEST_CLONES") else {
        return skipped("CHSNAP_TEST_CLONES names no directory of a filesystem that shares blocks");
    };
    let folder = tempfile::tempdir_in(place).expect("a directory");
    let holed =
        Made { stretches: vec![(true, 900), (false, 900), (true, 5), (false, 3)], acl: true, ..Made::plain(77) };
    make(&folder.path().join("source"), &holed);
    let dir = open(folder.path());
    assert!(can_keep(&dir, (0, 0)).expect("it answers").clones);
    let options = CopyOptions::new(true, None, &onward);
    for (name, hashing) in [("one", Hashing::None), ("two", Hashing::ClickHouse)] {
        let copied = dir.copy_from(&options, &dir, "source", name, hashing).expect("cloned");
        assert!(copied.is_clone && copied.unkept.is_empty());
        assert_eq!(see(&folder.path().join(name)), see(&folder.path().join("source")));
        let bytes = fs::read(folder.path().join("source")).expect("readable");
        let expected = (hashing == Hashing::ClickHouse).then(|| ContentDigest::ClickHouse(hash_bytes(&bytes)));
        assert_eq!(copied.digest, expected);
    }
}
