//! Servers that lie about names and paths, and other programs at a server's address.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::person::{MEMORY, Scene, garbles, people};
use crate::freezer::Freezer;
use crate::tree::tree;

/// What a server may say in the place of a name or of a path.
fn texts(scene: &Scene) -> Vec<String> {
    let outside = scene.canary.path().to_string_lossy().into_owned();
    let data = scene.lab.path().join("ch").to_string_lossy().into_owned();
    let mut texts: Vec<String> = [
        "../../../outside",
        "..",
        "a\n\u{1b}[2J",
        "/",
        "",
        ".",
        "a/b",
        "a\nb",
        "a\0b",
        "\u{1b}[2J\u{9b}2J\u{202e}",
        "`'\\",
        "%2E%2E",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([
        format!("{outside}/"),
        format!("{outside}/data/d/t/all_1_1_0/"),
        format!("{data}/../outside/data/d/t/"),
        format!("{data}/data/d/../../../outside/data/d/t/all_1_1_0/"),
        format!("{data}/data/d/t/../../../../outside/precious.sqlite"),
        "../outside/precious.sqlite".to_owned(),
        "x".repeat(300),
        "é".repeat(5_000_000),
    ]);
    texts
}

fn table_row(scene: &Scene) -> Value {
    let data = scene.lab.path().join("ch").to_string_lossy().into_owned();
    json!({
        "database": "d", "name": "t", "engine": "MergeTree", "uuid": "", "storage_policy": "",
        "metadata_path": format!("{data}/metadata/d/t.sql"), "has_own_data": null,
        "create_table_query": "CREATE TABLE d.t (k UInt8)", "data_paths": [format!("{data}/data/d/t/")],
    })
}

fn part_row(scene: &Scene) -> Value {
    let data = scene.lab.path().join("ch").to_string_lossy().into_owned();
    json!({
        "database": "d", "table": "t", "partition_id": "all", "name": "all_1_1_0", "rows": 1, "bytes_on_disk": 1,
        "modified": 1,
        "path": format!("{data}/data/d/t/all_1_1_0/"), "disk_name": "default", "files": 0, "hash_of_all_files": "",
    })
}

/// Makes a snapshot of a server that lies so.
#[track_caller]
fn create_from(scene: &Scene, freezer: &Freezer, what: &str) {
    let what: String = what.chars().take(200).collect();
    for arguments in [&["create", "--dry-run", "--color", "always"][..], &["create", "--color", "always"]] {
        let run = scene.run_in(MEMORY, freezer.url(), &what, arguments);
        assert!(!garbles(&run.stdout) && !garbles(&run.stderr), "{what}: {:?} {:?}", run.stdout, run.stderr);
        assert!(matches!(run.code, 0 | 1 | 3 | 13), "{what}: {} {}", run.code, run.stderr);
    }
    assert_eq!(scene.run(&what, &["list"]).code, 0);
    assert!(tree(&freezer.shadow()).is_empty(), "{what}: a shadow is left");
    assert!(tree(&scene.repo().join("incoming")).is_empty(), "{what}: something is left in incoming/");
}

/// Each field of a row of `about` becomes each text in turn.
fn lie_about(about: &'static str, row: impl Fn(&Scene) -> Value, fields: &[&str], wrap: impl Fn(&str, Value) -> Value) {
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        for field in fields {
            for text in person.share(&texts(&scene)) {
                let mut lie = row(&scene);
                lie[*field] = wrap(field, json!(text));
                // Correct rows are used although one row lies, or everything is refused.
                let mut rows = vec![lie];
                if about == "tables" && *field == "name" {
                    rows.push(row(&scene));
                }
                freezer.lie(about, rows);
                create_from(&scene, &freezer, &format!("system.{about}.{field} = {text:?}"));
            }
        }
        scene.run("afterwards", &["gc"]);
    }
}

