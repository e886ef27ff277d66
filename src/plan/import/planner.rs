//! Decides what an import takes from a tree, what it creates, and what is missing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Blocks, PartName, PartitionId, TableName, TableUuid, Warning, WarningKind, count};
use crate::plan::{DefinitionKind, ParsedDefinition, StorageChoice, TablePattern};

use super::source::{ImportKind, ImportSource, PartFilesSource, Refusal, SourceDefinition, SourcePart};

/// A table, view, dictionary … of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedTable {
    /// Its name.
    pub name: TableName,
    /// Its UUID, if its definition has one.
    pub uuid: Option<TableUuid>,
    /// Its engine, as `system.tables` calls it.
    pub engine: String,
    /// Its definition, or `None` if the tree has none.
    pub definition: Option<SourceDefinition>,
    /// Its storage policy, if its definition names one.
    pub storage_policy: String,
    /// Its parts, ordered by name.
    pub parts: Vec<SourcePart>,
    /// Why its rows are not in the snapshot, if it had rows that no import takes.
    pub data_left: Option<String>,
    /// Why it is skipped although it could have been taken.
    pub skipped: Option<Refusal>,
}

impl ImportedTable {
    /// Whether parts of it are taken, or could be: whether it is of the MergeTree family.
    #[must_use]
    pub fn holds_parts(&self) -> bool {
        self.data_left.is_none()
            && self.skipped.is_none()
            && (!self.parts.is_empty() || self.engine.ends_with("MergeTree"))
    }
}

/// A database of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedDatabase {
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// Its UUID, if its definition has one.
    pub uuid: Option<TableUuid>,
    /// Its definition.
    pub definition: String,
}

/// The plan of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportPlan {
    /// Databases, ordered by name.
    pub databases: Vec<ImportedDatabase>,
    /// Tables, views, dictionaries, ordered by name.
    pub tables: Vec<ImportedTable>,
    /// `CREATE FUNCTION` statements, by escaped names.
    pub functions: BTreeMap<String, String>,
    /// Sentences about objects that the tree lacks and the import creates.
    pub made: Vec<String>,
    /// The warnings for the user: with any of them the exit code is 3.
    pub warnings: Vec<Warning>,
    /// Patterns that match nothing in the tree.
    pub unmatched: Vec<String>,
}

/// Databases that every server has.
const OWN_DATABASES: [&str; 3] = ["system", "INFORMATION_SCHEMA", "information_schema"];

/// Engines whose rows a native backup never has.
const NEVER_BACKED_UP: [&str; 2] = ["Set", "Join"];

/// Engines whose rows are not in parts.
const OWN_FILES: [&str; 8] = ["Log", "TinyLog", "StripeLog", "Memory", "File", "EmbeddedRocksDB", "SQLite", "FileLog"];

