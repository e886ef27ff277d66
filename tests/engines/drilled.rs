//! `create --digest` and `drill` of intact snapshots.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::tree;

/// No database and no directory of a drill is there.
pub(crate) fn nothing_is_left(engine: &Engine) {
    assert_eq!(engine.query("SELECT count() FROM system.databases WHERE name LIKE 'chsnap%'"), "0");
    let names: Vec<String> = fs::read_dir(engine.data_path())
        .expect("data")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with("chsnap")), "{names:?}");
}

/// Flips the last byte of a file below a part of a snapshot, and leaves the live file as it is.
pub(crate) fn flip_byte(chsnap: &Chsnap, created: &Value, table: &str, is_file: impl Fn(&Path) -> bool) {
    change_file(chsnap, created, table, is_file, |bytes| *bytes.last_mut().expect("a byte") ^= 1);
}

/// Changes a file below a part of a snapshot, and leaves the live file as it is.
pub(crate) fn change_file(
    chsnap: &Chsnap,
    created: &Value,
    table: &str,
    is_file: impl Fn(&Path) -> bool,
    change: impl Fn(&mut Vec<u8>),
) {
    let part = fs::read_dir(path_of(chsnap, created).join("data/lab").join(table))
        .expect("a table")
        .next()
        .expect("a part")
        .expect("an entry")
        .path();
    let file = fs::read_dir(&part)
        .expect("a part")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| is_file(path))
        .expect("a file");
    let mut bytes = fs::read(&file).expect("it reads");
    change(&mut bytes);
    fs::remove_file(&file).expect("removed, so that the live file stays as it is");
    fs::write(&file, bytes).expect("written");
}

pub(crate) fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "bin")
}

/// Changes one line of the list of parts, and the manifest with it: what no bit that rots could do.
fn change_part(chsnap: &Chsnap, id: &str, change: impl Fn(&mut Value) -> bool) {
    let snapshot = chsnap.repo().join("snapshots").join(id);
    let path = snapshot.join("parts.jsonl.zst");
    let lines = zstd::decode_all(fs::read(&path).expect("it reads").as_slice()).expect("it expands");
    let mut done = false;
    let lines: Vec<String> = String::from_utf8(lines)
        .expect("text")
        .lines()
        .map(|line| {
            let mut part: Value = serde_json::from_str(line).expect("JSON");
            done |= !done && change(&mut part);
            format!("{part}\n")
        })
        .collect();
    assert!(done);
    let listing = zstd::encode_all(lines.concat().as_bytes(), 3).expect("it shrinks");
    let manifest = snapshot.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("it reads");
    let old = serde_json::from_str::<Value>(&text).expect("JSON")["parts_blake3"].as_str().expect("text").to_owned();
    fs::write(&manifest, text.replace(&old, blake3::hash(&listing).to_hex().as_str())).expect("written");
    fs::write(&path, listing).expect("written");
}

