//! Parts that are recognized by the state of their directories (decisions/0043).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::elsewhere::{check_equal, elsewhere, live, records, repository as repository_in};
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{active_parts, expected, found, load, path_of, repository};
use crate::tree::{files, tree};
use crate::unchanged::{Numbers, make, settle, step};

/// Waits until any later change of a directory shows in its times.
fn let_directories_settle() {
    std::thread::sleep(Duration::from_millis(3100));
}

/// Makes two snapshots: the second compares the files of every part, and keeps the states of their directories.
fn known(chsnap: &Chsnap) {
    chsnap.json(0, &["create"]);
    let_directories_settle();
    chsnap.json(0, &["create"]);
}

/// The system calls of a night on files of parts that existed before it.
struct Night {
    /// Links of such files.
    links: usize,
    /// Other calls that name one.
    others: Vec<String>,
}

/// Runs `create` and counts the calls that name a file of a live part.
fn night(engine: &Engine, chsnap: &Chsnap, arguments: &[&str]) -> Night {
    let names: BTreeSet<OsString> = (active_parts(engine, "lab").iter())
        .flat_map(|(_, _, path)| files(&tree(path)).keys().map(|file| file.to_path_buf()).collect::<Vec<PathBuf>>())
        .map(|file| file.file_name().expect("a name").to_owned())
        .collect();
    let names: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.to_string_lossy())).collect();
    let trace = chsnap.traced(&[&["--jobs", "1", "--progress", "none", "create"], arguments].concat());
    let (mut links, mut others) = (0, Vec::new());
    for (kind, text) in trace.calls() {
        if !names.iter().any(|name| text.contains(name)) {
            continue;
        }
        match kind {
            // Another link proves that links work between the two directories.
            "linkat" => {
                links += usize::from(text.rsplit('<').next().is_some_and(|target| target.contains("/data/lab/")));
            }
            _ => others.push(text.to_owned()),
        }
    }
    Night { links, others }
}

/// The files of all live parts that a snapshot has.
fn count(engine: &Engine) -> usize {
    expected(engine).len()
}

#[apply(both_engines)]
fn a_file_of_an_unchanged_part_costs_one_link_and_no_other_call(engine: Engine) {
    load(&engine);
    if engine.kind() == Kind::V26 {
        engine.query("CREATE TABLE lab.projected (k UInt64, v UInt64, PROJECTION p (SELECT v, sum(k) GROUP BY v)) ENGINE = MergeTree ORDER BY k");
        engine.query("INSERT INTO lab.projected SELECT number, number % 3 FROM numbers(100)");
    }
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let_directories_settle();
    let compared = night(&engine, &chsnap, &[]);
    assert!(!compared.others.is_empty() && compared.links == count(&engine), "{}", compared.links);
    let known = night(&engine, &chsnap, &[]);
    assert_eq!((known.links, known.others), (count(&engine), Vec::new()));
    let compared = night(&engine, &chsnap, &["--compare", "files"]);
    assert!(!compared.others.is_empty() && compared.links == count(&engine), "{}", compared.links);
    // The list of parts does not tell how a part was compared.
    let latest = |nth: usize| {
        let mut all: Vec<PathBuf> = fs::read_dir(chsnap.repo().join("snapshots"))
            .expect("snapshots")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        all.sort();
        let path = all[all.len() - 1 - nth].clone();
        records(&path).into_iter().map(without_origin).collect::<Vec<_>>()
    };
    assert_eq!(latest(0), latest(1));
    assert_eq!(latest(1), latest(2));
    chsnap.json(0, &["verify", "--level", "data"]);
    let usage = chsnap.json(0, &["usage", "--exact"]);
    assert_eq!(usage["exact"]["differing"], serde_json::json!([]), "{}", usage["exact"]);
    // A report of the links keeps what is known.
    assert_eq!(night(&engine, &chsnap, &[]).others, Vec::<String>::new());
}

#[apply(both_engines)]
fn every_night_has_the_same_figures_and_a_lost_index_costs_one_comparison(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    known(&chsnap);
    let compared = chsnap.json(0, &["create", "--compare", "files"]);
    let by_directory = chsnap.json(0, &["create"]);
    let figures = |made: &Value| {
        let shown = chsnap.json(0, &["show", made["id"].as_str().expect("an id")]);
        (shown["allocated_bytes"].clone(), shown["files"].clone(), shown["written_bytes"].clone())
    };
    assert!(figures(&compared).0.as_u64().is_some_and(|bytes| bytes > 0), "{compared}");
    assert_eq!(figures(&by_directory), figures(&compared));
    fs::remove_file(chsnap.repo().join("index.sqlite")).expect("the index");
    assert!(!night(&engine, &chsnap, &[]).others.is_empty());
    assert_eq!(night(&engine, &chsnap, &[]).others, Vec::<String>::new());
    let usage = chsnap.json(0, &["usage", "--exact"]);
    assert_eq!(usage["exact"]["differing"], serde_json::json!([]), "{}", usage["exact"]);
}

