//! Refusals: each names its remedy, and nothing is changed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, READONLY_USER, SECRET_PASSWORD, SECRET_USER, apply, both_engines, rstest};
use crate::support::{active_parts, load, repository, shadows};
use crate::tree::tree;

#[track_caller]
fn refused(chsnap: &Chsnap, code: i32, arguments: &[&str], says: &str) {
    let snapshots = tree(&chsnap.repo().join("snapshots"));
    let run = chsnap.expect(code, arguments);
    assert!(run.stderr.contains(says), "{says:?} in {}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert_eq!(tree(&chsnap.repo().join("snapshots")), snapshots);
    let incoming = tree(&chsnap.repo().join("incoming"));
    assert!(incoming.is_empty(), "{:?}", incoming.keys());
    assert!(tree(&chsnap.repo().join("trash")).is_empty());
}

#[apply(both_engines)]
fn wrong_users_and_wrong_addresses_have_different_messages(#[case] kind: Kind) {
    let engine = Engine::start_with(kind, &Options { users: true, ..Options::default() });
    load(&engine);
    let chsnap = repository(&engine);
    refused(&chsnap.clone().url("http://127.0.0.1:1"), 1, &["create"], "cannot reach ClickHouse");
    refused(&chsnap.clone().url("ftp://x"), 2, &["create"], "is not an http");
    refused(&chsnap, 1, &["create", "--user", SECRET_USER], "does not accept user");
    refused(
        &chsnap.clone().env("CHSNAP_PASSWORD", "wrong"),
        1,
        &["create", "--user", SECRET_USER],
        "does not accept user",
    );
    refused(&chsnap, 1, &["create", "--user", "nobody-here"], "does not accept user");
    refused(&chsnap, 1, &["create", "--user", READONLY_USER], "");
    assert!(shadows(&engine).is_empty());
    // A dry run only reads.
    // A plan needs no more than to read, and says that create would be refused.
    let planned = chsnap.json(3, &["create", "--dry-run", "--user", READONLY_USER]);
    assert_eq!(planned["warning_list"][0]["kind"], "freeze_not_granted", "{planned}");

    chsnap.clone().env("CHSNAP_PASSWORD", SECRET_PASSWORD).json(0, &["create", "--user", SECRET_USER]);
    let file = engine.root().join("password");
    fs::write(&file, format!("{SECRET_PASSWORD}\n")).expect("written");
    let file = file.to_string_lossy();
    chsnap.json(0, &["create", "--user", SECRET_USER, "--password-file", &file]);
    let manifest = fs::read_to_string(chsnap.repo().join("latest/manifest.json")).expect("a manifest");
    assert!(!manifest.contains(SECRET_PASSWORD));
    let run = chsnap.expect(1, &["create", "--password-file", "/nowhere/at/all"]);
    assert!(run.stderr.contains("/nowhere/at/all"));
}

#[test]
fn an_answer_that_is_not_clickhouses_is_reported() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream;
            let mut buffer = [0; 4096];
            let _length = stream.read(&mut buffer);
            let _written =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nnginx");
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(&url);
    chsnap.expect(0, &["init"]);
    refused(&chsnap, 1, &["create"], "is not ClickHouse");
}

#[test]
fn a_server_that_does_not_answer_meets_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(&url);
    chsnap.expect(0, &["init"]);
    refused(&chsnap, 1, &["create", "--query-timeout", "1s"], "did not answer");
    drop(listener);
}

#[apply(both_engines)]
fn a_repository_where_clickhouse_deletes_is_refused(engine: Engine) {
    load(&engine);
    engine.query("ALTER TABLE lab.plain FREEZE WITH NAME 'foreign'");
    for place in ["shadow/repo", "shadow/foreign/repo", "data/repo", "metadata/repo"] {
        let repo = engine.data_path().join(place);
        let chsnap = Chsnap::new(&repo).url(&engine.url());
        let run = chsnap.expect(13, &["init"]);
        assert!(run.stderr.contains("ClickHouse itself") && run.stderr.contains("hint:"), "{}", run.stderr);
        assert!(!repo.exists());
    }
    // Made elsewhere and moved there.
    let chsnap = repository(&engine);
    let moved = engine.data_path().join("shadow/moved");
    fs::rename(chsnap.repo(), &moved).expect("moved");
    refused(&Chsnap::new(&moved).url(&engine.url()), 13, &["create"], "ClickHouse itself");
    assert!(engine.data_path().join("shadow/foreign").is_dir(), "shadows of others stay");
}

