//! Lists are complete or refused, other servers are not queried, and tables that cannot be frozen are not frozen.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{BOUND_USER, Engine, Kind, LIMITED_USER, Options, apply, both_engines, rstest};
use crate::support::{path_of, repository, shadows};

/// A profile that cuts the lists of 18.16.
const CUTTING_18: [(&str, &str); 3] =
    [("max_rows_to_read", "3"), ("read_overflow_mode", "break"), ("max_block_size", "2")];

/// Profiles that cut the lists of 26.9, each in another way.
const CUTTING_26: [&[(&str, &str)]; 6] = [
    &[("limit", "2")],
    &[("offset", "1")],
    &[("additional_table_filters", "{'system.tables': 'name != \\'t3\\'', 'system.parts': 'table != \\'t4\\''}")],
    &[("max_result_rows", "3"), ("result_overflow_mode", "break"), ("max_block_size", "2")],
    &[("filter", "1 = 0")],
    &[("use_query_cache", "1")],
];

fn with_profile(kind: Kind, profile: &[(&'static str, &'static str)]) -> (Engine, Chsnap) {
    let engine = Engine::start_with(kind, &Options { profile: profile.to_vec(), ..Options::default() });
    for table in 1..=8 {
        engine.query(&format!("CREATE TABLE default.t{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO default.t{table} VALUES (1)"));
    }
    let chsnap = repository(&engine);
    (engine, chsnap)
}

fn totals(created: &Value) -> (u64, u64) {
    (created["tables"].as_u64().expect("a number"), created["parts"].as_u64().expect("a number"))
}

fn check_whole(engine: &Engine, chsnap: &Chsnap) {
    let as_limited = |arguments: &[&'static str]| [arguments, &["--user", LIMITED_USER]].concat();
    assert_eq!(totals(&chsnap.json(0, &as_limited(&["create"]))), (8, 8));
    engine.query("SYSTEM STOP MERGES");
    engine.query("INSERT INTO default.t5 VALUES (2)");
    // The second one lists again only what has changed.
    assert_eq!(totals(&chsnap.json(0, &as_limited(&["create"]))), (8, 9));
    let compared = chsnap.json(0, &as_limited(&["diff", "latest", "live"]));
    assert_eq!(compared["identical"], true, "{compared}");
    chsnap.json(0, &as_limited(&["restore", "latest", "--rename-db", "default=back", "--yes"]));
    assert_eq!(engine.query("SELECT sum(k) FROM back.t5"), "3");
}

/// A user whose lists are cut, and cannot be had whole, makes no snapshot.
fn check_refused(engine: &Engine, chsnap: &Chsnap, setting: &str) {
    for arguments in [&["create"][..], &["create", "--dry-run"], &["diff", "latest", "live"]] {
        let run = chsnap.expect(1, &[arguments, &["--user", BOUND_USER]].concat());
        for text in ["system.", "may be cut short", setting, "hint: give this user a settings profile without them"] {
            assert!(run.stderr.contains(text), "{text:?} in {}", run.stderr);
        }
    }
    let doctor = chsnap.run(&["doctor", "--user", BOUND_USER]);
    assert_eq!(doctor.code, 1, "{}", doctor.stdout);
    assert!(doctor.stdout.contains(setting) && doctor.stdout.contains("settings profile"), "{}", doctor.stdout);
    assert!(shadows(engine).is_empty());
}

#[test]
fn a_profile_that_cuts_lists_cuts_no_snapshot_of_an_old_server() {
    let (engine, chsnap) = with_profile(Kind::V18, &CUTTING_18);
    let cut = engine.query_as(LIMITED_USER, "", "SELECT name FROM system.tables WHERE database = 'default'");
    assert_eq!(cut.expect("a list").lines().count(), 4, "the profile does what it is to do");
    check_whole(&engine, &chsnap);
    check_refused(&engine, &chsnap, "read_overflow_mode = break, max_rows_to_read = 3");
}

#[test]
fn a_profile_that_cuts_lists_cuts_no_snapshot_of_a_new_server() {
    for profile in CUTTING_26 {
        let (engine, chsnap) = with_profile(Kind::V26, profile);
        let names = "SELECT name FROM system.tables WHERE database = 'default' ORDER BY name";
        let cut = engine.query_as(LIMITED_USER, "", names).unwrap_or_default();
        assert!(cut.lines().count() < 8, "the profile does what it is to do: {cut}");
        check_whole(&engine, &chsnap);
        let (name, _) = profile[0];
        if matches!(name, "offset" | "filter" | "use_query_cache") {
            // Not even what is in force can be learned.
            let run = chsnap.expect(1, &["create", "--user", BOUND_USER]);
            let says = if name == "use_query_cache" { "719" } else { "system.settings was cut short" };
            assert!(run.stderr.contains(says), "{}", run.stderr);
        } else {
            check_refused(&engine, &chsnap, name);
        }
    }
}

#[apply(both_engines)]
fn limits_that_end_a_statement_with_an_error_do_not_stop_create(#[case] kind: Kind) {
    let engine = Engine::start_with(
        kind,
        &Options {
            profile: vec![("max_rows_to_read", "1000000"), ("max_execution_time", "600")],
            ..Options::default()
        },
    );
    engine.query("CREATE TABLE default.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--user", LIMITED_USER]);
    // Nothing would be frozen: that this user may not is no matter.
    chsnap.json(0, &["create", "--dry-run", "--user", BOUND_USER]);
}

