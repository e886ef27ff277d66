//! Commands that need no server, on made-up snapshots of November 2025.

use std::fs;

use crate::cli::support::Lab;
use crate::output::transcript::{Transcripts, transcripts};

#[test]
fn the_answers_of_commands_that_only_read_are_as_recorded() {
    let (lab, ids) = nights();
    transcripts(|all| {
        words(all, &lab);
        let chsnap = lab.chsnap();
        lab.run(0, &["pin", &ids[1], "--reason", "audit", "--until", "2199-12-31"]);
        all.show("list", chsnap, &[&["list"], &["list", "--json"], &["list", "--quiet"]]);
        let above = lab.path().to_str().expect("a path");
        all.show("list-all", chsnap, &[&["list", "--all", above], &["list", "--all", above, "--json"]]);
        all.show("show", chsnap, &[&["show"], &["show", &ids[1]], &["show", "latest~1", "--json"]]);
        all.show(
            "usage",
            chsnap,
            &[
                &["usage"],
                &["usage", "--quiet", "--keep-daily", "2"],
                &["usage", "--by", "table"],
                &["usage", "--by", "partition"],
                &["usage", "--freed", "..latest~2"],
            ],
        );
        all.show(
            "usage-json",
            chsnap,
            &[
                &["usage", "--json", "--keep-daily", "2"],
                &["usage", "--json", "--by", "table"],
                &["usage", "--json", "--by", "partition"],
                &["usage", "--json", "--freed", "..latest~2", "--exact"],
            ],
        );
        let keep = ["prune", "--keep-daily", "3", "--dry-run"];
        all.show("prune-dry-run", chsnap, &[&keep, &[&keep[..], &["--json"]].concat()]);
        all.show(
            "monitor",
            chsnap,
            &[&["monitor"], &["monitor", "--json"], &["monitor", "--warn", "2h", "--crit", "1h"]],
        );
        let page = lab.path().join("page.html");
        let page = page.to_str().expect("a path");
        all.show("report", chsnap, &[&["report", "--html", page], &["report", "--html", page, "--json"]]);
        all.show("unlock", chsnap, &[&["unlock"], &["unlock", "--json"], &["unlock", "--break"]]);
    });
}

#[test]
fn tables_fit_terminals_of_several_widths() {
    let (lab, ids) = nights_with_long_names();
    transcripts(|all| {
        words(all, &lab);
        let chsnap = lab.chsnap();
        lab.run(0, &["pin", &ids[1], "--reason", "the audit of the year 2025", "--until", "2199-12-31"]);
        all.show_widths("list-widths", chsnap, &[&["list"]]);
        all.show_widths("show-widths", chsnap, &[&["show"]]);
        all.show_widths("usage-widths", chsnap, &[&["usage"], &["usage", "--by", "partition", "--quiet"]]);
        all.show_widths("diff-widths", chsnap, &[&["diff", &ids[1], &ids[2]]]);
        all.show_widths("prune-widths", chsnap, &[&["prune", "--keep-daily", "2", "--dry-run"]]);
    });
}

#[test]
fn a_list_can_be_of_some_snapshots() {
    let (lab, ids) = nights_with_long_names();
    let listed = |line: &[&str]| {
        let document = lab.chsnap().json(0, &[&["ls"], line].concat());
        crate::cli::support::ids(&document["snapshots"], "id")
    };
    assert_eq!(listed(&[]), ids);
    assert_eq!(listed(&["--last", "2"]), ids[1..]);
    assert_eq!(listed(&["--last", "9"]), ids);
    assert_eq!(listed(&["--name", "before-*"]), [ids[0].as_str()]);
    assert_eq!(listed(&["--since", "2025-11-02"]), ids[1..]);
    assert_eq!(listed(&["--since", "2025-11-02T02:00:01Z"]), ids[2..]);
    assert_eq!(listed(&["--since", "1h"]), Vec::<String>::new());
    assert_eq!(listed(&["--table", "posthog.*"]), ids[2..]);
    assert_eq!(listed(&["--table", "shop.orders", "--last", "1"]), ids[2..]);
    let run = lab.run(0, &["list", "--table", "no.such"]);
    assert_eq!(run.stdout, "no snapshot matches\n");
    assert!(lab.run(2, &["list", "--since", "yesterday"]).stderr.contains("30d"));
}

