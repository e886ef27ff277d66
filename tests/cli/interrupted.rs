//! SIGINT, SIGTERM and SIGHUP during a `create`, and a server that continues a freeze without its client.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::freezer::{SLOW, served_repository};
use crate::tree::tree;

fn interrupted_by(signal: &str, code: i32) {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    let child = chsnap.command(&["create"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    // In the freeze, which takes two seconds.
    std::thread::sleep(Duration::from_millis(700));
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let output = child.wait_with_output().expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains("being undone") && stderr.contains("interrupted"), "{stderr}");
    assert!(stderr.contains("undoing 20") && stderr.contains("is released"), "{stderr}");
    assert!(output.stdout.is_empty());
    // The freeze outlived its client; its shadow did not outlive it.
    std::thread::sleep(Duration::from_secs(2));
    for dir in [freezer.shadow(), chsnap.repo().join("snapshots"), chsnap.repo().join("incoming")] {
        assert!(tree(&dir).is_empty(), "{}: {:?}", dir.display(), tree(&dir).keys());
    }
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["gc"]);
    assert!(tree(&freezer.shadow()).is_empty());
}

#[test]
fn sigint_waits_for_the_freeze_and_releases_it() {
    interrupted_by("-INT", 130);
}

#[test]
fn sigterm_waits_for_the_freeze_and_releases_it() {
    interrupted_by("-TERM", 143);
}

#[test]
fn sighup_waits_for_the_freeze_and_releases_it() {
    interrupted_by("-HUP", 129);
}

#[test]
fn a_command_that_is_to_outlive_its_terminal_does() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    let mut command = chsnap.under(Command::new("nohup"), &["create"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nohup starts");
    std::thread::sleep(Duration::from_millis(700));
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().expect("kill runs").success());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn every_stage_that_began_has_ended_when_a_command_fails() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    let run = chsnap.expect(1, &["--json", "--progress", "json", "create", "--freeze-timeout", "500ms"]);
    let mut open: std::collections::BTreeMap<String, i32> = std::collections::BTreeMap::new();
    for line in run.stderr.lines() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let change = match event["event"].as_str() {
            Some("started") => 1,
            Some("finished") => -1,
            _ => continue,
        };
        *open.entry(event["stage"].as_str().expect("a stage").to_owned()).or_default() += change;
    }
    assert!(["freeze", "place", "check"].iter().all(|stage| open.contains_key(*stage)), "{}", run.stderr);
    assert!(open.values().all(|count| *count == 0), "{open:?}\n{}", run.stderr);
}

#[test]
fn a_freeze_past_its_deadline_is_awaited_and_released_all_the_same() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    // Too short a deadline for the freeze, and then for its end: the intent stays, and the next run releases it.
    let run = chsnap.expect(1, &["create", "--freeze-timeout", "500ms"]);
    assert!(run.stderr.contains("did not answer") && run.stderr.contains("next run does the rest"), "{}", run.stderr);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!tree(&freezer.shadow()).is_empty(), "the server froze on");
    chsnap.json(0, &["create"]);
    assert!(tree(&freezer.shadow()).is_empty(), "{:?}", tree(&freezer.shadow()).keys());
    assert!(tree(&chsnap.repo().join("incoming")).is_empty());
}

#[test]
fn a_slow_freeze_is_reported() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_part(SLOW, "all_1_1_0");
    let run = chsnap.expect(0, &["create", "--patience", "1s", "--progress", "plain"]);
    assert!(
        run.stderr.contains("FREEZE of d.slow has been running for 1 s; no blocking query was found"),
        "{}",
        run.stderr
    );
    let run = chsnap.expect(0, &["create", "--progress", "plain"]);
    assert!(!run.stderr.contains("has been running for"), "{}", run.stderr);
}
