//! The repository: its format, its lock, its contents, and whether it is writable.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::fs::ErrorKind;
use crate::model::WarningKind;
use crate::repo::{Locked, RepoError, Repository};

use super::{Findings, chain};

/// The remedy for damage.
const DAMAGE: &str = "chsnap verify --level data --repair replaces damaged entries with intact copies of other snapshots; if there is none, \
    the next chsnap create takes the part from the server again, if the live one is intact";

/// The remedy for a journal that cannot be read whole.
const JOURNAL: &str = "chsnap verify --level data finds all damage again; then move that file out of journal/, or take the \
    line out of it";

/// Examines the repository. From here on the lock is held, if it is available.
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
            findings.fail("lock", chain(&error), remedy_for_writing(&error));
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

/// The remedy if the repository is not writable.
fn remedy_for_writing(error: &RepoError) -> &'static str {
    match error {
        RepoError::Fs(error) if error.kind() == ErrorKind::ReadOnly => {
            "the filesystem is mounted read-only: mount it for writing (mount -o remount,rw); the kernel's log (dmesg) may say why"
        }
        _ => "run chsnap as a user who may write there: root, or the server's own",
    }
}

fn snapshots(repository: &Repository, findings: &mut Findings) {
    match crate::ops::list(repository) {
        Ok(listing) => {
            let complete = listing.snapshots.iter().filter(|(summary, _)| summary.is_complete()).count();
            let text = format!("{complete} complete, {} in the trash", listing.removed.len());
            let mut others = Vec::new();
            for warning in &listing.warnings {
                match warning.kind {
                    WarningKind::DamageFound => findings.warn("damage", warning.to_string(), DAMAGE),
                    WarningKind::JournalUnreadable => findings.warn("journal", warning.to_string(), JOURNAL),
                    _ => others.push(warning),
                }
            }
            match others.first() {
                None => findings.ok("snapshots", text),
                Some(first) => findings.warn(
                    "snapshots",
                    format!("{text}; {first}{}", more(others.len())),
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
