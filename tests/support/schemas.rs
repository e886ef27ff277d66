//! Compares documents of `--json` with the schemas in docs/schema/.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

/// The directory of the schemas.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema")
}

/// The schemas that were read so far: a test compares many documents with the same one.
static READ: Mutex<Option<HashMap<String, Arc<Validator>>>> = Mutex::new(None);

/// The validator of the schema with this name; `None` if there is no such schema.
fn named(name: &str) -> Option<Arc<Validator>> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let read = read.get_or_insert_default();
    if let Some(known) = read.get(name) {
        return Some(Arc::clone(known));
    }
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).ok()?;
    let schema = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let validator = Arc::new(validator(schema));
    read.insert(name.to_owned(), Arc::clone(&validator));
    Some(validator)
}

/// A validator that also refuses fields that the schema does not name.
fn validator(mut schema: Value) -> Validator {
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("no JSON Schema: {error}"))
}

/// Forbids additional properties in every object of a schema. The published schemas allow them, so that a later version
/// may add fields.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            if keywords.get("properties").is_some_and(Value::is_object) {
                keywords.entry("additionalProperties").or_insert(json!(false));
            }
            keywords.values_mut().for_each(close);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        _ => {}
    }
}

/// Fails if a document does not match its schema.
#[track_caller]
pub fn check(document: &Value) {
    let Some(name) = document.get("schema").and_then(Value::as_str) else { return };
    let validator = named(name).unwrap_or_else(|| panic!("{name} has no schema in docs/schema"));
    let problems = problems_by(&validator, document);
    assert!(problems.is_empty(), "{name}: {problems:#?}\n{document:#}");
}

/// The differences of a document from a schema, in which additional fields are a difference, too.
pub fn problems(document: &Value, schema: &Value) -> Vec<String> {
    problems_by(&validator(schema.clone()), document)
}

fn problems_by(validator: &Validator, document: &Value) -> Vec<String> {
    validator.iter_errors(document).map(|error| format!("at {:?}: {error}", error.instance_path.as_str())).collect()
}
