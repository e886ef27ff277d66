//! Restores of replicated tables during which chsnap, a server or Keeper is killed at a random moment: the same restore
//! again converges, nothing of it is left on a server or in Keeper, and a live table that it does not concern keeps every
//! node.
//!
//! `CHSNAP_SEED` draws other moments; with `CHSNAP_FULL` there are many more.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wait_timeout::ChildExt as _;

use crate::chsnap_command::{Chsnap, Run};
use crate::cluster_lab::Cluster;
use crate::cluster_restore::{DIGEST, PATH, no_helper_is_left, nodes};
use crate::strace::{Dice, is_full};
use crate::support::repository;

/// The longest time for anything that a killed server or Keeper delays.
const DEADLINE: Duration = Duration::from_secs(150);
/// After how long a wait is named, for a test that is stopped while it waits.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
const LIVE: &str = "/clickhouse/tables/s1/live";
const PARTITIONS: u64 = 20;

/// A restore, and the state of `lab.t` before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// It was dropped on the whole cluster, and comes back on one replica.
    Dropped,
    /// The same, on all hosts.
    OnCluster,
    /// It lacks some partitions.
    Partitions,
    /// It has other rows, which are replaced.
    Replaced,
    /// It is restored under another name.
    Renamed,
    /// It was dropped on this replica, which fetches it.
    Fetched,
}

const TASKS: [Task; 6] =
    [Task::Dropped, Task::OnCluster, Task::Partitions, Task::Replaced, Task::Renamed, Task::Fetched];

impl Task {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Dropped | Self::Fetched => &[],
            Self::OnCluster => &["--on-cluster", "c"],
            Self::Partitions => &["--table", "lab.t", "--partition", "3", "--partition", "4", "--partition", "5"],
            Self::Replaced => &["--table", "lab.t", "--replace"],
            Self::Renamed => &["--table", "lab.t", "--rename", "lab.t=lab.u"],
        }
    }

    fn is_on_both(self) -> bool {
        !matches!(self, Self::Dropped)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Chsnap,
    /// The server that is restored to, and its replica.
    Server(usize),
    Keeper,
}

const VICTIMS: [Victim; 5] = [Victim::Chsnap, Victim::Chsnap, Victim::Server(1), Victim::Server(2), Victim::Keeper];

/// The cluster with a table that is restored again and again, and one that is only there.
struct Lab {
    cluster: Cluster,
    chsnap: Chsnap,
    digest: String,
    live: BTreeMap<String, String>,
}

/// Repeats until it has a result.
#[track_caller]
fn until<T>(when: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    let mut named = begun;
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(why) => {
                assert!(begun.elapsed() < DEADLINE, "{when}: {why}");
                if named.elapsed() > PATIENCE {
                    eprintln!("{when}: after {:?}: {why}", begun.elapsed());
                    named = Instant::now();
                }
            }
        }
        thread::sleep(POLL);
    }
}

/// The nodes of a table that stay the same while its replicas begin new sessions.
fn lasting(cluster: &Cluster, path: &str) -> BTreeMap<String, String> {
    let mut nodes = nodes(cluster, path);
    for (_, value) in nodes.iter_mut().filter(|(name, _)| name.ends_with("/is_active")) {
        value.clear();
    }
    nodes
}

