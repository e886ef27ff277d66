//! Failing commands, one for each exit code.

use std::fs::{self, File};

use crate::cli::support::Lab;
use crate::output::transcript::{Transcripts, transcripts};

const HOLDER: &str = r#"{"host":"ch7","boot":"b","pid":4711,"since":"2025-11-22T02:00:00Z","command":"create"}"#;

/// Two nights.
fn nights() -> (Lab, [String; 2]) {
    let lab = Lab::new();
    let ids = ["2025-11-01T02:00:00Z", "2025-11-02T02:00:00Z"].map(|at| lab.snapshot(at));
    (lab, ids)
}

/// The command line as text, and the same with `--json`.
fn both(all: &Transcripts, name: &str, lab: &Lab, lines: &[&[&str]]) {
    all.word(lab.path(), "$DIR");
    let with_json: Vec<Vec<&str>> = lines.iter().map(|line| [line, &["--json"][..]].concat()).collect();
    let all_lines: Vec<&[&str]> =
        lines.iter().zip(&with_json).flat_map(|(plain, json)| [*plain, json.as_slice()]).collect();
    all.show(name, lab.chsnap(), &all_lines);
}

#[test]
fn failures_are_reported_as_recorded() {
    transcripts(|all| {
        let (lab, ids) = nights();
        lab.run(0, &["rm", &ids[0]]);
        let nothing = lab.path().join("nothing.toml");
        let nothing = nothing.to_str().expect("a path");
        both(
            all,
            "error-01-failed",
            &lab,
            &[&["create"], &["show", "2024"], &["config", "check", "--config", nothing]],
        );
        both(
            all,
            "error-02-usage",
            &lab,
            &[
                &["lst"],
                &["list", "--al"],
                &["show", "lastet"],
                &["prune"],
                &["prune", "--keep-daily", "x"],
                &["create", "--table", "events"],
                &["pin", "latest", "--reason", " "],
                &["verify", "--since", "1d"],
                &[],
            ],
        );
        both(all, "error-13-refused", &lab, &[&["rm", "latest"], &["rm", "--quiet", "latest"]]);
        let lab = Lab::without_repository();
        both(all, "error-10-no-repository", &lab, &[&["list"], &["create"], &["run"], &["monitor"]]);
    });
}

#[test]
fn a_lock_that_is_held_is_reported_as_recorded() {
    transcripts(|all| {
        let (lab, _) = nights();
        let path = lab.repo().join("lock");
        fs::write(&path, HOLDER).expect("a lock file");
        let held = File::open(&path).expect("the lock file");
        held.lock().expect("the lock");
        both(all, "error-11-locked", &lab, &[&["rm", "latest"], &["gc"], &["unlock"]]);
        held.unlock().expect("the lock is released");
    });
}

#[test]
fn what_is_done_with_warnings_is_reported_as_recorded() {
    transcripts(|all| {
        let (lab, ids) = nights();
        fs::create_dir(lab.repo().join("snapshots/not-a-snapshot")).expect("a directory");
        fs::write(lab.at(&ids[0]).join("manifest.json"), "{").expect("a file");
        both(all, "error-03-warnings", &lab, &[&["list"], &["usage"], &["prune", "--keep-daily", "9"]]);
    });
}
