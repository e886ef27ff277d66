//! `import` of invalid trees: one clear error, and the repository and the tree are unchanged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::strace::{Dice, Fault};

use crate::chsnap_command::Chsnap;
use crate::cli::support::names;
use crate::freezer::Freezer;
use crate::tree::tree;

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn list(files: &str) -> String {
    format!(
        "<config><version>1</version><deduplicate_files>1</deduplicate_files><timestamp>2026-11-29 20:02:06</timestamp>\
         <uuid>3728ed3e-936a-4f44-a866-ee44a27d3dca</uuid><contents>{files}</contents></config>"
    )
}

const HASH: &str = "<checksum>9561bf60f5464c6d87b53c56213e965a</checksum>";

fn file(name: &str, size: &str) -> String {
    list(&format!("<file><name>{name}</name><size>{size}</size>{HASH}</file>"))
}

fn data_file(target: &str) -> String {
    list(&format!(
        "<file><name>data/d/t/all_1_1_0/columns.txt</name><size>4</size>{HASH}<data_file>{target}</data_file></file>"
    ))
}

#[test]
fn hostile_lists_of_backups_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "1234").expect("written");
    let twice = format!("<file><name>data/d/t/all_1_1_0/a</name><size>4</size>{HASH}</file>").repeat(2);
    let nested = format!(
        "<file><name>data/d/t/all_1_1_0/a</name><size>0</size></file><file><name>data/d/t/all_1_1_0/a/b</name><size>4</size>{HASH}</file>"
    );
    let bomb = format!(
        "<!DOCTYPE x [<!ENTITY a \"{}\"><!ENTITY b \"{}\"><!ENTITY c \"{}\">]><config>&c;</config>",
        "a".repeat(1000),
        "&a;".repeat(1000),
        "&b;".repeat(1000)
    );
    let cases: [(&str, Vec<u8>, &str); 22] = [
        ("above", file("../outside/secret", "4").into(), "no path beneath the tree"),
        ("absolute", file(&format!("{}/secret", text(&outside)), "4").into(), "no path beneath the tree"),
        ("above by a data file", data_file("../outside/secret").into(), "no path beneath the tree"),
        ("absolute data file", data_file(&format!("{}/secret", text(&outside))).into(), "no path beneath the tree"),
        ("through a link", data_file("link/secret").into(), "link"),
        ("a name of a link", data_file("linked").into(), "is missing, or is not the file"),
        ("twice", list(&twice).into(), "is listed twice"),
        ("a file in a file", list(&nested).into(), "is below a file"),
        (
            "huge",
            file("data/d/t/all_1_1_0/columns.txt", "18446744073709551615").into(),
            "is missing, or is not the file",
        ),
        ("more than huge", file("data/d/t/all_1_1_0/columns.txt", "99999999999999999999999").into(), "<size> holds"),
        ("less than nothing", file("data/d/t/all_1_1_0/columns.txt", "-1").into(), "<size> holds"),
        ("a bomb", bomb.into(), "a document type"),
        ("an entity", list("<file><name>&xxe;</name></file>").into(), "an entity of its own"),
        ("garbage", b"\x00\xff\xfe<<<".to_vec(), "not UTF-8"),
        ("no XML", b"hello".to_vec(), "text around it"),
        ("nothing", Vec::new(), "no <version>"),
        ("cut", list("").as_bytes()[..40].to_vec(), "cannot be read as the list"),
        ("deep", format!("<config>{}", "<a>".repeat(100_000)).into(), "more levels"),
        ("a later version", list("").replace("<version>1", "<version>9").into(), "version 9"),
        (
            "a base",
            list("").replace("<contents>", "<base_backup>File('/x')</base_backup><contents>").into(),
            "another backup",
        ),
        ("a file that is not listed", list("").into(), "does not name it"),
        ("a part that is none", file("data/d/t/x/columns.txt", "4").into(), ""),
    ];
    let repository = tree(chsnap.repo());
    for (name, bytes, expected) in cases {
        let backup = folder.path().join("backup");
        fs::create_dir_all(backup.join("data/d/t/all_1_1_0")).expect("made");
        fs::write(backup.join("data/d/t/all_1_1_0/columns.txt"), "1234").expect("written");
        symlink(&outside, backup.join("link")).expect("a link");
        symlink(outside.join("secret"), backup.join("linked")).expect("a link");
        fs::write(backup.join(".backup"), bytes).expect("written");
        let before = tree(&backup);
        let run = chsnap.run(&["import", text(&backup)]);
        assert!(matches!(run.code, 1 | 12), "{name}: {}\n{}\n{}", run.code, run.stdout, run.stderr);
        assert!(run.stderr.contains(expected), "{name}: {}", run.stderr);
        let errors = run.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{name}: {}", run.stderr);
        assert_eq!(tree(&backup), before, "{name}");
        let now = tree(chsnap.repo());
        for place in ["snapshots", "incoming", "trash", "pins"] {
            let of = |tree: &crate::tree::Tree| {
                tree.keys().filter(|path| path.starts_with(place)).cloned().collect::<Vec<_>>()
            };
            assert_eq!(of(&now), of(&repository), "{name}");
        }
        fs::remove_dir_all(&backup).expect("removed");
    }
    assert_eq!(fs::read(outside.join("secret")).expect("it is there"), b"1234");
}

