//! A restore that is killed, or gets errors of the system, leaves no partial table; a rerun continues it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::strace::{are_tried, is_divided, is_full};
use crate::support::{path_of, repository};
use crate::tree::tree;

fn load(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["a", "b", "c"] {
        engine.query(&format!(
            "CREATE TABLE lab.{name} (d UInt8, k UInt64) ENGINE = MergeTree PARTITION BY d ORDER BY k"
        ));
        for d in 0..3 {
            engine.query(&format!("INSERT INTO lab.{name} SELECT {d}, number FROM numbers(50)"));
        }
    }
    engine.query("CREATE MATERIALIZED VIEW lab.mv ENGINE = SummingMergeTree ORDER BY d POPULATE AS SELECT d, count() AS c FROM lab.a GROUP BY d");
}

const QUERIES: [&str; 4] = [
    "SELECT count(), sum(k), sum(d) FROM lab.a",
    "SELECT count(), sum(k), sum(d) FROM lab.b",
    "SELECT count(), sum(k), sum(d) FROM lab.c",
    "SELECT sum(c), sum(d) FROM lab.mv",
];

/// Tables that are there are whole: as in the snapshot, or as they were before the restore.
fn check(engine: &Engine, states: &[&[String]], when: &str) {
    for (number, query) in QUERIES.iter().enumerate() {
        if let Ok(answer) = engine.try_query(query) {
            assert!(states.iter().any(|state| state[number] == answer), "{when}: {query}: {answer}");
        }
    }
}

fn answers(engine: &Engine) -> Vec<String> {
    QUERIES.iter().map(|query| engine.query(query)).collect()
}

/// Gives every table rows that the snapshot does not have.
fn change(engine: &Engine) -> Vec<String> {
    for name in ["a", "b", "c"] {
        engine.query(&format!("INSERT INTO lab.{name} SELECT 1, number FROM numbers(7)"));
    }
    answers(engine)
}

/// What stands below the server's data path and is no table's. A table that the server drops at this moment is in none
/// of its lists, and its directory exists a moment longer.
fn leftovers(engine: &Engine) -> Vec<String> {
    for _ in 0..50 {
        if leftovers_now(engine).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    leftovers_now(engine)
}

fn leftovers_now(engine: &Engine) -> Vec<String> {
    let names = |path: &str| -> Vec<String> {
        let Ok(entries) = fs::read_dir(engine.data_path().join(path)) else { return Vec::new() };
        entries.map(|entry| format!("{path}/{}", entry.expect("an entry").file_name().to_string_lossy())).collect()
    };
    let mut left: Vec<String> = names("").into_iter().filter(|name| name.contains("chsnap")).collect();
    match engine.kind() {
        Kind::V18 => {
            let known = engine.query("SELECT name FROM system.tables WHERE database = 'lab'").replace('.', "%2E");
            let known: Vec<&str> = known.lines().collect();
            left.extend(
                names("data/lab").into_iter().filter(|name| !known.contains(&name.rsplit('/').next().expect("a name"))),
            );
        }
        Kind::V26 => {
            let known = engine.query(
                "SELECT toString(uuid) FROM system.tables UNION ALL SELECT toString(uuid) FROM system.dropped_tables \
                 UNION ALL SELECT toString(uuid) FROM system.databases",
            );
            for prefix in names("store") {
                left.extend(
                    names(prefix.trim_start_matches('/'))
                        .into_iter()
                        .filter(|name| !known.contains(name.rsplit('/').next().expect("a name"))),
                );
            }
        }
    }
    left
}

/// Tables whose rows are dumped, or whose files are linked, with the queries that tell whether they are whole.
const DUMPED: [(&str, &str); 3] = [
    ("log", "SELECT count(), sum(k), sum(cityHash64(s)) FROM lab.log"),
    ("tiny", "SELECT count(), sum(k), sum(cityHash64(s)) FROM lab.tiny"),
    ("pairs", "SELECT count(), sum(k), sum(cityHash64(s)) FROM lab.pairs"),
];

fn make_dumped(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    for (table, definition) in [("log", "Log"), ("tiny", "TinyLog"), ("pairs", "Join(ANY, LEFT, k)")] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64, s String) ENGINE = {definition}"));
    }
}

