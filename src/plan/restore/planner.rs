//! Plans a restore: the action for each table, as a pure function of the snapshot, the server and the options.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::{Detachment, DumpKind, PartitionId, TableName, TableUuid, Warning, WarningKind, count};
use crate::plan::definition::quote;
use crate::plan::{DefinitionKind, Mapping, ObjectKind, ParsedDefinition, Verb};

use super::compare::{PartState, compare_parts};
use super::expiry::Expired;
use super::hold::{held_settings, holds_itself};
use super::loss::{Loss, ReplacedScope, Stored, losses};
use super::missing::{name_missing, stay};
use super::not_run::{not_run, warning as not_run_warning};
use super::objects::{DatabasePlan, plan_databases, plan_objects};
use super::options::{Replicated, RestoreContent, RestoreOptions};
use super::replica::{FoundPath, ReplicaDecision, ReplicaOptions, ReplicaPlan, ReplicaSource, decide};
use super::rules::{RANK_AFTER_VIEWS, consumes, contradiction, has_uuids, makes_own_directory, passes_rows_on, rank};
use super::source::{SnapshotContent, SourceData, SourceDump, SourceItem, noted_damaged};
use super::storage::{Disks, disks};
use super::table::{
    Action, DamagedParts, KeptTableState, PartitionScope, RestorePlan, SkipReason, Spread, TablePlan, TableRefusal,
    ViewReplacement,
};
use super::target::{Amount, ClusterHosts, LiveRows, TargetServer, TargetTable};
use super::unused::name_unused;

/// The size above which a server refuses to drop a table or to replace a partition, unless a statement or its
/// configuration overrides it. Source: `max_table_size_to_drop` and `max_partition_size_to_drop` in ClickHouse's
/// `src/Core/Defines.h`.
pub const DROP_LIMIT_BYTES: u64 = 50_000_000_000;

struct RestorePlanner<'a> {
    content: SnapshotContent<'a>,
    target: &'a TargetServer,
    options: &'a RestoreOptions,
    fresh: &'a mut dyn FnMut() -> TableUuid,
    given: HashSet<TableUuid>,
    /// The paths in Keeper of the tables planned so far.
    paths: BTreeSet<String>,
    /// See [`models`].
    models: BTreeMap<String, String>,
    /// The new names.
    names: Mapping,
    refused: Vec<TableRefusal>,
}

/// Makes the plan. `fresh` returns UUIDs that no table has.
pub fn plan_restore(
    content: SnapshotContent<'_>,
    target: &TargetServer,
    options: &RestoreOptions,
    fresh: &mut dyn FnMut() -> TableUuid,
) -> RestorePlan {
    let sources = content.items;
    let models = models(content, options);
    let mut planner = RestorePlanner {
        content,
        target,
        options,
        fresh,
        given: HashSet::new(),
        paths: BTreeSet::new(),
        models: models.clone(),
        names: names(content, options),
        refused: Vec::new(),
    };
    let mut plan = RestorePlan::default();
    // Views come before their inner tables, whose names contain the view's UUID.
    let (inner, others): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.inner_of.is_some());
    for source in others.iter().filter(|source| options.what != RestoreContent::Data || source.has_rows()) {
        let to = options.renames.table(&source.name);
        let table = planner.plan(source, to);
        plan.tables.push(table);
    }
    for source in inner {
        let view = source.inner_of.as_ref().and_then(|view| plan.tables.iter().find(|table| table.from == *view));
        let is_made = view.is_none_or(|view| view.action.reason().is_none());
        let is_view = |view: &TablePlan| !matches!(view.action, Action::Keep(_)) || planner.is_view(&view.to);
        let is_made = is_made && view.is_none_or(is_view);
        let is_replaced = view.is_some_and(|view| matches!(view.action, Action::ReplaceView(_)));
        let view = view.map(|view| (view.to.clone(), view.uuid.clone())).or_else(|| planner.live_view(source));
        let table = if let (true, Some(view)) = (is_replaced, &view) {
            let to = planner.inner_name(source, Some(view));
            TablePlan { comes_with: Some(view.0.clone()), ..planner.plan(source, to) }
        } else if is_made {
            let to = planner.inner_name(source, view.as_ref());
            match (planner.other_view(source), &view) {
                (Some(view), _) => planner.under_other_view(source, to, &view),
                (None, Some((view, None))) if planner.is_in_replicated(view) && !planner.is_view(view) => {
                    planner.plan_made_by(source, to, view)
                }
                (None, _) => planner.plan(source, to),
            }
        } else {
            // Its name is derived from a view that does not exist.
            let to = planner.options.renames.table(&source.name);
            TablePlan { action: Action::Skip(SkipReason::ViewNotMade), ..planner.outline(source, to) }
        };
        if let Some(view) = plan.tables.iter_mut().find(|other| Some(&other.from) == source.inner_of.as_ref()) {
            view.inner_uuid.clone_from(&table.uuid);
        }
        plan.tables.push(table);
    }
    name_missing(&mut plan, target, &planner.names);
    planner.resolve_views(&mut plan);
    plan.refused = planner.refused;
    if let Some(hosts) = &target.hosts {
        spread(&mut plan, sources, target, hosts);
    }
    plan.databases = databases(content, target, options, (&plan.tables, &models));
    if options.what != RestoreContent::Data {
        let is_needed = |kind: ObjectKind, name: &str| {
            let mut definitions = sources.iter().filter_map(|source| source.definition.as_ref().ok());
            definitions.any(|definition| definition.needs(kind, name))
        };
        let wanted = |kind: ObjectKind, name: &str| content.is_whole || is_needed(kind, name);
        plan.objects = plan_objects(content.objects, &target.objects, &wanted, options.with_hidden_secrets);
    }
    map_names(&mut plan, sources, options);
    if !options.renames.is_empty() {
        name_unresolved(&mut plan);
    }
    let mut names: BTreeMap<&TableName, &TableName> = BTreeMap::new();
    for table in &plan.tables {
        if let Some(other) = names.insert(&table.to, &table.from) {
            plan.conflicts.push(format!("{other} and {} would both be {}", table.from, table.to));
        }
    }
    plan.on_cluster.clone_from(&options.on_cluster);
    name_unused(&mut plan, sources, target, options);
    plan.tables.sort_by(|a, b| (a.rank, &a.to).cmp(&(b.rank, &b.to)));
    plan
}

/// Creates existing tables that stay on those hosts of the cluster that lack them. Not while a host does not answer:
/// the statement of an earlier restore may wait for it in the cluster's queue, and no statement is sent twice.
fn spread(plan: &mut RestorePlan, sources: &[SourceItem], target: &TargetServer, hosts: &ClusterHosts) {
    for table in plan.tables.iter_mut().filter(|table| matches!(table.action, Action::Keep(_))) {
        let source = sources.iter().find(|source| source.name == table.from);
        let (Some(source), Some(there)) = (source, target.tables.get(&table.to)) else { continue };
        // The data of other tables is only on this host.
        let has_own_data = source.data.is_some() && !there.engine.starts_with("Replicated") || source.dump.is_some();
        let lacking = hosts.tables.iter().filter(|(_, tables)| !tables.contains(&table.to));
        let lacking: Vec<String> = lacking.map(|(host, _)| host.clone()).collect();
        if lacking.is_empty() || has_own_data {
            continue;
        }
        let definition = there.definition.as_ref().filter(|definition| can_be_copied(definition));
        if let (Some(definition), 0) = (definition, hosts.silent) {
            table.spread = Some(Spread { hosts: lacking, definition: definition.clone() });
            continue;
        }
        let lacking = format!("the cluster's {} lacks it", lacking.join(", "));
        let why = match definition {
            Some(_) => "it is made there once all hosts answer",
            None => "its definition cannot be made there as it is here: restore it on that host",
        };
        table.warnings.push(Warning::new(WarningKind::HostMissing, format!("{lacking}; {why}")));
    }
    if hosts.silent > 0 {
        let silent = count(hosts.silent as u64, "host");
        let message = format!("{silent} of the cluster did not answer: what is there is not known");
        plan.warnings.push(Warning::new(WarningKind::HostMissing, message));
    }
}

/// Whether CREATE with the server's own definition creates the same object on another host: not if the server hides a
/// secret in it, and not for a view that would create its own inner table.
fn can_be_copied(definition: &ParsedDefinition) -> bool {
    let makes_inner = definition.kind == DefinitionKind::MaterializedView && !definition.has_target();
    !makes_inner && !definition.has_hidden_secret()
}

/// The new names of the snapshot's tables and databases.
fn names(content: SnapshotContent<'_>, options: &RestoreOptions) -> Mapping {
    let renamed = content.items.iter().map(|source| (source.name.clone(), options.renames.table(&source.name)));
    Mapping {
        tables: renamed.filter(|(from, to)| from != to).collect(),
        databases: options.renames.databases().clone(),
        ..Mapping::default()
    }
}

/// The database of the snapshot that serves as the model for each new database, by the new name. If tables of several
/// databases are combined, it is one whose tables have UUIDs, because such a database accepts the tables of all.
fn models(content: SnapshotContent<'_>, options: &RestoreOptions) -> BTreeMap<String, String> {
    let engine = |name: &str| content.databases.iter().find(|stored| stored.name == name).map(|stored| &stored.engine);
    let mut models: BTreeMap<String, String> = BTreeMap::new();
    for source in content.items {
        let from = &source.name.database;
        let model = models.entry(options.renames.table(&source.name).database).or_insert_with(|| from.clone());
        if engine(from).is_some_and(|engine| has_uuids(engine))
            && !engine(model).is_some_and(|engine| has_uuids(engine))
        {
            model.clone_from(from);
        }
    }
    models
}

/// The databases to create: those of tables that are created, and the empty ones if the whole snapshot is restored or
/// they are renamed.
fn databases(
    content: SnapshotContent<'_>,
    target: &TargetServer,
    options: &RestoreOptions,
    (tables, models): (&[TablePlan], &BTreeMap<String, String>),
) -> Vec<DatabasePlan> {
    let makes = |table: &&TablePlan| {
        table.action.makes_table() || table.spread.is_some() || matches!(table.action, Action::Fill { .. })
    };
    let of_tables = tables.iter().filter(makes);
    let model = |table: &TablePlan| models.get(&table.to.database).unwrap_or(&table.from.database).clone();
    let mut needed: BTreeMap<String, String> =
        of_tables.map(|table| (table.to.database.clone(), model(table))).collect();
    if options.what != RestoreContent::Data {
        let has_tables = |name: &str| content.items.iter().any(|item| item.name.database == name);
        let is_wanted = |name: &str| content.is_whole || options.renames.databases().contains_key(name);
        let empty =
            content.databases.iter().filter(|database| is_wanted(&database.name) && !has_tables(&database.name));
        needed.extend(empty.map(|database| (options.renames.database(&database.name), database.name.clone())));
    }
    let of_tables: BTreeSet<String> = tables.iter().filter(makes).map(|table| table.to.database.clone()).collect();
    // Every server has its own database, whether or not it was read. Other hosts may lack a database that exists here.
    let is_here = |name: &str| {
        let hosts = target.hosts.as_ref();
        let lacks = |hosts: &ClusterHosts| hosts.databases.values().any(|databases| !databases.contains(name));
        let is_unknown = |hosts: &ClusterHosts| hosts.silent > 0 && of_tables.contains(name);
        target.databases.contains_key(name) && !hosts.is_some_and(|hosts| lacks(hosts) || is_unknown(hosts))
    };
    needed.retain(|name, _| name != "system" && !is_here(name) && !target.detached_databases.contains(name));
    plan_databases(&needed, content.databases)
}

