//! Commands that need no server, on made-up snapshots of November 2025.

use std::fs;

use crate::support::Lab;
use crate::transcript::{Transcripts, transcripts};

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
        let systemd = ["systemd", "--program", "/usr/bin/chsnap"];
        let profile = ["systemd", "--program", "/usr/bin/chsnap", "--config", config, "--profile", "nfs"];
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
