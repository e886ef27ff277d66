//! Output for operators: mistyped requests, `--quiet`, narrow terminals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::chsnap_command::Chsnap;
use crate::cli::support::Lab;
use crate::freezer::Freezer;

#[test]
fn a_name_or_a_reason_that_cannot_be_seen_is_refused_before_anything_is_done() {
    let lab = Lab::new();
    for name in ["", " ", "\u{2003}\t"] {
        for arguments in [&["create", "--name", name][..], &["import", "/nowhere", "--name", name]] {
            let run = lab.run(2, arguments);
            assert!(run.stderr.contains("a blank name names no snapshot"), "{}", run.stderr);
        }
    }
    for text in ["a\nb", "\u{1b}[2J", "\u{202e}gpj"] {
        for arguments in [
            &["create", "--name", text][..],
            &["import", "/nowhere", "--name", text],
            &["create", "--pin", text],
            &["pin", "latest", "--reason", text],
        ] {
            let run = lab.run(2, arguments);
            assert!(run.stderr.contains("cannot have the control character"), "{}", run.stderr);
            assert!(!run.stderr.contains(text), "{}", run.stderr);
        }
    }
    assert!(lab.run(2, &["pin", "latest", "--reason", " "]).stderr.contains("a blank reason says nothing"));
    assert!(lab.run(2, &["import", "/nowhere", "--name", "latest"]).stderr.contains("cannot be the name"));
}

#[test]
fn a_name_that_another_snapshot_has_is_noted_and_names_neither() {
    let lab = Lab::new();
    let freezer = Freezer::start(&lab.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    let chsnap = lab.chsnap().clone().url(freezer.url());
    let first = chsnap.json(0, &["create", "--name", "weekly"]);
    let first = first["id"].as_str().expect("an id");
    assert!(!chsnap.expect(0, &["create", "--name", "monthly"]).stderr.contains("the name"));
    // Nights may all have one name: that is no warning.
    let again = chsnap.expect(0, &["create", "--name", "weekly"]);
    assert!(again.stderr.contains("the name \"weekly\" is also that of") && again.stderr.contains(first), "{again:?}");
    let second = chsnap.json(0, &["show", "latest"]);
    let second = second["id"].as_str().expect("an id");
    let run = chsnap.expect(2, &["rm", "weekly"]);
    assert!(run.stderr.contains(first) && run.stderr.contains(second), "{}", run.stderr);
    let third = chsnap.json(0, &["create", "--name", "weekly"]);
    let others = third["same_name"].as_array().expect("ids");
    assert!(others.len() == 2 && others[1] == first, "{third}");
    assert_eq!(chsnap.json(0, &["create"])["same_name"], serde_json::json!([]));
}

#[test]
fn a_password_file_of_several_lines_is_refused_without_its_text() {
    let lab = Lab::new();
    let file = lab.path().join("password");
    fs::write(&file, "secret\nuser = x\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let run = lab.run(2, &["--password-file", file.to_str().expect("a path"), "create"]);
    assert!(run.stderr.contains("has 2 lines") && run.stderr.contains("hint: "), "{}", run.stderr);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

#[test]
fn a_refused_prune_says_to_programs_what_to_do() {
    let (lab, _) = Lab::with_nights(4);
    let unconfirmed = lab.chsnap().json(13, &["prune", "--keep-last", "3"]);
    assert_eq!(
        (&unconfirmed["state"], &unconfirmed["hint"]),
        (&"refused".into(), &"--yes carries the plan out".into())
    );
    let guarded = lab.chsnap().json(13, &["prune", "--keep-last", "1", "--yes"]);
    assert!(guarded["hint"].as_str().is_some_and(|hint| hint.contains("--yes-really")), "{guarded}");
    assert_eq!(guarded["remove"].as_array().map(Vec::len), Some(3));
}

#[test]
fn quiet_is_quiet_and_a_night_fits_a_narrow_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    let repository = folder.path().join("repo");
    let chsnap = Chsnap::new(&repository).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let run = chsnap.expect(0, &["-q", "create"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let (narrow, here) = (chsnap.env("COLUMNS", "60"), folder.path().to_str().expect("a path"));
    for arguments in
        [&["run"][..], &["diff", "latest~1", "latest", "--parts"], &["list", "--all", here], &["create", "--dry-run"]]
    {
        let run = narrow.run(arguments);
        for line in run.stdout.lines() {
            assert!(line.chars().count() <= 60, "{arguments:?}: {line}");
        }
        assert!(!run.stdout.is_empty(), "{run:?}");
    }
}

#[test]
fn no_line_of_a_help_page_ends_with_a_blank() {
    let chsnap = Chsnap::new("/repository".as_ref());
    for arguments in
        [&["--help"][..], &["-h"], &["help", "options"], &["create", "--help"], &["run", "--help"], &["restore", "-h"]]
    {
        let text = chsnap.expect(0, arguments).stdout;
        assert!(text.lines().count() > 10, "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    }
}