#[test]
fn hostile_trees_of_clickhouse_backup_and_of_shadow_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let backup = folder.path().join("backup");
    let table = |part: &str, disk: &str| {
        format!(
            r#"{{"table": "t", "database": "d", "query": "CREATE TABLE d.t (k UInt8) ENGINE = MergeTree ORDER BY k", "parts": {{"{disk}": [{{"name": "{part}"}}]}}}}"#
        )
    };
    for (name, metadata, table, expected) in [
        ("garbage", "[".to_owned(), String::new(), "is not what clickhouse-backup writes"),
        ("embedded", r#"{"tags": "embedded"}"#.to_owned(), String::new(), "is embedded"),
        ("archives", r#"{"data_format": "tar"}"#.to_owned(), String::new(), "holds archives"),
        ("a part above", "{}".to_owned(), table("../../../../etc", "default"), "is no part"),
        ("no table", "{}".to_owned(), String::new(), "has no table"),
    ] {
        fs::create_dir_all(backup.join("metadata/d")).expect("made");
        fs::write(backup.join("metadata.json"), metadata).expect("written");
        if !table.is_empty() {
            fs::write(backup.join("metadata/d/t.json"), table).expect("written");
        }
        let run = chsnap.expect(1, &["import", text(&backup)]);
        assert!(run.stderr.contains(expected), "{name}: {}", run.stderr);
        fs::remove_dir_all(&backup).expect("removed");
    }
    // A disk whose name leads away is no directory of the tree: the part is not there.
    fs::create_dir_all(backup.join("metadata/d")).expect("made");
    fs::write(backup.join("metadata.json"), "{}").expect("written");
    fs::write(backup.join("metadata/d/t.json"), table("all_1_1_0", "../../../outside")).expect("written");
    let run = chsnap.expect(12, &["import", text(&backup), "--dry-run"]);
    assert!(
        run.stderr.contains("its part all_1_1_0 on the disk ../../../outside is not in the tree"),
        "{}",
        run.stderr
    );
    // Frozen parts of a table that no definition knows, and a database that is a link to elsewhere.
    let shadow = folder.path().join("shadow");
    fs::create_dir_all(shadow.join("store/abc/abc00000-0000-4000-8000-000000000001/all_1_1_0")).expect("made");
    let metadata = folder.path().join("server/metadata");
    fs::create_dir_all(&metadata).expect("made");
    let arguments = ["import", text(&shadow), "--metadata", text(&metadata)];
    let run = chsnap.expect(1, &arguments);
    assert!(run.stderr.contains("whose UUID no definition"), "{}", run.stderr);
    symlink("/etc", metadata.join("d")).expect("a link");
    let run = chsnap.expect(1, &arguments);
    assert!(run.stderr.contains("is a link that leads elsewhere"), "{}", run.stderr);
    let run = chsnap.expect(1, &["import", text(folder.path())]);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    let inside = chsnap.expect(1, &["import", text(&chsnap.repo().join("snapshots"))]);
    assert!(inside.stderr.contains("is inside the repository"), "{}", inside.stderr);
    assert!(tree(&chsnap.repo().join("snapshots")).is_empty());
}

/// The lines of docs/operations.md about restic.
fn restic_lines() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(document).expect("a document");
    let block = text.split("```").find(|block| block.contains("restic backup")).expect("the lines");
    block
        .trim_start_matches("sh\n")
        .replace("/run/chsnap-latest", "$MOUNT")
        .replace("restic backup", "restic backup --json")
}

