//! The restore commands of README and docs/operations.md, run as written.

use std::fs;
use std::path::Path;

use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::repository;

/// The commands in a part of a document: in a block of shell, or in a column of a table.
fn commands(file: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a document");
    let (_, part) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{file} has no {heading}"));
    let end = part.find("\n## ").unwrap_or(part.len());
    let found = part[..end].lines().filter_map(|line| {
        let command = line.strip_prefix("chsnap restore").map(|rest| rest.split(" #").next().expect("a part"));
        let in_table =
            line.split('`').find_map(|cell| cell.strip_prefix("chsnap restore")).filter(|_| line.starts_with('|'));
        command.or(in_table).map(|rest| rest.trim().to_owned())
    });
    found.collect()
}

#[apply(both_engines)]
fn every_line_of_the_documents_runs_as_it_is_written(engine: Engine) {
    engine.query("CREATE DATABASE shop");
    for (name, partition) in [("orders", "PARTITION BY toYYYYMM(d)"), ("customers", "")] {
        engine.query(&format!("CREATE TABLE shop.{name} (d Date, k UInt64) ENGINE = MergeTree {partition} ORDER BY k"));
        engine.query(&format!("INSERT INTO shop.{name} SELECT '2026-11-05', number FROM numbers(100)"));
    }
    engine.query("CREATE VIEW shop.seen AS SELECT count() AS c FROM shop.orders");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let mut all = commands("README.md", "## Restoring");
    all.extend(commands("docs/operations.md", "## Restore"));
    // A tree for ClickHouse's own RESTORE has tests of its own, and a place that is the server's.
    all.retain(|command| !command.contains("--native"));
    assert!(all.len() > 10, "{all:?}");
    for (number, command) in all.iter().enumerate() {
        // Something to restore, each time.
        engine.query("INSERT INTO shop.orders SELECT '2026-11-06', number FROM numbers(3)");
        let files = engine.root().join(format!("files{number}"));
        let mut words: Vec<String> =
            command
                .split_whitespace()
                .map(|word| {
                    if word == "/mnt/other/files" {
                        files.to_str().expect("a path").to_owned()
                    } else {
                        word.to_owned()
                    }
                })
                .collect();
        words.insert(0, "restore".to_owned());
        words.push("--yes".to_owned());
        let run = chsnap.run(&words);
        // 3: what exists stays and differs. A partition that has other rows needs --replace.
        let expected: &[i32] = match command {
            command if command.contains("--partition") => &[13],
            command if command.contains("--dry-run") => &[13],
            command if command.contains("--table") || command.contains("--all") => &[0],
            _ => &[0, 3],
        };
        assert!(expected.contains(&run.code), "{command}: {}\n{}{}", run.code, run.stdout, run.stderr);
    }
    assert_eq!(engine.query("SELECT count() FROM shop.orders_before"), "100");
    assert_eq!(engine.query("SELECT count() FROM shop_before.customers"), "100");
}
