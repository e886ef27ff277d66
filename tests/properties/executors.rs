//! Laws of the small executors and of directories, on a real filesystem.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use chsnap::exec::{self, LeftOutFiles, PlaceMode, Removed};
use chsnap::fs::{CopyError, CopyOptions, Dir, FsError, Hashing};
use chsnap::model::{PartName, Placement};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// An entry of a directory in a random tree.
#[derive(Clone, Debug)]
enum Entry {
    File,
    /// A link of a file that lies outside.
    Shared(usize),
    /// A symbolic link to a file or directory outside.
    Outside(bool),
    Directory(Vec<Entry>),
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let leaf =
        prop_oneof![Just(Entry::File), (0_usize..3).prop_map(Entry::Shared), any::<bool>().prop_map(Entry::Outside)];
    let entry = leaf.prop_recursive(4, 40, 6, |inner| vec(inner, 0..6).prop_map(Entry::Directory));
    vec(entry, 0..6)
}

/// Makes the tree and counts what `remove_tree` must count, the directory itself included.
fn build(dir: &Path, outside: &Path, entries: &[Entry]) -> Removed {
    fs::create_dir(dir).expect("a directory");
    let mut made = Removed { files: 0, directories: 1 };
    for (at, entry) in entries.iter().enumerate() {
        let path = dir.join(format!("e{at}"));
        match entry {
            Entry::File => fs::write(&path, "own").expect("a file"),
            Entry::Shared(which) => fs::hard_link(outside.join(format!("f{which}")), &path).expect("a link"),
            Entry::Outside(true) => symlink(outside, &path).expect("a link"),
            Entry::Outside(false) => symlink(outside.join("f0"), &path).expect("a link"),
            Entry::Directory(inner) => {
                made += build(&path, outside, inner);
                continue;
            }
        }
        made.files += 1;
    }
    made
}

/// Path, inode, mode, content and, but for directories in whose place an entry was changed, modification time.
type Listing = Vec<(PathBuf, u64, u32, (i64, i64), Option<Vec<u8>>)>;

