//! Snapshots copied to another repository.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::cli::support::{Lab, ids, names};
use crate::freezer::{Freezer, served_repository};
use crate::tree::{Node, Tree, files, tree};

/// A server that freezes, a repository of it, and a second place.
struct Place {
    folder: tempfile::TempDir,
    freezer: Freezer,
    chsnap: Chsnap,
    second: Chsnap,
}

impl Place {
    fn new() -> Self {
        let (folder, freezer, chsnap) = served_repository();
        for number in 1..4 {
            freezer.add_small_part_of("one", &format!("all_{number}_{number}_0"), [number, 2, 3, 4]);
        }
        freezer.add_part("two", "all_1_1_0");
        let second = Chsnap::new(&folder.path().join("second")).url(freezer.url());
        Self { folder, freezer, chsnap, second }
    }

    /// With two nights, of which the second has one part more.
    fn with_nights() -> (Self, [String; 2]) {
        let place = Self::new();
        let first = place.night(&["--name", "before", "--pin", "audit"]);
        place.freezer.add_small_part_of("one", "all_9_9_0", [9, 9, 9, 9]);
        let second = place.night(&[]);
        (place, [first, second])
    }

    fn night(&self, arguments: &[&str]) -> String {
        let created = self.chsnap.json(0, &[&["create"], arguments].concat());
        created["id"].as_str().expect("an id").to_owned()
    }

    fn to(&self) -> String {
        self.second.repo().display().to_string()
    }

    #[track_caller]
    fn copy(&self, code: i32, arguments: &[&str]) -> Value {
        self.chsnap.json(code, &[&["copy", "--to", &self.to()], arguments].concat())
    }

    #[track_caller]
    fn copy_text(&self, code: i32, arguments: &[&str]) -> Run {
        self.chsnap.expect(code, &[&["--progress", "none", "copy", "--to", &self.to()], arguments].concat())
    }

    #[track_caller]
    fn check_copy(&self, id: &str) {
        let (own, copy) = (held(&self.chsnap, id), held(&self.second, id));
        assert_eq!(without_inodes(&copy), without_inodes(&own));
        for (path, node) in files(&copy) {
            assert_ne!(node.inode, own[path].inode, "{} is shared between the repositories", path.display());
        }
    }

    /// Nothing half is left in the second place.
    #[track_caller]
    fn check_clean(&self) {
        for directory in ["incoming", "trash"] {
            assert_eq!(names(&self.second.repo().join(directory)), Vec::<std::ffi::OsString>::new(), "{directory}");
        }
    }
}

/// `snapshots/<id>`.
fn at(chsnap: &Chsnap, id: &str) -> PathBuf {
    chsnap.repo().join("snapshots").join(id)
}

/// The parts, definitions and dumps of a snapshot, without what is each repository's own.
fn held(chsnap: &Chsnap, id: &str) -> Tree {
    let mut tree = tree(&at(chsnap, id));
    tree.retain(|path, _| path != Path::new("manifest.json") && path != Path::new("parts.jsonl.zst"));
    tree
}

/// Puts a file with these bytes in the place of one, with all else that it had, under another inode.
fn replace(file: &Path, bytes: &[u8]) {
    let stat = file.metadata().expect("its inode");
    fs::remove_file(file).expect("removed");
    fs::write(file, bytes).expect("written");
    File::options().write(true).open(file).and_then(|file| file.set_modified(stat.modified()?)).expect("its time");
    fs::set_permissions(file, fs::Permissions::from_mode(stat.mode() & 0o7777)).expect("its mode");
}

/// Has a file have other bytes.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    replace(file, &bytes);
}

fn without_inodes(tree: &Tree) -> Tree {
    tree.iter().map(|(path, node)| (path.clone(), Node { inode: 0, ..node.clone() })).collect()
}

const NINTH: &str = "data/d/one/all_9_9_0/k.bin";

#[test]
fn a_copy_has_every_file_and_links_what_the_target_has() {
    let (place, [first, second]) = Place::with_nights();
    let copied = place.copy(0, &[&first]);
    assert_eq!((&copied["schema"], &copied["state"]), (&"chsnap.copy.v1".into(), &"complete".into()));
    assert_eq!((&copied["copied"], &copied["snapshots"][0]["state"]), (&1.into(), &"copied".into()));
    assert_eq!(copied["snapshots"][0]["placed"]["copied"]["parts"], 4, "{copied}");
    place.check_copy(&first);
    // The next night: what it has besides is copied, all else linked to the first copy.
    let copied = place.copy(0, &["--new"]);
    assert_eq!(ids(&copied["snapshots"], "id"), std::slice::from_ref(&second));
    let placed = &copied["snapshots"][0]["placed"];
    assert_eq!((&placed["linked"]["parts"], &placed["copied"]["parts"]), (&4.into(), &1.into()), "{copied}");
    place.check_copy(&second);
    let (one, two) = (held(&place.second, &first), held(&place.second, &second));
    for (path, node) in files(&one).into_iter().filter(|(path, _)| path.starts_with("data")) {
        assert_eq!(two[path].inode, node.inode, "{}", path.display());
    }
    place.check_clean();
    let again = place.copy(0, &["--new"]);
    assert_eq!((&again["copied"], &again["snapshots"]), (&0.into(), &Value::Array(Vec::new())));
}

