//! Faults while files are copied.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chsnap::exec::{CopiedLinks, CopiedPart, CopyPartError, PartCopier};
use chsnap::fs::{CopyOptions, Hashing, LostMetadata, can_keep};
use rustix::io::Errno;

use crate::copy::support::{Made, Seen, dress, make, onward, open, open_with, places, see_tree, write_checksums};
use crate::faulty::{ERRNOS, Fault, FaultyVerbs};

/// A part in which every verb of a copy has something to do, but for `allocate`.
fn make_part(part: &Path) {
    fs::create_dir_all(part.join("p.proj")).expect("a directory");
    let dressed = Made { acl: true, attributes: vec![("user.x".to_owned(), vec![1, 2])], ..Made::plain(0) };
    make(&part.join("a.bin"), &Made { stretches: vec![(true, 2), (false, 3)], mode: 0o4751, ..dressed.clone() });
    make(&part.join("b.bin"), &Made::plain(9000));
    fs::hard_link(part.join("b.bin"), part.join("c.bin")).expect("linked");
    make(&part.join("p.proj/a.bin"), &Made::plain(10));
    write_checksums(&part.join("p.proj"), &["a.bin"]);
    write_checksums(part, &["a.bin", "b.bin", "c.bin", "p.proj"]);
    dress(part, &Made { mode: 0o750, ..dressed });
}

/// With what no copy may change of a source: identity and the time of the last change.
type Source = BTreeMap<PathBuf, (Seen, u64, (i64, i64))>;

fn source(part: &Path) -> Source {
    let identity = |path: &Path| fs::metadata(part.join(path)).expect("it is there");
    see_tree(part)
        .into_iter()
        .map(|(path, seen)| {
            let found = identity(&path);
            (path, (seen, found.ino(), (found.ctime(), found.ctime_nsec())))
        })
        .collect()
}

struct Run {
    result: Result<CopiedPart, CopyPartError>,
    met: String,
    to: PathBuf,
}

fn run(from: &Path, to: &Path, verifies: bool, at: usize, fault: Fault) -> Run {
    let to = to.join("to");
    fs::create_dir(&to).expect("a directory");
    // The target's directory hands an ACL down, so that there is one to be removed.
    let acl = crate::copy::support::acl();
    if rustix::fs::setxattr(&to, "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty()).is_err() {
        crate::copy::support::skipped("no ACLs here");
    }
    let verbs = Arc::new(FaultyVerbs::new(at, fault));
    let dir = open_with(&to, Arc::clone(&verbs) as Arc<dyn chsnap::fs::Mutations>);
    let links = CopiedLinks::new(dir.clone(), 1, 10);
    let copier = PartCopier { options: CopyOptions::new(true, None, &onward), verifies, links: &links };
    let result = copier.copy_part(&open(from), &dir, Path::new(""), "part", &|_| true);
    Run { result, met: verbs.met(), to }
}

/// What a copy lacks of its source, as the answer of the copier should say it.
fn lacking(wanted: &BTreeMap<PathBuf, Seen>, found: &BTreeMap<PathBuf, Seen>) -> Vec<(String, LostMetadata)> {
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    let mut lacking = Vec::new();
    for (path, wanted) in wanted {
        let found = &found[path];
        assert_eq!(
            (wanted.content, &wanted.data, wanted.size),
            (found.content, &found.data, found.size),
            "{}",
            path.display()
        );
        let mut add = |unkept| lacking.push((path.display().to_string(), unkept));
        if wanted.owner != found.owner {
            add(LostMetadata::Owner);
        }
        if wanted.mode != found.mode {
            add(LostMetadata::Mode);
        }
        if wanted.modified != found.modified {
            add(LostMetadata::Time);
        }
        let names = wanted.attributes.keys().chain(found.attributes.keys());
        let mut names: Vec<_> =
            names.filter(|name| wanted.attributes.get(*name) != found.attributes.get(*name)).collect();
        names.sort();
        names.dedup();
        for name in names {
            add(LostMetadata::Xattr(name.clone()));
        }
    }
    lacking.sort();
    lacking
}