/// Plans an import of the tables that match these patterns; of all if there are none.
#[must_use]
pub fn plan_import(source: ImportSource, wanted: &[TablePattern]) -> ImportPlan {
    let mut plan = ImportPlan { warnings: source.warnings, ..ImportPlan::default() };
    let mut parts: BTreeMap<TableName, Vec<SourcePart>> = BTreeMap::new();
    for part in source.parts {
        parts.entry(part.table.clone()).or_default().push(part);
    }
    let mut definitions = source.definitions;
    definitions.retain(|name, _| !OWN_DATABASES.contains(&name.database.as_str()) || parts.contains_key(name));
    let mut refused = source.refused;
    let moved = move_to_inner_tables(&mut definitions, (&mut parts, &mut refused), &mut plan.made);
    let mut names: BTreeSet<TableName> = definitions.keys().chain(parts.keys()).cloned().collect();
    names.extend(source.other_data.iter().chain(refused.keys()).cloned());
    let is_wanted = |name: &TableName| {
        let owner = moved.get(name).unwrap_or(name);
        wanted.is_empty() || wanted.iter().any(|pattern| pattern.matches(name) || pattern.matches(owner))
    };
    let unmatched = wanted.iter().filter(|pattern| !names.iter().any(|name| pattern.matches(name)));
    plan.unmatched = unmatched.map(|pattern| pattern.as_str().to_owned()).collect();
    names.retain(is_wanted);
    for name in &names {
        let definition = definitions.remove(name);
        let mut parts = parts.remove(name).unwrap_or_default();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let overlaps = leave_covered(name, &mut parts, &mut plan.warnings);
        let lacks_inner = || lacks_inner_tables(source.kind, definition.as_ref());
        let cannot_be_read = || unreadable(&parts, definition.as_ref());
        let twice = || twice(&parts);
        let refused = refused.remove(name).or_else(twice).or(overlaps).or_else(lacks_inner).or_else(cannot_be_read);
        if refused.is_some() {
            parts.clear();
        }
        let has_data = source.other_data.contains(name);
        let table = imported_table(name, definition, parts, refused, (source.kind, has_data), &mut plan.warnings);
        plan.warnings.extend(Some(&table).filter(|_| source.kind == ImportKind::Shadow).and_then(lacks_parts));
        plan.tables.push(table);
    }
    plan.warnings
        .extend(Some(&plan.tables).filter(|_| source.kind != ImportKind::Shadow).and_then(|all| without_parts(all)));
    plan.databases = databases(&source.databases, &plan.tables, wanted.is_empty(), &mut plan.made);
    if wanted.is_empty() {
        plan.functions = source.functions;
        plan.warnings.extend(source.unknown.into_iter().map(|text| Warning::new(WarningKind::TableSkipped, text)));
        let of_persons = source.unfrozen.iter().filter(|(name, _)| !OWN_DATABASES.contains(&name.as_str()));
        plan.warnings.extend(of_persons.map(|(name, count)| left_out(name, *count)));
    }
    plan
}

/// Why a table cannot be taken whose rows are in several inner tables: a native backup has no definitions of them, and
/// without them the table is broken.
fn lacks_inner_tables(kind: ImportKind, definition: Option<&SourceDefinition>) -> Option<Refusal> {
    let definition = ParsedDefinition::parse(&definition?.text).ok()?;
    let is_so = kind == ImportKind::NativeBackup && engine_of(&definition) == "TimeSeries";
    let reason = "the backup has no definitions of the inner tables of its engine TimeSeries";
    is_so.then(|| Refusal::Unusable(reason.to_owned()))
}

/// Why a table without parts cannot be taken whose definition is none.
fn unreadable(parts: &[SourcePart], definition: Option<&SourceDefinition>) -> Option<Refusal> {
    let error = ParsedDefinition::parse(&definition?.text).err().filter(|_| parts.is_empty())?;
    Some(Refusal::Damaged(format!("its definition cannot be read: {error}")))
}

/// Why a table cannot be taken that has a part twice. The parts are ordered by name.
fn twice(parts: &[SourcePart]) -> Option<Refusal> {
    let part = parts.windows(2).find_map(|two| match two {
        [a, b] if a.name == b.name => Some(&a.name),
        _ => None,
    })?;
    let reason = format!(
        "it has two parts {part}, of two disks or of two freezes: name the directory of one freeze, and of one disk"
    );
    Some(Refusal::Unusable(reason))
}

/// The warning that a backup has no part of any table: `BACKUP … SETTINGS structure_only = 1` writes definitions alone, and
/// does not record that.
fn without_parts(tables: &[ImportedTable]) -> Option<Warning> {
    let holding = tables.iter().filter(|table| table.holds_parts()).count() as u64;
    let has_parts = tables.iter().any(|table| !table.parts.is_empty() || table.skipped.is_some());
    let message = format!(
        "the backup has no part of any table, as with structure_only: {} taken as empty",
        if holding == 1 { "the one table is".to_owned() } else { format!("all {} are", count(holding, "table")) }
    );
    (holding > 0 && !has_parts).then(|| Warning::new(WarningKind::DataLeftBehind, message))
}

