//! Series: snapshots of different selections are judged separately, and reports are about the main series.

use std::fs;

use chsnap::repo::{Manifest, TableState};
use serde_json::{Value, json};

use crate::cli::support::{Lab, ids};

fn of_table(manifest: &mut Manifest) {
    manifest.settings.include = vec!["shop.customers".to_owned()];
}

/// A table of the selection was skipped.
fn skipping(manifest: &mut Manifest) {
    let mut entry = manifest.tables[0].clone();
    "lost".clone_into(&mut entry.table);
    (entry.state, entry.reason) = (TableState::Skipped, Some("no rights".to_owned()));
    manifest.tables.push(entry);
}

/// No table could be taken.
fn empty(manifest: &mut Manifest) {
    manifest.tables.clear();
    manifest.totals.tables = 0;
}

/// A full snapshot at 02:00 and one of one table at 18:00, for this many days.
fn days(count: u32) -> (Lab, Vec<String>, Vec<String>) {
    let lab = Lab::new();
    let (mut full, mut partial) = (Vec::new(), Vec::new());
    for day in 1..=count {
        full.push(lab.snapshot(&format!("2026-11-{day:02}T02:00:00Z")));
        partial.push(lab.snapshot_with(&format!("2026-11-{day:02}T18:00:00Z"), of_table));
    }
    (lab, full, partial)
}

fn latest(lab: &Lab) -> String {
    let link = fs::read_link(lab.repo().join("latest")).expect("latest");
    link.file_name().expect("a name").to_string_lossy().into_owned()
}

fn row<'a>(document: &'a Value, id: &str) -> &'a Value {
    document["snapshots"].as_array().expect("rows").iter().find(|row| row["id"] == id).expect("it is listed")
}

#[test]
fn a_snapshot_of_one_table_takes_the_place_of_no_full_one() {
    let (lab, full, partial) = days(3);
    let document = lab.chsnap().json(0, &["prune", "--keep-daily", "2", "--dry-run"]);
    assert_eq!(ids(&document["keep"], "id"), [&partial[2], &full[2], &partial[1], &full[1]].map(String::clone));
    assert_eq!(ids(&document["remove"], "id"), [&full[0], &partial[0]].map(String::clone));
    assert_eq!(document["keep"][0]["series"], "only shop.customers");
    assert_eq!(document["keep"][1]["reasons"], json!(["daily 1/2"]));
    lab.run(0, &["prune", "--keep-last", "1", "--yes-really"]);
    lab.run(0, &["gc"]);
    assert_eq!(lab.listed(0), [full[2].clone(), partial[2].clone()]);
}

#[test]
fn latest_monitor_and_reports_speak_of_the_main_series() {
    let (lab, full, partial) = days(2);
    assert_eq!(latest(&lab), full[1]);
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], full[1].as_str());
    assert_eq!(lab.chsnap().json(0, &["show", "latest~1"])["id"], full[0].as_str());
    assert!(lab.run(1, &["show", "latest~2"]).stderr.contains("oldest snapshot; there are 2"));
    let only = ["--series", "only shop.customers"];
    for named in [&only[..], &["--series", &partial[0]]] {
        let show = [named, &["show", "latest~1"]].concat();
        assert_eq!(lab.chsnap().json(0, &show)["id"], partial[0].as_str());
    }
    let monitor =
        |more: &[&str]| lab.chsnap().json(0, &[&["monitor", "--warn", "3650d", "--crit", "3650d"], more].concat());
    assert_eq!(monitor(&[])["newest"], "2026-11-02T02:00:00Z");
    assert_eq!(monitor(&only)["newest"], "2026-11-02T18:00:00Z");
    let listed = lab.chsnap().json(0, &["list"]);
    assert_eq!(listed["main_series"], "all");
    let found = row(&listed, &partial[0]);
    assert_eq!(
        (&found["series"], &found["series_label"]),
        (&json!("only shop.customers"), &json!("only shop.customers"))
    );
    let found = row(&listed, &full[0]);
    assert_eq!((&found["series"], &found["series_label"]), (&json!("all"), &Value::Null));
    assert_eq!(ids(&lab.chsnap().json(0, &["list", "--series", "only shop.customers"])["snapshots"], "id"), partial);
    assert!(lab.run(0, &["list"]).stdout.contains("[only shop.customers]"));
    assert!(lab.run(0, &["show", &partial[1]]).stdout.contains("series    [only shop.customers]"));
    let run = lab.run(2, &["list", "--series", "only shop"]);
    assert!(run.stderr.contains("there are all; only shop.customers"), "{}", run.stderr);
}