#[test]
fn a_fault_at_any_call_leaves_the_source_unchanged_and_is_reported() {
    let mut met_verbs = std::collections::BTreeSet::new();
    for (from, to) in places() {
        let part = from.path().join("part");
        make_part(&part);
        let before = source(&part);
        let wanted = see_tree(&part);
        for verifies in [true, false] {
            for fault in ERRNOS.map(Fault::Error).into_iter().chain([Fault::Error(Errno::PERM), Fault::Kill]) {
                for at in 1.. {
                    let Run { result, met, to } = run(&part, to.path(), verifies, at, fault);
                    let context = format!("{fault:?} at {at}: {met}");
                    assert_eq!(source(&part), before, "{context}");
                    match &result {
                        Ok(copied) => {
                            let lacking = lacking(&wanted, &see_tree(&to.join("part")));
                            assert_eq!(copied.unkept, lacking, "{context}");
                            assert!(fault != Fault::Kill || met.is_empty(), "{context}");
                        }
                        Err(error) => {
                            let text = format!("{error}: {:?}", error.source());
                            let names = |root: &Path| text.contains(root.to_str().expect("text"));
                            assert!(names(&part) || names(&to), "{context}: {text}");
                            assert!(!met.is_empty(), "{context}: {text}");
                        }
                    }
                    fs::remove_dir_all(&to).expect("removed");
                    if met.is_empty() {
                        assert!(at > 20 && result.is_ok(), "{context}");
                        break;
                    }
                    met_verbs.insert(met.split(' ').next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    for verb in [
        "create_dir",
        "create_file",
        "clone_file",
        "copy_range",
        "write_at",
        "set_size",
        "set_owner",
        "set_mode",
        "set_times",
        "set_xattr",
        "remove_xattr",
        "link",
        "close",
    ] {
        let needs_root = matches!(verb, "set_owner");
        assert!(met_verbs.contains(verb) || needs_root && !crate::copy::support::is_root(), "{verb} of {met_verbs:?}");
    }
}

#[test]
fn a_lack_of_space_for_a_huge_file_is_reported_before_it_is_copied() {
    let folder = tempfile::tempdir().expect("a directory");
    make(&folder.path().join("source"), &Made::plain(17 << 20));
    let mut met_allocate = false;
    for at in 1..4 {
        let verbs = Arc::new(FaultyVerbs::new(at, Fault::Error(Errno::NOSPC)));
        let dir = open_with(folder.path(), Arc::clone(&verbs) as Arc<dyn chsnap::fs::Mutations>);
        let options = CopyOptions::new(false, None, &onward);
        let result = dir.copy_from(&options, &dir, "source", "target", Hashing::None);
        let error = result.expect_err("the disk is full").to_string();
        assert!(error.contains("target"), "{error}");
        assert!(!folder.path().join("target").exists());
        met_allocate |= verbs.met().starts_with("allocate");
    }
    if !met_allocate {
        crate::copy::support::skipped("the temporary directory is neither on ext4 nor on XFS");
    }
}

#[test]
fn a_probe_leaves_nothing_whatever_fails() {
    let folder = tempfile::tempdir().expect("a directory");
    for errno in [Errno::IO, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSPC, Errno::INTR] {
        for at in 1.. {
            let verbs = Arc::new(FaultyVerbs::new(at, Fault::Error(errno)));
            let dir = open_with(folder.path(), Arc::clone(&verbs) as Arc<dyn chsnap::fs::Mutations>);
            let answer = can_keep(&dir, (7, 8));
            let met = verbs.met();
            if met.is_empty() {
                answer.expect("nothing failed");
                break;
            }
            let may_stay = met.starts_with("remove_file") && answer.is_err();
            can_keep(&open(folder.path()), (7, 8)).expect("the next one clears up");
            assert!(may_stay || fs::read_dir(folder.path()).expect("readable").count() == 0, "{met}");
            match (met.split(' ').next().unwrap_or_default(), answer) {
                ("set_owner", Ok(answer)) => assert!(errno == Errno::INTR || !answer.owner),
                ("link", Ok(answer)) => assert!(errno == Errno::INTR || !answer.hard_links),
                ("set_mode", Ok(answer)) => assert!(errno == Errno::INTR || !answer.mode),
                ("set_times", Ok(answer)) => assert!(errno == Errno::INTR || !answer.nanoseconds),
                _ => {}
            }
        }
    }
}
