//! Plans a restore: what is done with each table, as a pure function of the snapshot, the server and the options.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::{DumpKind, PartitionId, TableName, TableUuid, Warning, WarningKind};
use crate::plan::definition::quote;
use crate::plan::{Definition, DefinitionKind, Mapping, ObjectKind, Replicated, Verb};

use super::compare::{PartState, compare_parts};
use super::expiry::Expired;
use super::hold::held_settings;
use super::loss::{Loss, ReplacedScope, Stored, losses};
use super::objects::{DatabasePlan, plan_databases, plan_objects};
use super::options::{RestoreOptions, What};
use super::rules::{consumes, contradiction, has_uuids, makes_own_directory, rank};
use super::source::{SnapshotContent, SourceData, SourceDump, SourceItem, noted_damaged};
use super::storage::{Disks, disks};
use super::table::{Action, DamagedParts, Kept, Refusal, RestorePlan, SkipReason, TablePlan};
use super::target::{Amount, LiveRows, Target, TargetTable};

/// The size over which a server refuses to drop a table or to replace a partition, unless a statement or its
/// configuration says otherwise. Source: `max_table_size_to_drop` and `max_partition_size_to_drop` in ClickHouse's
/// `src/Core/Defines.h`.
pub const DROP_LIMIT_BYTES: u64 = 50_000_000_000;

struct Planner<'a> {
    content: SnapshotContent<'a>,
    target: &'a Target,
    options: &'a RestoreOptions,
    fresh: &'a mut dyn FnMut() -> TableUuid,
    given: HashSet<TableUuid>,
    /// See [`models`].
    models: BTreeMap<String, String>,
    /// The names that everything gets.
    names: Mapping,
    refused: Vec<Refusal>,
}

/// Makes the plan. `fresh` gives UUIDs that no table has.
pub fn plan_restore(
    content: SnapshotContent<'_>,
    target: &Target,
    options: &RestoreOptions,
    fresh: &mut dyn FnMut() -> TableUuid,
) -> RestorePlan {
    let sources = content.items;
    let models = models(content, options);
    let mut planner = Planner {
        content,
        target,
        options,
        fresh,
        given: HashSet::new(),
        models: models.clone(),
        names: names(content, options),
        refused: Vec::new(),
    };
    let mut plan = RestorePlan::default();
    plan.mapping.replicated = options.replicated;
    // Views before their inner tables, whose names have the view's UUID in them.
    let (inner, others): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.inner_of.is_some());
    for source in others.iter().filter(|source| options.what != What::Data || source.has_rows()) {
        let to = options.renames.table(&source.name);
        let table = planner.plan(source, to);
        plan.tables.push(table);
    }
    for source in inner {
        let view = source.inner_of.as_ref().and_then(|view| plan.tables.iter().find(|table| table.from == *view));
        let is_made = view.is_none_or(|view| view.action.reason().is_none());
        let is_view = |view: &TablePlan| !matches!(view.action, Action::Keep(_)) || planner.is_view(&view.to);
        let is_made = is_made && view.is_none_or(is_view);
        let view = view.map(|view| (view.to.clone(), view.uuid.clone())).or_else(|| planner.live_view(source));
        let table = if is_made {
            let to = planner.inner_name(source, view.as_ref());
            planner.plan(source, to)
        } else {
            // Its name is that of a view which is not there.
            let to = planner.options.renames.table(&source.name);
            TablePlan { action: Action::Skip(SkipReason::ViewNotMade), ..planner.outline(source, to) }
        };
        if let Some(view) = plan.tables.iter_mut().find(|other| Some(&other.from) == source.inner_of.as_ref()) {
            view.inner_uuid.clone_from(&table.uuid);
        }
        plan.tables.push(table);
    }
    plan.refused = planner.refused;
    plan.databases = databases(content, target, options, (&plan.tables, &models));
    if options.what != What::Data {
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
    plan.tables.sort_by(|a, b| (a.rank, &a.to).cmp(&(b.rank, &b.to)));
    plan
}

/// The names that the tables and databases of a snapshot get.
fn names(content: SnapshotContent<'_>, options: &RestoreOptions) -> Mapping {
    let renamed = content.items.iter().map(|source| (source.name.clone(), options.renames.table(&source.name)));
    Mapping {
        tables: renamed.filter(|(from, to)| from != to).collect(),
        databases: options.renames.databases().clone(),
        replicated: options.replicated,
        ..Mapping::default()
    }
}

