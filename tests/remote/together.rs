//! Two hosts and a garbage collection in one store, all at the same time.
//!
//! The hosts push, push what was removed, are killed while they push, remove, pull and check, in a random order. Their
//! parts come from one small set, so that objects are shared, condemned and needed again all the time. Nothing may ever
//! be missing. `CHSNAP_HOURS=1` makes it an hour; it is some seconds otherwise, and minutes with `CHSNAP_FULL`.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chsnap::model::SnapshotId;
use rstest::rstest;
use testkit::object_store::{ObjectServer, here};

use crate::chsnap_command::{Chsnap, Run};
use crate::remote::support::{at, content};
use crate::store::{Store, names, part, time};

/// Snapshots that a repository keeps.
const KEPT_HERE: usize = 8;
/// Snapshots that a host keeps in the store.
const KEPT_THERE: usize = 8;
/// Different parts that the hosts have.
const PARTS: u64 = 60;

/// Random numbers of a seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// What all of them share.
struct Arena<'a> {
    server: &'a ObjectServer,
    folder: tempfile::TempDir,
    grace: Duration,
    end: Instant,
    is_over: AtomicBool,
    /// How often each operation ran.
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// The longest run of each operation, in milliseconds.
    longest: Mutex<BTreeMap<&'static str, u128>>,
    deleted: AtomicU64,
    faults: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena<'_> {
    fn with_keys(&self, chsnap: Chsnap) -> Chsnap {
        self.server.environment.iter().fold(chsnap, |chsnap, (name, value)| chsnap.env(name, value))
    }

    /// Runs a command that must end well, and gives its document; the first fault ends everything.
    fn run(&self, what: &'static str, chsnap: &Chsnap, arguments: &[&str]) -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let begun = Instant::now();
        let Run { code, stdout, stderr } = chsnap.run(&all);
        self.count(what, begun);
        if code != 0 {
            self.fault(format!("{arguments:?} ended with {code}\n{stdout}\n{stderr}"));
        }
        serde_json::from_str(&stdout).unwrap_or_default()
    }

    fn count(&self, what: &'static str, begun: Instant) {
        *locked(&self.counts).entry(what).or_default() += 1;
        let mut longest = locked(&self.longest);
        let milliseconds = longest.entry(what).or_default();
        *milliseconds = begun.elapsed().as_millis().max(*milliseconds);
    }

    fn fault(&self, text: String) {
        eprintln!("{text}");
        locked(&self.faults).push(text);
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst) || Instant::now() >= self.end
    }
}

/// A host: its repository, and what each of its snapshots must be.
struct Host<'a> {
    arena: &'a Arena<'a>,
    name: &'static str,
    store: Store,
    chsnap: Chsnap,
    dice: Dice,
    nights: i64,
    digests: BTreeMap<SnapshotId, blake3::Hash>,
    here: Vec<SnapshotId>,
    there: Vec<SnapshotId>,
}

fn digest(snapshot: &std::path::Path) -> blake3::Hash {
    blake3::hash(format!("{:?}", content(snapshot)).as_bytes())
}

impl<'a> Host<'a> {
    fn new(arena: &'a Arena<'a>, name: &'static str, seed: u64) -> Self {
        let store = Store::new();
        let chsnap = arena.with_keys(Chsnap::new(&store.repo()));
        let (digests, here, there) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { arena, name, store, chsnap, dice: Dice(seed | 1), nights: 0, digests, here, there }
    }

