//! Finds the successor of a table that is gone.

use std::collections::BTreeSet;

use crate::model::{Table, TableName};

use super::create::CreatePlan;
use super::freeze::TableFreeze;

/// The table in a new plan that replaces one that was dropped or renamed: the one with the same UUID, or with the same
/// name (it was recreated), or, for tables without UUIDs, with the same engine and a name that was not `planned`
/// before. Names for which `is_known` is true are taken already.
#[must_use]
pub fn successor<'a>(
    gone: &Table,
    plan: &'a CreatePlan,
    planned: &BTreeSet<TableName>,
    is_known: impl Fn(&TableName) -> bool,
) -> Option<&'a TableFreeze> {
    plan.freeze.iter().find(|freeze| {
        let successor = &freeze.table;
        let is_same = match (&successor.key.uuid, &gone.key.uuid) {
            (Some(a), Some(b)) => a == b || successor.name() == gone.name(),
            _ => {
                successor.engine == gone.engine
                    && (successor.name() == gone.name() || !planned.contains(successor.name()))
            }
        };
        is_same && !is_known(successor.name())
    })
}
