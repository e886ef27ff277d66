//! Freezing table by table, and again what moved meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::exec::LiveTable;
use crate::fs::Dir;
use crate::model::{Catalog, Look, PartName, Table, TableName, Unlisted, UnlistedTable, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::ops::unlisted::add_unlisted;
use crate::plan::{
    BrokenPart, Caveat, Evidence, ROUNDS, Refused, TableFreeze, TableSkipReason, Taken, Verdict, heir, judge,
};
use crate::repo::{DATA, Incoming};
use crate::server::{self, Disk, code};

use super::attempt::{Attempt, Refusal, Target};
use super::landing::Landing;
use super::request::Clock;
use super::round::Round;
use super::survey::plan_again;
use super::taker::Taker;
use super::tree::{SkippedTable, TakenTable, Tree};

/// Takes the planned tables, each as often as it needs.
pub(super) struct Rounds<'a> {
    pub(super) taker: Taker<'a>,
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
        first_look: Look,
        warnings: &mut Vec<Warning>,
    ) -> Result<Tree, OpError> {
        let count = planned.len();
        let planned_names: BTreeSet<TableName> = planned.iter().map(|freeze| freeze.table.name().clone()).collect();
        let data = incoming.dir().ensure_dir(DATA, 0o750)?;
        if let Some(own) = self.taker.local.own() {
            self.taker.copying.give(&data, own.dir.stat_self()?.ownership)?;
        }
        let mut tree = Tree::default();
        let mut next = planned;
        let mut look = first_look;
        let mut last = None;
        if !unlisted.is_empty() {
            self.taker.take_unlisted(unlisted, &data, &mut tree, warnings)?;
            look = self.look_for_attached(unlisted, &data, &mut tree, &mut next, (&look, warnings))?;
        }
        for round in 1..=ROUNDS {
            if next.is_empty() {
                break;
            }
            let name = incoming.announce_freeze((self.now)())?;
            let Round { attempts, after, functions } =
                self.taker.round(std::mem::take(&mut next), &data, &name, incoming, &look)?;
            look = after.look();
            last = Some(after);
            let after = last.as_ref().expect("it was just put there");
            tree.functions = Some(functions);
            let plan = plan_again(after, self.disks, self.taker.previous, &self.taker.request.selection);
            let mut gathered: Vec<Gathered> = attempts
                .into_iter()
                .map(|attempt| self.gather(attempt, after, round))
                .collect::<Result<_, OpError>>()?;
            // What is gone comes last: its heir is a table that none of the others is.
            gathered.sort_by_key(|gathered| gathered.is_gone(after));
            for gathered in gathered {
                let is_known = |name: &TableName| {
                    let is_next = next.iter().any(|freeze: &TableFreeze| freeze.table.name() == name);
                    is_next || tree.taken.contains_key(name) || tree.skipped.contains_key(name)
                };
                let is_gone = gathered.is_gone(after);
                let heir =
                    is_gone.then(|| heir(&gathered.attempt.freeze.table, &plan, &planned_names, is_known)).flatten();
                let heir = heir.map(|heir| heir.table.name().clone());
                let (verdict, table) = gathered.judge(after, heir.as_ref(), round);
                let (attempt, name) = (gathered.attempt, table.name().clone());
                match verdict {
                    Verdict::Taken(Taken { mutations, caveats }) => {
                        let warning =
                            |caveat: &Caveat| Warning::of_table(caveat.kind(), &name, format!("{name}: {caveat}"));
                        warnings.extend(caveats.iter().map(warning));
                        warnings.extend(attempt.freeze.warning());
                        tree.taken.insert(name, TakenTable { attempt, after: table, freezes: round, mutations });
                    }
                    Verdict::Retry(reason) => {
                        tracing::info!(table = %name, %reason, round, "freezing again");
                        self.clear(&attempt.target)?;
                        // Whatever it was, its parts are listed again and not taken for the same ones.
                        look.parts.remove(&table.key);
                        let again = heir.as_ref().unwrap_or(&name);
                        if let Some(freeze) = plan.freeze.iter().find(|freeze| freeze.table.name() == again) {
                            next.push(freeze.clone());
                        } else {
                            tree.skipped.insert(name, SkippedTable { table, reason: TableSkipReason::Gone });
                        }
                    }
                    Verdict::Skipped(reason) => {
                        self.clear(&attempt.target)?;
                        tree.skipped.insert(name, SkippedTable { table, reason });
                    }
                }
            }
        }
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

    /// Looks at the server once the parts of unlisted tables are linked. A table that was attached meanwhile is frozen as any
    /// other. The answer is what the server lists now.
    fn look_for_attached(
        &self,
        unlisted: &[UnlistedTable],
        data: &Dir,
        tree: &mut Tree,
        next: &mut Vec<TableFreeze>,
        (earlier, warnings): (&Look, &mut Vec<Warning>),
    ) -> Result<Look, OpError> {
        let selection = &self.taker.request.selection;
        let now = server::survey_again(self.taker.server, selection.names_system(), earlier)?;
        let is_away = |table: &&UnlistedTable| {
            let is_listed = now.tables.iter().any(|listed| listed.name() == table.table.name());
            table.reason == Unlisted::Since && !is_listed
        };
        let names = unlisted.iter().map(|unlisted| unlisted.table.name());
        let applied = selection.resolved(&names.chain(now.names()));
        let away = unlisted.iter().filter(is_away).filter(|table| !applied.accepts(&table.table));
        warnings.extend(away.map(UnlistedTable::warning));
        for freeze in plan_again(&now, self.disks, self.taker.previous, selection).freeze {
            let name = freeze.table.name();
            let was_linked = tree.taken.remove(name).is_some();
            if was_linked || tree.skipped.remove(name).is_some() {
                self.clear(&Target::new(data, name))?;
                next.push(freeze);
            }
        }
        Ok(now.look())
    }

    /// Takes those of the tables that are gone which are only detached, as any detached table. `last` is the last look.
    fn take_detached(
        &self,
        mut last: Catalog,
        data: &Dir,
        tree: &mut Tree,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        let Taker { server, local, request, .. } = self.taker;
        let is_gone = |table: &SkippedTable| table.reason == TableSkipReason::Gone;
        if !tree.skipped.values().any(is_gone) {
            return Ok(());
        }
        warnings.extend(add_unlisted(server, local, &server::databases(server)?, &mut last)?);
        let selection = request.selection.resolved(&last.names());
        for unlisted in &last.unlisted {
            let UnlistedTable { table, reason, trouble } = unlisted;
            let same = tree.skipped.get(table.name()).filter(|skipped| is_gone(skipped));
            let is_it = same.is_some_and(|skipped| skipped.table.key.uuid == table.key.uuid);
            if !is_it || *reason == Unlisted::Since || trouble.is_some() || !table.is_merge_tree() {
                continue;
            }
            tree.skipped.remove(table.name());
            self.taker.take_unlisted(std::slice::from_ref(unlisted), data, tree, warnings)?;
            if tree.taken.contains_key(table.name()) {
                tree.detached.insert(table.name().clone());
                warnings.extend((!selection.accepts(table)).then(|| unlisted.warning()));
            }
        }
        Ok(())
    }

    /// Takes away what stands of a table, and what is remembered of it.
    fn clear(&self, target: &Target) -> Result<(), OpError> {
        self.taker.copying.links.forget(&target.path());
        Ok(target.clear()?)
    }

    /// Completes the evidence on a table: its patch parts of the last look, and what is broken in it.
    ///
    /// # Errors
    /// If the server refused for a reason that is not about this table, or something cannot be read.
    fn gather(&self, mut attempt: Attempt, after: &Catalog, round: u32) -> Result<Gathered, OpError> {
        let refused = attempt.refused.take().map(refused).transpose()?;
        let mut gathered = Gathered { refused, broken: Vec::new(), is_broken_on_server: false, attempt };
        let before = gathered.attempt.freeze.table.clone();
        let Some(found) = after.find(&before.key).filter(|_| gathered.refused.is_none()) else { return Ok(gathered) };
        let freeze = &gathered.attempt.freeze;
        let names = found.parts.iter().map(|part| &part.name);
        let patches: Vec<PartName> = names.filter(|name| freeze.takes_patch(name)).cloned().collect();
        if !patches.is_empty() {
            let (live, dir) = (self.taker.local.live(&before)?, gathered.attempt.target.dir()?);
            let path = gathered.attempt.target.path();
            let landing = Landing { table: &before, dir: &dir, path: &path };
            let more = self.taker.pool.install(|| self.taker.live_parts().take(patches.iter(), &live, landing))?;
            gathered.attempt.parts.extend(more);
        }
        mark_foreign_fingerprints(&mut gathered.attempt, &before, found);
        gathered.broken = gathered.attempt.broken();
        if round == ROUNDS && !gathered.broken.is_empty() {
            gathered.is_broken_on_server =
                is_damaged_on_the_server(&gathered.attempt, &self.taker.local.live(&before)?);
        }
        Ok(gathered)
    }
}

