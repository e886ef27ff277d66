//! Freezes table by table, and again the tables that changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::exec::{Inspected, LiveTable};
use crate::fs::Dir;
use crate::model::{
    Catalog, CatalogFingerprint, PartName, Table, TableName, Unlisted, UnlistedTable, Warning, WarningKind,
};
use crate::ops::error::OpError;
use crate::ops::unlisted::add_unlisted;
use crate::plan::{
    BrokenPart, Caveat, CreatePlan, Evidence, FreezeRefusal, ListedEvidence, OffMomentReason, ROUNDS, TableFreeze,
    TableSkipReason, Taken, Verdict, WantedState, judge, successor,
};
use crate::repo::{DATA, Incoming};
use crate::server::{self, Disk, code};

use super::attempt::{FreezeFailure, SnapshotTableDir, TableAttempt};
use super::moment::ListedTables;
use super::placement_context::PlacementContext;
use super::request::Clock;
use super::round::Round;
use super::survey::plan_again;
use super::table_dir::TableDir;
use super::table_freezer::TableFreezer;
use super::tree::{SkippedTable, TakenTable, TriedTables};

/// Takes the planned tables, each as often as necessary.
pub(super) struct Rounds<'a> {
    pub(super) table_freezer: TableFreezer<'a>,
    pub(super) now: Clock<'a>,
    /// All disks of the server.
    pub(super) disks: &'a [Disk],
}

