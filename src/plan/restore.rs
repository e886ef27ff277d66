//! What a restore into a server does with each table, decided before anything is touched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::{Fingerprint, PartitionId, TableName, TableUuid};

use super::definition::{Definition, DefinitionKind, Mapping, Replicated, Verb};
use super::rename::Renames;

/// Parts of one table by partition, each with its fingerprint where it has one.
pub type Partitions = BTreeMap<PartitionId, Vec<Option<Fingerprint>>>;

/// The parts of a table in the snapshot.
#[derive(Clone, Debug, Default)]
pub struct SourceData {
    /// Parts.
    pub parts: u64,
    /// Rows in them.
    pub rows: u64,
    /// Sum of their files' sizes.
    pub bytes: u64,
    /// The table's storage policy; empty where its server had none.
    pub policy: String,
    /// Their partitions; those of patch parts are not among them.
    pub partitions: Partitions,
}

/// A table, view, dictionary … of the snapshot.
#[derive(Clone, Debug)]
pub struct SourceItem {
    /// Its name.
    pub name: TableName,
    /// Its engine.
    pub engine: String,
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// Its definition, or why there is none.
    pub definition: Result<Definition, String>,
    /// Its parts, of a table that was taken.
    pub data: Option<SourceData>,
    /// Why its data is not in the snapshot, where it had any.
    pub data_left: Option<String>,
    /// The materialized view that it is the inner table of.
    pub inner_of: Option<TableName>,
}

/// A table of the server.
#[derive(Clone, Debug)]
pub struct TargetTable {
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// Its engine.
    pub engine: String,
    /// Active parts.
    pub parts: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them, as the server counts.
    pub bytes: u64,
    /// Their partitions.
    pub partitions: Partitions,
    /// Its definition, where it can be read.
    pub definition: Option<Definition>,
}

/// The server as it is.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Engines of its databases.
    pub databases: BTreeMap<String, String>,
    /// Its tables.
    pub tables: BTreeMap<TableName, TargetTable>,
    /// UUIDs that it knows, as those of tables, of dropped ones, or of directories.
    pub used_uuids: HashSet<TableUuid>,
    /// Its storage policies; none where the server has no such things.
    pub policies: Option<BTreeSet<String>>,
    /// Tables that an interrupted restore of this snapshot has finished.
    pub finished: BTreeSet<TableName>,
}

/// What of tables is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Definitions and data.
    #[default]
    All,
    /// Definitions: tables are empty.
    Schema,
    /// Data, into tables that are there.
    Data,
}

/// What a restore is asked to do.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// What of tables is restored.
    pub what: What,
    /// Whether single partitions are asked for.
    pub has_partitions: bool,
    /// Whether what is there may be replaced.
    pub replace: bool,
    /// New names.
    pub renames: Renames,
    /// What becomes of Replicated engines.
    pub replicated: Replicated,
}

/// What is done with one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its parts are placed, and it is attached.
    Place,
    /// It is attached under another name, checked, and then takes the place of the table that is there.
    Swap,
    /// It is attached under another name, checked, and then gives its partitions to the table that is there.
    Partitions {
        /// Whether that table's other partitions go.
        others_go: bool,
    },
    /// Its definition is run.
    Make(Verb),
    /// It is there, and left as it is.
    Keep {
        /// Whether it is defined as in the snapshot.
        is_same: bool,
    },
    /// An interrupted restore has brought it back already.
    Finished,
    /// It cannot be restored, for this reason.
    Impossible(String),
}

/// One table of the plan.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name in the snapshot.
    pub from: TableName,
    /// Its name on the server.
    pub to: TableName,
    /// Its engine.
    pub engine: String,
    /// What is done.
    pub action: Action,
    /// Tables with data first, materialized views last.
    pub rank: u8,
    /// The UUID that it gets, in databases whose tables have some.
    pub uuid: Option<TableUuid>,
    /// The UUID of its inner table.
    pub inner_uuid: Option<TableUuid>,
    /// Whether the UUID is another one than in the snapshot.
    pub uuid_changed: bool,
    /// Parts, rows and bytes that are restored.
    pub parts: u64,
    /// See there.
    pub rows: u64,
    /// See there.
    pub bytes: u64,
    /// Parts, rows and bytes that are there and go.
    pub replaces: Option<(u64, u64, u64)>,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// What a restore does.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// Databases to make, by the names that they get, with the names that they have in the snapshot.
    pub databases: BTreeMap<String, String>,
    /// The tables, in the order in which they are made.
    pub tables: Vec<TablePlan>,
    /// New names and UUIDs, for definitions that mention them.
    pub mapping: Mapping,
    /// What only `--replace` may do.
    pub refused: Vec<String>,
    /// Two tables that would have one name.
    pub conflicts: Vec<String>,
}

