//! Servers with more than one disk, in containers, and with many tables.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{StopAtEnd, active_parts, escaped, load, path_of, repository, shadows};
use crate::tree::{files, tree};

/// Every file of every active part of `lab` is in the snapshot under its inode.
fn check_inodes(engine: &Engine, snapshot: &Path, tables: &[&str]) {
    let mut expected = BTreeMap::new();
    for (table, part, path) in active_parts(engine, "lab") {
        if tables.contains(&table.as_str()) {
            for (file, node) in files(&tree(&path)) {
                expected.insert(PathBuf::from(escaped(&table)).join(&part).join(file), node.inode);
            }
        }
    }
    assert!(!expected.is_empty());
    let data = tree(&snapshot.join("data/lab"));
    let found: BTreeMap<PathBuf, u64> =
        files(&data).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect();
    assert_eq!(found, expected);
}

/// Makes `lab.<table>` with this many parts and a storage policy.
fn table(engine: &Engine, table: &str, policy: &str, parts: u32) {
    engine.query("CREATE DATABASE IF NOT EXISTS lab");
    engine.query(&format!(
        "CREATE TABLE lab.{table} (k UInt64, v String) ENGINE = MergeTree ORDER BY k \
         SETTINGS storage_policy = '{policy}', min_bytes_for_wide_part = 0"
    ));
    engine.query(&format!("SYSTEM STOP MERGES lab.{table}"));
    for part in 0..parts {
        engine.query(&format!("INSERT INTO lab.{table} SELECT number + {part}, toString(number) FROM numbers(100)"));
    }
}

fn disks_of(snapshot: &Path) -> Vec<String> {
    let listing = fs::read(snapshot.join("parts.jsonl.zst")).expect("a listing");
    let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
    let part =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["disk"].as_str().expect("a disk").to_owned();
    listing.lines().map(part).collect()
}

#[test]
fn parts_of_several_disks_come_from_the_shadow_of_each() {
    let engine = Engine::start_with(Engine::V26, &Options { extra_disks: 2, ..Options::default() });
    table(&engine, "spread", "jbod", 9);
    table(&engine, "second", "disk2", 2);
    let chsnap = repository(&engine);
    for mode in ["auto", "link"] {
        let created = chsnap.json(0, &["create", "--place", mode]);
        let snapshot = path_of(&chsnap, &created);
        check_inodes(&engine, &snapshot, &["spread", "second"]);
        let disks = disks_of(&snapshot);
        for disk in ["default", "disk1", "disk2"] {
            assert!(disks.iter().any(|found| found == disk), "{disk} in {disks:?}");
        }
        assert!(shadows(&engine).is_empty());
        for number in 1..=2 {
            let left = tree(&engine.disk_path(number).join("shadow"));
            assert!(left.keys().all(|path| path == Path::new("increment.txt")), "{:?}", left.keys());
        }
    }
    let document = chsnap.json(0, &["doctor"]);
    let links = document["checks"].as_array().expect("checks").iter().filter(|check| check["name"] == "link");
    assert_eq!(links.count(), 3, "{document}");
}

