//! One table: what a freeze leaves out, the freeze, what it left in the shadow, all of it checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use compact_str::CompactString;
use rayon::prelude::*;

use crate::exec::{self, IdleReading, LiveTable, PlaceMode, PlacedPart, SavedPart, SavedParts};
use crate::fs::{self, Dir, Entry, FsError, Kind};
use crate::model::{FreezeName, Part, PartName, PartitionId, Table, TableName};
use crate::monitor::{ItemAtWork, Stage, Work};
use crate::ops::error::OpError;
use crate::ops::waiting::telling;
use crate::plan::{Extension, Scope, TableFreeze};
use crate::repo::PartRecord;
use crate::server::{self, FreezeQuery};

use super::attempt::{Attempt, Definition, IsDefined, Refusal, Target};
use super::bring::patches_in;
use super::copying::Extra;
use super::digest;
use super::previous::EarlierTable;
use super::taken::{TakenPart, in_one_piece, take_all};
use super::taker::{Landing, Taker, live_parts};
use super::unchanged::Linked;

/// Fewer parts than these are read at once, by the pool.
const IDLY_READ_PARTS: usize = 1000;
/// So many are checked in a second or two: what was not read of them is read then.
const SOON_CHECKED_PARTS: usize = 16_384;

impl Taker<'_> {
    /// Takes one table as it is now. Only the server's refusal is part of the answer; everything else is an error.
    pub(super) fn take(
        &self,
        mut freeze: TableFreeze,
        target: Target,
        name: &FreezeName,
        query_id: &str,
        frozen: Sender<IsDefined>,
    ) -> Result<Attempt, OpError> {
        let live = match self.open_live(&freeze.table) {
            Ok(live) => live,
            Err(refusal) => {
                let _ = frozen.send(IsDefined(true));
                return Ok(Attempt::refused(freeze, target, refusal));
            }
        };
        self.doubt_emptiness(&mut freeze, &live)?;
        let detached_parts = live.iter().map(|live| count_detached(&live.dir)).sum::<Result<u64, FsError>>()?;
        let patches_before = patches_in(&live)?;
        let patches = freeze.parts().filter(|part| part.name.is_patch()).map(|part| &part.name);
        let dir = target.make(&freeze.table, self.local, self.copying)?;
        let path = target.path();
        let landing = Landing { table: &freeze.table, dir: &dir, path: &path };
        let mut parts = self.pool.install(|| self.take_live_parts(patches, &live, landing))?;
        let mut attempt = Attempt { detached_parts, ..Attempt::new(freeze, target) };
        let earlier = self.earlier(&attempt.freeze)?;
        let (saved, linked) = {
            let _inside = self.stages.enter(Stage::Freeze);
            let listed: Vec<_> = live_parts(&attempt.freeze, &live);
            let of_table = Work { parts: listed.len() as u64, bytes: bytes_of(&attempt.freeze), ..Work::default() };
            let table = attempt.freeze.table.name().to_string();
            let at_work = ItemAtWork::start(self.stages.monitor(), Stage::Freeze, table, of_table);
            let save = |scope: &Scope| {
                let is_frozen = |part: &&(&Part, &Dir)| scope.covers(&part.0.partition);
                let frozen: Vec<_> = listed.iter().filter(is_frozen).map(|(part, dir)| (&part.name, *dir)).collect();
                exec::save_left_out(&frozen)
            };
            // Where nothing is linked meanwhile, the server need not share its cores.
            let links = attempt.freeze.linked_parts().next().is_some();
            let idle = !links && listed.len() >= IDLY_READ_PARTS;
            let idle = idle.then(|| self.read_idly(&attempt.freeze, &live));
            let beside = || -> Result<_, OpError> {
                let saved = if idle.is_some() { SavedParts::new() } else { save(&attempt.freeze.freeze)? };
                let to = (live.as_slice(), &dir);
                Ok((saved, self.link_unchanged(&attempt.freeze, earlier.as_ref(), to)?))
            };
            let (mut result, mut beside) =
                self.freeze(attempt.freeze.table.name(), &attempt.freeze.freeze, name, query_id, beside);
            if let (Ok(()), Ok((saved, _)), Some(idle)) = (&result, &mut beside, idle) {
                let is_brought = live.iter().any(|table| self.copying.joins(&table.disk));
                *saved = self.pool.install(|| idle.finish(if is_brought { 0 } else { SOON_CHECKED_PARTS }))?;
            }
            if attempt.freeze.remote.is_some() {
                let landing = Landing { table: &attempt.freeze.table, dir: &dir, path: &path };
                let linked = beside.as_ref().map_or(&[][..], |(_, linked)| linked.parts.as_slice());
                parts.extend(self.link_others(&listed, linked, &live, landing)?);
            } else if let (Ok(()), Ok((saved, Linked { extension: Some(Extension { freeze, more }), .. }))) =
                (&result, &mut beside)
            {
                // Not all parts are what their names said. Those that are frozen only now are saved now.
                let query_id = format!("{query_id}-more");
                let save = || save(freeze);
                let (frozen, saved_now) = self.freeze(attempt.freeze.table.name(), more, name, &query_id, save);
                result = frozen;
                for (name, part) in saved_now? {
                    saved.entry(name).or_insert(part);
                }
            }
            drop(at_work);
            if let Err(error) = result {
                if error.may_still_run() {
                    return Err(error.into());
                }
                attempt.refused = Some(Refusal::Server(error));
                let _ = frozen.send(IsDefined(true));
                return Ok(attempt);
            }
            beside?
        };
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
        if self.request.relinks {
            parts.extend(self.bring_frozen(&attempt, &dir, name, (&live, &saved), |disk| !self.copying.copies(disk))?);
        }
        let (dir, placed) = self.place_all(&attempt, dir, name)?;
        // Patches that came during the freeze, also those that a merge has already made obsolete.
        let patches_now = patches_in(&live)?;
        let came = patches_now.difference(&patches_before).filter(|name| attempt.freeze.takes_patch(name));
        let landing = Landing { table: &attempt.freeze.table, dir: &dir, path: &path };
        parts.extend(self.pool.install(|| self.take_live_parts(came, &live, landing))?);
        parts.extend(self.bring_frozen(&attempt, &dir, name, (&live, &saved), |disk| self.copying.copies(disk))?);
        let checked = self.pool.install(|| self.check(&live, &dir, beside_saved(placed, saved)))?;
        attempt.parts = in_one_piece([linked.parts, checked, parts]);
        Ok(attempt)
    }

    /// Opens the directories of a table.
    fn open_live(&self, table: &Table) -> Result<Vec<LiveTable>, Refusal> {
        match self.local.out_of_reach(table) {
            Some(reason) => Err(Refusal::OutOfReach(reason)),
            None => self.local.live(table).map_err(Refusal::Directory),
        }
    }

    /// Links those of the `listed` parts of a table that is never frozen which are not `linked` yet from their live
    /// directories, as far as they are still there.
    fn link_others(
        &self,
        listed: &[(&Part, &Dir)],
        linked: &[TakenPart],
        live: &[LiveTable],
        landing: Landing<'_>,
    ) -> Result<Vec<TakenPart>, OpError> {
        let linked: BTreeSet<&PartName> = linked.iter().map(|part| &part.name).collect();
        let take = |(part, _): &(&Part, &Dir)| -> Option<Result<Vec<TakenPart>, OpError>> {
            let is_other = !linked.contains(&part.name);
            is_other.then(|| self.take_live_parts(std::iter::once(&part.name), live, landing))
        };
        let taken: Vec<Vec<TakenPart>> =
            self.pool.install(|| listed.par_iter().filter_map(take).collect::<Result<_, OpError>>())?;
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

    /// Freezes a table all the same for which no active part was listed, unless it has none.
    fn doubt_emptiness(&self, freeze: &mut TableFreeze, live: &[LiveTable]) -> Result<(), FsError> {
        let seems_empty = freeze.scope == Scope::Nothing && self.request.selection.partitions.is_empty();
        if seems_empty && freeze.remote.is_none() && !self.is_empty(freeze.table.name(), live)? {
            (freeze.scope, freeze.freeze) = (Scope::Whole, Scope::Whole);
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

    /// Freezes a table; `beside` runs meanwhile, and reads what the freeze leaves out of its parts.
    ///
    /// The server takes no part away that a freeze is at. One that goes right after, before it was read here, is
    /// known by that (see [`LeftOut::Unknown`]), and its table is frozen again.
    fn freeze<T: Send>(
        &self,
        table: &TableName,
        scope: &Scope,
        name: &FreezeName,
        query_id: &str,
        beside: impl FnOnce() -> T + Send,
    ) -> (Result<(), server::ServerError>, T) {
        let ask = || server::waits_on(self.server, table, name, query_id);
        let tell = |waited: Duration, lines: Vec<String>| {
            let (monitor, seconds) = (self.stages.monitor(), waited.as_secs());
            if lines.is_empty() {
                monitor.note(&format!("FREEZE of {table} has run for {seconds} s; nothing else there speaks of it"));
            }
            for line in lines {
                monitor.note(&format!("FREEZE of {table} has run for {seconds} s; {line}"));
            }
        };
        let threads = self.freeze_threads;
        let freeze = || match scope {
            Scope::Nothing => Ok(()),
            Scope::Whole => server::freeze_table(self.server, table, FreezeQuery { name, query_id, threads }),
            Scope::Partitions(partitions) => {
                let partitions: Vec<&PartitionId> = partitions.iter().collect();
                let mut statements = partitions.chunks(server::PARTITIONS_OF_A_STATEMENT).enumerate();
                statements.try_for_each(|(number, some)| {
                    let query_id = &format!("{query_id}-{number}");
                    server::freeze_partitions(self.server, table, some, FreezeQuery { name, query_id, threads })
                })
            }
        };
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| self.pool.install(beside));
            let frozen = telling(self.request.patience, ask, tell, freeze);
            (frozen, beside.join().expect("neither reading small files nor linking panics"))
        })
    }

    /// Moves what the server froze of a table into `dir`, which may be another directory then; each part with its disk.
    fn place_all(
        &self,
        attempt: &Attempt,
        mut dir: Dir,
        name: &FreezeName,
    ) -> Result<(Dir, Vec<(PlacedPart, CompactString)>), OpError> {
        let _inside = self.stages.enter(Stage::Place);
        let mut placed = Vec::new();
        for path in &attempt.freeze.table.data_paths {
            let Some((local, relative)) = self.local.locate(path) else { continue };
            if self.copying.copies(&local.disk.name) {
                continue;
            }
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let parts = self.pool.install(|| self.place(&local.dir, &shadow, &attempt.target, &mut dir))?;
            placed.extend(parts.into_iter().map(|part| (part, CompactString::from(local.disk.name.as_str()))));
        }
        let work = Work { tables: 1, parts: placed.len() as u64, ..Work::default() };
        self.stages.monitor().advanced(Stage::Place, work);
        Ok((dir, placed))
    }

    /// Gives parts what their freeze left out, and checks them. What was saved of each goes as soon as it is checked: of
    /// hundreds of thousands it takes as much memory as what is known of them afterwards.
    fn check(&self, live: &[LiveTable], dir: &Dir, frozen: Vec<FrozenPart>) -> Result<Vec<TakenPart>, FsError> {
        let _inside = self.stages.enter(Stage::Check);
        // The disk writes what FREEZE has left unwritten while the cores check.
        self.early.begin(dir, frozen.len())?;
        let check_part = |part: FrozenPart| -> Result<Option<TakenPart>, FsError> {
            let FrozenPart { placed: PlacedPart { name, placement }, disk, saved } = part;
            let (part_dir, mut entries) = dir.open_and_list(name.as_str())?;
            let left_out = exec::take_left_out(live, &part_dir, &mut entries, &name, saved.as_ref())?;
            let inspected = exec::inspect_frozen(&part_dir, entries, saved)?;
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Check, work);
            let extra = Extra::default();
            Ok(Some(TakenPart { name, disk, placement, from: None, is_unchanged: false, inspected, left_out, extra }))
        };
        take_all(frozen, check_part)
    }

    /// Places what was frozen of a table on one disk, whose shadow of it is at the path `shadow`.
    fn place(&self, disk: &Dir, shadow: &Path, target: &Target, dir: &mut Dir) -> Result<Vec<PlacedPart>, OpError> {
        let (Some(parent), Some(shadow_name)) = (shadow.parent(), shadow.file_name()) else { return Ok(Vec::new()) };
        let Some(parent) = disk.find_beneath(parent)? else { return Ok(Vec::new()) };
        if parent.find(shadow_name)?.is_none() {
            return Ok(Vec::new());
        }
        if self.request.place != PlaceMode::Link {
            let database = target.data.open_dir(&target.database)?;
            if let Some((moved, parts)) = exec::place_table(&parent, shadow_name, &database, &target.table)? {
                *dir = moved;
                return Ok(parts);
            }
        }
        Ok(exec::place_parts(&parent.open_dir(shadow_name)?, dir, self.request.place)?)
    }
}

/// A part that was frozen and placed, and is to be checked.
struct FrozenPart {
    placed: PlacedPart,
    disk: CompactString,
    saved: Option<SavedPart>,
}

fn beside_saved(placed: Vec<(PlacedPart, CompactString)>, mut saved: SavedParts) -> Vec<FrozenPart> {
    let frozen = |(placed, disk): (PlacedPart, _)| FrozenPart { saved: saved.remove(&placed.name), placed, disk };
    placed.into_iter().map(frozen).collect()
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
