//! Adapts the plan of a restore into a directory to ClickHouse's own `RESTORE`, before anything is written.
//!
//! Source: `BackupEntriesCollector.cpp` and `BackupUtils.cpp` in ClickHouse's `src/Backups`,
//! `StorageMaterializedView`'s
//! `backupData`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{PartName, TableName, TableUuid, Warning, WarningKind, count};
use crate::plan::definition::quote;
use crate::plan::{Mapping, ParsedDefinition, Verb};

use super::compare::PartState;
use super::directory::{DirectoryAction, DirectoryItem, DirectoryPlan};
use super::native_plan::{NativePlan, NativeUpdates};
use super::target::Amount;

/// An engine whose tables fail RESTORE (code 608): the server adds columns to their definitions, and finds another one.
const ALIAS: &str = "Alias";

/// An engine whose tables fail RESTORE (code 608) without a file of their rows.
const ROCKS_DB: &str = "EmbeddedRocksDB";

/// Adapts a plan to `RESTORE`. `encrypted` contains one part of each table that has parts on an encrypted disk.
#[must_use]
pub fn for_native(
    mut plan: DirectoryPlan,
    items: &[DirectoryItem],
    encrypted: &BTreeMap<TableName, PartName>,
    updates: NativeUpdates,
) -> DirectoryPlan {
    let mut native = NativePlan::default();
    let mut refused: BTreeSet<TableName> = BTreeSet::new();
    for (table, DirectoryItem { item, .. }) in plan.tables.iter_mut().zip(items) {
        let left = item.data.as_ref().map(|data| {
            let mutations = data.mutations.len() + data.keeper_mutations.len();
            (unapplied_patches(&data.parts), mutations as u64)
        });
        let refusal = match (&table.action, &item.definition) {
            (DirectoryAction::Refuse(_), _) => None,
            (_, Err(reason)) => Some(format!("RESTORE needs its definition, and {reason}")),
            _ if item.inner_of.is_none() && is_inner(&item.name) => Some(
                "it is an inner table: RESTORE has a place for it only where its materialized view is restored too"
                    .to_owned(),
            ),
            (_, Ok(definition)) if definition.has_old_syntax() => Some(
                "it has the old syntax MergeTree(date, key, 8192), whose parts RESTORE cannot attach: restored into a \
                 server and copied into a table of today's syntax, they can be backed up"
                    .to_owned(),
            ),
            _ if item.engine == ALIAS => Some(
                "its engine is Alias, whose definition without columns RESTORE refuses, and with it the whole database: \
                 it has no rows of its own, and can be made by hand"
                    .to_owned(),
            ),
            _ if item.engine == ROCKS_DB => Some(
                "its engine is EmbeddedRocksDB, whose definition RESTORE refuses without rows in a form of their own, and \
                 with it the whole database: restored into a server, it can be backed up"
                    .to_owned(),
            ),
            _ => match (left, encrypted.get(&item.name)) {
                (_, Some(part)) => Some(format!(
                    "its part {part} is on an encrypted disk: RESTORE would take the ciphertext for its rows"
                )),
                (Some((patches, mutations)), None) if updates == NativeUpdates::Refuse && patches + mutations > 0 => {
                    Some(format!(
                        "it has {}, which RESTORE cannot bring back; --native-without-updates restores it without them",
                        updates_text(patches, mutations)
                    ))
                }
                _ => None,
            },
        };
        if let Some(reason) = refusal {
            table.action = DirectoryAction::Refuse(reason);
        }
        if matches!(table.action, DirectoryAction::Refuse(_)) {
            refused.insert(item.name.clone());
            table.amount = Amount::default();
            continue;
        }
        if let Some(data) = &item.data {
            let parts: Vec<PartState> = data.parts.iter().filter(|part| !part.name.is_patch()).cloned().collect();
            table.amount = Amount::of(&parts);
            native.directories.insert(item.name.clone(), item.inner_of.clone().unwrap_or_else(|| item.name.clone()));
        }
        if let Some((patches, mutations)) = left.filter(|(patches, mutations)| patches + mutations > 0) {
            let message = format!("it is restored without {}", updates_text(patches, mutations));
            table.warnings.push(Warning::new(WarningKind::UpdatesLeftOut, message));
            native.left_updates.tables += 1;
            native.left_updates.patch_parts += patches;
            native.left_updates.mutations += mutations;
        }
        if item.definition.as_ref().is_ok_and(ParsedDefinition::is_refreshable) {
            let message =
                "RESTORE refreshes it as soon as it is there: it overwrites what its target has, or appends to it";
            table.warnings.push(Warning::new(WarningKind::ViewRefreshes, message));
        }
        if item.dump.is_some() {
            let message =
                "RESTORE brings back its definition alone: its rows are in dumps/, which RESTORE does not read";
            table.warnings.push(Warning::new(WarningKind::DataLeftBehind, message));
        }
    }
    refuse_incomplete_views(&mut plan, items, &refused, &mut native);
    plan.script = super::attach_script::AttachScript::default();
    plan.native = Some(native);
    plan
}

