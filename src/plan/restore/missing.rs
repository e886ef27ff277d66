//! Names the tables that a view writes to or reads and that do not exist once the restore is done.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{TableName, Warning, WarningKind, is_remote_database_engine};
use crate::plan::{DefinitionKind, Mapping, ParsedDefinition};

use super::table::{Action, KeptTableState, RestorePlan, TablePlan};
use super::target::TargetServer;

/// A table that a view needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NeededTable {
    /// It writes to this one.
    Target(TableName),
    /// It reads this one.
    Source(TableName),
}

impl NeededTable {
    fn name(&self) -> &TableName {
        match self {
            Self::Target(name) | Self::Source(name) => name,
        }
    }
}

impl fmt::Display for NeededTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(name) => write!(f, "its target {name}"),
            Self::Source(name) => write!(f, "its source {name}"),
        }
    }
}

/// Warns about views whose target or source is missing. The existing view stays if its replacement would lack one: an
/// INSERT into its source would fail from then on.
pub(super) fn name_missing(plan: &mut RestorePlan, target: &TargetServer, names: &Mapping) {
    let made: BTreeSet<TableName> =
        plan.tables.iter().filter(|table| table.action.changes_server()).map(|table| table.to.clone()).collect();
    let is_missing =
        |name: &TableName| !made.contains(name) && !target.tables.contains_key(name) && lists_tables(target, name);
    for table in &mut plan.tables {
        let missing = needed(table, names).into_iter().filter(|needed| is_missing(needed.name()));
        let missing: Vec<NeededTable> = missing.collect();
        if missing.is_empty() {
            continue;
        }
        let stays = match table.action {
            Action::ReplaceView(_) => {
                stay(table);
                "the existing view stays; "
            }
            _ => "",
        };
        table.warnings.extend(missing.iter().map(|needed| {
            let message = format!(
                "{needed} is not on the server, and this restore does not make it: {stays}select that table too, or make \
                 it first"
            );
            Warning::new(WarningKind::TableMissing, message)
        }));
    }
}

/// The tables that a view needs, by their new names, if the plan makes it or replaces one by it. A plain view is checked
/// by the server when it is made.
fn needed(table: &TablePlan, names: &Mapping) -> Vec<NeededTable> {
    let is_asked = |definition: &&ParsedDefinition| match table.action {
        Action::ReplaceView(_) => true,
        Action::Make(_) => definition.kind == DefinitionKind::MaterializedView,
        _ => false,
    };
    // Renaming parses the definition again: only for those that are made.
    let asked = table.definition.as_ref().filter(is_asked);
    let Some(definition) = asked.and_then(|definition| definition.renamed(names)) else { return Vec::new() };
    let target = definition.target().map(|(database, name)| {
        NeededTable::Target(TableName::new(database.unwrap_or_else(|| table.to.database.clone()), name))
    });
    target.into_iter().chain(definition.reads().into_iter().map(NeededTable::Source)).collect()
}

/// Whether the server lists all tables of a name's database.
fn lists_tables(target: &TargetServer, name: &TableName) -> bool {
    let is_own = matches!(name.database.as_str(), "system" | "INFORMATION_SCHEMA" | "information_schema");
    let is_remote = target.databases.get(&name.database).is_some_and(|engine| is_remote_database_engine(engine));
    !is_own && !is_remote
}

/// Leaves the existing view as it is.
pub(super) fn stay(table: &mut TablePlan) {
    table.action = Action::Keep(KeptTableState::OtherDefinition);
    table.uuid.clone_from(&table.live_uuid);
    table.uuid_changed = false;
    table.losses.clear();
    table.replaces = None;
    table.inner_uuid = None;
    table.live = None;
    // They are about the replacement.
    table.warnings.clear();
}