/// Three nights; the last has tables whose names and engines no narrow terminal has room for.
fn nights_with_long_names() -> (Lab, Vec<String>) {
    let lab = Lab::new();
    let snapshot = |night: u32| {
        lab.snapshot_with(&format!("2025-11-{night:02}T02:00:00Z"), |manifest| {
            if night == 1 {
                manifest.label = chsnap::model::Label::new("before-the-upgrade-to-26.9".as_ref());
            }
            if night < 3 {
                return;
            }
            manifest.warnings = vec!["lab.log is not in the snapshot: it is a Log".to_owned()];
            let first = manifest.tables[0].clone();
            for (database, table, engine) in [
                ("posthog", "sharded_session_replay_events_of_all_teams", "ReplicatedAggregatingMergeTree"),
                ("posthog", ".inner_id.0123abcd-0000-4000-8000-333344445555", "SummingMergeTree"),
                ("posthog", "person_distinct_id_overrides_join_view", "View"),
            ] {
                let mut entry = first.clone();
                (entry.database, entry.table, entry.engine) = (database.into(), table.into(), engine.into());
                (entry.parts, entry.files, entry.rows, entry.apparent_bytes) = (1234, 56_789, 3_690_000, 5_000_000_000);
                entry.detached_parts = 3;
                if engine == "View" {
                    entry.state = chsnap::repo::TableState::Definition;
                }
                manifest.tables.push(entry);
            }
        })
    };
    let ids = (1..=3).map(snapshot).collect();
    (lab, ids)
}

#[test]
fn the_answers_of_commands_that_change_the_repository_are_as_recorded() {
    let (lab, ids) = nights();
    transcripts(|all| {
        words(all, &lab);
        let chsnap = lab.chsnap();
        let id = ids[1].as_str();
        all.show(
            "pin",
            chsnap,
            &[
                &["pin", id, "--reason", "audit of 2025"],
                &["pin", id, "--reason", "audit", "--until", "2199-12-31"],
                &["pin", id, "--reason", "audit", "--json"],
            ],
        );
        all.show("unpin", chsnap, &[&["unpin", id], &["unpin", id, "--json"]]);
        all.show(
            "rm",
            chsnap,
            &[&["rm", "latest"], &["rm", "latest", "latest~1", "--json"], &["rm", &ids[0], "--quiet"]],
        );
        all.show("list-trash", chsnap, &[&["list"], &["list", "--json"], &["usage", "--quiet"]]);
        all.show("undo", chsnap, &[&["undo"], &["undo", "--json"], &["undo", &ids[5]]]);
        all.show(
            "prune",
            chsnap,
            &[
                &["prune", "--keep-daily", "4"],
                &["prune", "--keep-daily", "4", "--json"],
                &["prune", "--keep-daily", "5", "--yes"],
                &["prune", "--keep-daily", "4", "--yes", "--json"],
                &["prune", "--keep-daily", "9", "--yes"],
                &["prune", "--keep-daily", "9", "--yes", "--json"],
                &["prune", "--keep-last", "1", "--yes"],
            ],
        );
        all.show("gc", chsnap, &[&["gc"], &["gc"], &["gc", "--json"]]);
    });
}

