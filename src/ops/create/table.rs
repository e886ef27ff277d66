//! One table: what a freeze leaves out, the freeze, what it left in the shadow, all of it checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::exec::{self, ExecError, Inspected, LeftOut, LiveTable, PlaceMode, PlacedPart, SavedParts};
use crate::fs::{Dir, Entry, FsError, Kind};
use crate::model::{FreezeName, Part, PartName, Placement, Table, Tally};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{Scope, TableFreeze};
use crate::server::{self, Server};

use super::disks::LocalDisks;
use super::request::Request;
use super::round::IsDefined;

/// A part that stands in the snapshot, with all that is known of it.
#[derive(Debug)]
pub(super) struct TakenPart {
    pub(super) name: PartName,
    pub(super) disk: String,
    pub(super) placement: Placement,
    pub(super) inspected: Inspected,
    pub(super) left_out: LeftOut,
}

/// The definition of a table.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) text: Vec<u8>,
    /// Whether it is the server's own file rather than what the server prints.
    pub(super) is_file: bool,
}

/// Where a table stands in the snapshot.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The directory of its database.
    pub(super) database: Dir,
    /// The name of its own directory there.
    pub(super) file_name: String,
    /// Its own directory.
    pub(super) dir: Dir,
}

impl Target {
    /// Takes away what stands of the table, so that it can be taken again or left out.
    pub(super) fn clear(&self) -> Result<(), ExecError> {
        exec::remove_tree(&self.database, &self.file_name, &|_| ())?;
        Ok(())
    }
}

/// What was taken of a table in one round.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) freeze: TableFreeze,
    /// Its directory in the snapshot.
    pub(super) target: Target,
    pub(super) live: Vec<LiveTable>,
    pub(super) parts: Vec<TakenPart>,
    pub(super) detached_parts: u64,
    /// Its definition, read after the freeze and before the next look at the server.
    pub(super) definition: Option<Definition>,
    /// What the server answered instead of freezing.
    pub(super) refused: Option<server::ServerError>,
}

impl Attempt {
    /// The parts that the freeze gave, without those linked from the live directory.
    pub(super) fn frozen(&self) -> BTreeSet<PartName> {
        self.parts.iter().map(|part| &part.name).filter(|name| !name.is_patch()).cloned().collect()
    }

    /// A part that came and went so fast that its metadata version could not be had, in a table whose parts have one.
    pub(super) fn lost_version(&self) -> Option<&PartName> {
        let with = |left_out| self.parts.iter().find(move |part| !part.name.is_patch() && part.left_out == left_out);
        with(LeftOut::Taken)?;
        with(LeftOut::Unknown).map(|part| &part.name)
    }

    /// The first part that is not whole.
    pub(super) fn problem(&self) -> Option<String> {
        let broken = self.parts.iter().find(|part| !part.inspected.problems.is_empty())?;
        let problem = broken.inspected.problems.first()?;
        Some(format!("part {}: {problem}", broken.name))
    }
}

/// Below this many parts the one sync at the seal is as fast as two.
const EARLY_SYNC_PARTS: usize = 1000;