fn listing(path: &Path) -> Listing {
    let mut paths = vec![path.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = paths.pop() {
        let stat = path.symlink_metadata().expect("it is there");
        let content = stat.is_file().then(|| fs::read(&path).expect("it is readable"));
        if stat.is_dir() {
            paths.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
        all.push((path, stat.ino(), stat.mode(), (stat.mtime(), stat.mtime_nsec()), content));
    }
    all.sort();
    all
}

fn open(path: &Path) -> Dir {
    Dir::open(path, chsnap::fs::real()).expect("the directory opens")
}

fn part_tree() -> impl Strategy<Value = Vec<(String, Vec<(String, u32)>)>> {
    let files = btree_map("[a-z]{1,3}\\.(bin|txt)", prop_oneof![Just(0o440_u32), Just(0o644), Just(0o600)], 0..5);
    let with_projection = (files, any::<bool>()).prop_map(|(files, projection)| {
        let own: Vec<(String, u32)> = files.into_iter().collect();
        let inner = own.iter().filter(|_| projection).map(|(name, mode)| (format!("p.proj/{name}"), *mode));
        let inner: Vec<_> = inner.collect();
        [own, inner].concat()
    });
    btree_map("[a-z0-9_%-]{1,8}", with_projection, 0..5).prop_map(|parts| parts.into_iter().collect())
}

/// Anything that is not one plain component of a path.
fn bad_name() -> impl Strategy<Value = OsString> {
    prop_oneof![
        prop_oneof![Just(""), Just("."), Just(".."), Just("/"), Just("./x"), Just("x/."), Just("x/"), Just("//x")]
            .prop_map(OsString::from),
        (vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..6))
            .prop_map(|(a, b)| OsString::from_vec([a.as_slice(), b"/", b.as_slice()].concat())),
        (vec(1_u8..255, 0..4), vec(1_u8..255, 0..4))
            .prop_map(|(a, b)| OsString::from_vec([a.as_slice(), b"\0", b.as_slice()].concat())),
    ]
}

fn fs_error(error: CopyError) -> FsError {
    match error {
        CopyError::Fs(error) => error,
        other => panic!("no system call refused it: {other}"),
    }
}

fn refused(results: Vec<(&'static str, Result<(), FsError>)>) -> Vec<&'static str> {
    results.into_iter().filter(|(_, result)| result.is_ok()).map(|(verb, _)| verb).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn remove_tree_takes_the_whole_tree_and_nothing_that_is_linked_from_elsewhere(entries in entries()) {
        let temporary = tempfile::tempdir().expect("a directory");
        let (outside, parent) = (temporary.path().join("outside"), temporary.path().join("parent"));
        build(&outside, &outside, &[]);
        (0..3).for_each(|n| fs::write(outside.join(format!("f{n}")), format!("{n}")).expect("a file"));
        build(&parent, &outside, &[Entry::File, Entry::Directory(vec![Entry::Shared(0)])]);
        let made = build(&parent.join("tree"), &outside, &entries);
        let kept = (listing(&outside), listing(&parent.join("e1")));
        let pool = exec::pool(2).expect("threads");
        let removed = pool.install(|| exec::remove_tree(&open(&parent), "tree", &|_| ())).expect("it is removed");
        prop_assert_eq!(removed, made);
        prop_assert!(!parent.join("tree").exists());
        prop_assert_eq!((listing(&outside), listing(&parent.join("e1"))), kept);
        // What is gone is no error, so an interrupted removal can be taken up again.
        let again = pool.install(|| exec::remove_tree(&open(&parent), "tree", &|_| ())).expect("nothing to remove");
        prop_assert_eq!(again, Removed::default());
    }

    #[test]
    fn place_parts_keeps_every_inode_name_and_mode_and_loses_nothing(
        parts in part_tree(), mode in prop_oneof![Just(PlaceMode::Auto), Just(PlaceMode::Rename), Just(PlaceMode::Link)]
    ) {
        let temporary = tempfile::tempdir().expect("a directory");
        let (shadow, table) = (temporary.path().join("shadow"), temporary.path().join("table"));
        fs::create_dir(&shadow).expect("a directory");
        fs::create_dir(&table).expect("a directory");
        for (part, files) in &parts {
            fs::create_dir(shadow.join(part)).expect("a part");
            for (file, bits) in files {
                let path = shadow.join(part).join(file);
                fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
                fs::write(&path, file).expect("a file");
                fs::set_permissions(&path, fs::Permissions::from_mode(*bits)).expect("a mode");
            }
            fs::set_permissions(shadow.join(part), fs::Permissions::from_mode(0o750)).expect("a mode");
        }
        let relative = |root: &Path| {
            let all = listing(root).into_iter().filter(|(path, ..)| path != root);
            // A directory that is linked is a new one, with the owner, mode and times of its source.
            let inode = |inode: u64, content: &Option<Vec<u8>>| if mode == PlaceMode::Link && content.is_none() { 0 } else { inode };
            all.map(|(path, ino, bits, time, content)| {
                let path = path.strip_prefix(root).expect("it is below").to_owned();
                (path, inode(ino, &content), bits, time, content)
            })
            .collect::<Listing>()
        };
        let before = relative(&shadow);
        let placed = exec::place_parts(&open(&shadow), &open(&table), mode).expect("the parts are placed");
        let expected = if mode == PlaceMode::Link { Placement::Linked } else { Placement::Renamed };
        let names: BTreeSet<&str> = placed.iter().map(|part| part.name.as_str()).collect();
        prop_assert_eq!(names, parts.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>());
        prop_assert!(placed.iter().all(|part| part.placement == expected) && placed.len() == parts.len());
        prop_assert_eq!(relative(&table), before.clone());
        prop_assert_eq!(relative(&shadow), if mode == PlaceMode::Link { before } else { Listing::new() });
    }

    #[test]
    fn place_table_takes_a_whole_table_or_changes_nothing(
        parts in part_tree(), taken in any::<bool>(), stray in any::<bool>()
    ) {
        let temporary = tempfile::tempdir().expect("a directory");
        let root = temporary.path();
        for dir in ["shadow", "shadow/uuid", "database", "database/table"] {
            fs::create_dir(root.join(dir)).expect("a directory");
        }
        fs::set_permissions(root.join("database/table"), fs::Permissions::from_mode(0o751)).expect("a mode");
        for (part, files) in &parts {
            fs::create_dir(root.join("shadow/uuid").join(part)).expect("a part");
            for (file, _) in files {
                let path = root.join("shadow/uuid").join(part).join(file);
                fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
                fs::write(&path, file).expect("a file");
            }
        }
        if taken {
            fs::create_dir(root.join("database/table/patch")).expect("an entry that exists already");
        }
        if stray {
            fs::write(root.join("shadow/uuid/stray"), "x").expect("what is no part");
        }
        let below = |dir: &str| {
            let root = root.join(dir);
            let all = listing(&root).into_iter().filter(|(path, ..)| *path != root);
            all.map(|(path, ino, bits, time, content)| {
                (path.strip_prefix(&root).expect("it is below").to_owned(), ino, bits, time, content)
            })
            .collect::<Listing>()
        };
        let (frozen, before) = (below("shadow/uuid"), below("database"));
        let placed = exec::place_table(&open(&root.join("shadow")), "uuid".as_ref(), &open(&root.join("database")), "table")
            .expect("nothing fails");
        if taken || stray {
            prop_assert!(placed.is_none());
            prop_assert_eq!((below("shadow/uuid"), below("database")), (frozen, before));
        } else {
            let (table, placed) = placed.expect("nothing is in the way");
            let names: BTreeSet<&str> = placed.iter().map(|part| part.name.as_str()).collect();
            prop_assert_eq!(names, parts.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>());
            prop_assert!(placed.iter().all(|part| part.placement == Placement::Renamed));
            prop_assert_eq!(below("database/table"), frozen);
            prop_assert_eq!(table.stat_self().expect("it is open").inode, fs::metadata(root.join("database/table")).expect("it is there").ino());
            prop_assert_eq!(table.stat_self().expect("it is open").ownership.mode, 0o751);
            prop_assert!(!root.join("shadow/uuid").exists());
        }
    }

    #[test]
    fn files_that_a_freeze_left_out_are_linked_or_written(
        extra in proptest::collection::btree_set("[a-z]{1,6}\\.(txt|json)", 0..4),
        metadata in any::<bool>(), saved_before in any::<bool>(), linked_before in any::<bool>(), gone in any::<bool>()
    ) {
        let temporary = tempfile::tempdir().expect("a directory");
        let root = temporary.path();
        let (live, frozen) = (root.join("live/all_1_1_0"), root.join("frozen/all_1_1_0"));
        fs::create_dir_all(&live).expect("a directory");
        fs::create_dir_all(&frozen).expect("a directory");
        for name in ["checksums.txt", "columns.txt"] {
            fs::write(live.join(name), name).expect("a file");
            fs::hard_link(live.join(name), frozen.join(name)).expect("a link");
        }
        for name in ["txn_version.txt", "x.tmp"] {
            fs::write(live.join(name), name).expect("a file of the server's own");
        }
        let left_out: Vec<&str> =
            extra.iter().map(String::as_str).chain(metadata.then_some("metadata_version.txt")).collect();
        for name in &left_out {
            fs::write(live.join(name), name).expect("a file");
        }
        let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
        let inodes: Vec<u64> = left_out.iter().map(|name| inode(&live.join(name))).collect();
        let name = PartName::try_from("all_1_1_0".to_owned()).expect("a part's name");
        let live_table = open(&root.join("live"));
        let wanted = [(&name, &live_table)];
        let saved = exec::save_left_out(if saved_before { &wanted } else { &[] }).expect("it is read");
        if gone {
            fs::remove_dir_all(&live).expect("the server takes it away");
        }
        let lives = [exec::LiveTable { disk: "default".to_owned(), dir: live_table.clone() }];
        let table = open(&root.join("frozen"));
        let saved = saved.get(&name);
        if linked_before {
            exec::link_left_out(&lives, &table, &name, saved).expect("it is linked");
        }
        let (part, mut entries) = table.open_and_list("all_1_1_0").expect("it is there");
        let answer = exec::link_left_out_files(&lives, &part, &mut entries, &name, saved).expect("it is taken");
        let mut listed: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut there: Vec<_> = part.entries().expect("it is there").into_iter().map(|entry| entry.name).collect();
        listed.sort();
        there.sort();
        prop_assert_eq!(&listed, &there);
        if gone {
            let written = metadata && saved_before;
            prop_assert_eq!(there.len(), 2 + usize::from(written));
            let expected = if written { LeftOutFiles::Taken } else if saved_before { LeftOutFiles::None } else { LeftOutFiles::Unknown };
            prop_assert_eq!(answer, expected);
        } else {
            prop_assert_eq!(there.len(), 2 + left_out.len());
            for (name, before) in left_out.iter().zip(inodes) {
                prop_assert_eq!(inode(&frozen.join(name)), before);
            }
            prop_assert_eq!(answer, if left_out.is_empty() { LeftOutFiles::None } else { LeftOutFiles::Taken });
        }
    }

    #[test]
    fn a_directory_refuses_every_name_that_is_not_one_component(name in bad_name()) {
        let temporary = tempfile::tempdir().expect("a directory");
        let inside = temporary.path().join("inside");
        fs::create_dir_all(inside.join("x")).expect("a directory");
        fs::write(inside.join("file"), "x").expect("a file");
        let before = listing(temporary.path());
        let dir = open(&inside);
        let name = name.as_os_str();
        let stat = dir.stat("file").expect("it is there");
        let means = CopyOptions::new(true, None, &|_| std::ops::ControlFlow::Continue(()));
        let done = refused(vec![
            ("open_dir", dir.open_dir(name).map(drop)),
            ("ensure_dir", dir.ensure_dir(name, 0o700).map(drop)),
            ("create_dir", dir.create_dir(name, 0o700)),
            ("stat", dir.stat(name).map(drop)),
            ("find", dir.find(name).map(drop)),
            ("read", dir.read(name, 10).map(drop)),
            ("link from", dir.link_from(&dir, name, "new")),
            ("link to", dir.link_from(&dir, "file", name)),
            ("rename from", dir.rename_from(&dir, name, "new")),
            ("rename to", dir.rename_from(&dir, "file", name)),
            ("symlink", dir.symlink(Path::new("file"), name)),
            ("remove_file", dir.remove_file(name)),
            ("remove_dir", dir.remove_dir(name)),
            ("write_new", dir.write_new(name, 0o600, b"x")),
            ("write_unsynced", dir.write_unsynced(name, 0o600, b"x")),
            ("write_copy", dir.write_copy(name, &stat, b"x")),
            ("append", dir.append(name, 0o600, b"x")),
            ("copy from", dir.copy_from(&means, &dir, name, "new", Hashing::None).map(drop).map_err(fs_error)),
            ("copy to", dir.copy_from(&means, &dir, "file", name, Hashing::None).map(drop).map_err(fs_error)),
            ("hash_file", dir.hash_file(name, Hashing::Blake3).map(drop)),
            ("remove_tree", exec::remove_tree(&dir, name, &|_| ()).map(drop)),
        ]);
        prop_assert_eq!(done, Vec::<&str>::new());
        prop_assert_eq!(listing(temporary.path()), before);
    }

    #[test]
    fn a_path_that_leads_out_or_through_a_link_opens_nothing(depth in 0_usize..4, tail in "[a-z]{0,3}") {
        let temporary = tempfile::tempdir().expect("a directory");
        let inside = temporary.path().join("inside");
        fs::create_dir_all(inside.join("x/y")).expect("a directory");
        symlink(temporary.path(), inside.join("x/out")).expect("a link");
        let dir = open(&inside);
        let up = format!("x/{}{tail}", "../".repeat(depth + 1));
        for path in [up.as_str(), "x/out", "x/out/inside", "/", "..", "/tmp"] {
            prop_assert!(dir.open_beneath(Path::new(path)).is_err(), "{path}");
        }
        prop_assert!(dir.open_beneath(Path::new("./x/./y")).is_ok());
    }
}

#[test]
fn reading_leaves_the_time_of_the_last_access_as_it_is() {
    use std::time::{Duration, SystemTime};
    let temporary = tempfile::tempdir().expect("a directory");
    let (inside, file) = (temporary.path().join("inside"), temporary.path().join("inside/file"));
    fs::create_dir(&inside).expect("a directory");
    fs::write(&file, "x").expect("a file");
    // Before the last change: then even a mount that spares such writes notes an access.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in [&file, &inside] {
        let handle = fs::File::open(path).expect("opened");
        handle.set_times(fs::FileTimes::new().set_accessed(long_ago)).expect("set");
    }
    let (dir, _) = open(temporary.path()).open_and_list("inside").expect("listed");
    dir.entries().expect("listed again");
    assert_eq!(dir.read("file", 10).expect("read"), b"x");
    for path in [&file, &inside] {
        assert_eq!(fs::metadata(path).expect("there").accessed().expect("a time"), long_ago, "{}", path.display());
    }
}
