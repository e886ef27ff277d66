//! A snapshot that is restored by hand into an empty server gives the same tables.

use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{TABLES, load, path_of, repository, restore_by_hand};
use crate::tree::tree;

#[apply(both_engines)]
fn placed_by_hand_every_table_has_its_rows(engine: Engine) {
    load(&engine);
    let before: Vec<String> = TABLES.iter().map(|(_, query)| engine.query(query)).collect();
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    // What happens afterwards is not in it.
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(5)");
    engine.query("ALTER TABLE lab.events DROP PARTITION 202601");
    let contents = tree(&snapshot);
    let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
    for ((_, query), rows) in TABLES.iter().zip(&before) {
        assert_eq!(&restored.query(query), rows, "{query}");
    }
    // The restored server lives on, and the snapshot stays.
    restored.query("INSERT INTO lab.plain SELECT number FROM numbers(5)");
    restored.query("OPTIMIZE TABLE lab.events FINAL");
    restored.query("DROP TABLE lab.latest");
    let mut after = tree(&snapshot);
    for (path, node) in &mut after {
        // The server attached the directories that `cp -al` made; modes of files are its own affair.
        node.mode = contents[path].mode;
    }
    assert_eq!(after, contents);
}
