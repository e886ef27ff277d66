//! Copies of whole parts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use chsnap::exec::{self, CopiedLinks, CopiedPart, CopyPartError, PartCopier};
use chsnap::fs::{CopyOptions, Dir};
use chsnap::model::Placement;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::copy::support::{Made, dress, made, make, onward, open, places, see_tree, write_checksums};

const MANY: usize = 1000;

/// Copies `part` of `from` into `to`, verified.
fn copy(from: &Path, to: &Path, part: &str) -> Result<CopiedPart, CopyPartError> {
    let links = CopiedLinks::new(open(to), 1, MANY);
    copy_with(&links, &open(&from.join(part)), &open(to), part)
}

fn copy_with(links: &CopiedLinks, from: &Dir, to: &Dir, part: &str) -> Result<CopiedPart, CopyPartError> {
    let copier = PartCopier { options: CopyOptions::new(true, None, &onward), verifies: true, links };
    copier.copy_part(from, to, Path::new(""), part, &|_| true)
}

/// A part of small files with a projection; both have their checksums.
fn make_part(part: &Path) {
    let projection = part.join("p.proj");
    fs::create_dir_all(&projection).expect("a directory");
    for dir in [part, projection.as_path()] {
        make(&dir.join("a.bin"), &Made::plain(5000));
        make(&dir.join("count.txt"), &Made { seed: 9, ..Made::plain(1) });
        make(&dir.join("empty.bin"), &Made::plain(0));
        make(&dir.join("columns.txt"), &Made { seed: 3, ..Made::plain(70) });
    }
    write_checksums(&projection, &["a.bin", "count.txt", "empty.bin"]);
    write_checksums(part, &["a.bin", "count.txt", "empty.bin", "p.proj"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_that_was_copied_equals_its_source(
        covered in btree_map("[a-z]{1,3}\\.bin", made(), 0..4),
        uncovered in btree_map("[a-z]{1,3}\\.txt", made(), 0..3),
        projection in proptest::option::of(btree_map("[a-z]{1,3}\\.bin", made(), 0..3)),
        dressed in vec(made(), 2)
    ) {
        for (from, to) in places() {
            let part = from.path().join("all_1_1_0");
            fs::create_dir(&part).expect("a directory");
            covered.iter().chain(&uncovered).for_each(|(name, made)| make(&part.join(name), made));
            let mut listed: Vec<&str> = covered.keys().map(String::as_str).collect();
            if let Some(files) = &projection {
                fs::create_dir(part.join("p.proj")).expect("a directory");
                for (name, made) in files {
 make(&part.join("p.proj").join(name), made);
}
                write_checksums(&part.join("p.proj"), &files.keys().map(String::as_str).collect::<Vec<_>>());
                dress(&part.join("p.proj"), &dressed[0]);
                listed.push("p.proj");
            }
            write_checksums(&part, &listed);
            dress(&part, &Made { mode: dressed[1].mode | 0o700, ..dressed[1].clone() });
            let before = see_tree(&part);
            let copied = copy(from.path(), to.path(), "all_1_1_0").expect("it is copied");
            prop_assert_eq!(see_tree(&part), before.clone());
            prop_assert_eq!(see_tree(&to.path().join("all_1_1_0")), before.clone());
            prop_assert_eq!(&copied.unkept, &[]);
            let files = before.values().filter(|seen| seen.content.is_some());
            prop_assert_eq!((copied.files, copied.bytes), (files.clone().count() as u64, files.map(|seen| seen.size).sum()));
            let inspected = exec::inspect_part(&open(&part)).expect("it is inspected");
            prop_assert_eq!(copied.fingerprint, inspected.fingerprint);
            let empty = before.values().filter(|seen| seen.content.is_some() && seen.size == 0).count() as u64;
            prop_assert_eq!(copied.copied_files + copied.cloned_files + empty, copied.files);
            prop_assert!(copied.placement() == Placement::Copied || copied.cloned_files > 0);
            // Both know the same files as uncovered; in which order is each one's own affair.
            let by_path = |files: Vec<chsnap::repo::PartFile>| {
                files.into_iter().map(|file| (file.path.clone(), file)).collect::<BTreeMap<_, _>>()
            };
            prop_assert_eq!(by_path(copied.uncovered), by_path(inspected.uncovered.iter().collect()));
        }
    }
}

#[test]
fn real_parts_are_copied_and_hold_against_their_checksums() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checksums/fixtures");
    for name in ["18.16-tiny", "26.9-compact", "26.9-wide-projection"] {
        let to = tempfile::tempdir().expect("a directory");
        let copied = copy(&fixtures, to.path(), name).expect("it is sound");
        assert_eq!(copied.unverifiable, None, "{name}");
        // They belong to the user of the checkout, who may be another one.
        let contents = |root: &Path| -> BTreeMap<_, _> {
            see_tree(root).into_iter().map(|(path, seen)| (path, (seen.content, seen.mode, seen.modified))).collect()
        };
        assert_eq!(contents(&to.path().join(name)), contents(&fixtures.join(name)));
        assert_eq!(copied.fingerprint, exec::inspect_part(&open(&fixtures.join(name))).expect("sound").fingerprint);
    }
}

#[test]
fn every_damage_to_a_covered_file_is_an_error_that_names_it() {
    type Damage = fn(&Path);
    let flip: Damage = |path| {
        let mut bytes = fs::read(path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).expect("written");
    };
    let shorten: Damage = |path| fs::write(path, "").expect("written");
    let remove: Damage = |path| fs::remove_file(path).expect("removed");
    for (file, damage, named) in [
        ("a.bin", flip, "a.bin"),
        ("p.proj/a.bin", flip, "p.proj/a.bin"),
        ("p.proj/count.txt", shorten, "p.proj/count.txt"),
        ("count.txt", remove, "count.txt"),
        ("checksums.txt", shorten, "checksums.txt"),
        ("p.proj/checksums.txt", shorten, "p.proj/checksums.txt"),
        ("p.proj/checksums.txt", remove, "p.proj"),
    ] {
        let folder = tempfile::tempdir().expect("a directory");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        make_part(&from.join("part"));
        fs::create_dir(&to).expect("a directory");
        damage(&from.join("part").join(file));
        let error = copy(&from, &to, "part").expect_err("it is damaged");
        let CopyPartError::Damaged { path, expected, found } = &error else { panic!("{error}") };
        assert_eq!(path, &from.join("part").join(named), "{error}");
        assert!(!expected.is_empty() && !found.is_empty() && expected != found, "{error}");
    }
}

#[test]
fn a_projection_of_another_part_is_damage() {
    let folder = tempfile::tempdir().expect("a directory");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    make_part(&from.join("part"));
    fs::create_dir(&to).expect("a directory");
    write_checksums(&from.join("part/p.proj"), &["a.bin", "count.txt"]);
    let error = copy(&from, &to, "part").expect_err("it is another's");
    assert!(matches!(&error, CopyPartError::Damaged { path, .. } if path.ends_with("part/p.proj")), "{error}");
}

#[test]
fn a_part_that_cannot_be_verified_is_copied_and_says_so() {
    for checksums in [None, Some("ENC and then ciphertext"), Some("checksums format version: 77\n")] {
        let folder = tempfile::tempdir().expect("a directory");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("part")).expect("a directory");
        fs::create_dir(&to).expect("a directory");
        make(&from.join("part/a.bin"), &Made::plain(100));
        if let Some(text) = checksums {
            fs::write(from.join("part/checksums.txt"), text).expect("written");
        }
        let copied = copy(&from, &to, "part").expect("it is copied");
        assert!(copied.unverifiable.is_some());
        assert_eq!(copied.uncovered.len() as u64, copied.files);
        assert_eq!(see_tree(&to.join("part")), see_tree(&from.join("part")));
    }
}