fn load_dumped(engine: &Engine) {
    make_dumped(engine);
    for (table, _) in DUMPED {
        engine.query(&format!("INSERT INTO lab.{table} SELECT number, toString(number) FROM numbers(1000)"));
    }
}

#[apply(both_engines)]
fn killed_anywhere_it_leaves_no_partial_table_and_a_rerun_completes_it(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    let before = answers(&engine);
    let mut kills = 0;
    // Replacing tables that are there, then into nothing.
    for (replaces, arguments) in
        [(true, vec!["restore", "latest", "--yes", "--all", "--replace"]), (false, vec!["restore", "latest", "--yes"])]
    {
        for (call, nths) in [
            ("linkat", vec![1, 30]),
            ("mkdirat", vec![1, 6]),
            ("renameat,renameat2", vec![1, 2, 3, 4]),
            ("fsync,syncfs", vec![1, 2]),
            ("unlinkat", vec![1]),
            // To the server, over HTTP.
            ("sendto,write,writev", vec![20, 30, 36, 38, 40, 42, 44, 46, 50]),
        ] {
            if !are_tried(call) {
                continue;
            }
            // With CHSNAP_FULL at every one of these calls.
            let (nths, mut missed): (Vec<u32>, u32) = if is_full() { ((1..400).collect(), 0) } else { (nths, 0) };
            for nth in nths {
                if missed > 1 {
                    break;
                }
                let changed = if replaces { change(&engine) } else { before.clone() };
                if !replaces {
                    engine.query("DROP DATABASE IF EXISTS lab");
                }
                let when = format!("{call} {nth}, replaces: {replaces}");
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
                let status = chsnap.under(strace, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
                let is_killed = !status.expect("strace runs").success();
                kills += u32::from(is_killed);
                missed = if is_full() && !is_killed { missed + 1 } else { 0 };
                check(&engine, &[&before, &changed], &when);
                let rerun = chsnap.run(&arguments);
                assert_eq!(rerun.code, 0, "{when}\n{}{}", rerun.stdout, rerun.stderr);
                for (query, rows) in QUERIES.iter().zip(&before) {
                    assert_eq!(&engine.query(query), rows, "{when}: {query}");
                }
                assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}");
            }
        }
    }
    assert!(kills > 15 || is_divided(), "{kills} kills hit");
    assert!(tree(&snapshot) == contents);
}

#[apply(both_engines)]
fn killed_on_the_way_through_a_table_with_more_columns_a_rerun_starts_clean(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    engine.query("ALTER TABLE lab.a ADD COLUMN w UInt64 DEFAULT k + 1");
    let all = "SELECT count(), sum(k), sum(w) FROM lab.a";
    let before = engine.query(all);
    let arguments = ["restore", "latest", "--table", "lab.a", "--partition", "1", "--yes"];
    let mut kills = 0;
    let talk: Vec<u32> = (20..60).step_by(3).collect();
    for (call, nths) in [("linkat", vec![1, 6, 10, 14]), ("sendto,write,writev", talk)] {
        for nth in nths {
            engine.query("ALTER TABLE lab.a DROP PARTITION 1");
            let without = engine.query(all);
            let when = format!("{call} {nth}");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
            let status = chsnap.under(strace, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            kills += u32::from(!status.expect("strace runs").success());
            let now = engine.query(all);
            assert!(now == without || now == before, "{when}: {now}");
            let rerun = chsnap.run(&arguments);
            // Done before it was killed, the partition is there: the same, or with parts that have one column more.
            let is_expected = rerun.code == 3 || matches!(rerun.code, 0 | 13) && now == before;
            assert!(is_expected, "{when}\n{}{}", rerun.stdout, rerun.stderr);
            assert_eq!(engine.query(all), before, "{when}");
            if rerun.code == 13 {
                chsnap.expect(3, &[&arguments[..], &["--replace"]].concat());
                assert_eq!(engine.query(all), before, "{when}");
            }
            assert_eq!(engine.query("SELECT count() FROM system.tables WHERE name LIKE 'chsnap%'"), "0", "{when}");
            assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}");
        }
    }
    assert!(kills > 8, "{kills} kills hit");
    assert!(tree(&snapshot) == contents);
}

