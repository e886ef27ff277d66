//! The night of a real server goes into an object store, and comes back on a clean host.

use std::fs;

use testkit::object_store::ObjectServer;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{TABLES, load, repository};

#[apply(both_engines)]
fn what_a_night_pushed_is_pulled_drilled_and_restored_where_all_was_lost(engine: Engine) {
    let store = match ObjectServer::s3() {
        Ok(store) => store,
        Err(missing) => {
            eprintln!("NOT RUN: {missing}");
            return;
        }
    };
    let with_keys =
        |chsnap: Chsnap| store.environment.iter().fold(chsnap, |chsnap, (name, value)| chsnap.env(name, value));
    load(&engine);
    let rows = || TABLES.map(|(_, query)| engine.query(query));
    let before = rows();
    let chsnap = with_keys(repository(&engine));
    let config = engine.root().join("night.toml");
    fs::write(&config, format!("[run]\nverify_slices = 0\npush_to = [\"{}\"]\n", store.address)).expect("a file");
    let config = config.to_str().expect("a path");
    let night = chsnap.json(0, &["--config", config, "run"]);
    let steps = night["steps"].as_array().expect("steps");
    let is_push = |step: &&serde_json::Value| step["step"].as_str().is_some_and(|name| name.starts_with("push"));
    assert!(steps.iter().find(is_push).is_some_and(|step| step["state"] == "done"), "{night:#}");
    for secret in &store.secrets {
        assert!(!night.to_string().contains(secret));
    }

    // The data and the repository are gone; the server is a new one.
    engine.query("DROP DATABASE lab");
    fs::remove_dir_all(chsnap.repo()).expect("removed");
    let clean = with_keys(Chsnap::new(&engine.root().join("clean")).url(&engine.url()));
    clean.json(0, &["pull", "latest", "--from", &store.address]);
    clean.json(0, &["verify", "latest", "--level", "data"]);
    let drilled = clean.json(0, &["drill", "latest"]);
    assert_eq!(drilled["state"], "proven", "{drilled}");
    let restored = clean.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(restored["state"], "restored", "{restored}");
    assert_eq!(rows(), before);
    // Of the next night there is nothing new to send but what names it.
    let again = clean.json(0, &["--config", config, "run"]);
    assert!(again["steps"].to_string().contains("push"), "{again}");
}