/// Refuses a view or its inner table if the other is not restored: RESTORE would create the missing half, empty.
fn refuse_incomplete_views(
    plan: &mut DirectoryPlan,
    items: &[DirectoryItem],
    refused: &BTreeSet<TableName>,
    native: &mut NativePlan,
) {
    let views: BTreeMap<&TableName, &TableName> =
        items.iter().filter_map(|item| Some((item.item.inner_of.as_ref()?, &item.item.name))).collect();
    for (table, DirectoryItem { item, .. }) in plan.tables.iter_mut().zip(items) {
        let other = item.inner_of.as_ref().or_else(|| views.get(&item.name).copied());
        if let Some(other) = other.filter(|other| refused.contains(other) && !refused.contains(&item.name)) {
            table.action = DirectoryAction::Refuse(format!("it is nothing without {other}, which is refused"));
            table.amount = Amount::default();
            native.directories.remove(&item.name);
        }
    }
}

/// Whether a table has a name that ClickHouse gives to inner tables, which BACKUP leaves out (`isInnerTable`).
fn is_inner(name: &TableName) -> bool {
    name.table.starts_with(".inner.") || name.table.starts_with(".inner_id.") || name.table.starts_with(".tmp.inner")
}

/// The number of patch parts that some part of their partition may lack, because it has an older version.
///
/// A patch part that every part includes is harmless, and stays for a while. A patch that merges have applied without a
/// new version counts as lacking, because no name shows that.
#[must_use]
fn unapplied_patches(parts: &[PartState]) -> u64 {
    let (patches, data): (Vec<&PartState>, Vec<&PartState>) = parts.iter().partition(|part| part.name.is_patch());
    let lacks = |patch: &&&PartState| {
        let partition = patch.partition.of_data();
        let newest = patch.name.blocks().map_or(u64::MAX, |blocks| blocks.max.max(blocks.mutation));
        let mut of_partition = data.iter().filter(|part| part.partition == partition);
        of_partition.any(|part| part.name.data_version() < newest)
    };
    patches.iter().filter(lacks).count() as u64
}

fn updates_text(patches: u64, mutations: u64) -> String {
    let texts = [(patches, "unapplied patch part"), (mutations, "unfinished mutation")];
    let texts: Vec<String> =
        texts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(*number, what)).collect();
    texts.join(" and ")
}

/// The statement with which `RESTORE` creates a table, a view, a dictionary; with this UUID if its definition has none.
#[must_use]
pub fn create_table_text(definition: &ParsedDefinition, name: &TableName, uuid: Option<&TableUuid>) -> String {
    let quoted = format!("{}.{}", quote(&name.database, '`'), quote(&name.table, '`'));
    let uuids = (definition.uuid.as_ref().or(uuid), definition.inner_uuid.as_ref());
    definition.statement(Verb::Create, &quoted, uuids, &Mapping::default())
}