#[test]
fn each_disk_is_linked_or_copied_separately() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let disk = ("memory".to_owned(), format!("<path>{}/</path>", memory.path().display()));
    let engine = Engine::start_with(Engine::V26, &Options { disks: vec![disk], ..Options::default() });
    table(&engine, "far", "memory", 2);
    table(&engine, "near", "default", 2);
    let chsnap = repository(&engine);
    let run = chsnap.expect(1, &["create", "--place", "link"]);
    assert!(run.stderr.contains("\"memory\"") && run.stderr.contains("--exclude"), "{}", run.stderr);
    assert!(shadows(&engine).is_empty() && !memory.path().join("shadow").exists());
    let document = chsnap.json(0, &["doctor"]);
    assert!(document.to_string().contains("new data is copied"), "{document}");
    let near = chsnap.json(0, &["create", "--exclude", "lab.far"]);
    check_inodes(&engine, &path_of(&chsnap, &near), &["near"]);

    let created = chsnap.json(0, &["create"]);
    assert_eq!((&created["placed"]["copied"]["parts"], &created["placed"]["linked"]["parts"]), (&2.into(), &2.into()));
    let data = tree(&path_of(&chsnap, &created).join("data/lab"));
    for (table, part, path) in active_parts(&engine, "lab") {
        for (file, node) in files(&tree(&path)) {
            let held = &data[&PathBuf::from(&table).join(&part).join(file)];
            assert_eq!(held.inode == node.inode, table == "near", "{table} {part}");
            assert_eq!((held.content, held.mode, held.modified), (node.content, node.mode, node.modified));
        }
    }
    assert!(!memory.path().join("shadow").exists() || tree(&memory.path().join("shadow")).is_empty());
    // The next night all of it is linked.
    let next = chsnap.json(0, &["create"]);
    assert_eq!((&next["placed"]["linked"]["parts"], &next["written_bytes"]), (&4.into(), &0.into()));
    assert_eq!(files(&tree(&path_of(&chsnap, &next).join("data/lab"))), files(&data));
}

#[test]
fn an_encrypted_disk_is_taken_and_marked_as_not_verifiable() {
    let definition = "<type>encrypted</type><disk>default</disk><path>coded/</path><key>0123456789abcdef</key>";
    let disks = vec![("coded".to_owned(), definition.to_owned())];
    let engine = Engine::start_with(Engine::V26, &Options { disks, ..Options::default() });
    table(&engine, "secret", "coded", 2);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    check_inodes(&engine, &snapshot, &["secret"]);
    let shown = chsnap.json(0, &["show", "latest"]);
    let secret = shown["table_list"].as_array().expect("tables").iter().find(|table| table["table"] == "secret");
    assert_eq!(secret.expect("the table")["unverifiable_parts"], 2, "{shown}");
    assert!(chsnap.expect(0, &["show", "latest"]).stdout.contains("encrypted"), "{shown}");
}

#[test]
fn tables_on_object_storage_are_refused_by_name_with_the_reason() {
    let definition = "<type>object_storage</type><object_storage_type>local_blob_storage</object_storage_type>\
                      <path>{root}/blobs/</path>";
    let disks = vec![("blobs".to_owned(), definition.to_owned())];
    let engine = Engine::start_with(Engine::V26, &Options { disks, ..Options::default() });
    table(&engine, "remote", "blobs", 1);
    table(&engine, "near", "default", 1);
    let chsnap = repository(&engine);
    let created = chsnap.json(3, &["create"]);
    let warnings = created["warnings"].to_string();
    assert!(warnings.contains("lab.remote") && warnings.contains("blobs"), "{warnings}");
    check_inodes(&engine, &path_of(&chsnap, &created), &["near"]);
    chsnap.json(0, &["create", "--exclude", "lab.remote"]);
    let document = chsnap.json(3, &["doctor"]);
    assert!(document.to_string().contains("\\\"blobs\\\" is of type"), "{document}");
}

