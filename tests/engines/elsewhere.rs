//! A repository on another filesystem: known files are linked, the rest is copied with all metadata.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{active_parts, await_mutations, escaped, load, path_of, restore_by_hand, shadows};
use crate::tree::{Node, Tree, files, tree};
use crate::unchanged::{Numbers, make, settle, state, step};

/// A folder on another filesystem than the engine's; `None` if this machine has none.
pub(crate) fn elsewhere(engine: &Engine) -> Option<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|stat| stat.dev()).ok();
    if !memory.is_dir() || device(memory) == device(engine.root()) {
        eprintln!("SKIPPED: there is no second filesystem at /dev/shm");
        return None;
    }
    Some(tempfile::tempdir_in(memory).expect("a folder"))
}

pub(crate) fn repository(engine: &Engine, folder: &Path) -> Chsnap {
    // On NFS, where tests/nfs runs this too, what is this host's own stays on this host.
    let state = engine.root().join("state").display().to_string();
    let chsnap = Chsnap::new(&folder.join("repo")).url(&engine.url()).env("XDG_STATE_HOME", &state);
    chsnap.expect(0, &["init"]);
    chsnap
}

/// What `create` answers, and the statements that it sent to freeze.
fn create(chsnap: &Chsnap, code: i32, arguments: &[&str]) -> (Value, Vec<String>) {
    let all = [&["-v", "--json", "--progress", "none", "create"], arguments].concat();
    let run = chsnap.expect(code, &all);
    let freezes = run.stderr.lines().filter(|line| line.contains("FREEZE")).map(str::to_owned).collect();
    (serde_json::from_str(&run.stdout).expect("JSON"), freezes)
}

pub(crate) fn records(snapshot: &Path) -> Vec<Value> {
    let listing = fs::read(snapshot.join("parts.jsonl.zst")).expect("a listing");
    let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
    listing.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The files of all active parts, as `read` sees them, at the paths that they must have in a snapshot's `data/lab/`.
pub(crate) fn live(engine: &Engine) -> BTreeMap<PathBuf, Node> {
    let mut live = BTreeMap::new();
    for (table, part, path) in active_parts(engine, "lab") {
        for (file, node) in files(&tree(&path)) {
            if file.to_str() != Some("txn_version.txt") {
                live.insert(PathBuf::from(escaped(&table)).join(&part).join(file), node.clone());
            }
        }
    }
    live
}

fn without_inodes(nodes: BTreeMap<PathBuf, Node>) -> BTreeMap<PathBuf, Node> {
    nodes.into_iter().map(|(path, node)| (path, Node { inode: 0, ..node })).collect()
}

fn owned(tree: &Tree) -> BTreeMap<PathBuf, Node> {
    files(tree).into_iter().map(|(path, node)| (path.to_owned(), node.clone())).collect()
}

/// Contents, owner, group, mode and modification time of every live file are in the snapshot.
#[track_caller]
pub(crate) fn check_equal(engine: &Engine, snapshot: &Path) -> Tree {
    let data = tree(&snapshot.join("data/lab"));
    assert_eq!(without_inodes(owned(&data)), without_inodes(live(engine)));
    data
}

#[apply(both_engines)]
fn a_repository_on_another_filesystem_is_copied_once_and_linked_from_then_on(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine, folder.path());
    let (first, freezes) = create(&chsnap, 0, &[]);
    assert!(!freezes.is_empty());
    let one = path_of(&chsnap, &first);
    let before = check_equal(&engine, &one);
    assert_eq!(first["placed"]["copied"]["parts"], first["parts"], "{first}");
    assert_eq!(first["placed"]["copied"]["files"], first["files"], "{first}");
    assert!(shadows(&engine).is_empty());

    // Nothing has changed: nothing is frozen, and nothing is copied.
    let (second, freezes) = create(&chsnap, 0, &[]);
    assert_eq!(freezes, Vec::<String>::new());
    let two = path_of(&chsnap, &second);
    assert_eq!(files(&check_equal(&engine, &two)), files(&before));
    assert_eq!((&second["placed"]["linked"]["parts"], &second["written_bytes"]), (&first["parts"], &0.into()));
    assert!(records(&two).iter().all(|record| record["from"] == first["id"] && record["placed"] == "linked"));

    // Frozen all the same, it is found again by what is in it.
    let (third, _) = create(&chsnap, 0, &["--freeze", "all"]);
    assert_eq!(files(&check_equal(&engine, &path_of(&chsnap, &third))), files(&before));
    assert_eq!(third["placed"]["copied"]["files"], 0, "{third}");
    assert_eq!(third["placed"]["linked"]["parts"], first["parts"]);

    // Also when neither the snapshot that it came from nor the cache of sources is there any more.
    for created in [&second, &third] {
        chsnap.json(0, &["rm", created["id"].as_str().expect("an id")]);
    }
    chsnap.json(0, &["gc"]);
    let (fourth, _) = create(&chsnap, 0, &["--freeze", "all"]);
    assert_eq!(fourth["placed"]["copied"]["files"], 0, "{fourth}");
    fs::write(chsnap.repo().join("sources.sqlite"), "garbage").expect("written");
    let (fifth, _) = create(&chsnap, 0, &["--freeze", "all"]);
    assert_eq!(fifth["placed"]["copied"]["files"], 0, "{fifth}");
    assert_eq!(files(&check_equal(&engine, &path_of(&chsnap, &fifth))), files(&before));

    chsnap.json(0, &["rm", "--force", first["id"].as_str().expect("an id")]);
    chsnap.json(0, &["gc"]);
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &fifth), engine.kind());
    for (_, query) in crate::support::TABLES {
        assert_eq!(restored.query(query), engine.query(query), "{query}");
    }
}

