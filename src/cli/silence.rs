//! A repository behind a network whose server does not answer.

use std::time::Duration;

use chsnap::fs;

use super::failure::Failure;
use super::globals::Globals;
use super::output::Output;

/// After so long without an answer the person is told, and again after each time twice as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells when the repository's filesystem leaves questions unanswered, and ends the process when it has done so for as
/// long as the person allows. That is a kill: nothing half stands, and the next run puts the rest right.
pub(super) fn watch(globals: &Globals, command: &str) {
    let Some(repository) = globals.repo.clone() else { return };
    let (output, limit) = (Output::new(globals, command), globals.storage_timeout);
    let shown = repository.display().to_string();
    let mut last = Duration::ZERO;
    let told = move |waited: Duration| {
        if !limit.is_zero() && waited >= limit {
            let silent = Failure::failed(format!(
                "the filesystem of {shown} has not answered for {} s",
                waited.as_secs()
            ))
            .with_hint(
                "is its server away? what was begun is put right by the next command; --storage-timeout waits longer",
            );
            std::process::exit(silent.report(&output).into());
        }
        if waited < last {
            last = Duration::ZERO;
        }
        if waited >= PATIENCE.max(last * 2) {
            last = waited;
            tracing::warn!("waiting for the filesystem of {shown}, which has not answered for {} s", waited.as_secs());
        }
    };
    if let Err(error) = fs::watch_silence(&repository, told) {
        tracing::debug!(%error, "nobody tells when the repository's filesystem does not answer");
    }
}
