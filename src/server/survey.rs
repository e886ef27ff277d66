//! Reads a server's state in a constant number of queries, whatever the number of tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use naive_cityhash::cityhash64;
use serde::Deserialize;

use crate::model::{
    Catalog, CatalogFingerprint, CatalogMutation, CatalogPart, Fingerprint, KeeperMutation, PartListSummary, PartName,
    PartStates, PartitionId, PendingBlocks, ReadingTime, Table, TableKey, TableName, TableUuid, escape_for_file_name,
};

use super::databases::{DatabaseRow, databases, remote};
use super::dump;
use super::error::{ServerError, code};
use super::list::List;
use super::rows::{
    FunctionName, FunctionRow, ListingRow, MemoryRow, MutationRow, PartRow, PendingRow, StatesRow, TableRow,
};
use super::sql;
use super::transport::{Listed, Server};

/// The identity of a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerIdentity {
    /// Its version.
    pub version: String,
    /// Its host's name.
    pub host_name: String,
    /// Its time zone.
    pub timezone: String,
    /// Its UUID; empty or zero if it has none.
    pub uuid: String,
}

impl ServerIdentity {
    /// The server's UUID, if it is not zero.
    #[must_use]
    pub fn stable_uuid(&self) -> Option<&str> {
        let zero = self.uuid.bytes().all(|byte| byte == b'0' || byte == b'-');
        (!zero).then_some(self.uuid.as_str())
    }
}

/// Queries the identity of the server.
///
/// # Errors
/// If the server does not answer.
pub fn identity(server: &Server) -> Result<ServerIdentity, ServerError> {
    let rows: Vec<ServerIdentity> = match server.rows(&sql::identity(&sql::IDENTITY_FUNCTIONS)) {
        Err(error) if error.code() == Some(code::UNKNOWN_FUNCTION) => {
            let known: Vec<FunctionName> = server.list(&sql::known_functions())?;
            let known: Vec<&str> = known.iter().map(|row| row.name.as_str()).collect();
            server.rows(&sql::identity(&known))?
        }
        rows => rows?,
    };
    rows.into_iter().next().ok_or_else(|| ServerError::NotClickHouse {
        url: server.url().to_owned(),
        answer: "no row to SELECT version()".to_owned(),
    })
}

/// Reads tables, mutations and active parts, in this order, as one catalog.
///
/// # Errors
/// If the server does not answer.
pub fn survey(server: &Server, with_system: bool) -> Result<Catalog, ServerError> {
    survey_in(server, with_system, &databases(server)?)
}

/// As [`survey`], where the databases have been read already.
///
/// # Errors
/// If the server does not answer.
pub fn survey_in(server: &Server, with_system: bool, databases: &[DatabaseRow]) -> Result<Catalog, ServerError> {
    look(server, with_system, databases, None)
}

/// Repeats [`survey`]: parts are listed only for tables whose list has changed on the server since the earlier look.
///
/// # Errors
/// If the server does not answer.
pub fn survey_again(server: &Server, with_system: bool, earlier: &CatalogFingerprint) -> Result<Catalog, ServerError> {
    look(server, with_system, &databases(server)?, Some(earlier))
}

/// Engines whose rows are in memory only.
const IN_MEMORY: [&str; 2] = ["Memory", "Buffer"];

/// The engine of tables that pass rows on to other servers.
const DISTRIBUTED: &str = "Distributed";

/// If more tables than this are requested, the parts of all tables are listed.
const TABLES_LISTED_BY_NAME: usize = 100;

