//! Regressions: paths through links, clocks set back, text from elsewhere, full disks.
use crate::chsnap_command::Chsnap;
use crate::cli::lock::waiting_gc;
use crate::cli::support::{Lab, ids, names, time};
use chsnap::ops;
use chsnap::plan::SnapshotReference;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

/// Whether a text could garble a terminal.
fn bad(text: &str) -> bool {
    text.chars().any(|letter| letter.is_control() && letter != '\n')
}

#[test]
fn undo_of_one_snapshot_named_twice_brings_it_back_once() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    let document = lab.chsnap().json(0, &["undo", &nights[0], "2026-11-01"]);
    assert_eq!(ids(&document["restored"], ""), nights[..1]);
}

#[test]
fn init_through_a_symbolic_link_into_the_shadow_is_refused() {
    let lab = Lab::without_repository();
    let server = lab.path().join("clickhouse");
    for name in ["metadata", "data", "store", "shadow"] {
        fs::create_dir_all(server.join(name)).expect("a directory");
    }
    symlink(server.join("shadow"), lab.path().join("link")).expect("a link");
    Chsnap::new(&lab.path().join("link/repo")).expect(13, &["init"]);
}

#[test]
fn init_next_to_the_shadow_by_a_path_through_it_is_accepted() {
    let lab = Lab::without_repository();
    let server = lab.path().join("clickhouse");
    for name in ["metadata", "data", "store", "shadow"] {
        fs::create_dir_all(server.join(name)).expect("a directory");
    }
    Chsnap::new(&server.join("shadow/../chsnap")).expect(0, &["init"]);
}

#[test]
fn undo_after_the_clock_was_set_back_by_a_month_goes_by_the_order_of_removal() {
    let (lab, nights) = Lab::with_nights(4);
    lab.locked(|locked| {
        let rm = |id: &str, now: &str| {
            let reference: SnapshotReference = id.parse().expect("a reference");
            ops::remove(locked, &[reference], false, time(now)).expect("removed");
        };
        rm(&nights[1], "2026-12-25T02:00:00Z");
        rm(&nights[0], "2026-11-05T02:00:00Z");
    });
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[..1]);
}