#[test]
fn id_name_pin_order_and_origin_travel() {
    let (place, [first, second]) = Place::with_nights();
    // Backwards: the order of making is kept all the same.
    place.copy(0, &[&second]);
    let copied = place.copy(0, &["before"]);
    assert_eq!(
        (&copied["snapshots"][0]["id"], &copied["snapshots"][0]["pinned"]),
        (&first.as_str().into(), &true.into())
    );
    let listed = place.second.json(0, &["list"]);
    assert_eq!(ids(&listed["snapshots"], "id"), [first.clone(), second.clone()]);
    assert_eq!((&listed["snapshots"][0]["name"], &listed["snapshots"][0]["pinned"]), (&"before".into(), &true.into()));
    assert_eq!(listed["snapshots"][1]["pinned"], false);
    let latest = fs::read_link(place.second.repo().join("latest")).expect("latest");
    assert_eq!(latest, Path::new("snapshots").join(&second));
    let read = |chsnap: &Chsnap, file: &str| -> Value {
        let text = fs::read_to_string(chsnap.repo().join(file)).expect("readable");
        serde_json::from_str(&text).expect("JSON")
    };
    let manifest = format!("snapshots/{first}/manifest.json");
    let (own, copy) = (read(&place.chsnap, &manifest), read(&place.second, &manifest));
    let id = &read(&place.chsnap, "chsnap.json")["id"];
    assert_eq!((&copy["copied"]["repository"], &copy["copied"]["origin"]["repository"]), (id, id));
    assert_eq!(copy["copied"]["origin"]["parts_blake3"], own["parts_blake3"]);
    assert!(own.get("copied").is_none());
    assert_eq!(read(&place.second, "chsnap.json")["server"], read(&place.chsnap, "chsnap.json")["server"]);
}

#[test]
fn present_copies_are_reported_and_another_snapshot_with_the_same_id_is_refused() {
    let (place, [first, _]) = Place::with_nights();
    place.copy(0, &[&first]);
    let before = tree(&at(&place.second, &first));
    let again = place.copy(0, &[&first]);
    assert_eq!((&again["present"], &again["snapshots"][0]["state"]), (&1.into(), &"present".into()));
    assert!(place.copy_text(0, &[&first]).stdout.contains("there already"));
    // The origin says so on the way back, too.
    let back = place.chsnap.repo().display().to_string();
    assert_eq!(place.second.json(0, &["copy", &first, "--to", &back])["present"], 1);
    assert_eq!(tree(&at(&place.second, &first)), before);
    // Another server's, as far as its name goes, with the same id.
    let other = Lab::new();
    let id = other.snapshot("2026-11-01T02:00:00Z");
    let third = Lab::new();
    third.snapshot_with("2026-11-01T02:00:00Z", |manifest| manifest.tables[0].rows += 1);
    let to = third.repo().display().to_string();
    let standing = tree(&third.at(&id));
    for wanted in [id.as_str(), "--new"] {
        let refused = other.chsnap().json(13, &["copy", wanted, "--to", &to]);
        assert_eq!(
            (&refused["state"], &refused["snapshots"][0]["state"]),
            (&"refused".into(), &"other_content".into())
        );
        let said = other.run(13, &["copy", wanted, "--to", &to]).stderr;
        assert!(said.contains(&format!("error: the snapshot {id} was not copied")), "{said}");
    }
    assert_eq!(tree(&third.at(&id)), standing);
}