fn look(
    server: &Server,
    with_system: bool,
    databases: &[DatabaseRow],
    earlier: Option<&CatalogFingerprint>,
) -> Result<Catalog, ServerError> {
    let features = server.features();
    let tables: Vec<TableRow> = tables(server, &sql::tables(features, with_system, &remote(databases)), &[])?;
    let mutations: Vec<MutationRow> =
        if features.has_table("mutations") { server.list(&sql::mutations(features, with_system))? } else { Vec::new() };
    let mut catalog = catalog(tables, mutations);
    if earlier.is_none() {
        catalog.pending = pending(server, &catalog, with_system)?;
        catalog.in_memory = in_memory(server, &catalog, with_system)?;
    }
    let known = match earlier {
        Some(earlier) => {
            let (listings, read) = listings(server, with_system)?;
            catalog.parts_read = Some(read);
            EarlierLists::of(&catalog, listings, earlier)
        }
        None => EarlierLists::default(),
    };
    if earlier.is_none() || !known.moved.is_empty() {
        if earlier.is_some() {
            tracing::debug!(tables = known.moved.len(), "parts are listed again");
        }
        let only = if known.moved.len() <= TABLES_LISTED_BY_NAME { known.moved.as_slice() } else { &[] };
        list_parts(server, &mut catalog, with_system, only)?;
    }
    for table in &mut catalog.tables {
        match known.parts.get(&table.key) {
            Some(parts) => table.parts = Arc::clone(parts),
            None => Arc::make_mut(&mut table.parts).shrink_to_fit(),
        }
    }
    catalog.listings.extend(known.listings);
    finish(&mut catalog, databases);
    Ok(catalog)
}

/// Reads one table, with its mutations and active parts; `None` if there is none of this name.
///
/// # Errors
/// If the server does not answer.
pub fn survey_table(server: &Server, name: &TableName) -> Result<Option<Table>, ServerError> {
    let features = server.features();
    let tables: Vec<TableRow> = tables(server, &sql::table(features, name), &[])?;
    let mutations: Vec<MutationRow> =
        if features.has_table("mutations") { server.list(&sql::mutations_of(features, name))? } else { Vec::new() };
    let mut catalog = catalog(tables, mutations);
    list_parts(server, &mut catalog, true, std::slice::from_ref(name))?;
    let databases = if is_behind_overlay(&catalog) { databases(server)? } else { Vec::new() };
    finish(&mut catalog, &databases);
    Ok(catalog.tables.into_iter().next())
}

/// Assigns the parts of `only`, or of all tables if it is empty, to the tables of a catalog.
fn list_parts(
    server: &Server,
    catalog: &mut Catalog,
    with_system: bool,
    only: &[TableName],
) -> Result<(), ServerError> {
    let list = sql::parts(server.features(), with_system, only);
    let (unusable, read_before) = (catalog.unusable.len(), catalog.parts_read);
    server.counted(&list, server.asking(&[]), || {
        // Clears what an earlier, interrupted attempt has assigned.
        catalog.tables.iter_mut().for_each(|table| table.parts = Arc::default());
        catalog.listings.clear();
        catalog.unusable.truncate(unusable);
        let asked = Instant::now();
        let mut hand_out = PartAssigner::of(catalog);
        let rows = server.each_listed(&list, |row| hand_out.give(&row, catalog))?;
        hand_out.end(catalog);
        // The parts that are not listed again were read before.
        let begun = read_before.map_or(asked, |read| read.begun);
        catalog.parts_read = Some(ReadingTime { begun, ended: Instant::now() });
        Ok(Listed { answer: (), rows, count: None })
    })
}

/// The data that tables of the engine `Distributed` have not sent yet.
fn pending(
    server: &Server,
    catalog: &Catalog,
    with_system: bool,
) -> Result<BTreeMap<TableName, PendingBlocks>, ServerError> {
    let mut pending: BTreeMap<TableName, PendingBlocks> = BTreeMap::new();
    let is_distributed = catalog.tables.iter().any(|table| table.engine == DISTRIBUTED);
    let list = sql::distribution_queue(server.features(), with_system).filter(|_| is_distributed);
    let rows: Vec<PendingRow> = list.map_or_else(|| Ok(Vec::new()), |list| server.list(&list))?;
    for row in rows.into_iter().filter(|row| row.files > 0) {
        let blocks = pending.entry(TableName::new(row.database, row.table)).or_default();
        blocks.files = blocks.files.saturating_add(row.files);
        blocks.bytes = blocks.bytes.saturating_add(row.bytes);
    }
    Ok(pending)
}

