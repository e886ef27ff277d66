//! `restore --to DIR`: a plain tree of files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{load, other_filesystem, path_of, repository};
use crate::tree::{files, tree};

#[apply(both_engines)]
fn a_directory_gets_every_file_of_the_snapshot_by_link_and_by_copy(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    // Without a server: nothing is asked of one.
    let chsnap = Chsnap::new(chsnap.repo());
    let contents = tree(&snapshot.join("data"));
    let by_link = engine.root().join("linked");
    let report = chsnap.json(0, &["restore", "latest", "--to", by_link.to_str().expect("text")]);
    assert_eq!(report["schema"], "chsnap.restore.v1");
    assert_eq!(report["totals"]["placed"]["linked"]["parts"], report["totals"]["parts"]);
    let (links, originals) = (tree(&by_link.join("data")), tree(&snapshot.join("data")));
    assert!(files(&links) == files(&originals), "the same inodes");
    assert_eq!(tree(&by_link.join("metadata")).len(), tree(&snapshot.join("metadata")).len());
    let by_copy = engine.root().join("copied");
    fs::create_dir(&by_copy).expect("an empty directory");
    let report = chsnap.json(0, &["restore", "latest", "--to", by_copy.to_str().expect("text"), "--place", "copy"]);
    assert_eq!(report["totals"]["placed"]["linked"]["parts"], 0);
    let (made, originals) = (tree(&by_copy.join("data")), tree(&snapshot.join("data")));
    for (path, original) in files(&originals) {
        let copy = &made[path];
        assert_ne!(copy.inode, original.inode, "{}", path.display());
        assert_eq!(
            (copy.content, copy.mode, copy.uid, copy.gid, copy.modified),
            (original.content, original.mode, original.uid, original.gid, original.modified),
            "{}",
            path.display()
        );
    }
    assert_eq!(files(&made).len(), files(&originals).len());
    let names: Vec<_> = fs::read_dir(&by_copy).expect("there").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names.len(), 3, "data, metadata and local, nothing unfinished: {names:?}");
    assert!(tree(&snapshot.join("data")) == contents, "the snapshot is as it was");
}

#[apply(both_engines)]
fn tables_and_partitions_are_chosen_and_other_directories_refused(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("some");
    let to_text = to.to_str().expect("text");
    for (arguments, code) in [(vec!["--table", "lab.nothing"], 1), (vec!["--partition", "209901"], 1)] {
        let mut all = vec!["restore", "latest", "--to", to_text];
        all.extend(arguments);
        chsnap.expect(code, &all);
        assert!(!to.exists(), "nothing was made: {all:?}");
    }
    let report =
        chsnap.json(0, &["restore", "latest", "--to", to_text, "--table", "lab.events", "--partition", "202602"]);
    assert_eq!(report["tables"].as_array().expect("a list").len(), 1);
    let parts: Vec<String> = fs::read_dir(to.join("data/lab/events"))
        .expect("the table")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!parts.is_empty() && parts.iter().all(|part| part.contains("202602")), "{parts:?}");
    assert!(to.join("metadata/lab/events.sql").exists() && to.join("metadata/lab.sql").exists());
    assert!(!to.join("metadata/lab/plain.sql").exists());
    let before = tree(&to);
    let run = chsnap.expect(1, &["restore", "latest", "--to", to_text]);
    assert!(run.stderr.contains("is not empty") && run.stderr.contains("hint"), "{}", run.stderr);
    assert!(tree(&to) == before);
    let inside = chsnap.repo().join("here");
    chsnap.expect(1, &["restore", "latest", "--to", inside.to_str().expect("text")]);
    assert!(!inside.exists());
}