    fn address(&self) -> &'a str {
        &self.arena.server.address
    }

    /// Changes some parts, and makes a snapshot.
    fn snapshot(&mut self) {
        for _ in 0..=self.dice.throw(3) {
            let number = self.dice.throw(PARTS);
            let (table, of) = (if number < PARTS / 2 { "a" } else { "b" }, format!("all_{number}_{number}_"));
            let live = self.store.live().join(table);
            match names(&live).into_iter().find(|name| name.starts_with(&of)) {
                Some(name) => std::fs::remove_dir_all(live.join(name)).expect("dropped"),
                // A server never gives a name twice.
                None => {
                    self.store.put(table, &format!("{of}{}", self.nights), &part(number, 6, number.is_multiple_of(3)));
                }
            }
        }
        if self.nights == 0 {
            self.store.put("a", "all_99_99_0", &part(99, 3, false));
        }
        self.nights += 1;
        let id = self.store.snapshot_at(time(0) + chrono::Duration::minutes(self.nights), |_, _| ());
        self.digests.insert(id, digest(&self.store.at(id)));
        self.here.push(id);
        while self.here.len() > KEPT_HERE {
            let oldest = self.here.remove(0).to_string();
            self.arena.run("local rm", &self.chsnap, &["rm", &oldest]);
        }
    }

    fn push(&mut self, operation: &'static str, what: &str) {
        let pushed =
            self.arena.run(operation, &self.chsnap, &["push", what, "--to", self.address(), "--small", "4KiB"]);
        for row in pushed["snapshots"].as_array().into_iter().flatten() {
            let id: SnapshotId = row["id"].as_str().expect("an id").parse().expect("an id");
            if !self.there.contains(&id) {
                self.there.push(id);
            }
        }
        self.there.sort_unstable();
    }

    /// Kills a push at some time. Its snapshot is then there or not; the next push decides.
    fn killed_push(&mut self) {
        let begun = Instant::now();
        let arguments = ["push", "latest", "--to", self.address(), "--small", "4KiB", "--json"];
        let mut child =
            self.chsnap.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(self.dice.throw(400)));
        drop(child.kill());
        child.wait().expect("it ends");
        self.arena.count("killed push", begun);
        self.push("push", "latest");
    }

    fn remove(&mut self, chosen: usize) {
        let id = self.there.remove(chosen).to_string();
        self.arena.run("remote rm", &self.chsnap, &["remote", "rm", self.address(), &id]);
    }

    fn act(&mut self) {
        while self.there.len() > KEPT_THERE {
            self.remove(0);
        }
        match self.dice.throw(10) {
            0..=2 => {
                self.snapshot();
                self.push("push", "latest");
            }
            // Also what was removed there, whose objects are condemned.
            3 => {
                self.snapshot();
                self.push("push --new", "--new");
            }
            4 => {
                self.snapshot();
                self.killed_push();
            }
            5..=7 if self.there.len() > 3 => {
                let chosen = usize::try_from(self.dice.throw(self.there.len() as u64 - 1)).expect("small");
                self.remove(chosen);
            }
            8 => {
                if let Some(id) = self.there.last().copied() {
                    self.pull(&[id]);
                }
            }
            _ => drop(self.arena.run("remote check", &self.chsnap, &["remote", "check", self.address()])),
        }
    }

    /// Pulls snapshots into a new repository, and compares them.
    fn pull(&self, ids: &[SnapshotId]) {
        let folder = tempfile::tempdir_in(self.arena.folder.path()).expect("a folder");
        let clean = self.arena.with_keys(Chsnap::new(&folder.path().join("repo")));
        for id in ids {
            self.pull_into(&clean, *id);
        }
    }

    fn pull_into(&self, clean: &Chsnap, id: SnapshotId) {
        let of = self.store.open().id().short().to_owned();
        self.arena.run("pull", clean, &["pull", &id.to_string(), "--from", self.address(), "--of", &of]);
        if !self.arena.is_over.load(Ordering::SeqCst) && self.digests.get(&id) != Some(&digest(&at(clean, id))) {
            self.arena.fault(format!("{id} of {} came back with other content", self.name));
        }
    }

    /// The snapshots that the store lists are those that were pushed and not removed, and come back as they were.
    fn assert_whole(&self) {
        let of = self.store.open().id().short().to_owned();
        let listed = self.arena.run("remote list", &self.chsnap, &["remote", "list", self.address()]);
        let rows = listed["snapshots"].as_array().expect("a list").iter();
        let own = rows.filter(|row| row["remote_name"].as_str().expect("a name").ends_with(&format!(".{of}")));
        let ids: Vec<SnapshotId> = own.map(|row| row["id"].as_str().expect("an id").parse().expect("an id")).collect();
        assert_eq!(ids, self.there, "{}", self.name);
        self.pull(&ids);
    }
}

