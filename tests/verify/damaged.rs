//! Random damage at random places: all of it is found and named, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use chsnap::model::{Level, SnapshotId};
use chsnap::repo::PartFile;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::store::{Store, found, part, request};
use crate::tree::tree;

/// What becomes of a file. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Spoil {
    Flip(usize),
    Truncate(usize),
    Append,
    Delete,
    Swap,
    LinkOfAnother,
    Owner,
    Mode(u32),
    ByDirectory,
    BySymlink,
    ExtraFile,
    ExtraDirectory,
    ExtraSymlink,
    DeletePart,
    PartByFile,
    PartBySymlink,
    PartMode,
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        4 => any::<usize>().prop_map(Spoil::Flip),
        2 => any::<usize>().prop_map(Spoil::Truncate),
        1 => Just(Spoil::Append),
        2 => Just(Spoil::Delete),
        2 => Just(Spoil::Swap),
        1 => Just(Spoil::LinkOfAnother),
        1 => Just(Spoil::Owner),
        1 => prop_oneof![Just(0o640_u32), Just(0o400), Just(0o777), Just(0o4440)].prop_map(Spoil::Mode),
        1 => Just(Spoil::ByDirectory),
        1 => Just(Spoil::BySymlink),
        1 => Just(Spoil::ExtraFile),
        1 => Just(Spoil::ExtraDirectory),
        1 => Just(Spoil::ExtraSymlink),
        1 => Just(Spoil::DeletePart),
        1 => Just(Spoil::PartByFile),
        1 => Just(Spoil::PartBySymlink),
        1 => Just(Spoil::PartMode),
    ]
}

fn is_root() -> bool {
    chsnap::fs::user_id() == 0
}

/// Two tables, a few parts, three nights: the first part is in all, one only in the last two, one under new inodes.
fn store(seed: u64) -> (Store, Vec<SnapshotId>) {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(seed, 4, true));
    store.put("one", "all_2_2_0", &part(seed + 1, 3, false));
    store.put("two", "all_1_1_0", &part(seed + 2, 5, false));
    let mut ids = vec![store.snapshot()];
    store.put("two", "all_3_3_0", &part(seed + 3, 2, true));
    ids.push(store.snapshot());
    // The same bytes under other inodes, as when a replica has fetched a part again.
    store.put("one", "all_2_2_0", &part(seed + 1, 3, false));
    ids.push(store.snapshot());
    (store, ids)
}

/// All files of parts, relative to `snapshots/`.
fn part_files(store: &Store) -> Vec<PathBuf> {
    let all = tree(&store.repo().join("snapshots"));
    let is_part = |path: &Path| {
        path.components().nth(1).is_some_and(|name| name.as_os_str() == "data") && path.components().count() > 5
    };
    all.iter().filter(|(path, node)| !node.is_dir && is_part(path)).map(|(path, _)| path.clone()).collect()
}

/// Every path that has the same inode.
fn sharing(store: &Store, path: &Path) -> Vec<PathBuf> {
    let all = tree(&store.repo().join("snapshots"));
    let inode = all[path].inode;
    all.iter().filter(|(_, node)| node.inode == inode && !node.is_dir).map(|(path, _)| path.clone()).collect()
}

type Expected = BTreeSet<(String, String)>;