#[apply(both_engines)]
fn a_dry_run_shows_what_the_restore_then_does_and_writes_nothing(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    let to_text = to.to_str().expect("text");
    for (how, more) in [("link", &[][..]), ("copy", &["--place", "copy"][..])] {
        let arguments = [&["restore", "latest", "--to", to_text][..], more].concat();
        let dry_run = [&arguments[..], &["--dry-run"]].concat();
        let (above, repo) = (tree(engine.root()), tree(chsnap.repo()));
        let plan = chsnap.json(0, &dry_run);
        let text = chsnap.expect(0, &dry_run).stdout;
        assert!(!to.exists() && tree(chsnap.repo()) == repo);
        assert_eq!(tree(engine.root()).len(), above.len());
        assert_eq!((&plan["state"], &plan["makes_directory"]), (&"planned".into(), &true.into()));
        assert!(text.contains("make ") && text.contains(to_text) && text.contains("lab.events"), "{text}");
        let report = chsnap.json(0, &arguments);
        for figure in ["parts", "rows", "bytes"] {
            assert_eq!(plan["totals"][figure], report["totals"][figure], "{figure}");
        }
        let (name, way) = if how == "link" { ("linked", "linked") } else { ("copied", "copied") };
        let planned = &plan["totals"]["placed"];
        // Where blocks can be shared, a copy shares them.
        let planned = planned[name]["parts"].as_u64().expect("a count")
            + planned["reflinked"]["parts"].as_u64().expect("a count");
        let placed = &report["totals"]["placed"];
        let done =
            placed[way]["parts"].as_u64().expect("a count") + placed["reflinked"]["parts"].as_u64().expect("a count");
        assert_eq!(planned, done);
        let tables = |document: &serde_json::Value| -> Vec<(String, u64, u64)> {
            let of = |table: &serde_json::Value| {
                (
                    table["table"].to_string(),
                    table["parts"].as_u64().expect("parts"),
                    table["bytes"].as_u64().expect("bytes"),
                )
            };
            document["tables"].as_array().expect("tables").iter().map(of).collect()
        };
        assert_eq!(tables(&plan), tables(&report));
        // Now it is in the way, of the plan as of the restore.
        let before = tree(&to);
        let run = chsnap.run(&[&dry_run[..], &["--json"]].concat());
        let plan: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(plan["in_the_way"][0]["kind"], "not_empty");
        // A stage's seconds differ.
        let run_alone = |arguments: &[&str]| chsnap.run(&[&["--progress", "none"], arguments].concat());
        let text = run_alone(&dry_run);
        assert!(text.stdout.contains("NOT POSSIBLE") && text.stderr.contains("is not empty"), "{}", text.stderr);
        let refused = run_alone(&arguments);
        assert_eq!((run.code, text.code, &text.stderr), (refused.code, refused.code, &refused.stderr));
        assert!(tree(&to) == before);
        fs::remove_dir_all(&to).expect("removed");
    }
    // What an interrupted restore has left is named, and stays until the restore.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=linkat:signal=KILL:when=20"]);
    let arguments = ["restore", "latest", "--to", to_text];
    chsnap.under(strace, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace runs");
    let before = tree(&to);
    let plan = chsnap.json(0, &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(plan["leftovers"], serde_json::json!([".chsnap-unfinished"]));
    assert!(tree(&to) == before);
    let inside = chsnap.repo().join("here");
    let inside = inside.to_str().expect("text");
    chsnap.expect(1, &["restore", "latest", "--to", inside, "--dry-run"]);
    // While another restore is at work there.
    let lock = fs::File::open(to.join(".chsnap-unfinished/lock")).expect("a lock");
    lock.lock().expect("held");
    let run = chsnap.expect(1, &[&arguments[..], &["--dry-run"]].concat());
    assert!(run.stdout.contains("is running") && run.stderr.contains("is running"), "{}", run.stderr);
    drop(lock);
    chsnap.json(0, &arguments);
}

#[apply(both_engines)]
fn a_copy_is_no_faster_than_its_limit(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k");
    // What does not compress: two columns of 1.2 MB.
    engine.query("INSERT INTO lab.t SELECT sipHash64(number), sipHash64(number, 1) FROM numbers(150000)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    let to = ["restore", "latest", "--to", to.to_str().expect("text")];
    let back = ["restore", "latest", "--rename", "lab.t=lab.back", "--yes"];
    for place in [&to[..], &back[..]] {
        let limited = [place, &["--place", "copy", "--bwlimit", "1MiB"]].concat();
        let report = chsnap.json(0, &limited);
        let bytes = report["totals"]["bytes"].as_f64().expect("bytes");
        let is_copied = report["totals"]["placed"]["copied"]["parts"] == report["totals"]["parts"];
        assert!(is_copied && bytes > 2e6, "{report}");
        // A quarter of a second is handed out at once.
        let least = bytes / f64::from(1 << 20) - 0.3;
        let seconds = report["seconds"]["place"].as_f64().expect("seconds");
        assert!(seconds >= least, "{bytes} bytes in {seconds} s, {least} at least");
    }
    assert_eq!(engine.query("SELECT count() FROM lab.back"), "150000");
}

#[apply(both_engines)]
fn parts_that_are_noted_as_damaged_are_left_out_unless_they_are_wanted(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let table = snapshot.join("data/lab/plain");
    let part = fs::read_dir(&table).expect("a table").next().expect("a part").expect("an entry").path();
    let column = fs::read_dir(&part)
        .expect("a part")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|end| end == "bin"))
        .expect("data");
    let mut other = fs::read(&column).expect("it reads");
    let last = other.last_mut().expect("a byte");
    *last ^= 1;
    // Of the same size, so that only its hash tells; not in place, for that is the live file.
    fs::remove_file(&column).expect("removed");
    fs::write(&column, other).expect("written");
    chsnap.run(&["verify", "--level", "data", "--json"]);
    let to = engine.root().join("to");
    let arguments = ["restore", "latest", "--to", to.to_str().expect("text")];
    let plan = chsnap.json(3, &[&arguments[..], &["--dry-run"]].concat());
    let of = |document: &serde_json::Value, name: &str| -> serde_json::Value {
        document["tables"].as_array().expect("tables").iter().find(|table| table["table"] == name).expect("it").clone()
    };
    assert_eq!(of(&plan, "plain")["action"], "refuse");
    let report = chsnap.json(3, &arguments);
    assert_eq!(
        (&of(&report, "plain")["state"], &of(&report, "events")["state"]),
        (&"failed".into(), &"restored".into())
    );
    assert!(!to.join("data/lab/plain").exists() && !to.join("metadata/lab/plain.sql").exists());
    fs::remove_dir_all(&to).expect("removed");
    let report = chsnap.json(3, &[&arguments[..], &["--damaged", "--place", "link"]].concat());
    assert_eq!(of(&report, "plain")["state"], "restored");
    assert!(to.join("data/lab/plain").exists());
}

#[apply(both_engines)]
fn a_damaged_part_is_named_and_nothing_is_made(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let table = snapshot.join("data/lab/plain");
    let part = fs::read_dir(&table).expect("a table").next().expect("a part").expect("an entry").path();
    let victim = part.join("checksums.txt");
    let bytes = fs::read(&victim).expect("it reads");
    fs::remove_file(&victim).expect("removed");
    let to = engine.root().join("to");
    let arguments = ["restore", "latest", "--to", to.to_str().expect("text")];
    let name = part.file_name().expect("a name").to_string_lossy().into_owned();
    let report = chsnap.json(12, &arguments);
    assert_eq!(report["damage"][0]["part"], name.as_str());
    assert!(!to.exists());
    fs::write(&victim, bytes).expect("back");
    let column = fs::read_dir(&part)
        .expect("a part")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|end| end == "bin"))
        .expect("data");
    // Not in place: that would be the live file too.
    let mut longer = fs::read(&column).expect("it reads");
    longer.push(0);
    fs::remove_file(&column).expect("removed");
    fs::write(&column, longer).expect("longer");
    let run = chsnap.expect(12, &arguments);
    assert!(run.stderr.contains(&name) && run.stderr.contains("bytes"), "{}", run.stderr);
    assert!(!to.exists());
    // What is sound can be had.
    chsnap.json(0, &["restore", "latest", "--to", to.to_str().expect("text"), "--table", "lab.events"]);
}