/// The local parts of a table, with those that only changed after the last snapshot, are linked; nothing is frozen.
#[test]
fn of_a_tiered_table_the_local_parts_are_linked_and_the_rest_is_named() {
    let definition = "<type>object_storage</type><object_storage_type>local_blob_storage</object_storage_type>\
                      <path>{root}/blobs/</path>";
    let disks = vec![("cold".to_owned(), definition.to_owned())];
    let policies = "<tiered><volumes><hot><disk>default</disk></hot><cold><disk>cold</disk></cold></volumes></tiered>";
    let engine =
        Engine::start_with(Engine::V26, &Options { disks, policies: policies.to_owned(), ..Options::default() });
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k \
         SETTINGS storage_policy = 'tiered', min_bytes_for_wide_part = 0",
    );
    engine.query("SYSTEM STOP MERGES lab.t");
    for partition in [1, 1, 2, 2, 3, 3] {
        engine.query(&format!("INSERT INTO lab.t SELECT {partition}, number FROM numbers(100)"));
    }
    let chsnap = repository(&engine);
    let whole = chsnap.json(0, &["create"]);
    assert_eq!(whole["parts"], 6, "{whole:#}");
    // Partition 2 is on the other disk alone, partition 3 on both.
    engine.query("ALTER TABLE lab.t MOVE PARTITION 2 TO DISK 'cold'");
    engine.query("ALTER TABLE lab.t MOVE PART '3_5_5_0' TO DISK 'cold'");
    engine.query("INSERT INTO lab.t SELECT 1, number FROM numbers(100)");
    let local = |(_, _, path): &(String, String, PathBuf)| !path.to_string_lossy().contains("/disks/cold/");
    let expected: BTreeMap<PathBuf, u64> = active_parts(&engine, "lab")
        .iter()
        .filter(|part| local(part))
        .flat_map(|(_, part, path)| {
            let tree = tree(path);
            let of_part = files(&tree).into_iter().map(|(file, node)| (Path::new(part).join(file), node.inode));
            of_part.collect::<Vec<_>>()
        })
        .collect();
    let plan = chsnap.json(3, &["create", "--dry-run"]);
    assert_eq!(
        (&plan["plan"][0]["freeze"], &plan["plan"][0]["linked_parts"]),
        (&"nothing".into(), &4.into()),
        "{plan:#}"
    );
    for arguments in [&["create"][..], &["create", "--freeze", "all"]] {
        let run = chsnap.run(&[&["-v", "--json", "--progress", "none"][..], arguments].concat());
        assert!(run.code == 3 && !run.stderr.contains(" FREEZE "), "{}", run.stderr);
        let created: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let warning = created["warnings"][0].as_str().expect("a warning");
        let words = ["lab.t is not whole", "3 parts", "2 partitions (2, 3)", "\"cold\" of type ObjectStorage"];
        assert!(words.iter().all(|word| warning.contains(word)), "{warning}");
        let data = tree(&path_of(&chsnap, &created).join("data/lab/t"));
        let found: BTreeMap<PathBuf, u64> =
            files(&data).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect();
        assert_eq!(found, expected);
    }
    assert!(shadows(&engine).is_empty() && !engine.data_path().join("disks/cold/shadow").exists());
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["table_list"][0]["remote_parts"], 3, "{shown:#}");
    assert!(chsnap.expect(0, &["show", "latest"]).stdout.contains("NOT WHOLE: 3 parts"));
    chsnap.json(0, &["create", "--accept", "lab.t"]);
    chsnap.json(0, &["create", "--partition", "1"]);
    chsnap.json(0, &["verify", "--level", "data"]);
    // What is restored says that it is not whole.
    engine.query("DROP TABLE lab.t SYNC");
    let id = shown["id"].as_str().expect("an id");
    let restored = chsnap.json(3, &["restore", id, "--yes"]);
    assert!(restored["warnings"].to_string().contains("lab.t is not whole"), "{restored:#}");
    assert_eq!(engine.query("SELECT p, count() FROM lab.t GROUP BY p ORDER BY p FORMAT TSV"), "1\t300\n3\t100");
}

fn in_container(engine: &Engine, chsnap: &Chsnap, arguments: &[&str]) -> Option<Run> {
    // What the server calls its data path is an empty directory here; its data are elsewhere, as with a container.
    let prepare = "mount --make-rprivate / && mkdir -p \"$DATA/../elsewhere\" && mount --bind \"$DATA/..\" \
                   \"$DATA/../elsewhere\" && mount -t tmpfs none \"$DATA\"";
    chsnap.in_namespace(prepare, engine.data_path(), arguments)
}

