//! The lock between hosts: two mount namespaces on one directory, each with its own machine id, boot id and host name.
//!
//! A lock of the kernel's would hold between them, as it does not between hosts: so each of them has a file `lock` of its
//! own over the repository's, and only the mark in `lock.d/` decides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::support::{Lab, names};

/// How long a holder may be silent here.
const SILENCE: f64 = 1.2;

/// A host that is not this one.
struct Host {
    folder: PathBuf,
    name: String,
}

impl Host {
    fn new(lab: &Lab, name: &str) -> Self {
        let folder = lab.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let host = Self { folder, name: name.to_owned() };
        host.boot();
        let machine = blake3::hash(name.as_bytes()).to_hex();
        fs::write(host.folder.join("lock"), "").expect("a lock file");
        fs::write(host.folder.join("machine-id"), &machine.as_str()[..32]).expect("a machine id");
        host
    }

    /// Gives it another boot id.
    fn boot(&self) {
        let id = format!("{:?}", Instant::now());
        fs::write(self.folder.join("boot-id"), blake3::hash(id.as_bytes()).to_hex().as_str()).expect("a boot id");
    }

    fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut unshare = Command::new("unshare");
        let prepare = "touch /etc/machine-id 2>/dev/null || true; mount --bind \"$HOST/machine-id\" /etc/machine-id; \
            mount --bind \"$HOST/lock\" \"$CHSNAP_REPO/lock\"; mount --bind \"$HOST/boot-id\" /proc/sys/kernel/random/boot_id; hostname \"$NAME\"; exec \"$@\"";
        unshare.args(["-m", "-u", "sh", "-euc", prepare, "sh"]);
        unshare.env("HOST", &self.folder).env("NAME", &self.name).env("CHSNAP_LOCK_SILENCE", SILENCE.to_string());
        lab.chsnap().under(unshare, arguments)
    }

    #[track_caller]
    fn run(&self, lab: &Lab, code: i32, arguments: &[&str]) -> crate::chsnap_command::Run {
        let run = crate::chsnap_command::Run::of(&self.command(lab, arguments).output().expect("unshare starts"));
        assert_eq!(run.code, code, "{}: chsnap {arguments:?}\n{}\n{}", self.name, run.stdout, run.stderr);
        run
    }
}

/// The one name in `lock.d/`.
fn mark(lab: &Lab) -> String {
    let found = names(&lab.repo().join("lock.d"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_string_lossy().into_owned()
}

/// The mark of a dead holder on another host, which is no longer renewed.
fn leave_dead(lab: &Lab, host: &str) -> String {
    let free = mark(lab);
    let number: u64 = free.strip_prefix("free.").expect("the lock is free").parse().expect("a number");
    let name = format!("held.{}.00000000000000ff.1200.0123456789abcdef.fedcba9876543210.1.77.1.{host}", number + 1);
    fs::rename(lab.repo().join("lock.d").join(free), lab.repo().join("lock.d").join(&name)).expect("taken");
    name
}

/// Renews a mark as its holder does, until the value is dropped.
struct Living {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<bool>>,
}

impl Living {
    fn renewing(lab: &Lab, name: &str) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let (dir, mut name) = (lab.repo().join("lock.d"), name.to_owned());
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(100)).is_err() {
                let mut fields: Vec<String> = name.split('.').map(str::to_owned).collect();
                fields[1] = (fields[1].parse::<u64>().expect("a number") + 1).to_string();
                let next = fields.join(".");
                if fs::rename(dir.join(&name), dir.join(&next)).is_err() {
                    return false;
                }
                name = next;
            }
            true
        });
        Self { stop, thread: Some(thread) }
    }

    /// Waits until it finds that it has lost the lock.
    fn loses(self) -> bool {
        let begun = Instant::now();
        while !self.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            if begun.elapsed() > Duration::from_secs(20) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        !self.end()
    }

    /// Whether it still had the lock in the end.
    fn end(mut self) -> bool {
        let _ = self.stop.send(());
        self.thread.take().expect("it runs").join().expect("it does not panic")
    }
}

