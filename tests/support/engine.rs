//! Real ClickHouse engines for tests: 18.16 and 26.9, eight years apart.
//!
//! ```ignore
//! #[path = "../support/engine.rs"]
//! mod engine;
//! use engine::{Engine, Kind, Options, both_engines};
//!
//! both_engines! {
//!     fn counts_rows(engine: Engine) {
//!         assert_eq!(engine.query("SELECT count() FROM numbers(3)"), "3");
//!     }
//! }
//! ```
//!
//! 18.16 is Debian's server. 26.9 is chDB behind `engines/chdb_bridge.py`, whose head says what it does
//! as a server does and what not. `tests/support/engines/install` fetches both. An engine is a process of
//! its own that dies with the test process, whatever that dies of.

#![allow(dead_code, reason = "each test program uses its own share of this file")]
#![allow(unreachable_pub, reason = "a test program exports nothing; `pub` marks what tests are to use")]
#![allow(
    clippy::disallowed_methods,
    clippy::doc_markdown,
    clippy::missing_panics_doc,
    reason = "test support prepares folders itself, fails in a panic, and speaks of ClickHouse"
)]

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

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(5);

const BRIDGE: &str = include_str!("engines/chdb_bridge.py");
const CHDB_CONFIG: &str = include_str!("engines/chdb.xml");
const SERVER18_CONFIG: &str = include_str!("engines/server18.xml");
const SERVER18_USERS: &str = include_str!("engines/users18.xml");

/// A user who may only read (`readonly=1`); no password. There with [`Options::users`].
pub const READONLY_USER: &str = "readonly";
/// A user with a password. There with [`Options::users`].
pub const SECRET_USER: &str = "secret";
/// The password of [`SECRET_USER`].
pub const SECRET_PASSWORD: &str = "open-sesame-7";

/// A user whose settings profile is [`Options::profile`]; no password.
pub const LIMITED_USER: &str = "limited";
/// The same for a user who cannot change settings: readonly (18.16), or with a constraint on each of them (26.9).
pub const BOUND_USER: &str = "bound";

/// Which ClickHouse.
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

    /// What runs it: the server's wrapper, or the Python that has chDB.
    pub fn program(self) -> PathBuf {
        let cache = std::env::var_os("CHSNAP_ENGINES")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".engines"), PathBuf::from);
        match self {
            Kind::V18 => cache.join("clickhouse-18/run"),
            Kind::V26 => cache.join("venv/bin/python"),
        }
    }
}

/// How an engine is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Run as this numeric user and group, which need have no name. The data path and the disks (the
    /// folders alone) are handed to it. Needs root.
    pub uid: Option<u32>,
    /// Make [`READONLY_USER`] and [`SECRET_USER`] beside `default`, who has no password.
    pub users: bool,
    /// Settings of [`LIMITED_USER`] and [`BOUND_USER`], who are there with them.
    pub profile: Vec<(&'static str, &'static str)>,
    /// Disks `disk1`, `disk2` … beside the disk `default`; [`Engine::disk_path`] says where. Each has a
    /// storage policy of its name; the policy `jbod` is one volume of all of them, `default` too. 26.9 only.
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
    /// Take no notice of `query_id`, as a bridge or proxy may. 26.9 only.
    pub ignore_query_id: bool,
}

/// A running ClickHouse with a data directory. Dropping it stops it, and removes what it made.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    options: Options,
    root: PathBuf,
    home: PathBuf,
    data_path: PathBuf,
    port: u16,
    child: Option<Child>,
    // Last, so that it is removed after the process is gone.
    _folder: tempfile::TempDir,
}

impl Engine {
    /// See [`Kind::V18`].
    pub const V18: Kind = Kind::V18;
    /// See [`Kind::V26`].
    pub const V26: Kind = Kind::V26;

    /// An engine with an empty data directory.
    #[track_caller]
    pub fn start(kind: Kind) -> Engine {
        Engine::start_with(kind, &Options::default())
    }

