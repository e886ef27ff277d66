//! Commands that query a server, on the newest engine.

use std::fs;

use crate::chsnap_command::Chsnap;
use crate::cli::support::ids;
use crate::engine::{Engine, Kind};
use crate::output::transcript::{Transcripts, transcripts};

fn load(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.events (month UInt32, id UInt64, name String) ENGINE = MergeTree PARTITION BY month ORDER BY id",
    );
    engine.query("SYSTEM STOP MERGES lab.events");
    engine.query("INSERT INTO lab.events SELECT 202510 + number % 2, number, toString(number) FROM numbers(1000)");
    engine.query("CREATE TABLE lab.log (k UInt32) ENGINE = Log");
    engine.query("CREATE VIEW lab.seen AS SELECT name FROM lab.events");
}

/// The ids of the snapshots, the oldest first.
fn listed(chsnap: &Chsnap) -> Vec<String> {
    ids(&chsnap.json(0, &["list"])["snapshots"], "id")
}

fn prepared(all: &Transcripts) -> (Engine, Chsnap) {
    let engine = Engine::start(Kind::V26);
    load(&engine);
    let chsnap = Chsnap::new(&engine.root().join("repo")).url(&engine.url());
    all.word(engine.root(), "$DIR");
    all.word(engine.root().canonicalize().expect("a path"), "$DIR");
    chsnap.expect(0, &["init"]);
    (engine, chsnap)
}

#[test]
fn the_answers_of_create_and_what_reads_its_snapshots_are_as_recorded() {
    transcripts(|all| {
        let (engine, chsnap) = prepared(all);
        all.show("doctor", &chsnap, &[&["doctor"], &["doctor", "--json"]]);
        all.show(
            "create-dry-run",
            &chsnap,
            &[
                &["create", "--dry-run"],
                &["create", "--dry-run", "--json"],
                &["create", "--dry-run", "--place", "copy"],
            ],
        );
        all.show("create", &chsnap, &[&["create", "--name", "first"]]);
        engine.query("INSERT INTO lab.events SELECT 202512, number, 'new' FROM numbers(10)");
        engine.query("ALTER TABLE lab.events DROP PARTITION 202510");
        all.show(
            "create-json",
            &chsnap,
            &[&["create", "--json", "--accept", "lab.log", "--pin", "for an audit", "--digest"]],
        );
        let [first, second] = &listed(&chsnap)[..] else { panic!("two snapshots") };
        all.show("create-show", &chsnap, &[&["list"], &["show", first], &["show", second, "--json"]]);
        let between = ["diff", first, second];
        all.show(
            "diff",
            &chsnap,
            &[&between, &[&between[..], &["--parts"]].concat(), &[&between[..], &["--json"]].concat()],
        );
        engine.query("INSERT INTO lab.events SELECT 202513, number, 'newer' FROM numbers(10)");
        all.show("diff-live", &chsnap, &[&["diff", "latest", "live", "--parts"], &["diff", first, "live", "--json"]]);
        all.show(
            "verify",
            &chsnap,
            &[
                &["verify"],
                &["verify", "latest", "--level", "structure", "--json"],
                &["verify", "--level", "data"],
                &["verify", "--level", "data", "--json"],
            ],
        );
        let config = engine.root().join("chsnap.toml");
        fs::write(&config, "[run]\nverify_slices = 1\n[prune]\nkeep_last = 2\n").expect("a file");
        let config = config.to_str().expect("a path");
        let run = ["run", "--config", config];
        all.show("run", &chsnap, &[&run, &[&run[..], &["--json"]].concat()]);
        all.show("monitor-of-a-server", &chsnap, &[&["monitor"], &["monitor", "--json"]]);
    });
}

#[test]
fn plans_fit_terminals_of_several_widths() {
    transcripts(|all| {
        let (engine, chsnap) = prepared(all);
        let long = "sharded_session_replay_events_of_all_teams_by_month";
        engine.query(&format!(
            "CREATE TABLE lab.{long} (k UInt32) ENGINE = ReplacingMergeTree ORDER BY k PARTITION BY k % 3"
        ));
        engine.query(&format!("INSERT INTO lab.{long} SELECT number FROM numbers(1000)"));
        engine.query("CREATE MATERIALIZED VIEW lab.per_day ENGINE = SummingMergeTree ORDER BY month POPULATE AS SELECT month, count() AS n FROM lab.events GROUP BY month");
        all.show_widths("create-dry-run-widths", &chsnap, &[&["create", "--dry-run"]]);
        chsnap.expect(0, &["create", "--accept", "lab.log"]);
        engine.query(&format!("INSERT INTO lab.{long} SELECT number FROM numbers(10)"));
        all.show_widths("diff-live-widths", &chsnap, &[&["diff", "latest"]]);
        all.show_widths("restore-dry-run-widths", &chsnap, &[&["restore", "latest", "--dry-run"]]);
    });
}