/// Engines of databases whose tables have UUIDs. Source: `DatabaseAtomic` and what derives from it.
fn has_uuids(engine: &str) -> bool {
    matches!(engine, "Atomic" | "Replicated" | "Shared")
}

struct Planner<'a> {
    target: &'a Target,
    options: &'a RestoreOptions,
    /// Engines of the databases of the snapshot.
    databases: &'a BTreeMap<String, String>,
    fresh: &'a mut dyn FnMut() -> TableUuid,
    given: HashSet<TableUuid>,
}

/// Makes the plan. `fresh` gives UUIDs that nobody has.
pub fn plan_restore(
    sources: &[SourceItem],
    databases: &BTreeMap<String, String>,
    target: &Target,
    options: &RestoreOptions,
    fresh: &mut dyn FnMut() -> TableUuid,
) -> RestorePlan {
    let mut planner = Planner { target, options, databases, fresh, given: HashSet::new() };
    let mut plan = RestorePlan::default();
    plan.mapping.replicated = options.replicated;
    // Views before their inner tables, whose names have the view's UUID in them.
    let (inner, others): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.inner_of.is_some());
    for source in others.iter().filter(|source| options.what != What::Data || source.data.is_some()) {
        let to = options.renames.table(&source.name);
        let table = planner.plan(source, to, sources);
        plan.tables.push(table);
    }
    for source in inner {
        let view = source.inner_of.as_ref().and_then(|view| plan.tables.iter().find(|table| table.from == *view));
        let view = view.map(|view| (view.to.clone(), view.uuid.clone()));
        let to = planner.inner_name(source, view.as_ref());
        let table = planner.plan(source, to, sources);
        if let Some(view) = plan.tables.iter_mut().find(|other| Some(&other.from) == source.inner_of.as_ref()) {
            view.inner_uuid.clone_from(&table.uuid);
        }
        plan.tables.push(table);
    }
    for table in &plan.tables {
        let makes = matches!(table.action, Action::Place | Action::Make(_));
        if makes && !target.databases.contains_key(&table.to.database) {
            plan.databases.insert(table.to.database.clone(), table.from.database.clone());
        }
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
    let mut names: BTreeMap<&TableName, &TableName> = BTreeMap::new();
    for table in &plan.tables {
        if let Some(other) = names.insert(&table.to, &table.from) {
            plan.conflicts.push(format!("{other} and {} would both be {}", table.from, table.to));
        }
        if let Some((parts, rows, _)) = table.replaces.filter(|_| !options.replace) {
            plan.refused.push(format!("{} has {rows} rows in {parts} parts", table.to));
        }
    }
    plan.tables.sort_by(|a, b| (a.rank, &a.to).cmp(&(b.rank, &b.to)));
    plan
}