#[test]
fn files_that_no_part_has_are_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    make_part(&from.join("part"));
    fs::create_dir(&to).expect("a directory");
    symlink("/etc", from.join("part/p.proj/link")).expect("a link");
    let error = copy(&from, &to, "part").expect_err("a symbolic link").to_string();
    assert!(error.contains("part/p.proj/link"), "{error}");
}

fn inode(path: PathBuf) -> u64 {
    fs::metadata(path).expect("it is there").ino()
}

/// Two parts that share `a.bin` and `columns.txt`.
fn make_sharing(from: &Path) {
    make_part(&from.join("one"));
    make_part(&from.join("two"));
    for name in ["a.bin", "columns.txt", "p.proj/a.bin"] {
        fs::remove_file(from.join("two").join(name)).expect("removed");
        fs::hard_link(from.join("one").join(name), from.join("two").join(name)).expect("linked");
    }
}

#[test]
fn links_between_parts_stay_links_also_when_they_are_copied_at_once() {
    for round in 0..8 {
        for (from, to) in places() {
            make_sharing(from.path());
            let links = CopiedLinks::new(open(to.path()), 1, MANY);
            let copy =
                |part: &str| copy_with(&links, &open(&from.path().join(part)), &open(to.path()), part).expect("copied");
            let (one, two) =
                if round == 0 { (copy("one"), copy("two")) } else { rayon::join(|| copy("one"), || copy("two")) };
            for name in ["a.bin", "columns.txt", "p.proj/a.bin"] {
                let at = |part: &str| inode(to.path().join(part).join(name));
                assert_eq!(at("one"), at("two"), "{name}");
            }
            assert_eq!(one.linked_files + two.linked_files, 3);
            assert_eq!((one.files, one.bytes), (two.files, two.bytes));
            assert_eq!(one.uncovered.len(), two.uncovered.len());
            for part in ["one", "two"] {
                assert_eq!(see_tree(&to.path().join(part)), see_tree(&from.path().join(part)));
            }
        }
    }
}