#[test]
fn a_target_that_cannot_be_one_is_one_clear_error() {
    let (place, [first, _]) = Place::with_nights();
    let repo = place.chsnap.repo().to_owned();
    let folder = place.folder.path();
    std::os::unix::fs::symlink(&repo, folder.join("link")).expect("a link");
    fs::write(folder.join("file"), "text").expect("a file");
    fs::create_dir(folder.join("full")).expect("a directory");
    fs::write(folder.join("full/mine"), "text").expect("a file");
    let before = tree(&repo);
    for (to, code, said) in [
        (repo.clone(), 1, "the same repository"),
        (folder.join("link"), 1, "the same repository"),
        (repo.join("snapshots").join(&first), 1, "is inside the other"),
        (repo.join("new"), 1, "is inside the other"),
        (folder.to_owned(), 1, "is inside the other"),
        (folder.join("file"), 1, "file"),
        (folder.join("full"), 1, "it holds \"mine\""),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let to = to.to_str().expect("a path");
            let run = place.chsnap.run(&[&["copy", &first, "--to", to], more].concat());
            if to.ends_with("file") && !more.is_empty() {
                continue;
            }
            assert_eq!(run.code, code, "{to}: {}", run.stderr);
            assert!(run.stderr.contains(said), "{to}: {}", run.stderr);
            assert_eq!(run.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", run.stderr);
        }
    }
    let mut after = tree(&repo);
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after.len(), before.len());
    // Another server's repository, and what a person may say about it.
    let config = fs::read_to_string(repo.join("chsnap.json")).expect("readable");
    place.second.expect(0, &["init"]);
    let other = fs::read_to_string(place.second.repo().join("chsnap.json")).expect("readable");
    let server = serde_json::from_str::<Value>(&config).expect("JSON")["server"]["data_path"].clone();
    let bound = r#""server": {"data_path": "/elsewhere/", "uuid": null}"#;
    fs::write(place.second.repo().join("chsnap.json"), other.replace(r#""server": null"#, bound)).expect("written");
    let said = place.copy_text(13, &[&first]).stderr;
    assert!(said.contains("/elsewhere/") && said.contains(server.as_str().expect("a path")), "{said}");
    assert!(said.contains("--allow-other-server"), "{said}");
    place.copy(0, &["--allow-other-server", &first]);
    place.check_copy(&first);
}

#[test]
fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let (place, [first, second]) = Place::with_nights();
    let planned = place.copy(0, &["--new", "--dry-run"]);
    assert_eq!((&planned["state"], &planned["dry_run"]), (&"planned".into(), &true.into()));
    assert_eq!(ids(&planned["snapshots"], "id"), [first.clone(), second.clone()]);
    let parts = |snapshot: &Value| (snapshot["linked"]["parts"].as_u64(), snapshot["to_copy"]["parts"].as_u64());
    assert_eq!(parts(&planned["snapshots"][0]), (Some(0), Some(4)));
    assert_eq!(parts(&planned["snapshots"][1]), (Some(4), Some(1)), "the second shares with the first");
    assert!(!place.second.repo().exists());
    place.copy(0, &[&first]);
    let before = tree(&place.second.repo().join("snapshots"));
    let text = place.copy_text(0, &["--new", "--dry-run"]).stdout;
    assert!(text.contains("4 parts linked, 1 part with"), "{text}");
    assert_eq!(tree(&place.second.repo().join("snapshots")), before);
}

#[test]
fn an_unchanged_part_costs_no_reading() {
    let (place, [first, second]) = Place::with_nights();
    place.copy(0, &[&first]);
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: there is no strace");
        return;
    }
    let log = place.folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=read,pread64,readv,preadv,mmap,copy_file_range,sendfile", "-o"]);
    strace.arg(&log);
    let run = place.chsnap.under(strace, &["copy", &second, "--to", &place.to()]).output().expect("strace starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let calls = fs::read_to_string(&log).expect("the calls");
    let of_parts: Vec<&str> = calls.lines().filter(|line| line.contains("/data/d/")).collect();
    assert!(of_parts.iter().any(|line| line.contains("all_9_9_0/k.bin")), "the new part is read");
    let read: Vec<&&str> = of_parts.iter().filter(|line| !line.contains("all_9_9_0")).collect();
    assert!(read.is_empty(), "{read:?}");
}

#[test]
fn a_damaged_part_is_named_and_its_snapshot_not_copied_while_the_others_are() {
    for (file, found) in [
        (NINTH, "k.bin"),
        ("data/d/one/all_9_9_0/columns.txt", "columns.txt"),
        ("data/d/one/all_9_9_0/checksums.txt", "checksums.txt"),
        ("metadata/d/one.sql", "BLAKE3"),
    ] {
        let (place, [first, second]) = Place::with_nights();
        let path = at(&place.chsnap, &second).join(file);
        damage(&path);
        if file.starts_with("metadata") {
            // The first night has the same definition.
            damage(&at(&place.chsnap, &first).join(file));
            let refused = place.copy(12, &["--new"]);
            assert_eq!((&refused["copied"], &refused["refused"]), (&0.into(), &2.into()), "{refused}");
            assert_eq!(refused["snapshots"][0]["damage"][0]["path"], file);
            continue;
        }
        let refused = place.copy(12, &["--new"]);
        assert_eq!((&refused["state"], &refused["copied"]), (&"damaged".into(), &1.into()), "{refused}");
        let damage = &refused["snapshots"][1]["damage"][0];
        assert_eq!((&damage["table"], &damage["part"]), (&"d.one".into(), &"all_9_9_0".into()), "{refused}");
        assert!(damage["found"].as_str().expect("a text").contains(found), "{refused}");
        assert_eq!(names(&place.second.repo().join("snapshots")), [first.as_str()]);
        let said = place.copy_text(12, &[&second]).stderr;
        assert!(said.contains("all_9_9_0") && said.contains("--repair"), "{said}");
        place.check_clean();
        place.check_copy(&first);
    }
}

