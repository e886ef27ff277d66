//! Users, roles, quotas, policies and settings profiles: shown, compared, made.
//!
//! Neither engine here keeps users in SQL: 18.16 has none, 26.9 is embedded and has no storage for them, whatever its
//! `user_directories` say (`CREATE USER` is code 514). So the files are those that a server writes (`src/Access/AccessEntityIO.cpp`), 26.9 parses what chsnap
//! sends, and a proxy in front of it takes the statements and lists users in place of the server.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::chsnap_command::{Chsnap, Run};
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::repository;

const HASH: &str = "7A37B85C8918EAC19A9089C0FA5A2AB4DCE3F90528DCDEEC108B23DDF3607B99";
const SALT: &str = "5F2B5C0A6D3E4F718293A4B5C6D7E8F90A1B2C3D4E5F60718293A4B5C6D7E8F9";
const PASSWORD: &str = "plain-as-day-7";

/// A folder `access/` as a server writes it, with secrets in place of `$HASH`, `$SALT` and `$PASSWORD`.
const FILES: [(&str, &str); 7] = [
    (
        "0a1b2c3d-0001-4000-8000-000000000001",
        "ATTACH USER alice IDENTIFIED WITH sha256_hash BY '$HASH' SALT '$SALT' HOST LOCAL, IP '10.0.0.0/8' DEFAULT ROLE \
         ID('0a1b2c3d-0002-4000-8000-000000000002') SETTINGS PROFILE ID('0a1b2c3d-0004-4000-8000-000000000004');\n\
         ATTACH GRANT SELECT(k), INSERT ON lab.t TO alice WITH GRANT OPTION;\n\
         ATTACH GRANT ID('0a1b2c3d-0002-4000-8000-000000000002') TO alice;\n",
    ),
    (
        "0a1b2c3d-0002-4000-8000-000000000002",
        "ATTACH ROLE analyst;\nATTACH GRANT SELECT ON lab.* TO analyst;\nATTACH REVOKE SELECT ON lab.secret FROM analyst;\n",
    ),
    (
        "0a1b2c3d-0003-4000-8000-000000000003",
        "ATTACH USER `bob@10.%` IDENTIFIED WITH plaintext_password BY '$PASSWORD' HOST LIKE '10.%' GRANTEES NONE;\n",
    ),
    (
        "0a1b2c3d-0004-4000-8000-000000000004",
        "ATTACH SETTINGS PROFILE careful SETTINGS max_memory_usage = 1000000 READONLY, \
         INHERIT ID('4bfbe653-9137-0ea6-b97d-dc391ec9a919') TO ID('0a1b2c3d-0001-4000-8000-000000000001');\n",
    ),
    (
        "0a1b2c3d-0005-4000-8000-000000000005",
        "ATTACH QUOTA hourly KEYED BY user_name FOR INTERVAL 1 hour MAX queries = 100 TO \
         ID('0a1b2c3d-0002-4000-8000-000000000002');\n",
    ),
    (
        "0a1b2c3d-0006-4000-8000-000000000006",
        "ATTACH ROW POLICY even ON lab.t FOR SELECT USING (k % 2) = 0 TO ALL EXCEPT \
         ID('0a1b2c3d-0001-4000-8000-000000000001');\n",
    ),
    // One that somebody has put there.
    (
        "0a1b2c3d-0007-4000-8000-000000000007",
        "ATTACH USER eve IDENTIFIED WITH sha256_hash BY '$HASH' SALT '$SALT';\nDROP DATABASE prod;\n",
    ),
];

const BAD_FILE: &str = "access/0a1b2c3d-0007-4000-8000-000000000007.sql";

fn write(engine: &Engine, files: &[(&str, &str)]) {
    let folder = engine.data_path().join("access");
    fs::create_dir_all(&folder).expect("a folder");
    for (uuid, text) in files {
        let text = text.replace("$HASH", HASH).replace("$SALT", SALT).replace("$PASSWORD", PASSWORD);
        fs::write(folder.join(format!("{uuid}.sql")), text).expect("a file");
    }
    fs::write(folder.join("users.list"), b"\x01\x05alice0123456789abcdef").expect("a file");
}

