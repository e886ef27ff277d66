//! The disks of the server: visible here, linkable, renameable, with room for links, and free of old freezes.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, EntryKind, TreeScan};
use crate::model::{Catalog, FreezeName, RepositoryId, TableName, Unlisted, count, is_drill_database, thousands};
use crate::ops::disks::{LocalDisks, probe_link};
use crate::ops::error::OpError;
use crate::ops::restore;
use crate::ops::unlisted::add_unlisted;
use crate::plan::{CreatePlan, HOLD_SETTINGS, Placing, TableFreeze, TableSelection, is_held, plan_create};
use crate::repo::{Locked, Repository};
use crate::server::{self, Disk, Server, ServerError};

use super::{Examination, Findings, chain, create, lists_remedy, size};
use crate::ops::create::IdsMode;

pub(super) fn examine(
    repository: &Repository,
    locked: Option<Locked<'_>>,
    server: &Server,
    examination: &Examination,
    now: DateTime<Utc>,
    findings: &mut Findings,
) {
    let selection = &examination.create.selection;
    let (disks, mut catalog, plan) = match discover(server, selection) {
        Ok(found) => found,
        Err(error) => return findings.fail("tables", chain(&error), lists_remedy(&error)),
    };
    let parts: usize = plan.freeze.iter().map(|freeze| freeze.parts().count()).sum();
    let text = format!("{} to take, with {}", count(plan.freeze.len() as u64, "table"), count(parts as u64, "part"));
    if plan.warnings.is_empty() {
        findings.ok("tables", text);
    } else {
        let named: Vec<String> = plan.warnings.iter().take(NAMED_TABLES).map(ToString::to_string).collect();
        let more = plan.warnings.len().saturating_sub(NAMED_TABLES);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        findings.warn(
            "tables",
            format!("{text}; {}{more}", named.join("; ")),
            "chsnap create --dry-run shows them all; --accept 'db.table' suppresses the warning, --exclude leaves the table out; accept and exclude in \
             [create] do so for every night",
        );
    }
    if !plan.unmatched.is_empty() {
        findings.fail(
            "tables",
            format!("the server has no {}, which [create] names", plan.unmatched.join(", no ")),
            "correct table, exclude and partition in [create]",
        );
    }
    create::server_and_place(repository, server, &disks, &examination.create, findings);
    // The server's own path comes first, and holds the definitions.
    let is_used = |disk: &Disk| plan.freeze.iter().flat_map(TableFreeze::parts).any(|part| part.disk == disk.name);
    let used = disks.iter().enumerate().filter(|(position, disk)| disk.is_local() && (*position == 0 || is_used(disk)));
    let examined: Vec<Examined<'_>> =
        used.map(|(_, disk)| Examined { repository, examination, now, disk, plan: &plan }).collect();
    let locals: Vec<_> = examined.iter().map(|examined| examined.open(findings)).collect();
    let visible = || examined.iter().zip(&locals).filter_map(|(examined, local)| Some((examined, local.as_ref()?)));
    if let Some(locked) = locked {
        for (examined, local) in visible() {
            examined.probe(&locked, local, findings);
        }
        if locals.iter().all(Option::is_some) {
            create::room(&locked, &disks, &plan, &examination.create, now, findings);
        }
    }
    // The lock is free from here on: the rest only reads, and may take its time.
    if let Some((_, local)) = visible().next() {
        interrupted_restores(local, &catalog, findings);
        unlisted(server, local, &mut catalog, findings);
    }
    for (examined, local) in visible() {
        examined.directories(local, findings);
        examined.leftover_shadows(local, findings);
        examined.links(local, findings);
    }
}