/// The database of the snapshot that each database is made like, by the name that it gets. Where tables of several come
/// together, it is one whose tables have UUIDs: such a one takes the tables of all.
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

/// The databases that are made: those of tables that are made, and the empty ones with a whole snapshot or if they are
/// renamed.
fn databases(
    content: SnapshotContent<'_>,
    target: &Target,
    options: &RestoreOptions,
    (tables, models): (&[TablePlan], &BTreeMap<String, String>),
) -> Vec<DatabasePlan> {
    let makes = |table: &&TablePlan| matches!(table.action, Action::Place | Action::Fill { .. } | Action::Make(_));
    let of_tables = tables.iter().filter(makes);
    let model = |table: &TablePlan| models.get(&table.to.database).unwrap_or(&table.from.database).clone();
    let mut needed: BTreeMap<String, String> =
        of_tables.map(|table| (table.to.database.clone(), model(table))).collect();
    if options.what != What::Data {
        let has_tables = |name: &str| content.items.iter().any(|item| item.name.database == name);
        let is_wanted = |name: &str| content.is_whole || options.renames.databases().contains_key(name);
        let empty =
            content.databases.iter().filter(|database| is_wanted(&database.name) && !has_tables(&database.name));
        needed.extend(empty.map(|database| (options.renames.database(&database.name), database.name.clone())));
    }
    // Every server has its own database, whether it was looked at or not.
    needed.retain(|name, _| {
        name != "system" && !target.databases.contains_key(name) && !target.detached_databases.contains(name)
    });
    plan_databases(&needed, content.databases)
}