fn journal(lab: &Lab) -> String {
    let folder = lab.repo().join("journal");
    let read = |name| fs::read_to_string(folder.join(name)).expect("a month");
    names(&folder).into_iter().map(read).collect()
}

#[test]
fn a_holder_that_died_on_another_host_is_taken_over_once_it_was_silent_for_long_enough() {
    let (lab, nights) = Lab::with_nights(3);
    leave_dead(&lab, "ch7");
    let begun = Instant::now();
    let run = lab.run(0, &["rm", &nights[0]]);
    assert!(begun.elapsed() >= Duration::from_millis(1200), "{:?}", begun.elapsed());
    assert!(run.stderr.contains("ch7"), "{}", run.stderr);
    assert!(mark(&lab).starts_with("free."));
    let journal = journal(&lab);
    assert!(journal.contains(r#""event":"taken_over""#) && journal.contains(r#""reason":"silent""#), "{journal}");
}

#[test]
fn a_holder_that_lives_on_another_host_is_left_alone_whatever_lock_wait_says() {
    let (lab, nights) = Lab::with_nights(3);
    let living = Living::renewing(&lab, &leave_dead(&lab, "ch7"));
    let begun = Instant::now();
    let run = lab.run(11, &["rm", &nights[0]]);
    assert!(begun.elapsed() < Duration::from_millis(1200), "one renewal is enough to see: {:?}", begun.elapsed());
    assert!(run.stderr.contains("ch7") && run.stderr.contains("77"), "{}", run.stderr);
    lab.run(11, &["rm", &nights[0], "--lock-wait", "3s"]);
    let shown = lab.chsnap().json(0, &["unlock"]);
    assert_eq!((&shown["state"], &shown["holder"]["host"]), (&"held".into(), &"ch7".into()));
    assert_eq!(shown["holder"]["is"], "elsewhere");
    assert_eq!(lab.chsnap().json(13, &["unlock", "--break"])["state"], "refused");
    assert!(living.end());
    assert_eq!(lab.listed(0), nights);
}

#[test]
fn a_lock_that_is_broken_by_force_is_lost_to_its_holder_and_what_it_was_building_is_fenced_off() {
    let (lab, _) = Lab::with_nights(2);
    fs::create_dir(lab.repo().join("incoming/2026-12-01T020000Z")).expect("a tree that is being built");
    let living = Living::renewing(&lab, &leave_dead(&lab, "ch7"));
    assert_eq!(lab.chsnap().json(0, &["unlock", "--force"])["state"], "broken");
    assert!(living.loses(), "the holder finds that the lock is not its own any more");
    assert!(!lab.repo().join("incoming/2026-12-01T020000Z").exists(), "its commit would find nothing to rename");
    assert_eq!(lab.chsnap().json(0, &["unlock"])["state"], "free");
    assert!(journal(&lab).contains(r#""reason":"broken""#));
}

#[test]
fn a_holder_of_this_host_that_was_killed_is_taken_over_at_once_and_the_journal_says_so() {
    let (lab, nights) = Lab::with_nights(2);
    let (mut child, _server) = crate::cli::lock::waiting_gc(&lab);
    assert_eq!(lab.chsnap().json(0, &["unlock"])["holder"]["is"], "runs");
    child.kill().expect("killed");
    child.wait().expect("it has ended");
    assert_eq!(lab.chsnap().json(0, &["unlock"])["holder"]["is"], "gone");
    let begun = Instant::now();
    lab.run(0, &["rm", "latest"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(lab.listed(0), nights[..1]);
    assert!(journal(&lab).contains(r#""reason":"gone""#));
}

#[test]
fn a_process_that_loses_the_lock_stops_before_it_changes_anything() {
    let (lab, nights) = Lab::with_nights(2);
    lab.locked(|locked| {
        locked.confirm().expect("it is ours");
        let stolen = mark(&lab);
        let dir = lab.repo().join("lock.d");
        fs::rename(dir.join(&stolen), dir.join("free.1000000")).expect("taken away");
        let id = nights[0].parse().expect("an id");
        let error = locked
            .remove_snapshots(
                &[id],
                &chsnap::repo::Removal::default(),
                crate::cli::support::time("2026-12-01T00:00:00Z"),
            )
            .expect_err("it is lost");
        assert!(error.to_string().contains("taken over"), "{error}");
    });
    assert_eq!(lab.listed(0), nights);
    assert_eq!(mark(&lab), "free.1000000", "what is another's is left alone");
}

#[test]
fn marks_that_came_too_late_or_mean_nothing_lock_nothing() {
    let (lab, nights) = Lab::with_nights(3);
    let dir = lab.repo().join("lock.d");
    for name in ["free.0", "held.garbage", "precious"] {
        fs::write(dir.join(name), "").expect("a file");
    }
    lab.run(0, &["rm", &nights[0]]);
    let left: Vec<_> = names(&dir).into_iter().filter(|name| name.to_string_lossy().starts_with("free.")).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(dir.join("precious").exists());
}

/// A writer that repeatedly takes the lock, checks that no other writer has it, and releases it.
fn fighter(lab: &Lab, host: &Host, seconds: u64) -> Child {
    let loops = "end=$(( $(date +%s) + $SECONDS_TO_FIGHT )); won=0; while [ $(date +%s) -lt $end ]; do \
        if out=$(\"$@\" 2>&1); then won=$((won+1)); else code=$?; [ $code = 11 ] || { echo \"exit $code: $out\"; exit 1; }; fi; \
        done; echo \"won $won\"";
    let inner = host.command(lab, &["--progress", "none", "gc", "--lock-wait", "1s"]);
    let mut all = Command::new("sh");
    all.args(["-uc", loops, "sh"]).env("SECONDS_TO_FIGHT", seconds.to_string());
    all.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            all.env(name, value);
        }
    }
    all.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts")
}

/// Every hold of the lock that the journal tells of was followed by no other until it ended.
#[test]
fn two_hosts_fight_for_the_lock_and_each_gets_it_again_and_again() {
    let (lab, nights) = Lab::with_nights(2);
    let seconds = if std::env::var_os("CHSNAP_FULL").is_some() { 150 } else { 6 };
    let (a, b) = (Host::new(&lab, "one"), Host::new(&lab, "two"));
    let watch = std::thread::spawn({
        let dir = lab.repo().join("lock.d");
        move || never_two(&dir, Duration::from_secs(seconds))
    });
    let fighters = [fighter(&lab, &a, seconds), fighter(&lab, &b, seconds)];
    for fighter in fighters {
        let output = fighter.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let won: u64 =
            said.trim().strip_prefix("won ").and_then(|won| won.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        assert!(won > 0, "one of two never has the lock");
    }
    let (looks, held) = watch.join().expect("never two");
    assert!(held > 0, "{looks} looks have seen no holder");
    assert_eq!(lab.listed(0), nights);
    // The same host, booted again, knows its dead for dead.
    let mut child = a.command(&lab, &["gc"]).spawn().expect("it starts");
    child.kill().expect("killed");
    child.wait().expect("it has ended");
    a.boot();
    let begun = Instant::now();
    a.run(&lab, 0, &["--progress", "none", "gc"]);
    assert!(begun.elapsed() < Duration::from_secs_f64(SILENCE * 10.0));
}

/// Looks, and looks again, at the marks: never are there two of different holders in one reading of the directory.
fn never_two(dir: &Path, time: Duration) -> (u64, u64) {
    let (begun, mut looks, mut held) = (Instant::now(), 0, 0);
    while begun.elapsed() < time {
        let nonces: std::collections::BTreeSet<String> = names(dir)
            .into_iter()
            .filter_map(|name| name.to_string_lossy().strip_prefix("held.")?.split('.').nth(1).map(str::to_owned))
            .collect();
        assert!(nonces.len() < 2, "{nonces:?}");
        looks += 1;
        held += nonces.len() as u64;
    }
    (looks, held)
}