#[test]
fn the_configured_selection_is_the_main_series_once_it_has_a_complete_snapshot() {
    let lab = Lab::new();
    let old = |manifest: &mut Manifest| manifest.settings.exclude = vec!["*.tmp".to_owned()];
    let new = |manifest: &mut Manifest| {
        manifest.settings.exclude = vec!["shop.log".to_owned(), "*.tmp".to_owned()];
    };
    let nights = [lab.snapshot_with("2026-11-01T02:00:00Z", old), lab.snapshot_with("2026-11-02T02:00:00Z", old)];
    let config = lab.path().join("config.toml");
    let configure = |text: &str| fs::write(&config, text).expect("a file");
    let path = config.to_string_lossy().into_owned();
    let main = || {
        let listed = lab.chsnap().json(0, &["--config", &path, "list"]);
        (listed["main_series"].clone(), lab.chsnap().json(0, &["--config", &path, "show", "latest"])["id"].clone())
    };
    configure("[create]\nexclude = [\"*.tmp\"]\n");
    assert_eq!(main(), (json!("without *.tmp"), json!(nights[1])));
    configure("[create]\nexclude = [\"*.tmp\", \"shop.log\"]\n");
    assert_eq!(main(), (json!("without *.tmp"), json!(nights[1])), "the one before it");
    let first = lab.snapshot_with("2026-11-03T02:00:00Z", |manifest| {
        new(manifest);
        skipping(manifest);
    });
    assert_eq!(main(), (json!("without *.tmp"), json!(nights[1])), "an incomplete one makes it no main series");
    let second = lab.snapshot_with("2026-11-04T02:00:00Z", new);
    assert_eq!(main(), (json!("without *.tmp, shop.log"), json!(second)));
    assert_eq!(lab.chsnap().json(0, &["--config", &path, "show", "latest~1"])["id"], first.as_str());
}

#[test]
fn an_incomplete_snapshot_is_marked_and_pushes_no_complete_one_out() {
    let lab = Lab::new();
    let night = |night: u32| format!("2026-11-{night:02}T02:00:00Z");
    let good: Vec<String> = (1..=2).map(|number| lab.snapshot(&night(number))).collect();
    let bad: Vec<String> = (3..=5).map(|number| lab.snapshot_with(&night(number), skipping)).collect();
    let listed = lab.chsnap().json(0, &["list"]);
    for id in &good {
        assert_eq!(row(&listed, id)["incomplete"], false);
    }
    for id in &bad {
        assert_eq!(row(&listed, id)["incomplete"], true);
        assert_eq!(lab.chsnap().json(0, &["show", id])["incomplete"], true);
    }
    assert!(lab.run(0, &["list"]).stdout.contains("[incomplete"));
    let document = lab.chsnap().json(0, &["prune", "--keep-last", "1", "--dry-run"]);
    assert_eq!(ids(&document["keep"], "id"), [&bad[2], &good[1]].map(String::clone));
    // The next complete one lets the one before it go.
    let next = lab.snapshot(&night(6));
    let document = lab.chsnap().json(0, &["prune", "--keep-last", "1", "--dry-run"]);
    assert_eq!(ids(&document["keep"], "id"), [&next].map(String::clone));
}

#[test]
fn a_table_that_can_never_be_taken_makes_no_snapshot_incomplete_and_a_formerly_taken_one_does() {
    let lab = Lab::new();
    let left = |name: &'static str| {
        move |manifest: &mut Manifest| {
            let mut entry = manifest.tables[0].clone();
            name.clone_into(&mut entry.table);
            entry.state = TableState::DataLeft;
            manifest.tables.push(entry);
        }
    };
    let first = lab.snapshot_with("2026-11-01T02:00:00Z", left("kafka"));
    let same = lab.snapshot_with("2026-11-02T02:00:00Z", left("kafka"));
    let lost = lab.snapshot_with("2026-11-03T02:00:00Z", |manifest| manifest.tables[0].state = TableState::DataLeft);
    let accepted = lab.snapshot_with("2026-11-04T02:00:00Z", |manifest| {
        manifest.tables[0].state = TableState::DataLeft;
        manifest.settings.accept = vec!["shop.orders".to_owned()];
    });
    let nothing = lab.snapshot_with("2026-11-05T02:00:00Z", empty);
    let listed = lab.chsnap().json(0, &["list"]);
    let incomplete = |id: &str| row(&listed, id)["incomplete"] == true;
    assert_eq!([&first, &same, &lost, &accepted, &nothing].map(|id| incomplete(id)), [false, false, true, false, true]);
    assert_eq!(latest(&lab), accepted, "one without any table is not what latest means");
}

