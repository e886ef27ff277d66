//! chsnap on real NFS: a kernel server and client, v3 and v4.2, in an emulated machine that is booted once.
//!
//! `tests/nfs/build` makes the machine, `./test` calls it and leaves this out, loudly, where it cannot boot.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Every check of `guest.sh`, so that none is left out unseen.
const CHECKS: [&str; 15] = [
    "index_is_on_this_host",
    "dead_holder_is_taken_over_n3",
    "living_holder_is_left_alone_n3",
    "silly_rename_is_waited_for_n3",
    "server_goes_away_n3",
    "silent_server_is_given_up_n3",
    "commands_n3",
    "dead_holder_is_taken_over_n4",
    "living_holder_is_left_alone_n4",
    "silly_rename_is_waited_for_n4",
    "server_goes_away_n4",
    "silent_server_is_given_up_n4",
    "commands_n4",
    "mounts_fight",
    "root_squash_is_refused",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/nfs/build` has put the machine.
fn cache() -> PathBuf {
    std::env::var_os("CHSNAP_NFS_LAB").map_or_else(|| root().join("target/nfs-lab"), PathBuf::from)
}

/// What is run besides in `./test --full`.
const LONG_CHECKS: [&str; 7] = [
    "engines_n3",
    "engines_n4",
    "nfs_calls_are_few_n3",
    "nfs_calls_are_few_n4",
    "server_restarts_n3",
    "server_restarts_n4",
    "squashed_ids_are_refused_or_recorded",
];

/// Another test program in the directory of this one: the newest, because cargo keeps old ones.
fn program(of: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let beside = own.parent().expect("it is in a directory").read_dir().expect("a directory");
    let is_program = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix(of)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| hash.bytes().all(|letter| letter.is_ascii_hexdigit()))
    };
    let programs = beside.filter_map(Result::ok).map(|entry| entry.path()).filter(is_program);
    let newest = programs.max_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
    newest.unwrap_or_else(|| panic!("the test program `{of}` is not built: cargo test --no-run"))
}

#[test]
fn the_contract_of_a_local_filesystem_holds_on_nfs_3_and_4() {
    assert!(cache().join("initrd.gz").is_file(), "no machine in {}: tests/nfs/build makes it", cache().display());
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("guest");
    let is_full = std::env::var_os("CHSNAP_FULL").is_some();
    let fight_seconds = if is_full { 150 } else { 8 };
    let engines = if is_full { program("engines").display().to_string() } else { String::new() };
    let checks: Vec<&str> = CHECKS.iter().chain(LONG_CHECKS.iter().filter(|_| is_full)).copied().collect();
    let text = format!(
        "CHSNAP={} TESTS={} ENGINES={engines} FIGHT_SECONDS={fight_seconds}\n{}",
        env!("CARGO_BIN_EXE_chsnap"),
        program("commands").display(),
        include_str!("../nfs/guest.sh")
    );
    std::fs::write(&script, text).expect("a script");
    let begun = Instant::now();
    let mut machine = Command::new(root().join("tests/nfs/run"));
    machine.arg(cache()).arg(&script).env("NFS_LAB_S", if is_full { "3600" } else { "800" });
    let output = machine.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("check ")).collect();
    eprintln!("{}\nin {:?}", lines.join("\n"), begun.elapsed());
    for check in &checks {
        let line = said.lines().find(|line| line.starts_with(&format!("check {check}: ")));
        assert!(
            line.is_some_and(|line| line.starts_with(&format!("check {check}: ok"))),
            "{}\nafter {:?}, the machine says:\n{said}\n{}",
            line.unwrap_or(*check).replace('|', "\n"),
            begun.elapsed(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(lines.len(), checks.len(), "{said}");
}