    /// An engine with an empty data directory.
    #[track_caller]
    pub fn start_with(kind: Kind, options: &Options) -> Engine {
        let folder = folder_for(kind);
        let root = folder.path().to_path_buf();
        let home = root.join("server");
        let data_path = root.join("data");
        Engine::start_at(kind, options, folder, root, home, data_path)
    }

    /// An engine over the data directory `dir`, which may have data, and stays when the engine goes.
    /// [`Engine::root`] is then the folder that holds `dir`.
    #[track_caller]
    pub fn start_in(kind: Kind, dir: &Path, options: &Options) -> Engine {
        let folder = folder_for(kind);
        let home = folder.path().join("server");
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        let data_path = fs::canonicalize(dir).unwrap_or_else(|e| panic!("cannot find {}: {e}", dir.display()));
        let root = data_path.parent().expect("a data directory is not /").to_path_buf();
        Engine::start_at(kind, options, folder, root, home, data_path)
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
        assert!(kind.is_installed(), "engine {kind:?} is not installed: run tests/support/engines/install");
        assert!(
            kind == Kind::V26 || (options.extra_disks == 0 && options.disks.is_empty()),
            "ClickHouse 18.16 has no disks"
        );
        let mut engine =
            Engine { kind, options: options.clone(), root, home, data_path, port: 0, child: None, _folder: folder };
        engine.prepare();
        engine.launch();
        engine
    }

