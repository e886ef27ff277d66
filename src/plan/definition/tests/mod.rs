mod heads;
mod objects;
mod properties;
mod renames;
mod samples;
mod secrets;
mod storage;

use std::collections::BTreeMap;

use super::{Mapping, ParsedDefinition};
use crate::model::{TableName, TableUuid};

const OLD: &str = "f881ab48-8e9e-4481-9367-dfdc03216dcb";
const NEW: &str = "00000000-8e9e-4481-9367-dfdc03216dcb";

fn uuid(text: &str) -> TableUuid {
    TableUuid::try_from(text.to_owned()).expect("a UUID")
}

#[track_caller]
fn parse(text: &str) -> ParsedDefinition {
    ParsedDefinition::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn sample(name: &str) -> ParsedDefinition {
    parse(samples::sample(name))
}

/// Some renamed tables, and one changed UUID.
fn mapping(tables: &[(&str, &str)]) -> Mapping {
    let name = |text: &str| text.split_once('.').map(|(a, b)| TableName::new(a, b)).expect("a name");
    let tables = tables.iter().map(|(from, to)| (name(from), name(to))).collect();
    Mapping { tables, databases: BTreeMap::new(), uuids: [(uuid(OLD), uuid(NEW))].into() }
}
