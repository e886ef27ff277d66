//! Real ClickHouse engines for tests: 18.16 and 26.9, eight years apart.
//!
//! ```ignore
//! use testkit::engine::{Engine, apply, both_engines, rstest};
//!
//! #[apply(both_engines)]
//! fn counts_rows(engine: Engine) {
//!     assert_eq!(engine.query("SELECT count() FROM numbers(3)"), "3");
//! }
//! ```
//!
//! `CHSNAP_TEST_CLICKHOUSE` names a server's binary that replaces one of them: see `real_server.rs`.
//!
//! 18.16 is Debian's server. 26.9 is chDB behind `engines/chdb_bridge.py`; the comment at the top of that file says in
//! which respects it behaves like a server and in which it does not. `tests/support/engines/install` fetches both. An
//! engine is a separate process that ends when the test process ends, for whatever reason.

#[path = "real_server.rs"]
mod real_server;

pub use real_server::{RealServer, free_port};
pub use rstest::rstest;
pub use rstest_reuse::apply;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use wait_timeout::ChildExt as _;

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(5);
const RESTARTS: usize = 3;
const RESTART_PAUSE: Duration = Duration::from_secs(2);

const BRIDGE: &str = include_str!("engines/chdb_bridge.py");
const CHDB_CONFIG: &str = include_str!("engines/chdb.xml");
const SERVER18_CONFIG: &str = include_str!("engines/server18.xml");
const SERVER18_USERS: &str = include_str!("engines/users18.xml");

/// A user with read access only (`readonly=1`); no password. Exists with [`Options::users`].
pub const READONLY_USER: &str = "readonly";
/// A user with a password. Exists with [`Options::users`].
pub const SECRET_USER: &str = "secret";
/// The password of [`SECRET_USER`].
pub const SECRET_PASSWORD: &str = "open-sesame-7";

/// A user whose settings profile is [`Options::profile`]; no password.
pub const LIMITED_USER: &str = "limited";
/// The same for a user who cannot change settings: readonly (18.16), or with a constraint on each of them (26.9).
pub const BOUND_USER: &str = "bound";

/// The version of ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 18.16: no Atomic databases, no disks, no verbose FREEZE, no UNFREEZE.
    V18,
    /// 26.9, today's.
    V26,
}

impl Kind {
    /// Both, oldest first.
    pub const ALL: [Kind; 2] = [Kind::V18, Kind::V26];

    /// Whether `install` has fetched it.
    pub fn is_installed(self) -> bool {
        self.program().exists()
    }

    /// The program that runs it: the server that replaces it, its wrapper, or the Python that has chDB.
    pub fn program(self) -> PathBuf {
        if let Some(server) = RealServer::as_kind(self) {
            return server.program.clone();
        }
        match self {
            Kind::V18 => cache().join("clickhouse-18/run"),
            Kind::V26 => cache().join("venv/bin/python"),
        }
    }
}

/// The directory in which `install` puts what it fetches.
pub fn cache() -> PathBuf {
    std::env::var_os("CHSNAP_ENGINES").map_or_else(|| crate::root().join(".engines"), PathBuf::from)
}