impl Planner<'_> {
    fn has_uuids(&self, database: &str, from: &str) -> bool {
        let engine = self.target.databases.get(database).or_else(|| self.databases.get(from));
        engine.is_some_and(|engine| has_uuids(engine))
    }

    /// The stored UUID where nobody knows it, else a fresh one.
    fn uuid(&mut self, stored: Option<&TableUuid>) -> TableUuid {
        let free = stored.filter(|uuid| !self.target.used_uuids.contains(uuid) && !self.given.contains(uuid));
        let uuid = free.cloned().unwrap_or_else(|| (self.fresh)());
        self.given.insert(uuid.clone());
        uuid
    }

    /// An inner table has the name that its view gives it.
    fn inner_name(&self, source: &SourceItem, view: Option<&(TableName, Option<TableUuid>)>) -> TableName {
        match view {
            None => self.options.renames.table(&source.name),
            Some((view, Some(uuid))) => TableName::new(view.database.clone(), format!(".inner_id.{uuid}")),
            Some((view, None)) => TableName::new(view.database.clone(), format!(".inner.{}", view.table)),
        }
    }

    fn plan(&mut self, source: &SourceItem, to: TableName, sources: &[SourceItem]) -> TablePlan {
        let kind = source.definition.as_ref().map_or(DefinitionKind::Table, |definition| definition.kind);
        let data = source.data.clone().unwrap_or_default();
        let mut plan = TablePlan {
            from: source.name.clone(),
            engine: source.engine.clone(),
            action: Action::Impossible(String::new()),
            rank: rank(kind, source.data.is_some()),
            uuid: None,
            inner_uuid: None,
            uuid_changed: false,
            parts: 0,
            rows: 0,
            bytes: 0,
            replaces: None,
            warnings: Vec::new(),
            to,
        };
        let there = self.target.tables.get(&plan.to);
        plan.action = match there {
            Some(there) => self.with(source, there, &mut plan),
            None => self.without(source, &data, sources),
        };
        if matches!(plan.action, Action::Place | Action::Swap | Action::Partitions { .. })
            && let Some(reason) = self.unplaceable(&data)
        {
            plan.action = Action::Impossible(reason);
        }
        match &plan.action {
            Action::Place | Action::Swap | Action::Partitions { .. } => {
                if self.options.what != What::Schema {
                    (plan.parts, plan.rows, plan.bytes) = (data.parts, data.rows, data.bytes);
                }
            }
            Action::Keep { .. } | Action::Finished => plan.uuid = there.and_then(|there| there.uuid.clone()),
            Action::Make(_) | Action::Impossible(_) => {}
        }
        let is_new = matches!(plan.action, Action::Place | Action::Swap | Action::Partitions { .. } | Action::Make(_));
        if is_new && self.has_uuids(&plan.to.database, &plan.from.database) {
            let uuid = self.uuid(source.uuid.as_ref());
            plan.uuid_changed = source.uuid.is_some() && source.uuid.as_ref() != Some(&uuid);
            plan.uuid = Some(uuid);
        }
        if let (Some(reason), true) = (&source.data_left, matches!(plan.action, Action::Make(_))) {
            plan.warnings.push(format!("it is empty, its data is not in the snapshot: {reason}"));
        }
        plan
    }

    fn unplaceable(&self, data: &SourceData) -> Option<String> {
        let policies = self.target.policies.as_ref()?;
        let is_known = data.policy.is_empty() || policies.contains(&data.policy);
        (!is_known).then(|| format!("the server has no storage policy {:?}", data.policy))
    }

    /// Nothing has its name.
    fn without(&self, source: &SourceItem, data: &SourceData, sources: &[SourceItem]) -> Action {
        let definition = match &source.definition {
            Ok(definition) => definition,
            Err(reason) => return Action::Impossible(reason.clone()),
        };
        if self.options.what == What::Data {
            return Action::Impossible("the server has no such table, and --data-only makes none".to_owned());
        }
        if source.data.is_some() {
            if self.options.has_partitions && data.parts == 0 {
                return Action::Impossible("it has none of the partitions".to_owned());
            }
            return Action::Place;
        }
        if definition.kind != DefinitionKind::MaterializedView || definition.has_target() {
            return Action::Make(Verb::Create);
        }
        // CREATE would make the inner table; it comes back as a table of its own.
        let has_inner = sources.iter().any(|inner| inner.inner_of.as_ref() == Some(&source.name));
        if has_inner {
            Action::Make(Verb::Attach)
        } else {
            Action::Impossible("its inner table is not in the snapshot".to_owned())
        }
    }

    /// Something has its name.
    fn with(&self, source: &SourceItem, there: &TargetTable, plan: &mut TablePlan) -> Action {
        if self.target.finished.contains(&plan.to) {
            return Action::Finished;
        }
        let names = Mapping {
            tables: [(source.name.clone(), plan.to.clone())].into(),
            replicated: self.options.replicated,
            ..Mapping::default()
        };
        let is_same = match (&source.definition, &there.definition) {
            (Ok(stored), Some(there)) => stored.is_like(there, &names),
            _ => false,
        };
        let Some(data) = &source.data else { return Action::Keep { is_same } };
        if self.options.what == What::Schema {
            return Action::Keep { is_same };
        }
        if !there.engine.ends_with("MergeTree") {
            return Action::Impossible(format!("something else has its name: its engine is {}", there.engine));
        }
        if self.options.what == What::Data || self.options.has_partitions {
            if data.parts == 0 {
                return Action::Keep { is_same };
            }
            let met = |(id, parts): &(&PartitionId, &Vec<_>)| {
                there.partitions.get(id).is_some_and(|present| !are_of(present, parts))
            };
            if data.partitions.iter().any(|pair| met(&pair)) {
                plan.replaces = Some((there.parts, there.rows, there.bytes));
            }
            return Action::Partitions { others_go: false };
        }
        if there.parts > 0 {
            plan.replaces = Some((there.parts, there.rows, there.bytes));
        }
        // Its view knows an inner table by its UUID: such a table must stay.
        if source.inner_of.is_some() && there.uuid.is_some() {
            return Action::Partitions { others_go: true };
        }
        Action::Swap
    }
}

