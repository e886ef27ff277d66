//! `create --one-moment`: all tables at one moment, with concurrent writes, merges, ALTERs and drops.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::between::run_with;
use crate::chsnap_command::{Chsnap, Run};
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{
    StopAtEnd, active_parts, asynchronous, await_mutations, path_of, repository, restore_by_hand, shadows,
};

const CREATE: [&str; 5] = ["--json", "--progress", "none", "create", "--one-moment"];

/// A table whose old parts stay for this number of seconds.
fn make(engine: &Engine, table: &str, lifetime: u32) {
    engine.query(&format!(
        "CREATE TABLE default.{table} (p UInt8, n UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY n \
         SETTINGS index_granularity = 8192, old_parts_lifetime = {lifetime}"
    ));
}

fn insert(engine: &Engine, table: &str, number: u64) {
    engine.query(&format!("INSERT INTO default.{table} SELECT 1, {number}"));
}

/// Runs `create --one-moment` while `act` happens between the list and the freezes.
fn create_with(engine: &Engine, chsnap: &Chsnap, more: &[&str], code: i32, act: impl FnOnce() + Send) -> Value {
    let run = run_with(engine, chsnap, &[&CREATE[..], more].concat(), act);
    document(&run, code)
}

fn document(run: &Run, code: i32) -> Value {
    assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
    serde_json::from_str(&run.stdout).expect("a document")
}

/// The directory of a table in a snapshot.
fn place(chsnap: &Chsnap, created: &Value, table: &str) -> PathBuf {
    path_of(chsnap, created).join("data/default").join(table)
}

/// The parts of a table in a snapshot.
fn parts(chsnap: &Chsnap, created: &Value, table: &str) -> BTreeSet<String> {
    let names = fs::read_dir(place(chsnap, created, table)).expect("a table");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| Path::new(name).extension().is_none_or(|end| end != "txt")).collect()
}

/// The active parts of a table, each with its directory.
fn active(engine: &Engine, table: &str) -> BTreeMap<String, PathBuf> {
    let all = active_parts(engine, "default").into_iter();
    all.filter(|(own, ..)| own == table).map(|(_, name, path)| (name, path)).collect()
}

fn inodes(directory: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let row = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), entry.metadata().expect("a file").ino())
    };
    entries.map(|entry| row(entry.expect("an entry"))).collect()
}

/// Of which kinds the warnings of an answer are, each with its table.
fn kinds(created: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = created["warning_list"].as_array().cloned().unwrap_or_default();
    list.iter().map(|warning| (text(&warning["kind"]), text(&warning["table"]))).collect()
}

/// Why a table of the newest snapshot is not of its moment.
fn off_moment(chsnap: &Chsnap, table: &str) -> Option<String> {
    let shown = chsnap.json(0, &["show", "latest"]);
    let list = shown["table_list"].as_array().expect("tables").clone();
    let entry = list.into_iter().find(|entry| entry["table"] == table).expect("the table");
    entry["off_moment"]["kind"].as_str().map(str::to_owned)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// When the writer has asked for an insert into one of its tables, and when it was answered.
#[derive(Clone, Copy)]
struct Written {
    table: usize,
    step: u64,
    asked: DateTime<Utc>,
    answered: DateTime<Utc>,
}

const WRITTEN: [&str; 3] = ["a", "b", "c"];

/// Takes snapshots while a writer inserts one row a step into `a`, then `b`, then `c`. The writer calls `pause` after each
/// step. The answers are given with everything that was written.
fn while_written(
    engine: &Engine,
    chsnap: &Chsnap,
    snapshots: usize,
    pause: impl Fn(u64) + Sync,
) -> (Vec<Value>, Vec<Written>) {
    let (stop, written) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1.. {
                for (table, name) in WRITTEN.iter().enumerate() {
                    let asked = Utc::now();
                    insert(engine, name, step);
                    written.lock().expect("no panic").push(Written { table, step, asked, answered: Utc::now() });
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                pause(step);
            }
        });
        let _stop = StopAtEnd(&stop);
        wait_until("the writer begins", || written.lock().expect("no panic").len() > 9);
        (0..snapshots).map(|_| document(&chsnap.run(&CREATE), 0)).collect()
    });
    (answers, written.into_inner().expect("no panic"))
}

