//! Checks what `create` itself would refuse, with its own guards, before the night.

use chrono::{DateTime, Utc};

use crate::fs;
use crate::ops::bound::{bound_server, same_server};
use crate::ops::create::{Request, guards};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, TableFreeze};
use crate::repo::{Index, Locked, Repository, Sources};
use crate::server::{self, Disk, Server};

use super::{Findings, chain, size};

/// Checks that the repository belongs to this server, lies where ClickHouse does not delete, and has the free space
/// that `[create]` demands.
pub(super) fn server_and_place(
    repository: &Repository,
    server: &Server,
    disks: &[Disk],
    request: &Request,
    findings: &mut Findings,
) {
    // A server that cannot be asked for its identity has been reported already.
    if let Ok(identity) = server::identity(server)
        && let Err(error) = same_server(repository, &bound_server(&identity, disks), request.allow_other_server)
    {
        findings.fail(
            "server",
            chain(&error),
            "make a repository of its own for this server (chsnap init --repo DIR), or name the other server with --url; if \
             it has only moved, chsnap create --allow-other-server takes it once",
        );
    }
    if let Err(error) = guards::repository_is_outside(repository, disks, &request.paths) {
        let remedy = "make the repository next to that directory, for example in .../clickhouse/chsnap";
        findings.fail("repository", chain(&error), remedy);
    }
    if let Err(error) = guards::enough_space(repository, request.min_free_bytes) {
        findings.fail("space", chain(&error), "chsnap gc empties the trash; [create] min_free is the floor");
    }
}

/// Checks that the copies fit, and that they may be placed as `[create]` demands.
pub(super) fn room(
    locked: &Locked<'_>,
    disks: &[Disk],
    plan: &CreatePlan,
    request: &Request,
    now: DateTime<Utc>,
    findings: &mut Findings,
) {
    let repository = locked.repository();
    // The probe of its disk has reported failures for any other reason.
    let Ok(scratch) = locked.scratch(now) else { return };
    let tables = plan.freeze.iter().map(|freeze| &freeze.table);
    let Ok(local) = LocalDisks::open(repository, disks, tables, &request.paths) else { return };
    let copied = match guards::copied_disks(&local, plan, scratch.dir(), request.place) {
        Ok(copied) => copied,
        Err(error @ OpError::OtherFilesystem { .. }) => {
            let remedy = "let [create] have place = \"auto\", which copies what cannot be linked";
            return findings.fail("place", chain(&error), remedy);
        }
        Err(_) => return,
    };
    if copied.is_empty() {
        return;
    }
    let Ok(kept) = guards::what_is_kept(&local, plan, &copied, scratch.dir(), request.ids) else { return };
    let how = (request.place, Some(kept.clones));
    let Ok(copied) = guards::disks_taking_space(&local, &copied, repository, how) else { return };
    if copied.is_empty() {
        return findings.ok("room", "blocks are shared with the server's files: copies take next to no space");
    }
    let sources = Index::open(repository).and_then(|index| Sources::open(repository, &index));
    let checked = sources.map_err(OpError::from).and_then(|sources| {
        guards::room_for_copies(repository, plan, &copied, (&sources, &[]), request.min_free_bytes)
    });
    let parts = plan.freeze.iter().flat_map(TableFreeze::parts).filter(|part| copied.contains(part.disk.as_str()));
    let bytes = parts.fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
    match checked {
        Ok(()) => {
            let free = fs::space(repository.dir()).map_or(0, |space| space.free_bytes);
            findings.ok(
                "room",
                format!("{} in parts that are copied where no snapshot has them; {} free", size(bytes), size(free)),
            );
        }
        Err(error @ OpError::LowSpace { .. }) => {
            let remedy = "put the repository on a larger filesystem, or on the server's own, where parts are linked";
            findings.fail("room", chain(&error), remedy);
        }
        Err(error) => findings.warn("room", chain(&error), "look at the snapshots with chsnap verify"),
    }
}