#[test]
fn a_missing_file_and_a_missing_part_are_damage() {
    for what in [NINTH, "data/d/one/all_9_9_0", "data/d/one", "metadata/d/two.sql"] {
        let (place, [first, second]) = Place::with_nights();
        for id in [&first, &second] {
            let path = at(&place.chsnap, id).join(what);
            if path.is_dir() {
                fs::remove_dir_all(&path).expect("removed");
                // A file is no directory either.
                if what == "data/d/one" && id == &second {
                    fs::write(&path, "").expect("written");
                }
            } else if path.exists() {
                fs::remove_file(&path).expect("removed");
            }
        }
        let refused = place.copy(12, &[&second]);
        assert_eq!(refused["snapshots"][0]["state"], "damaged", "{what}: {refused}");
        assert_eq!(names(&place.second.repo().join("snapshots")), Vec::<std::ffi::OsString>::new());
        place.check_clean();
    }
}

#[test]
fn an_intact_part_of_another_snapshot_is_used_and_reported() {
    let (place, [first, second]) = Place::with_nights();
    let file = "data/d/one/all_1_1_0/k.bin";
    damage(&at(&place.chsnap, &second).join(file));
    let copied = place.copy(3, &[&second]);
    let intact = &copied["snapshots"][0]["intact"][0];
    assert_eq!((&intact["snapshot"], &intact["part"]), (&first.as_str().into(), &"all_1_1_0".into()), "{copied}");
    assert_eq!(copied["warning_list"][0]["kind"], "intact_copy");
    let (own, copy) = (held(&place.chsnap, &first), held(&place.second, &second));
    assert_eq!(copy[Path::new(file)].content, own[Path::new(file)].content);
    assert_eq!(place.second.json(0, &["verify", "--level", "data"])["state"], "sound");
    // A definition, likewise.
    let (place, [_, second]) = Place::with_nights();
    damage(&at(&place.chsnap, &second).join("metadata/d/one.sql"));
    let copied = place.copy(3, &[&second]);
    assert_eq!(copied["snapshots"][0]["intact"][0]["path"], "metadata/d/one.sql");
    assert_eq!(place.second.json(0, &["verify", "--level", "data"])["state"], "sound");
}

#[test]
fn every_command_works_on_a_copied_repository() {
    let (place, [first, second]) = Place::with_nights();
    place.copy(0, &["--new"]);
    let chsnap = &place.second;
    let checked = chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!((&checked["state"], &checked["checked"]["snapshots"]), (&"sound".into(), &2.into()));
    let usage = |arguments: &[&str]| chsnap.json(0, &[&["usage"], arguments].concat());
    let (index, exact) = (usage(&[]), usage(&["--exact"]));
    for field in ["exclusive_bytes", "freed_bytes", "allocated_bytes", "written_bytes"] {
        for row in 0..2 {
            assert_eq!(index["snapshots"][row][field], exact["snapshots"][row][field], "{field} of {row}");
        }
    }
    let shown = chsnap.json(0, &["show", &second]);
    let data = tree(&at(chsnap, &second).join("data"));
    assert_eq!(shown["files"], files(&data).len());
    let diff = |chsnap: &Chsnap| chsnap.json(0, &["diff", &first, &second]);
    assert_eq!(diff(chsnap), diff(&place.chsnap));
    let above = place.folder.path().display().to_string();
    let all = chsnap.json(0, &["list", "--all", &above]);
    assert!(all.to_string().matches(&second).count() >= 2, "{all}");
    let restored = place.folder.path().join("restored");
    chsnap.json(0, &["restore", &second, "--to", restored.to_str().expect("a path")]);
    let bytes = fs::read(at(&place.chsnap, &second).join(NINTH)).expect("readable");
    let found = tree(&restored);
    let is_it = |node: &&Node| node.content == blake3::hash(&bytes);
    assert!(found.values().any(|node| is_it(&node)), "{found:?}");
    // The first is pinned; the second goes, comes back, and goes by the rules.
    chsnap.json(0, &["rm", "--force", &second]);
    chsnap.json(0, &["undo"]);
    place.check_copy(&second);
    chsnap.json(0, &["unpin", &first]);
    let pruned = chsnap.json(0, &["prune", "--keep-last", "1", "--yes", "--yes-really"]);
    assert_eq!(ids(&pruned["remove"], "id"), std::slice::from_ref(&first));
    chsnap.json(0, &["gc"]);
    assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["state"], "sound");
    // What was removed there is not copied again, unless it is named.
    let copied = place.copy(0, &["--new"]);
    assert_eq!((&copied["copied"], &copied["removed_there"][0]), (&0.into(), &first.as_str().into()));
    assert_eq!(place.copy(0, &[&first])["copied"], 1);
    place.check_copy(&first);
    let listed = chsnap.json(0, &["list"]);
    assert_eq!(ids(&listed["snapshots"], "id"), [first, second]);
}

