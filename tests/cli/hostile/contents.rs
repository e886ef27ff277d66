//! Files of a repository with hostile content: paths for names, numbers out of range, ten million letters, a hundred
//! thousand brackets.

use std::fs;
use std::path::Path;

use chsnap::repo::ShadowPlace;
use serde_json::{Value, json};

use super::person::{MEMORY, Scene, garbles, people};
use crate::cli::support::time;

const NO_SERVER: &str = "http://127.0.0.1:9";

/// The placeholder for a raw text in a JSON value.
const RAW: &str = "@raw@";

/// Replacements for any value, as JSON.
fn values() -> Vec<String> {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let mut values: Vec<String> = [
        r#""../../outside/precious.sqlite""#,
        r#""/etc/passwd""#,
        r#""..""#,
        r#""""#,
        r#""a\nb\u0000\u001b[2J\u009b2J\u202e""#,
        r#""\ud800""#,
        "\"\u{fffd}\"",
        "-1",
        "1e400",
        "0.5",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "null",
        "true",
        "[]",
        "{}",
        r#"{"a":1,"a":2}"#,
        r#"[[],{},null,"x"]"#,
        r#""+262142-12-31T23:59:59Z""#,
        r#""9999-12-31T235959Z""#,
        r#""2026-11-01T020000Z-4294967295""#,
        r#"{"uid":4294967296,"gid":-1,"mode":99999999999}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    // Far deeper than a stack of frames would hold.
    values.push(nested(20_000));
    values.push("{\"a\":".repeat(20_000) + "1" + &"}".repeat(20_000));
    values
}

/// The document with each of its values, one at a time, replaced by each of `values`; and with each key twice.
fn variants(document: &Value, values: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    collect(document, String::new(), &mut paths);
    let mut variants = Vec::new();
    for path in paths {
        let mut changed = document.clone();
        *changed.pointer_mut(&path).expect("it is there") = json!(RAW);
        let text = changed.to_string();
        let raw = json!(RAW).to_string();
        variants.extend(values.iter().map(|value| text.replace(&raw, value)));
        let key = path.rsplit('/').next().unwrap_or_default();
        let value = document.pointer(&path).expect("it is there");
        variants.push(text.replace(&raw, &format!("{value},{}:{value}", json!(key))));
    }
    variants
}

/// Pointers to every value, to the first only of an array.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (format!("{path}/{key}"), value)).collect(),
        Value::Array(items) => items.first().map(|item| (format!("{path}/0"), item)).into_iter().collect(),
        _ => Vec::new(),
    };
    if !path.is_empty() {
        paths.push(path);
    }
    for (path, value) in below {
        collect(value, path, paths);
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// Ids that no snapshot of the lab has.
fn spare_ids() -> impl Iterator<Item = String> {
    (0..).map(|second: i64| {
        let time = chrono::DateTime::from_timestamp(1_700_000_000 + second, 0).expect("a time");
        chsnap::model::SnapshotId::at(time).to_string()
    })
}

#[test]
fn manifests_of_every_wrong_value_are_listed_and_lead_nowhere() {
    for person in people() {
        let scene = Scene::new(person, 2);
        let document = read(&scene.lab.at(&scene.nights[0]).join("manifest.json"));
        let mut documents = variants(&document, &values());
        documents
            .extend(["[]", "{}", "null", "\"x\"", "{", "\u{feff}{}", "{\"format\":4294967296}"].map(str::to_owned));
        if person.uid.is_some() {
            // What differs is what one may, not what one reads.
            documents = documents.into_iter().step_by(20).collect();
        }
        let mut shown = Vec::new();
        for (position, (text, id)) in documents.iter().zip(spare_ids()).enumerate() {
            fs::create_dir(scene.lab.at(&id)).expect("a directory");
            // Of the right id where that is not what is wrong, so that what is behind it is read.
            let text = text.replace(&scene.nights[0], &id);
            fs::write(scene.lab.at(&id).join("manifest.json"), text).expect("a manifest");
            if position % 60 == 0 {
                shown.push(id);
            }
        }
        scene.give(&scene.repo());
        for _ in 0..2 {
            let run = scene.run("manifests", &["list", "--json", "--color", "always"]);
            assert_eq!(run.code, 3, "{}", run.stderr);
            let listed: Value = serde_json::from_str(&run.stdout).expect("JSON");
            assert_eq!(listed["snapshots"].as_array().expect("rows").len(), documents.len() + 2);
        }
        let run = scene.run("manifests", &["list"]);
        assert!(!garbles(&run.stdout) && !garbles(&run.stderr), "{} {}", run.stdout, run.stderr);
        for id in &shown {
            let run = scene.run("manifests", &["show", id, "--color", "always"]);
            assert!(!garbles(&run.stdout), "{}", run.stdout);
        }
        // The next snapshot comes after the largest number there is, and is the latest all the same.
        let freezer = scene.freezer();
        let run = scene.run_in(MEMORY, freezer.url(), "manifests", &["create", "--json"]);
        assert!(matches!(run.code, 0 | 3), "{}", run.stderr);
        let mut remove = vec!["rm", "--force"];
        remove.extend(shown.iter().map(String::as_str));
        assert_eq!(scene.run("manifests", &remove).code, 0);
        assert_eq!(scene.run("manifests", &["gc"]).code, 0);
    }
}

#[test]
fn a_manifest_of_ten_million_bytes_is_read_in_bounded_memory() {
    for person in people() {
        let scene = Scene::new(person, 2);
        let path = scene.lab.at(&scene.nights[1]).join("manifest.json");
        let sound = fs::read_to_string(&path).expect("a manifest");
        let long = "x".repeat(10_000_000);
        let with = |key: &str, value: &str| sound.replacen('{', &format!("{{\"{key}\": {value},"), 1);
        let all = [
            with("name", &format!("\"{long}\"")),
            with("unknown", &format!("[{}0]", "0,".repeat(5_000_000))),
            with("unknown", &("[".repeat(5_000_000) + &"]".repeat(5_000_000))),
            sound.replace("\"warnings\": []", &format!("\"warnings\": [{}\"\"]", "\"\",".repeat(3_000_000))),
            sound.replace("\"version\": \"26", &format!("\"version\": \"{long}26")),
            sound.replace("\"state\": \"taken\"", &format!("\"state\": \"{long}\"")),
            sound.replace(&format!("\"id\": \"{}\"", scene.nights[1]), &format!("\"id\": \"{long}\"")),
            long,
        ];
        for text in all {
            fs::write(&path, &text).expect("written");
            let what: String = text.chars().take(60).collect();
            for command in [&["list"][..], &["list", "--json"], &["show", &scene.nights[1]]] {
                let run = scene.run_in(512 << 20, NO_SERVER, &what, command);
                assert!(matches!(run.code, 0 | 1 | 3), "{what}: {}", run.stderr);
            }
        }
        // Longer than any manifest may be: not read at all.
        fs::File::create(&path).expect("a file").set_len(8 << 30).expect("eight GiB of nothing");
        let run = scene.run_in(64 << 20, NO_SERVER, "8 GiB", &["list"]);
        assert!(run.code == 3 && run.stderr.contains("too large"), "{}", run.stderr);
    }
}

#[test]
fn a_list_of_parts_that_is_a_bomb_or_garbage_affects_only_its_snapshot() {
    for person in people() {
        let scene = Scene::new(person, 2);
        let freezer = scene.freezer();
        let path = scene.lab.at(&scene.nights[1]).join("parts.jsonl.zst");
        let bomb = zstd::encode_all(std::io::repeat(b'\n').take_bytes(1 << 30), 19).expect("it shrinks");
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        for bytes in [bomb, b"\x28\xb5\x2f\xfd\xff".to_vec(), b"../../outside".to_vec(), Vec::new()] {
            fs::write(&path, bytes).expect("written");
            for command in [&["list"][..], &["show"], &["create", "--freeze", "all"]] {
                assert_eq!(scene.run_in(256 << 20, freezer.url(), "parts", command).code, 0);
            }
            // The last snapshot is the one that was just made: its list is spoilt too.
            let newest = fs::read_link(scene.repo().join("latest")).expect("latest");
            fs::write(scene.repo().join(newest).join("parts.jsonl.zst"), fs::read(&path).expect("read"))
                .expect("written");
            let run = scene.run_in(256 << 20, freezer.url(), "parts", &["create"]);
            assert_eq!(run.code, 3, "{}", run.stderr);
            assert!(run.stderr.contains("everything is frozen"), "{}", run.stderr);
        }
    }
}

/// A reader of this many bytes.
trait TakeBytes {
    fn take_bytes(self, bytes: u64) -> std::io::Take<Self>
    where
        Self: Sized;
}

impl TakeBytes for std::io::Repeat {
    fn take_bytes(self, bytes: u64) -> std::io::Take<Self> {
        std::io::Read::take(self, bytes)
    }
}

#[test]
fn configurations_of_every_wrong_value_are_refused_or_taken_as_they_are() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let path = scene.repo().join("chsnap.json");
        let document = json!({
            "format": 1, "id": read(&path)["id"], "created": "2026-11-01T00:00:00Z",
            "server": {"data_path": "/var/lib/clickhouse/", "uuid": null},
        });
        let mut documents = variants(&document, &values());
        documents.push(format!("{{\"format\": 1, \"x\": \"{}\"}}", "x".repeat(10_000_000)));
        for text in documents {
            fs::write(&path, &text).expect("written");
            let what: String = text.chars().take(300).collect();
            let run = scene.run(&what, &["gc"]);
            assert!(!run.stderr.contains('\u{1b}'), "{what}: {}", run.stderr);
        }
    }
}

