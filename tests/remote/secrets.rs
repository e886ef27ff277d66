//! A push without secrets: none is in the store, what is missing is said, and nothing replaces a snapshot that has them.

use std::fs;

use chsnap::model::{SnapshotId, TableName};
use chsnap::repo::{TableEntry, TableState};
use serde_json::Value;

use crate::remote::support::{Lab, document, files_below};

const SECRET: &str = "hunter2";
const MYSQL: &str = "ATTACH TABLE _ (`k` UInt8) ENGINE = MySQL('db:3306', 'shop', 't', 'reader', 'hunter2')";

/// A snapshot with secrets in a table, a function, a user, a named collection, a configuration and a mutation.
fn with_secrets(lab: &Lab) -> SnapshotId {
    lab.host.keep("metadata/d/m.sql", MYSQL);
    lab.host
        .keep("user_defined/function_f.sql", "CREATE FUNCTION f AS x -> encrypt('aes-128-ecb', x, 'hunter2hunter2hu')");
    lab.host.keep("user_defined/function_g.sql", "CREATE FUNCTION g AS x -> x + 1");
    lab.host.keep(
        "access/14addea3-a8fe-4ef8-bb4f-098fa9c86751.sql",
        "ATTACH USER u IDENTIFIED WITH plaintext_password BY 'hunter2';",
    );
    lab.host.keep("named_collections/nc.sql", "CREATE NAMED COLLECTION nc AS password = 'hunter2'");
    lab.host.keep("configs/etc/users.xml", "<password>hunter2</password>");
    lab.host.keep(
        "data/d/b/mutation_9.txt",
        "commands: UPDATE k = encrypt(\\'aes-128-ecb\\', k, \\'hunter2hunter2hu\\') WHERE 1",
    );
    lab.host.snapshot_with(|manifest, _| {
        for table in manifest.tables.iter_mut().filter(|table| table.table == "b") {
            table.mutations = vec!["mutation_9.txt".to_owned()];
        }
        manifest.tables.push(TableEntry {
            definition: Some("metadata/d/m.sql".to_owned()),
            definition_is_file: true,
            ..TableEntry::without_parts(&TableName::new("d", "m"), "MySQL", TableState::Definition)
        });
    })
}

/// Whether the store has the secret anywhere, in objects or in manifests.
fn is_in_store(lab: &Lab) -> bool {
    files_below(&lab.store()).iter().any(|(path, _)| {
        let bytes = fs::read(path).expect("it is read");
        let plain = zstd::decode_all(bytes.as_slice()).unwrap_or(bytes);
        plain.windows(SECRET.len()).any(|word| word == SECRET.as_bytes())
    })
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

#[test]
fn no_secret_leaves_and_the_snapshot_and_a_restore_say_what_is_missing() {
    let lab = Lab::new();
    let id = with_secrets(&lab);
    let address = lab.address();
    let pushed = document(&lab.chsnap(), &["push", "latest", "--to", &address, "--no-secrets"], 0);
    assert!(!is_in_store(&lab));
    let left_out = &pushed["snapshots"][0]["secrets_left_out"];
    assert_eq!(texts(&left_out["hidden"]), ["metadata/d/m.sql", "user_defined/function_f.sql"], "{pushed}");
    let files = [
        "access/14addea3-a8fe-4ef8-bb4f-098fa9c86751.sql",
        "named_collections/nc.sql",
        "configs/etc/users.xml",
        "data/d/b/mutation_9.txt",
    ];
    let mut found = texts(&left_out["files"]);
    let mut wanted = files.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &address], 0);
    let shown = document(&clean, &["show", "latest"], 0);
    assert_eq!(shown["secrets_left_out"], *left_out);
    let text = clean.run(&["show", "latest"]).stdout;
    assert!(text.contains("pushed without secrets"), "{text}");
    let verified = document(&clean, &["verify", "latest", "--level", "data"], 0);
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{verified}");
    let snapshot = clean.repo().join("snapshots").join(id.to_string());
    let definition = fs::read_to_string(snapshot.join("metadata/d/m.sql")).expect("it is there");
    assert!(definition.contains("[HIDDEN]") && definition.contains("reader"), "{definition}");
    for path in files {
        assert!(!snapshot.join(path).exists(), "{path}");
    }
    let own = fs::read_to_string(lab.host.at(id).join("metadata/d/m.sql")).expect("it is there");
    assert_eq!(own, MYSQL, "here it is as it was");
    let target = lab.folder.path().join("files");
    let run = clean.run(&["restore", "latest", "--to", target.to_str().expect("text")]);
    assert_eq!((run.code, run.stderr.contains("pushed without secrets")), (3, true), "{}", run.stderr);
    assert!(run.stderr.contains("d.b comes back without 1 unfinished mutation"), "{}", run.stderr);
    // It is not counted among those that come back.
    let manifest = fs::read_to_string(snapshot.join("manifest.json")).expect("it is there");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let tables = manifest["tables"].as_array().expect("a list");
    assert!(tables.iter().all(|table| table["mutations"].as_array().is_none_or(Vec::is_empty)), "{manifest}");
    // Of a table that needs nothing of it, nothing is said.
    let one = lab.folder.path().join("one");
    let run = clean.run(&["restore", "latest", "--table", "d.a", "--to", one.to_str().expect("text")]);
    assert!(run.stderr.contains("named_collections"), "a selection may need one: {}", run.stderr);
    assert!(!run.stderr.contains("comes back without"), "{}", run.stderr);
}