    /// Which ClickHouse this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it answers: `http://127.0.0.1:PORT`. The same after a restart, unless that port was taken meanwhile.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The server's process; of a stopped one there is none.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the engine is running").id()
    }

    /// The folder that holds everything, [`Engine::data_path`] too: a good place for a repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's `<path>`: `shadow/`, `data/`, `metadata/` … are in it.
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// The folder of the disk `disk<number>`, from 1 on. See [`Options::extra_disks`].
    pub fn disk_path(&self, number: usize) -> PathBuf {
        self.root.join(format!("disk{number}"))
    }

    /// The folder with the server's configuration and logs. 18.16 makes a dictionary of each file
    /// `*_dictionary.xml` in it (`SYSTEM RELOAD DICTIONARIES` to do so at once). One whose source is a table of
    /// the server itself has `<host>localhost</host><port>0</port>`: this server has no TCP port.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The answer without its last line feed.
    ///
    /// # Panics
    /// With the statement and the server's error.
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
    /// What the server answered, or why it did not.
    pub fn try_query(&self, sql: &str) -> Result<String, String> {
        self.query_with(sql, &[])
    }

    /// As [`Engine::try_query`], with settings (and HTTP's own parameters) in the URL.
    ///
    /// # Errors
    /// What the server answered, or why it did not.
    pub fn query_with(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        self.query_bytes(sql.as_bytes(), settings).map(text)
    }

    /// As [`Engine::try_query`], as that user.
    ///
    /// # Errors
    /// What the server answered, or why it did not.
    pub fn query_as(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        let request = agent()
            .post(format!("{}/", self.url()))
            .header("X-ClickHouse-User", user)
            .header("X-ClickHouse-Key", password)
            .query("wait_end_of_query", "1");
        answer(request.send(sql.as_bytes())).map(text)
    }

    /// A statement and an answer that need not be UTF-8: names are bytes, and so are values.
    ///
    /// # Errors
    /// What the server answered, or why it did not.
    pub fn query_bytes(&self, sql: &[u8], settings: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        // Otherwise an error in the middle of an answer comes with status 200.
        let mut request = agent().post(format!("{}/", self.url())).query("wait_end_of_query", "1");
        for (name, value) in settings {
            request = request.query(name, value);
        }
        answer(request.send(sql))
    }

    /// Asks it to end (SIGTERM), and makes it (SIGKILL) after ten seconds.
    pub fn stop(&mut self) {
        let Some(child) = self.child.as_mut() else {
            return;
        };
        // std can only send SIGKILL; the child is not reaped yet, so the pid is its own.
        let asked = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &child.id().to_string()]).status();
        let deadline = Instant::now() + STOP_DEADLINE;
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                self.child = None;
                return;
            }
            thread::sleep(POLL);
        }
        self.kill();
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

    /// The end of everything that the engine logged.
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
        if self.kind == Kind::V18 {
            let users = SERVER18_USERS.replace("@USERS@", &self.users_xml());
            self.write("users18.xml", &users.replace("@PROFILES@", &self.profiles_xml()));
        } else {
            self.write("chdb_bridge.py", BRIDGE);
            self.write("chdb.xml", &self.chdb_config());
        }
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
        format!(
            "<{LIMITED_USER}>{settings}</{LIMITED_USER}><{BOUND_USER}>{settings}<readonly>1</readonly></{BOUND_USER}>"
        )
    }

    fn chdb_config(&self) -> String {
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
        CHDB_CONFIG
            .replace("@LOG@", &xml(&self.home.join("log/server.log")))
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

    /// Starts the process and waits until it answers; on the port it had, if it had one and that is free.
    #[track_caller]
    fn launch(&mut self) {
        let mut failure = self.try_launch();
        if failure.is_err() && self.port != 0 {
            self.port = 0;
            failure = self.try_launch();
        }
        if let Err(why) = failure {
            panic!("engine {:?} {why}\n{}", self.kind, self.log());
        }
    }

    fn try_launch(&mut self) -> Result<(), String> {
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
            Kind::V18 => {
                self.write("server18.xml", &self.server18_config());
                if let Some(uid) = self.options.uid {
                    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
                    command.arg("--clear-groups");
                }
                command.arg(Kind::V18.program());
                command.arg(format!("--config-file={}", self.home.join("server18.xml").display()));
            }
            Kind::V26 => {
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

    /// The port on which this very process answers. It is found, not chosen: a port that was free a
    /// moment ago may be another engine's by now.
    fn answering_port(&self, pid: u32) -> Option<u16> {
        match self.kind {
            Kind::V18 => {
                let port = listening_port(pid)?;
                TcpStream::connect(("127.0.0.1", port)).ok()?;
                let pong = agent().get(format!("http://127.0.0.1:{port}/ping")).call();
                answer(pong).is_ok().then_some(port)
            }
            Kind::V26 => fs::read_to_string(self.home.join("port")).ok()?.trim().parse().ok(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Its data go with it, so there is nothing to end in order.
        self.kill();
    }
}

/// Tests that run on both engines, as `name::v18` and `name::v26`.
///
/// ```ignore
/// both_engines! {
///     fn freezes(engine: Engine) { … }
///     #[ignore = "slow"]
///     fn freezes_as_another_user(mut engine: Engine, Options { uid: Some(54321), ..Options::default() }) { … }
/// }
/// ```
#[allow(unused_macros, reason = "a test program may start its engines itself")]
macro_rules! both_engines {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($engine:ident)+ : $type:ty $(, $options:expr)? $(,)?) $body:block
    )+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "not every test needs a name from outside")]
            use super::*;

            fn run($($engine)+: $type) $body

            #[test]
            $(#[$attribute])*
            fn v18() {
                run(both_engines!(@start $type, <$type>::V18 $(, $options)?));
            }

            #[test]
            $(#[$attribute])*
            fn v26() {
                run(both_engines!(@start $type, <$type>::V26 $(, $options)?));
            }
        }
    )+};
    (@start $type:ty, $kind:expr) => { <$type>::start($kind) };
    (@start $type:ty, $kind:expr, $options:expr) => { <$type>::start_with($kind, &$options) };
}
#[allow(unused_imports, reason = "a test program may start its engines itself")]
pub(crate) use both_engines;

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

/// A connection for each request: one that was kept would not outlive a restart.
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

/// The loopback port that the process listens on.
fn listening_port(pid: u32) -> Option<u16> {
    let listening = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    let mut sockets = listening.lines().skip(1).filter_map(|line| {
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
    sockets
        .find(|(inode, _)| own.iter().any(|target| *target == Path::new(&format!("socket:[{inode}]"))))
        .map(|(_, port)| port)
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this program. The kernel sends the death
/// signal when the *thread* ends that started a child, and a test is a thread.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in incoming {
                // Nobody waits any more when the test that asked has failed; the child then dies with us.
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