#[test]
fn restic_reads_only_what_is_new_by_the_lines_of_the_document() {
    let has_restic = Command::new("restic").arg("version").output().is_ok_and(|output| output.status.success());
    let may_mount = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !has_restic || !may_mount {
        eprintln!("SKIPPED: restic is not installed, or this user may not mount");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let repository = root.join("repo");
    let part = |id: &str| repository.join("snapshots").join(id).join("data/d/t/all_1_1_0");
    fs::create_dir_all(part("one")).expect("made");
    for number in 0..20 {
        fs::write(part("one").join(format!("{number}.bin")), vec![number; 5000]).expect("written");
    }
    let run = |script: &str| {
        let command = format!("set -eu; {script}");
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &command])
            .env("CHSNAP_REPO", &repository)
            .env("MOUNT", root.join("mount"))
            .env("RESTIC_REPOSITORY", root.join("restic"))
            .env("RESTIC_PASSWORD", "x")
            .env("XDG_CACHE_HOME", root.join("cache"))
            .output()
            .expect("sh runs");
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {errors}");
        let summary = text.lines().find(|line| line.contains("\"summary\"")).unwrap_or("{}").to_owned();
        serde_json::from_str::<serde_json::Value>(&summary).expect("JSON")
    };
    run("restic init -q");
    symlink("snapshots/one", repository.join("latest")).expect("a link");
    let first = run(&restic_lines());
    assert_eq!(first["files_new"], 20, "{first}");
    // The next night: links to all files, which change their ctimes, and a new one.
    fs::create_dir_all(part("two")).expect("made");
    for number in 0..20 {
        let name = format!("{number}.bin");
        fs::hard_link(part("one").join(&name), part("two").join(&name)).expect("a link");
    }
    fs::write(part("two").join("new.bin"), b"new").expect("written");
    fs::remove_file(repository.join("latest")).expect("removed");
    symlink("snapshots/two", repository.join("latest")).expect("a link");
    let second = run(&restic_lines());
    let files = ["files_new", "files_changed", "files_unmodified"].map(|name| second[name].as_u64().expect("a number"));
    assert_eq!(files, [1, 0, 20], "{second}");
}

/// A tree as `cp -al` of `shadow/` leaves it, of one table with three parts, and the server's definitions.
fn frozen_tree(folder: &Path) -> (PathBuf, PathBuf) {
    let freezer = Freezer::start(&folder.join("ch"));
    for number in 1..4 {
        freezer.add_small_part_of("one", &format!("all_{number}_{number}_0"), [number, 2, 3, 4]);
    }
    let (data, metadata, copy) = (folder.join("ch/data"), folder.join("ch/metadata"), folder.join("copy"));
    let definition = "ATTACH TABLE one (`k` UInt8) ENGINE = MergeTree ORDER BY k\n";
    fs::write(metadata.join("d/one.sql"), definition).expect("written");
    fs::create_dir(&copy).expect("made");
    let linked = Command::new("cp").arg("-al").arg(&data).arg(&copy).status();
    assert!(linked.expect("cp").success());
    (copy, metadata)
}