#[apply(both_engines)]
fn a_drill_proves_a_snapshot_and_leaves_nothing(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--digest"]);
    let id = created["id"].as_str().expect("an id").to_owned();
    let contents = tree(&path_of(&chsnap, &created));
    let rows: Vec<String> = TABLES.iter().map(|(_, query)| engine.query(query)).collect();
    assert_eq!(chsnap.json(0, &["show"])["drilled"], Value::Null);
    let proof = chsnap.json(0, &["drill"]);
    assert_eq!((&proof["schema"], &proof["state"]), (&Value::from("chsnap.drill.v1"), &Value::from("proven")));
    let totals = &proof["totals"];
    assert_eq!(totals["digests"]["equal"], totals["parts"], "{proof:#}");
    assert_eq!((&totals["digests"]["different"], &totals["digests"]["unknown"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(totals["rows"], created_rows(&chsnap));
    nothing_is_left(&engine);
    assert!(tree(&path_of(&chsnap, &created)) == contents);
    for ((_, query), before) in TABLES.iter().zip(&rows) {
        assert_eq!(&engine.query(query), before);
    }
    let shown = chsnap.json(0, &["show"]);
    assert_eq!((&shown["drilled"]["failed"], &shown["drilled"]["digests"]), (&Value::from(0), &totals["parts"]));
    assert!(chsnap.expect(0, &["list"]).stdout.contains("drilled"));
    assert!(chsnap.expect(0, &["show"]).stdout.contains("came back"));
    // Unchanged parts keep their sums without being read again; what came since has one too.
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(5)");
    chsnap.json(0, &["create", "--digest"]);
    let proof = chsnap.json(0, &["drill", "--sample", "2"]);
    assert_eq!(proof["totals"]["tables"], 2);
    let proof = chsnap.json(0, &["drill"]);
    assert_eq!(proof["totals"]["digests"]["equal"], proof["totals"]["parts"]);
    // Without sums the parts are read all the same, and said to be unknown.
    chsnap.json(0, &["create", "--freeze", "all"]);
    let proof = chsnap.json(0, &["drill", "--table", "lab.events"]);
    assert_eq!(proof["totals"]["digests"]["equal"], 0);
    assert_eq!(proof["totals"]["digests"]["unknown"], proof["totals"]["parts"]);
    // A sum that is another one is found.
    change_part(&chsnap, &id, |part| {
        let has = part["table"] == "events" && part["digest"]["sum"].is_string();
        if has {
            part["digest"]["sum"] = "1".into();
        }
        has
    });
    let proof = chsnap.json(12, &["drill", &id]);
    assert_eq!((&proof["state"], &proof["totals"]["digests"]["different"]), (&Value::from("failed"), &Value::from(1)));
    assert!(chsnap.expect(0, &["list"]).stdout.contains("drill FAILED"));
    nothing_is_left(&engine);
}

#[apply(both_engines)]
fn bytes_that_changed_in_a_file_are_found_by_reading(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    flip_byte(&chsnap, &created, "plain", is_data);
    let proof = chsnap.json(12, &["drill"]);
    let tables = proof["tables"].as_array().expect("a list");
    let failed: Vec<&Value> = tables.iter().filter(|table| table["is_proven"] == false).collect();
    assert_eq!(failed.len(), 1, "{proof:#}");
    assert_eq!(failed[0]["from"]["table"], "plain");
    assert_eq!((&failed[0]["verdict"], &failed[0]["reason_kind"]), (&"failed".into(), &"unreadable".into()));
    // A night says of which snapshot and table. What the server has is damaged here, and so is the new snapshot.
    let path =
        engine.query("SELECT path FROM system.parts WHERE database = 'lab' AND table = 'plain' AND active LIMIT 1");
    let file =
        fs::read_dir(&path).expect("a part").map(|entry| entry.expect("an entry").path()).find(|path| is_data(path));
    let file = file.expect("a file");
    let mut bytes = fs::read(&file).expect("it reads");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&file, bytes).expect("written in place");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let night = chsnap.json(12, &["run", "--verify-slices", "0", "--drill-every", "1s"]);
    let id = night["snapshot"].as_str().expect("an id");
    let error = format!("drill: the trial restore of {id} failed for 1 table: lab.plain");
    assert_eq!(night["error"], error.as_str(), "{night:#}");
    let drill = night["steps"].as_array().expect("steps").iter().find(|step| step["step"] == "drill").expect("a drill");
    assert_eq!((&drill["outcome"], &drill["reason"]), (&"damaged".into(), &error.replace("drill: ", "").into()));
    assert!(
        night["hint"].as_str().expect("a hint").contains(&format!(" drill {id} reports the problem of each table")),
        "{night:#}"
    );
    nothing_is_left(&engine);
}

#[apply(both_engines)]
fn a_drill_that_is_killed_is_cleared_by_the_next(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--digest"]);
    let mut kills = 0;
    for (call, nth) in [
        ("mkdirat", 1),
        ("mkdirat", 4),
        ("linkat", 20),
        ("renameat,renameat2", 3),
        ("unlinkat", 2),
        ("sendto,write,writev", 60),
    ] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        let status = chsnap.under(strace, &["drill"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        kills += u32::from(!status.expect("strace runs").success());
        let proof = chsnap.json(0, &["drill"]);
        assert_eq!(proof["state"], "proven", "{call} {nth}");
        nothing_is_left(&engine);
    }
    assert!(kills > 3, "{kills}");
}

fn created_rows(chsnap: &Chsnap) -> Value {
    let shown = chsnap.json(0, &["show"]);
    shown["table_list"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|table| table["rows"].as_u64().expect("a number"))
        .sum::<u64>()
        .into()
}

#[test]
fn parts_merged_before_they_were_summed_are_unknown_and_never_wrong() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE TABLE default.busy (k UInt64, v String) ENGINE = ReplacingMergeTree ORDER BY k");
    let chsnap = repository(&engine);
    for night in 0..6 {
        for batch in 0..10 {
            engine.query(&format!("INSERT INTO default.busy SELECT number, '{night}.{batch}' FROM numbers(1000)"));
        }
        let busy = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                for _ in 0..10 {
                    drop(engine.try_query("INSERT INTO default.busy SELECT number, 'new' FROM numbers(1000)"));
                    drop(engine.try_query("OPTIMIZE TABLE default.busy FINAL"));
                }
            });
            let created = chsnap.run(&["create", "--digest"]);
            work.join().expect("the work ends");
            created.code
        });
        assert_eq!(busy, 0);
        let proof = chsnap.json(0, &["drill"]);
        assert_eq!(proof["totals"]["digests"]["different"], 0, "{proof:#}");
    }
}