/// How many steps of the writer are in a table of a snapshot. Each insert has the next block number: the parts must have
/// them all up to one, and each once.
fn steps(chsnap: &Chsnap, created: &Value, table: &str) -> u64 {
    let range = |name: &String| -> (u64, u64) {
        let mut numbers = name.split('_').skip(1).map(|number| number.parse().expect("a number"));
        (numbers.next().expect("a block"), numbers.next().expect("a block"))
    };
    let mut ranges: Vec<(u64, u64)> = parts(chsnap, created, table).iter().map(range).collect();
    ranges.sort_unstable();
    let mut next = 1;
    for (first, last) in &ranges {
        assert_eq!(*first, next, "{table} has other parts than of one moment: {ranges:?}");
        next = last + 1;
    }
    next - 1
}

/// Whether a snapshot is what it says that it is.
fn check(chsnap: &Chsnap, created: &Value, written: &[Written]) -> bool {
    let time =
        |name: &str| -> DateTime<Utc> { created["moment"][name].as_str().expect("a time").parse().expect("a time") };
    let (from, to) = (time("from"), time("to"));
    let is_exact = created["moment"]["exact"].as_bool().expect("a word");
    let steps: Vec<u64> = WRITTEN.iter().map(|table| steps(chsnap, created, table)).collect();
    let context = format!("{steps:?} {}", created["moment"]);
    for Written { table, step, asked, answered } in written {
        let is_there = *step <= steps[*table];
        // An exact state is that of every instant of this time.
        let (last, first) = if is_exact { (to, from) } else { (from, to) };
        assert!(is_there || *answered > last, "step {step} of table {table} was there before: {context}");
        assert!(!is_there || *asked < first, "step {step} of table {table} came afterwards: {context}");
    }
    if is_exact {
        // What the writer keeps: no later table is ahead, and no earlier one by more than a step.
        assert!(steps.is_sorted_by(|a, b| a >= b) && steps[0] - steps[2] <= 1, "{context}");
    }
    is_exact
}

fn snapshots(few: usize, many: usize) -> usize {
    if std::env::var_os("CHSNAP_FULL").is_some() { many } else { few }
}

/// What a restore gives of a snapshot is what its parts say.
fn check_rows(chsnap: &Chsnap, created: &Value, kind: Kind) {
    let restored = restore_by_hand(chsnap, &path_of(chsnap, created), kind);
    for table in WRITTEN {
        let steps = steps(chsnap, created, table);
        let rows = restored.query(&format!("SELECT count(), uniqExact(n), max(n) FROM default.{table}"));
        assert_eq!(rows, format!("{steps}\t{steps}\t{steps}"), "{table}");
    }
}

