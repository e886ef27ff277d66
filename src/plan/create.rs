//! The plan of one `create`: which tables are frozen, which keep only their definition, and which data is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::model::{
    Catalog, CatalogPart, Detachment, DumpKind, PartName, PartitionId, Table, TableName, Unlisted, UnlistedDatabase,
    UnlistedTable, Warning, WarningKind, is_remote_database_engine,
};

use super::changed::{Placing, split_freeze};
use super::choose::{Choice, DataLeftReason, ForeignDisk, TableContext, TableSelection, choose};
use super::freeze::{FreezeScope, RemoteParts, TableFreeze, WantedState};
use super::nearest::nearest;

/// The plan of one `create`.
#[derive(Clone, Debug, Default)]
pub struct CreatePlan {
    /// Tables whose parts are taken, by name.
    pub freeze: Vec<TableFreeze>,
    /// Disks whose files cannot be linked into the repository: what no earlier snapshot has of their parts is copied.
    pub copied_disks: BTreeSet<String>,
    /// Tables of which only the definition is kept.
    pub definitions: Vec<Table>,
    /// Tables whose rows are taken by other means than `FREEZE`, by name.
    pub dumps: Vec<TableDump>,
    /// Tables that hold data which cannot be taken, with the reason; their definition is kept.
    pub left_behind: Vec<(Table, DataLeftReason)>,
    /// Tables that the server does not list, whose parts are linked from their directories.
    pub unlisted: Vec<UnlistedTable>,
    /// All tables that the server does not list, with how they are detached. Includes those of which only the
    /// definition is kept.
    pub detached: BTreeMap<TableName, Option<Detachment>>,
    /// Databases that the server does not list, of which the definition is kept.
    pub unlisted_databases: Vec<UnlistedDatabase>,
    /// The warnings.
    pub warnings: Vec<Warning>,
    /// Requested names that match nothing on the server: patterns of tables, ids of partitions.
    pub unmatched: Vec<String>,
}

impl CreatePlan {
    /// Requests the listed state of all tables.
    pub fn request_listed_state(&mut self) {
        for freeze in &mut self.freeze {
            freeze.wants = WantedState::Listed;
        }
    }

    /// Adds the warnings that `create` reports about a table once it is taken.
    pub fn add_expected_warnings(&mut self) {
        self.warnings.extend(self.freeze.iter().filter_map(TableFreeze::warning));
    }
}

/// A table whose rows are taken by other means than `FREEZE`.
#[derive(Clone, Debug)]
pub struct TableDump {
    /// The table.
    pub table: Table,
    /// How they are taken.
    pub kind: DumpKind,
}

/// The warning about a table whose data is left out; `None` if the selection accepts that.
#[must_use]
pub fn data_left_warning(selection: &TableSelection, table: &Table, reason: &DataLeftReason) -> Option<Warning> {
    let name = table.name();
    let message = format!("the data of {name} is not in the snapshot: {reason} (--accept suppresses this warning)");
    (!selection.accepts(table)).then(|| Warning::of_table(reason.kind(), name, message))
}