#[apply(both_engines)]
fn a_dry_run_knows_parts_by_their_directories_and_writes_nothing(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    known(&chsnap);
    let before = tree(chsnap.repo());
    let dry = night(&engine, &chsnap, &["--dry-run"]);
    assert_eq!(dry.links, 0);
    // One file of the disk shows whether links to it would be refused.
    assert!(dry.others.len() == 1 && dry.others[0].contains("\"checksums.txt\""), "{:?}", dry.others);
    assert!(tree(chsnap.repo()) == before, "a dry run writes nothing");
    assert!(!night(&engine, &chsnap, &["--dry-run", "--compare", "files"]).others.is_empty());
    // A name that the snapshot lacks is no unchanged part's: create freezes its partition, and the plan says so.
    let part = part_of(&engine, "plain");
    let latest = fs::canonicalize(chsnap.repo().join("latest")).expect("latest");
    let below = Path::new("data/lab/plain").join(part.file_name().expect("a name"));
    fs::remove_file(latest.join(&below).join("columns.txt")).expect("removed");
    let plan = chsnap.json(0, &["create", "--dry-run"]);
    let frozen: Vec<&Value> = (plan["plan"].as_array().expect("a plan").iter())
        .filter(|table| table["freeze"] != "nothing")
        .map(|table| &table["table"])
        .collect();
    assert_eq!(frozen, ["plain"], "{plan}");
}

fn without_origin(mut record: Value) -> Value {
    let fields = record.as_object_mut().expect("an object");
    fields.remove("from");
    record
}

#[apply(both_engines)]
fn elsewhere_an_unchanged_part_costs_its_links_too(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository_in(&engine, folder.path());
    known(&chsnap);
    let known = night(&engine, &chsnap, &[]);
    assert_eq!(known.links, count(&engine));
    // One part is copied to see which metadata the repository's filesystem keeps, whatever is unchanged.
    let looked_in: BTreeSet<&str> =
        known.others.iter().filter_map(|call| call.split_once('<')?.1.split_once('>')).map(|(path, _)| path).collect();
    assert!(looked_in.len() <= 1, "{:?}", known.others);
    let latest = fs::canonicalize(chsnap.repo().join("latest")).expect("latest");
    check_equal(&engine, &latest);
}

