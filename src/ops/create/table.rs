//! One table: what a freeze leaves out, the freeze, what it left in the shadow, all of it checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rayon::prelude::*;

use crate::exec::{self, IdleReading, LiveTable, SavedParts};
use crate::fs::{self, Dir, Entry, FsError, Kind};
use crate::model::{FreezeName, Part, PartName, TableName};
use crate::monitor::{ItemAtWork, Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Extension, Scope, TableFreeze};
use crate::repo::PartRecord;
use crate::server;

use super::attempt::{Attempt, Definition, IsDefined, Refusal, Target};
use super::bring::patches_in;
use super::digest;
use super::landing::{Landing, live_parts};
use super::previous::EarlierTable;
use super::shadow::beside_saved;
use super::taken::{TakenPart, in_one_piece};
use super::taker::Taker;
use super::unchanged::Linked;

/// Fewer parts than these are read at once, by the pool.
const IDLY_READ_PARTS: usize = 1000;
/// So many are checked in a second or two: what was not read of them is read then.
const SOON_CHECKED_PARTS: usize = 16_384;

/// The answer to the freezes of one table.
enum Asked {
    /// All are done: the small files that were read before, and the parts that were linked meanwhile.
    Frozen(SavedParts, Linked),
    /// The server refused one.
    Refused(server::ServerError),
}

/// The statement that freezes a table.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    /// The name of the shadow.
    pub(super) name: &'a FreezeName,
    pub(super) query_id: &'a str,
}