#[apply(both_engines)]
fn only_what_is_new_is_copied(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine, folder.path());
    let (first, _) = create(&chsnap, 0, &[]);
    let known = live(&engine);
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-02-03 00:00:00'), number, toString(number), 1 FROM numbers(200000)");
    let new: u64 = live(&engine).iter().filter(|(path, _)| !known.contains_key(*path)).map(|(_, node)| node.size).sum();
    let (second, freezes) = create(&chsnap, 0, &[]);
    assert_eq!(freezes.iter().filter(|line| line.contains("`events`")).count(), 1, "{freezes:?}");
    check_equal(&engine, &path_of(&chsnap, &second));
    // One of events, and one of the materialized view.
    assert_eq!((&second["placed"]["copied"]["parts"], &second["placed"]["copied"]["bytes"]), (&2.into(), &new.into()));
    assert_eq!(second["parts"].as_u64(), first["parts"].as_u64().map(|parts| parts + 2));
}

#[apply(both_engines)]
fn a_mutation_of_one_column_copies_that_column(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    engine.query("CREATE DATABASE lab");
    let wide = if engine.kind() == Kind::V26 { " SETTINGS min_bytes_for_wide_part = 0" } else { "" };
    engine.query(&format!(
        "CREATE TABLE lab.t (k UInt64, a UInt64, b UInt64, c String) ENGINE = MergeTree ORDER BY k{wide}"
    ));
    for _ in 0..3 {
        engine.query("INSERT INTO lab.t SELECT number, rand64(), rand64(), toString(rand64()) FROM numbers(100000)");
    }
    let chsnap = repository(&engine, folder.path());
    create(&chsnap, 0, &[]);
    engine.query("ALTER TABLE lab.t UPDATE a = a + 1 WHERE 1");
    await_mutations(&engine);
    let (second, _) = create(&chsnap, 0, &[]);
    let data = check_equal(&engine, &path_of(&chsnap, &second));
    let column: u64 = files(&data).iter().filter(|(path, _)| path.ends_with("a.bin")).map(|(_, node)| node.size).sum();
    let copied = second["placed"]["copied"]["bytes"].as_u64().expect("a number");
    // 18.16 rewrites the whole part.
    if engine.kind() == Kind::V26 {
        assert!(copied >= column && copied <= column + column / 10, "{copied} for {column}: {second}");
        for record in records(&path_of(&chsnap, &second)) {
            assert_eq!(record["placed"], "copied");
            assert!(record["from"].is_string() && record["joined"]["files"].as_u64() > Some(3), "{record}");
        }
    }
}