/// A table after a freeze, with what was found of it.
struct Gathered {
    attempt: Attempt,
    refused: Option<Refused>,
    broken: Vec<BrokenPart>,
    is_broken_on_server: bool,
}

impl Gathered {
    /// The verdict, and what the verdict is about: the table as it was after the freeze, where it was there.
    fn judge(&self, after: &Catalog, heir: Option<&TableName>, round: u32) -> (Verdict, Table) {
        let Self { attempt, refused, broken, is_broken_on_server } = self;
        let before = &attempt.freeze.table;
        let found = after.find(&before.key);
        let verdict = judge(&Evidence {
            before,
            after: found,
            heir,
            scope: &attempt.freeze.scope,
            taken: &attempt.frozen(),
            refused: refused.as_ref(),
            definition: attempt.definition_read(),
            without_version: attempt.lost_version(),
            broken,
            is_broken_on_server: *is_broken_on_server,
            is_linked_live: attempt.freeze.remote.is_some(),
            not_summed: attempt.digests_failed.as_deref(),
            round,
        });
        (verdict, found.unwrap_or(before).clone())
    }

    /// Whether the table is not there any more under its name and UUID.
    fn is_gone(&self, after: &Catalog) -> bool {
        self.refused == Some(Refused::NoTable) || after.find(&self.attempt.freeze.table.key).is_none()
    }
}

/// # Errors
/// If the refusal is not about one table: a snapshot without it, and perhaps without the rest, is not what was asked for.
fn refused(refusal: Refusal) -> Result<Refused, OpError> {
    let error = match refusal {
        Refusal::Server(error) => error,
        Refusal::OutOfReach(reason) => return Ok(Refused::Table(reason)),
        Refusal::Directory(error) => {
            let error = crate::monitor::chain(&error);
            return Ok(Refused::Table(format!("its directory cannot be opened: {error}")));
        }
    };
    if error.code() == Some(code::READONLY) || error.is_full_disk() {
        return Err(error.into());
    }
    Ok(if error.is_table_gone() {
        Refused::NoTable
    } else if error.code() == Some(code::ACCESS_DENIED) {
        Refused::Forbidden(error.to_string())
    } else if error.is_counter_race() {
        Refused::CounterRace(error.to_string())
    } else {
        Refused::Table(error.to_string())
    })
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