#[apply(both_engines)]
fn paths_that_are_not_visible_here_are_named(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    // As seen from a container that does not have the server's volume, or has another one in its place.
    let run = chsnap.in_namespace("mount -t tmpfs none \"$DATA\"", engine.data_path(), &["create"]);
    let Some(run) = run else {
        eprintln!("SKIPPED: mount namespaces need root");
        return;
    };
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains(&*engine.data_path().to_string_lossy()), "{}", run.stderr);
    assert!(run.stderr.contains("hint: run chsnap on the server's own host"), "{}", run.stderr);
    assert!(shadows(&engine).is_empty());
    chsnap.json(0, &["create"]);
}

#[apply(both_engines)]
fn another_filesystem_is_refused_with_a_hint_where_it_may_not_be_copied_to(engine: Engine) {
    load(&engine);
    let elsewhere = Path::new("/dev/shm");
    if fs::metadata(elsewhere).is_err() {
        eprintln!("SKIPPED: this machine has no /dev/shm to be another filesystem");
        return;
    }
    let folder = tempfile::tempdir_in(elsewhere).expect("a folder");
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(&engine.url());
    chsnap.expect(0, &["init"]);
    for mode in ["rename", "link"] {
        let first = |more: &[&str]| {
            let run = chsnap.expect(1, &[&["create", "--place", mode], more].concat());
            assert!(run.stderr.contains("cross-device link"), "{}", run.stderr);
            run.stderr.lines().next().expect("a line").to_owned()
        };
        refused(&chsnap, 1, &["create", "--place", mode], "not on one filesystem");
        assert_eq!(first(&["--dry-run"]), first(&[]), "{mode}");
    }
    assert!(shadows(&engine).is_empty(), "nothing was frozen");
}

#[apply(both_engines)]
fn too_little_space_or_another_server_is_a_guard(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    refused(&chsnap, 13, &["create", "--min-free", "900PiB"], "iB free: less than the 900 PiB of --min-free");
    let answer = chsnap.json(13, &["create", "--min-free", "900PiB"]);
    assert_eq!(answer["state"], "refused");
    chsnap.expect(2, &["create", "--min-free", "many"]);
    chsnap.json(0, &["create", "--min-free", "1MiB"]);
    let other = Engine::start(engine.kind());
    other.query("CREATE TABLE default.t (x UInt8) ENGINE = MergeTree ORDER BY x");
    other.query("INSERT INTO default.t VALUES (1)");
    let there = chsnap.clone().url(&other.url());
    let run = there.expect(13, &["create"]);
    assert!(run.stderr.contains("belongs to the server"), "{}", run.stderr);
    assert!(shadows(&other).is_empty());
    there.json(0, &["create", "--allow-other-server"]);
}

