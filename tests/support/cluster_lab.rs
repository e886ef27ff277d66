//! A real cluster for tests: ZooKeeper and two 18.16 servers (or those of `CHSNAP_TEST_CLICKHOUSE`), `r1` and `r2` of
//! shard `s1` in cluster `c`, on the loopback.
//!
//! ```ignore
//! let mut cluster = Cluster::start();
//! cluster.r1().query("CREATE TABLE default.t ON CLUSTER c (k UInt64) \
//!     ENGINE = ReplicatedMergeTree('/t/{shard}', '{replica}') ORDER BY k");
//! cluster.r1().query("INSERT INTO t VALUES (1)");
//! cluster.wait_until_idle();
//! assert_eq!(cluster.r2().query("SELECT k FROM t"), "1");
//! ```
//!
//! It takes about three seconds to start, so one cluster should serve several cases, each with its own tables. 26.9 can
//! reach the same ZooKeeper, see [`Cluster::start_v26`].

#![allow(clippy::disallowed_methods, reason = "test support prepares folders itself")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::{Engine, Kind, Options, RealServer, free_port};
use crate::keeper::Keeper;

/// The configuration that makes an 18.16 server a replica of shard `s1` of cluster `c`: `@TCP@`, `@INTERSERVER@` and
/// `@KEEPER@` are ports, `@NUMBER@` is the replica's number, `@REPLICAS@` are the replicas of the shard.
const REPLICA18: &str = include_str!("cluster/replica18.xml");
/// The configuration with which 26.9 reaches Keeper: `@KEEPER@` is its port, `@NAME@` the replica's name.
const REPLICA26: &str = include_str!("cluster/replica26.xml");
const IDLE_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
const STARTS: usize = 4;

/// The cluster. Dropping it stops its processes and removes their data.
#[derive(Debug)]
pub struct Cluster {
    // Servers first: without their Keeper they would wait for it.
    replicas: [Engine; 2],
    keeper: Keeper,
}

impl Cluster {
    /// Starts an empty cluster.
    #[track_caller]
    pub fn start() -> Cluster {
        let mut failure = String::new();
        for _ in 0..STARTS {
            // A port that was free a moment ago may be taken by now.
            match Cluster::try_start() {
                Ok(cluster) => return cluster,
                Err(why) => failure = why,
            }
        }
        panic!("{failure}");
    }

    fn try_start() -> Result<Cluster, String> {
        let keeper = Keeper::new();
        let tcp = [free_port(), free_port()];
        let replicas = tcp.map(|port| format!("<replica><host>127.0.0.1</host><port>{port}</port></replica>")).concat();
        let options = [0, 1].map(|index: usize| Options {
            http_port: Some(free_port()),
            config: REPLICA18
                .replace("@TCP@", &tcp[index].to_string())
                .replace("@INTERSERVER@", &free_port().to_string())
                .replace("@KEEPER@", &keeper.port().to_string())
                .replace("@NUMBER@", &(index + 1).to_string())
                .replace("@REPLICAS@", &replicas),
            ..Options::default()
        });
        // Among modern servers, only one in its own process has the ports of a replica.
        let kind = RealServer::named().map_or(Kind::V18, |server| server.role);
        let [first, second] = options.map(|options| Engine::try_start_with(kind, &options));
        Ok(Cluster { replicas: [first?, second?], keeper })
    }

    /// The first replica.
    pub fn r1(&self) -> &Engine {
        &self.replicas[0]
    }

    /// The second replica.
    pub fn r2(&self) -> &Engine {
        &self.replicas[1]
    }

    /// A replica by its number, 1 or 2: to stop, kill or restart it (`restart`).
    pub fn replica(&mut self, number: usize) -> &mut Engine {
        &mut self.replicas[number - 1]
    }

    /// ZooKeeper: to stop, start or pause it.
    pub fn keeper(&mut self) -> &mut Keeper {
        &mut self.keeper
    }

    /// Runs a statement on each replica.
    #[track_caller]
    pub fn on_both(&self, sql: &str) {
        for replica in &self.replicas {
            replica.query(sql);
        }
    }