#[apply(both_engines)]
fn killed_in_the_restore_of_a_dump_it_leaves_no_partial_table_and_a_rerun_completes_it(engine: Engine) {
    load_dumped(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    let rows = |table: &str| engine.try_query(DUMPED.iter().find(|(name, _)| *name == table).expect("known").1);
    let before: Vec<String> = DUMPED.iter().map(|(table, _)| rows(table).expect("rows")).collect();
    let bare = vec!["restore", "latest", "--yes"];
    let replacing = vec!["restore", "latest", "--yes", "--all", "--replace"];
    let mut kills = 0;
    // Into nothing, then in the place of empty tables, then in the place of tables with other rows.
    for (is_empty, has_others, arguments) in [(false, false, &bare), (true, false, &bare), (true, true, &replacing)] {
        for (call, nths) in [
            ("linkat,openat", vec![150, 200]),
            ("mkdirat", vec![1, 3]),
            ("renameat,renameat2", vec![1, 2]),
            ("fsync,syncfs", vec![1, 2]),
            ("sendto,write,writev", (16..64).step_by(4).collect()),
        ] {
            if !are_tried(call) {
                continue;
            }
            let nths: Vec<u32> = if is_full() { (1..250).collect() } else { nths };
            let mut missed = 0;
            for nth in nths {
                if missed > 1 {
                    break;
                }
                engine.query("DROP DATABASE IF EXISTS lab");
                if is_empty {
                    make_dumped(&engine);
                }
                if has_others {
                    for (table, _) in DUMPED {
                        engine.query(&format!("INSERT INTO lab.{table} SELECT number + 5000, 'x' FROM numbers(30)"));
                    }
                }
                let earlier: Vec<Option<String>> = DUMPED.iter().map(|(table, _)| rows(table).ok()).collect();
                let when = format!("{call} {nth}, in the place of empty tables: {is_empty}, of others: {has_others}");
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
                let status = chsnap.under(strace, arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
                let is_killed = !status.expect("strace runs").success();
                kills += u32::from(is_killed);
                missed = if is_full() && !is_killed { missed + 1 } else { 0 };
                // A table that is there has all its rows, or is as it was.
                for (((table, _), whole), earlier) in DUMPED.iter().zip(&before).zip(&earlier) {
                    let now = rows(table).ok();
                    assert!(
                        now.is_none() || now.as_ref() == Some(whole) || now == *earlier,
                        "{when}: {table}: {now:?}"
                    );
                }
                let rerun = chsnap.run(arguments);
                assert_eq!(rerun.code, 0, "{when}\n{}{}", rerun.stdout, rerun.stderr);
                for ((table, _), whole) in DUMPED.iter().zip(&before) {
                    assert_eq!(rows(table).as_ref(), Ok(whole), "{when}: {table}");
                }
                assert_eq!(engine.query("SELECT count() FROM system.tables WHERE name LIKE 'chsnap%'"), "0", "{when}");
                assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}");
            }
        }
    }
    assert!(kills > 15 || is_divided(), "{kills} kills hit");
    assert!(tree(&snapshot) == contents);
}

#[apply(both_engines)]
fn errors_of_the_system_undo_what_was_begun(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let before = answers(&engine);
    for (call, error, nth) in [
        ("linkat", "ENOSPC", 20),
        ("mkdirat", "EIO", 5),
        ("mkdirat", "ENOSPC", 1),
        ("renameat,renameat2", "EIO", 1),
        ("renameat,renameat2", "ENOSPC", 3),
        ("syncfs", "EIO", 1),
    ] {
        engine.query("DROP DATABASE IF EXISTS lab");
        let when = format!("{call} {error} {nth}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:error={error}:when={nth}")]);
        let arguments = ["restore", "latest", "--yes"];
        // One thread: strace counts calls by thread, and a second signal would end it at once.
        let alone = [&arguments[..], &["--jobs", "1"]].concat();
        let output = chsnap.under(strace, &alone).output().expect("strace runs");
        assert_ne!(output.status.code(), Some(0), "{when}");
        check(&engine, &[&before], &when);
        chsnap.json(0, &arguments);
        for (query, rows) in QUERIES.iter().zip(&before) {
            assert_eq!(&engine.query(query), rows, "{when}: {query}");
        }
        assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}");
    }
}
#[apply(both_engines)]
fn a_signal_undoes_what_was_begun(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    let before = answers(&engine);
    for (replaces, call, nth, signal, code) in [
        (false, "linkat", 1, "INT", 130),
        (false, "linkat", 25, "TERM", 143),
        (false, "mkdirat", 4, "INT", 130),
        (false, "linkat", 10, "HUP", 129),
        (true, "linkat", 1, "TERM", 143),
        (true, "linkat", 25, "INT", 130),
    ] {
        let when = format!("{signal} at {call} {nth}, replaces: {replaces}");
        let mut arguments = vec!["restore", "latest", "--yes"];
        let mut changed = before.clone();
        if replaces {
            changed = change(&engine);
            arguments.extend(["--all", "--replace"]);
        } else {
            engine.query("DROP DATABASE IF EXISTS lab");
        }
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal={signal}:when={nth}")]);
        // One thread: strace counts calls by thread, and a second signal would end it at once.
        let alone = [&arguments[..], &["--jobs", "1"]].concat();
        let output = chsnap.under(strace, &alone).output().expect("strace runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{when}\n{said}");
        check(&engine, &[&before, &changed], &when);
        assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}\n{said}");
        if replaces {
            // The tables that were to be replaced are there, and as they were.
            assert_eq!(answers(&engine), changed, "{when}\n{said}");
        }
        chsnap.json(0, &arguments);
        for (query, rows) in QUERIES.iter().zip(&before) {
            assert_eq!(&engine.query(query), rows, "{when}: {query}");
        }
    }
    assert!(tree(&snapshot) == contents);
}

