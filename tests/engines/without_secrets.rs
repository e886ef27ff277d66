//! A snapshot that was pushed without secrets, on a server.

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{asynchronous, repository};

#[apply(both_engines)]
fn a_drill_names_the_table_whose_unfinished_mutation_was_left_out(engine: Engine) {
    for table in ["m", "plain"] {
        engine.query(&format!("CREATE TABLE default.{table} (id UInt64, v String) ENGINE = MergeTree ORDER BY id"));
        engine.query(&format!("INSERT INTO default.{table} SELECT number, 'old' FROM numbers(1000)"));
        engine.query(&format!("SYSTEM STOP MERGES default.{table}"));
    }
    let mutations = [("m", "'http://u:hunter2@h/'"), ("plain", "'new'")];
    for (table, value) in mutations {
        engine
            .query_with(&format!("ALTER TABLE default.{table} UPDATE v = {value} WHERE 1"), asynchronous(&engine))
            .expect("queued");
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let address = format!("file://{}", engine.root().join("store").display());
    let pushed = chsnap.json(0, &["push", "latest", "--to", &address, "--no-secrets"]);
    let left_out = &pushed["snapshots"][0]["secrets_left_out"];
    assert_eq!(left_out["files"].as_array().map(Vec::len), Some(1), "{pushed}");
    let clean = Chsnap::new(&engine.root().join("clean")).url(&engine.url());
    clean.json(0, &["pull", "latest", "--from", &address]);
    let drill = clean.json(3, &["drill"]);
    let warnings = drill["warnings"].to_string();
    assert_eq!(drill["state"], "proven", "{drill}");
    assert!(warnings.contains("default.m comes back without 1 unfinished mutation"), "{drill}");
    assert!(!warnings.contains("default.plain") && !drill.to_string().contains("hunter2"), "{drill}");
    // Of a table that has all of its mutations, nothing is said.
    let one = clean.json(0, &["drill", "--table", "default.plain"]);
    assert_eq!((&one["state"], one["warnings"].as_array().map(Vec::len)), (&"proven".into(), Some(0)), "{one}");
    // Here nothing is missing.
    let whole = chsnap.json(0, &["drill"]);
    assert!(!whole.to_string().contains("comes back without"), "{whole}");
}