/// The id of a repository is part of the path of its index, which is in the user's state directory.
#[test]
fn a_repository_whose_id_is_a_path_touches_no_file_there() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let path = scene.repo().join("chsnap.json");
        let sound = read(&path);
        let state = scene.repo().with_extension("state");
        fs::create_dir_all(state.join("chsnap")).expect("a directory");
        scene.give(&state);
        // No index in the repository: the one of this host is asked.
        drop(fs::remove_file(scene.repo().join("index.sqlite")));
        fs::create_dir(scene.repo().join("index.sqlite")).expect("a directory");
        let absolute = scene.canary.path().join("precious").to_string_lossy().into_owned();
        for id in ["../../outside/precious", absolute.as_str(), "a'; DROP", ".."] {
            let mut hostile = sound.clone();
            hostile["id"] = json!(id);
            fs::write(&path, hostile.to_string()).expect("written");
            for command in ["list", "gc"] {
                let run = scene.run(id, &[command]);
                assert_eq!(run.code, 1, "{id}: {}", run.stderr);
                assert!(run.stderr.contains("32 lower-case hex digits"), "{}", run.stderr);
            }
        }
    }
}

#[test]
fn pins_of_every_wrong_value_pin_all_the_same() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let document = json!({"reason": "x", "since": "2026-11-01T03:00:00Z", "until": "2027-01-01T00:00:00Z"});
        let mut documents = variants(&document, &values());
        documents.push(json!({"reason": "y".repeat(1_000_000), "since": "2026-11-01T03:00:00Z"}).to_string());
        documents.push("z".repeat(10_000_000));
        let manifest = fs::read_to_string(scene.lab.at(&scene.nights[0]).join("manifest.json")).expect("a manifest");
        for (text, id) in documents.iter().zip(spare_ids()) {
            fs::create_dir(scene.lab.at(&id)).expect("a directory");
            let manifest = manifest.replace(&scene.nights[0], &id);
            fs::write(scene.lab.at(&id).join("manifest.json"), manifest).expect("a manifest");
            scene.lab.pin(&id, text);
        }
        scene.give(&scene.repo());
        let run = scene.run("pins", &["list", "--json"]);
        let listed: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let rows = listed["snapshots"].as_array().expect("rows");
        assert_eq!(rows.iter().filter(|row| row["pinned"] == true).count(), documents.len());
        let run = scene.run("pins", &["list", "--color", "always"]);
        assert!(!garbles(&run.stdout), "{}", run.stdout);
        assert_eq!(scene.run("pins", &["rm", &spare_ids().next().expect("one")]).code, 13);
    }
}