fn map_names(plan: &mut RestorePlan, sources: &[SourceItem], options: &RestoreOptions) {
    // The name of a table that a view makes is not known yet.
    for table in plan.tables.iter().filter(|table| table.made_by.is_none()) {
        if table.from != table.to {
            plan.mapping.tables.insert(table.from.clone(), table.to.clone());
        }
        let stored = sources.iter().find(|source| source.name == table.from).and_then(|source| source.uuid.as_ref());
        if let (Some(stored), Some(now)) = (stored, &table.uuid)
            && stored != now
        {
            plan.mapping.uuids.insert(stored.clone(), now.clone());
        }
    }
    plan.mapping.databases = options.renames.databases().clone();
}

/// Warns about every created object in which an old name remains, or that names the database of the session: it would
/// read or write live data.
fn name_unresolved(plan: &mut RestorePlan) {
    for table in plan.tables.iter_mut().filter(|table| table.action.changes_server()) {
        let left = table.definition.as_ref().map(|definition| definition.unresolved(&plan.mapping)).unwrap_or_default();
        if !left.is_empty() {
            let message = format!("its definition still names {}", left.join(", "));
            table.warnings.push(Warning::new(WarningKind::OldNameLeft, message));
        }
        if table.definition.as_ref().is_some_and(ParsedDefinition::names_session_database) {
            let message = "its definition names currentDatabase(), which is the database of the session that makes or \
                           reads it, and not its new one";
            table.warnings.push(Warning::new(WarningKind::OldNameLeft, message));
        }
    }
}

