//! Tables that the server does not list: their parts are linked from their directories.

use std::collections::BTreeSet;

use crate::exec::{ExecError, LiveTable};
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{
    PartName, Unlisted, UnlistedTable, Warning, WarningKind, active_by_name, awaits_mutation, mutation_version,
};
use crate::ops::error::OpError;
use crate::ops::unlisted::directory_names;
use crate::plan::{OffMomentReason, ROUNDS, TableFreeze, TableSkipReason};

use super::attempt::{DefinitionText, SnapshotTableDir, TableAttempt};
use super::table_dir::TableDir;
use super::table_freezer::TableFreezer;
use super::tree::{SkippedTable, TakenTable, TriedTables};

impl TableFreezer<'_> {
    /// Links or copies the parts of these tables. A server does not change a detached table. If a directory changes all
    /// the same, as that of a table that is only hidden from the user does, it is listed and linked again.
    ///
    /// # Errors
    /// If something cannot be linked.
    pub(super) fn take_unlisted(
        &self,
        tables: &[UnlistedTable],
        data: &Dir,
        tree: &mut TriedTables,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), OpError> {
        for unlisted in tables {
            let (table, name) = (&unlisted.table, unlisted.table.name().clone());
            let target = SnapshotTableDir::new(data, &name);
            match self.link_still(unlisted, &target) {
                Ok(Ok((attempt, mutations))) => {
                    for broken in attempt.broken() {
                        let problems = broken.problems.join("; ");
                        let message = format!("{name}: part {} is damaged on the server: {problems}", broken.part);
                        warnings.push(Warning::of_table(WarningKind::DamagedOnServer, &name, message));
                    }
                    // A server does not change a detached table: its state holds for any moment at which it was
                    // detached.
                    let is_off = self.listed.is_some() && unlisted.reason == Unlisted::Since;
                    let off_moment = is_off.then_some(OffMomentReason::NotListed);
                    let in_keeper = Vec::new();
                    let taken =
                        TakenTable { attempt, after: table.clone(), freezes: 0, mutations, in_keeper, off_moment };
                    tree.taken.insert(name, taken);
                }
                Ok(Err(reason)) => self.skip(unlisted, &target, reason, tree)?,
                Err(error) => {
                    let Some(error) = of_the_table(&error) else { return Err(error) };
                    let reason = TableSkipReason::Refused(format!("its parts cannot be linked: {error}"));
                    self.skip(unlisted, &target, reason, tree)?;
                }
            }
        }
        Ok(())
    }

    fn skip(
        &self,
        unlisted: &UnlistedTable,
        target: &SnapshotTableDir,
        reason: TableSkipReason,
        tree: &mut TriedTables,
    ) -> Result<(), OpError> {
        self.context.copying.links.forget(&target.path());
        target.clear()?;
        let table = unlisted.table.clone();
        tree.skipped.insert(table.name().clone(), SkippedTable { table, reason });
        Ok(())
    }

    /// Links the parts of a table whose directories are the same before and after, and lists its mutations. Returns the
    /// reason if they are never the same, or cannot be read.
    fn link_still(
        &self,
        unlisted: &UnlistedTable,
        target: &SnapshotTableDir,
    ) -> Result<Result<(TableAttempt, Vec<String>), TableSkipReason>, OpError> {
        let UnlistedTable { table, trouble, .. } = unlisted;
        if let Some(trouble) = trouble {
            return Ok(Err(TableSkipReason::Refused(trouble.clone())));
        }
        for _ in 0..ROUNDS {
            let live = self.context.local.live(table)?;
            let before = self.wanted_parts(&live)?;
            let dir = target.make(table, self.context.local, self.context.copying)?;
            let path = target.path();
            let table_dir = TableDir { table, dir: &dir, path: &path };
            let parts = self.context.pool.install(|| self.live_parts().take(before.iter(), &live, table_dir))?;
            let taken: BTreeSet<&PartName> = parts.iter().map(|part| &part.name).collect();
            if taken.iter().copied().eq(before.iter()) && self.wanted_parts(&live)? == before {
                let file = self.context.local.read_definition(&table.metadata_path);
                let text = file.unwrap_or_else(|| table.definition.clone().into_bytes());
                let freeze = TableFreeze::linked(table.clone());
                let definition = Some(DefinitionText { text, is_file: true });
                let attempt = TableAttempt { parts, definition, ..TableAttempt::new(freeze, target.clone()) };
                return Ok(Ok((attempt, unfinished_mutations(&live, &before)?)));
            }
            self.context.copying.links.forget(&path);
            target.clear()?;
        }
        Ok(Err(TableSkipReason::Restless))
    }

    /// The parts in a table's directories that would be active once the table is attached, in the requested partitions.
    fn wanted_parts(&self, live: &[LiveTable]) -> Result<BTreeSet<PartName>, FsError> {
        let mut names = Vec::new();
        for table in live {
            names.extend(directory_names(&table.dir)?);
        }
        let selection = &self.request.selection;
        let is_wanted =
            |name: &PartName| name.partition().is_some_and(|partition| selection.wants_partition(&partition.of_data()));
        Ok(active_by_name(names).into_iter().filter(is_wanted).collect())
    }
}

/// The text of an error if it concerns the directories of one table and not the snapshot.
fn of_the_table(error: &OpError) -> Option<String> {
    let (OpError::Fs(cause) | OpError::Exec(ExecError::Fs(cause))) = error else { return None };
    let is_its_own = matches!(
        cause.kind(),
        ErrorKind::CrossDevice | ErrorKind::WrongKind | ErrorKind::NoPermission | ErrorKind::NotFound
    );
    is_its_own.then(|| crate::monitor::chain(error))
}

/// The files of the mutations that one of these parts lacks. For a while, the server keeps files of finished mutations
/// too.
fn unfinished_mutations(live: &[LiveTable], parts: &BTreeSet<PartName>) -> Result<Vec<String>, FsError> {
    let mut mutations = BTreeSet::new();
    for table in live {
        let names = table.dir.entries()?.into_iter().filter_map(|entry| entry.name.to_str().map(str::to_owned));
        let is_unfinished =
            |name: &String| mutation_version(name).is_some_and(|version| awaits_mutation(version, parts));
        mutations.extend(names.filter(is_unfinished));
    }
    Ok(mutations.into_iter().collect())
}