    /// Kills a replica and empties its disk; its configuration and its nodes in Keeper stay.
    /// `replica(number).restart()` starts it without any data.
    pub fn lose_disk(&mut self, number: usize) {
        let replica = self.replica(number);
        replica.kill();
        let data = replica.data_path();
        fs::remove_dir_all(data).unwrap_or_else(|e| panic!("cannot remove {}: {e}", data.display()));
        fs::create_dir(data).unwrap_or_else(|e| panic!("cannot create {}: {e}", data.display()));
    }

    /// The nodes below a path of Keeper with their values, without the node at the path itself; for comparing before
    /// and after.
    #[track_caller]
    pub fn nodes(&self, path: &str) -> BTreeMap<String, String> {
        nodes(self.r1(), path)
    }

    /// Waits until each running replica has processed all entries of the logs in Keeper.
    ///
    /// # Panics
    /// If that takes more than two minutes; the message lists the queues.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        let deadline = Instant::now() + IDLE_DEADLINE;
        for replica in self.replicas.iter().filter(|replica| replica.try_query("SELECT 1").is_ok()) {
            for table in lines(&replica.query("SELECT concat('`', database, '`.`', table, '`') FROM system.replicas")) {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = left.as_secs().max(1).to_string();
                let synced =
                    replica.query_with(&format!("SYSTEM SYNC REPLICA {table}"), &[("receive_timeout", &timeout)]);
                synced.unwrap_or_else(|error| panic!("{table}: {error}\n{}", queue(replica)));
            }
            while replica.query("SELECT sum(queue_size) FROM system.replicas") != "0" {
                assert!(Instant::now() < deadline, "a queue does not empty: {}", queue(replica));
                thread::sleep(POLL);
            }
        }
    }

    /// A 26.9 that is replica `name` of shard `s1` with the same ZooKeeper. Its replicated tables stay read-only.
    #[track_caller]
    pub fn start_v26(&self, name: &str) -> Engine {
        start_v26(&self.keeper, name)
    }

    /// [`Cluster::start_v26`] with more configuration, in XML.
    #[track_caller]
    pub fn start_v26_with(&self, name: &str, config: &str) -> Engine {
        start_v26_with(&self.keeper, name, config)
    }
}

/// Starts a 26.9 that is replica `name` of shard `s1`. Its replicated tables stay read-only: it has no interserver
/// port.
#[track_caller]
pub fn start_v26(keeper: &Keeper, name: &str) -> Engine {
    start_v26_with(keeper, name, "")
}

#[track_caller]
fn start_v26_with(keeper: &Keeper, name: &str, config: &str) -> Engine {
    let config = REPLICA26.replace("@KEEPER@", &keeper.port().to_string()).replace("@NAME@", name) + config;
    Engine::start_with(Kind::V26, &Options { config, ..Options::default() })
}

fn lines(answer: &str) -> Vec<String> {
    answer.lines().map(str::to_owned).collect()
}

fn queue(replica: &Engine) -> String {
    replica.try_query("SELECT * FROM system.replication_queue FORMAT Vertical").unwrap_or_else(|error| error)
}

fn nodes(server: &Engine, path: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut unread = vec![path.trim_end_matches('/').to_owned()];
    while let Some(parent) = unread.pop() {
        let mut sql = String::from("SELECT name, value, numChildren FROM system.zookeeper WHERE path = '");
        let asked = if parent.is_empty() { "/" } else { &parent };
        write!(sql, "{}' FORMAT JSONEachRow", asked.replace('\\', "\\\\").replace('\'', "\\'")).expect("a String");
        // A value need not be UTF-8.
        let answer = server.query_bytes(sql.as_bytes(), &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
        for line in String::from_utf8_lossy(&answer).lines() {
            let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
            let node = format!("{parent}/{}", text("name"));
            if row["numChildren"] != 0 && row["numChildren"] != "0" {
                unread.push(node.clone());
            }
            found.insert(node, text("value"));
        }
    }
    found
}