#[test]
fn a_database_without_frozen_parts_is_left_out_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, metadata) = frozen_tree(folder.path());
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let arguments = ["import", text(&copy), "--metadata", text(&metadata), "--dry-run"];
    assert_eq!(chsnap.json(0, &arguments)["warnings"], json!([]));
    for (database, table) in [("other", "t"), ("system", "query_log")] {
        fs::create_dir_all(metadata.join(database)).expect("made");
        let definition = format!("ATTACH TABLE {table} (k UInt8) ENGINE = MergeTree ORDER BY k\n");
        fs::write(metadata.join(database).join(format!("{table}.sql")), definition).expect("written");
    }
    fs::create_dir_all(metadata.join("empty")).expect("made");
    let imported = chsnap.json(3, &["import", text(&copy), "--metadata", text(&metadata)]);
    let warnings = imported["warning_list"].as_array().expect("warnings");
    assert_eq!(warnings.len(), 1, "{imported:#}");
    assert_eq!(warnings[0]["kind"], "data_left_behind");
    let said = warnings[0]["message"].as_str().expect("text");
    assert!(said.contains("\"other\"") && said.contains("1 definition"), "{said}");
    // Who names tables wants no others.
    chsnap.json(0, &["import", text(&copy), "--metadata", text(&metadata), "--table", "d.one"]);
}

#[test]
fn a_table_that_a_copy_of_shadow_has_no_whole_data_of_costs_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, metadata) = frozen_tree(folder.path());
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let define = |table: &str, text: &str| {
        fs::write(metadata.join("d").join(format!("{table}.sql")), text).expect("written");
    };
    let definition = |table: &str| format!("ATTACH TABLE {table} (`k` UInt8) ENGINE = MergeTree ORDER BY k\n");
    let copied = |table: &str| {
        let to = copy.join("data/d").join(table);
        assert!(Command::new("cp").arg("-a").arg(copy.join("data/d/one")).arg(&to).status().expect("cp").success());
        define(table, &definition(table));
        to
    };
    fs::remove_file(copied("lacking").join("all_2_2_0/k.bin")).expect("removed");
    fs::create_dir(copied("strange").join("no part")).expect("made");
    let linked = copied("linked");
    fs::rename(&linked, folder.path().join("aside")).expect("moved");
    symlink(folder.path().join("aside"), &linked).expect("a link");
    define("unreadable", "ATTACH nothing");
    let store = copy.join("store/abc/abc00000-0000-4000-8000-000000000001");
    fs::create_dir_all(store.join("all_1_1_0")).expect("made");
    let arguments = ["import", text(&copy), "--metadata", text(&metadata)];
    let imported = chsnap.json(3, &arguments);
    let states: Vec<String> = imported["table_list"]
        .as_array()
        .expect("tables")
        .iter()
        .map(|table| format!("{} {}", table["table"].as_str().expect("text"), table["state"].as_str().expect("text")))
        .collect();
    let skipped = ["lacking skipped", "linked skipped", "one taken", "strange skipped", "unreadable skipped"];
    assert_eq!(states, skipped, "{imported:#}");
    let said = imported["warnings"].to_string();
    for words in ["k.bin is missing", "is no part", "is a symbolic link", "cannot be read", "whose UUID no definition"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(chsnap.json(0, &["list"])["snapshots"][0]["incomplete"], true);
    chsnap.json(0, &["verify", "--level", "data"]);
    // Without its definition too: with it, it would be an empty table.
    fs::remove_dir_all(copy.join("data/d/one")).expect("removed");
    fs::remove_file(metadata.join("d/one.sql")).expect("removed");
    chsnap.json(12, &arguments);
    assert_eq!(chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn files_that_an_import_shares_with_the_previous_snapshot_are_not_counted_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, metadata) = frozen_tree(folder.path());
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let arguments = ["import", text(&copy), "--metadata", text(&metadata)];
    let written = [(), ()].map(|()| chsnap.json(0, &arguments)["written_bytes"].as_u64().expect("bytes"));
    assert!(written[0] > 0 && written[1] == 0, "{written:?}");
    for command in ["list", "usage"] {
        let rows = chsnap.json(0, &[command])["snapshots"].clone();
        assert_eq!([0, 1].map(|row| rows[row]["written_bytes"].as_u64()), written.map(Some), "{command}");
    }
}