fn map_names(plan: &mut RestorePlan, sources: &[SourceItem], options: &RestoreOptions) {
    for table in &plan.tables {
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

/// Warns of every object that is made and in which an old name still stands: it would read or write what is live.
fn name_unresolved(plan: &mut RestorePlan) {
    for table in plan.tables.iter_mut().filter(|table| table.action.changes_server()) {
        let left = table.definition.as_ref().map(|definition| definition.unresolved(&plan.mapping)).unwrap_or_default();
        if !left.is_empty() {
            let message = format!("its definition still names {}", left.join(", "));
            table.warnings.push(Warning::new(WarningKind::OldNameLeft, message));
        }
    }
}

impl Planner<'_> {
    /// The engine of a database, as it is or as it will be made.
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

    /// The stored UUID where no table has it, else a fresh one.
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

    /// The live view of an inner table, of a view that is not among the planned tables, with its UUID.
    fn live_view(&self, inner: &SourceItem) -> Option<(TableName, Option<TableUuid>)> {
        let name = self.options.renames.table(inner.inner_of.as_ref()?);
        let there = self.target.tables.get(&name).filter(|_| self.is_view(&name))?;
        Some((name, there.uuid.clone()))
    }

    /// An inner table has the name that its view gives it.
    fn inner_name(&self, source: &SourceItem, view: Option<&(TableName, Option<TableUuid>)>) -> TableName {
        match view {
            None => self.options.renames.table(&source.name),
            Some((view, Some(uuid))) => TableName::new(view.database.clone(), format!(".inner_id.{uuid}")),
            Some((view, None)) => TableName::new(view.database.clone(), format!(".inner.{}", view.table)),
        }
    }

    /// A table before it is known what is done with it.
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
            statement_uuid: None,
            inner_uuid: None,
            uuid_changed: false,
            restores: Amount::default(),
            expired: Expired::default(),
            replaces: None,
            live_uuid: there.and_then(|there| there.uuid.clone()),
            live: None,
            losses: Vec::new(),
            detaches: false,
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
        }
        if let (Some(dump), Action::Fill { .. } | Action::Place | Action::Swap) = (&source.dump, &plan.action)
            && self.options.what != What::Schema
        {
            plan.restores = Amount { parts: 0, rows: dump.rows.unwrap_or(0), bytes: dump.bytes };
        }
        self.guard_replica(source, &mut plan);
        plan.detaches =
            source.is_detached && !self.options.names_tables && matches!(plan.action, Action::Place | Action::Make(_));
        if plan.action.changes_server() && !plan.losses.is_empty() && !self.options.replace {
            self.refused.push(Refusal::Loss { table: plan.to.clone(), losses: plan.losses.clone() });
        }
        if matches!(plan.action, Action::Keep(_)) {
            plan.uuid.clone_from(&plan.live_uuid);
        }
        if plan.action.changes_server() && self.has_uuids(&plan.to.database) {
            let uuid = self.uuid(source.uuid.as_ref());
            // A table that only lends its partitions goes again.
            let stays = !matches!(plan.action, Action::Partitions { .. });
            plan.uuid_changed = stays && source.uuid.is_some() && source.uuid.as_ref() != Some(&uuid);
            // CREATE would make an inner table of its own; one that is restored is attached with its view.
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
        if plan.action.changes_server() && plan.definition.as_ref().is_some_and(Definition::has_hidden_secret) {
            plan.warnings
                .push(Warning::new(WarningKind::SecretsHidden, "it has [HIDDEN] for a secret, as in the snapshot"));
        }
        if let (Some(reason), Action::Make(_)) = (&source.data_left, &plan.action) {
            let message = format!("it is empty, its data is not in the snapshot: {reason}");
            plan.warnings.push(Warning::new(WarningKind::DataLeftBehind, message));
        }
        plan
    }

    /// The definition with the changes that were asked for.
    fn changed(&self, source: &SourceItem, definition: &Definition) -> Definition {
        let mut changed = definition.clone();
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

    /// Where parts go, and how the table is held until it is compared.
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
        if self.options.what != What::Schema {
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
        let has_ttl = definition.has_ttl() && self.options.what != What::Schema;
        if has_ttl && plan.held.is_empty() && !self.target.hold_settings.is_empty() {
            let message = "rows past their TTL may be dropped before they are compared";
            plan.warnings.push(Warning::new(WarningKind::TtlNotHeld, message));
        }
    }

    /// Never two tables on one path and replica in Keeper, not for a moment: a table that keeps its path comes back only
    /// under its own name, where none has that.
    fn guard_replica(&mut self, source: &SourceItem, plan: &mut TablePlan) {
        let keeps_path = source.engine.starts_with("Replicated") && self.options.replicated == Replicated::Keep;
        if !keeps_path || source.data.is_none() {
            return;
        }
        let options = self.options;
        let is_elsewhere =
            options.replace || options.has_partitions || options.what == What::Data || plan.from != plan.to;
        let is_beside = matches!(plan.action, Action::Swap | Action::Partitions { .. });
        if plan.action.changes_server() && (is_elsewhere || is_beside) {
            self.refused.push(Refusal::Replicated { table: plan.from.clone() });
        }
    }

    /// No table has its name.
    fn without(&self, source: &SourceItem, plan: &TablePlan) -> Action {
        let stays_detached = source.is_detached && !self.options.names_tables;
        if self.target.detached_databases.contains(&plan.to.database) {
            return if stays_detached { Action::Keep(Kept::Same) } else { Action::Skip(SkipReason::DetachedDatabase) };
        }
        if self.target.detached.contains(&plan.to) {
            return if stays_detached { Action::Keep(Kept::Same) } else { Action::Skip(SkipReason::Detached) };
        }
        let definition = match &source.definition {
            Ok(definition) => definition,
            Err(reason) => return Action::Impossible(reason.clone()),
        };
        if let Some(reason) = contradiction(source, definition) {
            return Action::Impossible(reason);
        }
        if let Some(reason) = source.skipped.as_ref().filter(|_| self.options.what != What::Schema) {
            return Action::Impossible(format!(
                "it is not in the snapshot: {reason}; --schema-only makes it from its definition, empty"
            ));
        }
        if self.options.what == What::Data {
            return Action::Impossible("the server has no such table, and --data-only makes none".to_owned());
        }
        let has_directory = source.data.is_some() || makes_own_directory(&source.engine);
        if has_directory
            && !self.has_uuids(&plan.to.database)
            && let Some(path) = self.target.taken_places.get(&plan.to)
        {
            return Action::Impossible(format!(
                "{} stands in its place, and no table of the server has it: move it away, or restore under another name",
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
                (false, What::Schema) => Action::Make(Verb::Create),
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
        // CREATE would make the inner table; it comes back as a table of its own.
        let has_inner = self.content.items.iter().any(|inner| inner.inner_of.as_ref() == Some(&source.name));
        if has_inner {
            Action::Make(Verb::Attach)
        } else {
            Action::Impossible("its inner table is not in the snapshot".to_owned())
        }
    }

    /// A table has its name.
    fn with(&self, source: &SourceItem, there: &TargetTable, plan: &mut TablePlan) -> Action {
        let has_same_definition = match (&source.definition, &there.definition) {
            // As it was, or with the changes that were asked for: so a restore leaves it.
            (Ok(stored), Some(there)) => {
                stored.is_like(there, &self.names) || self.changed(source, stored).is_like(there, &self.names)
            }
            _ => false,
        };
        let of_definition = if has_same_definition { Kept::Same } else { Kept::OtherDefinition };
        if let (Some(dump), true) = (&source.dump, self.options.what != What::Schema) {
            return self.with_rows(source, dump, there, has_same_definition, plan);
        }
        let Some(data) = &source.data else { return Action::Keep(of_definition) };
        if self.options.what == What::Schema {
            return Action::Keep(of_definition);
        }
        if !there.engine.ends_with("MergeTree") {
            return Action::Impossible(format!("another object has its name, of engine {}", there.engine));
        }
        let by_partition = self.options.what == What::Data || self.options.has_partitions;
        if by_partition && data.parts.is_empty() {
            return Action::Keep(of_definition);
        }
        let partitions = data.partitions();
        // Its view knows an inner table by its UUID: such a table must stay.
        let is_inner = source.inner_of.is_some() && there.uuid.is_some();
        let (scope, action) = if by_partition {
            (ReplacedScope::Partitions(&partitions), Action::Partitions { others_go: false })
        } else if is_inner {
            (ReplacedScope::AllPartitions, Action::Partitions { others_go: true })
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
        let in_scope = |part: &&PartState| only.is_none_or(|only| only.contains(&part.partition.of_data()));
        let live = Amount::of(&there.parts.iter().filter(in_scope).cloned().collect::<Vec<_>>());
        let has_rows = there.parts.iter().any(|part| part.is_active && !part.is_empty());
        if !self.options.selects && (has_rows || !plan.losses.is_empty()) {
            plan.losses.clear();
            return Action::Keep(Kept::OtherData {
                rows: live.rows,
                stored_rows: data.amount.rows,
                has_same_definition,
            });
        }
        // Partitions come by way of a temporary table, which is dropped then.
        let dropped_bytes = if action == Action::Swap { live.bytes } else { live.bytes.max(data.amount.bytes) };
        if dropped_bytes > DROP_LIMIT_BYTES && !self.target.lifts_drop_limit {
            return Action::Impossible(format!(
                "{} GB would be dropped at once, and this server refuses more than {} GB",
                dropped_bytes / 1_000_000_000,
                DROP_LIMIT_BYTES / 1_000_000_000
            ));
        }
        if action == Action::Swap && self.engine(&plan.to.database) == Some("Memory") {
            return Action::Impossible(
                "tables of a database of the engine Memory cannot change their names".to_owned(),
            );
        }
        if live.parts > 0 || !plan.losses.is_empty() {
            plan.replaces = Some(live);
        }
        plan.live = Some(there.clone());
        action
    }

    /// A table has the name of one whose rows are a dump: only an empty one that is defined alike gets them.
    fn with_rows(
        &self,
        source: &SourceItem,
        dump: &SourceDump,
        there: &TargetTable,
        has_same_definition: bool,
        plan: &mut TablePlan,
    ) -> Action {
        if there.engine != source.engine {
            return Action::Impossible(format!("another object has its name, of engine {}", there.engine));
        }
        let of_definition = if has_same_definition { Kept::Same } else { Kept::OtherDefinition };
        let other = |rows| Kept::OtherData { rows, stored_rows: dump.rows.unwrap_or(0), has_same_definition };
        match there.rows {
            _ if self.options.has_partitions => Action::Keep(of_definition),
            Some(LiveRows::SameFiles) => Action::Keep(of_definition),
            Some(LiveRows::Rows(rows)) if Some(rows) == dump.rows => Action::Keep(of_definition),
            Some(LiveRows::Rows(_)) if dump.rows.is_none() => Action::Keep(Kept::NotCompared),
            Some(LiveRows::Rows(rows)) => Action::Keep(other(rows)),
            Some(LiveRows::Empty) if dump.rows == Some(0) => Action::Keep(of_definition),
            // Its view knows an inner table by its UUID: such a table must stay.
            Some(LiveRows::Empty) if source.inner_of.is_some() && there.uuid.is_some() => Action::Keep(other(0)),
            Some(LiveRows::Empty) if !has_same_definition => Action::Keep(other(0)),
            Some(LiveRows::Empty) if self.engine(&plan.to.database) == Some("Memory") => {
                Action::Impossible("tables of a database of the engine Memory cannot change their names".to_owned())
            }
            Some(LiveRows::Empty) => {
                plan.live = Some(there.clone());
                match dump.kind {
                    DumpKind::Native => Action::Fill { replaces: true },
                    DumpKind::Files => Action::Swap,
                }
            }
            Some(LiveRows::Unknown(_)) | None => Action::Keep(Kept::NotCompared),
        }
    }
}

/// Whether a live table holds, in these partitions or in all, what the snapshot has: the same parts, or parts merged from
/// them with as many rows. Where rows have block numbers a merge can also apply lightweight updates, so that equal
/// counts prove nothing.
fn has_same_data(data: &SourceData, there: &TargetTable, only: Option<&BTreeSet<PartitionId>>) -> bool {
    let is_asked_for = |partition: &PartitionId| only.is_none_or(|only| only.contains(&partition.of_data()));
    let live: Vec<_> = there.parts.iter().filter(|part| is_asked_for(&part.partition)).cloned().collect();
    let comparison = compare_parts(&data.parts, &live);
    let may_have_patches = |definition: &Definition| definition.mentions("enable_block_number_column");
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

#[cfg(test)]
mod tests {
    use crate::model::{DumpKind, Fingerprint, PartName, PartitionId, TableName, TableUuid};
    use crate::plan::restore::{
        Action, Amount, DetachedParts, HOLD_SETTINGS, Kept, LiveRows, Loss, PartState, Refusal, RestoreOptions,
        RestorePlan, SkipReason, SnapshotContent, SourceData, SourceDatabase, SourceDump, SourceItem, Target,
        TargetTable, What, plan_restore,
    };
    use crate::plan::{Definition, Renames, Replicated, Verb};

    fn uuid(number: u8) -> TableUuid {
        TableUuid::try_from(format!("{number:08x}-0000-4000-8000-000000000000")).expect("a UUID")
    }

    /// A part of one partition with five rows, known by its hash.
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
            parts: parts.to_vec(),
            mutations: Vec::new(),
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
            definition: Definition::parse(definition).map_err(|error| error.to_string()),
            data: is_table.then_some(data),
            dump: None,
            data_left: None,
            skipped: None,
            is_detached: false,
            inner_of: None,
        }
    }

    const TABLE: &str = "ATTACH TABLE _ (x UInt8) ENGINE = MergeTree ORDER BY x";

    fn there(id: u8, parts: &[PartState]) -> TargetTable {
        TargetTable {
            uuid: Some(uuid(id)),
            engine: "MergeTree".to_owned(),
            parts: parts.to_vec(),
            definition: Definition::parse(TABLE).ok(),
            ..TargetTable::default()
        }
    }

    fn target(tables: Vec<(&str, TargetTable)>) -> Target {
        let named = |(name, table)| (TableName::new("d", name), table);
        Target {
            databases: [("d".to_owned(), "Atomic".to_owned())].into(),
            used_uuids: [uuid(1)].into(),
            disks: vec!["default".to_owned()],
            tables: tables.into_iter().map(named).collect(),
            ..Target::default()
        }
    }

    fn plan(sources: &[SourceItem], target: &Target, options: &RestoreOptions) -> RestorePlan {
        let mut number = 100;
        let mut fresh = || {
            number += 1;
            uuid(number)
        };
        let databases = [SourceDatabase {
            name: "d".to_owned(),
            engine: "Atomic".to_owned(),
            definition: Definition::parse("CREATE DATABASE d ENGINE = Atomic").map_err(|error| error.to_string()),
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
        let data = RestoreOptions { what: What::Data, ..selected() };
        let into_partition = plan(&sources, &full, &data);
        assert_eq!(
            (action(&into_partition, "t"), into_partition.refused.len()),
            (Action::Partitions { others_go: false }, 1)
        );
        // The snapshot's own parts are there already, or another partition is: nothing is lost.
        for live in [part("a", 1), part("c", 7)] {
            let target = target(vec![("t", there(9, std::slice::from_ref(&live)))]);
            assert!(plan(&sources, &target, &data).refused.is_empty(), "{live:?}");
        }
        assert!(matches!(action(&plan(&sources, &target(Vec::new()), &data), "t"), Action::Impossible(_)));
        let schema = RestoreOptions { what: What::Schema, ..selected() };
        assert_eq!(action(&plan(&sources, &full, &schema), "t"), Action::Keep(Kept::Same));
        let restores = plan(&sources, &target(Vec::new()), &schema).tables.first().map(|table| table.restores.parts);
        assert_eq!(restores, Some(0));
    }

    #[test]
    fn without_a_selection_a_table_that_is_there_stays() {
        let sources = [source("t", TABLE, 5, &[part("a", 1)])];
        let bare = RestoreOptions::default();
        let same = plan(&sources, &target(vec![("t", there(9, &[part("a", 1)]))]), &bare);
        assert_eq!((action(&same, "t"), same.changes_server()), (Action::Keep(Kept::Same), false));
        let other = plan(&sources, &target(vec![("t", there(9, &[part("a", 7), part("a", 8)]))]), &bare);
        assert_eq!(
            action(&other, "t"),
            Action::Keep(Kept::OtherData { rows: 10, stored_rows: 5, has_same_definition: true })
        );
        assert!(other.refused.is_empty() && !other.changes_server());
        // An empty table is filled, unless something of it would go.
        assert_eq!(action(&plan(&sources, &target(vec![("t", there(9, &[]))]), &bare), "t"), Action::Swap);
        let mut detached = there(9, &[]);
        detached.detached = DetachedParts::Listed(vec!["a_1_1_0".to_owned()]);
        let plan_of = |table: &TargetTable, options: &RestoreOptions| {
            plan(&sources, &target(vec![("t", table.clone())]), options)
        };
        assert!(matches!(action(&plan_of(&detached, &bare), "t"), Action::Keep(Kept::OtherData { rows: 0, .. })));
        let refused = plan_of(&detached, &selected());
        assert!(
            matches!(refused.refused.first(), Some(Refusal::Loss { losses, .. }) if matches!(losses.first(), Some(Loss::DetachedParts { .. }))),
            "{refused:?}"
        );
        let mut redefined = there(9, &[]);
        redefined.definition = Definition::parse("ATTACH TABLE _ (x String) ENGINE = MergeTree ORDER BY x").ok();
        assert!(matches!(action(&plan_of(&redefined, &bare), "t"), Action::Keep(Kept::OtherData { .. })));
        assert_eq!(plan_of(&redefined, &selected()).refused.len(), 1);
        // What a merge made of the snapshot's parts is the same data.
        let mut merged = part("a", 9);
        merged.name = PartName::try_from("a_1_1_1".to_owned()).expect("a name");
        assert_eq!(action(&plan_of(&there(9, std::slice::from_ref(&merged)), &bare), "t"), Action::Keep(Kept::Same));
        merged.name = PartName::try_from("a_1_1_1_4".to_owned()).expect("a name");
        assert!(matches!(action(&plan_of(&there(9, &[merged]), &bare), "t"), Action::Keep(Kept::OtherData { .. })));
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
    fn rows_of_a_dump_go_into_a_new_table_or_an_empty_one_and_into_no_other() {
        let definition = |engine: &str| format!("ATTACH TABLE _ (x UInt8) ENGINE = {engine}");
        let dumped = |engine: &str, kind: DumpKind, rows: Option<u64>| {
            let mut item = source("t", &definition(engine), 5, &[]);
            engine.split('(').next().unwrap_or_default().clone_into(&mut item.engine);
            item.dump = Some(SourceDump { kind, rows, bytes: 100, files: Vec::new() });
            if kind == DumpKind::Native {
                item.data = None;
            }
            item
        };
        let live = |engine: &str, rows: LiveRows| TargetTable {
            engine: engine.split('(').next().unwrap_or_default().to_owned(),
            definition: Definition::parse(&definition(engine)).ok(),
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
        let differs = |rows| Action::Keep(Kept::OtherData { rows, stored_rows: 7, has_same_definition: true });
        for (rows, wanted) in [
            (LiveRows::Empty, Action::Fill { replaces: true }),
            (LiveRows::Rows(7), Action::Keep(Kept::Same)),
            (LiveRows::Rows(8), differs(8)),
            (LiveRows::Unknown("no right".to_owned()), Action::Keep(Kept::NotCompared)),
        ] {
            for options in [&bare, &selected(), &RestoreOptions { replace: true, ..selected() }] {
                assert_eq!(action(&planned(&log, Some(live("Log", rows.clone())), options), "t"), wanted, "{rows:?}");
            }
        }
        let other = planned(&log, Some(live("TinyLog", LiveRows::Empty)), &bare);
        assert!(matches!(action(&other, "t"), Action::Impossible(reason) if reason.contains("TinyLog")));
        let uncounted = dumped("Log", DumpKind::Native, None);
        let kept = planned(&uncounted, Some(live("Log", LiveRows::Rows(8))), &bare);
        assert_eq!(action(&kept, "t"), Action::Keep(Kept::NotCompared));
        let schema = RestoreOptions { what: What::Schema, ..selected() };
        assert_eq!(action(&planned(&log, None, &schema), "t"), Action::Make(Verb::Create));
        let mut inner = dumped("Log", DumpKind::Native, Some(7));
        inner.inner_of = Some(TableName::new("d", "mv"));
        assert_eq!(action(&planned(&inner, Some(live("Log", LiveRows::Empty)), &bare), "t"), differs(0));
        // Files are placed as parts are, and nothing of the table is held.
        let join = dumped("Join(ANY, LEFT, x)", DumpKind::Files, Some(7));
        let mut with_settings = target(Vec::new());
        with_settings.hold_settings = HOLD_SETTINGS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let new = plan(std::slice::from_ref(&join), &with_settings, &bare);
        let table = new.tables.first().expect("planned");
        assert_eq!((&table.action, table.held.len(), table.restores.rows, table.rank), (&Action::Place, 0, 7, 1));
        let same = planned(&join, Some(live("Join(ANY, LEFT, x)", LiveRows::SameFiles)), &bare);
        assert_eq!(action(&same, "t"), Action::Keep(Kept::Same));
        let empty = planned(&join, Some(live("Join(ANY, LEFT, x)", LiveRows::Empty)), &bare);
        assert_eq!(action(&empty, "t"), Action::Swap);
    }

    #[test]
    fn a_replica_never_gets_a_second_table_on_its_path() {
        let replicated = "ATTACH TABLE _ (x UInt8) ENGINE = ReplicatedMergeTree('/t', 'r') ORDER BY x";
        let sources = [source("t", replicated, 5, &[part("a", 1)])];
        let live = target(vec![("t", there(5, &[part("a", 1), part("a", 2)]))]);
        let renamed = Renames::new(vec!["d.t=d.u".parse().expect("a rename")], Vec::new());
        let refused = |target: &Target, options: &RestoreOptions| {
            plan(&sources, target, options).refused.iter().any(|refusal| matches!(refusal, Refusal::Replicated { .. }))
        };
        let none = target(Vec::new());
        assert!(!refused(&none, &selected()), "under its own name, where none has that");
        let mut options = [
            RestoreOptions { replace: true, ..selected() },
            RestoreOptions { renames: renamed, ..selected() },
            RestoreOptions { has_partitions: true, ..selected() },
            RestoreOptions { what: What::Data, ..selected() },
            selected(),
        ];
        for options in &options {
            assert!(refused(&live, options), "{options:?}");
        }
        assert!(!refused(&live, &RestoreOptions::default()), "without a selection it stays");
        for options in &mut options {
            options.replicated = Replicated::AsMergeTree;
            assert!(!refused(&live, options), "{options:?}");
        }
    }

    #[test]
    fn a_database_that_tables_of_several_come_to_is_made_like_one_with_uuids() {
        let renames =
            Renames::new(vec!["d.t=e.t".parse().expect("a rename"), "o.u=e.u".parse().expect("a rename")], Vec::new());
        let options = RestoreOptions { renames, ..selected() };
        let mut other = source("u", TABLE, 6, &[part("a", 1)]);
        other.name = TableName::new("o", "u");
        other.uuid = None;
        let database = |name: &str, engine: &str| SourceDatabase {
            name: name.to_owned(),
            engine: engine.to_owned(),
            definition: Definition::parse(&format!("CREATE DATABASE {name} ENGINE = {engine}"))
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