impl Taker<'_> {
    /// Takes one table as it is now. Only the server's refusal is part of the answer; everything else is an error.
    pub(super) fn take(
        &self,
        freeze: TableFreeze,
        target: Target,
        statement: Statement<'_>,
        frozen: Sender<IsDefined>,
    ) -> Result<Attempt, OpError> {
        let refused = |freeze, target, refusal| {
            let _ = frozen.send(IsDefined(true));
            Ok(Attempt::refused(freeze, target, refusal))
        };
        if let Some(reason) = self.local.out_of_reach(&freeze.table) {
            return refused(freeze, target, Refusal::OutOfReach(reason));
        }
        let live = match self.local.live(&freeze.table) {
            Ok(live) => live,
            Err(error) => return refused(freeze, target, Refusal::Directory(error)),
        };
        let freeze = self.with_unlisted_parts(freeze, &live)?;
        let detached_parts = live.iter().map(|live| count_detached(&live.dir)).sum::<Result<u64, FsError>>()?;
        let patches_before = patches_in(&live)?;
        let patches = freeze.parts().filter(|part| part.name.is_patch()).map(|part| &part.name);
        let dir = target.make(&freeze.table, self.local, self.copying)?;
        let path = target.path();
        let landing = Landing { table: &freeze.table, dir: &dir, path: &path };
        let mut parts = self.pool.install(|| self.live_parts().take(patches, &live, landing))?;
        let mut attempt = Attempt { detached_parts, ..Attempt::new(freeze, target) };
        let earlier = self.earlier(&attempt.freeze)?;
        let asked = self.freeze_and_link(&attempt.freeze, (&live, &dir), earlier.as_ref(), statement)?;
        let (saved, linked) = match asked {
            Asked::Frozen(saved, linked) => (saved, linked),
            Asked::Refused(error) if error.may_still_run() => return Err(error.into()),
            Asked::Refused(error) => return refused(attempt.freeze, attempt.target, Refusal::Server(error)),
        };
        if attempt.freeze.remote.is_some() {
            let landing = Landing { table: &attempt.freeze.table, dir: &dir, path: &path };
            parts.extend(self.link_live(&attempt.freeze, &linked.parts, &live, landing)?);
        }
        if let Some(extension) = &linked.extension {
            attempt.freeze.freeze = extension.freeze.clone();
        }
        let file = self.local.read_definition(&attempt.freeze.table.metadata_path);
        attempt.definition = file.map(|text| Definition { text, is_file: true });
        let _ = frozen.send(IsDefined(attempt.definition.is_some()));
        drop(frozen);
        let work = Work { tables: 1, parts: attempt.freeze.parts().count() as u64, ..Work::default() };
        self.stages.monitor().advanced(Stage::Freeze, work);
        if self.request.digest {
            let stored = earlier.iter().flat_map(|earlier| earlier.parts.iter().map(|part| (&part.part, part)));
            let linked: BTreeSet<&PartName> = attempt.freeze.linked_parts().map(|part| &part.name).collect();
            let unchanged = stored.filter(|(name, _)| linked.contains(*name)).collect();
            self.digest(&mut attempt, &unchanged)?;
        }
        let (frozen_parts, shadow, name) = (self.frozen_parts(), self.shadow(), statement.name);
        let copies = |disk: &str| self.copying.copies(disk);
        if self.request.relinks {
            parts.extend(frozen_parts.bring(&attempt, &dir, name, (&live, &saved), |disk| !copies(disk))?);
        }
        let (dir, placed) = shadow.place_all(&attempt, dir, name)?;
        // Patches that came during the freeze, also those that a merge has already made obsolete.
        let patches_now = patches_in(&live)?;
        let came = patches_now.difference(&patches_before).filter(|name| attempt.freeze.takes_patch(name));
        let landing = Landing { table: &attempt.freeze.table, dir: &dir, path: &path };
        parts.extend(self.pool.install(|| self.live_parts().take(came, &live, landing))?);
        parts.extend(frozen_parts.bring(&attempt, &dir, name, (&live, &saved), copies)?);
        let checked = self.pool.install(|| shadow.check(&live, &dir, beside_saved(placed, saved)))?;
        attempt.parts = in_one_piece([linked.parts, checked, parts]);
        Ok(attempt)
    }

    /// Freezes what the plan says, and links the other parts from the last snapshot meanwhile. Partitions of which a part
    /// proves to be another than the last snapshot's are frozen as well.
    fn freeze_and_link(
        &self,
        plan: &TableFreeze,
        (live, dir): (&[LiveTable], &Dir),
        earlier: Option<&EarlierTable<'_>>,
        Statement { name, query_id }: Statement<'_>,
    ) -> Result<Asked, OpError> {
        let _inside = self.stages.enter(Stage::Freeze);
        let (freezer, table) = (self.freezer(), plan.table.name());
        let listed: Vec<_> = live_parts(plan, live);
        let of_table = Work { parts: listed.len() as u64, bytes: bytes_of(plan), ..Work::default() };
        let _at_work = ItemAtWork::start(self.stages.monitor(), Stage::Freeze, table.to_string(), of_table);
        let save = |scope: &Scope| {
            let is_frozen = |part: &&(&Part, &Dir)| scope.covers(&part.0.partition);
            let frozen: Vec<_> = listed.iter().filter(is_frozen).map(|(part, dir)| (&part.name, *dir)).collect();
            exec::save_left_out(&frozen)
        };
        // Where nothing is linked meanwhile, the server need not share its cores.
        let links = plan.linked_parts().next().is_some();
        let idle = (!links && listed.len() >= IDLY_READ_PARTS).then(|| self.read_idly(plan, live));
        let beside = || -> Result<_, OpError> {
            let saved = if idle.is_some() { SavedParts::new() } else { save(&plan.freeze)? };
            Ok((saved, self.unchanged_parts().link(plan, earlier, (live, dir))?))
        };
        let (result, beside) = freezer.freeze(table, &plan.freeze, name, query_id, beside);
        if let Err(error) = result {
            return Ok(Asked::Refused(error));
        }
        let (mut saved, linked) = beside?;
        if let Some(idle) = idle {
            let is_brought = live.iter().any(|table| self.copying.joins(&table.disk));
            saved = self.pool.install(|| idle.finish(if is_brought { 0 } else { SOON_CHECKED_PARTS }))?;
        }
        // Not all parts are what their names said. Those that are frozen only now are saved now.
        if let Some(Extension { freeze, more }) = linked.extension.as_ref().filter(|_| plan.remote.is_none()) {
            let query_id = format!("{query_id}-more");
            let (result, saved_now) = freezer.freeze(table, more, name, &query_id, || save(freeze));
            if let Err(error) = result {
                return Ok(Asked::Refused(error));
            }
            for (name, part) in saved_now? {
                saved.entry(name).or_insert(part);
            }
        }
        Ok(Asked::Frozen(saved, linked))
    }

    /// A table without listed parts is frozen as a whole, if it is not empty after all.
    fn with_unlisted_parts(&self, freeze: TableFreeze, live: &[LiveTable]) -> Result<TableFreeze, OpError> {
        let is_as_listed = freeze.scope != Scope::Nothing
            || freeze.remote.is_some()
            || !self.request.selection.partitions.is_empty()
            || self.is_empty(freeze.table.name(), live)?;
        let whole = || TableFreeze { scope: Scope::Whole, freeze: Scope::Whole, ..freeze.clone() };
        Ok(if is_as_listed { freeze } else { whole() })
    }

    /// Links the parts of a table that is never frozen from their live directories, as far as they are still there, but
    /// those that are linked already.
    fn link_live(
        &self,
        freeze: &TableFreeze,
        linked: &[TakenPart],
        live: &[LiveTable],
        landing: Landing<'_>,
    ) -> Result<Vec<TakenPart>, OpError> {
        let linked: BTreeSet<&PartName> = linked.iter().map(|part| &part.name).collect();
        let listed = live_parts(freeze, live).into_iter().map(|(part, _)| &part.name);
        let names: Vec<&PartName> = listed.filter(|name| !linked.contains(name)).collect();
        let take = |name: &&PartName| self.live_parts().take(std::iter::once(*name), live, landing);
        let taken: Vec<Vec<TakenPart>> =
            self.pool.install(|| names.par_iter().map(take).collect::<Result<_, OpError>>())?;
        Ok(taken.into_iter().flatten().collect())
    }

    /// The table in the last snapshot, where some of its parts are linked from there.
    fn earlier(&self, freeze: &TableFreeze) -> Result<Option<EarlierTable<'_>>, FsError> {
        let links = freeze.linked_parts().next().is_some();
        self.previous.filter(|_| links).map_or(Ok(None), |previous| previous.table(&freeze.table))
    }

    /// Sums the rows of the parts, which the server still has: nothing was waited for since they were frozen.
    fn digest(&self, attempt: &mut Attempt, unchanged: &BTreeMap<&PartName, &PartRecord>) -> Result<(), OpError> {
        match digest::take(self.server, self.version, &attempt.freeze, unchanged) {
            Ok(digests) => attempt.digests = digests,
            Err(error @ server::ServerError::Exception { .. }) => {
                attempt.digests_failed = Some(crate::monitor::chain(&error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether a table for which no active part was listed has none. A list of parts that was read while tables were
    /// renamed can lack those of a table: so its directories must have nothing but what the server, asked for this table
    /// alone, calls obsolete. Patch parts count for nothing here: they are never frozen.
    fn is_empty(&self, table: &TableName, live: &[LiveTable]) -> Result<bool, FsError> {
        let mut found = Vec::new();
        for table in live {
            let entries = table.dir.entries_if_there()?;
            if entries.is_empty() {
                // A directory that is gone has not even what every table's has: it is no empty table.
                return Ok(false);
            }
            found.extend(entries.into_iter().filter(is_part_like).map(|entry| entry.name));
        }
        if live.is_empty() || found.is_empty() {
            return Ok(!live.is_empty());
        }
        let Ok(listed) = server::parts_of(self.server, table) else { return Ok(false) };
        let is_active = |part: &server::ListedPart| part.is_active && !part.name.is_patch();
        let listed_names: BTreeSet<&str> = listed.iter().map(|part| part.name.as_str()).collect();
        let is_listed = |name: &std::ffi::OsString| name.to_str().is_some_and(|name| listed_names.contains(name));
        Ok(!listed.iter().any(is_active) && found.iter().all(is_listed))
    }

    /// Begins to read all parts in time that the server does not want. One directory for all parts of a disk: as many
    /// copies would take memory.
    fn read_idly(&self, freeze: &TableFreeze, live: &[LiveTable]) -> IdleReading {
        let tables: Vec<_> = live.iter().map(|table| (table.disk.as_str(), Arc::new(table.dir.clone()))).collect();
        let mut parts: Vec<(PartName, Arc<Dir>)> = Vec::new();
        for part in freeze.parts().filter(|part| !part.name.is_patch()) {
            let table = tables.iter().find(|(disk, _)| part.disk == *disk);
            parts.extend(table.map(|(_, dir)| (part.name.clone(), Arc::clone(dir))));
        }
        // A second thread slows a freeze on all cores down by as much as it reads; on a network they wait for answers.
        let is_far = live.iter().any(|table| fs::is_network_filesystem(&table.dir));
        IdleReading::begin(parts, if is_far { self.pool.current_num_threads() } else { 1 })
    }
}

/// Bytes of a table's parts, as the server tells them: any figure at all.
fn bytes_of(freeze: &TableFreeze) -> u64 {
    freeze.parts().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// Whether an entry of a table's directory may be a part that counts: not `detached/`, nor what the server is still
/// making (`tmp_…`) or already deleting (`delete_tmp_…`).
fn is_part_like(entry: &Entry) -> bool {
    let name = entry.name.to_string_lossy();
    let other = ["tmp_", "tmp-", "delete_tmp_", "detached", "moving", "."];
    entry.kind == Kind::Directory && !other.iter().any(|prefix| name.starts_with(prefix))
}

fn count_detached(live: &Dir) -> Result<u64, FsError> {
    let Some(detached) = live.find_beneath(Path::new("detached"))? else { return Ok(0) };
    let entries = detached.entries_if_there()?;
    Ok(entries.iter().filter(|entry| entry.kind == Kind::Directory).count() as u64)
}