#[test]
fn a_create_into_the_target_links_what_was_copied() {
    let (place, [_, second]) = Place::with_nights();
    place.copy(0, &["--new"]);
    let created = place.second.json(0, &["create", "--place", "copy"]);
    assert_eq!(
        (&created["placed"]["linked"]["parts"], &created["placed"]["copied"]["parts"]),
        (&5.into(), &0.into()),
        "{created}"
    );
    let own = held(&place.second, created["id"].as_str().expect("an id"));
    for (path, node) in files(&held(&place.second, &second)).into_iter().filter(|(path, _)| path.starts_with("data")) {
        assert_eq!(own[path].inode, node.inode, "{}", path.display());
    }
    // And what is copied after that links what was created.
    place.freezer.add_small_part_of("two", "all_7_7_0", [7, 7, 7, 7]);
    // Both repositories make ids of the second: in one second they would make one id for two snapshots.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let third = place.night(&[]);
    let copied = place.copy(0, &[&third]);
    assert_eq!(copied["snapshots"][0]["placed"]["linked"]["parts"], 5, "{copied}");
}

#[test]
fn a_file_of_a_rewritten_part_is_linked_by_its_hash() {
    for is_at_once in [false, true] {
        let place = Place::new();
        let live = place.folder.path().join("ch/data/d/two");
        place.night(&[]);
        if !is_at_once {
            place.copy(0, &["--new"]);
        }
        // As a mutation does: a later version of the part, with the same files but for one.
        fs::create_dir(live.join("all_1_1_0_5")).expect("made");
        for name in names(&live.join("all_1_1_0")) {
            fs::hard_link(live.join("all_1_1_0").join(&name), live.join("all_1_1_0_5").join(&name)).expect("linked");
        }
        fs::remove_dir_all(live.join("all_1_1_0")).expect("removed");
        place.night(&[]);
        let copied = place.copy(0, &["--new"]);
        let last = copied["snapshots"].as_array().and_then(|rows| rows.last()).expect("a snapshot");
        assert_eq!(last["placed"]["copied"]["files"], 0, "{copied}");
        assert_eq!(last["written_bytes"], 0, "{copied}");
    }
}

#[test]
fn a_copy_that_was_killed_is_taken_up() {
    let (place, [first, _]) = Place::with_nights();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=syncfs", "-e", "inject=syncfs:signal=KILL", "-o", "/dev/null"]);
    let Ok(killed) = place.chsnap.under(strace, &["copy", &first, "--to", &place.to()]).output() else {
        eprintln!("SKIPPED: there is no strace");
        return;
    };
    assert!(!killed.status.success());
    assert_eq!(names(&place.second.repo().join("snapshots")), Vec::<std::ffi::OsString>::new());
    let left = names(&place.second.repo().join("incoming"));
    assert_eq!(left.len(), 2, "the tree and its intent: {left:?}");
    let copied = place.copy(0, &[&first]);
    let snapshot = &copied["snapshots"][0];
    assert_eq!(
        (&snapshot["resumed"]["parts"], &snapshot["placed"]["copied"]["files"]),
        (&4.into(), &0.into()),
        "{copied}"
    );
    place.check_copy(&first);
    place.check_clean();
    assert_eq!(place.second.json(0, &["verify", "--level", "data"])["state"], "sound");
}

#[test]
fn a_locked_target_is_waited_for_at_most_as_long_as_lock_wait() {
    let (place, [first, _]) = Place::with_nights();
    place.copy(0, &[&first]);
    let lock = File::options().read(true).write(true).open(place.second.repo().join("lock")).expect("the lock");
    lock.lock().expect("locked");
    place.copy_text(11, &["--new"]);
    lock.unlock().expect("unlocked");
    place.copy(0, &["--new"]);
}

