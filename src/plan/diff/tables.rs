//! Compares tables.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{TableName, count};

use super::definitions::{DefinitionChange, compare_definitions, missing_ttl};
use super::pairs::Pairs;
use super::parts::{PartitionDiff, SidePart, Tallies, partitions};
use super::side::{DiffSide, DumpedRows, SideContent, SideTable};

impl SideContent {
    /// The parts, or why they are not compared; `side` is the name of the side.
    fn parts(&self, side: &str) -> Result<&[SidePart], String> {
        match self {
            Self::Parts(parts) => Ok(parts),
            Self::Nothing | Self::Dump(_) => Ok(&[]),
            Self::Left(reason) => Err(format!("its parts are not compared: {side} does not have them: {reason}")),
            Self::Detached => Err("its parts are not compared: it is detached".to_owned()),
        }
    }
}

/// The change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableChange {
    /// It is new.
    Added,
    /// It is gone.
    Dropped,
    /// It exists, and the server does not read it until it is attached.
    Detached,
    /// Another table has its name, with other content: they have no part in common.
    Recreated,
    /// It was renamed.
    Renamed,
    /// Its parts or its definition changed.
    Changed,
    /// Nothing changed.
    Unchanged,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TableDiff {
    /// Its name on the later side if it exists there, else on the earlier one.
    #[serde(flatten)]
    pub name: TableName,
    /// The change.
    pub state: TableChange,
    /// Its former name, if it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<TableName>,
    /// Why its parts or its definitions are not compared, or not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// The changes to its definition, as a unified diff without secrets. `None` without changes, or if a note explains
    /// why it is not shown.
    pub definition: Option<String>,
    /// Its partitions.
    pub partitions: Vec<PartitionDiff>,
}

/// All changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Diff {
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// The tables of both sides, by name.
    pub tables: Vec<TableDiff>,
}

impl Diff {
    /// Whether nothing is known to have changed, and everything was compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.state == TableChange::Unchanged && table.notes.is_empty())
    }
}

/// Compares two states.
///
/// [`Pairs`] matches the tables. A table with a new UUID is the same table if it has one of the parts and an equivalent
/// definition, as after a restore.
#[must_use]
pub fn diff(before: &DiffSide, after: &DiffSide) -> Diff {
    let pairs = Pairs::new(before, after);
    let mut seen: BTreeSet<&TableName> = BTreeSet::new();
    let mut tables = Vec::new();
    for (name, table) in &after.tables {
        let Some((was, earlier)) = pairs.earlier(name).and_then(|was| before.tables.get_key_value(was)) else {
            tables.push(only_after(name, table, (&before.name, &after.name)));
            continue;
        };
        seen.insert(was);
        let mut found = compare(name, earlier, table, (&before.name, &after.name));
        if was != name {
            found.renamed_from = Some(was.clone());
            // The inner table of a recreated view is named after the view, and is another table.
            if !is_another(earlier, table) && found.state != TableChange::Detached {
                found.state = TableChange::Renamed;
            }
        }
        tables.push(found);
    }
    for (name, table) in before.tables.iter().filter(|(name, _)| !seen.contains(name)) {
        tables.push(only_before(name, table, (&before.name, &after.name)));
    }
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    let mut tallies = Tallies::default();
    for table in &tables {
        tallies.add_all(&table.tallies);
    }
    Diff { tallies, tables }
}

/// Whether both have a UUID, and the UUIDs differ.
fn is_another(before: &SideTable, after: &SideTable) -> bool {
    before.uuid.as_ref().zip(after.uuid.as_ref()).is_some_and(|(one, other)| one != other)
}

fn only_before(name: &TableName, table: &SideTable, names: (&str, &str)) -> TableDiff {
    let definition = compare_definitions(table.definition.as_ref(), None, names);
    let found = table.held.parts(names.0).map(|parts| partitions(parts, &[]));
    table_diff(name, TableChange::Dropped, found, definition)
}

fn only_after(name: &TableName, table: &SideTable, names: (&str, &str)) -> TableDiff {
    let definition = compare_definitions(None, table.definition.as_ref(), names);
    let found = table.held.parts(names.1).map(|parts| partitions(&[], parts));
    table_diff(name, TableChange::Added, found, definition)
}