#[test]
fn tables_of_a_server_that_lies() {
    let fields = ["database", "name", "engine", "uuid", "data_paths", "metadata_path", "create_table_query"];
    lie_about("tables", table_row, &fields, |field, text| if field == "data_paths" { json!([text]) } else { text });
}

#[test]
fn parts_of_a_server_that_lies() {
    let fields = ["database", "table", "partition_id", "name", "path", "disk_name", "hash_of_all_files"];
    lie_about("parts", part_row, &fields, |_, text| text);
}

#[test]
fn databases_and_mutations_of_a_server_that_lies() {
    let database = |scene: &Scene| {
        let data = scene.lab.path().join("ch").to_string_lossy().into_owned();
        json!({"name": "d", "engine": "Ordinary", "engine_full": "Ordinary", "uuid": "",
               "data_path": format!("{data}/data/d/"), "metadata_path": format!("{data}/metadata/d/")})
    };
    lie_about(
        "databases",
        database,
        &["name", "engine", "engine_full", "uuid", "data_path", "metadata_path"],
        |_, text| text,
    );
    let mutation = |_: &Scene| json!({"database": "d", "table": "t", "mutation_id": "mutation_7.txt", "is_done": 0});
    let name = |_: &str, text: Value| json!(format!("mutation_{}.txt", text.as_str().expect("a text")));
    lie_about("mutations", mutation, &["mutation_id"], name);
}

#[test]
fn disks_and_functions_of_a_server_that_lies() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        let columns = [("disks", "type"), ("functions", "origin"), ("functions", "create_query")];
        freezer.lie("columns", columns.iter().map(|(table, name)| json!({"table": table, "name": name})).collect());
        let truth = json!({"name": "default", "path": scene.lab.path().join("ch"), "type": "local", "is_encrypted": 0});
        let nowhere = format!("{}/", scene.canary.path().display());
        for text in person.share(&texts(&scene)).into_iter().filter(|text| *text != nowhere) {
            freezer.lie("functions", vec![]);
            for field in ["name", "path", "type"] {
                let mut disk = truth.clone();
                disk[field] = json!(text);
                for disks in [vec![disk.clone()], vec![truth.clone(), disk.clone()], vec![disk, truth.clone()]] {
                    freezer.lie("disks", disks);
                    create_from(&scene, &freezer, &format!("a disk of the {field} {text:?}"));
                }
            }
            freezer.lie("disks", vec![truth.clone()]);
            freezer.lie("functions", vec![json!({"name": text, "create_query": text})]);
            create_from(&scene, &freezer, &format!("a function {text:?}"));
        }
    }
}

#[test]
fn figures_of_a_server_that_lies() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        let figures =
            [json!(u64::MAX), json!("18446744073709551615"), json!("18446744073709551616"), json!(-1), json!(0.5)];
        let others = [json!(null), json!([]), json!({}), json!("x"), json!(true)];
        for figure in figures.iter().chain(&others) {
            for field in ["rows", "bytes_on_disk", "files"] {
                let mut first = part_row(&scene);
                first[field] = figure.clone();
                let mut second = first.clone();
                second["name"] = json!("all_2_2_0");
                freezer.lie("parts", vec![first, second]);
                create_from(&scene, &freezer, &format!("{field} = {figure}"));
            }
        }
    }
}

type Answer = fn(&mut TcpStream) -> std::io::Result<()>;

/// What gives this answer to every request.
fn answering(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(serve(stream, answer)));
        }
    });
    url
}

fn serve(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    answer(&mut stream)
}

fn endless(stream: &mut TcpStream, head: &str, text: &str) -> std::io::Result<()> {
    stream.write_all(head.as_bytes())?;
    let block = text.repeat((1 << 20) / text.len());
    loop {
        stream.write_all(block.as_bytes())?;
    }
}

