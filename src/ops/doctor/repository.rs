//! The repository: its format, its lock, what stands in it, whether it can be written.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::repo::{Locked, RepoError, Repository};

use super::{Findings, chain};

/// Examines the repository; the lock is held from here on, where it can be had.
pub(super) fn examine<'a>(
    repository: &'a Repository,
    lock_wait: Duration,
    now: DateTime<Utc>,
    findings: &mut Findings,
) -> Option<Locked<'a>> {
    snapshots(repository, findings);
    let locked = match repository.lock("doctor", now, lock_wait) {
        Ok(locked) => locked,
        Err(error @ RepoError::Locked { .. }) => {
            let remedy = "wait for it, or ask again with --lock-wait 10m; what needs the lock is not looked at now";
            findings.warn("lock", chain(&error), remedy);
            return None;
        }
        Err(error @ RepoError::NewerFormat { .. }) => {
            findings.fail("format", chain(&error), "use the chsnap that made it, or a newer one");
            return None;
        }
        Err(error) => {
            findings.fail("lock", chain(&error), "run chsnap as a user who may write there: root, or the server's own");
            return None;
        }
    };
    findings.ok("lock", "free");
    match locked.scratch(now).map(|scratch| scratch.write_probe()) {
        Ok(Ok(())) => findings.ok("repository", format!("{} can be written", repository.path().display())),
        Ok(Err(error)) | Err(error) => {
            findings.fail(
                "repository",
                chain(&error),
                "run chsnap as a user who may write there, and look at its space",
            );
        }
    }
    leftovers(&locked, findings);
    Some(locked)
}

fn snapshots(repository: &Repository, findings: &mut Findings) {
    match crate::ops::list(repository) {
        Ok(listing) => {
            let complete = listing.snapshots.iter().filter(|(summary, _)| summary.is_complete()).count();
            let text = format!("{complete} complete, {} in the trash", listing.removed.len());
            match listing.warnings.first() {
                None => findings.ok("snapshots", text),
                Some(first) => findings.warn(
                    "snapshots",
                    format!("{text}; {first}{}", more(listing.warnings.len())),
                    "chsnap list shows them all; chsnap rm removes what cannot be read",
                ),
            }
        }
        Err(error) => findings.fail("snapshots", chain(&error), "look at snapshots/ of the repository"),
    }
}

fn leftovers(locked: &Locked<'_>, findings: &mut Findings) {
    match locked.leftovers() {
        Ok(leftovers) if leftovers.is_empty() => findings.ok("leftovers", "no interrupted run"),
        Ok(leftovers) => {
            let ids: Vec<String> = leftovers.iter().map(|leftover| leftover.id.to_string()).collect();
            findings.warn(
                "leftovers",
                format!("interrupted: {}", ids.join(", ")),
                "chsnap gc puts them in order, and so does the next create",
            );
        }
        Err(error) => findings.fail("leftovers", chain(&error), "look at incoming/ of the repository"),
    }
}

fn more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}
