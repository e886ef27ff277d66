//! The index is a cache: whatever happens to it, the output is that of the manifests.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::cli::support::{Lab, names};

fn index(lab: &Lab) -> PathBuf {
    lab.repo().join("index.sqlite")
}

/// What `list` answers with no index anywhere.
fn fresh(lab: &Lab) -> Value {
    for path in [index(lab), lab.repo().join("index.sqlite-journal")] {
        if path.symlink_metadata().is_ok_and(|stat| !stat.is_dir()) {
            fs::remove_file(path).expect("the index is removed");
        }
    }
    drop(fs::remove_dir_all(lab.repo().with_extension("state")));
    lab.chsnap().json(0, &["list"])
}

/// `list` must answer as with a new index, at once and again.
#[track_caller]
fn assert_right_after(what: &str, spoil: impl FnOnce(&Lab)) -> Lab {
    let (lab, _) = Lab::with_nights(3);
    let expected = fresh(&lab);
    assert!(index(&lab).is_file(), "the index stands in the repository");
    spoil(&lab);
    for turn in ["first", "second"] {
        assert_eq!(lab.chsnap().json(0, &["list"]), expected, "{what}, {turn} look");
    }
    lab
}

#[test]
fn a_deleted_index_is_made_again() {
    let lab = assert_right_after("deleted", |lab| fs::remove_file(index(lab)).expect("removed"));
    assert!(index(&lab).is_file());
}

#[test]
fn a_damaged_index_is_thrown_away_and_made_again() {
    type Spoil = fn(Vec<u8>) -> Vec<u8>;
    let spoilt: [(&str, Spoil); 5] = [
        ("garbage", |_| b"this is no database at all, and never was one".repeat(200)),
        ("empty", |_| Vec::new()),
        ("truncated", |bytes| bytes.split_at(bytes.len() / 2).0.to_vec()),
        ("one page", |bytes| bytes.split_at(4096).0.to_vec()),
        ("noise behind the header", |mut bytes| {
            bytes.iter_mut().skip(100).for_each(|byte| *byte ^= 0xa5);
            bytes
        }),
    ];
    for (what, spoil) in spoilt {
        let lab = assert_right_after(what, |lab| {
            let bytes = fs::read(index(lab)).expect("an index");
            fs::write(index(lab), spoil(bytes)).expect("spoilt");
        });
        let bytes = fs::read(index(&lab)).expect("an index");
        assert!(bytes.starts_with(b"SQLite format 3\0"), "{what}: it was not made again");
    }
}

#[test]
fn a_directory_in_the_place_of_the_index_does_no_harm() {
    let lab = assert_right_after("a directory", |lab| {
        fs::remove_file(index(lab)).expect("removed");
        fs::create_dir(index(lab)).expect("a directory");
        fs::write(index(lab).join("precious"), "x").expect("a file");
    });
    assert!(index(&lab).join("precious").is_file());
}

#[test]
fn a_symbolic_link_in_the_place_of_the_index_is_not_followed() {
    for target in ["missing", "empty", "text"] {
        let lab = assert_right_after(target, |lab| {
            fs::remove_file(index(lab)).expect("removed");
            let outside = lab.path().join("outside");
            match target {
                "missing" => {}
                "empty" => fs::write(&outside, "").expect("a file"),
                _ => fs::write(&outside, "precious").expect("a file"),
            }
            symlink(&outside, index(lab)).expect("a link");
        });
        let outside = fs::read(lab.path().join("outside")).ok();
        let untouched: Option<&[u8]> = match target {
            "missing" => None,
            "empty" => Some(b""),
            _ => Some(b"precious"),
        };
        assert_eq!(outside.as_deref(), untouched);
    }
}

#[test]
fn a_stale_index_that_was_put_back_is_brought_up_to_date() {
    let (lab, nights) = Lab::with_nights(3);
    lab.listed(0);
    let stale = fs::read(index(&lab)).expect("an index");
    lab.run(0, &["rm", &nights[0]]);
    lab.snapshot("2026-11-09T02:00:00Z");
    let expected = fresh(&lab);
    fs::write(index(&lab), stale).expect("put back");
    assert_eq!(lab.chsnap().json(0, &["list"]), expected);
}

#[test]
fn a_manifest_that_was_replaced_is_read_again() {
    let (lab, nights) = Lab::with_nights(2);
    lab.listed(0);
    let manifest = lab.at(&nights[0]).join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let stat = manifest.metadata().expect("its times");
    let new_text = text.replace("\"warnings\": []", "\"warnings\": [\"a\"]");
    assert_ne!(text, new_text);
    fs::write(&manifest, new_text).expect("written");
    let file = fs::File::options().write(true).open(&manifest).expect("it opens");
    file.set_modified(stat.modified().expect("a time")).expect("its old time");
    assert_eq!(lab.chsnap().json(0, &["list"])["snapshots"][0]["warning_count"], 1);
}

