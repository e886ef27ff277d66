use chrono::Utc;
use chsnap::{fs, ops};

use super::documents::InitDocument;
use super::globals::Globals;
use super::opening;
use super::output::{Output, path_base64};
use super::{CommandResult, DONE};

/// Make a repository
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = ops::init(opening::repo_path(globals)?, Utc::now(), &fs::real())?;
    if output.is_json() {
        let document = InitDocument {
            repository: repository.path().to_string_lossy().into_owned(),
            repository_base64: path_base64(repository.path()),
            id: repository.id().to_string(),
            format: repository.format(),
        };
        output.document(&document, &[]);
    } else {
        output.prose(&format!("made the repository {} ({})\n", repository.path().display(), repository.id()));
    }
    Ok(DONE)
}