/// The tables whose rows are in memory only, with the number of rows if it can be known.
fn in_memory(
    server: &Server,
    catalog: &Catalog,
    with_system: bool,
) -> Result<BTreeMap<TableName, Option<u64>>, ServerError> {
    let is_in_memory = |table: &Table| IN_MEMORY.contains(&table.engine.as_str());
    let has_some = catalog.tables.iter().any(is_in_memory);
    if !has_some {
        return Ok(BTreeMap::new());
    }
    let list = sql::rows_in_memory(server.features(), with_system, &IN_MEMORY);
    let Some(list) = list else {
        return catalog.tables.iter().filter(|table| is_in_memory(table)).map(|table| counted(server, table)).collect();
    };
    let rows: Vec<MemoryRow> = server.list(&list)?;
    // A server also counts the rows of the table behind a Buffer; only the bytes show whether the Buffer is empty.
    let count = |row: &MemoryRow| match row.engine.as_str() {
        "Buffer" => (row.bytes == 0).then_some(0),
        _ => Some(row.rows),
    };
    Ok(rows.into_iter().map(|row| (TableName::new(row.database.as_str(), row.table.as_str()), count(&row))).collect())
}

/// The rows of a table in memory, on a server that does not list them. The server counts the rows of all `Buffer`
/// tables together.
fn counted(server: &Server, table: &Table) -> Result<(TableName, Option<u64>), ServerError> {
    let rows = match table.engine.as_str() {
        "Buffer" => dump::buffered_rows(server).map(|rows| rows.filter(|rows| *rows == 0)),
        _ => dump::count_rows(server, table.name()).map(Some),
    };
    let rows = match rows {
        // It may not be read: it may hold rows nevertheless.
        Err(ServerError::Exception { .. } | ServerError::Cut { .. }) => None,
        rows => rows?,
    };
    Ok((table.name().clone(), rows))
}

fn is_behind_overlay(catalog: &Catalog) -> bool {
    catalog.tables.iter().any(|table| table.metadata_path.as_os_str().is_empty() && table.is_merge_tree())
}

/// Removes unusable tables, and completes the data that an Overlay database does not show.
fn finish(catalog: &mut Catalog, databases: &[DatabaseRow]) {
    let unusable: HashSet<&TableName> = catalog.unusable.iter().map(|(name, _)| name).collect();
    catalog.tables.retain(|table| !unusable.contains(table.name()));
    catalog.tables.sort_by(|a, b| a.key.cmp(&b.key));
    if is_behind_overlay(catalog) {
        look_behind_overlays(catalog, databases);
    }
    catalog.engines = databases.iter().map(|database| (database.name.clone(), database.engine.clone())).collect();
}

/// The parts that a server has now and that an earlier look has listed.
#[derive(Default)]
struct EarlierLists {
    /// The parts of tables whose parts have not changed.
    parts: BTreeMap<TableKey, Arc<Vec<CatalogPart>>>,
    /// The server's summary of their lists.
    listings: BTreeMap<TableName, PartListSummary>,
    /// The other tables that have parts.
    moved: Vec<TableName>,
}

impl EarlierLists {
    fn of(catalog: &Catalog, now: BTreeMap<TableName, PartListSummary>, earlier: &CatalogFingerprint) -> Self {
        let mut known = Self { parts: BTreeMap::new(), listings: now, moved: Vec::new() };
        for table in &catalog.tables {
            let listing = known.listings.get(table.name());
            let same = listing.is_some() && listing == earlier.listings.get(table.name());
            if let Some(parts) = earlier.parts.get(&table.key).filter(|_| same) {
                known.parts.insert(table.key.clone(), Arc::clone(parts));
            }
        }
        let names: HashSet<&TableName> = known.parts.keys().map(|key| &key.name).collect();
        known.moved = known.listings.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in &known.moved {
            known.listings.remove(name);
        }
        known
    }
}

fn listings(
    server: &Server,
    with_system: bool,
) -> Result<(BTreeMap<TableName, PartListSummary>, ReadingTime), ServerError> {
    let list = sql::listings(server.features(), with_system);
    let asking = server.asking(&[]);
    let (rows, read) = server.counted(&list, asking, || {
        let begun = Instant::now();
        let (rows, count): (Vec<ListingRow>, _) = server.listed_and_counted(&list, asking)?;
        let read = ReadingTime { begun, ended: Instant::now() };
        let parts = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.parts));
        Ok(Listed { answer: (rows, read), rows: parts, count })
    })?;
    let listing =
        |row: ListingRow| (TableName::new(row.database, row.table), PartListSummary { parts: row.parts, sum: row.sum });
    Ok((rows.into_iter().map(listing).collect(), read))
}

/// Summaries of all parts that a server has on disk, and the time of reading.
#[derive(Clone, Debug)]
pub struct StatesOfParts {
    /// By table.
    pub tables: BTreeMap<TableName, PartStates>,
    /// The time of reading.
    pub read: ReadingTime,
}