#[test]
fn a_path_that_is_not_text_is_in_json_as_its_bytes() {
    let lab = Lab::without_repository();
    let chsnap = Chsnap::new(&lab.path().join(OsStr::from_bytes(b"re\xffpo")));
    for command in ["init", "list"] {
        let document = chsnap.json(0, &[command]);
        assert!(document.as_object().expect("o").keys().any(|key| key.contains("base64")), "{document}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let (lab, _) = Lab::with_nights(2);
    for arguments in [&["list"][..], &["--json", "list"], &["show"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("f");
        let output = lab.chsnap().command(arguments).stdout(full).output().expect("chsnap starts");
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn text_of_a_manifest_garbles_no_terminal() {
    let lab = Lab::new();
    let id = lab.snapshot_with("2026-11-22T02:00:00Z", |manifest| {
        manifest.server.host_name = "x\u{1b}[2J\r\u{9b}2J\u{7}".to_owned();
    });
    let run = lab.run(0, &["show", &id]);
    assert!(!bad(&run.stdout), "show server {:?}", run.stdout);
}
#[test]
fn warnings_of_a_manifest_garble_no_terminal() {
    let lab = Lab::new();
    lab.snapshot_with("2026-11-22T02:00:00Z", |manifest| {
        manifest.warnings.push("y\u{1b}[2J".to_owned());
    });
    let run = lab.run(0, &["show"]);
    assert!(!bad(&run.stderr), "show warnings {:?}", run.stderr);
}
#[test]
fn damage_garbles_no_terminal() {
    let (lab, nights) = Lab::with_nights(2);
    let path = lab.at(&nights[0]).join("manifest.json");
    let text = fs::read_to_string(&path).expect("m").replace("\"state\": \"taken\"", "\"state\": \"\\u001b[2J\"");
    fs::write(&path, text).expect("w");
    let run = lab.run(3, &["list"]);
    assert!(!bad(&run.stderr), "list {:?}", run.stderr);
}
#[test]
fn a_lock_holder_garbles_no_terminal() {
    let (lab, _) = Lab::with_nights(2);
    let path = lab.repo().join("lock");
    fs::write(
        &path,
        r#"{"host":"ch7\u001b[2J","boot":"b","pid":4711,"since":"2026-11-22T02:00:00Z","command":"create"}"#,
    )
    .expect("a lock file");
    let file = fs::File::open(path).expect("the lock file");
    file.lock().expect("the lock");
    let run = lab.run(11, &["gc"]);
    assert!(!run.stderr.contains('\u{1b}'), "lock {:?}", run.stderr);
}

#[test]
fn a_repository_reached_through_a_symbolic_link_keeps_its_index() {
    let (lab, _) = Lab::with_nights(2);
    symlink(lab.path(), lab.path().join("link")).expect("l");
    drop(fs::remove_file(lab.repo().join("index.sqlite")));
    Chsnap::new(&lab.path().join("link/repo")).expect(0, &["list"]);
    assert!(lab.repo().join("index.sqlite").is_file());
}

#[test]
fn an_empty_state_home_is_none() {
    let (lab, _) = Lab::with_nights(2);
    drop(fs::remove_file(lab.repo().join("index.sqlite")));
    fs::create_dir(lab.repo().join("index.sqlite")).expect("d");
    let cwd = lab.path().join("cwd");
    fs::create_dir(&cwd).expect("d");
    let out = lab
        .chsnap()
        .command(&["list"])
        .env("XDG_STATE_HOME", "")
        .env("HOME", lab.path())
        .current_dir(&cwd)
        .output()
        .expect("prepared");
    assert_eq!(out.status.code(), Some(0));
    assert!(names(&cwd).is_empty(), "{:?}", names(&cwd));
}

#[test]
fn gc_stops_at_a_signal() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let (lab, nights) = Lab::with_nights(2);
        lab.run(0, &["rm", &nights[0]]);
        let (child, _server) = waiting_gc(&lab);
        std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().expect("kill");
        let out = child.wait_with_output().expect("end");
        assert_eq!(out.status.code(), Some(code), "{out:?} trash {:?}", names(&lab.trash()));
    }
}

#[test]
fn a_torn_intent_with_a_tree_is_not_forgotten() {
    let (lab, _) = Lab::with_nights(1);
    fs::create_dir(lab.repo().join("incoming/2026-12-01T020000Z")).expect("d");
    fs::write(lab.repo().join("incoming/2026-12-01T020000Z.intent.json"), "{").expect("d");
    let run = lab.chsnap().run(&["gc"]);
    assert!(run.code == 3, "{} {}", run.code, run.stderr);
}

#[test]
fn an_empty_environment_does_not_hide_the_option() {
    let (lab, _) = Lab::with_nights(1);
    let out =
        lab.chsnap().command(&["list", "--repo"]).arg(lab.repo()).env("CHSNAP_REPO", "").output().expect("prepared");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

#[test]
fn color_always_colors_the_table() {
    let (lab, _) = Lab::with_nights(1);
    let run = lab.run(0, &["list", "--color", "always"]);
    assert!(run.stdout.contains('\u{1b}'), "{}", run.stdout);
}

#[test]
fn a_directory_in_the_place_of_latest_does_not_fail_a_removal() {
    let (lab, nights) = Lab::with_nights(2);
    fs::remove_file(lab.repo().join("latest")).expect("prepared");
    fs::create_dir(lab.repo().join("latest")).expect("prepared");
    lab.run(0, &["rm", &nights[0]]);
    assert_eq!(ids(&lab.chsnap().json(0, &["list"])["snapshots"], "id"), nights[1..]);
}

#[test]
fn a_directory_in_the_journal_is_skipped_with_a_warning() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    fs::create_dir(lab.repo().join("journal/x.jsonl")).expect("prepared");
    lab.run(0, &["undo"]);
    let list = lab.chsnap().json(3, &["list"]);
    assert_eq!(list["warning_list"][0]["kind"], "journal_unreadable", "{list}");
}
