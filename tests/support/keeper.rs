//! A real Keeper for tests, on the loopback, with its data in a temporary directory: Debian's ZooKeeper, or
//! ClickHouse's own Keeper if `CHSNAP_TEST_CLICKHOUSE` names a modern server's binary.
//!
//! `tests/support/engines/install keeper` fetches ZooKeeper. It ends when the test process ends, for whatever reason.

#![allow(clippy::disallowed_methods, reason = "test support prepares folders itself")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Kind, RealServer, cache, free_port, spawn};

const START_DEADLINE: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const STARTS: usize = 4;

const CONFIG: &str = include_str!("cluster/zoo.cfg");
const OWN_CONFIG: &str = include_str!("cluster/keeper.xml");

/// A running Keeper, or a stopped one with its data. Dropping it stops it and removes the data.
#[derive(Debug)]
pub struct Keeper {
    port: u16,
    raft_port: u16,
    child: Option<Child>,
    // The last field, so that it is removed after the process is gone.
    folder: tempfile::TempDir,
}

impl Keeper {
    /// Whether a Keeper is installed.
    pub fn is_installed() -> bool {
        RealServer::as_kind(Kind::V26).is_some() || cache().join("keeper/.ready").exists()
    }

    /// Starts a Keeper without any nodes.
    #[track_caller]
    pub fn new() -> Self {
        assert!(Self::is_installed(), "ZooKeeper is not installed: run tests/support/engines/install keeper");
        let mut failure = String::new();
        for _ in 0..STARTS {
            let folder = tempfile::Builder::new().prefix("chsnap-keeper-").tempdir().expect("a temporary folder");
            let mut keeper = Self { port: free_port(), raft_port: free_port(), child: None, folder };
            // A port that was free a moment ago may be taken by now.
            match keeper.try_start() {
                Ok(()) => return keeper,
                Err(why) => failure = why,
            }
        }
        panic!("{failure}");
    }

    /// Its port on the loopback; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it over its data, and waits until it serves.
    ///
    /// # Panics
    /// If it does not serve within a minute; the message has the end of its log.
    #[track_caller]
    pub fn start(&mut self) {
        self.try_start().unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_start(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "ZooKeeper is running");
        let folder = self.folder.path();
        let write = |name: &str| {
            let log = fs::OpenOptions::new().create(true).append(true).open(folder.join(name));
            log.expect("a log")
        };
        let data = folder.join("data");
        fs::create_dir_all(&data).expect("a folder");
        let own = RealServer::as_kind(Kind::V26);
        let config = if own.is_some() { OWN_CONFIG } else { CONFIG };
        let config = config.replace("@DATA@", &data.to_string_lossy()).replace("@PORT@", &self.port.to_string());
        let file = folder.join("keeper.conf.xml");
        fs::write(&file, config.replace("@RAFT@", &self.raft_port.to_string())).expect("its configuration");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match own {
            Some(server) => {
                server.start(&mut command, "keeper");
                command.arg(format!("--config-file={}", file.display()));
            }
            None => drop(command.arg(cache().join("keeper/run")).arg(file)),
        }
        command.stdin(Stdio::null()).stdout(write("log")).stderr(write("log")).current_dir(folder);
        self.child = Some(spawn(command).expect("setpriv of util-linux and ZooKeeper can be run"));
        let deadline = Instant::now() + START_DEADLINE;
        while !self.serves() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() {
                self.child = None;
                return Err(format!("ZooKeeper ended while starting\n{}", self.log()));
            }
            if Instant::now() > deadline {
                self.stop();
                return Err(format!("ZooKeeper does not serve\n{}", self.log()));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Ends it with SIGKILL. Its data stay, and so do the sessions of its clients for a while.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Stops its threads: connections stay open, but get no answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets its threads go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("ZooKeeper is running").id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &pid, name]).status();
        assert!(sent.expect("sh runs").success(), "SIG{name} was not sent");
    }

    /// Whether it serves: it accepts connections, and answers "ruok", a while before that. `srvr` reports a mode only
    /// once it serves.
    pub fn serves(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).is_ok()
            && stream.write_all(b"srvr").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.contains("Mode:")
    }

    fn log(&self) -> String {
        let log = fs::read(Path::new(self.folder.path()).join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(8000)..]).into_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}
