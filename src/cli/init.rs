use chrono::Utc;
use chsnap::{fs, ops};
use serde_json::json;

use super::globals::Globals;
use super::output::Output;
use super::{CommandResult, DONE};

/// Make a repository
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = ops::init(globals.repo_path()?, Utc::now(), &fs::real())?;
    if output.is_json() {
        let path = repository.path().to_string_lossy();
        let id = repository.id().to_string();
        output.json(&json!({"schema": output.schema(), "repository": path, "id": id, "format": repository.format()}));
    } else {
        output.text(&format!("made the repository {} ({})\n", repository.path().display(), repository.id()));
    }
    Ok(DONE)
}
