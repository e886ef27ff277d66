//! Damage recorded in an unreadable part of the journal: every command that relies on known damage warns that some may
//! be missing, and none reports the snapshot as sound without that warning.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use chsnap::model::SnapshotId;
use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::freezer::served_repository;
use crate::store::{Store, names, part};

/// What has become of the month, or of the line, that notes the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Directory,
    Link,
    /// Longer than any file that is read.
    Long,
    /// Bytes of the line are others.
    Garbled,
    /// The line has lost its end, and another one follows.
    Cut,
    /// The line is as long as it was, and nothing but zeros.
    Zeros,
}

const GAPS: [Gap; 6] = [Gap::Directory, Gap::Link, Gap::Long, Gap::Garbled, Gap::Cut, Gap::Zeros];

fn month(repo: &Path) -> PathBuf {
    let journal = repo.join("journal");
    journal.join(names(&journal).pop().expect("a month"))
}

fn spoil(path: &Path, gap: Gap) {
    let text = fs::read_to_string(path).expect("lines");
    let noting = text.lines().enumerate().filter(|(_, line)| line.contains("\"damaged\":"));
    let (damaged, _) = noting.last().expect("the damage is noted");
    let with = |line: &dyn Fn(&str) -> String| {
        let lines = text.lines().enumerate();
        let lines: Vec<String> =
            lines.map(|(at, text)| if at == damaged { line(text) } else { text.to_owned() }).collect();
        fs::write(path, lines.join("\n") + "\n").expect("written");
    };
    match gap {
        Gap::Directory => {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("a directory");
        }
        Gap::Link => {
            let aside = path.with_extension("aside");
            fs::rename(path, &aside).expect("moved");
            symlink(aside, path).expect("a link");
        }
        Gap::Long => {
            fs::File::options().write(true).open(path).and_then(|file| file.set_len(300 << 20)).expect("a sparse file");
        }
        Gap::Garbled => with(&|line| line.replace("\"level\":\"data\"", "\"level\":\"dbta\"")),
        Gap::Cut => with(&|line| line[..line.len() / 2].to_owned()),
        Gap::Zeros => with(&|line| "\0".repeat(line.len())),
    }
}

/// A repository whose journal notes damage in the part of table `one`, and has lines before and after.
fn noted() -> (Store, Chsnap, Vec<SnapshotId>) {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(7, 5, true));
    store.put("two", "all_1_1_0", &part(8, 3, false));
    let ids = vec![store.snapshot(), store.snapshot()];
    let chsnap = Chsnap::new(&store.repo());
    chsnap.json(0, &["verify"]);
    let path = store.at(ids[1]).join("data/d/one/all_1_1_0/c4.bin");
    let spoilt: Vec<u8> = fs::read(&path).expect("read").iter().map(|byte| !byte).collect();
    fs::write(&path, spoilt).expect("written");
    chsnap.json(12, &["verify", "--level", "data"]);
    chsnap.json(3, &["verify"]);
    (store, chsnap, ids)
}

/// Asserts that one warning names this place as unreadable.
#[track_caller]
fn says(document: &Value, place: &str) {
    let warnings = document["warning_list"].as_array().expect("warnings");
    let said = format!("{place} cannot be read");
    let is_said = |warning: &Value| {
        warning["kind"] == "journal_unreadable" && warning["message"].as_str().is_some_and(|text| text.contains(&said))
    };
    assert_eq!(warnings.iter().filter(|warning| is_said(warning)).count(), 1, "{said}: {document}");
}

