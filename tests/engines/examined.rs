//! `doctor` reports the problems of the next `create`, and changes nothing.

use std::fs;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, READONLY_USER, apply, both_engines, rstest};
use crate::support::{load, repository, shadows};
use crate::tree::tree;

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {document}"))
}

fn document(chsnap: &Chsnap, code: i32, arguments: &[&str]) -> Value {
    let mut all = vec!["doctor", "--json"];
    all.extend(arguments);
    let run = chsnap.expect(code, &all);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(document["schema"], "chsnap.doctor.v1");
    for check in document["checks"].as_array().expect("checks") {
        assert_eq!(check["remedy"].is_null(), check["state"] == "ok", "what is not well has a remedy: {check}");
    }
    document
}

#[apply(both_engines)]
fn a_sound_setup_is_all_well_and_stays_as_it_was(#[case] kind: Kind) {
    let engine = Engine::start_with(kind, &Options { users: true, ..Options::default() });
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let before = (tree(&engine.data_path().join("shadow")), tree(&chsnap.repo().join("snapshots")));
    let found = document(&chsnap, 0, &[]);
    assert_eq!(found["state"], "ok", "{found}");
    for name in [
        "kernel",
        "mount",
        "space",
        "clock",
        "lock",
        "repository",
        "server",
        "rights",
        "disk",
        "link",
        "rename",
        "links",
    ] {
        check(&found, name);
    }
    assert!(check(&found, "rename")["message"].as_str().expect("text").contains("can be renamed"), "{found}");
    assert_eq!((tree(&engine.data_path().join("shadow")), tree(&chsnap.repo().join("snapshots"))), before);
    assert!(tree(&chsnap.repo().join("trash")).is_empty());
    assert!(chsnap.expect(0, &["doctor"]).stdout.lines().all(|line| line.starts_with("ok ")));

    let found = document(&chsnap, 1, &["--user", READONLY_USER]);
    assert_eq!(check(&found, "rights")["state"], "fail", "{found}");
    let found = document(&chsnap.clone().url("http://127.0.0.1:1"), 1, &[]);
    assert_eq!(check(&found, "server")["state"], "fail");
    assert_eq!(check(&found, "repository")["state"], "ok", "the rest is looked at all the same");
}

#[apply(both_engines)]
fn leftover_freezes_are_reported_with_owner_name_and_size(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    engine.query("ALTER TABLE lab.events FREEZE WITH NAME 'by_hand'");
    let shadow = engine.data_path().join("shadow");
    let ours = format!("chsnap_{}_20260101000000_00000001", repository_id(&chsnap).get(..8).expect("an id"));
    for name in [ours.as_str(), "chsnap_ffffffff_20260101000000_00000001"] {
        fs::create_dir_all(shadow.join(name).join("data")).expect("made");
    }
    let found = document(&chsnap, 3, &[]);
    let shadows_told: Vec<&Value> =
        found["checks"].as_array().expect("checks").iter().filter(|check| check["name"] == "shadow").collect();
    assert_eq!(shadows_told.len(), 3, "{found}");
    for (name, says) in [
        ("by_hand", "not chsnap's"),
        (ours.as_str(), "belongs to this repository"),
        ("chsnap_ffffffff", "another repository"),
    ] {
        let told = shadows_told.iter().find(|check| check["message"].as_str().is_some_and(|text| text.contains(name)));
        let told = told.unwrap_or_else(|| panic!("{name} in {found}"));
        assert!(told["remedy"].as_str().is_some_and(|text| text.contains(says)), "{told}");
    }
    assert_eq!(shadows(&engine).len(), 3, "doctor removes nothing");
}

fn repository_id(chsnap: &Chsnap) -> String {
    let config: Value =
        serde_json::from_slice(&fs::read(chsnap.repo().join("chsnap.json")).expect("there")).expect("JSON");
    config["id"].as_str().expect("an id").to_owned()
}

/// The repository is on a filesystem of its own that is too small for copies; hard links would need no space.
#[test]
fn a_first_copy_that_has_no_room_is_foretold() {
    let engine = Engine::start(crate::engine::Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.big (k UInt64, s String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.big SELECT number, randomString(200) FROM numbers(100000)");
    let memory = engine.root().join("memory");
    fs::create_dir(&memory).expect("a directory");
    let repo = memory.join("repo");
    let chsnap = Chsnap::new(&repo).url(&engine.url());
    let run = |size: &str, arguments: &[&str]| {
        let prepare = format!("mount -t tmpfs -o size={size} none \"$DATA\"; \"$1\" init >/dev/null");
        chsnap.in_namespace(&prepare, &memory, arguments)
    };
    let Some(small) = run("8m", &["doctor"]) else {
        eprintln!("SKIPPED: this user may not make mount namespaces");
        return;
    };
    assert_eq!(small.code, 1, "{}\n{}", small.stdout, small.stderr);
    let line = small.stdout.lines().find(|line| line.starts_with("fail     room ")).expect("a line");
    assert!(line.contains("there is no room for a copy of part ") && line.contains("lab.big"), "{line}");
    assert_eq!(run("8m", &["create"]).expect("it was possible before").code, 13);
    let large = run("512m", &["doctor"]).expect("it was possible before");
    assert_eq!(large.code, 3, "in memory, but with room: {}", large.stdout);
    assert!(large.stdout.lines().any(|line| line.starts_with("ok       room ")), "{}", large.stdout);
}