#[test]
fn a_journal_of_every_wrong_value_is_passed_over_and_appended_to() {
    for person in people() {
        let scene = Scene::new(person, 3);
        scene.run("before", &["rm", &scene.nights[0]]);
        let largest = format!(
            r#"{{"number":18446744073709551615,"time":"2026-11-22T02:00:00Z","event":"removed","ids":["{}"]}}"#,
            scene.nights[2]
        );
        let document =
            json!({"number": 7, "time": "2026-11-01T03:00:00Z", "event": "removed", "ids": [scene.nights[1]]});
        let mut lines = variants(&document, &values());
        lines.extend([largest, "x".repeat(10_000_000), String::from("\0"), String::from("[")]);
        let path = scene.repo().join("journal/2026-01.jsonl");
        fs::write(&path, lines.join("\n")).expect("a journal");
        scene.give(&path);
        for command in [&["undo"][..], &["rm", &scene.nights[1]], &["list"], &["undo"], &["gc"]] {
            let run = scene.run("a journal", command);
            assert_eq!(run.code, if command == ["list"] { 3 } else { 0 }, "{command:?}");
            assert!(!garbles(&run.stderr), "{}", run.stderr);
        }
    }
}

#[test]
fn intents_of_every_wrong_value_release_nothing_that_is_not_ours() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let disk = scene.canary.path().to_owned();
        scene.lab.locked(|locked| {
            let places = vec![ShadowPlace { disk: "default".to_owned(), path: disk.clone(), inode: None }];
            let mut incoming = locked.begin(time("2026-12-02T02:00:00Z"), "http://127.0.0.1:9", places).expect("begun");
            incoming.announce_freeze(time("2026-12-02T02:00:00Z")).expect("a freeze");
        });
        let incoming = scene.repo().join("incoming");
        let document = read(&incoming.join("2026-12-02T020000Z.intent.json"));
        let mut documents = variants(&document, &values());
        documents.push("x".repeat(20_000_000));
        for (text, id) in documents.iter().zip(spare_ids()) {
            let text = text.replace("2026-12-02T020000Z", &id);
            fs::write(incoming.join(format!("{id}.intent.json")), text).expect("an intent");
        }
        scene.give(&scene.repo());
        let freezer = scene.freezer();
        let run = scene.run("intents", &["gc"]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}'));
        // With a server at hand those that name a disk and a freeze of ours are acted on.
        let run = scene.run_in(MEMORY, freezer.url(), "intents", &["create"]);
        assert!(matches!(run.code, 0 | 3), "{}", run.stderr);
    }
}

