//! One table: the files a freeze leaves out, the freeze itself, the parts in the shadow, and the check of all parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rayon::prelude::*;

use crate::exec::{self, IdleReading, LiveTable, SavedParts};
use crate::fs::{self, Dir, Entry, EntryKind, FsError};
use crate::model::{CatalogPart, FreezeName, PartName, TableName};
use crate::monitor::{ItemAtWork, Stage, StageWork};
use crate::ops::error::OpError;
use crate::plan::{Extension, FreezeScope, ListedDirectories, TableFreeze, WantedState};
use crate::repo::PartRecord;
use crate::server;

use super::attempt::{DefinitionText, DefinitionWasRead, FreezeFailure, SnapshotTableDir, TableAttempt};
use super::copy_or_link::patches_in;
use super::digest;
use super::moment::ListedTables;
use super::previous::EarlierTable;
use super::shadow::with_saved_files;
use super::snapshot_part::{SnapshotPart, in_one_piece};
use super::table_dir::{TableDir, live_parts};
use super::table_freezer::TableFreezer;
use super::unchanged::Linked;

/// With fewer parts than this, the thread pool reads them all at once.
const IDLY_READ_PARTS: usize = 1000;
/// This many parts are checked within a second or two; those not yet read are read then.
const SOON_CHECKED_PARTS: usize = 16_384;

/// The result of freezing one table.
enum FreezeAnswer {
    /// All freezes succeeded: the small files that were read before, and the parts that were linked meanwhile.
    Frozen(SavedParts, Linked),
    /// The server refused a freeze.
    Refused(server::ServerError),
}

/// The statement that freezes a table.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    /// The name of the shadow.
    pub(super) name: &'a FreezeName,
    pub(super) query_id: &'a str,
}