/// Reads a summary of the parts of each table, active or not, in one statement.
///
/// # Errors
/// If the server does not answer.
pub fn states_of_parts(server: &Server, with_system: bool) -> Result<StatesOfParts, ServerError> {
    let list = sql::states_of_parts(server.features(), with_system);
    let asking = server.asking(&[]);
    let (rows, read) = server.counted(&list, asking, || {
        let begun = Instant::now();
        let (rows, count): (Vec<StatesRow>, _) = server.listed_and_counted(&list, asking)?;
        let read = ReadingTime { begun, ended: Instant::now() };
        let of_row = |row: &StatesRow| row.active_parts.saturating_add(row.inactive_parts);
        let parts = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(of_row(row)));
        Ok(Listed { answer: (rows, read), rows: parts, count })
    })?;
    let states = |row: StatesRow| {
        let active = PartListSummary { parts: row.active_parts, sum: row.active_sum };
        let inactive = PartListSummary { parts: row.inactive_parts, sum: row.inactive_sum };
        (TableName::new(row.database, row.table), PartStates { active, inactive })
    };
    Ok(StatesOfParts { tables: rows.into_iter().map(states).collect(), read })
}

/// The seconds for which the server keeps parts that were replaced, unless a table overrides it; `None` if the server
/// does not report it, or not to this user.
///
/// # Errors
/// If the server does not answer.
pub fn old_parts_lifetime(server: &Server) -> Result<Option<u64>, ServerError> {
    if !server.features().has_table("merge_tree_settings") {
        return Ok(None);
    }
    let rows: Vec<SettingValue> = match server.list(&sql::merge_tree_setting("old_parts_lifetime")) {
        Err(ServerError::Exception { .. } | ServerError::Cut { .. }) => return Ok(None),
        rows => rows?,
    };
    Ok(rows.first().and_then(|row| row.value.parse().ok()))
}

#[derive(Deserialize)]
struct SettingValue {
    value: String,
}