/// Asserts that every command that goes by known damage, and does not look at the damaged part, names this place as
/// unreadable.
#[track_caller]
fn every_reader_says(chsnap: &Chsnap, newest: SnapshotId, place: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (there, copy) = (folder.path().join("there"), folder.path().join("copy"));
    let (there, copy) = (there.to_str().expect("text"), copy.to_str().expect("text"));
    let newest = newest.to_string();
    for arguments in [
        &["list"][..],
        &["list", "--trash"],
        &["undo", "--list"],
        &["show", &newest],
        &["usage"],
        &["verify", "--table", "d.two"],
        &["verify", "--table", "d.two", "--level", "data", "--since", "30d"],
        &["prune", "--keep-last", "1", "--dry-run"],
        &["report"],
        &["restore", &newest, "--table", "d.two", "--to", there, "--dry-run"],
        &["restore", &newest, "--table", "d.two", "--to", there, "--yes"],
    ] {
        says(&chsnap.json(3, arguments), place);
    }
    // The index remembers the damage.
    says(&chsnap.json(12, &["copy", "--new", "--to", copy, "--dry-run"]), place);
}

#[test]
fn every_command_that_goes_by_known_damage_says_that_some_may_be_missing() {
    for gap in GAPS {
        let (store, chsnap, ids) = noted();
        let folder = tempfile::tempdir().expect("a folder");
        let month = month(&store.repo());
        let file = month.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
        spoil(&month, gap);
        let line = if matches!(gap, Gap::Garbled | Gap::Cut | Gap::Zeros) { ", line 2," } else { "" };
        let unreadable = format!("journal/{file}{line}");
        let newest = ids[1].to_string();
        every_reader_says(&chsnap, ids[1], &unreadable);
        says(&chsnap.json(3, &["verify"]), &unreadable);
        // The share that does not have the part.
        let shares =
            ["1/3", "2/3", "3/3"].map(|slice| chsnap.run(&["--json", "verify", "--level", "data", "--slice", slice]));
        for run in &shares {
            let document: Value = serde_json::from_str(&run.stdout).expect("a document");
            says(&document, &unreadable);
        }
        // What is read is found again, and known from then on, in spite of the gap.
        assert_eq!(shares.iter().filter(|run| run.code == 12).count(), 1, "{shares:?}");
        assert_eq!(chsnap.json(3, &["show", &newest])["verified"]["damaged"], true, "{gap:?}");
        let monitor = chsnap.expect(2, &["monitor", "--json", "--warn", "99999h", "--crit", "99999h"]);
        let monitor: Value = serde_json::from_str(&monitor.stdout).expect("a document");
        let kinds: Vec<&Value> =
            monitor["problems"].as_array().expect("rows").iter().map(|problem| &problem["kind"]).collect();
        assert_eq!(kinds, ["damage_found", "journal_unreadable"], "{monitor}");
        let doctor: Value = serde_json::from_str(&chsnap.run(&["--json", "doctor"]).stdout).expect("a document");
        let checks = doctor["checks"].as_array().expect("checks");
        let found = checks.iter().find(|check| check["name"] == "journal").expect("a finding");
        assert!(found["remedy"].as_str().is_some_and(|text| text.contains("verify --level data")), "{found}");
        let figures = folder.path().join("figures");
        chsnap.run(&["monitor", "--metrics-file", figures.to_str().expect("text")]);
        let figures = fs::read_to_string(figures).expect("figures");
        assert!(figures.contains("chsnap_journal_unreadable_files{profile=\"default\"} 1"), "{figures}");
    }
}

#[test]
fn a_check_with_an_unreadable_journal_reports_only_what_it_checked() {
    let (store, chsnap, _) = noted();
    let month = month(&store.repo());
    let text = fs::read_to_string(&month).expect("lines");
    spoil(&month, Gap::Cut);
    // The index remembers the line.
    assert!(chsnap.expect(3, &["verify"]).stdout.contains("noted as damaged"));
    fs::remove_file(store.repo().join("index.sqlite")).expect("removed");
    let run = chsnap.expect(3, &["verify"]);
    assert!(run.stdout.contains("no damage in what was checked"), "{}", run.stdout);
    // With the line back all is known again.
    fs::write(&month, text).expect("written");
    assert!(chsnap.expect(3, &["verify"]).stdout.contains("noted as damaged"));
}

