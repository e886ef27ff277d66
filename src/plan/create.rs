//! The plan of one `create`: what is frozen, what only has its definition kept, what stays behind.

use std::collections::BTreeSet;

use crate::model::{Catalog, Part, PartitionId, Table, Warning, WarningKind, is_remote_database_engine};

use super::choose::{Around, Choice, Selection, StayReason, choose};
use super::nearest::nearest;

/// How much of a table is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole table, by one statement.
    Whole,
    /// These partitions, by a statement each.
    Partitions(BTreeSet<PartitionId>),
    /// It has no part to freeze.
    Nothing,
}

impl Scope {
    /// Whether a part of this partition is to be in the snapshot.
    #[must_use]
    pub fn covers(&self, partition: &PartitionId) -> bool {
        match self {
            Self::Whole => true,
            Self::Partitions(partitions) => partitions.contains(partition),
            Self::Nothing => false,
        }
    }
}

/// One table to take.
#[derive(Clone, Debug)]
pub struct TableFreeze {
    /// The table as it was when the plan was made.
    pub table: Table,
    /// How much of it is frozen.
    pub scope: Scope,
}

impl TableFreeze {
    /// The parts that are to be taken, patch parts among them.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        // A patch part's partition is its own; it belongs to whatever its table's other parts are taken of.
        self.table.parts.iter().filter(|part| self.scope.covers(&part.partition) || part.name.is_patch())
    }
}

/// What one `create` does.
#[derive(Clone, Debug, Default)]
pub struct CreatePlan {
    /// Tables whose parts are taken, by name.
    pub freeze: Vec<TableFreeze>,
    /// Tables of which only the definition is kept.
    pub definitions: Vec<Table>,
    /// Tables that hold data which cannot be taken, with the reason; their definition is kept.
    pub left_behind: Vec<(Table, StayReason)>,
    /// What the person should know.
    pub warnings: Vec<Warning>,
    /// Names that were asked for and that nothing on the server has: patterns of tables, ids of partitions.
    pub unmatched: Vec<String>,
}

/// Makes the plan. `foreign_disk` tells which disk of a table is not a plain local one, with its type.
#[must_use]
pub fn plan_create<'a>(
    catalog: &Catalog,
    selection: &Selection,
    foreign_disk: impl Fn(&Table) -> Option<(&'a str, &'a str)>,
) -> CreatePlan {
    let mut plan = CreatePlan::default();
    for (name, reason) in catalog.unusable.iter().filter(|(name, _)| selection.wants(name)) {
        // Such a name may be of any length.
        let message = format!("{name:.400} is not in the snapshot: {reason}");
        plan.warnings.push(Warning::of_table(WarningKind::UnusableName, name, message));
    }
    for table in &catalog.tables {
        let around = Around {
            foreign_disk: foreign_disk(table),
            database_engine: catalog.engines.get(&table.name().database).map_or("", String::as_str),
            pending: catalog.pending.get(table.name()).copied(),
        };
        match choose(selection, table, around) {
            Choice::Take => {
                plan.freeze.push(TableFreeze { scope: scope(selection, table), table: table.clone() });
            }
            Choice::DefinitionOnly => plan.definitions.push(table.clone()),
            Choice::DataStays(reason) => {
                if !selection.accepts(table) {
                    let message = format!(
                        "the data of {} is not in the snapshot: {reason} (--accept takes this warning away)",
                        table.name()
                    );
                    plan.warnings.push(Warning::of_table(reason.kind(), table.name(), message));
                }
                plan.left_behind.push((table.clone(), reason));
            }
            Choice::LeftOut => {}
        }
    }
    if plan.freeze.is_empty() {
        let message = "there is no MergeTree table to take: the snapshot holds no data";
        plan.warnings.push(Warning::new(WarningKind::NothingToTake, message));
    }
    plan.unmatched = unmatched(catalog, selection, &plan);
    plan
}

fn unmatched(catalog: &Catalog, selection: &Selection, plan: &CreatePlan) -> Vec<String> {
    let patterns = selection.include.iter().filter(|pattern| {
        let named = |table: &Table| pattern.matches(table.name());
        // What tables a remote database has is not known.
        let remote = catalog.engines.iter().filter(|(_, engine)| is_remote_database_engine(engine));
        !catalog.tables.iter().any(named)
            && !catalog.unusable.iter().any(|(name, _)| pattern.matches(name))
            && !remote.into_iter().any(|(database, _)| pattern.matches_database(database))
    });
    let partitions = selection.partitions.iter().filter(|partition| {
        !plan.freeze.iter().flat_map(|freeze| freeze.table.parts.iter()).any(|part| part.partition == **partition)
    });
    let names: Vec<String> = catalog.tables.iter().map(|table| table.name().to_string()).collect();
    let patterns = patterns.map(|pattern| match nearest(pattern.as_str(), &names) {
        // A name of the server's may be of any length.
        Some(near) => format!("table {:?} (did you mean {near:.400}?)", pattern.as_str()),
        None => format!("table {:?}", pattern.as_str()),
    });
    patterns.chain(partitions.map(|partition| format!("partition {:?}", partition.0))).collect()
}

fn scope(selection: &Selection, table: &Table) -> Scope {
    let plain = || table.parts.iter().filter(|part| !part.name.is_patch());
    if plain().next().is_none() {
        return Scope::Nothing;
    }
    if selection.partitions.is_empty() {
        return Scope::Whole;
    }
    let wanted: BTreeSet<PartitionId> =
        plain().map(|part| &part.partition).filter(|id| selection.wants_partition(id)).cloned().collect();
    if wanted.is_empty() { Scope::Nothing } else { Scope::Partitions(wanted) }
}
