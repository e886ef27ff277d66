//! A mock server that freezes by hard links as ClickHouse does, for tests that need a thousand servers. It answers the
//! queries of `src/server/sql.rs` like an old server without disks, UUIDs and fingerprints.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chsnap::fs::{Dir, FsError, Mutations, real};
use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;

/// A data path with tables, behind HTTP. The thread that answers ends with the process.
#[derive(Clone)]
pub struct Freezer {
    data_path: PathBuf,
    url: String,
    /// The mutations with which it creates its shadows.
    verbs: Arc<Mutex<Arc<dyn Mutations>>>,
    /// Freezes in progress; like an old server, this one finishes them whatever happens to the client.
    running: Arc<Mutex<Vec<String>>>,
    /// False answers to queries of a system table.
    lies: Arc<Mutex<Vec<Lie>>>,
    /// What happens to a shadow after its freeze.
    prank: Arc<Mutex<Option<Prank>>>,
    /// The owner of its shadows, if it is not this user.
    owner: Arc<Mutex<Option<u32>>>,
}

/// The name of a system table, and its rows.
type Lie = (&'static str, Vec<Value>);

/// Receives the directory of the shadow.
pub type Prank = fn(&Path);

/// A freeze of this table takes a while.
pub const SLOW: &str = "slow";

/// A whole part of a real server.
const PART: &str = "src/checksums/fixtures/18.16-tiny";

/// The files of the smallest valid part, except `k.bin`.
const SMALL_PART: [(&str, &str); 2] = [
    ("checksums.txt", "checksums format version: 2\n1 files:\nk.bin\n\tsize: 4\n\thash: LOW HIGH\n\tcompressed: 0\n"),
    ("columns.txt", "columns format version: 1\n1 columns:\n`k` UInt8\n"),
];

impl Freezer {
    pub fn start(data_path: &Path) -> Self {
        fs::create_dir_all(data_path.join("metadata/system")).expect("made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let freezer = Self {
            data_path: data_path.to_owned(),
            url,
            verbs: Arc::new(Mutex::new(real())),
            running: Arc::default(),
            lies: Arc::default(),
            prank: Arc::default(),
            owner: Arc::default(),
        };
        let answering = freezer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let freezer = answering.clone();
                std::thread::spawn(move || freezer.serve(stream));
            }
        });
        freezer
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates shadows with these mutations from now on.
    pub fn freeze_by(&self, verbs: &Arc<dyn Mutations>) {
        *self.verbs.lock().expect("no thread panics with it") = Arc::clone(verbs);
    }

    pub fn shadow(&self) -> PathBuf {
        self.data_path.join("shadow")
    }

    /// Answers every query of `system.<table>` with these rows from now on.
    pub fn lie(&self, table: &'static str, rows: Vec<Value>) {
        let mut lies = self.lies.lock().expect("no thread panics with it");
        lies.retain(|(about, _)| *about != table);
        lies.push((table, rows));
    }

    /// Applies this to each shadow from now on.
    pub fn play(&self, prank: Prank) {
        *self.prank.lock().expect("no thread panics with it") = Some(prank);
    }

    /// Gives all shadows to this user from now on, as a server that this user runs would.
    pub fn run_by(&self, uid: u32) {
        *self.owner.lock().expect("no thread panics with it") = Some(uid);
    }

    /// Creates a table, or adds a part to it.
    pub fn add_part(&self, table: &str, part: &str) {
        let dir = self.add_empty_part(table, part);
        for entry in fs::read_dir(crate::root().join(PART)).expect("a fixture") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), dir.join(entry.file_name())).expect("copied");
        }
    }

    /// The same with a part of few files, for tests that create every state of it.
    pub fn add_small_part(&self, table: &str, part: &str) {
        self.add_small_part_of(table, part, [1, 2, 3, 4]);
    }

    /// The same with these rows.
    pub fn add_small_part_of(&self, table: &str, part: &str, rows: [u8; 4]) {
        let dir = self.add_empty_part(table, part);
        let hash = u128::from_le_bytes(chsnap::checksums::hash_bytes(&rows).to_bytes());
        let (low, high) = (hash & u128::from(u64::MAX), hash >> 64);
        for (name, text) in SMALL_PART {
            let text = text.replace("LOW", &low.to_string()).replace("HIGH", &high.to_string());
            fs::write(dir.join(name), text).expect("written");
        }
        fs::write(dir.join("k.bin"), rows).expect("written");
    }

    fn add_empty_part(&self, table: &str, part: &str) -> PathBuf {
        let metadata = self.data_path.join("metadata/d");
        fs::create_dir_all(&metadata).expect("made");
        fs::write(metadata.join(format!("{table}.sql")), format!("ATTACH TABLE {table} (k UInt8)\n")).expect("written");
        let dir = self.data_path.join("data/d").join(table).join(part);
        fs::create_dir_all(&dir).expect("made");
        dir
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut stream = stream;
        loop {
            let (mut length, mut line) = (0, String::new());
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut sql = vec![0; length];
            reader.read_exact(&mut sql).expect("a statement");
            let answer = self.answer(&String::from_utf8(sql).expect("text"));
            let (status, body) = match answer {
                Ok(rows) => ("200 OK", rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
                Err(text) => ("500 Internal Server Error", text),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, sql: &str) -> Result<Vec<Value>, String> {
        let from = |table: &str| sql.contains(&format!("FROM system.{table}"));
        if let Some(list) = sql.strip_prefix("SELECT count() AS count FROM ") {
            let mut count = self.answer(&format!("SELECT * FROM {list}"))?.len();
            if from("parts") {
                // The list of tables with their parts is true, whatever the answers about the parts themselves are.
                let parts = |table: &String| names(&self.data_path.join("data/d").join(table)).len();
                count = count.min(self.tables().iter().map(parts).sum());
            }
            return Ok(vec![json!({"count": count})]);
        }
        let data = self.data_path.to_string_lossy();
        let database = |name: &str| {
            let metadata = format!("{data}/metadata/{name}/");
            json!({"name": name, "engine": "Ordinary", "engine_full": "Ordinary", "uuid": "",
                   "data_path": format!("{data}/data/{name}/"), "metadata_path": metadata})
        };
        for (table, rows) in self.lies.lock().expect("no thread panics with it").iter() {
            // The query of the server's own database serves to find the data path.
            if from(table) && !sql.contains("name = 'system'") && !sql.contains("GROUP BY") {
                return Ok(rows.clone());
            }
        }
        if sql.starts_with("ALTER TABLE") {
            self.running.lock().expect("no thread panics with it").push(sql.to_owned());
            let result = self.freeze(sql).map(|()| Vec::new());
            self.running.lock().expect("no thread panics with it").retain(|running| running != sql);
            return result;
        }
        if from("processes") {
            let running = self.running.lock().expect("no thread panics with it");
            let asked = sql.split('\'').find(|text| text.starts_with("chsnap_")).unwrap_or_default();
            let found = running.iter().filter(|freeze| freeze.contains(asked));
            return Ok(found.map(|_| json!({"query_id": "", "elapsed": 1.0})).collect());
        }
        Ok(if from("settings") {
            vec![json!({"names": [], "values": [], "changed": [], "value": "0"})]
        } else if sql.starts_with("CHECK GRANT") {
            vec![json!({"result": 1})]
        } else if from("columns") || from("functions") || from("mutations") || sql.starts_with("KILL") {
            Vec::new()
        } else if sql.starts_with("SELECT version()") {
            vec![json!({"version": "0.0", "host_name": "lab", "timezone": "UTC", "uuid": ""})]
        } else if from("databases") {
            vec![database(if sql.contains("name = 'system'") { "system" } else { "d" })]
        } else if from("tables") {
            let tables = self.tables();
            tables
                .iter()
                .map(|table| {
                    json!({
                        "database": "d", "name": table, "engine": "MergeTree", "uuid": "", "storage_policy": "",
                        "metadata_path": format!("{data}/metadata/d/{table}.sql"), "has_own_data": null,
                        "create_table_query": format!("CREATE TABLE d.{table} (k UInt8)"),
                        "data_paths": [format!("{data}/data/d/{table}/")],
                    })
                })
                .collect()
        } else if from("parts") && sql.contains("GROUP BY") {
            // Differs from every earlier list, so that everything is listed again.
            let row = |table: &String| {
                let parts = names(&self.data_path.join("data/d").join(table)).len();
                json!({"database": "d", "table": table, "parts": parts, "sum": "0"})
            };
            self.tables().iter().map(row).filter(|row| row["parts"] != 0).collect()
        } else if from("parts") {
            self.tables()
                .iter()
                .flat_map(|table| {
                    let parts = names(&self.data_path.join("data/d").join(table));
                    parts.into_iter().map(|part| json!({
                    "database": "d", "table": table, "partition_id": partition_of(&part), "name": part, "rows": 1, "bytes_on_disk": 1,
                    "modified": 1,
                    "path": format!("{data}/data/d/{table}/{part}/"), "disk_name": "default", "files": 0,
                    "hash_of_all_files": "",
                })).collect::<Vec<_>>()
                })
                .collect()
        } else {
            panic!("the freezer does not know {sql}")
        })
    }

    fn tables(&self) -> Vec<String> {
        names(&self.data_path.join("data/d"))
    }

    /// Works as `DataPartStorageOnDiskBase::freeze`: new directories, a link and a chmod for every file, nothing
    /// synced.
    fn freeze(&self, sql: &str) -> Result<(), String> {
        let table = sql.split('`').nth(3).ok_or("Code: 62. DB::Exception: Syntax error")?;
        let (_, after_name) = sql.split_once("WITH NAME '").ok_or("Code: 62. DB::Exception: Syntax error")?;
        let name = after_name.split('\'').next().unwrap_or_default();
        // Every clause of a statement names the partition in its first literal; no clause names one where all are meant.
        let partitions: Vec<&str> =
            sql.split("PARTITION ID '").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        if !self.tables().iter().any(|known| known == table) {
            return Err("Code: 60. DB::Exception: there is no such table".to_owned());
        }
        let source = self.data_path.join("data/d").join(table);
        if table == SLOW {
            std::thread::sleep(Duration::from_secs(2));
        }
        let target = Path::new("shadow").join(name).join("data/d").join(table);
        let is_meant = |part: &String| partitions.is_empty() || partitions.contains(&partition_of(part));
        for part in names(&source).into_iter().filter(is_meant).filter(|part| is_part(&source.join(part))) {
            self.freeze_part(&source.join(&part), &target.join(&part)).map_err(exception)?;
        }
        if let Some(prank) = *self.prank.lock().expect("no thread panics with it") {
            prank(&self.shadow().join(name));
        }
        if let Some(owner) = *self.owner.lock().expect("no thread panics with it") {
            give(&self.shadow(), owner).map_err(exception)?;
        }
        Ok(())
    }

    fn freeze_part(&self, live: &Path, target: &Path) -> Result<(), FsError> {
        let verbs = Arc::clone(&self.verbs.lock().expect("no thread panics with it"));
        let from = Dir::open(live, Arc::clone(&verbs))?;
        let mut to = Dir::open(&self.data_path, verbs)?;
        for name in target {
            to = to.ensure_dir(name, 0o777)?;
        }
        for file in names(live) {
            to.link_from(&from, &file, &file)?;
            if live.join(&file).symlink_metadata().is_ok_and(|stat| stat.is_file()) {
                fs::set_permissions(live.join(&file), fs::Permissions::from_mode(0o440)).expect("a file of ours");
            }
        }
        Ok(())
    }
}

/// A folder with a mock server without tables, and an empty repository of that server.
pub fn served_repository() -> (tempfile::TempDir, Freezer, Chsnap) {
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    (folder, freezer, chsnap)
}

/// The id of a part's partition: what its name begins with.
fn partition_of(part: &str) -> &str {
    part.split('_').next().unwrap_or_default()
}

fn is_part(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name != "detached") && path.symlink_metadata().is_ok_and(|stat| stat.is_dir())
}

/// Formats an error of the system as the server does.
fn exception(error: impl std::fmt::Display) -> String {
    format!("Code: 1001. DB::Exception: {error}")
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn give(path: &Path, uid: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))?;
    if path.symlink_metadata()?.is_dir() {
        for name in names(path) {
            give(&path.join(name), uid)?;
        }
    }
    Ok(())
}