/// An index may be any database.
#[test]
fn an_index_without_an_end_is_thrown_away() {
    let view = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT CAST(x AS TEXT) AS id, \
                'x' AS stamp, 'x' AS summary FROM c";
    let statements = [
        format!("DROP TABLE snapshot; CREATE VIEW snapshot AS {view}"),
        "CREATE TRIGGER t BEFORE INSERT ON snapshot BEGIN SELECT RAISE(IGNORE); END".to_owned(),
        "DROP TABLE snapshot; CREATE TABLE snapshot (id, stamp, summary, x AS (zeroblob(1000000000)))".to_owned(),
        "UPDATE snapshot SET summary = printf('%.*c', 100000000, 'x')".to_owned(),
        format!("INSERT INTO snapshot SELECT * FROM ({view} LIMIT 300000)"),
    ];
    for person in people() {
        for statement in &statements {
            let scene = Scene::new(person, 2);
            scene.run("before", &["list"]);
            let index = scene.repo().join("index.sqlite");
            let connection = rusqlite::Connection::open(&index).expect("a database");
            connection.execute_batch(statement).expect("a statement");
            drop(connection);
            for _ in 0..2 {
                let run = scene.run_in(128 << 20, NO_SERVER, statement, &["list", "--json"]);
                let listed: Value = serde_json::from_str(&run.stdout).expect("JSON");
                assert_eq!((run.code, listed["snapshots"].as_array().map(Vec::len)), (0, Some(2)), "{statement}");
            }
        }
        let scene = Scene::new(person, 2);
        scene.run("before", &["list"]);
        let index = scene.repo().join("index.sqlite");
        fs::File::options().write(true).open(&index).expect("it opens").set_len(8 << 30).expect("eight GiB");
        assert_eq!(scene.run_in(128 << 20, NO_SERVER, "8 GiB", &["list"]).code, 0);
        assert!(index.metadata().expect("an index").len() < 1 << 20, "it is a new one");
    }
}