/// A snapshot with `files`.
fn snapshot(engine: &Engine, files: &[(&str, &str)]) -> Chsnap {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    write(engine, files);
    let chsnap = repository(engine);
    chsnap.json(0, &["create"]);
    chsnap
}

#[track_caller]
fn holds_no_secret(run: &Run) {
    for secret in [HASH, SALT, PASSWORD, "DROP DATABASE"] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{}{}", run.stdout, run.stderr);
    }
}

fn states(report: &Value, field: &str) -> String {
    let rows = report["access"].as_array().expect("a list");
    let row =
        |row: &Value| format!("{} {}", row["name"].as_str().expect("a name"), row[field].as_str().expect("a word"));
    rows.iter().map(row).collect::<Vec<_>>().join(", ")
}

#[apply(both_engines)]
fn users_and_roles_are_shown_as_statements_without_their_secrets(engine: Engine) {
    let chsnap = snapshot(&engine, &FILES);
    let shown = chsnap.run(&["-vv", "show", "--access"]);
    assert_eq!(shown.code, 3, "{}{}", shown.stdout, shown.stderr);
    holds_no_secret(&shown);
    let expected = "\
        CREATE SETTINGS PROFILE careful SETTINGS max_memory_usage = 1000000 READONLY, INHERIT `default`;\n\
        CREATE ROLE analyst;\n\
        CREATE USER alice IDENTIFIED WITH sha256_hash BY '[HIDDEN]' SALT '[HIDDEN]' HOST LOCAL, IP '10.0.0.0/8' \
        DEFAULT ROLE `analyst` SETTINGS PROFILE `careful`;\n\
        CREATE USER `bob@10.%` IDENTIFIED WITH plaintext_password BY '[HIDDEN]' HOST LIKE '10.%' GRANTEES NONE;\n\
        CREATE QUOTA hourly KEYED BY user_name FOR INTERVAL 1 hour MAX queries = 100 TO `analyst`;\n\
        CREATE ROW POLICY even ON lab.t FOR SELECT USING (k % 2) = 0 TO ALL EXCEPT `alice`;\n\
        ALTER SETTINGS PROFILE careful TO `alice`;\n\
        GRANT SELECT ON lab.* TO analyst;\n\
        REVOKE SELECT ON lab.secret FROM analyst;\n\
        GRANT SELECT(k), INSERT ON lab.t TO alice WITH GRANT OPTION;\n\
        GRANT `analyst` TO alice;\n";
    assert_eq!(shown.stdout, expected);
    assert!(shown.stderr.contains(BAD_FILE), "{}", shown.stderr);
    let open = chsnap.run(&["show", "--access", "--secrets"]);
    let with_secrets = expected
        .replacen("'[HIDDEN]'", &format!("'{HASH}'"), 1)
        .replacen("'[HIDDEN]'", &format!("'{SALT}'"), 1)
        .replacen("'[HIDDEN]'", &format!("'{PASSWORD}'"), 1);
    assert_eq!((open.code, open.stdout.as_str()), (3, with_secrets.as_str()));
    if engine.kind() == Kind::V26 {
        for statement in open.stdout.lines() {
            let quoted = statement.trim_end_matches(';').replace('\\', "\\\\").replace('\'', "\\'");
            engine.query(&format!("SELECT formatQuery('{quoted}')"));
        }
    }
    let document = chsnap.run(&["show", "--access", "--json"]);
    holds_no_secret(&document);
    let document: Value = serde_json::from_str(&document.stdout).expect("a document");
    let alice =
        document["access"].as_array().expect("a list").iter().find(|one| one["name"] == "alice").expect("alice");
    assert_eq!((&alice["kind"], alice["statements"].as_array().expect("a list").len()), (&json!("user"), 3));
    assert_eq!(document["access_warnings"].as_array().expect("a list").len(), 1);
    let document = chsnap.json(3, &["show", "--access", "--secrets"]);
    assert!(document["access"].to_string().contains(HASH));
}

