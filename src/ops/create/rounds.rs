//! Freezing table by table, and again what moved meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::exec::LiveTable;
use crate::fs::Dir;
use crate::model::{Catalog, FreezeName, Table, TableName, escape_for_file_name};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, Scope, TableFreeze, Verdict, assess, carried_mutations, plan_create};
use crate::repo::{Incoming, Repository};
use crate::server::{self, Disk, code};

use super::disks::{LocalDisk, foreign_disk};
use super::request::Clock;
use super::table::{Attempt, Definition, Taker, clear, take_patches};
use super::written::{Previous, previous_inodes};

/// A table that changes whenever it is frozen is given up after this many freezes.
const ROUNDS: u32 = 3;

/// Takes the planned tables, each as often as it needs.
pub(super) struct Rounds<'a> {
    pub(super) taker: Taker<'a>,
    pub(super) now: Clock<'a>,
    /// All disks of the server.
    pub(super) disks: &'a [Disk],
}

/// A table that stands in the snapshot.
#[derive(Debug)]
pub(super) struct TakenTable {
    pub(super) attempt: Attempt,
    /// As it was after the freeze.
    pub(super) after: Table,
    pub(super) freezes: u32,
    /// Files of unfinished mutations to carry.
    pub(super) mutations: Vec<String>,
}

/// All tables that were tried.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) taken: BTreeMap<TableName, TakenTable>,
    pub(super) skipped: BTreeMap<TableName, (Table, String)>,
    pub(super) previous: Option<Previous>,
}

enum Outcome {
    Taken(Box<TakenTable>),
    Again(Table, String),
    Skipped(Table, String),
    Gone(Table),
}