/// Makes the plan. `foreign_disk` returns the disk of a directory if it is not a plain local one. `knows` reports
/// whether the last snapshot has a part of this name of the table, `placing` how frozen parts come into the new one.
#[must_use]
pub fn plan_create<'a>(
    catalog: &Catalog,
    selection: &TableSelection,
    foreign_disk: impl Fn(&Path) -> Option<ForeignDisk<'a>>,
    knows: impl Fn(&Table, &PartName) -> bool,
    placing: Placing,
) -> CreatePlan {
    let selection = &selection.resolved(&catalog.names());
    let mut plan = CreatePlan::default();
    for (name, reason) in catalog.unusable.iter().filter(|(name, _)| selection.wants(name)) {
        // Such a name can have any length.
        let message = format!("{name:.400} is not in the snapshot: {reason}");
        plan.warnings.push(Warning::of_table(WarningKind::UnusableName, name, message));
    }
    for table in &catalog.tables {
        let foreign: Vec<ForeignDisk<'_>> = table.data_paths.iter().filter_map(|path| foreign_disk(path)).collect();
        let around = TableContext {
            foreign_disks: &foreign,
            database_engine: catalog.engines.get(&table.name().database).map_or("", String::as_str),
            pending: catalog.pending.get(table.name()).copied(),
            in_memory: catalog.in_memory.get(table.name()).copied(),
        };
        match choose(selection, table, around) {
            Choice::Take if foreign.is_empty() => {
                let scope = scope(selection, table);
                let freeze = split_freeze(&scope, &table.parts, |name| knows(table, name), placing);
                let wants = WantedState::Current;
                plan.freeze.push(TableFreeze { scope, freeze, remote: None, table: table.clone(), wants });
            }
            Choice::Take => {
                let (table, remote) = split_tiers(selection, table, &foreign, &foreign_disk);
                let scope = scope(selection, &table);
                let (freeze, wants) = (FreezeScope::Nothing, WantedState::Current);
                plan.freeze.push(TableFreeze { scope, freeze, remote: Some(remote), table, wants });
            }
            Choice::DefinitionOnly => plan.definitions.push(table.clone()),
            Choice::Dump(kind) => plan.dumps.push(TableDump { table: table.clone(), kind }),
            Choice::DataStays(reason) => {
                plan.warnings.extend(data_left_warning(selection, table, &reason));
                plan.left_behind.push((table.clone(), reason));
            }
            Choice::Temporary if selection.accepts(table) => {}
            Choice::Temporary => {
                let message = format!(
                    "{} is not in the snapshot: a restore that is running or was interrupted has made or replaced it; the next \
                     restore drops or renames it if the interrupted one left a note, else RENAME or DROP it",
                    table.name()
                );
                plan.warnings.push(Warning::of_table(WarningKind::LeftoverPending, table.name(), message));
            }
            Choice::LeftOut => {}
        }
    }
    plan_unlisted(catalog, selection, &mut plan);
    if plan.freeze.is_empty() && plan.unlisted.is_empty() && plan.dumps.is_empty() {
        let message = "there is no MergeTree table to take: the snapshot holds no data";
        plan.warnings.push(Warning::new(WarningKind::NothingToTake, message));
    }
    plan.unmatched = unmatched(catalog, selection, &plan);
    plan
}

fn plan_unlisted(catalog: &Catalog, selection: &TableSelection, plan: &mut CreatePlan) {
    for unlisted in catalog.unlisted.iter().filter(|unlisted| selection.wants(unlisted.table.name())) {
        let UnlistedTable { table, reason, .. } = unlisted;
        // A table that the server lists by now is read again before anything is reported about it.
        if !selection.accepts(table) && *reason != Unlisted::Since {
            plan.warnings.push(unlisted.warning());
        }
        plan.detached.insert(table.name().clone(), unlisted.detachment);
        if table.is_merge_tree() {
            plan.unlisted.push(unlisted.clone());
        } else {
            match choose(selection, table, TableContext::default()) {
                Choice::DataStays(reason) => plan.left_behind.push((table.clone(), reason)),
                // A server reads no table that it does not list.
                Choice::Dump(_) => {
                    plan.left_behind.push((table.clone(), DataLeftReason::Engine { engine: table.engine.clone() }));
                }
                _ => plan.definitions.push(table.clone()),
            }
        }
    }
    let is_wanted = |database: &UnlistedDatabase| {
        let has_table = |table: &Table| table.name().database == database.name;
        selection.include.is_empty() || plan.unlisted.iter().any(|unlisted| has_table(&unlisted.table))
    };
    plan.unlisted_databases =
        catalog.unlisted_databases.iter().filter(|database| is_wanted(database)).cloned().collect();
    for database in &plan.unlisted_databases {
        let is_said = catalog.unlisted.iter().any(|unlisted| unlisted.table.name().database == database.name);
        if !is_said {
            let message = format!(
                "the database {:.400} is not in the server's list: it is detached, failed to load, or is hidden from this \
                 user; its definition is kept",
                database.name
            );
            plan.warnings.push(Warning::new(WarningKind::NotListed, message));
        }
    }
}