/// Everything that taking a table needs.
pub(super) struct Taker<'a> {
    pub(super) server: &'a Server,
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    pub(super) local: &'a LocalDisks,
    pub(super) request: &'a Request,
}

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
        let live = self.live(&freeze.table)?;
        self.doubt_emptiness(&mut freeze, &live)?;
        let detached_parts = live.iter().map(|live| count_detached(&live.dir)).sum::<Result<u64, FsError>>()?;
        let patches_before = patches_in(&live)?;
        let patches = freeze.parts().filter(|part| part.name.is_patch()).map(|part| &part.name);
        let mut parts = self.pool.install(|| take_patches(patches, &live, &target.dir))?;
        let mut attempt =
            Attempt { target, live, parts: Vec::new(), detached_parts, definition: None, refused: None, freeze };
        let saved = {
            let _inside = self.stages.enter(Stage::Freeze);
            let (result, saved) = self.freeze_and_save(&attempt, name, query_id);
            if let Err(error) = result {
                if error.may_still_run() {
                    return Err(error.into());
                }
                attempt.refused = Some(error);
                let _ = frozen.send(IsDefined(true));
                return Ok(attempt);
            }
            saved?
        };
        let file = self.local.read_definition(&attempt.freeze.table.metadata_path);
        attempt.definition = file.map(|text| Definition { text, is_file: true });
        let _ = frozen.send(IsDefined(attempt.definition.is_some()));
        drop(frozen);
        let work = Work { tables: 1, parts: attempt.freeze.parts().count() as u64, ..Work::default() };
        self.stages.monitor().advanced(Stage::Freeze, work);
        let placed = self.place_all(&mut attempt, name)?;
        // Patches that came during the freeze, also those that a merge has already made obsolete.
        let patches_now = patches_in(&attempt.live)?;
        let came = patches_now.difference(&patches_before);
        parts.extend(self.pool.install(|| take_patches(came, &attempt.live, &attempt.target.dir))?);
        attempt.parts = self.pool.install(|| self.check(&attempt, placed, &saved))?;
        attempt.parts.append(&mut parts);
        Ok(attempt)
    }

    fn live(&self, table: &Table) -> Result<Vec<LiveTable>, OpError> {
        let mut live = Vec::new();
        for path in &table.data_paths {
            let Some((local, _)) = self.local.locate(path) else { continue };
            if let Some(dir) = self.local.open_live(path)? {
                live.push(LiveTable { disk: local.disk.name.clone(), dir });
            }
        }
        Ok(live)
    }

    /// A list of parts that was read while tables were renamed can lack those of a table: so one that seems empty is
    /// frozen all the same unless its directory is.
    fn doubt_emptiness(&self, freeze: &mut TableFreeze, live: &[LiveTable]) -> Result<(), FsError> {
        if freeze.scope == Scope::Nothing && self.request.selection.partitions.is_empty() {
            let mut is_empty = !live.is_empty();
            for table in live {
                let entries = table.dir.entries_if_there()?;
                // A directory that is gone has not even what every table's has: it is no empty table.
                is_empty &= !entries.is_empty() && !entries.iter().any(is_part_like);
            }
            if !is_empty {
                freeze.scope = Scope::Whole;
            }
        }
        Ok(())
    }

    /// Freezes a table, and reads meanwhile what the freeze leaves out of its parts.
    ///
    /// The server takes no part away that a freeze is at. One that goes right after, before it was read here, is
    /// known by that (see [`LeftOut::Unknown`]), and its table is frozen again.
    fn freeze_and_save(
        &self,
        attempt: &Attempt,
        name: &FreezeName,
        query_id: &str,
    ) -> (Result<(), server::ServerError>, Result<SavedParts, FsError>) {
        std::thread::scope(|scope| {
            let parts = live_parts(&attempt.freeze, &attempt.live);
            let saving = scope.spawn(move || self.pool.install(|| exec::save_left_out(&parts)));
            let frozen = self.freeze(&attempt.freeze, name, query_id);
            (frozen, saving.join().expect("reading small files does not panic"))
        })
    }

    fn freeze(&self, freeze: &TableFreeze, name: &FreezeName, query_id: &str) -> Result<(), server::ServerError> {
        let table = freeze.table.name();
        match &freeze.scope {
            Scope::Nothing => Ok(()),
            Scope::Whole => server::freeze_table(self.server, table, name, query_id),
            Scope::Partitions(partitions) => partitions.iter().enumerate().try_for_each(|(number, partition)| {
                server::freeze_partition(self.server, table, partition, name, &format!("{query_id}-{number}"))
            }),
        }
    }

    /// Moves what the server froze of a table into the snapshot; each part with its disk.
    fn place_all(&self, attempt: &mut Attempt, name: &FreezeName) -> Result<Vec<(PlacedPart, String)>, OpError> {
        let _inside = self.stages.enter(Stage::Place);
        let mut placed = Vec::new();
        for path in &attempt.freeze.table.data_paths {
            let Some((local, relative)) = self.local.locate(path) else { continue };
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let parts = self.pool.install(|| self.place(&local.dir, &shadow, &mut attempt.target))?;
            placed.extend(parts.into_iter().map(|part| (part, local.disk.name.clone())));
        }
        let work = Work { tables: 1, parts: placed.len() as u64, ..Work::default() };
        self.stages.monitor().advanced(Stage::Place, work);
        Ok(placed)
    }

    /// Gives parts what their freeze left out, and checks them.
    fn check(
        &self,
        attempt: &Attempt,
        placed: Vec<(PlacedPart, String)>,
        saved: &SavedParts,
    ) -> Result<Vec<TakenPart>, FsError> {
        let _inside = self.stages.enter(Stage::Seal);
        let target = &attempt.target.dir;
        let is_large = placed.len() >= EARLY_SYNC_PARTS;
        placed.par_iter().try_for_each(|(part, _)| exec::link_left_out(&attempt.live, target, &part.name, saved))?;
        let check_part = |(part, disk): (PlacedPart, String)| -> Result<TakenPart, FsError> {
            let (dir, mut entries) = target.open_and_list(part.name.as_str())?;
            let left_out = exec::take_left_out(&attempt.live, &dir, &mut entries, &part.name, saved)?;
            let inspected = exec::inspect_listed(&dir, entries)?;
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Seal, work);
            Ok(TakenPart { name: part.name, disk, placement: part.placement, inspected, left_out })
        };
        // The disk writes what FREEZE has left unwritten while the cores check: the sync at the seal finds it done.
        let (parts, synced) = std::thread::scope(|scope| {
            let sync = is_large.then(|| scope.spawn(|| target.sync_filesystem()));
            let parts = placed.into_par_iter().map(check_part).collect::<Result<Vec<_>, _>>();
            (parts, sync.map_or(Ok(()), |sync| sync.join().expect("syncing does not panic")))
        });
        synced.and(parts)
    }

    /// Places what was frozen of a table on one disk, whose shadow of it is at the path `shadow`.
    fn place(&self, disk: &Dir, shadow: &Path, target: &mut Target) -> Result<Vec<PlacedPart>, OpError> {
        let (Some(parent), Some(shadow_name)) = (shadow.parent(), shadow.file_name()) else { return Ok(Vec::new()) };
        let Some(parent) = disk.find_beneath(parent)? else { return Ok(Vec::new()) };
        if parent.find(shadow_name)?.is_none() {
            return Ok(Vec::new());
        }
        if self.request.place != PlaceMode::Link
            && let Some((dir, parts)) = exec::place_table(&parent, shadow_name, &target.database, &target.file_name)?
        {
            target.dir = dir;
            return Ok(parts);
        }
        Ok(exec::place_parts(&parent.open_dir(shadow_name)?, &target.dir, self.request.place)?)
    }
}