#[apply(both_engines)]
fn the_paths_of_a_server_in_a_container_are_mapped(engine: Engine) {
    load(&engine);
    let elsewhere = engine.root().join("elsewhere");
    drop(repository(&engine));
    let chsnap = Chsnap::new(&elsewhere.join("repo")).url(&engine.url());
    let map = format!("{}={}", engine.data_path().display(), elsewhere.join("data").display());
    let Some(run) = in_container(&engine, &chsnap, &["create"]) else {
        eprintln!("SKIPPED: this user may not make mount namespaces");
        return;
    };
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("--path-map"), "{}", run.stderr);
    let run =
        in_container(&engine, &chsnap, &["create", "--json", "--path-map", &map]).expect("it was possible before");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let created: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let snapshot = engine.root().join("repo/snapshots").join(created["id"].as_str().expect("an id"));
    let expected: usize = active_parts(&engine, "lab").iter().map(|(_, _, path)| files(&tree(path)).len()).sum();
    assert_eq!(files(&tree(&snapshot.join("data/lab"))).len(), expected);
    assert!(shadows(&engine).is_empty(), "{:?}", shadows(&engine));
    let run = in_container(&engine, &chsnap, &["doctor", "--path-map", &map]).expect("it was possible before");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
}

/// Freezes a table and writes the intent of a create of this boot, as if that had been killed after its freeze. Returns
/// the intent's path and the freeze.
fn interrupted(engine: &Engine, chsnap: &Chsnap, disks: &Value) -> (PathBuf, String) {
    let repository = fs::read_to_string(chsnap.repo().join("chsnap.json")).expect("it is a repository");
    let repository: Value = serde_json::from_str(&repository).expect("JSON");
    let id = repository["id"].as_str().and_then(|id| id.get(..8)).expect("an id");
    let name = format!("chsnap_{id}_20261101020000_00000001");
    engine.query(&format!("ALTER TABLE lab.events FREEZE WITH NAME '{name}'"));
    let intent = serde_json::json!({
        "format": 1, "id": "2026-11-01T020000Z", "started": "2026-11-01T02:00:00Z", "host": "elsewhere", "pid": 1,
        "url": engine.url(), "disks": disks, "freezes": [name], "query_id_prefix": "chsnap-test",
        "boot": chsnap::fs::boot_id(),
    });
    let path = chsnap.repo().join("incoming/2026-11-01T020000Z.intent.json");
    fs::write(&path, intent.to_string()).expect("an intent");
    (path, name)
}

#[apply(both_engines)]
fn a_freeze_on_a_disk_that_is_not_in_sight_is_left_to_a_host_that_sees_it(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    // As a create leaves it that was killed after its freeze.
    let disks = serde_json::json!([{"disk": "default", "path": engine.data_path()}]);
    let (path, name) = &interrupted(&engine, &chsnap, &disks);
    // The data path of the server is an empty directory on this host.
    let away = "mount --make-rprivate / && mount -t tmpfs none \"$DATA\"";
    let Some(run) = chsnap.in_namespace(away, engine.data_path(), &["gc"]) else {
        eprintln!("SKIPPED: this user may not make mount namespaces");
        return;
    };
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("\"default\"") && run.stderr.contains("is not visible here"), "{}", run.stderr);
    assert!(path.exists() && shadows(&engine).contains(name), "{:?}", shadows(&engine));
    let run = chsnap.expect(0, &["gc"]);
    assert!(!path.exists() && shadows(&engine).is_empty(), "{}{:?}", run.stderr, shadows(&engine));
}

#[test]
fn a_disk_that_no_table_uses_is_in_sight_if_it_is_the_directory_of_the_run() {
    let engine = Engine::start_with(Engine::V26, &Options { extra_disks: 1, ..Options::default() });
    load(&engine);
    let chsnap = repository(&engine);
    let disk = engine.disk_path(1);
    let names = || fs::read_dir(&disk).expect("the disk").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(names().count(), 0, "{:?}", names().collect::<Vec<_>>());
    chsnap.json(0, &["create"]);
    let stat = fs::metadata(&disk).expect("the disk");
    // Another directory under its path, and the disk itself.
    for (inode, code) in [(stat.ino() + 1, 3), (stat.ino(), 0)] {
        let disks = serde_json::json!([
            {"disk": "default", "path": engine.data_path()},
            {"disk": "disk1", "path": disk, "inode": [stat.dev(), inode]},
        ]);
        let (path, name) = interrupted(&engine, &chsnap, &disks);
        let run = chsnap.expect(code, &["gc"]);
        let is_left = code != 0;
        assert_eq!((path.exists(), shadows(&engine).contains(&name)), (is_left, is_left), "{run:?}");
        fs::remove_dir_all(engine.data_path().join("shadow").join(name)).unwrap_or_default();
    }
}

