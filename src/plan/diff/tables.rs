//! Tables, before and after.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use similar::TextDiff;

use crate::model::{TableName, TableUuid};

use super::parts::{PartitionDiff, SidePart, Tallies, partitions};

/// One of the two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// What it is called in the differences of definitions.
    pub name: String,
    /// Its tables.
    pub tables: BTreeMap<TableName, SideTable>,
}

/// A table of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideTable {
    /// Its UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// Its definition, where it is known, and whether that is the server's own file.
    pub definition: Option<(String, bool)>,
    /// Its parts.
    pub held: Held,
}

/// The parts of a table, as far as a side has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are these.
    Parts(Vec<SidePart>),
    /// The table has none that could be taken: a view, say.
    Nothing,
    /// They are not here, for this reason.
    Left(String),
}

impl Default for Held {
    fn default() -> Self {
        Self::Parts(Vec::new())
    }
}

impl Held {
    fn parts(&self) -> Result<&[SidePart], &str> {
        match self {
            Self::Parts(parts) => Ok(parts),
            Self::Nothing => Ok(&[]),
            Self::Left(reason) => Err(reason),
        }
    }
}

/// What became of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// It is new.
    Added,
    /// It is gone.
    Dropped,
    /// There is another table of its name: no part of the one is a part of the other.
    Recreated,
    /// Its name is another one.
    Renamed,
    /// Parts or definition are not the same.
    Changed,
    /// All is the same.
    Unchanged,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableDiff {
    /// Its name, of the later side where it has one there.
    #[serde(flatten)]
    pub name: TableName,
    /// What became of it.
    pub state: TableState,
    /// Its name before, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<TableName>,
    /// Why its parts, or its definition, are not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// What changed in its definition, as a unified diff; none where nothing did.
    pub definition: Option<String>,
    /// Its partitions.
    pub partitions: Vec<PartitionDiff>,
}

/// All that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The figures.
    #[serde(flatten)]
    pub tallies: Tallies,
    /// The tables of both sides, by name.
    pub tables: Vec<TableDiff>,
}

impl Diff {
    /// Whether nothing is known to have changed, and nothing was left uncompared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.state == TableState::Unchanged && table.notes.is_empty())
    }
}

/// Compares two states.
///
/// A table is the same one if it has the same UUID, and where one side has none, if it has the same name.
#[must_use]
pub fn diff(before: &Side, after: &Side) -> Diff {
    let by_uuid: BTreeMap<&TableUuid, &TableName> =
        before.tables.iter().filter_map(|(name, table)| Some((table.uuid.as_ref()?, name))).collect();
    let mut seen: BTreeSet<&TableName> = BTreeSet::new();
    let mut tables = Vec::new();
    for (name, table) in &after.tables {
        let same_uuid = table.uuid.as_ref().and_then(|uuid| by_uuid.get(uuid).copied());
        let was = same_uuid.unwrap_or(name);
        let earlier = before.tables.get(was).filter(|_| same_uuid.is_some() || !moved(before, after, name));
        if earlier.is_some() {
            seen.insert(was);
        }
        let is_another = same_uuid.is_none() && earlier.is_some_and(|was| was.uuid.is_some() && table.uuid.is_some());
        let mut found = compare(name, earlier, Some(table), is_another, (&before.name, &after.name));
        if was != name && earlier.is_some() {
            found.state = TableState::Renamed;
            found.renamed_from = Some(was.clone());
        }
        tables.push(found);
    }
    for (name, table) in before.tables.iter().filter(|(name, _)| !seen.contains(name)) {
        tables.push(compare(name, Some(table), None, false, (&before.name, &after.name)));
    }
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    let mut tallies = Tallies::default();
    for table in &tables {
        tallies.add_all(&table.tallies);
    }
    Diff { tallies, tables }
}

/// Whether the table that had this name has another one now.
fn moved(before: &Side, after: &Side, name: &TableName) -> bool {
    let uuid = before.tables.get(name).and_then(|table| table.uuid.as_ref());
    uuid.is_some() && after.tables.iter().any(|(other, table)| other != name && table.uuid.as_ref() == uuid)
}

fn compare(
    name: &TableName,
    before: Option<&SideTable>,
    after: Option<&SideTable>,
    is_another: bool,
    (name_before, name_after): (&str, &str),
) -> TableDiff {
    let mut notes = Vec::new();
    let parts_of = |table: Option<&SideTable>| {
        table.map_or(Ok(Vec::new()), |table| match table.held.parts() {
            Ok(parts) => Ok(parts.to_vec()),
            Err(reason) => Err(reason.to_owned()),
        })
    };
    let found = match (parts_of(before), parts_of(after)) {
        // Parts of two tables are never one part, whatever their names.
        (Ok(before), Ok(after)) if is_another => {
            let mut both = partitions(&before, &[]);
            both.extend(partitions(&[], &after));
            both
        }
        (Ok(before), Ok(after)) => partitions(&before, &after),
        (Err(reason), _) => {
            notes.push(format!("its parts are not compared: {name_before} does not have them: {reason}"));
            Vec::new()
        }
        (_, Err(reason)) => {
            notes.push(format!("its parts are not compared: {name_after} does not have them: {reason}"));
            Vec::new()
        }
    };
    let definitions = |table: Option<&SideTable>| table.and_then(|table| table.definition.clone());
    let definition = match (definitions(before), definitions(after)) {
        (Some((_, is_file)), Some((_, other))) if is_file != other => {
            notes.push(
                "its definitions are not compared: one is the server's file, the other what it prints".to_owned(),
            );
            None
        }
        (None, Some(_)) if before.is_some() => {
            notes.push(format!("its definitions are not compared: {name_before} has none"));
            None
        }
        (Some(_), None) if after.is_some() => {
            notes.push(format!("its definitions are not compared: {name_after} has none"));
            None
        }
        (before, after) => {
            let text = |definition: Option<(String, bool)>| definition.map(|(text, _)| text).unwrap_or_default();
            unified(&text(before), &text(after), name_before, name_after)
        }
    };
    let mut tallies = Tallies::default();
    for partition in &found {
        tallies.add_all(&partition.tallies);
    }
    let state = match (before, after) {
        (None, _) => TableState::Added,
        (_, None) => TableState::Dropped,
        _ if is_another => TableState::Recreated,
        _ if tallies.is_unchanged() && definition.is_none() => TableState::Unchanged,
        _ => TableState::Changed,
    };
    TableDiff { name: name.clone(), state, renamed_from: None, notes, tallies, definition, partitions: found }
}

fn unified(before: &str, after: &str, name_before: &str, name_after: &str) -> Option<String> {
    let with_end =
        |text: &str| if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let (before, after) = (with_end(before), with_end(after));
    (before != after).then(|| {
        let found = TextDiff::from_lines(before.as_str(), after.as_str());
        found.unified_diff().context_radius(3).header(name_before, name_after).to_string()
    })
}