/// Both repositories see the same nights, with pauses in which directories settle; in one all files are compared.
#[apply(both_engines)]
fn whatever_happens_both_comparisons_take_the_same_files(engine: Engine) {
    let Some(folder) = elsewhere(&engine) else { return };
    let seed = std::env::var("CHSNAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_130);
    let nights = if std::env::var_os("CHSNAP_FULL").is_some() { 120 } else { 8 };
    let mut numbers = Numbers(seed);
    engine.query("CREATE DATABASE lab");
    for table in ["lab.a", "lab.b"] {
        engine.query(&make(table, "UInt32"));
        engine.query(&format!("INSERT INTO {table} SELECT number % 3, number, 1 FROM numbers(60)"));
    }
    let here = repository(&engine);
    let there = repository_in(&engine, folder.path());
    let mut history = Vec::new();
    for night in 0..nights {
        history.push(step(&engine, &mut numbers));
        settle(&engine);
        let_directories_settle();
        let context = format!("seed {seed}, night {night}, {:?}", history.iter().rev().take(4).collect::<Vec<_>>());
        let take = |chsnap: &Chsnap, compare: &str| {
            let created = chsnap.run(&["--json", "--progress", "none", "create", "--compare", compare]);
            assert!(matches!(created.code, 0 | 3), "{context}\n{}{}", created.stdout, created.stderr);
            path_of(chsnap, &serde_json::from_str(&created.stdout).expect("JSON"))
        };
        let before = expected(&engine);
        let (known, compared, copied) = (take(&here, "directories"), take(&here, "files"), take(&there, "directories"));
        // The server merges when it likes.
        if expected(&engine) != before {
            continue;
        }
        for snapshot in [known, compared] {
            assert_eq!(found(&tree(&snapshot.join("data/lab"))), before, "{context}");
        }
        let contents = |nodes: BTreeMap<PathBuf, crate::tree::Node>| {
            nodes.into_iter().map(|(path, node)| (path, (node.content, node.mode))).collect::<BTreeMap<_, _>>()
        };
        let copy = tree(&copied.join("data/lab"));
        let copy = files(&copy).into_iter().map(|(path, node)| (path.to_owned(), node.clone())).collect();
        assert_eq!(contents(copy), contents(live(&engine)), "{context}");
    }
    for chsnap in [&here, &there] {
        chsnap.json(0, &["verify", "--level", "data"]);
    }
}

/// One live part of a table.
fn part_of(engine: &Engine, wanted: &str) -> PathBuf {
    active_parts(engine, "lab").into_iter().find(|(table, ..)| table == wanted).expect("a part").2
}

/// The newest snapshot has every live file under its inode.
#[track_caller]
fn check(engine: &Engine, chsnap: &Chsnap) {
    let latest = fs::canonicalize(chsnap.repo().join("latest")).expect("latest");
    assert_eq!(found(&tree(&latest.join("data/lab"))), expected(engine));
}

#[apply(both_engines)]
fn a_part_whose_directory_was_touched_is_compared_by_its_files(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    known(&chsnap);
    // A file is replaced under its name, as MODIFY COLUMN of 18.16 does.
    let part = part_of(&engine, "plain");
    fs::copy(part.join("columns.txt"), part.join("columns.txt.tmp")).expect("copied");
    fs::rename(part.join("columns.txt.tmp"), part.join("columns.txt")).expect("renamed");
    chsnap.json(0, &["create"]);
    check(&engine, &chsnap);
    // chown -R reaches the directory: the list of parts has the new owner.
    let part = part_of(&engine, "sums");
    let status = Command::new("chown").args(["-R", "4242"]).arg(&part).status().expect("chown runs");
    if status.success() {
        chsnap.json(0, &["create"]);
        let latest = fs::canonicalize(chsnap.repo().join("latest")).expect("latest");
        let owners: BTreeSet<u64> = (records(&latest).iter())
            .filter(|record| record["table"] == "sums")
            .map(|record| record["ownership"]["uid"].as_u64().expect("an id"))
            .collect();
        assert_eq!(owners, BTreeSet::from([4242]));
    }
    // The mode of a single file is nothing that a directory shows; verify does.
    known(&chsnap);
    let file = part_of(&engine, "latest").join("columns.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("changed");
    chsnap.json(0, &["create"]);
    let drift = chsnap.json(3, &["verify", "latest", "--level", "size"]);
    assert_eq!(drift["drift"].as_array().map(Vec::len), Some(1), "{drift}");
    chsnap.json(0, &["create", "--compare", "files"]);
    chsnap.json(0, &["verify", "latest", "--level", "size"]);
}

#[apply(both_engines)]
fn directory_states_survive_a_restart_a_detach_and_a_rename(mut engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    known(&chsnap);
    engine.query("DETACH TABLE lab.plain");
    engine.query("ATTACH TABLE lab.plain");
    engine.restart();
    engine.query("SYSTEM STOP MERGES");
    let chsnap = Chsnap::new(chsnap.repo()).url(&engine.url());
    let all = count(&engine);
    let night = night(&engine, &chsnap, &[]);
    assert_eq!((night.links, night.others), (all, Vec::new()));
    check(&engine, &chsnap);
}

#[apply(both_engines)]
fn without_a_file_in_the_snapshot_or_without_the_index_the_files_are_compared(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    known(&chsnap);
    let latest = || fs::canonicalize(chsnap.repo().join("latest")).expect("latest");
    let part = part_of(&engine, "plain");
    let below = Path::new("data/lab/plain").join(part.file_name().expect("a name"));
    fs::remove_file(latest().join(&below).join("columns.txt")).expect("removed");
    chsnap.json(0, &["create"]);
    check(&engine, &chsnap);
    // An older program's index, none, and one of another repository.
    for harm in ["PRAGMA user_version = 4", ""] {
        known(&chsnap);
        let index = chsnap.repo().join("index.sqlite");
        if harm.is_empty() {
            fs::remove_file(&index).expect("removed");
        } else {
            rusqlite::Connection::open(&index).and_then(|index| index.execute_batch(harm)).expect("changed");
        }
        let first = night(&engine, &chsnap, &[]);
        assert!(!first.others.is_empty() && first.links == count(&engine), "{harm}");
        check(&engine, &chsnap);
    }
    let copy = engine.root().join("copied");
    let status = Command::new("cp").arg("-a").arg(chsnap.repo()).arg(&copy).status().expect("cp runs");
    assert!(status.success());
    let copied = Chsnap::new(&copy).url(&engine.url());
    let first = night(&engine, &copied, &[]);
    assert!(!first.others.is_empty(), "the copy has other inodes");
    check(&engine, &copied);
}
