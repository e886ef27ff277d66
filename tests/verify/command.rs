//! The whole command: output, exit codes, concurrent readers, a disk with errors.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chsnap::model::SnapshotId;
use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::store::{Store, part, time};
use crate::tree::tree;

fn store() -> (Store, Chsnap, Vec<SnapshotId>) {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(7, 5, true));
    store.put("two", "all_1_1_0", &part(8, 3, false));
    let ids = vec![store.snapshot(), store.snapshot()];
    let chsnap = Chsnap::new(&store.repo());
    (store, chsnap, ids)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn a_sound_repository_is_verified_with_nothing_to_say_and_that_is_listed() {
    let (store, chsnap, ids) = store();
    let before = tree(&store.repo().join("snapshots"));
    let row = |id: &SnapshotId| {
        let listed = chsnap.json(0, &["list"]);
        let rows = listed["snapshots"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["id"] == id.to_string()).expect("listed")
    };
    assert_eq!(row(&ids[0])["verified"], Value::Null);
    for level in ["structure", "size", "data"] {
        let document = chsnap.json(0, &["verify", "--level", level]);
        assert_eq!((text(&document["schema"]), text(&document["level"])), ("chsnap.verify.v1", level));
        assert_eq!(
            (&document["damage"], &document["warnings"]),
            (&Value::Array(Vec::new()), &Value::Array(Vec::new()))
        );
        assert_eq!((&document["checked"]["snapshots"], &document["checked"]["parts"]), (&2.into(), &4.into()));
        assert_eq!(document["recorded"], true);
        assert_eq!(row(&ids[1])["verified"]["level"], level);
    }
    assert!(row(&ids[0])["verified"]["data_time"].is_string());
    assert!(chsnap.json(0, &["show", &ids[0].to_string()])["verified"]["time"].is_string());
    assert!(chsnap.expect(0, &["list"]).stdout.contains("VERIFIED"));
    assert!(chsnap.expect(0, &["show"]).stdout.contains("verified"));
    let run = chsnap.expect(0, &["verify"]);
    assert!(run.stdout.contains("no damage"), "{}", run.stdout);
    let one = chsnap.json(0, &["verify", "latest"]);
    assert_eq!((&one["checked"]["snapshots"], &one["snapshots"][0]), (&1.into(), &ids[1].to_string().into()));
    assert_eq!(tree(&store.repo().join("snapshots")), before, "nothing is changed");
}

