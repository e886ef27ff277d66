//! Tests that the schemas in docs/schema/ are those of the types, and that commands print documents that match them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::schemas::{folder, problems};

use crate::chsnap_command::Chsnap;

/// Whether it is the object of a warning, which is explained where its list is.
fn in_warnings(object: &Value) -> bool {
    object["properties"].as_object().is_some_and(|all| all.keys().eq(["kind", "message", "table"]))
}

#[test]
fn the_schemas_are_those_of_the_types_and_every_key_is_required() {
    let directory = tempfile::tempdir().expect("a directory");
    Chsnap::new("/repository".as_ref()).expect(0, &["schema", directory.path().to_str().expect("a path")]);
    let names = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let made = names(directory.path());
    assert!(made.len() > 28, "{made:?}");
    let is_update = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    for name in &made {
        let text = fs::read_to_string(directory.path().join(name)).expect("a schema");
        if is_update {
            fs::create_dir_all(folder()).expect("docs/schema");
            fs::write(folder().join(name), &text).expect("a schema is written");
        }
        assert_eq!(
            fs::read_to_string(folder().join(name)).unwrap_or_default(),
            text,
            "INSTA_UPDATE=always writes {name}"
        );
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        let definitions = schema["$defs"].as_object().into_iter().flatten().map(|(_, schema)| schema);
        for object in std::iter::once(&schema).chain(definitions).filter(|schema| schema["properties"].is_object()) {
            for (key, property) in object["properties"].as_object().expect("properties") {
                let is_explained = property["description"].is_string() || key == "schema" || in_warnings(object);
                assert!(is_explained, "{name}: {key} has no description");
            }
            let mut required: Vec<&str> =
                object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            required.sort_unstable();
            let keys: Vec<&String> = object["properties"].as_object().expect("properties").keys().collect();
            assert_eq!(required, keys, "{name}");
        }
    }
    assert_eq!(names(&folder()), made, "remove from docs/schema what no type writes");
}

#[test]
fn a_document_that_does_not_match_its_schema_is_found() {
    let schema = json!({
        "type": "object", "required": ["id", "pin"],
        "properties": {"id": {"type": "string"}, "pin": {"anyOf": [{"$ref": "#/$defs/Pin"}, {"type": "null"}]}},
        "$defs": {"Pin": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 0}}}},
    });
    let problems = |document: Value| problems(&document, &schema).len();
    assert_eq!(problems(json!({"id": "a", "pin": null})), 0);
    assert_eq!(problems(json!({"id": "a", "pin": {"n": 1}})), 0);
    assert_eq!(problems(json!({"id": "a"})), 1);
    assert_eq!(problems(json!({"id": 1, "pin": null})), 1);
    assert_eq!(problems(json!({"id": "a", "pin": {"n": -1}})), 1);
    assert_eq!(problems(json!({"id": "a", "pin": null, "more": 1})), 1);
}

/// `Chsnap::json` compares each document with its schema.
#[test]
fn documents_of_commands_without_a_server_match_their_schemas() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = directory.path().join("repository");
    let chsnap = Chsnap::new(&repository);
    let made = chsnap.json(0, &["init"]);
    assert_eq!((&made["state"], &made["reason"]), (&json!("done"), &Value::Null));
    let empty = chsnap.json(0, &["list"]);
    assert_eq!((&empty["state"], &empty["trash"]), (&json!("done"), &Value::Null));
    for arguments in [
        &["usage"][..],
        &["usage", "--by", "partition"],
        &["verify"],
        &["prune", "--keep-last", "1", "--yes"],
        &["gc", "--dry-run"],
        &["gc"],
        &["list", "--trash"],
        &["config", "check"],
        &["config", "show"],
        &["simulate", "--days", "9", "--keep-daily", "3"],
        &["report"],
        &["list", "--all", directory.path().to_str().expect("a path")],
    ] {
        chsnap.json(0, arguments);
    }
    let config = directory.path().join("config.toml");
    let written = chsnap.json(0, &["config", "init", "--output", config.to_str().expect("a path")]);
    assert_eq!(written["schema"], "chsnap.config.v2");
    let times = directory.path().join("times.json");
    fs::write(
        &times,
        r#"[{"time": "2026-11-22T02:00:00Z", "name": "release", "tags": ["a"]}, "2026-11-21T02:00:00Z"]"#,
    )
    .expect("times");
    let kept = chsnap.json(0, &["simulate", "--keep-last", "1", "--times", times.to_str().expect("a path")]);
    assert_eq!((&kept["keep"][0]["tags"], &kept["remove"][0]["reasons"]), (&json!(["a"]), &Value::Null));
}