fn spawned(chsnap: &Chsnap, task: Task) -> Child {
    let mut command = chsnap.command(&[&["restore", "latest", "--yes"], task.arguments()].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("chsnap starts")
}

/// Waits until it ends by itself.
#[track_caller]
fn ended(child: &mut Child, when: &str) {
    let status = child.wait_timeout(DEADLINE).expect("it can be waited for");
    assert!(status.is_some(), "{when}: the restore does not end");
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.r1().query("CREATE DATABASE lab ON CLUSTER c");
        for (table, rows) in [("t", 2000), ("live", 100)] {
            cluster.r1().query(&format!(
                "CREATE TABLE lab.{table} ON CLUSTER c (p UInt8, k UInt64, v String) ENGINE = \
                 ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{table}', '{{replica}}') PARTITION BY p ORDER BY k"
            ));
            cluster.r1().query(&format!(
                "INSERT INTO lab.{table} SELECT number % {PARTITIONS}, number, toString(number) FROM numbers({rows})"
            ));
        }
        cluster.wait_until_idle();
        let chsnap = repository(cluster.r1());
        chsnap.json(0, &["create"]);
        let (digest, live) = (cluster.r1().query(DIGEST), lasting(&cluster, LIVE));
        Self { cluster, chsnap, digest, live }
    }

    /// Waits until both servers have a session, and no table is read-only.
    #[track_caller]
    fn heal(&self, when: &str) {
        for server in [self.cluster.r1(), self.cluster.r2()] {
            until(when, || {
                server.try_query("SELECT count() FROM system.zookeeper WHERE path = '/'")?;
                let bad = server.try_query("SELECT countIf(is_readonly OR is_session_expired) FROM system.replicas")?;
                let inactive =
                    server.try_query("SELECT countIf(active_replicas != total_replicas) FROM system.replicas")?;
                if (bad.as_str(), inactive.as_str()) == ("0", "0") { Ok(()) } else { Err("no session".to_owned()) }
            });
        }
        self.cluster.wait_until_idle();
    }

    /// Runs the restore until it is done: what was killed comes back by and by.
    #[track_caller]
    fn restore(&self, task: Task, when: &str) -> Run {
        until(when, || {
            let run = self.chsnap.run(&[&["--json", "restore", "latest", "--yes"], task.arguments()].concat());
            let document: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
            // Fetched data, and a host that has just come back, are warnings.
            let is_known = |warning: &Value| {
                let kind = warning["kind"].as_str().unwrap_or_default();
                matches!(kind, "replica_fetched" | "replica_behind") && run.code == 3
            };
            let warnings = document["warning_list"].as_array();
            let is_done = run.code == 0 || warnings.is_some_and(|all| !all.is_empty() && all.iter().all(is_known));
            if is_done { Ok(run) } else { Err(format!("{run:?}")) }
        })
    }

    /// Runs a statement until it succeeds. A host that does not answer is waited for only a while each time.
    #[track_caller]
    fn send(&self, sql: &str, when: &str) {
        let begun = Instant::now();
        until(when, || self.cluster.r1().query_with(sql, &[("distributed_ddl_task_timeout", "20")]));
        if begun.elapsed() > PATIENCE {
            eprintln!("{when}: {sql} took {:?}", begun.elapsed());
        }
    }

    /// Makes the state in which the restore begins.
    #[track_caller]
    fn prepare(&self, task: Task, when: &str) {
        self.heal(when);
        match task {
            Task::Dropped | Task::OnCluster => self.send("DROP TABLE IF EXISTS lab.t ON CLUSTER c", when),
            Task::Renamed => self.send("DROP TABLE IF EXISTS lab.u", when),
            Task::Partitions | Task::Replaced | Task::Fetched => {}
        }
        if matches!(task, Task::Dropped | Task::OnCluster) {
            return;
        }
        self.restore(Task::OnCluster, when);
        self.heal(when);
        match task {
            Task::Partitions => (3..6).for_each(|p| self.send(&format!("ALTER TABLE lab.t DROP PARTITION {p}"), when)),
            Task::Replaced => self.send("INSERT INTO lab.t SELECT number % 25, number, 'other' FROM numbers(50)", when),
            Task::Fetched => self.send("DROP TABLE lab.t", when),
            Task::Renamed | Task::Dropped | Task::OnCluster => {}
        }
        self.heal(when);
    }

    /// How long the restore takes, in milliseconds.
    fn length(&self, task: Task, when: &str) -> usize {
        self.prepare(task, when);
        let begun = Instant::now();
        self.restore(task, when);
        usize::try_from(begun.elapsed().as_millis()).expect("small")
    }

    fn kill(&mut self, victim: Victim, child: &mut Child, pause: Duration, when: &str) {
        match victim {
            Victim::Chsnap => {
                // It may have ended before.
                drop(child.kill());
                child.wait().expect("it ends");
            }
            Victim::Server(number) => {
                self.cluster.replica(number).kill();
                thread::sleep(pause);
                self.cluster.replica(number).restart();
            }
            Victim::Keeper => {
                self.cluster.keeper().stop();
                thread::sleep(pause);
                self.cluster.keeper().start();
            }
        }
        ended(child, when);
    }

    #[track_caller]
    fn check(&self, task: Task, run: &Run, when: &str) {
        self.heal(when);
        let restored = if task == Task::Renamed { DIGEST.replace("lab.t", "lab.u") } else { DIGEST.to_owned() };
        assert_eq!(self.cluster.r1().query(&restored), self.digest, "{when}: {run:?}");
        if task.is_on_both() {
            // A moment after its start a server does not yet know what it has to fetch, and its queue is empty.
            until(when, || {
                let digest = self.cluster.r2().try_query(DIGEST)?;
                if digest == self.digest { Ok(()) } else { Err(format!("the replica has {digest} after {run:?}")) }
            });
        }
        for server in [self.cluster.r1(), self.cluster.r2()] {
            no_helper_is_left(server);
            assert_eq!(server.query("SELECT name FROM system.databases WHERE name LIKE '%chsnap%'"), "", "{when}");
            // A directory of each table, and no other one.
            let data = std::fs::read_dir(server.data_path().join("data/lab")).expect("a directory").flatten();
            let data: BTreeSet<String> = data.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            let tables = server.query("SELECT name FROM system.tables WHERE database = 'lab'");
            assert_eq!(data, tables.lines().map(str::to_owned).collect(), "{when}");
        }
        // A table has a path if it is there, and nothing else has.
        let tables = self.cluster.nodes("/clickhouse/tables/s1");
        let with_metadata = tables.keys().filter_map(|node| node.strip_suffix("/metadata"));
        let paths: BTreeSet<&str> = with_metadata.filter(|path| !path.contains("/replicas/")).collect();
        let known = self.cluster.r1().query("SELECT zookeeper_path FROM system.replicas");
        assert_eq!(paths, known.lines().collect(), "{when}");
        assert!(paths.contains(PATH) && !paths.contains("/clickhouse/tables/s1/lab/u_2"), "{when}: {paths:?}");
        // The log of a table says from which one a partition came; no node has that name.
        let all = self.cluster.nodes("/clickhouse");
        assert_eq!(all.keys().find(|node| node.contains("chsnap")), None, "{when}");
        // Of a session that ended with Keeper the node of activity goes a moment later, and comes again.
        until(when, || {
            let live = lasting(&self.cluster, LIVE);
            if live == self.live { Ok(()) } else { Err(format!("{live:?} is not {:?}", self.live)) }
        });
    }
}