/// Reports restores that were killed: their temporary tables still exist, and tables that they attached may not merge
/// yet.
fn interrupted_restores(own: &LocalDisks, catalog: &Catalog, findings: &mut Findings) {
    // Whatever their notes record: a table can have been renamed, and a note can be gone.
    let held: Vec<String> = (catalog.tables.iter())
        .filter(|table| is_held(&table.definition) && !is_drill_database(&table.name().database))
        .map(|table| table.name().to_string())
        .collect();
    let text = format!("merges are held of {}", held.join(", "));
    match restore::leftover_names(own).map(|names| names.len()) {
        Ok(0) if held.is_empty() => {}
        Ok(0) => {
            let settings = HOLD_SETTINGS.map(|(name, _)| name).join(", ");
            let remedy =
                format!("unless a restore is running now, ALTER TABLE … RESET SETTING {settings} lets them merge");
            findings.warn("restores", text, remedy);
        }
        Ok(count) => {
            let held = if held.is_empty() { String::new() } else { format!("; {text}") };
            let remedy = "chsnap restore latest --dry-run shows what it would do with them";
            findings.warn("restores", format!("interrupted restores: {count}{held}"), remedy);
        }
        Err(error) => findings.warn("restores", chain(&error), "run chsnap as root, or as the server's user"),
    }
}

/// Reports databases of drills that were killed, or of a drill that is running.
fn interrupted_drills(databases: &[server::DatabaseRow], findings: &mut Findings) {
    let names = databases.iter().map(|database| database.name.as_str()).filter(|name| is_drill_database(name));
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        let text = format!("databases of drills, interrupted or running: {}", names.join(", "));
        findings.warn("drills", text, "the next drill drops those of interrupted ones");
    }
}

/// Reports tables and databases that the server has and does not list.
fn unlisted(server: &Server, own: &LocalDisks, catalog: &mut Catalog, findings: &mut Findings) {
    let remedy = "create links their parts, with a warning that --accept takes away; ATTACH or DROP ends it";
    let added = server::databases(server).map_err(OpError::from);
    if let Ok(databases) = &added {
        interrupted_drills(databases, findings);
    }
    match added.and_then(|databases| add_unlisted(server, own, &databases, catalog)) {
        Ok(None) => {}
        Ok(Some(warning)) => findings.warn("tables", warning.message, "run chsnap as root, or as the server's user"),
        Err(error) => findings.warn("tables", chain(&error), "the user needs SELECT ON system.*"),
    }
    let unlisted = catalog.unlisted.iter().filter(|unlisted| unlisted.reason != Unlisted::Since);
    let tables = unlisted.map(|unlisted| format!("{} ({})", unlisted.table.name(), unlisted.reason));
    let databases = catalog.unlisted_databases.iter().map(|database| format!("the database {}", database.name));
    let all: Vec<String> = databases.chain(tables).collect();
    if !all.is_empty() {
        let more =
            if all.len() > NAMED_TABLES { format!(", and {} more", all.len() - NAMED_TABLES) } else { String::new() };
        let named = all.get(..NAMED_TABLES).unwrap_or(&all).join(", ");
        findings.warn("tables", format!("not in the server's lists: {named}{more}"), remedy);
    }
}

/// The largest number of tables that a finding names; it counts the rest.
const NAMED_TABLES: usize = 5;

fn discover(server: &Server, selection: &TableSelection) -> Result<(Vec<Disk>, Catalog, CreatePlan), ServerError> {
    let disks = server::disks(server)?;
    let catalog = server::survey(server, selection.names_system())?;
    let mut plan = plan_create(
        &catalog,
        selection,
        |path| crate::ops::disks::foreign_disk(&disks, path),
        |_, _| false,
        Placing::Linked,
    );
    plan.add_expected_warnings();
    Ok((disks, catalog, plan))
}

/// A disk being examined.
struct Examined<'a> {
    repository: &'a Repository,
    examination: &'a Examination,
    now: DateTime<Utc>,
    disk: &'a Disk,
    plan: &'a CreatePlan,
}