#[test]
fn a_snapshot_that_is_made_while_the_journal_has_a_gap_says_so_and_the_gap_costs_nothing_else() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["create"]);
    let month = month(chsnap.repo());
    let file = month.file_name().and_then(|name| name.to_str()).expect("text");
    let text = fs::read_to_string(&month).expect("lines");
    fs::write(&month, text.replacen("created", "created\" garbled", 1)).expect("written");
    let unreadable = format!("journal/{file}, line 1,");
    says(&chsnap.json(3, &["create", "--dry-run"]), &unreadable);
    let made = chsnap.json(3, &["create"]);
    says(&made, &unreadable);
    assert_eq!(made["placed"]["linked"]["parts"], made["parts"], "{made}");
    fs::write(&month, text).expect("written");
    chsnap.json(0, &["list", "--last", "1"]);
    let journal = chsnap.repo().join("journal");
    fs::rename(&journal, journal.with_extension("aside")).expect("moved");
    symlink(journal.with_extension("aside"), &journal).expect("a link");
    let made = chsnap.json(3, &["create"]);
    says(&made, "journal");
    assert_eq!(made["placed"]["linked"]["parts"], made["parts"], "{made}");
}

/// Which snapshots a prune keeps and removes, and which a list calls damaged.
fn judged(chsnap: &Chsnap, code: i32) -> [Vec<String>; 3] {
    let ids = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    let plan = chsnap.json(code, &["prune", "--keep-last", "1", "--dry-run"]);
    let mut list = chsnap.json(3, &["list"])["snapshots"].take();
    list.as_array_mut().expect("rows").retain(|row| row["verified"]["damaged"] == true);
    [ids(&plan["keep"]), ids(&plan["remove"]), ids(&list)]
}

#[test]
fn the_index_remembers_damage_while_the_journal_cannot_be_read() {
    let lose = |journal: &Path| fs::rename(journal, journal.with_extension("aside")).expect("moved");
    for gap in GAPS.map(Some).into_iter().chain([None]) {
        let store = Store::new();
        let mut ids = Vec::new();
        for _ in 0..3 {
            // Each has files of its own.
            store.put("one", "all_1_1_0", &part(7, 5, true));
            ids.push(store.snapshot());
        }
        let chsnap = Chsnap::new(&store.repo());
        // The damage of the oldest is repaired: the lines about it are not needed any more.
        for (id, repair) in [(ids[0], &["--repair"][..]), (ids[2], &[])] {
            let path = store.at(id).join("data/d/one/all_1_1_0/c4.bin");
            let (text, mode) = (fs::read(&path).expect("read"), fs::metadata(&path).expect("a file").permissions());
            // A file of its own: a repair links an intact copy.
            fs::remove_file(&path).expect("removed");
            fs::write(&path, text.iter().map(|byte| !byte).collect::<Vec<u8>>()).expect("written");
            fs::set_permissions(&path, mode).expect("set");
            chsnap.json(12, &[&["verify", "--level", "data"], repair].concat());
            if !repair.is_empty() {
                chsnap.json(0, &["verify", "--level", "data"]);
            }
        }
        let known = judged(&chsnap, 0);
        let [oldest, middle, newest] = [0, 1, 2].map(|night| ids[night].to_string());
        assert_eq!(known, [vec![newest.clone(), middle.clone()], vec![oldest.clone()], vec![newest.clone()]]);
        if let Some(gap) = gap {
            spoil(&month(&store.repo()), gap);
        } else {
            let journal = store.repo().join("journal");
            lose(&journal);
            symlink(journal.with_extension("aside"), &journal).expect("a link");
        }
        assert_eq!(judged(&chsnap, 3), known, "{gap:?}");
        // Found right again: what the index remembers does not outlive a check that can be read.
        if gap.is_some() {
            let path = store.at(ids[2]).join("data/d/one/all_1_1_0/c4.bin");
            fs::copy(store.at(ids[1]).join("data/d/one/all_1_1_0/c4.bin"), path).expect("copied");
            chsnap.json(3, &["verify", "--level", "data"]);
            assert_eq!(judged(&chsnap, 3), [vec![newest], vec![oldest, middle], vec![]], "{gap:?}");
        }
    }
}