#[test]
fn the_answers_of_restore_and_drill_are_as_recorded() {
    transcripts(|all| {
        let (engine, chsnap) = prepared(all);
        chsnap.expect(0, &["create", "--accept", "lab.log", "--digest"]);
        let rename = ["restore", "latest", "--table", "lab.events", "--rename", "lab.events=lab.back"];
        let rename = |more: &[&'static str]| [&rename[..], more].concat();
        all.show(
            "restore-dry-run",
            &chsnap,
            &[
                &rename(&["--dry-run"]),
                &rename(&["--dry-run", "--json"]),
                &["restore", "latest", "--dry-run"],
                &["restore", "latest", "--dry-run", "--json"],
                &["restore", "latest", "--replace", "--dry-run"],
            ],
        );
        all.show("restore-nothing", &chsnap, &[&["restore", "latest"], &["restore", "latest", "--json"]]);
        engine.query("INSERT INTO lab.events SELECT * FROM lab.events LIMIT 7");
        let live = ["restore", "latest", "--table", "lab.events"];
        let live = |more: &[&'static str]| [&live[..], more].concat();
        all.show(
            "restore-refused",
            &chsnap,
            &[
                &["restore", "latest", "--yes"],
                &live(&["--yes"]),
                &live(&["--yes", "--json"]),
                &live(&["--replace", "--dry-run"]),
                &live(&["--dry-run", "--json"]),
                &rename(&[]),
                &rename(&["--json"]),
            ],
        );
        all.show("restore", &chsnap, &[&rename(&["--yes"])]);
        engine.query("DROP TABLE lab.back SYNC");
        all.show("restore-json", &chsnap, &[&rename(&["--yes", "--json"])]);
        engine.query("DROP DATABASE lab SYNC");
        all.show("restore-all", &chsnap, &[&["restore", "latest", "--yes"]]);
        assert_eq!(engine.query("SELECT count() FROM lab.events"), "1000");
        let to = |name: &str| engine.root().join(name).to_str().expect("a path").to_owned();
        let (one, two) = (to("one"), to("two"));
        let to_one = ["restore", "latest", "--to", &one];
        all.show("restore-to", &chsnap, &[&to_one, &to_one, &["restore", "latest", "--to", &two, "--json"]]);
        let three = to("three");
        let dry_run = |to, more: &[&'static str]| [&["restore", "latest", "--dry-run", "--to", to], more].concat();
        all.show(
            "restore-to-dry-run",
            &chsnap,
            &[
                &dry_run(&three, &[]),
                &dry_run(&three, &["--json"]),
                &dry_run(&one, &[]),
                &dry_run(&one, &["--json", "--table", "lab.events"]),
            ],
        );
        all.show("drill", &chsnap, &[&["drill"], &["drill", "--json"], &["show"], &["list"]]);
    });
}

#[test]
fn damage_is_reported_as_recorded() {
    transcripts(|all| {
        let (engine, chsnap) = prepared(all);
        chsnap.expect(0, &["create", "--accept", "lab.log"]);
        chsnap.expect(0, &["create", "--accept", "lab.log"]);
        let [first, second] = &listed(&chsnap)[..] else { panic!("two snapshots") };
        let part = |id: &str, name: &str| chsnap.repo().join("snapshots").join(id).join("data/lab/events").join(name);
        fs::remove_file(part(second, "202510_1_1_0").join("data.bin")).expect("removed");
        fs::write(part(first, "202511_2_2_0").join("foreign.bin"), "x").expect("a file");
        let target = engine.root().join("out").to_str().expect("a path").to_owned();
        let restore = ["restore", second, "--to", &target];
        all.show(
            "error-12-damage",
            &chsnap,
            &[
                &restore,
                &[&restore[..], &["--json"]].concat(),
                &["verify"],
                &["verify", "--json"],
                &["list"],
                &["verify", "--level", "data", "--repair"],
                &["verify", "--level", "data", "--json"],
            ],
        );
    });
}

#[test]
fn the_answers_about_users_and_roles_are_as_recorded() {
    transcripts(|all| {
        let (engine, chsnap) = prepared(all);
        let access = engine.data_path().join("access");
        fs::create_dir_all(&access).expect("a folder");
        for (uuid, text) in [
            (
                "0a1b2c3d-0001-4000-8000-000000000001",
                "ATTACH USER alice IDENTIFIED WITH sha256_hash BY 'AB12' SALT 'CD34' DEFAULT ROLE \
                 ID('0a1b2c3d-0002-4000-8000-000000000002');\n\
                 ATTACH GRANT ID('0a1b2c3d-0002-4000-8000-000000000002') TO alice;\n",
            ),
            ("0a1b2c3d-0002-4000-8000-000000000002", "ATTACH ROLE reader;\nATTACH GRANT SELECT ON lab.* TO reader;\n"),
            ("0a1b2c3d-0003-4000-8000-000000000003", "ATTACH USER eve;\nDROP DATABASE lab;\n"),
        ] {
            fs::write(access.join(format!("{uuid}.sql")), text).expect("a file");
        }
        chsnap.json(0, &["create", "--accept", "lab.log"]);
        all.show("show-access", &chsnap, &[&["show", "--access"], &["show", "--access", "--json"]]);
        all.show(
            "restore-access",
            &chsnap,
            &[
                &["restore", "latest", "--dry-run"],
                &["restore", "latest", "--access", "missing", "--yes"],
                &["restore", "latest", "--access", "all", "--yes", "--json"],
            ],
        );
    });
}