#[test]
fn a_table_made_on_another_disk_in_the_middle_is_whole_or_named_and_leaves_no_shadow() {
    let engine = Engine::start_with(Engine::V26, &Options { extra_disks: 1, ..Options::default() });
    table(&engine, "t", "default", 2);
    table(&engine, "still", "default", 2);
    let chsnap = repository(&engine);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut policies = ["disk1", "default"].iter().cycle();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let policy = policies.next().expect("a cycle");
                engine.query(&format!(
                    "CREATE OR REPLACE TABLE lab.t (k UInt64, v String) ENGINE = MergeTree ORDER BY k \
                     SETTINGS storage_policy = '{policy}'"
                ));
                engine.query("INSERT INTO lab.t SELECT number, 'x' FROM numbers(10)");
            }
        });
        let _stops = StopAtEnd(&stop);
        for _ in 0..6 {
            let run = chsnap.run(&["create", "--json"]);
            assert!([0, 3].contains(&run.code), "{}{}", run.stdout, run.stderr);
            let created: Value = serde_json::from_str(&run.stdout).expect("JSON");
            let snapshot = path_of(&chsnap, &created);
            let has_part = fs::read_dir(snapshot.join("data/lab/t")).is_ok_and(|mut entries| entries.next().is_some());
            let is_named = created["warnings"].to_string().contains("lab.t");
            assert!(has_part || is_named || created["tables"] == 1, "{created}");
            assert!(shadows(&engine).is_empty(), "{:?}", shadows(&engine));
            let elsewhere = engine.disk_path(1).join("shadow");
            let left = fs::read_dir(elsewhere)
                .map_or(0, |entries| entries.filter_map(Result::ok).filter(|e| e.path().is_dir()).count());
            assert_eq!(left, 0, "a shadow stays on the other disk");
        }
    });
}

#[expect(clippy::needless_pass_by_value, reason = "it moves to the thread that counts")]
/// The most connections to this address that were open at once until `end`.
fn most_connections(url: &str, end: Receiver<()>) -> usize {
    let port: u16 = url.rsplit(':').next().expect("a port").parse().expect("a number");
    let remote = format!(":{port:04X}");
    let mut most = 0;
    while end.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
        // sl local_address rem_address st …; 01 is an established connection (`include/net/tcp_states.h`).
        let table = fs::read_to_string("/proc/net/tcp").expect("readable");
        let open = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(2).is_some_and(|address| address.ends_with(&remote)) && fields.get(3) == Some(&"01")
        });
        most = most.max(open.count());
    }
    most
}

/// More tables than anyone opens files for; with `./test --full` as many as the largest servers have.
fn table_count() -> usize {
    if std::env::var_os("CHSNAP_FULL").is_some() { 5000 } else { 400 }
}

#[apply(both_engines)]
fn tables_by_the_thousand_cost_a_freeze_each_and_no_other_query(engine: Engine) {
    let count = table_count();
    engine.query("CREATE DATABASE many");
    for number in 0..count {
        engine.query(&format!("CREATE TABLE many.t{number} (k UInt8) ENGINE = MergeTree ORDER BY k"));
        if number % 2 == 0 {
            engine.query(&format!("INSERT INTO many.t{number} VALUES (1)"));
        }
    }
    let chsnap = repository(&engine);
    // Far fewer files may be open than there are tables.
    let mut command = std::process::Command::new("prlimit");
    let inner = chsnap.command(&["-v", "--progress", "none", "create"]);
    command.args(["--nofile=200:200"]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (url, (ended, end)) = (engine.url(), std::sync::mpsc::channel());
    let (output, connections) = std::thread::scope(|scope| {
        let counting = scope.spawn(move || most_connections(&url, end));
        let output = command.output().expect("prlimit starts");
        drop(ended);
        (output, counting.join().expect("counted"))
    });
    // The client dials one more whenever all that it has are busy, and may keep it: a handful, not one for each query.
    assert!((1..=16).contains(&connections), "{connections} connections at once");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let queries = log.lines().filter(|line| line.contains("clickhouse query")).count();
    let freezes = log.lines().filter(|line| line.contains("FREEZE WITH NAME")).count();
    assert_eq!(freezes, count.div_ceil(2), "an empty table is not frozen");
    assert!(queries - freezes < 48, "{} queries beside {freezes} freezes", queries - freezes);
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["table_list"].as_array().expect("tables").len(), count);
    assert!(shadows(&engine).is_empty());
}