#[test]
fn a_damaged_copy_is_no_source_while_the_journal_cannot_be_read() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let create = ["create", "--place", "copy"];
    let made = chsnap.json(0, &create);
    let data = chsnap.repo().join("snapshots").join(made["id"].as_str().expect("an id")).join("data");
    let file = crate::tree::tree(&data);
    let file = file.keys().find(|path| path.extension().is_some_and(|end| end == "bin")).expect("a file of data");
    let spoilt: Vec<u8> = fs::read(data.join(file)).expect("read").iter().map(|byte| !byte).collect();
    fs::set_permissions(data.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("changed");
    fs::write(data.join(file), spoilt).expect("written");
    chsnap.run(&["verify", "--level", "data"]);
    spoil(&month(chsnap.repo()), Gap::Garbled);
    let made = chsnap.json(3, &create);
    assert_eq!(made["placed"]["copied"]["parts"], 1, "{made}");
    let newest = made["id"].as_str().expect("an id");
    assert_eq!(chsnap.json(3, &["verify", newest, "--level", "data"])["damage"], Value::Array(Vec::new()));
}

/// On NFS, where opening the index does not read the journal, the note itself has to be remembered.
#[test]
fn damage_that_a_part_had_when_it_was_taken_is_remembered_while_the_journal_cannot_be_read() {
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let live = folder.path().join("ch/data/d/events/all_1_1_0");
    let file = names(&live).into_iter().find(|name| name.contains(".bin")).expect("a file of data");
    let size = fs::metadata(live.join(&file)).expect("there").len();
    fs::File::options().write(true).open(live.join(&file)).and_then(|file| file.set_len(size - 1)).expect("cut");
    let made = chsnap.json(3, &["create"]);
    let is_known = || {
        for command in [&["list"][..], &["show"]] {
            let document = chsnap.json(3, command);
            let kinds: Vec<&Value> =
                document["warning_list"].as_array().expect("warnings").iter().map(|warning| &warning["kind"]).collect();
            assert!(kinds.contains(&&"damage_found".into()), "{command:?}: {document}");
        }
    };
    is_known();
    spoil(&month(chsnap.repo()), Gap::Directory);
    is_known();
    let said = chsnap.expect(3, &["list"]).stderr;
    assert!(said.contains(&format!("known damage in {}", made["id"].as_str().expect("an id"))), "{said}");
}

#[test]
fn a_journal_that_cannot_be_read_at_all_stops_no_command_that_reads() {
    type Spoil = fn(&Path);
    let link: Spoil = |journal| {
        fs::rename(journal, journal.with_extension("aside")).expect("moved");
        symlink(journal.with_extension("aside"), journal).expect("a link");
    };
    let file: Spoil = |journal| {
        fs::rename(journal, journal.with_extension("aside")).expect("moved");
        fs::write(journal, b"7").expect("written");
    };
    for spoil in [link, file] {
        let (store, chsnap, ids) = noted();
        spoil(&store.repo().join("journal"));
        every_reader_says(&chsnap, ids[1], "journal");
        let newest = ids[1].to_string();
        let monitor = chsnap.run(&["monitor", "--json", "--warn", "99999h", "--crit", "99999h"]);
        assert!(monitor.stdout.contains("journal_unreadable"), "{monitor:?}");
        // Nothing is removed without a record of it.
        let refused = chsnap.expect(1, &["rm", &newest, "--yes"]);
        assert!(refused.stderr.contains("journal"), "{refused:?}");
        assert_eq!(names(&store.repo().join("snapshots")).len(), 2);
    }
}