impl Rounds<'_> {
    /// Takes the planned tables.
    ///
    /// # Errors
    /// If the server or the filesystem fails in a way that concerns more than one table, or no table could be taken.
    pub(super) fn run(
        &self,
        incoming: &mut Incoming<'_>,
        planned: Vec<TableFreeze>,
        unlisted: &[UnlistedTable],
        first_look: CatalogFingerprint,
        warnings: &mut Vec<Warning>,
    ) -> Result<TriedTables, OpError> {
        let count = planned.len();
        let planned_names: BTreeSet<TableName> = planned.iter().map(|freeze| freeze.table.name().clone()).collect();
        let data = incoming.dir().ensure_dir(DATA, 0o750)?;
        if let Some(own) = self.table_freezer.context.local.own() {
            self.table_freezer.context.copying.give(&data, own.dir.stat_self()?.ownership)?;
        }
        let mut so_far = RoundsSoFar { next: planned, look: first_look, ..RoundsSoFar::default() };
        let mut last = None;
        if !unlisted.is_empty() {
            let RoundsSoFar { tree, next, look, .. } = &mut so_far;
            self.table_freezer.take_unlisted(unlisted, &data, tree, warnings)?;
            *look = self.look_for_attached(unlisted, &data, tree, next, (&*look, warnings))?;
        }
        while !so_far.next.is_empty() {
            so_far.rounds += 1;
            let name = incoming.announce_freeze((self.now)())?;
            let next = std::mem::take(&mut so_far.next);
            let Round { attempts, after, functions } =
                self.table_freezer.round(next, &data, &name, incoming, &so_far.look)?;
            so_far.look = after.look();
            last = Some(after);
            let after = last.as_ref().expect("it was just put there");
            so_far.tree.functions = Some(functions);
            let plan =
                plan_again(after, self.disks, self.table_freezer.previous, &self.table_freezer.request.selection);
            let gather = |attempt: TableAttempt| {
                let round = so_far.round_of(attempt.freeze.table.name());
                self.gather(attempt, after, round)
            };
            let mut gathered: Vec<Gathered> = attempts.into_iter().map(gather).collect::<Result<_, OpError>>()?;
            // Tables that are gone come last: their successor is a table that none of the others is.
            gathered.sort_by_key(|gathered| gathered.is_gone(after));
            for gathered in gathered {
                let gone = Some(&gathered.attempt.freeze.table).filter(|_| gathered.is_gone(after));
                let successor =
                    gone.and_then(|table| successor(table, &plan, &planned_names, |name| so_far.is_known(name)));
                let successor = successor.map(|successor| successor.table.name().clone());
                let (verdict, table) = gathered.judge(after, successor.as_ref(), self.table_freezer.listed);
                let Gathered { attempt, round, .. } = gathered;
                let judged = JudgedTable { attempt, table, successor, round };
                self.carry_out(verdict, judged, &plan, &mut so_far, warnings)?;
            }
        }
        let mut tree = so_far.tree;
        if let Some(last) = last {
            self.take_detached(last, &data, &mut tree, warnings)?;
        }
        for (name, SkippedTable { reason, .. }) in &tree.skipped {
            let message = format!("{name} is not in the snapshot: {reason}");
            warnings.push(Warning::of_table(WarningKind::TableSkipped, name, message));
        }
        match tree.skipped.first_key_value() {
            Some((name, SkippedTable { reason, .. })) if tree.taken.is_empty() => {
                Err(OpError::NothingTaken { count, table: name.clone(), reason: reason.clone() })
            }
            _ => Ok(tree),
        }
    }

    /// Carries out the verdict on a table.
    fn carry_out(
        &self,
        verdict: Verdict,
        JudgedTable { attempt, table, successor, round }: JudgedTable,
        plan: &CreatePlan,
        so_far: &mut RoundsSoFar,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        let name = table.name().clone();
        if !matches!(verdict, Verdict::Taken(_)) {
            self.clear(&attempt.target)?;
        }
        match verdict {
            Verdict::Taken(Taken { mutations, in_keeper, caveats }) => {
                let warning = |caveat: &Caveat| Warning::of_table(caveat.kind(), &name, format!("{name}: {caveat}"));
                warnings.extend(caveats.iter().map(warning));
                warnings.extend(attempt.freeze.warning());
                let off_moment = self.off_moment(&attempt.freeze, so_far.fallen.remove(&name));
                warnings.extend(off_moment.iter().map(|reason| off_moment_warning(&name, reason)));
                let taken =
                    TakenTable { attempt, after: table, freezes: so_far.rounds, mutations, in_keeper, off_moment };
                so_far.tree.taken.insert(name, taken);
            }
            Verdict::Retry(reason) if attempt.freeze.wants == WantedState::Listed => {
                tracing::info!(table = %name, %reason, round, "freezing the listed state again");
                so_far.look.parts.remove(&table.key);
                so_far.next.push(attempt.freeze);
            }
            Verdict::Retry(reason) => {
                tracing::info!(table = %name, %reason, round, "freezing again");
                let fallen = so_far.fallen.remove(&name);
                so_far.freeze_again(table, successor, plan, fallen);
            }
            Verdict::FallBack(reason) => {
                tracing::info!(table = %name, %reason, round, "its listed state cannot be had");
                let fallen = FallenBack { reason, after_round: so_far.rounds };
                so_far.freeze_again(table, successor, plan, Some(fallen));
            }
            Verdict::Skipped(reason) => {
                so_far.tree.skipped.insert(name, SkippedTable { table, reason });
            }
        }
        Ok(())
    }

    /// Looks at the server after the parts of unlisted tables are linked. A table that was attached meanwhile is frozen
    /// like any other. Returns the server's present catalog.
    fn look_for_attached(
        &self,
        unlisted: &[UnlistedTable],
        data: &Dir,
        tree: &mut TriedTables,
        next: &mut Vec<TableFreeze>,
        (earlier, warnings): (&CatalogFingerprint, &mut Vec<Warning>),
    ) -> Result<CatalogFingerprint, OpError> {
        let selection = &self.table_freezer.request.selection;
        let now = server::survey_again(self.table_freezer.server, selection.names_system(), earlier)?;
        let is_away = |table: &&UnlistedTable| {
            let is_listed = now.tables.iter().any(|listed| listed.name() == table.table.name());
            table.reason == Unlisted::Since && !is_listed
        };
        let names = unlisted.iter().map(|unlisted| unlisted.table.name());
        let applied = selection.resolved(&names.chain(now.names()));
        let away = unlisted.iter().filter(is_away).filter(|table| !applied.accepts(&table.table));
        warnings.extend(away.map(UnlistedTable::warning));
        for freeze in plan_again(&now, self.disks, self.table_freezer.previous, selection).freeze {
            let name = freeze.table.name();
            let was_linked = tree.taken.remove(name).is_some();
            if was_linked || tree.skipped.remove(name).is_some() {
                self.clear(&SnapshotTableDir::new(data, name))?;
                next.push(freeze);
            }
        }
        Ok(now.look())
    }

    /// Takes the tables that are gone only because they were detached, as any detached table. `last` is the last look.
    fn take_detached(
        &self,
        mut last: Catalog,
        data: &Dir,
        tree: &mut TriedTables,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        let TableFreezer { server, request, context: PlacementContext { local, .. }, .. } = self.table_freezer;
        let is_gone = |table: &SkippedTable| table.reason == TableSkipReason::Gone;
        if !tree.skipped.values().any(is_gone) {
            return Ok(());
        }
        warnings.extend(add_unlisted(server, local, &server::databases(server)?, &mut last)?);
        let selection = request.selection.resolved(&last.names());
        for unlisted in &last.unlisted {
            let UnlistedTable { table, reason, detachment, trouble } = unlisted;
            let same = tree.skipped.get(table.name()).filter(|skipped| is_gone(skipped));
            let is_it = same.is_some_and(|skipped| skipped.table.key.uuid == table.key.uuid);
            if !is_it || *reason == Unlisted::Since || trouble.is_some() || !table.is_merge_tree() {
                continue;
            }
            tree.skipped.remove(table.name());
            self.table_freezer.take_unlisted(std::slice::from_ref(unlisted), data, tree, warnings)?;
            if let Some(taken) = tree.taken.get_mut(table.name()) {
                tree.detached.insert(table.name().clone(), *detachment);
                taken.off_moment = self.off_moment(&taken.attempt.freeze, None);
                let off_moment = taken.off_moment.iter();
                warnings.extend(off_moment.map(|reason| off_moment_warning(table.name(), reason)));
                warnings.extend((!selection.accepts(table)).then(|| unlisted.warning()));
            }
        }
        Ok(())
    }

    /// Why a table that was taken is not of the moment, if one was requested and it is not.
    fn off_moment(&self, freeze: &TableFreeze, fallen: Option<FallenBack>) -> Option<OffMomentReason> {
        let is_off = self.table_freezer.listed.is_some() && freeze.wants == WantedState::Current;
        is_off.then(|| fallen.map_or(OffMomentReason::NotListed, |fallen| fallen.reason))
    }

    /// Removes a table's directory, and what is remembered of it.
    fn clear(&self, target: &SnapshotTableDir) -> Result<(), OpError> {
        self.table_freezer.context.copying.links.forget(&target.path());
        Ok(target.clear()?)
    }

    /// Completes the evidence on a table: its patch parts at the last look, and its broken parts.
    ///
    /// # Errors
    /// If the server refused for a reason that does not concern only this table, or something cannot be read.
    fn gather(&self, mut attempt: TableAttempt, after: &Catalog, round: u32) -> Result<Gathered, OpError> {
        let refused = attempt.refused.take().map(refused).transpose()?;
        let mut gathered = Gathered { refused, broken: Vec::new(), is_broken_on_server: false, attempt, round };
        let before = gathered.attempt.freeze.table.clone();
        let Some(found) = after.find(&before.key).filter(|_| gathered.refused.is_none()) else { return Ok(gathered) };
        let freeze = &gathered.attempt.freeze;
        let names = found.parts.iter().map(|part| &part.name);
        let patches: Vec<PartName> = names.filter(|name| freeze.takes_later_patch(name)).cloned().collect();
        if !patches.is_empty() {
            let (live, dir) = (self.table_freezer.context.local.live(&before)?, gathered.attempt.target.dir()?);
            let path = gathered.attempt.target.path();
            let table_dir = TableDir { table: &before, dir: &dir, path: &path };
            let more = self
                .table_freezer
                .context
                .pool
                .install(|| self.table_freezer.live_parts().take(patches.iter(), &live, table_dir))?;
            gathered.attempt.parts.extend(more);
        }
        mark_foreign_fingerprints(&mut gathered.attempt, found);
        for part in &mut gathered.attempt.parts {
            let missing = missing_files(&part.inspected);
            part.inspected.problems.extend(missing);
        }
        gathered.broken = gathered.attempt.broken();
        if round == ROUNDS && !gathered.broken.is_empty() {
            gathered.is_broken_on_server =
                is_damaged_on_the_server(&gathered.attempt, &self.table_freezer.context.local.live(&before)?);
        }
        Ok(gathered)
    }
}