#[apply(both_engines)]
fn a_writer_that_never_pauses_shows_only_within_the_time_of_the_list(engine: Engine) {
    for table in &WRITTEN {
        make(&engine, table, 60);
    }
    let chsnap = repository(&engine);
    let (answers, written) = while_written(&engine, &chsnap, snapshots(8, 150), |step| {
        std::thread::sleep(Duration::from_millis(2));
        if step % 40 == 0 {
            let table = usize::try_from(step / 40).expect("few steps") % 3;
            engine.query(&format!("OPTIMIZE TABLE default.{}", WRITTEN[table]));
        }
    });
    let exact = answers.iter().filter(|answer| check(&chsnap, answer, &written)).count();
    eprintln!("{exact} of {} snapshots are exact", answers.len());
    check_rows(&chsnap, answers.last().expect("a snapshot"), engine.kind());
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn a_writer_that_pauses_gives_exact_snapshots(engine: Engine) {
    for table in &WRITTEN {
        make(&engine, table, 60);
    }
    let chsnap = repository(&engine);
    let (answers, written) = while_written(&engine, &chsnap, snapshots(10, 120), |step| {
        // Longer than three lists take on a busy machine.
        if step % 3 == 0 {
            std::thread::sleep(Duration::from_millis(1500));
        }
    });
    // On a machine so busy that three rows take longer than the lists are tried, one of them may miss the pause.
    let exact = answers.iter().filter(|answer| check(&chsnap, answer, &written)).count();
    assert!(exact * 10 >= answers.len() * 7, "only {exact} of {} are exact", answers.len());
    check_rows(&chsnap, answers.last().expect("a snapshot"), engine.kind());
}

#[apply(both_engines)]
fn parts_that_a_merge_replaces_after_the_list_are_linked_from_their_live_directories(engine: Engine) {
    for table in ["a", "b"] {
        make(&engine, table, 480);
        (1..=2).for_each(|number| insert(&engine, table, number));
    }
    let chsnap = repository(&engine);
    let listed = active(&engine, "a");
    let created = create_with(&engine, &chsnap, &[], 0, || {
        insert(&engine, "a", 3);
        engine.query("OPTIMIZE TABLE default.a PARTITION 1 FINAL");
        engine.query("INSERT INTO default.a SELECT 2, 4");
        insert(&engine, "b", 3);
    });
    assert_eq!(created["moment"]["exact"], true, "{created}");
    let names = BTreeSet::from(["1_1_1_0".to_owned(), "1_2_2_0".to_owned()]);
    assert!(!active(&engine, "a").keys().any(|name| names.contains(name)), "they were merged");
    for table in ["a", "b"] {
        assert_eq!(parts(&chsnap, &created, table), names, "{table}");
    }
    for (name, path) in &listed {
        let (mut live, taken) = (inodes(path), inodes(&place(&chsnap, &created, "a").join(name)));
        live.remove("txn_version.txt");
        assert_eq!(taken, live, "{name} is the part that was listed");
    }
    assert!(created["placed"]["linked"]["parts"].as_u64() >= Some(2), "{created}");
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), engine.kind());
    for table in ["a", "b"] {
        assert_eq!(restored.query(&format!("SELECT count(), sum(n) FROM default.{table}")), "2\t3");
    }
    chsnap.expect(0, &["verify", "--level", "data"]);
    assert!(chsnap.expect(0, &["show"]).stdout.contains("moment    exact, at "));
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn parts_that_are_removed_too_soon_are_named_and_their_table_taken_otherwise(engine: Engine) {
    make(&engine, "brief", 0);
    make(&engine, "kept", 480);
    for table in ["brief", "kept"] {
        (1..=2).for_each(|number| insert(&engine, table, number));
    }
    let chsnap = repository(&engine);
    let created = create_with(&engine, &chsnap, &[], 3, || {
        let old = active(&engine, "brief");
        for table in ["brief", "kept"] {
            insert(&engine, table, 3);
            engine.query(&format!("OPTIMIZE TABLE default.{table} PARTITION 1 FINAL"));
        }
        wait_until("the server removes old parts", || !old.values().any(|path| path.exists()));
    });
    assert_eq!(kinds(&created), [("off_moment".to_owned(), "default.brief".to_owned())], "{created}");
    assert!(
        created["warnings"][0].as_str().is_some_and(|text| text.contains("old_parts_lifetime is 0 s")),
        "{created}"
    );
    assert_eq!(off_moment(&chsnap, "brief").as_deref(), Some("part_gone"));
    assert_eq!(off_moment(&chsnap, "kept"), None);
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), engine.kind());
    assert_eq!(restored.query("SELECT count() FROM default.brief"), "3", "as without the option");
    assert_eq!(restored.query("SELECT count() FROM default.kept"), "2");
    let text = chsnap.expect(0, &["show"]).stdout;
    assert!(text.contains("but for 1 table") && text.contains("not of the moment: the server removed"), "{text}");
}

