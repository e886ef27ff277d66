//! `simulate`: retention rules without a repository and without a server.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::chsnap_command::{Chsnap, Run};
use crate::cli::support::{Lab, ids};

/// A command that has no repository and no server, and a file of these times.
struct Desk {
    dir: tempfile::TempDir,
    chsnap: Chsnap,
}

impl Desk {
    fn new(times: &Value) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("times.json"), times.to_string()).expect("a file");
        let chsnap = Chsnap::new(&dir.path().join("nothing"));
        Self { dir, chsnap }
    }

    fn file(&self) -> String {
        self.dir.path().join("times.json").to_string_lossy().into_owned()
    }

    /// The document for the times in the file.
    #[track_caller]
    fn answer(&self, policy: &[&str]) -> Value {
        let file = self.file();
        self.chsnap.json(0, &[&["simulate", "--times", &file, "--now", "2026-11-22T03:00:00Z"], policy].concat())
    }
}

fn fed(chsnap: &Chsnap, arguments: &[&str], input: &str) -> Run {
    let mut command = chsnap.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("chsnap starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("its stdin"), input.as_bytes()).expect("it reads");
    Run::of(&child.wait_with_output().expect("it ends"))
}

#[test]
fn times_are_answered_as_they_were_given_the_newest_first() {
    let desk = Desk::new(&json!([
        "2026-11-20T02:00:00Z",
        "2026-11-22T04:00:00.1+02:00",
        {"time": "2026-11-21T02:00:00Z", "name": "release-1"},
        "2026-11-20T02:00:00Z",
        {"time": "2026-11-19T02:00:00Z", "tags": ["foo", "bar"]},
        "2026-11-22T03:00:00.5Z",
    ]));
    let document = desk.answer(&["--keep-last", "2", "--keep-name", "foo"]);
    assert_eq!(document["schema"], "chsnap.simulate.v1");
    assert_eq!(document["zone"], "UTC");
    // Every key is there; those that were not given are null.
    let row = |time: &str, given: Value| {
        let mut row = json!({"id": null, "name": null, "reasons": null, "removed": null, "series": null, "tags": null});
        row["time"] = json!(time);
        for (key, value) in given.as_object().expect("fields") {
            row[key] = value.clone();
        }
        row
    };
    assert_eq!(
        document["keep"],
        json!([
            row("2026-11-22T03:00:00.5Z", json!({"reasons": ["future"]})),
            row("2026-11-22T04:00:00.1+02:00", json!({"reasons": ["last 1/2"]})),
            row("2026-11-21T02:00:00Z", json!({"name": "release-1", "reasons": ["last 2/2"]})),
            row("2026-11-19T02:00:00Z", json!({"tags": ["foo", "bar"], "reasons": ["name foo"]})),
        ])
    );
    let removed = document["remove"].as_array().expect("rows");
    assert_eq!(removed.iter().map(|row| &row["time"]).collect::<Vec<_>>(), ["2026-11-20T02:00:00Z"; 2]);
}

#[test]
fn every_rule_has_its_option() {
    let nights: Vec<String> = (1..=28).map(|night| format!("2026-02-{night:02}T02:00:00Z")).collect();
    let desk = Desk::new(&json!(nights));
    let kept = |policy: &[&str]| ids(&desk.answer(policy)["keep"], "time").len();
    for (policy, count) in [
        (&["--keep-last", "3"][..], 3),
        (&["--keep-last", "-1"], 28),
        (&["--keep-hourly", "4"], 4),
        (&["--keep-daily", "unlimited"], 28),
        (&["--keep-weekly", "2"], 2),
        (&["--keep-weekly", "9"], 5),
        (&["--keep-monthly", "9"], 2),
        (&["--keep-yearly", "1"], 1),
        (&["--keep-within", "3d"], 3),
        (&["--keep-within-hourly", "3d1h"], 4),
        (&["--keep-within-daily", "3d1h"], 4),
        (&["--keep-within-weekly", "14d"], 3),
        (&["--keep-within-monthly", "14d"], 1),
        (&["--keep-within-yearly", "1y"], 2),
        (&["--keep-name", "x"], 1),
        (&["--keep-name", "x", "--min-keep", "0"], 0),
        (&["--keep-name", "x", "--min-keep", "5"], 5),
        (&["--keep-name", "x", "--min-age", "9m"], 6),
    ] {
        assert_eq!(kept(policy), count, "{policy:?}");
    }
}

#[test]
fn the_zone_decides_what_a_day_is() {
    // Both on 22 November in Tokyo, on two days in UTC.
    let desk = Desk::new(&json!(["2026-11-20T02:00:00Z", "2026-11-21T16:00:00Z", "2026-11-22T02:00:00Z"]));
    assert_eq!(ids(&desk.answer(&["--keep-daily", "2"])["keep"], "time").len(), 2);
    let document = desk.answer(&["--keep-daily", "2", "--zone", "asia/tokyo"]);
    assert_eq!(ids(&document["keep"], "time"), ["2026-11-22T02:00:00Z", "2026-11-20T02:00:00Z"]);
    assert_eq!(document["zone"], "Asia/Tokyo");
}

#[test]
fn simulate_accepts_the_output_of_list() {
    let (lab, nights) = Lab::with_nights(4);
    lab.pin(&nights[0], r#"{"reason": "audit", "since": "2026-11-02T00:00:00Z"}"#);
    let listed = lab.run(0, &["list", "--json"]).stdout;
    let run = fed(lab.chsnap(), &["simulate", "--json", "--times", "-", "--keep-daily", "1"], &listed);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!(ids(&document["keep"], "id"), [nights[3].clone(), nights[0].clone()]);
    assert_eq!(document["keep"][1]["reasons"], json!(["pinned: audit"]));
    assert_eq!(ids(&document["remove"], "id"), [nights[2].clone(), nights[1].clone()]);
}

#[test]
fn a_calendar_is_filled_night_by_night() {
    let desk = Desk::new(&json!([]));
    let arguments =
        ["simulate", "--now", "2026-11-22T02:00:00Z", "--days", "60", "--keep-daily", "3", "--keep-monthly", "9"];
    let document = desk.chsnap.json(0, &arguments);
    let kept = ids(&document["keep"], "time");
    assert_eq!(
        kept,
        [
            "2026-11-22T02:00:00Z",
            "2026-11-21T02:00:00Z",
            "2026-11-20T02:00:00Z",
            "2026-10-31T02:00:00Z",
            "2026-09-30T02:00:00Z",
            "2026-09-24T02:00:00Z"
        ]
    );
    assert_eq!(document["keep"][5]["reasons"], json!(["oldest monthly 4/9"]));
    assert_eq!((&document["taken"], kept.len() + ids(&document["remove"], "time").len()), (&json!(60), 60));
    let picture = desk.chsnap.expect(0, &arguments).stdout;
    assert!(
        picture.contains("2026-10  · · ·") && picture.contains("D D M") && picture.contains("M monthly"),
        "{picture}"
    );
    assert!(!picture.contains('\u{1b}'), "{picture}");
    let hourly = desk.chsnap.json(0, &["simulate", "--days", "2", "--every", "1h", "--keep-within-hourly", "5h"]);
    assert_eq!((ids(&hourly["keep"], "time").len(), &hourly["taken"]), (5, &json!(48)));
}

#[test]
fn bad_input_is_one_clear_error() {
    let desk = Desk::new(&json!(["2026-11-20T02:00:00Z"]));
    let (file, nothing) = (desk.file(), desk.dir.path().join("no-such-file").to_string_lossy().into_owned());
    for (code, arguments, said) in [
        (2, &["--times", &file][..], "no rule says what to keep"),
        (2, &["--times", &file, "--min-keep", "3"], "no rule says what to keep"),
        (2, &["--times", &file, "--keep-last", "0"], "no rule says what to keep"),
        (2, &["--times", &file, "--keep-last", "-2"], "unlimited"),
        (2, &["--times", &file, "--keep-within", "2w"], "1y6m"),
        (2, &["--times", &file, "--keep-name", "[x"], "no pattern for names"),
        (2, &["--times", &file, "--keep-last", "1", "--zone", "Mars"], "Europe/Berlin"),
        (2, &["--times", &file, "--keep-last", "1", "--now", "yesterday"], "2026-11-22T02:00:00Z"),
        (2, &["--times", &file, "--keep-last", "1", "--days", "3"], "cannot be used with"),
        (2, &["--keep-last", "1", "--every", "0s"], "a second at least"),
        (2, &["--keep-last", "1", "--every", "1s"], "longer --every"),
        (1, &["--times", &nothing, "--keep-last", "1"], "cannot read the times"),
    ] {
        let run = desk.chsnap.expect(code, &[&["simulate"], arguments].concat());
        assert!(run.stderr.contains(said) && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
    for input in ["", "{}", "7", "[7]", "[{}]", r#"["2026-11-20"]"#, r#"[{"time": "2026-11-20T02:00:00Z", "tags": 7}]"#]
    {
        let run = fed(&desk.chsnap, &["simulate", "--times", "-", "--keep-last", "1"], input);
        assert!(run.code == 2 && run.stderr.contains("no list of times"), "{input}: {} {}", run.code, run.stderr);
    }
    assert_eq!(desk.chsnap.json(2, &["simulate"])["exit_code"], 2);
}

#[test]
fn a_simulation_makes_nothing_and_accepts_an_empty_list() {
    let desk = Desk::new(&json!([]));
    let document = desk.answer(&["--keep-last", "1"]);
    assert_eq!((&document["keep"], &document["remove"]), (&json!([]), &json!([])));
    assert!(!desk.chsnap.repo().exists());
}
