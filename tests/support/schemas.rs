//! Compares documents of `--json` with the schemas in docs/schema/.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The directory of the schemas.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema")
}

/// The schema of this name, if there is one.
fn schema(name: &str) -> Option<Value> {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Fails if a document does not match its schema.
#[track_caller]
pub fn check(document: &Value) {
    let Some(name) = document.get("schema").and_then(Value::as_str) else { return };
    let schema = schema(name).unwrap_or_else(|| panic!("{name} has no schema in docs/schema"));
    let mut problems = Vec::new();
    validate(document, &schema, &schema, name, &mut problems);
    assert!(problems.is_empty(), "{problems:#?}\n{document:#}");
}

/// Compares a value with a schema that uses the keywords which schemars writes. A field that the schema does not name
/// is a problem too.
pub fn validate(value: &Value, schema: &Value, root: &Value, at: &str, problems: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        if schema == &json!(false) {
            problems.push(format!("{at} may not be there"));
        }
        return;
    };
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{at}: no {wanted}"));
                validate(value, target, root, at, problems);
            }
            "type" => {
                let names = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !names.iter().filter_map(Value::as_str).any(|name| is_of_type(value, name)) {
                    problems.push(format!("{at} is {value}, and not {wanted}"));
                }
            }
            "const" if value != wanted => problems.push(format!("{at} is {value}, and not {wanted}")),
            "enum" if !wanted.as_array().is_some_and(|all| all.contains(value)) => {
                problems.push(format!("{at} is {value}, and none of {wanted}"));
            }
            "anyOf" | "oneOf" => {
                let fits = |schema: &Value| {
                    let mut problems = Vec::new();
                    validate(value, schema, root, at, &mut problems);
                    problems.is_empty()
                };
                if !wanted.as_array().is_some_and(|all| all.iter().any(fits)) {
                    problems.push(format!("{at} is {value}, and like none of {wanted}"));
                }
            }
            "minimum" if value.as_f64() < wanted.as_f64() && value.is_number() => {
                problems.push(format!("{at} is {value}, less than {wanted}"));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(item, wanted, root, &format!("{at}[{index}]"), problems);
                }
            }
            "required" if value.is_object() => {
                for name in wanted.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        problems.push(format!("{at} lacks {name}"));
                    }
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match wanted.get(name) {
                        Some(schema) => validate(field, schema, root, &format!("{at}.{name}"), problems),
                        None => problems.push(format!("{at} has {name}, which its schema does not name")),
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other}"),
    }
}