#[apply(both_engines)]
fn a_table_that_is_altered_or_dropped_after_the_list_is_named(engine: Engine) {
    for table in ["altered", "dropped", "again", "same"] {
        make(&engine, table, 480);
        insert(&engine, table, 1);
    }
    let chsnap = repository(&engine);
    let created = create_with(&engine, &chsnap, &[], 3, || {
        insert(&engine, "same", 2);
        engine.query("ALTER TABLE default.altered ADD COLUMN more UInt64 DEFAULT 7");
        insert_more(&engine);
        engine.query("DROP TABLE default.dropped");
        engine.query("DROP TABLE default.again");
        make(&engine, "again", 480);
        // Its part has the name that the listed one had.
        insert(&engine, "again", 9);
    });
    let named: BTreeSet<(String, String)> = kinds(&created).into_iter().collect();
    let off = |table: &str| ("off_moment".to_owned(), format!("default.{table}"));
    let expected = [off("again"), off("altered"), ("table_skipped".to_owned(), "default.dropped".to_owned())];
    assert_eq!(named, BTreeSet::from(expected), "{created}");
    assert_eq!(off_moment(&chsnap, "altered").as_deref(), Some("definition_changed"));
    let again = if engine.kind() == Kind::V18 { "replaced" } else { "renamed" };
    assert_eq!(off_moment(&chsnap, "again").as_deref(), Some(again));
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), engine.kind());
    assert_eq!(restored.query("SELECT count(), sum(more) FROM default.altered"), "2\t12");
    assert_eq!(restored.query("SELECT n FROM default.again"), "9");
    assert_eq!(restored.query("SELECT n FROM default.same"), "1");
}

#[apply(both_engines)]
fn mutations_after_the_list_do_not_show_and_those_before_it_are_carried(engine: Engine) {
    for table in ["later", "begun"] {
        make(&engine, table, 480);
        insert(&engine, table, 1);
    }
    let update = |table: &str| {
        // Both columns are of a key, and cannot be updated.
        let delete = format!("ALTER TABLE default.{table} DELETE WHERE n = 1");
        engine.query_with(&delete, asynchronous(&engine)).expect("queued");
    };
    engine.query("SYSTEM STOP MERGES default.begun");
    update("begun");
    let chsnap = repository(&engine);
    let created = create_with(&engine, &chsnap, &[], 0, || {
        update("later");
        engine.query("SYSTEM START MERGES default.begun");
        await_mutations(&engine);
    });
    let carried = |table: &str| {
        let names = inodes(&place(&chsnap, &created, table)).into_keys();
        names.filter(|name| name.starts_with("mutation_")).count()
    };
    assert_eq!((carried("later"), carried("begun")), (0, 1), "{created}");
    for table in ["later", "begun"] {
        assert_eq!(parts(&chsnap, &created, table), BTreeSet::from(["1_1_1_0".to_owned()]), "{table}");
    }
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), engine.kind());
    await_mutations(&restored);
    assert_eq!(restored.query("SELECT count() FROM default.later"), "1");
    assert_eq!(restored.query("SELECT count() FROM default.begun"), "0");
}

#[apply(both_engines)]
fn listed_parts_are_linked_from_the_last_snapshot_and_others_are_not_kept(engine: Engine) {
    make(&engine, "a", 480);
    for partition in 1..=4 {
        for number in 1..=2 {
            engine.query(&format!("INSERT INTO default.a SELECT {partition}, {number}"));
        }
    }
    engine.query("CREATE TABLE default.noted (n UInt64) ENGINE = Log");
    engine.query("INSERT INTO default.noted SELECT 1");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO default.a SELECT 3, 3");
    for more in [&[][..], &["--freeze", "all"], &["--place", "copy"], &["--place", "link"], &["--partition", "2"]] {
        engine.query("SYSTEM STOP MERGES default.a");
        // One that is under way may still end.
        std::thread::sleep(Duration::from_millis(300));
        let is_wanted = |name: &String| more != ["--partition", "2"] || name.starts_with("2_");
        let listed: BTreeSet<String> = active(&engine, "a").into_keys().filter(is_wanted).collect();
        engine.query("INSERT INTO default.noted SELECT 1");
        let created = create_with(&engine, &chsnap, more, 0, || {
            engine.query("SYSTEM START MERGES default.a");
            for partition in 2..=5 {
                engine.query(&format!("INSERT INTO default.a SELECT {partition}, 4"));
            }
            engine.query("OPTIMIZE TABLE default.a PARTITION 2 FINAL");
            engine.query("OPTIMIZE TABLE default.a PARTITION 3 FINAL");
        });
        assert_eq!(created["moment"]["exact"], true, "{more:?} {created}");
        assert_eq!(parts(&chsnap, &created, "a"), listed, "{more:?}");
        assert_eq!(off_moment(&chsnap, "noted").as_deref(), Some("dumped"), "{more:?}");
        chsnap.expect(0, &["verify", "latest", "--level", "data"]);
    }
    let list = chsnap.json(0, &["list"]);
    let moments = list["snapshots"].as_array().expect("snapshots").iter();
    let moments: Vec<bool> = moments.map(|snapshot| snapshot["moment"]["exact"] == true).collect();
    assert_eq!(moments, [false, true, true, true, true, true]);
}