/// The warning about a database with definitions and no frozen parts.
fn left_out(database: &str, tables: u64) -> Warning {
    let tables = count(tables, "definition");
    let message =
        format!("the database {database:?} has no frozen parts in the tree: it is left out with its {tables}");
    Warning::new(WarningKind::DataLeftBehind, message)
}

/// Moves the parts of a materialized view, which has none of its own, and what is wrong with them, to its inner table,
/// and creates the inner table's definition. Returns the views of the inner tables that were created.
fn move_to_inner_tables(
    definitions: &mut BTreeMap<TableName, SourceDefinition>,
    (parts, refused): (&mut BTreeMap<TableName, Vec<SourcePart>>, &mut BTreeMap<TableName, Refusal>),
    made: &mut Vec<String>,
) -> BTreeMap<TableName, TableName> {
    let mut moved = BTreeMap::new();
    let views: Vec<TableName> = definitions.keys().cloned().collect();
    for view in views {
        let Some(definition) = definitions.get(&view).and_then(|found| ParsedDefinition::parse(&found.text).ok())
        else {
            continue;
        };
        let Some(text) = definition.inner_table() else { continue };
        let inner = view.inner_table(definition.uuid.as_ref());
        if !definitions.contains_key(&inner) {
            definitions.insert(inner.clone(), SourceDefinition { text, is_file: false });
            made.push(format!("the definition of the inner table of {view}, from its own"));
        }
        if let Some(of_view) = parts.remove(&view) {
            let to_inner = |part: SourcePart| SourcePart { table: inner.clone(), ..part };
            parts.entry(inner.clone()).or_default().extend(of_view.into_iter().map(to_inner));
        }
        if let Some(of_view) = refused.remove(&view) {
            refused.entry(inner.clone()).or_insert(of_view);
        }
        moved.insert(inner, view);
    }
    moved
}

/// Leaves out each part whose blocks are contained in another part of its partition, merged or mutated: its rows would
/// be counted twice. Returns why the table cannot be taken, if two parts overlap and neither contains the other.
fn leave_covered(table: &TableName, parts: &mut Vec<SourcePart>, warnings: &mut Vec<Warning>) -> Option<Refusal> {
    let mut order: Vec<(PartitionId, Blocks, PartName)> = parts
        .iter()
        .filter_map(|part| Some((part.name.partition()?, part.name.blocks()?, part.name.clone())))
        .collect();
    // Parts that can contain the following ones come first.
    let key = |blocks: &Blocks| (blocks.min, Reverse(blocks.max), Reverse(blocks.level), Reverse(blocks.mutation));
    order.sort_by(|(a_partition, a, _), (b_partition, b, _)| (a_partition, key(a)).cmp(&(b_partition, key(b))));
    let mut covered: BTreeMap<PartName, PartName> = BTreeMap::new();
    let mut last: Option<(PartitionId, Blocks, PartName)> = None;
    for (partition, blocks, name) in order {
        if let Some((_, held, holder)) = last.as_ref().filter(|(of, _, _)| *of == partition) {
            if held.supersede(&blocks) {
                covered.insert(name, holder.clone());
                continue;
            }
            // Patch parts of one range can belong to several updates; duplicate names are reported elsewhere.
            if blocks.min <= held.max && *holder != name && !name.is_patch() {
                let reason = format!("its parts {holder} and {name} overlap, and neither holds the other");
                return Some(Refusal::Unusable(reason));
            }
        }
        last = Some((partition, blocks, name));
    }
    if let Some((part, holder)) = covered.first_key_value() {
        let message = format!(
            "of {table} {} left out whose rows another part of the tree has: {part} is in {holder}",
            if covered.len() == 1 {
                "1 part is".to_owned()
            } else {
                format!("{} are", count(covered.len() as u64, "part"))
            }
        );
        warnings.push(Warning::of_table(WarningKind::PartsCovered, table, message));
    }
    parts.retain(|part| !covered.contains_key(&part.name));
    None
}