fn part_of(path: &Path) -> PathBuf {
    path.components().take(5).collect()
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of damage")]
/// Does it, and says what must be found. `None` where that would be no damage, or would hide what was done before.
fn apply(store: &Store, path: &Path, spoil: &Spoil, other: &Path) -> Option<Expected> {
    let root = store.repo().join("snapshots");
    let whole = root.join(path);
    let text = |path: &Path| path.to_str().expect("a text").to_owned();
    let one = |path: &Path, kind: &str| Some(BTreeSet::from([(text(path), kind.to_owned())]));
    let all = |kind: &str| Some(sharing(store, path).iter().map(|path| (text(path), kind.to_owned())).collect());
    let size = fs::metadata(&whole).expect("a file").len();
    let write = |bytes: &[u8]| fs::write(&whole, bytes).expect("root may write, and so may an owner that is one");
    let own = part_of(path);
    match spoil {
        Spoil::Flip(at) if size > 0 => {
            let found = all("content");
            let mut bytes = fs::read(&whole).expect("read");
            let position = at % bytes.len();
            bytes[position] ^= 1 << (at % 8);
            write(&bytes);
            found
        }
        Spoil::Truncate(at) if size > 0 => {
            let found = all("size");
            let bytes = fs::read(&whole).expect("read");
            write(&bytes[..at % bytes.len()]);
            found
        }
        Spoil::Flip(_) | Spoil::Truncate(_) | Spoil::Append => {
            let found = all("size");
            let mut bytes = fs::read(&whole).expect("read");
            bytes.push(7);
            write(&bytes);
            found
        }
        Spoil::Delete => {
            fs::remove_file(&whole).expect("removed");
            one(path, "missing")
        }
        Spoil::Swap | Spoil::LinkOfAnother => {
            // Two entries of one part change places, or one is a link of the other.
            let (mine, theirs) = (fs::read(&whole).expect("read"), fs::read(root.join(other)).expect("read"));
            if mine == theirs || part_of(other) != own {
                return None;
            }
            let kind = if mine.len() == theirs.len() { "content" } else { "size" };
            let (aside, far) = (whole.with_extension("aside"), root.join(other));
            fs::rename(&whole, &aside).expect("moved");
            if matches!(spoil, Spoil::Swap) {
                fs::rename(&far, &whole).expect("moved");
                fs::rename(&aside, &far).expect("moved");
                Some(BTreeSet::from([(text(path), kind.to_owned()), (text(other), kind.to_owned())]))
            } else {
                fs::hard_link(&far, &whole).expect("a link");
                fs::remove_file(&aside).expect("removed");
                one(path, kind)
            }
        }
        Spoil::Owner if is_root() => {
            let found = all("owner");
            chown(&whole, Some(12345), Some(54321)).expect("given away");
            found
        }
        Spoil::Owner => None,
        Spoil::Mode(mode) => {
            let found = all("mode");
            fs::set_permissions(&whole, fs::Permissions::from_mode(*mode)).expect("a mode");
            found
        }
        Spoil::ByDirectory => {
            fs::remove_file(&whole).expect("removed");
            fs::create_dir(&whole).expect("a directory");
            fs::write(whole.join("inside"), "x").expect("written");
            one(path, "type")
        }
        Spoil::BySymlink => {
            fs::remove_file(&whole).expect("removed");
            symlink(root.join(other), &whole).expect("a link");
            one(path, "type")
        }
        Spoil::ExtraFile => {
            let extra = path.with_file_name("surplus.bin");
            fs::write(root.join(&extra), "x").expect("written");
            one(&extra, "extra")
        }
        Spoil::ExtraDirectory => {
            let extra = own.with_file_name("all_9_9_0");
            fs::create_dir(root.join(&extra)).ok()?;
            one(&extra, "extra")
        }
        Spoil::ExtraSymlink => {
            let extra = path.with_file_name("surplus.link");
            symlink("/etc/passwd", root.join(&extra)).ok()?;
            one(&extra, "extra")
        }
        Spoil::DeletePart => {
            fs::remove_dir_all(root.join(&own)).expect("removed");
            one(&own, "missing")
        }
        Spoil::PartByFile => {
            fs::remove_dir_all(root.join(&own)).expect("removed");
            fs::write(root.join(&own), "x").expect("written");
            one(&own, "type")
        }
        Spoil::PartBySymlink => {
            let elsewhere = store.live().with_file_name("elsewhere");
            fs::remove_dir_all(&elsewhere).ok();
            fs::rename(root.join(&own), &elsewhere).expect("moved");
            symlink(&elsewhere, root.join(&own)).expect("a link");
            one(&own, "type")
        }
        Spoil::PartMode => {
            fs::set_permissions(root.join(&own), fs::Permissions::from_mode(0o700)).expect("a mode");
            one(&own, "mode")
        }
    }
}

/// From which level on a kind is found.
fn level_of(kind: &str) -> Level {
    match kind {
        "content" => Level::Data,
        "size" => Level::Size,
        _ => Level::Structure,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_damage_is_found_at_its_level_and_none_is_invented(
        seed in 0_u64..1_000_000, spoils in vec((any::<usize>(), any::<usize>(), spoil()), 0..4)
    ) {
        let (store, _) = store(seed);
        let files = part_files(&store);
        let mut expected = Expected::new();
        let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
        for (which, other, spoil) in &spoils {
            let path = &files[which % files.len()];
            let parts: Vec<PathBuf> = sharing_parts(&store, path);
            // One thing a part: what becomes of a damaged part's other damage is another test's.
            if parts.iter().any(|part| touched.contains(part)) {
                continue;
            }
            let neighbors: Vec<&PathBuf> = files.iter().filter(|other| part_of(other) == part_of(path) && *other != path).collect();
            let other = neighbors[other % neighbors.len()];
            if let Some(found) = apply(&store, path, spoil, other) {
                expected.extend(found);
                touched.extend(parts);
            }
        }
        for level in [Level::Structure, Level::Size, Level::Data] {
            let report = store.verify(&request(level));
            // The lists of checksums are read, and so compared, at every level.
            let visible: Expected = expected.iter()
                .filter(|(path, kind)| level >= level_of(kind) || path.ends_with("checksums.txt"))
                .cloned().collect();
            prop_assert_eq!(found(&report), visible, "{} {:?}", level, spoils);
            for damage in &report.damage {
                prop_assert!(damage.table.is_some() && damage.expected != damage.found, "{:?}", damage);
                if let Some(intact) = &damage.intact {
                    let copy = store.at(intact.id).join(&intact.path);
                    let damaged = store.at(damage.places[0].0).join(&damage.places[0].1);
                    prop_assert!(copy.is_file() && !damaged.is_file() || crate::store::inode(&copy) != crate::store::inode(&damaged));
                }
            }
        }
    }
}

/// The parts, in all snapshots, that share a file with the part of `path`.
fn sharing_parts(store: &Store, path: &Path) -> Vec<PathBuf> {
    let own = part_of(path);
    let all = tree(&store.repo().join("snapshots"));
    let inodes: BTreeSet<u64> =
        all.iter().filter(|(path, node)| path.starts_with(&own) && !node.is_dir).map(|(_, node)| node.inode).collect();
    let sharing =
        all.iter().filter(|(_, node)| !node.is_dir && inodes.contains(&node.inode)).map(|(path, _)| part_of(path));
    sharing.chain([own]).collect()
}

#[test]
fn a_sound_repository_has_no_damage_and_each_inode_is_read_once() {
    let (store, ids) = store(1);
    let report = store.verify(&request(Level::Data));
    assert_eq!(found(&report), BTreeSet::new());
    let all = tree(&store.repo().join("snapshots"));
    let files = part_files(&store);
    let distinct: BTreeSet<u64> = files.iter().map(|path| all[path].inode).collect();
    assert_eq!((report.tally.files, report.tally.read_files), (files.len() as u64, distinct.len() as u64));
    assert!(report.tally.read_files < report.tally.files / 2);
    assert_eq!((report.ids, report.is_recorded, report.warnings), (ids, true, Vec::new()));
    // Three definitions of two tables and a mutation each night.
    assert_eq!(report.metadata_files, 9);
}

#[test]
fn damage_of_definitions_manifests_and_lists_is_found_whatever_byte_it_is_in() {
    let (store, ids) = store(2);
    let at = store.at(ids[1]);
    let mut number = 0_usize;
    for (file, kind, level) in [
        ("metadata/d/one.sql", "content", Level::Data),
        ("data/d/one/mutation_7.txt", "content", Level::Data),
        ("manifest.json", "manifest", Level::Structure),
        ("parts.jsonl.zst", "manifest", Level::Structure),
    ] {
        let sound = fs::read(at.join(file)).expect("read");
        for step in 0..40 {
            number += 1;
            let mut spoilt = sound.clone();
            let position = (step * 7919 + number) % spoilt.len();
            spoilt[position] ^= 1 << (number % 8);
            fs::write(at.join(file), &spoilt).expect("written");
            let found = found(&store.verify(&request(level)));
            let expected = BTreeSet::from([(format!("{}/{file}", ids[1]), kind.to_owned())]);
            // A flip in `format` makes it one of a newer chsnap, of which nothing can be said.
            let is_newer =
                file == "manifest.json" && String::from_utf8_lossy(&spoilt).lines().nth(1) != Some("  \"format\": 1,");
            // What the manifest says of other files cannot be right any more either.
            let is_found = found == expected || (file == "manifest.json" && found.is_superset(&expected));
            assert!(is_found || is_newer, "{file} byte {position}: {found:?}");
        }
        fs::write(at.join(file), &sound).expect("written");
        fs::remove_file(at.join(file)).expect("removed");
        let missing = found(&store.verify(&request(Level::Structure)));
        assert!(missing.iter().any(|(path, _)| path.ends_with(file)), "{file}: {missing:?}");
        fs::write(at.join(file), &sound).expect("written");
    }
    fs::write(at.join("metadata/d/surplus.sql"), "x").expect("written");
    fs::create_dir(at.join("surplus")).expect("made");
    let extra = found(&store.verify(&request(Level::Structure)));
    assert_eq!(extra.len(), 2, "{extra:?}");
}

#[test]
fn a_part_without_a_sound_list_of_checksums_is_checked_by_that_of_another_snapshot() {
    let (store, ids) = store(3);
    // Under new inodes in the last night: the list of the first two is damaged, and data in both.
    let damaged = store.at(ids[0]).join("data/d/one/all_2_2_0");
    for file in ["checksums.txt", "c2.bin"] {
        let mut bytes = fs::read(damaged.join(file)).expect("read");
        bytes[0] ^= 1;
        fs::write(damaged.join(file), bytes).expect("written");
    }
    let report = store.verify(&request(Level::Data));
    let expected: BTreeSet<(String, String)> = ids[..2]
        .iter()
        .flat_map(|id| {
            ["checksums.txt", "c2.bin"].map(|file| (format!("{id}/data/d/one/all_2_2_0/{file}"), "content".to_owned()))
        })
        .collect();
    assert_eq!(found(&report), expected);
    for damage in &report.damage {
        assert_eq!(damage.intact.as_ref().map(|intact| intact.id), Some(ids[2]), "{damage:?}");
        assert_eq!(damage.places.len(), 2);
    }
}

#[test]
fn names_that_lead_out_are_damage_and_lead_nowhere() {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(1, 2, false));
    let outside = store.live().with_file_name("outside.sql");
    fs::write(&outside, "precious").expect("written");
    let before = tree(store.live().parent().expect("a folder"));
    let mut ids = Vec::new();
    for path in ["../../../outside.sql", "/etc/passwd", "metadata/../../../../outside.sql", "metadata//x", "", "."] {
        ids.push(store.snapshot_with(|manifest, _| {
            manifest.metadata[0].path = path.to_owned();
            manifest.tables[0].definition = Some(path.to_owned());
        }));
    }
    for path in ["../columns.txt", "a/b/c.txt", "/etc/passwd", "..", ""] {
        ids.push(store.snapshot_with(|_, records| {
            let files = records[0].uncovered.iter().enumerate();
            let renamed =
                files.map(|(n, file)| PartFile { path: if n == 0 { path.into() } else { file.path }, ..file });
            records[0].uncovered = renamed.collect();
        }));
    }
    let report = store.verify(&request(Level::Data));
    for id in ids {
        let named = report.damage.iter().filter(|damage| damage.places.iter().any(|(place, _)| *place == id));
        assert!(named.clone().any(|damage| damage.kind.name() == "manifest"), "{id}: {:?}", named.collect::<Vec<_>>());
    }
    let mut after = tree(store.live().parent().expect("a folder"));
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before);
}