/// How long it takes, and the grace of gc, which must be longer than any push.
fn times() -> (Duration, Duration) {
    if let Some(hours) = std::env::var("CHSNAP_HOURS").ok().and_then(|text| text.parse::<f64>().ok()) {
        return (Duration::from_secs_f64(hours * 3600.0), Duration::from_secs(300));
    }
    if std::env::var_os("CHSNAP_FULL").is_some() {
        return (Duration::from_secs(300), Duration::from_secs(40));
    }
    (Duration::from_secs(20), Duration::from_secs(6))
}

#[rstest]
#[case::s3(here(ObjectServer::s3()))]
#[case::directory(here(ObjectServer::directory()))]
fn two_hosts_and_a_gc_at_once_lose_nothing(#[case] server: Option<ObjectServer>) {
    let Some(server) = &server else { return };
    let seed = std::env::var("CHSNAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_130);
    let (lasts, grace) = times();
    let begun = Instant::now();
    let arena = &Arena {
        server,
        folder: tempfile::tempdir().expect("a folder"),
        grace,
        end: begun + lasts,
        is_over: AtomicBool::new(false),
        counts: Mutex::default(),
        longest: Mutex::default(),
        deleted: AtomicU64::new(0),
        faults: Mutex::default(),
    };
    let host = |name: &'static str, seed: u64| {
        let mut host = Host::new(arena, name, seed);
        host.snapshot();
        host.push("push", "latest");
        host
    };
    let hosts = [host("one", seed), host("other", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))];
    let hosts = std::thread::scope(|scope| {
        scope.spawn(|| collect_all_the_time(arena));
        let threads = hosts.map(|mut host| {
            scope.spawn(move || {
                while !arena.is_over() {
                    host.act();
                }
                host
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let longest = |what: &str| locked(&arena.longest).get(what).copied().unwrap_or(0);
    let longest_push = ["push", "push --new", "killed push"].map(longest).into_iter().max().unwrap_or(0);
    let is_promised = longest_push + longest("remote gc") < grace.as_millis();
    let faults = std::mem::take(&mut *locked(&arena.faults));
    if !is_promised && !faults.is_empty() {
        eprintln!("NOT RUN: a push or a gc took longer than the grace: {longest_push} ms; {faults:?}");
        return;
    }
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    let keys = arena.with_keys(Chsnap::new(&arena.folder.path().join("none")));
    arena.run("remote check", &keys, &["remote", "check", &server.address]);
    arena.run("remote verify", &keys, &["remote", "verify", &server.address, "--data"]);
    for host in &hosts {
        host.assert_whole();
    }
    let faults = locked(&arena.faults);
    let (counts, deleted) = (locked(&arena.counts), arena.deleted.load(Ordering::SeqCst));
    eprintln!("{:.0} s, seed {seed}: {counts:?}; {deleted} objects deleted", begun.elapsed().as_secs_f64());
    if !is_promised && !faults.is_empty() {
        eprintln!("NOT RUN: a push or a gc took longer than the grace: {longest_push} ms; {faults:?}");
        return;
    }
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    let number = |what: &str| counts.get(what).copied().unwrap_or(0);
    assert!(number("remote gc") > 1 && number("push") > 2, "{counts:?}");
    assert!(deleted > 0 || lasts < grace * 4, "nothing was deleted: {counts:?}");
}

fn collect_all_the_time(arena: &Arena<'_>) {
    let keys = arena.with_keys(Chsnap::new(&arena.folder.path().join("collector")));
    let grace = format!("{}s", arena.grace.as_secs());
    while !arena.is_over() {
        let collected = arena.run("remote gc", &keys, &["remote", "gc", &arena.server.address, "--grace", &grace]);
        arena.deleted.fetch_add(collected["deleted"]["objects"].as_u64().unwrap_or(0), Ordering::SeqCst);
        std::thread::sleep(arena.grace / 20);
    }
}