impl RestorePlanner<'_> {
    /// The engine of a database, existing or planned.
    fn engine(&self, database: &str) -> Option<&str> {
        let made = || {
            let from = self.models.get(database)?;
            self.content.databases.iter().find(|stored| stored.name == *from).map(|stored| &stored.engine)
        };
        self.target.databases.get(database).or_else(made).map(String::as_str)
    }

    fn has_uuids(&self, database: &str) -> bool {
        self.engine(database).is_some_and(has_uuids)
    }

    /// The stored UUID if no table has it, else a fresh one.
    fn uuid(&mut self, stored: Option<&TableUuid>) -> TableUuid {
        let free = stored.filter(|uuid| !self.target.used_uuids.contains(uuid) && !self.given.contains(uuid));
        let uuid = free.cloned().unwrap_or_else(|| (self.fresh)());
        self.given.insert(uuid.clone());
        uuid
    }

    /// Whether the server has a view of this name.
    fn is_view(&self, name: &TableName) -> bool {
        self.target.tables.get(name).is_some_and(|table| table.engine.ends_with("View"))
    }

    /// The live view of an inner table whose view is not among the planned tables, with its UUID.
    fn live_view(&self, inner: &SourceItem) -> Option<(TableName, Option<TableUuid>)> {
        let name = self.options.renames.table(inner.inner_of.as_ref()?);
        let there = self.target.tables.get(&name).filter(|_| self.is_view(&name))?;
        Some((name, there.uuid.clone()))
    }

    /// The live object with the name of an inner table's view, if it is defined otherwise than in the snapshot.
    fn other_view(&self, inner: &SourceItem) -> Option<TableName> {
        let view = self.content.items.iter().find(|item| inner.inner_of.as_ref() == Some(&item.name))?;
        let name = self.options.renames.table(&view.name);
        let there = self.target.tables.get(&name)?;
        (!self.is_defined_alike(view, there)).then_some(name)
    }

    /// The plan of an inner table whose live view has another definition, and stays: its columns and keys are those of
    /// that definition, so that rows of the snapshot would break the view, or mix with rows of another query.
    fn under_other_view(&self, source: &SourceItem, to: TableName, view: &TableName) -> TablePlan {
        let mut plan = self.outline(source, to);
        let kept = self.target.tables.get(&plan.to).map(|there| self.kept_state(source, there));
        plan.action = kept.map_or(Action::Skip(SkipReason::OtherView), Action::Keep);
        plan.uuid.clone_from(&plan.live_uuid);
        if kept != Some(KeptTableState::Same) {
            let quoted = quoted_where_needed(view);
            let how = if self.options.replace && self.options.names_tables {
                String::new()
            } else {
                format!("--replace --table '{view}' replaces both; or ")
            };
            let message = format!(
                "it is the inner table of {view}, which exists with another definition and stays: {how}drop that view with \
                 its rows (DROP TABLE {quoted}) or rename it first, or restore under another name"
            );
            plan.warnings.push(Warning::new(WarningKind::ExistingDiffers, message));
        }
        plan
    }

    /// The plan of an inner table that a database of the engine Replicated makes with its view: under a name with the
    /// UUID that the database gives the view. It gets its partitions or rows once the view is there.
    fn plan_made_by(&mut self, source: &SourceItem, to: TableName, view: &TableName) -> TablePlan {
        let mut plan = self.plan(source, to);
        if plan.action == Action::MakeReplica {
            plan.action = Action::FillReplica;
        }
        if matches!(plan.action, Action::FillReplica | Action::Fill { .. }) {
            plan.made_by = Some(view.clone());
            plan.rank = RANK_AFTER_VIEWS;
        }
        plan
    }

    /// How a table that stays compares with the snapshot.
    fn kept_state(&self, source: &SourceItem, there: &TargetTable) -> KeptTableState {
        let has_same_definition = self.is_defined_alike(source, there);
        let of_definition = if has_same_definition { KeptTableState::Same } else { KeptTableState::OtherDefinition };
        match (&source.dump, &source.data) {
            _ if self.options.what == RestoreContent::Schema => of_definition,
            (Some(_), _) => KeptTableState::NotCompared,
            (None, Some(data)) if !has_same_data(data, there, None) => KeptTableState::OtherData {
                rows: Amount::of(&there.parts).rows,
                stored_rows: data.amount.rows,
                has_same_definition,
            },
            (None, _) => of_definition,
        }
    }

    /// The name of an inner table, which depends on its view.
    fn inner_name(&self, source: &SourceItem, view: Option<&(TableName, Option<TableUuid>)>) -> TableName {
        match view {
            None => self.options.renames.table(&source.name),
            Some((view, uuid)) => view.inner_table(uuid.as_ref()),
        }
    }

    /// The plan of a table before its action is decided.
    fn outline(&self, source: &SourceItem, to: TableName) -> TablePlan {
        let there = self.target.tables.get(&to);
        TablePlan {
            from: source.name.clone(),
            engine: source.engine.clone(),
            action: Action::Impossible(String::new()),
            rank: rank(source),
            definition: source.definition.as_ref().ok().map(|definition| self.changed(source, definition)),
            disks: Disks::default(),
            held: Vec::new(),
            ttl_statements: Vec::new(),
            uuid: None,
            helper_uuid: None,
            replica: None,
            statement_uuid: None,
            inner_uuid: None,
            comes_with: None,
            made_by: None,
            uuid_changed: false,
            restores: Amount::default(),
            expired: Expired::default(),
            replaces: None,
            live_uuid: there.and_then(|there| there.uuid.clone()),
            live: None,
            spread: None,
            losses: Vec::new(),
            detaches: None,
            not_run: Vec::new(),
            warnings: Vec::new(),
            to,
        }
    }

    fn plan(&mut self, source: &SourceItem, to: TableName) -> TablePlan {
        let there = self.target.tables.get(&to);
        let mut plan = self.outline(source, to);
        plan.action = match there {
            Some(there) => self.with(source, there, &mut plan),
            None => self.without(source, &plan),
        };
        if let (true, Some(data)) = (plan.action.places_parts(), &source.data) {
            self.plan_data(data, &mut plan);
            plan.not_run = not_run(data, &plan.to);
            plan.warnings.extend(not_run_warning(&plan.not_run));
        }
        if let (Some(dump), Action::Fill { .. } | Action::Place | Action::Swap) = (&source.dump, &plan.action)
            && self.options.what != RestoreContent::Schema
        {
            plan.restores = Amount { parts: 0, rows: dump.rows.unwrap_or(0), bytes: dump.bytes };
        }
        let is_in_replicated = self.is_in_replicated(&plan.to);
        if matches!(plan.action, Action::Place) && (self.stays_replicated(source) || is_in_replicated) {
            self.plan_replica(source, &mut plan);
        }
        let stays_detached = source.is_detached && !self.options.names_tables;
        plan.detaches =
            (stays_detached && plan.action.makes_table()).then(|| source.detachment.unwrap_or(Detachment::Permanent));
        if plan.action.changes_server() && !plan.losses.is_empty() && !self.options.replace {
            self.refused.push(TableRefusal::Loss { table: plan.to.clone(), losses: plan.losses.clone() });
        }
        if matches!(plan.action, Action::Keep(_)) {
            plan.uuid.clone_from(&plan.live_uuid);
        }
        if is_in_replicated && matches!(plan.action, Action::Make(_)) {
            plan.definition = plan.definition.map(|definition| definition.without_replica());
        }
        // A database of the engine Replicated assigns UUIDs itself, and refuses others.
        let is_given = matches!(plan.action, Action::Make(_) | Action::Fill { .. }) && is_in_replicated;
        if plan.action.changes_server() && plan.replica.is_none() && !is_given && self.has_uuids(&plan.to.database) {
            let uuid = self.uuid(source.uuid.as_ref());
            // A table that only passes its partitions on is dropped again.
            let stays = !plan.action.needs_helper();
            plan.uuid_changed = stays && source.uuid.is_some() && source.uuid.as_ref() != Some(&uuid);
            // CREATE would create a new inner table; a restored one is attached with its view.
            if let Action::Make(verb) = &mut plan.action
                && !makes_own_directory(&source.engine)
            {
                *verb = Verb::Attach;
            }
            plan.uuid = Some(uuid);
        }
        if plan.action.places_parts() && self.engine(&plan.to.database) == Some("Memory") {
            plan.statement_uuid = Some((self.fresh)());
        }
        if plan.action.changes_server() && plan.definition.as_ref().is_some_and(ParsedDefinition::has_hidden_secret) {
            plan.warnings
                .push(Warning::new(WarningKind::SecretsHidden, "it has [HIDDEN] for a secret, as in the snapshot"));
        }
        if let (Some(reason), Action::Make(_)) = (&source.data_left, &plan.action) {
            let message = format!("it is empty, its data is not in the snapshot: {reason}");
            plan.warnings.push(Warning::new(WarningKind::DataLeftBehind, message));
        }
        plan
    }

    /// The definition with the requested changes.
    fn changed(&self, source: &SourceItem, definition: &ParsedDefinition) -> ParsedDefinition {
        let mut changed = definition.clone();
        if self.options.replicated == Replicated::AsMergeTree {
            changed = changed.as_plain();
        }
        if self.options.hold_ttl && source.data.is_some() {
            changed = changed.without_ttl();
        }
        if let (Some(change), Some(data), None) = (&self.options.storage_policy, &source.data, &source.dump)
            && change.from.as_ref().is_none_or(|from| *from == data.policy)
        {
            let quoted = quote(&change.to, '\'');
            changed = changed.without_settings(&["disk"]).with_settings(&[("storage_policy", &quoted)]);
        }
        changed
    }

    /// Decides where parts go, and how the table is held until it is compared.
    fn plan_data(&mut self, data: &SourceData, plan: &mut TablePlan) {
        if let Some(first) = data.damaged.first().filter(|_| !self.options.with_damaged) {
            plan.action = Action::Damaged(DamagedParts { count: data.damaged.len(), first: first.clone() });
            return;
        }
        if !data.damaged.is_empty() {
            plan.warnings.push(noted_damaged(data.damaged.len()));
        }
        plan.warnings.extend(data.copies());
        match disks(self.target, self.options, data, plan.definition.as_ref()) {
            Ok(disks) => plan.disks = disks,
            Err(reason) => {
                plan.action = Action::Impossible(reason);
                return;
            }
        }
        if self.options.what != RestoreContent::Schema {
            plan.restores = data.amount;
            if !self.options.hold_ttl {
                plan.expired = data.expired;
            }
        }
        let Some(definition) = &plan.definition else { return };
        if !plan.engine.ends_with("MergeTree") {
            return;
        }
        plan.held = held_settings(definition, &|name| self.target.hold_settings.contains(name));
        let source = self.content.items.iter().find(|item| item.name == plan.from);
        if let (true, Some(Ok(stored))) = (self.options.hold_ttl, source.map(|source| source.definition.as_ref())) {
            let quoted = format!("{}.{}", quote(&plan.to.database, '`'), quote(&plan.to.table, '`'));
            plan.ttl_statements = stored.ttl_statements(&quoted);
        }
        let has_ttl = definition.has_ttl() && self.options.what != RestoreContent::Schema;
        let is_unheld = plan.held.is_empty() && !holds_itself(definition);
        if has_ttl && is_unheld && !self.target.hold_settings.is_empty() {
            let message = "rows past their TTL may be dropped before they are compared";
            plan.warnings.push(Warning::new(WarningKind::TtlNotHeld, message));
        }
    }

    /// Whether a table is, or will be, in a database of the engine Replicated.
    fn is_in_replicated(&self, name: &TableName) -> bool {
        self.engine(&name.database) == Some("Replicated")
    }

    /// Whether it is a table with parts that stays replicated.
    fn stays_replicated(&self, source: &SourceItem) -> bool {
        source.engine.starts_with("Replicated")
            && source.data.is_some()
            && self.options.replicated != Replicated::AsMergeTree
    }

    /// Plans a replicated table that does not exist, according to Keeper's data at its path. Two tables must never
    /// share a path and replica name in Keeper, not even for a moment.
    fn plan_replica(&mut self, source: &SourceItem, plan: &mut TablePlan) {
        let Some(definition) = plan.definition.clone() else { return };
        if self.is_in_replicated(&plan.to) {
            // Such a database creates the table on all its replicas, assigns UUID and path, and attaches none.
            if !plan.engine.ends_with("MergeTree") && !passes_rows_on(&plan.engine) {
                let engine = &plan.engine;
                plan.action = Action::Impossible(format!(
                    "a database of the engine Replicated attaches no files of a table of engine {engine}; --rename-db \
                     restores it into another database"
                ));
                return;
            }
            let has_data =
                plan.restores.parts > 0 || source.dump.is_some() && self.options.what != RestoreContent::Schema;
            plan.action = if has_data { Action::FillReplica } else { Action::MakeReplica };
            plan.definition = Some(definition.without_replica());
            plan.helper_uuid = Some((self.fresh)());
            plan.replica = Some(ReplicaPlan::chosen_by_database());
            plan.uuid_changed = source.uuid.is_some();
            if plan.restores.parts == 0 {
                plan.held.clear();
            }
            return;
        }
        let is_free = |uuid: &TableUuid| !self.target.used_uuids.contains(uuid) && !self.given.contains(uuid);
        let has_uuids = self.has_uuids(&plan.to.database);
        let is_own_name = plan.to == source.name && self.options.replicated == Replicated::Keep;
        let of_peers = self.target.keeper.peer_uuids.get(&plan.to).filter(|_| is_own_name);
        let uuid = of_peers.or(source.uuid.as_ref());
        let options = ReplicaOptions {
            replicated: self.options.replicated,
            forgets: &self.options.forgets_replicas,
            has_uuids,
            is_uuid_free: uuid.is_some_and(is_free),
            taken_paths: &self.paths,
        };
        let asked = ReplicaSource { from: &source.name, to: &plan.to, uuid, definition: &definition };
        match decide(asked, &self.target.keeper, &options, self.fresh) {
            ReplicaDecision::Make(replica) => {
                let is_without_data = plan.restores.parts == 0 || replica.found == FoundPath::Peers;
                plan.action = if is_without_data { Action::MakeReplica } else { Action::FillReplica };
                if replica.found == FoundPath::Peers {
                    plan.restores = Amount::default();
                    plan.expired = Expired::default();
                }
                plan.definition = Some(definition.with_replica(&replica.arguments));
                plan.helper_uuid = has_uuids.then(|| (self.fresh)());
                self.given.extend(replica.uuid.clone());
                self.paths.insert(replica.path.clone());
                plan.uuid_changed = source.uuid.is_some() && replica.uuid != source.uuid && has_uuids;
                plan.uuid.clone_from(&replica.uuid);
                plan.replica = Some(replica);
            }
            ReplicaDecision::Blocked(obstacle) => {
                if self.options.selects && !obstacle.passes() {
                    let obstacle = Box::new(obstacle.clone());
                    self.refused.push(TableRefusal::Replica { table: plan.to.clone(), obstacle });
                }
                plan.action = Action::Blocked(Box::new(obstacle));
            }
            ReplicaDecision::Impossible(reason) => plan.action = Action::Impossible(reason),
        }
        if !plan.action.places_parts() {
            plan.held.clear();
        }
        if !plan.action.changes_server() {
            plan.restores = Amount::default();
        }
    }

    /// The action if no table has its name.
    fn without(&self, source: &SourceItem, plan: &TablePlan) -> Action {
        let stays_detached = source.is_detached && !self.options.names_tables;
        if self.target.detached_databases.contains(&plan.to.database) {
            return if stays_detached {
                Action::Keep(KeptTableState::Same)
            } else {
                Action::Skip(SkipReason::DetachedDatabase)
            };
        }
        if self.target.detached.contains(&plan.to) {
            return if stays_detached {
                Action::Keep(KeptTableState::Same)
            } else {
                Action::Skip(SkipReason::Detached)
            };
        }
        let definition = match &source.definition {
            Ok(definition) => definition,
            Err(reason) => return Action::Impossible(reason.clone()),
        };
        if let Some(reason) = contradiction(source, definition) {
            return Action::Impossible(reason);
        }
        if let Some(reason) = source.skipped.as_ref().filter(|_| self.options.what != RestoreContent::Schema) {
            return Action::Impossible(format!(
                "it is not in the snapshot: {reason}; --schema-only makes it from its definition, empty"
            ));
        }
        if self.options.what == RestoreContent::Data {
            return Action::Impossible("the server has no such table, and --data-only makes none".to_owned());
        }
        let has_directory = source.data.is_some() || makes_own_directory(&source.engine);
        if has_directory
            && !self.has_uuids(&plan.to.database)
            && let Some(path) = self.target.taken_places.get(&plan.to)
        {
            return Action::Impossible(format!(
                "{} is in its place, and belongs to no table of the server: move it away, or restore under another name",
                path.display()
            ));
        }
        let is_elsewhere = plan.from != plan.to || self.content.is_of_other_server;
        if is_elsewhere && !self.options.with_queues && consumes(source) {
            return Action::Skip(SkipReason::Queue);
        }
        if definition.has_hidden_secret() && !self.options.with_hidden_secrets {
            return Action::Skip(SkipReason::HiddenSecret);
        }
        if let Some(dump) = source.dump.as_ref().filter(|dump| dump.kind == DumpKind::Native) {
            return match (self.options.has_partitions, self.options.what) {
                (true, _) => Action::Impossible("it has none of the partitions".to_owned()),
                (false, RestoreContent::Schema) => Action::Make(Verb::Create),
                (false, _) if dump.rows == Some(0) => Action::Make(Verb::Create),
                (false, _) => Action::Fill { replaces: false },
            };
        }
        if let Some(data) = &source.data {
            if self.options.has_partitions && data.parts.is_empty() {
                return Action::Impossible("it has none of the partitions".to_owned());
            }
            return Action::Place;
        }
        if definition.kind != DefinitionKind::MaterializedView || definition.has_target() {
            return Action::Make(Verb::Create);
        }
        // CREATE would create the inner table, which is restored as a table of its own.
        let inner = self.content.items.iter().find(|inner| inner.inner_of.as_ref() == Some(&source.name));
        match inner {
            None => Action::Impossible("its inner table is not in the snapshot".to_owned()),
            Some(inner) if self.is_in_replicated(&plan.to) => {
                let has_data = inner.data.is_some() || inner.dump.is_some();
                if has_data && !definition.is_refreshable() {
                    // The database makes both, and the inner table gets its partitions or rows afterwards.
                    Action::Make(Verb::Create)
                } else {
                    Action::Impossible(
                        "a database of the engine Replicated attaches no view to its inner table; --rename-db restores \
                         both into another database"
                            .to_owned(),
                    )
                }
            }
            Some(_) => Action::Make(Verb::Attach),
        }
    }

    /// Whether a table is defined as in the snapshot, or with the requested changes, as after an earlier restore.
    fn is_defined_alike(&self, source: &SourceItem, there: &TargetTable) -> bool {
        let (Ok(stored), Some(there)) = (&source.definition, &there.definition) else { return false };
        let is_like = |stored: &ParsedDefinition, there: &ParsedDefinition| {
            stored.is_like(there, &self.names) || self.changed(source, stored).is_like(there, &self.names)
        };
        // A restored table may have another path.
        let both_replicated = stored.is_replicated() && there.is_replicated();
        is_like(stored, there) || both_replicated && is_like(&stored.as_plain(), &there.as_plain())
    }

    /// Why the snapshot's data cannot be written to an existing table.
    fn prevents_writing(&self, to: &TableName, action: &Action, (live, stored): (Amount, Amount)) -> Option<String> {
        if let Some(attached) = self.target.keeper.attached.get(to).filter(|attached| attached.is_readonly) {
            return Some(format!(
                "it is replicated and read-only: nothing can be written to it until its path {} is in Keeper again",
                attached.path
            ));
        }
        // Partitions are moved through a temporary table, which is dropped afterwards.
        let dropped_bytes = if *action == Action::Swap { live.bytes } else { live.bytes.max(stored.bytes) };
        if dropped_bytes > DROP_LIMIT_BYTES && !self.target.lifts_drop_limit {
            return Some(format!(
                "{} GB would be dropped at once, and this server refuses more than {} GB",
                dropped_bytes / 1_000_000_000,
                DROP_LIMIT_BYTES / 1_000_000_000
            ));
        }
        let is_in_memory = *action == Action::Swap && self.engine(&to.database) == Some("Memory");
        is_in_memory.then(|| "tables of a database of the engine Memory cannot change their names".to_owned())
    }

    /// The action if a table has its name.
    fn with(&self, source: &SourceItem, there: &TargetTable, plan: &mut TablePlan) -> Action {
        let has_same_definition = self.is_defined_alike(source, there);
        let of_definition = if has_same_definition { KeptTableState::Same } else { KeptTableState::OtherDefinition };
        if let (Some(dump), true) = (&source.dump, self.options.what != RestoreContent::Schema) {
            return self.with_rows(source, dump, there, has_same_definition, plan);
        }
        let Some(data) = &source.data else {
            return self.without_data(source, there, of_definition, plan);
        };
        if self.options.what == RestoreContent::Schema {
            return Action::Keep(of_definition);
        }
        if !there.engine.ends_with("MergeTree") {
            return Action::Impossible(taken_by_another(&there.engine));
        }
        let by_partition = self.options.what == RestoreContent::Data || self.options.has_partitions;
        if by_partition && data.parts.is_empty() {
            return Action::Keep(of_definition);
        }
        let partitions = data.partitions();
        let none = BTreeSet::new();
        // The view of an inner table refers to it by UUID: such a table must stay.
        let is_inner = source.inner_of.is_some() && there.uuid.is_some();
        let is_replica = there.engine.starts_with("Replicated");
        if self.stays_replicated(source) && !is_replica {
            return Action::Impossible(format!(
                "a table of engine {} has its name, which is not replicated: --rename restores this one under another \
                 name, --replicated as-merge-tree as a plain table",
                there.engine
            ));
        }
        // All replicas share its path in Keeper: such a table must stay too, and also one in a database that attaches
        // no table.
        let stays = is_inner || is_replica && self.stays_replicated(source) || self.is_in_replicated(&plan.to);
        let is_empty = there.elsewhere.is_none() && !there.parts.iter().any(|part| part.is_active && !part.is_empty());
        let is_begun = self.target.being_filled.contains(&plan.to) || is_replica && is_empty;
        let (scope, action) = if by_partition {
            (ReplacedScope::Partitions(&partitions), Action::Partitions(PartitionScope::Selected))
        } else if stays && is_begun && !self.options.replace {
            (ReplacedScope::Partitions(&none), Action::Partitions(PartitionScope::Missing))
        } else if stays {
            (ReplacedScope::AllPartitions, Action::Partitions(PartitionScope::All))
        } else {
            (ReplacedScope::Table, Action::Swap)
        };
        let stored =
            Stored { uuid: source.uuid.as_ref(), parts: &data.parts, mutations: &data.mutations, has_same_definition };
        plan.losses = losses(there, stored, scope);
        let only = by_partition.then_some(&partitions);
        let is_untouched =
            !plan.losses.iter().any(|loss| matches!(loss, Loss::Patches { .. } | Loss::Mutations { .. }));
        let has_same_data = is_untouched && has_same_data(data, there, only);
        if has_same_data && (by_partition || has_same_definition || !self.options.selects) {
            plan.losses.clear();
            return Action::Keep(of_definition);
        }
        let may_expire = has_same_definition && !self.options.hold_ttl && is_untouched && !self.options.selects;
        if let Some(expired_rows) = lacks_only_expired(data, there).filter(|_| may_expire) {
            plan.losses.clear();
            let rows = Amount::of(&there.parts).rows;
            return Action::Keep(KeptTableState::Expired { rows, expired_rows });
        }
        let in_scope = |part: &&PartState| only.is_none_or(|only| only.contains(&part.partition.of_data()));
        let live = Amount::of(&there.parts.iter().filter(in_scope).cloned().collect::<Vec<_>>());
        let has_rows = there.parts.iter().any(|part| part.is_active && !part.is_empty());
        let only_adds = action == Action::Partitions(PartitionScope::Missing);
        if only_adds && !has_same_definition && !self.options.selects {
            return Action::Keep(KeptTableState::OtherData {
                rows: live.rows,
                stored_rows: data.amount.rows,
                has_same_definition,
            });
        }
        if !only_adds && !self.options.selects && (has_rows || !plan.losses.is_empty()) {
            plan.losses.clear();
            return Action::Keep(KeptTableState::OtherData {
                rows: live.rows,
                stored_rows: data.amount.rows,
                has_same_definition,
            });
        }
        if let Some(reason) = self.prevents_writing(&plan.to, &action, (live, data.amount)) {
            return Action::Impossible(reason);
        }
        if live.parts > 0 || !plan.losses.is_empty() {
            plan.replaces = Some(live);
        }
        plan.live = Some(there.clone());
        action
    }

    /// The action for an object without data if one has its name.
    fn without_data(
        &self,
        source: &SourceItem,
        there: &TargetTable,
        of_definition: KeptTableState,
        plan: &mut TablePlan,
    ) -> Action {
        let is_kept = of_definition == KeptTableState::Same || !self.options.replace;
        if is_kept || self.options.what == RestoreContent::Data {
            return Action::Keep(of_definition);
        }
        match self.view_replacement(source, there, &plan.to) {
            Ok(replacement) => {
                plan.losses = self.lost_with_view(source, there, replacement);
                plan.replaces = (there.inner.is_some() && replacement == ViewReplacement::Exchanged)
                    .then(|| Amount::of(&there.parts));
                plan.live = Some(there.clone());
                Action::ReplaceView(replacement)
            }
            Err(reason) => {
                plan.warnings.push(Warning::new(WarningKind::ExistingDiffers, reason));
                Action::Keep(of_definition)
            }
        }
    }

    /// How a view or dictionary replaces the existing one, or why that one stays, with a remedy.
    fn view_replacement(
        &self,
        source: &SourceItem,
        there: &TargetTable,
        to: &TableName,
    ) -> Result<ViewReplacement, String> {
        let by_hand = "rename or drop that one first, or restore this one under another name (--rename)";
        let (Ok(stored), Some(live)) = (&source.definition, &there.definition) else {
            return Err(format!("the definitions cannot both be read: {by_hand}"));
        };
        let (options, engine) = (self.options, self.engine(&to.database).unwrap_or_default());
        if stored.kind == DefinitionKind::Table || stored.kind != live.kind {
            return Err(format!("an object of engine {} has its name: {by_hand}", there.engine));
        }
        if !options.names_tables {
            return Err(format!("--replace --table '{to}' replaces it"));
        }
        if let Some(reason) = contradiction(source, stored) {
            return Err(reason);
        }
        if stored.has_hidden_secret() && !options.with_hidden_secrets {
            return Err(SkipReason::HiddenSecret.to_string());
        }
        let is_elsewhere = *to != source.name || self.content.is_of_other_server;
        if is_elsewhere && !options.with_queues && consumes(source) {
            return Err(SkipReason::Queue.to_string());
        }
        // A database of the first engine cannot rename a table; one of the second creates it on all its replicas.
        if matches!(engine, "Memory" | "Replicated") {
            return Err(format!("its database, of the engine {engine}, exchanges no two views: {by_hand}"));
        }
        match stored.kind {
            DefinitionKind::View | DefinitionKind::Dictionary => Ok(ViewReplacement::Exchanged),
            DefinitionKind::MaterializedView => self.materialized_replacement(source, there, to, (stored, live)),
            _ => Err(format!("views of this kind are not replaced: {by_hand}")),
        }
    }

    /// As `view_replacement`, for a materialized view, which can have an inner table.
    fn materialized_replacement(
        &self,
        source: &SourceItem,
        there: &TargetTable,
        to: &TableName,
        (stored, live): (&ParsedDefinition, &ParsedDefinition),
    ) -> Result<ViewReplacement, String> {
        let dropped = format!("drop that one with its rows first (DROP TABLE {})", quoted_where_needed(to));
        let has_uuids = self.has_uuids(&to.database);
        if self.options.keep_replaced && !has_uuids {
            let engine = self.engine(&to.database).unwrap_or_default();
            return Err(format!(
                "a database of the engine {engine} gives no other name to a materialized view: leave out --keep-replaced"
            ));
        }
        let inner = self.content.items.iter().find(|item| item.inner_of.as_ref() == Some(&source.name));
        if !stored.has_target() && !inner.is_some_and(|inner| inner.data.is_some() && inner.dump.is_none()) {
            return Err("the snapshot has no parts of its inner table".to_owned());
        }
        if !live.has_target() && there.inner.is_none() {
            return Err(format!("the parts of the other's inner table cannot be listed: {dropped}"));
        }
        if let Some(reason) = self.prevents_writing(to, &Action::Swap, (Amount::of(&there.parts), Amount::default())) {
            return Err(reason);
        }
        // Two views that are not exchanged: the live one is made again if the server refuses the other one.
        let is_remade = stored.has_target() == live.has_target() && (stored.has_target() || !has_uuids);
        if is_remade && live.has_hidden_secret() {
            return Err(format!(
                "the other one could not be made again, because the server hides a secret of it: {dropped}"
            ));
        }
        match (stored.has_target(), live.has_target()) {
            (true, true) => Ok(ViewReplacement::Remade),
            _ if has_uuids => Ok(ViewReplacement::Exchanged),
            (false, false) => Ok(ViewReplacement::RemadeOver),
            _ => Err(format!("only one of the two has an inner table: {dropped}")),
        }
    }

    /// The losses with a view that is replaced; without UUIDs its inner table is listed by itself.
    fn lost_with_view(&self, source: &SourceItem, there: &TargetTable, replacement: ViewReplacement) -> Vec<Loss> {
        if there.inner.is_none() || replacement == ViewReplacement::RemadeOver {
            return vec![Loss::Definition];
        }
        let inner = self.content.items.iter().find(|item| item.inner_of.as_ref() == Some(&source.name));
        let parts = inner.and_then(|inner| inner.data.as_ref()).map_or(&[][..], |data| &data.parts);
        losses(there, Stored { uuid: None, parts, mutations: &[], has_same_definition: false }, ReplacedScope::Table)
    }

    /// Leaves an inner table out if the view that it comes with stays, and a view as it is if its inner table cannot be
    /// made. No view is made over an inner table that stays with another definition.
    fn resolve_views(&mut self, plan: &mut RestorePlan) {
        for source in self.content.items {
            let Some(view_name) = &source.inner_of else { continue };
            let Some(at) = plan.tables.iter().position(|table| table.from == source.name) else { continue };
            let Some(view_at) = plan.tables.iter().position(|table| table.from == *view_name) else { continue };
            let (Some(inner), Some(view)) = (plan.tables.get(at).cloned(), plan.tables.get_mut(view_at)) else {
                continue;
            };
            let is_ready = match &inner.action {
                Action::Place | Action::Swap => true,
                Action::Keep(kept) => *kept == KeptTableState::Same,
                _ => false,
            };
            let is_of_other = matches!(
                inner.action,
                Action::Keep(
                    KeptTableState::OtherDefinition | KeptTableState::OtherData { has_same_definition: false, .. }
                )
            );
            match view.action {
                Action::ReplaceView(_) if inner.comes_with.is_some() && !is_ready => {
                    stay(view);
                    let message = format!("the existing view stays, because its inner table {} is not made", inner.to);
                    view.warnings.push(Warning::new(WarningKind::ExistingDiffers, message));
                }
                Action::Make(_) if is_of_other => {
                    view.action = Action::Impossible(format!(
                        "its inner table {} exists with another definition: rename or drop that one first, or replace it \
                         too (--replace --table '{view_name}')",
                        inner.to
                    ));
                    continue;
                }
                _ => {}
            }
            let stays = inner.comes_with.is_some() && matches!(view.action, Action::Keep(_));
            if stays && is_ready {
                let (name, live_uuid) = (view.to.clone(), view.live_uuid.clone());
                self.refused
                    .retain(|refusal| !matches!(refusal, TableRefusal::Loss { table, .. } if *table == inner.to));
                let to = name.inner_table(live_uuid.as_ref());
                let left = self.under_other_view(source, to, &name);
                if let Some(inner) = plan.tables.get_mut(at) {
                    *inner = left;
                }
            }
        }
    }

    /// The action if the rows are a dump and a table has its name.
    fn with_rows(
        &self,
        source: &SourceItem,
        dump: &SourceDump,
        there: &TargetTable,
        has_same_definition: bool,
        plan: &mut TablePlan,
    ) -> Action {
        let Some(rows) = &there.rows else { return Action::Impossible(taken_by_another(&there.engine)) };
        let of_definition = if has_same_definition { KeptTableState::Same } else { KeptTableState::OtherDefinition };
        let other = |rows| KeptTableState::OtherData { rows, stored_rows: dump.rows.unwrap_or(0), has_same_definition };
        let (selects, keeps_definition) = (self.options.selects, self.options.what == RestoreContent::Data);
        let is_same = match rows {
            LiveRows::Same => true,
            LiveRows::Empty => dump.rows == Some(0),
            // Equal numbers are no proof for a table that is to be replaced if it differs.
            LiveRows::Rows(rows) => Some(*rows) == dump.rows && !(selects && self.options.replace),
            LiveRows::Unknown(_) => false,
        };
        if self.options.has_partitions || is_same && (has_same_definition || keeps_definition || !selects) {
            return Action::Keep(of_definition);
        }
        let kept = match rows {
            LiveRows::Same => of_definition,
            LiveRows::Empty => other(0),
            LiveRows::Rows(rows) if dump.rows.is_some() => other(*rows),
            LiveRows::Rows(_) | LiveRows::Unknown(_) => KeptTableState::NotCompared,
        };
        let stored = Stored { uuid: source.uuid.as_ref(), parts: &[], mutations: &[], has_same_definition };
        let losses = losses(there, stored, ReplacedScope::Table);
        if !selects && !losses.is_empty() {
            return Action::Keep(kept);
        }
        if let Some(view) = source.inner_of.as_ref().filter(|_| there.uuid.is_some()) {
            if selects {
                let message = format!(
                    "the view {view} refers to it by UUID, so that no other table takes its place: drop that view with its \
                     rows first, or restore both under other names (--rename)"
                );
                plan.warnings.push(Warning::new(WarningKind::ExistingDiffers, message));
            }
            return Action::Keep(kept);
        }
        if self.is_in_replicated(&plan.to) {
            // It is planned as a new one, and found there.
            return if losses.is_empty() && passes_rows_on(&source.engine) {
                Action::Place
            } else {
                Action::Impossible(
                    "it exists, and its database, of the engine Replicated, exchanges no tables: drop it, and restore again"
                        .to_owned(),
                )
            };
        }
        if keeps_definition && !has_same_definition {
            return Action::Impossible(format!(
                "it has another definition, and a table of engine {} gets its rows only with its definition: leave out \
                 --data-only",
                source.engine
            ));
        }
        if let Some(reason) = self.prevents_writing(&plan.to, &Action::Swap, (Amount::default(), Amount::default())) {
            return Action::Impossible(reason);
        }
        let live = Amount { rows: if let LiveRows::Rows(rows) = rows { *rows } else { 0 }, ..Amount::default() };
        plan.replaces = (!losses.is_empty()).then_some(live);
        plan.losses = losses;
        plan.live = Some(there.clone());
        match dump.kind {
            DumpKind::Native => Action::Fill { replaces: true },
            DumpKind::Files => Action::Swap,
        }
    }
}