impl Examined<'_> {
    fn open(&self, findings: &mut Findings) -> Option<LocalDisks> {
        let name = &self.disk.name;
        let tables = self.plan.freeze.iter().map(|freeze| &freeze.table);
        match LocalDisks::only(self.repository, self.disk, tables, &self.examination.paths) {
            Ok(local) => {
                if let Some(own) = local.own() {
                    let text = format!("{name:?} at {}{}{}", own.dir.path().display(), on(&own.dir), self.coded());
                    findings.ok("disk", text);
                }
                Some(local)
            }
            Err(error) => {
                let remedy = "run chsnap on the server's own host, as root or the server's user; where the server is in a \
                              container, --path-map SERVER=HERE says where its directory is on this host";
                findings.fail("disk", format!("{name:?}: {}", chain(&error)), remedy);
                None
            }
        }
    }

    /// Names tables that a snapshot would lack because of their directories.
    fn directories(&self, local: &LocalDisks, findings: &mut Findings) {
        let tables = self.plan.freeze.iter().map(|freeze| &freeze.table);
        let failed: Vec<(&TableName, String)> =
            tables.filter_map(|table| Some((table.name(), local.obstacle_here(table)?))).collect();
        if let Some((name, reason)) = failed.first() {
            let more = if failed.len() > 1 { format!("; and {} more", failed.len() - 1) } else { String::new() };
            let text = format!("{name} would be skipped, {reason}{more}");
            findings.warn("tables", text, "chsnap has to see what the server sees: a link's target as well");
        }
    }

    fn coded(&self) -> &'static str {
        if self.disk.is_encrypted {
            "; encrypted: its parts are taken, and cannot be verified without its keys"
        } else {
            ""
        }
    }

    fn probe(&self, locked: &Locked<'_>, local: &LocalDisks, findings: &mut Findings) {
        let Some(own) = local.own() else { return };
        let name = &self.disk.name;
        let remedy = "put the repository on the filesystem of the disk, outside its shadow/ and store/, in the same mount, and \
                      run chsnap as root or the server's user";
        let scratch = match locked.scratch(self.now) {
            Ok(scratch) => scratch,
            Err(error) => return findings.fail("link", chain(&error), "run chsnap as a user who may write there"),
        };
        let parts = self.plan.freeze.iter().flat_map(TableFreeze::parts);
        match probe_link(local, own, parts, scratch.dir()) {
            Ok(true) => findings.ok("link", format!("a file of {name:?} can be linked into the repository")),
            Ok(false) => return findings.ok("link", format!("{name:?} has no part to ask with")),
            Err(OpError::OtherFilesystem { .. }) => return self.copies(scratch.dir(), local, findings),
            Err(error) => return findings.fail("link", chain(&error), remedy),
        }
        // The server creates shadow/ itself, so that it owns it: before that, there is nothing to probe with.
        let Ok(Some(shadow)) = own.dir.find_beneath(Path::new("shadow")) else {
            return findings.ok("rename", format!("{name:?} has no shadow/ yet to ask with"));
        };
        let probe = FreezeName::new(self.repository.id(), self.now, 0);
        let renamed = (|| {
            shadow.create_dir(probe.as_str(), 0o700)?;
            let renamed = scratch.dir().rename_from(&shadow, probe.as_str(), "renamed");
            if renamed.is_err() {
                shadow.remove_dir(probe.as_str())?;
            }
            renamed
        })();
        match renamed {
            Ok(()) => findings.ok("rename", format!("a frozen part of {name:?} can be renamed into the repository")),
            Err(error) => findings.warn("rename", chain(&error), "parts are linked instead, which takes longer"),
        }
    }

    /// Checks a disk on another filesystem than the repository: its parts are copied if the repository's filesystem
    /// keeps their metadata.
    fn copies(&self, scratch: &Dir, local: &LocalDisks, findings: &mut Findings) {
        let name = &self.disk.name;
        let parts = self.plan.freeze.iter().flat_map(TableFreeze::parts).filter(|part| part.disk == *name);
        let owner = parts
            .filter_map(|part| local.open_live(&part.path()).ok().flatten())
            .find_map(|dir| dir.find("checksums.txt").ok().flatten())
            .map_or((0, 0), |stat| (stat.ownership.uid, stat.ownership.gid));
        let remedy = "run chsnap as root, or put the repository on a filesystem that keeps them; create --ids record writes \
                      down what cannot be kept";
        match fs::can_keep(scratch, owner) {
            Err(error) => findings.fail("link", chain(&error), "run chsnap as a user who may write there"),
            Ok(can) if !can.hard_links => findings.fail(
                "link",
                "the filesystem of the repository has no hard links: no snapshot could share a file with another"
                    .to_owned(),
                "put the repository on a filesystem with hard links",
            ),
            Ok(can) if (can.owner && can.mode && can.nanoseconds) || self.examination.create.ids == IdsMode::Record => {
                findings
                    .ok("link", format!("{name:?} is on another filesystem than the repository: new data is copied"));
            }
            Ok(_) => findings.fail(
                "link",
                format!("the filesystem of the repository cannot keep owners, modes or times of the files of {name:?}"),
                remedy,
            ),
        }
    }

    fn leftover_shadows(&self, local: &LocalDisks, findings: &mut Findings) {
        let Some(own) = local.own() else { return };
        let shadow = match own.dir.find_beneath(Path::new("shadow")) {
            Ok(Some(shadow)) => shadow,
            Ok(None) => return findings.ok("shadow", format!("{:?} has no shadow/ yet", self.disk.name)),
            Err(error) => return findings.warn("shadow", chain(&error), "run chsnap as root or the server's user"),
        };
        let entries = match shadow.entries_with_kind() {
            Ok(entries) => entries,
            Err(error) => return findings.warn("shadow", chain(&error), "run chsnap as root or the server's user"),
        };
        let mut is_empty = true;
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            is_empty = false;
            let path = shadow.path().join(&entry.name);
            let scan = fs::scan(&path, self.examination.jobs);
            let text = format!(
                "{} holds {}, {} on disk",
                path.display(),
                count(scan.files, "file"),
                size(scan.allocated_bytes)
            );
            let remedy = match shadow_owner(&entry.name.to_string_lossy(), self.repository.id()) {
                ShadowOwner::Ours => {
                    "it belongs to this repository: chsnap gc removes it if a run was interrupted; else you can remove it"
                }
                ShadowOwner::OtherRepository => {
                    "it belongs to another repository of chsnap; leave it there while that one is in use"
                }
                ShadowOwner::Other => {
                    "it is not chsnap's: a freeze made by hand or by another tool. It keeps what it links on disk; \
                                 remove it when it is no longer needed"
                }
            };
            findings.warn("shadow", text, remedy);
        }
        if is_empty {
            findings.ok("shadow", format!("{:?} has no leftover freeze", self.disk.name));
        }
    }

    /// Compares the largest link count of a live file with the filesystem's limit: each snapshot adds one link.
    fn links(&self, local: &LocalDisks, findings: &mut Findings) {
        let Some(own) = local.own() else { return };
        let Some(limit) = fs::link_limit(&own.dir) else {
            return findings.ok("links", format!("the filesystem of {:?} tells no limit of links", self.disk.name));
        };
        let (mut most, mut unreadable) = (0, TreeScan::default());
        for directory in ["data", "store"] {
            let Ok(Some(dir)) = own.dir.find_beneath(Path::new(directory)) else { continue };
            let scan = fs::scan(dir.path(), self.examination.jobs);
            most = most.max(scan.most_links);
            unreadable.unreadable += scan.unreadable;
            unreadable.first_error = unreadable.first_error.or(scan.first_error);
        }
        let text = format!(
            "a file of {:?} has at most {}, and its filesystem allows {}",
            self.disk.name,
            count(most, "link"),
            thousands(limit),
        );
        if let Some(error) = unreadable.first_error {
            let remedy = "run chsnap as root or the server's user";
            findings.warn(
                "links",
                format!("{text}; {} entries could not be read: {error}", unreadable.unreadable),
                remedy,
            );
        } else if most.saturating_mul(10) > limit.saturating_mul(9) {
            findings.warn(
                "links",
                text,
                "remove old snapshots or shadows: at the limit even ClickHouse's FREEZE fails",
            );
        } else {
            findings.ok("links", text);
        }
    }
}

fn on(dir: &Dir) -> String {
    fs::mount_of(dir)
        .ok()
        .flatten()
        .map(|mount| format!(", on {} at {}", mount.filesystem, mount.point.display()))
        .unwrap_or_default()
}

enum ShadowOwner {
    Ours,
    OtherRepository,
    Other,
}

fn shadow_owner(name: &str, repository: &RepositoryId) -> ShadowOwner {
    if name.starts_with(&repository.freeze_prefix()) {
        ShadowOwner::Ours
    } else if name.parse::<FreezeName>().is_ok() {
        ShadowOwner::OtherRepository
    } else {
        ShadowOwner::Other
    }
}