/// A table after a freeze, with the evidence on it.
struct Gathered {
    attempt: TableAttempt,
    refused: Option<FreezeRefusal>,
    broken: Vec<BrokenPart>,
    is_broken_on_server: bool,
    /// The number of this freeze of the table, from 1.
    round: u32,
}

/// A table with a verdict.
struct JudgedTable {
    attempt: TableAttempt,
    /// The table after the freeze, if it still existed.
    table: Table,
    /// The table that has its name now, if it is gone.
    successor: Option<TableName>,
    /// The number of this freeze of the table, from 1.
    round: u32,
}

/// The results of the rounds so far.
#[derive(Default)]
struct RoundsSoFar {
    tree: TriedTables,
    /// The tables to freeze in the next round.
    next: Vec<TableFreeze>,
    /// The state of the lists that the next look need not read again.
    look: CatalogFingerprint,
    /// Tables that are taken as a freeze finds them, because their listed state is unavailable.
    fallen: BTreeMap<TableName, FallenBack>,
    /// The number of rounds begun.
    rounds: u32,
}

impl RoundsSoFar {
    /// The number of this freeze of a table. A table that fell back starts over.
    fn round_of(&self, table: &TableName) -> u32 {
        self.rounds - self.fallen.get(table).map_or(0, |fallen| fallen.after_round)
    }

