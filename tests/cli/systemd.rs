//! Units for systemd and the line for cron.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Lab, names};

fn configured() -> (Lab, String) {
    let lab = Lab::new();
    let config = lab.path().join("chsnap.toml");
    let repo = lab.repo().display().to_string();
    let text = format!("repo = {repo:?}\n[profile.nfs]\n[profile.hourly.run]\nevery = \"1h\"\n[profile.\"a/b\"]\n");
    fs::write(&config, text).expect("a file");
    let config = config.display().to_string();
    (lab, config)
}

fn units(lab: &Lab, arguments: &[&str]) -> Value {
    let run = lab.run(0, &[&["--json"], arguments, &["systemd"]].concat());
    serde_json::from_str(&run.stdout).expect("a document")
}

#[test]
fn units_are_named_after_their_profile_and_run_it() {
    let (lab, config) = configured();
    let found = units(&lab, &["--config", &config, "--profile", "nfs"]);
    let service = found["units"]["chsnap-nfs.service"].as_str().expect("a service");
    let timer = found["units"]["chsnap-nfs.timer"].as_str().expect("a timer");
    let program = env!("CARGO_BIN_EXE_chsnap");
    assert!(service.contains(&format!("ExecStart={program} --config {config} run nfs\n")), "{service}");
    assert!(service.contains(&format!("RequiresMountsFor={}\n", lab.repo().display())), "{service}");
    assert!(service.contains("\nSuccessExitStatus=3\n") && service.contains("\nNice=10\n"), "{service}");
    assert!(timer.contains("OnCalendar=*-*-* 02:00:00 UTC\n") && timer.contains("Persistent=true\n"), "{timer}");
    let cron = found["cron"].as_str().expect("a line");
    assert!(cron.starts_with("0 2 * * * root nice -n 10 ionice ") && cron.contains(" run nfs "), "{cron}");
    let hourly = units(&lab, &["--config", &config, "--profile", "hourly"]);
    assert!(hourly["units"]["chsnap-hourly.timer"].as_str().expect("a timer").contains("OnCalendar=hourly UTC\n"));
    assert!(
        lab.run(2, &["--config", &config, "--profile", "a/b", "systemd"]).stderr.contains("no part of a unit's name")
    );
}

#[test]
fn data_and_repository_stay_in_one_mount() {
    let (lab, config) = configured();
    for arguments in
        [&["systemd"][..], &["systemd", "--template"], &["--config", &config, "--profile", "nfs", "systemd"]]
    {
        let text = lab.run(0, arguments).stdout;
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        for line in settings {
            for splitting in [
                "ReadWritePaths",
                "ReadOnlyPaths",
                "InaccessiblePaths",
                "BindPaths",
                "RootDirectory",
                "TemporaryFileSystem",
                "ProtectSystem=strict",
                "DynamicUser",
            ] {
                assert!(!line.starts_with(splitting), "{line}");
            }
        }
        assert!(text.contains("becomes a mount of its own"), "whoever edits it is told why");
    }
}

/// Runs `systemd-analyze`; says so where it is not there.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(arguments).output() else {
        eprintln!("SKIPPED: systemd-analyze is not here to check the units (Debian's package systemd has it)");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn verified(directory: &Path) {
    for name in names(directory) {
        let unit = directory.join(&name).display().to_string();
        // A template is verified as one of its instances.
        let unit = unit.replace("chsnap@.", "chsnap@x.");
        if unit.contains("chsnap@x.") {
            fs::copy(directory.join(&name), &unit).expect("copied");
        }
        let Some((is_well, told)) = analyze(&["verify", "--man=no", &unit]) else { return };
        assert!(is_well && told.trim().is_empty(), "{unit}: {told}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (lab, config) = configured();
    for (name, arguments) in [
        ("plain", &["systemd"][..]),
        ("nfs", &["--config", &config, "--profile", "nfs", "systemd"]),
        ("template", &["systemd", "--template"]),
    ] {
        let directory = lab.path().join(name);
        lab.run(0, &[arguments, &["--output", directory.to_str().expect("a path")]].concat());
        assert_eq!(names(&directory).len(), 2);
        verified(&directory);
    }
}

#[test]
fn systemd_calls_the_service_well_protected() {
    let (lab, _) = configured();
    let directory = lab.path().join("units");
    lab.run(0, &["systemd", "--output", directory.to_str().expect("a path")]);
    let unit = directory.join("chsnap.service").display().to_string();
    // From 0, closed, to 10, open: what is left is root with the rights over files, and the network.
    let Some((is_well, told)) = analyze(&["security", "--offline=yes", "--threshold=45", "--no-pager", &unit]) else {
        return;
    };
    assert!(is_well, "{told}");
}