/// The warning that parts of a table may be missing: a tree of frozen parts does not record which parts the table had.
fn lacks_parts(table: &ImportedTable) -> Option<Warning> {
    if !table.holds_parts() {
        return None;
    }
    let name = &table.name;
    let message = if table.parts.is_empty() {
        format!("{name} has a definition and no frozen parts in the tree: it is taken as an empty table")
    } else if !matches!(table.storage_policy.as_str(), "" | "default") {
        let policy = &table.storage_policy;
        format!("{name} has the storage policy {policy}: parts of it that were on other disks are not in the tree")
    } else {
        return None;
    };
    Some(Warning::of_table(WarningKind::DataLeftBehind, name, message))
}

fn imported_table(
    name: &TableName,
    definition: Option<SourceDefinition>,
    parts: Vec<SourcePart>,
    skipped: Option<Refusal>,
    (kind, has_other_data): (ImportKind, bool),
    warnings: &mut Vec<Warning>,
) -> ImportedTable {
    let parsed = definition.as_ref().map(|definition| ParsedDefinition::parse(&definition.text));
    let (mut engine, mut uuid, mut storage_policy) = (String::new(), None, String::new());
    match &parsed {
        None if skipped.is_some() => "MergeTree".clone_into(&mut engine),
        None => {
            let message = format!("{name} has no definition in the tree: its parts are taken, and a restore needs one");
            warnings.push(Warning::of_table(WarningKind::DefinitionMissing, name, message));
            "MergeTree".clone_into(&mut engine);
        }
        Some(Err(_)) if skipped.is_some() => {}
        Some(Err(error)) => {
            let message = format!("the definition of {name} cannot be read: {error}");
            warnings.push(Warning::of_table(WarningKind::DefinitionMissing, name, message));
        }
        Some(Ok(definition)) => {
            engine = engine_of(definition);
            uuid.clone_from(&definition.uuid);
            if let StorageChoice::Policy(policy) = definition.storage() {
                storage_policy = policy;
            }
        }
    }
    let is_never = NEVER_BACKED_UP.contains(&engine.as_str());
    // ClickHouse's own backup contains the files of these engines, if they had any rows.
    let has_own_files = kind != ImportKind::NativeBackup && OWN_FILES.contains(&engine.as_str());
    let data_left = if skipped.is_some() {
        None
    } else if (has_other_data || has_own_files) && parts.is_empty() {
        Some(format!("the files of its engine {engine} are no parts"))
    } else {
        is_never.then(|| format!("no backup has the rows of its engine {engine}"))
    };
    warnings.extend(skipped.as_ref().map(|refusal| skip_warning(name, refusal)));
    if let Some(reason) = &data_left {
        let message = format!("of {name} only the definition is taken: {reason}");
        warnings.push(Warning::of_table(WarningKind::DataLeftBehind, name, message));
    }
    ImportedTable { name: name.clone(), uuid, engine, definition, storage_policy, parts, data_left, skipped }
}

fn skip_warning(table: &TableName, refusal: &Refusal) -> Warning {
    let message = format!("{table} is skipped: {}", refusal.reason());
    Warning::of_table(WarningKind::TableSkipped, table, message)
}

/// The engine as `system.tables` calls it.
fn engine_of(definition: &ParsedDefinition) -> String {
    match definition.kind {
        DefinitionKind::MaterializedView => "MaterializedView".to_owned(),
        DefinitionKind::View => "View".to_owned(),
        DefinitionKind::OtherView => "LiveView".to_owned(),
        DefinitionKind::Dictionary => "Dictionary".to_owned(),
        DefinitionKind::Table | DefinitionKind::Database => definition.engine().unwrap_or_default(),
    }
}