#[test]
fn killed_at_random_moments_a_restore_converges_and_leaves_nothing() {
    let (mut dice, seed) = Dice::new("replicated restores");
    let mut lab = Lab::new();
    let mut lengths: BTreeMap<Task, usize> = BTreeMap::new();
    let rounds = if is_full() { 150 } else { 6 };
    let (first, mut cut) = (dice.below(TASKS.len()), 0);
    for round in 0..rounds {
        let task = TASKS[(first + round) % TASKS.len()];
        let victim = VICTIMS[dice.below(VICTIMS.len())];
        let length = *lengths.entry(task).or_insert_with(|| lab.length(task, &seed));
        let moment = Duration::from_millis(u64::try_from(dice.below(length + 200)).expect("small"));
        let pause = Duration::from_millis(u64::try_from(dice.below(1500)).expect("small"));
        let when = format!("{seed}, round {round}: {task:?}, {victim:?} after {moment:?}, for {pause:?}");
        lab.prepare(task, &when);
        let begun = Instant::now();
        let mut restore = spawned(&lab.chsnap, task);
        thread::sleep(moment);
        cut += usize::from(restore.try_wait().expect("it can be waited for").is_none());
        lab.kill(victim, &mut restore, pause, &when);
        let took = begun.elapsed();
        let again = lab.restore(task, &when);
        lab.check(task, &again, &when);
        eprintln!("{when}: {took:?} of {length} ms, then {} after {:?}", again.code, begun.elapsed());
    }
    assert!(cut * 3 > rounds, "{seed}: {cut} of {rounds} restores were still running");
}
