//! Damage that earlier checks noted, and that a check of less than all data did not read.

use std::collections::{BTreeSet, HashSet};

use crate::model::{Level, PartName, SnapshotId, TableName, Warning, WarningKind};
use crate::repo::Repository;

use super::request::{Report, Request};
use super::subjects::VerifyScope;

/// The number of parts that a warning names.
const NAMED_PARTS: usize = 3;

/// Adds the snapshots that the journal notes as damaged, if this run did not read their damage: a check of sizes or of a
/// share says nothing about the rest. A check of some tables is about the damage of these tables.
pub(super) fn add_noted_damage(
    repository: &Repository,
    request: &Request,
    scope: VerifyScope<'_>,
    report: &mut Report,
) {
    let reads_data = request.level == Level::Data;
    // What the journal still notes was just read, even if the outcome could not be recorded.
    if reads_data && scope.slice.is_none() {
        return;
    }
    let checks = repository.last_checks(&report.ids);
    let damaged: Vec<SnapshotId> =
        report.ids.iter().zip(&checks).filter(|(_, check)| check.damaged).map(|(id, _)| *id).collect();
    let mut noted = repository.damaged_parts_of(&damaged);
    for id in damaged {
        let mut parts = noted.remove(&id).unwrap_or_default();
        let found: HashSet<_> = report.damage.iter().flat_map(|damage| &damage.parts).collect();
        parts.retain(|(table, part)| {
            let was_read = reads_data && scope.has(table, part);
            scope.has_table(table) && !was_read && !found.contains(&(table.clone(), part.clone(), id))
        });
        let has_more = report.damage.iter().any(|damage| damage.places.iter().any(|(of, _)| *of == id));
        // Damage outside of parts is known of the snapshot only.
        if !parts.is_empty() || (scope.tables.is_empty() && !has_more) {
            report.warnings.push(unread_damage(id, &parts));
            report.noted_damaged.push(id);
        }
    }
}

fn unread_damage(id: SnapshotId, parts: &BTreeSet<(TableName, PartName)>) -> Warning {
    let named: Vec<String> = parts.iter().take(NAMED_PARTS).map(|(table, part)| format!("{table} {part}")).collect();
    let more = parts.len().saturating_sub(NAMED_PARTS);
    let named = match (named.as_slice(), more) {
        ([], _) => String::new(),
        (named, 0) => format!(" ({})", named.join(", ")),
        (named, more) => format!(" ({} and {more} more)", named.join(", ")),
    };
    let message = format!(
        "snapshot {id} is noted as damaged by an earlier check{named}; this one did not read that: --level data without \
         --slice does"
    );
    Warning::new(WarningKind::DamageFound, message)
}