fn compare(name: &TableName, before: &SideTable, after: &SideTable, names: (&str, &str)) -> TableDiff {
    let definition = match (&before.definition, &after.definition) {
        (None, Some(_)) => DefinitionChange::NotCompared(format!("{} has none", names.0)),
        // The definition of a detached table may be where chsnap cannot see it.
        (Some(_), None) if after.held == SideContent::Detached => DefinitionChange::Unchanged,
        (Some(_), None) => DefinitionChange::NotCompared(format!("{} has none", names.1)),
        (before, after) => compare_definitions(before.as_ref(), after.as_ref(), names),
    };
    let parts = before.held.parts(names.0).and_then(|before| Ok((before, after.held.parts(names.1)?)));
    let found = parts.as_ref().map(|(before, after)| partitions(before, after)).map_err(Clone::clone);
    let has_same_parts = |found: &Vec<PartitionDiff>| found.iter().all(|partition| partition.tallies.is_unchanged());
    if after.held == SideContent::Detached {
        let mut found = table_diff(name, TableChange::Detached, found, definition);
        if is_another(before, after) {
            found.notes.push("the detached table has another UUID".to_owned());
        }
        return found;
    }
    let dumps = compare_dumps(&before.held, &after.held, names);
    let is_same = found.as_ref().is_ok_and(has_same_parts)
        && definition == DefinitionChange::Unchanged
        && dumps == DumpChange::Unchanged;
    let has_common_part =
        |found: &Vec<PartitionDiff>| found.iter().any(|partition| partition.tallies.unchanged.parts > 0);
    let is_restored = definition == DefinitionChange::Unchanged && found.as_ref().is_ok_and(has_common_part);
    if is_another(before, after) && !is_same && !is_restored {
        // Parts of two different tables are never the same part, whatever their names.
        let apart = parts.map(|(before, after)| {
            let mut both = partitions(before, &[]);
            both.extend(partitions(&[], after));
            both
        });
        return table_diff(name, TableChange::Recreated, apart, definition);
    }
    let is_changed = found.as_ref().is_ok_and(|found| !has_same_parts(found))
        || definition.is_difference()
        || matches!(dumps, DumpChange::Changed(_));
    let state = if is_changed { TableChange::Changed } else { TableChange::Unchanged };
    let mut found = table_diff(name, state, found, definition);
    found.notes.extend(dumps.note());
    let definitions = before.definition.as_ref().zip(after.definition.as_ref());
    found.notes.extend(definitions.and_then(|((before, _), (after, _))| missing_ttl(name, before, after)));
    found
}

/// The result of comparing the rows of two dumps.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DumpChange {
    Unchanged,
    /// A description of the change.
    Changed(String),
    /// Why they cannot be compared.
    NotCompared(String),
}

impl DumpChange {
    fn note(self) -> Option<String> {
        match self {
            Self::Unchanged => None,
            Self::Changed(note) => Some(note),
            Self::NotCompared(reason) => Some(format!("its rows are not compared: {reason}")),
        }
    }
}

/// Compares the rows of tables without parts: by digest if both have one, else by number.
fn compare_dumps(before: &SideContent, after: &SideContent, names: (&str, &str)) -> DumpChange {
    let empty = DumpedRows { rows: Some(0), digest: None };
    let (one, other) = match (before, after) {
        (SideContent::Dump(before), SideContent::Dump(after)) => (before, after),
        (SideContent::Dump(before), SideContent::Nothing) => (before, &empty),
        (SideContent::Nothing, SideContent::Dump(after)) => (&empty, after),
        _ => return DumpChange::Unchanged,
    };
    if let (Some(before), Some(after)) = (&one.digest, &other.digest)
        && before == after
    {
        return DumpChange::Unchanged;
    }
    match (one.rows, other.rows) {
        (Some(before), Some(after)) if before != after => {
            DumpChange::Changed(format!("it has {}, and had {}", count(after, "row"), count(before, "row")))
        }
        _ if one.digest.is_some() && other.digest.is_some() => {
            DumpChange::Changed("its rows are others, or in another order".to_owned())
        }
        (Some(_), Some(_)) => DumpChange::Unchanged,
        (None, _) => DumpChange::NotCompared(format!("{} does not say how many there are", names.0)),
        (_, None) => DumpChange::NotCompared(format!("{} does not say how many there are", names.1)),
    }
}

fn table_diff(
    name: &TableName,
    state: TableChange,
    found: Result<Vec<PartitionDiff>, String>,
    definition: DefinitionChange,
) -> TableDiff {
    let mut notes = Vec::new();
    let partitions = found.unwrap_or_else(|reason| {
        notes.push(reason);
        Vec::new()
    });
    let mut tallies = Tallies::default();
    for partition in &partitions {
        tallies.add_all(&partition.tallies);
    }
    let definition = match definition {
        DefinitionChange::Unchanged => None,
        DefinitionChange::Shown(text) => Some(text),
        DefinitionChange::Hidden(reason) => {
            notes.push(reason.to_owned());
            None
        }
        DefinitionChange::NotCompared(reason) => {
            notes.push(format!("its definitions are not compared: {reason}"));
            None
        }
    };
    TableDiff { name: name.clone(), state, renamed_from: None, notes, tallies, definition, partitions }
}