impl Rounds<'_> {
    /// Takes the planned tables.
    ///
    /// # Errors
    /// If the server or the filesystem fails in a way that concerns more than one table, or no table could be taken.
    pub(super) fn run(
        &self,
        repository: &Repository,
        incoming: &mut Incoming<'_>,
        planned: Vec<TableFreeze>,
        warnings: &mut Vec<String>,
    ) -> Result<Tree, OpError> {
        let count = planned.len();
        let planned_names: BTreeSet<TableName> = planned.iter().map(|freeze| freeze.table.name().clone()).collect();
        let parts: usize = planned.iter().map(|freeze| freeze.parts().count()).sum();
        let total = Work { tables: count as u64, parts: parts as u64, ..Work::default() };
        for stage in [Stage::Freeze, Stage::Place, Stage::Seal] {
            self.taker.stages.start(stage, Some(total));
        }
        let data = incoming.dir().ensure_dir("data", 0o750)?;
        if let Some(own) = self.taker.local.own() {
            data.set_ownership(own.dir.stat_self()?.ownership)?;
        }
        let mut tree = Tree::default();
        let mut next = planned;
        for round in 1..=ROUNDS {
            if next.is_empty() {
                break;
            }
            let name = incoming.announce_freeze((self.now)())?;
            let first = round == 1;
            let (mut attempts, previous) = self.take_all(std::mem::take(&mut next), &data, &name, incoming, || {
                if first { previous_inodes(repository) } else { Ok(None) }
            })?;
            if first {
                tree.previous = previous;
            }
            self.ask_for_definitions(&mut attempts)?;
            let after = server::survey(self.taker.server, self.taker.request.selection.names_system())?;
            let plan = plan_create(&after, &self.taker.request.selection, |table| foreign_disk(self.disks, table));
            let mut gone = Vec::new();
            for attempt in attempts {
                let database = data.open_dir(escape_for_file_name(&attempt.freeze.table.name().database))?;
                let file_name = escape_for_file_name(&attempt.freeze.table.name().table);
                match self.judge(attempt, &after, round, warnings)? {
                    Outcome::Taken(taken) => {
                        tree.taken.insert(taken.after.name().clone(), *taken);
                    }
                    Outcome::Again(table, reason) => {
                        tracing::info!(table = %table.name(), reason, round, "freezing again");
                        clear(&database, &file_name)?;
                        next.extend(plan.freeze.iter().find(|freeze| freeze.table.name() == table.name()).cloned());
                    }
                    Outcome::Skipped(table, reason) => {
                        clear(&database, &file_name)?;
                        tree.skipped.insert(table.name().clone(), (table, reason));
                    }
                    Outcome::Gone(table) => {
                        clear(&database, &file_name)?;
                        gone.push(table);
                    }
                }
            }
            follow_renames(gone, &plan, &planned_names, &mut next, &mut tree, round);
        }
        self.taker.stages.finish(Stage::Freeze);
        self.taker.stages.finish(Stage::Place);
        for (name, (_, reason)) in &tree.skipped {
            warnings.push(format!("{name} is not in the snapshot: {reason}"));
        }
        match tree.skipped.first_key_value() {
            Some((name, (_, reason))) if tree.taken.is_empty() => {
                Err(OpError::NothingTaken { count, first: format!("{name}: {reason}") })
            }
            _ => Ok(tree),
        }
    }

    /// Asks the server for the definitions whose files cannot be read here.
    ///
    /// Before the second look, as the files are read: a definition that is the same at both looks is the one that was
    /// in force when its table was frozen.
    fn ask_for_definitions(&self, attempts: &mut [Attempt]) -> Result<(), OpError> {
        if attempts.iter().all(|attempt| attempt.definition.is_some() || attempt.refused.is_some()) {
            return Ok(());
        }
        let mut printed = server::definitions(self.taker.server, self.taker.request.selection.names_system())?;
        for attempt in attempts.iter_mut().filter(|attempt| attempt.definition.is_none()) {
            let text = printed.remove(attempt.freeze.table.name());
            attempt.definition = text.map(|text| Definition { text: text.into_bytes(), is_file: false });
        }
        Ok(())
    }

    /// Takes tables at once, as many as `--freeze-jobs` says; `beside` runs meanwhile.
    fn take_all<T: Send>(
        &self,
        freezes: Vec<TableFreeze>,
        data: &Dir,
        name: &FreezeName,
        incoming: &Incoming<'_>,
        beside: impl FnOnce() -> Result<T, OpError> + Send,
    ) -> Result<(Vec<Attempt>, T), OpError> {
        let mut queue = VecDeque::new();
        for (number, freeze) in freezes.into_iter().enumerate() {
            let target = self.target(data, &freeze.table)?;
            let query_id = format!("{}-{}-{number}", incoming.intent().query_id_prefix, name.as_str());
            queue.push_back((freeze, target, query_id));
        }
        let queue = Mutex::new(queue);
        let done = Mutex::new((Vec::new(), None));
        // Takes the next table; whether that asked the server for a freeze.
        let take_next = || -> Option<bool> {
            let (freeze, target, query_id) = queue.lock().expect("no thread panics with the queue").pop_front()?;
            let asks = freeze.scope != Scope::Nothing;
            let result = if self.taker.server.interrupted().load(Ordering::Relaxed) {
                Err(OpError::Interrupted)
            } else {
                self.taker.take(freeze, target, name, &query_id)
            };
            let mut done = done.lock().expect("no thread panics with the results");
            match result {
                Ok(attempt) => done.0.push(attempt),
                Err(error) => {
                    done.1.get_or_insert(error);
                    queue.lock().expect("no thread panics with the queue").clear();
                }
            }
            Some(asks)
        };
        let beside = std::thread::scope(|scope| {
            let beside = scope.spawn(|| self.taker.pool.install(beside));
            if !self.has_counter() {
                while take_next() == Some(false) {}
            }
            for _ in 0..self.taker.request.freeze_jobs.max(1) {
                scope.spawn(|| while take_next().is_some() {});
            }
            beside.join().expect("reading the previous snapshot does not panic")
        });
        let (attempts, error) = done.into_inner().expect("no thread panics with the results");
        match error {
            Some(error) => Err(error),
            None => Ok((attempts, beside?)),
        }
    }

    /// Whether the server has the counter of its freezes already. The freeze that makes it must be alone: another one
    /// at that moment finds it empty, and fails.
    fn has_counter(&self) -> bool {
        let counter = |own: &LocalDisk| {
            own.dir.find_beneath(Path::new("shadow"))?.map_or(Ok(None), |dir| dir.find("increment.txt"))
        };
        self.taker.local.own().is_some_and(|own| counter(own).is_ok_and(|found| found.is_some()))
    }

    /// Makes the directory of a table in the snapshot, owned as the live one is.
    fn target(&self, data: &Dir, table: &Table) -> Result<Dir, OpError> {
        let database = data.ensure_dir(escape_for_file_name(&table.name().database), 0o750)?;
        let target = database.ensure_dir(escape_for_file_name(&table.name().table), 0o750)?;
        let mut paths = table.data_paths.iter();
        let live = paths.find_map(|path| self.taker.local.open_live(path).ok().flatten().map(|dir| (path, dir)));
        if let Some((path, dir)) = live {
            let ownership = dir.stat_self()?.ownership;
            target.set_ownership(ownership)?;
            let above = path.parent().and_then(|above| self.taker.local.open_live(above).ok().flatten());
            database.set_ownership(above.map_or(Ok(ownership), |dir| dir.stat_self().map(|stat| stat.ownership))?)?;
        }
        Ok(target)
    }

    fn judge(
        &self,
        mut attempt: Attempt,
        after: &Catalog,
        round: u32,
        warnings: &mut Vec<String>,
    ) -> Result<Outcome, OpError> {
        let before = attempt.freeze.table.clone();
        let last = round == ROUNDS;
        if let Some(error) = attempt.refused.take() {
            if error.code() == Some(code::READONLY) {
                return Err(error.into());
            }
            return Ok(if error.is_table_gone() {
                Outcome::Gone(before)
            } else if error.is_counter_race() && !last {
                Outcome::Again(before, error.to_string())
            } else {
                Outcome::Skipped(before, error.to_string())
            });
        }
        let found = after.find(&before.key);
        if let Some(found) = found {
            let patches = found.parts.iter().map(|part| &part.name).filter(|name| name.is_patch());
            let more = self.taker.pool.install(|| take_patches(patches, &attempt.live, &attempt.target))?;
            attempt.parts.extend(more);
        }
        let frozen = attempt.frozen();
        let mut verdict = assess(&before, found, &attempt.freeze.scope, &frozen);
        if let (Verdict::Taken | Verdict::MutationsMoved(_), Some(found)) = (&verdict, found) {
            if attempt.definition.is_none() {
                verdict = Verdict::Again("its definition could not be read".to_owned());
            }
            if let Some(part) = attempt.lost_version() {
                let reason = format!("the metadata version of its part {part} could not be had");
                if last {
                    warnings.push(format!("{}: {reason}", before.name()));
                } else {
                    verdict = Verdict::Again(reason);
                }
            }
            mark_foreign_fingerprints(&mut attempt, &before, found);
            if let Some(problem) = attempt.problem()
                && !(last && is_damaged_on_the_server(&attempt))
            {
                verdict = Verdict::Again(problem);
            }
        }
        let Some(found) = found.cloned() else { return Ok(Outcome::Gone(before)) };
        match verdict {
            Verdict::Gone => return Ok(Outcome::Gone(before)),
            Verdict::Again(reason) if last => return Ok(Outcome::Skipped(found, format!("{reason}, {ROUNDS} times"))),
            Verdict::MutationsMoved(reason) if !last => return Ok(Outcome::Again(found, reason)),
            Verdict::Again(reason) => return Ok(Outcome::Again(found, reason)),
            Verdict::MutationsMoved(reason) => warnings.push(format!(
                "{}: {reason}, {ROUNDS} times; the snapshot is its state before the mutations that it does not carry",
                found.name()
            )),
            Verdict::Taken => {}
        }
        for part in attempt.parts.iter().filter(|part| !part.inspected.problems.is_empty()) {
            let problems = part.inspected.problems.join("; ");
            warnings.push(format!("{}: part {} is damaged on the server: {problems}", found.name(), part.name));
        }
        let (mutations, in_keeper) = carried_mutations(&before, &found, &frozen);
        if !in_keeper.is_empty() {
            warnings.push(format!(
                "{}: the unfinished mutations {} are kept in Keeper and not in the snapshot",
                found.name(),
                in_keeper.join(", ")
            ));
        }
        Ok(Outcome::Taken(Box::new(TakenTable { attempt, after: found, freezes: round, mutations })))
    }
}