#[test]
fn an_unreadable_snapshot_is_refused_if_it_was_named_and_else_a_warning() {
    let (place, [first, second]) = Place::with_nights();
    fs::write(at(&place.chsnap, &first).join("manifest.json"), "{").expect("written");
    let refused = place.copy(12, &[&first]);
    assert_eq!(refused["snapshots"][0]["state"], "unreadable");
    let copied = place.copy(3, &["--new"]);
    assert_eq!(copied["warning_list"][0]["kind"], "snapshot_unreadable");
    assert_eq!(ids(&copied["snapshots"], "id"), std::slice::from_ref(&second));
    place.check_copy(&second);
}

#[test]
fn a_hostile_manifest_leads_nowhere() {
    let lab = Lab::new();
    let file = |path: &str| chsnap::repo::MetadataFile { path: path.to_owned(), bytes: 1, blake3: "0".repeat(64) };
    let id = lab.snapshot_with("2026-11-01T02:00:00Z", |manifest| {
        manifest.metadata = vec![file("../../../outside"), file("/etc/passwd"), file("metadata/../../x")];
    });
    let to = lab.path().join("second");
    let refused = lab.chsnap().json(12, &["copy", &id, "--to", to.to_str().expect("a path")]);
    assert_eq!(refused["snapshots"][0]["damage"].as_array().map(Vec::len), Some(3), "{refused}");
    assert!(!lab.path().join("outside").exists());
}

#[test]
fn a_snapshot_that_is_removed_while_it_is_copied_is_copied_whole() {
    let place = Place::new();
    // No checksum covers it, so that any bytes will do.
    fs::write(place.folder.path().join("ch/data/d/one/all_1_1_0/big.bin"), vec![7; 200_000]).expect("written");
    let id = place.night(&[]);
    place.night(&[]);
    let before = without_inodes(&held(&place.chsnap, &id));
    let arguments = ["--progress", "none", "copy", &id, "--to", &place.to(), "--bwlimit", "40KiB"];
    let mut copying = place.chsnap.command(&arguments).spawn().expect("chsnap starts");
    let incoming = place.second.repo().join("incoming");
    let is_begun = || tree(&incoming).keys().any(|path| path.ends_with("all_1_1_0/big.bin"));
    let begun = std::time::Instant::now();
    while !is_begun() && begun.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    place.chsnap.json(0, &["rm", "--force", &id]);
    let emptied = place.chsnap.json(3, &["gc"]);
    assert_eq!(emptied["warning_list"][0]["kind"], "snapshot_in_use", "{emptied}");
    assert!(copying.wait().expect("it ends").success());
    assert_eq!(without_inodes(&held(&place.second, &id)), before);
    assert_eq!(place.second.json(0, &["verify", "--level", "data"])["state"], "sound");
}

#[test]
fn a_pin_that_is_set_later_travels_with_the_next_copy_and_its_end_there_stays() {
    let (place, [first, second]) = Place::with_nights();
    place.chsnap.json(0, &["unpin", &first]);
    place.copy(0, &["--new"]);
    let pin_there = |id: &str| place.second.json(0, &["show", id])["pin"]["reason"].clone();
    assert_eq!(pin_there(&second), Value::Null);
    place.chsnap.json(0, &["pin", &second, "--reason", "audit", "--until", "30d"]);
    let planned = place.copy(0, &["--new", "--dry-run"]);
    assert_eq!((&planned["present"], &planned["snapshots"][0]["pinned"]), (&1.into(), &true.into()), "{planned}");
    assert!(place.copy_text(0, &["--new", "--dry-run"]).stdout.contains("there already; would be pinned"));
    assert_eq!(pin_there(&second), Value::Null);
    let copied = place.copy(0, &["--new"]);
    let row = &copied["snapshots"][0];
    assert_eq!((&row["id"], &row["state"]), (&second.as_str().into(), &"present".into()), "{copied}");
    assert_eq!((&copied["copied"], &row["pin"]["reason"]), (&0.into(), &"audit".into()));
    let until = |chsnap: &Chsnap| chsnap.json(0, &["show", &second])["pin"]["until"].clone();
    assert_eq!((pin_there(&second), until(&place.second)), ("audit".into(), until(&place.chsnap)));
    // Once: it is not new now, and a later unpin there is not undone each night.
    assert_eq!(place.copy(0, &["--new"])["snapshots"], Value::Array(Vec::new()));
    place.second.json(0, &["unpin", &second]);
    assert_eq!(place.copy(0, &["--new"])["snapshots"], Value::Array(Vec::new()));
    assert_eq!(place.copy(0, &[&second])["present"], 1);
    assert_eq!(pin_there(&second), Value::Null);
    // A pin of the other repository's own that is newer stays; a pin that is newer still goes there.
    place.second.json(0, &["pin", &second, "--reason", "theirs"]);
    place.copy(0, &[&second]);
    assert_eq!(pin_there(&second), "theirs");
    // Pins are dated by the second.
    std::thread::sleep(Duration::from_millis(1100));
    place.chsnap.json(0, &["pin", &second, "--reason", "again"]);
    assert!(place.copy_text(0, &[&second]).stdout.contains("there already; pinned"));
    assert_eq!(pin_there(&second), "again");
    // That a pin is taken away here takes none away there.
    place.chsnap.json(0, &["unpin", &second]);
    place.copy(0, &["--new"]);
    assert_eq!(pin_there(&second), "again");
}