/// How an engine runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Runs as this numeric user and group, which need not have a name. The data path and the disks (only the
    /// directories) are given to that user. Needs root.
    pub uid: Option<u32>,
    /// Creates [`READONLY_USER`] and [`SECRET_USER`] in addition to `default`, who has no password.
    pub users: bool,
    /// Settings of [`LIMITED_USER`] and [`BOUND_USER`], which exist if there are any settings.
    pub profile: Vec<(&'static str, &'static str)>,
    /// Disks `disk1`, `disk2` … in addition to the disk `default`; [`Engine::disk_path`] gives their paths. Each has a
    /// storage policy of its name; the policy `jbod` is one volume of all of them, including `default`. 26.9 only.
    pub extra_disks: usize,
    /// More disks: name and definition (XML, in which `{root}` is [`Engine::root`]), each with a storage policy
    /// of its name. 26.9 only. `("coded", "<type>encrypted</type><disk>default</disk><path>coded/</path>
    /// <key>0123456789abcdef</key>")`, `("blobs", "<type>object_storage</type><object_storage_type>
    /// local_blob_storage</object_storage_type><path>{root}/blobs/</path>")`.
    pub disks: Vec<(String, String)>,
    /// More storage policies, in XML. 26.9 only.
    pub policies: String,
    /// More server configuration, in XML, for instance
    /// `<merge_tree><old_parts_lifetime>480</old_parts_lifetime></merge_tree>` (0 in chDB, 480 in a server).
    pub config: String,
    /// Answers on this port of the loopback, and on no other. Without it, it takes any free port. Not for chDB.
    pub http_port: Option<u16>,
    /// Ignores `query_id`, as a bridge or proxy may. 26.9 only.
    pub ignore_query_id: bool,
}

/// A running ClickHouse with a data directory. Dropping it stops it, and removes its files.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    options: Options,
    root: PathBuf,
    home: PathBuf,
    data_path: PathBuf,
    port: u16,
    child: Option<Child>,
    // The last field, so that it is removed after the process is gone.
    _folder: tempfile::TempDir,
}

impl Engine {
    /// See [`Kind::V18`].
    pub const V18: Kind = Kind::V18;
    /// See [`Kind::V26`].
    pub const V26: Kind = Kind::V26;

    /// Starts an engine with an empty data directory.
    #[track_caller]
    pub fn start(kind: Kind) -> Engine {
        Engine::start_with(kind, &Options::default())
    }

    /// Starts an engine with an empty data directory and options.
    #[track_caller]
    pub fn start_with(kind: Kind, options: &Options) -> Engine {
        let folder = folder_for(kind);
        let root = folder.path().to_path_buf();
        let home = root.join("server");
        let data_path = root.join("data");
        Engine::start_at(kind, options, folder, root, home, data_path)
    }

    /// Starts an engine over the data directory `dir`, which may contain data, and stays when the engine ends.
    /// [`Engine::root`] is then the directory that contains `dir`.
    #[track_caller]
    pub fn start_in(kind: Kind, dir: &Path, options: &Options) -> Engine {
        let folder = folder_for(kind);
        let home = folder.path().join("server");
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        let data_path = fs::canonicalize(dir).unwrap_or_else(|e| panic!("cannot find {}: {e}", dir.display()));
        let root = data_path.parent().expect("a data directory is not /").to_path_buf();
        Engine::start_at(kind, options, folder, root, home, data_path)
    }

    /// [`Engine::start_with`] for `options` that name ports which another process may have taken by now.
    ///
    /// # Errors
    /// Why it did not start.
    pub fn try_start_with(kind: Kind, options: &Options) -> Result<Engine, String> {
        let folder = folder_for(kind);
        let root = folder.path().to_path_buf();
        let (home, data_path) = (root.join("server"), root.join("data"));
        let mut engine = Engine::prepared(kind, options, folder, root, home, data_path);
        engine.try_launch().map_err(|why| format!("engine {kind:?} {why}\n{}", engine.log()))?;
        Ok(engine)
    }

    #[track_caller]
    fn start_at(
        kind: Kind,
        options: &Options,
        folder: tempfile::TempDir,
        root: PathBuf,
        home: PathBuf,
        data_path: PathBuf,
    ) -> Engine {
        let mut engine = Engine::prepared(kind, options, folder, root, home, data_path);
        engine.launch();
        engine
    }

    #[track_caller]
    fn prepared(
        kind: Kind,
        options: &Options,
        folder: tempfile::TempDir,
        root: PathBuf,
        home: PathBuf,
        data_path: PathBuf,
    ) -> Engine {
        assert!(kind.is_installed(), "engine {kind:?} is not installed: run tests/support/engines/install");
        assert!(
            kind == Kind::V26 || (options.extra_disks == 0 && options.disks.is_empty()),
            "ClickHouse 18.16 has no disks"
        );
        let port = options.http_port.unwrap_or(0);
        let engine =
            Engine { kind, options: options.clone(), root, home, data_path, port, child: None, _folder: folder };
        engine.prepare();
        engine
    }