fn live_parts<'a>(freeze: &'a TableFreeze, live: &'a [LiveTable]) -> Vec<(&'a PartName, &'a Dir)> {
    let dir_of = |part: &Part| live.iter().find(|table| table.disk == part.disk).map(|table| &table.dir);
    freeze.parts().filter(|part| !part.name.is_patch()).filter_map(|part| Some((&part.name, dir_of(part)?))).collect()
}

/// Links the patch parts that are not in the snapshot yet, which no freeze takes.
pub(super) fn take_patches<'a>(
    patches: impl Iterator<Item = &'a PartName>,
    live: &[LiveTable],
    target: &Dir,
) -> Result<Vec<TakenPart>, OpError> {
    let mut taken = Vec::new();
    for name in patches {
        if target.find(name.as_str())?.is_some() {
            continue;
        }
        for table in live {
            if let Some(dir) = exec::link_live_part(table, target, name)? {
                let inspected = exec::inspect_part(&dir)?;
                let (name, disk) = (name.clone(), table.disk.clone());
                let left_out = LeftOut::Taken;
                taken.push(TakenPart { name, disk, placement: Placement::Linked, inspected, left_out });
                break;
            }
        }
    }
    Ok(taken)
}

/// Whether an entry of a table's directory may be a part that counts: not `detached/`, nor what the server is still
/// making (`tmp_…`) or already deleting (`delete_tmp_…`).
fn is_part_like(entry: &Entry) -> bool {
    let name = entry.name.to_string_lossy();
    let other = ["tmp_", "tmp-", "delete_tmp_", "detached", "moving", "."];
    entry.kind == Kind::Directory && !other.iter().any(|prefix| name.starts_with(prefix))
}

/// The patch parts that lie in the live directories, active or not.
fn patches_in(live: &[LiveTable]) -> Result<BTreeSet<PartName>, FsError> {
    let mut patches = BTreeSet::new();
    for table in live {
        let entries = table.dir.entries_if_there()?;
        let names = entries.iter().filter_map(|entry| PartName::try_from(entry.name.to_str()?.to_owned()).ok());
        patches.extend(names.filter(PartName::is_patch));
    }
    Ok(patches)
}

fn count_detached(live: &Dir) -> Result<u64, FsError> {
    let Some(detached) = live.find_beneath(Path::new("detached"))? else { return Ok(0) };
    let entries = detached.entries_if_there()?;
    Ok(entries.iter().filter(|entry| entry.kind == Kind::Directory).count() as u64)
}

impl TakenPart {
    pub(super) fn tally(&self) -> Tally {
        Tally { parts: 1, files: self.inspected.files, bytes: self.inspected.bytes }
    }
}