#[test]
fn a_server_that_does_not_answer_is_reported_with_its_running_queries() {
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.busy (k UInt64, v UInt8) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.busy SELECT number, 0 FROM numbers(6)");
    let chsnap = repository(&engine);
    std::thread::scope(|scope| {
        let select = "SELECT sum(sleepEachRow(1)) FROM lab.busy";
        scope.spawn(|| engine.query_with(select, &[("max_block_size", "1"), ("max_threads", "1")]));
        std::thread::sleep(Duration::from_millis(500));
        scope.spawn(|| engine.try_query("ALTER TABLE lab.busy DROP COLUMN v"));
        std::thread::sleep(Duration::from_millis(500));
        let run = chsnap.run(&["create", "--patience", "1s", "--progress", "plain"]);
        assert!(matches!(run.code, 0 | 3), "{}", run.stderr);
        for part in ["the list of tables has taken 1 s; user default has run for", "sleepEachRow", "DROP COLUMN"] {
            assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
        }
    });
}

#[test]
fn a_slow_freeze_is_reported_with_its_stack_and_the_blocking_queries() {
    let engine = Engine::start(Engine::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.slow (p UInt8, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY p");
    engine.query("INSERT INTO lab.slow SELECT number % 10, number FROM numbers(1000)");
    engine.query("SYSTEM STOP MERGES lab.slow");
    engine.query_with("ALTER TABLE lab.slow UPDATE v = 0 WHERE v = 7", &[("mutations_sync", "0")]).expect("a mutation");
    let chsnap = repository(&engine);
    let select = "SELECT sum(sleepEachRow(0.5)) FROM numbers(10) WHERE (SELECT count() FROM lab.slow) > 0";
    // Both ways to freeze: the table at once, and only the partitions that are new, under numbered query ids.
    for round in 0..2 {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=link,linkat:delay_enter=60ms", "-p"]);
        let mut strace = strace.arg(engine.pid().to_string()).stderr(Stdio::null()).spawn().expect("strace runs");
        std::thread::sleep(Duration::from_millis(500));
        let run = std::thread::scope(|scope| {
            scope.spawn(|| engine.query_with(select, &[("max_block_size", "1"), ("max_threads", "1")]).expect("a sum"));
            chsnap.run(&["create", "--patience", "1s", "--progress", "plain"])
        });
        let attached = strace.try_wait().expect("strace can be asked").is_none();
        strace.kill().expect("strace runs still");
        strace.wait().expect("strace ends");
        assert!(attached, "strace did not get at the engine");
        assert_eq!(run.code, 0, "{}", run.stderr);
        let told = |parts: &[&str]| {
            let mut lines =
                run.stderr.lines().filter_map(|line| line.split_once("FREEZE of lab.slow has been running for 1 s; "));
            lines.any(|(_, line)| parts.iter().all(|part| line.contains(part)))
        };
        assert!(told(&["its thread ", " is in link <"]) || told(&["its thread ", " is in linkat <"]), "{}", run.stderr);
        assert!(told(&["user default has run for ", " s: SELECT sum(sleepEachRow"]), "{}", run.stderr);
        assert!(told(&["mutation mutation_", ".txt is not done"]), "{}", run.stderr);
        engine.query(&format!("INSERT INTO lab.slow SELECT number % 7, {round} FROM numbers(1000)"));
    }
}