#[test]
fn after_a_restart_a_described_disk_is_cleaned_whatever_the_next_restore_does() {
    let base = tempfile::tempdir().expect("a folder");
    let config =
        format!("<custom_local_disks_base_directory>{}/</custom_local_disks_base_directory>", base.path().display());
    let mut engine = Engine::start_with(Kind::V26, &Options { config, ..Options::default() });
    engine.query("CREATE DATABASE lab");
    let disk = format!("disk = disk(type = 'local', path = '{}/cold/')", base.path().display());
    for name in ["a", "b"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS {disk}"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(9)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let cold = base.path().join("cold");
    let names = |path: &Path| -> Vec<String> {
        let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    };
    let (mut in_staging, mut in_place) = (0, 0);
    for (number, (call, nth)) in [
        ("linkat", 2),
        ("linkat", 12),
        ("mkdirat", 4),
        ("renameat,renameat2", 3),
        ("renameat,renameat2", 4),
        ("renameat,renameat2", 5),
    ]
    .into_iter()
    .enumerate()
    {
        let when = format!("{call} {nth}");
        engine.query("DROP DATABASE lab SYNC");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        let arguments = ["restore", "latest", "--yes"];
        let status = chsnap.under(strace, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(!status.expect("strace runs").success(), "{when}");
        in_staging += u32::from(names(&cold).iter().any(|name| name.starts_with("chsnap")));
        in_place += u32::from(!names(&cold.join("store")).is_empty());
        engine.restart();
        // Every other time nothing opens that disk again.
        let elsewhere: &[&str] = if number % 2 == 0 { &["--storage-policy", "default"] } else { &[] };
        let rerun = chsnap.run(&[&arguments[..], elsewhere].concat());
        assert_eq!(rerun.code, 0, "{when}\n{}{}", rerun.stdout, rerun.stderr);
        for name in ["a", "b"] {
            assert_eq!(engine.query(&format!("SELECT count(), sum(k) FROM lab.{name}")), "9\t36", "{when}");
        }
        assert_eq!(leftovers(&engine), Vec::<String>::new(), "{when}");
        let known = engine.query(
            "SELECT toString(uuid) FROM system.tables UNION ALL SELECT toString(uuid) FROM system.dropped_tables",
        );
        assert!(!names(&cold).iter().any(|name| name.starts_with("chsnap")), "{when}: {:?}", names(&cold));
        for prefix in names(&cold.join("store")) {
            for uuid in names(&cold.join("store").join(prefix)) {
                assert!(known.contains(&uuid), "{when}: {uuid}");
            }
        }
    }
    assert!(in_staging > 2 && in_place > 0, "{in_staging} kills in the staging directory, {in_place} after the move");
}
