//! Watches a repository on a network filesystem whose server may stop answering.

use std::time::Duration;

use chsnap::fs;

use super::failure::CommandFailure;
use super::globals::Globals;
use super::output::Output;

/// The user is notified after this time without an answer, and again each time the silence has doubled.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reports when the repository's filesystem leaves requests unanswered, and ends the process after the time that the
/// user allows. That is like a kill: nothing is left half visible, and the next run cleans up.
pub(super) fn watch(globals: &Globals, command: &str) {
    let Some(repository) = globals.repo.clone() else { return };
    let (output, limit) = (Output::new(globals, command), globals.storage_timeout);
    let shown = repository.display().to_string();
    let mut last = Duration::ZERO;
    let told = move |waited: Duration| {
        if !limit.is_zero() && waited >= limit {
            let silent = CommandFailure::failed(format!(
                "the filesystem of {shown} has not answered for {} s",
                waited.as_secs()
            ))
            .with_hint("is its server down? the next command cleans up what was begun; --storage-timeout waits longer");
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
        tracing::debug!(%error, "a filesystem that does not respond will not be reported");
    }
}