/// The databases of these tables; all for a whole tree. A database without a definition file gets a generated
/// definition.
fn databases(
    known: &BTreeMap<String, SourceDefinition>,
    tables: &[ImportedTable],
    is_whole: bool,
    made: &mut Vec<String>,
) -> Vec<ImportedDatabase> {
    let mut names: BTreeSet<&str> = tables.iter().map(|table| table.name.database.as_str()).collect();
    if is_whole {
        names.extend(known.keys().map(String::as_str).filter(|name| !OWN_DATABASES.contains(name)));
    }
    let database = |name: &str| {
        let text = known.get(name).map(|definition| definition.text.clone());
        let definition = text.as_deref().and_then(|text| ParsedDefinition::parse(text).ok());
        if let (Some(text), Some(definition)) = (text, definition) {
            let engine = definition.engine().unwrap_or_else(|| "Atomic".to_owned());
            return ImportedDatabase { name: name.to_owned(), engine, uuid: definition.uuid, definition: text };
        }
        let has_uuids = tables.iter().any(|table| table.name.database == name && table.uuid.is_some());
        let engine = if has_uuids { "Atomic" } else { "Ordinary" };
        made.push(format!("the definition of the database {name}, with the engine {engine}"));
        let definition = format!("ATTACH DATABASE {} ENGINE = {engine}\n", crate::plan::definition::quote(name, '`'));
        ImportedDatabase { name: name.to_owned(), engine: engine.to_owned(), uuid: None, definition }
    };
    names.into_iter().map(database).collect()
}

impl ImportPlan {
    /// The parts of all tables.
    pub fn parts(&self) -> impl Iterator<Item = &SourcePart> {
        self.tables.iter().flat_map(|table| &table.parts)
    }

    /// Skips tables after all, with a warning about each. Returns their indices in `tables`.
    pub fn skip(&mut self, refused: &BTreeMap<TableName, Refusal>) -> Vec<usize> {
        let mut skipped = Vec::new();
        for (index, table) in self.tables.iter_mut().enumerate() {
            if let Some(refusal) = refused.get(&table.name) {
                self.warnings.push(skip_warning(&table.name, refusal));
                table.skipped = Some(refusal.clone());
                table.parts.clear();
                skipped.push(index);
            }
        }
        skipped
    }

    /// Whether something is skipped, and no table with parts, or that could have some, is left.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        let is_skip = |warning: &Warning| warning.kind == WarningKind::TableSkipped;
        self.warnings.iter().any(is_skip) && !self.tables.iter().any(ImportedTable::holds_parts)
    }
}