#[test]
fn rows_parts_and_definitions_without_secrets_go_as_they_are() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    let address = lab.address();
    let run = lab.chsnap().run(&["push", "latest", "--to", &address, "--no-secrets"]);
    assert_eq!((run.code, run.stderr.contains("no secret was found")), (0, true), "{}", run.stderr);
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &address], 0);
    assert!(document(&clean, &["show", "latest"], 0)["secrets_left_out"].is_null());
    assert_eq!(
        crate::remote::support::content(&crate::remote::support::at(&clean, id)),
        crate::remote::support::content(&lab.host.at(id))
    );
    // It is the same as with secrets: there already.
    let again = lab.push("latest");
    assert_eq!(again["present"].as_u64(), Some(1), "{again}");
}

#[test]
fn a_push_with_secrets_adds_them_and_one_without_replaces_nothing() {
    let lab = Lab::new();
    with_secrets(&lab);
    let address = lab.address();
    let without = ["push", "latest", "--to", &address, "--no-secrets"];
    document(&lab.chsnap(), &without, 0);
    let again = document(&lab.chsnap(), &without, 0);
    assert_eq!((again["present"].as_u64(), again["requests"]["puts"].as_u64()), (Some(1), Some(0)), "{again}");
    // One who pulls it there and pushes it again adds nothing, and one who has them does.
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &address], 0);
    let present = document(&clean, &["push", "latest", "--to", &address], 0);
    assert_eq!(present["present"].as_u64(), Some(1), "{present}");
    assert!(!is_in_store(&lab));
    let run = lab.chsnap().run(&["push", "latest", "--to", &address]);
    assert_eq!((run.code, run.stderr.contains("nothing is encrypted")), (0, true), "{}", run.stderr);
    assert!(is_in_store(&lab));
    let present = document(&lab.chsnap(), &without, 3);
    assert_eq!(present["present"].as_u64(), Some(1), "{present}");
    assert!(present["warnings"].to_string().contains("with its secrets"), "{present}");
    let run = lab.chsnap().run(&["push", "latest", "--to", &address, "--no-secrets", "--resend"]);
    assert_eq!((run.code, run.stderr.contains("remote rm")), (13, true), "{}", run.stderr);
    // A push of all new ones leaves it as it is too, and says so.
    let new = ["push", "--new", "--to", &address, "--no-secrets"];
    let left = document(&lab.chsnap(), &new, 3);
    assert!(left["pushed"] == 0 && left["warnings"].to_string().contains("with its secrets"), "{left}");
    // Where it is without them, a pull says so, and how they get there.
    let present = document(&clean, &["pull", "latest", "--from", &address], 3);
    let text = present["warnings"].to_string();
    assert!(present["state"] == "present" && text.contains("chsnap rm") && text.contains("chsnap gc"), "{present}");
    let id = present["id"].as_str().expect("an id").to_owned();
    document(&clean, &["rm", &id, "--force"], 0);
    document(&clean, &["gc"], 0);
    let pulled = document(&clean, &["pull", "latest", "--from", &address], 0);
    assert_eq!(pulled["state"], "complete", "{pulled}");
    assert!(document(&clean, &["show", "latest"], 0)["secrets_left_out"].is_null());
    let other = lab.elsewhere("other");
    document(&other, &["pull", "latest", "--from", &address], 0);
    assert!(document(&other, &["show", "latest"], 0)["secrets_left_out"].is_null());
}

#[test]
fn large_definitions_are_hidden_too_if_no_file_shares_an_object() {
    let lab = Lab::new();
    with_secrets(&lab);
    document(&lab.chsnap(), &["push", "latest", "--to", &lab.address(), "--no-secrets", "--small", "0"], 0);
    assert!(!is_in_store(&lab));
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &lab.address(), "--table", "d.m"], 0);
    let shown = document(&clean, &["show", "latest"], 0);
    assert!(!shown["secrets_left_out"].is_null(), "{shown}");
}
