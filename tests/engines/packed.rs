//! Packed parts, whose files are in one archive.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::engine::{Engine, Kind, Options};
use crate::support::{active_parts, path_of, repository, restore_by_hand};
use crate::tree::{files, tree};

/// Makes a table whose small parts are packed.
fn make(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.t (k UInt64, s String, PROJECTION p (SELECT s, count() GROUP BY s)) ENGINE = MergeTree \
         ORDER BY k SETTINGS min_rows_for_full_part_storage = 500, min_bytes_for_wide_part = 0",
    );
    engine.query("SYSTEM STOP MERGES lab.t");
    for rows in [100, 1000, 200] {
        engine.query(&format!("INSERT INTO lab.t SELECT number, toString(number % 7) FROM numbers({rows})"));
    }
    // The parts of now have a metadata version of their own.
    engine.query("ALTER TABLE lab.t ADD COLUMN extra UInt8 DEFAULT 3");
    engine.query("INSERT INTO lab.t SELECT number, 'x', 1 FROM numbers(50)");
    let kinds = "SELECT part_storage_type, count() FROM system.parts WHERE active AND table = 't' GROUP BY 1 ORDER BY 1 FORMAT TSV";
    assert_eq!(engine.query(kinds), "Full\t1\nPacked\t3");
}

fn live(engine: &Engine) -> BTreeMap<PathBuf, u64> {
    let parts = active_parts(engine, "lab");
    let of_part = |(_, part, path): &(String, String, PathBuf)| {
        let tree = tree(path);
        files(&tree).into_iter().map(|(file, node)| (Path::new(part).join(file), node.inode)).collect::<Vec<_>>()
    };
    parts.iter().flat_map(of_part).collect()
}

fn stored(snapshot: &Path) -> BTreeMap<PathBuf, u64> {
    let tree = tree(&snapshot.join("data/lab/t"));
    files(&tree).into_iter().map(|(file, node)| (file.to_owned(), node.inode)).collect()
}

#[test]
fn packed_parts_are_linked_with_their_live_archives_and_verified() {
    let engine = Engine::start(Kind::V26);
    make(&engine);
    let sums = "SELECT count(), sum(k), sum(extra), sum(cityHash64(s)) FROM lab.t";
    let rows = engine.query(sums);
    let chsnap = repository(&engine);
    let run = chsnap.expect(0, &["-v", "--json", "--progress", "none", "create"]);
    assert!(!run.stderr.contains("freezing again"), "{}", run.stderr);
    let created: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let first = path_of(&chsnap, &created);
    assert_eq!(stored(&first), live(&engine));
    let shown = chsnap.json(0, &["show", "latest"]);
    let table = &shown["table_list"][0];
    assert_eq!((&table["unverifiable_parts"], &table["freezes"], &table["rows"]), (&0.into(), &1.into(), &1350.into()));
    // Nothing has changed: nothing is frozen, and nothing is written.
    let run = chsnap.expect(0, &["-v", "--json", "--progress", "none", "create"]);
    assert!(!run.stderr.contains(" FREEZE "), "{}", run.stderr);
    let second: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(stored(&path_of(&chsnap, &second)), live(&engine));
    let verified = chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!(verified["checked"]["unverifiable_files"], 0, "{verified:#}");
    let restored = restore_by_hand(&chsnap, &first, Kind::V26);
    assert_eq!(restored.query(sums), rows);
    let drilled = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drilled["state"], "proven", "{drilled:#}");
    engine.query("DROP TABLE lab.t SYNC");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query(sums), rows);
    let archive = first.join("data/lab/t/all_1_1_0/data.packed");
    fs::set_permissions(&archive, fs::Permissions::from_mode(0o640)).expect("a file of ours");
    let file = fs::OpenOptions::new().write(true).read(true).open(&archive).expect("it opens");
    let size = file.metadata().expect("it is there").len();
    let mut byte = [0];
    file.read_exact_at(&mut byte, size - 1).expect("read");
    file.write_all_at(&[byte[0] ^ 1], size - 1).expect("written");
    drop(file);
    let damage = chsnap.json(12, &["verify", "--level", "data"])["damage"].to_string();
    assert!(damage.contains("data.packed"), "{damage}");
}

#[test]
fn packed_parts_are_copied_whole_to_another_filesystem() {
    let engine = Engine::start_with(Kind::V26, &Options::default());
    make(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--place", "copy"]);
    let snapshot = path_of(&chsnap, &created);
    for (path, inode) in stored(&snapshot) {
        assert!(!live(&engine).values().any(|live| *live == inode), "{} is a copy", path.display());
    }
    for (_, part, path) in active_parts(&engine, "lab") {
        let name = Path::new(if path.join("data.packed").exists() { "data.packed" } else { "checksums.txt" });
        let copy = fs::read(snapshot.join("data/lab/t").join(&part).join(name)).expect("a copy");
        assert!(copy == fs::read(path.join(name)).expect("the original"), "{part}");
    }
    chsnap.json(0, &["verify", "--level", "data"]);
    let restored = restore_by_hand(&chsnap, &snapshot, Kind::V26);
    let sums = "SELECT count(), sum(k), sum(extra) FROM lab.t";
    assert_eq!(restored.query(sums), engine.query(sums));
}