#[test]
fn the_index_of_another_repository_is_thrown_away() {
    let (other, _) = Lab::with_nights(5);
    other.listed(0);
    assert_right_after("another repository's", |lab| {
        fs::copy(index(&other), index(lab)).expect("a copy");
    });
}

#[test]
fn an_index_of_another_version_or_with_rows_that_lie_is_corrected() {
    let statements = [
        "PRAGMA user_version = 99",
        "DROP TABLE snapshot",
        "UPDATE snapshot SET summary = 'x'",
        "UPDATE snapshot SET stamp = x'ff00'",
        "DELETE FROM snapshot",
        "INSERT INTO snapshot VALUES ('2020-01-01T000000Z', 'x', '{}')",
        "DELETE FROM repository",
    ];
    for statement in statements {
        assert_right_after(statement, |lab| {
            let connection = rusqlite::Connection::open(index(lab)).expect("a database");
            connection.execute_batch(statement).expect("a statement");
        });
    }
}

#[test]
fn an_index_locked_by_another_process_does_not_stop_a_command() {
    let (lab, _) = Lab::with_nights(2);
    let expected = fresh(&lab);
    let connection = rusqlite::Connection::open(index(&lab)).expect("a database");
    connection.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    assert_eq!(lab.chsnap().json(0, &["list"]), expected);
}

/// Gives all directories, and all files, of the repository one mode.
fn set_modes(path: &Path, directories: u32, files: u32) {
    let stat = path.symlink_metadata().expect("it is there");
    if stat.is_symlink() {
        return;
    }
    let mode = if stat.is_dir() { directories } else { files };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    if stat.is_dir() {
        for name in names(path) {
            set_modes(&path.join(name), directories, files);
        }
    }
}

#[test]
fn a_user_who_may_only_read_gets_the_same_answer_and_changes_nothing() {
    for with_index in [true, false] {
        let (lab, _) = Lab::with_nights(2);
        let expected = fresh(&lab);
        if !with_index {
            fs::remove_file(index(&lab)).expect("removed");
        }
        set_modes(&lab.repo(), 0o555, 0o444);
        let before = (names(&lab.repo()), fs::read(index(&lab)).ok());
        // The directories above the program may be closed to others.
        let program = lab.path().join("chsnap");
        fs::copy(env!("CARGO_BIN_EXE_chsnap"), &program).expect("a copy of the program");
        fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let ours = lab.chsnap().command(&["--json", "list"]);
        let mut command = std::process::Command::new(program);
        command.args(ours.get_args()).envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir("/");
        if fs::metadata("/proc/self").is_ok_and(|stat| stat.uid() == 0) {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().expect("chsnap starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("a document"), expected);
        assert_eq!((names(&lab.repo()), fs::read(index(&lab)).ok()), before);
        set_modes(&lab.repo(), 0o755, 0o644);
    }
}

#[test]
fn many_readers_at_once_make_one_index() {
    let (lab, nights) = Lab::with_nights(3);
    drop(fs::remove_file(index(&lab)));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let chsnap: Chsnap = lab.chsnap().clone();
            std::thread::spawn(move || chsnap.json(0, &["list"]))
        })
        .collect();
    for reader in readers {
        let document = reader.join().expect("no reader panics");
        assert_eq!(crate::cli::support::ids(&document["snapshots"], "id"), nights);
    }
}

/// SQLite's own journal makes a transaction whole only if what it writes is synced in its order.
#[test]
fn the_index_is_synced_so_that_a_power_cut_takes_a_whole_transaction_or_nothing() {
    let (lab, _) = Lab::with_nights(2);
    let trace = lab.path().join("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-o"]).arg(&trace);
    match lab.chsnap().under(strace, &["list"]).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => {
            eprintln!("SKIPPED: strace does not start here: {error}");
            return;
        }
    }
    let trace = fs::read_to_string(trace).expect("a trace");
    for file in ["index.sqlite>", "index.sqlite-journal>"] {
        assert!(trace.contains(file), "{file} in {trace}");
    }
    // One that is up to date is only read.
    let mut strace = std::process::Command::new("strace");
    let trace = lab.path().join("again");
    strace.args(["-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-o"]).arg(&trace);
    assert!(lab.chsnap().under(strace, &["list"]).output().expect("strace starts").status.success());
    assert!(!fs::read_to_string(trace).expect("a trace").contains("index.sqlite"));
}