#[test]
fn copies_that_make_the_same_repository_at_once_make_one() {
    for _ in 0..5 {
        let (place, [first, second]) = Place::with_nights();
        let arguments = ["--progress", "none", "--lock-wait", "60s", "copy", "--new", "--to", &place.to()];
        let running: Vec<_> = (0..4)
            .map(|_| {
                let mut command = place.chsnap.command(&arguments);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
                command.spawn().expect("chsnap starts")
            })
            .collect();
        for run in running {
            let output = run.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
        }
        for id in [&first, &second] {
            place.check_copy(id);
        }
        place.check_clean();
        let left: Vec<_> =
            names(place.second.repo()).into_iter().filter(|name| name.to_string_lossy().ends_with(".new")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_copy_for_which_there_is_no_room_makes_no_repository_and_names_it_in_the_hint() {
    let (place, [first, _]) = Place::with_nights();
    for more in [&[][..], &["--dry-run"]] {
        let arguments = [&["--min-free", "100PiB", &first], more].concat();
        let said = place.copy_text(13, &arguments).stderr;
        assert!(said.contains("--min-free"), "{said}");
        let hint = format!("hint: make room on the filesystem of {}, or name", place.to());
        assert!(said.contains(&hint), "{said}");
        let refused = place.copy(13, &arguments);
        assert_eq!(refused["state"], "refused", "{refused}");
        assert!(!place.second.repo().exists(), "{more:?}");
    }
    // In a repository without a snapshot there is nothing to remove.
    place.second.expect(0, &["init"]);
    let said = place.copy_text(13, &[&first, "--min-free", "100PiB"]).stderr;
    assert!(said.contains("hint: make room on") && said.contains("has no snapshot yet"), "{said}");
    // In one that has some, there is.
    place.copy(0, &[&first]);
    for more in [&[][..], &["--dry-run"]] {
        let said = place.copy_text(13, &[&["--new", "--min-free", "100PiB"], more].concat()).stderr;
        assert!(said.contains(&format!("hint: chsnap --repo {} gc", place.to())), "{said}");
    }
}

#[test]
fn other_owners_and_modes_than_recorded_are_copied_and_named() {
    let (place, [first, second]) = Place::with_nights();
    let part = at(&place.chsnap, &second).join("data/d/one/all_1_1_0");
    // Of the live files too, and of every snapshot that has them.
    let is_root = nix::unistd::geteuid().is_root();
    for entry in fs::read_dir(&part).expect("a part") {
        let file = entry.expect("an entry").path();
        let given = std::os::unix::fs::chown(&file, Some(12345), Some(54321));
        assert!(given.is_ok() || !is_root);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    let copied = place.copy(3, &["--new"]);
    assert_eq!(copied["copied"], 2, "{copied}");
    for (warning, id) in copied["warning_list"].as_array().expect("warnings").iter().zip([&first, &second]) {
        assert_eq!((&warning["kind"], &warning["table"]), (&"drift".into(), &"d.one".into()), "{copied}");
        let message = warning["message"].as_str().expect("a message");
        assert!(message.contains(&format!("{id}: owners or modes in 1 part of d.one")), "{message}");
        place.check_copy(id);
    }
    // It is what a verification says of either.
    for chsnap in [&place.chsnap, &place.second] {
        let verified = chsnap.json(3, &["verify", "--level", "data"]);
        assert!(!verified["drift"].as_array().expect("drift").is_empty(), "{verified}");
    }
    // The copies are linked all the same, and the next snapshot has the owners of now.
    let [one, two] = [&first, &second].map(|id| held(&place.second, id));
    let file = Path::new("data/d/one/all_1_1_0/k.bin");
    assert_eq!(one[file].inode, two[file].inode);
    let third = place.night(&[]);
    assert_eq!(place.copy(0, &["--new"])["copied"], 1);
    place.check_copy(&third);
}

#[test]
fn list_and_usage_have_the_same_written_bytes() {
    let (place, [first, second]) = Place::with_nights();
    // Of one table only: another series, made between.
    let part = place.night(&["--table", "d.two", "--name", "part"]);
    place.freezer.add_small_part_of("one", "all_8_8_0", [8, 8, 8, 8]);
    let third = place.night(&[]);
    // Backwards, so that each copy comes before one that is there.
    for id in [&third, &part, &second, &first] {
        place.copy(0, &[id]);
    }
    let written = |chsnap: &Chsnap| {
        let of = |command: &[&str]| -> Vec<(String, u64)> {
            let rows = chsnap.json(0, command)["snapshots"].as_array().expect("snapshots").clone();
            let row = |row: &Value| {
                let id = row["id"].as_str().expect("an id").to_owned();
                (id, row["written_bytes"].as_u64().expect("bytes"))
            };
            rows.iter().map(row).collect()
        };
        let listed = of(&["list"]);
        assert_eq!(of(&["usage"]), listed);
        assert_eq!(of(&["usage", "--exact"]), listed);
        listed
    };
    let before = written(&place.second);
    assert!(before.iter().all(|(_, bytes)| *bytes > 0), "{before:?}");
    assert_eq!(written(&place.chsnap).len(), 4);
    // What a night wrote stays what it wrote when the night before it is gone.
    place.second.json(0, &["rm", &second]);
    let after = written(&place.second);
    assert!(after.iter().all(|row| before.contains(row)), "{before:?} {after:?}");
}

#[test]
fn a_dry_run_says_what_a_copy_would_say_of_parts_that_are_noted_as_damaged() {
    let (place, [first, second]) = Place::with_nights();
    let original = fs::read(at(&place.chsnap, &second).join(NINTH)).expect("readable");
    damage(&at(&place.chsnap, &second).join(NINTH));
    let unnoted = place.copy(0, &["--new", "--dry-run"]);
    assert_eq!(unnoted["copied"], 2, "{unnoted}");
    place.chsnap.json(12, &["verify", "--level", "data"]);
    let planned = place.copy(12, &["--new", "--dry-run"]);
    assert_eq!((&planned["copied"], &planned["refused"]), (&1.into(), &1.into()), "{planned}");
    let row = &planned["snapshots"][1];
    assert_eq!((&row["id"], &row["state"]), (&second.as_str().into(), &"damaged".into()), "{planned}");
    assert_eq!((&row["damage"][0]["table"], &row["damage"][0]["part"]), (&"d.one".into(), &"all_9_9_0".into()));
    assert!(place.copy_text(12, &["--new", "--dry-run"]).stdout.contains("would not be copied"));
    assert!(!place.second.repo().exists());
    // One that is whole again, but has not been read since.
    replace(&at(&place.chsnap, &second).join(NINTH), &original);
    assert_eq!(place.copy(0, &["--new", "--dry-run"])["copied"], 2);
    // One that another snapshot has whole.
    let shared = "data/d/one/all_1_1_0/k.bin";
    damage(&at(&place.chsnap, &second).join(shared));
    place.chsnap.json(12, &["verify", "--level", "data"]);
    let planned = place.copy(3, &[&second, "--dry-run"]);
    assert_eq!(planned["snapshots"][0]["intact"][0]["snapshot"], first.as_str(), "{planned}");
    assert_eq!(planned["warning_list"][0]["kind"], "intact_copy");
    // And one that the other repository has: nothing of it is read.
    place.copy(0, &[&first]);
    assert_eq!(place.copy(0, &[&second, "--dry-run"])["snapshots"][0]["state"], "planned");
    place.copy(0, &[&second]);
}

#[test]
fn the_next_copy_repairs_latest_whatever_it_copies() {
    let (place, [first, second]) = Place::with_nights();
    place.copy(0, &["--new"]);
    let latest = place.second.repo().join("latest");
    fs::remove_file(&latest).expect("removed");
    std::os::unix::fs::symlink(format!("snapshots/{first}"), &latest).expect("a link");
    assert_eq!(place.copy(0, &["--new"])["copied"], 0);
    assert_eq!(fs::read_link(&latest).expect("a link"), Path::new("snapshots").join(&second));
    // Something in its place that no link can replace is a warning, and once.
    fs::remove_file(&latest).expect("removed");
    fs::create_dir(&latest).expect("made");
    fs::write(latest.join("file"), "").expect("written");
    let third = place.night(&[]);
    let copied = place.copy(3, &[&third]);
    let kinds: Vec<&Value> =
        copied["warning_list"].as_array().expect("warnings").iter().map(|warning| &warning["kind"]).collect();
    assert_eq!(kinds, ["commit_incomplete"], "{copied}");
}