#[apply(both_engines)]
fn a_snapshot_without_users_says_so(engine: Engine) {
    let chsnap = snapshot(&engine, &[]);
    assert!(chsnap.expect(0, &["show", "--access"]).stdout.contains("no users, roles"));
    assert_eq!(chsnap.json(0, &["show", "--access"])["access"], json!([]));
    assert_eq!(chsnap.run(&["show", "--secrets"]).code, 2);
    assert_eq!(chsnap.json(0, &["restore", "latest", "--access", "all", "--yes"])["state"], "nothing_to_do");
}

#[apply(both_engines)]
fn a_server_that_does_not_list_its_users_gets_none_and_a_warning(engine: Engine) {
    let chsnap = snapshot(&engine, &FILES);
    let named = chsnap.run(&["restore", "latest", "--yes"]);
    assert_eq!(named.code, 0, "naming is no warning: {}{}", named.stdout, named.stderr);
    holds_no_secret(&named);
    let reason = match engine.kind() {
        // The user of an embedded engine has no right to.
        Kind::V26 => "this user may not list users and roles (GRANT SHOW ACCESS ON *.* allows it)",
        Kind::V18 => "the server keeps no entities of this kind in SQL, or does not show them to this user",
    };
    let expected = format!(
        "whether the server has 2 users, 1 role, 1 quota, 1 row policy and 1 settings profile of the snapshot is not \
         known: {reason}\n"
    );
    assert!(named.stdout.contains(&expected), "{}", named.stdout);
    assert!(!chsnap.expect(0, &["restore", "latest", "--table", "lab.t", "--yes"]).stdout.contains("alice"));
    let plan = chsnap.run(&["-vv", "restore", "latest", "--access", "missing", "--dry-run", "--json"]);
    assert_eq!(plan.code, 3);
    holds_no_secret(&plan);
    let run = chsnap.run(&["-vv", "restore", "latest", "--access", "missing", "--yes"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    holds_no_secret(&run);
    for name in ["user alice", "user bob@10.%", "role analyst", "quota hourly", "row policy even ON lab.t", BAD_FILE] {
        assert!(run.stderr.contains(name), "{name}: {}", run.stderr);
    }
    let report = chsnap.json(3, &["restore", "latest", "--access", "all", "--yes"]);
    let rows = report["access"].as_array().expect("a list");
    assert!(rows.len() == 6 && rows.iter().all(|row| row["state"] == "refused"), "{report:#}");
    assert_eq!(report["state"], "differs");
    assert!(!report.to_string().contains(HASH));
}

/// Users as `users.xml` makes them, with all rights.
const USERS: &str = "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password/>\
    <networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>\
    <access_management>1</access_management></default></users></clickhouse>";

#[test]
fn an_engine_that_lists_users_and_makes_none_is_reported_to_refuse_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users.xml");
    fs::write(&users, USERS).expect("a file");
    let config =
        format!("<user_directories><users_xml><path>{}</path></users_xml></user_directories>", users.display());
    let engine = Engine::start_with(Kind::V26, &Options { config, ..Options::default() });
    let chsnap = snapshot(&engine, &FILES);
    let named = chsnap.run(&["restore", "latest", "--yes"]);
    assert_eq!(named.code, 0, "naming is no warning: {}{}", named.stdout, named.stderr);
    holds_no_secret(&named);
    let expected = "2 users, 1 role, 1 quota, 1 row policy and 1 settings profile of the snapshot are not on the server: \
        careful, analyst, alice, bob@10.%, hourly, even ON lab.t; --access missing makes them\n";
    assert!(named.stdout.contains(expected), "{}", named.stdout);
    let run = chsnap.run(&["-vv", "restore", "latest", "--access", "missing", "--yes"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    holds_no_secret(&run);
    assert!(run.stderr.contains("user alice was not made: ") && run.stderr.contains("514"), "{}", run.stderr);
    let report = chsnap.json(3, &["restore", "latest", "--access", "all", "--yes"]);
    assert_eq!(
        states(&report, "state"),
        "careful failed, analyst failed, alice failed, bob@10.% failed, hourly failed, even ON lab.t failed"
    );
    assert_eq!(report["state"], "differs");
}

/// A server in front of 26.9 that keeps users in SQL: it notes their statements, refuses those that hold `refused`, and
/// lists what the tables of the database `fake` have.
struct Proxy {
    url: String,
    taken: Arc<Mutex<Vec<String>>>,
}

/// The fate of a statement that contains `refused`.
#[derive(Clone)]
enum Refusal {
    /// The server refuses it.
    Error,
    /// This process is killed before the server gets it.
    Kill(Arc<Mutex<Option<u32>>>),
}

impl Proxy {
    fn start(engine: &Engine, refused: &'static str) -> Self {
        Self::start_with(engine, refused, &Refusal::Error)
    }

    fn start_with(engine: &Engine, refused: &'static str, refusal: &Refusal) -> Self {
        let refusal = refusal.clone();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (taken, upstream) = (Arc::new(Mutex::new(Vec::new())), engine.url().replace("http://", ""));
        let notes = Arc::clone(&taken);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, upstream, notes) = (client.expect("a client"), upstream.clone(), Arc::clone(&notes));
                let refusal = refusal.clone();
                thread::spawn(move || answer(client, &upstream, (refused, &refusal), &notes));
            }
        });
        Self { url, taken }
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.taken.lock().expect("no panic"))
    }
}