#[test]
fn files_with_no_more_links_than_usual_and_beyond_the_limit_are_copied() {
    for (usual, limit, linked) in [(1, MANY, 3), (2, MANY, 0), (1, 0, 0), (1, 1, 1)] {
        let folder = tempfile::tempdir().expect("a directory");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        make_sharing(&from);
        fs::create_dir(&to).expect("a directory");
        let links = CopiedLinks::new(open(&to), usual, limit);
        copy_with(&links, &open(&from.join("one")), &open(&to), "one").expect("copied");
        let two = copy_with(&links, &open(&from.join("two")), &open(&to), "two").expect("copied");
        assert_eq!(two.linked_files, linked, "{usual} {limit}");
        assert_eq!(links.passed_over() > 0, limit < 3);
        assert_eq!(see_tree(&to.join("two")), see_tree(&from.join("two")));
    }
}

#[test]
fn a_copy_that_is_gone_or_another_file_now_or_forgotten_is_not_linked() {
    type Act = fn(&Path, &CopiedLinks);
    let forget: Act = |_, links| links.forget(Path::new("one"));
    let remove: Act = |to, _| fs::remove_dir_all(to.join("one")).expect("removed");
    let other: Act = |to, _| {
        let path = to.join("one/a.bin");
        fs::remove_file(&path).expect("removed");
        fs::write(path, "x").expect("written");
    };
    for (act, linked) in [(forget, 0), (remove, 0), (other, 2)] {
        let folder = tempfile::tempdir().expect("a directory");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        make_sharing(&from);
        fs::create_dir(&to).expect("a directory");
        let links = CopiedLinks::new(open(&to), 1, MANY);
        copy_with(&links, &open(&from.join("one")), &open(&to), "one").expect("copied");
        act(&to, &links);
        let two = copy_with(&links, &open(&from.join("two")), &open(&to), "two").expect("copied");
        assert_eq!(two.linked_files, linked);
        assert_eq!(see_tree(&to.join("two")), see_tree(&from.join("two")));
    }
}

#[test]
fn an_inode_number_that_stands_for_another_file_now_is_not_linked() {
    let folder = tempfile::tempdir().expect("a directory");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    make_sharing(&from);
    fs::create_dir(&to).expect("a directory");
    let links = CopiedLinks::new(open(&to), 1, MANY);
    copy_with(&links, &open(&from.join("one")), &open(&to), "one").expect("copied");
    // The same inode, size and time, and other bytes: as if it had been freed and taken again.
    let path = from.join("two/a.bin");
    let modified = fs::metadata(&path).expect("it is there").modified().expect("a time");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    fs::write(&path, vec![42; 5000]).expect("written");
    fs::File::options().write(true).open(&path).expect("open").set_modified(modified).expect("a time");
    write_checksums(&from.join("two"), &["a.bin", "count.txt", "empty.bin", "p.proj"]);
    let two = copy_with(&links, &open(&from.join("two")), &open(&to), "two").expect("copied");
    assert_eq!(two.linked_files, 2);
    assert_eq!(see_tree(&to.join("two")), see_tree(&from.join("two")));
}

#[test]
fn a_huge_file_is_copied_in_ranges_side_by_side() {
    let folder = tempfile::tempdir().expect("a directory");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("part")).expect("a directory");
    fs::create_dir(&to).expect("a directory");
    // Mostly a hole, so that it costs little.
    let stretches = vec![(true, 30), (false, 40_000), (true, 50), (false, 30_000), (true, 3)];
    make(&from.join("part/a.bin"), &Made { stretches, ..Made::plain(0) });
    let links = CopiedLinks::new(open(&to), 2, MANY);
    let by_ranges = PartCopier { options: CopyOptions::new(false, None, &onward), verifies: false, links: &links };
    let copied = by_ranges
        .copy_part(&open(&from.join("part")), &open(&to), Path::new(""), "part", &|_| true)
        .expect("it is copied");
    assert_eq!((copied.files, copied.copied_files, copied.uncovered.len()), (1, 1, 0));
    assert_eq!(see_tree(&to.join("part")), see_tree(&from.join("part")));
}
