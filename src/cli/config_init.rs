//! Writes a first configuration file, from the command line and the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chsnap::fs::{self, ErrorKind, FsError};
use chsnap::ops::OpError;
use clap::ArgMatches;
use clap::parser::ValueSource;

use super::documents::ConfigInitDocument;
use super::failure::CommandFailure;
use super::globals::Globals;
use super::invocation::Invocation;
use super::output::Output;
use super::settings::{GLOBAL, first_file};
use super::{CommandResult, DONE};

/// The file that the packages install: its explanations are written only once.
const TEMPLATE: &str = include_str!("../../packaging/config.toml");

/// Options that concern the user at the terminal, and do not belong in a file.
const OF_THE_TERMINAL: [&str; 4] = ["color", "progress", "quiet", "verbose"];

pub(super) fn run(
    named: Option<&Path>,
    globals: &Globals,
    invocation: &Invocation,
    found: &ArgMatches,
    output: &Output,
) -> CommandResult {
    let given = given(invocation, found)?;
    let text = file(&given);
    let has_password = std::env::var_os("CHSNAP_PASSWORD").is_some_and(|password| !password.is_empty());
    let is_incomplete = has_password && !given.contains_key("password_file");
    if named.is_some_and(|path| path.as_os_str() == "-") {
        output.text(&text);
        return Ok(DONE);
    }
    let config = globals.config.clone().filter(|path| !path.as_os_str().is_empty());
    let path = named.map(Path::to_owned).or(config).unwrap_or_else(first_file);
    write(&path, &text)?;
    if output.is_json() {
        let written_to = path.to_string_lossy().into_owned();
        output.document(&ConfigInitDocument { written_to, settings: given.into_keys().collect() }, &[]);
        return Ok(DONE);
    }
    output.prose(&format!("wrote {}\n", path.display()));
    for (key, values) in &given {
        output.text(&format!("  {key} = {}\n", value(key, values)));
    }
    if is_incomplete {
        output.prose("the password of CHSNAP_PASSWORD is not in it: put it into a file that only root may read, and name that as password_file\n");
    }
    output.prose("next: chsnap config check, chsnap init, chsnap doctor, chsnap systemd\n");
    Ok(DONE)
}

/// The keys that the command line or the environment sets, with their values.
fn given(invocation: &Invocation, found: &ArgMatches) -> Result<BTreeMap<String, Vec<String>>, CommandFailure> {
    let mut given = BTreeMap::new();
    for (key, option) in invocation.schema.section(GLOBAL).into_iter().flatten() {
        let source = found.value_source(&option.id);
        let is_given = matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        if !is_given || OF_THE_TERMINAL.contains(&key.as_str()) {
            continue;
        }
        let mut values = Vec::new();
        for value in found.get_raw(&option.id).into_iter().flatten().filter(|value| !value.is_empty()) {
            let text = value.to_str().ok_or_else(|| CommandFailure::usage(format!("the {key} is not UTF-8")))?;
            let is_path = matches!(key.as_str(), "repo" | "password_file" | "ca_file");
            let absolute = || std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
            values.push(if is_path { absolute().to_string_lossy().into_owned() } else { text.to_owned() });
        }
        if !values.is_empty() {
            given.insert(key.clone(), values);
        }
    }
    Ok(given)
}

/// A value in TOML syntax: a number as a number, one text as a text, several as an array.
fn value(key: &str, values: &[String]) -> String {
    // TOML reads the escapes of JSON.
    let text = |value: &String| serde_json::Value::from(value.as_str()).to_string();
    match values {
        [one] if key == "jobs" => one.clone(),
        [one] => text(one),
        many => format!("[{}]", many.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

/// The template with the given values in place of its examples; values for which it has no place follow its `repo`.
fn file(given: &BTreeMap<String, Vec<String>>) -> String {
    let mut left = given.clone();
    let mut lines: Vec<String> = Vec::new();
    let mut is_top = true;
    let mut behind_repo = None;
    for line in TEMPLATE.lines() {
        is_top &= !line.trim_start_matches('#').starts_with('[');
        let key = line.trim_start_matches('#').split(" = ").next().unwrap_or_default();
        let is_setting = is_top && line.contains(" = ");
        if is_setting && key == "repo" {
            behind_repo = Some(lines.len() + 1);
        }
        match left.remove(key).filter(|_| is_setting) {
            Some(values) => lines.push(format!("{key} = {}", value(key, &values))),
            None => lines.push(line.to_owned()),
        }
    }
    let place = behind_repo.unwrap_or(0);
    for (key, values) in left.iter().rev() {
        lines.insert(place, format!("{key} = {}", value(key, values)));
    }
    lines.join("\n") + "\n"
}

/// Writes a file that does not exist yet, readable by its group, and creates its directory if needed.
fn write(path: &Path, text: &str) -> Result<(), CommandFailure> {
    let refused = || {
        CommandFailure::usage(format!("{} is there already, and is not overwritten", path.display()))
            .with_hint("chsnap config check reads it; --output FILE writes another one, --output - shows it")
    };
    let name = path.file_name().ok_or_else(|| CommandFailure::usage(format!("{} names no file", path.display())))?;
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed =
        |error: FsError| if error.kind() == ErrorKind::Exists { refused() } else { OpError::from(error).into() };
    let directory = fs::create_path(above, 0o755, &fs::real()).map_err(failed)?;
    directory.write_new(name, 0o640, text.as_bytes()).map_err(failed)
}