fn once(stream: &mut TcpStream, status: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

fn hang() {
    std::thread::sleep(Duration::from_secs(60));
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const ROW: &str = "{\"table\":\"tables\",\"name\":\"some_column_of_it\"}\n";

const ANSWERS: [(&str, Answer); 22] = [
    ("endless rows", |stream| endless(stream, OK, ROW)),
    ("an endless line", |stream| endless(stream, OK, "{\"table\":")),
    ("an endless failure", |stream| endless(stream, "HTTP/1.1 500 Internal Server Error\r\n\r\n", "Code: 60. ")),
    ("an endless head", |stream| endless(stream, "HTTP/1.1 200 OK\r\n", "X-Y: z\r\n")),
    ("an endless line of the head", |stream| endless(stream, "HTTP/1.1 200 OK\r\nX: ", "zzzz")),
    ("endless chunks", |stream| {
        let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
        endless(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunk)
    }),
    ("a hundred million bytes of garbage", |stream| once(stream, "200 OK", &b"[[[[".repeat(25_000_000))),
    ("a hundred million bytes of failure", |stream| once(stream, "500 Oops", &b"\x1b[2J".repeat(25_000_000))),
    ("many brackets", |stream| once(stream, "200 OK", "[".repeat(1_000_000).as_bytes())),
    ("many objects in each other", |stream| {
        let text = format!("{{\"table\":{}1{}}}", "{\"a\":".repeat(200_000), "}".repeat(200_000));
        once(stream, "200 OK", text.as_bytes())
    }),
    ("rows of another kind", |stream| once(stream, "200 OK", b"{\"table\":7,\"name\":[]}\n")),
    ("bytes that are no text", |stream| once(stream, "200 OK", b"\xff\xfe\0\x1b[2J\n")),
    ("an escape in a failure", |stream| once(stream, "500 Oops", "Code: 60. \u{1b}[2J\u{9b}2J".as_bytes())),
    ("a page", |stream| once(stream, "404 Not Found", b"<html>\x1b[2J</html>")),
    ("another place", |stream| {
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
    }),
    ("less than it says", |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{")
    }),
    ("a length below nothing", |stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")),
    ("another protocol", |stream| stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n")),
    ("nothing", |_| Ok(())),
    ("no answer", |_| {
        hang();
        Ok(())
    }),
    ("a head and no more", |stream| stream.write_all(OK.as_bytes()).map(|()| hang())),
    ("a byte now and then", |stream| {
        stream.write_all(OK.as_bytes())?;
        loop {
            stream.write_all(b" ")?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }),
];

#[test]
fn a_hostile_answer_is_refused_soon_and_in_bounded_memory() {
    for person in people() {
        let scene = Scene::new(person, 1);
        for (what, answer) in person.share(&ANSWERS) {
            let url = answering(answer);
            let begun = Instant::now();
            // An answer may have a GiB, and is then put together once more.
            let run = scene.run_in(5 << 29, &url, what, &["create", "--query-timeout", "1s"]);
            assert_eq!(run.code, 1, "{what}: {}", run.stderr);
            assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
            assert!(run.stderr.starts_with("error: ") && run.stderr.len() < 20_000, "{what}: {}", run.stderr.len());
            assert!(!garbles(&run.stderr), "{what}: {:?}", run.stderr);
            let said = [url.as_str(), "did not answer", "cannot read the answer", "refused"];
            assert!(said.iter().any(|said| run.stderr.contains(said)), "{what}: {}", run.stderr);
        }
        assert_eq!(scene.lab.listed(0), scene.nights);
        assert!(tree(&scene.repo().join("incoming")).is_empty());
    }
}

#[test]
fn an_answer_has_an_end_however_long_one_waits() {
    for person in people().into_iter().take(1) {
        let scene = Scene::new(person, 1);
        let endless = ["endless rows", "an endless line", "an endless failure", "endless chunks"];
        for (what, answer) in ANSWERS.into_iter().filter(|(what, _)| endless.contains(what)) {
            let url = answering(answer);
            let run = scene.run_in(5 << 29, &url, what, &["create", "--query-timeout", "1h"]);
            assert_eq!(run.code, 1, "{what}: {}", run.stderr);
        }
    }
}