#[test]
fn a_series_that_nothing_is_added_to_is_pointed_out_and_can_go_by_rule() {
    let lab = Lab::new();
    let old = lab.snapshot_with("2026-05-01T18:00:00Z", of_table);
    let pinned = lab.snapshot_with("2026-05-02T18:00:00Z", of_table);
    lab.run(0, &["pin", &pinned, "--reason", "audit"]);
    let full = [lab.snapshot("2026-11-01T02:00:00Z"), lab.snapshot("2026-11-02T02:00:00Z")];
    let prune = ["prune", "--keep-last", "5", "--dry-run"];
    let document = lab.chsnap().json(0, &prune);
    assert_eq!(document["remove"], json!([]));
    let stale = &document["stale_series"];
    assert_eq!((&stale[0]["series"], &stale[0]["snapshots"]), (&json!("only shop.customers"), &json!([old])));
    assert!(stale[0]["freed_bytes"].as_u64().expect("bytes") > 0 && stale.as_array().expect("rows").len() == 1);
    let text = lab.run(0, &prune).stdout;
    assert!(text.contains("the series [only shop.customers]") && text.contains(&format!("chsnap rm {old}")), "{text}");
    let by_rule = [&prune[..], &["--keep-other-within", "90d"]].concat();
    let document = lab.chsnap().json(0, &by_rule);
    assert_eq!((ids(&document["remove"], "id"), &document["remove"][0]["reason"]), (vec![old], &json!("series_ended")));
    assert_eq!((ids(&document["keep"], "id").len(), &document["guards"]), (full.len() + 1, &json!([])));
    assert_eq!(document["stale_series"], json!([]));
}

#[test]
fn the_share_that_may_go_is_that_of_a_series() {
    let lab = Lab::new();
    for day in 1..=9 {
        lab.snapshot(&format!("2026-11-{day:02}T02:00:00Z"));
    }
    for day in 1..=3 {
        lab.snapshot_with(&format!("2026-11-{day:02}T18:00:00Z"), of_table);
    }
    // Four of nine and none of three, and eight of nine and two of three.
    lab.run(0, &["prune", "--keep-last", "5", "--dry-run"]);
    assert_eq!(lab.chsnap().json(13, &["prune", "--keep-last", "1", "--yes"])["state"], "refused");
    let document = lab.chsnap().json(0, &["prune", "--keep-last", "1", "--dry-run"]);
    assert_eq!(
        document["guards"],
        json!([
            "8 of 9 snapshots of [all] would be removed, more than 50 %",
            "2 of 3 snapshots of [only shop.customers] would be removed, more than 50 %"
        ])
    );
}

#[test]
fn the_rules_of_a_file_are_added_to_those_of_the_command_line_without_only_these() {
    let (lab, nights) = Lab::with_nights(9);
    let config = lab.path().join("config.toml");
    fs::write(&config, "[prune]\nkeep_daily = 4\nmin_keep = 2\n").expect("a file");
    let path = config.to_string_lossy().into_owned();
    let kept = |arguments: &[&str]| {
        let all = [&["--config", &path], arguments].concat();
        let document = lab.chsnap().json(0, &all);
        (document["keep"].as_array().expect("rows").len(), document)
    };
    let (count, document) = kept(&["prune", "--dry-run", "--keep-last", "6"]);
    assert_eq!(count, 6);
    assert_eq!(
        document["rules"],
        json!([
            {"key": "keep_daily", "values": ["4"], "origin": format!("{path}:2")},
            {"key": "keep_last", "values": ["6"], "origin": "command line"},
            {"key": "min_keep", "values": ["2"], "origin": format!("{path}:3")},
        ])
    );
    assert_eq!(kept(&["prune", "--dry-run", "--keep-daily", "3"]).0, 4, "the rule that keeps more");
    assert_eq!(kept(&["prune", "--dry-run", "--keep-daily", "3", "--only-these"]).0, 3);
    let run = lab.run(0, &["--config", &path, "prune", "--dry-run", "--keep-last", "6"]);
    assert!(
        run.stdout.contains(&format!("  keep_daily = 4  ({path}:2)\n  keep_last = 6  (command line)\n")),
        "{run:?}"
    );
    assert!(lab.run(2, &["--config", &path, "prune", "--only-these"]).stderr.contains("no rule says"));
    let times = lab.path().join("times.json");
    fs::write(&times, lab.run(0, &["list", "--json"]).stdout).expect("a file");
    let times = times.to_string_lossy().into_owned();
    assert_eq!(kept(&["simulate", "--times", &times]).0, 4);
    assert_eq!(kept(&["simulate", "--times", &times, "--keep-last", "1"]).0, 2, "the floor of the file stays");
    assert_eq!(kept(&["simulate", "--times", &times, "--keep-last", "1", "--min-keep", "1"]).0, 1);
    assert_eq!(nights.len(), 9);
}

