//! Names in the code: each type has a unique one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Names of a role in their module, which may be repeated.
const ROLES: [&str; 4] = ["Args", "Error", "Report", "Request"];

/// Returns the type that a line declares, if it declares one outside of a block.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let (keyword, rest) = line.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    matches!(keyword, "struct" | "enum" | "trait" | "union" | "type").then_some(name)
}

fn collect(folder: &Path, found: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            // A type may also be declared in a module of tests, by four spaces, but an associated type is none of those.
            for line in text.lines() {
                let inner = line.strip_prefix("    ").filter(|line| !line.starts_with("type "));
                if let Some(name) = declared(line).or_else(|| declared(inner?)) {
                    found.entry(name.to_owned()).or_default().push(path.display().to_string());
                }
            }
        }
    }
}

#[test]
fn each_type_has_a_name_of_its_own() {
    let mut found = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 900, "only {} types were found", found.len());
    let repeated: Vec<_> =
        found.iter().filter(|(name, places)| places.len() > 1 && !ROLES.contains(&name.as_str())).collect();
    assert!(repeated.is_empty(), "{repeated:#?}");
}

#[test]
fn a_declaration_is_distinguished_from_a_use_of_a_type() {
    assert_eq!(declared("pub(in crate::ops) struct Survey<'a> {"), Some("Survey"));
    assert_eq!(declared("pub enum Scope {"), Some("Scope"));
    assert_eq!(declared("type Lists = Vec<u8>;"), Some("Lists"));
    assert_eq!(declared("impl Survey {"), None);
    assert_eq!(declared("let structure = Survey::new();"), None);
}