#[apply(both_engines)]
fn data_that_cannot_be_frozen_is_a_warning_unless_accepted(engine: Engine) {
    engine.query("CREATE TABLE default.t (x UInt8) ENGINE = MergeTree ORDER BY x");
    engine.query("INSERT INTO default.t VALUES (1)");
    engine.query("CREATE VIEW default.v AS SELECT 1");
    engine.query("CREATE TABLE default.n (x UInt8) ENGINE = Null");
    engine.query("CREATE TABLE default.me (x UInt8) ENGINE = Memory");
    let chsnap = repository(&engine);
    assert_eq!(chsnap.json(0, &["create"])["warnings"].as_array().map(Vec::len), Some(0));
    for engine_name in ["Log", "TinyLog", "StripeLog", "Memory"] {
        engine.query(&format!("CREATE TABLE default.other (x UInt8) ENGINE = {engine_name}"));
        engine.query("INSERT INTO default.other VALUES (1)");
        let created = chsnap.json(3, &["create", "--dump-limit", "0"]);
        assert!(created["warnings"][0].as_str().is_some_and(|text| text.contains("default.other")), "{created}");
        assert_eq!(created["state"], "complete");
        assert!(chsnap.repo().join("latest/metadata/default/other.sql").is_file(), "{engine_name}");
        chsnap.json(0, &["create", "--dump-limit", "0", "--accept", "default.oth*"]);
        chsnap.json(0, &["create", "--exclude", "default.other"]);
        chsnap.json(0, &["show", "latest~2"]);
        engine.query("DROP TABLE default.other");
    }
}

#[apply(both_engines)]
fn a_server_without_tables_is_a_warning(engine: Engine) {
    let chsnap = repository(&engine);
    let created = chsnap.json(3, &["create"]);
    assert_eq!(created["tables"], 0);
    assert!(created["warnings"][0].as_str().is_some_and(|text| text.contains("no MergeTree table")), "{created}");
}

/// FREEZE succeeds although the files are gone.
#[apply(both_engines)]
fn parts_whose_files_are_gone_are_left_out_or_marked(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for table in ["whole", "gone", "bare", "nameless"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number FROM numbers(10)"));
    }
    let chsnap = repository(&engine);
    let intact = chsnap.json(0, &["create"])["id"].clone();
    let parts = active_parts(&engine, "lab");
    let of_table = |name: &str| &parts.iter().find(|(table, ..)| table == name).expect("a part").2;
    let gone = of_table("gone").parent().expect("the table's directory");
    let away = engine.root().join("away");
    fs::rename(gone, &away).expect("moved");
    for (table, file) in [("bare", "checksums.txt"), ("nameless", "columns.txt")] {
        fs::remove_file(of_table(table).join(file)).expect("removed");
    }
    for arguments in [&["create"][..], &["create", "--freeze", "all"], &["create", "--place", "copy"]] {
        let created = chsnap.json(3, arguments);
        let tables = chsnap.json(3, &["show", "latest"]);
        let state = |name: &str| {
            let table = tables["table_list"].as_array().expect("tables").iter().find(|table| table["table"] == name);
            table.expect("the table")["state"].clone()
        };
        let states = ["whole", "gone", "bare", "nameless"].map(state);
        assert_eq!(states, ["taken", "skipped", "taken", "taken"], "{created:#}");
        let said = created["warnings"].to_string();
        let missing = ["lab.gone", "its file checksums.txt is missing", "its file columns.txt is missing"];
        assert!(missing.iter().all(|text| said.contains(text)) && !said.contains("lab.whole"), "{said}");
        let listed = chsnap.json(3, &["list", "--last", "1"])["snapshots"][0].take();
        assert_eq!((&listed["incomplete"], &listed["verified"]["damaged"]), (&true.into(), &true.into()), "{listed:#}");
    }
    assert!(shadows(&engine).is_empty(), "{:?}", shadows(&engine));
    fs::rename(&away, gone).expect("moved back");
    let last = chsnap.json(3, &["create"]);
    assert_eq!(last["tables"], 4, "{last:#}");
    // Its damage is known without a verification: the intact one stays, and a copy has the damage with its mark.
    let plan = chsnap.run(&["--json", "prune", "--keep-last", "1", "--dry-run"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("a plan");
    let kept = plan["keep"].as_array().expect("rows").iter().map(|row| row["id"].clone());
    assert_eq!(kept.collect::<Vec<_>>(), [last["id"].clone(), intact], "{plan:#}");
    let copy = engine.root().join("copy");
    chsnap.run(&["copy", "latest", "--to", copy.to_str().expect("text")]);
    let copied = Chsnap::new(&copy).json(3, &["list"]);
    assert_eq!(copied["snapshots"][0]["verified"]["damaged"], true, "{copied:#}");
}