/// Why a table is not restored whose name an object of another kind has.
fn taken_by_another(engine: &str) -> String {
    format!(
        "another object has its name, of engine {engine}: rename or drop that one first, or restore this one under another \
         name (--rename)"
    )
}

/// A table's name in a statement, with quotes only where it needs them.
fn quoted_where_needed(name: &TableName) -> String {
    let is_plain = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let quoted = |word: &str| if is_plain(word) { word.to_owned() } else { quote(word, '`') };
    format!("{}.{}", quoted(&name.database), quoted(&name.table))
}

/// Whether a live table has, in these partitions or in all, the snapshot's data: the same parts, or parts merged from
/// them with the same number of rows. If rows have block numbers, a merge can also apply lightweight updates, and equal
/// counts prove nothing.
fn has_same_data(data: &SourceData, there: &TargetTable, only: Option<&BTreeSet<PartitionId>>) -> bool {
    let is_asked_for = |partition: &PartitionId| only.is_none_or(|only| only.contains(&partition.of_data()));
    let live: Vec<_> = there.parts.iter().filter(|part| is_asked_for(&part.partition)).cloned().collect();
    let comparison = compare_parts(&data.parts, &live);
    let may_have_patches = |definition: &ParsedDefinition| definition.mentions("enable_block_number_column");
    // Parts that were detached and attached again have other names.
    let contents = |parts: &[PartState]| {
        let filled = parts.iter().filter(|part| !part.is_empty());
        let mut all: Vec<_> = filled.map(|part| (part.partition.clone(), part.fingerprint)).collect();
        all.sort_unstable();
        all.iter().all(|(_, fingerprint)| fingerprint.is_some()).then_some(all)
    };
    let stored = contents(&data.parts);
    if stored.is_some() && stored == contents(&live) {
        return true;
    }
    let merges_prove = !comparison.is_mutated && !there.definition.as_ref().is_some_and(may_have_patches);
    comparison.wrong.is_empty()
        && comparison.foreign.is_empty()
        && (comparison.merged == 0 || merges_prove)
        && Amount::of(&live).rows == data.amount.rows
}