/// How often the list of tables is requested while tables are being dropped or renamed, and the pause in between.
const LISTINGS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Reads `system.tables`. Old servers examine the tables one by one, and fail the whole query if one of them is dropped
/// or renamed meanwhile: the query is then retried.
fn tables(server: &Server, list: &List, settings: &[(&str, String)]) -> Result<Vec<TableRow>, ServerError> {
    for _ in 1..LISTINGS {
        match server.list_by(list, server.asking(settings)) {
            Err(error) if error.is_moving_table() => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    server.list_by(list, server.asking(settings))
}

/// Longest name of a file, minus the `.sql` of a definition file.
const FILE_NAME_LIMIT_BYTES: usize = 251;

/// Why a table of this name cannot be in a snapshot, if it cannot. Only tables for which the server has no file can
/// have a name that is too long for one.
fn unusable(name: &TableName) -> Option<&'static str> {
    let any = |is_so: fn(&str) -> bool| is_so(&name.database) || is_so(&name.table);
    if any(|name| name.contains('\u{fffd}')) {
        return Some("its name is not valid UTF-8");
    }
    if any(|name| escape_for_file_name(name).len() > FILE_NAME_LIMIT_BYTES) {
        return Some("its name is too long for a file");
    }
    any(str::is_empty).then_some("it has no name")
}

fn catalog(tables: Vec<TableRow>, mutations: Vec<MutationRow>) -> Catalog {
    let mut catalog = Catalog::default();
    let mut mutations_of: HashMap<TableName, Vec<CatalogMutation>> = HashMap::new();
    for row in mutations {
        let versions = row.partitions.iter().zip(&row.versions);
        let version = |(partition, version): (&String, &String)| {
            Some((PartitionId(partition.as_str().into()), version.parse().ok()?))
        };
        let in_keeper = (!row.command.is_empty())
            .then(|| KeeperMutation { versions: versions.filter_map(version).collect(), command: row.command.clone() });
        let mutation = CatalogMutation { id: row.mutation_id, is_done: row.is_done, in_keeper };
        let of_table = mutations_of.entry(TableName::new(row.database, row.table)).or_default();
        // A mutation has a row for each of its commands.
        match of_table.iter_mut().rev().find(|earlier| earlier.id == mutation.id) {
            Some(earlier) => add_command(earlier, mutation),
            None => of_table.push(mutation),
        }
    }
    for row in tables {
        let name = TableName::new(row.database, row.name);
        if let Some(reason) = unusable(&name) {
            catalog.unusable.push((name, reason.to_owned()));
            continue;
        }
        match TableUuid::from_server(&row.uuid) {
            Ok(uuid) => catalog.tables.push(Table {
                parts: Arc::default(),
                mutations: mutations_of.remove(&name).unwrap_or_default(),
                key: TableKey { name, uuid },
                engine: row.engine,
                definition: row.create_table_query,
                data_paths: row.data_paths.into_iter().map(PathBuf::from).collect(),
                metadata_path: PathBuf::from(row.metadata_path),
                storage_policy: row.storage_policy,
                has_own_data: row.has_own_data,
            }),
            Err(error) => catalog.unusable.push((name, error.to_string())),
        }
    }
    catalog
}

/// Adds the next command of a mutation to those before it.
fn add_command(mutation: &mut CatalogMutation, next: CatalogMutation) {
    mutation.is_done &= next.is_done;
    match (&mut mutation.in_keeper, next.in_keeper) {
        (Some(known), Some(next)) => {
            known.command.push_str(", ");
            known.command.push_str(&next.command);
        }
        (known @ None, next) => *known = next,
        (Some(_), None) => {}
    }
}

/// Completes tables that are seen through a database of the engine Overlay. They show neither their UUID nor their
/// definition file, although they have both: the UUID is in the data path, and the file is stored under the UUID of the
/// database.
fn look_behind_overlays(catalog: &mut Catalog, databases: &[DatabaseRow]) {
    for table in catalog.tables.iter_mut().filter(|table| table.metadata_path.as_os_str().is_empty()) {
        let name = table.key.name.clone();
        let database = databases.iter().find(|database| database.name == name.database);
        let uuid = database.and_then(|database| TableUuid::from_server(&database.uuid).ok().flatten());
        if let Some(uuid) = uuid {
            let file = format!("{}.sql", escape_for_file_name(&name.table));
            let prefix = uuid.as_str().get(..3).unwrap_or_default();
            table.metadata_path = Path::new("store").join(prefix).join(uuid.as_str()).join(file);
        }
        let in_store = |path: &PathBuf| {
            let uuid = TableUuid::try_from(path.file_name()?.to_str()?.to_owned()).ok()?;
            (path.ancestors().nth(2)?.file_name()? == "store").then_some(uuid)
        };
        if table.key.uuid.is_none() && table.is_merge_tree() {
            table.key.uuid = table.data_paths.iter().find_map(in_store);
        }
    }
    catalog.tables.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Assigns parts to their tables: by the directory in which they lie, which a table in an Atomic database keeps if it
/// is renamed between the two queries, else by name.
struct PartAssigner {
    by_path: HashMap<PathBuf, usize>,
    by_name: HashMap<TableName, usize>,
    /// The directory of the last part: the next one mostly lies in it too.
    parent: Parent,
    /// Its table, as the server named it, with the counts for it so far.
    listing: Option<(TableName, PartListSummary)>,
}

/// A directory of parts.
struct Parent {
    /// The path as the server wrote it.
    text: String,
    path: Arc<Path>,
    /// The table to which the directory belongs.
    position: Option<usize>,
}

impl PartAssigner {
    fn of(catalog: &Catalog) -> Self {
        let parent = Parent { text: String::new(), path: Arc::from(Path::new("")), position: None };
        let mut hand_out = Self { by_path: HashMap::new(), by_name: HashMap::new(), parent, listing: None };
        for (position, table) in catalog.tables.iter().enumerate() {
            // A view lists the directory of its inner table as its own.
            if table.is_merge_tree() {
                hand_out.by_path.extend(table.data_paths.iter().map(|path| (path.clone(), position)));
                hand_out.by_name.insert(table.name().clone(), position);
            }
        }
        hand_out
    }

    fn give(&mut self, row: &PartRow, catalog: &mut Catalog) {
        self.count(row, catalog);
        let text = row.path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        if self.parent.text != text {
            let path = Path::new(&row.path).parent().unwrap_or(Path::new(""));
            let position = self.by_path.get(path).copied();
            self.parent = Parent { text: text.to_owned(), path: Arc::from(path), position };
        }
        let position = self.parent.position.or_else(|| self.by_name.get(&row.table_name()).copied());
        match (part(row, &self.parent.path), position.and_then(|position| catalog.tables.get_mut(position))) {
            (Ok(part), Some(table)) => Arc::make_mut(&mut table.parts).push(part),
            (Err(reason), _) => catalog.unusable.push((row.table_name(), reason)),
            (Ok(_), None) => {}
        }
    }

    /// Counts a part for the table that the server names.
    fn count(&mut self, row: &PartRow, catalog: &mut Catalog) {
        let is_of = |name: &TableName| name.database == row.database && name.table == row.table;
        if !self.listing.as_ref().is_some_and(|(name, _)| is_of(name)) {
            self.end(catalog);
        }
        let (_, listing) = self.listing.get_or_insert_with(|| (row.table_name(), PartListSummary::default()));
        listing.add(cityhash64(sql::listed(row).as_bytes()));
    }

    /// Records the counts of the last table.
    fn end(&mut self, catalog: &mut Catalog) {
        if let Some((name, listing)) = self.listing.take() {
            *catalog.listings.entry(name).or_default() += listing;
        }
    }
}

fn part(row: &PartRow, parent: &Arc<Path>) -> Result<CatalogPart, String> {
    let fingerprint = match row.hash_of_all_files.as_str() {
        "" => None,
        text => Some(text.parse::<Fingerprint>().map_err(|error| error.to_string())?),
    };
    Ok(CatalogPart {
        name: PartName::try_from(CompactString::from(row.name.as_str())).map_err(|error| error.to_string())?,
        partition: PartitionId(row.partition_id.as_str().into()),
        parent: Arc::clone(parent),
        disk: row.disk_name.as_str().into(),
        rows: row.rows,
        bytes: row.bytes_on_disk,
        files: row.files,
        fingerprint,
    })
}

/// A table that the server lists as detached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DetachedTableRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Its definition's file: absolute, or relative to the server's path.
    pub metadata_path: String,
    /// Its UUID; empty or zero if it has none.
    pub uuid: String,
}

/// Reads the detached tables of these attached databases, without those on other servers; empty if the server does not
/// list detached tables.
///
/// # Errors
/// If the server does not answer.
pub fn detached_tables(server: &Server, databases: &[DatabaseRow]) -> Result<Vec<DetachedTableRow>, ServerError> {
    let list = sql::detached_tables(server.features(), &remote(databases));
    list.map_or_else(|| Ok(Vec::new()), |list| server.list(&list))
}

/// Reads the functions that were created by `CREATE FUNCTION`.
///
/// # Errors
/// If the server does not answer.
pub fn functions(server: &Server) -> Result<Vec<FunctionRow>, ServerError> {
    sql::functions(server.features()).map_or_else(|| Ok(Vec::new()), |list| server.list(&list))
}

/// The definitions of tables as the server prints them.
pub type ServerDefinitions = HashMap<TableName, String>;

/// Reads all definitions again with the tables' UUIDs in them, for tables whose file cannot be read.
///
/// # Errors
/// If the server does not answer.
pub fn definitions(server: &Server, with_system: bool) -> Result<ServerDefinitions, ServerError> {
    let features = server.features();
    let setting = ("show_table_uuid_in_table_create_query_if_not_nil", "1".to_owned());
    let settings = if features.has_column("tables", "uuid") { vec![setting] } else { Vec::new() };
    let databases = databases(server)?;
    let list = sql::tables(features, with_system, &remote(&databases));
    let rows: Vec<TableRow> = tables(server, &list, &settings)?;
    Ok(rows.into_iter().map(|row| (TableName::new(row.database, row.name), row.create_table_query)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CatalogFingerprint, EarlierLists, MutationRow, PartListSummary, TableRow};
    use crate::model::{Catalog, CatalogMutation, Table, TableKey, TableName, TableUuid};

    fn table(name: &str, uuid: Option<&str>) -> Table {
        let uuid = uuid.map(|digit| TableUuid::try_from(format!("{digit}0000000-0000-4000-8000-000000000000")));
        Table {
            key: TableKey { name: TableName::new("d", name), uuid: uuid.map(|uuid| uuid.expect("a UUID")) },
            engine: "MergeTree".to_owned(),
            definition: String::new(),
            data_paths: Vec::new(),
            metadata_path: std::path::PathBuf::new(),
            storage_policy: String::new(),
            has_own_data: None,
            parts: Arc::default(),
            mutations: Vec::new(),
        }
    }

    #[test]
    fn the_commands_of_one_mutation_are_one_mutation() {
        let row = |table: &str, id: &str, command: &str| MutationRow {
            database: "d".to_owned(),
            table: table.to_owned(),
            mutation_id: id.to_owned(),
            is_done: false,
            command: command.to_owned(),
            partitions: if command.is_empty() { Vec::new() } else { vec!["all".to_owned()] },
            versions: if command.is_empty() { Vec::new() } else { vec!["7".to_owned()] },
        };
        let table_row = |name: &str| TableRow {
            database: "d".to_owned(),
            name: name.to_owned(),
            uuid: String::new(),
            engine: "MergeTree".to_owned(),
            create_table_query: String::new(),
            data_paths: Vec::new(),
            metadata_path: String::new(),
            storage_policy: String::new(),
            has_own_data: None,
        };
        let rows = vec![
            row("a", "mutation_3.txt", ""),
            row("a", "mutation_3.txt", ""),
            row("b", "mutation_3.txt", ""),
            row("a", "mutation_4.txt", ""),
            row("b", "0000000000", "(DELETE WHERE x = 1)"),
            row("b", "0000000000", "(UPDATE y = 2 WHERE x = 3)"),
        ];
        let catalog = super::catalog(vec![table_row("a"), table_row("b")], rows);
        let listed = |table: &Table| {
            let command = |mutation: &CatalogMutation| mutation.in_keeper.as_ref().map(|known| known.command.clone());
            table.mutations.iter().map(|mutation| (mutation.id.clone(), command(mutation))).collect::<Vec<_>>()
        };
        let of_file = |id: &str| (id.to_owned(), None);
        let [a, b] = catalog.tables.as_slice() else { panic!("two tables") };
        assert_eq!(listed(a), [of_file("mutation_3.txt"), of_file("mutation_4.txt")]);
        let commands = "(DELETE WHERE x = 1), (UPDATE y = 2 WHERE x = 3)".to_owned();
        assert_eq!(listed(b), [of_file("mutation_3.txt"), ("0000000000".to_owned(), Some(commands))]);
    }

    /// Builds a look at these tables, each with the sum over its parts; a table without a sum has no parts.
    fn look(tables: &[(&str, Option<&str>, Option<u64>)]) -> Catalog {
        let listing = |sum| PartListSummary { parts: 1, sum };
        let listed = tables.iter().filter_map(|(name, _, sum)| Some((TableName::new("d", *name), listing((*sum)?))));
        Catalog {
            tables: tables.iter().map(|(name, uuid, _)| table(name, *uuid)).collect(),
            listings: listed.collect(),
            ..Catalog::default()
        }
    }

    #[test]
    fn tables_with_an_equal_sum_are_not_listed_again() {
        let before = [
            ("same", Some("1"), Some(1)),
            ("plain", None, Some(2)),
            ("more", Some("3"), Some(3)),
            ("another", Some("4"), Some(4)),
            ("gone", Some("5"), Some(5)),
            ("emptied", Some("6"), Some(6)),
            ("old", Some("7"), Some(7)),
        ];
        let after = [
            ("same", Some("1"), Some(1)),
            ("plain", None, Some(2)),
            ("more", Some("3"), Some(33)),
            ("another", Some("9"), Some(4)),
            ("emptied", Some("6"), None),
            ("renamed", Some("7"), Some(7)),
            ("new", Some("8"), Some(8)),
        ];
        let earlier: CatalogFingerprint = look(&before).look();
        let now = look(&after);
        let known = EarlierLists::of(&now, now.listings.clone(), &earlier);
        let names =
            |names: &mut dyn Iterator<Item = &TableName>| names.map(|name| name.table.clone()).collect::<Vec<_>>();
        assert_eq!(names(&mut known.parts.keys().map(|key| &key.name)), ["plain", "same"]);
        assert_eq!(names(&mut known.moved.iter()), ["another", "more", "new", "renamed"]);
        // A table that is listed again is counted again.
        assert_eq!(names(&mut known.listings.keys()), ["plain", "same"]);
    }
}