fn unmatched(catalog: &Catalog, selection: &TableSelection, plan: &CreatePlan) -> Vec<String> {
    let patterns = selection.include.iter().filter(|pattern| {
        let named = |table: &Table| pattern.matches(table.name());
        let is_unlisted = || catalog.unlisted.iter().any(|unlisted| named(&unlisted.table));
        // The tables of a remote database are unknown.
        let remote = catalog.engines.iter().filter(|(_, engine)| is_remote_database_engine(engine));
        !catalog.tables.iter().any(named)
            && !is_unlisted()
            && !catalog.unusable.iter().any(|(name, _)| pattern.matches(name))
            && !remote.into_iter().any(|(database, _)| pattern.matches_database(database))
    });
    let partitions = selection.partitions.iter().filter(|partition| {
        let tables = plan.freeze.iter().map(|freeze| &freeze.table);
        let mut tables = tables.chain(plan.unlisted.iter().map(|unlisted| &unlisted.table));
        !tables.any(|table| table.parts.iter().any(|part| part.partition == **partition))
    });
    let names: Vec<String> = catalog.tables.iter().map(|table| table.name().to_string()).collect();
    let patterns = patterns.map(|pattern| match nearest(pattern.as_str(), &names) {
        // A name of the server's can have any length.
        Some(near) => format!("table {:?} (did you mean {near:.400}?)", pattern.as_str()),
        None => format!("table {:?}", pattern.as_str()),
    });
    patterns.chain(partitions.map(|partition| format!("partition {:?}", partition.0))).collect()
}

/// The share of the table on local disks, and the rest.
fn split_tiers<'a>(
    selection: &TableSelection,
    table: &Table,
    foreign: &[ForeignDisk<'_>],
    foreign_disk: impl Fn(&Path) -> Option<ForeignDisk<'a>>,
) -> (Table, RemoteParts) {
    let mut remote = RemoteParts {
        disks: foreign.iter().map(|disk| (disk.name.to_owned(), disk.kind.to_owned())).collect(),
        is_accepted: selection.accepts(table),
        ..RemoteParts::default()
    };
    let (local, there): (Vec<&CatalogPart>, Vec<&CatalogPart>) =
        table.parts.iter().partition(|part| !foreign.iter().any(|disk| disk.name == part.disk));
    for part in there.into_iter().filter(|part| selection.wants_partition(&part.partition.of_data())) {
        remote.partitions.insert(part.partition.of_data());
        remote.parts += 1;
        remote.bytes = remote.bytes.saturating_add(part.bytes);
    }
    let parts = if local.len() == table.parts.len() {
        Arc::clone(&table.parts)
    } else {
        Arc::new(local.into_iter().cloned().collect())
    };
    let data_paths = table.data_paths.iter().filter(|path| foreign_disk(path).is_none()).cloned().collect();
    (Table { data_paths, parts, ..table.clone() }, remote)
}

fn scope(selection: &TableSelection, table: &Table) -> FreezeScope {
    let plain = || table.parts.iter().filter(|part| !part.name.is_patch());
    if plain().next().is_none() {
        return FreezeScope::Nothing;
    }
    if selection.partitions.is_empty() {
        return FreezeScope::Whole;
    }
    let wanted: BTreeSet<PartitionId> =
        plain().map(|part| &part.partition).filter(|id| selection.wants_partition(id)).cloned().collect();
    if wanted.is_empty() { FreezeScope::Nothing } else { FreezeScope::Partitions(wanted) }
}