#[apply(both_engines)]
fn the_moment_is_reported_and_can_be_configured(engine: Engine) {
    make(&engine, "a", 480);
    insert(&engine, "a", 1);
    let chsnap = repository(&engine);
    let text = chsnap.expect(0, &["create", "--one-moment", "--dry-run"]).stdout;
    assert!(text.ends_with("one moment: exact, had it been taken now\n"), "{text}");
    let planned = chsnap.json(0, &["create", "--one-moment", "--dry-run"]);
    assert_eq!(planned["moment"]["exact"], true, "{planned}");
    let config = engine.root().join("chsnap.toml");
    fs::write(&config, "[create]\none_moment = true\n").expect("written");
    let config = config.to_str().expect("a path");
    let text = chsnap.expect(0, &["--config", config, "create"]).stdout;
    assert!(text.contains("\n  one moment: exact\n"), "{text}");
    chsnap.expect(0, &["--config", config, "run"]);
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["moment"]["exact"], true, "{shown}");
    let text = chsnap.expect(0, &["create"]).stdout;
    assert!(!text.contains("one moment"), "{text}");
    assert!(chsnap.json(0, &["show", "latest"])["moment"].is_null());
}

fn insert_more(engine: &Engine) {
    engine.query("INSERT INTO default.altered (p, n, more) SELECT 1, 2, 5");
}

/// 18.16 has no UUIDs, and the two have the same definition: their directories tell them apart.
#[test]
fn tables_that_change_places_after_the_list_are_not_mixed_up() {
    let engine = Engine::start(Kind::V18);
    for (table, number) in [("x", 1), ("y", 2)] {
        make(&engine, table, 480);
        insert(&engine, table, number);
    }
    let chsnap = repository(&engine);
    let created = create_with(&engine, &chsnap, &[], 3, || {
        engine.query("RENAME TABLE default.x TO default.z, default.y TO default.x, default.z TO default.y");
    });
    let off = |table: &str| ("off_moment".to_owned(), format!("default.{table}"));
    assert_eq!(kinds(&created), [off("x"), off("y")], "{created}");
    assert_eq!(off_moment(&chsnap, "x").as_deref(), Some("replaced"));
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V18);
    assert_eq!(restored.query("SELECT n FROM default.x"), "2");
    assert_eq!(restored.query("SELECT n FROM default.y"), "1");
}

#[test]
fn patches_of_the_moment_are_kept_and_later_ones_are_not() {
    let engine = Engine::start(Kind::V26);
    engine.query(
        "CREATE TABLE default.u (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id \
         SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, old_parts_lifetime = 480",
    );
    engine.query("INSERT INTO default.u SELECT number, 0 FROM numbers(100)");
    engine.query("UPDATE default.u SET v = 5 WHERE id < 10");
    let chsnap = repository(&engine);
    let listed: BTreeSet<String> = active(&engine, "u").into_keys().collect();
    let applied = [("mutations_sync", "2")];
    let created = create_with(&engine, &chsnap, &[], 0, || {
        engine.query("UPDATE default.u SET v = 7 WHERE id < 50");
        engine.query_with("ALTER TABLE default.u APPLY PATCHES", &applied).expect("applied");
        engine.query("UPDATE default.u SET v = 9 WHERE id > 90");
    });
    assert_eq!(parts(&chsnap, &created, "u"), listed);
    assert_eq!(listed.iter().filter(|name| name.starts_with("patch-")).count(), 1, "{listed:?}");
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V26);
    assert_eq!(restored.query("SELECT sum(v), count() FROM default.u"), "50\t100");
}