impl SourcePart {
    /// Its files, if a list names them.
    #[must_use]
    pub fn listed(&self) -> &[super::source::SourceFile] {
        match &self.content {
            PartFilesSource::Files(files) => files,
            PartFilesSource::Directory(_) => &[],
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is a failed test")]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const VIEW: &str = "CREATE MATERIALIZED VIEW lab.mv UUID '00000000-0000-4000-8000-000000000002' TO INNER UUID \
        '00000000-0000-4000-8000-000000000003' (`k` UInt8) ENGINE = MergeTree ORDER BY k AS SELECT k FROM lab.t";

    fn name(table: &str) -> TableName {
        TableName::new("lab", table)
    }

    fn source(definitions: &[(&str, &str)], parts: &[(&str, &str)]) -> ImportSource {
        let definition = |text: &str| SourceDefinition { text: text.to_owned(), is_file: false };
        let part = |(table, part): &(&str, &str)| SourcePart {
            table: name(table),
            name: PartName::try_from((*part).to_owned()).expect("a name"),
            disk: "default".to_owned(),
            content: PartFilesSource::Directory(PathBuf::from(part)),
        };
        ImportSource {
            definitions: definitions.iter().map(|(table, text)| (name(table), definition(text))).collect(),
            parts: parts.iter().map(part).collect(),
            ..ImportSource::empty(ImportKind::NativeBackup)
        }
    }

    #[test]
    fn a_backup_without_any_part_is_a_warning() {
        let table = "CREATE TABLE lab.t (`k` UInt8) ENGINE = MergeTree ORDER BY k";
        let warned = |parts: &[(&str, &str)]| {
            let plan = plan_import(source(&[("t", table), ("mv", VIEW)], parts), &[]);
            plan.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(warned(&[("t", "all_1_1_0")]), [""; 0]);
        let message = "the backup has no part of any table, as with structure_only: all 2 tables are taken as empty";
        assert_eq!(warned(&[]), [message]);
    }

    #[test]
    fn the_parts_of_a_view_go_to_an_inner_table_that_is_made_and_so_is_its_database() {
        let plan = plan_import(source(&[("mv", VIEW)], &[("mv", "all_2_2_0"), ("mv", "all_1_1_0")]), &[]);
        let names: Vec<&str> = plan.tables.iter().map(|table| table.name.table.as_str()).collect();
        assert_eq!(names, [".inner_id.00000000-0000-4000-8000-000000000002", "mv"]);
        let inner = &plan.tables[0];
        assert_eq!((inner.engine.as_str(), inner.parts.len()), ("MergeTree", 2));
        assert_eq!(inner.uuid.as_ref().map(TableUuid::as_str), Some("00000000-0000-4000-8000-000000000003"));
        assert_eq!(inner.parts[0].name.as_str(), "all_1_1_0");
        assert_eq!((plan.tables[1].engine.as_str(), plan.tables[1].parts.len()), ("MaterializedView", 0));
        assert_eq!((plan.databases[0].engine.as_str(), plan.made.len()), ("Atomic", 2));
        assert!(plan.warnings.is_empty());
        // A request for the view includes both.
        let wanted: TablePattern = "lab.mv".parse().expect("a pattern");
        assert_eq!(plan_import(source(&[("mv", VIEW)], &[("mv", "all_1_1_0")]), &[wanted]).tables.len(), 2);
    }

    #[test]
    fn a_table_of_several_inner_tables_is_skipped_by_name() {
        let series = "CREATE TABLE lab.ts (`metric_name` String) ENGINE = TimeSeries";
        let plan = plan_import(source(&[("ts", series)], &[]), &[]);
        let warnings: Vec<&str> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
        let message = "lab.ts is skipped: the backup has no definitions of the inner tables of its engine TimeSeries";
        assert_eq!(warnings, [message]);
        assert!(plan.tables[0].skipped.is_some());
        let from = ImportSource { kind: ImportKind::Shadow, ..source(&[("ts", series)], &[]) };
        assert_eq!(plan_import(from, &[]).tables[0].skipped, None);
    }

    #[test]
    fn missing_definitions_and_unknown_selections_are_warnings() {
        let table = "CREATE TABLE lab.t (`k` UInt8) ENGINE = MergeTree ORDER BY k";
        let mut from = source(
            &[("t", table), ("s", "CREATE TABLE lab.s (`k` UInt8) ENGINE = Set")],
            &[("t", "all_1_1_0"), ("lost", "all_1_1_0")],
        );
        from.other_data.insert(name("log"));
        from.definitions.insert(
            name("log"),
            SourceDefinition { text: "CREATE TABLE lab.log (`k` UInt8) ENGINE = Log".to_owned(), is_file: false },
        );
        let plan = plan_import(from.clone(), &[]);
        let kinds: Vec<(WarningKind, Option<TableName>)> =
            plan.warnings.iter().map(|warning| (warning.kind, warning.table.clone())).collect();
        assert_eq!(
            kinds,
            [
                (WarningKind::DataLeftBehind, Some(name("log"))),
                (WarningKind::DefinitionMissing, Some(name("lost"))),
                (WarningKind::DataLeftBehind, Some(name("s"))),
            ]
        );
        let holds: Vec<bool> = plan.tables.iter().map(ImportedTable::holds_parts).collect();
        assert_eq!(holds, [false, true, false, true]);
        let wanted = ["lab.t", "lab.nothing"].map(|pattern| pattern.parse().expect("a pattern"));
        let plan = plan_import(from, &wanted);
        assert_eq!((plan.tables.len(), plan.unmatched.as_slice()), (1, &["lab.nothing".to_owned()][..]));
    }
}