    fn is_known(&self, name: &TableName) -> bool {
        let is_next = self.next.iter().any(|freeze| freeze.table.name() == name);
        is_next || self.tree.taken.contains_key(name) || self.tree.skipped.contains_key(name)
    }

    /// Freezes a table, or its successor, again according to the new plan. A table without a plan is skipped.
    fn freeze_again(
        &mut self,
        table: Table,
        successor: Option<TableName>,
        plan: &CreatePlan,
        fallen: Option<FallenBack>,
    ) {
        // In any case its parts are listed again, instead of being taken for the same ones.
        self.look.parts.remove(&table.key);
        let name = table.name().clone();
        let again = successor.unwrap_or_else(|| name.clone());
        let Some(freeze) = plan.freeze.iter().find(|freeze| *freeze.table.name() == again) else {
            self.tree.skipped.insert(name, SkippedTable { table, reason: TableSkipReason::Gone });
            return;
        };
        self.next.push(freeze.clone());
        if let Some(fallen) = fallen {
            self.fallen.insert(again, fallen);
        }
    }
}

/// A table whose listed state is unavailable.
struct FallenBack {
    reason: OffMomentReason,
    /// The last round that tried to get it.
    after_round: u32,
}

fn off_moment_warning(name: &TableName, reason: &OffMomentReason) -> Warning {
    let message = format!("{name} is not of the snapshot's moment but of the time of its freeze: {reason}");
    Warning::of_table(WarningKind::OffMoment, name, message)
}