fn answer(mut client: TcpStream, upstream: &str, (refused, refusal): (&str, &Refusal), notes: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().expect("a stream"));
    let (mut head, mut length, mut is_chunked) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let lower = line.to_ascii_lowercase();
        if line == "\r\n" {
            break;
        } else if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        } else if lower.starts_with("transfer-encoding:") {
            is_chunked = true;
        } else if !lower.starts_with("connection:") && !lower.starts_with("expect:") {
            head.push_str(&line);
        }
    }
    let mut body = Vec::new();
    loop {
        if !is_chunked {
            break;
        }
        let mut size = String::new();
        reader.read_line(&mut size).expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).expect("a chunk");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
    }
    body.resize(body.len() + length, 0);
    let start = body.len() - length;
    reader.read_exact(&mut body[start..]).expect("a body");
    let mut sql = String::from_utf8_lossy(&body).into_owned();
    let statement = sql.split_once("*/ ").map_or(sql.as_str(), |(_, statement)| statement);
    let verbs = ["USER", "ROLE", "QUOTA", "ROW POLICY", "SETTINGS PROFILE"];
    let is_about = |verb: &str| verbs.iter().any(|kind| statement.starts_with(&format!("{verb} {kind} ")));
    if is_about("CREATE") || is_about("ALTER") || statement.starts_with("GRANT ") || statement.starts_with("REVOKE ") {
        let is_refused = !refused.is_empty() && statement.contains(refused);
        if let (true, Refusal::Kill(process)) = (is_refused, refusal) {
            let pid = loop {
                match *process.lock().expect("no panic") {
                    Some(pid) => break pid,
                    None => thread::sleep(std::time::Duration::from_millis(1)),
                }
            };
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
            return;
        }
        let response = if is_refused {
            let text = format!("Code: 36. DB::Exception: no to {HASH} (BAD_ARGUMENTS)");
            format!(
                "HTTP/1.1 500 No\r\nX-ClickHouse-Exception-Code: 36\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )
        } else {
            notes.lock().expect("no panic").push(statement.to_owned());
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        client.write_all(response.as_bytes()).expect("sent");
        return;
    }
    for table in ["users", "roles", "quotas", "settings_profiles", "row_policies"] {
        for end in [' ', ')'] {
            sql = sql.replace(&format!("FROM system.{table}{end}"), &format!("FROM fake.{table}{end}"));
        }
    }
    write!(head, "Content-Length: {}\r\nConnection: close\r\n\r\n", sql.len()).expect("a String takes everything");
    let mut server = TcpStream::connect(upstream).expect("the engine answers");
    server.write_all(head.as_bytes()).and_then(|()| server.write_all(sql.as_bytes())).expect("sent");
    let mut response = Vec::new();
    server.read_to_end(&mut response).expect("an answer");
    let end = response.windows(2).position(|two| two == b"\r\n").expect("a status line");
    response.splice(end..end, b"\r\nConnection: close".iter().copied());
    // One that has waited long enough is gone.
    drop(client.write_all(&response));
}

/// Sets the lists that the proxy returns.
fn list(engine: &Engine, listed: &[(&str, &str, &str)]) {
    engine.query("CREATE DATABASE IF NOT EXISTS fake");
    for table in ["users", "roles", "quotas", "settings_profiles"] {
        engine.query(&format!("CREATE TABLE IF NOT EXISTS fake.{table} (id UUID, name String) ENGINE = Memory"));
        engine.query(&format!("TRUNCATE TABLE fake.{table}"));
    }
    engine.query(
        "CREATE TABLE IF NOT EXISTS fake.row_policies (id UUID, short_name String, database String, table String) \
         ENGINE = Memory",
    );
    for (table, id, name) in listed {
        engine.query(&format!("INSERT INTO fake.{table} VALUES ('{id}', '{name}')"));
    }
}

#[test]
fn users_and_roles_that_the_server_lacks_are_made_in_an_order_that_it_takes() {
    let engine = Engine::start(Kind::V26);
    let chsnap = snapshot(&engine, &FILES[..6]);
    list(&engine, &[("roles", "0a1b2c3d-9999-4000-8000-000000000002", "analyst")]);
    fs::remove_dir_all(engine.data_path().join("access")).expect("removed");
    let proxy = Proxy::start(&engine, "");
    let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
    let named = chsnap.json(0, &["restore", "latest", "--dry-run"]);
    assert_eq!(
        states(&named, "action"),
        "careful lacking, analyst keep, alice lacking, bob@10.% lacking, hourly lacking, even ON lab.t lacking"
    );
    assert_eq!(proxy.taken(), [""; 0]);
    // With a selection that has nothing to do, too.
    let run = chsnap.run(&["-vv", "restore", "latest", "--table", "lab.t", "--access", "missing", "--yes"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    holds_no_secret(&run);
    for made in ["made user alice\n", "made user bob@10.%\n", "made quota hourly\n"] {
        assert!(run.stdout.contains(made), "{}", run.stdout);
    }
    let alice = format!(
        "CREATE USER IF NOT EXISTS alice IDENTIFIED WITH sha256_hash BY '{HASH}' SALT '{SALT}' HOST LOCAL, IP '10.0.0.0/8' \
         DEFAULT ROLE `analyst` SETTINGS PROFILE `careful`"
    );
    let bob = format!(
        "CREATE USER IF NOT EXISTS `bob@10.%` IDENTIFIED WITH plaintext_password BY '{PASSWORD}' HOST LIKE '10.%' \
         GRANTEES NONE"
    );
    assert_eq!(
        proxy.taken(),
        [
            "CREATE SETTINGS PROFILE IF NOT EXISTS careful SETTINGS max_memory_usage = 1000000 READONLY, INHERIT `default`",
            &alice,
            &bob,
            "CREATE QUOTA IF NOT EXISTS hourly KEYED BY user_name FOR INTERVAL 1 hour MAX queries = 100 TO `analyst`",
            "CREATE ROW POLICY IF NOT EXISTS even ON lab.t FOR SELECT USING (k % 2) = 0 TO ALL EXCEPT `alice`",
            "ALTER SETTINGS PROFILE careful TO `alice`",
            "GRANT SELECT(k), INSERT ON lab.t TO alice WITH GRANT OPTION",
            "GRANT `analyst` TO alice",
        ]
    );
}

/// A user whose grants an interrupted restore has not made gets them from the next one that makes users, and from no other.
#[test]
fn a_user_that_a_killed_restore_was_making_gets_the_rest_of_their_grants() {
    let engine = Engine::start(Kind::V26);
    let chsnap = snapshot(&engine, &FILES[..6]);
    list(&engine, &[]);
    fs::remove_dir_all(engine.data_path().join("access")).expect("removed");
    let victim: Arc<Mutex<Option<u32>>> = Arc::default();
    let proxy = Proxy::start_with(&engine, "GRANT `analyst`", &Refusal::Kill(Arc::clone(&victim)));
    let restore = ["restore", "latest", "--access", "missing", "--yes"];
    let mut command = Chsnap::new(chsnap.repo()).url(&proxy.url).command(&restore);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    *victim.lock().expect("no panic") = Some(child.id());
    assert!(!child.wait().expect("it ends").success(), "it was killed");
    assert!(proxy.taken().iter().any(|statement| statement.starts_with("GRANT SELECT(k)")));
    // What the server has now.
    let (first, _) = FILES[0].1.rsplit_once("ATTACH GRANT").expect("grants");
    let made = [(FILES[0].0, first), FILES[1], FILES[2], FILES[3], FILES[4], FILES[5]];
    write(&engine, &made);
    list(
        &engine,
        &[
            ("users", FILES[0].0, "alice"),
            ("roles", FILES[1].0, "analyst"),
            ("users", FILES[2].0, "bob@10.%"),
            ("settings_profiles", FILES[3].0, "careful"),
            ("quotas", FILES[4].0, "hourly"),
        ],
    );
    engine.query(&format!("INSERT INTO fake.row_policies VALUES ('{}', 'even', 'lab', 't')", FILES[5].0));
    let proxy = Proxy::start(&engine, "");
    let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
    let bare = chsnap.run(&["restore", "latest", "--yes"]);
    assert!(bare.code == 3 && bare.stderr.contains("restore --access missing"), "{}{}", bare.stdout, bare.stderr);
    assert_eq!(proxy.taken(), [""; 0]);
    let plan = chsnap.expect(0, &["restore", "latest", "--access", "missing", "--dry-run"]).stdout;
    assert!(plan.contains("complete user alice, which an interrupted restore was making"), "{plan}");
    let report = chsnap.json(0, &restore);
    assert!(states(&report, "state").contains("alice made"), "{report:#}");
    let taken = proxy.taken();
    assert!(taken.iter().all(|statement| statement.contains("alice")), "{taken:?}");
    assert!(taken.contains(&"GRANT `analyst` TO alice".to_owned()), "{taken:?}");
    write(&engine, &FILES[..1]);
    let entries = fs::read_dir(engine.data_path()).expect("a directory");
    let notes =
        entries.filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("chsnap_"));
    assert_eq!(notes.count(), 0, "the note is gone");
    assert_eq!(chsnap.json(0, &restore)["state"], "nothing_to_do");
    assert_eq!(proxy.taken(), [""; 0]);
}

#[test]
fn a_grant_of_a_role_that_is_nowhere_is_left_out_and_named() {
    let engine = Engine::start(Kind::V26);
    let gone = "0a1b2c3d-0009-4000-8000-000000000009";
    let text = format!("ATTACH USER carol;\nATTACH GRANT ID('{}'), ID('{gone}') TO carol;\n", FILES[1].0);
    let carol = ("0a1b2c3d-0008-4000-8000-000000000008", text.as_str());
    let chsnap = snapshot(&engine, &[FILES[1], carol]);
    list(&engine, &[("roles", FILES[1].0, "analyst")]);
    let proxy = Proxy::start(&engine, "");
    let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
    let report = chsnap.json(3, &["restore", "latest", "--access", "missing", "--yes"]);
    assert_eq!(states(&report, "state"), "analyst present, carol incomplete");
    assert!(report["warnings"].to_string().contains(gone), "{report:#}");
    assert_eq!(proxy.taken(), ["CREATE USER IF NOT EXISTS carol", "GRANT `analyst` TO carol"]);
    // Made so, it is not made again.
    let made = format!("ATTACH USER carol;\nATTACH GRANT ID('{}') TO carol;\n", FILES[1].0);
    write(&engine, &[(carol.0, &made)]);
    list(&engine, &[("roles", FILES[1].0, "analyst"), ("users", carol.0, "carol")]);
    for access in ["missing", "all"] {
        let report = chsnap.json(0, &["restore", "latest", "--access", access, "--yes"]);
        assert_eq!(states(&report, "state"), "analyst present, carol present");
    }
    assert_eq!(proxy.taken(), [""; 0]);
}

#[test]
fn a_user_that_differs_is_replaced_if_that_is_asked_for() {
    let engine = Engine::start(Kind::V26);
    let files = [FILES[1], FILES[2], FILES[6]];
    let chsnap = snapshot(&engine, &files);
    list(&engine, &[("users", FILES[2].0, "bob@10.%"), ("roles", FILES[1].0, "analyst")]);
    let proxy = Proxy::start(&engine, "");
    let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
    write(
        &engine,
        &[(
            FILES[2].0,
            "ATTACH USER `bob@10.%` IDENTIFIED WITH plaintext_password BY 'another' HOST LIKE '10.%' GRANTEES NONE;\n",
        )],
    );
    let missing = chsnap.run(&["restore", "latest", "--access", "missing", "--yes"]);
    assert!(
        missing.stdout.contains("user bob@10.% exists, DIFFERS: stays; --access all replaces it"),
        "{}{}",
        missing.stdout,
        missing.stderr
    );
    assert_eq!((missing.code, proxy.taken().len()), (3, 0), "the file of eve is a warning: {}", missing.stderr);
    let all = chsnap.json(3, &["restore", "latest", "--access", "all", "--yes"]);
    assert_eq!(states(&all, "state"), "analyst present, bob@10.% replaced");
    assert_eq!(all["state"], "restored");
    let bob = format!(
        "CREATE USER OR REPLACE `bob@10.%` IDENTIFIED WITH plaintext_password BY '{PASSWORD}' HOST LIKE '10.%' GRANTEES NONE"
    );
    assert_eq!(proxy.taken(), [bob]);
}

/// Users are in `access_control_path`, and `access/` has an old copy.
#[test]
fn users_are_compared_with_those_in_the_directory_that_the_server_keeps_them_in() {
    let engine = Engine::start(Kind::V26);
    let chsnap = snapshot(&engine, &[FILES[1], FILES[2]]);
    list(&engine, &[("users", FILES[2].0, "bob@10.%"), ("roles", FILES[1].0, "analyst")]);
    let proxy = Proxy::start(&engine, "");
    let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
    assert_eq!(states(&chsnap.json(0, &["restore", "latest", "--dry-run"]), "action"), "analyst keep, bob@10.% keep");
    let (own, elsewhere) = (engine.data_path().join("access"), engine.root().join("users of the server"));
    fs::rename(&own, &elsewhere).expect("moved");
    write(&engine, &[FILES[2]]);
    let other =
        "ATTACH USER `bob@10.%` IDENTIFIED WITH plaintext_password BY 'another' HOST LIKE '10.%' GRANTEES NONE;\n";
    fs::write(elsewhere.join(format!("{}.sql", FILES[2].0)), other).expect("written");
    let configured = engine.data_path().join("preprocessed_configs");
    fs::create_dir_all(&configured).expect("a folder");
    let config =
        format!("<clickhouse><access_control_path>{}/</access_control_path></clickhouse>", elsewhere.display());
    fs::write(configured.join("config.xml"), config).expect("a file");
    let run = chsnap.run(&["restore", "latest", "--access", "missing", "--yes"]);
    let said = "user bob@10.% exists, DIFFERS: stays; --access all replaces it";
    assert!(run.stdout.contains(said), "{}{}", run.stdout, run.stderr);
    chsnap.json(0, &["restore", "latest", "--access", "all", "--yes"]);
    assert_eq!(proxy.taken().len(), 1);
}

#[test]
fn a_refused_statement_is_named_without_its_text() {
    let engine = Engine::start(Kind::V26);
    let chsnap = snapshot(&engine, &FILES[..6]);
    list(&engine, &[]);
    for (refused, state) in [("GRANT `analyst`", "incomplete"), ("USER IF NOT EXISTS alice", "failed")] {
        let proxy = Proxy::start(&engine, refused);
        let chsnap = Chsnap::new(chsnap.repo()).url(&proxy.url);
        let run = chsnap.run(&["-vv", "restore", "latest", "--access", "missing", "--yes", "--json"]);
        assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
        if state == "failed" {
            holds_no_secret(&run);
            assert!(
                !proxy.taken().iter().any(|statement| statement.ends_with(" TO alice")),
                "no grants without the user"
            );
        }
        let report: Value = serde_json::from_str(&run.stdout).expect("a document");
        assert!(states(&report, "state").contains(&format!("alice {state}")), "{report:#}");
        assert!(report["warnings"].to_string().contains("user alice was"), "{report:#}");
    }
}