#[test]
fn damage_is_exit_code_12_and_reported_in_text_and_json() {
    let (store, chsnap, ids) = store();
    let path = store.at(ids[1]).join("data/d/one/all_1_1_0/c4.bin");
    let mut bytes = fs::read(&path).expect("read");
    bytes[0] ^= 1;
    fs::write(&path, bytes).expect("written");
    chsnap.json(0, &["verify"]);
    let document = chsnap.json(12, &["verify", "--level", "data"]);
    let damage = &document["damage"];
    assert_eq!(damage.as_array().map(Vec::len), Some(1), "{damage}");
    let one = &damage[0];
    assert_eq!((text(&one["kind"]), text(&one["table"]), text(&one["part"])), ("content", "d.one", "all_1_1_0"));
    assert_eq!(one["path"], path.to_str().expect("a text"));
    assert_eq!(one["snapshots"], serde_json::json!(ids));
    assert_eq!((text(&one["expected"]).len(), text(&one["found"]).len()), (32, 32));
    assert_eq!((&one["intact"], &one["linked_outside"]), (&Value::Null, &true.into()));
    let run = chsnap.expect(12, &["verify", "--level", "data"]);
    for said in ["content", "c4.bin", "DAMAGE: 1 thing wrong", "elsewhere"] {
        assert!(run.stdout.contains(said), "{said} in {}", run.stdout);
    }
    assert!(chsnap.expect(3, &["list"]).stdout.contains("DAMAGED"));
    let monitor = chsnap.expect(2, &["monitor", "--warn", "100000h", "--crit", "100000h"]);
    assert!(monitor.stdout.starts_with("CHSNAP CRITICAL") && monitor.stdout.contains("damage"), "{}", monitor.stdout);
    // One truth: what the list warns of, so does the snapshot itself.
    let (shown, listed) = (chsnap.json(3, &["show"]), chsnap.json(3, &["list"]));
    assert_eq!(shown["verified"]["damaged"], true);
    let warned = |document: &Value| document["warning_list"].as_array().expect("warnings").clone();
    let [warning] = &warned(&shown)[..] else { panic!("{shown}") };
    assert_eq!((text(&warning["kind"]), warned(&listed).len()), ("damage_found", 1));
    assert!(text(&warning["message"]).starts_with(&format!("known damage in {}:", ids[1])), "{warning}");
    // What is known stays known where no data is read.
    let noted = chsnap.json(3, &["verify", "--level", "size"]);
    assert_eq!((&noted["state"], &noted["noted_damaged"]), (&"noted_damaged".into(), &serde_json::json!(ids)));
    let noted = chsnap.expect(3, &["verify"]);
    assert!(noted.stdout.contains("2 snapshots noted as damaged") && !noted.stdout.contains("no damage"), "{noted:?}");
    // A share says so as well, whichever does not have the part, and so does a check of that table below data.
    let shares =
        ["1/3", "2/3", "3/3"].map(|slice| chsnap.run(&["--json", "verify", "--level", "data", "--slice", slice]));
    assert_eq!(shares.iter().filter(|run| run.code == 12).count(), 1, "{shares:?}");
    for run in shares.iter().filter(|run| run.code != 12) {
        let noted: Value = serde_json::from_str(&run.stdout).expect("a document");
        assert_eq!((run.code, &noted["state"]), (3, &"noted_damaged".into()), "{noted}");
        assert_eq!(noted["noted_damaged"], serde_json::json!(ids));
        assert!(
            noted["warning_list"][0]["message"].as_str().is_some_and(|text| text.contains("d.one all_1_1_0")),
            "{noted}"
        );
    }
    let one = chsnap.json(3, &["verify", "--table", "d.one"]);
    assert_eq!(one["state"], "noted_damaged");
    chsnap.json(0, &["verify", "--table", "d.two"]);
    let doctor: Value = serde_json::from_str(&chsnap.run(&["--json", "doctor"]).stdout).expect("a document");
    let found = doctor["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "damage");
    let remedy = text(&found.expect("a finding")["remedy"]);
    assert!(remedy.contains("--repair") && remedy.contains("the next chsnap create takes the part"), "{remedy}");
    // Another snapshot of the journal's own words.
    assert!(chsnap.json(12, &["verify", "--level", "data", "--repair"])["damage"][0]["not_repaired"].is_string());
}

#[test]
fn wrong_questions_are_usage_errors_and_no_snapshots_are_none() {
    let (_store, chsnap, _) = store();
    for arguments in [
        &["verify", "--slice", "3/2"][..],
        &["verify", "--level", "all"],
        &["verify", "--since", "30d"],
        &["verify", "--rate", "0"],
        &["verify", "--table", "one"],
    ] {
        chsnap.expect(2, arguments);
    }
    chsnap.expect(1, &["verify", "2031"]);
    let empty = Chsnap::new(&Store::new().repo());
    empty.expect(10, &["verify"]);
    let store = Store::new();
    let run = Chsnap::new(&store.repo()).expect(0, &["verify"]);
    assert!(run.stdout.contains("no snapshots"), "{}", run.stdout);
    Chsnap::new(&store.repo()).expect(1, &["verify", "latest"]);
}

#[test]
fn a_file_that_the_disk_does_not_give_is_damage_and_the_rest_is_checked() {
    let (store, chsnap, ids) = store();
    for (name, call) in
        [("c4.bin", "pread64"), ("checksums.txt", "read"), ("columns.txt", "pread64"), ("c4.bin", "openat")]
    {
        // What both snapshots have is read in the first.
        let path = store.at(ids[0]).join("data/d/one/all_1_1_0").join(name);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&path);
        strace.args(["-e", &format!("inject={call}:error=EIO")]);
        if call == "openat" {
            // By the name alone: what is opened has no path yet.
            strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=newfstatat:error=EIO:when=20"]);
        }
        let arguments = ["--json", "--progress", "none", "-j", "1", "verify", "--level", "data"];
        let run = match chsnap.under(strace, &arguments).output() {
            Ok(output) => Run::of(&output),
            Err(error) => {
                eprintln!("SKIPPED: strace does not start here: {error}");
                return;
            }
        };
        assert_eq!(run.code, 12, "{name} {call}: {}{}", run.stdout, run.stderr);
        let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let damage = document["damage"].as_array().expect("a list");
        assert_eq!(document["checked"]["parts"], 4);
        assert!(
            damage.iter().all(|one| one["kind"] == "unreadable" && text(&one["found"]).contains("Input/output")),
            "{document}"
        );
        if call != "openat" {
            assert!(
                damage
                    .iter()
                    .any(|one| text(&one["path"]).ends_with(name) && one["snapshots"] == serde_json::json!(ids)),
                "{name}: {document}"
            );
            assert_eq!(damage.len(), 1, "{name}: {document}");
        }
    }
    chsnap.json(0, &["verify", "--level", "data"]);
}