#[test]
fn simulate_judges_times_of_several_series_as_prune_judges_their_snapshots() {
    let (lab, ..) = days(5);
    let prune = lab.chsnap().json(0, &["prune", "--keep-daily", "3", "--dry-run"]);
    let times = lab.path().join("times.json");
    fs::write(&times, lab.run(0, &["list", "--json"]).stdout).expect("a file");
    let path = times.to_string_lossy().into_owned();
    let simulate = || lab.chsnap().json(0, &["simulate", "--times", &path, "--keep-daily", "3"]);
    assert_eq!(ids(&simulate()["keep"], "id"), ids(&prune["keep"], "id"));
    fs::write(
        &times,
        r#"[{"time": "2026-11-01T02:00:00Z", "series": "a"}, {"time": "2026-11-02T02:00:00Z", "series": "b"}]"#,
    )
    .expect("a file");
    assert_eq!(simulate()["keep"].as_array().expect("rows").len(), 2);
}

#[test]
fn the_last_good_snapshot_of_the_main_series_goes_only_by_force() {
    let (lab, full, partial) = days(1);
    let run = lab.run(13, &["rm", &full[0]]);
    assert!(run.stderr.contains("the last complete snapshot"), "{}", run.stderr);
    lab.run(0, &["rm", &partial[0]]);
    lab.run(0, &["rm", "--force", &full[0]]);
}

#[test]
fn monitor_names_every_kind_of_trouble() {
    let (lab, nights) = Lab::with_nights(6);
    let monitor = |code, more: &[&str]| {
        let all = [&["monitor", "--json", "--warn", "3650d", "--crit", "3650d"], more].concat();
        let document: Value = serde_json::from_str(&lab.run(code, &all).stdout).expect("a document");
        let problems = document["problems"].as_array().expect("problems").clone();
        problems.iter().map(|problem| problem["kind"].as_str().expect("a kind").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(monitor(0, &[]), Vec::<String>::new());
    assert_eq!(monitor(1, &["--verified-within", "1d"]), ["not_verified"]);
    lab.chsnap().json(13, &["prune", "--keep-last", "1", "--yes"]);
    assert_eq!(monitor(1, &[]), ["prune_refused"]);
    lab.run(0, &["prune", "--keep-last", "5", "--yes"]);
    assert_eq!(monitor(0, &[]), Vec::<String>::new());
    lab.locked(|locked| {
        let id = nights[5].parse().expect("an id");
        let drilled =
            chsnap::repo::Event::Drilled { id, tables: 1, of_tables: 1, failed: 1, parts: 1, rows: 0, digests: 0 };
        locked.record(crate::cli::support::time("2026-11-20T00:00:00Z"), &drilled).expect("recorded");
    });
    assert_eq!(monitor(2, &[]), ["drill_failed"]);
    lab.snapshot_with("2026-11-07T02:00:00Z", skipping);
    assert_eq!(monitor(2, &[]), ["drill_failed", "snapshot_incomplete"]);
}

#[test]
fn unreadable_snapshots_are_removed_only_with_the_option_and_newer_formats_never() {
    let (lab, nights) = Lab::with_nights(4);
    fs::write(lab.at(&nights[0]).join("manifest.json"), "garbage").expect("damage");
    fs::write(lab.at(&nights[1]).join("manifest.json"), r#"{"format": 7}"#).expect("a newer one");
    let prune = ["prune", "--keep-last", "5", "--dry-run"];
    assert_eq!(lab.chsnap().json(0, &prune)["remove"], json!([]));
    let document = lab.chsnap().json(0, &[&prune[..], &["--forget-unreadable"]].concat());
    assert_eq!(
        (ids(&document["remove"], "id"), &document["remove"][0]["reason"]),
        (nights[..1].to_vec(), &json!("unreadable"))
    );
}
