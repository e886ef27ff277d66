//! Matches the tables of the two sides.

use std::collections::HashMap;

use crate::model::{TableName, TableUuid};
use crate::plan::is_kept_name;

use super::side::DiffSide;

/// The tables of two sides, looked up by UUID and by name.
pub struct Pairs<'a> {
    before: &'a DiffSide,
    after: &'a DiffSide,
    names_before: HashMap<&'a TableUuid, &'a TableName>,
    names_after: HashMap<&'a TableUuid, &'a TableName>,
}

impl<'a> Pairs<'a> {
    /// Reads the UUIDs of both sides.
    #[must_use]
    pub fn new(before: &'a DiffSide, after: &'a DiffSide) -> Self {
        Self { before, after, names_before: names_by_uuid(before), names_after: names_by_uuid(after) }
    }

    /// The name that a table of the later side has on the earlier one: that of the table with its UUID, else that of
    /// the table with its name, unless the latter has been renamed. `None` if the table is new.
    #[must_use]
    pub fn earlier(&self, name: &TableName) -> Option<&'a TableName> {
        let table = self.after.tables.get(name)?;
        if let Some(was) = table.uuid.as_ref().and_then(|uuid| self.names_before.get(uuid)) {
            // A restore has replaced it by another table, and kept it under this name.
            let is_replaced = is_kept_name(name, was) && self.after.tables.contains_key(*was);
            return (!is_replaced).then_some(was);
        }
        let inner = if self.before.tables.contains_key(name) { None } else { self.earlier_inner(name) };
        let (was, earlier) = self.before.tables.get_key_value(inner.as_ref().unwrap_or(name))?;
        let now = earlier.uuid.as_ref().and_then(|uuid| self.names_after.get(uuid));
        let is_elsewhere = now.is_some_and(|now| *now != name && !is_kept_name(now, name))
            || (was != name && self.after.tables.contains_key(was));
        (!is_elsewhere).then_some(was)
    }

    /// The former name of a view's inner table, if the view was recreated and has another UUID now: `.inner_id.<UUID of
    /// the view>`.
    fn earlier_inner(&self, name: &TableName) -> Option<TableName> {
        let behind = name.table.strip_prefix(".inner_id.")?;
        let uuid = TableUuid::try_from(behind.get(behind.len().checked_sub(UUID_LENGTH)?..)?.to_owned()).ok()?;
        let view = self.names_after.get(&uuid)?;
        let was = self.before.tables.get(*view)?.uuid.as_ref()?;
        Some(TableName::new(name.database.clone(), name.table.replace(uuid.as_str(), was.as_str())))
    }
}

const UUID_LENGTH: usize = 36;

fn names_by_uuid(side: &DiffSide) -> HashMap<&TableUuid, &TableName> {
    side.tables.iter().filter_map(|(name, table)| Some((table.uuid.as_ref()?, name))).collect()
}