/// The fingerprint derived from a part's checksums must be the one that the server gives for it.
fn mark_foreign_fingerprints(attempt: &mut Attempt, before: &Table, after: &Table) {
    let listed: BTreeMap<_, _> =
        before.parts.iter().chain(&after.parts).filter_map(|part| Some((&part.name, part.fingerprint?))).collect();
    for part in &mut attempt.parts {
        if let (Some(derived), Some(server)) = (part.inspected.fingerprint, listed.get(&part.name))
            && derived != *server
        {
            let problem = format!("its checksums give the fingerprint {derived}, and the server says {server}");
            part.inspected.problems.push(problem);
        }
    }
}

/// A table that is gone was dropped or renamed. What stands under a name that was not there before, and under the
/// same UUID or where tables have none, is taken in the next round.
fn follow_renames(
    gone: Vec<Table>,
    plan: &CreatePlan,
    planned: &BTreeSet<TableName>,
    next: &mut Vec<TableFreeze>,
    tree: &mut Tree,
    round: u32,
) {
    for table in gone {
        let known = |name: &TableName| tree.taken.contains_key(name) || tree.skipped.contains_key(name);
        let heir = plan.freeze.iter().find(|freeze| {
            let heir = &freeze.table;
            let same = match (&heir.key.uuid, &table.key.uuid) {
                (Some(a), Some(b)) => a == b || heir.name() == table.name(),
                _ => heir.engine == table.engine && !planned.contains(heir.name()),
            };
            same && !known(heir.name()) && !next.iter().any(|other| other.table.name() == heir.name())
        });
        match heir {
            Some(heir) if round < ROUNDS => next.push(heir.clone()),
            _ => {
                let reason = "it was dropped or renamed while the snapshot was made".to_owned();
                tree.skipped.insert(table.name().clone(), (table, reason));
            }
        }
    }
}

/// Whether every part with a problem has the same problem in the live directory.
fn is_damaged_on_the_server(attempt: &Attempt) -> bool {
    attempt.parts.iter().filter(|part| !part.inspected.problems.is_empty()).all(|part| {
        let same = |table: &LiveTable| {
            let live = table.dir.open_dir(part.name.as_str()).and_then(|dir| crate::exec::inspect_part(&dir));
            live.is_ok_and(|live| live.problems == part.inspected.problems)
        };
        attempt.live.iter().any(same)
    })
}
