use chrono::Utc;
use chsnap::{fs, ops};
use serde_json::{Map, Value};

use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_path};
use super::{CommandResult, DONE};

/// Make a repository
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = ops::init(opening::repo_path(globals)?, Utc::now(), &fs::real())?;
    if output.is_json() {
        let mut document = Map::new();
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "repository", repository.path());
        document.insert("id".to_owned(), repository.id().to_string().into());
        document.insert("format".to_owned(), repository.format().into());
        output.json(&Value::Object(document));
    } else {
        output.text(&format!("made the repository {} ({})\n", repository.path().display(), repository.id()));
    }
    Ok(DONE)
}
