//! This machine: its kernel, the user, the filesystem of the repository, the clock.

use chrono::{DateTime, Utc};

use crate::fs;
use crate::model::thousands;
use crate::repo::Repository;

use super::{Findings, chain, network, size};

pub(super) fn examine(repository: &Repository, now: DateTime<Utc>, findings: &mut Findings) {
    kernel(findings);
    user(findings);
    mount(repository, findings);
    space(repository, findings);
    clock(repository, now, findings);
}

/// The kernel release since which `syncfs` reports failed writes (`syncfs(2)`).
const SYNC_TELLS_ERRORS: (u32, u32) = (5, 8);

fn kernel(findings: &mut Findings) {
    let release = fs::kernel_release();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let version = numbers.next().and_then(Result::ok).zip(numbers.next().and_then(Result::ok));
    match version {
        Some(version) if version < SYNC_TELLS_ERRORS => findings.warn(
            "kernel",
            format!("Linux {release} does not tell of errors when a filesystem is synced"),
            "run Linux 5.8 or newer: before, a snapshot can be committed although the disk refused some of it",
        ),
        _ => findings.ok("kernel", format!("Linux {release}")),
    }
}

fn user(findings: &mut Findings) {
    let user = fs::user_id();
    if user == 0 {
        findings.ok("user", "this is root");
    } else {
        findings.ok("user", format!("this is the user {user}, who must be the server's own (the probes below tell)"));
    }
}

/// Options with which a power cut can undo what was reported as durable.
const UNSAFE_OPTIONS: [&str; 5] = ["nobarrier", "barrier=0", "data=writeback", "nouuid_unsafe", "norecovery"];

/// Filesystems whose contents do not survive the machine.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

fn mount(repository: &Repository, findings: &mut Findings) {
    let path = repository.path().display();
    let mount = match fs::mount_of(repository.dir()) {
        Ok(Some(mount)) => mount,
        Ok(None) => return findings.warn("mount", format!("/proc does not show the mount of {path}"), "mount /proc"),
        Err(error) => return findings.warn("mount", chain(&error), "mount /proc"),
    };
    let what = format!("{path} is on {} ({} at {})", mount.filesystem, mount.source, mount.point.display());
    if mount.options.iter().any(|option| option == "ro") {
        findings.fail("mount", format!("{what}, which is mounted read-only"), "mount it read-write");
    } else if IN_MEMORY.contains(&mount.filesystem.as_str()) {
        findings.warn(
            "mount",
            format!("{what}, which is in memory: every snapshot is gone when the machine restarts"),
            "put the repository on a disk",
        );
    } else if let Some(option) = mount.options.iter().find(|option| UNSAFE_OPTIONS.contains(&option.as_str())) {
        findings.warn(
            "mount",
            format!("{what}, which is mounted with {option}"),
            "without that option synced data survives a power cut",
        );
    } else if fs::is_fuse(repository.dir()) {
        // `syncfs` does not reach the process that serves this filesystem.
        findings.ok("mount", format!("{what}; each file is synced separately there"));
    } else if fs::is_network_filesystem(repository.dir()) {
        network::examine(&mount, &what, findings);
    } else {
        findings.ok("mount", what);
    }
}

/// Below this percentage of free blocks or inodes a filesystem counts as nearly full.
const SCARCE_PERCENT: u64 = 5;

fn space(repository: &Repository, findings: &mut Findings) {
    let space = match fs::space(repository.dir()) {
        Ok(space) => space,
        Err(error) => return findings.fail("space", chain(&error), "look at the filesystem with df"),
    };
    let percent = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(100);
    let free = percent(space.free_bytes, space.size_bytes);
    let text = format!("{} of {} free ({free} %)", size(space.free_bytes), size(space.size_bytes));
    let remedy = "chsnap rm moves snapshots to the trash, chsnap gc empties it";
    if free < SCARCE_PERCENT {
        findings.warn("space", text, remedy);
    } else {
        findings.ok("space", text);
    }
    if space.inodes == 0 {
        return findings.ok("inodes", "the filesystem makes inodes as it needs them");
    }
    let free = percent(space.free_inodes, space.inodes);
    let text = format!("{} of {} inodes free ({free} %)", thousands(space.free_inodes), thousands(space.inodes));
    if free < SCARCE_PERCENT {
        findings.warn(
            "inodes",
            text,
            "each part of each snapshot takes one for its directory; files that are linked take none",
        );
    } else {
        findings.ok("inodes", text);
    }
}

fn clock(repository: &Repository, now: DateTime<Utc>, findings: &mut Findings) {
    match crate::ops::create::clock_warning(repository, now) {
        Ok(None) => findings.ok("clock", format!("{}", now.format("%Y-%m-%dT%H:%M:%SZ"))),
        Ok(Some(warning)) => {
            findings.warn("clock", warning.message, "set the clock, or let time pass: a snapshot gets its id from it");
        }
        Err(error) => findings.fail("clock", chain(&error), "look at snapshots/ and journal/ of the repository"),
    }
}
