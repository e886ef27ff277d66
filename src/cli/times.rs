//! Lists of snapshots that the user supplies: times, or the output of `chsnap list --json`.

use std::io::Read as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use chsnap::plan::retention::{Candidate, SnapshotHealth};
use serde_json::{Map, Value};

use super::failure::CommandFailure;
use super::render;

/// A snapshot of such a list.
pub(super) struct SimulatedSnapshot {
    pub(super) candidate: Candidate,
    /// Its time, name, tags and id as they were given.
    pub(super) given: Map<String, Value>,
}

/// The series without a selection.
const ALL: &str = "all";
const LIMIT_BYTES: u64 = 256 << 20;

/// Reads a list from a file, or from stdin if the path is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<SimulatedSnapshot>, CommandFailure> {
    let cannot = |error: std::io::Error| {
        CommandFailure::failed(format!("cannot read the times in {}", path.display())).caused_by(error.to_string())
    };
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(LIMIT_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LIMIT_BYTES).read_to_end(&mut bytes))
    };
    read.map_err(cannot)?;
    parse(&bytes).map_err(|reason| {
        CommandFailure::usage(format!("{} is no list of times: {reason}", path.display())).with_hint(
            "it is a JSON array of RFC 3339 times, or of objects with time, series, name and tags: [\"2026-11-22T02:00:00Z\", \
             {\"time\": \"2026-11-21T02:00:00Z\", \"name\": \"release\"}]; what chsnap list --json prints is one too",
        )
    })
}

fn parse(bytes: &[u8]) -> Result<Vec<SimulatedSnapshot>, String> {
    let mut document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let main = document.get("main_series").and_then(Value::as_str).map(str::to_owned);
    let snapshots = document.get_mut("snapshots").map(Value::take);
    let Value::Array(elements) = snapshots.unwrap_or(document) else { return Err("it is no array".to_owned()) };
    let numbered =
        |(place, element): (usize, Value)| listed(element).map_err(|reason| format!("element {}: {reason}", place + 1));
    let mut list: Vec<SimulatedSnapshot> = elements.into_iter().enumerate().map(numbered).collect::<Result<_, _>>()?;
    // If the list does not say which series is the main one, it is the one without a selection, if there is one, else
    // the first that is named.
    let has_all = list.iter().any(|listed| listed.candidate.series == ALL);
    let first = || list.first().filter(|_| !has_all).map(|listed| listed.candidate.series.clone());
    let main = main.or_else(first).unwrap_or_else(|| ALL.to_owned());
    for listed in &mut list {
        listed.candidate.is_other = listed.candidate.series != main;
    }
    Ok(list)
}

fn listed(element: Value) -> Result<SimulatedSnapshot, String> {
    let mut given = match element {
        Value::String(_) => Map::from_iter([("time".to_owned(), element)]),
        Value::Object(fields) => fields,
        _ => return Err("neither a time nor an object with one".to_owned()),
    };
    let time = given.get("time").and_then(Value::as_str).ok_or("no time")?;
    let time = DateTime::parse_from_rfc3339(time)
        .map_err(|error| format!("{:?} is no RFC 3339 time: {error}", render::cut(time, 100)))?;
    let text = |name: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is no text")),
    };
    let tags = match given.get("tags") {
        None | Some(Value::Null) => Vec::new(),
        Some(tags) => serde_json::from_value(tags.clone()).map_err(|_| "tags is no list of texts".to_owned())?,
    };
    let pin = given.get("pin").and_then(|pin| pin.get("reason")).and_then(Value::as_str);
    let is_pinned = given.get("pinned") == Some(&Value::Bool(true));
    let is_true = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let is_damaged = is_true(given.get("verified").and_then(|verified| verified.get("damaged")));
    let health = match text("state")?.filter(|state| state != "complete") {
        Some(state) => SnapshotHealth::Unreadable(state),
        None if is_true(given.get("incomplete")) => SnapshotHealth::Incomplete,
        None if is_damaged => SnapshotHealth::Damaged,
        None => SnapshotHealth::Good,
    };
    let candidate = Candidate {
        time: time.with_timezone(&Utc),
        sequence: given.get("sequence").and_then(Value::as_u64).unwrap_or(0),
        name: text("name")?,
        tags,
        pin: pin.map(ToOwned::to_owned).or_else(|| is_pinned.then(String::new)),
        health,
        series: text("series")?.unwrap_or_else(|| ALL.to_owned()),
        is_other: false,
    };
    given.retain(|name, value| matches!(name.as_str(), "id" | "time" | "name" | "tags" | "series") && !value.is_null());
    Ok(SimulatedSnapshot { candidate, given })
}
