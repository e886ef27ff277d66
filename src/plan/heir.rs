//! Finds the successor of a table that is gone.

use std::collections::BTreeSet;

use crate::model::{Table, TableName};

use super::create::CreatePlan;
use super::freeze::TableFreeze;

/// The table in a new plan that replaces one that was dropped or renamed: the one with the same UUID, or with the same
/// name (it was recreated), or, for tables without UUIDs, with the same engine and a name that was not `planned`
/// before. Names for which `is_known` is true are taken already.
#[must_use]
pub fn heir<'a>(
    gone: &Table,
    plan: &'a CreatePlan,
    planned: &BTreeSet<TableName>,
    is_known: impl Fn(&TableName) -> bool,
) -> Option<&'a TableFreeze> {
    plan.freeze.iter().find(|freeze| {
        let heir = &freeze.table;
        let is_same = match (&heir.key.uuid, &gone.key.uuid) {
            (Some(a), Some(b)) => a == b || heir.name() == gone.name(),
            _ => heir.engine == gone.engine && (heir.name() == gone.name() || !planned.contains(heir.name())),
        };
        is_same && !is_known(heir.name())
    })
}
