//! Each command opens the journal and the index only once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::chsnap_command::Chsnap;
use crate::cli::support::names;
use crate::freezer::served_repository;

/// How often a command opened the index, and how often it read each file of the journal.
fn opened(chsnap: &Chsnap, code: i32, arguments: &[&str]) -> (usize, BTreeMap<String, usize>) {
    let run = chsnap.expect(code, &[&["-v", "--progress", "none"], arguments].concat());
    let lines = |what: &'static str| run.stderr.lines().filter(move |line| line.contains(what));
    let mut files = BTreeMap::new();
    for line in lines("a file of the journal is read") {
        let name = line.split('"').nth(1).unwrap_or_else(|| panic!("no name: {line}"));
        *files.entry(name.to_owned()).or_default() += 1;
    }
    (lines("the index is opened").count(), files)
}

#[test]
fn index_and_journal_are_opened_once_a_command() {
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let ids: Vec<String> = (0..6)
        .map(|_| {
            freezer.add_part(
                "events",
                &format!("all_{0}_{0}_0", names(&folder.path().join("ch/data/d/events")).len() + 1),
            );
            chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let journal = chsnap.repo().join("journal");
    let month = names(&journal)[0].clone().into_string().expect("text");
    let old = r#"{"number":1,"time":"2019-07-01T00:00:00Z","event":"unpinned","ids":[]}"#;
    fs::write(journal.join("2019-07.jsonl"), format!("{old}\n")).expect("written");
    let html = folder.path().join("report.html").display().to_string();
    for (code, arguments) in [
        (0, &["create"][..]),
        (0, &["create", "--freeze", "all"]),
        (0, &["list"]),
        (0, &["list", "--trash"]),
        (0, &["show", "latest"]),
        (0, &["usage"]),
        (0, &["usage", "--by", "table"]),
        (0, &["diff", &ids[0], "latest"]),
        (0, &["pin", &ids[1], "--reason", "audit"]),
        (0, &["unpin", &ids[1]]),
        (0, &["verify"]),
        (0, &["verify", "--level", "data", "--slice", "next/3", "--since", "30d"]),
        (0, &["rm", &ids[0]]),
        (0, &["undo"]),
        (0, &["prune", "--keep-last", "6", "--dry-run"]),
        (0, &["prune", "--keep-last", "6", "--yes"]),
        (0, &["monitor"]),
        (0, &["report", "--html", &html]),
        (0, &["gc"]),
    ] {
        let (index, files) = opened(&chsnap, code, arguments);
        let is_gc = arguments == ["gc"];
        assert!(index == 1 || is_gc && index == 0, "{arguments:?} opened the index {index} times");
        assert!(files.values().all(|count| *count == 1), "{arguments:?} read {files:?}");
        assert!(files.keys().all(|name| *name == month || name == "2019-07.jsonl"), "{arguments:?} read {files:?}");
    }
}

/// The system calls of these kinds that a command made.
fn calls(chsnap: &Chsnap, folder: &Path, (kinds, arguments): (&str, &[&str])) -> String {
    let log = folder.join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", &format!("trace={kinds}"), "-o"]).arg(&log);
    let run = chsnap.under(strace, arguments).output().expect("strace starts");
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    fs::read_to_string(&log).expect("the calls")
}

#[test]
fn the_index_is_not_locked_for_each_snapshot() {
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let locks = |arguments: &[&str]| {
        calls(&chsnap, folder.path(), ("fcntl", arguments)).lines().filter(|call| call.contains("F_SETLK")).count()
    };
    let commands: [&[&str]; 4] = [&["create"], &["list"], &["usage"], &["prune", "--keep-last", "100", "--dry-run"]];
    for _ in 0..4 {
        chsnap.expect(0, &["create"]);
    }
    let few = commands.map(locks);
    for _ in 0..12 {
        chsnap.expect(0, &["create"]);
    }
    assert_eq!(commands.map(locks), few, "{commands:?}");
    assert!(few.iter().all(|count| *count > 0), "{commands:?}: {few:?}");
}

/// How often a command opened the index, and each file of the journal to read it, as the kernel saw it.
fn opened_by_calls(chsnap: &Chsnap, folder: &Path, arguments: &[&str]) -> BTreeMap<String, usize> {
    let mut opened = BTreeMap::new();
    let calls = calls(chsnap, folder, ("open,openat,openat2", arguments));
    for call in calls.lines().filter(|call| !call.contains("= -1 ") && !call.contains("O_WRONLY")) {
        let Some(path) = call.split('"').nth(1) else { continue };
        let name = path.rsplit('/').next().unwrap_or(path);
        if name == "index.sqlite" || name.strip_suffix(".jsonl").is_some() {
            *opened.entry(name.to_owned()).or_default() += 1;
        }
    }
    opened
}

#[test]
fn the_kernel_sees_index_and_journal_opened_once_a_command() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: there is no strace");
        return;
    }
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    for _ in 0..3 {
        chsnap.expect(0, &["create"]);
    }
    for arguments in [
        &["create"][..],
        &["list"],
        &["usage"],
        &["pin", "latest", "--reason", "audit"],
        &["prune", "--keep-last", "3", "--yes"],
        &["verify", "--level", "data"],
        &["undo"],
        &["rm", "latest~1"],
        &["monitor"],
    ] {
        let opened = opened_by_calls(&chsnap, folder.path(), arguments);
        assert!(opened.contains_key("index.sqlite"), "{arguments:?}: {opened:?}");
        assert!(opened.values().all(|count| *count == 1), "{arguments:?}: {opened:?}");
    }
}