/// What a merge replaces is linked with its live archive, which nothing writes again.
#[test]
fn packed_parts_of_the_moment_are_linked_with_their_live_archives() {
    let engine = Engine::start(Kind::V26);
    engine.query(
        "CREATE TABLE default.packed (k UInt64, s String) ENGINE = MergeTree ORDER BY k \
         SETTINGS min_rows_for_full_part_storage = 500, min_bytes_for_wide_part = 0, old_parts_lifetime = 480",
    );
    for rows in [100, 200] {
        engine.query(&format!("INSERT INTO default.packed SELECT number, toString(number) FROM numbers({rows})"));
    }
    let chsnap = repository(&engine);
    let listed = active(&engine, "packed");
    let sums = "SELECT count(), sum(k), sum(cityHash64(s)) FROM default.packed";
    let rows = engine.query(sums);
    let created = create_with(&engine, &chsnap, &[], 0, || {
        engine.query("OPTIMIZE TABLE default.packed FINAL");
        engine.query("INSERT INTO default.packed SELECT number, 'later' FROM numbers(700)");
    });
    assert_eq!(created["moment"]["exact"], true, "{created}");
    assert_eq!(parts(&chsnap, &created, "packed"), listed.keys().cloned().collect());
    for (name, path) in &listed {
        let (mut live, taken) = (inodes(path), inodes(&place(&chsnap, &created, "packed").join(name)));
        assert!(live.contains_key("data.packed"), "{live:?}");
        live.remove("txn_version.txt");
        assert_eq!(taken, live, "{name} is the part that was listed");
    }
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V26);
    assert_eq!(restored.query(sums), rows);
    chsnap.expect(0, &["verify", "--level", "data"]);
}

/// Parts that merge on one disk, and parts that move to another one, after they were listed.
#[test]
fn a_tiered_table_is_as_it_was_at_the_moment_wherever_its_parts_go() {
    let tiers = "<tiers><volumes><hot><disk>default</disk></hot><cold><disk>disk1</disk></cold></volumes></tiers>";
    let options = Options { extra_disks: 1, policies: tiers.to_owned(), ..Options::default() };
    let engine = Engine::start_with(Kind::V26, &options);
    engine.query(
        "CREATE TABLE default.tiered (p UInt8, n UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY n \
         SETTINGS storage_policy = 'tiers', old_parts_lifetime = 480",
    );
    for (partition, number) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        engine.query(&format!("INSERT INTO default.tiered SELECT {partition}, {number}"));
    }
    engine.query("ALTER TABLE default.tiered MOVE PARTITION 2 TO DISK 'disk1'");
    let chsnap = repository(&engine);
    let listed: BTreeSet<String> = active(&engine, "tiered").into_keys().collect();
    let created = create_with(&engine, &chsnap, &[], 0, || {
        engine.query("INSERT INTO default.tiered SELECT 1, 5");
        engine.query("OPTIMIZE TABLE default.tiered PARTITION 1 FINAL");
        engine.query("ALTER TABLE default.tiered MOVE PARTITION 2 TO DISK 'default'");
        engine.query("OPTIMIZE TABLE default.tiered PARTITION 2 FINAL");
    });
    assert_eq!(created["moment"]["exact"], true, "{created}");
    assert_eq!(parts(&chsnap, &created, "tiered"), listed);
    chsnap.json(0, &["restore", "latest", "--rename", "default.tiered=default.back", "--yes"]);
    assert_eq!(engine.query("SELECT count(), sum(n) FROM default.back"), "4\t10");
    assert!(shadows(&engine).is_empty());
}