#[test]
fn rows_that_no_part_tells_are_unknown_and_not_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, metadata) = frozen_tree(folder.path());
    let chsnap = Chsnap::new(&folder.path().join("repo"));
    chsnap.expect(0, &["init"]);
    let arguments = ["import", text(&copy), "--metadata", text(&metadata)];
    let imported = chsnap.json(0, &arguments);
    assert_eq!((&imported["rows"], &imported["table_list"][0]["rows"]), (&Value::Null, &Value::Null), "{imported:#}");
    assert!(imported.as_object().expect("an object").contains_key("rows"));
    let said = chsnap.expect(0, &arguments).stdout;
    assert!(said.contains("unknown number of rows"), "{said}");
    // Each part says how many it has: in a file of its own, which its checksums do not list here.
    for number in 1..4 {
        let part = copy.join(format!("data/d/one/all_{number}_{number}_0"));
        fs::write(part.join("count.txt"), "4").expect("written");
    }
    let imported = chsnap.json(0, &arguments);
    assert_eq!((&imported["rows"], &imported["table_list"][0]["rows"]), (&12.into(), &12.into()), "{imported:#}");
}

#[test]
fn an_import_that_is_killed_or_fails_at_any_call_leaves_all_or_nothing() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: there is no strace");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, metadata) = frozen_tree(folder.path());
    let source = tree(&copy);
    let fresh = |name: &str| {
        let chsnap = Chsnap::new(&folder.path().join(name));
        chsnap.expect(0, &["init"]);
        chsnap
    };
    let (mut dice, seed) = Dice::new("imports");
    let arguments = ["--progress", "none", "import", text(&copy), "--metadata", text(&metadata), "--jobs", "1"];
    let trace = fresh("traced").traced(&arguments);
    let calls = trace.changes(folder.path());
    assert!(calls.len() > 30, "an import changes more than {} times", calls.len());
    let (mut killed, mut failed) = (0, 0);
    for (number, call) in dice.choose(&trace, calls, 24).into_iter().enumerate() {
        let fault = if number % 3 == 2 { Fault::Error("EIO") } else { Fault::Kill };
        let chsnap = fresh(&format!("repo-{number}"));
        let struck = chsnap.struck(&arguments, &trace.strike(call), fault);
        let context =
            format!("{fault:?} at {}, {seed}: {}\n{}", trace.call(call).text, struck.run.code, struck.run.stderr);
        let standing = names(&chsnap.repo().join("snapshots"));
        match struck.run.code {
            0 | 3 => assert_eq!(standing.len(), 1, "{context}"),
            1 if struck.run.stderr.contains("cannot write the answer") => assert_eq!(standing.len(), 1, "{context}"),
            1 => {
                failed += 1;
                assert!(standing.is_empty(), "{context}");
            }
            _ => assert!(struck.killed && standing.len() <= 1, "{context}"),
        }
        killed += u32::from(struck.killed);
        if !standing.is_empty() {
            assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["checked"]["parts"], 3, "{context}");
        }
        // The next one puts in order what was left, and has all of it.
        let again = chsnap.json(0, &arguments[2..]);
        assert_eq!(again["parts"], 3, "{context}");
        for directory in ["incoming", "trash"] {
            assert!(tree(&chsnap.repo().join(directory)).is_empty(), "{directory}: {context}");
        }
        assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["state"], "sound", "{context}");
        assert_eq!(tree(&copy), source, "{context}");
    }
    assert!(killed >= 8 && failed >= 2, "{killed} kills, {failed} errors");
}