/// Listens, says nothing, and counts who comes.
fn silent_listener() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (port, count)
}

#[test]
fn databases_on_other_servers_are_not_asked_for_their_tables() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let (port, connections) = silent_listener();
    for number in 1..=2 {
        engine
            .query(&format!("CREATE DATABASE pg{number} ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 'u', 'secret')"));
    }
    engine.query(&format!("CREATE DATABASE far ENGINE = Remote('127.0.0.1:{port}', 'd')"));
    // The server itself looks for tables that are gone when it has made such a database, and then once in a minute.
    let mut before = usize::MAX;
    while before != connections.load(Ordering::SeqCst) {
        before = connections.load(Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_secs(5));
    }
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--digest"]);
    assert_eq!(totals(&created), (1, 1));
    let snapshot = path_of(&chsnap, &created);
    for (database, engine) in [("pg1", "PostgreSQL"), ("pg2", "PostgreSQL"), ("far", "Remote")] {
        let definition =
            std::fs::read_to_string(snapshot.join(format!("metadata/{database}.sql"))).expect("a definition");
        assert!(definition.contains(&format!("ENGINE = {engine}(")), "{definition}");
    }
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["create", "--table", "lab.*", "--table", "pg1.*"]);
    chsnap.json(0, &["diff", "latest", "live"]);
    assert!(matches!(chsnap.run(&["doctor"]).code, 0 | 3));
    chsnap.json(0, &["drill"]);
    chsnap.json(0, &["restore", "latest", "--table", "lab.t", "--rename", "lab.t=lab.back", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.back"), "10");
    assert_eq!(connections.load(Ordering::SeqCst), before, "another server was asked");
}

fn warnings(answer: &Value) -> Vec<(&str, &str)> {
    let warnings = answer["warning_list"].as_array().expect("warnings").iter();
    warnings
        .map(|warning| (warning["kind"].as_str().expect("a kind"), warning["table"].as_str().unwrap_or("")))
        .collect()
}

#[apply(both_engines)]
fn of_the_system_database_only_merge_tree_tables_are_taken(engine: Engine) {
    engine.query("CREATE TABLE system.my_log (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO system.my_log SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    let plan = chsnap.json(0, &["create", "--dry-run", "--table", "system.*"]);
    let logs = engine.query("SELECT count() FROM system.tables WHERE database = 'system' AND engine LIKE '%MergeTree'");
    assert_eq!(plan["definitions"], 0, "{plan}");
    let created = chsnap.json(0, &["create", "--table", "system.*"]);
    assert_eq!(warnings(&created), []);
    assert_eq!(created["tables"].to_string(), logs);
    let metadata = std::fs::read_dir(path_of(&chsnap, &created).join("metadata/system")).expect("definitions");
    assert_eq!(metadata.count().to_string(), logs);
}

#[apply(both_engines)]
fn a_distributed_table_is_a_definition_while_nothing_waits(#[case] kind: Kind) {
    let engine = Engine::start_with(
        kind,
        &Options {
            config: "<remote_servers><c><shard><replica><host>127.0.0.1</host><port>1</port></replica></shard></c>\
             </remote_servers>"
                .to_owned(),
            ..Options::default()
        },
    );
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE TABLE lab.d (k UInt64) ENGINE = Distributed('c', 'lab', 't', k)");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    assert_eq!(warnings(&created), []);
    assert!(path_of(&chsnap, &created).join("metadata/lab/d.sql").exists());

    if engine.kind() == Kind::V26 {
        engine.query("SYSTEM STOP DISTRIBUTED SENDS lab.d");
    }
    let insert = "INSERT INTO lab.d SELECT number FROM numbers(100)";
    engine.query_with(insert, &[("insert_distributed_sync", "0")]).expect("it is queued");
    if engine.kind() == Kind::V18 {
        // It does not list what waits.
        assert_eq!(warnings(&chsnap.json(0, &["create"])), []);
        return;
    }
    let created = chsnap.json(3, &["create"]);
    assert_eq!(warnings(&created), [("distributed_pending", "lab.d")]);
    let message = created["warning_list"][0]["message"].as_str().expect("a sentence");
    assert!(message.contains("1 file (") && message.contains("--accept"), "{message}");
    assert_eq!(warnings(&chsnap.json(0, &["create", "--accept", "lab.d"])), []);
    assert!(path_of(&chsnap, &created).join("metadata/lab/d.sql").exists());
}

/// What refuses `FREEZE` is announced by everything that looks ahead, and is no error.
fn check_left_behind(chsnap: &Chsnap, table: &str, says: &str) {
    let plan = chsnap.json(3, &["create", "--dry-run"]);
    assert_eq!(warnings(&plan), [("data_left_behind", table)]);
    let doctor = chsnap.run(&["doctor"]);
    assert!(doctor.stdout.contains(says), "{}", doctor.stdout);
    let created = chsnap.json(3, &["create"]);
    assert_eq!(warnings(&created), [("data_left_behind", table)]);
    assert!(created["warning_list"][0]["message"].as_str().expect("a sentence").contains(says), "{created}");
    assert_eq!(totals(&created).1, 1);
    let definition = path_of(chsnap, &created).join(format!("metadata/{}.sql", table.replace('.', "/")));
    assert!(definition.exists(), "{}", definition.display());
    assert_eq!(warnings(&chsnap.json(0, &["create", "--accept", table])), []);
}

#[test]
fn tables_with_a_unique_key_are_definitions_with_a_warning() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let unique = "CREATE TABLE lab.u (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k UNIQUE KEY k";
    engine.query_with(unique, &[("enable_unique_key", "1")]).expect("made");
    engine.query("INSERT INTO lab.u SELECT number, 1 FROM numbers(10)");
    let refused = engine.try_query("ALTER TABLE lab.u FREEZE WITH NAME 'x'").expect_err("it cannot be frozen");
    assert!(refused.contains("344"), "{refused}");
    check_left_behind(&repository(&engine), "lab.u", "it has a UNIQUE KEY");
}

#[test]
fn tables_of_a_backup_database_are_definitions_with_a_warning() {
    let config = "<backups><allowed_path>/</allowed_path></backups>".to_owned();
    let engine = Engine::start_with(Kind::V26, &Options { config, ..Options::default() });
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let file = format!("File('{}/backup')", engine.root().display());
    engine.query(&format!("BACKUP DATABASE lab TO {file}"));
    engine.query(&format!("CREATE DATABASE old ENGINE = Backup('lab', {file})"));
    assert_eq!(engine.query("SELECT count() FROM old.t"), "10");
    let refused = engine.try_query("ALTER TABLE old.t FREEZE WITH NAME 'x'").expect_err("it cannot be frozen");
    assert!(refused.contains("774"), "{refused}");
    check_left_behind(&repository(&engine), "old.t", "its database shows a backup");
}

/// The engine looks for tables that are gone there as soon as it has made such a database. Until that server answers, it
/// locks the database, and whatever prints the database's arguments or lists its tables waits. A command that waits here
/// does not end.
#[test]
fn no_command_waits_for_a_database_that_is_locked_because_its_server_is_silent() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    for table in ["t", "gone"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number FROM numbers(10)"));
    }
    engine.query("DETACH TABLE lab.gone PERMANENTLY");
    let (port, connections) = silent_listener();
    let database = format!("CREATE DATABASE pg ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 'u', 'secret')");
    engine.query_with(&database, &[("postgresql_connection_attempt_timeout", "3600")]).expect("made");
    while connections.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let chsnap = repository(&engine);
    let commands = [
        &["create", "--dry-run"][..],
        &["create", "--accept", "lab.*"],
        &["diff", "latest", "live"],
        &["doctor"],
        &["drill"],
        &["restore", "latest", "--table", "lab.t", "--rename", "lab.t=lab.back", "--yes"],
        &["restore", "latest", "--dry-run"],
    ];
    for command in commands {
        let run = chsnap.run(command);
        assert!(matches!(run.code, 0 | 3), "{command:?}: {}", run.stderr);
    }
    assert_eq!(engine.query("SELECT count() FROM lab.back"), "10");
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the engine still waits for the first answer");
}
