//! Freezing table by table, and again what moved meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::exec::LiveTable;
use crate::model::{Catalog, Look, Table, TableName, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, TableFreeze, Verdict, assess, carried_mutations, plan_create};
use crate::repo::Incoming;
use crate::server::{Disk, FunctionRow, code};

use super::bring::Landing;
use super::request::Clock;
use super::round::Round;
use super::table::{Attempt, Taker, Target};
use crate::ops::disks::foreign_disk;

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
    /// The server's functions at the last look, where there was one and they belong in the snapshot.
    pub(super) functions: Option<Vec<FunctionRow>>,
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
        incoming: &mut Incoming<'_>,
        planned: Vec<TableFreeze>,
        first_look: Look,
        warnings: &mut Vec<Warning>,
    ) -> Result<Tree, OpError> {
        let count = planned.len();
        let planned_names: BTreeSet<TableName> = planned.iter().map(|freeze| freeze.table.name().clone()).collect();
        let data = incoming.dir().ensure_dir("data", 0o750)?;
        if let Some(own) = self.taker.local.own() {
            self.taker.copying.give(&data, own.dir.stat_self()?.ownership)?;
        }
        let mut tree = Tree::default();
        let mut next = planned;
        let mut look = first_look;
        for round in 1..=ROUNDS {
            if next.is_empty() {
                break;
            }
            let name = incoming.announce_freeze((self.now)())?;
            let Round { attempts, after, functions } =
                self.taker.round(std::mem::take(&mut next), &data, &name, incoming, &look)?;
            look = after.look();
            tree.functions = Some(functions);
            let plan = plan_create(&after, &self.taker.request.selection, |table| foreign_disk(self.disks, table));
            let mut gone = Vec::new();
            for attempt in attempts {
                let target = attempt.target.clone();
                match self.judge(attempt, &after, round, warnings)? {
                    Outcome::Taken(taken) => {
                        tree.taken.insert(taken.after.name().clone(), *taken);
                    }
                    Outcome::Again(table, reason) => {
                        tracing::info!(table = %table.name(), reason, round, "freezing again");
                        self.clear(&target)?;
                        // Whatever it was, its parts are listed anew and not taken for the same ones.
                        look.parts.remove(&table.key);
                        next.extend(plan.freeze.iter().find(|freeze| freeze.table.name() == table.name()).cloned());
                    }
                    Outcome::Skipped(table, reason) => {
                        self.clear(&target)?;
                        tree.skipped.insert(table.name().clone(), (table, reason));
                    }
                    Outcome::Gone(table) => {
                        self.clear(&target)?;
                        gone.push(table);
                    }
                }
            }
            follow_renames(gone, &plan, &planned_names, &mut next, &mut tree, round);
        }
        for (name, (_, reason)) in &tree.skipped {
            let message = format!("{name} is not in the snapshot: {reason}");
            warnings.push(Warning::of_table(WarningKind::TableSkipped, name, message));
        }
        match tree.skipped.first_key_value() {
            Some((name, (_, reason))) if tree.taken.is_empty() => {
                Err(OpError::NothingTaken { count, first: format!("{name}: {reason}") })
            }
            _ => Ok(tree),
        }
    }

    /// Takes away what stands of a table, and what is remembered of it.
    fn clear(&self, target: &Target) -> Result<(), OpError> {
        self.taker.copying.links.forget(&target.path());
        Ok(target.clear()?)
    }

    fn judge(
        &self,
        mut attempt: Attempt,
        after: &Catalog,
        round: u32,
        warnings: &mut Vec<Warning>,
    ) -> Result<Outcome, OpError> {
        let before = attempt.freeze.table.clone();
        let last = round == ROUNDS;
        if let Some(error) = attempt.refused.take() {
            // Neither is about this table: a snapshot without it, and perhaps without the rest, is not what was asked.
            if error.code() == Some(code::READONLY) || error.is_full_disk() {
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
            let mut patches = found.parts.iter().map(|part| &part.name).filter(|name| name.is_patch()).peekable();
            if patches.peek().is_some() {
                let (live, dir) = (self.taker.local.live(&before)?, attempt.target.dir()?);
                let path = attempt.target.path();
                let landing = Landing { table: &before, dir: &dir, path: &path };
                let more = self.taker.pool.install(|| self.taker.take_patches(patches, &live, landing))?;
                attempt.parts.extend(more);
            }
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
                    let message = format!("{}: {reason}", before.name());
                    warnings.push(Warning::of_table(WarningKind::MetadataVersionLost, before.name(), message));
                } else {
                    verdict = Verdict::Again(reason);
                }
            }
            mark_foreign_fingerprints(&mut attempt, &before, found);
            if let Some(problem) = attempt.problem()
                && !(last && is_damaged_on_the_server(&attempt, &self.taker.local.live(&before)?))
            {
                verdict = Verdict::Again(problem);
            }
        }
        let Some(found) = found.cloned() else { return Ok(Outcome::Gone(before)) };
        let name = found.name().clone();
        let mut warn = |kind, text: String| warnings.push(Warning::of_table(kind, &name, format!("{name}: {text}")));
        match verdict {
            Verdict::Gone => return Ok(Outcome::Gone(before)),
            Verdict::Again(reason) if last => return Ok(Outcome::Skipped(found, format!("{reason}, {ROUNDS} times"))),
            Verdict::MutationsMoved(reason) if !last => return Ok(Outcome::Again(found, reason)),
            Verdict::Again(reason) => return Ok(Outcome::Again(found, reason)),
            Verdict::MutationsMoved(reason) => warn(
                WarningKind::MutationsMoved,
                format!(
                    "{reason}, {ROUNDS} times; the snapshot is its state before the mutations that it does not carry"
                ),
            ),
            Verdict::Taken => {}
        }
        for part in &attempt.parts {
            let problems: Vec<&str> =
                part.inspected.problems.iter().chain(&part.extra.damage).map(String::as_str).collect();
            if problems.is_empty() {
                continue;
            }
            let problems = problems.join("; ");
            warn(WarningKind::DamagedOnServer, format!("part {} is damaged on the server: {problems}", part.name));
        }
        if let Some(reason) = &attempt.digests_failed {
            warn(WarningKind::RowsNotSummed, format!("its rows are not summed: {reason}"));
        }
        let (mutations, in_keeper) = carried_mutations(&before, &found, &frozen);
        if !in_keeper.is_empty() {
            let names = in_keeper.join(", ");
            warn(
                WarningKind::MutationsInKeeper,
                format!("the unfinished mutations {names} are kept in Keeper and not in the snapshot"),
            );
        }
        Ok(Outcome::Taken(Box::new(TakenTable { attempt, after: found, freezes: round, mutations })))
    }
}

/// The fingerprint derived from a part's checksums must be the one that the server gives for it.
fn mark_foreign_fingerprints(attempt: &mut Attempt, before: &Table, after: &Table) {
    let later = if Arc::ptr_eq(&before.parts, &after.parts) { &[] } else { after.parts.as_slice() };
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
fn is_damaged_on_the_server(attempt: &Attempt, live: &[LiveTable]) -> bool {
    attempt.parts.iter().filter(|part| !part.inspected.problems.is_empty()).all(|part| {
        let same = |table: &LiveTable| {
            let live = table.dir.open_dir(part.name.as_str()).and_then(|dir| crate::exec::inspect_part(&dir));
            live.is_ok_and(|live| live.problems == part.inspected.problems)
        };
        live.iter().any(same)
    })
}