impl TableFreezer<'_> {
    /// Takes one table as it is now. Only a refusal by the server is part of the result; everything else is an error.
    pub(super) fn take(
        &self,
        freeze: TableFreeze,
        target: SnapshotTableDir,
        statement: Statement<'_>,
        frozen: Sender<DefinitionWasRead>,
    ) -> Result<TableAttempt, OpError> {
        let refused = |freeze, target, refusal| {
            let _ = frozen.send(DefinitionWasRead(true));
            Ok(TableAttempt::refused(freeze, target, refusal))
        };
        if let Some(reason) = self.context.local.out_of_reach(&freeze.table) {
            return refused(freeze, target, FreezeFailure::OutOfReach(reason));
        }
        let live = match self.context.local.live(&freeze.table) {
            Ok(live) => live,
            Err(error) => return refused(freeze, target, FreezeFailure::Directory(error)),
        };
        if let Some(listed) = self.listed_state(&freeze) {
            let directories = self.directories(listed, &freeze, &live)?;
            if directories != ListedDirectories::Same {
                let _ = frozen.send(DefinitionWasRead(true));
                return Ok(TableAttempt { directories, ..TableAttempt::new(freeze, target) });
            }
        }
        let freeze = self.with_unlisted_parts(freeze, &live)?;
        let detached_parts = live.iter().map(|live| count_detached(&live.dir)).sum::<Result<u64, FsError>>()?;
        let patches_before = patches_in(&live)?;
        let patches = freeze.parts().filter(|part| part.name.is_patch()).map(|part| &part.name);
        let dir = target.make(&freeze.table, self.context.local, self.context.copying)?;
        let path = target.path();
        let table_dir = TableDir { table: &freeze.table, dir: &dir, path: &path };
        let mut parts = self.context.pool.install(|| self.live_parts().take(patches, &live, table_dir))?;
        let mut attempt = TableAttempt { detached_parts, ..TableAttempt::new(freeze, target) };
        let earlier = self.earlier(&attempt.freeze)?;
        let asked = self.freeze_and_link(&attempt.freeze, (&live, &dir), earlier.as_ref(), statement)?;
        let (saved, linked) = match asked {
            FreezeAnswer::Frozen(saved, linked) => (saved, linked),
            FreezeAnswer::Refused(error) if error.may_still_run() => return Err(error.into()),
            FreezeAnswer::Refused(error) => {
                return refused(attempt.freeze, attempt.target, FreezeFailure::Server(error));
            }
        };
        let table_dir = TableDir { table: &attempt.freeze.table, dir: &dir, path: &path };
        if let Some(listed) = self.listed_state(&attempt.freeze) {
            // The definition is read after this: an ALTER that swaps files of a part shows there.
            let present = linked.parts.iter().chain(&parts).map(|part| &part.name).collect();
            let sources = self.shadow().keep_listed(&attempt.freeze, statement.name, &present)?;
            parts.extend(self.link_live(&sources.live, &live, table_dir)?);
            if listed.is_replaced(&attempt.freeze.table, self.context.local)? {
                attempt.directories = ListedDirectories::Replaced;
            }
        } else if attempt.freeze.remote.is_some() {
            let present: BTreeSet<&PartName> = linked.parts.iter().map(|part| &part.name).collect();
            let listed = live_parts(&attempt.freeze, &live).into_iter().map(|(part, _)| &part.name);
            let names = listed.filter(|name| !present.contains(name)).cloned().collect();
            parts.extend(self.link_live(&names, &live, table_dir)?);
        }
        if let Some(extension) = &linked.extension {
            attempt.freeze.freeze = extension.freeze.clone();
        }
        let file = self.context.local.read_definition(&attempt.freeze.table.metadata_path);
        attempt.definition = file.map(|text| DefinitionText { text, is_file: true });
        let _ = frozen.send(DefinitionWasRead(attempt.definition.is_some()));
        drop(frozen);
        let work = StageWork { tables: 1, parts: attempt.freeze.parts().count() as u64, ..StageWork::default() };
        self.context.stages.monitor().advanced(Stage::Freeze, work);
        if self.request.digest {
            let stored = earlier.iter().flat_map(|earlier| earlier.parts.iter().map(|part| (&part.part, part)));
            let linked: BTreeSet<&PartName> = attempt.freeze.linked_parts().map(|part| &part.name).collect();
            let unchanged = stored.filter(|(name, _)| linked.contains(*name)).collect();
            self.digest(&mut attempt, &unchanged)?;
        }
        let (frozen_parts, shadow, name) = (self.frozen_parts(), self.shadow(), statement.name);
        let copies = |disk: &str| self.context.copying.copies(disk);
        if self.request.relinks {
            parts.extend(frozen_parts.copy_or_link(&attempt, &dir, name, (&live, &saved), |disk| !copies(disk))?);
        }
        let (dir, placed) = shadow.place_all(&attempt, dir, name)?;
        // Patches that arrived during the freeze, including those that a merge has already made obsolete.
        let patches_now = patches_in(&live)?;
        let arrived = patches_now.difference(&patches_before).filter(|name| attempt.freeze.takes_later_patch(name));
        let table_dir = TableDir { table: &attempt.freeze.table, dir: &dir, path: &path };
        parts.extend(self.context.pool.install(|| self.live_parts().take(arrived, &live, table_dir))?);
        parts.extend(frozen_parts.copy_or_link(&attempt, &dir, name, (&live, &saved), copies)?);
        let checked = self.context.pool.install(|| shadow.check(&live, &dir, with_saved_files(placed, saved)))?;
        attempt.parts = in_one_piece([linked.parts, checked, parts]);
        Ok(attempt)
    }

    /// Freezes what the plan demands, and concurrently links the other parts from the last snapshot. Partitions with a
    /// part that differs from the last snapshot's are frozen as well.
    fn freeze_and_link(
        &self,
        plan: &TableFreeze,
        (live, dir): (&[LiveTable], &Dir),
        earlier: Option<&EarlierTable<'_>>,
        Statement { name, query_id }: Statement<'_>,
    ) -> Result<FreezeAnswer, OpError> {
        let _inside = self.context.stages.enter(Stage::Freeze);
        let (freezer, table) = (self.freezer, plan.table.name());
        let listed: Vec<_> = live_parts(plan, live);
        let of_table = StageWork { parts: listed.len() as u64, bytes: bytes_of(plan), ..StageWork::default() };
        let _at_work = ItemAtWork::start(self.context.stages.monitor(), Stage::Freeze, table.to_string(), of_table);
        let save = |scope: &FreezeScope| {
            let is_frozen = |part: &&(&CatalogPart, &Dir)| scope.covers(&part.0.partition);
            let frozen: Vec<_> = listed.iter().filter(is_frozen).map(|(part, dir)| (&part.name, *dir)).collect();
            exec::save_left_out(&frozen)
        };
        // If nothing is linked meanwhile, the server need not share its cores.
        let links = plan.linked_parts().next().is_some();
        let idle = (!links && listed.len() >= IDLY_READ_PARTS).then(|| self.read_idly(plan, live));
        let concurrently = || -> Result<_, OpError> {
            let saved = if idle.is_some() { SavedParts::new() } else { save(&plan.freeze)? };
            Ok((saved, self.unchanged_parts().link(plan, earlier, (live, dir))?))
        };
        let (result, linked_meanwhile) = freezer.freeze(table, &plan.freeze, name, query_id, concurrently);
        if let Err(error) = result {
            return Ok(FreezeAnswer::Refused(error));
        }
        let (mut saved, linked) = linked_meanwhile?;
        if let Some(idle) = idle {
            let is_searched = live.iter().any(|table| self.context.copying.joins(&table.disk));
            saved = self.context.pool.install(|| idle.finish(if is_searched { 0 } else { SOON_CHECKED_PARTS }))?;
        }
        // Some parts differ from what their names suggested. The files of those frozen only now are saved now.
        if let Some(Extension { freeze, more }) = linked.extension.as_ref().filter(|_| plan.remote.is_none()) {
            let query_id = format!("{query_id}-more");
            let (result, saved_now) = freezer.freeze(table, more, name, &query_id, || save(freeze));
            if let Err(error) = result {
                return Ok(FreezeAnswer::Refused(error));
            }
            for (name, part) in saved_now? {
                saved.entry(name).or_insert(part);
            }
        }
        Ok(FreezeAnswer::Frozen(saved, linked))
    }

    /// A table without listed parts is frozen as a whole, unless it really is empty.
    fn with_unlisted_parts(&self, freeze: TableFreeze, live: &[LiveTable]) -> Result<TableFreeze, OpError> {
        let is_as_listed = freeze.scope != FreezeScope::Nothing
            || freeze.wants == WantedState::Listed
            || freeze.remote.is_some()
            || !self.request.selection.partitions.is_empty()
            || self.is_empty(freeze.table.name(), live)?;
        let whole = || TableFreeze { scope: FreezeScope::Whole, freeze: FreezeScope::Whole, ..freeze.clone() };
        Ok(if is_as_listed { freeze } else { whole() })
    }

    /// The tables at their moment, if the listed state of this one is wanted.
    fn listed_state(&self, freeze: &TableFreeze) -> Option<&ListedTables> {
        self.listed.filter(|_| freeze.wants == WantedState::Listed)
    }

    /// The directories of a table whose listed state is wanted. A table without listed parts may have been renamed
    /// while parts were listed.
    fn directories(
        &self,
        listed: &ListedTables,
        freeze: &TableFreeze,
        live: &[LiveTable],
    ) -> Result<ListedDirectories, OpError> {
        if listed.is_replaced(&freeze.table, self.context.local)? {
            return Ok(ListedDirectories::Replaced);
        }
        let is_sure = listed.moment.exact || !freeze.table.parts.is_empty() || freeze.remote.is_some();
        let is_as_listed = is_sure || self.is_empty(freeze.table.name(), live)?;
        Ok(if is_as_listed { ListedDirectories::Same } else { ListedDirectories::WithUnlistedParts })
    }

    /// Links parts of a table from their live directories, if they are still there.
    fn link_live(
        &self,
        names: &BTreeSet<PartName>,
        live: &[LiveTable],
        table_dir: TableDir<'_>,
    ) -> Result<Vec<SnapshotPart>, OpError> {
        let take = |name: &PartName| self.live_parts().take(std::iter::once(name), live, table_dir);
        let taken: Vec<Vec<SnapshotPart>> =
            self.context.pool.install(|| names.par_iter().map(take).collect::<Result<_, OpError>>())?;
        Ok(taken.into_iter().flatten().collect())
    }

    /// The table in the last snapshot, if some of its parts are linked from there.
    fn earlier(&self, freeze: &TableFreeze) -> Result<Option<EarlierTable<'_>>, FsError> {
        let links = freeze.linked_parts().next().is_some();
        self.previous.filter(|_| links).map_or(Ok(None), |previous| previous.table(&freeze.table))
    }

    /// Sums the rows of the parts, which the server still has: this follows their freeze without any wait.
    fn digest(&self, attempt: &mut TableAttempt, unchanged: &BTreeMap<&PartName, &PartRecord>) -> Result<(), OpError> {
        match digest::take(self.server, self.version, &attempt.freeze, unchanged) {
            Ok(digests) => attempt.digests = digests,
            Err(error @ server::ServerError::Exception { .. }) => {
                attempt.digests_failed = Some(crate::monitor::chain(&error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether a table for which no active part was listed has none. A list of parts read while tables were renamed can
    /// lack those of a table. So its directories may contain only parts that the server, asked for this table alone,
    /// calls obsolete. Patch parts do not count here: they are never frozen.
    fn is_empty(&self, table: &TableName, live: &[LiveTable]) -> Result<bool, FsError> {
        let mut found = Vec::new();
        for table in live {
            let entries = table.dir.entries_if_there()?;
            if entries.is_empty() {
                // A directory that is gone lacks even the files that every table has, so the table is not empty.
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

    /// Starts reading parts on idle cores. All parts of a disk share one directory handle: one for each would take
    /// memory.
    fn read_idly(&self, freeze: &TableFreeze, live: &[LiveTable]) -> IdleReading {
        let tables: Vec<_> = live.iter().map(|table| (table.disk.as_str(), Arc::new(table.dir.clone()))).collect();
        let mut parts: Vec<(PartName, Arc<Dir>)> = Vec::new();
        for part in freeze.parts().filter(|part| !part.name.is_patch()) {
            let table = tables.iter().find(|(disk, _)| part.disk == *disk);
            parts.extend(table.map(|(_, dir)| (part.name.clone(), Arc::clone(dir))));
        }
        // A second thread slows a freeze on all cores down by as much as it reads; on a network, threads wait for
        // answers.
        let is_far = live.iter().any(|table| fs::is_network_filesystem(&table.dir));
        IdleReading::begin(parts, if is_far { self.context.pool.current_num_threads() } else { 1 })
    }
}

/// Bytes of a table's parts as the server reports them, which may be any figure.
fn bytes_of(freeze: &TableFreeze) -> u64 {
    freeze.parts().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// Whether an entry of a table's directory may be a part that counts: not `detached/`, nor a directory that the server
/// is still writing (`tmp_…`) or already deleting (`delete_tmp_…`).
fn is_part_like(entry: &Entry) -> bool {
    let name = entry.name.to_string_lossy();
    let other = ["tmp_", "tmp-", "delete_tmp_", "detached", "moving", "."];
    entry.kind == EntryKind::Directory && !other.iter().any(|prefix| name.starts_with(prefix))
}

fn count_detached(live: &Dir) -> Result<u64, FsError> {
    let Some(detached) = live.find_beneath(Path::new("detached"))? else { return Ok(0) };
    let entries = detached.entries_if_there()?;
    Ok(entries.iter().filter(|entry| entry.kind == EntryKind::Directory).count() as u64)
}