#[apply(both_engines)]
fn killed_it_never_looks_complete_and_a_rerun_completes_it(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot.join("data"));
    let is_whole = |to: &Path| files(&tree(&to.join("data"))) == files(&contents);
    for nth in [1, 5, 40] {
        for call in ["linkat", "mkdirat", "renameat,renameat2", "unlinkat", "fsync,syncfs"] {
            let to = engine.root().join(format!("to-{nth}-{}", &call[..5]));
            let arguments = ["restore", "latest", "--to", to.to_str().expect("text")];
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
            let status = chsnap.under(strace, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            let finished = status.expect("strace runs").success();
            if !finished && to.exists() {
                let names: Vec<_> =
                    fs::read_dir(&to).expect("there").map(|entry| entry.expect("one").file_name()).collect();
                let is_marked = names.iter().any(|name| name == ".chsnap-unfinished");
                assert!(is_marked || names.is_empty() || is_whole(&to), "{call} {nth}: {names:?}");
            }
            if !finished {
                chsnap.json(0, &arguments);
            }
            assert!(is_whole(&to), "{call} {nth}");
            assert_eq!(fs::read_dir(&to).expect("there").count(), 3, "{call} {nth}");
        }
    }
    assert!(tree(&snapshot.join("data")) == contents);
}

#[test]
fn on_another_filesystem_links_become_copies() {
    let engine = Engine::start(Engine::V26);
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let Some(other) = other_filesystem(engine.root()) else { return };
    let to = other.path().join("to");
    let refused = chsnap.expect(1, &["restore", "latest", "--to", to.to_str().expect("text"), "--place", "link"]);
    assert!(refused.stderr.contains("cannot link"), "{}", refused.stderr);
    assert!(!to.exists());
    let plan = chsnap.run(&[
        "restore",
        "latest",
        "--to",
        to.to_str().expect("text"),
        "--place",
        "link",
        "--dry-run",
        "--json",
    ]);
    assert!(plan.code == 1 && plan.stdout.contains("other_filesystem"), "{} {}", plan.code, plan.stdout);
    let plan = chsnap.json(0, &["restore", "latest", "--to", to.to_str().expect("text"), "--dry-run"]);
    assert_eq!(plan["totals"]["placed"]["copied"]["parts"], plan["totals"]["parts"]);
    // The directory itself may be the top of a filesystem, which no rename could replace.
    let report = chsnap.json(0, &["restore", "latest", "--to", to.to_str().expect("text")]);
    assert_eq!(report["totals"]["placed"]["copied"]["parts"], report["totals"]["parts"]);
    let (copies, originals) = (tree(&to.join("data")), tree(&snapshot.join("data")));
    for (path, original) in files(&originals) {
        assert_eq!(copies[path].content, original.content, "{path:?}");
    }
}