/// The number of rows that a live table lacks, if these are exactly the rows of all parts that are completely past
/// their TTL. If only some rows of a part are past it, nothing shows which of them the table should have.
fn lacks_only_expired(data: &SourceData, there: &TargetTable) -> Option<u64> {
    let lacking = data.amount.rows.checked_sub(Amount::of(&there.parts).rows)?;
    let is_all = data.expired.partly_parts == 0 && lacking > 0 && lacking == data.expired.rows;
    (is_all && compare_parts(&data.parts, &there.parts).foreign.is_empty()).then_some(lacking)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::model::{DumpKind, Fingerprint, PartName, PartitionId, TableName, TableUuid, Warning, WarningKind};
    use crate::plan::restore::{
        Action, Amount, AttachedReplica, ClusterHosts, DetachedParts, HOLD_SETTINGS, KeeperPath, KeeperReplica,
        KeptTableState, LiveRows, Loss, PartState, PartitionScope, Replicated, RestoreContent, RestoreOptions,
        RestorePlan, SkipReason, SnapshotContent, SourceData, SourceDatabase, SourceDump, SourceItem, TableRefusal,
        TargetServer, TargetTable, ViewReplacement, plan_restore,
    };
    use crate::plan::{ParsedDefinition, Renames, Verb};

    fn uuid(number: u8) -> TableUuid {
        TableUuid::try_from(format!("{number:08x}-0000-4000-8000-000000000000")).expect("a UUID")
    }

    /// A part of one partition with five rows, identified by its hash.
    fn part(partition: &str, hash: u8) -> PartState {
        PartState {
            name: PartName::try_from(format!("{partition}_{hash}_{hash}_0")).expect("a name"),
            partition: PartitionId(partition.into()),
            fingerprint: Some(Fingerprint::from_bytes([hash; 16])),
            rows: Some(5),
            bytes: 10,
            is_active: true,
        }
    }

    fn source(name: &str, definition: &str, id: u8, parts: &[PartState]) -> SourceItem {
        let data = SourceData {
            amount: Amount::of(parts),
            files: 0,
            parts: parts.to_vec(),
            mutations: Vec::new(),
            keeper_mutations: Vec::new(),
            policy: String::new(),
            expired: crate::plan::Expired::default(),
            damaged: Vec::new(),
            from_copies: Vec::new(),
        };
        let is_table = definition.starts_with("ATTACH TABLE");
        let replicated = definition.contains("Replicated");
        SourceItem {
            name: TableName::new("d", name),
            engine: match (is_table, replicated) {
                (true, true) => "ReplicatedMergeTree",
                (true, false) => "MergeTree",
                (false, _) => "MaterializedView",
            }
            .to_owned(),
            uuid: Some(uuid(id)),
            definition: ParsedDefinition::parse(definition).map_err(|error| error.to_string()),
            data: is_table.then_some(data),
            dump: None,
            data_left: None,
            skipped: None,
            is_detached: false,
            detachment: None,
            inner_of: None,
        }
    }

    const TABLE: &str = "ATTACH TABLE _ (x UInt8) ENGINE = MergeTree ORDER BY x";

    fn there(id: u8, parts: &[PartState]) -> TargetTable {
        TargetTable {
            uuid: Some(uuid(id)),
            engine: "MergeTree".to_owned(),
            parts: parts.to_vec(),
            definition: ParsedDefinition::parse(TABLE).ok(),
            ..TargetTable::default()
        }
    }

    fn target(tables: Vec<(&str, TargetTable)>) -> TargetServer {
        let named = |(name, table)| (TableName::new("d", name), table);
        TargetServer {
            databases: [("d".to_owned(), "Atomic".to_owned())].into(),
            used_uuids: [uuid(1)].into(),
            disks: vec!["default".to_owned()],
            tables: tables.into_iter().map(named).collect(),
            ..TargetServer::default()
        }
    }

    fn plan(sources: &[SourceItem], target: &TargetServer, options: &RestoreOptions) -> RestorePlan {
        let mut number = 100;
        let mut fresh = || {
            number += 1;
            uuid(number)
        };
        let databases = [SourceDatabase {
            name: "d".to_owned(),
            engine: "Atomic".to_owned(),
            definition: ParsedDefinition::parse("CREATE DATABASE d ENGINE = Atomic").map_err(|error| error.to_string()),
        }];
        let content = SnapshotContent {
            items: sources,
            databases: &databases,
            objects: &[],
            is_whole: false,
            is_of_other_server: false,
        };
        plan_restore(content, target, options, &mut fresh)
    }

    fn action(plan: &RestorePlan, name: &str) -> Action {
        plan.tables.iter().find(|table| table.from.table == name).map(|table| table.action.clone()).expect("planned")
    }

    fn selected() -> RestoreOptions {
        RestoreOptions { selects: true, ..RestoreOptions::default() }
    }

    #[test]
    fn a_known_uuid_is_not_given_again_and_everything_that_has_it_follows() {
        let view = format!(
            "ATTACH MATERIALIZED VIEW _ UUID '{}' TO INNER UUID '{}' (x UInt8) ENGINE = Log AS SELECT 1",
            uuid(1),
            uuid(2)
        );
        let mut inner = source(&format!(".inner_id.{}", uuid(1)), TABLE, 2, &[part("all", 1)]);
        inner.inner_of = Some(TableName::new("d", "mv"));
        let plan = plan(&[source("mv", &view, 1, &[]), inner], &target(Vec::new()), &RestoreOptions::default());
        let view = plan.tables.iter().find(|table| table.from.table == "mv").expect("planned");
        let inner = plan.tables.iter().find(|table| table.from.table != "mv").expect("planned");
        assert_eq!(
            (view.uuid.clone(), view.uuid_changed, view.action.clone()),
            (Some(uuid(101)), true, Action::Make(Verb::Attach))
        );
        assert_eq!(inner.to.table, format!(".inner_id.{}", uuid(101)));
        assert_eq!((inner.uuid.clone(), inner.uuid_changed), (Some(uuid(2)), false), "no table has that one");
        assert_eq!(view.inner_uuid, inner.uuid);
        assert!(inner.rank < view.rank);
        assert_eq!(plan.mapping.uuids.get(&uuid(1)), Some(&uuid(101)));
    }

    #[test]
    fn data_that_the_snapshot_lacks_is_replaced_only_by_permission() {
        let sources = [source("t", TABLE, 5, &[part("a", 1), part("b", 2)])];
        let full = target(vec![("t", there(9, &[part("a", 7)]))]);
        let whole = plan(&sources, &full, &selected());
        assert_eq!((action(&whole, "t"), whole.refused.len()), (Action::Swap, 1));
        let allowed = RestoreOptions { replace: true, ..selected() };
        let replaced = plan(&sources, &full, &allowed);
        assert!(replaced.refused.is_empty());
        assert_eq!(replaced.tables.first().map(|table| table.losses.len()), Some(1), "the plan names it");
        let empty = target(vec![("t", there(9, &[]))]);
        let into_empty = plan(&sources, &empty, &selected());
        assert_eq!((action(&into_empty, "t"), into_empty.refused.len()), (Action::Swap, 0));
        let data = RestoreOptions { what: RestoreContent::Data, ..selected() };
        let into_partition = plan(&sources, &full, &data);
        assert_eq!(
            (action(&into_partition, "t"), into_partition.refused.len()),
            (Action::Partitions(PartitionScope::Selected), 1)
        );
        // The table has the snapshot's own parts, or another partition: nothing is lost.
        for live in [part("a", 1), part("c", 7)] {
            let target = target(vec![("t", there(9, std::slice::from_ref(&live)))]);
            assert!(plan(&sources, &target, &data).refused.is_empty(), "{live:?}");
        }
        assert!(matches!(action(&plan(&sources, &target(Vec::new()), &data), "t"), Action::Impossible(_)));
        let schema = RestoreOptions { what: RestoreContent::Schema, ..selected() };
        assert_eq!(action(&plan(&sources, &full, &schema), "t"), Action::Keep(KeptTableState::Same));
        let restores = plan(&sources, &target(Vec::new()), &schema).tables.first().map(|table| table.restores.parts);
        assert_eq!(restores, Some(0));
    }

    #[test]
    fn a_view_is_replaced_where_it_is_named_and_differs() {
        let mut view = source("v", "ATTACH VIEW _ (x UInt8) AS SELECT 1 AS x", 5, &[]);
        view.engine = "View".to_owned();
        let live = |text: &str| {
            let definition = ParsedDefinition::parse(text).ok();
            target(vec![("v", TargetTable { engine: "View".to_owned(), definition, ..there(9, &[]) })])
        };
        let other = live("CREATE VIEW d.v (x UInt8) AS SELECT 2 AS x");
        let exchanged = Action::ReplaceView(ViewReplacement::Exchanged);
        let named = RestoreOptions { replace: true, names_tables: true, ..selected() };
        let of = |target: &TargetServer, options: &RestoreOptions| {
            action(&plan(std::slice::from_ref(&view), target, options), "v")
        };
        assert_eq!(of(&other, &named), exchanged);
        let stays = Action::Keep(KeptTableState::OtherDefinition);
        assert_eq!(of(&other, &RestoreOptions { replace: false, ..named.clone() }), stays);
        assert_eq!(of(&other, &RestoreOptions { names_tables: false, ..named.clone() }), stays, "--all is about data");
        let same = live("CREATE VIEW d.v (x UInt8) AS SELECT 1 AS x");
        assert_eq!(of(&same, &named), Action::Keep(KeptTableState::Same));
        let mut table = live("CREATE TABLE d.v (x UInt8) ENGINE = Null");
        table.tables.values_mut().for_each(|table| table.engine = "Null".to_owned());
        assert_eq!(of(&table, &named), stays, "a table is no view");
        let mut in_memory = other;
        in_memory.databases.insert("d".to_owned(), "Memory".to_owned());
        assert_eq!(of(&in_memory, &named), stays, "its tables cannot change their names");
    }

    #[test]
    fn two_views_never_feed_one_target() {
        let of = |stored: &str, live: &str| {
            let mut view = source("v", stored, 5, &[]);
            view.engine = "MaterializedView".to_owned();
            let live = TargetTable {
                engine: "MaterializedView".to_owned(),
                definition: ParsedDefinition::parse(live).ok(),
                ..there(9, &[])
            };
            let options = RestoreOptions { replace: true, names_tables: true, ..selected() };
            let tables = vec![("v", live), ("t", there(7, &[])), ("s", there(8, &[]))];
            action(&plan(std::slice::from_ref(&view), &target(tables), &options), "v")
        };
        let to = |number: u8| format!("ATTACH MATERIALIZED VIEW _ TO d.t (x UInt8) AS SELECT {number} AS x FROM d.s");
        let inner = "ATTACH MATERIALIZED VIEW _ (x UInt8) ENGINE = MergeTree ORDER BY x AS SELECT 1 AS x FROM d.s";
        assert_eq!(of(&to(1), &to(2)), Action::ReplaceView(ViewReplacement::Remade));
        assert_eq!(of(&to(1), &to(1)), Action::Keep(KeptTableState::Same));
        for (stored, live) in [(to(1), inner.to_owned()), (inner.to_owned(), to(1))] {
            assert_eq!(of(&stored, &live), Action::Keep(KeptTableState::OtherDefinition), "an inner table holds data");
        }
    }

    #[test]
    fn a_view_comes_in_place_of_another_only_if_its_target_and_source_exist() {
        let to = |number: u8| format!("ATTACH MATERIALIZED VIEW _ TO d.t (x UInt8) AS SELECT {number} AS x FROM d.s");
        let live = TargetTable {
            engine: "MaterializedView".to_owned(),
            definition: ParsedDefinition::parse(&to(2)).ok(),
            ..there(9, &[])
        };
        let planned = |sources: &[SourceItem], tables: Vec<(&str, TargetTable)>, renames: Vec<&str>| {
            let renames = renames.iter().map(|rename| rename.parse().expect("a rename")).collect();
            let renames = Renames::new(renames, Vec::new());
            let options = RestoreOptions { replace: true, names_tables: true, renames, ..selected() };
            let plan = plan(sources, &target(tables), &options);
            let view = plan.tables.iter().find(|table| table.from.table == "v").expect("planned");
            let missing = |warning: &&Warning| warning.kind == WarningKind::TableMissing;
            let missing: Vec<String> =
                view.warnings.iter().filter(missing).map(|warning| warning.message.clone()).collect();
            let replaces = matches!(view.action, Action::ReplaceView(_));
            assert_eq!((view.losses.is_empty(), view.live.is_none()), (!replaces, !replaces));
            (view.action.clone(), missing, view.uuid.clone())
        };
        let view = || source("v", &to(1), 5, &[]);
        let replaced = Action::ReplaceView(ViewReplacement::Remade);
        let stays = Action::Keep(KeptTableState::OtherDefinition);
        let (s, t) = (|| ("s", there(8, &[])), || ("t", there(7, &[])));
        // Both are on the server, or one of them is part of the restore.
        assert_eq!(planned(&[view()], vec![("v", live.clone()), s(), t()], vec![]).0, replaced);
        let with_target = [view(), source("t", TABLE, 6, &[part("a", 1)])];
        assert_eq!(planned(&with_target, vec![("v", live.clone()), s()], vec![]).0, replaced);
        // The old one stays, with its UUID.
        let (action, missing, uuid_now) = planned(&[view()], vec![("v", live.clone()), s()], vec![]);
        assert_eq!((action, missing.len(), uuid_now), (stays.clone(), 1, Some(uuid(9))));
        assert!(missing.iter().all(|text| text.contains("its target d.t") && text.contains("select that table")));
        let (action, missing, _) = planned(&[view()], vec![("v", live.clone()), t()], vec![]);
        assert!(action == stays && missing.iter().all(|text| text.contains("its source d.s")), "{missing:?}");
        // A table that is part of the restore and is not made does not count.
        let mut lacking = with_target;
        for item in &mut lacking {
            item.skipped = Some("it was locked".to_owned());
        }
        assert_eq!(planned(&lacking, vec![("v", live.clone()), s()], vec![]).0, stays);
        // The target of a renamed view has its new name.
        let both = [view(), source("t", TABLE, 6, &[part("a", 1)])];
        let (action, missing, _) = planned(&both, vec![s()], vec!["d.v=d.w", "d.t=d.u"]);
        assert_eq!((action.changes_server(), missing), (true, Vec::new()));
        // The view itself is made.
        let (action, missing, _) = planned(&[view()], Vec::new(), vec![]);
        assert!(matches!(action, Action::Make(_)) && missing.len() == 2, "{action:?} {missing:?}");
    }

    #[test]
    fn an_inner_table_stays_under_a_view_of_another_definition() {
        let view = |number: u8| {
            format!(
                "ATTACH MATERIALIZED VIEW _ (x UInt8) ENGINE = MergeTree ORDER BY x AS SELECT {number} AS x FROM d.s"
            )
        };
        let live_view = |number: u8| TargetTable {
            engine: "MaterializedView".to_owned(),
            definition: ParsedDefinition::parse(&view(number)).ok(),
            ..there(9, &[])
        };
        let name = format!(".inner_id.{}", uuid(9));
        let mut inner = source(".inner_id.x", TABLE, 7, &[part("a", 1)]);
        inner.inner_of = Some(TableName::new("d", "v"));
        let sources = [source("v", &view(1), 5, &[]), inner];
        let data = RestoreOptions { what: RestoreContent::Data, ..selected() };
        let all = [RestoreOptions { names_tables: true, ..selected() }, RestoreOptions::default(), data];
        for options in all.into_iter().map(|options| RestoreOptions { replace: true, ..options }) {
            let planned = |number: u8, inner: Option<TargetTable>| {
                let tables = [("v", live_view(number))].into_iter().chain(inner.map(|inner| (name.as_str(), inner)));
                let plan = plan(&sources, &target(tables.collect()), &options);
                let table = plan.tables.iter().find(|table| table.from.table == ".inner_id.x").expect("planned");
                assert!(plan.refused.is_empty() && (table.losses.is_empty() || number == 1), "{plan:?}");
                let remedy = |warning: &Warning| warning.message.contains("DROP TABLE d.v)");
                (table.action.clone(), table.warnings.iter().any(remedy))
            };
            let differs = KeptTableState::OtherData { rows: 5, stored_rows: 5, has_same_definition: true };
            let other = there(10, &[part("a", 2)]);
            assert_eq!(planned(2, Some(other.clone())), (Action::Keep(differs), true), "{options:?}");
            assert_eq!(planned(2, None), (Action::Skip(SkipReason::OtherView), true), "{options:?}");
            let same = there(10, &[part("a", 1)]);
            assert_eq!(planned(2, Some(same)), (Action::Keep(KeptTableState::Same), false), "{options:?}");
            // Under a view of the same definition it is a table like others.
            let (action, warns) = planned(1, Some(other));
            assert_eq!((matches!(action, Action::Partitions(_)), warns), (options.selects, false), "{options:?}");
        }
    }

    #[test]
    fn rows_past_their_ttl_are_no_reason_to_fill_a_table_again() {
        let mut stored = source("t", TABLE, 5, &[part("a", 1), part("b", 2)]);
        let past = |rows, partly| crate::plan::Expired {
            parts: 1,
            rows,
            partly_parts: u64::from(partly > 0),
            partly_rows: partly,
        };
        let mut planned = |live: &[PartState], expired, options: &RestoreOptions| {
            stored.data.as_mut().expect("a table").expired = expired;
            action(&plan(std::slice::from_ref(&stored), &target(vec![("t", there(9, live))]), options), "t")
        };
        let bare = RestoreOptions::default();
        let kept = |rows, expired_rows| Action::Keep(KeptTableState::Expired { rows, expired_rows });
        assert_eq!(planned(&[part("b", 2)], past(5, 0), &bare), kept(5, 5));
        assert_eq!(planned(&[], past(10, 0), &bare), kept(0, 10));
        // Missing rows that are not, or may not be, past their TTL; or additional rows.
        assert_eq!(planned(&[], past(5, 0), &bare), Action::Swap);
        assert_eq!(planned(&[], past(5, 5), &bare), Action::Swap);
        assert!(matches!(planned(&[part("c", 3)], past(5, 0), &bare), Action::Keep(KeptTableState::OtherData { .. })));
        // They are restored if requested, and if they would stay.
        assert_eq!(planned(&[], past(10, 0), &selected()), Action::Swap);
        assert_eq!(planned(&[], past(10, 0), &RestoreOptions { hold_ttl: true, ..bare }), Action::Swap);
    }

    #[test]
    fn without_a_selection_a_table_that_is_there_stays() {
        let sources = [source("t", TABLE, 5, &[part("a", 1)])];
        let bare = RestoreOptions::default();
        let same = plan(&sources, &target(vec![("t", there(9, &[part("a", 1)]))]), &bare);
        assert_eq!((action(&same, "t"), same.changes_server()), (Action::Keep(KeptTableState::Same), false));
        let other = plan(&sources, &target(vec![("t", there(9, &[part("a", 7), part("a", 8)]))]), &bare);
        assert_eq!(
            action(&other, "t"),
            Action::Keep(KeptTableState::OtherData { rows: 10, stored_rows: 5, has_same_definition: true })
        );
        assert!(other.refused.is_empty() && !other.changes_server());
        // An empty table is filled, unless that would lose something.
        assert_eq!(action(&plan(&sources, &target(vec![("t", there(9, &[]))]), &bare), "t"), Action::Swap);
        let mut detached = there(9, &[]);
        detached.detached = DetachedParts::Listed(vec!["a_1_1_0".to_owned()]);
        let plan_of = |table: &TargetTable, options: &RestoreOptions| {
            plan(&sources, &target(vec![("t", table.clone())]), options)
        };
        assert!(matches!(
            action(&plan_of(&detached, &bare), "t"),
            Action::Keep(KeptTableState::OtherData { rows: 0, .. })
        ));
        let refused = plan_of(&detached, &selected());
        assert!(
            matches!(refused.refused.first(), Some(TableRefusal::Loss { losses, .. }) if matches!(losses.first(), Some(Loss::DetachedParts { .. }))),
            "{refused:?}"
        );
        let mut redefined = there(9, &[]);
        redefined.definition = ParsedDefinition::parse("ATTACH TABLE _ (x String) ENGINE = MergeTree ORDER BY x").ok();
        assert!(matches!(action(&plan_of(&redefined, &bare), "t"), Action::Keep(KeptTableState::OtherData { .. })));
        assert_eq!(plan_of(&redefined, &selected()).refused.len(), 1);
        // A part merged from the snapshot's parts has the same data.
        let mut merged = part("a", 9);
        merged.name = PartName::try_from("a_1_1_1".to_owned()).expect("a name");
        assert_eq!(
            action(&plan_of(&there(9, std::slice::from_ref(&merged)), &bare), "t"),
            Action::Keep(KeptTableState::Same)
        );
        merged.name = PartName::try_from("a_1_1_1_4".to_owned()).expect("a name");
        assert!(matches!(
            action(&plan_of(&there(9, &[merged]), &bare), "t"),
            Action::Keep(KeptTableState::OtherData { .. })
        ));
    }

    #[test]
    fn two_tables_never_get_one_name_and_missing_databases_are_made() {
        let renames = vec!["d.t=e.x".parse().expect("a rename"), "d.u=e.x".parse().expect("a rename")];
        let options = RestoreOptions { renames: Renames::new(renames, Vec::new()), ..selected() };
        let sources = [source("t", TABLE, 5, &[part("a", 1)]), source("u", TABLE, 6, &[part("a", 1)])];
        let plan = plan(&sources, &target(Vec::new()), &options);
        assert_eq!(plan.conflicts.len(), 1);
        let made: Vec<(&str, &str)> =
            plan.databases.iter().map(|database| (database.name.as_str(), database.from.as_str())).collect();
        assert_eq!(made, [("e", "d")]);
    }

    #[test]
    fn rows_of_a_dump_go_into_a_new_table_or_an_empty_one_and_replace_others_only_if_that_is_asked_for() {
        let definition = |engine: &str| format!("ATTACH TABLE _ (x UInt8) ENGINE = {engine}");
        let dumped = |engine: &str, kind: DumpKind, rows: Option<u64>| {
            let mut item = source("t", &definition(engine), 5, &[]);
            engine.split('(').next().unwrap_or_default().clone_into(&mut item.engine);
            item.dump = Some(SourceDump { kind, rows, bytes: 100, files: Vec::new(), content: None });
            if kind == DumpKind::Native {
                item.data = None;
            }
            item
        };
        let live = |engine: &str, rows: LiveRows| TargetTable {
            engine: engine.split('(').next().unwrap_or_default().to_owned(),
            definition: ParsedDefinition::parse(&definition(engine)).ok(),
            rows: Some(rows),
            ..there(9, &[])
        };
        let planned = |item: &SourceItem, live: Option<TargetTable>, options: &RestoreOptions| {
            let target = target(live.map(|live| vec![("t", live)]).unwrap_or_default());
            plan(std::slice::from_ref(item), &target, options)
        };
        let bare = RestoreOptions::default();
        let log = dumped("Log", DumpKind::Native, Some(7));
        let new = planned(&log, None, &bare);
        assert_eq!(action(&new, "t"), Action::Fill { replaces: false });
        let table = new.tables.first().expect("planned");
        assert_eq!((table.restores.rows, table.restores.bytes, table.rank), (7, 100, 1));
        assert!(new.databases.is_empty() && new.changes_server());
        let differs =
            |rows| Action::Keep(KeptTableState::OtherData { rows, stored_rows: 7, has_same_definition: true });
        let fill = Action::Fill { replaces: true };
        let same = Action::Keep(KeptTableState::Same);
        let unknown = LiveRows::Unknown("no right".to_owned());
        // Bare, with a selection, and with --replace; what is refused or lost is the same with the latter two.
        for (rows, bare_action, replaced, lost) in [
            (LiveRows::Empty, fill.clone(), fill.clone(), None),
            (LiveRows::Same, same.clone(), same.clone(), None),
            (LiveRows::Rows(8), differs(8), fill.clone(), Some(Loss::Rows { rows: 8 })),
            (
                unknown,
                Action::Keep(KeptTableState::NotCompared),
                fill.clone(),
                Some(Loss::UncountedRows { reason: "no right".to_owned() }),
            ),
        ] {
            let planned = |options: &RestoreOptions| planned(&log, Some(live("Log", rows.clone())), options);
            let kept = planned(&bare);
            assert_eq!((action(&kept, "t"), kept.refused.len()), (bare_action, 0), "{rows:?}");
            let refused = planned(&selected());
            let lost: Vec<Loss> = lost.into_iter().collect();
            let named = refused.refused.iter().map(|refusal| match refusal {
                TableRefusal::Loss { losses, .. } => losses.clone(),
                TableRefusal::Replica { .. } => Vec::new(),
            });
            assert_eq!(named.flatten().collect::<Vec<_>>(), lost, "{rows:?}");
            let replace = planned(&RestoreOptions { replace: true, ..selected() });
            let table = replace.tables.first().expect("planned");
            assert_eq!((&table.action, &table.losses, replace.refused.len()), (&replaced, &lost, 0), "{rows:?}");
            assert_eq!(table.replaces.is_some(), !lost.is_empty(), "{rows:?}");
        }
        // The same number of rows is no proof that they are the same: it is enough only where nothing is to be replaced.
        let equal =
            |options: &RestoreOptions| action(&planned(&log, Some(live("Log", LiveRows::Rows(7))), options), "t");
        assert_eq!((equal(&bare), equal(&selected())), (same.clone(), same.clone()));
        assert_eq!(equal(&RestoreOptions { replace: true, ..selected() }), fill);
        let other = |options: &RestoreOptions| planned(&log, Some(live("TinyLog", LiveRows::Empty)), options);
        let kept = KeptTableState::OtherData { rows: 0, stored_rows: 7, has_same_definition: false };
        assert_eq!(action(&other(&bare), "t"), Action::Keep(kept));
        assert_eq!(other(&selected()).refused.len(), 1);
        assert_eq!(action(&other(&RestoreOptions { replace: true, ..selected() }), "t"), fill);
        let data_only = RestoreOptions { replace: true, what: RestoreContent::Data, ..selected() };
        assert!(
            matches!(action(&other(&data_only), "t"), Action::Impossible(reason) if reason.contains("--data-only"))
        );
        let view = TargetTable { rows: None, ..live("Memory", LiveRows::Empty) };
        let taken = planned(&log, Some(view), &RestoreOptions { replace: true, ..selected() });
        assert!(matches!(action(&taken, "t"), Action::Impossible(reason) if reason.contains("--rename")));
        let uncounted = dumped("Log", DumpKind::Native, None);
        let kept = planned(&uncounted, Some(live("Log", LiveRows::Rows(8))), &bare);
        assert_eq!(action(&kept, "t"), Action::Keep(KeptTableState::NotCompared));
        let schema = RestoreOptions { what: RestoreContent::Schema, ..selected() };
        assert_eq!(action(&planned(&log, None, &schema), "t"), Action::Make(Verb::Create));
        let mut inner = dumped("Log", DumpKind::Native, Some(7));
        inner.inner_of = Some(TableName::new("d", "mv"));
        assert_eq!(action(&planned(&inner, Some(live("Log", LiveRows::Empty)), &bare), "t"), differs(0));
        // Files are placed as parts are, and the table is not held.
        let join = dumped("Join(ANY, LEFT, x)", DumpKind::Files, Some(7));
        let mut with_settings = target(Vec::new());
        with_settings.hold_settings = HOLD_SETTINGS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let new = plan(std::slice::from_ref(&join), &with_settings, &bare);
        let table = new.tables.first().expect("planned");
        assert_eq!((&table.action, table.held.len(), table.restores.rows, table.rank), (&Action::Place, 0, 7, 1));
        let same = planned(&join, Some(live("Join(ANY, LEFT, x)", LiveRows::Same)), &bare);
        assert_eq!(action(&same, "t"), Action::Keep(KeptTableState::Same));
        let empty = planned(&join, Some(live("Join(ANY, LEFT, x)", LiveRows::Empty)), &bare);
        assert_eq!(action(&empty, "t"), Action::Swap);
    }

    #[test]
    fn a_replica_never_gets_a_second_table_on_its_path() {
        let replicated = "ATTACH TABLE _ (x UInt8) ENGINE = ReplicatedMergeTree('/t', 'r') ORDER BY x";
        let sources = [source("t", replicated, 5, &[part("a", 1)])];
        let replica = |id: u8, parts: &[PartState]| TargetTable {
            engine: "ReplicatedMergeTree".to_owned(),
            definition: ParsedDefinition::parse(replicated).ok(),
            ..there(id, parts)
        };
        let with_path = |mut target: TargetServer, state: KeeperPath| {
            target.keeper.paths.insert("/t".to_owned(), state);
            target
        };
        let renamed = || Renames::new(vec!["d.t=d.u".parse().expect("a rename")], Vec::new());
        let is_action = |target: &TargetServer, options: &RestoreOptions, wanted: &Action| {
            let plan = plan(&sources, target, options);
            assert_eq!(action(&plan, "t"), *wanted, "{options:?}");
            plan
        };
        // Without a table on the server, Keeper's data decides.
        let none = with_path(target(Vec::new()), KeeperPath::Absent);
        let filled = is_action(&none, &selected(), &Action::FillReplica);
        let table = filled.tables.first().expect("planned");
        assert_eq!((&table.uuid, &table.helper_uuid), (&Some(uuid(5)), &Some(uuid(101))));
        let schema = RestoreOptions { what: RestoreContent::Schema, ..selected() };
        is_action(&none, &schema, &Action::MakeReplica);
        let replica_of =
            |name: &str, is_active: bool| KeeperReplica { name: name.to_owned(), host: None, is_active, parts: 1 };
        let peers = with_path(target(Vec::new()), KeeperPath::Table(vec![replica_of("q", true)]));
        let fetched = is_action(&peers, &selected(), &Action::MakeReplica);
        assert_eq!(fetched.tables.first().map(|table| table.restores.parts), Some(0), "nothing of the snapshot");
        let lost = with_path(target(Vec::new()), KeeperPath::Table(vec![replica_of("q", false)]));
        let refused = plan(&sources, &lost, &selected());
        assert!(matches!(refused.refused.first(), Some(TableRefusal::Replica { .. })), "{refused:?}");
        let bare = plan(&sources, &lost, &RestoreOptions::default());
        assert!(bare.refused.is_empty() && !bare.changes_server() && matches!(action(&bare, "t"), Action::Blocked(_)));
        // If the server has the table, it gets partitions, and keeps its path.
        let live = with_path(target(vec![("t", replica(5, &[part("a", 1), part("b", 2)]))]), KeeperPath::Absent);
        let replace = RestoreOptions { replace: true, ..selected() };
        let replaced = is_action(&live, &replace, &Action::Partitions(PartitionScope::All));
        assert_eq!(replaced.tables.first().map(|table| table.losses.len()), Some(1));
        let changed = with_path(target(vec![("t", replica(5, &[part("a", 7)]))]), KeeperPath::Absent);
        for options in [
            RestoreOptions { has_partitions: true, ..replace.clone() },
            RestoreOptions { what: RestoreContent::Data, ..replace.clone() },
        ] {
            is_action(&changed, &options, &Action::Partitions(PartitionScope::Selected));
        }
        let empty = with_path(target(vec![("t", replica(5, &[]))]), KeeperPath::Absent);
        for options in [RestoreOptions::default(), selected()] {
            is_action(&empty, &options, &Action::Partitions(PartitionScope::Missing));
        }
        // A table that was being filled gets the missing partitions, and loses nothing.
        let mut begun = changed.clone();
        begun.being_filled.insert(TableName::new("d", "t"));
        let resumed = is_action(&begun, &RestoreOptions::default(), &Action::Partitions(PartitionScope::Missing));
        assert!(resumed.tables.iter().all(|table| table.losses.is_empty()) && resumed.refused.is_empty());
        // Under another name it gets another path.
        let elsewhere = RestoreOptions { renames: renamed(), ..selected() };
        let other = is_action(&live, &elsewhere, &Action::FillReplica);
        let path = other.tables.first().and_then(|table| table.replica.as_ref()).map(|replica| replica.path.clone());
        assert!(path.is_some_and(|path| path.starts_with("/clickhouse/tables/") && path != "/t"));
        // For a plain table, Keeper is not involved.
        let plain = RestoreOptions { replicated: Replicated::AsMergeTree, ..elsewhere };
        is_action(&live, &plain, &Action::Place);
        let mut readonly = changed;
        let attached =
            AttachedReplica { path: "/t".to_owned(), name: "r".to_owned(), is_readonly: true, is_detached: false };
        readonly.keeper.attached.insert(TableName::new("d", "t"), attached);
        assert!(
            matches!(action(&plan(&sources, &readonly, &replace), "t"), Action::Impossible(reason) if reason.contains("read-only"))
        );
        let in_place = with_path(target(vec![("t", there(9, &[]))]), KeeperPath::Absent);
        assert!(
            matches!(action(&plan(&sources, &in_place, &replace), "t"), Action::Impossible(reason) if reason.contains("not replicated"))
        );
    }

    #[test]
    fn a_replicated_database_gets_every_table_by_create_and_partitions() {
        let view = "ATTACH MATERIALIZED VIEW _ TO INNER UUID '00000007-0000-4000-8000-000000000000' (x UInt8) ENGINE = \
                    MergeTree ORDER BY x AS SELECT x FROM d.t";
        let mut inner = source(".inner_id.x", TABLE, 7, &[part("a", 2)]);
        inner.inner_of = Some(TableName::new("d", "mv"));
        let mut log = source("l", "ATTACH TABLE _ (x UInt8) ENGINE = Log", 8, &[]);
        log.engine = "Log".to_owned();
        log.data = None;
        let files = Vec::new();
        log.dump = Some(SourceDump { kind: DumpKind::Native, rows: Some(7), bytes: 100, files, content: None });
        let t = [source("t", TABLE, 5, &[part("a", 1)])];
        let sources = [source("t", TABLE, 5, &[part("a", 1)]), source("mv", view, 6, &[]), inner, log];
        let mut none = target(Vec::new());
        none.databases.insert("d".to_owned(), "Replicated".to_owned());
        let made = plan(&sources, &none, &RestoreOptions::default());
        let table = made.tables.iter().find(|table| table.from.table == "t").expect("planned");
        assert_eq!((&table.action, &table.uuid, table.helper_uuid.is_some()), (&Action::FillReplica, &None, true));
        let log = made.tables.iter().find(|table| table.from.table == "l").expect("planned");
        assert_eq!((&log.action, &log.uuid), (&Action::Fill { replaces: false }, &None));
        // The view makes its inner table, which is filled once the name is known.
        assert_eq!(action(&made, "mv"), Action::Make(Verb::Create));
        let inner = made.tables.iter().find(|table| table.from.table == ".inner_id.x").expect("planned");
        assert_eq!((&inner.action, inner.made_by.as_ref()), (&Action::FillReplica, Some(&TableName::new("d", "mv"))));
        let view = made.tables.iter().find(|table| table.from.table == "mv").expect("planned");
        assert!((&view.uuid, &view.inner_uuid) == (&None, &None) && view.rank < inner.rank);
        assert!(!made.mapping.tables.keys().any(|name| name.table.starts_with(".inner")));
        // An existing table keeps its UUID: it gets partitions.
        let mut live = target(vec![("t", there(5, &[part("a", 7)]))]);
        live.databases.insert("d".to_owned(), "Replicated".to_owned());
        let replace = RestoreOptions { replace: true, ..selected() };
        assert_eq!(action(&plan(&t, &live, &replace), "t"), Action::Partitions(PartitionScope::All));
        live.being_filled.insert(TableName::new("d", "t"));
        let resumed = plan(&t, &live, &RestoreOptions::default());
        assert_eq!(action(&resumed, "t"), Action::Partitions(PartitionScope::Missing));
    }

    #[test]
    fn hosts_that_lack_what_is_here_get_it_once_all_answer() {
        let replicated = "ATTACH TABLE _ (x UInt8) ENGINE = ReplicatedMergeTree('/t', 'r') ORDER BY x";
        let sources = [source("t", replicated, 5, &[part("a", 1)]), source("p", TABLE, 6, &[part("a", 2)])];
        let live = TargetTable {
            engine: "ReplicatedMergeTree".to_owned(),
            definition: ParsedDefinition::parse(replicated).ok(),
            ..there(5, &[part("a", 1)])
        };
        let mut target = target(vec![("t", live), ("p", there(6, &[part("a", 2)]))]);
        let mut hosts = ClusterHosts::default();
        let here = [TableName::new("d", "t"), TableName::new("d", "p")];
        hosts.tables = [("h1:9000".to_owned(), here.into()), ("h2:9000".to_owned(), BTreeSet::new())].into();
        hosts.databases =
            [("h1:9000".to_owned(), ["d".to_owned()].into()), ("h2:9000".to_owned(), BTreeSet::new())].into();
        target.hosts = Some(hosts.clone());
        let options = RestoreOptions { on_cluster: Some("c".to_owned()), ..selected() };
        let spread = |plan: &RestorePlan, name: &str| {
            let table = plan.tables.iter().find(|table| table.from.table == name).expect("planned");
            assert_eq!(table.action, Action::Keep(KeptTableState::Same));
            table.spread.as_ref().map(|spread| spread.hosts.clone())
        };
        let made = plan(&sources, &target, &options);
        assert_eq!(spread(&made, "t"), Some(vec!["h2:9000".to_owned()]));
        assert_eq!(spread(&made, "p"), None, "its data is here alone");
        assert_eq!((made.databases.len(), made.makes_anything(), made.all_warnings().len()), (1, true, 0));
        // A statement may wait for the host that does not answer in the cluster's queue.
        target.hosts = Some(ClusterHosts { silent: 1, ..hosts });
        let waits = plan(&sources, &target, &options);
        assert_eq!((spread(&waits, "t"), waits.makes_anything(), waits.all_warnings().len()), (None, false, 2));
    }

    #[test]
    fn a_target_of_several_databases_is_made_like_one_with_uuids() {
        let renames =
            Renames::new(vec!["d.t=e.t".parse().expect("a rename"), "o.u=e.u".parse().expect("a rename")], Vec::new());
        let options = RestoreOptions { renames, ..selected() };
        let mut other = source("u", TABLE, 6, &[part("a", 1)]);
        other.name = TableName::new("o", "u");
        other.uuid = None;
        let database = |name: &str, engine: &str| SourceDatabase {
            name: name.to_owned(),
            engine: engine.to_owned(),
            definition: ParsedDefinition::parse(&format!("CREATE DATABASE {name} ENGINE = {engine}"))
                .map_err(|error| error.to_string()),
        };
        let databases = [database("o", "Ordinary"), database("d", "Atomic")];
        let items = [other, source("t", TABLE, 5, &[part("a", 1)])];
        let content = SnapshotContent {
            items: &items,
            databases: &databases,
            objects: &[],
            is_whole: false,
            is_of_other_server: false,
        };
        let plan = plan_restore(content, &target(Vec::new()), &options, &mut || uuid(77));
        assert_eq!(plan.databases.iter().map(|database| database.from.as_str()).collect::<Vec<_>>(), ["d"]);
        assert!(plan.tables.iter().all(|table| table.uuid.is_some()), "{:?}", plan.tables);
    }

    #[test]
    fn an_object_of_another_kind_stays_and_is_named_with_a_remedy() {
        let options = RestoreOptions { replace: true, names_tables: true, ..selected() };
        let has_remedy = |text: &str, engine: &str| text.contains(engine) && text.contains("--rename");
        let view = "ATTACH MATERIALIZED VIEW _ TO d.w (x UInt8) AS SELECT x FROM d.s";
        let over_table = plan(&[source("t", view, 5, &[])], &target(vec![("t", there(9, &[part("a", 1)]))]), &options);
        assert_eq!(action(&over_table, "t"), Action::Keep(KeptTableState::OtherDefinition));
        let warnings = over_table.all_warnings();
        assert!(warnings.iter().any(|one| has_remedy(&one.message, "MergeTree")), "{warnings:?}");
        let definition = ParsedDefinition::parse("CREATE VIEW d.t AS SELECT 1 AS x").ok();
        let live = TargetTable { engine: "View".to_owned(), definition, ..there(9, &[]) };
        let over_view = plan(&[source("t", TABLE, 5, &[part("a", 1)])], &target(vec![("t", live)]), &options);
        assert!(matches!(action(&over_view, "t"), Action::Impossible(reason) if has_remedy(&reason, "engine View")));
    }

    #[test]
    fn a_place_that_is_taken_counts_where_tables_have_no_uuids() {
        let sources = [source("t", TABLE, 5, &[part("a", 1)])];
        let mut target = target(Vec::new());
        target.taken_places.insert(TableName::new("d", "t"), "data/d/t".into());
        assert_eq!(action(&plan(&sources, &target, &selected()), "t"), Action::Place);
        target.databases.insert("d".to_owned(), "Memory".to_owned());
        assert!(
            matches!(action(&plan(&sources, &target, &selected()), "t"), Action::Impossible(reason) if reason.contains("data/d/t"))
        );
    }

    #[test]
    fn a_name_that_a_detached_table_has_is_taken() {
        let sources = [source("t", TABLE, 5, &[part("a", 1)])];
        let mut target = target(Vec::new());
        target.detached.insert(TableName::new("d", "t"));
        for options in [RestoreOptions::default(), RestoreOptions { replace: true, ..selected() }] {
            let plan = plan(&sources, &target, &options);
            assert_eq!((action(&plan, "t"), plan.changes_server()), (Action::Skip(SkipReason::Detached), false));
        }
        target.detached_databases.insert("d".to_owned());
        assert_eq!(action(&plan(&sources, &target, &selected()), "t"), Action::Skip(SkipReason::DetachedDatabase));
    }

    #[test]
    fn a_table_too_large_to_be_dropped_is_named_before_anything_changes() {
        let sources = [source("t", TABLE, 5, &[part("a", 1)])];
        let large = PartState { bytes: 60_000_000_000, ..part("a", 7) };
        let mut target = target(vec![("t", there(9, &[large]))]);
        let options = RestoreOptions { replace: true, ..selected() };
        assert!(
            matches!(action(&plan(&sources, &target, &options), "t"), Action::Impossible(reason) if reason.contains("60 GB"))
        );
        target.lifts_drop_limit = true;
        assert_eq!(action(&plan(&sources, &target, &options), "t"), Action::Swap);
    }
}
