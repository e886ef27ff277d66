//! The lock: one writer at a time, readers need none, and a dead holder leaves none.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chsnap::repo::ShadowPlace;

use crate::cli::support::{Lab, names, time};

/// The lock file, locked as another process would.
pub(super) fn hold(lab: &Lab, text: &str) -> File {
    let path = lab.repo().join("lock");
    fs::write(&path, text).expect("a lock file");
    let file = File::open(path).expect("the lock file");
    file.lock().expect("the lock");
    file
}

/// Releases it for good: closing would leave it to a child that another test is just forking.
pub(super) fn release(held: &File) {
    held.unlock().expect("the lock is released");
}

pub(super) const HOLDER: &str =
    r#"{"host":"ch7","boot":"b","pid":4711,"since":"2026-11-22T02:00:00Z","command":"create"}"#;

#[test]
fn a_writer_that_finds_the_lock_taken_names_its_holder_and_changes_nothing() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["rm", &nights[0]]);
    let held = hold(&lab, HOLDER);
    for command in [&["rm", "latest"][..], &["undo"], &["gc"]] {
        let error = lab.chsnap().json(11, command);
        assert_eq!((&error["schema"], &error["exit_code"]), (&"chsnap.error.v1".into(), &11.into()));
        let run = lab.run(11, command);
        for said in ["locked by", "create", "ch7", "4711", "2026-11-22T02:00:00Z", "--lock-wait"] {
            assert!(run.stderr.contains(said), "{said} is not in {}", run.stderr);
        }
    }
    assert_eq!(lab.listed(0), nights[1..]);
    release(&held);
    lab.run(0, &["undo"]);
}

#[test]
fn a_holder_without_a_name_still_holds_the_lock() {
    let (lab, _) = Lab::with_nights(2);
    for text in ["", "garbage", "{}"] {
        let held = hold(&lab, text);
        lab.run(11, &["rm", "latest"]);
        release(&held);
    }
    assert_eq!(lab.listed(0).len(), 2);
}

#[test]
fn readers_are_not_kept_by_the_lock() {
    let (lab, nights) = Lab::with_nights(2);
    let held = hold(&lab, HOLDER);
    assert_eq!(lab.listed(0), nights);
    assert_eq!(lab.chsnap().json(0, &["show"])["id"], nights[1].as_str());
    release(&held);
}

#[test]
fn lock_wait_waits_for_the_holder_and_no_longer_than_it_says() {
    let (lab, nights) = Lab::with_nights(2);
    let held = hold(&lab, HOLDER);
    let begun = Instant::now();
    lab.run(11, &["rm", "latest", "--lock-wait", "300ms"]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let holder = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        release(&held);
    });
    lab.run(0, &["rm", "latest", "--lock-wait", "30"]);
    holder.join().expect("the lock is released");
    assert_eq!(lab.listed(0), nights[..1]);
}

/// `gc` that waits for a server which never answers, and holds the lock meanwhile.
pub(crate) fn waiting_gc(lab: &Lab) -> (Child, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", server.local_addr().expect("an address"));
    lab.locked(|locked| {
        let places = vec![ShadowPlace { disk: "default".to_owned(), path: lab.path().join("disk"), inode: None }];
        let mut incoming = locked.begin(time("2026-12-01T02:00:00Z"), &url, places).expect("it begins");
        incoming.announce_freeze(time("2026-12-01T02:00:00Z")).expect("a freeze");
    });
    let mut command = lab.chsnap().clone().url(&url).command(&["gc"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chsnap starts");
    // It asks the server only once it has the lock.
    let (mut connection, _) = server.accept().expect("gc asks the server");
    connection.read_exact(&mut [0; 1]).expect("a request");
    std::mem::forget(connection);
    (child, server)
}

#[test]
fn a_holder_that_is_killed_leaves_the_repository_free_at_once() {
    let (lab, nights) = Lab::with_nights(2);
    let (mut child, _server) = waiting_gc(&lab);
    let run = lab.run(11, &["rm", "latest"]);
    assert!(run.stderr.contains("gc") && run.stderr.contains(&child.id().to_string()), "{}", run.stderr);
    assert_eq!(lab.listed(0), nights);
    child.kill().expect("killed");
    child.wait().expect("it has ended");
    lab.run(0, &["rm", "latest"]);
    assert_eq!(lab.listed(0), nights[..1]);
}

#[test]
fn the_text_of_an_unheld_lock_file_locks_nothing() {
    let (lab, _) = Lab::with_nights(2);
    fs::write(lab.repo().join("lock"), HOLDER).expect("a lock file");
    lab.run(0, &["rm", "latest"]);
}

#[test]
fn a_lock_file_that_is_a_symbolic_link_is_not_followed() {
    let (lab, _) = Lab::with_nights(2);
    drop(fs::remove_file(lab.repo().join("lock")));
    let outside = lab.path().join("outside");
    fs::write(&outside, "precious").expect("a file");
    std::os::unix::fs::symlink(&outside, lab.repo().join("lock")).expect("a link");
    lab.run(1, &["rm", "latest"]);
    assert_eq!(fs::read(&outside).expect("a file"), b"precious");
    assert_eq!(names(&lab.trash()).len(), 0);
}
