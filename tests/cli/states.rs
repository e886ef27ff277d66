//! A figure for each state of a night that needs attention.

use std::fs;

use chsnap::model::{TableName, Warning, WarningKind};
use chsnap::repo::Event;

use crate::chsnap_command::Chsnap;
use crate::cli::support::Lab;
use crate::freezer::served_repository;

/// The value of a figure, with all of its labels but the profile.
fn value(page: &str, name: &str, label: &str) -> Option<f64> {
    let label = if label.is_empty() { String::new() } else { format!(",{label}") };
    let line = format!("{name}{{profile=\"default\"{label}}} ");
    page.lines().find_map(|text| text.strip_prefix(&line)).map(|value| value.parse().expect("a number"))
}

fn figures(chsnap: &Chsnap, folder: &std::path::Path) -> String {
    let file = folder.join("chsnap.prom");
    chsnap.run(&["monitor", "--metrics-file", file.to_str().expect("a path")]);
    fs::read_to_string(file).expect("the figures")
}

#[test]
fn damage_failed_drills_refused_prunes_and_lagging_replicas_have_figures_that_go_away_again() {
    let lab = Lab::new();
    let now = chrono::Utc::now();
    let id = lab.snapshot(&(now - chrono::TimeDelta::hours(2)).to_rfc3339());
    let read = || figures(lab.chsnap(), lab.path());
    let well = read();
    for name in [
        "chsnap_snapshots_with_damage",
        "chsnap_snapshots_with_failed_drill",
        "chsnap_newest_snapshot_incomplete",
        "chsnap_prune_refused",
        "chsnap_newest_snapshot_replicas_behind",
        "chsnap_foreign_freezes",
        "chsnap_repository_shadow_bytes",
    ] {
        assert_eq!(value(&well, name, ""), Some(0.0), "{name}\n{well}");
    }

    let record = |event: &Event| lab.locked(|locked| locked.record(chrono::Utc::now(), event).expect("recorded"));
    let drilled = |failed: u64| {
        let id = id.parse().expect("an id");
        record(&Event::Drilled { id, tables: 2, of_tables: 2, failed, parts: 4, rows: 5, digests: 0 });
    };
    drilled(1);
    record(&Event::PruneRefused { guards: vec!["it would remove 10 of 12 snapshots".to_owned()] });
    let table = |name: &str| TableName { database: "shop".to_owned(), table: name.to_owned() };
    let warn = |kind: WarningKind, name: &str| Warning::of_table(kind, &table(name), "behind");
    lab.snapshot_with(&(now - chrono::TimeDelta::hours(1)).to_rfc3339(), |manifest| {
        // Two kinds of one table are one table; other warnings are none.
        manifest.warning_list = vec![
            warn(WarningKind::ReplicaBehind, "a"),
            warn(WarningKind::ReplicaReadOnly, "a"),
            warn(WarningKind::ReplicaBehind, "b"),
            warn(WarningKind::DataLeftBehind, "c"),
        ];
        manifest.warnings = manifest.warning_list.iter().map(ToString::to_string).collect();
    });
    let bad = read();
    assert_eq!(value(&bad, "chsnap_snapshots_with_failed_drill", ""), Some(1.0));
    assert_eq!(value(&bad, "chsnap_prune_refused", ""), Some(1.0));
    assert_eq!(value(&bad, "chsnap_newest_snapshot_replicas_behind", ""), Some(2.0));

    drilled(0);
    lab.chsnap().expect(0, &["rm", &id]);
    lab.snapshot(&now.to_rfc3339());
    let again = read();
    for name in ["chsnap_snapshots_with_failed_drill", "chsnap_prune_refused", "chsnap_newest_snapshot_replicas_behind"]
    {
        assert_eq!(value(&again, name, ""), Some(0.0), "{name}");
    }
}

#[test]
fn each_step_that_failed_and_a_freeze_of_another_tool_have_figures() {
    let (folder, freezer, chsnap) = served_repository();
    freezer.add_part("events", "all_1_1_0");
    let file = folder.path().join("chsnap.prom");
    let config = folder.path().join("config.toml");
    let run = |code: i32, url: &str| {
        fs::write(&config, format!("[run]\nserver_wait = \"1s\"\nmetrics_file = {file:?}\n")).expect("a file");
        let chsnap = chsnap.clone().url(url);
        chsnap.expect(code, &["--config", config.to_str().expect("a path"), "--progress", "none", "run"]);
        fs::read_to_string(&file).expect("the figures")
    };
    let well = run(0, freezer.url());
    assert_eq!(value(&well, "chsnap_run_step_failed", "step=\"create\""), Some(0.0), "{well}");
    // Nothing listens there.
    let failed = run(1, "http://127.0.0.1:9");
    assert_eq!(value(&failed, "chsnap_run_step_failed", "step=\"create\""), Some(1.0), "{failed}");
    assert_eq!(value(&failed, "chsnap_foreign_freezes", ""), Some(0.0));
    // What monitor writes in between keeps the figures of the run.
    fs::create_dir_all(folder.path().join("ch/shadow/by_hand/data")).expect("a freeze");
    let between = figures(&chsnap, folder.path());
    assert_eq!(value(&between, "chsnap_run_step_failed", "step=\"create\""), Some(1.0));
    assert_eq!(value(&between, "chsnap_foreign_freezes", ""), Some(1.0), "{between}");
}