/// Whether these parts are among those: an interrupted restore has put them there.
fn are_of(present: &[Option<Fingerprint>], stored: &[Option<Fingerprint>]) -> bool {
    present.iter().all(|part| part.is_some() && stored.contains(part))
}

fn rank(kind: DefinitionKind, has_data: bool) -> u8 {
    match kind {
        _ if has_data => 0,
        DefinitionKind::Table | DefinitionKind::Database => 1,
        DefinitionKind::Dictionary => 2,
        DefinitionKind::View => 3,
        DefinitionKind::MaterializedView | DefinitionKind::OtherView => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Action, RestoreOptions, RestorePlan, SourceData, SourceItem, Target, TargetTable, What, plan_restore};
    use crate::model::{Fingerprint, PartitionId, TableName, TableUuid};
    use crate::plan::{Definition, Renames, Verb};

    fn uuid(number: u8) -> TableUuid {
        TableUuid::try_from(format!("{number:08x}-0000-4000-8000-000000000000")).expect("a UUID")
    }

    fn source(name: &str, definition: &str, id: u8, partitions: &[&str]) -> SourceItem {
        let data = SourceData {
            parts: partitions.len() as u64,
            rows: 10,
            bytes: 100,
            policy: String::new(),
            partitions: partitions.iter().map(|id| (PartitionId((*id).into()), vec![Some(print(1))])).collect(),
        };
        let is_table = definition.starts_with("ATTACH TABLE");
        SourceItem {
            name: TableName::new("d", name),
            engine: if is_table { "MergeTree" } else { "MaterializedView" }.to_owned(),
            uuid: Some(uuid(id)),
            definition: Definition::parse(definition).map_err(|error| error.to_string()),
            data: is_table.then_some(data),
            data_left: None,
            inner_of: None,
        }
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 16])
    }

    const TABLE: &str = "ATTACH TABLE _ (x UInt8) ENGINE = MergeTree ORDER BY x";

    fn there(id: u8, partition: Option<(&str, u8)>) -> TargetTable {
        let partitions = partition.map(|(id, hash)| (PartitionId(id.into()), vec![Some(print(hash))]));
        TargetTable {
            uuid: Some(uuid(id)),
            engine: "MergeTree".to_owned(),
            parts: u64::from(partitions.is_some()),
            rows: 3,
            bytes: 30,
            partitions: partitions.into_iter().collect(),
            definition: Definition::parse(TABLE).ok(),
        }
    }

    fn target(tables: Vec<(&str, TargetTable)>) -> Target {
        let named = |(name, table)| (TableName::new("d", name), table);
        Target {
            databases: [("d".to_owned(), "Atomic".to_owned())].into(),
            used_uuids: [uuid(1)].into(),
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
        let databases = BTreeMap::from([("d".to_owned(), "Atomic".to_owned())]);
        plan_restore(sources, &databases, target, options, &mut fresh)
    }

    fn action(plan: &RestorePlan, name: &str) -> Action {
        plan.tables.iter().find(|table| table.from.table == name).map(|table| table.action.clone()).expect("planned")
    }

    #[test]
    fn a_known_uuid_is_not_given_again_and_everything_that_has_it_follows() {
        let view = format!(
            "ATTACH MATERIALIZED VIEW _ UUID '{}' TO INNER UUID '{}' (x UInt8) ENGINE = Log AS SELECT 1",
            uuid(1),
            uuid(2)
        );
        let mut inner = source(&format!(".inner_id.{}", uuid(1)), TABLE, 2, &["all"]);
        inner.inner_of = Some(TableName::new("d", "mv"));
        let plan = plan(&[source("mv", &view, 1, &[]), inner], &target(Vec::new()), &RestoreOptions::default());
        let view = plan.tables.iter().find(|table| table.from.table == "mv").expect("planned");
        let inner = plan.tables.iter().find(|table| table.from.table != "mv").expect("planned");
        assert_eq!(
            (view.uuid.clone(), view.uuid_changed, view.action.clone()),
            (Some(uuid(101)), true, Action::Make(Verb::Attach))
        );
        assert_eq!(inner.to.table, format!(".inner_id.{}", uuid(101)));
        assert_eq!((inner.uuid.clone(), inner.uuid_changed), (Some(uuid(2)), false), "nobody knows that one");
        assert_eq!(view.inner_uuid, inner.uuid);
        assert!(inner.rank < view.rank);
        assert_eq!(plan.mapping.uuids.get(&uuid(1)), Some(&uuid(101)));
    }

    #[test]
    fn what_holds_data_is_replaced_only_by_permission() {
        let sources = [source("t", TABLE, 5, &["a", "b"])];
        let full = target(vec![("t", there(9, Some(("a", 7))))]);
        let empty = target(vec![("t", there(9, None))]);
        let whole = plan(&sources, &full, &RestoreOptions::default());
        assert_eq!((action(&whole, "t"), whole.refused.len()), (Action::Swap, 1));
        let allowed = RestoreOptions { replace: true, ..RestoreOptions::default() };
        assert!(plan(&sources, &full, &allowed).refused.is_empty());
        let into_empty = plan(&sources, &empty, &RestoreOptions::default());
        assert_eq!((action(&into_empty, "t"), into_empty.refused.len()), (Action::Swap, 0));
        let data = RestoreOptions { what: What::Data, ..RestoreOptions::default() };
        let into_partition = plan(&sources, &full, &data);
        assert_eq!(
            (action(&into_partition, "t"), into_partition.refused.len()),
            (Action::Partitions { others_go: false }, 1)
        );
        // The snapshot's own parts are there already, or another partition is: nothing goes.
        for (partition, hash) in [("a", 1), ("c", 7)] {
            let target = target(vec![("t", there(9, Some((partition, hash))))]);
            assert!(plan(&sources, &target, &data).refused.is_empty(), "{partition}");
        }
        assert!(matches!(action(&plan(&sources, &target(Vec::new()), &data), "t"), Action::Impossible(_)));
        let schema = RestoreOptions { what: What::Schema, ..RestoreOptions::default() };
        assert_eq!(action(&plan(&sources, &full, &schema), "t"), Action::Keep { is_same: true });
        assert_eq!(plan(&sources, &target(Vec::new()), &schema).tables.first().map(|table| table.parts), Some(0));
    }

    #[test]
    fn two_tables_never_get_one_name_and_missing_databases_are_made() {
        let renames = vec!["d.t=e.x".parse().expect("a rename"), "d.u=e.x".parse().expect("a rename")];
        let options = RestoreOptions { renames: Renames::new(renames, Vec::new()), ..RestoreOptions::default() };
        let sources = [source("t", TABLE, 5, &["a"]), source("u", TABLE, 6, &["a"])];
        let plan = plan(&sources, &target(Vec::new()), &options);
        assert_eq!(plan.conflicts.len(), 1);
        assert_eq!(plan.databases, BTreeMap::from([("e".to_owned(), "d".to_owned())]));
    }
}
