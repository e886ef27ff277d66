//! A ClickHouse server of the user's own for the tests: `CHSNAP_TEST_CLICKHOUSE` names its binary.
//!
//! Only the binary is needed: `BINARY server --config-file FILE` with the files below, on the loopback. It replaces one
//! of the two engines, depending on its age.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Kind;

/// The variable that names the binary.
pub const VARIABLE: &str = "CHSNAP_TEST_CLICKHOUSE";
/// Servers from this major version on have the features that tests of 26.9 need, above all Atomic databases.
const FIRST_MODERN: u32 = 21;

pub const SERVER_CONFIG: &str = include_str!("engines/server26.xml");
pub const USERS: &str = include_str!("engines/users26.xml");

/// Below the ports that the kernel assigns to outgoing connections, so that no connection takes one meanwhile.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// The server that [`VARIABLE`] names.
#[derive(Debug)]
pub struct RealServer {
    /// The binary.
    pub program: PathBuf,
    /// The engine that it replaces.
    pub role: Kind,
}

impl RealServer {
    /// The server to test with, if one is named.
    ///
    /// # Panics
    /// If the named program cannot be run.
    pub fn named() -> Option<&'static RealServer> {
        static NAMED: OnceLock<Option<RealServer>> = OnceLock::new();
        NAMED.get_or_init(|| std::env::var_os(VARIABLE).map(|program| RealServer::of(Path::new(&program)))).as_ref()
    }

    /// The same if it replaces this engine.
    pub fn as_kind(kind: Kind) -> Option<&'static RealServer> {
        RealServer::named().filter(|server| server.role == kind)
    }

    fn of(program: &Path) -> RealServer {
        let output = Command::new(program).args(["server", "--version"]).output();
        let output = output.unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", program.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The oldest servers do not support the option.
        let role = if major_version(&text).is_some_and(|major| major >= FIRST_MODERN) { Kind::V26 } else { Kind::V18 };
        RealServer { program: program.to_owned(), role }
    }

    /// Adds the beginning of a command: `BINARY server` or `BINARY keeper`. Disables a modern server's watchdog
    /// process, which would not end with the test.
    pub fn start(&self, command: &mut Command, what: &str) {
        command.env("CLICKHOUSE_WATCHDOG_ENABLE", "0").arg(&self.program).arg(what);
    }
}

/// The first number of `ClickHouse server version 26.9.1.1 (official build).`
fn major_version(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// A port of the loopback on which nothing listens now.
#[track_caller]
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let random = RandomState::new().build_hasher().finish() % u64::from(PORTS);
        let port = FIRST_PORT + u16::try_from(random).expect("it is less than the number of ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of the loopback is free");
}