impl Gathered {
    /// The verdict, and its subject: the table after the freeze, if it still existed.
    fn judge(&self, after: &Catalog, successor: Option<&TableName>, listed: Option<&ListedTables>) -> (Verdict, Table) {
        let Self { attempt, refused, broken, is_broken_on_server, round } = self;
        let before = &attempt.freeze.table;
        let found = after.find(&before.key);
        let listed = listed.filter(|_| attempt.freeze.wants == WantedState::Listed).map(|listed| ListedEvidence {
            missing: attempt.missing(),
            directories: attempt.directories,
            lifetime_secs: listed.lifetime_secs(before),
        });
        let verdict = judge(&Evidence {
            before,
            after: found,
            successor,
            scope: &attempt.freeze.scope,
            taken: &attempt.frozen(),
            refused: refused.as_ref(),
            definition: attempt.definition_read(),
            without_version: attempt.lost_version(),
            broken,
            is_broken_on_server: *is_broken_on_server,
            is_linked_live: attempt.freeze.remote.is_some(),
            not_summed: attempt.digests_failed.as_deref(),
            listed,
            round: *round,
        });
        (verdict, found.unwrap_or(before).clone())
    }

    /// Whether the table no longer exists under its name and UUID.
    fn is_gone(&self, after: &Catalog) -> bool {
        self.refused == Some(FreezeRefusal::NoTable) || after.find(&self.attempt.freeze.table.key).is_none()
    }
}

/// # Errors
/// If the refusal concerns more than one table: a snapshot without it, and perhaps without the rest, is not what was
/// requested.
fn refused(refusal: FreezeFailure) -> Result<FreezeRefusal, OpError> {
    let error = match refusal {
        FreezeFailure::Server(error) => error,
        FreezeFailure::OutOfReach(reason) => return Ok(FreezeRefusal::Table(reason)),
        FreezeFailure::Directory(error) => {
            let error = crate::monitor::chain(&error);
            return Ok(FreezeRefusal::Table(format!("its directory cannot be opened: {error}")));
        }
    };
    if error.code() == Some(code::READONLY) || error.is_full_disk() {
        return Err(error.into());
    }
    Ok(if error.is_table_gone() {
        FreezeRefusal::NoTable
    } else if error.code() == Some(code::ACCESS_DENIED) {
        FreezeRefusal::Forbidden(error.to_string())
    } else if error.is_counter_race() {
        FreezeRefusal::CounterRace(error.to_string())
    } else {
        FreezeRefusal::Table(error.to_string())
    })
}

/// Marks parts whose fingerprint, derived from their checksums, differs from the one that the server reports.
fn mark_foreign_fingerprints(attempt: &mut TableAttempt, after: &Table) {
    let before = &attempt.freeze.table;
    // The part that the server now has under a listed name may be another one.
    let is_same = attempt.freeze.wants == WantedState::Listed || Arc::ptr_eq(&before.parts, &after.parts);
    let later = if is_same { &[] } else { after.parts.as_slice() };
    let listed: BTreeMap<_, _> =
        (before.parts.iter().chain(later)).filter_map(|part| Some((&part.name, part.fingerprint?))).collect();
    for part in &mut attempt.parts {
        if let (Some(derived), Some(server)) = (part.inspected.fingerprint, listed.get(&part.name))
            && derived != *server
        {
            let problem = format!("its checksums give the fingerprint {derived}, and the server says {server}");
            part.inspected.problems.push(problem);
        }
    }
}

/// Names the files that every part has, in itself or in its archive, and this one lacks. FREEZE succeeds although the files
/// of a part are gone, and no checksum covers these two.
fn missing_files(inspected: &Inspected) -> Vec<String> {
    let has = |name: &str| inspected.uncovered.find(name).is_some();
    let names = ["checksums.txt", "columns.txt"].into_iter().filter(|name| !has("data.packed") && !has(name));
    names.map(|name| format!("its file {name} is missing")).collect()
}

/// Whether every part with a problem has the same problem in the live directory.
fn is_damaged_on_the_server(attempt: &TableAttempt, live: &[LiveTable]) -> bool {
    attempt.parts.iter().filter(|part| !part.inspected.problems.is_empty()).all(|part| {
        let same = |table: &LiveTable| {
            let live = table.dir.open_dir(part.name.as_str()).and_then(|dir| crate::exec::inspect_part(&dir));
            live.is_ok_and(|mut live| {
                let missing = missing_files(&live);
                live.problems.extend(missing);
                live.problems == part.inspected.problems
            })
        };
        live.iter().any(same)
    })
}