#[apply(both_engines)]
fn whatever_happens_between_two_nights_the_copies_are_the_table(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    let seed = std::env::var("CHSNAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_123);
    let nights = if std::env::var_os("CHSNAP_FULL").is_some() { 400 } else { 25 };
    let mut numbers = Numbers(seed);
    engine.query("CREATE DATABASE lab");
    for table in ["lab.a", "lab.b"] {
        engine.query(&make(table, "UInt32"));
        engine.query(&format!("INSERT INTO {table} SELECT number % 3, number, 1 FROM numbers(60)"));
    }
    let chsnap = repository(&engine, folder.path());
    let (mut history, mut linked, mut compared) = (Vec::new(), 0, 0);
    for night in 0..nights {
        for _ in 0..=numbers.below(2) {
            history.push(step(&engine, &mut numbers));
        }
        settle(&engine);
        let inodes = |live: &BTreeMap<PathBuf, Node>| {
            live.iter().map(|(path, node)| (path.clone(), node.inode)).collect::<Vec<_>>()
        };
        let before = inodes(&live(&engine));
        let created = chsnap.run(&["--json", "--progress", "none", "create"]);
        let context = format!("seed {seed}, night {night}, {:?}", history.iter().rev().take(4).collect::<Vec<_>>());
        assert!(matches!(created.code, 0 | 3), "{context}\n{}{}", created.stdout, created.stderr);
        let created: Value = serde_json::from_str(&created.stdout).expect("JSON");
        linked += created["placed"]["linked"]["parts"].as_u64().expect("a count");
        let snapshot = path_of(&chsnap, &created);
        let after = live(&engine);
        // The server merges when it likes: only a night in which it did not can be compared part by part.
        if inodes(&after) != before {
            continue;
        }
        compared += 1;
        assert_eq!(without_inodes(owned(&tree(&snapshot.join("data/lab")))), without_inodes(after), "{context}");
        if compared % 10 == 9 {
            let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
            assert_eq!(state(&restored), state(&engine), "{context}");
        }
    }
    assert!(linked > 0, "something was linked in {nights} nights");
    assert!(compared > nights / 2, "{compared} of {nights} nights were quiet");
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn files_that_tables_share_are_copied_once(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    engine.query("CREATE DATABASE lab");
    let wide = if engine.kind() == Kind::V26 { " SETTINGS min_bytes_for_wide_part = 0" } else { "" };
    for table in ["one", "two", "three"] {
        engine.query(&format!(
            "CREATE TABLE lab.{table} (k UInt64, v String) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k{wide}"
        ));
        engine.query(&format!("SYSTEM STOP MERGES lab.{table}"));
    }
    engine.query("INSERT INTO lab.one SELECT number, toString(rand64()) FROM numbers(50000)");
    // The same files under other names.
    let share = |to: &str, partition: u8| {
        engine.query(&format!("ALTER TABLE lab.{to} REPLACE PARTITION {partition} FROM lab.one"));
    };
    share("two", 0);
    let chsnap = repository(&engine, folder.path());
    let (first, _) = create(&chsnap, 0, &[]);
    let data = check_equal(&engine, &path_of(&chsnap, &first));
    let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
    for (path, node) in live(&engine) {
        let copy = *copies.entry(node.inode).or_insert(data[&path].inode);
        assert_eq!(copy, data[&path].inode, "{}", path.display());
    }
    assert!(copies.len() < live(&engine).len());

    // Later, and of what was copied by then: only what is not the same is copied.
    share("three", 1);
    share("two", 1);
    let known: Vec<u64> = data.values().map(|node| node.inode).collect();
    for arguments in [&[][..], &["--trust-hash"]] {
        let (later, _) = create(&chsnap, 0, arguments);
        let data = check_equal(&engine, &path_of(&chsnap, &later));
        for (path, node) in files(&data) {
            let own = ["invalidated_system_columns.txt", "metadata_version.txt"];
            let is_own = own.iter().any(|name| path.ends_with(name));
            assert!(is_own || known.contains(&node.inode), "{}", path.display());
        }
    }
}

#[apply(both_engines)]
fn files_copied_by_a_killed_create_are_not_copied_again(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY k % 8 ORDER BY k");
    engine.query("SYSTEM STOP MERGES lab.t");
    engine.query("INSERT INTO lab.t SELECT number, rand64() FROM numbers(800000)");
    let chsnap = repository(&engine, folder.path());
    let incoming = chsnap.repo().join("incoming");
    let mut child = chsnap
        .command(&["create", "--bwlimit", "2MiB", "--jobs", "1"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let copied = || files(&tree(&incoming)).values().filter(|node| node.size > 100_000 && node.mode == 0o440).count();
    while copied() < 3 {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let left: Vec<u64> =
        files(&tree(&incoming)).values().filter(|node| node.mode == 0o440).map(|node| node.inode).collect();
    let (created, _) = create(&chsnap, 0, &[]);
    let data = check_equal(&engine, &path_of(&chsnap, &created));
    let kept = files(&data).values().filter(|node| left.contains(&node.inode)).count() as u64;
    assert!(kept > 3 && created["resumed"]["parts"].as_u64() > Some(0), "{created}");
    assert_eq!(created["placed"]["copied"]["files"].as_u64().map(|copied| copied + kept), created["files"].as_u64());
    assert!(tree(&incoming).is_empty() && tree(&chsnap.repo().join("trash")).is_empty());
    assert!(shadows(&engine).is_empty());
}

/// Made, read, brought back, removed. `tests/nfs` runs it on a server that goes away again and again.
#[apply(both_engines)]
fn snapshots_on_another_filesystem_are_verified_restored_and_removed(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, v String) ENGINE = MergeTree PARTITION BY k % 16 ORDER BY k");
    let insert = "INSERT INTO lab.t SELECT number, toString(number) FROM numbers(40000)";
    engine.query(insert);
    let sums = "SELECT count(), sum(k), sum(cityHash64(v)) FROM lab.t";
    let before = engine.query(sums);
    let chsnap = repository(&engine, folder.path());
    let (first, _) = create(&chsnap, 0, &[]);
    engine.query(insert);
    let (second, _) = create(&chsnap, 0, &[]);
    check_equal(&engine, &path_of(&chsnap, &second));
    assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["damage"], Value::Array(Vec::new()));
    let id = |created: &Value| created["id"].as_str().expect("an id").to_owned();
    chsnap.json(0, &["restore", &id(&first), "--all", "--replace", "--yes"]);
    assert_eq!(engine.query(sums), before);
    let kept = tree(&path_of(&chsnap, &second));
    chsnap.json(0, &["rm", &id(&first)]);
    chsnap.json(0, &["gc"]);
    assert!(tree(&chsnap.repo().join("trash")).is_empty());
    // Names and contents; links went with the first one.
    assert_eq!(without_inodes(owned(&tree(&path_of(&chsnap, &second)))), without_inodes(owned(&kept)));
    assert!(shadows(&engine).is_empty());
}

/// Run by `tests/nfs`, whose /dev/shm is then on an export with `root_squash`, in a directory that belongs to the user nobody.
#[apply(both_engines)]
#[ignore = "it needs an export that squashes root: tests/nfs runs it on one"]
fn an_export_that_squashes_root_is_refused_unless_owners_are_recorded(engine: Engine) {
    let folder = elsewhere(&engine).expect("an export at /dev/shm");
    assert_eq!(fs::metadata(folder.path()).expect("there").uid(), 65534, "root is squashed");
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(1000)");
    let chsnap = repository(&engine, folder.path());
    let refused = chsnap.expect(1, &["-v", "--progress", "none", "create"]);
    assert!(refused.stderr.contains("--ids record") && !refused.stderr.contains("FREEZE"), "{}", refused.stderr);
    assert!(shadows(&engine).is_empty() && tree(&chsnap.repo().join("incoming")).is_empty());
    let (created, _) = create(&chsnap, 0, &["--ids", "record"]);
    for record in records(&path_of(&chsnap, &created)) {
        assert_eq!((&record["ownership"]["uid"], &record["ownership"]["gid"]), (&0.into(), &0.into()), "{record}");
    }
    for node in files(&tree(&path_of(&chsnap, &created).join("data"))).values() {
        assert_eq!(node.uid, 65534);
    }
    assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["damage"], Value::Array(Vec::new()));
    // Snapshots that belong to the user nobody come back as the server's own files.
    let before = engine.query("SELECT count(), sum(k) FROM lab.t");
    engine.query("DROP TABLE lab.t");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.t"), before);
    assert!(files(&tree(engine.data_path())).values().all(|node| node.uid == 0));
}

#[apply(both_engines)]
fn dedup_relink_links_a_part_under_other_inodes_to_the_earlier_ones(mut engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("SYSTEM STOP MERGES lab.t");
    engine.query("INSERT INTO lab.t SELECT number, rand64() FROM numbers(100000)");
    let chsnap = crate::support::repository(&engine);
    let inodes = |nodes: BTreeMap<PathBuf, Node>| -> BTreeMap<PathBuf, u64> {
        nodes.into_iter().map(|(path, node)| (path, node.inode)).collect()
    };
    let held = |created: &Value| inodes(owned(&tree(&path_of(&chsnap, created).join("data/lab"))));
    let first = held(&create(&chsnap, 0, &[]).0);
    // As after a move to another disk and back, without the times: the same bytes on other inodes.
    let [(_, _, part)] = active_parts(&engine, "lab").try_into().expect("one part");
    engine.stop();
    let script = "cp -r --preserve=mode,ownership \"$0\" \"$0.new\" && rm -r \"$0\" && mv \"$0.new\" \"$0\"";
    let part = part.components().as_path().to_owned();
    assert!(std::process::Command::new("sh").args(["-c", script]).arg(part).status().expect("sh").success());
    engine.restart();
    let now = inodes(live(&engine));
    assert!(now.values().all(|inode| !first.values().any(|other| other == inode)), "{now:?} {first:?}");

    let relinked = create(&chsnap, 0, &["--dedup-relink"]).0;
    assert_eq!(
        (&relinked["placed"]["linked"]["parts"], &relinked["placed"]["copied"]["files"]),
        (&1.into(), &0.into())
    );
    assert_eq!(held(&relinked), first);
    assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["damage"], Value::Array(Vec::new()));
    // Without it a part keeps the inodes that the server has.
    assert_eq!(held(&create(&chsnap, 0, &["--freeze", "all"]).0), now);
}

#[apply(both_engines)]
fn the_servers_threads_for_a_freeze_can_be_set(engine: Engine) {
    load(&engine);
    let chsnap = crate::support::repository(&engine);
    let created = chsnap.json(0, &["create", "--freeze-threads", "3", "--freeze-jobs", "2"]);
    assert_eq!(created["placed"]["renamed"]["parts"], created["parts"]);
    chsnap.expect(2, &["create", "--freeze-threads", "0"]);
}
