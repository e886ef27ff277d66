//! `clickhouse local` on a directory of restored files, as docs/operations.md shows it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::{files, tree};

/// `clickhouse local --path DIR [--query SQL]` by chDB, the same engine as a library. Statements end at the end of a line.
const CLICKHOUSE: &str = r#"
import sys
import chdb
words = sys.argv[1:]
assert words.pop(0) == "local", words
path, query, ignores = None, None, False
while words:
    word = words.pop(0)
    if word == "--path": path = words.pop(0)
    elif word == "--query": query = words.pop(0)
    elif word == "--ignore-error": ignores = True
    else: raise SystemExit("unknown option " + word)
connection = chdb.connect(path)
text = query if query is not None else sys.stdin.read()
for statement in text.split(";\n"):
    lines = [line for line in statement.split("\n") if not line.startswith("-- ")]
    if not "".join(lines).strip(): continue
    try:
        sys.stdout.write(str(connection.query("\n".join(lines), "TSV")))
    except Exception as error:
        sys.stderr.write(str(error) + "\n")
        if not ignores: raise SystemExit(1)
"#;

/// The lines that begin with `clickhouse local` in docs/operations.md.
fn lines() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(document).expect("a document");
    text.lines().filter(|line| line.starts_with("clickhouse local ")).map(str::to_owned).collect()
}

/// Runs a line of shell, with `clickhouse` as above, and `/mnt/other/files` elsewhere.
fn shell(line: &str, directory: &Path, root: &Path) -> String {
    let programs = root.join("programs");
    fs::create_dir_all(&programs).expect("a directory");
    let script = programs.join("local.py");
    fs::write(&script, CLICKHOUSE).expect("a script");
    let python = Kind::V26.program();
    let program = programs.join("clickhouse");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), script.display());
    fs::write(&program, text).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let line = line.replace("/mnt/other/files", directory.to_str().expect("text"));
    let output = Command::new("sh").args(["-c", &line]).env("PATH", path).output().expect("sh runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "{line}: {errors}");
    text.trim_end().to_owned()
}

#[apply(both_engines)]
fn clickhouse_local_reads_restored_files_by_the_lines_of_the_document(engine: Engine) {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: ClickHouse 26.9 is not installed");
        return;
    }
    load(&engine);
    engine.query("CREATE TABLE default.t (k UInt8) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t VALUES (1), (2)");
    engine.query("CREATE VIEW default.seen AS SELECT sum(k) AS s FROM default.t");
    engine.query("CREATE DATABASE shop");
    engine.query("CREATE TABLE shop.orders (k UInt64, `n.a` Array(UInt8)) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO shop.orders SELECT number, [1, 2] FROM numbers(100)");
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    let to = engine.root().join("files");
    chsnap.json(0, &["restore", "latest", "--to", to.to_str().expect("text")]);
    let lines = lines();
    let [attach, select] = &lines[..] else { panic!("two lines: {lines:?}") };
    assert_eq!(shell(attach, &to, engine.root()), "");
    assert_eq!(shell(select, &to, engine.root()), "100");
    // A second time, and from then on without it.
    assert_eq!(shell(attach, &to, engine.root()), "");
    let ask = |query: &str| {
        shell(&format!("clickhouse local --path /mnt/other/files/local --query '{query}'"), &to, engine.root())
    };
    for (table, query) in TABLES {
        assert_eq!(ask(query), engine.query(query).trim_end(), "{table}");
    }
    assert_eq!(ask("SELECT count() FROM lab.seen"), engine.query("SELECT count() FROM lab.seen").trim_end());
    assert_eq!(ask("SELECT s FROM default_restored.seen"), "3");
    assert!(fs::read_to_string(to.join("local/attach.sql")).expect("a script").contains("-- not attached: `lab`.`mv`"));
    // Linked files are the snapshot's own, and stay as they are.
    let now = tree(&snapshot);
    assert!(files(&now).keys().eq(files(&contents).keys()));
    for (path, file) in files(&contents) {
        assert_eq!(
            (now[path].inode, now[path].content, now[path].mode),
            (file.inode, file.content, file.mode),
            "{}",
            path.display()
        );
    }
}
