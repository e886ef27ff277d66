//! What stands in the place of a table that is gone.

use std::collections::BTreeSet;

use crate::model::{Table, TableName};

use super::create::CreatePlan;
use super::freeze::TableFreeze;

/// The table that a new plan has in the place of one that was dropped or renamed: of the same UUID, or of the same name
/// (it was dropped and made again), or, where tables have no UUIDs, of the same engine under a name that was not
/// `planned` before. Names that are known (`is_known`) are taken already.
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