/// The statement with which `RESTORE` creates a database.
#[must_use]
pub fn create_database_text(definition: &ParsedDefinition, name: &str) -> String {
    definition.statement(Verb::Create, &quote(name, '`'), (definition.uuid.as_ref(), None), &Mapping::default())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{LackedMutation, PartitionId, Placement};
    use crate::plan::LeftUpdates;
    use crate::plan::{DirectoryOptions, SourceData, SourceItem, TargetDirectory, plan_directory};

    fn state(name: &str) -> PartState {
        let partition = name.rsplit_once("all").map_or("all".to_owned(), |(before, _)| format!("{before}all"));
        PartState {
            name: PartName::try_from(name.to_owned()).expect("a name"),
            partition: PartitionId(partition.as_str().into()),
            fingerprint: None,
            rows: Some(1),
            bytes: 10,
            is_active: true,
        }
    }

    fn item(name: &str, definition: &str, parts: &[&str]) -> DirectoryItem {
        let parts: Vec<PartState> = parts.iter().map(|name| state(name)).collect();
        let data = SourceData { amount: Amount::of(&parts), parts, ..SourceData::default() };
        let item = SourceItem {
            name: TableName::new("lab", name),
            engine: "MergeTree".to_owned(),
            uuid: None,
            definition: Ok(ParsedDefinition::parse(definition).expect("a definition")),
            data: (!data.parts.is_empty()).then_some(data),
            dump: None,
            data_left: None,
            skipped: None,
            is_detached: false,
            detachment: None,
            inner_of: None,
        };
        DirectoryItem { item, has_definition: true }
    }

    const TABLE: &str =
        "ATTACH TABLE _ UUID '00000000-0000-4000-8000-000000000001' (k UInt8) ENGINE = MergeTree ORDER BY k";
    const VIEW: &str = "ATTACH MATERIALIZED VIEW _ UUID '00000000-0000-4000-8000-000000000002' TO INNER UUID \
        '00000000-0000-4000-8000-000000000003' (k UInt8) ENGINE = MergeTree ORDER BY k AS SELECT k FROM lab.t";

    fn planned(items: &[DirectoryItem], encrypted: &[&str], updates: NativeUpdates) -> DirectoryPlan {
        let room = crate::model::Room { free_bytes: 100_000, ..crate::model::Room::default() };
        let target = TargetDirectory { is_on_same_mount: true, room, ..TargetDirectory::default() };
        let options = DirectoryOptions { may_link: true, may_copy: true, with_damaged: false };
        let part = PartName::try_from("all_1_1_0".to_owned()).expect("a name");
        let encrypted =
            encrypted.iter().map(|name| (TableName::new("lab", *name), part.clone())).collect::<BTreeMap<_, _>>();
        for_native(plan_directory(items, &target, options), items, &encrypted, updates)
    }

    fn reason(plan: &DirectoryPlan, at: usize) -> Option<&str> {
        match &plan.tables[at].action {
            DirectoryAction::Refuse(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_table_with_updates_that_restore_cannot_bring_back_is_refused_or_restored_without_them_and_counted() {
        let patched = item("patched", TABLE, &["all_1_1_0", "patch-b9-all_3_3_0_2"]);
        let mut mutated = item("mutated", TABLE, &["all_1_1_0"]);
        let data = mutated.item.data.as_mut().expect("data");
        data.mutations = vec!["mutation_2.txt".to_owned()];
        data.keeper_mutations = vec![LackedMutation { id: "0".to_owned(), command: String::new(), parts: Vec::new() }];
        let items = [patched, mutated, item("sound", TABLE, &["all_1_1_0"])];
        let plan = planned(&items, &[], NativeUpdates::Refuse);
        assert!(reason(&plan, 0).is_some_and(|reason| reason.contains("1 unapplied patch part, which")));
        assert!(reason(&plan, 1).is_some_and(|reason| reason.contains("2 unfinished mutations")));
        assert_eq!((reason(&plan, 2), plan.amount().parts), (None, 1));
        let plan = planned(&items, &[], NativeUpdates::LeaveOut);
        let native = plan.native.as_ref().expect("one");
        assert_eq!(native.left_updates, LeftUpdates { tables: 2, patch_parts: 1, mutations: 2 });
        assert_eq!(plan.amount().parts, 3);
        let kinds: Vec<WarningKind> = plan.all_warnings().iter().map(|warning| warning.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == WarningKind::UpdatesLeftOut).count(), 2);
    }

    #[test]
    fn a_refreshable_view_is_restored_with_a_warning() {
        let definition = "CREATE MATERIALIZED VIEW lab.r REFRESH EVERY 1 YEAR APPEND TO lab.t AS SELECT 1 AS k";
        let plan = planned(&[item("r", definition, &[])], &[], NativeUpdates::Refuse);
        let kinds: Vec<WarningKind> = plan.all_warnings().iter().map(|warning| warning.kind).collect();
        assert_eq!((reason(&plan, 0), kinds), (None, vec![WarningKind::ViewRefreshes]));
    }

    #[test]
    fn a_table_whose_definition_alone_fails_the_whole_restore_is_refused() {
        let mut rocks = item("r", "CREATE TABLE lab.r (k UInt8) ENGINE = EmbeddedRocksDB PRIMARY KEY k", &[]);
        rocks.item.engine = "EmbeddedRocksDB".to_owned();
        let mut alias = item("a", "CREATE TABLE lab.a ENGINE = Alias('lab', 't')", &[]);
        alias.item.engine = "Alias".to_owned();
        let mut log = item("l", "CREATE TABLE lab.l (k UInt8) ENGINE = Log", &[]);
        log.item.engine = "Log".to_owned();
        let plan = planned(&[rocks, alias, log], &[], NativeUpdates::Refuse);
        assert!(reason(&plan, 0).is_some_and(|reason| reason.contains("EmbeddedRocksDB")));
        assert!(reason(&plan, 1).is_some_and(|reason| reason.contains("Alias")));
        assert_eq!(reason(&plan, 2), None);
    }

    #[test]
    fn a_patch_part_that_every_part_of_its_partition_has_is_nothing_to_refuse() {
        let applied = item("t", TABLE, &["all_1_1_0_5", "all_6_6_0", "patch-b9-all_3_3_0_2"]);
        let plan = planned(&[applied], &[], NativeUpdates::Refuse);
        assert_eq!((reason(&plan, 0), plan.amount().parts), (None, 2));
        let later = item("t", TABLE, &["all_1_1_0_2", "patch-b9-all_3_3_0_2"]);
        assert!(reason(&planned(&[later], &[], NativeUpdates::Refuse), 0).is_some());
    }

    #[test]
    fn an_inner_table_is_listed_under_its_view_and_both_are_refused_together() {
        let mut inner = item(".inner_id.00000000-0000-4000-8000-000000000002", TABLE, &["all_1_1_0"]);
        let alone = planned(&[inner.clone()], &[], NativeUpdates::Refuse);
        assert!(reason(&alone, 0).is_some_and(|reason| reason.contains("inner table")));
        inner.item.inner_of = Some(TableName::new("lab", "mv"));
        let items = [inner.clone(), item("mv", VIEW, &[])];
        let plan = planned(&items, &[], NativeUpdates::Refuse);
        let directories = &plan.native.as_ref().expect("one").directories;
        assert_eq!(directories.get(&inner.item.name), Some(&TableName::new("lab", "mv")));
        assert_eq!(plan.placed(Placement::Linked).parts, 1);
        let plan = planned(&items, &[&inner.item.name.table], NativeUpdates::Refuse);
        assert!(reason(&plan, 0).is_some_and(|reason| reason.contains("encrypted")));
        assert!(reason(&plan, 1).is_some_and(|reason| reason.contains("nothing without")));
        assert!(plan.native.as_ref().expect("one").directories.is_empty());
    }

    #[test]
    fn definitions_become_create_statements_with_their_uuids() {
        let view = ParsedDefinition::parse(VIEW).expect("a view");
        let name = TableName::new("my-db", "a`b");
        assert_eq!(
            create_table_text(&view, &name, None),
            "CREATE MATERIALIZED VIEW `my-db`.`a\\`b` UUID '00000000-0000-4000-8000-000000000002' TO INNER UUID \
             '00000000-0000-4000-8000-000000000003' (k UInt8) ENGINE = MergeTree ORDER BY k AS SELECT k FROM lab.t"
        );
        let database =
            ParsedDefinition::parse("ATTACH DATABASE _ UUID '00000000-0000-4000-8000-000000000001' ENGINE = Atomic");
        assert_eq!(
            create_database_text(&database.expect("a database"), "my-db"),
            "CREATE DATABASE `my-db` UUID '00000000-0000-4000-8000-000000000001' ENGINE = Atomic"
        );
    }
}