/// A local backup of clickhouse-backup: a table with a part that was made long ago, a Log table, a table whose part is gone.
fn backup(lab: &Lab) -> std::path::PathBuf {
    let backup = lab.path().join("backup");
    let part = backup.join("shadow/shop/orders/default/202511_1_1_0");
    fs::create_dir_all(backup.join("metadata/shop")).expect("a directory");
    fs::create_dir_all(&part).expect("a directory");
    fs::write(
        backup.join("metadata.json"),
        r#"{"backup_name": "monday", "creation_date": "2025-11-03T02:00:00Z", "clickhouse_version": "24.8.1"}"#,
    )
    .expect("a file");
    let table = |name: &str, engine: &str, parts: &str| {
        let text = format!(
            r#"{{"table": "{name}", "database": "shop", "query": "CREATE TABLE shop.{name} (k UInt8) ENGINE = {engine}", "parts": {parts}}}"#
        );
        fs::write(backup.join(format!("metadata/shop/{name}.json")), text).expect("a file");
    };
    table("orders", "MergeTree ORDER BY k", r#"{"default": [{"name": "202511_1_1_0"}]}"#);
    table("tags", "Set", "{}");
    table("visits", "MergeTree ORDER BY k", r#"{"cold": [{"name": "202511_4_4_0"}]}"#);
    for (file, content) in [
        ("checksums.txt", "checksums format version: 2\n0 files:\n"),
        ("columns.txt", "columns format version: 1\n1 columns:\n`k` UInt8\n"),
    ] {
        fs::write(part.join(file), content).expect("a file");
    }
    backup
}

#[test]
fn the_answers_of_import_are_as_recorded() {
    let lab = Lab::new();
    let backup = backup(&lab);
    transcripts(|all| {
        words(all, &lab);
        let backup = backup.to_str().expect("a path");
        all.show(
            "import",
            lab.chsnap(),
            &[
                &["import", backup, "--dry-run"],
                &["import", backup, "--dry-run", "--json"],
                &["import", backup, "--table", "shop.orders"],
                &["import", backup, "--json"],
                &["import", backup, "--table", "shop.nothing"],
                &["import", lab.path().join("repo/snapshots").to_str().expect("a path")],
            ],
        );
    });
}

#[test]
fn the_answers_of_copy_are_as_recorded() {
    let (lab, ids) = nights();
    transcripts(|all| {
        words(all, &lab);
        let chsnap = lab.chsnap();
        let id = ids[1].as_str();
        lab.run(0, &["pin", id, "--reason", "audit of 2025"]);
        let second = lab.path().join("second");
        let to = second.to_str().expect("a path");
        let own = lab.repo();
        all.show(
            "copy",
            chsnap,
            &[
                &["copy", id, "--to", to, "--dry-run"],
                &["copy", id, "--to", to],
                &["copy", "release", "--to", to],
                &["copy", "latest~1", "latest", "--to", to, "--dry-run", "--json"],
                &["copy", "latest", "--to", to, "--json"],
                &["copy", "--new", "--to", to],
                &["copy", "--new", "--to", to, "--json"],
                &["show", id, "--repo", to],
                &["copy", "latest", "--to", own.to_str().expect("a path")],
                &["copy", "--to", to],
            ],
        );
    });
}

/// Object stores, as far as a directory shows them.
#[cfg(feature = "remote")]
#[test]
fn the_answers_about_object_stores_are_as_recorded() {
    let (lab, ids) = nights();
    transcripts(|all| {
        words(all, &lab);
        all.word(lab.open().id().short(), "[repository]");
        let chsnap = lab.chsnap();
        let id = ids[1].as_str();
        let store = lab.path().join("store");
        let address = format!("file://{}", store.display());
        let address = address.as_str();
        all.show(
            "push",
            chsnap,
            &[
                &["push", id, "--to", address],
                &["push", id, "--to", address],
                &["push", "--new", "--to", address, "--json"],
                &["push", "--to", address],
                &["push", id, "--to", address, "--no-secrets"],
                &["push", "latest", "--to", "s3://key:secret@bucket/prefix"],
            ],
        );
        all.show(
            "remote",
            chsnap,
            &[
                &["remote", "list", address],
                &["remote", "list", address, "--json"],
                &["remote", "usage", address],
                &["remote", "check", address],
                &["remote", "verify", address, "--data"],
                &["remote", "rm", address, id, "--dry-run"],
                &["remote", "prune", address, "--keep-last", "1", "--dry-run"],
                &["remote", "prune", address, "--keep-last", "1", "--dry-run", "--json"],
                &["remote", "prune", address],
                &["remote", "gc", address, "--dry-run"],
                &["remote", "list", "file:///nothing/here"],
            ],
        );
        let clean = lab.path().join("clean");
        let clean = clean.to_str().expect("a path");
        all.show(
            "pull",
            chsnap,
            &[
                &["pull", "latest", "--from", address],
                &["pull", id, "--from", address, "--repo", clean],
                &["pull", "latest", "--from", address, "--repo", clean, "--json"],
                &["pull", "2019-01-01", "--from", address],
                &["pull", "latest", "--from", address, "--table", "shop.nothing"],
            ],
        );
    });
}

#[test]
fn the_answers_of_init_are_as_recorded() {
    let lab = Lab::without_repository();
    transcripts(|all| {
        words(all, &lab);
        let other = lab.path().join("other");
        let other = other.to_str().expect("a path");
        all.show("init", lab.chsnap(), &[&["init"], &["init"], &["init", "--repo", other, "--json"]]);
        all.show("list-empty", lab.chsnap(), &[&["list"], &["usage"], &["prune", "--keep-last", "1"], &["verify"]]);
    });
}

#[test]
fn the_answers_of_commands_that_need_no_repository_are_as_recorded() {
    let lab = Lab::without_repository();
    transcripts(|all| {
        words(all, &lab);
        let chsnap = lab.chsnap();
        let rules = ["--now", "2025-11-30T12:00:00Z", "--days", "60", "--keep-daily", "3", "--keep-weekly", "2"];
        let simulate = |more: &[&'static str]| [&["simulate"], &rules[..], more].concat();
        let times = lab.path().join("times.json");
        fs::write(&times, r#"["2025-11-01T02:00:00Z", {"time": "2025-11-02T02:00:00Z", "name": "release"}]"#)
            .expect("a file");
        let list = [
            "simulate",
            "--times",
            times.to_str().expect("a path"),
            "--now",
            "2025-11-30T12:00:00Z",
            "--keep-last",
            "1",
        ];
        all.show(
            "simulate",
            chsnap,
            &[
                &simulate(&[]),
                &simulate(&["--quiet"]),
                &simulate(&["--json"]),
                &list,
                &[&list[..], &["--json"]].concat(),
            ],
        );
        let config = lab.path().join("config.toml");
        fs::write(
            &config,
            "lock_wait = \"1s\"\n[prune]\nkeep_daily = 7\n[profile.nfs]\nrepo = \"/mnt/chsnap\"\n[profile.nfs.create]\nname = \"nightly\"\n",
        )
        .expect("a file");
        let config = config.to_str().expect("a path");
        all.show(
            "config",
            chsnap,
            &[
                &["config", "check"],
                &["config", "check", "--config", config],
                &["config", "check", "--config", config, "--json"],
                &["config", "show", "--config", config, "--profile", "nfs", "--origin"],
                &["config", "show", "--config", config],
                &["config", "show", "--config", config, "--profile", "nfs", "--json"],
            ],
        );
        let units = lab.path().join("units");
        let units = units.to_str().expect("a path");
        let systemd = ["systemd", "--program", "/usr/bin/env"];
        let profile = ["systemd", "--program", "/usr/bin/env", "--config", config, "--profile", "nfs"];
        all.show(
            "systemd",
            chsnap,
            &[
                &systemd,
                &[&profile[..], &["--json"]].concat(),
                &[&systemd[..], &["--template", "--output", units]].concat(),
            ],
        );
        all.show_head("completions", chsnap, &["completions", "bash"], 12);
        all.show_head("man", chsnap, &["man"], 12);
        let pages = lab.path().join("man");
        let pages = pages.to_str().expect("a path");
        all.show("man-pages", chsnap, &[&["man", pages], &["man", pages, "--json"]]);
    });
}

/// Six nights. The second has a name; the sixth was made with warnings.
fn nights() -> (Lab, Vec<String>) {
    let lab = Lab::new();
    let mut ids = Vec::new();
    for night in 1..=6 {
        ids.push(lab.snapshot_with(&format!("2025-11-{night:02}T02:00:00Z"), |manifest| match night {
            2 => manifest.label = chsnap::model::Label::new("release".as_ref()),
            6 => manifest.warnings = vec!["lab.log is not in the snapshot: it is a Log".to_owned()],
            _ => {}
        }));
    }
    (lab, ids)
}

fn words(all: &Transcripts, lab: &Lab) {
    all.word(lab.path(), "$DIR");
    let real = lab.path().canonicalize().expect("a path");
    all.word(real, "$DIR");
}