#[test]
fn a_mode_that_the_server_itself_takes_write_bits_from_is_neither_damage_nor_drift() {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(1, 2, false));
    let file = store.live().join("one/all_1_1_0/c1.bin");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    store.snapshot();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).expect("a mode");
    assert_eq!(found(&store.verify(&request(Level::Data))).len(), 0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).expect("a mode");
    assert_eq!(found(&store.verify(&request(Level::Structure))).len(), 1);
}

#[test]
fn only_files_of_an_inverted_index_may_differ_from_the_checksums() {
    let store = Store::new();
    let names = ["j.gin_x.bin", "gin_dict.bin", "skp_idx_i.gin_dict", "skp_idx_i.gin_post.bin", "j.gin_post"];
    let files =
        names.iter().zip(1..).map(|(name, seed)| ((*name).to_owned(), crate::store::bytes(seed, 100))).collect();
    store.put("one", "all_1_1_0", &crate::store::part_of(files));
    let id = store.snapshot();
    assert_eq!(store.verify(&request(Level::Data)).damage.len(), 0);
    let dir = store.at(id).join("data/d/one/all_1_1_0");
    for (name, seed) in names.into_iter().zip(50..) {
        fs::write(dir.join(name), crate::store::bytes(seed, 100)).expect("other bytes");
    }
    let kinds = |report: &chsnap::ops::verify::Report| -> BTreeSet<(String, String)> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        found(report).into_iter().map(|(path, kind)| (name(&path), kind)).collect()
    };
    let checked = ["j.gin_x.bin", "gin_dict.bin", "skp_idx_i.gin_post.bin", "j.gin_post"];
    let all = |kind: &str| checked.map(|name| (name.to_owned(), kind.to_owned())).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(kinds(&store.verify(&request(Level::Data))), all("content"));
    for name in names {
        fs::write(dir.join(name), "short").expect("fewer bytes");
    }
    assert_eq!(kinds(&store.verify(&request(Level::Size))), all("size"));
    // The same when a snapshot is made.
    let inspected = chsnap::exec::inspect_part(&chsnap::fs::Dir::open(&dir, chsnap::fs::real()).expect("a part"));
    let problems = inspected.expect("it is read").problems;
    assert_eq!(problems.len(), checked.len(), "{problems:?}");
}
