//! A server that freezes by hard links as ClickHouse does, and knows nothing else: for tests that need a thousand of
//! them. It answers the queries of `src/server/sql.rs` as an old server without disks, UUIDs and fingerprints.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own share, and exports nothing")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A data path with tables, behind HTTP. The thread that answers ends with the process.
#[derive(Clone, Debug)]
pub struct Freezer {
    data_path: PathBuf,
    url: String,
    /// Freezes that are under way; like an old server this one finishes them whatever becomes of the client.
    running: Arc<Mutex<Vec<String>>>,
}

/// A freeze of this table takes its time.
pub const SLOW: &str = "slow";

/// A whole part of a real server.
const PART: &str = "src/checksums/fixtures/18.16-tiny";

impl Freezer {
    pub fn start(data_path: &Path) -> Self {
        fs::create_dir_all(data_path.join("metadata/system")).expect("made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let freezer = Self { data_path: data_path.to_owned(), url, running: Arc::default() };
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

    pub fn shadow(&self) -> PathBuf {
        self.data_path.join("shadow")
    }

    /// Makes a table, or one more part of it.
    pub fn add_part(&self, table: &str, part: &str) {
        let metadata = self.data_path.join("metadata/d");
        fs::create_dir_all(&metadata).expect("made");
        fs::write(metadata.join(format!("{table}.sql")), format!("ATTACH TABLE {table} (k UInt8)\n")).expect("written");
        let dir = self.data_path.join("data/d").join(table).join(part);
        fs::create_dir_all(&dir).expect("made");
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(PART)).expect("a fixture") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), dir.join(entry.file_name())).expect("copied");
        }
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
        let data = self.data_path.to_string_lossy();
        let database = |name: &str| {
            let metadata = format!("{data}/metadata/{name}/");
            json!({"name": name, "engine": "Ordinary", "engine_full": "Ordinary", "uuid": "",
                   "data_path": format!("{data}/data/{name}/"), "metadata_path": metadata})
        };
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
        Ok(if from("columns") || from("functions") || sql.starts_with("KILL") {
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
        } else if from("parts") {
            self.tables()
                .iter()
                .flat_map(|table| {
                    let parts = names(&self.data_path.join("data/d").join(table));
                    parts.into_iter().map(|part| json!({
                    "database": "d", "table": table, "partition_id": "all", "name": part, "rows": 1, "bytes_on_disk": 1,
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

    /// As `DataPartStorageOnDiskBase::freeze`: new directories, a link and a chmod for every file, nothing synced.
    fn freeze(&self, sql: &str) -> Result<(), String> {
        let mut quoted = sql.split('`');
        let table = quoted.nth(3).ok_or("Code: 62. DB::Exception: Syntax error")?;
        let name = sql.split('\'').nth(1).ok_or("Code: 62. DB::Exception: Syntax error")?;
        let source = self.data_path.join("data/d").join(table);
        if table == SLOW {
            std::thread::sleep(Duration::from_secs(2));
        }
        for part in names(&source) {
            let target = self.shadow().join(name).join("data/d").join(table).join(&part);
            fs::create_dir_all(&target).map_err(exception)?;
            for file in names(&source.join(&part)) {
                let live = source.join(&part).join(&file);
                fs::hard_link(&live, target.join(&file)).map_err(exception)?;
                fs::set_permissions(&live, fs::Permissions::from_mode(0o440)).map_err(exception)?;
            }
        }
        Ok(())
    }
}

/// As the server says what the system has told it.
#[expect(clippy::needless_pass_by_value, reason = "it stands where a closure would")]
fn exception(error: std::io::Error) -> String {
    format!("Code: 1001. DB::Exception: {error}")
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