    /// Which ClickHouse this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its address: `http://127.0.0.1:PORT`. It stays the same after a restart, unless that port was taken meanwhile.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The server's process id; a stopped server has none.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the engine is running").id()
    }

    /// The directory that contains everything, including [`Engine::data_path`]: a good place for a repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's `<path>`: `shadow/`, `data/`, `metadata/` … are in it.
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// The directory of the disk `disk<number>`, counted from 1. See [`Options::extra_disks`].
    pub fn disk_path(&self, number: usize) -> PathBuf {
        self.root.join(format!("disk{number}"))
    }

    /// The directory with the server's configuration and logs. 18.16 creates a dictionary from each file
    /// `*_dictionary.xml` in it (`SYSTEM RELOAD DICTIONARIES` does so at once). A dictionary whose source is a table of
    /// the server itself needs `<host>localhost</host><port>0</port>`: this server has no TCP port.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The answer without its last line feed.
    ///
    /// # Panics
    /// If the statement fails; the message has the statement and the server's error.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        match self.try_query(sql) {
            Ok(answer) => answer,
            Err(error) => panic!("{:?} refused: {sql}\n{error}", self.kind),
        }
    }

    /// The answer, or the server's error.
    ///
    /// # Errors
    /// The server's error, or why there was no answer.
    pub fn try_query(&self, sql: &str) -> Result<String, String> {
        self.query_with(sql, &[])
    }

    /// As [`Engine::try_query`], with settings (and HTTP's own parameters) in the URL.
    ///
    /// # Errors
    /// The server's error, or why there was no answer.
    pub fn query_with(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        self.query_bytes(sql.as_bytes(), settings).map(text)
    }

    /// As [`Engine::try_query`], as that user.
    ///
    /// # Errors
    /// The server's error, or why there was no answer.
    pub fn query_as(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        let request = agent()
            .post(format!("{}/", self.url()))
            .header("X-ClickHouse-User", user)
            .header("X-ClickHouse-Key", password)
            .query("wait_end_of_query", "1");
        answer(request.send(sql.as_bytes())).map(text)
    }

    /// Sends a statement and returns an answer that need not be UTF-8: names are bytes, and so are values.
    ///
    /// # Errors
    /// The server's error, or why there was no answer.
    pub fn query_bytes(&self, sql: &[u8], settings: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        // Otherwise an error in the middle of an answer arrives with status 200.
        let mut request = agent().post(format!("{}/", self.url())).query("wait_end_of_query", "1");
        for (name, value) in settings {
            request = request.query(name, value);
        }
        answer(request.send(sql))
    }

    /// Tells it to end (SIGTERM), and kills it (SIGKILL) after ten seconds.
    pub fn stop(&mut self) {
        let Some(child) = self.child.as_mut() else {
            return;
        };
        // std can only send SIGKILL; the child is not reaped yet, so the pid is its own.
        let asked = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &child.id().to_string()]).status();
        if asked.is_ok_and(|status| status.success()) && matches!(child.wait_timeout(STOP_DEADLINE), Ok(Some(_))) {
            self.child = None;
        } else {
            self.kill();
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts it again over the same data, on the same port; stops it first if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// The end of the engine's log.
    pub fn log(&self) -> String {
        let mut all = String::new();
        for name in ["output.log", "log/error.log", "log/server.log", "log/bridge.log"] {
            let content = fs::read(self.home.join(name)).unwrap_or_default();
            if content.is_empty() {
                continue;
            }
            let tail = content.len().saturating_sub(8000);
            let shown = String::from_utf8_lossy(&content[tail..]).into_owned();
            write!(all, "--- {name}\n{shown}\n").expect("a String takes everything");
        }
        all
    }

    fn prepare(&self) {
        let log = self.home.join("log");
        let mut owned = vec![self.data_path.clone(), self.home.clone(), log];
        owned.extend((1..=self.options.extra_disks).map(|number| self.disk_path(number)));
        for folder in &owned {
            fs::create_dir_all(folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
            if let Some(uid) = self.options.uid {
                chown(folder, Some(uid), Some(uid))
                    .unwrap_or_else(|e| panic!("cannot give {} to user {uid} (are you root?): {e}", folder.display()));
            }
        }
        if self.is_own_server() {
            let users = real_server::USERS.replace("@USERS@", &self.users_xml());
            self.write("users26.xml", &users.replace("@PROFILES@", &self.profiles_xml()));
        } else if self.kind == Kind::V18 {
            let users = SERVER18_USERS.replace("@USERS@", &self.users_xml());
            self.write("users18.xml", &users.replace("@PROFILES@", &self.profiles_xml()));
        } else {
            self.write("chdb_bridge.py", BRIDGE);
            self.write("chdb.xml", &self.chdb_config());
        }
    }

    /// Whether it is a modern server in its own process, and not chDB behind its bridge.
    fn is_own_server(&self) -> bool {
        self.kind == Kind::V26 && RealServer::as_kind(Kind::V26).is_some()
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.home.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    fn users_xml(&self) -> String {
        let user = |name: &str, password: &str, profile: &str| {
            format!(
                "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks>\
                 <profile>{profile}</profile><quota>default</quota></{name}>"
            )
        };
        let mut users = String::new();
        if self.options.users {
            users += &(user(READONLY_USER, "", "readonly") + &user(SECRET_USER, SECRET_PASSWORD, "default"));
        }
        if !self.options.profile.is_empty() {
            users += &(user(LIMITED_USER, "", LIMITED_USER) + &user(BOUND_USER, "", BOUND_USER));
        }
        users
    }

    fn profiles_xml(&self) -> String {
        let mut settings = String::new();
        for (name, value) in &self.options.profile {
            write!(settings, "<{name}>{value}</{name}>").expect("a String takes everything");
        }
        let bound = if self.is_own_server() {
            let readonly = |(name, _): &(&str, &str)| format!("<{name}><readonly/></{name}>");
            let constraints: String = self.options.profile.iter().map(readonly).collect();
            format!("<constraints>{constraints}</constraints>")
        } else {
            "<readonly>1</readonly>".to_owned()
        };
        format!("<{LIMITED_USER}>{settings}</{LIMITED_USER}><{BOUND_USER}>{settings}{bound}</{BOUND_USER}>")
    }

    fn chdb_config(&self) -> String {
        self.with_disks(CHDB_CONFIG).replace("@LOG@", &xml(&self.home.join("log/server.log")))
    }

    fn server26_config(&self) -> String {
        self.with_disks(real_server::SERVER_CONFIG)
            .replace("@HOME@", &xml(&self.home))
            .replace("@DATA@", &xml(&self.data_path))
            .replace("@PORT@", &self.port.to_string())
    }

    fn with_disks(&self, template: &str) -> String {
        let mut disks: Vec<(String, String)> = (1..=self.options.extra_disks)
            .map(|number| {
                let path = xml(&self.disk_path(number));
                (format!("disk{number}"), format!("<path>{path}/</path>"))
            })
            .collect();
        let mut jbod = String::from("<disk>default</disk>");
        for (name, _) in &disks {
            write!(jbod, "<disk>{name}</disk>").expect("a String takes everything");
        }
        for (name, definition) in &self.options.disks {
            disks.push((name.clone(), definition.replace("{root}", &xml(&self.root))));
        }
        let volume = |name: &str, disks: &str| format!("<{name}><volumes><main>{disks}</main></volumes></{name}>\n");
        let mut policies = volume("jbod", &jbod);
        policies += &self.options.policies;
        let mut definitions = String::new();
        for (name, definition) in &disks {
            policies += &volume(name, &format!("<disk>{name}</disk>"));
            writeln!(definitions, "<{name}>{definition}</{name}>").expect("a String takes everything");
        }
        template
            .replace("@DISKS@", &definitions)
            .replace("@POLICIES@", &policies)
            .replace("@EXTRA@", &self.options.config)
    }

    fn server18_config(&self) -> String {
        SERVER18_CONFIG
            .replace("@HOME@", &xml(&self.home))
            .replace("@DATA@", &xml(&self.data_path))
            .replace("@PORT@", &self.port.to_string())
            .replace("@EXTRA@", &self.options.config)
    }

    /// Starts the process and waits until it answers; on its earlier port, if it had one and that is free.
    #[track_caller]
    fn launch(&mut self) {
        let mut failure = self.try_launch();
        if failure.is_err() && self.port != 0 && self.options.http_port.is_none() {
            self.port = 0;
            failure = self.try_launch();
        }
        // Ports that its configuration sets: another process's connection may use one of them for a moment.
        for _ in 0..RESTARTS {
            if failure.is_err() && self.options.http_port.is_some() {
                thread::sleep(RESTART_PAUSE);
                failure = self.try_launch();
            }
        }
        if let Err(why) = failure {
            panic!("engine {:?} {why}\n{}", self.kind, self.log());
        }
    }

    fn try_launch(&mut self) -> Result<(), String> {
        if self.is_own_server() && self.port == 0 {
            self.port = free_port();
        }
        let command = self.command();
        let child = spawn(command).map_err(|e| format!("cannot be run (setpriv of util-linux is needed): {e}"))?;
        self.child = Some(child);
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let child = self.child.as_mut().expect("it was just started");
            let pid = child.id();
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Err(format!("ended while starting: {status}"));
            }
            if let Some(port) = self.answering_port(pid) {
                self.port = port;
                return Ok(());
            }
            if Instant::now() > deadline {
                self.kill();
                return Err(format!("did not answer in {} s", START_DEADLINE.as_secs()));
            }
            thread::sleep(POLL);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self.kind {
            kind if kind == Kind::V18 || self.is_own_server() => {
                let (name, config) = match kind {
                    Kind::V18 => ("server18.xml", self.server18_config()),
                    Kind::V26 => ("server26.xml", self.server26_config()),
                };
                self.write(name, &config);
                if let Some(uid) = self.options.uid {
                    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
                    command.arg("--clear-groups");
                }
                match RealServer::as_kind(kind) {
                    Some(server) => server.start(&mut command, "server"),
                    None => drop(command.arg(kind.program())),
                }
                command.arg(format!("--config-file={}", self.home.join(name).display()));
            }
            _ => {
                drop(fs::remove_file(self.home.join("port")));
                command.arg(Kind::V26.program()).arg(self.home.join("chdb_bridge.py"));
                command.arg("--path").arg(&self.data_path);
                command.arg("--config").arg(self.home.join("chdb.xml"));
                command.arg("--log").arg(self.home.join("log/bridge.log"));
                command.arg("--port-file").arg(self.home.join("port"));
                command.args(["--port", &self.port.to_string()]);
                if let Some(uid) = self.options.uid {
                    // The bridge changes its user itself, once Python is loaded: a Python under /root is fine then.
                    command.args(["--uid", &uid.to_string()]);
                }
                if self.options.users {
                    command.args(["--account", &format!("{READONLY_USER}::readonly")]);
                    command.args(["--account", &format!("{SECRET_USER}:{SECRET_PASSWORD}")]);
                }
                for (name, value) in &self.options.profile {
                    command.arg("--profile").arg(format!("{name}={value}"));
                }
                if self.options.ignore_query_id {
                    command.arg("--ignore-query-id");
                }
            }
        }
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.join("output.log"))
            .and_then(|file| Ok((file.try_clone()?, file)))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", self.home.join("output.log").display()));
        command.stdin(Stdio::null()).stdout(output.0).stderr(output.1);
        command.current_dir(&self.home);
        command
    }

    /// The port on which this very process answers. It is found, not chosen: a port that was free a moment ago may be
    /// taken by another engine by now.
    fn answering_port(&self, pid: u32) -> Option<u16> {
        match self.kind {
            kind if kind == Kind::V18 || self.is_own_server() => {
                // A process that belongs to a cluster has other ports too.
                let ports = listening_ports(pid)?;
                let port = *ports.iter().find(|port| self.port == 0 || **port == self.port)?;
                TcpStream::connect(("127.0.0.1", port)).ok()?;
                let pong = agent().get(format!("http://127.0.0.1:{port}/ping")).call();
                answer(pong).is_ok().then_some(port)
            }
            _ => fs::read_to_string(self.home.join("port")).ok()?.trim().parse().ok(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its data are removed with it, so it need not shut down in order.
        self.kill();
    }
}

/// What a test of both engines takes: an engine that has just started, or the kind of the one that it starts itself.
pub trait OfKind {
    /// The one for this kind.
    fn of_kind(kind: Kind) -> Self;
}

impl OfKind for Engine {
    #[track_caller]
    fn of_kind(kind: Kind) -> Engine {
        Engine::start(kind)
    }
}

impl OfKind for Kind {
    fn of_kind(kind: Kind) -> Kind {
        kind
    }
}

/// Makes two tests of one, `name::case_1_v18` and `name::case_2_v26`.
///
/// ```ignore
/// #[apply(both_engines)]
/// fn freezes(engine: Engine) { … }
///
/// #[apply(both_engines)]
/// fn freezes_as_another_user(#[case] kind: Kind) {
///     let engine = Engine::start_with(kind, &Options { uid: Some(54321), ..Options::default() });
///     …
/// }
/// ```
#[rstest_reuse::template]
#[export]
#[rstest]
#[case::v18(testkit::engine::OfKind::of_kind(testkit::engine::Kind::V18))]
#[case::v26(testkit::engine::OfKind::of_kind(testkit::engine::Kind::V26))]
fn both_engines(#[case] engine: Engine) {}

fn folder_for(kind: Kind) -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix(&format!("chsnap-{kind:?}-"))
        .tempdir()
        .unwrap_or_else(|e| panic!("cannot create a temporary folder: {e}"));
    // The server may be another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .unwrap_or_else(|e| panic!("cannot open {} to others: {e}", folder.path().display()));
    folder
}

fn xml(path: &Path) -> String {
    path.to_string_lossy().replace('&', "&amp;").replace('<', "&lt;")
}

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    text.trim_end_matches('\n').to_owned()
}

/// A connection for each request: one that is kept open would not outlive a restart.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(QUERY_TIMEOUT))
        .max_idle_connections(0)
        .proxy(None)
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, String> {
    let mut response = response.map_err(|e| format!("no answer: {e}"))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_vec()
        .map_err(|e| format!("the answer broke off: {e}"))?;
    if response.status().is_success() { Ok(body) } else { Err(String::from_utf8_lossy(&body).trim_end().to_owned()) }
}

/// The loopback ports on which the process listens.
fn listening_ports(pid: u32) -> Option<Vec<u16>> {
    let listening = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let sockets = listening.lines().skip(1).filter_map(|line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields.get(1)?.strip_prefix("0100007F:")?;
        let inode = *fields.get(9)?;
        let listens = *fields.get(3)? == "0A";
        listens.then_some((inode, u16::from_str_radix(port, 16).ok()?))
    });
    let own: Vec<PathBuf> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    let is_own = |inode: &str| own.iter().any(|target| *target == Path::new(&format!("socket:[{inode}]")));
    Some(sockets.filter(|(inode, _)| is_own(inode)).map(|(_, port)| port).collect())
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this program. The kernel sends the death signal when the
/// *thread* ends that started a child, and each test runs in its own thread.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in incoming {
                // If the requesting test has failed, the reply has no receiver any more; the child then ends with this
                // process.
                drop(reply.send(command.spawn()));
            }
        });
        Mutex::new(orders)
    });
    let (reply, child) = channel();
    spawner
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .send((command, reply))
        .map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