#[test]
fn a_locked_repository_is_verified_all_the_same_and_the_journal_is_not_written() {
    let (store, chsnap, _) = store();
    let repository = store.open();
    let locked = repository.lock("create", time(1), Duration::ZERO).expect("free");
    let document = chsnap.json(3, &["verify"]);
    assert_eq!((&document["recorded"], &document["checked"]["parts"]), (&false.into(), &4.into()));
    assert!(document["warnings"].to_string().contains("locked"), "{document}");
    drop(locked);
    assert_eq!(chsnap.json(0, &["verify"])["recorded"], true);
}

#[test]
fn a_user_who_may_only_read_verifies_and_one_who_may_not_gets_a_warning() {
    let (store, chsnap, ids) = store();
    let setpriv = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
        Run::of(&chsnap.under(command, arguments).output().expect("setpriv starts"))
    };
    if chsnap::fs::user_id() != 0 {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    open_to_all(&store.repo());
    let binary = Path::new(env!("CARGO_BIN_EXE_chsnap"));
    if !binary.ancestors().all(|above| above.metadata().is_ok_and(|stat| stat.permissions().mode() & 0o005 == 0o005)) {
        eprintln!("SKIPPED: another user cannot start the program here");
        return;
    }
    // Modes are changed for this test: what they should be is another one's affair.
    let run = setpriv(&["--json", "--progress", "none", "verify", "--level", "data"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let damage = document["damage"].as_array().expect("a list");
    assert_eq!((damage.len(), &document["state"]), (0, &"drifted".into()), "{document}");
    assert!(document["drift"].as_array().is_some_and(|drift| drift.iter().all(|one| one["kind"] == "mode")));
    assert!(document["warnings"].to_string().contains("journal"), "{document}");
    let file = store.at(ids[1]).join("data/d/one/all_1_1_0/c4.bin");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("a mode");
    let run = setpriv(&["--json", "--progress", "none", "verify", "--level", "data"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert!(document["warnings"].to_string().contains("may not read"), "{document}");
    assert!(!document["damage"].to_string().contains("unreadable"), "{document}");
}

fn open_to_all(path: &Path) {
    let bits = if path.is_dir() { 0o755 } else { 0o444 };
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            open_to_all(&entry.expect("an entry").path());
        }
    }
    if let Some(above) =
        path.parent().filter(|above| above.ends_with("repo") || above.parent().is_some_and(|top| top.ends_with("shm")))
    {
        fs::set_permissions(above, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

#[test]
fn a_snapshot_is_leased_while_it_is_read_and_one_that_went_away_is_removed_and_no_damage() {
    let (_store, chsnap, ids) = store();
    // Slow enough to be met while it reads.
    let mut command =
        chsnap.command(&["--json", "--progress", "none", "-j", "1", "verify", "--level", "data", "--rate", "60KiB"]);
    let reading = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(400));
    chsnap.json(0, &["rm", &ids[0].to_string()]);
    let run = chsnap.expect(3, &["gc"]);
    assert!(run.stderr.contains("reading it"), "{}", run.stderr);
    let output = reading.wait_with_output().expect("it ends");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{document}");
    assert_eq!(
        (&document["removed"], &document["snapshots"]),
        (&serde_json::json!([ids[0]]), &serde_json::json!([ids[1]]))
    );
    assert!(document["seconds"].as_f64().is_some_and(|seconds| seconds > 0.6), "{document}");
    chsnap.expect(0, &["gc"]);
    chsnap.json(0, &["verify", "--level", "data"]);
}

#[test]
fn a_journal_with_lines_of_a_newer_version_goes_on_counting() {
    let (store, chsnap, _) = store();
    chsnap.json(0, &["verify"]);
    let journal = store.repo().join("journal");
    let name = crate::store::names(&journal).pop().expect("a month");
    let line = "{\"number\":41,\"time\":\"2026-11-22T17:03:06Z\",\"event\":\"teleported\",\"to\":\"moon\"}\n";
    let before = fs::read_to_string(journal.join(&name)).expect("a journal");
    fs::write(journal.join(&name), before + line).expect("written");
    chsnap.json(0, &["verify"]);
    let text = fs::read_to_string(journal.join(&name)).expect("a journal");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["number"], &last["event"]), (&42.into(), &"verified".into()));
}
